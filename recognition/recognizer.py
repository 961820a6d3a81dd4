"""The path from a photograph to signatures, one function that reads like the design's line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from facerec.frontalize.types import FaceTexture, FittedFace
from facerec.landmarks.errors import ReasonCode
from facerec.landmarks.types import Box, Face, Image
from facerec.recognition.signature import Signature


@dataclass(frozen=True, eq=False)
class DescribedFace:
    """A face that went the whole path.

    Attributes:
        face: picture, box and landmarks.
        fitted: shape, expression and camera.
        texture: UV texture and visibility mask.
        signature: the masked signature.
        quality: in [0, 1], visible share of the texture times the mean landmark confidence.
        timings_ms: milliseconds by stage ("landmarks", "fit", "lift", "describe").
    """

    face: Face
    fitted: FittedFace
    texture: FaceTexture
    signature: Signature
    quality: float
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class UndescribedFace:
    """A face that was found but did not get a signature.

    Attributes:
        box: where it is, px.
        reason: stable reason code, e.g. "fit_unstable".
        detail: one sentence for a person.
    """

    box: Box
    reason: ReasonCode
    detail: str
