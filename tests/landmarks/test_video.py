"""Films as frames by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image
from facerec.landmarks.video import Film, is_film


def write_film(path: Path, frames: list[np.ndarray], rate: int = 25, turned: int = 0, codec: str = "mpeg4") -> Path:
    av = pytest.importorskip("av", reason="needs facerec[video]")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        if turned:
            stream.set_display_rotation(turned)
        for pixels in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def ramp(count: int) -> list[np.ndarray]:
    """Frame k is grey of 5 k."""
    return [np.full((48, 64, 3), 5 * k, dtype=np.uint8) for k in range(count)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.webm"])
def test_every_container_gives_its_frames_by_time(tmp_path: Path, name: str) -> None:
    path = write_film(tmp_path / name, ramp(50), codec="libvpx" if name.endswith("webm") else "mpeg4")
    frames = list(Film(path).frames(5))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(10) / 5, atol=0.041)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], [5 * frame.number for frame in frames], atol=4)
    assert is_film(path)
    assert Film(path).duration == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_the_rotation_that_a_phone_records_is_applied(tmp_path: Path, turned: int) -> None:
    upright = np.zeros((64, 48, 3), dtype=np.uint8)
    upright[:20] = (250, 20, 20)
    stored = np.ascontiguousarray(np.rot90(upright, -(turned // 90)))
    (frame,) = Film(write_film(tmp_path / "a.mp4", [stored] * 2, turned=turned)).frames(5)
    assert frame.image.shape == upright.shape
    assert np.abs(frame.image.astype(int) - upright).mean() < 12


def test_a_variable_frame_rate_is_sampled_by_time(tmp_path: Path) -> None:
    frames = [PilImage.fromarray(pixels) for pixels in ramp(12)]
    lengths = [40] * 10 + [1000, 40]  # ten fast ones, a pause of a second, one more
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=lengths)
    times = [round(frame.time, 2) for frame in Film(tmp_path / "a.gif").frames(5)]
    assert times == [0.0, 0.2, 0.4, 1.4]


def test_animated_webp_and_folders_of_frames_are_films(tmp_path: Path) -> None:
    frames = [PilImage.fromarray(pixels) for pixels in ramp(6)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=200, lossless=True)
    assert [frame.number for frame in Film(tmp_path / "a.webp").frames(5)] == list(range(6))
    folder = tmp_path / "burst"
    folder.mkdir()
    for number in (1, 2, 10):
        write_image(folder / f"f{number}.png", ramp(11)[number])
    (folder / "f3.png").write_bytes(b"damaged")
    found = list(Film(folder).frames(5))
    assert [int(frame.image.mean()) for frame in found] == [5, 10, 50]  # 10 after 2; what cannot be read is passed over


def test_a_truncated_film_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(50)]
    whole = write_film(tmp_path / "a.mkv", noise)
    (tmp_path / "b.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 2 <= len(list(Film(tmp_path / "b.mkv").frames(5))) < 10


def test_a_file_that_is_no_film_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs facerec[video]")
    (tmp_path / "a.mp4").write_bytes(b"no film" * 100)
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "a.mp4", tmp_path / "empty", tmp_path / "none.mp4", tmp_path / "a.gif"):
        with pytest.raises(InvalidInputError, match="expected"):
            list(Film(source).frames(5))
    with pytest.raises(InvalidInputError, match="rate"):
        list(Film(tmp_path / "a.mp4").frames(0))


def test_a_password_in_an_address_is_not_repeated() -> None:
    assert Film("rtsp://me:secret@camera/1").name == "rtsp://camera/1"
