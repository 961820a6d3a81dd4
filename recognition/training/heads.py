"""Training what describes photographs in the face network: linear layers of their own behind the same convolutions.

The convolutions take all the time. Their outputs for some ten thousand views are computed once and kept in files; the
two linear layers behind them (`FaceResNet.head` and `FaceResNet.places`) are then trained on these in minutes on one
core, with the loss of the whole network's training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.array_file import load_arrays, save_arrays
from facerec.landmarks.training.schedule import cosine_rate
from facerec.recognition.resnet import FaceResNet
from facerec.recognition.training.batched_views import BatchedViews
from facerec.recognition.training.faces import Faces
from facerec.recognition.training.looks import LookMaker, LookSettings, disturb, network_input_of
from facerec.recognition.training.resnet import (
    IdentityTraining,
    ResNetTraining,
    TeacherVectors,
    identity_loss,
    row_chances,
)
from facerec.recognition.views import FACE_FRAME


@dataclass(frozen=True)
class HeadTraining(IdentityTraining):
    """Settings of the training of linear layers.

    Attributes:
        looks: number of random views, each degraded `copies` times, beside every photograph as it is.
        shard: how many lie in a file; together: how many are made at a time.
        plain: chance of a photograph as it is to be drawn, relative to a degraded view's.
        views: which views are drawn.
    """

    steps: int = 500
    batch: int = 512
    rate: float = 5e-4
    warm_up: int = 60
    averaging: float = 0.995
    looks: int = 28_672
    copies: int = 3
    shard: int = 2048
    together: int = 128
    plain: float = 0.33
    views: LookSettings = field(default_factory=lambda: LookSettings(photo=0.65))


@dataclass(frozen=True, eq=False)
class ViewFeatures:
    """What a network's convolutions give for views.

    Attributes:
        rows: (N,) int64, the face of each view.
        places: (N, 4096) float16, the last map but one.
        pooled: (N, 256) float16, the means of the last map.
    """

    rows: NDArray[np.int64]
    places: NDArray[np.float16]
    pooled: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.rows)

    def of_faces(self, keep: NDArray[np.bool_]) -> ViewFeatures:
        """The views of the faces in `keep`, a mask over all faces, whose rows are counted among these alone."""
        at = keep[self.rows]
        rows = (np.cumsum(keep) - 1)[self.rows[at]]
        return ViewFeatures(rows.astype(np.int64), self.places[at], self.pooled[at])

    @staticmethod
    def joined(parts: Sequence[ViewFeatures]) -> ViewFeatures:
        """The views of several parts, in their order."""
        return ViewFeatures(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "places", "pooled"))
        )


def features(network: FaceResNet, looks: Tensor, rows: NDArray[np.int64]) -> ViewFeatures:
    """Of views (B, 3, S, S) in [0, 1] of the faces `rows`."""
    with torch.inference_mode():
        shown = network_input_of(looks).contiguous(memory_format=torch.channels_last)
        places, pooled = (part.cpu().numpy().astype(np.float16) for part in network.features(shown))
    return ViewFeatures(rows, places, pooled)


def cached_features(
    network: FaceResNet,
    views: BatchedViews,
    faces: Faces,
    folder: Path,
    training: HeadTraining | None = None,
    report: Callable[[int, int], None] | None = None,
) -> tuple[ViewFeatures, ViewFeatures]:
    """The features of all photographs as they are, and those of random degraded views.

    Args:
        folder: where they are kept, a file per shard of views. What is there already of this network, these faces and
            settings is read, so an interrupted run goes on.
        report: called with the number of files made or read and of all files.
    """
    training = training or HeadTraining()
    shard = training.shard
    plain = [np.arange(start, min(len(faces), start + shard)) for start in range(0, len(faces), shard)]
    drawn = [min(shard, training.looks - start) for start in range(0, training.looks, shard)]
    shards = [
        *(_photographs(views, faces, rows, training.together) for rows in plain),
        *(_looks(views, faces, count, number, training) for number, count in enumerate(drawn)),
    ]
    key = _key(network, faces, training)
    found = []
    for number, shown in enumerate(shards):
        found.append(_kept(network, shown, folder / f"features-{key}-{number}.npz"))
        if report is not None:
            report(number + 1, len(shards))
    none = ViewFeatures(np.zeros(0, np.int64), found[0].places[:0], found[0].pooled[:0])
    return ViewFeatures.joined(found[: len(plain)]), ViewFeatures.joined([none, *found[len(plain) :]])


def _key(network: FaceResNet, faces: Faces, training: HeadTraining) -> str:
    """A digest of everything that features depend on."""
    digest = hashlib.sha256(repr((training.looks, training.copies, training.shard, training.together)).encode())
    digest.update(repr((training.views, training.disturbance, training.seed)).encode())
    for value in network.state_dict().values():
        digest.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
    for names in (faces.person, faces.source):
        digest.update("\n".join(names.tolist()).encode())
    digest.update(np.ascontiguousarray(faces.fit.translation.cpu().numpy()).tobytes())
    return digest.hexdigest()[:16]


def _kept(network: FaceResNet, shown: Iterable[tuple[NDArray[np.int64], Tensor]], file: Path) -> ViewFeatures:
    """The features in `file`, which is written first when it is not there."""
    if not file.exists():
        temporary = file.with_name(f"{file.stem}.tmp.npz")
        save_arrays(temporary, ViewFeatures.joined([features(network, looks, rows) for rows, looks in shown]))
        temporary.replace(file)
    return load_arrays(file, ViewFeatures, "features of views")


def _photographs(
    views: BatchedViews, faces: Faces, rows: NDArray[np.int64], together: int
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    for start in range(0, len(rows), together):
        own = rows[start : start + together]
        at = torch.from_numpy(own).to(views.device)
        with torch.inference_mode():
            yield own, views.photo(faces.crops.batch(at), faces.fit.rows(at))


def _looks(
    views: BatchedViews, faces: Faces, count: int, number: int, training: HeadTraining
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Views that depend on the seed and the shard's number alone."""
    rng = np.random.default_rng([training.seed, number])
    generator = torch.Generator(device=views.device).manual_seed(int(rng.integers(2**31)))
    maker = LookMaker(views, training.views, generator)
    chance = row_chances(faces, ResNetTraining())
    for start in range(0, count, training.together):
        rows = rng.choice(len(faces), min(training.together, count - start), p=chance)
        with torch.inference_mode():
            looks, _ = maker.draw(faces, torch.from_numpy(rows).to(views.device))
            for _ in range(training.copies):
                yield rows, disturb(looks.clone(), FACE_FRAME.neutral, training.disturbance, generator)


def head_vectors(network: FaceResNet, seen: ViewFeatures, batch: int = 4096) -> NDArray[np.float32]:
    """(N, D) what the linear layers of `network` give for its features, not normalised."""
    out = []
    with torch.inference_mode():
        for start in range(0, len(seen), batch):
            out.append(_described(network, seen, np.arange(start, min(len(seen), start + batch))).cpu())
    return np.asarray(torch.cat(out).numpy(), dtype=np.float32)


def _described(network: FaceResNet, seen: ViewFeatures, at: NDArray[np.int64]) -> Tensor:
    device = network.head.weight.device
    places, pooled = (torch.from_numpy(part[at]).to(device).float() for part in (seen.places, seen.pooled))
    return network.described(places, pooled)


def train_head(
    network: FaceResNet,
    faces: Faces,
    photographs: ViewFeatures,
    looks: ViewFeatures,
    training: HeadTraining | None = None,
    report: Callable[[int, dict[str, float]], None] | None = None,
    every: int = 50,
) -> FaceResNet:
    """A copy of `network` whose linear layers were trained on features of its views.

    Args:
        network: with `places`.
        faces: under the names to learn.
        photographs: the features of every face's photograph as it is, in their order.
        looks: those of degraded views.
        training: see there.
        report: called every `every` steps with the losses.

    Raises:
        InvalidInputError: a network without `places`, or features of other photographs than those of `faces`.
    """
    training = training or HeadTraining()
    if network.places is None or not np.array_equal(photographs.rows, np.arange(len(faces))):
        raise InvalidInputError("expected a network with places and the features of every face's photograph")
    teacher = TeacherVectors.of(head_vectors(network, photographs), faces, training.frontal)
    device = network.head.weight.device
    teacher = replace(teacher, **{name: value.to(device) for name, value in vars(teacher).items()})
    trained = deepcopy(network).requires_grad_(False)
    assert trained.places is not None
    layers = [*trained.head.parameters(), *trained.places.parameters()]
    for layer in layers:
        layer.requires_grad_(True)
    average = [layer.detach().clone() for layer in layers]
    centres = nn.Parameter(teacher.mean.clone())
    groups = [
        {"params": layers, "top": training.rate},
        {"params": [centres], "top": training.class_rate, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=training.rate, weight_decay=training.decay)
    shown = ViewFeatures.joined([photographs, looks])
    chance = np.where(np.arange(len(shown)) < len(photographs), training.plain, 1.0)
    chance /= chance.sum()
    rng = np.random.default_rng(training.seed)
    generator = torch.Generator(device=device).manual_seed(training.seed)
    totals = torch.zeros(3, device=device)
    for step in range(training.steps):
        rate = cosine_rate(step / training.steps, training.warm_up / training.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["top"] * rate
        at = rng.choice(len(shown), training.batch, p=chance)
        rows = torch.from_numpy(shown.rows[at]).to(device)
        vectors = _described(trained, shown, at)
        loss, told = identity_loss(vectors, centres, rows, teacher.draw(rows, generator), teacher, training)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(layers, 5.0)
        optimizer.step()
        with torch.no_grad():
            keep = min(training.averaging, (step + 1) / (11 + step))
            torch._foreach_lerp_(average, [layer.detach() for layer in layers], 1 - keep)
        totals += told / every
        if (step + 1) % every == 0:
            if report is not None:
                report(step + 1, dict(zip(("softmax", "teacher", "right"), totals.tolist(), strict=True)))
            totals.zero_()
    with torch.no_grad():
        for layer, mean in zip(layers, average, strict=True):
            layer.copy_(mean)
    return trained.requires_grad_(False).eval()
