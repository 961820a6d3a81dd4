"""Mean probabilities of score maps at key-points and elsewhere: MPK and MPB of the GoDP paper (Table 7)."""

from __future__ import annotations

import torch
from torch import Tensor

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.heatmaps import Targets

CANDIDATE_RADIUS = 1
"""A key-point's candidate pixels are the 3 x 3 around it (the paper's Fig. 4)."""


def mean_probabilities(scores: Tensor, targets: Targets) -> Tensor:
    """Mean probability of being a key-point over candidate pixels (MPK) and over all others (MPB).

    The probability of a pixel is one minus its background's, in the softmax that the loss takes, which leaves out the
    channels of points that are not annotated. Candidates lie around visible key-points only, so what a network says at
    hidden ones counts as background.

    Args:
        scores: (N, KL + 1, S, S) logits, background last.
        targets: of the N pictures.

    Returns:
        (N, 2) float32: MPK and MPB, large and small where maps are clear. MPK is NaN without a visible key-point.

    Raises:
        InvalidInputError: scores of another number of pictures, or of landmarks.
    """
    n, channels, height, width = scores.shape
    count = targets.points.shape[1]
    if n != len(targets.points) or (channels - 1) % count or 160 % width:
        raise InvalidInputError(
            f"expected scores ({len(targets.points)}, K * {count} + 1, S, S), S a divisor of 160; got "
            f"{tuple(scores.shape)}"
        )
    absent = ~targets.annotated.repeat(1, (channels - 1) // count)
    maps = scores[:, :-1].float().masked_fill(absent[:, :, None, None], float("-inf"))
    keypoint = 1 - torch.cat([maps, scores[:, -1:].float()], dim=1).softmax(dim=1)[:, -1]
    candidate = torch.zeros((n, height, width), dtype=torch.bool, device=scores.device)
    places = targets.on_map(160 // width).round().long()
    picture, landmark = (targets.visible & targets.annotated).nonzero(as_tuple=True)
    x, y = places[picture, landmark].T
    for dx in range(-CANDIDATE_RADIUS, CANDIDATE_RADIUS + 1):
        for dy in range(-CANDIDATE_RADIUS, CANDIDATE_RADIUS + 1):
            inside = (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
            candidate[picture[inside], (y + dy)[inside], (x + dx)[inside]] = True

    def mean(where: Tensor) -> Tensor:
        return (keypoint * where).sum(dim=(1, 2)) / where.sum(dim=(1, 2))

    return torch.stack([mean(candidate), mean(~candidate)], dim=1)
