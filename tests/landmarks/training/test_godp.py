import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp import Godp
from facerec.landmarks.godp_graph import Calibration, GodpSettings
from facerec.landmarks.godp_weights import godp_arrays, godp_from_arrays
from facerec.landmarks.landmarker import GodpLandmarker
from facerec.landmarks.training.augment import AugmentSettings
from facerec.landmarks.training.dsl import FAST_STAGES
from facerec.landmarks.training.godp import (
    Averaged,
    FaceSource,
    Progress,
    TrainSettings,
    stage_at,
    train_godp,
)
from facerec.landmarks.training.godp_baselines import build_network
from facerec.landmarks.training.godp_calibration import calibrate
from facerec.landmarks.training.godp_errors import plain_rois
from facerec.landmarks.training.landmark_weights import save_landmark_weights
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.resume import TrainingRun

Make = Callable[..., LandmarkPack]
CPU = torch.device("cpu")
TINY = TrainSettings(network=GodpSettings(width=0.03), samples=8, batch=2, learning_rate=5e-3)


@pytest.mark.slow
def test_training_sharpens_the_maps_of_faces_and_writes_its_curve(tmp_path: Path, make_pack: Make) -> None:
    settings = replace(TINY, samples=84, batch=3, augment=AugmentSettings(degrees=5, shift=0.02, occluders=0))
    losses: list[dict[str, torch.Tensor]] = []
    network = train_godp(
        [(make_pack(40), 1.0)], settings, TrainingRun(tmp_path), on_progress=lambda p: losses.append(p.losses)
    )
    assert not network.training
    first = next(step for step in losses if "refinement_2_spatial" in step)
    assert losses[-1]["refinement_2_spatial"] < first["refinement_2_spatial"] - 0.15
    assert losses[-1]["refinement_1_spatial"] < first["refinement_1_spatial"] - 0.15
    with (tmp_path / "curve.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert [row[0] for row in rows] == ["60"]
    assert any(cell.startswith("refinement_2=") for cell in rows[0])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path, make_pack: Make) -> None:
    packs = [(make_pack(6), 1.0)]
    runs = [
        train_godp(packs, replace(TINY, samples=2, seed=seed), TrainingRun(tmp_path / name))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, same, other = (run.state_dict()["g12.0.conv.weight"] for run in runs)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_an_interrupted_training_continues_where_it_was(tmp_path: Path, make_pack: Make) -> None:
    packs = [(make_pack(6), 1.0)]
    whole = train_godp(packs, TINY, TrainingRun(tmp_path / "whole"))

    class InterruptionError(Exception):
        pass

    def interrupt(progress: object) -> None:
        if getattr(progress, "samples") == 4:  # noqa: B009
            raise InterruptionError

    with pytest.raises(InterruptionError):
        train_godp(packs, TINY, TrainingRun(tmp_path / "cut", checkpoint_minutes=0.0), on_progress=interrupt)
    seen: list[int] = []
    resumed = train_godp(packs, TINY, TrainingRun(tmp_path / "cut"), on_progress=lambda p: seen.append(p.samples))
    assert seen == [6, 8]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_faces_drawn_by_other_processes_give_the_same_weights(tmp_path: Path, make_pack: Make) -> None:
    packs = [(make_pack(6), 1.0)]
    # OpenCV's own threads have run in this process: a fork must not wait for them.
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (0, 0), 5)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    thread, processes = (
        train_godp(packs, TINY, TrainingRun(tmp_path / name, loaders=loaders)).state_dict()
        for name, loaders in (("thread", 0), ("processes", 2))
    )
    assert all(torch.equal(tensor, processes[name]) for name, tensor in thread.items())
    assert torch.equal(torch.rand(3), expected)
    assert cv2.getNumThreads() == 4
    cv2.setNumThreads(before)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, make_pack: Make) -> None:
    packs = [(make_pack(4), 1.0)]
    train_godp(packs, replace(TINY, samples=2), TrainingRun(tmp_path))
    with pytest.raises(InvalidInputError, match="same settings"):
        train_godp(packs, replace(TINY, samples=2, seed=5), TrainingRun(tmp_path))


def test_training_leaves_the_global_random_state_alone(tmp_path: Path, make_pack: Make) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    train_godp([(make_pack(4), 1.0)], replace(TINY, samples=2), TrainingRun(tmp_path))
    assert torch.equal(torch.rand(3), expected)


def test_a_time_limit_ends_the_training_and_errors_are_reported(tmp_path: Path, make_pack: Make) -> None:
    reports: list[Progress] = []
    train_godp(
        [(make_pack(4), 1.0)],
        replace(TINY, samples=100_000),
        TrainingRun(tmp_path, max_minutes=0.02, evaluate_minutes=0.0),
        test=make_pack(2),
        on_progress=reports.append,
    )
    assert 0 < reports[-1].samples < 100_000
    assert reports[0].errors is not None
    assert set(reports[0].errors["drawn"]) == {"n", "nme_box", "nme_interocular"}
    assert (tmp_path / "errors.jsonl").exists()


def test_packs_are_drawn_by_weight_and_small_sets_are_not_lost(make_pack: Make) -> None:
    rows = make_pack(30)
    source = rows.source.copy()
    source[:3] = "few"
    images = np.where((source == "few")[:, None, None], np.uint8(255), np.uint8(100)) * np.ones((1, 192, 192), np.uint8)
    mixed = LandmarkPack(images, rows.points, rows.state, rows.yaw, source)
    other = LandmarkPack(np.zeros_like(images), rows.points, rows.state, rows.yaw, rows.source)
    settings = replace(TINY, batch=4)
    faces = FaceSource([(mixed, 3.0), (other, 1.0)], settings)
    assert faces._faces._shares.tolist() == pytest.approx(
        [0.75 * 27**0.5 / (27**0.5 + 3**0.5), 0.75 * 3**0.5 / (27**0.5 + 3**0.5), 0.25]
    )
    assert torch.equal(faces.batch(5).roi, faces.batch(5).roi)
    assert not torch.equal(faces.batch(5).roi, faces.batch(6).roi)


def test_yaw_bins_need_a_known_yaw(make_pack: Make) -> None:
    pack = make_pack(3)
    unknown = LandmarkPack(pack.images, pack.points, pack.state, np.full(3, np.nan, np.float32), pack.source)
    network = GodpSettings(width=0.03, yaw_bins=3, yaw_edges=(-30, 30))
    with pytest.raises(InvalidInputError, match="known yaw"):
        FaceSource([(unknown, 1.0)], replace(TINY, network=network))
    bins = FaceSource([(pack, 1.0)], replace(TINY, network=network)).batch(0).targets.yaw_bin
    assert set(bins.tolist()) == {1}


def test_stages_follow_the_progress() -> None:
    assert [stage_at(FAST_STAGES, p) for p in (0.0, 0.03, 0.05, 0.19, 0.21, 1.0)] == [0, 0, 1, 1, 2, 2]


def test_plain_rois_are_the_middle_of_the_pack(make_pack: Make) -> None:
    pack = make_pack(2)
    rois, points = plain_rois(pack, np.array([1]))
    assert np.array_equal(rois[0], pack.images[1, 16:176, 16:176])
    assert np.array_equal(points[0], pack.points[1] - 16)


def test_exported_weights_give_the_same_landmarker(tmp_path: Path, make_pack: Make) -> None:
    network = build_network(TINY.network, 0).eval()
    assert isinstance(network, Godp)
    packs = [(make_pack(4), 1.0)]
    calibration = calibrate(network, packs, TINY, device=CPU, batches=2)
    record = save_landmark_weights(
        "godp",
        godp_arrays(network, calibration),
        "a network",
        packs,
        errors={"drawn": {"n": 2.0, "nme_box": 0.5}},
        command="facerec train godp",
        root=tmp_path,
    )
    assert record.metric["drawn_nme_box"] == 0.5
    assert record.training_sets == ("drawn",)
    assert "drawn" in record.licence  # those of other sets than the package's own are not known here
    assert record.bytes < 2**20
    again, _, same = godp_from_arrays(godp_arrays(network, calibration))
    assert same == calibration
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, again.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_weights_of_another_network_are_refused() -> None:
    network = build_network(TINY.network, 0).eval()
    assert isinstance(network, Godp)
    arrays = godp_arrays(network, Calibration())
    with pytest.raises(InvalidInputError, match="settings"):
        godp_from_arrays({k: v for k, v in arrays.items() if k != "settings"})
    with pytest.raises(InvalidInputError, match="missing"):
        godp_from_arrays({k: v for k, v in arrays.items() if k != "g14.weight"})
    assert isinstance(GodpLandmarker.from_arrays(arrays), GodpLandmarker)


def test_the_averaged_network_is_the_warm_running_mean_of_weights_and_statistics() -> None:
    network = build_network(TINY.network, 0)
    averaged = Averaged(network, 0.998)
    name, counter = "g1.0.conv.weight", next(key for key in network.state_dict() if key.endswith("num_batches_tracked"))
    expected = network.state_dict()[name].clone()
    for step in (1, 2):
        for value in network.state_dict().values():
            value += step
        averaged.update(network)
        expected += (network.state_dict()[name] - expected) * (1 - (1 + step) / (10 + step))
    assert torch.allclose(averaged.network.state_dict()[name], expected)
    assert torch.equal(averaged.network.state_dict()[counter], network.state_dict()[counter])


def test_a_checkpoint_of_another_kind_of_device_is_continued(tmp_path: Path, make_pack: Make) -> None:
    packs = [(make_pack(6), 1.0)]
    train_godp(packs, TINY, TrainingRun(tmp_path, max_minutes=1e-9))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["generator"] = torch.zeros(16, dtype=torch.uint8)  # what a GPU's generator keeps
    torch.save(state, tmp_path / "checkpoint.pt")
    reports: list[Progress] = []
    train_godp(packs, TINY, TrainingRun(tmp_path), on_progress=reports.append)
    assert reports[-1].samples == TINY.samples
