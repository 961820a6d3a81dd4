"""From a trained GoDP network to the package's weights: its calibration and its record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from facerec.landmarks.checkpoint import WeightRecord, save_weights
from facerec.landmarks.crop import ROI_SIZE
from facerec.landmarks.godp import Godp
from facerec.landmarks.godp_graph import SCORE_STRIDES, Calibration
from facerec.landmarks.godp_weights import godp_arrays
from facerec.landmarks.heatmaps import decode, fit_logistic, landmark_log_odds, peak_log_odds, peak_share_log_odds
from facerec.landmarks.training.godp import FaceSource, TrainSettings
from facerec.landmarks.training.packs import LandmarkPack


def calibrate(
    network: Godp,
    packs: Sequence[tuple[LandmarkPack, float]],
    settings: TrainSettings,
    *,
    device: torch.device,
    batches: int = 60,
) -> Calibration:
    """Fit the calibration on freshly augmented faces of the training packs.

    Needs hidden points among them (occluders make some in every set). Augmented faces are harder than plain ones, which
    balances that their people were trained on.
    """
    source = FaceSource(packs, settings)
    share, right, evidence, seen = [], [], [], []
    calibration = Calibration()
    stride = SCORE_STRIDES[-1]
    for number in range(batches):
        # Steps no training reaches, so no batch was trained on.
        batch = source.batch(2**31 + number)
        with torch.inference_mode():
            decisions = network(batch.roi.to(device).contiguous(memory_format=torch.channels_last))
        odds = landmark_log_odds(decisions.refinement_2, network.settings.landmarks)
        places = decode(odds)
        proposals = landmark_log_odds(decisions.proposal_2, network.settings.landmarks)
        known = batch.targets.annotated
        distance = (places.cpu() - batch.targets.on_map(stride)).norm(dim=2) * stride
        share.append(peak_share_log_odds(odds, places).cpu()[known])
        right.append((distance <= calibration.close * ROI_SIZE)[known])
        evidence.append(peak_log_odds(proposals, places).cpu()[known])
        seen.append(batch.targets.visible[known])
    return Calibration(
        fit_logistic(torch.cat(share), torch.cat(right)), fit_logistic(torch.cat(evidence), torch.cat(seen))
    )


def export_godp(
    network: Godp,
    calibration: Calibration,
    *,
    sources: Sequence[str],
    errors: dict[str, dict[str, float]],
    command: str,
    root: Path | None = None,
) -> WeightRecord:
    """Write `landmarks/weights/godp.safetensors` and its record.

    Args:
        network: the averaged network.
        calibration: of its confidence and visibility.
        sources: the training packs' sets.
        errors: `pack_errors` on held-out people, for the record.
        command: that makes the weights again.
        root: folder of the stages; the installed package by default.
    """
    metric = {f"{source}_{name}": round(value, 5) for source, found in errors.items() for name, value in found.items()}
    return save_weights(
        "landmarks",
        "godp",
        godp_arrays(network, calibration),
        what=f"GoDP landmark network, 68 points, {network.settings.width:g} of VGG-16's width",
        training_sets=sources,
        split="held out: CFP folds 07 and 08, every seventh YouTube Faces person, and their namesakes",
        metric=metric,
        licence="research use only: learnt from CFP and YouTube Faces",
        command=command,
        root=root,
    )
