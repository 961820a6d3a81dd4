"""The functions of `import facerec`: enrol photographs, identify faces, verify a pair, in one line each.

Each loads the models that it needs. A program that calls more than once loads them once (`load_recognizer`,
`Identifier.open`) and passes them in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from facerec.landmarks.device import cores_shared, photos_at_once, resolve_device
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import Photo
from facerec.landmarks.types import describe_value
from facerec.recognition import enrolment
from facerec.recognition.description import DescribeMany, Describer, EnrolmentSettings
from facerec.recognition.enrolment_plan import EnrolmentPlan, plan_enrolment
from facerec.recognition.enrolment_summary import EnrolmentSummary, write_skipped
from facerec.recognition.identification import Identifier, ProbeFace, gallery_address
from facerec.recognition.pair import PairDecision, compare_photos, pair_threshold
from facerec.recognition.recognizer import RecognizerSettings, load_recognizer
from facerec.recognition.store.galleries import open_gallery

Models = RecognizerSettings | Describer | None
"""Which models to load, a loaded recognizer, or None: those that the gallery names, for a new one the default."""


def gallery_contract(gallery: Path | str) -> str | None:
    """The contract (JSON) of the gallery at an address; None where no file is, which enrolment then makes.

    A gallery in Milvus is asked for when it exists: one that does not is None, too.
    """
    if not str(gallery).startswith("milvus:") and not Path(gallery).exists():
        return None
    try:
        with open_gallery(gallery) as store:
            return store.contract_json
    except InvalidInputError:
        if str(gallery).startswith("milvus:"):
            return None
        raise


def _models_for(gallery: Path | str, models: Models = None) -> Describer:
    """A recognizer for the gallery at an address: `models` when it is one, otherwise loaded (`load_recognizer`)."""
    if models is None or isinstance(models, RecognizerSettings):
        return load_recognizer(models, gallery_contract(gallery))
    return models


def enroll(
    photos: Path | str | Sequence[Path | str] | EnrolmentPlan,
    gallery: Path | str,
    models: Models = None,
    *,
    settings: EnrolmentSettings | None = None,
    progress: Callable[[int], None] = lambda photos: None,
    describe_many: DescribeMany | None = None,
) -> EnrolmentSummary:
    """Enrol photographs of known people in a gallery, which is made when it is not there.

    What was skipped is listed in GALLERY.skipped.jsonl beside a gallery that is a file.

    Args:
        photos: a folder with a folder for each person, photographs, a table (columns path, person), several of these,
            or a plan: see `plan_enrolment`.
        gallery: a file, or milvus:URI.
        models: which to load, or a loaded recognizer; None: those that the gallery's contract names.
        settings: see `EnrolmentSettings`; None: one photograph per core.
        progress: called with the number of photographs done since the last call.
        describe_many: who describes; None: the models here.

    Raises:
        InvalidInputError: no such photograph, no such model, or a file that is no gallery. ContractError: the gallery
            was made with other models. GalleryLockedError: someone else writes it.
    """
    plan = photos if isinstance(photos, EnrolmentPlan) else plan_enrolment(_paths(photos))
    describer = _models_for(gallery_address(gallery), models)
    if settings is None:
        asked = models.device if isinstance(models, RecognizerSettings) else "auto"
        settings = replace(EnrolmentSettings(), workers=photos_at_once(None, resolve_device(asked), len(plan.items)))
    with ExitStack() as stack:
        stack.enter_context(cores_shared(settings.workers))
        store = stack.enter_context(open_gallery(gallery, describer.contract, create=True))
        summary = enrolment.enroll(plan, store, describer, settings, progress, describe_many)
    if not str(gallery).startswith("milvus:"):
        write_skipped(Path(gallery), summary.skipped)
    return summary


def identify(
    photos: Photo | Iterable[Photo], gallery: Path | str, models: Models = None, *, fpir: float | None = None
) -> list[ProbeFace]:
    """Identify the people in photographs: an answer for each face, and for each photograph without a usable one.

    Args:
        photos: photographs (files, bytes of files, arrays (H, W, 3) uint8 RGB) and folders of them, or one alone.
        gallery: a file, or milvus:URI.
        models: which to load, or a loaded recognizer; None: those that the gallery's contract names.
        fpir: share of strangers who may match somebody in a gallery of this size; None: 0.01.

    Raises:
        InvalidInputError, ContractError, DeviceError: as `Identifier.open`.
    """
    with Identifier.open(gallery, models, fpir=fpir) as identifier:
        return list(identifier.identify(photos))


def verify(
    first: Photo,
    second: Photo,
    models: RecognizerSettings | Describer | None = None,
    *,
    far: float | None = None,
    threshold: float | None = None,
    names: tuple[str, str] | None = None,
) -> PairDecision:
    """Decide whether the largest faces of two photographs show the same person.

    Args:
        first, second: files, bytes of files or arrays (H, W, 3) uint8 RGB.
        models: which to load, or a loaded recognizer; None: the default ones.
        far: false accept rate of the threshold; None: that of `ThresholdSettings`.
        threshold: a threshold of one's own, on the scale of `PairDecision.score`, in place of one at `far`.
        names: what the answer calls the photographs; None: their files, or "photo 0" and "photo 1".

    Returns:
        The decision; "none" with its reason code when a photograph cannot be used.

    Raises:
        InvalidInputError: no photograph, or `far` and `threshold` together. DeviceError: the device is not there.
    """
    if models is None or isinstance(models, RecognizerSettings):
        models = load_recognizer(models)
    chosen = pair_threshold(models.contract.digest, far, threshold)
    with cores_shared(1):
        return compare_photos(models, first, second, chosen, names)


def _paths(photos: Path | str | Sequence[Path | str]) -> list[Path]:
    paths = [photos] if isinstance(photos, Path | str) else photos
    if isinstance(paths, bytes) or not isinstance(paths, Sequence) or not all(isinstance(p, Path | str) for p in paths):
        raise InvalidInputError(
            f"expected folders, photographs or tables to enrol (str or Path); got {describe_value(photos)}"
        )
    return [Path(path) for path in paths]
