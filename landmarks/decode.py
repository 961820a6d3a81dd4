"""From the bytes of a file to an upright picture in sRGB, with notes on defects that were compensated.

Reading a file is `facerec.landmarks.image`; this is the one place where the bytes of a photograph become pixels. What
each kind of file gives is listed in docs/inputs.md, and tested line by line.
"""

from __future__ import annotations

import codecs
import importlib
import io
import threading
import warnings
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageCms, UnidentifiedImageError

from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.jxl import jxl_size
from facerec.landmarks.types import Image, check_image

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded, pixels: past every medium-format back of note, and 300 MB once it is RGB."""

# An explicit list: Pillow would otherwise also start Ghostscript for EPS and read formats not used for portraits.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_ANY_HEIF_BRANDS = frozenset({b"mif1", b"msf1"})

_TARGA_COLOURS = {1: True, 2: False, 3: False, 9: True, 10: False, 11: False}
"""Kinds of Targa pictures, plain and run-length encoded: whether their colours stand in a map."""

_JXL_STARTS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")

_PLAIN_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""Of JPEG and PNG."""

_END_OF_JPEG = b"\xff\xd9"

_FIRST_BLOCKS = 16
"""Rows of the largest blocks of a JPEG: where a file ends before the second row of blocks, they are the decoder's."""

_FAINT: Final = 16
"""Values of 16 bits that are all below this share of white, one 16th, are 12 bits or fewer in a wider file: a picture
that used a 16th of its range would show nothing to anybody."""

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


@dataclass(frozen=True, eq=False)
class DecodedPhoto:
    """A photograph as pixels.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright, sRGB.
        notes: one sentence each on what was made up for, e.g. that the file lacks its end; empty for most.
    """

    pixels: Image
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        return f"DecodedPhoto({width} x {height} px{''.join(f', {note}' for note in self.notes)})"


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> DecodedPhoto:
    """Decode the bytes of a photograph's file; see `facerec.landmarks.image.read_photo`.

    Raises:
        UnusablePhotoError: "unreadable" or "too_large".
    """
    if not data:
        raise UnusablePhotoError("unreadable", "the file is empty")
    try:
        with _open(data, max_pixels) as picture:
            _check_size(picture.size, max_pixels)
            plain = _decode_plain_jpeg(picture, data)
            return DecodedPhoto(plain) if plain is not None else _decode_pixels(picture, data)
    except UnusablePhotoError:
        raise
    except PilImage.DecompressionBombError:
        raise UnusablePhotoError("too_large", f"far more than {max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise UnusablePhotoError("unreadable", _explain_unknown(data)) from None
    except MemoryError:
        raise UnusablePhotoError("too_large", "not enough memory to decode it") from None
    except (
        Exception
    ) as error:  # decoders answer damaged data with almost any exception: OSError, SyntaxError, IndexError
        raise UnusablePhotoError("unreadable", f"damaged picture: {error}") from error


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UnusablePhotoError("too_large", f"{width} x {height} pixels; at most {max_pixels} pixels are decoded")


def _open(data: bytes, max_pixels: int) -> PilImage.Image:
    kind = _extra_kind(data)
    if kind == "heif":
        return _open_heif(data, max_pixels)
    if kind == "jxl":
        return _open_jxl(data, max_pixels)
    with _header_lock, warnings.catch_warnings():
        # Pillow reports damaged metadata and large sizes as warnings of its own modules; both are answered here.
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        if data.startswith(_PLAIN_STARTS):
            PilImage.preinit()
        else:
            PilImage.init()  # forty more kinds: twice as long as a photograph takes to decode
        formats = ["TGA"] if _is_targa(data) else [name for name in _FORMATS if name in PilImage.OPEN]
        return PilImage.open(io.BytesIO(data), formats=formats)


def _is_targa(data: bytes) -> bool:
    """Whether a file begins like a Targa picture, which has no magic number: every field of its header must fit."""
    if len(data) <= 18 or data[2] not in _TARGA_COLOURS or data[1] not in (0, 1):
        return False
    mapped = _TARGA_COLOURS[data[2]]
    colours, bits = int.from_bytes(data[5:7], "little"), data[7]
    fits = bits in (15, 16, 24, 32) and data[1] == 1 if mapped else (colours, bits) == (0, 0) or data[1] == 1
    width, height = (int.from_bytes(data[k : k + 2], "little") for k in (12, 14))
    depths = (8,) if mapped or data[2] in (3, 11) else (15, 16, 24, 32)
    return fits and width > 0 and height > 0 and data[16] in depths and data[17] & 0xC0 == 0


def _extra_kind(data: bytes) -> str:
    """ "heif" or "jxl" for files that a library of an extra reads, otherwise ""."""
    if data.startswith(_JXL_STARTS):
        return "jxl"
    if data[4:8] != b"ftyp":
        return ""
    brands = {data[8:12], *(data[k : k + 4] for k in range(16, min(int.from_bytes(data[:4], "big"), 256), 4))}
    if brands & _AVIF_BRANDS:
        return ""
    return "heif" if brands & (_HEIF_BRANDS | _ANY_HEIF_BRANDS) else ""


def _open_heif(data: bytes, max_pixels: int) -> PilImage.Image:
    heif = _library("pillow_heif", "HEIC/HEIF", "heif")
    file = heif.open_heif(data)  # reads the header; `to_pillow` decodes
    primary = file[file.primary_index]
    _check_size(primary.size, max_pixels)
    picture = primary.to_pillow()
    # The container's own turns are applied by then, and they alone count.
    picture.info.pop("exif", None)
    assert isinstance(picture, PilImage.Image)
    return picture


def _open_jxl(data: bytes, max_pixels: int) -> PilImage.Image:
    plugin = _library("pillow_jxl.JpegXLImagePlugin", "JPEG XL", "jxl")
    _check_size(jxl_size(data), max_pixels)  # the library decodes when it opens a file
    picture = plugin.JXLImageFile(io.BytesIO(data))
    if not picture.jpeg:  # the decoder has turned it; only a JPEG kept inside lies as its EXIF says
        picture.info.pop("exif", None)
    assert isinstance(picture, PilImage.Image)
    return picture


def _library(module: str, kind: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UnusablePhotoError(
            "unreadable", f"{kind} pictures are read with facerec[{extra}], which is not installed"
        ) from None


def _decode_pixels(picture: PilImage.Image, data: bytes) -> DecodedPhoto:
    notes: list[str] = []
    picture = _load_pixels(picture, data, notes)
    orientation = _orientation(picture)
    rgb = _as_rgb(picture, notes)
    pixels = np.array(rgb, dtype=np.uint8)
    if picture.format in ("PNG", "TIFF") and picture.mode == "RGB" and pixels.max(initial=0) < 256 // _FAINT:
        # Of 16-bit colours Pillow keeps the upper half, and nothing of 12-bit values is in it.
        deep = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        if deep is not None and deep.dtype == np.uint16 and deep.shape == pixels.shape:
            pixels = _stretch(np.asarray(deep[..., ::-1], dtype=np.uint16), notes)
    rgb = _as_srgb(PilImage.fromarray(pixels), picture, notes)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    return DecodedPhoto(check_image(np.array(rgb, dtype=np.uint8)), tuple(notes))


def _load_pixels(picture: PilImage.Image, data: bytes, notes: list[str]) -> PilImage.Image:
    """`picture` with its pixels; a JPEG that lacks its end as far as it goes, with a note."""
    try:
        picture.load()
        return picture
    except OSError:
        if picture.format not in ("JPEG", "MPO") or data.endswith(_END_OF_JPEG):
            raise
        damaged = PilImage.open(io.BytesIO(data + _END_OF_JPEG), formats=["JPEG"])
        damaged.load()  # the decoder repeats the last colour where data are missing
        there = _count_rows(np.asarray(damaged))
        if there <= _FIRST_BLOCKS:
            raise
        share = 100 * there / damaged.height
        notes.append(
            f"the file is truncated: only the upper {share:.0f} % of the picture were read"
            if there < damaged.height
            else "the file is truncated: the picture was read, perhaps with less detail"
        )
        return damaged


def _count_rows(pixels: NDArray[np.uint8]) -> int:
    """Rows of (H, W, ...) above those that are of one colour to the bottom edge; 0 when all are."""
    rows = pixels.reshape(len(pixels), -1, 1 if pixels.ndim == 2 else pixels.shape[2])
    differ = (rows != rows[-1, -1]).any(axis=(1, 2))
    return int(np.flatnonzero(differ)[-1]) + 1 if differ.any() else 0


def _decode_plain_jpeg(picture: PilImage.Image, data: bytes) -> Image | None:
    """The same pixels as Pillow gives, of a JPEG without peculiarities; OpenCV hands them over without copies.

    None for everything else: other colours than RGB and grey, a colour profile, a turn, and files that may be damaged.
    What does not end as it should and what cannot be decoded to its end, OpenCV fills up with one grey in silence.
    """
    plain = picture.format == "JPEG" and picture.mode in ("RGB", "L") and picture.info.get("adobe_transform", 1) == 1
    if not plain or not data.endswith(_END_OF_JPEG) or _orientation(picture) in _UPRIGHT or _profile(picture):
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


def _profile(picture: PilImage.Image) -> bytes:
    """The picture's colour profile; b"" when it has none, or sRGB, which needs no conversion."""
    profile = picture.info.get("icc_profile") or b""
    # Every sRGB profile of note calls itself so, in the one or the other encoding.
    return b"" if b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile else profile


def _as_srgb(rgb: PilImage.Image, picture: PilImage.Image, notes: list[str]) -> PilImage.Image:
    """`rgb` in sRGB by the profile of `picture`, whose own colours are taken where they are ink (CMYK) or grey."""
    profile = _profile(picture)
    if not profile or picture.mode.startswith("I"):
        return rgb
    source = picture if picture.mode in ("CMYK", "L") else rgb
    try:
        converted = ImageCms.profileToProfile(
            source, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("its colour profile cannot be applied; the colours are read as sRGB")
        return rgb
    return rgb if converted is None else converted


def _as_rgb(picture: PilImage.Image, notes: list[str]) -> PilImage.Image:
    if picture.mode == "F":
        raise UnusablePhotoError("unreadable", "floating-point pixels have no agreed white; save it with 8 or 16 bits")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        grey = np.clip(np.asarray(picture).astype(np.int64), 0, 65535).astype(np.uint16)
        return PilImage.fromarray(_stretch(grey, notes)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        if picture.format == "TGA" and layer.getchannel("A").getextrema() == (0, 0):
            return layer.convert("RGB")  # many writers of 32 bits leave the last 8 empty
        ground = PilImage.new("RGBA", layer.size, "white")
        ground.alpha_composite(layer)
        return ground.convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _stretch(deep: NDArray[np.uint16], notes: list[str]) -> NDArray[np.uint8]:
    """Values of 16 bits as 8; where they are 12 bits or fewer in a 16-bit file, with a note, by these."""
    highest = int(deep.max(initial=0))
    bits = 16
    if 0 < highest < 65536 // _FAINT:
        bits = next(depth for depth in (8, 10, 12) if highest < 1 << depth)
        notes.append(f"no value of its 16 bits is above {highest}: read as {bits} bits")
    return (deep >> (bits - 8)).astype(np.uint8)


def _explain_unknown(data: bytes) -> str:
    head = data[:512]
    try:
        # Not final: a character cut in two at the end of the head does not count against it.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        text = ""
    if text and all(character.isprintable() or character in "\t\r\n\f" for character in text):
        return "not a picture: the file holds text"
    return "not a picture of a known format (" + ", ".join(_FORMATS) + ", TGA, HEIC, JXL), or its header is damaged"


__all__ = ["MAX_PIXELS", "DecodedPhoto", "decode"]
