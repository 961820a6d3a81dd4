"""The adapters of benchmarks/peers: vectors of any network become the score files that our own systems write."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facerec.evaluation.protocols.recognition import Identification, PairSet, Picture, RecognitionProtocol
from facerec.evaluation.score_set import identification_scores, pair_scores
from facerec.evaluation.signatures import PictureResult
from facerec.recognition.signature import Signature


def script(name: str) -> ModuleType:
    """The module of a benchmark; benchmarks are scripts, so it is loaded by its path."""
    path = Path(__file__).parents[2] / "benchmarks" / "peers" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"peers_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up() -> tuple[RecognitionProtocol, np.ndarray]:
    rng = np.random.default_rng(0)
    people = [f"p{i % 5}" for i in range(15)]
    pictures = tuple(Picture(Path(f"{i}.jpg"), f"{i}.jpg", person) for i, person in enumerate(people))
    vectors = rng.normal(size=(5, 8))[np.arange(15) % 5] + 0.5 * rng.normal(size=(15, 8))
    vectors[[3, 7]] = np.nan  # one of the gallery and one probe
    pairs = PairSet("pairs", (0, 1, 7, 2), (5, 7, 8, 9), (True, False, False, False), ("all",) * 4)
    search = Identification("all", tuple(range(4)), (5, 6, 7, 8, 10, 11, 13), (9, 14))
    return RecognitionProtocol("csv", pictures, (search,), (pairs,)), vectors


def test_a_network_s_vectors_give_the_scores_that_the_same_signatures_do() -> None:
    protocol, vectors = made_up()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    results = [
        PictureResult(None, 0, "no_face", "made up")
        if np.isnan(one).any()
        else PictureResult(Signature(one[None].astype(np.float32), np.ones(1, dtype=bool), "c"), 1, None, "")
        for one in unit
    ]
    searched, paired = script("protocol").protocol_scores(protocol, vectors, "cosine")
    names = ["p0", "p1", "p2", "p3"]
    expected = identification_scores(
        protocol.pictures, protocol.identifications[0], results, names, np.full((9, 4), np.nan)
    )
    assert (searched.probes, searched.references) == (expected.probes, expected.references)
    for row, probe in enumerate((5, 6, 7, 8, 10, 11, 13, 9, 14)):
        for column in range(4):
            one, other = results[probe].signature, results[column].signature
            score = np.nan if one is None or other is None else one.score(other)[0]
            np.testing.assert_allclose(searched.scores.reshape(9, 4)[row, column], score, atol=1e-6)
    scores = np.array([unit[a] @ unit[b] for a, b in ((0, 5), (1, 7), (7, 8), (2, 9))])
    expected = pair_scores(protocol.pictures, protocol.pairs[0], results, scores)
    assert (paired.probes, paired.references) == (expected.probes, expected.references)
    np.testing.assert_allclose(paired.scores, scores)


def test_a_distance_ranks_as_the_distance_does() -> None:
    protocol, vectors = made_up()
    _, paired = script("protocol").protocol_scores(protocol, vectors, "distance")
    far = [np.linalg.norm(vectors[a] - vectors[b]) for a, b in ((0, 5), (1, 7), (7, 8), (2, 9))]
    np.testing.assert_allclose(paired.scores, -np.array(far))


@pytest.mark.parametrize("align", ["arcface", "eyes"])
def test_a_face_of_any_size_and_roll_has_its_eyes_in_one_place(align: str) -> None:
    module = script("onnx_vectors")
    rng = np.random.default_rng(1)
    shape = np.zeros((68, 2))
    shape[36:42], shape[42:48] = (30, 40), (70, 40)
    shape[30], shape[48], shape[54] = (50, 60), (35, 80), (65, 80)
    image = rng.integers(0, 255, (100, 100, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    upright = module.aligned(image, 4 * shape + 1.5, 56, align)
    turned = np.ascontiguousarray(np.rot90(image, -1))  # clockwise
    points = np.stack([399 - (4 * shape[:, 1] + 1.5), 4 * shape[:, 0] + 1.5], axis=1)
    again = module.aligned(turned, points, 56, align)
    assert np.abs(upright.astype(int) - again).mean() < 3
