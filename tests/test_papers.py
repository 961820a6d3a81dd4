"""docs/papers.md leads to code, tests and commands that exist, and leaves nothing of the two papers out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from facerec.cli.main import facerec

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/papers.md").read_text(encoding="utf-8")
GODP, DSSD = PAGE.split("## DSSD")[0], PAGE.split("## DSSD")[1].split("## Published")[0]
QUOTED = re.findall(r"`([^`\n]+)`", PAGE)


def names_of(path: Path) -> set[str]:
    """Functions, classes and tests that a file defines at its top."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return {one.name for one in nodes if isinstance(one, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("place", sorted({one for one in QUOTED if "/" in one}))
def test_every_file_function_and_test_named_on_the_page_exists(place: str) -> None:
    file, _, name = place.split()[0].partition("::")
    assert (ROOT / file).exists(), file
    if name:
        assert name in names_of(ROOT / file)


@pytest.mark.parametrize("line", sorted({one for one in QUOTED if one.startswith("facerec ")}))
def test_every_command_named_on_the_page_exists(line: str) -> None:
    found: click.Command = facerec
    words = line.split()[1:]
    while words and isinstance(found, click.Group):
        found_or_none = found.get_command(click.Context(found), words.pop(0))
        assert found_or_none is not None, line
        found = found_or_none
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def numbers(text: str, word: str) -> set[int]:
    """The numbers after `word` in the first cells of the tables: "Eqs. 4-6" and "Tables 2-6" are all of them."""
    found: set[int] = set()
    roman = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7}
    for cell in re.findall(r"^\| ([^|]+) \|", text, flags=re.MULTILINE):
        for listed in re.findall(rf"{word}s?\.? ((?:[0-9IV]+[ab]?(?:-|, | and )?)+)", cell):
            for one in re.findall(r"[0-9IV]+(?:-[0-9IV]+)?", listed):
                ends = [roman.get(end) or int(end) for end in one.split("-")]
                found |= set(range(ends[0], ends[-1] + 1))
    return found


def test_no_equation_table_or_figure_of_the_papers_is_left_out() -> None:
    for text, equations, tables, figures in ((GODP, 7, 11, 14), (DSSD, 25, 7, 9)):
        assert numbers(text, "Eq") == set(range(1, equations + 1))
        assert numbers(text, "Table") == set(range(1, tables + 1))
        assert numbers(text, "Fig") == set(range(1, figures + 1))
