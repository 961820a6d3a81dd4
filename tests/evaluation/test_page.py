"""The page's first screen, systems side by side, the spread over groups and the failed pictures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facerec.evaluation.cases import failed_cases
from facerec.evaluation.charts import Axis
from facerec.evaluation.page_summary import page_summary
from facerec.evaluation.pointers import format_value, resolve, side_by_side
from facerec.evaluation.protocols.csv_protocol import read_csv
from facerec.evaluation.recognition_figures import recognition_figures
from facerec.evaluation.report import Report, RunFacts, SystemRun, recognition_report, render_html
from facerec.evaluation.score_figures import StandardSettings
from facerec.evaluation.score_report import score_report, score_set_figures
from facerec.evaluation.score_set import Sample, ScoreSet, from_matrix
from facerec.evaluation.signatures import describe_systems
from facerec.evaluation.spread_chart import SpreadMark, spread_chart
from facerec.landmarks.errors import InvalidInputError

if TYPE_CHECKING:
    from tests.evaluation.conftest import FakeRecognizer, Writer

FACTS = RunFacts("facerec evaluate <made up>", {}, {"facerec": "0"}, {}, {"cpu_count": 2, "processor": "made up"})
SETTINGS = StandardSettings(fmr=(0.1,), fpir=(0.1,), ranks=(1,))


def searched(shift: float) -> ScoreSet:
    """Twenty people, three pictures each, of whom the turned ones score less."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(20), 3)
    probes = [Sample(f"{i}.jpg", f"p{k}", yaw=40.0 * (i % 3)) for i, k in enumerate(who)]
    scores = rng.normal(size=(60, 20))
    scores[np.arange(60), who] += shift - np.arange(60) % 3
    return from_matrix("profile", [Sample(f"p{k}", f"p{k}") for k in range(20)], probes, scores)


def strangers(lift: float) -> ScoreSet:
    """Two groups of twenty people, of which the second look alike."""
    rng = np.random.default_rng(1)
    samples = tuple(Sample(f"{i}", f"{i}", groups=(("sex", "fm"[i // 20]),)) for i in range(40))
    a, b = np.triu_indices(40, 1)
    scores = rng.normal(size=len(a)) + lift * ((a >= 20) & (b >= 20))
    return ScoreSet("groups", samples, samples, a.astype(np.int64), b.astype(np.int64), scores)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Report:
    sets = {"ours-profile": searched(4.0), "ours-groups": strangers(0.5)}
    sets |= {"theirs-profile": searched(2.0), "theirs-groups": strangers(2.0)}
    file = tmp_path_factory.mktemp("scores") / "a"
    file.write_text("")
    figures = {name: score_set_figures(one, np.random.default_rng(0), SETTINGS) for name, one in sets.items()}
    return score_report(figures, dict.fromkeys(sets, file), FACTS)


def test_files_of_one_set_are_shown_side_by_side(scored: Report) -> None:
    found = side_by_side(scored.json)
    assert {of: [system for system, _ in members] for of, members in found.items()} == {
        "profile": ["ours", "theirs"],
        "groups": ["ours", "theirs"],
    }
    alone = {"kind": "scores", "scores": {"a-x": {}, "b-y": {}}}
    assert list(side_by_side(alone)) == [""]


def test_the_first_screen_has_a_figure_of_each_system_and_set_and_where_each_fails(scored: Report) -> None:
    summary = page_summary(scored.json)
    assert summary.table is not None
    cells = dict(summary.table.rows)
    assert list(cells) == ["ours", "theirs"]
    place, form = cells["theirs"][1][0]  # type: ignore[index]
    assert place == "/scores/theirs-groups/standard/by_group/sex/0/groups/m/fmr"
    assert any("theirs" in one.words and "m, where FMR 10 %" in one.words for one in summary.weakest)
    assert any("|yaw| 75-90" in one.words for one in summary.weakest)
    page = render_html(scored)
    shown = f'<span data-key="{place}" data-format="{form}">{format_value(resolve(scored.json, place), form)}</span>'
    assert page.index(shown) < page.index("Strict figures")


def test_the_page_shows_searches_by_pose_and_matches_across_groups(scored: Report) -> None:
    page = render_html(scored)
    for pointer in (
        "/scores/ours-profile/standard/identification/by_yaw/75-90/0/fpir",
        "/scores/ours-profile/standard/identification/by_yaw/75-90/0/fnir",
        "/scores/theirs-groups/standard/by_group/sex/0/between/0/fmr",
    ):
        assert f'data-key="{pointer}"' in page
    assert page.count("FMR by sex") >= 1
    between = resolve(scored.json, "/scores/theirs-groups/standard/by_group/sex/0/between/0/fmr")
    assert between["trials"] == 400


def test_marks_of_a_spread_stand_at_their_rates_and_few_errors_are_hollow() -> None:
    marks = [SpreadMark(0.01, 0.005, 0.02, False), SpreadMark(0.1, 0.05, 0.2, True)]
    axis = Axis("FMR, %", 0.001, 1.0, log=True)
    svg = spread_chart([("a", marks), ("b", [None, marks[0]])], ["x", "y"], title="t", x=axis, aimed=0.01)
    circle = re.search(r'<circle cx="([\d.]+)" cy="[\d.]+" r="4.2" fill="(#\w+)"', svg)
    square = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="7.6" height="7.6" fill="(#\w+)"', svg)
    assert circle is not None
    assert square is not None
    width = 460 - 118 - 16
    assert float(circle[1]) == pytest.approx(118 + width / 3, abs=0.1)
    assert float(square[1]) + 3.8 == pytest.approx(118 + 2 * width / 3, abs=0.1)
    assert (circle[2] != "#ffffff", square[2]) == (True, "#ffffff")
    with pytest.raises(InvalidInputError, match="every row"):
        spread_chart([("a", marks[:1])], ["x", "y"], title="t", x=axis, aimed=None)


def test_failed_pictures_are_shown_by_reason(tmp_path: Path, recognizer: FakeRecognizer, write_picture: Writer) -> None:
    lines = ["path,person,role"]
    for person in (1, 2):
        for number, fate in ((0, 0), (1, 1), (2, 2)):
            write_picture(tmp_path / f"{person}_{number}.png", person, number, fate)
            lines.append(f"{person}_{number}.png,p{person},{'probe' if number else 'gallery'}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    protocol = read_csv(tmp_path / "list.csv")
    run = describe_systems(protocol.pictures, {"x": recognizer})["x"]
    figures = recognition_figures(protocol, run.results, np.random.default_rng(0), "x")
    measured = {"x": SystemRun(figures, run.results, {"landmarks": "godp", "descriptor": "x"}, "x")}
    facts = replace(FACTS, machine=dict(FACTS.machine) | {"system": "Linux", "device": "cpu"})
    report = recognition_report(protocol, measured, run.digests, facts)
    failed = report.json["failed_pictures"]
    assert {reason: [row["file"] for row in rows] for reason, rows in failed.items()} == {
        "fit_unstable": ["1_2.png", "2_2.png"],
        "no_face": ["1_1.png", "2_1.png"],
    }
    shots = failed_cases(failed, {picture.name: picture for picture in protocol.pictures})
    page = render_html(replace(report, failed=shots))
    gallery = page[page.index("Failed pictures by reason") : page.index("How it was counted")]
    assert gallery.count('<img src="data:image/jpeg') == 4
    assert recognition_report(protocol, measured, run.digests, facts, 1).json["failed_pictures"]["no_face"] == [
        failed["no_face"][0]
    ]
