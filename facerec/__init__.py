"""Face recognition across pose: from a photograph to a person, a score and the reason.

The public names are loaded when they are first used, so that `import facerec` costs nothing. The parts they are made of
are in `facerec.landmarks`, `facerec.frontalize`, `facerec.recognition` and `facerec.evaluation`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facerec.frontalize.types import Camera, FaceTexture, FittedFace
    from facerec.landmarks.errors import (
        ContractError,
        DeviceError,
        FacerecError,
        InvalidInputError,
        ReasonCode,
        UnusablePhotoError,
    )
    from facerec.landmarks.image import Photo, read_image, write_image
    from facerec.landmarks.photo_files import find_photos
    from facerec.landmarks.types import Box, Face, Image, Landmarks
    from facerec.recognition.description import EnrolmentSettings
    from facerec.recognition.enrolment_summary import EnrolmentSummary
    from facerec.recognition.front_door import enroll, identify, verify
    from facerec.recognition.identification import Identifier, ProbeFace
    from facerec.recognition.pair import PairDecision
    from facerec.recognition.recognizer import (
        DescribedFace,
        Recognizer,
        RecognizerSettings,
        UndescribedFace,
        load_recognizer,
    )
    from facerec.recognition.signature import Decision, Match, Signature
    from facerec.recognition.store.sqlite import Gallery
    from facerec.recognition.threshold import Threshold

    __version__: str

_PLACES = {
    "frontalize.types": ("Camera", "FaceTexture", "FittedFace"),
    "landmarks.errors": (
        "ContractError",
        "DeviceError",
        "FacerecError",
        "InvalidInputError",
        "ReasonCode",
        "UnusablePhotoError",
    ),
    "landmarks.image": ("Photo", "read_image", "write_image"),
    "landmarks.photo_files": ("find_photos",),
    "landmarks.types": ("Box", "Face", "Image", "Landmarks"),
    "recognition.description": ("EnrolmentSettings",),
    "recognition.enrolment_summary": ("EnrolmentSummary",),
    "recognition.front_door": ("enroll", "identify", "verify"),
    "recognition.identification": ("Identifier", "ProbeFace"),
    "recognition.pair": ("PairDecision",),
    "recognition.recognizer": (
        "DescribedFace",
        "Recognizer",
        "RecognizerSettings",
        "UndescribedFace",
        "load_recognizer",
    ),
    "recognition.signature": ("Decision", "Match", "Signature"),
    "recognition.store.sqlite": ("Gallery",),
    "recognition.threshold": ("Threshold",),
}
"""Where the public names come from; the imports above say the same to a type checker."""

_PLACE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "Box",
    "Camera",
    "ContractError",
    "Decision",
    "DescribedFace",
    "DeviceError",
    "EnrolmentSettings",
    "EnrolmentSummary",
    "Face",
    "FaceTexture",
    "FacerecError",
    "FittedFace",
    "Gallery",
    "Identifier",
    "Image",
    "InvalidInputError",
    "Landmarks",
    "Match",
    "PairDecision",
    "Photo",
    "ProbeFace",
    "ReasonCode",
    "Recognizer",
    "RecognizerSettings",
    "Signature",
    "Threshold",
    "UndescribedFace",
    "UnusablePhotoError",
    "__version__",
    "enroll",
    "find_photos",
    "identify",
    "load_recognizer",
    "read_image",
    "verify",
    "write_image",
]

# In a checkout the parts lie beside this folder, not in it. Python that starts in the checkout finds this folder before
# an installed facerec, so it must find its parts by itself.
if not (Path(__file__).parent / "landmarks").is_dir():
    __path__.append(str(Path(__file__).parent.parent))


def __getattr__(name: str) -> Any:
    """A public name, when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("facerec")
    elif name in _PLACE_OF:
        value = getattr(importlib.import_module(f"facerec.{_PLACE_OF[name]}"), name)
    else:
        raise AttributeError(f"module 'facerec' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
