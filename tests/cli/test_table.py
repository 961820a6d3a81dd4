"""Tables fit the terminal, and are plain where there is none."""

from __future__ import annotations

import pytest

from facerec.cli.output import harmless_cell
from facerec.cli.table import cell_width, shorten, table_lines

COLUMNS = ["file", "face", "yaw", "decision", "person", "score", "overlap", "why"]
NUMBERS = ["face", "yaw", "score", "overlap"]
WHY = "0.41 is less than the threshold 0.46; the best of 1,204 people is Bartholomew Featherstonehaugh"
ROWS: list[list[object]] = [
    ["photographs/2024/07/door-camera-17/IMG_20240702_081215.jpg", 0, "+12", "unknown", None, "0.41", "100 %", WHY],
    ["b.jpg", 10, "-3", "match", "Bartholomew Featherstonehaugh-Cholmondeley", "0.71", "98 %", "0.71 and far ahead"],
    ["c.jpg", None, None, "none", "田中太郎", None, None, "no_face: no face was found"],
]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_every_line_fits_and_every_number_is_whole(width: int) -> None:
    lines = table_lines(COLUMNS, ROWS, NUMBERS, width)
    assert all(cell_width(line) <= width for line in lines), lines
    text = "\n".join(lines)
    for row in ROWS:
        for column, cell in zip(COLUMNS, row, strict=True):
            if column in NUMBERS and cell is not None:
                assert f" {cell}" in text
    words = text.split()
    assert all(word in words for word in WHY.split() if "-" not in word)
    for head in COLUMNS:
        if width >= 60 and head != "why":  # the sentences may stand below their rows, without a heading
            assert head in words
    assert "IMG_20240702_081215.jpg"[-4:] in text


@pytest.mark.parametrize("width", [80, 120])
def test_paths_and_names_lose_their_middle(width: int) -> None:
    text = "\n".join(table_lines(COLUMNS, ROWS, NUMBERS, width))
    assert "photo" in text
    assert "15.jpg" in text
    assert "Bart" in text
    assert "…" in text


def test_one_long_name_widens_no_row() -> None:
    rows = [["ann", 1], ["bo", 2], ["x" * 500, 3]]
    assert max(map(cell_width, table_lines(["person", "photos"], rows, ["photos"], 80))) <= 80
    lines = table_lines(["person", "photos"], rows, ["photos"], None)
    assert [len(line) < 60 for line in lines] == [True, True, True, False]


def test_without_a_terminal_a_row_is_a_plain_line_with_every_value_whole() -> None:
    lines = table_lines(COLUMNS, ROWS, NUMBERS, None)
    assert len(lines) == 1 + len(ROWS)
    for line, row in zip(lines[1:], ROWS, strict=True):
        assert all(str(cell) in line for cell in row if cell is not None)
        assert line.isprintable()
        assert not set(line) & set("─│…┃━")


@pytest.mark.parametrize("width", range(2, 12))
def test_what_is_shortened_keeps_its_beginning_and_its_end(width: int) -> None:
    short = shorten("photographs/door.jpg", width)
    assert cell_width(short) <= width
    assert "…" in short
    assert shorten("door.jpg", 8) == "door.jpg"
    assert cell_width(shorten("田中太郎田中太郎", width)) <= width


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-cmd", "@sum", "\tx"])
def test_a_spreadsheet_runs_no_cell(cell: str) -> None:
    assert harmless_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["-0.5", "+12", -3, None, "a=b", "1-2"])
def test_numbers_and_other_texts_stay_as_they_are(cell: int | str | None) -> None:
    assert harmless_cell(cell) == cell
