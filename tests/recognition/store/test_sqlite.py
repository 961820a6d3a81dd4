from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.landmarks.types import Box
from facerec.recognition.impostors import ImpostorScores, calibrate, impostor_scores
from facerec.recognition.search import MaskedSearch
from facerec.recognition.shortlist import ShortlistIndex
from facerec.recognition.store import protocol, schema
from facerec.recognition.store.derived_files import derived_file
from facerec.recognition.store.records import NewEntry, NewPhoto, entry_checksum, person_name
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.store.vector_file import VectorFile
from facerec.recognition.store.writer_lock import GalleryLockedError, GalleryWriteError
from tests.pretend_models import PretendContract


@pytest.fixture
def contract() -> PretendContract:
    return PretendContract()


@pytest.fixture
def photo(pretend: ModuleType) -> Callable[..., NewPhoto]:
    def make(person: str, number: int, picture: int = 0, yaw: float = 0.0, sha256: str = "") -> NewPhoto:
        entry = NewEntry(0, pretend.signature(number, yaw, picture), (yaw, 1.0, -2.0), 0.7, 0.8, Box(1, 2, 30, 40, 0.9))
        sha256 = sha256 or f"{number:032d}{picture:032d}"
        name = Path(f"{number}-{picture}.jpg")
        return NewPhoto(person, sha256, name, "/photos" / name, "largest", "enrolled", "", (entry,))

    return make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "staff"


def test_what_is_added_is_read_again(path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]) -> None:
    new = photo("Zoë, the\n2nd \u0627", 3, yaw=45)
    with Gallery.create(path, contract) as gallery:
        gallery.add([new])
    with Gallery.open(path, contract) as gallery:
        (record,) = gallery.entries()
        assert (record.person, record.sha256, record.pose) == (new.person, new.sha256, (45.0, 1.0, -2.0))
        assert (record.visible_share, record.quality, record.box.x1, record.box.score) == (0.7, 0.8, 30.0, 0.9)
        assert (record.relative_path, record.absolute_path) == (new.relative_path, new.absolute_path)
        stored = gallery.signature(record.entry)
        np.testing.assert_array_equal(stored.cells, new.entries[0].signature.cells)
        np.testing.assert_array_equal(stored.visible, new.entries[0].signature.visible)
        assert stored.contract == contract.digest
        assert gallery.people()[0].yaw == (45.0, 45.0)
        assert gallery.verify().faults == ()


def test_the_digest_depends_on_the_photographs_and_not_on_their_order(
    tmp_path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    photos = [photo(f"p{i % 3}", i, j) for i in range(4) for j in range(2)]
    digests = set()
    for number, batches in enumerate(([photos], [photos[::-1]], [[p] for p in photos[3:] + photos[:3]])):
        with Gallery.create(tmp_path / f"g{number}", contract) as gallery:
            for batch in batches:
                gallery.add(batch)
            digests.add(gallery.digest())
            last = gallery.index()
    assert len(digests) == 1
    with Gallery.create(tmp_path / "other", contract) as gallery:
        gallery.add([photos[0]])
        assert gallery.digest() not in digests
    assert list(last.person) == sorted(last.person)


def test_a_path_that_is_no_file_is_stored_and_found_again(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    strange = Path(os.fsdecode(b"caf\xe9/\n1.jpg"))
    new = photo("ann", 1)
    new = NewPhoto("ann", new.sha256, strange, "/" / strange, "largest", "enrolled", "", new.entries)
    with Gallery.create(path, contract) as gallery:
        gallery.add([new])
        assert gallery.photos()[0].relative_path == strange


def test_names_are_composed_unicode_without_blanks_around() -> None:
    assert person_name(" A\u0308me\u0301lie \ud55c\n") == "\u00c4m\u00e9lie \ud55c"
    assert person_name("a\udcff") == "a\\udcff"


@pytest.mark.parametrize("content", [b"", b"no gallery\n" * 20, b"SQLite format 3\x00" + bytes(84)])
def test_a_file_that_is_no_gallery_is_refused_and_left_alone(
    path: Path, contract: PretendContract, content: bytes
) -> None:
    path.write_bytes(content)
    for made in (False, True):
        with pytest.raises(InvalidInputError, match="expected a gallery made by facerec enroll"):
            Gallery.create(path, contract, exist_ok=True) if made else Gallery.open(path)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


def test_another_sqlite_file_a_folder_and_nothing_are_refused(path: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(InvalidInputError, match="another SQLite file"):
        Gallery.open(path)
    with pytest.raises(InvalidInputError, match="is a folder"):
        Gallery.open(tmp_path)
    with pytest.raises(InvalidInputError, match="facerec enroll PHOTOS"):
        Gallery.open(tmp_path / "none")


def test_a_new_gallery_does_not_replace_one_that_exists(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1)])
    with pytest.raises(InvalidInputError, match="exists"):
        Gallery.create(path, contract)
    with Gallery.create(path, contract, exist_ok=True) as gallery:
        assert len(gallery.people()) == 1


def test_other_models_are_refused_with_both_sides_and_the_way_out(
    path: Path, contract: PretendContract, pretend: ModuleType, photo: Callable[..., NewPhoto]
) -> None:
    Gallery.create(path, contract).close()
    other = pretend.PretendContract("b")
    with pytest.raises(ContractError) as caught:
        Gallery.open(path, other)
    message = str(caught.value)
    assert contract.digest[:12] in message
    assert other.digest[:12] in message
    assert "a there, b here" in message
    assert f"facerec gallery migrate -g {path}" in message
    with Gallery.open(path, contract, write=True) as gallery:
        stray = NewEntry(0, pretend.signature(1, 0, 0, "b"), (0, 0, 0), 1, 1, Box(0, 0, 1, 1))
        with pytest.raises(ContractError, match="expected signatures of contract"):
            gallery.add([NewPhoto("x", "s", Path("x"), Path("x"), "one", "enrolled", "", (stray,))])


def test_a_gallery_of_a_newer_facerec_is_refused(path: Path, contract: PretendContract) -> None:
    Gallery.create(path, contract).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ContractError, match="newer facerec"):
        Gallery.open(path)


def test_a_gallery_of_an_older_facerec_is_brought_up_to_date_by_a_writer(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1)])
    step = "ALTER TABLE people ADD COLUMN note TEXT"
    monkeypatch.setattr(schema, "_MIGRATIONS", (*schema._MIGRATIONS, step))
    with pytest.raises(ContractError, match="older facerec"):
        Gallery.open(path)
    Gallery.open(path, write=True).close()
    with Gallery.open(path) as gallery:
        assert [p.name for p in gallery.people()] == ["ann"]


def as_layout_2(path: Path) -> None:
    """Make the file what the facerec before made of the same photographs."""
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT entries.id, name, sha256, face, visible, cells FROM entries JOIN photos ON photos.id = photo "
        "JOIN people ON people.id = person"
    ).fetchall()
    for entry, *whose in rows:
        connection.execute("UPDATE entries SET checksum = ? WHERE id = ?", (entry_checksum(*whose), entry))
    connection.execute("ALTER TABLE entries DROP COLUMN yaws")
    connection.execute("ALTER TABLE entries DROP COLUMN regions")
    connection.execute("ALTER TABLE people DROP COLUMN nobody")
    connection.execute("PRAGMA user_version = 2")
    connection.commit()
    connection.close()


def test_a_gallery_of_the_layout_before_is_read_as_it_is_and_migrated_by_a_writer(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), photo("bob", 2)])
        state = gallery.state
    as_layout_2(path)
    content = path.read_bytes()
    with Gallery.open(path) as gallery:
        assert gallery.verify().faults == ()
        assert (gallery.state, bool(gallery.calibration())) == (state, True)
        assert [p.name for p in gallery.people()] == ["ann", "bob"]
        (found,) = MaskedSearch.of(gallery).search([photo("ann", 1).entries[0].signature])
        assert (found.matches[0].person, found.matches[0].overlap) == ("ann", None)
        digest = gallery.digest()
    assert path.read_bytes() == content
    with Gallery.open(path, write=True) as gallery:
        gallery.add([photo("cy", 3)])
    with Gallery.open(path) as gallery:
        assert gallery.digest() != digest
        assert gallery.verify().faults == ()
        (found,) = MaskedSearch.of(gallery).search([photo("cy", 3).entries[0].signature])
        assert (found.matches[0].person, found.matches[0].overlap) == ("cy", 1.0)
        assert all(match.overlap is None for match in found.matches[1:])


def test_a_gallery_from_before_films_kept_their_views_is_read_and_migrated(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1)])
        digest = gallery.digest()
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE entries DROP COLUMN yaws")
    connection.execute("PRAGMA user_version = 3")
    connection.commit()
    connection.close()
    for write in (False, True, False):
        with Gallery.open(path, write=write) as gallery:
            assert gallery.verify().faults == ()
            assert (gallery.digest(), [entry.yaws for entry in gallery.entries()]) == (digest, [()])


def test_a_films_views_stay_with_its_entry_and_count_for_its_person(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    film = photo("ann", 1)
    film = replace(film, entries=(replace(film.entries[0], pose=(5.0, 0, 0), yaws=(-72, 5, 61)),))
    with Gallery.create(path, contract) as gallery:
        gallery.add([film, photo("ann", 2)])
        gallery.rename("ann", "Anna")
        assert {entry.yaws for entry in gallery.entries()} == {(), (-72, 5, 61)}
        (person,) = gallery.people()
        assert person.yaw == (-72, 61)
        assert gallery.stored_entries("Anna", film.sha256)[0].yaws == (-72, 5, 61)


def test_a_known_stranger_stays_one_through_rename_merge_and_more_photographs(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), photo("poster", 2), photo("poster again", 3)])
        plain = gallery.digest()
        gallery.mark(["poster", "poster again"], True)
        assert gallery.digest() != plain
        gallery.rename("poster", "poster-3")
        gallery.add([photo("poster-3", 2, 5)])
        with pytest.raises(InvalidInputError, match="known stranger and 'ann' is not"):
            gallery.merge(["poster-3"], "ann")
        gallery.merge(["poster again"], "poster-3")
        assert gallery.nobodies() == {"poster-3"}
        assert [(p.name, p.nobody) for p in gallery.people()] == [("ann", False), ("poster-3", True)]
        assert [e.nobody for e in gallery.entries()] == [False, True, True, True]
        assert gallery.info().nobodies == 1
        assert gallery.verify().faults == ()
        VectorFile.build(gallery)
        (found,) = MaskedSearch.of(gallery).search([photo("x", 2, 9).entries[0].signature])
        assert (found.matches[0].person, found.matches[0].nobody) == ("poster-3", True)
        gallery.mark(["poster-3"], False)
        assert gallery.nobodies() == frozenset()
        with pytest.raises(InvalidInputError, match="there is no 'nobody'"):
            gallery.mark(["nobody"], True)


def test_the_error_for_a_second_writer_names_the_first_and_since_when(path: Path, contract: PretendContract) -> None:
    with Gallery.create(path, contract):
        with pytest.raises(GalleryLockedError, match=rf"process {os.getpid()} of .* since 20"):
            Gallery.open(path, write=True)
        with pytest.raises(GalleryLockedError):
            Gallery.create(path, contract, exist_ok=True)
    Gallery.open(path, write=True).close()
    assert os.listdir(path.parent) == [path.name]


def test_a_holder_that_has_not_written_its_name_yet_is_waited_for(path: Path, contract: PretendContract) -> None:
    Gallery.create(path, contract).close()
    with Gallery.open(path, write=True):
        lock = derived_file(path, ".lock")
        named = lock.read_bytes()
        lock.write_bytes(b"")
        timer = threading.Timer(0.2, lambda: lock.write_bytes(named))
        timer.start()
        with pytest.raises(GalleryLockedError, match=f"by process {os.getpid()} of .* since"):
            Gallery.open(path, write=True)
        timer.join()


def test_a_second_writer_may_wait(path: Path, contract: PretendContract) -> None:
    first = Gallery.create(path, contract)
    closing = threading.Timer(0.2, first.close)
    closing.start()
    try:
        Gallery.open(path, write=True, wait_s=10).close()
    finally:
        closing.join()


def test_readers_see_one_state_and_never_wait(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as writer:
        writer.add([photo("ann", 1)])
        with Gallery.open(path) as before:
            writer.add([photo("bob", 2)])
            with Gallery.open(path) as after:
                assert [p.name for p in before.people()] == ["ann"]
                assert [p.name for p in after.people()] == ["ann", "bob"]
            with pytest.raises(InvalidInputError, match="open for writing"):
                before.add([photo("cy", 3)])


def test_a_batch_is_stored_whole_or_not_at_all(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1)])
        before = gallery.digest()

        def full(self: Gallery, connection: sqlite3.Connection, new: NewPhoto) -> None:
            if new.person == "cy":
                raise sqlite3.OperationalError("disk I/O error")
            original(self, connection, new)

        original = Gallery._add_photo
        monkeypatch.setattr(Gallery, "_add_photo", full)
        with pytest.raises(InvalidInputError):
            gallery.add([photo("bob", 2), photo("cy", 3)])
        monkeypatch.undo()
        assert gallery.digest() == before
        gallery.add([photo("bob", 2)])
        assert len(gallery.people()) == 2


def test_a_full_disk_is_named_and_loses_nothing(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1)])
        before = gallery.digest()
        (pages,) = gallery._connection.execute("PRAGMA page_count").fetchone()
        gallery._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(GalleryWriteError, match="full"):
            gallery.add([photo(f"p{i}", i) for i in range(2, 60)])
        assert gallery.digest() == before
    with Gallery.open(path) as gallery:
        assert gallery.verify().faults == ()
        assert gallery.digest() == before


def test_removal_leaves_no_byte_of_the_person(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    name = "Remarkable-Name-Of-Bob"
    bob = photo(name, 2)
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), bob, photo("cy", 3)])
        gallery.store_calibration(b"remarkable scores")
    vector = bob.entries[0].signature.cells[0].astype("<f4").tobytes()
    assert name.encode() in path.read_bytes()
    assert vector in path.read_bytes()
    with Gallery.open(path) as gallery:
        VectorFile.build(gallery)
        ShortlistIndex.build(gallery, "hnsw")
    assert vector in derived_file(path, ".vectors").read_bytes()
    assert derived_file(path, ".hnsw").exists()
    derived_file(path, ".skipped.jsonl").write_text(name)
    derived_file(path, ".pq.new-77").write_bytes(vector)  # left by a build that was killed
    derived_file(path, ".migrating-abc").write_bytes(vector)
    with Gallery.open(path, write=True) as gallery:
        assert gallery.remove_people([name]) == 1
        # Also while the writer is still open: the journal is part of the gallery.
        left = b"".join(file.read_bytes() for file in path.parent.iterdir())
        for gone in (name.encode(), vector, bob.sha256.encode(), b"2-0.jpg", b"remarkable scores"):
            assert gone not in left
        assert [p.name for p in gallery.people()] == ["ann", "cy"]
        assert gallery.verify().faults == ()
    assert os.listdir(path.parent) == [path.name]


def test_a_renamed_person_keeps_every_entry_and_the_old_name_is_gone(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    old = "Remarkable-Old-Name"
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo(old, 1), photo(old, 1, 1), photo("cy", 3)])
        vectors = gallery.vectors(gallery.index().ids)[0]
        gallery.rename(old, "Bea")
        assert [(p.name, p.entries) for p in gallery.people()] == [("Bea", 2), ("cy", 1)]
        np.testing.assert_array_equal(gallery.vectors(gallery.index().ids)[0], vectors)
        with pytest.raises(InvalidInputError, match="gallery merge 'Bea' --into 'cy'"):
            gallery.rename("Bea", "cy")
    assert old.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_merged_people_are_what_enrolling_them_as_one_gives(
    path: Path, tmp_path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    shared = "f" * 64
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), photo("ann", 1, 5, sha256=shared), photo("bo", 9)])
        gallery.add([photo("anne", 1, 2), photo("anne", 1, 5, sha256=shared), photo("an", 1, 3)])
        with pytest.raises(InvalidInputError, match="there is no 'anna'"):
            gallery.merge(["anne", "anna"], "ann")
        gallery.merge(["anne", "an"], "ann")
        merged = gallery.digest()
        assert gallery.verify().faults == ()
    with Gallery.create(tmp_path / "one", contract) as gallery:
        gallery.add([photo("ann", 1), photo("ann", 1, 5, sha256=shared), photo("bo", 9)])
        gallery.add([photo("ann", 1, 2), photo("ann", 1, 3)])
        assert gallery.digest() == merged


def test_a_damaged_entry_is_not_given_a_new_checksum(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1)])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE entries SET cells = zeroblob(length(cells))")
    connection.commit()
    connection.close()
    with Gallery.open(path, write=True) as gallery:
        with pytest.raises(InvalidInputError, match="damaged"):
            gallery.rename("ann", "bea")
        assert [p.name for p in gallery.people()] == ["ann"]


def bytes_of(path: Path) -> bytes:
    """Everything on disk of a gallery, read by a process of its own: reading it here would drop SQLite's locks."""
    script = "import sys, glob; [sys.stdout.buffer.write(open(f, 'rb').read()) for f in glob.glob(sys.argv[1] + '*')]"
    return subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=True).stdout


def elsewhere(path: Path, change: str) -> bool:
    """Run `change`, a method call on the open gallery, in another process."""
    script = (
        "import sys; from facerec.recognition.store.sqlite import Gallery\n"
        f"with Gallery.open(sys.argv[1], write=True) as gallery: gallery.{change}; print(gallery.erased)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


def test_what_a_reader_still_holds_is_erased_when_it_closes_and_fails_no_writer(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), photo("bob", 2), photo("Remarkable Ida", 3)])
    with Gallery.open(path) as reader:
        assert not elsewhere(path, "remove_people(['Remarkable Ida'])")
        assert not elsewhere(path, "rename('bob', 'Bo')")
        assert [p.name for p in reader.people()] == ["Remarkable Ida", "ann", "bob"]
        assert b"Remarkable Ida" in bytes_of(path)
    assert b"Remarkable Ida" not in bytes_of(path)
    assert photo("bob", 2).sha256.encode() in bytes_of(path)
    with Gallery.open(path) as now:
        assert [p.name for p in now.people()] == ["Bo", "ann"]
        assert now.verify().faults == ()


def test_a_reader_keeps_its_state_when_its_process_looks_at_the_file_again(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    """Closing a descriptor of the file takes away the locks of a process: the next writer deletes the journal then."""
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo(name, i) for i, name in enumerate(("ann", "bob", "cy", "dee", "eve"), 1)])
    reader = Gallery.open(path)
    for name in ("ann", "bob", "cy"):
        before = reader.current_state()
        elsewhere(path, f"remove_people([{name!r}])")
        assert reader.current_state() != before
        with Gallery.open(path) as now:
            assert name not in [p.name for p in now.people()]
            assert now.verify().faults == ()
        assert len(reader.people()) == 5
        assert reader.verify().faults == ()
    reader.close()
    assert not [file.name for file in path.parent.glob("*-wal")]


@pytest.mark.parametrize("why", ["no journal", "read-only folder"])
def test_where_a_snapshot_would_hinder_a_writer_or_not_be_one_the_gallery_is_copied(
    why: str, path: Path, contract: PretendContract, photo: Callable[..., NewPhoto], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_BUSY_SECONDS", 0.5)
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), photo("bob", 2)])
    if why == "no journal":  # as on a network file system without shared memory
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        connection.close()
    else:
        monkeypatch.setattr(os, "access", lambda place, mode: mode == os.R_OK)
    with Gallery.open(path) as reader:
        monkeypatch.undo()
        assert elsewhere(path, "remove_people(['bob'])")
        assert [p.name for p in reader.people()] == ["ann", "bob"]
        assert reader.verify().faults == ()
        with Gallery.open(path) as now:
            assert [p.name for p in now.people()] == ["ann"]
        assert reader.current_state() != reader.state


def test_removing_the_last_entry_of_a_person_removes_the_person(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), photo("bob", 2)])
        (bob,) = gallery.entries("bob")
        assert gallery.remove_entries([bob.entry]) == 1
        assert [p.name for p in gallery.people()] == ["ann"]
        assert b"bob" not in path.read_bytes()
        with pytest.raises(InvalidInputError, match="no entry 99"):
            gallery.remove_entries([99])


def test_an_unknown_name_removes_nobody_and_is_answered_with_near_ones(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("anna", 1), photo("bob", 2)])
        with pytest.raises(InvalidInputError, match="did you mean 'anna'"):
            gallery.remove_people(["bob", "ana"])
        assert len(gallery.people()) == 2


def test_what_was_derived_from_an_older_state_is_not_used(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1)])
        gallery.store_calibration(b"scores")
        assert gallery.calibration() == b"scores"
        gallery.add([photo("bob", 2)])
        assert gallery.calibration() == b""


def test_a_flipped_byte_gives_an_error_and_no_vector(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), photo("bob", 2)])
    vector = photo("bob", 2).entries[0].signature.cells.astype("<f4").tobytes()
    data = bytearray(path.read_bytes())
    at = data.index(vector[:40])
    data[at + 21] ^= 1
    path.write_bytes(data)
    with Gallery.open(path) as gallery:
        with pytest.raises(InvalidInputError, match="damaged"):
            gallery.vectors(gallery.index().ids)
        assert any("entry 2" in fault for fault in gallery.verify().faults)


def test_no_cut_or_flipped_gallery_gives_a_wrong_answer(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto], tmp_path: Path
) -> None:
    photos = [photo(f"p{i}", i) for i in range(5)]
    with Gallery.create(path, contract) as gallery:
        gallery.add(photos)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    harmed = tmp_path / "harmed"
    for trial in range(60):
        data = bytearray(whole)
        if trial % 3:
            for at in rng.integers(0, len(data), 3):
                data[at] ^= 1 << int(rng.integers(8))
        else:
            del data[int(rng.integers(1, len(data))) :]
        harmed.write_bytes(data)
        try:
            with Gallery.open(harmed) as gallery:
                cells, _ = gallery.vectors(gallery.index().ids)
                gallery.entries()
        except (InvalidInputError, ContractError):
            continue
        finally:
            for suffix in ("-wal", "-shm"):
                derived_file(harmed, suffix).unlink(missing_ok=True)
        stored = {p.entries[0].signature.cells.tobytes() for p in photos}
        assert {c.tobytes() for c in cells} <= stored


def test_a_copy_elsewhere_is_the_same_gallery(
    path: Path, tmp_path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1)])
        digest = gallery.digest()
    elsewhere = tmp_path / "away" / "copy.db"
    elsewhere.parent.mkdir()
    shutil.copy(path, elsewhere)
    with Gallery.open(elsewhere, contract) as gallery:
        assert gallery.digest() == digest
        assert gallery.verify().faults == ()


def test_a_gallery_on_a_read_only_medium_is_read(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1)])
    # The tests may run as root, whom file modes do not stop: what matters is which way of opening is chosen.
    monkeypatch.setattr(os, "access", lambda place, mode: mode == os.R_OK)
    with Gallery.open(path) as gallery:
        assert len(gallery.people()) == 1
        assert os.listdir(path.parent) == [path.name]


def test_only_the_owner_may_read_a_new_gallery(path: Path, contract: PretendContract) -> None:
    Gallery.create(path, contract).close()
    assert path.stat().st_mode & 0o077 == 0


def test_a_killed_writer_leaves_no_lock_and_no_half_batch(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        sys.path.insert(0, sys.argv[1])
        import pretend_models as pretend
        from pathlib import Path
        from facerec.recognition.store.records import NewEntry, NewPhoto
        from facerec.recognition.store.sqlite import Gallery
        from facerec.landmarks.types import Box
        with Gallery.create(sys.argv[2], pretend.PretendContract()) as gallery:
            def photo(i):
                entry = NewEntry(0, pretend.signature(i, 0, 0), (0, 0, 0), 1, 1, Box(0, 0, 1, 1))
                return NewPhoto(f"p{i}", str(i), Path("a"), Path("/a"), "one", "enrolled", "", (entry,))
            gallery.add([photo(1), photo(2)])
            real = gallery._add_photo
            def die(connection, new):
                if new.person == "p4":
                    os.kill(os.getpid(), signal.SIGKILL)
                real(connection, new)
            gallery._add_photo = die
            gallery.add([photo(3), photo(4)])
        """
    )
    tests = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(tests), str(path)], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    with Gallery.open(path, contract) as reader:
        assert [p.name for p in reader.people()] == ["p1", "p2"]
    with Gallery.open(path, contract, write=True) as gallery:
        assert gallery.verify().faults == ()
        gallery.add([photo("p9", 9)])


def test_contract_differences_survive_a_contract_that_is_no_object() -> None:
    assert protocol._differences("[]", json.dumps({"a": "b"})) == ""


CHANGES = {
    "add": lambda gallery, photo: gallery.add([photo("dee", 4)]),
    "remove people": lambda gallery, photo: gallery.remove_people(["bob"]),
    "remove photographs": lambda gallery, photo: gallery.remove_photos([("bob", photo("bob", 2).sha256)]),
    "remove entries": lambda gallery, photo: gallery.remove_entries([gallery.entries("bob")[0].entry]),
    "rename": lambda gallery, photo: gallery.rename("bob", "bea"),
    "merge": lambda gallery, photo: gallery.merge(["bob"], "ann"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_writer_that_changed_the_gallery_leaves_its_impostor_scores(
    path: Path,
    contract: PretendContract,
    photo: Callable[..., NewPhoto],
    change: Callable[[Gallery, Callable[..., NewPhoto]], object],
) -> None:
    with Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), photo("bob", 2), photo("cy", 3)])
    with Gallery.open(path, write=True) as gallery:
        before = gallery.calibration()
        assert ImpostorScores.from_bytes(before).pairs == 3
        change(gallery, photo)
        assert gallery.calibration() == b""
    with Gallery.open(path) as gallery:
        assert gallery.calibration() == calibrate(gallery).scores.to_bytes() != b""


def test_a_writer_that_was_interrupted_measures_nothing_and_a_damaged_gallery_is_closed(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with contextlib.suppress(KeyboardInterrupt), Gallery.create(path, contract) as gallery:
        gallery.add([photo("ann", 1), photo("bob", 2)])
        raise KeyboardInterrupt
    with Gallery.open(path) as gallery:
        assert (len(gallery.people()), gallery.calibration()) == (2, b"")
        assert impostor_scores(gallery).pairs == 1  # measured by whoever needs them
    connection = sqlite3.connect(path)
    connection.execute("UPDATE entries SET cells = zeroblob(length(cells)) WHERE id = 1")
    connection.commit()
    connection.close()
    with Gallery.open(path, write=True) as gallery:
        gallery.add([photo("cy", 3)])
    assert os.listdir(path.parent) == [path.name]
    with Gallery.open(path) as gallery, pytest.raises(InvalidInputError, match="damaged"):
        impostor_scores(gallery)


def test_a_snapshot_knows_the_state_that_others_see_now(
    path: Path, contract: PretendContract, photo: Callable[..., NewPhoto]
) -> None:
    with Gallery.create(path, contract) as writer:
        writer.add([photo("ann", 1)])
        with Gallery.open(path) as reader:
            assert reader.current_state() == reader.state
            writer.add([photo("bob", 2)])
            assert reader.current_state() == writer.state != reader.state
