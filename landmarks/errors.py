"""The errors of facerec. Each states what was expected and what was given."""

from __future__ import annotations

from typing import Literal

ReasonCode = Literal["no_face", "multiple_faces", "unreadable", "too_large", "fit_unstable"]
"""Why a photograph could not be used. Stable: scripts may branch on it."""

REASON_CODES: tuple[ReasonCode, ...] = ("no_face", "multiple_faces", "unreadable", "too_large", "fit_unstable")


class FacerecError(Exception):
    """Base of every error facerec raises on purpose: bad input, never an internal fault."""


class InvalidInputError(FacerecError, ValueError):
    """A value or a file does not have the expected form."""


class ContractError(FacerecError):
    """Two things that must agree (a gallery and the models, a weight file and its record) do not."""


class DeviceError(FacerecError):
    """The requested device is not available. There is no silent fall-back."""


class UnusablePhotoError(FacerecError):
    """A photograph, or a face of it, that cannot be used, with a stable reason code. A batch continues after it.

    Attributes:
        reason: the code.
        detail: one sentence for a person, without the code.
        file: the photograph, where it is known; empty otherwise. The message begins with it.
    """

    def __init__(self, reason: ReasonCode, detail: str, file: str = "") -> None:
        super().__init__(f"{file}: {reason}: {detail}" if file else f"{reason}: {detail}")
        self.reason: ReasonCode = reason
        self.detail = detail
        self.file = file


_SMALL = 200
"""Shorter sides, px, below which a picture is likelier a cropped face than a photograph that shows one."""


def no_face(height: int, width: int) -> UnusablePhotoError:
    """The error for a picture of this size, px, in which no face was found."""
    hint = (
        ""
        if min(height, width) >= _SMALL
        else f"; if the whole picture ({width} x {height} px) is one face, use --detector whole"
    )
    return UnusablePhotoError("no_face", f"no face was found{hint}")
