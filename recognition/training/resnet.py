"""Training the face network on normalised views: margin softmax over people, and what it knew before to give back.

The network starts as dlib's, which knows faces from the front. It is taught to give the same vector for the photograph
and for the frontal view of the same person at any pose, while it stays near what it gave for the front (the teacher).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.people import is_calibration_person
from facerec.landmarks.training.resume import load_checkpoint, save_checkpoint
from facerec.recognition.resnet import DIMENSION, FaceResNet, network_input
from facerec.recognition.training.view_set import ViewSet
from facerec.recognition.views import DLIB_FRAME, Look, filled_view, seen_shares

SAVE_EVERY = 180.0
"""Seconds between two checkpoints."""


@dataclass(frozen=True)
class ResNetTraining:
    """Settings of the training.

    Attributes:
        steps, batch: 3,000 batches of 96 show each picture about twenty times.
        rate: top of the learning rate; the network starts trained, so a tenth of what a fresh one bears.
        warm_up: steps over which the rate rises. decay: weight decay.
        scale, margin: of the margin softmax; with few pictures a person a larger margin is not reached.
        teacher_weight: of 1 - cosine to the teacher's vector.
        own_share: a near-frontal picture's target is its own teacher vector this often, else its person's mean.
        photo_share: how often a picture is shown as photograph; the frontal view's looks share the rest.
        mask_share: near-frontal frontal views that get the mask of a turned face.
        frontal: largest |yaw| of a picture whose teacher vector counts, degrees.
        min_seen: least share of a half that makes a look.
        averaging: decay a step of the running mean of the weights.
        start_share: share of the starting weights in those that are returned, the rest the running mean's. Between the
            two lies a network that keeps more of what millions of pictures taught: on people for calibration, of 0,
            0.15, 0.3, 0.5 and 0.7, 0.3 had the largest area for frontal against profile.
    """

    steps: int = 3000
    batch: int = 96
    rate: float = 2.5e-4
    warm_up: int = 100
    decay: float = 1e-2
    scale: float = 30.0
    margin: float = 0.2
    teacher_weight: float = 10.0
    own_share: float = 0.4
    photo_share: float = 0.4
    mask_share: float = 0.4
    frontal: float = 30.0
    min_seen: float = 0.35
    averaging: float = 0.997
    start_share: float = 0.3
    seed: int = 0


def embed(network: FaceResNet, views: NDArray[np.uint8], batch: int = 32) -> NDArray[np.float32]:
    """(N, 128) vectors, not normalised, of views (N, 150, 150, 3)."""
    out = []
    with torch.inference_mode():
        for first in range(0, len(views), batch):
            inputs = network_input(views[first : first + batch]).contiguous(memory_format=torch.channels_last)
            out.append(network(inputs).float().cpu().numpy())
    return np.concatenate(out) if out else np.zeros((0, DIMENSION), dtype=np.float32)


def centre_network(network: FaceResNet, data: ViewSet, max_yaw: float = 30.0) -> NDArray[np.float32]:
    """Take off in `network`'s head what it gives for all near-frontal photographs alike; returns that mean (128,)."""
    clear = (np.abs(data.yaw) < max_yaw) & ~np.char.startswith(data.source, "turned-")
    mean = np.asarray(embed(network, data.photo[clear]).mean(axis=0), dtype=np.float32)
    with torch.no_grad():
        network.head.bias.sub_(torch.from_numpy(mean))
    return mean


def calibration_rows(data: ViewSet) -> NDArray[np.bool_]:
    """(N,) bool: rows of people that no descriptor is trained on (thresholds are calibrated on them)."""
    return np.array([is_calibration_person(str(name)) for name in data.person])


def view_figures(network: FaceResNet, data: ViewSet, min_seen: float = 0.35) -> dict[str, float]:
    """How well frontal pictures of CFP in `data` tell whose the profiles and the other frontals are.

    Returns:
        "fp_auc_LOOKS" and "ff_auc_LOOKS", over all pairs of a frontal and a profile or another frontal picture, and
        "fp_rank1_LOOKS", "ff_rank1_LOOKS", from each person's first frontal picture; for the photograph (p), the whole
        frontal view (w), its halves (lr) and means of several (pw, plr, pwlr).
    """
    keep = np.flatnonzero(np.isin(data.source, ("cfp-frontal", "cfp-profile")))
    _, first_copy = np.unique(data.origin[keep], return_index=True)
    rows = keep[np.sort(first_copy)]
    cells = np.zeros((len(rows), 4, DIMENSION), dtype=np.float32)
    known = np.zeros((len(rows), 4), dtype=bool)
    shares = seen_shares(data.seen[rows], DLIB_FRAME)
    for column, look in enumerate(("photo", "whole", "left", "right")):
        usable = np.ones(len(rows), dtype=bool)
        if look in ("left", "right"):
            usable = shares[:, column - 2] >= min_seen
        views = [look_at(data, int(row), look, min_seen) for row in rows[usable]]  # type: ignore[arg-type]
        vectors = embed(network, np.stack(views))
        cells[usable, column] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        known[:, column] = usable
    frontal = data.source[rows] == "cfp-frontal"
    person = data.person[rows]
    out = {}
    for name, probes in (("fp", ~frontal), ("ff", frontal)):
        similar = {}
        for columns in ((0,), (1,), (2, 3), (0, 1), (0, 2, 3), (0, 1, 2, 3)):
            c, k = cells[:, columns].reshape(len(rows), -1), known[:, columns].astype(np.float32)
            similar[columns] = c[probes] @ c[frontal].T / np.maximum(k[probes] @ k[frontal].T, 1e-9)
        same = person[probes][:, None] == person[frontal][None]
        other = np.ones_like(same) if name == "fp" else ~np.eye(len(same), dtype=bool)
        first = np.array([np.flatnonzero(person[frontal] == p)[0] for p in np.unique(person[frontal])])
        for columns, score in similar.items():
            label = "".join("pwlr"[c] for c in columns)
            out[f"{name}_auc_{label}"] = _auc(score[same & other], score[~same])
            gallery = score[:, first]
            if name == "ff":
                gallery = np.delete(gallery, first, axis=0)
            named = person[frontal][first][gallery.argmax(axis=1)]
            asked = person[probes] if name == "fp" else np.delete(person[frontal], first)
            out[f"{name}_rank1_{label}"] = float((named == asked).mean())
    return out


def _auc(same: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    order = np.searchsorted(np.sort(other), same, side="left") + np.searchsorted(np.sort(other), same, side="right")
    return float(order.mean() / (2 * len(other)))


def look_at(data: ViewSet, row: int, look: Look, min_seen: float) -> NDArray[np.uint8]:
    """(150, 150, 3) uint8, what the network is shown of a row."""
    if look == "photo":
        return np.asarray(data.photo[row])
    return filled_view(data.frontal[row], data.seen[row], look, DLIB_FRAME)


def draw_view(
    data: ViewSet, row: int, turned: NDArray[np.intp], rng: np.random.Generator, training: ResNetTraining
) -> NDArray[np.uint8]:
    """A random look at a row: the photograph, or its frontal view, often with the mask of a turned face."""
    if rng.random() < training.photo_share:
        return np.asarray(data.photo[row])
    seen = data.seen[row]
    if len(turned) and abs(data.yaw[row]) < training.frontal and rng.random() < training.mask_share:
        mask = data.seen[turned[rng.integers(len(turned))]]
        mask = seen & (mask[:, ::-1] if rng.random() < 0.5 else mask)
        if seen_shares(mask, DLIB_FRAME).max() >= training.min_seen:
            seen = mask
    shares = seen_shares(seen, DLIB_FRAME)
    looks: list[Look] = ["whole"]
    looks += [side for side, share in zip(("left", "right"), shares, strict=True) if share >= training.min_seen]  # type: ignore[misc]
    return filled_view(data.frontal[row], seen, looks[int(rng.integers(len(looks)))], DLIB_FRAME)


def augment(views: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 150, 150, 3) uint8 views as network input (B, 3, 150, 150), jittered.

    Mirroring, placement (the fit errs by a few pixels), resolution, colour, grey pictures, gamma and a slanted light,
    noise, a cut-out.
    """
    b, size = len(views), views.shape[1]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    def happens(chance: float) -> Tensor:
        return (torch.rand(b, generator=generator) < chance)[:, None, None, None]

    x = views.permute(0, 3, 1, 2).float() / 255
    angle, zoom = uniform(-0.08, 0.08, b), uniform(0.93, 1.07, b)
    mirror = torch.where(torch.rand(b, generator=generator) < 0.5, -1.0, 1.0)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * zoom * torch.cos(angle), -zoom * torch.sin(angle)
    theta[:, 1, 0], theta[:, 1, 1] = mirror * zoom * torch.sin(angle), zoom * torch.cos(angle)
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.05, 0.05, b), uniform(-0.05, 0.05, b)
    # Through a coarser picture and back: distant faces, and films.
    coarse = int(uniform(36, 110, 1))
    small = F.interpolate(x, size=(coarse, coarse), mode="area")
    x = torch.where(happens(0.25), F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False), x)
    x = F.grid_sample(x, F.affine_grid(theta, [b, 3, size, size], align_corners=False), align_corners=False,
                      padding_mode="border")  # fmt: skip
    grey = x.mean(dim=1, keepdim=True)
    x = torch.where(happens(0.2), grey.expand_as(x), x)
    x = x * uniform(0.85, 1.15, b, 3, 1, 1)
    x = x.clamp(1e-3, 1.0) ** torch.exp(uniform(-0.35, 0.35, b))[:, None, None, None]
    line = torch.linspace(-1, 1, size)
    across, down = uniform(-0.3, 0.3, b, 1, 1, 1), uniform(-0.2, 0.2, b, 1, 1, 1)
    x = x * (1 + across * line + down * line[:, None])
    x = x + uniform(0.0, 0.04, b)[:, None, None, None] * torch.randn(x.shape, generator=generator)
    top, left = uniform(0, 0.85, b) * size, uniform(0, 0.85, b) * size
    tall, wide = uniform(0.1, 0.35, b) * size, uniform(0.1, 0.35, b) * size
    at = torch.arange(size)
    hole = (at[None, :, None] >= top[:, None, None]) & (at[None, :, None] < (top + tall)[:, None, None])
    hole = hole & (at[None, None, :] >= left[:, None, None]) & (at[None, None, :] < (left + wide)[:, None, None])
    neutral = torch.tensor(DLIB_FRAME.neutral)[:, None, None] / 255
    x = torch.where(hole[:, None] & happens(0.25), neutral, x)
    return network_input((x.clamp(0, 1) * 255).permute(0, 2, 3, 1))


class _Classes(nn.Module):
    """A centre for each person."""

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        self.centres = nn.Parameter(centres)


def train_resnet(
    data: ViewSet,
    start: FaceResNet,
    training: ResNetTraining | None = None,
    checkpoint: Path | None = None,
    max_minutes: float | None = None,
    device: str = "cpu",
    report: Callable[[int, dict[str, float], FaceResNet], None] | None = None,
    every: int = 50,
) -> FaceResNet:
    """Train; returns the network with averaged weights, mixed with those of `start`.

    Args:
        data: training views.
        start: the network to begin with and to take the teacher's vectors from, see `centre_network`.
        training: see there.
        checkpoint: file to resume from and to write every few minutes.
        max_minutes: the schedule follows the clock when this runs out before the steps do.
        device: "cpu" or "cuda".
        report: called every `every` steps with the losses and the averaged network.

    Raises:
        InvalidInputError: no near-frontal picture to be taught from.
    """
    training = training or ResNetTraining()
    rng = np.random.default_rng(training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    names, person = np.unique(data.person, return_inverse=True)
    rendered = np.char.startswith(data.source, "turned-")
    clear = (np.abs(data.yaw) < training.frontal) & ~rendered
    if not clear.any():
        raise InvalidInputError(f"expected pictures within {training.frontal:g} degrees of yaw; got none")
    taught = np.zeros((len(person), DIMENSION), dtype=np.float32)
    taught[clear] = embed(start, data.photo[clear])
    taught[clear] /= np.linalg.norm(taught[clear], axis=1, keepdims=True)
    mean = np.zeros((len(names), DIMENSION), dtype=np.float32)
    np.add.at(mean, person[clear], taught[clear])
    has_mean = np.linalg.norm(mean, axis=1) > 0
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    # Every person as often as the root of their number of pictures; real profiles are rare, and what this is for.
    weight = 1.0 / np.sqrt(np.bincount(person)[person])
    weight = weight * np.where((np.abs(data.yaw) > 35) & ~rendered, 2.0, 1.0)
    chance = weight / weight.sum()
    turned = np.flatnonzero(np.abs(data.yaw) > 35)
    network = FaceResNet()
    network.load_state_dict(start.state_dict())
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        fresh = F.normalize(torch.randn(len(names), DIMENSION), dim=1)
    classes = _Classes(torch.where(torch.from_numpy(has_mean)[:, None], torch.from_numpy(mean), fresh)).to(device)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *classes.parameters()], lr=training.rate, weight_decay=training.decay
    )
    step, spent = 0, 0.0
    if checkpoint is not None and checkpoint.exists():
        saved = load_checkpoint(checkpoint, training)
        network.load_state_dict(saved["network"])
        classes.load_state_dict(saved["classes"])
        optimizer.load_state_dict(saved["optimizer"])
        average = {name: value.to(device) for name, value in saved["average"].items()}
        step, spent = int(saved["step"]), float(saved["spent"])
        generator.set_state(saved["generator"])

    def averaged() -> FaceResNet:
        copy = FaceResNet()
        copy.load_state_dict({k: v.cpu() for k, v in average.items()})
        return copy.eval()

    started = last_saved = time.monotonic()
    totals: dict[str, float] = {}
    while step < training.steps:
        minutes = (spent + time.monotonic() - started) / 60
        done = max(step / training.steps, minutes / max_minutes if max_minutes else 0.0)
        if done >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = training.rate * min(1.0, (step + 1) / training.warm_up) * 0.5 * (1 + math.cos(math.pi * done))
        # A batch depends on seed and step alone, so a resumed training goes on as if it had not stopped.
        rng = np.random.default_rng([training.seed, step])
        pick = rng.choice(len(person), training.batch, p=chance)
        views = torch.from_numpy(np.stack([draw_view(data, int(row), turned, rng, training) for row in pick]))
        inputs = augment(views, generator).to(device).contiguous(memory_format=torch.channels_last)
        own = clear[pick] & (rng.random(training.batch) < training.own_share)
        target = torch.from_numpy(np.where(own[:, None], taught[pick], mean[person[pick]])).to(device)
        known = torch.from_numpy(own | has_mean[person[pick]]).to(device)
        label = torch.from_numpy(person[pick]).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            vectors = network(inputs)
        direction = F.normalize(vectors.float(), dim=1)
        cosine = direction @ F.normalize(classes.centres, dim=1).T
        cosine = cosine - training.margin * F.one_hot(label, len(names))
        softmax = F.cross_entropy(training.scale * cosine, label)
        distance = (1 - (direction * target).sum(dim=1)) * known
        teacher = distance.sum() / known.sum().clamp(min=1)
        loss = softmax + training.teacher_weight * teacher
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            keep = min(training.averaging, step / (10 + step))
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 1 - keep)
        for name, value in (("softmax", softmax), ("teacher", teacher)):
            totals[name] = totals.get(name, 0.0) + float(value.detach()) / every
        if step % every == 0:
            if report is not None:
                report(step, {**totals, "minutes": minutes, "done": done}, averaged())
            totals = {}
        if checkpoint is not None and time.monotonic() - last_saved > SAVE_EVERY:
            last_saved = time.monotonic()
            state = {
                "network": network.state_dict(),
                "classes": classes.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average,
                "step": step,
                "spent": spent + last_saved - started,
                "generator": generator.get_state(),
            }
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(checkpoint, training, state)
    return mixed(averaged(), start, training.start_share)


def mixed(trained: FaceResNet, start: FaceResNet, share: float) -> FaceResNet:
    """A network whose weights are `share` those of `start` and the rest those of `trained`."""
    theirs, mine = start.state_dict(), trained.state_dict()
    out = FaceResNet()
    out.load_state_dict({name: torch.lerp(mine[name], theirs[name].to(mine[name].dtype), share) for name in mine})
    return out.eval()
