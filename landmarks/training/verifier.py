"""Training of a verifier network on patches of faces and of false detections."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from facerec.landmarks.detection.patch_graphs import PATCH_SIZE
from facerec.landmarks.detection.verifier_network import VerifierNetwork, network_input
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.schedule import cosine_rate

WARM_UP_STEPS = 50
"""Steps in which the learning rate rises, see `schedule.cosine_rate`."""


@dataclass(frozen=True)
class VerifierTraining:
    """How a verifier network is trained.

    Attributes:
        seed: of the first weights and of every patch.
        steps: of `batch` patches, half of them faces. 800 take about a minute on one core.
        batch: patches per step.
        rate: peak learning rate of AdamW.
        decay: weight decay.
        shift, scale, tilt: a patch is moved by up to this share of its side, resized by this logarithm (standard
            deviation) and turned by so many degrees (standard deviation).
        coarse: share of patches shrunk to 16 to 64 px first. Training faces are large and false ones mostly small:
            without it, sharpness alone would tell them apart.
        grey: share of patches without colour.
    """

    seed: int = 0
    steps: int = 800
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.05
    shift: float = 0.06
    scale: float = 0.1
    tilt: float = 12.0
    coarse: float = 0.6
    grey: float = 0.25


def varied(patch: NDArray[np.uint8], rng: np.random.Generator, settings: VerifierTraining) -> NDArray[np.uint8]:
    """A patch (S, S, 3), S >= 64, seen otherwise: moved, turned, mirrored, coarser, in another light; (64, 64, 3)."""
    side = patch.shape[0]
    scale = PATCH_SIZE / side * float(np.exp(rng.normal(0, settings.scale)))
    angle = np.deg2rad(rng.normal(0, settings.tilt))
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < 0.5:
        linear[:, 0] *= -1
    middle = np.full(2, (side - 1) / 2)
    target = np.full(2, (PATCH_SIZE - 1) / 2) + rng.uniform(-settings.shift, settings.shift, 2) * PATCH_SIZE
    matrix = np.concatenate([linear, (target - linear @ middle)[:, None]], axis=1)
    seen = cv2.warpAffine(
        patch, matrix, (PATCH_SIZE, PATCH_SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if rng.random() < settings.coarse:
        small = round(float(np.exp(rng.uniform(np.log(16), np.log(PATCH_SIZE)))))
        seen = cv2.resize(seen, (small, small), interpolation=cv2.INTER_AREA)
        seen = cv2.resize(seen, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_LINEAR)
    light = seen.astype(np.float32)
    if rng.random() < settings.grey:
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    else:
        light = light * np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    light = (light - 128) * float(np.exp(rng.normal(0, 0.2))) + 128 + float(rng.normal(0, 15))
    if rng.random() < 0.3:
        light = light + rng.normal(0, rng.uniform(1, 8), light.shape).astype(np.float32)
    result: NDArray[np.uint8] = np.clip(light, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        done, data = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))])
        if done:
            result = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return result


def train_verifier(
    faces: NDArray[np.uint8],
    others: NDArray[np.uint8],
    settings: VerifierTraining | None = None,
) -> VerifierNetwork:
    """Learn one network.

    Args:
        faces: (N, S, S, 3) uint8 RGB patches of faces, S >= 64.
        others: (M, S, S, 3) of what the detector took for faces and is none.
        settings: see `VerifierTraining`.

    Returns:
        the network, in evaluation mode.

    Raises:
        InvalidInputError: fewer than ten patches of a kind.
    """
    settings = settings or VerifierTraining()
    if min(len(faces), len(others)) < 10:
        raise InvalidInputError(f"expected at least ten faces and ten others; got {len(faces)}, {len(others)}")
    rng = np.random.default_rng(settings.seed)
    with torch.random.fork_rng(devices=[]):
        # Dropout draws from torch's own generator, so all of the training happens in here.
        torch.manual_seed(settings.seed)
        network = VerifierNetwork()
        optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=settings.decay)
        half = settings.batch // 2
        labels = torch.cat([torch.ones(half), torch.zeros(settings.batch - half)])
        for step in range(settings.steps):
            share = cosine_rate((step + 1) / settings.steps, WARM_UP_STEPS / settings.steps)
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * share
            drawn = [faces[i] for i in rng.integers(0, len(faces), half)]
            drawn += [others[i] for i in rng.integers(0, len(others), settings.batch - half)]
            x = network_input(np.stack([varied(one, rng, settings) for one in drawn]))
            # 0.02: an annotator's slip, or a statue, is not worth the largest odds.
            loss = functional.binary_cross_entropy_with_logits(network(x), labels * 0.96 + 0.02)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval()
