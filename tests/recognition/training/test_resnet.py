"""Training the face network: the loss falls, an interrupted run continues, a seed repeats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facerec.frontalize.face_model import FaceModel
from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.resnet import FaceResNet, network_input
from facerec.recognition.training.batched_views import BatchedViews
from facerec.recognition.training.faces import Faces, load_faces
from facerec.recognition.training.looks import LookSettings
from facerec.recognition.training.network_cells import describe_faces, network_figures, photo_vectors
from facerec.recognition.training.resnet import (
    ResNetRun,
    ResNetTraining,
    TrainedNetworks,
    centre,
    mixed,
    row_chances,
    train_resnet,
)
from facerec.recognition.views import FACE_FRAME

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def faces(face_set: Any) -> Faces:
    return load_faces([face_set(6, 3)], size=96)


def network(seed: int = 0) -> FaceResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FaceResNet().eval()


def embed(net: FaceResNet) -> np.ndarray:
    views = np.random.default_rng(0).integers(0, 256, (2, 150, 150, 3), dtype=np.uint8)
    with torch.inference_mode():
        return np.asarray(net(network_input(views)).numpy())


def looked_at() -> BatchedViews:
    return BatchedViews(FaceModel.load(), FACE_FRAME, texels=64)


def test_training_lowers_the_loss_resumes_and_repeats(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network()
    monkeypatch.setattr("facerec.recognition.training.resnet.SAVE_EVERY", 0.0)
    training = ResNetTraining(steps=4, batch=6, rate=1e-3, warm_up=1, reuse=1, margin=0.0)
    losses: list[float] = []
    one = train_resnet(
        faces,
        net,
        training,
        ResNetRun(tmp_path / "a.pt"),
        report=lambda _, values, __: losses.append(values["softmax"]),
        every=1,
    )
    assert min(losses[1:]) < losses[0]
    assert (embed(one.frontal) != embed(net)).any()
    assert (embed(one.photo) != embed(one.frontal)).any()
    stopped: list[int] = []

    def stop(step: int, _: dict[str, float], __: TrainedNetworks) -> None:
        stopped.append(step)
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_resnet(faces, net, training, ResNetRun(tmp_path / "b.pt"), report=stop, every=1)
    # Taken up again after the last saved step, with the schedule of four: as if it had not stopped.
    resumed = train_resnet(faces, net, training, ResNetRun(tmp_path / "b.pt"))
    np.testing.assert_array_equal(embed(resumed.photo), embed(one.photo))
    with pytest.raises(InvalidInputError, match="same settings"):
        train_resnet(faces, net, replace(training, rate=2e-3), ResNetRun(tmp_path / "b.pt"))


def test_looks_may_be_shown_several_times(faces: Faces) -> None:
    net = network()
    training = ResNetTraining(steps=3, batch=6, warm_up=1, reuse=3)
    assert (embed(train_resnet(faces, net, training).frontal) != embed(net)).any()


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_layers_run_in_the_format_that_the_processor_is_fast_in(
    faces: Faces, monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype
) -> None:
    net = network()
    formats: list[torch.dtype] = []
    net.stem.register_forward_hook(lambda _module, _inputs, output: formats.append(output.dtype))
    monkeypatch.setenv("FACEREC_PRECISION", precision)
    train_resnet(faces, net, ResNetTraining(steps=1, batch=4, reuse=1))
    assert formats[-1] == dtype


def test_photographs_and_halves_have_layers_of_their_own_and_share_the_convolutions(faces: Faces) -> None:
    net = network()
    halves = ResNetTraining(steps=2, batch=6, warm_up=1, reuse=1, decay=0.0, looks=LookSettings(photo=0.0))
    trained = train_resnet(faces, net, halves)
    # No photograph was shown: the layers for them stay, behind convolutions that moved for both.
    torch.testing.assert_close(trained.photo.head.weight, net.head.weight)
    assert (trained.frontal.head.weight != net.head.weight).any()
    assert (trained.photo.stem.weight != net.stem.weight).any()
    torch.testing.assert_close(trained.photo.stem.weight, trained.frontal.stem.weight)


def test_a_training_goes_on_with_trained_networks_while_another_one_teaches(faces: Faces) -> None:
    teacher, trained = network(), network(1)
    training = ResNetTraining(steps=1, batch=6, rate=0.0, class_rate=0.0, warm_up=1, reuse=1, decay=0.0)
    losses: list[dict[str, float]] = []
    run = ResNetRun(trained=TrainedNetworks(trained, trained))
    result = train_resnet(faces, teacher, training, run, lambda _, values, __: losses.append(values), every=1)
    torch.testing.assert_close(result.frontal.head.weight, trained.head.weight)
    own: list[dict[str, float]] = []
    train_resnet(faces, trained, training, report=lambda _, values, __: own.append(values), every=1)
    assert losses[0]["softmax"] == pytest.approx(own[0]["softmax"], abs=1e-4)
    assert losses[0]["teacher"] > own[0]["teacher"] + 0.1


def test_sources_are_drawn_by_their_shares_and_profiles_more_often(faces: Faces) -> None:
    training = ResNetTraining(shares=(("cfp-frontal", 0.25), ("cfp-profile", 0.75)))
    chance = row_chances(faces, training)
    assert chance.sum() == pytest.approx(1)
    assert chance[faces.source == "cfp-profile"].sum() == pytest.approx(0.75)


def test_centring_subtracts_what_all_faces_share(faces: Faces) -> None:
    net, views = network(), looked_at()
    before = photo_vectors(net, views, faces)
    clear = np.abs(faces.yaw) < 30
    mean = centre(net, before, clear)
    np.testing.assert_allclose(mean, before[clear].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(photo_vectors(net, views, faces)[clear].mean(axis=0), 0, atol=1e-4)
    with pytest.raises(InvalidInputError, match="near-frontal faces"):
        centre(net, before, np.zeros_like(clear))


def test_cells_have_unit_length_where_enough_was_seen(faces: Faces) -> None:
    cells, known = describe_faces(network(), looked_at(), faces, 0.35)
    np.testing.assert_allclose(np.linalg.norm(cells, axis=2), known.astype(float), atol=1e-4)
    profile = faces.source == "cfp-profile"
    assert known[:, 0].all()
    assert (known[profile, 1:].sum(axis=1) == 1).all()
    figures = network_figures(network(), looked_at(), faces)
    assert {"fp_rank1", "ff_auc"} <= set(figures)
    assert all(0 <= value <= 1 for value in figures.values())


def test_a_second_network_has_a_cell_of_the_photograph_of_its_own(faces: Faces) -> None:
    one, other = network(0), network(1)
    alone, seen = describe_faces(one, looked_at(), faces, 0.35)
    both, known = describe_faces(one, looked_at(), faces, 0.35, photo=[one, other])
    np.testing.assert_allclose(both[:, [0, 2, 3]], alone, atol=1e-5)
    np.testing.assert_array_equal(known[:, [0, 2, 3]], seen)
    np.testing.assert_allclose(both[:, 1], describe_faces(other, looked_at(), faces, 0.35)[0][:, 0], atol=1e-5)
    assert known[:, 1].all()


def test_mixed_weights_lie_between_two_networks() -> None:
    one, other = network(0), network(1)
    half = mixed(one, other, 0.25).stem.weight
    torch.testing.assert_close(half, 0.75 * one.stem.weight + 0.25 * other.stem.weight)
    np.testing.assert_allclose(embed(mixed(one, other, 0.0)), embed(one), atol=1e-6)
