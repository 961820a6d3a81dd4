"""What survives: 100 kill -9 while enrolling, two writers at once, a disk that fills up.

    python benchmarks/gallery_kill.py WORK [--kills 100] [--photos 80] [--only writers,disk,kills]

The photographs are small pictures with pretended models (tests/pretend_models.py): it is the gallery that is tried.
After every kill the gallery is opened and verified, and holds whole batches of the expected entries and nothing else;
at the end it has the digest of a gallery that was enrolled without a kill.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from facerec.recognition.description import EnrolmentSettings
from facerec.recognition.enrolment import enroll
from facerec.recognition.enrolment_plan import plan_enrolment
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.store.writer_lock import GalleryLockedError, GalleryWriteError

BATCH = 4


def pretended() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "tests" / "pretend_models.py"
    spec = importlib.util.spec_from_file_location("pretend_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pretend_models"] = module
    spec.loader.exec_module(module)
    return module


def paint(root: Path, photos: int) -> None:
    pretend = pretended()
    for i in range(photos):
        pretend.paint(root / f"p{i % 40:02d}" / f"{i // 40}.png", (i % 40, 6, i // 40))


def enrol(root: Path, gallery: Path, delay: float, wait_s: float = 0.0) -> str:
    recognizer = pretended().PretendRecognizer("a", delay)
    with Gallery.create(gallery, recognizer.contract, exist_ok=True, wait_s=wait_s) as opened:
        return enroll(plan_enrolment([root]), opened, recognizer, EnrolmentSettings(batch=BATCH)).digest


def child(root: Path, gallery: Path, delay: float, wait_s: float = 0.0) -> tuple[multiprocessing.Process, Path]:
    """A process that enrols, and the file in which it says the digest or why not. Forked: starting Python again a
    hundred times would take longer than what is tried."""
    said = gallery.with_name(f"{gallery.name}-said-{time.monotonic_ns()}")
    process = multiprocessing.get_context("fork").Process(
        target=_enrol_and_say, args=(root, gallery, delay, wait_s, said)
    )
    process.start()
    return process, said


def _enrol_and_say(root: Path, gallery: Path, delay: float, wait_s: float, said: Path) -> None:
    try:
        said.write_text(enrol(root, gallery, delay, wait_s))
    except GalleryLockedError as error:
        said.write_text(str(error))
        sys.exit(1)


def _last_line(one: tuple[multiprocessing.Process, Path]) -> str:
    one[0].join()
    return one[1].read_text()


def kills(work: Path, root: Path, times: int, photos: int) -> dict[str, object]:
    rng = random.Random(0)
    wanted = enrol(root, work / "whole", 0.0)
    with Gallery.open(work / "whole") as whole:
        expected = {(e.person, e.sha256) for e in whole.entries()}
    path, done, restarts, at_work, seen = work / "killed", 0, 0, 0, 0
    delay = 0.002
    while done < times:
        if not path.exists() or seen == photos:  # enrolled whole: from the beginning again
            path.unlink(missing_ok=True)
            restarts += 1
        before = seen if path.exists() else 0
        process, _ = child(root, path, delay)
        # Let it reach the gallery, so that kills fall on the work and not on Python's start.
        lock, until = path.with_name(path.name + ".lock"), time.monotonic() + 60
        while process.is_alive() and not lock.exists() and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.8))
        at_work += process.is_alive()
        process.kill()
        process.join()
        done += 1
        if not path.exists():
            seen = 0
            continue
        with Gallery.open(path) as gallery:
            faults = gallery.verify().faults
            entries = [(e.person, e.sha256) for e in gallery.entries()]
        seen = len(entries)
        assert not faults, faults
        assert len(entries) == len(set(entries)), "an entry is there twice"
        assert set(entries) <= expected, "an entry that nobody enrolled"
        assert seen >= before, f"{before - seen} entries were lost"
        assert seen % BATCH == 0 or seen == photos, f"{seen} entries: half a batch"
    assert enrol(root, path, 0.0) == wanted
    return {"kills": done, "while_writing": at_work, "galleries": restarts, "digest_as_without_kills": True}


def two_writers(work: Path, root: Path, photos: int) -> dict[str, object]:
    """Two processes at once: the second is refused, or waits; nothing is lost."""
    refused = 0
    for trial in range(10):
        path = work / f"two-{trial}"
        both = [child(root, path, 0.002) for _ in range(2)]
        said = [_last_line(one) for one in both]
        codes = sorted(int(process.exitcode or 0) for process, _ in both)
        assert codes[0] == 0, said
        if codes[1]:
            refused += 1
            assert any("is being written by process" in text and "since" in text for text in said), said
        with Gallery.open(path) as gallery:
            assert not gallery.verify().faults
            assert len(gallery.entries()) == photos
    path = work / "waiting"
    both = [child(root, path, 0.001, wait_s=600.0) for _ in range(2)]
    assert len({_last_line(one) for one in both}) == 1
    assert all(process.exitcode == 0 for process, _ in both)
    return {"pairs": 10, "second_refused": refused, "waited_and_both_done": True}


def full_disk(work: Path, root: Path) -> dict[str, object]:
    """A file system of 1 MiB (as root), and a limit on the size of files: an error that says so, nothing lost."""
    said = {}
    places = {"limit on file size": work}
    small = work / "small"
    small.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], stderr=subprocess.DEVNULL
        ).returncode
    )
    if mounted:
        places["file system of 1 MiB"] = small
    try:
        for name, place in places.items():
            path = place / "full"
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            if name.startswith("limit"):
                resource.setrlimit(resource.RLIMIT_FSIZE, (400 << 10, before[1]))
            try:
                enrol(root, path, 0.0)
                raise AssertionError("the disk did not fill up")
            except GalleryWriteError as error:
                message = str(error)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            with Gallery.open(path) as gallery:
                assert not gallery.verify().faults
                kept = len(gallery.entries())
            assert kept > 0
            said[name] = {"kept": kept, "error": message.replace(str(place), "")}
    finally:
        if mounted:
            subprocess.run(["umount", str(small)], check=True)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--photos", type=int, default=80)
    parser.add_argument("--only", default="writers,disk,kills")
    options = parser.parse_args()
    options.work.mkdir(parents=True)
    root = options.work / "photos"
    paint(root, options.photos)
    trials = {
        "writers": lambda: two_writers(options.work, root, options.photos),
        "disk": lambda: full_disk(options.work, root),
        "kills": lambda: kills(options.work, root, options.kills, options.photos),
    }
    for name in options.only.split(","):
        print(json.dumps({name: trials[name]()}), flush=True)


if __name__ == "__main__":
    main()
