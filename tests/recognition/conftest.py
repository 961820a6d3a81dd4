"""Photographs of pretended people, and their enrolment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest

from facerec.recognition.description import EnrolmentSettings
from facerec.recognition.enrolment import enroll
from facerec.recognition.enrolment_plan import Layout, plan_enrolment
from facerec.recognition.enrolment_summary import EnrolmentSummary
from facerec.recognition.store.sqlite import Gallery

Enrol = Callable[..., tuple[EnrolmentSummary, int]]


@pytest.fixture
def people(tmp_path: Path, pretend: ModuleType) -> Path:
    """people/: four persons, three pictures each, one of them turned."""
    root = tmp_path / "people"
    for person in range(1, 5):
        for picture in range(3):
            pretend.paint(root / f"p{person}" / f"{picture}.png", (person, 6 if picture else 11, picture))
    return root


@pytest.fixture
def run(tmp_path: Path, pretend: ModuleType) -> Enrol:
    """Enrol folders into a gallery with the pretended models; returns summary, digest and number of descriptions."""

    def enrol(
        *paths: Path, to: str = "g", layout: Layout | Literal["auto"] = "auto", tag: str = "a", **settings: Any
    ) -> tuple[EnrolmentSummary, int]:
        recognizer = pretend.PretendRecognizer(tag)
        with Gallery.create(tmp_path / to, recognizer.contract, exist_ok=True) as gallery:
            summary = enroll(plan_enrolment(paths, layout), gallery, recognizer, EnrolmentSettings(**settings))
            assert gallery.verify().faults == ()
        return summary, recognizer.described

    return enrol
