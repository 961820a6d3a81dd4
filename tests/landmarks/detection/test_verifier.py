"""The verifier: that it learns what deceives, judges alike alone and together, and survives saving."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facerec.landmarks.detection.patch_graphs import PATCH_SIZE
from facerec.landmarks.detection.verifier import NETWORKS, Verifier, patch, verifier_from_arrays
from facerec.landmarks.detection.verifier_network import VerifierNetwork, runner, verifier_arrays
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training import finder as finder_training
from facerec.landmarks.training.finder import FinderData, FinderTraining, Seen, learn_finder
from facerec.landmarks.training.verifier import VerifierTraining, train_verifier, varied
from facerec.landmarks.types import Box

QUICK = VerifierTraining(steps=40, batch=16, rate=4e-3)


def patches(count: int, face: bool, seed: int = 0, size: int = 80) -> np.ndarray:
    """Two dark eyes over a mouth on light ground, or the same upside down."""
    rng = np.random.default_rng([seed, face])
    out = rng.integers(150, 200, (count, size, size, 3)).astype(np.uint8)
    for one in out:
        dx, dy = rng.integers(-4, 5, 2)
        one[22 + dy : 32 + dy, 18 + dx : 30 + dx] = 20
        one[22 + dy : 32 + dy, 50 + dx : 62 + dx] = 20
        one[56 + dy : 64 + dy, 26 + dx : 54 + dx] = 60
    return out if face else out[:, ::-1].copy()


def test_it_learns_to_distinguish_faces_from_false_detections() -> None:
    verifier = Verifier(runner([train_verifier(patches(30, True), patches(30, False), QUICK)]))
    right = verifier.log_odds_of(patches(20, True, 5, 80)[:, 8:72, 8:72])
    wrong = verifier.log_odds_of(patches(20, False, 5, 80)[:, 8:72, 8:72])
    assert (right > 0).mean() > 0.9
    assert (wrong < 0).mean() > 0.9


def test_the_same_seed_learns_the_same_network_and_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (train_verifier(patches(12, True), patches(12, False), VerifierTraining(steps=3)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_patches_are_varied_but_stay_patches() -> None:
    rng = np.random.default_rng(0)
    made = [varied(patches(1, True)[0], rng, VerifierTraining()) for _ in range(12)]
    assert all(one.shape == (PATCH_SIZE, PATCH_SIZE, 3) and one.dtype == np.uint8 for one in made)
    assert len({one.tobytes() for one in made}) == 12


def test_candidates_get_the_same_odds_alone_and_together() -> None:
    verifier = Verifier(runner([VerifierNetwork(), VerifierNetwork()]), batch=2)
    image = np.random.default_rng(0).integers(0, 256, (100, 140, 3), dtype=np.uint8)
    boxes = [Box(5, 5, 40, 50), Box(60, 20, 130, 90), Box(-10, 30, 30, 90)]
    together = verifier.log_odds(image, boxes)
    assert together == pytest.approx([float(verifier.log_odds(image, [box])[0]) for box in boxes], abs=1e-4)
    assert verifier.log_odds(image, []).shape == (0,)
    assert patch(image, boxes[0]).shape == (PATCH_SIZE, PATCH_SIZE, 3)


def test_saved_networks_give_the_same_odds() -> None:
    networks = [VerifierNetwork().eval() for _ in range(NETWORKS)]
    arrays = verifier_arrays(networks)
    seen = patches(4, True)[:, :PATCH_SIZE, :PATCH_SIZE]
    again = verifier_from_arrays(arrays).log_odds_of(seen)
    assert again == pytest.approx(Verifier(runner(networks)).log_odds_of(seen), abs=0.02)
    arrays.pop("0.answer.2.weight")
    with pytest.raises(InvalidInputError, match="verifier networks"):
        verifier_from_arrays(arrays)
    with pytest.raises(InvalidInputError, match="at least one network"):
        runner([])
    with pytest.raises(InvalidInputError, match="ten faces"):
        train_verifier(patches(5, True), patches(20, False))


def seen_ones(count: int, face: bool, seed: int) -> list[Seen]:
    rng = np.random.default_rng([seed, face, 7])
    measured = rng.normal((2.0, 0.8, 0.0, 0.7, 0.7, 0.7) if face else (1.5, 0.6, 0.0, 0.6, 0.7, 0.7), 0.3, (count, 6))
    return [
        Seen(i % NETWORKS, one, numbers)
        for i, (one, numbers) in enumerate(zip(patches(count, face, seed), measured, strict=True))
    ]


def test_every_candidate_is_scored_by_the_network_not_trained_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[set[bytes]] = []
    judged: list[tuple[int, bytes]] = []

    def train(faces: np.ndarray, others: np.ndarray, settings: VerifierTraining) -> int:
        learnt.append({one.tobytes() for one in [*faces, *others]})
        return len(learnt) - 1

    class Judge:
        def __init__(self, networks: list[int]) -> None:
            self.network = networks[0]

    def note(one: Seen, judge: Judge) -> np.ndarray:
        judged.append((judge.network, one.patch.tobytes()))
        assert one.measured is not None
        return one.measured

    monkeypatch.setattr(finder_training, "train_verifier", train)
    monkeypatch.setattr(finder_training, "runner", lambda networks: networks)
    monkeypatch.setattr(finder_training, "Verifier", Judge)
    monkeypatch.setattr(finder_training, "_score_candidates", note)
    unsure = Seen(0, patches(1, False, 9)[0], None)
    data = FinderData(
        seen_ones(24, True, 0),
        [[one, unsure] for one in seen_ones(20, False, 1)],
        [[o] for o in seen_ones(8, False, 2)],
    )
    learn_finder(data, FinderTraining())
    assert len(judged) == 24 + 20 + 8  # what the detector itself doubts teaches the verifier and is no candidate
    assert all(seen not in learnt[network] for network, seen in judged)
    assert all(any(seen in half for half in learnt) for _, seen in judged)


def test_the_verifier_helps_where_score_and_landmarks_overlap() -> None:
    data = FinderData(
        seen_ones(40, True, 0), [[one] for one in seen_ones(40, False, 1)], [[one] for one in seen_ones(40, False, 2)]
    )
    rule, networks, figures = learn_finder(data, FinderTraining(false_share=0.05, verifier=QUICK))
    assert len(networks) == NETWORKS
    assert rule.verifier > 0
    assert figures["looks"] == 40
    assert figures["looks_false"] <= 0.05
    assert figures["faces_kept"] > 0.9
