"""From a file to pixels: the one place where photographs are read and written.

Every way in goes through `read_image`, so a phone picture is upright, a transparent one stands on white and a file that
is no picture gets a reason code, wherever it enters.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.types import Image, check_image, describe_value

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded, pixels: past every medium-format back of note, and 300 MB once it is RGB."""

MAX_BYTES = 1 << 30
"""Largest file that is read, bytes: an uncompressed 16-bit RGB picture of `MAX_PIXELS` has 600 MB."""

# Named one by one: Pillow would otherwise also start Ghostscript for EPS and read formats nobody keeps portraits in.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_END_OF_JPEG = b"\xff\xd9"

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: PilImage.Transpose.FLIP_LEFT_RIGHT,
    3: PilImage.Transpose.ROTATE_180,
    4: PilImage.Transpose.FLIP_TOP_BOTTOM,
    5: PilImage.Transpose.TRANSPOSE,
    6: PilImage.Transpose.ROTATE_270,
    7: PilImage.Transpose.TRANSVERSE,
    8: PilImage.Transpose.ROTATE_90,
}

# `warnings.catch_warnings` is not safe between threads. Headers are parsed one at a time (well under a millisecond);
# the decoding itself, which does not warn, runs outside the lock.
_header_lock = threading.Lock()


Photo = Path | str | bytes | Image
"""A photograph as it comes: its file, the bytes of its file, or its pixels, (H, W, 3) uint8 RGB."""


def as_image(photo: Photo) -> Image:
    """The pixels of a photograph: `read_image` of a file or its bytes; an array is checked and returned as it is.

    Raises:
        UnusablePhotoError: as `read_image`. InvalidInputError: an array of another shape or type, or no photograph.
    """
    return check_image(photo) if isinstance(photo, np.ndarray) else read_image(photo)


def read_image(source: Path | str | bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode a photograph to (H, W, 3) uint8 RGB, upright.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, and of an animation
    or a multi-page file the first picture is taken.

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
        return _decode(source, max_pixels)
    except UnusablePhotoError as error:
        if isinstance(source, bytes):
            raise
        raise UnusablePhotoError(error.reason, error.detail, str(source)) from error.__cause__


def _decode(source: Path | str | bytes, max_pixels: int) -> Image:
    data = source if isinstance(source, bytes) else _read_bytes(Path(source))
    if not data:
        raise UnusablePhotoError("unreadable", "the file is empty")
    try:
        with _open(data) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise UnusablePhotoError(
                    "too_large", f"{width} x {height} pixels; at most {max_pixels} pixels are decoded"
                )
            plain = _decoded_plain_jpeg(picture, data)
            if plain is not None:
                return plain
            picture.load()
            orientation = _orientation(picture)
            rgb = _as_rgb(picture)
            if orientation in _UPRIGHT:
                rgb = rgb.transpose(_UPRIGHT[orientation])
            pixels = np.array(rgb, dtype=np.uint8)
    except UnusablePhotoError:
        raise
    except PilImage.DecompressionBombError:
        raise UnusablePhotoError("too_large", f"far more than {max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise UnusablePhotoError("unreadable", _what_it_is_not(data)) from None
    except MemoryError:
        raise UnusablePhotoError("too_large", "not enough memory to decode it") from None
    except (
        Exception
    ) as error:  # decoders answer damaged data with almost any exception: OSError, SyntaxError, IndexError
        raise UnusablePhotoError("unreadable", f"damaged picture: {error}") from error
    return check_image(pixels)


def photo_digest(path: Path | str) -> str:
    """SHA-256 of the file's bytes, 64 hex digits. Raises `UnusablePhotoError` ("unreadable") when it cannot be read."""
    try:
        _check_regular(Path(path))
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except UnusablePhotoError as error:
        raise UnusablePhotoError(error.reason, error.detail, str(path)) from None
    except OSError as error:
        raise UnusablePhotoError("unreadable", _said(error), str(path)) from None


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
        raise UnusablePhotoError("unreadable", _said(error)) from None


def _check_regular(path: Path) -> None:
    """Before it is opened: a pipe would wait for a writer for ever, a device never ends."""
    if path.is_dir():
        raise UnusablePhotoError("unreadable", "a folder, not a photograph")
    if path.exists() and not path.is_file():
        raise UnusablePhotoError("unreadable", "not a regular file")


def _said(error: Exception) -> str:
    return f"cannot be opened: {error.strerror if isinstance(error, OSError) and error.strerror else error}"


def _open(data: bytes) -> PilImage.Image:
    with _header_lock, warnings.catch_warnings():
        # Pillow reports damaged metadata and large sizes as warnings of its own modules; both are answered here.
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        PilImage.init()
        formats = [name for name in _FORMATS if name in PilImage.OPEN]
        return PilImage.open(io.BytesIO(data), formats=formats)


def _decoded_plain_jpeg(picture: PilImage.Image, data: bytes) -> Image | None:
    """The same pixels as Pillow gives, of a JPEG without peculiarities; OpenCV hands them over without copies.

    None for everything else: other colours than RGB and grey, a turn, and files that may be damaged. What does not end
    as it should and what cannot be decoded to its end, OpenCV fills up with one grey in silence.
    """
    plain = picture.format == "JPEG" and picture.mode in ("RGB", "L") and picture.info.get("adobe_transform", 1) == 1
    if not plain or not data.endswith(_END_OF_JPEG) or _orientation(picture) in _UPRIGHT:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or (pixels.shape[1], pixels.shape[0]) != picture.size or (pixels[-1] == pixels[-1, 0]).all():
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)


def _orientation(picture: PilImage.Image) -> int:
    with _header_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        try:
            return int(picture.getexif().get(_ORIENTATION, 1))
        except Exception:  # a damaged EXIF block does not spoil the pixels
            return 1


def _as_rgb(picture: PilImage.Image) -> PilImage.Image:
    if picture.mode == "F":
        raise UnusablePhotoError("unreadable", "floating-point pixels have no agreed white; save it with 8 or 16 bits")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        grey = np.asarray(picture).astype(np.int64)
        return PilImage.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        ground = PilImage.new("RGBA", layer.size, "white")
        ground.alpha_composite(layer)
        return ground.convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _what_it_is_not(data: bytes) -> str:
    head = data[:512]
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "HEIC/HEIF pictures are not read; convert it to JPEG or PNG first"
    try:
        # Not final: a character cut in two at the end of the head does not count against it.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        text = ""
    if text and all(character.isprintable() or character in "\t\r\n\f" for character in text):
        return "not a picture: the file holds text"
    return "not a picture of a known format (" + ", ".join(_FORMATS) + "), or its header is damaged"


__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "Photo",
    "as_image",
    "photo_digest",
    "read_image",
    "write_image",
]
