"""What is said about a face, or about two: the decision at a threshold, and the sentence with the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerec.recognition.search import SearchResult, SearchSettings
from facerec.recognition.signature import Decision, Match
from facerec.recognition.threshold import Threshold, percent


def decide(result: SearchResult, threshold: Threshold, settings: SearchSettings | None = None) -> Decision:
    """What is said about one face by itself; see `decide_together` for the faces of one photograph."""
    return decide_together([result], threshold, settings)[0][0]


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
    shown, value = _apart(score, threshold.value)
    return "same" if same else "different", (
        f"{'same' if same else 'different'}: {shown} {'>=' if same else '<'} {value} ({threshold.note}); "
        f"{percent(overlap)} of the face seen in both pictures"
    )


def decide_together(
    results: Sequence[SearchResult], threshold: Threshold, settings: SearchSettings | None = None
) -> list[tuple[Decision, Match | None]]:
    """Decide on the faces of one photograph, in which a person appears at most once.

    Of all ways to give each face at most one person and each person at most one face, the one with the largest sum of
    (score - threshold) over the faces that reach the threshold is taken. Each result must hold at least as many
    matches as there are faces (as far as there are people), or the best assignment may not be among them.

    Returns:
        For each face the decision, and the match it names (None unless "match").
    """
    settings = settings or SearchSettings()
    if not results:
        return []
    if threshold.value is None:
        return [(_undecided(result, threshold, settings), None) for result in results]
    value = threshold.value
    people = sorted({match.person for result in results for match in result.matches if match.score >= value})
    gains = np.zeros((len(results), len(people)))
    place = {person: j for j, person in enumerate(people)}
    for i, result in enumerate(results):
        for match in result.matches:
            if match.score >= value:
                # The threshold itself is inclusive: a match that just reaches it must be worth more than none.
                gains[i, place[match.person]] = match.score - value + 1e-9
    taken: dict[int, str] = {}
    for i, j in _assignment(gains):
        if gains[i, j] > 0:
            taken[int(i)] = people[int(j)]
    holder = {person: i for i, person in taken.items()}
    return [
        _said(result, next((m for m in result.matches if m.person == taken.get(i)), None), holder, threshold, settings)
        for i, result in enumerate(results)
    ]


def _said(
    result: SearchResult,
    match: Match | None,
    holder: Mapping[str, int],
    threshold: Threshold,
    settings: SearchSettings,
) -> tuple[Decision, Match | None]:
    assert threshold.value is not None
    if match is not None:
        score, value = _apart(match.score, threshold.value)
        reason = (
            f"match: {match.person} {score} >= {value} ({threshold.note}); "
            f"{percent(match.overlap)} of the face seen in both pictures"
        )
        best = result.matches[0]
        if best.person != match.person:
            reason += f"; {best.person} {best.score:.2f} is face {holder[best.person]} of this photograph"
        return Decision("match", reason), match
    if not result.matches:
        return _undecided(result, threshold, settings), None
    best = result.matches[0]
    if best.score >= threshold.value:
        reason = (
            f"unknown: best {best.person} {best.score:.2f} is face {holder[best.person]} of this photograph, and a "
            f"person appears once"
        )
    else:
        score, value = _apart(best.score, threshold.value)
        reason = f"unknown: best {score} < {value} ({threshold.note})"
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


def _assignment(gains: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (row, column), each row and column at most once, of the largest sum of `gains` (R, C)."""
    if gains.shape[0] == 1 or not gains.size:
        return [(0, int(gains.argmax()))] if gains.size else []
    from scipy.optimize import linear_sum_assignment  # late: a quarter of a second, and most photographs show one face

    rows, columns = linear_sum_assignment(gains, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _apart(score: float, value: float) -> tuple[str, str]:
    """Both with two decimals, or with as many as show that they differ."""
    digits = 2
    while f"{score:.{digits}f}" == f"{value:.{digits}f}" and score != value and digits < 9:
        digits += 1
    return f"{score:.{digits}f}", f"{value:.{digits}f}"
