"""The errors of facerec. Each says what was expected and what came."""

from __future__ import annotations

from typing import Literal

ReasonCode = Literal["no_face", "multiple_faces", "unreadable", "too_large", "fit_unstable"]
"""Why a photograph could not be used. Stable: scripts may branch on it."""

REASON_CODES: tuple[ReasonCode, ...] = ("no_face", "multiple_faces", "unreadable", "too_large", "fit_unstable")


class FacerecError(Exception):
    """Base of every error facerec raises on purpose: bad input, never an internal fault."""


class InvalidInputError(FacerecError, ValueError):
    """A value or a file does not have the form that was asked for."""


class ContractError(FacerecError):
    """Two things that must agree (a gallery and the models, a weight file and its record) do not."""


class DeviceError(FacerecError):
    """The device that was asked for is not there. Never answered by a silent fall-back."""


class UnusablePhotoError(FacerecError):
    """A photograph, or a face of it, that cannot be used, with a stable reason code. A batch goes on past it.

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
        "" if min(height, width) >= _SMALL else f"; if all of it is one face ({width} x {height} px): --detector whole"
    )
    return UnusablePhotoError("no_face", f"no face was found{hint}")
