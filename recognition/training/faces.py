"""Training faces in memory: crops and fits, their identities, and who is left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.training.batched_views import FitBatch
from facerec.recognition.training.crop_fits import CropFits, fits_path
from facerec.recognition.training.crop_set import CropSet


@dataclass(frozen=True, eq=False)
class Crops:
    """Square crops, decoded on a GPU or kept encoded and decoded when they are looked at.

    Attributes:
        sets: the encoded crops; place: (N, 2) int64, set and row of each crop.
        size: S, side that all are brought to, px.
        device: where they are looked at.
        decoded: (N, S, S, 3) uint8 on the device, or None.
    """

    sets: tuple[CropSet, ...]
    place: NDArray[np.int64]
    size: int
    device: torch.device
    decoded: Tensor | None = None

    def __len__(self) -> int:
        return len(self.place)

    def rows(self, at: NDArray[np.integer]) -> Crops:
        """The crops at the row numbers `at`."""
        decoded = self.decoded
        if decoded is not None:
            decoded = decoded[torch.from_numpy(at).to(self.device)]
        return replace(self, place=self.place[at], decoded=decoded)

    def decode(self, row: int) -> NDArray[np.uint8]:
        """(S, S, 3) uint8 RGB, crop number `row`."""
        which, at = self.place[row]
        crop = self.sets[which].crop(int(at))
        if crop.shape[0] != self.size:
            crop = np.asarray(cv2.resize(crop, (self.size, self.size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        return np.asarray(crop, dtype=np.uint8)

    def batch(self, rows: Tensor) -> Tensor:
        """(B, 3, S, S) float32 in [0, 1], the crops at `rows`."""
        if self.decoded is not None:
            chosen = self.decoded[rows]
        else:
            chosen = torch.from_numpy(np.stack([self.decode(row) for row in rows.tolist()])).to(self.device)
        return chosen.permute(0, 3, 1, 2).float() / 255

    def resident(self, threads: int) -> Crops:
        """The same crops, decoded onto the device by `threads`."""
        decoded = torch.empty(len(self), self.size, self.size, 3, dtype=torch.uint8, device=self.device)
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(self), 4096):
                part = list(pool.map(self.decode, range(start, min(len(self), start + 4096))))
                decoded[start : start + len(part)] = torch.from_numpy(np.stack(part)).to(self.device)
        return replace(self, decoded=decoded)


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces for training or for calibration.

    Attributes:
        crops: N crops.
        fit: their fits, in px of these crops, on the crops' device.
        person, source, group: (N,) unicode, as in `CropSet`.
        yaw: (N,) float32, degrees.
    """

    crops: Crops
    fit: FitBatch
    person: NDArray[np.str_]
    source: NDArray[np.str_]
    group: NDArray[np.str_]
    yaw: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.person)

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Faces:
        """The faces at `chosen`, a mask or row numbers."""
        at = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.intp)
        fit = self.fit.rows(torch.from_numpy(at).to(self.crops.device))
        return Faces(self.crops.rows(at), fit, self.person[at], self.source[at], self.group[at], self.yaw[at])

    def with_people(self, person: NDArray[np.str_]) -> Faces:
        """The same faces under other names."""
        return replace(self, person=person)


def load_faces(
    paths: Sequence[Path],
    device: str = "cpu",
    size: int = 192,
    threads: int = 2,
    sources: Collection[str] | None = None,
) -> Faces:
    """Read sets of crops that have fits beside them; faces whose fit cannot be trusted are left out.

    Args:
        paths: files of `CropSet`; their fits lie beside them (`fits_path`).
        device: where the crops are looked at; a GPU keeps them decoded.
        size: side that all crops are brought to, px.
        threads: decoders.
        sources: take these sources only.

    Raises:
        InvalidInputError: fits that do not belong to their crops, or no face is left.
    """
    sets: list[CropSet] = []
    places, fits, people = [], [], []
    for path in paths:
        encoded, found = CropSet.load(path), CropFits.load(fits_path(path))
        if len(encoded) != len(found.scale):
            raise InvalidInputError(f"expected {len(encoded)} fits for {path.name}; got {len(found.scale)}")
        keep = found.usable()
        if sources is not None:
            keep &= np.isin(encoded.source, list(sources))
        rows = np.flatnonzero(keep)
        if not len(rows):
            continue
        places.append(np.stack([np.full(len(rows), len(sets)), rows], axis=1))
        sets.append(encoded)
        zoom = size / encoded.crop(0).shape[0]
        fits.append(
            [
                found.shape[rows].astype(np.float32),
                found.expression[rows].astype(np.float32),
                found.rotation[rows],
                # Pixel centres: x' + 0.5 = zoom (x + 0.5).
                (found.translation[rows] + 0.5) * np.float32(zoom) - np.float32(0.5),
                found.scale[rows] * np.float32(zoom),
            ]
        )
        people.append([encoded.person[rows], encoded.source[rows], encoded.group[rows], found.yaw[rows]])
    if not sets:
        raise InvalidInputError("expected faces with fits that can be trusted; got none")
    fit = FitBatch(*(torch.from_numpy(np.concatenate(column)).to(device) for column in zip(*fits, strict=True)))
    person, source, group, yaw = (np.concatenate(column) for column in zip(*people, strict=True))
    crops = Crops(tuple(sets), np.concatenate(places), size, torch.device(device))
    if crops.device.type != "cpu":
        crops = crops.resident(threads)
    return Faces(crops, fit, person, source, group, yaw)


@dataclass(frozen=True)
class Cleaning:
    """What is done about wrong labels and about people who are in several sets.

    Attributes:
        odd: a picture whose vector has a smaller cosine with the mean of its person's other pictures is left out; the
            start network gives 1 % of CelebA's pictures less, most of them of somebody else or hardly visible.
        same: people of two sets whose mean vectors have a larger cosine are taken for one person.
        frontal: largest |yaw| of a picture that is judged, degrees.
    """

    odd: float = 0.15
    same: float = 0.8
    frontal: float = 40.0


def clean_people(
    faces: Faces, vectors: NDArray[np.float32], cleaning: Cleaning
) -> tuple[NDArray[np.bool_], NDArray[np.str_]]:
    """Which faces to keep, and their people with those joined who are in several sets under different names.

    Args:
        faces: all faces, people for calibration included: a person who is joined with one of them takes that name.
        vectors: (N, D) unit vectors of the photographs by the start network.
        cleaning: see there.

    Returns:
        (N,) bool; (N,) unicode.
    """
    names, label = np.unique(faces.person, return_inverse=True)
    clear = np.abs(faces.yaw) < cleaning.frontal
    total = np.zeros((len(names), vectors.shape[1]), dtype=np.float32)
    np.add.at(total, label[clear], vectors[clear])
    count = np.bincount(label[clear], minlength=len(names))
    others = total[label] - vectors
    agreement = (vectors * others).sum(1) / np.maximum(np.linalg.norm(others, axis=1), 1e-6)
    keep = ~clear | (count[label] < 3) | (agreement >= cleaning.odd)
    # Sets that name celebrities against CelebA, whose people have numbers.
    mean = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-6)
    numbered = np.char.startswith(names, "celeba ")
    named = ~numbered & ~np.char.startswith(names, "utkface ") & ~np.char.startswith(names, "all-age-faces ")
    left, right = np.flatnonzero(numbered & (count > 0)), np.flatnonzero(named & (count > 0))
    joined = names.astype(object).copy()
    if len(left) and len(right):
        cosine = mean[left] @ mean[right].T
        best = cosine.argmax(1)
        for k in np.flatnonzero(cosine.max(1) > cleaning.same):
            joined[left[k]] = names[right[best[k]]]
    return keep, joined[label].astype(str)
