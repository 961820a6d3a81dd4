"""A file of every kind that docs/inputs.md lists, and that the answer is the listed one."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL import ImageCms

from facerec.landmarks.decode import DecodedPhoto
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import read_photo

TABLE = Path(__file__).parent.parent.parent / "docs" / "inputs.md"

RAMP = np.linspace(0, 1, 96 * 64).reshape(64, 96)


def picture(height: int = 64, width: int = 96) -> PilImage.Image:
    y, x = np.mgrid[:height, :width]
    return PilImage.fromarray(
        np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 80)], axis=-1).astype(np.uint8)
    )


def encoded(one: PilImage.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    one.save(stream, form, **options)
    return stream.getvalue()


def heic(one: PilImage.Image | None = None, **options: object) -> bytes:
    heif = pytest.importorskip("pillow_heif", reason="needs facerec[heif]")
    stream = io.BytesIO()
    heif.from_pillow(one or picture()).save(stream, quality=95, **options)
    return stream.getvalue()


def near(photo: DecodedPhoto, expected: PilImage.Image, within: float = 4, notes: int = 0) -> None:
    assert photo.pixels.shape == np.asarray(expected).shape
    assert np.abs(photo.pixels.astype(int) - np.asarray(expected)).mean() < within
    assert len(photo.notes) == notes, photo.notes


def refused(data: bytes, reason: str, said: str | None = None) -> None:
    with pytest.raises(UnusablePhotoError, match=said) as caught:
        read_photo(data)
    assert caught.value.reason == reason


def display_p3() -> bytes:
    """A profile with the primaries of Display P3 and a gamma of 2.2, written tag by tag."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"Wide test space\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(79 + (-len(text) - 79) % 4),
        b"wtpt": xyz(0.9642, 1, 0.8249),
        b"rXYZ": xyz(0.5151, 0.2412, -0.0011),
        b"gXYZ": xyz(0.2920, 0.6922, 0.0419),
        b"bXYZ": xyz(0.1571, 0.0666, 0.7841),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    body, table, place = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", place + len(body), len(value))
        body += value
    size = place + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"test", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + number(0.9642) + number(1) + number(0.8249)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def usual_kinds() -> None:
    for form in ("PNG", "TIFF", "BMP", "PPM"):
        near(read_photo(encoded(picture(), form)), picture(), 0.001)
    for form in ("JPEG", "WEBP", "JPEG2000"):
        near(read_photo(encoded(picture(), form)), picture())


def targa() -> None:
    for options in ({}, {"compression": "tga_rle"}, {"orientation": 1}):
        near(read_photo(encoded(picture(), "TGA", **options)), picture(), 0.001)
    for mode in ("L", "P", "RGBA"):
        other = picture().convert(mode)
        near(read_photo(encoded(other, "TGA")), other.convert("RGB"), 0.001)
    empty = picture().convert("RGBA")
    empty.putalpha(0)  # as writers leave it that know of no transparency
    near(read_photo(encoded(empty, "TGA")), picture(), 0.001)
    whole = encoded(picture(), "TGA")
    near(read_photo(whole[: 18 + 96 * 64 * 3]), picture(), 0.001)  # as before 1989, without the mark at its end
    refused(whole[:5000], "unreadable")
    refused(b"\0\0\2" + bytes(40), "unreadable", "known format")


def avif() -> None:
    near(read_photo(encoded(picture(), "AVIF", quality=90)), picture())


def heif_files() -> None:
    near(read_photo(heic()), picture())
    turned = PilImage.Exif()
    turned[0x0112] = 6
    lying = picture().transpose(PilImage.Transpose.ROTATE_90)
    near(read_photo(heic(lying, exif=turned.tobytes())), picture())


def ten_bits() -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs facerec[heif]")
    deep = (np.asarray(picture()).astype(np.uint16) << 8).tobytes()
    stream = io.BytesIO()
    heif.from_bytes(mode="RGB;16", size=(96, 64), data=deep).save(stream, quality=95)
    near(read_photo(stream.getvalue()), picture())


def without(module: str, data: bytes, extra: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module, None)
        refused(data, "unreadable", rf"facerec\[{extra}\]")


def jxl(one: PilImage.Image, **options: object) -> bytes:
    pytest.importorskip("pillow_jxl", reason="needs facerec[jxl]")
    return encoded(one, "JXL", **options)


def jpeg_xl() -> None:
    near(read_photo(jxl(picture())), picture())
    with pytest.raises(UnusablePhotoError, match="too_large"):
        read_photo(jxl(picture()), max_pixels=96 * 64 - 1)


def first_of_several() -> None:
    others = [PilImage.new("RGB", (96, 64), colour) for colour in ("red", "blue")]
    for form in ("GIF", "WEBP", "PNG", "AVIF", "TIFF"):
        near(read_photo(encoded(others[0], form, save_all=True, append_images=others[1:])), others[0])


def first_of_mpo() -> None:
    gain = PilImage.new("RGB", (24, 16), "blue")
    near(read_photo(encoded(picture(), "MPO", save_all=True, append_images=[gain], quality=95)), picture())


def motion_photo() -> None:
    film = struct.pack(">I", 24) + b"ftypmp42" + bytes(4000)
    near(read_photo(encoded(picture(), "JPEG", quality=95) + film), picture())


def profile() -> None:
    grey, red = PilImage.new("RGB", (96, 64), (120, 120, 120)), PilImage.new("RGB", (96, 64), (200, 80, 80))
    for form in ("PNG", "JPEG", "TIFF", "WEBP"):
        near(read_photo(encoded(grey, form, icc_profile=display_p3())), grey, 3)
        wide = read_photo(encoded(red, form, icc_profile=display_p3())).pixels[32, 48].astype(int)
        assert wide[0] - wide[1] > 130, form  # the same red lies further out in sRGB than in the wider space
    expected = read_photo(encoded(red, "PNG", icc_profile=display_p3())).pixels
    np.testing.assert_allclose(
        read_photo(heic(red, icc_profile=display_p3())).pixels.astype(int), expected.astype(int), atol=6
    )
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    near(read_photo(encoded(picture(), "PNG", icc_profile=own)), picture(), 0.001)


def broken_profile() -> None:
    near(read_photo(encoded(picture(), "PNG", icc_profile=b"no profile" * 20)), picture(), 0.001, notes=1)


def other_colours() -> None:
    near(read_photo(encoded(picture().convert("CMYK"), "JPEG", quality=95)), picture(), 8)
    near(read_photo(encoded(picture().quantize(128), "PNG")), picture(), 12)
    near(read_photo(encoded(picture().convert("L"), "PNG")), picture().convert("L").convert("RGB"), 0.001)
    clear = picture().convert("RGBA")
    clear.putalpha(0)
    near(read_photo(encoded(clear, "PNG")), PilImage.new("RGB", (96, 64), "white"), 0.001)


def deep_colour(bits: int, form: str) -> bytes:
    """RGB ramp over `bits` in a file of 16 bits a colour, by the writer of another library."""
    import cv2

    values = np.repeat((RAMP * ((1 << bits) - 1)).astype(np.uint16)[..., None], 3, axis=2)
    done, data = cv2.imencode(f".{form.lower()}", values)
    assert done
    return data.tobytes()


def deep_grey(bits: int, form: str) -> bytes:
    return encoded(PilImage.fromarray((RAMP * ((1 << bits) - 1)).astype(np.uint16)), form)


def ramp() -> PilImage.Image:
    return PilImage.fromarray((RAMP * 255).astype(np.uint8)).convert("RGB")


def sixteen_bits() -> None:
    for form in ("PNG", "TIFF"):
        near(read_photo(deep_grey(16, form)), ramp(), 1)
        near(read_photo(deep_colour(16, form)), ramp(), 1)


def twelve_bits() -> None:
    for form in ("PNG", "TIFF"):
        for bits in (10, 12):
            near(read_photo(deep_grey(bits, form)), ramp(), 1, notes=1)
            near(read_photo(deep_colour(bits, form)), ramp(), 1, notes=1)
        black = encoded(PilImage.new("RGB", (96, 64), (3, 3, 3)), form)
        near(read_photo(black), PilImage.new("RGB", (96, 64), (3, 3, 3)), 0.001)  # 8 bits: dark, and stays so


def cut_jpeg() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    for progressive in (False, True):
        whole = encoded(PilImage.fromarray(noise), "JPEG", progressive=progressive)
        last = read_photo(whole[:-2])
        near(last, PilImage.fromarray(read_photo(whole).pixels), 3, notes=1)
        photo = read_photo(whole[: len(whole) // 2])
        assert photo.pixels.shape == (128, 64, 3)
        assert "is truncated" in photo.notes[0]
    baseline = encoded(PilImage.fromarray(noise), "JPEG")
    half = read_photo(baseline[: len(baseline) // 2])
    np.testing.assert_array_equal(half.pixels[:40], read_photo(baseline).pixels[:40])
    share = int(half.notes[0].split("upper ")[1].split(" %")[0])
    assert 35 < share < 65


def only_header() -> None:
    refused(encoded(picture(), "JPEG")[:40], "unreadable")
    whole = encoded(picture(), "JPEG")
    refused(whole[: whole.index(b"\xff\xda") + 14], "unreadable")


def cut_others() -> None:
    for form in ("PNG", "WEBP", "TIFF", "GIF"):
        data = encoded(PilImage.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), form)
        refused(data[: len(data) * 2 // 3], "unreadable")


def floating_point() -> None:
    refused(encoded(PilImage.fromarray(RAMP.astype(np.float32)), "TIFF"), "unreadable", "floating-point")


def too_large() -> None:
    refused(encoded(PilImage.new("1", (10_400, 10_000)), "PNG"), "too_large")


def no_picture() -> None:
    for data in (b"", b"some text\n" * 40, bytes(range(128, 256)) * 8):
        refused(data, "unreadable")


FTYP = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(600)

CASES: dict[str, tuple[str, Callable[[], None]]] = {
    "JPEG, PNG, WebP, TIFF, BMP, PPM, JPEG 2000": ("read", usual_kinds),
    "Targa (TGA); in a folder by the ending `.tga` or the mark at the file's end": ("read", targa),
    "AVIF": ("read", avif),
    "HEIC, HEIF": ("read, with `facerec[heif]`", heif_files),
    "HEIC, HEIF without the extra": (
        "unreadable: names the extra",
        lambda: without("pillow_heif", FTYP, "heif"),
    ),
    "HEIC with 10 bits": ("read, with `facerec[heif]`", ten_bits),
    "JPEG XL": ("read, with `facerec[jxl]`", jpeg_xl),
    "JPEG XL without the extra": (
        "unreadable: names the extra",
        lambda: without("pillow_jxl.JpegXLImagePlugin", b"\xff\x0a" + bytes(99), "jxl"),
    ),
    "animation (GIF, WebP, PNG, AVIF), pages (TIFF)": ("first picture", first_of_several),
    "several pictures in a JPEG (MPO), JPEG with a gain map": ("first picture", first_of_mpo),
    "JPEG with a film behind it (motion photo)": ("first picture", motion_photo),
    "colour profile, e.g. Display P3": ("converted to sRGB", profile),
    "colour profile that cannot be applied": ("read as sRGB, with a note", broken_profile),
    "CMYK, palette, grey, transparency": ("read; transparency stands on white", other_colours),
    "16-bit grey or colour": ("read, scaled to 8 bits", sixteen_bits),
    "12 bits or fewer in a 16-bit file": ("read, stretched, with a note", twelve_bits),
    "JPEG that lacks its end": ("read as far as it goes, with a note", cut_jpeg),
    "JPEG that lacks all but its header": ("unreadable", only_header),
    "other kinds that lack their end": ("unreadable", cut_others),
    "32-bit floating point": ("unreadable", floating_point),
    "more than 100 megapixels, more than 1 GiB": ("too_large", too_large),
    "text, empty, unknown": ("unreadable", no_picture),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_of_file_gives_what_the_table_says(kind: str) -> None:
    CASES[kind][1]()


def test_the_table_lists_the_kinds_that_are_tested_with_their_answers() -> None:
    table = TABLE.read_text("utf-8").split("\n## ")[0]  # the table after it is of what may be named
    rows = [line.strip("| \n").split(" | ") for line in table.splitlines() if line[:2] == "| "]
    assert {row[0]: row[1] for row in rows[2:]} == {kind: answer for kind, (answer, _) in CASES.items()}


@pytest.mark.parametrize(("width", "height"), [(8, 8), (256, 256), (96, 64), (7, 513), (3000, 2)])
def test_the_size_of_a_jpeg_xl_picture_is_read_from_its_header(width: int, height: int) -> None:
    from facerec.landmarks.jxl import jxl_size

    one = PilImage.new("RGB", (width, height), "red")
    for container in (False, True):
        assert jxl_size(jxl(one, use_container=container)) == (width, height)
