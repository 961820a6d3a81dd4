"""Training the half-face network: margin softmax over people, and a teacher's vectors to give back from any pose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.texture import resample_grid
from facerec.frontalize.types import Camera, FaceTexture
from facerec.frontalize.visibility import node_visibility
from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.halfface import (
    HALF_HEIGHT,
    HALF_WIDTH,
    HalfFaceDescriptor,
    HalfFaceNet,
    HalfFaceSettings,
    halves,
    normalize_half,
)
from facerec.recognition.texture_set import is_calibration_person

SAVE_EVERY = 180.0
"""Seconds between two checkpoints."""


@dataclass(frozen=True)
class HalfFaceTraining:
    """Settings of the training."""

    steps: int = 4000
    batch: int = 128
    rate: float = 2e-3
    warm_up: int = 200  # steps over which the rate rises
    decay: float = 0.05
    scale: float = 24.0  # of the margin softmax's cosines
    margin: float = 0.15  # few pictures a person and a short training: a larger one is not reached
    teacher_weight: float = 20.0  # 1 - cosine starts at one, the softmax's loss at ten: the teacher leads
    own_share: float = 0.5  # a frontal picture's target: its own teacher vector this often, else its person's mean
    mask_share: float = 0.5  # frontal halves that get the mask of a turned face
    turned: int = 400  # masks of turned faces to draw from
    min_visible: float = 0.3
    averaging: float = 0.998
    seed: int = 0


@dataclass(frozen=True, eq=False)
class HalfSet:
    """Halves to learn from.

    Attributes:
        grey: (N, 2, 128, 72) uint8; mask: (N, 2, 128, 72) bool; both halves of N textures, the right one mirrored.
        person: (N,) unicode; source: (N,) unicode; yaw: (N,) float32 degrees.
        teacher: (N, 128) float32, the teacher's vector of the picture; NaN where it gave none.
    """

    grey: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    person: NDArray[np.str_]
    source: NDArray[np.str_]
    yaw: NDArray[np.float32]
    teacher: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write as npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **asdict(self))

    @staticmethod
    def load(*paths: Path) -> HalfSet:
        """Read one or several sets as one."""
        parts: dict[str, list[NDArray[Any]]] = {}
        for path in paths:
            with np.load(path, allow_pickle=False) as file:
                for name in ("grey", "mask", "person", "source", "yaw", "teacher"):
                    parts.setdefault(name, []).append(file[name])
        return HalfSet(**{name: np.concatenate(values) for name, values in parts.items()})


def without_calibration_people(data: HalfSet) -> HalfSet:
    """The set without the people thresholds are calibrated on."""
    keep = np.array([not is_calibration_person(str(name)) for name in data.person])
    return HalfSet(*(getattr(data, field.name)[keep] for field in fields(HalfSet)))


def halfface_figures(network: HalfFaceNet, data: HalfSet) -> dict[str, float]:
    """Figures on CFP's pictures in `data`: all pairs' AUC and rank-1 from each person's first frontal picture.

    Returns:
        "fp_auc", "fp_rank1" (frontal gallery, profile probes) and "ff_auc", "ff_rank1" (other frontals).
    """
    descriptor = HalfFaceDescriptor(network)
    share = data.mask.mean(axis=(2, 3))
    seen = share >= network.settings.min_visible
    inputs = np.stack([data.grey, data.mask], axis=2).astype(np.float32)
    cells = np.zeros((len(inputs), 3, network.settings.dimension), dtype=np.float32)
    for k in range(0, len(inputs), 64):
        part = inputs[k : k + 64].reshape(-1, 2, HALF_HEIGHT, HALF_WIDTH)
        batch = np.stack([normalize_half(half[0], half[1]) for half in part])
        cells[k : k + 64, :2] = descriptor.embed(batch).reshape(-1, 2, network.settings.dimension)
    cells[:, :2][~seen] = 0
    joint = (cells[:, :2] * share[..., None]).sum(axis=1)
    cells[:, 2] = joint / np.maximum(np.linalg.norm(joint, axis=1, keepdims=True), 1e-9)
    visible = np.concatenate([seen, seen.any(axis=1, keepdims=True)], axis=1).astype(np.float32)
    frontal, profile = (np.flatnonzero(data.source == name) for name in ("cfp-frontal", "cfp-profile"))
    first = np.array([np.flatnonzero(data.person[frontal] == p)[0] for p in np.unique(data.person[frontal])])
    gallery = frontal[first]
    others = np.setdiff1d(frontal, gallery)
    flat = cells.reshape(len(cells), -1)
    out = {}
    for name, probes in (("fp", profile), ("ff", others)):
        overlap = np.maximum(visible[probes] @ visible[gallery].T, 1e-9)
        scores = flat[probes] @ flat[gallery].T / overlap
        same = data.person[probes][:, None] == data.person[gallery][None]
        order = np.argsort(np.concatenate([scores[same], scores[~same]]), kind="stable")
        ranks = np.empty(len(order))
        ranks[order] = np.arange(1, len(order) + 1)
        n, m = int(same.sum()), int((~same).sum())
        out[f"{name}_auc"] = float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
        best = data.person[gallery][scores.argmax(axis=1)]
        out[f"{name}_rank1"] = float((best == data.person[probes]).mean())
    return out


def half_images(texture: FaceTexture) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(2, 128, 72) grey levels and masks of a texture's halves, for a `HalfSet`."""
    normalized, _ = halves(texture)
    mask = normalized[:, 1] > 0.5
    # Three deviations to either side hold what a face shows; the network normalises again after augmentation.
    grey = np.clip(normalized[:, 0] * 40 + 128, 1, 255) * mask
    return np.rint(grey).astype(np.uint8), mask


def turned_masks(n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n, 2, 128, 72) masks of both halves of the mean face turned to random poses (yaw to 90, pitch to 30 degrees)."""
    model = FaceModel.load()
    out = np.zeros((n, 2, HALF_HEIGHT, HALF_WIDTH), dtype=bool)
    blank = np.zeros((256, 256, 3), dtype=np.uint8)
    for k in range(n):
        shape = rng.standard_normal(20)
        camera = Camera.from_angles(rng.uniform(-90, 90), rng.uniform(-30, 30), 0.0)
        seen = node_visibility(model, model.geometry(shape), camera)
        visible = resample_grid((seen > 0).astype(np.float32), 256) > 0.5
        out[k] = half_images(FaceTexture(blank, visible.astype(np.float32)))[1]
    return out


def augment(grey: Tensor, mask: Tensor, generator: torch.Generator, extra_mask: Tensor | None = None) -> Tensor:
    """(B, 2, 128, 72) network inputs from (B, 128, 72) grey levels and masks, jittered.

    Placement (the fit errs by a few texels), gamma and a slanted light, blur, noise, a cut-out; then zero mean and unit
    deviation over what the mask leaves.
    """
    b = len(grey)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    if extra_mask is not None:
        mask = mask & extra_mask
    angle, zoom = uniform(-0.07, 0.07, b), uniform(0.94, 1.06, b)
    theta = torch.zeros(b, 2, 3)
    ratio = HALF_HEIGHT / HALF_WIDTH
    theta[:, 0, 0], theta[:, 0, 1] = zoom * torch.cos(angle), -zoom * torch.sin(angle) * ratio
    theta[:, 1, 0], theta[:, 1, 1] = zoom * torch.sin(angle) / ratio, zoom * torch.cos(angle)
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.07, 0.07, b), uniform(-0.05, 0.05, b)
    grid = F.affine_grid(theta, [b, 1, HALF_HEIGHT, HALF_WIDTH], align_corners=False)
    both = torch.stack([grey.float() * mask, mask.float()], dim=1)
    moved = F.grid_sample(both, grid, align_corners=False)
    weight = moved[:, 1:]
    tone = moved[:, :1] / weight.clamp(min=1e-3) / 255.0
    seen = (weight > 0.5).float()
    tone = tone.clamp(1e-3, 1.0) ** torch.exp(uniform(-0.4, 0.4, b))[:, None, None, None]
    y = torch.linspace(-1, 1, HALF_HEIGHT)[None, None, :, None]
    x = torch.linspace(-1, 1, HALF_WIDTH)[None, None, None, :]
    slant = uniform(-0.35, 0.35, b)[:, None, None, None] * x + uniform(-0.25, 0.25, b)[:, None, None, None] * y
    tone = tone * (1 + slant)
    blurred = F.avg_pool2d(tone, 3, stride=1, padding=1, count_include_pad=False)
    softness = uniform(0.0, 1.0, b)[:, None, None, None] * (torch.rand(b, 1, 1, 1, generator=generator) < 0.5)
    tone = tone + softness * (blurred - tone)
    tone = tone + uniform(0.0, 0.04, b)[:, None, None, None] * torch.randn(tone.shape, generator=generator)
    cut = torch.rand(b, generator=generator) < 0.3
    top, left = uniform(0, 0.8, b) * HALF_HEIGHT, uniform(0, 0.8, b) * HALF_WIDTH
    tall, wide = uniform(0.1, 0.4, b) * HALF_HEIGHT, uniform(0.2, 0.5, b) * HALF_WIDTH
    rows, columns = torch.arange(HALF_HEIGHT)[None, :, None], torch.arange(HALF_WIDTH)[None, None, :]
    hole = (rows >= top[:, None, None]) & (rows < (top + tall)[:, None, None])
    hole = hole & (columns >= left[:, None, None]) & (columns < (left + wide)[:, None, None])
    seen = seen * (~(hole & cut[:, None, None]))[:, None].float()
    count = seen.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean = (tone * seen).sum(dim=(2, 3), keepdim=True) / count
    deviation = ((((tone - mean) * seen) ** 2).sum(dim=(2, 3), keepdim=True) / count).sqrt()
    return torch.cat([(tone - mean) / deviation.clamp(min=0.02) * seen, seen], dim=1)


class _Head(nn.Module):
    """Margin softmax (CosFace) and the projection onto the teacher's space."""

    def __init__(self, dimension: int, people: int, teacher: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(people, dimension) * 0.05)
        self.project = nn.Linear(dimension, teacher, bias=False)


def train_halfface(
    data: HalfSet,
    settings: HalfFaceSettings | None = None,
    training: HalfFaceTraining | None = None,
    checkpoint: Path | None = None,
    max_minutes: float | None = None,
    device: str = "cpu",
    report: Callable[[int, dict[str, float], HalfFaceNet], None] | None = None,
    every: int = 100,
) -> HalfFaceNet:
    """Train; returns the network with averaged weights.

    Args:
        data: training halves. People with one picture only serve the teacher's part.
        settings, training: see there.
        checkpoint: file to resume from and to write every few minutes.
        max_minutes: the schedule follows the clock when this runs out before the steps do.
        device: "cpu" or "cuda".
        report: called every `every` steps with the losses and the averaged network.

    Raises:
        InvalidInputError: no usable half.
    """
    settings, training = settings or HalfFaceSettings(), training or HalfFaceTraining()
    rng = np.random.default_rng(training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    share = data.mask.mean(axis=(2, 3))
    rows, sides = np.nonzero(share >= training.min_visible)
    if len(rows) == 0:
        raise InvalidInputError("expected at least one half that is visible enough; got none")
    names, person = np.unique(data.person, return_inverse=True)
    # Every person as often as the root of their number of halves: no one celebrity fills the batches.
    count = np.bincount(person[rows], minlength=len(names))
    weight = 1.0 / np.sqrt(count[person[rows]])
    # A profile picture is rarer than a frontal one, and is what the network is for.
    weight = weight * np.where(np.abs(data.yaw[rows]) > 40, 2.0, 1.0)
    chance = weight / weight.sum()
    known = np.asarray(np.isfinite(data.teacher).all(axis=1))
    # The teacher's vectors share a large part (strangers have a cosine of 0.85): it goes before they are compared.
    centred = data.teacher - (data.teacher[known].mean(axis=0) if known.any() else 0.0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    mean = np.zeros((len(names), unit.shape[1]), dtype=np.float32)
    np.add.at(mean, person[known], unit[known])
    taught = np.linalg.norm(mean, axis=1) > 0
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    bank = turned_masks(training.turned, rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        network = HalfFaceNet(settings)
        head = _Head(settings.dimension, len(names), unit.shape[1])
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = head.to(device)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *head.parameters()], lr=training.rate, weight_decay=training.decay
    )
    step, spent = 0, 0.0
    if checkpoint is not None and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        head.load_state_dict(saved["head"])
        optimizer.load_state_dict(saved["optimizer"])
        average, step, spent = saved["average"], int(saved["step"]), float(saved["spent"])
        generator.set_state(saved["generator"])
        rng = np.random.default_rng([training.seed, step])

    def averaged() -> HalfFaceNet:
        copy = HalfFaceNet(settings)
        copy.load_state_dict({k: v.cpu() for k, v in average.items()})
        return copy.eval()

    started = last_saved = time.monotonic()
    network.train()
    totals: dict[str, float] = {}
    while step < training.steps:
        minutes = (spent + time.monotonic() - started) / 60
        done = max(step / training.steps, minutes / max_minutes if max_minutes else 0.0)
        if done >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = training.rate * min(1.0, (step + 1) / training.warm_up) * 0.5 * (1 + math.cos(math.pi * done))
        pick = rng.choice(len(rows), training.batch, p=chance)
        index, side = rows[pick], sides[pick]
        extra = np.ones((training.batch, HALF_HEIGHT, HALF_WIDTH), dtype=bool)
        turn = (np.abs(data.yaw[index]) < 40) & (rng.random(training.batch) < training.mask_share)
        chosen = bank[rng.integers(len(bank), size=training.batch), rng.integers(2, size=training.batch)]
        left = (chosen & data.mask[index, side]).mean(axis=(1, 2)) >= training.min_visible
        extra[turn & left] = chosen[turn & left]
        inputs = augment(
            torch.from_numpy(data.grey[index, side]),
            torch.from_numpy(data.mask[index, side]),
            generator,
            torch.from_numpy(extra),
        )
        own = known[index] & (rng.random(training.batch) < training.own_share)
        target = torch.from_numpy(np.where(own[:, None], unit[index], mean[person[index]]).astype(np.float32)).to(
            device
        )
        has_target = torch.from_numpy(own | taught[person[index]]).to(device)
        label = torch.from_numpy(person[index]).to(device)
        inputs = inputs.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            vectors = network(inputs)
        vectors = vectors.float()
        direction = F.normalize(vectors, dim=1)
        cosine = direction @ F.normalize(head.centres, dim=1).T
        cosine = cosine - training.margin * F.one_hot(label, len(names))
        softmax = F.cross_entropy(training.scale * cosine, label)
        given = F.normalize(head.project(direction), dim=1)
        distance = (1 - (given * target).sum(dim=1)) * has_target
        taught_loss = distance.sum() / has_target.sum().clamp(min=1)
        loss = softmax + training.teacher_weight * taught_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            keep = min(training.averaging, (1 + step) / (10 + step))
            for name, value in network.state_dict().items():
                if value.is_floating_point():
                    average[name].lerp_(value.to(average[name].dtype), 1 - keep)
                else:
                    average[name].copy_(value)
        step += 1
        for name, value in (("softmax", softmax), ("teacher", taught_loss)):
            totals[name] = totals.get(name, 0.0) + float(value.detach()) / every
        if step % every == 0 and report is not None:
            report(step, {**totals, "minutes": minutes, "done": done}, averaged())
        if step % every == 0:
            totals = {}
        if checkpoint is not None and time.monotonic() - last_saved > SAVE_EVERY:
            last_saved = time.monotonic()
            state = {
                "network": network.state_dict(),
                "head": head.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average,
                "step": step,
                "spent": spent + last_saved - started,
                "generator": generator.get_state(),
            }
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            partial = checkpoint.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(checkpoint)
    return averaged()
