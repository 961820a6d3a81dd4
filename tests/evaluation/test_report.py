from __future__ import annotations

import base64
import csv
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facerec.evaluation.cases import CasePicture
from facerec.evaluation.charts import LINE_COLOURS, Axis, HeatCell, Line, colour, line_chart, pose_grid
from facerec.evaluation.compare import compare_reports
from facerec.evaluation.landmark_errors import locate_landmarks
from facerec.evaluation.landmark_figures import landmark_figures
from facerec.evaluation.pointers import escape_key, format_value, resolve
from facerec.evaluation.protocols.cfp import read_cfp
from facerec.evaluation.protocols.csv_protocol import read_csv
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.evaluation.protocols.poses import UHDB31_GROUPS, uhdb31_angles
from facerec.evaluation.recognition_figures import recognition_figures
from facerec.evaluation.report import (
    COLUMNS,
    LandmarkSet,
    Report,
    RunFacts,
    SystemRun,
    landmark_report,
    recognition_report,
    write_report,
)
from facerec.evaluation.signatures import describe_systems
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box

PIXEL = (
    "data:image/png;base64,"
    + base64.b64encode(cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()).decode()
)
"""A picture of one pixel."""

FACTS = RunFacts(
    command="facerec evaluate <made up>",
    settings={"landmarks": "godp"},
    versions={"facerec": "0", "python": "3"},
    weights={"landmarks/godp": "ab" * 32},
    machine={"cpu_count": 2, "processor": "made up", "system": "Linux x86_64", "device": "cpu"},
)


def measured(protocol: Any, *recognizers: Any, worst: int = 12) -> Report:
    """A report of one or several systems, called by their contracts."""
    systems = {one.contract.digest: one for one in recognizers}
    runs = describe_systems(protocol.pictures, systems)
    found = {
        name: SystemRun(
            recognition_figures(protocol, runs[name].results, np.random.default_rng(0), name),
            runs[name].results,
            {"landmarks": "godp", "descriptor": name},
            name,
        )
        for name in systems
    }
    return recognition_report(protocol, found, next(iter(runs.values())).digests, FACTS, worst)


def cfp_report(cfp_tree: Path, recognizer: Any, write_picture: Any, *others: Any) -> Report:
    write_picture(cfp_tree / "Data/Images/301/profile/01.jpg", 1, 11, 1)
    write_picture(cfp_tree / "Data/Images/302/profile/01.jpg", 5, 11)
    return measured(read_cfp(cfp_tree), recognizer, *others)


def pose_report(tmp_path: Path, recognizer: Any, write_picture: Any, *others: Any) -> Report:
    lines = ["path,person,role,pose,yaw,pitch"]
    for person in (1, 2, 3):
        for pose in range(1, 22):
            name = f"{person}_{pose}.png"
            write_picture(tmp_path / name, person, pose, 1 if pose == 3 and person < 3 else 0)
            yaw, pitch = uhdb31_angles(pose)
            lines.append(f"{name},<b>{person}</b>,{'gallery' if pose == 11 else 'probe'},{pose},{yaw},{pitch}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    protocol = replace(read_csv(tmp_path / "list.csv", "synthetic", rendered=True), groups=UHDB31_GROUPS)
    return measured(protocol, recognizer, *others)


def landmarks_report(tmp_path: Path, make_landmarker: Any, write_picture: Any) -> Report:
    points = np.random.default_rng(0).random((68, 2)) * [18, 22] + 1
    annotated = []
    for person in (1, 2):
        path = write_picture(tmp_path / f"{person}.png", person)
        annotated.append(AnnotatedPicture(path, path.name, points, Box.around(points), yaw=20.0 * person))
    results = locate_landmarks(annotated, make_landmarker({1: points}, shift=1.0), None)
    figures, rows = landmark_figures(annotated, results, [None, None])
    return landmark_report(LandmarkSet("points", {"file": "p.csv"}, "cd" * 32), figures, rows, results, FACTS)


class Keyed(HTMLParser):
    """Collects (pointer, form, text) of every element with a data-key, everything the page would fetch or run, and the
    texts of table cells and drawings in which a number stands that is from nowhere."""

    VOID = ("meta", "link", "img", "rect", "line", "circle", "polyline", "image", "br")
    NAMED = ("name", "text", "axis", "minor name")  # names, words and ticks, not figures

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.loose: list[str] = []
        self._within: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.fetched += [str(named[name]) for name in ("src", "href", "xlink:href") if name in named]
        if tag not in self.VOID:
            self._within.append((tag, named))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._within.pop()

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self._within:
            return
        _, named = self._within[-1]
        if "data-key" in named:
            self.found.append((str(named["data-key"]), str(named["data-format"]), data))
            return
        tags = [tag for tag, _ in self._within]
        classes = {word for _, attributes in self._within for word in str(attributes.get("class") or "").split()}
        shown = bool({"td", "text"} & set(tags)) or bool({"tile", "case"} & classes)
        if shown and re.search(r"\d", data) and not classes & {"name", "text", "axis", "digest", "shots"}:
            self.loose.append(data.strip())


@pytest.fixture(params=["cfp", "poses", "landmarks", "systems"])
def report(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    recognizer: Any,
    make_recognizer: Any,
    write_picture: Any,
    make_landmarker: Any,
) -> Report:
    if request.param == "cfp":
        return cfp_report(request.getfixturevalue("cfp_tree"), recognizer, write_picture)
    if request.param == "systems":
        return pose_report(tmp_path, recognizer, write_picture, make_recognizer("<i>poor</i>", 8.0))
    if request.param == "poses":
        return pose_report(tmp_path, recognizer, write_picture)
    return landmarks_report(tmp_path, make_landmarker, write_picture)


def test_every_figure_on_the_page_is_the_one_in_the_json(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path / "out", report)
    content = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    page = Keyed()
    page.feed((tmp_path / "out/report.html").read_text("utf-8"))
    assert len(page.found) > 30
    assert page.loose == []
    for pointer, form, text in page.found:
        assert text == format_value(resolve(content, pointer), form), pointer


def test_the_page_fetches_nothing_and_runs_nothing(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path / "out", report)
    text = (tmp_path / "out/report.html").read_text("utf-8")
    page = Keyed()
    page.feed(text)
    assert "script" not in page.tags
    assert all(address.startswith("data:") for address in page.fetched)
    assert not re.search(r"url\(|@import", text)


def test_the_page_escapes_names_of_people(tmp_path: Path, recognizer: Any, write_picture: Any) -> None:
    report = pose_report(tmp_path, recognizer, write_picture)
    write_report(tmp_path / "out", report)
    text = (tmp_path / "out/report.html").read_text("utf-8")
    assert "<b>1</b>" not in text
    assert "&lt;b&gt;1&lt;/b&gt;" in text


def test_csv_rows_are_those_of_the_json(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path / "out", report)
    with (tmp_path / "out/report.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(COLUMNS)
    content = report.json
    for row in rows:
        if row["row"] != "all":
            continue
        words = row["table"].split()
        base = content.get("systems", {}).get(row["system"], content)
        if words[0] == "verification" or (words[0] == "identification" and len(words) > 1):
            base = base[words[0]][words[1]]
        for key in ("n", "found", "rank1", "auc", "accuracy", "nme_box"):
            if key in base:
                assert float(row[key]) == pytest.approx(base[key])
            else:
                assert row[key] == ""


def test_the_json_has_the_promised_keys(tmp_path: Path, cfp_tree: Path, recognizer: Any, write_picture: Any) -> None:
    content = cfp_report(cfp_tree, recognizer, write_picture).json
    for view in ("frontal", "profile"):
        assert {"n", "found", "rank1", "rank1_interval", "rank5", "described", "failures"} <= set(
            content["identification"][view]
        )
    for kind in ("FF", "FP"):
        assert {"n", "found", "auc", "accuracy", "eer", "folds"} <= set(content["verification"][kind])
    assert {"seconds_per_picture", "versions", "digests", "settings", "machine", "command"} <= set(content)
    assert content["digests"]["contract"] == "contract-a"
    assert len(content["digests"]["protocol"]) == 64
    assert content["identification"]["profile"]["rank1"] == pytest.approx(10 / 12, abs=1e-6)


def test_a_number_without_a_source_is_detected() -> None:
    page = Keyed()
    page.feed(
        '<td>12</td><td class="name">13</td><svg><text>14</text><text data-key="/n" data-format="count">15</text></svg>'
    )
    assert page.loose == ["12", "14"]
    assert page.found == [("/n", "count", "15")]


def test_a_page_of_uhdb31s_size_is_small(tmp_path: Path, make_recognizer: Any, write_picture: Any) -> None:
    # Per probe the page holds nothing; its size is that of the grid's heads and the cases' thumbnails.
    systems = [make_recognizer(name) for name in "abcde"]
    report = pose_report(tmp_path, systems[0], write_picture, *systems[1:])
    picture = CasePicture("photograph", "data:image/jpeg;base64," + "A" * 8_000)
    heads = {
        (float(yaw), float(pitch)): "data:image/png;base64," + "A" * 8_000
        for yaw in range(-90, 91, 30)
        for pitch in (-30, 0, 30)
    }
    write_report(tmp_path / "out", Report(report.json, report.rows, [[picture] * 6] * 12), heads)
    assert (tmp_path / "out/report.html").stat().st_size < 2_000_000


@pytest.mark.slow
def test_a_browser_shows_the_page_whole_at_any_width_without_a_complaint(
    report: Report, tmp_path: Path, browser: Any
) -> None:
    angles = {(float(yaw), float(pitch)): PIXEL for yaw in range(-90, 91, 30) for pitch in (-30, 0, 30)}
    shots = [[CasePicture(label, PIXEL) for label in "abcdef"]] * len(report.json["worst"])
    write_report(tmp_path / "out", replace(report, pictures=shots), angles)
    browser.open((tmp_path / "out/report.html").as_uri())
    for width, media in ((1280, "screen"), (390, "screen"), (700, "print")):
        browser.send("Emulation.setEmulatedMedia", media=media)
        browser.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500
        )
        browser.wait_for("document.readyState == 'complete' && location.protocol == 'file:'")
        # Only boxes that scroll by themselves may be wider than the screen.
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        wide = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.wide') && "
        wide += f"e.getBoundingClientRect().right > {width} + 1).map(e => e.tagName + e.className).join()"
        assert browser.evaluate(wide) == ""
        assert browser.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        if media == "screen":  # text in drawings shrinks with them; on paper it is as large as the paper makes it
            sizes = "[...document.querySelectorAll('svg text')].filter(e => e.getClientRects().length)"
            sizes += ".map(e => parseFloat(getComputedStyle(e).fontSize) * Math.hypot(e.getCTM().a, e.getCTM().b))"
            assert browser.evaluate(f"Math.min(...{sizes})") > 7
    assert browser.said == []


def test_a_browsers_complaint_is_reported(tmp_path: Path, browser: Any) -> None:
    (tmp_path / "bad.html").write_text("<img src='gone.png'><script>console.error('no'); throw Error('oops')</script>")
    browser.open((tmp_path / "bad.html").as_uri())
    # The page was loaded when the sentence of a later one comes, and with it all that it complained of.
    browser.wait_for("document.readyState == 'complete' && location.protocol == 'file:'")
    browser.evaluate("console.error('the last')")
    browser.wait_for("true")
    assert any("the last" in said for said in browser.said)
    assert len(browser.said) >= 3


def test_a_single_identification_stands_at_the_top(tmp_path: Path, recognizer: Any, write_picture: Any) -> None:
    content = pose_report(tmp_path, recognizer, write_picture).json
    assert content["rendered"] is True
    assert content["n"] == 60
    assert content["rank1"] == pytest.approx(58 / 60, abs=1e-6)
    assert content["by_pose"]["3"]["rank1"] == pytest.approx(1 / 3, abs=1e-6)
    assert len(content["by_pose"]) == 20


def test_the_report_is_json_without_nan(report: Report) -> None:
    json.dumps(report.json, allow_nan=False)


def test_reports_of_equal_runs_differ_in_times_alone(cfp_tree: Path, recognizer: Any, write_picture: Any) -> None:
    first = cfp_report(cfp_tree, recognizer, write_picture).json
    second = cfp_report(cfp_tree, recognizer, write_picture).json
    for content in (first, second):
        for key in ("seconds_per_picture", "timings_ms"):
            content.pop(key)
    assert first == second


def test_rendered_sets_say_so_on_every_page(
    tmp_path: Path, recognizer: Any, write_picture: Any, cfp_tree: Path
) -> None:
    write_report(tmp_path / "out", pose_report(tmp_path, recognizer, write_picture))
    text = (tmp_path / "out/report.html").read_text("utf-8")
    assert "Rendered people" in text
    assert '@bottom-right { content: "rendered people"' in text  # each page of paper
    write_report(tmp_path / "real", cfp_report(cfp_tree, recognizer, write_picture))
    assert "rendered people" not in (tmp_path / "real/report.html").read_text("utf-8").lower()


def test_a_pose_grid_is_drawn_for_the_21_poses_only(
    tmp_path: Path, recognizer: Any, write_picture: Any, cfp_tree: Path
) -> None:
    write_report(tmp_path / "out", pose_report(tmp_path, recognizer, write_picture))
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert page.count('"/by_pose/3/rank1"') == 2  # the grid's cell and the table's
    write_report(tmp_path / "real", cfp_report(cfp_tree, recognizer, write_picture))
    assert "by yaw and pitch" not in (tmp_path / "real/report.html").read_text("utf-8")


def test_thumbnails_stand_in_the_page_itself(
    cfp_tree: Path, recognizer: Any, write_picture: Any, tmp_path: Path
) -> None:
    from facerec.evaluation.cases import recognition_cases

    report = cfp_report(cfp_tree, recognizer, write_picture)
    paths = {picture.name: picture for picture in read_cfp(cfp_tree).pictures}
    shots = recognition_cases(report.json["worst"], paths, recognizer, None)
    assert [[shot.label for shot in case] for case in shots] == [
        ["photograph", "landmarks and fit", "seen (mask)", "right person", "named person"],
        ["photograph"],
    ]
    page = Report(report.json, report.rows, shots)
    write_report(tmp_path / "out", page)
    text = (tmp_path / "out/report.html").read_text("utf-8")
    assert text.count('<img src="data:image/jpeg;base64,') == 6
    assert isinstance(shots[0][0], CasePicture)


def test_landmark_thumbnails_show_annotated_and_located_points(
    tmp_path: Path, write_picture: Any, make_landmarker: Any
) -> None:
    from facerec.evaluation.cases import landmark_cases

    points = np.random.default_rng(0).random((68, 2)) * 18
    paths = [write_picture(tmp_path / f"{i}.png", i) for i in (1, 2)]
    annotated = [AnnotatedPicture(path, path.name, points, Box.around(points)) for path in paths]
    results = locate_landmarks(annotated, make_landmarker({1: points}), None)
    paths[1].write_bytes(b"")
    shots = landmark_cases(annotated, results, [1, 0])
    assert shots[0] == []
    assert shots[1][0].label.startswith("rings")


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.66449, "percent", "66.4"),
        (0.0612, "percent2", "6.12"),
        ([0.1, 0.25], "interval", "10.0 to 25.0"),
        (12, "count", "12"),
        (0.5, "number", "0.500"),
        (1.23456, "seconds", "1.23"),
        (None, "percent", "–"),
    ],
)
def test_numbers_are_written_in_one_way(value: object, form: str, text: str) -> None:
    assert format_value(value, form) == text


def test_pointers_survive_any_key() -> None:
    content = {"a/b~c": [{"x": 1}]}
    assert resolve(content, f"/{escape_key('a/b~c')}/0/x") == 1
    with pytest.raises(InvalidInputError, match="has no nothing"):
        resolve(content, "/nothing")


def test_colours_run_from_dark_to_light() -> None:
    def light(value: float) -> int:
        return sum(int(colour(value)[i : i + 2], 16) for i in (1, 3, 5))

    assert [light(v) for v in (0, 0.25, 0.5, 0.75, 1)] == sorted(light(v) for v in (0, 0.25, 0.5, 0.75, 1))
    assert colour(-1.0) == colour(0.0)
    assert colour(2.0) == colour(1.0)


def test_chart_points_stand_where_their_values_are() -> None:
    svg = line_chart(
        [Line("a & b", [0.0, 0.5, 1.0], [0.0, 0.75, 1.0])], title="t", x=Axis("x", 0, 1), y=Axis("y", 0, 1)
    )
    (points,) = re.findall(r'<polyline points="([^"]+)"', svg)
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, p.split(","))) for p in points.split())
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert (y0 - y1) / (y0 - y2) == pytest.approx(0.75, abs=0.01)
    assert "a &amp; b" in svg


def test_grid_cells_stand_at_their_yaw_and_pitch() -> None:
    angles = [(yaw, pitch) for yaw in (-90, 0, 90) for pitch in (-30, 30)]
    cells = [HeatCell(yaw, pitch, 0.5, [(f"{yaw}/{pitch}", None)]) for yaw, pitch in angles]
    svg = pose_grid(cells, title="t", ends=("worst", "best"), heads={(90, 30): "data:image/png;base64,AA"})
    assert svg.count("data:image/png") == 1
    place = {
        text: (float(x), float(y))
        for x, y, text in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>([-\d]+/[-\d]+)<', svg)
    }
    assert place["-90/30"][0] < place["0/30"][0] < place["90/30"][0]
    assert place["0/30"][1] < place["0/-30"][1]


def test_too_many_lines_are_refused() -> None:
    many = len(LINE_COLOURS) + 1
    with pytest.raises(InvalidInputError, match=f"at most {many - 1} lines"):
        line_chart([Line("", [0], [0])] * many, title="", x=Axis("x", 0, 1), y=Axis("y", 0, 1))


def test_logarithmic_axes_give_every_decade_the_same_room() -> None:
    axis = Axis("x", 0.001, 1.0, log=True)
    assert [axis.place(value) for value in (0.001, 0.01, 0.1, 1.0)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert axis.place(0.0) == 0.0
    assert {0.001, 0.01, 0.1, 1.0} <= set(axis.ticks())
    assert axis.text(0.001) == "0.1"


def test_long_legends_wrap() -> None:
    lines = [Line("a system with a long name " + str(i), [0, 1], [0, 1]) for i in range(5)]
    svg = line_chart(lines, title="t", x=Axis("x", 0, 1), y=Axis("y", 0, 1))
    places = [float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="start">a system', svg)]
    assert len(set(places)) == 5


def test_landmark_views_have_a_table_and_a_grid(tmp_path: Path, make_landmarker: Any, write_picture: Any) -> None:
    points = np.random.default_rng(0).random((68, 2)) * [18, 22] + 1
    annotated = []
    for pose in range(1, 22):
        path = write_picture(tmp_path / f"{pose}.png", 1 if pose > 1 else 2)
        yaw, pitch = uhdb31_angles(pose)
        annotated.append(
            AnnotatedPicture(path, path.name, points, Box.around(points), float(yaw), float(pitch), str(pose))
        )
    results = locate_landmarks(annotated, make_landmarker({1: points}, shift=1.0), None)
    figures, rows = landmark_figures(annotated, results, [None] * 21)
    report = landmark_report(LandmarkSet("synthetic", {}, "cd" * 32, rendered=True), figures, rows, results, FACTS)
    assert report.json["by_view"]["1"]["found"] == 0.0
    assert (report.json["by_view"]["3"]["yaw"], report.json["by_view"]["3"]["pitch"]) == (-90, -30)
    write_report(tmp_path / "out", report)
    text = (tmp_path / "out/report.html").read_text("utf-8")
    assert text.count('"/by_view/3/nme_box"') == 2
    assert "Rendered people" in text
    page = Keyed()
    page.feed(text)
    assert page.loose == []


def test_landmark_reports_are_compared_face_by_face(tmp_path: Path, make_landmarker: Any, write_picture: Any) -> None:
    points = np.random.default_rng(0).random((68, 2)) * [18, 22] + 1
    path = write_picture(tmp_path / "two.png", 1)
    lost = write_picture(tmp_path / "lost.png", 2)
    faces = [(path, points), (path, points + 0.5), (lost, points)]
    annotated = [AnnotatedPicture(p, p.name, where, Box.around(where)) for p, where in faces]
    for name, shift in (("near", 0.2), ("far", 3.0)):
        results = locate_landmarks(annotated, make_landmarker({1: points}, shift=shift), None)
        figures, rows = landmark_figures(annotated, results, [None] * 3)
        facts = replace(FACTS, settings={"landmarks": name})
        write_report(
            tmp_path / name, landmark_report(LandmarkSet("points", {}, "cd" * 32), figures, rows, results, facts)
        )
    compared = {one.measure: one for one in compare_reports(tmp_path / "near", tmp_path / "far")}
    assert list(compared) == ["found", "within 8 % by box", "within 10 % by box", "median error by box"]
    assert (compared["found"].first, compared["found"].second) == pytest.approx((2 / 3, 2 / 3))
    assert (compared["within 10 % by box"].first, compared["within 10 % by box"].second) == pytest.approx((2 / 3, 0))
    nearer = compared["median error by box"]
    assert (nearer.test.only_first, nearer.test.only_second, nearer.n) == (2, 0, 3)
    assert (nearer.first_system, nearer.second_system) == ("near", "far")
    (tmp_path / "other").mkdir()
    content = json.loads((tmp_path / "near/report.json").read_text("utf-8")) | {"kind": "recognition"}
    (tmp_path / "other/report.json").write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match="one kind"):
        compare_reports(tmp_path / "near", tmp_path / "other")


def test_a_pose_grid_of_one_column_is_wide_enough_for_what_is_written_below_it() -> None:
    drawing = pose_grid(
        [HeatCell(yaw=0.0, pitch=0.0, shade=0.5, texts=[("50", None)])], title="one", ends=("rank-1: 0 %", "100 %")
    )
    width = float(re.search(r'viewBox="0 0 (\S+)', drawing).group(1))  # type: ignore[union-attr]
    for x, text in re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="start"[^>]*>([^<]+)<', drawing):
        assert float(x) + 6 * len(html.unescape(text)) <= width, text
