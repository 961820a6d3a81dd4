"""The calibration of a trained GoDP network: how its scores become confidence and visibility."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from facerec.landmarks.crop import ROI_SIZE
from facerec.landmarks.godp import Godp
from facerec.landmarks.godp_graph import SCORE_STRIDES, Calibration
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
