"""Reading and writing of photographs; the only module that does (`decode` decodes the bytes).

Every way in goes through `read_image`, so a phone picture is upright, a transparent one is blended with white, and a
file that is no picture gets a reason code, whatever reads it.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from facerec.landmarks.decode import MAX_PIXELS, DecodedPhoto, decode
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.types import Image, check_image, describe_value

MAX_BYTES = 1 << 30
"""Largest file that is read, bytes: an uncompressed 16-bit RGB picture of `MAX_PIXELS` has 600 MB."""


Photo = Path | str | bytes | Image
"""A photograph as it comes: its file, the bytes of its file, or its pixels, (H, W, 3) uint8 RGB."""


def as_image(photo: Photo) -> Image:
    """The pixels of a photograph: `read_image` of a file or its bytes; an array is checked and returned as it is.

    Raises:
        UnusablePhotoError: as `read_image`. InvalidInputError: an array of another shape or type, or no photograph.
    """
    return as_photo(photo).pixels


def as_photo(photo: Photo) -> DecodedPhoto:
    """As `as_image`, with the notes of `read_photo`; an array has none."""
    return DecodedPhoto(check_image(photo)) if isinstance(photo, np.ndarray) else read_photo(photo)


def read_image(source: Path | str | bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode a photograph to (H, W, 3) uint8 RGB, upright: the pixels of `read_photo`, with its errors."""
    return read_photo(source, max_pixels).pixels


def read_photo(source: Path | str | bytes, max_pixels: int = MAX_PIXELS) -> DecodedPhoto:
    """Decode a photograph to upright sRGB pixels, with a note on each defect that was compensated.

    EXIF orientation is applied, a colour profile is converted to sRGB, transparency is laid on white, 16-bit values
    are scaled to 8 bits (12-bit values in a 16-bit file by their own white, with a note), of an animation, a
    multi-page file, a photograph with a film or a gain map behind it the first picture is taken, and a JPEG that lacks
    its end is read as far as it goes, with a note. docs/inputs.md lists what each kind of file gives.

    Args:
        source: a path, or the bytes of an encoded picture.
        max_pixels: pictures of more pixels are refused before they are decoded. Pillow's own limit on decompression
            bombs (`2 * PIL.Image.MAX_IMAGE_PIXELS`) holds as well.

    Raises:
        UnusablePhotoError: "unreadable" (missing, empty, damaged, not a known format) or "too_large"; names the file.
        InvalidInputError: neither a path nor bytes.
    """
    if not isinstance(source, Path | str | bytes):
        raise InvalidInputError(
            f"expected a photograph: its path (str or Path) or the bytes of its file; got {describe_value(source)}"
        )
    try:
        return decode(source if isinstance(source, bytes) else _read_bytes(Path(source)), max_pixels)
    except UnusablePhotoError as error:
        if isinstance(source, bytes):
            raise
        raise UnusablePhotoError(error.reason, error.detail, str(source)) from error.__cause__


def photo_digest(path: Path | str) -> str:
    """SHA-256 of the file's bytes, 64 hex digits. Raises `UnusablePhotoError` ("unreadable") when it cannot be read."""
    try:
        _check_regular(Path(path))
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except UnusablePhotoError as error:
        raise UnusablePhotoError(error.reason, error.detail, str(path)) from None
    except OSError as error:
        raise UnusablePhotoError("unreadable", _describe_error(error), str(path)) from None


def write_image(path: Path | str, image: Image) -> None:
    """Write (H, W, 3) uint8 RGB as PNG or JPEG, by the path's ending.

    Raises `InvalidInputError` for another ending or a value that is no image.
    """
    path = Path(path)
    stream = io.BytesIO()
    picture = PilImage.fromarray(np.ascontiguousarray(check_image(image)))
    match path.suffix.lower():
        case ".png":
            picture.save(stream, "PNG")
        case ".jpg" | ".jpeg":
            # 4:4:4 at 95: the written picture may be read again as a probe, so it should cost no detail.
            picture.save(stream, "JPEG", quality=95, subsampling=0)
        case _:
            raise InvalidInputError(f"expected a path that ends in .png, .jpg or .jpeg; got {path}")
    path.write_bytes(stream.getvalue())


def _read_bytes(path: Path) -> bytes:
    try:
        _check_regular(path)
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_BYTES:
                raise UnusablePhotoError("too_large", f"a file of {size} bytes; at most {MAX_BYTES} bytes are read")
            return stream.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UnusablePhotoError("unreadable", _describe_error(error)) from None


def _check_regular(path: Path) -> None:
    """Before it is opened: a pipe would wait for a writer for ever, a device never ends."""
    if path.is_dir():
        raise UnusablePhotoError("unreadable", "a folder, not a photograph")
    if path.exists() and not path.is_file():
        raise UnusablePhotoError("unreadable", "not a regular file")


def _describe_error(error: Exception) -> str:
    return f"cannot be opened: {error.strerror if isinstance(error, OSError) and error.strerror else error}"


__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "DecodedPhoto",
    "Photo",
    "as_image",
    "as_photo",
    "photo_digest",
    "read_image",
    "read_photo",
    "write_image",
]
