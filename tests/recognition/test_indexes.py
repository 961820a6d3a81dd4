"""The derived files of a gallery: mapped vectors and approximate indexes."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box
from facerec.recognition.search import MaskedSearch, SearchSettings
from facerec.recognition.shortlist import ShortlistIndex, ShortlistSettings, shortlist_search
from facerec.recognition.signature import mask_group
from facerec.recognition.store.derived_files import derived_file
from facerec.recognition.store.records import NewEntry, NewPhoto
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.store.vector_file import NoIndexError, VectorFile

SMALL = ShortlistSettings(flat=40)  # so that a few hundred entries get real indexes


def new_photo(pretend: ModuleType, number: Any, picture: int = 0, yaw: float = 0.0) -> Any:
    entry = NewEntry(0, pretend.signature(number, yaw, picture), (yaw, 0.0, 0.0), 0.7, 0.8, Box(1, 2, 30, 40, 0.9))
    name = Path(f"{number}-{picture}.jpg")
    sha256 = f"{number:032d}{picture:032d}"
    return NewPhoto(f"p{number:03d}", sha256, name, name, "largest", "enrolled", "", (entry,))


@pytest.fixture
def path(tmp_path: Path, pretend: ModuleType) -> Any:
    with Gallery.create(tmp_path / "staff", pretend.PretendContract()) as gallery:
        yaws = (-60.0, 0.0, 0.0, 75.0)
        gallery.add([new_photo(pretend, n, picture, yaws[picture]) for n in range(120) for picture in range(4)])
    return tmp_path / "staff"


@pytest.fixture
def probes(pretend: ModuleType) -> Any:
    return [pretend.signature(n, yaw, 9) for n in range(0, 120, 7) for yaw in (0.0, 45.0, -75.0)]


def answers(search: Any, probes: Any, k: int = 3) -> Any:
    return [[(m.person, m.score, m.overlap, m.entry) for m in r.matches] for r in search.search(probes, k)]


def test_mapped_vectors_are_those_of_the_gallery(path: Any) -> None:
    with Gallery.open(path) as gallery:
        mapped = VectorFile.build(gallery)
        index = gallery.index()
        for mine, its in zip(mapped.rows(slice(0, 480)), gallery.vectors(index.ids), strict=True):
            np.testing.assert_array_equal(mine, its)
        np.testing.assert_array_equal(mapped.rows(np.array([7, 3]))[0], gallery.vectors(index.ids[[7, 3]])[0])
        np.testing.assert_array_equal(mapped.index.ids, index.ids)
        np.testing.assert_array_equal(mapped.index.photo, index.photo)
        assert mapped.index.names == index.names


def test_a_search_of_the_mapped_file_in_blocks_equals_one_in_memory(path: Any, probes: Any) -> None:
    with Gallery.open(path) as gallery:
        in_memory = answers(MaskedSearch.of(gallery), probes)
        VectorFile.build(gallery)
        assert answers(MaskedSearch.of(gallery, SearchSettings(block_bytes=5000)), probes) == in_memory


def test_what_was_made_of_another_state_is_refused_with_the_command(path: Any, pretend: ModuleType) -> None:
    with Gallery.open(path) as gallery:
        VectorFile.build(gallery)
        ShortlistIndex.build(gallery, "pq", SMALL)
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    for number, gallery_path in ((500, path), (501, copy)):  # two ways from one state, by the same number of changes
        with Gallery.open(gallery_path, write=True) as gallery:
            gallery.add([new_photo(pretend, number)])
    with Gallery.open(path) as gallery:
        with pytest.raises(NoIndexError, match="older state"):
            VectorFile.open(gallery)
        VectorFile.build(gallery)
        with pytest.raises(NoIndexError, match="facerec gallery index --method pq -g"):
            shortlist_search(gallery, "pq")
        with pytest.raises(NoIndexError, match="there is none"):
            shortlist_search(gallery, "ivf")
    shutil.copy(derived_file(path, ".vectors"), derived_file(copy, ".vectors"))
    with Gallery.open(copy) as gallery, pytest.raises(NoIndexError, match="older state"):
        VectorFile.open(gallery)


@pytest.mark.parametrize("method", ["ivf", "hnsw", "pq"])
def test_an_index_answers_as_the_exact_search_does(path: Any, probes: Any, method: Any) -> None:
    with Gallery.open(path) as gallery:
        exact = answers(MaskedSearch.of(gallery), probes, 1)
        VectorFile.build(gallery)
        made = ShortlistIndex.build(gallery, method, SMALL)
        assert made.recall >= 0.99
        found = answers(shortlist_search(gallery, method), probes, 1)
    # Every score is the exact one; the best person is the exact search's but for the recall.
    assert np.mean([a == b for a, b in zip(found, exact, strict=True)]) >= 0.95
    with Gallery.open(path) as gallery:
        assert answers(shortlist_search(gallery, method), probes, 1) == found


def test_an_index_names_few_entries_and_never_one_twice(path: Any, probes: Any) -> None:
    with Gallery.open(path) as gallery:
        VectorFile.build(gallery)
        made = ShortlistIndex.build(gallery, "hnsw", SMALL)
    cells, visible = np.stack([p.cells for p in probes]), np.stack([p.visible for p in probes])
    for places in made.places(cells, visible):
        assert (np.diff(places) > 0).all()
    assert {int(g) for g in mask_group(visible)} > {8}


@pytest.mark.parametrize("suffix", [".vectors", ".pq"])
def test_no_flipped_or_cut_index_gives_a_wrong_answer(path: Any, probes: Any, suffix: Any) -> None:
    with Gallery.open(path) as gallery:
        VectorFile.build(gallery)
        ShortlistIndex.build(gallery, "pq", SMALL)
        right = answers(shortlist_search(gallery, "pq"), probes, 1)
    file = derived_file(path, suffix)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(40):
        data = bytearray(whole)
        if trial % 4:
            data[int(rng.integers(min(5000, len(data)) if trial % 2 else len(data)))] ^= 1 << int(rng.integers(8))
        else:
            del data[int(rng.integers(len(data))) :]
        file.write_bytes(data)
        with Gallery.open(path) as gallery:
            try:
                assert answers(shortlist_search(gallery, "pq"), probes, 1) == right
            except InvalidInputError:
                refused += 1
    assert refused >= 10
