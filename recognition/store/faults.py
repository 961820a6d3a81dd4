"""Errors of galleries and of requests to them, one type each."""

from __future__ import annotations

from facerec.landmarks.errors import InvalidInputError


class NoGalleryError(InvalidInputError):
    """There is no gallery at the address."""


class DamagedGalleryError(InvalidInputError):
    """The gallery's bytes are not what was stored."""


class UnknownPersonError(InvalidInputError):
    """The gallery holds nobody of that name."""


class NameTakenError(InvalidInputError):
    """The gallery holds somebody of that name already."""
