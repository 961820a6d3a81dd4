"""The detector's weights and their record, written as they are shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facerec.landmarks.checkpoint import WeightRecord, save_weights
from facerec.landmarks.detection.detector_network import DetectorNetwork, detector_arrays
from facerec.landmarks.training.detector import DetectorTraining

CANDIDATE_SCORE = 0.45
"""Score from which on a shipped detector hands out candidates; the finder's rule decides which are faces."""

LICENCE = "research use only: trained on collections gathered for non-commercial research"


def export_detector(
    network: DetectorNetwork,
    threshold: float,
    settings: DetectorTraining,
    command: str,
    metric: dict[str, float | int | str] | None = None,
    sources: Sequence[str] = (),
    root: Path | None = None,
) -> WeightRecord:
    """Write the package's detector weights and their record.

    Args:
        network, threshold, settings: of the training.
        command: that makes the weights again.
        metric: figures of `benchmarks/detector.py`.
        sources: sets beside CFP and YouTube Faces.
        root: folder of the stages; the installed package by default.
    """
    return save_weights(
        "landmarks",
        "detector",
        detector_arrays(network, threshold),
        what="Finds faces from frontal to profile: boxes (of the 68 landmarks) and five points.",
        training_sets=("Celebrities in Frontal-Profile", "YouTube Faces", "background photographs", *sources),
        split=(
            "trained on CFP people 1-300 and YouTube Faces except every seventh name, none who is a held-out person of "
            "the other set; background photographs except every fifth; threshold from one in "
            f"{settings.calibration_every} of the training backgrounds, unseen by the training"
        ),
        metric=metric or {"score_threshold": round(threshold, 4)},
        licence=LICENCE,
        command=command,
        root=root,
    )
