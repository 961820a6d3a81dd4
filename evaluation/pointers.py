"""Places in a report's JSON, and how what stands there is written on the page and in the terminal."""

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
        return [(name, f"/scores/{escape_key(name)}") for name in content["scores"]]
    if content["kind"] != "recognition":
        return []
    places = [(name or "all probes", base) for base, name in identification_places(content)]
    return places + [(name, f"/verification/{escape_key(name)}") for name in content.get("verification", {})]


def weakest_poses(content: Mapping[str, Any], most: int = 3) -> list[tuple[str, str]]:
    """(words, JSON pointer) of the bins of yaw with the lowest rank-1, worst first; those below the whole's alone.

    Bins of fewer than ten probes say too little.
    """
    if content["kind"] != "recognition":
        return []
    found = []
    for base, name in identification_places(content):
        figures = resolve(content, base)
        for bins, one in figures["by_yaw"].items():
            if one["n"] >= 10 and one["rank1"] < figures["rank1"]:
                words = "unknown yaw" if bins == "unknown" else f"|yaw| {bins}°"
                found.append((one["rank1"], f"{name}, {words}" if name else words, f"{base}/by_yaw/{escape_key(bins)}"))
    return [(words, pointer) for _, words, pointer in sorted(found)[:most]]


def escape_key(key: str) -> str:
    """`key` as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def resolve(content: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points to.

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
    """A value as it stands on the page and in the terminal: no value is a dash.

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
