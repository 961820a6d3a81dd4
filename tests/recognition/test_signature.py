"""Signatures: the masked score, and several pictures of a person as one."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.signature import Signature, pooled


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
