"""Pointers into a report's JSON, and the formatting of its values on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facerec.landmarks.errors import InvalidInputError


def identification_places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(JSON pointer, name) of each block of identification figures; the name is "" for one at the top."""
    if "rank1" in content:
        return [("", "")]
    return [(f"/identification/{escape_key(name)}", name) for name in content.get("identification", {})]


def standard_places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, JSON pointer) of each block of figures that has the standard's beside its own ("standard")."""
    if content["kind"] == "scores":
        # Files of one set stand together, in the order in which the sets first came.
        ends = list(dict.fromkeys(name.rpartition("-")[2] for name in content["scores"]))
        names = sorted(content["scores"], key=lambda name: ends.index(name.rpartition("-")[2]))
        return [(name, f"/scores/{escape_key(name)}") for name in names]
    if content["kind"] != "recognition":
        return []
    places = [(name or "all probes", base) for base, name in identification_places(content)]
    return places + [(name, f"/verification/{escape_key(name)}") for name in content.get("verification", {})]


def side_by_side(content: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """(system, pointer) of the blocks of `standard_places` that stand beside each other, by the set they are of.

    Of score files, those whose names SYSTEM-SET end alike after the last hyphen are of one set; without two such files
    all of them stand together under "". A recognition report's own sets stand together.
    """
    places = standard_places(content)
    sets: dict[str, list[tuple[str, str]]] = {}
    if content["kind"] == "scores":
        for name, base in places:
            system, _, of = name.rpartition("-")
            sets.setdefault(of, []).append((system or name, base))
    return sets if any(len(one) > 1 for one in sets.values()) else {"": places}


def shown_target(content: Mapping[str, Any], base: str) -> int:
    """Which target FMR the tables by pose and group show: the lowest that 30 errors or more support, else the last."""
    points = resolve(content, base)["standard"].get("fnmr_at_fmr", ())
    return next((i for i, point in enumerate(points) if not point["fmr"]["few_errors"]), max(len(points) - 1, 0))


def escape_key(key: str) -> str:
    """`key` as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def resolve(content: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901).

    Raises:
        InvalidInputError: when there is nothing there.
    """
    value = content
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise InvalidInputError(f"expected the report to have {pointer}; it has no {part}") from None
    return value


def format_value(value: Any, form: str) -> str:
    """Format a value for the page and the terminal; a missing value is a dash.

    Args:
        value: from the JSON.
        form: "percent" (a share, one decimal, without the sign), "percent2" (two decimals), "interval" (two shares),
            "interval0" (two shares without decimals), "rate" (a figure's
            block: its rate in percent, "~" before it when it rests on fewer than 30 errors, or the bound when on none),
            "count", "number" (three decimals), "seconds" (three significant
            digits), "ms" (the same, whole above 100), "p" (two), "angle", "degrees" (two decimals) or "text".
    """
    if value is None:
        return "–"
    if form == "rate":
        return _rate(value)
    if form == "percent":
        return f"{100 * value:.1f}"
    if form == "percent2":
        return f"{100 * value:.2f}"
    if form == "interval":
        return f"{100 * value[0]:.1f} to {100 * value[1]:.1f}"
    if form == "interval0":
        return f"{100 * value[0]:.0f} to {100 * value[1]:.0f}"
    if form == "p":
        return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"
    if form == "count":
        return f"{value:d}"
    if form == "number":
        return f"{value:.3f}"
    if form == "ms":
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    if form == "seconds":
        return f"{value:.3g}"
    if form == "angle":
        return f"{value:+.0f}" if round(value) else "0"
    if form == "degrees":
        return f"{value:.2f}"
    if form == "text":
        return str(value)
    raise InvalidInputError(f"expected a known form of number; got {form!r}")


def _rate(figures: Mapping[str, Any]) -> str:
    if figures["rate"] is None:
        return "–"
    if figures.get("bound") is not None:
        return f"0 (< {100 * figures['bound']:.2g})"
    return f"{'~' if figures['few_errors'] else ''}{100 * figures['rate']:.3g}"
