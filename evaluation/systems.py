"""Names of systems on the command line: the landmark model and the descriptor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.models import LANDMARK_MODELS

if TYPE_CHECKING:
    from facerec.recognition.recognizer import Recognizer


@dataclass(frozen=True)
class System:
    """One way from a photograph to a signature.

    Attributes:
        name: as it was asked for.
        landmarks: name of the landmark model.
        descriptor: name of the descriptor, see `facerec.recognition.descriptors.load_descriptor`.
    """

    name: str
    landmarks: str
    descriptor: str


def parse_systems(asked: Sequence[str], landmarks: str) -> list[System]:
    """The systems that `asked` names, in its order.

    Each text holds one or several names, separated by commas: LANDMARKS+DESCRIPTOR, or a descriptor alone ("dfd",
    "photo:dlib", "onnx:PATH"). A plus sign that follows no landmark model's name is part of the descriptor.

    Args:
        asked: e.g. ["godp+dfd, photo:dlib"].
        landmarks: model of the systems that name none.

    Raises:
        InvalidInputError: no name, or one twice.
    """
    systems: list[System] = []
    for word in (word.strip() for text in asked for word in text.split(",")):
        model, plus, descriptor = word.partition("+")
        if not word or (plus and model in LANDMARK_MODELS and not descriptor):
            raise InvalidInputError(
                f"expected systems like LANDMARKS+DESCRIPTOR or DESCRIPTOR (landmark models: "
                f"{', '.join(LANDMARK_MODELS)}), separated by commas; got {word!r} in {','.join(asked)!r}"
            )
        named = plus and model in LANDMARK_MODELS
        systems.append(System(word, model, descriptor) if named else System(word, landmarks, word))
    seen: dict[tuple[str, str], str] = {}
    for one in systems:
        before = seen.setdefault((one.landmarks, one.descriptor), one.name)
        if before is not one.name:
            raise InvalidInputError(f"expected every system once; {before} and {one.name} are the same")
    return systems


def load_systems(systems: Sequence[System], device: Literal["cpu", "cuda"], detector: str) -> dict[str, Recognizer]:
    """The recognizer of each system by its name. Here, because Ray's workers call it on their own machines."""
    from facerec.recognition.recognizer import Recognizer

    return {
        one.name: Recognizer.load(landmarks=one.landmarks, descriptor=one.descriptor, device=device, detector=detector)
        for one in systems
    }
