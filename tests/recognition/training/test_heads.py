"""Training the linear layers that describe photographs on kept outputs of the convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facerec.frontalize.face_model import FaceModel
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.onnx_graph import graph_network
from facerec.recognition.resnet import FaceResNet, WithPhotoLayers, network_arrays, network_of, runner
from facerec.recognition.resnet_graph import for_photographs, resnet_graph, views_network, with_photo_head
from facerec.recognition.training import heads
from facerec.recognition.training.batched_views import BatchedViews
from facerec.recognition.training.faces import Faces, load_faces
from facerec.recognition.training.heads import HeadTraining, ViewFeatures, cached_features, head_vectors, train_head
from facerec.recognition.training.network_cells import photo_vectors
from facerec.recognition.views import FACE_FRAME

TRAINING = HeadTraining(looks=10, copies=2, shard=8, together=4, steps=30, batch=16, rate=1e-3, warm_up=1, margin=0.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def faces(face_set: Any) -> Faces:
    return load_faces([face_set(5, 2)], size=96)


@pytest.fixture(scope="module")
def network() -> FaceResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FaceResNet().eval()


@pytest.fixture(scope="module")
def views() -> BatchedViews:
    return BatchedViews(FaceModel.load(), FACE_FRAME, texels=64)


def kept(faces: Faces, network: FaceResNet, views: BatchedViews, folder: Path) -> tuple[ViewFeatures, ViewFeatures]:
    return cached_features(network, views, faces, folder, TRAINING)


def test_the_layers_behind_kept_features_give_the_networks_vectors(
    faces: Faces, network: FaceResNet, views: BatchedViews, tmp_path: Path
) -> None:
    photographs, looks = kept(faces, network, views, tmp_path / "run")
    assert photographs.rows.tolist() == list(range(len(faces)))
    assert len(looks) == 20  # ten looks, each twice
    expected = photo_vectors(network, views, faces)
    np.testing.assert_allclose(head_vectors(network, photographs), expected, atol=2e-3 * np.abs(expected).max())


def test_features_that_are_kept_are_not_computed_again(
    faces: Faces, network: FaceResNet, views: BatchedViews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kept(faces, network, views, tmp_path / "run")
    last = max((tmp_path / "run").glob("*.npz"), key=lambda file: int(file.stem.split("-")[-1]))
    last.unlink()
    computed: list[int] = []
    real = heads.features

    def counted(*arguments: Any) -> ViewFeatures:
        computed.append(len(arguments[2]))
        return real(*arguments)

    monkeypatch.setattr(heads, "features", counted)
    again = kept(faces, network, views, tmp_path / "run")
    assert sum(computed) == 4  # the last file's two looks, each twice
    for one, other in zip(first, again, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name))


def test_features_of_another_network_or_other_faces_are_not_taken(
    faces: Faces, network: FaceResNet, views: BatchedViews, tmp_path: Path
) -> None:
    photographs, _ = kept(faces, network, views, tmp_path / "run")
    changed = deepcopy(network)
    with torch.no_grad():
        changed.stem.weight.mul_(0.5)
    assert (kept(faces, changed, views, tmp_path / "run")[0].pooled != photographs.pooled).any()
    fewer = faces.rows(np.arange(len(faces) - 1))
    assert len(kept(fewer, network, views, tmp_path / "run")[0]) == len(faces) - 1


def test_training_changes_the_linear_layers_alone_and_lowers_the_loss(
    faces: Faces, network: FaceResNet, views: BatchedViews, tmp_path: Path
) -> None:
    photographs, looks = kept(faces, network, views, tmp_path / "run")
    losses: list[float] = []
    trained = train_head(
        network, faces, photographs, looks, TRAINING, lambda _, told: losses.append(told["softmax"]), every=1
    )
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    before, after = network.state_dict(), trained.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias", "places.weight"}
    again = train_head(network, faces, photographs, looks, TRAINING)
    assert all(torch.equal(after[name], value) for name, value in again.state_dict().items())


def test_faces_may_be_left_out(faces: Faces, network: FaceResNet, views: BatchedViews, tmp_path: Path) -> None:
    photographs, looks = kept(faces, network, views, tmp_path / "run")
    keep = np.arange(len(faces)) != 1
    own = photographs.of_faces(keep)
    assert own.rows.tolist() == list(range(len(faces) - 1))
    np.testing.assert_array_equal(own.pooled[1], photographs.pooled[2])
    assert len(looks.of_faces(keep)) == (looks.rows != 1).sum()
    with pytest.raises(InvalidInputError, match="every face's photograph"):
        train_head(network, faces, own, looks, TRAINING)


def test_a_weight_file_holds_the_layers_for_photographs_beside_the_others(network: FaceResNet) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        other = network_arrays(FaceResNet(), np.zeros(128))
    own = network_arrays(network, np.zeros(128))
    arrays = with_photo_head(own, other)
    np.testing.assert_array_equal(network_of(arrays).head.weight.detach().numpy(), own["head.weight"])
    photo = network_of(for_photographs(arrays))
    np.testing.assert_array_equal(photo.head.weight.detach().numpy(), other["head.weight"])
    assert photo.places is not None
    np.testing.assert_array_equal(photo.places.weight.detach().numpy(), other["places.weight"])
    np.testing.assert_array_equal(photo.stem.weight.detach().numpy(), own["stem.weight"])
    views = np.random.default_rng(0).integers(0, 256, (2, 150, 150, 3), dtype=np.uint8)
    expected = np.stack([views_network(runner(one))(views) for one in (network, photo)], axis=1)
    for engine in (graph_network(resnet_graph(arrays, photo=True)), runner(WithPhotoLayers(arrays))):
        np.testing.assert_allclose(views_network(engine)(views), expected, atol=1e-2 * np.abs(expected).max())
    assert all(
        for_photographs(own)[name] is value for name, value in own.items()
    )  # a file without them describes all views by the same layers
