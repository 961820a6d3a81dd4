"""Loop 1 of an evaluation: every picture's signature, or the reason why it has none. Scores come after (loop 2).

Signatures are cached by what was in the photograph (SHA-256 of its bytes) and by everything that shaped the numbers
(the contract's digest). A changed setting or weight file changes the contract, so old entries are never read for it; an
interrupted run continues where it stopped. The stages before the descriptor are shared: systems that differ only in
their descriptor detect and fit each picture once (see `facerec.evaluation.fits`).
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from facerec.evaluation.fits import FitCache, FitOutcome, Stage, fit_picture, open_picture, unread
from facerec.evaluation.protocols.recognition import Picture
from facerec.evaluation.store import UNREADABLE, ResultStore
from facerec.landmarks.errors import REASON_CODES, ContractError, ReasonCode, UnusablePhotoError
from facerec.landmarks.image import photo_digest
from facerec.landmarks.types import Image
from facerec.recognition.description import Describer
from facerec.recognition.recognizer import DescribedFace, FaceFit, LiftedFace, UndescribedFace
from facerec.recognition.signature import Signature

if TYPE_CHECKING:
    from facerec.recognition.ray_workers import RayWorkers

# Part of the cache's key: raise it when what is stored, or how a picture's face is chosen, changes.
_KIND = "signatures:4"


class StagedDescriber(Describer, Protocol):
    """A `Describer` whose stages can be called separately."""

    @property
    def stages(self) -> str:
        """Digest of what shapes a fit: equal for recognizers that differ only in their descriptor."""
        ...

    def fit(self, image: Image) -> Sequence[FaceFit | UndescribedFace]:
        """The first part of `describe`, one item per face."""
        ...

    def lift(self, fit: FaceFit) -> LiftedFace | UndescribedFace:
        """The second part: the face's texture."""
        ...

    def sign(self, lifted: LiftedFace) -> DescribedFace | UndescribedFace:
        """The last part: the descriptor's own."""
        ...


@dataclass(frozen=True, eq=False)
class PictureResult:
    """The result for one picture. Of several faces the largest counts (or the one in the protocol's box).

    Attributes:
        signature: the face's signature, None when there is none.
        faces: how many faces were found; 0 when the face that is meant is not among them.
        reason: why there is no signature, a stable code; None when there is one.
        detail: the reason in a sentence, "" when there is a signature.
        failed_at: the stage that gave up: "read", "find", "fit" or "describe"; None when there is a signature.
        yaw, pitch, roll: estimated by the fit, degrees; None without one.
        quality: of the described face, in [0, 1]; None without one.
        box: (x0, y0, x1, y1) px of the face that counts; None when none was found.
        seconds: wall-clock time for this picture, when it was described (a cached result keeps it). Stages that were
            shared with other systems count in full.
        timings_ms: milliseconds by stage.
    """

    signature: Signature | None
    faces: int
    reason: ReasonCode | None
    detail: str
    failed_at: Stage | None = None
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
    """The results of loop 1 for one system.

    Attributes:
        results: one per picture, in the pictures' order.
        digests: content digest of each picture ("" where the file could not be read).
        computed: how many were described in this run; the rest came from the cache.
    """

    results: tuple[PictureResult, ...]
    digests: tuple[str, ...]
    computed: int


class SignatureCache:
    """Results of loop 1 on disk, one file per picture, for one contract.

    The files hold biometric data; delete the folder to delete them. A damaged file reads as absent.
    """

    def __init__(self, folder: Path, contract: str) -> None:
        self._contract = contract
        self._store = ResultStore(folder, _KIND, contract)

    def path(self, key: str) -> Path:
        """Where the result for the picture with this key is kept."""
        return self._store.path(key)

    def get(self, key: str) -> PictureResult | None:
        """The stored result, or None when there is none that can be read and belongs to this contract and picture."""
        try:
            header, arrays = self._store.read(key)
            signature = None
            if "visible" in arrays:
                visible, seen = arrays["visible"], arrays["cells"]
                cells = np.zeros((len(visible), seen.shape[1]), dtype=np.float32)
                cells[visible] = seen
                signature = Signature(cells, visible, self._contract, arrays.get("regions"))
            box = header.pop("box")
            result = PictureResult(signature=signature, box=None if box is None else tuple(box), **header)
        except UNREADABLE:
            return None
        return result if (result.signature is None) == (result.reason in REASON_CODES) else None

    def put(self, key: str, result: PictureResult) -> None:
        """Store a result; a reader sees all of it or nothing."""
        header = asdict(replace(result, signature=None))
        del header["signature"]
        arrays = {}
        if result.signature is not None:
            # Unseen cells are zero, so only the seen ones are kept.
            arrays = {"visible": result.signature.visible, "cells": result.signature.cells[result.signature.visible]}
            if result.signature.regions is not None:
                arrays["regions"] = result.signature.regions
        self._store.write(key, header, arrays)


def describe_pictures(
    pictures: Sequence[Picture],
    recognizer: StagedDescriber,
    cache: Path | None = None,
    advance: Callable[[int], None] | None = None,
) -> SignatureRun:
    """`describe_systems` for a single system."""
    return describe_systems(pictures, {"": recognizer}, cache, advance)[""]


@dataclass(frozen=True, eq=False)
class PictureTask:
    """A picture that some systems have no result of yet.

    Attributes:
        number: its place among the pictures of the run.
        picture: where it is and whose face is meant.
        systems: names of the systems whose results are wanted.
        fits: what is known of it already, by the recognizers' `stages`.
        photo: its bytes, for whoever does not see the file; None: read it from where it is.
    """

    number: int
    picture: Picture
    systems: tuple[str, ...]
    fits: Mapping[str, FitOutcome]
    photo: bytes | None = None


@dataclass(frozen=True, eq=False)
class PictureAnswer:
    """What a task came to.

    Attributes:
        results: by system.
        fits: those that were not known before, by `stages`.
    """

    results: dict[str, PictureResult]
    fits: dict[str, FitOutcome]


DescribeTasks = Callable[[Iterable[PictureTask]], Iterable[PictureAnswer]]
"""Answers tasks in their order, in this process or on other machines (see `describe_on`)."""


def describe_systems(
    pictures: Sequence[Picture],
    systems: Mapping[str, StagedDescriber],
    cache: Path | None = None,
    advance: Callable[[int], None] | None = None,
    describe_tasks: DescribeTasks | None = None,
) -> dict[str, SignatureRun]:
    """Describe every picture with every system, from the cache where it has been done before.

    A picture is read once, and found and fitted once for all systems with equal `stages`. A picture that cannot be used
    becomes a result with a reason code; the run continues.

    Args:
        pictures: what to describe.
        systems: the paths from a photograph to signatures, by name.
        cache: folder in which fits and signatures are kept; None keeps none.
        advance: called with 1 after each picture, for a progress bar.
        describe_tasks: who describes; None: `systems`, here, one picture after the other.

    Raises:
        ContractError: when a recognizer's signatures do not carry its contract.
    """
    kept = {name: SignatureCache(cache, one.contract.digest) for name, one in systems.items()} if cache else {}
    fits = {one.stages: FitCache(cache, one.stages) for one in systems.values()} if cache else {}
    found: list[dict[str, PictureResult]] = []
    computed = dict.fromkeys(systems, 0)
    digests: list[str] = []
    # Tasks that are being worked on; whoever describes may take several before the first is answered.
    open_tasks: dict[int, tuple[PictureTask, str]] = {}

    def lacking() -> Iterator[PictureTask]:
        for number, picture in enumerate(pictures):
            try:
                digest = photo_digest(picture.path)
            except UnusablePhotoError as error:
                digests.append("")
                found.append({name: _failure(unread(error, 0.0)) for name in systems})
            else:
                key = picture.key(digest)
                digests.append(digest)
                found.append({name: hit for name, one in kept.items() if (hit := one.get(key)) is not None})
                wanted = tuple(name for name in systems if name not in found[number])
                if wanted:
                    stages = {systems[name].stages for name in wanted} & fits.keys()
                    known = {one: fit for one in stages if (fit := fits[one].get(key)) is not None}
                    task = PictureTask(number, picture, wanted, known)
                    open_tasks[number] = task, key
                    yield task
                    continue
            if advance is not None:
                advance(1)

    answers = (describe_tasks or partial(map, partial(describe_picture, systems)))(lacking())
    for answer in answers:
        task, key = open_tasks.pop(next(iter(open_tasks)))
        for stages, outcome in answer.fits.items():
            if stages in fits:
                fits[stages].put(key, outcome)
        for name in task.systems:
            computed[name] += 1
            found[task.number][name] = answer.results[name]
            if kept:
                kept[name].put(key, answer.results[name])
        if advance is not None:
            advance(1)
    assert not open_tasks
    return {name: SignatureRun(tuple(one[name] for one in found), tuple(digests), computed[name]) for name in systems}


def describe_picture(systems: Mapping[str, StagedDescriber], task: PictureTask) -> PictureAnswer:
    """The results of one task, by the recognizers of `systems`."""
    shared = _SharedStages(task)
    results: dict[str, PictureResult] = {}
    for name in task.systems:
        try:
            results[name] = shared.describe(systems[name])
        except Exception as error:
            # An error of the program, not of the photograph: stop, and name the picture.
            error.add_note(f"while describing {task.picture.path}")
            raise
    return PictureAnswer(results, shared.new_fits)


@contextmanager
def describe_in_threads(systems: Mapping[str, StagedDescriber], workers: int) -> Iterator[DescribeTasks]:
    """Describe `workers` pictures at a time here; the answers do not depend on how many."""
    with ThreadPoolExecutor(workers, thread_name_prefix="facerec") as pool:

        def describe_tasks(tasks: Iterable[PictureTask]) -> Iterator[PictureAnswer]:
            waiting: deque[Future[PictureAnswer]] = deque()
            for task in tasks:
                waiting.append(pool.submit(describe_picture, systems, task))
                if len(waiting) > 2 * workers:  # enough that no thread waits for the next picture
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            yield describe_tasks
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def describe_on(workers: RayWorkers[Mapping[str, StagedDescriber]]) -> DescribeTasks:
    """Describe by Ray actors whose models are recognizers by the systems' names."""
    from facerec.recognition.ray_workers import photo_bytes

    def describe_tasks(tasks: Iterable[PictureTask]) -> Iterable[PictureAnswer]:
        return workers.map(describe_picture, (replace(task, photo=photo_bytes(task.picture.path)) for task in tasks))

    return describe_tasks


def systems_contract(systems: Mapping[str, StagedDescriber]) -> str:
    """Digest of the contracts of all systems together, by which Ray's workers are checked."""
    return hashlib.sha256("".join(f"{name}={systems[name].contract.digest};" for name in systems).encode()).hexdigest()


class _SharedStages:
    """One picture on its way through several systems: read once, found, fitted and lifted once for each `stages`."""

    def __init__(self, task: PictureTask) -> None:
        self._task = task
        self._image: tuple[Image, float] | None = None
        self._lifted: dict[str, LiftedFace | UndescribedFace] = {}
        self.new_fits: dict[str, FitOutcome] = {}

    def describe(self, recognizer: StagedDescriber) -> PictureResult:
        """The picture's result under one system."""
        stages = recognizer.stages
        try:
            outcome = self._outcome(recognizer)
            if outcome.reason is not None:
                return _failure(outcome)
            if stages not in self._lifted:
                self._lifted[stages] = recognizer.lift(outcome.resume(self._read()[0]))
        except UnusablePhotoError as error:
            return _failure(unread(error, 0.0))
        lifted = self._lifted[stages]
        started = time.perf_counter()
        face = recognizer.sign(lifted) if isinstance(lifted, LiftedFace) else lifted
        seconds = time.perf_counter() - started
        if isinstance(face, UndescribedFace):
            at, edges = face.stage, (face.box.x0, face.box.y0, face.box.x1, face.box.y1)
            return PictureResult(
                None, outcome.faces, face.reason, face.detail, at, box=edges, seconds=outcome.seconds + seconds
            )
        if face.signature.contract != recognizer.contract.digest:
            raise ContractError(
                f"expected signatures of the recognizer's contract {recognizer.contract.digest}; "
                f"got {face.signature.contract}"
            )
        box = face.face.box
        yaw, pitch, roll = face.fitted.camera.angles
        timings = outcome.timings_ms | {str(name): float(value) for name, value in face.timings_ms.items()}
        return PictureResult(
            signature=face.signature,
            faces=outcome.faces,
            reason=None,
            detail="",
            yaw=yaw,
            pitch=pitch,
            roll=roll,
            quality=float(face.quality),
            box=(box.x0, box.y0, box.x1, box.y1),
            seconds=outcome.seconds + seconds + timings.get("lift", 0.0) / 1000,
            timings_ms=timings,
        )

    def _outcome(self, recognizer: StagedDescriber) -> FitOutcome:
        stages = recognizer.stages
        known = self._task.fits.get(stages) or self.new_fits.get(stages)
        if known is None:
            image, read_ms = self._read()
            known = self.new_fits[stages] = fit_picture(self._task.picture, image, recognizer, read_ms)
        return known

    def _read(self) -> tuple[Image, float]:
        """The pixels and the milliseconds that reading them took."""
        if self._image is None:
            started = time.perf_counter()
            image = open_picture(self._task.picture, self._task.photo)
            self._image = image, 1000 * (time.perf_counter() - started)
        return self._image


def _failure(outcome: FitOutcome) -> PictureResult:
    box = outcome.box
    edges = None if box is None else (box.x0, box.y0, box.x1, box.y1)
    return PictureResult(
        None,
        outcome.faces,
        outcome.reason,
        outcome.detail,
        outcome.failed_at,
        box=edges,
        seconds=outcome.seconds,
    )
