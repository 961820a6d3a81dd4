"""Which files of a folder are photographs, and what is said of the others."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import photo_digest, read_image
from facerec.landmarks.photo_files import list_photos


@pytest.fixture
def picture() -> PilImage.Image:
    return PilImage.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA"])
@pytest.mark.parametrize("name", ["photo", "photo.dat", "photo.backup", "photo.jfif", "photo.jpe"])
def test_content_decides_what_a_photograph_is(tmp_path: Path, picture: PilImage.Image, kind: str, name: str) -> None:
    picture.save(tmp_path / name, kind)
    (photo,) = list_photos([tmp_path]).photos
    assert read_image(photo).shape == (8, 8, 3)


def test_a_picture_of_another_kind_than_its_name_says_is_read(tmp_path: Path, picture: PilImage.Image) -> None:
    picture.save(tmp_path / "a.jpg", "WEBP")
    (photo,) = list_photos([tmp_path]).photos
    assert read_image(photo).shape == (8, 8, 3)


def test_everything_that_is_passed_over_has_a_reason(tmp_path: Path, picture: PilImage.Image) -> None:
    picture.save(tmp_path / "a.png")
    (tmp_path / "b.mp4").write_bytes(b"")
    (tmp_path / "c").write_bytes(b"\0\0\0\x18ftypqt  rest of a film")
    (tmp_path / "d.txt").write_text("BMW and other text")
    (tmp_path / "e").write_bytes(b"")
    (tmp_path / "f").symlink_to("nowhere")
    (tmp_path / ".hidden").write_text("x")
    listing = list_photos([tmp_path])
    assert [path.name for path in listing.photos] == ["a.png"]
    assert {path.name: why for path, why in listing.passed_over} == {
        "b.mp4": "a film",
        "c": "a film",
        "d.txt": "not a picture",
        "e": "not a picture",
        "f": "cannot be opened: No such file or directory",
    }


def test_pipes_sockets_devices_loops_and_names_of_any_bytes_stop_nothing(
    tmp_path: Path, picture: PilImage.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    picture.save(tmp_path / "a.png")
    strange.write_bytes((tmp_path / "a.png").read_bytes())
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.chdir(tmp_path)  # a socket's path is at most some 100 bytes
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.jpg")
        (tmp_path / "null.jpg").symlink_to("/dev/null")
        (tmp_path / "loop").symlink_to(tmp_path)
        listing = list_photos([tmp_path])
    assert set(listing.photos) == {tmp_path / "a.png", strange}
    device = "not a regular file (a pipe, a socket or a device)"
    assert {path.name: why for path, why in listing.passed_over} == {
        "pipe.jpg": device,
        "socket.jpg": device,
        "null.jpg": device,
        "loop": "a folder that is already listed (a link leads to it)",
    }


def test_a_folder_that_cannot_be_read_is_passed_over(
    tmp_path: Path, picture: PilImage.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    picture.save(tmp_path / "open.png")
    listed = Path.iterdir

    def refusing(folder: Path) -> Any:  # a superuser may read every folder, so chmod would prove nothing
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refusing)
    listing = list_photos([tmp_path])
    assert [path.name for path in listing.photos] == ["open.png"]
    assert listing.passed_over == ((tmp_path / "closed", "cannot be opened: Permission denied"),)


@pytest.mark.parametrize("name", ["pipe", "/dev/zero"])
def test_what_never_ends_is_not_opened(tmp_path: Path, name: str) -> None:
    """Both would keep a reader for ever, so this test hangs where they are opened."""
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    for read in (photo_digest, read_image):
        with pytest.raises(UnusablePhotoError, match="not a regular file"):
            read(path)


def test_photographs_keep_the_order_in_which_they_are_given(tmp_path: Path, picture: PilImage.Image) -> None:
    for name in ("b.png", "a.png", "in/z.png", "in/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name)
    given = [tmp_path / "b.png", tmp_path / "in", tmp_path / "a.png", tmp_path / "b.png"]
    listed = [path.relative_to(tmp_path).as_posix() for path in list_photos(given).photos]
    assert listed == ["b.png", "in/y.png", "in/z.png", "a.png"]
