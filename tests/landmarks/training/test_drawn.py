from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp_graph import GodpSettings
from facerec.landmarks.training.drawn import DrawnFaces, draw_faces
from facerec.landmarks.training.godp import FaceSource, TrainSettings, train_godp
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.resume import TrainingRun

Make = Callable[..., LandmarkPack]
TINY = TrainSettings(network=GodpSettings(width=0.03), samples=10, batch=2)


def test_faces_drawn_beforehand_are_those_that_a_training_draws(tmp_path: Path, make_pack: Make) -> None:
    packs = [(make_pack(6), 1.0)]
    draw_faces(packs, TINY, tmp_path, workers=2)
    ranges = GodpSettings(width=0.03, yaw_bins=2, yaw_edges=(-5.0,))
    for settings in (TINY, replace(TINY, network=ranges, samples=8)):
        source, drawn = FaceSource(packs, settings), DrawnFaces(tmp_path, settings)
        for step in range(4):
            expected, found = source.batch(step), drawn.batch(step)
            assert torch.equal(expected.roi, found.roi)
            for name in ("points", "annotated", "visible", "yaw_bin"):
                assert torch.equal(getattr(expected.targets, name), getattr(found.targets, name)), name


def test_a_training_from_drawn_faces_gives_the_same_weights(tmp_path: Path, make_pack: Make) -> None:
    packs = [(make_pack(6), 1.0)]
    settings = replace(TINY, samples=4)
    draw_faces(packs, settings, tmp_path / "faces", workers=1)
    one = train_godp(packs, settings, TrainingRun(tmp_path / "one"))
    other = train_godp(DrawnFaces(tmp_path / "faces", settings), settings, TrainingRun(tmp_path / "other"))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_drawn_faces_of_another_training_are_refused(tmp_path: Path, make_pack: Make) -> None:
    with pytest.raises(InvalidInputError, match="drawn beforehand"):
        DrawnFaces(tmp_path, TINY)
    draw_faces([(make_pack(3), 1.0)], TINY, tmp_path, workers=1)
    for settings in (replace(TINY, seed=1), replace(TINY, batch=5), replace(TINY, samples=12)):
        with pytest.raises(InvalidInputError, match="expected"):
            DrawnFaces(tmp_path, settings)


def test_a_process_that_fails_to_draw_is_reported_and_leaves_no_faces_to_train_from(
    tmp_path: Path, make_pack: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FaceSource, step: int) -> None:
        raise ValueError(step)

    monkeypatch.setattr(FaceSource, "faces", fail)
    with pytest.raises(RuntimeError, match="draws faces"):
        draw_faces([(make_pack(3), 1.0)], TINY, tmp_path, workers=1)
    with pytest.raises(InvalidInputError):
        DrawnFaces(tmp_path, TINY)


def test_evaluations_by_number_lie_evenly_over_the_steps_and_include_the_last(tmp_path: Path) -> None:
    run = TrainingRun(tmp_path, evaluations=4)
    assert [step for step in range(1, 11) if run.evaluation_due(step, 10, 1e9)] == [3, 5, 8, 10]
    by_clock = TrainingRun(tmp_path, evaluate_minutes=2.0)
    assert by_clock.evaluation_due(1, 10, 3.0)
    assert not by_clock.evaluation_due(10, 10, 1.0)
