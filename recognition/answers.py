"""The parts of answers in JSON, so that each value has one name and one rounding everywhere.

The commands' `--json`, the HTTP service and exports are put together from these; docs/schema.json describes them.
"""

from __future__ import annotations

from typing import Any

from facerec.landmarks.types import Box, Face
from facerec.recognition.store.records import PersonRecord

PIXELS, DEGREES, SHARES, SCORES = 2, 2, 4, 6
"""Decimals of coordinates and boxes, of angles, of shares and qualities, of scores that are compared."""


def rounded(value: float | None, digits: int) -> float | None:
    """`value` to so many decimals; None stays None."""
    return None if value is None else round(float(value), digits) + 0.0


def box_json(box: Box) -> dict[str, float]:
    """A box, px, with its score."""
    edges = {name: round(float(getattr(box, name)), PIXELS) for name in ("x0", "y0", "x1", "y1")}
    return edges | {"score": round(float(box.score), SHARES)}


def pose_json(pose: tuple[float, float, float]) -> dict[str, float]:
    """Yaw, pitch and roll, degrees."""
    return dict(zip(("yaw", "pitch", "roll"), (round(angle, DEGREES) + 0.0 for angle in pose), strict=True))


def landmarks_json(face: Face, number: int, model: str) -> dict[str, Any]:
    """A located face: its number in the photograph, box, points, confidence, visibility, and who located it."""
    marks = face.landmarks
    return {
        "face": number,
        "box": box_json(face.box),
        "turned": face.turned,
        "model": model,
        "markup": marks.markup,
        "points": [[round(float(x), PIXELS), round(float(y), PIXELS)] for x, y in marks.points],
        "confidence": [round(float(v), SHARES) for v in marks.confidence],
        "visible": [bool(v) for v in marks.visible],
    }


def person_json(person: PersonRecord) -> dict[str, Any]:
    """A person of a gallery."""
    return {
        "person": person.name,
        "photos": person.photos,
        "entries": person.entries,
        "yaw": [round(angle, DEGREES) + 0.0 for angle in person.yaw],
        "visible_fraction": round(person.visible_share, SHARES),
        "nobody": person.nobody,
    }
