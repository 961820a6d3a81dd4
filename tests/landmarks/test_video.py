"""Films as frames by time: a film of every kind that docs/inputs.md lists, and that the answer is the listed one."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from facerec.landmarks import video
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image
from facerec.landmarks.types import Image
from facerec.landmarks.video import Film, Frame, is_film, read_ahead

TABLE = Path(__file__).parents[2] / "docs" / "inputs.md"


def write_film(
    path: Path,
    frames: list[np.ndarray],
    turned: int = 0,
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    times: list[float] | None = None,
) -> Path:
    """25 frames per second, or one at each of `times`, seconds."""
    av = pytest.importorskip("av", reason="needs facerec[video]")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25 if times is None else 100)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], pixels
        if turned:
            stream.set_display_rotation(turned)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(100 * times[number]), Fraction(1, 100)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def ramp(count: int) -> list[np.ndarray]:
    """Frame k is grey of 5 k."""
    return [np.full((48, 64, 3), 5 * k, dtype=np.uint8) for k in range(count)]


def containers(folder: Path) -> None:
    for name in ("a.mp4", "a.mov", "a.mkv", "a.avi", "a.webm"):
        path = write_film(folder / name, ramp(50), codec="libvpx" if name.endswith("webm") else "mpeg4")
        frames = list(Film(path).frames(5))
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(10) / 5, atol=0.041)
        greys = [5 * frame.number for frame in frames]
        np.testing.assert_allclose([frame.image.mean() for frame in frames], greys, atol=4)
        assert is_film(path)
        assert Film(path).duration == pytest.approx(2, abs=0.1)


def ten_bits(folder: Path) -> None:
    frames = list(Film(write_film(folder / "a.mkv", ramp(50), codec="ffv1", pixels="yuv420p10le")).frames(5))
    assert frames[-1].image.dtype == np.uint8
    np.testing.assert_allclose([frame.image.mean() for frame in frames], [5 * f.number for f in frames], atol=4)


def without_the_extra(folder: Path) -> None:
    (folder / "a.mp4").write_bytes(b"film")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        with pytest.raises(InvalidInputError, match=r"facerec\[video\]"):
            list(Film(folder / "a.mp4").frames(5))


def rotation(folder: Path) -> None:
    for name, turned in itertools.product(("a.mp4", "a.mov"), (0, 90, 180, 270)):
        upright = np.zeros((64, 48, 3), dtype=np.uint8)
        upright[:20] = (250, 20, 20)
        stored = np.ascontiguousarray(np.rot90(upright, -(turned // 90)))
        (frame,) = Film(write_film(folder / name, [stored] * 2, turned=turned)).frames(5)
        assert frame.image.shape == upright.shape
        assert np.abs(frame.image.astype(int) - upright).mean() < 12


def variable_rate(folder: Path) -> None:
    times = [0.0, 0.03, 0.3, 0.32, 0.34, 1.0, 1.5, 1.51, 2.0]
    for name in ("a.mp4", "a.mkv"):
        found = list(Film(write_film(folder / name, ramp(len(times)), times=times)).frames(5))
        assert [round(frame.time, 2) for frame in found] == [0.0, 0.3, 1.0, 1.5, 2.0]
        np.testing.assert_allclose([frame.image.mean() for frame in found], [0, 10, 25, 30, 40], atol=4)
    gif_of_variable_rate(folder)


def gif_of_variable_rate(folder: Path) -> None:
    frames = [PilImage.fromarray(pixels) for pixels in ramp(12)]
    lengths = [40] * 10 + [1000, 40]  # ten fast ones, a pause of a second, one more
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:], duration=lengths)
    found = list(Film(folder / "a.gif").frames(5))
    assert [round(frame.time, 2) for frame in found] == [0.0, 0.2, 0.4, 1.4]
    assert [int(frame.image.mean()) for frame in found] == [0, 25, 50, 55]


def animations(folder: Path) -> None:
    frames = [PilImage.fromarray(pixels) for pixels in ramp(6)]
    for name in ("a.gif", "a.webp"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=200, lossless=True)
        found = list(Film(folder / name).frames(5))
        assert [frame.number for frame in found] == list(range(6))
        assert [int(frame.image.mean()) for frame in found] == [0, 5, 10, 15, 20, 25]
        assert not is_film(folder / name)  # a photograph without --film
    clear = PilImage.new("RGBA", (64, 48), (0, 0, 0, 0))
    clear.save(folder / "b.webp", save_all=True, append_images=[frames[3]], duration=200, lossless=True)
    assert [int(frame.image.mean()) for frame in Film(folder / "b.webp").frames(5)] == [255, 15]


def folders(folder: Path) -> None:
    folder = folder / "burst"
    folder.mkdir()
    for number in (1, 2, 10):
        write_image(folder / f"f{number}.png", ramp(11)[number])
    (folder / "f3.png").write_bytes(b"damaged")
    found = list(Film(folder).frames(5))
    assert [int(frame.image.mean()) for frame in found] == [5, 10, 50]  # 10 after 2; what cannot be read is passed over


def test_frames_decoded_ahead_are_those_of_the_film_and_its_errors_arrive(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", ramp(50))
    ahead, film = list(read_ahead(Film(path), 5)), list(Film(path).frames(5))
    assert [(frame.number, frame.time) for frame in ahead] == [(frame.number, frame.time) for frame in film]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(ahead, film, strict=True))
    with pytest.raises(InvalidInputError, match="expected a film"):
        list(read_ahead(Film(tmp_path / "none.mp4"), 5))


def test_a_reader_that_stops_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    frames = read_ahead(Film(write_film(tmp_path / "a.mp4", ramp(50))), 25)
    assert next(frames).number == 0
    frames.close()
    assert "facerec-decode" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("live", [True, False])
def test_only_a_live_source_drops_frames_for_a_slow_caller(monkeypatch: pytest.MonkeyPatch, live: bool) -> None:
    given = threading.Event()

    def frames(self: Film, rate: float) -> Iterator[Frame]:
        for number in range(9):
            yield Frame(number, number / rate, np.zeros((2, 2, 3), dtype=np.uint8))
        given.set()

    monkeypatch.setattr(Film, "frames", frames)
    reader = read_ahead(Film("camera:0" if live else Path("a.mp4")), 5)
    first = next(reader)
    given.wait(5 if live else 0.5)
    numbers = [first.number, *(frame.number for frame in reader)]
    assert numbers[-1] == 8
    assert len(numbers) < 9 if live else numbers == list(range(9))


def test_frames_that_are_not_looked_at_are_not_turned_into_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_film(tmp_path / "a.mp4", ramp(50))
    made: list[object] = []
    whole = video._turn_upright

    def turn(frame: object) -> Image:
        made.append(frame)
        return whole(frame)

    monkeypatch.setattr(video, "_turn_upright", turn)
    assert len(list(Film(path).frames(5))) == len(made) == 10


def truncated(folder: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(50)]
    for name in ("a.mkv", "a.avi", "a.webm"):
        whole = write_film(folder / name, noise, codec="libvpx" if name.endswith("webm") else "mpeg4")
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        assert 2 <= len(list(Film(whole).frames(5))) < 10, name


def no_index(folder: Path) -> None:
    whole = write_film(folder / "a.mp4", ramp(50))  # its index stands at the end
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refused(whole)


def no_film(folder: Path) -> None:
    av = pytest.importorskip("av", reason="needs facerec[video]")
    (folder / "a.mp4").write_bytes(b"no film" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "empty").mkdir()
    with av.open(str(folder / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    for name in ("a.mp4", "empty.mp4", "empty", "none.mp4", "a.gif", "sound.mkv"):
        refused(folder / name)


def refused(source: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        list(Film(source).frames(5))


CASES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "mp4, mov, mkv, avi, webm": ("frames by time, with `facerec[video]`", containers),
    "the same without the extra": ("refused: names the extra", without_the_extra),
    "animated GIF or WebP, with `--film`": ("frames by time; transparency stands on white", animations),
    "folder of pictures, with `--film`": ("in the order of their numbers; unreadable ones are left out", folders),
    "variable frame rate": ("frames by time", variable_rate),
    "10 bits per colour": ("scaled to 8 bits", ten_bits),
    "rotation that a phone records": ("applied", rotation),
    "film that lacks its end": ("read as far as it goes", truncated),
    "mp4 or mov that lacks its end, where the index stands": ("refused", no_index),
    "sound alone, empty folder, no film": ("refused", no_film),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_of_film_gives_what_the_table_says(kind: str, tmp_path: Path) -> None:
    CASES[kind][1](tmp_path)


def test_the_table_lists_the_kinds_that_are_tested_with_their_answers() -> None:
    (table,) = [part for part in TABLE.read_text("utf-8").split("\n## ") if part.startswith("Films")]
    rows = [line.strip("| \n").split(" | ") for line in table.splitlines() if line[:2] == "| "]
    assert {row[0]: row[1] for row in rows[2:]} == {kind: answer for kind, (answer, _) in CASES.items()}


def test_a_rate_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="rate"):
        list(Film(tmp_path / "a.mp4").frames(0))


def test_a_password_in_an_address_is_not_repeated() -> None:
    assert Film("rtsp://me:secret@camera/1").name == "rtsp://camera/1"
