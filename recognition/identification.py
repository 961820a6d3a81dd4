"""Identification: from a photograph to who is on it, with the reason.

An open-set decision: whoever reaches the gallery's threshold is named, others are unknown, and where a probe and the
gallery saw too little of the same face nothing is said. A person appears at most once in a photograph.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from facerec.landmarks.errors import ContractError, DeviceError, InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Box, Image
from facerec.recognition.decision import decide_together
from facerec.recognition.description import Describer, visible_share
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.search import Search, SearchSettings
from facerec.recognition.signature import Decision, Match, Signature
from facerec.recognition.threshold import Threshold


@dataclass(frozen=True)
class IdentificationSettings:
    """How probes are identified.

    Attributes:
        candidates: people listed for each face; five fit on a screen and are the usual rank list.
        workers: photographs described at a time. The commands take one a core (`facerec.cli.options.share_cores`).
        batch: photographs searched together: one pass over a large gallery serves all their faces.
    """

    candidates: int = 5
    workers: int = 1
    batch: int = 16

    def __post_init__(self) -> None:
        if min(self.candidates, self.workers, self.batch) < 1:
            raise InvalidInputError(f"expected at least 1 candidate, worker and photograph a batch; got {self}")


@dataclass(frozen=True, eq=False)
class ProbeFace:
    """What is said about one face of a photograph, or about a photograph without a usable face.

    Attributes:
        file: the photograph.
        face: number of the face in it, 0 for the largest; None when there is none.
        box: where it is, px; None when there is no face.
        pose: (yaw, pitch, roll), degrees; None when the face was not fitted.
        visible_fraction: share of the texture that the camera saw; None when the face was not fitted.
        quality: see `DescribedFace.quality`; None when the face was not described.
        decision: "match", "unknown" or "abstain"; "none" when there is no signature to search with.
        reason: one sentence with the numbers; for "none" the reason code alone.
        detail: for "none", one sentence; otherwise empty.
        person: who it is, for a match.
        candidates: the best people, best first.
        threshold: what the scores were compared with.
        timings_ms: milliseconds by stage.
        described: the face with everything in between, for inspection.
        turned: degrees clockwise by which the photograph was turned to find the face; box and pose are the
            photograph's own.
    """

    file: Path
    face: int | None
    box: Box | None
    pose: tuple[float, float, float] | None
    visible_fraction: float | None
    quality: float | None
    decision: Literal["match", "unknown", "abstain", "none"]
    reason: str
    detail: str
    person: str | None
    candidates: tuple[Match, ...]
    threshold: Threshold
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    described: DescribedFace | None = None
    turned: int = 0

    def as_json(self, versions: Mapping[str, str]) -> dict[str, Any]:
        """JSON-ready values: one line of `facerec identify --format jsonl`."""
        return {
            "file": str(self.file),
            "face": self.face,
            "box": None if self.box is None else box_json(self.box),
            "pose": None if self.pose is None else pose_json(self.pose),
            "turned": self.turned,
            "visible_fraction": _rounded(self.visible_fraction, 4),
            "quality": _rounded(self.quality, 4),
            "decision": self.decision,
            "person": self.person,
            "reason": self.reason,
            "detail": self.detail,
            "candidates": [
                {
                    "person": match.person,
                    "score": round(match.score, 6),
                    "overlap": round(match.overlap, 4),
                    "entry": match.entry,
                }
                for match in self.candidates
            ],
            "threshold": self.threshold.as_json(),
            "timings_ms": {stage: round(value, 2) for stage, value in self.timings_ms.items()},
            "versions": dict(versions),
        }


def box_json(box: Box) -> dict[str, float]:
    """A box as JSON-ready values, px."""
    return {name: round(getattr(box, name), 2) for name in ("x0", "y0", "x1", "y1")} | {"score": round(box.score, 4)}


def pose_json(pose: tuple[float, float, float]) -> dict[str, float]:
    """Yaw, pitch and roll as JSON-ready values, degrees."""
    return dict(zip(("yaw", "pitch", "roll"), (round(angle, 2) + 0.0 for angle in pose), strict=True))


_Described = list[DescribedFace | UndescribedFace] | UnusablePhotoError | Exception


class Identifier:
    """Identifies photographs against one gallery. Keeps no state between photographs; threads may share it."""

    def __init__(
        self,
        describer: Describer,
        search: Search,
        threshold: Threshold,
        settings: IdentificationSettings | None = None,
        search_settings: SearchSettings | None = None,
    ) -> None:
        """Join models, gallery and threshold.

        Args:
            describer: the models; their contract must be that of the gallery.
            search: the gallery's search.
            threshold: see `threshold.choose_threshold`.
            settings: see `IdentificationSettings`.
            search_settings: those of `search`, by default.

        Raises:
            ContractError: gallery and models do not agree.
        """
        if describer.contract.digest != search.contract:
            raise ContractError(
                f"expected models of the gallery's contract {search.contract[:12]}; "
                f"got {describer.contract.digest[:12]}"
            )
        self._describer = describer
        self._search = search
        self._threshold = threshold
        self._settings = settings or IdentificationSettings()
        self._search_settings = search_settings or search.settings

    def identify(
        self, photos: Iterable[Path], progress: Callable[[int], None] = lambda photos: None
    ) -> Iterator[ProbeFace]:
        """The faces of `photos` in their order; a photograph without a usable face gives one with decision "none".

        The results do not depend on the number of workers or on which photographs are given together.
        """
        with ThreadPoolExecutor(self._settings.workers, thread_name_prefix="facerec") as pool:
            try:
                remaining = iter(photos)
                while batch := list(islice(remaining, self._settings.batch)):
                    described = list(pool.map(self._describe, batch))
                    yield from self._decide(batch, described)
                    progress(len(batch))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def identify_bytes(self, photo: bytes, file: Path = Path()) -> list[ProbeFace]:
        """The faces of one photograph given as the bytes of its file; `file` is what the results call it."""
        return self._decide([file], [self._describe(photo)])

    def identify_image(self, image: Image, file: Path = Path()) -> list[ProbeFace]:
        """The faces of one decoded picture; `file` is what the results call it."""
        return self._decide([file], [self._describer.describe(image)])

    def _describe(self, source: Path | bytes) -> _Described:
        try:
            return self._describer.describe(read_image(source))
        except (ContractError, DeviceError):
            raise  # these would hit every photograph
        except Exception as error:  # one photograph must not end the batch; its line says what happened
            return error

    def _decide(self, files: Sequence[Path], described: Sequence[_Described]) -> list[ProbeFace]:
        faces = {i: found for i, found in enumerate(described) if isinstance(found, list)}
        signatures: list[Signature] = []
        where: dict[tuple[int, int], int] = {}
        for i, found in faces.items():
            for j, face in enumerate(found):
                if isinstance(face, DescribedFace):
                    where[i, j] = len(signatures)
                    signatures.append(face.signature)
        # A face may be given at worst its F-th best person when the others of F faces take the better ones.
        most_faces = max((len(found) for found in faces.values()), default=0)
        results = self._search.search(signatures, max(self._settings.candidates, most_faces)) if signatures else []
        said: list[ProbeFace] = []
        for i, (file, outcome) in enumerate(zip(files, described, strict=True)):
            if not isinstance(outcome, list):
                said.append(self._failed(file, outcome))
                continue
            if not outcome:
                said.append(self._without(file, None, None, "no_face", "no face was found"))
            # Cut to what this photograph needs by itself, so that others of the batch cannot change a tie.
            needed = max(self._settings.candidates, len(outcome))
            own = {
                j: replace(results[where[i, j]], matches=results[where[i, j]].matches[:needed])
                for j in range(len(outcome))
                if (i, j) in where
            }
            decisions = dict(
                zip(own, decide_together(list(own.values()), self._threshold, self._search_settings), strict=True)
            )
            for j, face in enumerate(outcome):
                if isinstance(face, UndescribedFace):
                    said.append(self._without(file, j, face.box, face.reason, face.detail, face.turned))
                else:
                    decision, match = decisions[j]
                    said.append(self._with(file, j, face, decision, match, own[j].matches))
        return said

    def _with(
        self,
        file: Path,
        number: int,
        face: DescribedFace,
        decision: Decision,
        match: Match | None,
        matches: Sequence[Match],
    ) -> ProbeFace:
        candidates = list(matches[: self._settings.candidates])
        if match is not None and match not in candidates:
            candidates.append(match)  # pushed down by the other faces of the photograph, but named
        return ProbeFace(
            file=file,
            face=number,
            box=face.face.box,
            pose=face.fitted.camera.angles,
            visible_fraction=visible_share(face),
            quality=face.quality,
            decision=decision.verdict,
            reason=decision.reason,
            detail="",
            person=match.person if match else None,
            candidates=tuple(candidates),
            threshold=self._threshold,
            timings_ms=face.timings_ms,
            described=face,
            turned=face.face.turned,
        )

    def _without(
        self, file: Path, number: int | None, box: Box | None, reason: str, detail: str, turned: int = 0
    ) -> ProbeFace:
        return ProbeFace(
            file=file,
            face=number,
            box=box,
            pose=None,
            visible_fraction=None,
            quality=None,
            decision="none",
            reason=reason,
            detail=detail,
            person=None,
            candidates=(),
            threshold=self._threshold,
            turned=turned,
        )

    def _failed(self, file: Path, error: Exception) -> ProbeFace:
        if isinstance(error, UnusablePhotoError):
            return self._without(file, None, None, error.reason, error.detail)
        return self._without(file, None, None, "internal_error", f"{type(error).__name__}: {error}")


def save_debug(probe: ProbeFace, folder: Path) -> list[Path]:
    """Write what lies between the photograph and the decision: landmarks, texture, mask, frontal view.

    Args:
        probe: a face that was described.
        folder: where to write; made when it is not there. File names carry the photograph's name, a digest of its
            place (two folders may each hold a 1.jpg) and the number of the face.

    Returns:
        The files written; none for a face that was not described.
    """
    import hashlib

    import numpy as np

    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.render import draw_overlay, frontal_view
    from facerec.landmarks.image import write_image

    if probe.described is None:
        return []
    face = probe.described
    model = FaceModel.load()
    place = hashlib.sha256(os.fsencode(os.path.abspath(probe.file))).hexdigest()[:8]
    mask = np.rint(255 * np.clip(face.texture.visible, 0, 1)).astype(np.uint8)
    pictures = {
        "landmarks": draw_overlay(face.face.image, face.fitted, face.face.landmarks, model),
        "texture": face.texture.pixels,
        "mask": np.repeat(mask[:, :, None], 3, axis=2),
        "frontal": frontal_view(face.texture, face.fitted, model),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, picture in pictures.items():
        path = folder / f"{probe.file.stem}-{place}-face{probe.face}-{name}.png"
        write_image(path, picture)
        written.append(path)
    return written


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
