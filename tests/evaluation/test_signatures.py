from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facerec.evaluation.protocols.recognition import Picture
from facerec.evaluation.signatures import SignatureCache, describe_pictures
from facerec.landmarks.errors import ContractError

FINE, NO_FACE, UNSTABLE, HALF = range(4)


@pytest.fixture
def pictures(tmp_path: Path, write_picture) -> list[Picture]:
    fates = [FINE, NO_FACE, UNSTABLE, HALF]
    paths = [write_picture(tmp_path / f"{i}.png", i + 1, 1, fate) for i, fate in enumerate(fates)]
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    return [Picture(path, path.name, path.stem) for path in (*paths, text)]


def test_every_picture_has_a_signature_or_a_reason(pictures, recognizer) -> None:
    run = describe_pictures(pictures, recognizer)
    assert [result.reason for result in run.results] == [None, "no_face", "fit_unstable", None, "unreadable"]
    assert [result.signature is not None for result in run.results] == [True, False, False, True, False]
    assert [result.found for result in run.results] == [True, False, True, True, False]
    assert run.results[0].yaw == pytest.approx(10.0)
    assert run.computed == 5
    assert all(result.seconds >= 0 for result in run.results)


def test_a_second_run_reads_everything_from_the_cache(pictures, recognizer, tmp_path: Path) -> None:
    cache = SignatureCache(tmp_path / "cache", "contract-a")
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
            np.testing.assert_array_equal(a.signature.cells, b.signature.cells)
            np.testing.assert_array_equal(a.signature.visible, b.signature.visible)
            assert a.signature.contract == b.signature.contract


def test_an_interrupted_run_goes_on_where_it_stopped(pictures, recognizer, tmp_path: Path) -> None:
    cache = SignatureCache(tmp_path / "cache", "contract-a")
    describe_pictures(pictures[:2], recognizer, cache)
    assert describe_pictures(pictures, recognizer, cache).computed == 3


def test_another_contract_never_reads_an_old_entry(pictures, make_recognizer, tmp_path: Path) -> None:
    describe_pictures(pictures, make_recognizer("contract-a"), SignatureCache(tmp_path / "cache", "contract-a"))
    other = make_recognizer("contract-b")
    run = describe_pictures(pictures, other, SignatureCache(tmp_path / "cache", "contract-b"))
    assert run.computed == 5
    assert run.results[0].signature is not None
    assert run.results[0].signature.contract == "contract-b"


def test_an_entry_moved_under_another_contract_is_not_believed(pictures, recognizer, tmp_path: Path) -> None:
    one, other = (SignatureCache(tmp_path / "cache", f"contract-{x}") for x in "ab")
    run = describe_pictures(pictures[:1], recognizer, one)
    digest = run.digests[0]
    other.path(digest).parent.mkdir(parents=True)
    one.path(digest).rename(other.path(digest))
    assert other.get(digest) is None


def test_a_changed_photograph_is_described_again(pictures, recognizer, tmp_path: Path, write_picture) -> None:
    cache = SignatureCache(tmp_path / "cache", "contract-a")
    describe_pictures(pictures, recognizer, cache)
    write_picture(pictures[0].path, 9)
    assert describe_pictures(pictures, recognizer, cache).computed == 1


def test_a_copied_photograph_is_not_described_again(pictures, recognizer, tmp_path: Path) -> None:
    cache = SignatureCache(tmp_path / "cache", "contract-a")
    describe_pictures(pictures, recognizer, cache)
    copy = tmp_path / "copy.png"
    copy.write_bytes(pictures[0].path.read_bytes())
    assert describe_pictures([Picture(copy, "copy", "x")], recognizer, cache).computed == 0


@pytest.mark.parametrize("damage", ["truncate", "empty", "garbage"])
def test_a_damaged_entry_reads_as_absent(pictures, recognizer, tmp_path: Path, damage: str) -> None:
    cache = SignatureCache(tmp_path / "cache", "contract-a")
    run = describe_pictures(pictures[:1], recognizer, cache)
    path = cache.path(run.digests[0])
    data = path.read_bytes()
    path.write_bytes({"truncate": data[: len(data) // 2], "empty": b"", "garbage": b"PK\x03\x04" + bytes(99)}[damage])
    assert describe_pictures(pictures[:1], recognizer, cache).computed == 1
    assert describe_pictures(pictures[:1], recognizer, cache).computed == 0


def test_a_file_that_is_not_there_fails_and_is_not_cached(recognizer, tmp_path: Path) -> None:
    cache = SignatureCache(tmp_path / "cache", "contract-a")
    run = describe_pictures([Picture(tmp_path / "no.png", "no", "x")], recognizer, cache)
    assert run.results[0].reason == "unreadable"
    assert not list(tmp_path.rglob("*.npz"))


def test_a_signature_of_another_contract_stops_the_run(pictures, make_recognizer) -> None:
    recognizer = make_recognizer("contract-a")
    described = make_recognizer("contract-b")
    recognizer.describe = described.describe
    with pytest.raises(ContractError, match="contract-a"):
        describe_pictures(pictures, recognizer)


def test_a_fault_of_the_program_names_the_photograph(pictures, recognizer) -> None:
    def fail(image: object) -> list[object]:
        raise ZeroDivisionError

    recognizer.describe = fail
    with pytest.raises(ZeroDivisionError) as caught:
        describe_pictures(pictures, recognizer)
    assert "0.png" in caught.value.__notes__[0]


def test_progress_counts_every_picture(pictures, recognizer) -> None:
    counted: list[int] = []
    describe_pictures(pictures, recognizer, None, counted.append)
    assert sum(counted) == len(pictures)
