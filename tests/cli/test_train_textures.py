"""`train dfd`: from a texture set to weights that the package can load, with their record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from facerec.cli.main import run
from facerec.landmarks.checkpoint import load_weights, weight_record
from facerec.recognition import dfd
from facerec.recognition.dfd import DFD
from facerec.recognition.training.texture_set import TextureSet


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 textures of 5 people: blocks of grey that are a person's, fine noise that is a picture's."""
    rng = np.random.default_rng(0)
    people = rng.integers(60, 200, (5, 64, 64))
    blocks = np.repeat(people, 4, axis=0).repeat(4, axis=1).repeat(4, axis=2)
    noise = rng.integers(-15, 16, (20, 256, 256))
    pixels = np.repeat((blocks + noise)[..., None], 3, axis=3).astype(np.uint8)
    names = np.repeat([f"person {k}" for k in range(5)], 4)
    sources = np.array((["ytf", "cfp-frontal", "cfp-frontal", "lfw"]) * 5)
    yaw = rng.uniform(-20, 20, 20).astype(np.float32)
    path = tmp_path_factory.mktemp("textures") / "set.npz"
    TextureSet(pixels, np.full((20, 256, 256), 220, np.uint8), names, sources, yaw).save(path)
    return path


def test_a_descriptor_is_trained_recorded_and_loaded(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["train", "dfd", str(made_up), "--words", "8", "--seed", "3", "--weights-root", str(tmp_path), "-q"]) == 0
    )
    assert capsys.readouterr().out.startswith("dfd.safetensors ")
    arrays = load_weights("recognition", "dfd", tmp_path)
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        **dict.fromkeys(("filters", "words", "mean", "projection"), "float16"),
        "settings": "float64",
    }
    monkeypatch.setattr(dfd, "load_weights", lambda folder, name: load_weights(folder, name, tmp_path))
    loaded = DFD.load.__wrapped__()
    assert loaded.settings.words == 8
    textures = TextureSet.load(made_up)
    described = [loaded.describe(textures.texture(row))[0] for row in (0, 1, 4)]
    same, other = (float((described[0] * described[k]).sum()) / 64 for k in (1, 2))
    assert same > other + 0.2
    record = weight_record("recognition", "dfd", tmp_path)
    assert record.training_sets == ("CFP", "YouTube Faces", "LFW")
    assert record.licence == "research use only: trained on CFP, YouTube Faces and LFW"
    assert record.command == "facerec train dfd set.npz --seed 3 --words 8"
    assert float(record.metric["fisher_ratio_mean"]) >= float(record.metric["fisher_ratio_least"]) > 0


def test_figures_that_are_no_figures_are_refused_before_the_training(
    made_up: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    for text in ("[1, 2]", "{", '{"auc": [1]}', "{}"):
        figures.write_text(text)
        assert run(["train", "dfd", str(made_up), "--metric-json", str(figures)]) == 2
        assert "figures.json" in capsys.readouterr().err


def test_given_figures_are_recorded(made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filters, words, mean, projection = (
        np.zeros(s, np.float32) for s in ((64, 121, 25), (64, 8, 25), (64, 8), (64, 8, 4))
    )
    learnt = DFD(filters, words, mean, projection, dfd.DFDSettings(words=8))

    def pretend(*arguments: object, **named: object) -> DFD:
        named["progress"](0, 1.5)  # type: ignore[operator]
        return learnt

    monkeypatch.setattr("facerec.recognition.training.dfd.train_dfd", pretend)
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps({"eer": 0.12, "set": "held-out people"}))
    arguments = ["train", "dfd", str(made_up), "--words", "8", "--metric-json", str(figures)]
    assert run([*arguments, "--weights-root", str(tmp_path), "-q"]) == 0
    assert weight_record("recognition", "dfd", tmp_path).metric == {"eer": 0.12, "set": "held-out people"}


def test_a_file_that_is_no_set_ends_with_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "other.npz", pixels=np.zeros(3))
    assert run(["train", "dfd", str(tmp_path / "other.npz")]) == 2
    assert "lacks" in capsys.readouterr().err
    assert run(["train", "texture-model", str(tmp_path / "other.npz")]) == 2
    assert "a set of crops" in capsys.readouterr().err
