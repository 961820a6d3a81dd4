from __future__ import annotations

import numpy as np
import pytest

from facerec.recognition.decision import decide, decide_pair, decide_together
from facerec.recognition.search import SearchResult
from facerec.recognition.signature import Match
from facerec.recognition.threshold import Threshold


def threshold(value, far=0.001, pairs=12340):
    return Threshold(value, far, pairs, "gallery", "FAR 0.1 % over 12,340 impostor pairs")


def result(*matches, people=9, comparable=9):
    found = tuple(Match(person, score, 0.5, i) for i, (person, score) in enumerate(matches))
    return SearchResult(found, people, comparable, 0.5)


def test_reasons_give_the_numbers():
    said = decide(result(("ann", 0.31)), threshold(0.38))
    assert said.reason == "unknown: best 0.31 < 0.38 (FAR 0.1 % over 12,340 impostor pairs)"
    said = decide(result(("ann", 0.71)), threshold(0.38))
    assert said.verdict == "match"
    assert "ann 0.71 >= 0.38" in said.reason
    said = decide(result(("ann", 0.379999)), threshold(0.38))
    assert "0.38000 < 0.38000" not in said.reason
    said = decide(result(people=9, comparable=0), threshold(0.38))
    assert said.verdict == "abstain"
    said = decide(result(("ann", 0.1), comparable=7), threshold(0.38))
    assert "2 of 9 people could not be compared" in said.reason
    said = decide(result(people=0, comparable=0), threshold(0.38))
    assert (said.verdict, said.reason) == ("unknown", "unknown: the gallery is empty")


def test_a_person_is_named_once_in_a_photograph():
    faces = [result(("ann", 0.9), ("bob", 0.2)), result(("ann", 0.8), ("bob", 0.1))]
    (first, a), (second, b) = decide_together(faces, threshold(0.38))
    assert (first.verdict, a.person) == ("match", "ann")
    assert (second.verdict, b) == ("unknown", None)
    assert "ann 0.80 is face 0" in second.reason


def test_the_assignment_is_the_best_of_all():
    rng = np.random.default_rng(5)
    names = ["ann", "bob", "cy", "di"]
    for _ in range(30):
        scores = rng.uniform(0, 1, (3, 4))
        faces = [
            result(*sorted(zip(names, map(float, row), strict=True), key=lambda m: -m[1]), people=4) for row in scores
        ]
        decided = decide_together(faces, threshold(0.4))
        gain = sum(match.score - 0.4 for _, match in decided if match)
        named = [match.person for _, match in decided if match]
        assert len(named) == len(set(named))
        from itertools import permutations

        best = max(
            sum(max(0.0, scores[i, j] - 0.4) for i, j in enumerate(order)) for order in permutations(range(4), 3)
        )
        assert gain == pytest.approx(best)


def test_two_photographs_are_the_same_from_the_threshold_on():
    assert decide_pair(0.38, 0.5, threshold(0.38))[0] == "same"
    assert decide_pair(0.37, 0.5, threshold(0.38))[0] == "different"
    assert decide_pair(0.9, 0.05, threshold(0.38))[0] == "abstain"
    assert decide_pair(0.9, 0.0, threshold(0.38))[0] == "abstain"
