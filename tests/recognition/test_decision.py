from __future__ import annotations

import numpy as np

from facerec.recognition.decision import FaceResult, Shared, decide, decide_pair, decide_together
from facerec.recognition.search import SearchResult
from facerec.recognition.signature import Decision, Match
from facerec.recognition.threshold import Threshold


def threshold(value: float, far: float = 0.001, pairs: int = 12340) -> Threshold:
    return Threshold(value, far, pairs, "gallery", "FAR 0.1 % over 12,340 impostor pairs")


def result(
    *matches: tuple[str, float], people: int = 9, comparable: int = 9, nobody: tuple[str, ...] = ()
) -> SearchResult:
    found = tuple(Match(person, score, 0.5, i, person in nobody) for i, (person, score) in enumerate(matches))
    return SearchResult(found, people, comparable, 0.5)


def test_reasons_give_the_numbers() -> None:
    said = decide(result(("ann", 0.31)), threshold(0.38))
    assert said.reason == "unknown: best ann 0.31, 0.07 below 0.38 (FAR 0.1 % over 12,340 impostor pairs)"
    said = decide(result(("ann", 0.71)), threshold(0.38))
    assert said.verdict == "match"
    assert "ann 0.71 >= 0.38" in said.reason
    said = decide(result(("ann", 0.379999)), threshold(0.38))
    assert "ann 0.379999, 0.000001 below 0.380000" in said.reason
    said = decide(result(people=9, comparable=0), threshold(0.38))
    assert said.verdict == "abstain"
    said = decide(result(("ann", 0.1), comparable=7), threshold(0.38))
    assert "2 of 9 people could not be compared" in said.reason
    said = decide(result(people=0, comparable=0), threshold(0.38))
    assert (said.verdict, said.reason) == ("unknown", "unknown: the gallery is empty")


def together(*results: SearchResult) -> list[tuple[Decision, Match | None]]:
    return decide_together([FaceResult(one, face) for face, one in enumerate(results)], threshold(0.38))


def test_the_second_face_of_a_person_is_unknown_and_never_somebody_else() -> None:
    first = result(("P401", 0.81), ("P007", 0.66))
    second = result(("P401", 0.79), ("P007", 0.66))
    for faces in ([first, second], [second, first], [first, first]):
        decided = together(*faces)
        named = [match.person for _, match in decided if match]
        assert named == ["P401"]
        holder = next(i for i, (_, match) in enumerate(decided) if match)
        (other, _) = decided[1 - holder]
        score = faces[1 - holder].matches[0].score
        assert other.verdict == "unknown"
        assert other.reason == f"unknown: P401 {score:.2f} is already face {holder} of this photograph"


def test_every_face_is_named_after_its_best_person_or_not_at_all() -> None:
    rng = np.random.default_rng(5)
    names = ["ann", "bob", "cy", "di"]
    for _ in range(50):
        faces = [
            result(*sorted(zip(names, map(float, row), strict=True), key=lambda m: -m[1]), people=4)
            for row in rng.uniform(0, 1, (3, 4))
        ]
        decided = together(*faces)
        named = [match.person for _, match in decided if match]
        assert len(named) == len(set(named))
        for face, (said, match) in zip(faces, decided, strict=True):
            best = face.matches[0]
            if match:
                assert match is best
            elif best.score >= 0.38:
                assert "is already face" in said.reason


def test_face_numbers_in_reasons_are_those_of_the_photograph() -> None:
    faces = [FaceResult(result(("ann", 0.9)), 2), FaceResult(result(("ann", 0.8)), 5)]
    (_, (second, _)) = decide_together(faces, threshold(0.38))
    assert "already face 2" in second.reason


def test_a_known_stranger_wins_over_a_wrong_match_and_is_no_name() -> None:
    poster = result(("poster-3", 0.8), ("ann", 0.6), nobody=("poster-3",))
    for said, match in together(poster, poster):
        assert (said.verdict, match, said.known_stranger) == ("unknown", None, "poster-3")
        assert said.reason.startswith("known stranger: poster-3 0.80 >= 0.38 (FAR 0.1 %")
    (ann,) = together(result(("ann", 0.8), ("poster-3", 0.6), nobody=("poster-3",)))
    assert (ann[0].verdict, ann[0].known_stranger) == ("match", None)
    (far,) = together(result(("poster-3", 0.3), nobody=("poster-3",)))
    assert (far[0].verdict, far[0].known_stranger) == ("unknown", None)
    assert far[0].reason.startswith("unknown: best poster-3 0.30, 0.08 below 0.38")


def test_two_photographs_are_the_same_from_the_threshold_on() -> None:
    assert decide_pair(0.38, Shared(0.5, 0.4), threshold(0.38))[0] == "same"
    assert decide_pair(0.37, Shared(0.5, 0.4), threshold(0.38))[0] == "different"
    assert decide_pair(0.9, Shared(0.05, 0.4), threshold(0.38))[0] == "abstain"
    assert decide_pair(0.9, Shared(0.0, 0.0), threshold(0.38))[0] == "abstain"


def test_the_reported_overlap_is_a_share_of_the_texture_and_not_of_the_cells() -> None:
    said = decide_pair(0.9, Shared(1.0, 0.43), threshold(0.38))[1]
    assert said.endswith("43 % of the face seen in both pictures")
    old = decide_pair(0.9, Shared(1.0, None), threshold(0.38))[1]
    assert "not known" in old
    assert "100 %" not in old


def test_a_face_seen_in_part_abstains_unless_it_scores_well_above_the_threshold() -> None:
    def asked(score: float) -> tuple[Decision, Match | None]:
        return decide_together([FaceResult(result(("ann", score)), little_seen="half is cut")], threshold(0.38))[0]

    for score in (0.2, 0.4, 0.479):
        said, match = asked(score)
        assert (said.verdict, said.code, match) == ("abstain", "too_little_seen", None)
        assert said.reason.startswith(f"abstain: half is cut; best ann {score}"[:34])
    said, match = asked(0.481)
    assert match is not None
    assert (said.verdict, said.code, match.person) == ("match", None, "ann")
    for score, verdict in ((0.3, "abstain"), (0.4, "abstain"), (0.481, "same")):
        assert decide_pair(score, Shared(1.0, 0.4, "half is cut"), threshold(0.38))[0] == verdict


def test_a_face_seen_in_part_does_not_take_a_name_from_a_whole_one() -> None:
    half = FaceResult(result(("ann", 0.45)), 0, "half is cut")
    whole = FaceResult(result(("ann", 0.42)), 1)
    (first, _), (second, match) = decide_together([half, whole], threshold(0.38))
    assert match is not None
    assert (first.verdict, second.verdict, match.person) == ("abstain", "match", "ann")
