"""The decision about a face, or about a pair, at a threshold, with a sentence that gives the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from facerec.recognition.search import SearchResult, SearchSettings
from facerec.recognition.signature import Decision, Match
from facerec.recognition.threshold import Threshold, percent

if TYPE_CHECKING:
    from facerec.recognition.recognizer import DescribedFace


@dataclass(frozen=True)
class SeenSettings:
    """When a face counts as partly seen, and the margin that its match then needs.

    Chosen on people for calibration (`benchmarks/cut_faces.py`): the scores of half faces and of faces under bars are
    less reliable, for the person and for strangers.

    Attributes:
        least_cut: share of the inner face that is cut off or under a bar (`FaceTexture.cut`) from which on a face
            counts as seen in part. A closely cropped portrait loses forehead and chin, none of the inner face.
        sure: mean confidence of the landmarks from which on they count as found. Where half a face is fitted as the
            profile of a whole one, nothing is cut, but its landmarks have 0.59 to 0.79; those of true half profiles
            0.82 to 0.90.
        turned: |yaw|, degrees, from which on a low confidence is ignored, because half the landmarks of a profile are
            hidden.
        margin: by how much the score of such a face must exceed the threshold.
    """

    least_cut: float = 0.2
    sure: float = 0.8
    turned: float = 60.0
    margin: float = 0.1


def little_seen(face: DescribedFace, settings: SeenSettings | None = None) -> str:
    """Why `face` counts as partly seen, in a few words with the number; empty when it does not."""
    settings = settings or SeenSettings()
    if face.texture.cut >= settings.least_cut:
        return f"{percent(face.texture.cut)} of the inner face lie outside the photograph or under a bar"
    confidence = float(face.face.landmarks.confidence.mean())
    if confidence < settings.sure and abs(face.fitted.camera.yaw) < settings.turned:
        return f"much of the face is covered or cut off: its landmarks have a confidence of {confidence:.2f}"
    return ""


@dataclass(frozen=True, eq=False)
class FaceResult:
    """One face of a photograph and the result of its search.

    Attributes:
        result: the answer of the search.
        face: its number in the photograph.
        little_seen: see `little_seen`; empty for a face that was seen as a whole.
    """

    result: SearchResult
    face: int = 0
    little_seen: str = ""


@dataclass(frozen=True)
class Shared:
    """The parts of a face that two compared pictures share.

    Attributes:
        cells: share of the signature's cells that both saw, in [0, 1].
        overlap: share of the face's texture that both saw, in [0, 1]; None where it is not known.
        little_seen: see `little_seen`, of the one of which it can be said; empty for two whole faces.
    """

    cells: float
    overlap: float | None
    little_seen: str = ""


def decide(result: SearchResult, threshold: Threshold, settings: SearchSettings | None = None) -> Decision:
    """Decide on one face alone; see `decide_together` for the faces of one photograph."""
    return decide_together([FaceResult(result)], threshold, settings)[0][0]


def decide_pair(
    score: float, shared: Shared, threshold: Threshold, settings: SearchSettings | None = None
) -> tuple[Literal["same", "different", "abstain"], str]:
    """Decide whether two pictures show the same person; give the verdict and a sentence with the numbers.

    Args:
        score: masked score of the two.
        shared: what both pictures show.
        threshold: what the score is compared with, inclusive.
        settings: gives the least overlap.
    """
    least = (settings or SearchSettings()).min_overlap
    # Shares of cells are multiples of 1 / C; a share that is below the bound only by rounding counts as reaching it.
    if shared.cells <= 0 or shared.cells < least - 1e-9:
        return "abstain", (
            f"abstain: {percent(shared.cells)} of the signature's cells seen in both pictures, {percent(least)} needed "
            f"to compare them"
        )
    if threshold.value is None:
        return "abstain", f"abstain: score {score:.2f}, but {threshold.note}"
    needed = threshold.value + SeenSettings().margin
    if shared.little_seen and score < needed:
        return "abstain", f"abstain: {shared.little_seen}; score {_format_below(score, needed)} that such a face needs"
    same = score >= threshold.value
    shown, value, _ = _round_apart(score, threshold.value)
    return "same" if same else "different", (
        f"{'same' if same else 'different'}: {shown} {'>=' if same else '<'} {value} ({threshold.note}); "
        f"{_format_overlap(shared.overlap)}"
    )


def decide_together(
    faces: Sequence[FaceResult], threshold: Threshold, settings: SearchSettings | None = None
) -> list[tuple[Decision, Match | None]]:
    """Decide on the faces of one photograph, in which a person appears at most once.

    A face is matched to its best candidate or to nobody. When several faces have the same best candidate, the face with
    the highest score is the match and the others are unknown, because in a collage, beside a mirror or a twin, the
    second-best candidate of a face is a different person. Known strangers may appear any number of times, for example a
    poster that hangs twice.

    Returns:
        For each face the decision, and the match it names (None unless "match").
    """
    settings = settings or SearchSettings()
    holders: dict[str, FaceResult] = {}
    if threshold.value is not None:
        for one in faces:
            best = _reaching_match(one, threshold.value)
            if best is not None and not best.nobody:
                holder = holders.setdefault(best.person, one)
                if best.score > holder.result.matches[0].score:
                    holders[best.person] = one
    return [_explain(one, holders, threshold, settings) for one in faces]


def _raise_threshold(one: FaceResult, value: float) -> float:
    """The score that `one` needs at the threshold `value`."""
    return value + SeenSettings().margin if one.little_seen else value


def _reaching_match(one: FaceResult, value: float) -> Match | None:
    """The best match, when it reaches what `one` needs at the threshold `value`."""
    best = one.result.matches[0] if one.result.matches else None
    return best if best is not None and best.score >= _raise_threshold(one, value) else None


def _explain(
    one: FaceResult, holders: Mapping[str, FaceResult], threshold: Threshold, settings: SearchSettings
) -> tuple[Decision, Match | None]:
    result = one.result
    if threshold.value is None or not result.matches:
        return _explain_undecided(result, threshold, settings), None
    best = result.matches[0]
    needed = _raise_threshold(one, threshold.value)
    if one.little_seen and best.score < needed:
        reason = (
            f"abstain: {one.little_seen}; best {best.person} {_format_below(best.score, needed)} that such a face "
            f"needs ({threshold.note})"
        )
        return Decision("abstain", reason, code="too_little_seen"), None
    score, value, _ = _round_apart(best.score, threshold.value)
    if best.score >= threshold.value:
        numbers = f"{best.person} {score} >= {value} ({threshold.note}); {_format_overlap(best.overlap)}"
        if best.nobody:
            return Decision("unknown", f"known stranger: {numbers}", known_stranger=best.person), None
        holder = holders[best.person]
        if holder is one:
            return Decision("match", f"match: {numbers}"), best
        reason = f"unknown: {best.person} {score} is already face {holder.face} of this photograph"
    else:
        reason = f"unknown: best {best.person} {_format_below(best.score, threshold.value)} ({threshold.note})"
    if result.comparable is not None and result.comparable < result.people:
        reason += f"; {result.people - result.comparable} of {result.people} people could not be compared"
    return Decision("unknown", reason), None


def _explain_undecided(result: SearchResult, threshold: Threshold, settings: SearchSettings) -> Decision:
    if not result.people:
        return Decision("unknown", "unknown: the gallery is empty")
    if not result.matches:
        return Decision(
            "abstain",
            f"abstain: no enrolled picture shows enough of the same parts of the face "
            f"({percent(result.largest_overlap)} of the cells seen in both, {percent(settings.min_overlap)} needed)",
            code="too_little_seen",
        )
    best = result.matches[0]
    return Decision(
        "abstain", f"abstain: best {best.person} {best.score:.2f}, but {threshold.note}", code="no_threshold"
    )


def _format_overlap(overlap: float | None) -> str:
    if overlap is None:
        return "the overlap is not known because an older version of facerec enrolled one of the pictures"
    return f"{percent(overlap)} of the face seen in both pictures"


def _format_below(score: float, value: float) -> str:
    shown, bound, apart = _round_apart(score, value)
    return f"{shown}, {apart} below {bound}"


def _round_apart(score: float, value: float) -> tuple[str, str, str]:
    """Both and their distance with two decimals, or with as many as show that they differ."""
    digits = 2
    while f"{score:.{digits}f}" == f"{value:.{digits}f}" and score != value and digits < 9:
        digits += 1
    return f"{score:.{digits}f}", f"{value:.{digits}f}", f"{abs(score - value):.{digits}f}"
