"""Faces followed through made films: identity switches, missed tracks, and frames per second.

    python benchmarks/tracks.py crossing OUT [--films 6] [--people 3] [--faces DATA/ytf]   # films with their truth
    python benchmarks/tracks.py speed OUT [--faces DATA/ytf]                               # two faces, 720p

Films are 1280 x 720, 25 frames per second, of which 5 are looked at. Heads turn from side to side while they cross the
picture on ways of their own and pass in front of each other. Without --faces they are rendered people; with it they are
held-out people of YouTube Faces, the frames of one video each, cut out along an ellipse. The truth is where each head
was put: it counts as shown on a frame while at most a third of it is covered.

The sightings of a frame are matched with the people's boxes, the covered ones included, so that the sum of overlaps is
largest (IoU of at least 0.3). Switches are counted as in CLEAR-MOT: how often the track that a person is seen in
changes to one that shows somebody else at another time. A person whom no track shows is missed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import render_head
from facerec.frontalize.synthesize import SyntheticPerson, synthetic_people
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.types import Camera
from facerec.landmarks.cores import usable_cores
from facerec.landmarks.device import cores_shared
from facerec.landmarks.image import read_image
from facerec.landmarks.sets.ytf import person_of_frame, ytf_people
from facerec.landmarks.training.people import HELD_OUT_EVERY_YTF
from facerec.landmarks.types import Box, Image
from facerec.landmarks.video import Film, read_ahead
from facerec.recognition.films.tracks import FaceTracker, Track
from facerec.recognition.recognizer import Recognizer

WIDTH, HEIGHT, LOOKED, REPEATED = 1280, 720, 5, 5
HEAD = 260
"""Height of a head's picture, px; faces are about half as wide."""

COVERED = 1 / 3

Placed = tuple[Box, bool]
"""Where a face is, and whether it is shown."""


@dataclass(frozen=True, eq=False)
class Head:
    """What is seen of a person in a moment: (H, W, 3) uint8, coverage (H, W) in [0, 1], and the face's box in it."""

    pixels: Image
    alpha: NDArray[np.float32]
    face: Box


def rendered_heads(person: SyntheticPerson, yaws: Sequence[float]) -> list[Head]:
    """A rendered person at these yaws."""
    model, texture = FaceModel.load(), TextureModel.load().paint(person.texture)
    light = np.zeros((9, 3))
    light[0], light[3] = 0.95, -0.22
    heads = []
    for yaw in yaws:
        camera = Camera.from_angles(yaw, 4 * np.sin(yaw / 10), 0.0, HEAD * 0.42 / 115.0)
        points = camera.project(model.landmarks(person.shape, None))[:, :2]
        shift = np.array([HEAD / 2, HEAD * 0.55]) - points.mean(axis=0)
        camera = Camera(camera.rotation, shift, camera.scale)
        drawn = render_head(model, person.shape, None, camera, texture, HEAD, HEAD, light=light, supersample=2)
        heads.append(Head(drawn.pixels, drawn.alpha, Box.around(points + shift)))
    return heads


def filmed_heads(frames: Sequence[Path], recognizer: Recognizer, moments: int) -> list[Head]:
    """The frames of a video of YouTube Faces, there and back again, each face cut out along an ellipse."""
    heads = []
    for frame in frames:
        picture = read_image(frame)
        found = recognizer.fit(picture)
        if not found:
            continue
        box = found[0].face.box if hasattr(found[0], "face") else found[0].box
        (x, y), side = box.center, 1.35 * max(box.width, box.height)
        scale = HEAD / side
        move = np.array([[scale, 0, HEAD / 2 - scale * x], [0, scale, HEAD / 2 - scale * y]])
        pixels = cv2.warpAffine(picture, move, (HEAD, HEAD), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        alpha = np.zeros((HEAD, HEAD), dtype=np.float32)
        cv2.ellipse(alpha, (HEAD // 2, HEAD // 2), (round(HEAD * 0.42), HEAD // 2 - 4), 0, 0, 360, 1.0, -1)
        half = np.array([box.width, box.height]) * scale / 2
        face = Box(HEAD / 2 - half[0], HEAD / 2 - half[1], HEAD / 2 + half[0], HEAD / 2 + half[1])
        heads.append(Head(np.asarray(pixels, dtype=np.uint8), cv2.GaussianBlur(alpha, (0, 0), 3), face))
    there_and_back = heads + heads[-2:0:-1]
    return [there_and_back[k % len(there_and_back)] for k in range(moments)] if heads else []


def compose(people: Sequence[Sequence[Head]], ways: NDArray[np.float64]) -> Iterator[tuple[Image, list[Placed]]]:
    """Pictures with where each person is; later people stand in front."""
    rng = np.random.default_rng(7)
    ground = cv2.resize(
        rng.uniform(70, 170, (9, 16, 3)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    for k in range(ways.shape[1]):
        picture, boxes = ground.copy(), []
        in_front = np.full((HEIGHT, WIDTH), -1)
        for who, heads in enumerate(people):
            head, (x, y) = heads[k], np.rint(ways[who, k]).astype(int)
            left, top, right, bottom = max(x, 0), max(y, 0), min(x + HEAD, WIDTH), min(y + HEAD, HEIGHT)
            boxes.append(Box(x + head.face.x0, y + head.face.y0, x + head.face.x1, y + head.face.y1))
            if right <= left or bottom <= top:
                continue
            part = np.s_[top - y : bottom - y, left - x : right - x]
            alpha = head.alpha[part][..., None]
            place = np.s_[top:bottom, left:right]
            picture[place] = head.pixels[part] * alpha + picture[place] * (1 - alpha)
            in_front[place] = np.where(alpha[..., 0] > 0.5, who, in_front[place])
        placed: list[Placed] = []
        for who, box in enumerate(boxes):
            x0, y0, x1, y1 = (int(v) for v in (box.x0, box.y0, box.x1, box.y1))
            inside = in_front[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
            other = inside > who  # those in front of it
            shown = float((~other).sum()) / max((x1 - x0) * (y1 - y0), 1)
            placed.append((box, shown >= 1 - COVERED))
        picture += 2 * rng.standard_normal(picture.shape)
        yield np.clip(np.rint(picture), 0, 255).astype(np.uint8), placed


def ways_across(people: int, moments: int, seed: int) -> NDArray[np.float64]:
    """(P, K, 2) the top-left corner of each head: every second person goes left, the others right, and all sway.

    Who goes the same way keeps a distance, so that each is covered only while others pass.
    """
    rng = np.random.default_rng(seed)
    along = np.linspace(0, 1, moments)
    ways = np.zeros((people, moments, 2))
    spare = WIDTH - HEAD - 1.3 * HEAD * ((people - 1) // 2)  # how far each one walks
    for who in range(people):
        way = along if who % 2 == 0 else 1 - along
        ways[who, :, 0] = 1.3 * HEAD * (who // 2) + spare * way
        middle = (HEIGHT - HEAD) / 2 + rng.uniform(-60, 60)
        ways[who, :, 1] = middle + 40 * np.sin(2 * np.pi * (along * rng.uniform(1, 2) + rng.uniform()))
    return ways


def write_film(path: Path, pictures: Iterator[tuple[Image, list[Placed]]]) -> list[list[Placed]]:
    """Write H.264 at 25 frames per second, each picture five times, and give the truth of each picture."""
    truth = []
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            "libx264", rate=LOOKED * REPEATED, options={"preset": "veryfast", "crf": "20"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture, boxes in pictures:
            truth.append(boxes)
            for _ in range(REPEATED):
                for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                    container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return truth


def follow(path: Path, recognizer: Recognizer) -> FaceTracker:
    """The tracker after the film."""
    tracker = FaceTracker(recognizer)
    for frame in Film(path).frames(LOOKED):
        tracker.look(frame)
    return tracker


def judge(tracks: Sequence[Track], truth: Sequence[Sequence[Placed]]) -> dict[str, int]:
    """Counts of one film (see the module)."""
    people, elsewhere = len(truth[0]), 0
    seen: list[dict[int, int]] = [{} for _ in range(people)]  # moment -> track, of each person
    at: dict[int, list[tuple[int, Box]]] = {}
    for track in tracks:
        for one in track.sightings:
            at.setdefault(min(round(one.time * LOOKED), len(truth) - 1), []).append((track.number, one.box))
    for moment, sightings in at.items():
        overlap = np.array([[box.iou(placed) for placed, _ in truth[moment]] for _, box in sightings])
        for i, who in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            if overlap[i, who] >= 0.3:
                seen[who][moment] = sightings[i][0]
        elsewhere += int((overlap.max(axis=1) < 0.3).sum())
    switches = fragments = 0
    for person in seen:
        order = [person[moment] for moment in sorted(person)]
        changes = [(a, b) for a, b in itertools.pairwise(order) if a != b]
        taken = [b for _, b in changes if any(b in other.values() for other in seen if other is not person)]
        switches += len(taken)
        fragments += len(changes) - len(taken)
    shown = [{m for m, placed in enumerate(truth) if placed[who][1]} for who in range(people)]
    return {
        "people": people,
        "tracks": len(tracks),
        "missed people": sum(not one and len(often) > 1 for one, often in zip(seen, shown, strict=True)),
        "switches to another's track": switches,
        "new tracks of a person": fragments,
        "faces shown": sum(map(len, shown)),
        "faces seen": sum(len(one.keys() & often) for one, often in zip(seen, shown, strict=True)),
        "elsewhere": elsewhere,
    }


def cast(
    number: int, films: int, faces: Path | None, moments: int, recognizer: Recognizer
) -> Iterator[list[list[Head]]]:
    """The people of each film, `number` at a time, with a head for each moment."""
    if faces is None:
        everybody = synthetic_people(films * number, seed=22)
        for film in range(films):
            turned = []
            for who, person in enumerate(everybody[film * number : (film + 1) * number]):
                yaws = 60 * np.sin(np.linspace(0, 2 * np.pi, moments) + 2.1 * who)
                turned.append(rendered_heads(person, yaws.tolist()))
            yield turned
        return
    videos: dict[str, list[Path]] = {}
    held = set(ytf_people(faces)[::HELD_OUT_EVERY_YTF])
    for frame in sorted((faces / "frames").glob("*/*.jpg")):
        person = person_of_frame(frame)
        if person in held and (person not in videos or videos[person][0].stem[:-1] == frame.stem[:-1]):
            videos.setdefault(person, []).append(frame)
    ready = (heads for frames in videos.values() if (heads := filmed_heads(frames, recognizer, moments)))
    for _ in range(films):
        yield [next(ready) for _ in range(number)]


def crossing(out: Path, films: int, people: int, faces: Path | None, seconds: float = 12.0) -> None:
    """Make films, follow their faces, print the counts."""
    recognizer = Recognizer.load()
    moments = round(seconds * LOOKED)
    total: dict[str, int] = {}
    for film, heads in enumerate(cast(people, films, faces, moments, recognizer)):
        path = out / f"crossing-{'rendered' if faces is None else 'ytf'}-{people}-{film}.mp4"
        truth = write_film(path, compose(heads, ways_across(people, moments, film)))
        tracker = follow(path, recognizer)
        found = judge(tracker.tracks, truth)
        print(path.name, found, flush=True)
        total = {name: total.get(name, 0) + value for name, value in found.items()}
    print("all", total)


def speed(out: Path, faces: Path | None, seconds: float = 20.0) -> None:
    """Frames per second of a film of two people who stand beside each other and turn."""
    recognizer = Recognizer.load()
    moments = round(seconds * LOOKED)
    heads = next(cast(2, 1, faces, moments, recognizer))
    ways = np.tile(np.array([[[200.0, 200.0]], [[800.0, 200.0]]]), (1, moments, 1))
    path = out / "speed.mp4"
    write_film(path, compose(heads, ways))
    frame = next(Film(path).frames(LOOKED))
    FaceTracker(recognizer).look(frame)  # what is loaded late
    cores = usable_cores()
    with cores_shared(cores), ThreadPoolExecutor(cores) as pool:
        tracker = FaceTracker(recognizer, pool=pool)
        began, cpu, looked = time.perf_counter(), time.process_time(), 0
        for frame in read_ahead(Film(path), LOOKED):
            tracker.look(frame)
            looked += 1
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"{looked} frames of {seconds:.0f} s, {len(tracker.tracks)} tracks, searched on {tracker.searched}: "
        f"{took:.1f} s on {cores} cores, {looked / took:.1f} frames per second, decoding included; "
        f"{1000 * cpu / looked:.0f} ms of the processor per frame; load average {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=["crossing", "speed"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--films", type=int, default=6)
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--faces", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.question == "crossing":
        crossing(given.out, given.films, given.people, given.faces)
    else:
        speed(given.out, given.faces)


if __name__ == "__main__":
    main()
