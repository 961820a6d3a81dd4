"""Milliseconds from a photograph's file to its name, by stage and end to end, beside face_recognition in the same run.

    python benchmarks/speed.py DATA [--peer PYTHON] [--pictures 200] [--side 0] [--soak 10000]
    python benchmarks/speed.py DATA --against REV [--pictures 200] [--side 0]

Pictures are held-out CFP ones, as many frontals as profiles, people in turn; with --side they are enlarged to that
longer side first, what a camera gives. PYTHON is the interpreter of an environment with face_recognition. Systems take
turns, so that other jobs on the machine hit all alike; three rounds each.

With --against the working tree is compared with another revision of it: both describe each picture in turn, each in a
process of its own with one thread, and both load the recognizer and identify one photograph from nothing in turn.
Wall-clock and processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from statistics import median
from typing import Any

PEER = """
import sys, time, json
import face_recognition
from concurrent.futures import ProcessPoolExecutor

def one(path):
    start = time.perf_counter()
    image = face_recognition.load_image_file(path)
    boxes = face_recognition.face_locations(image)
    found = face_recognition.face_encodings(image, boxes) if boxes else []
    return len(found), time.perf_counter() - start

if __name__ == "__main__":
    paths = json.load(sys.stdin)
    one(paths[0])
    start = time.perf_counter()
    alone = [one(path) for path in paths]
    wall = time.perf_counter() - start
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(one, paths[:4]))
        start = time.perf_counter()
        list(pool.map(one, paths))
        both = time.perf_counter() - start
    print(json.dumps({"each": [1000 * t for _, t in alone], "found": sum(n > 0 for n, _ in alone),
        "one": 1000 * wall / len(paths), "two": 1000 * both / len(paths)}))
"""


WORKER = """
import resource, sys, time
import cv2
from facerec.landmarks.image import read_image
from facerec.recognition.recognizer import Recognizer

cv2.setNumThreads(1)
recognizer = Recognizer.load()
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter(), time.process_time()
    faces = recognizer.describe(read_image(line.strip()))
    spent = 1000 * (time.perf_counter() - start[0]), 1000 * (time.process_time() - start[1])
    print(*spent, len(faces), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
"""

ONE_THREAD = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ONE_THREAD["OMP_NUM_THREADS"] = "1"
"""Environment of processes that are timed; an installation has its modules compiled."""

START = "import facerec; facerec.Recognizer.load()"


class Timed:
    """An object whose calls of one method are timed: its last call's seconds are added to `spent[name]`."""

    def __init__(self, inner: Any, method: str, spent: dict[str, float], name: str) -> None:
        self._inner, self._method, self._spent, self._name = inner, method, spent, name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._inner, attribute)
        if attribute != self._method:
            return value

        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return value(*arguments)
            finally:
                self._spent[self._name] = self._spent.get(self._name, 0.0) + time.perf_counter() - start

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", type=Path, help="interpreter with face_recognition")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--side", type=int, default=0, help="longer side, px; 0: as they are")
    parser.add_argument("--soak", type=int, default=0, help="identify so many pictures and print the memory")
    parser.add_argument("--against", metavar="REV", help="compare with this revision, and measure nothing else")
    arguments = parser.parse_args()
    if arguments.against:
        with tempfile.TemporaryDirectory() as folder:
            paths = photographs(arguments.data / "cfp-dataset", arguments.pictures, arguments.side, Path(folder))
            against(arguments.against, paths, Path(folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(arguments.data / "cfp-dataset", arguments.pictures, arguments.side, Path(folder))
        gallery = Path(folder) / "people.gallery"
        people = [path for path in paths if "frontal" in path.name][:50]
        table = Path(folder) / "people.csv"
        table.write_text("person,path\n" + "".join(f"p{i},{path}\n" for i, path in enumerate(people)))
        facerec("enroll", str(table), "-g", str(gallery), "-q")
        stages(paths, gallery)
        rounds(paths, gallery, arguments.peer)
        cold(paths[0], gallery)
        if arguments.soak:
            soak(paths, gallery, arguments.soak)


def photographs(data: Path, count: int, side: int, folder: Path) -> list[Path]:
    """`count` pictures of people 301-400, frontal and profile in turn, in `folder`."""
    import cv2

    chosen = []
    for number in range(count):
        view, person = ("frontal", "profile")[number % 2], 301 + number // 2 % 100
        source = data / "Data" / "Images" / str(person) / view / f"{1 + number // 200:02d}.jpg"
        image = cv2.imread(str(source))
        if side:
            zoom = side / max(image.shape[:2])
            image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        target = folder / f"{person}-{view}-{source.name}"
        cv2.imwrite(str(target), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        chosen.append(target)
    return chosen


def against(revision: str, paths: list[Path], folder: Path) -> None:
    """Print how long the working tree and `revision` take, and the ratio of the medians."""
    top = Path(__file__).resolve().parent.parent
    other = folder / "other"
    other.mkdir()
    archive = subprocess.run(["git", "-C", str(top), "archive", revision], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(other)], input=archive, check=True)
    starts = [seconds_of(tree, "-c", START) for _ in range(5) for tree in (top, other)]
    identify = ["-m", "facerec.cli.main", "identify", str(paths[0]), "-q", "--json", "-g"]
    table = folder / "people.csv"
    table.write_text(f"person,path\nsomebody,{paths[0]}\n")
    for name, tree in (("new", top), ("old", other)):
        seconds_of(tree, "-m", "facerec.cli.main", "enroll", str(table), "-q", "-g", str(folder / f"{name}.gallery"))
    answers_of = [
        seconds_of(tree, *identify, str(folder / f"{name}.gallery"))
        for _ in range(5)
        for name, tree in (("new", top), ("old", other))
    ]
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER], cwd=tree, env=ONE_THREAD, text=True, stdin=pipe, stdout=pipe)
        for tree in (top, other)
    ]
    answers: list[list[list[float]]] = [[], []]
    for worker in workers:
        answer_of(worker)  # loaded
    for number, path in enumerate([*paths[:5], *paths]):
        for i in (0, 1) if number % 2 else (1, 0):
            asked = workers[i].stdin
            assert asked is not None
            print(path, file=asked, flush=True)
            said = [float(word) for word in answer_of(workers[i]).split()]
            if number >= 5:
                answers[i].append(said)
    for worker in workers:
        worker.communicate()
    new, old = answers
    print(f"{len(paths)} pictures, the working tree and {revision} in turn, medians:")
    rows = [(name, [row[k] for row in new], [row[k] for row in old]) for k, name in enumerate(("ms", "processor ms"))]
    rows += [("seconds to start", [s[0] for s in starts[::2]], [s[0] for s in starts[1::2]])]
    rows += [("processor seconds to start", [s[1] for s in starts[::2]], [s[1] for s in starts[1::2]])]
    for k, name in enumerate(("seconds to identify one", "processor seconds of the same")):
        rows.append((name, [s[k] for s in answers_of[::2]], [s[k] for s in answers_of[1::2]]))
    for name, one, two in rows:
        a, b = median(one), median(two)
        print(f"  {name:30s} {a:8.2f} {b:8.2f}  {a / b:.2f}")
    for name, k in (("faces", 2), ("peak memory, MB", 3)):
        a, b = (sum(row[2] for row in side) if k == 2 else side[-1][3] for side in (new, old))
        print(f"  {name:30s} {a:8.0f} {b:8.0f}")


def seconds_of(tree: Path, *words: str) -> tuple[float, float]:
    """Wall-clock and processor seconds of a Python process that uses a checkout: its working folder's."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=tree, env=ONE_THREAD, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, spent


def answer_of(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a revision failed; its error is above")
    return line


def facerec(*words: str) -> str:
    """Run a command of facerec in this process; what it writes."""
    from facerec.cli.main import run

    out = TextIOWrapper(BytesIO(), encoding="utf-8")
    with redirect_stdout(out):
        if run(list(words)) not in (0, 3):
            raise SystemExit(f"facerec {words[0]} failed")
    out.seek(0)
    return out.read()


def stages(paths: list[Path], gallery: Path) -> None:
    """Print medians by stage, one picture after the other on one thread."""
    import cv2
    import numpy as np
    import torch

    from facerec.frontalize.face_model import FaceModel
    from facerec.landmarks.detection.detectors import load_detector
    from facerec.landmarks.finder import FaceFinder, load_rule
    from facerec.landmarks.image import read_image
    from facerec.landmarks.landmarker import Landmarker
    from facerec.recognition.descriptors import load_descriptor
    from facerec.recognition.recognizer import DescribedFace, Recognizer
    from facerec.recognition.store.galleries import open_gallery, search_of

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    spent: dict[str, float] = {}
    rule, verifier = load_rule()
    finder = FaceFinder(
        Timed(load_detector().detector, "detect", spent, "detect"),
        Timed(Landmarker.load(), "locate", spent, "landmarks"),
        rule,
        Timed(verifier, "log_odds", spent, "verify"),
    )
    recognizer = Recognizer(finder, FaceModel.load(), load_descriptor("resnet"), Recognizer.load().contract)
    names = ("decode", "detect", "verify", "landmarks", "fit", "lift", "describe", "search")
    taken: dict[str, list[float]] = {name: [] for name in (*names, "all")}
    with open_gallery(gallery) as opened:
        search = search_of(opened)
        for number, path in enumerate([*paths[:5], *paths]):
            spent.clear()
            begun = time.perf_counter()
            image = read_image(path)
            spent["decode"] = time.perf_counter() - begun
            faces = [face for face in recognizer.describe(image) if isinstance(face, DescribedFace)]
            for stage in ("fit", "lift", "describe"):
                spent[stage] = sum(face.timings_ms[stage] for face in faces) / 1000
            start = time.perf_counter()
            if faces:
                search.search([face.signature for face in faces])
            spent["search"] = time.perf_counter() - start
            if number >= 5:
                for name in names:
                    taken[name].append(1000 * spent.get(name, 0.0))
                taken["all"].append(1000 * (time.perf_counter() - begun))
    torch.set_num_threads(threads)
    print("by stage, one thread, median [quartiles] ms per picture:")
    for name, values in taken.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        print(f"  {name:10s} {middle:6.1f} [{low:.1f}, {high:.1f}]")


def rounds(paths: list[Path], gallery: Path, peer: Path | None) -> None:
    """Print end-to-end times: facerec one picture at a time and as a folder, and the peer, in turn."""
    import torch

    from facerec.landmarks.image import read_image
    from facerec.recognition.recognizer import Recognizer

    recognizer, threads = Recognizer.load(), len(os.sched_getaffinity(0))

    def one_by_one() -> list[float]:
        torch.set_num_threads(threads)
        each = []
        for path in paths:
            start = time.perf_counter()
            recognizer.describe(read_image(path))
            each.append(1000 * (time.perf_counter() - start))
        return each

    results: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        results.setdefault(name, []).append(value)

    one_by_one()
    for _ in range(3):
        add("facerec, one picture at a time (median)", sorted(one_by_one())[len(paths) // 2])
        start = time.perf_counter()
        out = facerec("identify", *map(str, paths), "-g", str(gallery), "-q", "--json")
        seconds = time.perf_counter() - start
        add("facerec, all of them, models loaded again", 1000 * seconds / len(paths))
        found = sum(json.loads(line)["decision"] != "none" for line in out.splitlines())
        start = time.perf_counter()
        facerec("identify", str(paths[0]), "-g", str(gallery), "-q", "--json")
        add("facerec, all of them", 1000 * (seconds - (time.perf_counter() - start)) / len(paths))
        if peer is not None:
            done = subprocess.run(
                [str(peer), _peer_file(gallery.parent)],
                input=json.dumps([str(path) for path in paths]),
                capture_output=True,
                text=True,
                check=True,
            )
            answer = json.loads(done.stdout.splitlines()[-1])
            add("face_recognition, one picture at a time (median)", sorted(answer["each"])[len(paths) // 2])
            add("face_recognition, all of them, one process", answer["one"])
            add("face_recognition, all of them, two processes", answer["two"])
            add("face_recognition, pictures with a face", answer["found"])
        add("facerec, faces", found)
    print(f"end to end, {len(paths)} pictures, ms per picture, three rounds:")
    for name, values in results.items():
        print(f"  {name:52s} " + "  ".join(f"{value:6.1f}" for value in values))
    print(f"  peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _peer_file(folder: Path) -> str:
    # Worker processes import the program, so it must be a file.
    file = folder / "peer_speed.py"
    file.write_text(PEER)
    return str(file)


def cold(photo: Path, gallery: Path) -> None:
    """Print what a fresh process takes for `--help` and for the first answer."""

    def least(run: Callable[[], Any]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return min(times)

    def command(*words: str) -> Callable[[], Any]:
        call = [sys.executable, "-m", "facerec.cli.main", *words]
        return lambda: subprocess.run(call, check=True, capture_output=True)

    print(f"facerec --help: {1000 * least(command('--help')):.0f} ms")
    print(f"facerec identify PHOTO, from nothing: {least(command('identify', str(photo), '-g', str(gallery))):.2f} s")


def soak(paths: list[Path], gallery: Path, count: int) -> None:
    """Print memory and speed while `count` pictures are identified, two at a time, as `facerec identify` does."""
    import itertools

    from facerec.landmarks.device import share_cores
    from facerec.recognition.identification import IdentificationSettings, Identifier
    from facerec.recognition.recognizer import Recognizer
    from facerec.recognition.store.galleries import open_gallery, search_of
    from facerec.recognition.threshold import threshold_of

    recognizer = Recognizer.load()
    marks, done, begun = {10, 100, 1000, *range(2000, count + 1, 2000)}, 0, time.perf_counter()
    with open_gallery(gallery) as opened:
        threshold = threshold_of(opened)
        settings = IdentificationSettings(workers=share_cores(None, "cpu", count))
        identifier = Identifier(recognizer, search_of(opened), threshold, settings)
        last = Path()
        for probe in identifier.identify(itertools.islice(itertools.cycle(paths), count)):
            done += probe.file != last
            last = probe.file
            if done in marks:
                marks.discard(done)
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                each = 1000 * (time.perf_counter() - begun) / done
                print(f"  {done} pictures: {pages * resource.getpagesize() / 2**20:.0f} MB, {each:.1f} ms per picture")


if __name__ == "__main__":
    main()
