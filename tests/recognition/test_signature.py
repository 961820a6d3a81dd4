"""Signatures: the masked score, and several pictures of a person as one."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.signature import Signature, pack_regions, pooled, seen_regions, unpack_regions


def signature(seed: int, seen: list[bool], contract: str = "c") -> Signature:
    visible = np.array(seen)
    cells = np.random.default_rng(seed).normal(size=(len(seen), 5)).astype(np.float32)
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)
    return Signature(cells * visible[:, None], visible, contract)


def test_two_profiles_complete_each_other() -> None:
    left, right = signature(0, [True, True, False]), signature(1, [False, True, True])
    both = pooled([left, right])
    assert both.visible.tolist() == [True, True, True]
    np.testing.assert_allclose(both.cells[0], left.cells[0], atol=1e-6)
    np.testing.assert_allclose(both.cells[2], right.cells[2], atol=1e-6)
    middle = left.cells[1] + right.cells[1]
    np.testing.assert_allclose(both.cells[1], middle / np.linalg.norm(middle), atol=1e-6)


def test_pooling_does_not_depend_on_order_and_leaves_a_single_picture_alone() -> None:
    many = [signature(k, [True, k % 2 == 0, False]) for k in range(4)]
    np.testing.assert_allclose(pooled(many).cells, pooled(many[::-1]).cells, atol=1e-6)
    np.testing.assert_allclose(pooled(many[:1]).cells, many[0].cells, atol=1e-6)
    assert pooled(many).visible.tolist() == [True, True, False]


def test_directions_that_cancel_out_are_not_seen() -> None:
    one = signature(0, [True, True])
    opposite = Signature(-one.cells, one.visible, "c")
    assert not pooled([one, opposite]).visible.any()


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one"):
        pooled([])
    with pytest.raises(ContractError, match="c and d"):
        pooled([signature(0, [True]), signature(0, [True], "d")])
    with pytest.raises(InvalidInputError, match="one shape"):
        pooled([signature(0, [True]), signature(0, [True, True])])


def test_the_score_is_the_mean_cosine_of_the_cells_both_saw() -> None:
    one, two = signature(0, [True, True, False]), signature(1, [False, True, True])
    score, overlap = one.score(two)
    assert overlap == 1
    assert score == pytest.approx(float(one.cells[1] @ two.cells[1]), abs=1e-6)
    assert signature(0, [True, False]).score(signature(1, [False, True])) == (0.0, 0)


@pytest.mark.parametrize(("cells", "numbers"), [(4, 128), (3, 5), (64, 48)])
def test_scores_against_many_at_once_are_those_one_by_one_to_the_last_bit(cells: int, numbers: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(51, cells, numbers)).astype(np.float32)
    seen = rng.random((51, cells)) < 0.6
    seen[:2] = np.arange(cells) % 2 == 0, np.arange(cells) % 2 == 1  # the first two share no cell
    vectors = vectors / np.linalg.norm(vectors, axis=2, keepdims=True) * seen[:, :, None]
    first, *others = (Signature(*one, "c") for one in zip(vectors, seen, strict=True))
    scores = first.scores(vectors[1:], seen[1:], "c")
    assert scores.tolist() == [first.score(other)[0] for other in others]
    assert scores[0] == 0
    assert first.scores(vectors[:0], seen[:0], "c").shape == (0,)
    with pytest.raises(ContractError, match="different contracts: c and d"):
        first.scores(vectors, seen, "d")


def test_overlap_is_the_share_of_the_chart_that_both_saw() -> None:
    rng = np.random.default_rng(2)
    visible = np.zeros((256, 256), np.float32)
    visible[:, :128] = 0.5
    left, right, unknown = (one_cell(rng, regions) for regions in (seen_regions(visible), ~seen_regions(visible), None))
    whole = one_cell(rng, np.ones((16, 16), bool))
    assert seen_regions(visible).sum() == 128
    assert (left.overlap(whole), left.overlap(right), left.overlap(left)) == (0.5, 0.0, 0.5)
    assert (left.overlap(unknown), unknown.overlap(left)) == (None, None)
    # A region counts when at least half of it was seen.
    visible[:, 128:137] = 1
    assert seen_regions(visible).sum() == 144
    np.testing.assert_array_equal(unpack_regions(pack_regions(left.regions)), left.regions)
    assert unpack_regions(pack_regions(None)) is None
    with pytest.raises(InvalidInputError, match="32 bytes"):
        unpack_regions(b"123")
    with pytest.raises(InvalidInputError, match="regions"):
        one_cell(rng, np.ones((4, 4), bool))
    np.testing.assert_array_equal(pooled([left, right]).regions, whole.regions)
    assert pooled([left, unknown]).regions is None


def one_cell(rng: np.random.Generator, regions: np.ndarray | None) -> Signature:
    cells = rng.normal(size=(1, 4))
    cells /= np.linalg.norm(cells)
    return Signature(cells.astype(np.float32), np.ones(1, bool), "c", regions)
