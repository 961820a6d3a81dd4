"""Loop 1 of an evaluation: every picture's signature, or the reason why it has none. Scores come after (loop 2).

Signatures are cached by what was in the photograph (SHA-256 of its bytes) and by everything that shaped the numbers
(the contract's digest). A changed setting or weight file has another contract and never reads an old entry; an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from facerec.evaluation.protocols.recognition import Picture
from facerec.landmarks.errors import REASON_CODES, ContractError, ReasonCode, UnusablePhotoError
from facerec.landmarks.image import photo_digest, read_image
from facerec.landmarks.types import Image
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.signature import Signature

# Part of the cache's key: raise it when what is stored, or how a picture's face is chosen, changes.
_CACHE_FORMAT = "1:largest-face"


class ContractLike(Protocol):
    """What is needed of a recognizer's contract."""

    @property
    def digest(self) -> str:
        """Digest of everything that shapes a signature."""
        ...


class Describer(Protocol):
    """What is needed of `facerec.recognition.recognizer.Recognizer`."""

    @property
    def contract(self) -> ContractLike:
        """What shapes the signatures."""
        ...

    def describe(self, image: Image) -> Sequence[DescribedFace | UndescribedFace]:
        """One item a face found in the picture, the largest first; none when no face was found."""
        ...


@dataclass(frozen=True, eq=False)
class PictureResult:
    """What became of one picture. Of several faces the largest counts: the people of a protocol fill their pictures.

    Attributes:
        signature: the face's signature, None when there is none.
        faces: how many faces were found.
        reason: why there is no signature, a stable code; None when there is one.
        detail: the reason in a sentence, "" when there is a signature.
        yaw, pitch, roll: estimated by the fit, degrees; None without one.
        quality: of the described face, in [0, 1]; None without one.
        box: (x0, y0, x1, y1) px of the face that counts; None when none was found.
        seconds: wall-clock time for this picture, when it was described (a cached result keeps it).
        timings_ms: milliseconds by stage.
    """

    signature: Signature | None
    faces: int
    reason: ReasonCode | None
    detail: str
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    quality: float | None = None
    box: tuple[float, float, float, float] | None = None
    seconds: float = 0.0
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        """Whether a face was found."""
        return self.faces > 0


@dataclass(frozen=True, eq=False)
class SignatureRun:
    """The results of loop 1.

    Attributes:
        results: one a picture, in the pictures' order.
        digests: content digest of each picture ("" where the file could not be read).
        computed: how many were described in this run; the rest came from the cache.
    """

    results: tuple[PictureResult, ...]
    digests: tuple[str, ...]
    computed: int


class SignatureCache:
    """Results of loop 1 on disk, one file a picture, for one contract.

    The files hold biometric data; delete the folder to delete them. A damaged file reads as absent.
    """

    def __init__(self, folder: Path, contract: str) -> None:
        self._contract = contract
        key = hashlib.sha256(f"{_CACHE_FORMAT}\n{contract}".encode()).hexdigest()
        self._folder = folder / key[:16]

    def path(self, digest: str) -> Path:
        """Where the result for the photograph with this content digest is kept."""
        return self._folder / digest[:2] / f"{digest}.npz"

    def get(self, digest: str) -> PictureResult | None:
        """The stored result, or None when there is none that can be read and belongs to this contract and picture."""
        try:
            data = self.path(digest).read_bytes()
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                header: dict[str, Any] = json.loads(archive["header"].tobytes())
                if header.pop("contract") != self._contract or header.pop("digest") != digest:
                    return None
                signature = None
                if "visible" in archive:
                    visible = archive["visible"]
                    seen = archive["cells"]
                    cells = np.zeros((len(visible), seen.shape[1]), dtype=np.float32)
                    cells[visible] = seen
                    signature = Signature(cells, visible, self._contract)
                box = header.pop("box")
                result = PictureResult(signature=signature, box=None if box is None else tuple(box), **header)
        # What a torn, truncated or foreign file can raise on the way; each means: describe the picture again.
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile):
            return None
        return result if (result.signature is None) == (result.reason in REASON_CODES) else None

    def put(self, digest: str, result: PictureResult) -> None:
        """Store a result; a reader sees all of it or nothing."""
        header = asdict(replace(result, signature=None))
        del header["signature"]
        text = json.dumps(header | {"contract": self._contract, "digest": digest})
        arrays: dict[str, Any] = {"header": np.frombuffer(text.encode(), dtype=np.uint8)}
        if result.signature is not None:
            # Unseen cells are zero, so only the seen ones are kept.
            arrays |= {
                "visible": result.signature.visible,
                "cells": result.signature.cells[result.signature.visible],
            }
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def describe_pictures(
    pictures: Sequence[Picture],
    recognizer: Describer,
    cache: SignatureCache | None = None,
    advance: Callable[[int], None] | None = None,
) -> SignatureRun:
    """Describe every picture, from the cache where it has been done before.

    A picture that cannot be used becomes a result with a reason code; the run goes on.

    Args:
        pictures: what to describe.
        recognizer: the path from a photograph to signatures.
        cache: where results are kept; None keeps none.
        advance: called with 1 after each picture, for a progress bar.

    Raises:
        ContractError: when the recognizer's signatures do not carry its contract.
    """
    results: list[PictureResult] = []
    digests: list[str] = []
    computed = 0
    for picture in pictures:
        digest = ""
        try:
            digest = photo_digest(picture.path)
        except UnusablePhotoError as error:
            result: PictureResult | None = _failure(error, 0.0)
        else:
            result = cache.get(digest) if cache is not None else None
        if result is None:
            result = describe_picture(picture, recognizer)
            computed += 1
            if cache is not None:
                cache.put(digest, result)
        results.append(result)
        digests.append(digest)
        if advance is not None:
            advance(1)
    return SignatureRun(tuple(results), tuple(digests), computed)


def describe_picture(picture: Picture, recognizer: Describer) -> PictureResult:
    """Describe one picture's largest face; see `PictureResult`."""
    started = time.perf_counter()
    try:
        image = read_image(picture.path)
        read_ms = 1000 * (time.perf_counter() - started)
        faces = recognizer.describe(image)
    except UnusablePhotoError as error:
        return _failure(error, time.perf_counter() - started)
    except Exception as error:
        # A fault of the program, not of the photograph: stop, but say where.
        error.add_note(f"while describing {picture.path}")
        raise
    seconds = time.perf_counter() - started
    if not faces:
        return PictureResult(None, 0, "no_face", "no face was found", seconds=seconds)
    largest = faces[0]
    if isinstance(largest, UndescribedFace):
        box = largest.box
        edges = (box.x0, box.y0, box.x1, box.y1)
        return PictureResult(None, len(faces), largest.reason, largest.detail, box=edges, seconds=seconds)
    if largest.signature.contract != recognizer.contract.digest:
        raise ContractError(
            f"expected signatures of the recognizer's contract {recognizer.contract.digest}; "
            f"got {largest.signature.contract}"
        )
    box = largest.face.box
    yaw, pitch, roll = largest.fitted.camera.angles
    return PictureResult(
        signature=largest.signature,
        faces=len(faces),
        reason=None,
        detail="",
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        quality=float(largest.quality),
        box=(box.x0, box.y0, box.x1, box.y1),
        seconds=seconds,
        timings_ms={"read": read_ms} | {str(k): float(v) for k, v in largest.timings_ms.items()},
    )


def _failure(error: UnusablePhotoError, seconds: float) -> PictureResult:
    return PictureResult(None, 0, error.reason, error.detail, seconds=seconds)
