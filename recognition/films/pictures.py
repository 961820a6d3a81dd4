"""Pictures of a film's result: one contact sheet per track, and the film with boxes and names."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PilImage

from facerec.landmarks.image import write_image
from facerec.landmarks.types import Image
from facerec.landmarks.video import Film
from facerec.recognition.films.answers import TrackAnswer
from facerec.recognition.films.tracks import Sighting, Track
from facerec.recognition.found_faces import PICTURE

_LABEL = 16


def track_sheet(track: Track, columns: int = 10, most: int = 60) -> Image:
    """The faces of a track with time and yaw, at most `most` spread over it; a green line is above those that count."""
    places = np.unique(np.linspace(0, len(track.sightings) - 1, min(most, len(track.sightings))).round().astype(int))
    tiles = [_tile(track.sightings[place]) for place in places]
    blank = np.full_like(tiles[0], 255)
    columns = min(columns, len(tiles))
    tiles += [blank] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)])


def _tile(one: Sighting) -> Image:
    tile = np.full((PICTURE + _LABEL, PICTURE, 3), 255, dtype=np.uint8)
    with PilImage.open(io.BytesIO(one.picture)) as picture:
        tile[:PICTURE] = np.asarray(picture.convert("RGB"))
    if one.counts:
        tile[:3] = (0, 170, 0)
    text = f"{one.time:.1f} s {one.pose[0]:+.0f}"
    cv2.putText(tile, text, (3, PICTURE + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def write_pictures(film: Film, answers: Sequence[TrackAnswer], folder: Path, name: str, rate: float) -> list[Path]:
    """Write NAME-track-N.png for each track and, of a film that can be read again, NAME.boxes.mp4; gives the files."""
    written = write_sheets([answer.track for answer in answers], folder, name)
    if isinstance(film.source, Path):
        path = folder / f"{name}.boxes.mp4"
        _write_film(film, answers, path, rate)
        written.append(path)
    return written


def write_sheets(tracks: Sequence[Track], folder: Path, name: str) -> list[Path]:
    """Write NAME-track-N.png for each track; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for track in tracks:
        written.append(folder / f"{name}-track-{track.number}.png")
        write_image(written[-1], track_sheet(track))
    return written


def _write_film(film: Film, answers: Sequence[TrackAnswer], path: Path, rate: float) -> None:
    av = importlib.import_module("av")
    seen: dict[int, list[tuple[TrackAnswer, Sighting]]] = {}
    for answer in answers:
        for one in answer.track.sightings:
            seen.setdefault(one.frame, []).append((answer, one))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=max(1, round(rate)))
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        size = (0, 0)
        for frame in film.frames(rate):
            drawn = _draw_boxes(frame.image, seen.get(frame.number, []))
            if size == (0, 0):
                size = drawn.shape[1] // 2 * 2, drawn.shape[0] // 2 * 2
                stream.width, stream.height = size
            if (drawn.shape[1], drawn.shape[0]) != size:  # a folder's pictures may differ
                drawn = np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _draw_boxes(image: Image, seen: Sequence[tuple[TrackAnswer, Sighting]]) -> Image:
    """The frame with a box and a label on a plate for each face: green for a match, amber for everything else."""
    drawn = image.copy()
    thick = max(1, round(max(image.shape[:2]) / 640))
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.3 + 0.2 * thick
    for answer, one in seen:
        colour = (0, 200, 0) if answer.person else (255, 170, 0)
        text = answer.person or f"{answer.decision.verdict}, track {answer.track.number}"
        # OpenCV's letters are ASCII; the JSON has names as they are written.
        text = text.encode("ascii", "replace").decode()
        corner, other = (round(one.box.x0), round(one.box.y0)), (round(one.box.x1), round(one.box.y1))
        cv2.rectangle(drawn, corner, other, colour, thick)
        (width, height), below = cv2.getTextSize(text, font, size, 1)
        foot = max(height + below, corner[1] - thick)
        cv2.rectangle(drawn, (corner[0], foot - height - below), (corner[0] + width, foot), (0, 0, 0), -1)
        cv2.putText(drawn, text, (corner[0], foot - below // 2), font, size, colour, 1, cv2.LINE_AA)
    return drawn
