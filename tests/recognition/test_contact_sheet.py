"""The contact sheet says which strip is which, keeps the order and shows nothing that was not in the photograph."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from facerec.recognition import stage_pictures
from facerec.recognition.contact_sheet import LABEL, contact_row, join_rows
from facerec.recognition.recognizer import DescribedFace


@pytest.fixture
def face(pretend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> DescribedFace:
    picture = np.full((24, 24, 3), 90, dtype=np.uint8)
    picture[0, 0, 0], picture[1] = 1, (1, 6, 0)
    monkeypatch.setattr(stage_pictures, "draw_overlay", lambda *_: picture)
    monkeypatch.setattr(stage_pictures, "frontal_view", lambda texture, fitted, model, size, neutral: picture)
    (described,) = pretend.PretendRecognizer().describe(picture)
    assert isinstance(described, DescribedFace)
    return described


def row(face: DescribedFace, label: str) -> np.ndarray:
    return contact_row(face, None, label, tile=24)  # type: ignore[arg-type]


def test_each_strip_stands_under_its_label(face: DescribedFace) -> None:
    strips = [row(face, label) for label in ("a-0", "b-0", "", "x" * 500 + "a-0")]
    assert strips[0].shape == (LABEL + 24, 5 * 24, 3)
    np.testing.assert_array_equal(strips[0][LABEL:], strips[1][LABEL:])
    assert (strips[0][:LABEL] != strips[1][:LABEL]).any()
    assert (strips[2][:LABEL] == 255).all()
    assert (strips[3][:LABEL, -12:] == 255).all()  # a long one keeps its end, and fits


def test_strips_keep_their_order_from_left_to_right() -> None:
    strips = [np.full((4, 20, 3), shade, dtype=np.uint8) for shade in (10, 20, 30, 40, 50)]
    sheet = join_rows(strips, columns=2)
    assert [int(sheet[4 * line, 20 * column, 0]) for line in range(3) for column in range(2)] == [
        10,
        20,
        30,
        40,
        50,
        255,
    ]


def test_what_the_photograph_does_not_show_is_white(face: DescribedFace) -> None:
    strip = row(face, "a-0")[LABEL:]
    assert (strip[0, :48] == 255).all()  # the face's surroundings reach beyond the picture of 24 px
    assert (strip[12, 12] != 255).any()
