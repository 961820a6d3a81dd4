"""What is said about a face, or about two: the decision at a threshold, and the sentence with the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from facerec.recognition.search import SearchResult, SearchSettings
from facerec.recognition.signature import Decision, Match
from facerec.recognition.threshold import Threshold, percent


@dataclass(frozen=True, eq=False)
class FaceResult:
    """One face of a photograph and what the gallery says about it.

    Attributes:
        result: the answer of the search.
        face: its number in the photograph.
    """

    result: SearchResult
    face: int = 0


def decide(result: SearchResult, threshold: Threshold, settings: SearchSettings | None = None) -> Decision:
    """What is said about one face by itself; see `decide_together` for the faces of one photograph."""
    return decide_together([FaceResult(result)], threshold, settings)[0][0]


def decide_pair(
    score: float, overlap: float, threshold: Threshold, settings: SearchSettings | None = None
) -> tuple[Literal["same", "different", "abstain"], str]:
    """Whether two pictures show one person: the verdict, and a sentence that gives the numbers behind it.

    Args:
        score: masked score of the two.
        overlap: share of the cells that both saw, in [0, 1].
        threshold: what the score is compared with, inclusive.
        settings: gives the least overlap.
    """
    least = (settings or SearchSettings()).min_overlap
    # Overlaps are multiples of 1 / C: what misses the bound by rounding alone does not miss it.
    if overlap <= 0 or overlap < least - 1e-9:
        return "abstain", (
            f"abstain: {percent(overlap)} of the face seen in both pictures, {percent(least)} needed to compare them"
        )
    if threshold.value is None:
        return "abstain", f"abstain: score {score:.2f}, but {threshold.note}"
    same = score >= threshold.value
    shown, value, _ = _round_apart(score, threshold.value)
    return "same" if same else "different", (
        f"{'same' if same else 'different'}: {shown} {'>=' if same else '<'} {value} ({threshold.note}); "
        f"{_format_overlap(overlap)}"
    )


def decide_together(
    faces: Sequence[FaceResult], threshold: Threshold, settings: SearchSettings | None = None
) -> list[tuple[Decision, Match | None]]:
    """Decide on the faces of one photograph, in which a person appears at most once.

    A face gets the name of its best person or none. Where several faces have one best person, the face that scores
    highest is named and the others are unknown: in a collage, beside a mirror or a twin, the second best person of a
    face is somebody else. Known strangers may appear any number of times: a poster hangs twice.

    Returns:
        For each face the decision, and the match it names (None unless "match").
    """
    settings = settings or SearchSettings()
    holders: dict[str, FaceResult] = {}
    if threshold.value is not None:
        for one in faces:
            best = _reached(one.result, threshold.value)
            if best is not None and not best.nobody:
                holder = holders.setdefault(best.person, one)
                if best.score > holder.result.matches[0].score:
                    holders[best.person] = one
    return [_explain(one, holders, threshold, settings) for one in faces]


def _reached(result: SearchResult, value: float) -> Match | None:
    """The best match, when it reaches the threshold `value`."""
    best = result.matches[0] if result.matches else None
    return best if best is not None and best.score >= value else None


def _explain(
    one: FaceResult, holders: Mapping[str, FaceResult], threshold: Threshold, settings: SearchSettings
) -> tuple[Decision, Match | None]:
    result = one.result
    if threshold.value is None or not result.matches:
        return _undecided(result, threshold, settings), None
    best = result.matches[0]
    score, value, apart = _round_apart(best.score, threshold.value)
    if best.score >= threshold.value:
        numbers = f"{best.person} {score} >= {value} ({threshold.note}); {_format_overlap(best.overlap)}"
        if best.nobody:
            return Decision("unknown", f"known stranger: {numbers}", known_stranger=best.person), None
        holder = holders[best.person]
        if holder is one:
            return Decision("match", f"match: {numbers}"), best
        reason = f"unknown: {best.person} {score} is already face {holder.face} of this photograph"
    else:
        reason = f"unknown: best {best.person} {score}, {apart} below {value} ({threshold.note})"
    if result.comparable is not None and result.comparable < result.people:
        reason += f"; {result.people - result.comparable} of {result.people} people could not be compared"
    return Decision("unknown", reason), None


def _undecided(result: SearchResult, threshold: Threshold, settings: SearchSettings) -> Decision:
    if not result.people:
        return Decision("unknown", "unknown: the gallery is empty")
    if not result.matches:
        return Decision(
            "abstain",
            f"abstain: no enrolled picture shows enough of what this one shows "
            f"({percent(result.largest_overlap)} of the face seen in both, {percent(settings.min_overlap)} needed)",
        )
    return Decision("abstain", f"abstain: best {result.matches[0].score:.2f}, but {threshold.note}")


def _format_overlap(overlap: float) -> str:
    return f"{percent(overlap)} of the face seen in both pictures"


def _round_apart(score: float, value: float) -> tuple[str, str, str]:
    """Both and their distance with two decimals, or with as many as show that they differ."""
    digits = 2
    while f"{score:.{digits}f}" == f"{value:.{digits}f}" and score != value and digits < 9:
        digits += 1
    return f"{score:.{digits}f}", f"{value:.{digits}f}", f"{abs(score - value):.{digits}f}"
