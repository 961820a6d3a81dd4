"""The size of a JPEG XL picture, from its header (ISO/IEC 18181-1, size header), before anything is decoded."""

from __future__ import annotations

from facerec.landmarks.errors import UnusablePhotoError

_CODESTREAM = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def jxl_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the picture in a JPEG XL file, a bare codestream or a container, px, as it is stored.

    Raises:
        UnusablePhotoError: "unreadable": there is no codestream.
    """
    bits = _Bits(_codestream(data))
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1

    height = side()
    ratio = bits.take(3)
    if not ratio:
        return side(), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


class _Bits:
    """Bits of `data`, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:16], "little")

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken


def _codestream(data: bytes) -> bytes:
    if data.startswith(_CODESTREAM):
        return data[2:32]
    place = 0
    while place + 8 <= len(data):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        begin = place + 8
        if size == 1:
            size, begin = int.from_bytes(data[begin : begin + 8], "big"), begin + 8
        if kind in (b"jxlc", b"jxlp"):
            begin += 4 if kind == b"jxlp" else 0  # the number of the part stands before it
            if data.startswith(_CODESTREAM, begin):
                return data[begin + 2 : begin + 32]
            break
        if size < 8:  # 0: to the end of the file
            break
        place += size
    raise UnusablePhotoError("unreadable", "damaged picture: a JPEG XL file without a codestream")
