"""Films as frames by time: files, animations, folders of frames, cameras and streams through one reader.

Files, cameras and streams are decoded by PyAV (the extra `video`), animations by Pillow, folders picture by picture.
Frames are chosen by their time, not their number, so a variable frame rate changes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

import numpy as np
from PIL import Image as PilImage

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Image

FILM_EXTENSIONS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".3gp", ".ts"})
"""Lower-case extensions of films; animations (GIF, WebP) and folders are films only on request."""

STREAMS = ("rtsp://", "rtsps://", "rtmp://")

_Decoded = tuple[int, float, Callable[[], Image]]
"""Number and time of a frame, and what makes its picture: most frames are not looked at."""

_AHEAD = 3
"""Frames that `read_ahead` keeps ready: 8 MB at 720p, and a slow frame now and then stops nothing."""

_ANIMATIONS = frozenset({".gif", ".webp"})
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a film.

    Attributes:
        number: its place in the film, from 0; frames that were not chosen count.
        time: seconds from the film's first frame; in a folder of frames, their number over the rate asked for.
        image: (H, W, 3) uint8 RGB, upright: turned as the film's display rotation says.
    """

    number: int
    time: float
    image: Image

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Frame({self.number}, {self.time:.2f} s, {width} x {height} px)"


def is_film(source: str | Path) -> bool:
    """Whether a file's ending or an address means a film."""
    return str(source).startswith(STREAMS) or Path(source).suffix.lower() in FILM_EXTENSIONS


@dataclass(frozen=True)
class Film:
    """Where frames come from; opened again by each `frames`.

    Attributes:
        source: a film's file, an animation, a folder of frames, an address (rtsp://...), or "camera:N".
    """

    source: Path | str

    @property
    def name(self) -> str:
        """What answers call it; what stands before an @ in an address, a password perhaps, is left out."""
        return re.sub(r"//[^/@]*@", "//", str(self.source))

    @property
    def duration(self) -> float | None:
        """Length in seconds; None where it is not known before the end (streams, cameras, animations)."""
        if not self._by_av or not isinstance(self.source, Path):
            return None
        with _open_film(self.source) as container:
            return None if container.duration is None else container.duration / 1e6

    def frames(self, rate: float = 5.0) -> Iterator[Frame]:
        """The frames that are looked at, `rate` a second at most; of a folder all.

        Raises:
            InvalidInputError: there is no such film, it cannot be read, or the extra `video` is missing. A film that is
            damaged further on ends there.
        """
        if not rate > 0:
            raise InvalidInputError(f"expected a rate of more than 0 frames per second; got {rate}")
        if isinstance(self.source, Path) and self.source.is_dir():
            yield from _folder_frames(self.source, rate)
            return
        frames = _av_frames(self.source) if self._by_av else _animation_frames(Path(self.source))
        due = -np.inf
        for number, time, picture in frames:
            if time >= due - 1e-6:
                # From the last due time, so that 5 a second stay 5 at any frame rate; after a gap, from now.
                due = time + 1 / rate if time >= due + 1 / rate else due + 1 / rate
                yield Frame(number, time, picture())

    @property
    def live(self) -> bool:
        """Whether it goes on whether or not anybody looks: a camera or a stream."""
        return not isinstance(self.source, Path)

    @property
    def _by_av(self) -> bool:
        return not (
            isinstance(self.source, Path) and (self.source.suffix.lower() in _ANIMATIONS or self.source.is_dir())
        )


def read_ahead(film: Film, rate: float) -> Generator[Frame, None, None]:
    """`film.frames(rate)`, decoded by a thread of its own while the caller works on the frame before.

    Of a camera or a stream that is faster than the caller the oldest waiting frames are left out, so that what is
    looked at is never old.
    """
    waiting: Queue[Frame | BaseException | None] = Queue(_AHEAD)  # None: the end
    closed = Event()

    def put(item: Frame | BaseException | None) -> None:
        while not closed.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return
            except Full:
                if film.live:
                    with contextlib.suppress(Empty):
                        waiting.get_nowait()

    def decode() -> None:
        try:
            for frame in film.frames(rate):
                put(frame)
                if closed.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = Thread(target=decode, name="facerec-decode", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = waiting.get(timeout=1.0)  # not for ever: Ctrl-C must end it on every system
            except Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join(5.0)


def _folder_frames(folder: Path, rate: float) -> Iterator[Frame]:
    from facerec.landmarks.photo_files import PHOTO_EXTENSIONS

    files = [file for file in folder.iterdir() if file.suffix.lower() in PHOTO_EXTENSIONS and file.name[0] != "."]
    if not files:
        raise InvalidInputError(f"expected a folder of frames; {folder} holds no picture")
    for number, file in enumerate(sorted(files, key=_natural_key)):
        try:
            image = read_image(file)
        except UnusablePhotoError:
            continue  # as a frame of a film that cannot be decoded
        yield Frame(number, number / rate, image)


def _natural_key(file: Path) -> list[tuple[int, str]]:
    """frame-2 before frame-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBER.split(file.name) if part]


def _animation_frames(path: Path) -> Iterator[_Decoded]:
    try:
        with PilImage.open(path, formats=["GIF", "WEBP"]) as animation:
            time = 0.0
            for number in range(getattr(animation, "n_frames", 1)):
                animation.seek(number)
                yield number, time, lambda: _on_white(animation)
                time += max(animation.info.get("duration", 100), 10) / 1000
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInputError(f"expected an animation; {path} cannot be read: {error}") from error


def _on_white(animation: PilImage.Image) -> Image:
    layer = animation.convert("RGBA")
    ground = PilImage.new("RGBA", layer.size, "white")
    ground.alpha_composite(layer)
    return np.array(ground.convert("RGB"), dtype=np.uint8)


def _open_film(source: Path | str) -> Any:
    try:
        av = importlib.import_module("av")
    except ImportError:
        raise InvalidInputError("films are read with facerec[video], which is not installed") from None
    text, form, options = str(source), None, {}
    if text.startswith("camera:"):
        number = text.removeprefix("camera:")
        text, form = {
            "darwin": (number, "avfoundation"),
            "win32": (f"video={number}", "dshow"),
        }.get(sys.platform, (f"/dev/video{number}", "v4l2"))
    elif text.startswith("rtsp"):
        options = {"rtsp_transport": "tcp"}  # over UDP, lost packets tear the picture
    try:
        return av.open(text, format=form, options=options, timeout=20.0)
    except (av.FFmpegError, OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"expected a film; {Film(source).name} cannot be opened: {said}") from error


def _av_frames(source: Path | str) -> Iterator[_Decoded]:
    with _open_film(source) as container:
        av = importlib.import_module("av")
        if not container.streams.video:
            raise InvalidInputError(f"expected a film; {Film(source).name} holds no picture")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # the cores are used by the networks
        first: float | None = None
        number, last = 0, 0.0
        try:
            for frame in container.decode(stream):
                time = frame.time if frame.time is not None else last
                first = time if first is None else first
                last = time
                yield number, time - first, functools.partial(_turn_upright, frame)
                number += 1
        except av.FFmpegError as error:
            if not number:
                raise InvalidInputError(f"expected a film; {Film(source).name} cannot be decoded: {error}") from error


def _turn_upright(frame: Any) -> Image:
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # counter-clockwise, as the display matrix has it
    return np.ascontiguousarray(np.rot90(pixels, turns), dtype=np.uint8)
