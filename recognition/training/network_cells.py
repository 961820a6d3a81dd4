"""What face networks give for faces of training sets: vectors of photographs, a descriptor's cells, figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from facerec.frontalize.face_model import FaceModel
from facerec.recognition.resnet import FaceResNet
from facerec.recognition.training.batched_views import BatchedViews
from facerec.recognition.training.faces import Faces
from facerec.recognition.training.figures import (
    frontal_profile_figures,
    group_figures,
    pair_figures,
    person_groups,
)
from facerec.recognition.training.looks import network_input_of
from facerec.recognition.views import FACE_FRAME


def views_on(device: str | torch.device) -> BatchedViews:
    """The views of the package's own network, made on `device`."""
    return BatchedViews(FaceModel.load(), FACE_FRAME, device)


def photo_vectors(network: FaceResNet, views: BatchedViews, faces: Faces, batch: int = 256) -> NDArray[np.float32]:
    """(N, D) vectors, not normalised, of the photographs."""
    out = []
    with torch.inference_mode():
        for start in range(0, len(faces), batch):
            rows = torch.arange(start, min(len(faces), start + batch), device=faces.crops.device)
            crops = faces.crops.batch(rows)
            out.append(network(view_input(views.photo(crops, faces.fit.rows(rows)))).float().cpu())
    return np.asarray(torch.cat(out).numpy(), dtype=np.float32)


def view_input(looks: Tensor) -> Tensor:
    """Views (B, 3, S, S) in [0, 1] as the network's input."""
    return network_input_of(looks).contiguous(memory_format=torch.channels_last)


def describe_faces(
    network: FaceResNet,
    views: BatchedViews,
    faces: Faces,
    min_seen: float,
    batch: int = 128,
    photo: Sequence[FaceResNet] = (),
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cells (N, 3, D) of unit length (photograph and its mirror image, left half, right half) and which were seen.

    With networks for the `photo`, a cell by each of them, as the descriptor has them: (N, 4, D) by two.
    """
    cells, known = [], []
    with torch.inference_mode():
        for start in range(0, len(faces), batch):
            rows = torch.arange(start, min(len(faces), start + batch), device=faces.crops.device)
            crops = faces.crops.batch(rows)
            fit = faces.fit.rows(rows)
            picture = views.photo(crops, fit)
            geometry = views.geometry(fit.shape, fit.expression)
            pixels, seen = views.frontal(*views.lift(crops, fit, views.surface(geometry, fit.rotation)))
            side = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
            both_ways = view_input(torch.cat([picture, picture.flip(3)]))
            halves = view_input(torch.cat([views.half(pixels, seen, side), views.half(pixels, seen, ~side)]))
            own = []
            for one in photo or (network,):
                vectors = F.normalize(one(both_ways).float().view(2, len(rows), -1), dim=2)
                own.append(F.normalize(vectors.sum(dim=0), dim=1))
            own += F.normalize(network(halves).float().view(2, len(rows), -1), dim=2).unbind()
            shares = views.shares(seen) >= min_seen
            usable = torch.cat([shares.new_ones(len(rows), len(own) - 2), shares], dim=1)
            cells.append((torch.stack(own, dim=1) * usable[..., None]).cpu().numpy())
            known.append(usable.cpu().numpy())
    return np.concatenate(cells), np.concatenate(known)


def network_figures(
    network: FaceResNet, views: BatchedViews, judged: Faces, min_seen: float = 0.35, photo: Sequence[FaceResNet] = ()
) -> dict[str, float]:
    """Figures of a network on people it was not trained on, those of each kind that `judged` holds enough of.

    `photo`: see `describe_faces`.
    """
    if not len(judged):
        return {}
    network = network.to(views.device).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    cells, known = describe_faces(network, views, judged, min_seen, photo=photo)
    out: dict[str, float] = {}
    cfp = np.char.startswith(judged.source, "cfp")
    if len(set(judged.person[cfp].tolist())) >= 6 and (judged.source == "cfp-profile").any():
        out |= frontal_profile_figures(cells[cfp], known[cfp], judged.person[cfp], judged.source[cfp])
    several = judged.source == "celeba"
    if several.sum() > 200:
        out |= pair_figures(cells[several], known[several], judged.person[several])
    group = person_groups(judged.person, judged.group)
    if (np.char.startswith(group, "white")).sum() > 40:
        out |= group_figures(cells, known, group, "white")
    return out
