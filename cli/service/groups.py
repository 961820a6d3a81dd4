"""Grouping of faces that look like the same person, from signatures that the page holds and sends back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.cohort import normalised_scores
from facerec.recognition.search import SearchSettings
from facerec.recognition.signature import Signature

MOST = 2000
"""Largest number of signatures grouped at once: four million scores, about 16 MB."""

_MOST_NUMBERS = 1 << 15  # largest signature that is sent to the page, 64 KB; larger ones are not sent


def signature_text(signature: Signature) -> str:
    """A signature as text: shape, visibility and cells in half precision, base64; empty when it is too large."""
    if signature.cells.size > _MOST_NUMBERS:
        return ""
    shape = np.array(signature.cells.shape, dtype="<u2").tobytes()
    data = shape + np.packbits(signature.visible).tobytes() + signature.cells.astype("<f2").tobytes()
    return base64.b64encode(data).decode()


def read_signature(text: str, contract: str) -> Signature:
    """What `signature_text` wrote; `InvalidInputError` when it is anything else."""
    try:
        data = base64.b64decode(text, validate=True)
        rows, width = (int(v) for v in np.frombuffer(data[:4], dtype="<u2"))
        seen = (rows + 7) // 8
        if not rows or not width or len(data) != 4 + seen + 2 * rows * width:
            raise ValueError("another length")
        visible = np.unpackbits(np.frombuffer(data[4 : 4 + seen], dtype=np.uint8), count=rows).astype(np.bool_)
        cells = np.frombuffer(data[4 + seen :], dtype="<f2").reshape(rows, width).astype(np.float32)
    except (ValueError, binascii.Error) as error:
        raise InvalidInputError(f"expected a signature as /identify returns it; got other text ({error})") from None
    norms = np.linalg.norm(cells, axis=1, keepdims=True)  # half precision changes the unit length slightly
    if not np.isfinite(norms).all():
        raise InvalidInputError("expected a signature as /identify returns it; got numbers that are not finite")
    cells = np.divide(cells, norms, out=np.zeros_like(cells), where=visible[:, None] & (norms > 0))
    return Signature(cells, visible & (norms[:, 0] > 0), contract)


def grouped(signatures: Sequence[Signature], value: float) -> list[list[int]]:
    """Positions of `signatures` by person: two that score at least `value` are one person, and so are chains of such.

    Raises:
        InvalidInputError: they are too many, or of different shapes.
    """
    if len(signatures) > MOST:
        raise InvalidInputError(f"expected at most {MOST} signatures; got {len(signatures)}")
    if len({signature.cells.shape for signature in signatures}) > 1:
        raise InvalidInputError("expected signatures of one shape")
    if not signatures:
        return []
    vectors = np.stack([s.cells for s in signatures]), np.stack([s.visible for s in signatures])
    scores, overlap = normalised_scores(vectors, vectors, signatures[0].contract, "numpy")
    linked = (scores >= value) & (overlap >= SearchSettings().least_cells(vectors[0].shape[1]))
    return _components(linked)


def _components(linked: NDArray[np.bool_]) -> list[list[int]]:
    """Positions that are linked directly or through others, in their order."""
    left, found = set(range(len(linked))), []
    while left:
        first = min(left)
        group, front = {first}, [first]
        while front:
            near = set(np.flatnonzero(linked[front.pop()]).tolist()) & left - group
            group |= near
            front += near
        left -= group
        found.append(sorted(group))
    return found
