"""Batches that shrink where the memory does not suffice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facerec.landmarks.batches import in_batches


class Card:
    """A device that holds `room` rows."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def look(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        self.sizes.append(len(rows))
        if len(rows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 10 * rows


@pytest.mark.parametrize(("count", "size", "room"), [(10, 16, 16), (10, 4, 4), (33, 16, 3), (1, 8, 1), (5, 8, 2)])
def test_every_row_is_answered_once_and_in_order(count: int, size: int, room: int) -> None:
    card = Card(room)
    answers = np.concatenate(in_batches(card.look, np.arange(count), size))
    assert answers.tolist() == list(range(0, 10 * count, 10))


def test_what_did_not_fit_is_not_tried_again_at_that_size() -> None:
    card = Card(3)
    in_batches(card.look, np.arange(40), 16)
    assert card.sizes[:3] == [16, 8, 4]
    assert max(card.sizes[3:]) <= 3


def test_a_row_that_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        in_batches(Card(0).look, np.arange(4), 2)


def test_other_errors_are_not_hidden() -> None:
    def broken(rows: NDArray[np.int64]) -> None:
        raise RuntimeError("another fault")

    with pytest.raises(RuntimeError, match="another fault"):
        in_batches(broken, np.arange(4), 2)


def test_nothing_gives_no_answers() -> None:
    assert in_batches(Card(1).look, np.arange(0), 4) == []
