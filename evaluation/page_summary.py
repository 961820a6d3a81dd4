"""The first screen of a report: what was measured, the headline, the weakest conditions, and one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from facerec.evaluation.pointers import escape_key, identification_places, resolve, shown_target, side_by_side

_LEAST_TRIALS = 10
"""Bins with fewer trials are too small to be reported as the weakest."""


@dataclass(frozen=True)
class Headline:
    """One large figure.

    Attributes:
        name: what it is.
        figure: JSON pointer and form of the figure.
        interval: pointer of its 95 % interval; "" for none.
        trials: pointer of how many trials it is of, and what these are called.
    """

    name: str
    figure: tuple[str, str]
    interval: str
    trials: tuple[str, str]


@dataclass(frozen=True)
class Weakness:
    """One condition under which the figure is worse than on the whole.

    Attributes:
        words: the condition.
        measure: what is stated, e.g. "rank-1".
        figure: JSON pointer and form.
        interval: pointer.
        trials: pointer, and what these are called.
    """

    words: str
    measure: str
    figure: tuple[str, str]
    interval: str
    trials: tuple[str, str]


Cell = tuple[tuple[str, str], str] | None


@dataclass(frozen=True)
class SystemTable:
    """Systems by sets.

    Attributes:
        columns: a heading for each set.
        rows: name of each system and its cells, see `Summary`.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


@dataclass(frozen=True)
class Summary:
    """The first screen.

    Attributes:
        measured: (pointer, what it counts) of the sizes of the test.
        headlines: at most four.
        table: where systems stand beside each other, in place of headlines: the names of their sets and what is
            stated of each, and one row per system with a (figure, interval) of each set, None where there is none.
        weakest: at most three, worst first; of several systems the worst of each.
        picture: names of the charts of which the first that exists is shown.
    """

    measured: Sequence[tuple[str, str]]
    headlines: Sequence[Headline]
    weakest: Sequence[Weakness]
    picture: Sequence[str]
    table: SystemTable | None = None


def page_summary(content: Mapping[str, Any]) -> Summary:
    """The summary of a report's JSON, as places in it."""
    if content["kind"] == "landmarks":
        return _landmarks(content)
    return _scores(content) if content["kind"] == "scores" else _recognition(content)


def _recognition(content: Mapping[str, Any]) -> Summary:
    places = identification_places(content)
    measured: list[tuple[str, str]] = [("/pictures/n", "pictures")]
    headlines = []
    for base, name in places:
        measured += [] if measured[1:] else [(f"{base}/gallery/people", "people enrolled")]
        measured.append((f"{base}/n", f"searches{f' ({name})' if name else ''}"))
        title = f"rank-1{', ' + name if name else ''}"
        trials = (f"{base}/n", "searches, failures are misses")
        headlines.append(Headline(title, (f"{base}/rank1", "percent"), f"{base}/rank1_people_interval", trials))
    for name in content.get("verification", {}):
        base = f"/verification/{escape_key(name)}"
        measured.append((f"{base}/n", f"pairs ({name})"))
        trials = (f"{base}/n", "pairs, failures count as wrong")
        accuracy = (f"{base}/accuracy", "percent")
        headlines.append(Headline(f"accuracy, {name}", accuracy, f"{base}/accuracy_people_interval", trials))
    found = []
    for base, name in places:
        figures = resolve(content, base)
        for bins, one in figures["by_yaw"].items():
            if one["n"] >= _LEAST_TRIALS and one["rank1"] < figures["rank1"]:
                words = "unknown yaw" if bins == "unknown" else f"|yaw| {bins}°"
                at = f"{base}/by_yaw/{escape_key(bins)}"
                words = f"{name}, {words}" if name else words
                weak = (words, "rank-1", (f"{at}/rank1", "percent"), f"{at}/rank1_people_interval")
                found.append((one["rank1"], Weakness(*weak, (f"{at}/n", "searches"))))
    found.sort(key=lambda one: one[0])
    pictures = [f"{kind} {base}" for base, _ in places for kind in ("grid", "binned")]
    return Summary(measured, headlines[:4], [one for _, one in found[:3]], [*pictures, "cmc", "roc"])


def _scores(content: Mapping[str, Any]) -> Summary:
    """The headline is the FNMR at the FMR that the tables show, or, among strangers alone, the worst group's FMR."""
    sets = side_by_side(content)
    measured: list[tuple[str, str]] = []
    headlines: dict[tuple[str, str], Headline] = {}
    weakest: dict[str, tuple[float, Weakness]] = {}
    for of, members in sets.items():
        first = members[0][1]
        measured += [(f"{first}/standard/people", "people"), (f"{first}/n", f"comparisons{f' ({of})' if of else ''}")]
        target = _shared_target(content, [base for _, base in members])
        for system, base in members:
            standard = resolve(content, base)["standard"]
            targets = [point["target_fmr"] for point in standard.get("fnmr_at_fmr", ())]
            if target not in targets:
                continue
            at = targets.index(target)
            point, one = standard["fnmr_at_fmr"][at], f"{base}/standard/fnmr_at_fmr/{at}"
            asked = f"FMR {100 * point['target_fmr']:g} %"
            found = _weak_cells(standard, base, at, of or system)
            if point["fnmr"]["rate"] is not None:
                headlines[system, of] = Headline(
                    f"FNMR at {asked}", (f"{one}/fnmr", "rate"), f"{one}/fnmr/interval", (f"{one}/fnmr/trials", "pairs")
                )
            elif worst := [weak for _, weak in found if weak.measure == "FMR"]:
                words = f"worst group's FMR at {asked}"
                headlines[system, of] = Headline(words, worst[0].figure, worst[0].interval, worst[0].trials)
            name = system if of else ""
            for ratio, weak in found:
                if ratio > max(1.0, weakest.get(name, (0.0, None))[0]):
                    words = f"{system}, {weak.words}" if of else weak.words
                    weakest[name] = ratio, replace(weak, words=words)
    pictures = [f"{chart} {of}".strip() for chart in ("standard det", "groups") for of in sets]
    listed = [one for _, one in sorted(weakest.values(), key=lambda one: -one[0])[:3]]
    if "" in sets:
        shown = [replace(one, name=f"{one.name}, {system}") for (system, _), one in headlines.items()]
        return Summary(measured, shown[:6], listed, pictures)
    systems = dict.fromkeys(system for members in sets.values() for system, _ in members)
    names = {of: next((one.name for (_, set_name), one in headlines.items() if set_name == of), "") for of in sets}
    rows: list[tuple[str, Sequence[Cell]]] = []
    for system in systems:
        cells = [headlines.get((system, of)) for of in sets]
        rows.append((system, [None if one is None else (one.figure, one.interval) for one in cells]))
    return Summary(measured, [], listed, pictures, SystemTable([f"{of}: {name}" for of, name in names.items()], rows))


def _shared_target(content: Mapping[str, Any], bases: Sequence[str]) -> float | None:
    """The FMR at which systems stand beside each other: the highest of those that each would show by itself."""
    shown = []
    for base in bases:
        if points := resolve(content, base)["standard"].get("fnmr_at_fmr"):
            shown.append(points[shown_target(content, base)]["target_fmr"])
    return max(shown, default=None)


def _weak_cells(standard: Mapping[str, Any], base: str, at: int, of: str) -> list[tuple[float, Weakness]]:
    """The bins of yaw by FNMR and the worst group of each grouping by FMR, with how many times the whole's they are."""
    point = standard["fnmr_at_fmr"][at]
    found = []
    for bins, cells in standard.get("by_yaw", {}).items():
        cell = cells[at]["fnmr"]
        if cell["trials"] >= _LEAST_TRIALS and point["fnmr"]["rate"]:
            where = f"{base}/standard/by_yaw/{escape_key(bins)}/{at}/fnmr"
            words = f"{of}, |yaw| {bins}{'' if bins == 'unknown' else '°'}"
            found.append((cell["rate"] / point["fnmr"]["rate"], _weakness(words, "FNMR", where)))
    for grouping, points in standard.get("by_group", {}).items():
        worst = points[at]["differential"]["fmr"]["worst"]
        if worst is not None:
            where = f"{base}/standard/by_group/{escape_key(grouping)}/{at}/groups/{escape_key(worst)}/fmr"
            words = f"{of}, {worst}, where FMR {100 * point['target_fmr']:g} % is asked"
            ratio = points[at]["groups"][worst]["fmr"]["rate"] / point["target_fmr"]
            found.append((ratio, _weakness(words, "FMR", where)))
    return found


def _weakness(words: str, measure: str, where: str) -> Weakness:
    return Weakness(words, measure, (where, "rate"), f"{where}/interval", (f"{where}/trials", "comparisons"))


def _landmarks(content: Mapping[str, Any]) -> Summary:
    headlines = [
        Headline("NME by box", ("/nme_box", "percent2"), "", ("/nme_box_n", "found faces")),
        Headline("NME by outer eye corners", ("/nme_interocular", "percent2"), "", ("/nme_interocular_n", "faces")),
        Headline("faces found", ("/found", "percent"), "/found_interval", ("/n", "annotated faces")),
        Headline("error above 10 % by box", ("/failure10_box", "percent"), "", ("/n", "faces, misses included")),
    ]
    found = []
    for bins, one in content["by_yaw"].items():
        if one["n"] >= _LEAST_TRIALS and one["failure10_box"] > content["failure10_box"]:
            at = f"/by_yaw/{escape_key(bins)}"
            words = "unknown yaw" if bins == "unknown" else f"|yaw| {bins}°"
            weak = Weakness(words, "error above 10 %", (f"{at}/failure10_box", "percent"), "", (f"{at}/n", "faces"))
            found.append((one["failure10_box"], weak))
    found.sort(key=lambda one: -one[0])
    return Summary([("/n", "annotated faces")], headlines, [one for _, one in found[:3]], ["grid ", "ced"])
