from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.evaluation.fits import FitCache, fit_picture, open_picture
from facerec.evaluation.protocols.recognition import Picture
from facerec.evaluation.signatures import (
    PictureResult,
    SignatureCache,
    describe_in_threads,
    describe_pictures,
    describe_systems,
)
from facerec.landmarks.errors import ContractError, UnusablePhotoError
from facerec.landmarks.image import read_image, write_image
from facerec.landmarks.types import Box
from facerec.recognition.recognizer import UndescribedFace

FINE, NO_FACE, UNSTABLE, HALF, PLAIN = range(5)


def cells_of(one: PictureResult) -> np.ndarray:
    assert one.signature is not None
    return one.signature.cells


@pytest.fixture
def pictures(tmp_path: Path, write_picture: Any) -> list[Picture]:
    fates = [FINE, NO_FACE, UNSTABLE, HALF]
    paths = [write_picture(tmp_path / f"{i}.png", i + 1, 1, fate) for i, fate in enumerate(fates)]
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    return [Picture(path, path.name, path.stem) for path in (*paths, text)]


def test_every_picture_has_a_signature_or_a_reason(pictures: Any, recognizer: Any) -> None:
    run = describe_pictures(pictures, recognizer)
    assert [result.reason for result in run.results] == [None, "no_face", "fit_unstable", None, "unreadable"]
    assert [result.signature is not None for result in run.results] == [True, False, False, True, False]
    assert [result.found for result in run.results] == [True, False, True, True, False]
    assert run.results[0].yaw == pytest.approx(10.0)
    assert run.computed == 5
    assert all(result.seconds >= 0 for result in run.results)


def test_a_second_run_reads_everything_from_the_cache(pictures: Any, recognizer: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = describe_pictures(pictures, recognizer, cache)
    calls = recognizer.calls
    second = describe_pictures(pictures, recognizer, cache)
    assert recognizer.calls == calls
    assert second.computed == 0
    for a, b in zip(first.results, second.results, strict=True):
        assert (a.reason, a.detail, a.faces, a.yaw, a.box, a.seconds, a.timings_ms, a.quality) == (
            b.reason,
            b.detail,
            b.faces,
            b.yaw,
            b.box,
            b.seconds,
            b.timings_ms,
            b.quality,
        )
        assert (a.signature is None) == (b.signature is None)
        if a.signature is not None and b.signature is not None:
            np.testing.assert_array_equal(cells_of(a), cells_of(b))
            np.testing.assert_array_equal(a.signature.visible, b.signature.visible)
            assert a.signature.contract == b.signature.contract


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_give_what_one_after_the_other_gives(
    pictures: Any, recognizer: Any, tmp_path: Path, workers: int
) -> None:
    plain = describe_systems(pictures * 4, {"one": recognizer})["one"]
    advanced: list[int] = []
    with describe_in_threads({"one": recognizer}, workers) as describe_tasks:
        run = describe_systems(pictures * 4, {"one": recognizer}, tmp_path / "cache", advanced.append, describe_tasks)[
            "one"
        ]
    assert sum(advanced) == 20
    assert run.digests == plain.digests
    for a, b in zip(run.results, plain.results, strict=True):
        assert (a.reason, a.box, a.yaw, a.faces) == (b.reason, b.box, b.yaw, b.faces)
        if a.signature is not None:
            np.testing.assert_array_equal(cells_of(a), cells_of(b))


def test_a_fault_in_a_thread_ends_the_run(pictures: Any, recognizer: Any) -> None:
    def broken(image: Any) -> None:
        raise ZeroDivisionError

    recognizer.fit = broken
    with pytest.raises(ZeroDivisionError), describe_in_threads({"one": recognizer}, 2) as describe_tasks:
        describe_systems(pictures, {"one": recognizer}, describe_tasks=describe_tasks)


def test_an_interrupted_run_continues_where_it_stopped(pictures: Any, recognizer: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    describe_pictures(pictures[:2], recognizer, cache)
    assert describe_pictures(pictures, recognizer, cache).computed == 3


def test_another_contract_never_reads_an_old_entry(pictures: Any, make_recognizer: Any, tmp_path: Path) -> None:
    describe_pictures(pictures, make_recognizer("contract-a"), tmp_path / "cache")
    other = make_recognizer("contract-b")
    run = describe_pictures(pictures, other, tmp_path / "cache")
    assert run.computed == 5
    assert run.results[0].signature is not None
    assert run.results[0].signature.contract == "contract-b"


def test_an_entry_moved_under_another_contract_is_not_used(pictures: Any, recognizer: Any, tmp_path: Path) -> None:
    one, other = (SignatureCache(tmp_path / "cache", f"contract-{x}") for x in "ab")
    run = describe_pictures(pictures[:1], recognizer, tmp_path / "cache")
    digest = run.digests[0]
    other.path(digest).parent.mkdir(parents=True)
    one.path(digest).rename(other.path(digest))
    assert other.get(digest) is None


def test_a_changed_photograph_is_described_again(
    pictures: Any, recognizer: Any, tmp_path: Path, write_picture: Any
) -> None:
    cache = tmp_path / "cache"
    describe_pictures(pictures, recognizer, cache)
    write_picture(pictures[0].path, 9)
    assert describe_pictures(pictures, recognizer, cache).computed == 1


def test_a_copied_photograph_is_not_described_again(pictures: Any, recognizer: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    describe_pictures(pictures, recognizer, cache)
    copy = tmp_path / "copy.png"
    copy.write_bytes(pictures[0].path.read_bytes())
    assert describe_pictures([Picture(copy, "copy", "x")], recognizer, cache).computed == 0


@pytest.mark.parametrize("damage", ["truncate", "empty", "garbage"])
def test_a_damaged_entry_reads_as_absent(pictures: Any, recognizer: Any, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    run = describe_pictures(pictures[:1], recognizer, cache)
    path = SignatureCache(cache, "contract-a").path(run.digests[0])
    data = path.read_bytes()
    path.write_bytes({"truncate": data[: len(data) // 2], "empty": b"", "garbage": b"PK\x03\x04" + bytes(99)}[damage])
    assert describe_pictures(pictures[:1], recognizer, cache).computed == 1
    assert describe_pictures(pictures[:1], recognizer, cache).computed == 0


def test_a_file_that_is_not_there_fails_and_is_not_cached(recognizer: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run = describe_pictures([Picture(tmp_path / "no.png", "no", "x")], recognizer, cache)
    assert run.results[0].reason == "unreadable"
    assert not list(tmp_path.rglob("*.npz"))


def test_a_signature_of_another_contract_stops_the_run(pictures: Any, make_recognizer: Any) -> None:
    recognizer = make_recognizer("contract-a")
    described = make_recognizer("contract-b")
    recognizer.sign = described.sign
    with pytest.raises(ContractError, match="contract-a"):
        describe_pictures(pictures, recognizer)


def test_a_fault_of_the_program_names_the_photograph(pictures: Any, recognizer: Any) -> None:
    def fail(image: object) -> list[object]:
        raise ZeroDivisionError

    recognizer.sign = fail
    with pytest.raises(ZeroDivisionError) as caught:
        describe_pictures(pictures, recognizer)
    assert "0.png" in caught.value.__notes__[0]


def test_progress_counts_every_picture(pictures: Any, recognizer: Any) -> None:
    counted: list[int] = []
    describe_pictures(pictures, recognizer, None, counted.append)
    assert sum(counted) == len(pictures)


def test_every_failure_names_its_stage(tmp_path: Path, recognizer: Any, write_picture: Any) -> None:
    fates = {NO_FACE: "find", UNSTABLE: "fit", PLAIN: "describe", FINE: None}
    pictures = [
        Picture(write_picture(tmp_path / f"{fate}.png", 1, 1, fate), str(fate), "p", box=None) for fate in fates
    ]
    results = describe_pictures(pictures, recognizer, tmp_path / "cache").results
    assert [result.failed_at for result in results] == list(fates.values())
    again = describe_pictures(pictures, recognizer, tmp_path / "cache").results
    assert [result.failed_at for result in again] == list(fates.values())


def test_systems_that_differ_in_the_descriptor_alone_find_and_fit_once(pictures: Any, make_recognizer: Any) -> None:
    one, two = make_recognizer("contract-a"), make_recognizer("contract-b")
    other = make_recognizer("contract-c", stages="stages-b")
    runs = describe_systems(pictures, {"one": one, "two": two, "other": other})
    readable = len(pictures) - 1  # the text file
    assert (one.fits, two.fits, other.fits) == (readable, 0, readable)
    assert (one.calls, two.calls, other.calls) == (2, 2, 2)
    for name, recognizer in (("one", one), ("two", two), ("other", other)):
        alone = describe_pictures(pictures, make_recognizer(recognizer.contract.digest)).results
        for shared, own in zip(runs[name].results, alone, strict=True):
            assert (shared.reason, shared.failed_at, shared.yaw, shared.box) == (
                own.reason,
                own.failed_at,
                own.yaw,
                own.box,
            )
            assert set(shared.timings_ms) == set(own.timings_ms)
            if own.signature is not None:
                np.testing.assert_array_equal(cells_of(shared), cells_of(own))


def test_a_later_descriptor_finds_the_fits_of_an_earlier_run(
    pictures: Any, make_recognizer: Any, tmp_path: Path
) -> None:
    describe_pictures(pictures, make_recognizer("contract-a"), tmp_path / "cache")
    later = make_recognizer("contract-b")
    run = describe_pictures(pictures, later, tmp_path / "cache")
    assert (later.fits, later.calls) == (0, 2)
    fresh = describe_pictures(pictures, make_recognizer("contract-b")).results
    assert [one.reason for one in run.results] == [one.reason for one in fresh]
    np.testing.assert_array_equal(cells_of(run.results[0]), cells_of(fresh[0]))
    assert run.results[0].timings_ms["fit"] == 2.0


def test_other_landmarks_never_read_old_fits(pictures: Any, make_recognizer: Any, tmp_path: Path) -> None:
    describe_pictures(pictures, make_recognizer("contract-a", stages="stages-a"), tmp_path / "cache")
    other = make_recognizer("contract-b", stages="stages-b")
    describe_pictures(pictures, other, tmp_path / "cache")
    assert other.fits == len(pictures) - 1


def test_a_cached_fit_is_the_fit(pictures: Any, recognizer: Any, tmp_path: Path) -> None:
    cache = FitCache(tmp_path, "stages-a")
    image = read_image(pictures[0].path)
    outcome = fit_picture(pictures[0], image, recognizer, 1.5)
    cache.put("ab" * 32, outcome)
    stored = cache.get("ab" * 32)
    assert stored is not None
    one, other = outcome.resume(image), stored.resume(image)
    np.testing.assert_array_equal(one.face.landmarks.points, other.face.landmarks.points)
    np.testing.assert_array_equal(one.fitted.camera.rotation, other.fitted.camera.rotation)
    np.testing.assert_array_equal(one.fitted.visible, other.fitted.visible)
    assert (one.fitted.residual, one.fitted.camera.scale) == (other.fitted.residual, other.fitted.camera.scale)
    assert (one.timings_ms, stored.seconds, stored.faces) == (other.timings_ms, outcome.seconds, 1)
    assert cache.get("cd" * 32) is None
    cache.path("ab" * 32).write_bytes(b"torn")
    assert cache.get("ab" * 32) is None


def test_of_several_faces_the_one_in_the_given_box_counts(pictures: Any, recognizer: Any) -> None:
    image = read_image(pictures[0].path)
    (whole,) = recognizer.fit(image)
    recognizer.fit = lambda image: [UndescribedFace(Box(0, 0, 27, 27), "fit_unstable", "the larger one"), whole]
    assert fit_picture(pictures[0], image, recognizer, 0.0).reason == "fit_unstable"
    meant = Picture(pictures[0].path, "x", "x", box=Box(2, 2, 20, 24))
    assert fit_picture(meant, image, recognizer, 0.0).reason is None
    elsewhere = Picture(pictures[0].path, "x", "x", box=Box(200, 2, 220, 24))
    outcome = fit_picture(elsewhere, image, recognizer, 0.0)
    assert (outcome.reason, outcome.failed_at, outcome.faces) == ("no_face", "find", 0)


def test_pictures_are_sampled_down_by_area(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 16, 3)).astype(np.uint8)
    write_image(tmp_path / "a.png", pixels)
    small = open_picture(Picture(tmp_path / "a.png", "a", "p", size=(4, 6)))
    means = pixels.reshape(6, 4, 4, 4, 3).mean(axis=(1, 3))
    assert small.shape == (6, 4, 3)
    assert np.abs(small - means).max() <= 0.51
    with pytest.raises(UnusablePhotoError, match="32 x 48"):
        open_picture(Picture(tmp_path / "a.png", "a", "p", size=(32, 48)))


def test_a_picture_at_another_size_is_another_entry_of_the_cache(
    tmp_path: Path, recognizer: Any, write_picture: Any
) -> None:
    path = write_picture(tmp_path / "a.png", 1)
    plain, small = Picture(path, "a", "p"), Picture(path, "a", "p", size=(12, 14))
    boxed = Picture(path, "a", "p", box=Box(2, 2, 20, 24))
    assert len({one.key("ab") for one in (plain, small, boxed)}) == 3
    for one in (plain, small, boxed):
        assert describe_pictures([one], recognizer, tmp_path / "cache").computed == 1
