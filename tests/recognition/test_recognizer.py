"""The path from photograph to signatures: order, reasons, and a contract that pins everything behind the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.landmarks import finder
from facerec.landmarks.detection.detectors import ChosenDetector
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.finder import FaceFinder, FinderRule
from facerec.landmarks.landmarker import Landmarker
from facerec.landmarks.types import Box, Landmarks
from facerec.recognition import recognizer
from facerec.recognition.descriptors import DESCRIPTORS
from facerec.recognition.recognizer import Contract, DescribedFace, Recognizer, UndescribedFace

CONTRACT = Contract("pretended", "pretended", (("landmarks/detector", "a" * 64), ("recognition/dfd", "b" * 64)))
PICTURE = np.full((400, 600, 3), 120, dtype=np.uint8)


def face_at(x: float, y: float, scale: float) -> np.ndarray:
    """(68, 2) the mean face's landmarks, frontal, centred on (x, y)."""
    points = Camera.from_angles(0, 0, 0, scale, (x, y)).project(FaceModel.load().landmarks())[:, :2]
    return points.astype(np.float32)


class PretendedDetector:
    """Finds the boxes it was given, best score first, as the real one does."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.boxes = sorted(boxes, key=lambda box: -box.score)

    def detect(self, image: np.ndarray) -> list[Box]:
        return self.boxes


class PretendedLandmarker:
    """Finds the given points by the left edge of their box."""

    def __init__(self, points: dict[float, np.ndarray]) -> None:
        self.points = points

    def locate(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Landmarks]:
        confidence, visible = np.full(68, 0.8, np.float32), np.ones(68, bool)
        return [Landmarks(self.points[box.x0], confidence, visible) for box in boxes]


class PretendedDescriptor:
    name, weights = "pretended", (("w", "0" * 64),)

    def __init__(self, blind: bool = False) -> None:
        self.blind = blind
        self.described: list[FaceTexture] = []

    def describe(self, image: np.ndarray, fitted: FittedFace, texture: FaceTexture) -> tuple[np.ndarray, np.ndarray]:
        self.described.append(texture)
        visible = np.array([not self.blind, False, not self.blind])
        return np.eye(3, 4, dtype=np.float32) * visible[:, None], visible


def pretended(faces: Sequence[tuple[Box, np.ndarray]], descriptor: PretendedDescriptor | None = None) -> Recognizer:
    detector = PretendedDetector([box for box, _ in faces])
    landmarker = PretendedLandmarker({box.x0: points for box, points in faces})
    found_by = FaceFinder(detector, landmarker, FinderRule(0.0, 0.0, 0.0))
    return Recognizer(found_by, FaceModel.load(), descriptor or PretendedDescriptor(), CONTRACT)  # type: ignore[arg-type]


def boxed(points: np.ndarray, score: float) -> tuple[Box, np.ndarray]:
    return Box.around(points, score), points


def test_the_largest_face_comes_first_whatever_the_detectors_scores() -> None:
    small, large, middle = face_at(80, 200, 0.5), face_at(450, 200, 1.2), face_at(230, 200, 0.8)
    found = pretended([boxed(small, 0.9), boxed(large, 0.5), boxed(middle, 0.7)]).describe(PICTURE)
    assert all(isinstance(face, DescribedFace) for face in found)
    widths = [face.face.box.width for face in found if isinstance(face, DescribedFace)]
    assert widths == sorted(widths, reverse=True)
    # Each face has its own landmarks, not its neighbour's.
    for face, points in zip(found, (large, middle, small), strict=True):
        assert isinstance(face, DescribedFace)
        np.testing.assert_array_equal(face.face.landmarks.points, points)
        np.testing.assert_allclose(face.fitted.points, points, atol=1.5)


def test_a_described_face_carries_everything_on_the_way() -> None:
    (face,) = pretended([boxed(face_at(300, 200, 1.0), 0.9)]).describe(PICTURE)
    assert isinstance(face, DescribedFace)
    assert face.face.image is PICTURE
    assert face.texture.pixels.shape == (256, 256, 3)
    assert face.signature.contract == CONTRACT.digest
    np.testing.assert_array_equal(face.signature.visible, [True, False, True])
    assert face.quality == face.components.unified
    assert face.components.confidence == pytest.approx(0.8, rel=1e-6)
    assert set(face.timings_ms) == {"find", "fit", "lift", "describe"}
    assert min(face.timings_ms.values()) >= 0


def test_describing_a_photograph_leaves_the_other_cores_alone() -> None:
    """The fit's many small products would keep all threads of numpy's pool waiting actively."""

    def blas_threads() -> set[int]:
        return {int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen: list[set[int]] = []

    class Watching(PretendedLandmarker):
        def locate(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Landmarks]:
            seen.append(blas_threads())
            return super().locate(image, boxes)

    box, points = boxed(face_at(300, 200, 1.0), 0.9)
    found_by = FaceFinder(PretendedDetector([box]), Watching({box.x0: points}), FinderRule(0.0, 0.0, 0.0))
    described_by = Recognizer(found_by, FaceModel.load(), PretendedDescriptor(), CONTRACT)  # type: ignore[arg-type]
    with threadpool_limits(2, user_api="blas"):
        allowed = blas_threads()
        described_by.describe(PICTURE)
        assert blas_threads() == allowed
    assert seen
    assert all(threads == {1} for threads in seen)


def test_a_face_that_cannot_be_fitted_is_reported_with_its_reason_and_stops_nobody() -> None:
    scattered = np.random.default_rng(0).uniform([300, 50], [550, 350], (68, 2)).astype(np.float32)
    good, bad = boxed(face_at(120, 200, 0.8), 0.6), boxed(scattered, 0.9)
    found = pretended([good, bad]).describe(PICTURE)
    assert [type(face) for face in found] == [UndescribedFace, DescribedFace]
    (failed, _) = found
    assert isinstance(failed, UndescribedFace)
    assert failed.reason == "fit_unstable"
    assert failed.box.iou(bad[0]) == 1.0
    assert failed.detail


def test_a_face_of_which_no_cell_is_seen_is_reported_with_its_reason() -> None:
    (found,) = pretended([boxed(face_at(300, 200, 1.0), 0.9)], PretendedDescriptor(blind=True)).describe(PICTURE)
    assert isinstance(found, UndescribedFace)
    assert found.reason == "fit_unstable"
    assert "visible" in found.detail


def test_a_picture_without_faces_gives_none_and_one_that_is_no_picture_is_refused() -> None:
    assert pretended([]).describe(PICTURE) == []
    with pytest.raises(InvalidInputError, match=r"\(H, W, 3\)"):
        pretended([]).describe(PICTURE[..., 0])


def test_describing_keeps_no_state_between_pictures() -> None:
    descriptor = PretendedDescriptor()
    path = pretended([boxed(face_at(300, 200, 1.0), 0.9)], descriptor)
    # Patches of one colour would count as covered.
    first, second = np.random.default_rng(0).integers(0, 256, (2, *PICTURE.shape), dtype=np.uint8)
    for picture in (first, second, first):
        path.describe(picture)
    one, other, again = (texture.pixels for texture in descriptor.described)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_the_contracts_digest_changes_with_anything_that_shapes_a_signature() -> None:
    weights = list(CONTRACT.weights)
    changed = [
        replace(CONTRACT, descriptor="other"),
        replace(CONTRACT, landmarks="other"),
        replace(CONTRACT, texture=128),
        replace(CONTRACT, preprocessing=CONTRACT.preprocessing + 1),
        replace(CONTRACT, weights=tuple(weights[:1])),
    ]
    for k, (name, sha) in enumerate(weights):
        others = [*weights[:k], (name, sha[:-1] + "0"), *weights[k + 1 :]]
        changed.append(replace(CONTRACT, weights=tuple(others)))
    digests = {contract.digest for contract in changed}
    assert len(digests) == len(changed)
    assert CONTRACT.digest not in digests
    assert replace(CONTRACT).digest == CONTRACT.digest


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_a_loaded_recognizers_contract_names_every_weight_file_of_its_path(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sha = {"value": "0" * 64}
    asked: list[str] = []

    def record(folder: str, weight: str) -> SimpleNamespace:
        asked.append(f"{folder}/{weight}")
        return SimpleNamespace(sha256=sha["value"])

    monkeypatch.setattr(recognizer, "weight_record", record)
    described_by = (("recognition/w1", "a" * 64), ("net.onnx", "b" * 64))
    monkeypatch.setattr(
        recognizer, "load_descriptor", lambda chosen, device: SimpleNamespace(name=chosen, weights=described_by)
    )
    own = ChosenDetector(PretendedDetector([]), "facerec", (("landmarks/detector", "c" * 64),), candidates=True)
    other = ChosenDetector(PretendedDetector([]), "yunet:a.onnx", (("a.onnx", "d" * 64),), candidates=False)
    monkeypatch.setattr(recognizer, "load_detector", lambda chosen, device: own if chosen == "facerec" else other)
    monkeypatch.setattr(Landmarker, "load", staticmethod(lambda model, device, settings: PretendedLandmarker({})))
    monkeypatch.setattr(finder, "load_rule", lambda device: (FinderRule(0.0, 0.0, 0.0), None))
    one = Recognizer.load(landmarks="godp", descriptor=name).contract
    assert (one.descriptor, one.landmarks) == (name, "godp")
    wanted = {
        "landmarks/godp",
        "landmarks/finder",
        "frontalize/face_model",
        "frontalize/fit_verdict",
    }
    assert wanted == set(asked)
    assert {weight for weight, _ in one.weights} == wanted | {"landmarks/detector", "recognition/w1", "net.onnx"}
    plugged = Recognizer.load(landmarks="godp", descriptor=name, detector="yunet:b/a.onnx").contract
    # A detector that is plugged in is judged by no rule, so the rule's weights shape nothing.
    assert {weight for weight, _ in plugged.weights} == (wanted - {"landmarks/finder"}) | {
        "a.onnx",
        "recognition/w1",
        "net.onnx",
    }
    assert plugged.detector == "yunet:a.onnx"
    assert plugged.digest != one.digest
    sha["value"] = "1" * 64
    assert Recognizer.load(landmarks="godp", descriptor=name).contract.digest != one.digest
