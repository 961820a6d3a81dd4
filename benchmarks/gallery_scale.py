"""How a gallery grows: build, size, memory and search time from 10^3 to 10^6 synthetic signatures.

    python benchmarks/gallery_scale.py WORK [--sizes 1000,10000,100000,1000000] [--shape 4x128] [--methods ivf,hnsw,pq]

Two pictures per person, seen through the masks of a pose; two pictures of one person have cosine 0.6 in each cell,
those of two people none but by chance. Galleries that are in WORK already are used again. Each search runs in a
process of its own, so that memory is its own. "core" figures are time of one core, which other jobs beside hardly
change. Beside them: one numpy matrix in memory, and lists in a Python loop.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.types import Box
from facerec.recognition.masked_score import masked_scores
from facerec.recognition.shortlist import ShortlistIndex
from facerec.recognition.signature import Signature
from facerec.recognition.store.derived_files import derived_file
from facerec.recognition.store.galleries import search_of
from facerec.recognition.store.records import NewEntry, NewPhoto
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.store.vector_file import VectorFile

COSINE = 0.6
"""Of two pictures of one person, in each cell both saw."""

BATCH = 256


class SyntheticContract:
    digest = "synthetic-scale"

    def as_json(self) -> str:
        return json.dumps({"descriptor": "synthetic"})


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def masks(rng: np.random.Generator, n: int, cells: int) -> NDArray[np.bool_]:
    """Visibility (n, cells): 60 % see all, the others one side and part of the other, to either side."""
    place = np.linspace(-1, 1, cells)[None, :]
    turn = rng.uniform(0.2, 0.9, (n, 1)) * rng.choice([-1, 1], (n, 1))
    turned = place * np.sign(turn) > 2 * np.abs(turn) - 1.5
    return np.where(rng.random((n, 1)) < 0.6, True, turned)


def people(first: int, n: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Directions (n, C, D) of the people from number `first` on; always the same for the same `first` and `n`."""
    return unit(np.random.default_rng([1, first]).standard_normal((n, *shape), dtype=np.float32))


def pictures(rng: np.random.Generator, who: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One picture of each of `who` (n, C, D): cells and visibility."""
    noise = unit(rng.standard_normal(who.shape, dtype=np.float32))
    visible = masks(rng, len(who), who.shape[1])
    cells = unit(np.sqrt(COSINE) * who + np.sqrt(1 - COSINE) * noise) * visible[:, :, None]
    return cells.astype(np.float32), visible


def build(path: Path, n: int, shape: tuple[int, int]) -> float:
    """Fill a gallery with `n` signatures, 1,000 a transaction; seconds spent in it, its impostor scores included."""
    spent = 0.0
    contract = SyntheticContract()
    fresh = path.with_name(path.name + ".part")
    fresh.unlink(missing_ok=True)
    box = Box(10.0, 10.0, 90.0, 110.0, 0.9)
    with Gallery.create(fresh, contract) as gallery:
        for first in range(0, n // 2, 500):
            who = people(first, 500, shape)
            new = []
            for picture in range(2):
                cells, visible = pictures(np.random.default_rng([2, first, picture]), who)
                for i in range(500):
                    person = first + i
                    entry = NewEntry(
                        0, Signature(cells[i], visible[i], contract.digest), (0.0, 0.0, 0.0), 0.8, 0.8, box
                    )
                    place = Path(f"p{person:07d}/{picture}.jpg")
                    sha256 = f"{person:032x}{picture:032x}"
                    new.append(NewPhoto(f"p{person:07d}", sha256, place, place, "largest", "enrolled", "", (entry,)))
            began = time.perf_counter()
            gallery.add(new)
            spent += time.perf_counter() - began
        began = time.perf_counter()
    fresh.rename(path)
    return spent + time.perf_counter() - began


def probes(n: int, shape: tuple[int, int], mated: bool, seed: int) -> tuple[list[Signature], list[str]]:
    """Probes and whose they are: new pictures of enrolled people, or of strangers."""
    rng = np.random.default_rng([3, seed, mated])
    who = rng.integers(0, n // 2, BATCH) if mated else np.arange(BATCH) + 10**9
    directions = np.stack([people(w // 500 * 500, 500, shape)[w % 500] for w in who.tolist()])
    cells, visible = pictures(rng, directions)
    made = [Signature(c, v, SyntheticContract.digest) for c, v in zip(cells, visible, strict=True)]
    return made, [f"p{w:07d}" for w in who.tolist()]


def memory() -> dict[str, float]:
    """Of this process, MB: its own (anonymous), and mapped files that are in memory at the moment."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[key].split()[0]) / 1024 for name, key in (("own", "RssAnon"), ("mapped", "RssFile"))}


def measure(path: Path, n: int, shape: tuple[int, int], method: str, singles: int) -> dict[str, object]:
    """Open and search the gallery as `facerec identify` does."""
    one = probes(n, shape, True, 5)[0]
    import faiss  # noqa: F401  # its loading is not the gallery's

    before = memory()["own"]
    began = time.perf_counter()
    with Gallery.open(path) as gallery:
        search = search_of(gallery, method)
        opened = time.perf_counter() - began
        search.search(one[:1], 5)
        first = time.perf_counter() - began
        times, work = [], []
        for probe in one[:singles]:
            began, spent = time.perf_counter(), time.process_time()
            search.search([probe], 5)
            times.append(1000 * (time.perf_counter() - began))
            work.append(1000 * (time.process_time() - spent))
        began, spent = time.perf_counter(), time.process_time()
        search.search(one, 5)
        batch, batch_work = time.perf_counter() - began, time.process_time() - spent
        found: dict[str, list[str]] = {}
        rank1 = 0.0
        for kind, mated in (("mated", True), ("strangers", False)):
            asked, names = probes(n, shape, mated, 8)
            best = [r.matches[0].person if r.matches else "" for r in search.search(asked, 1)]
            found[kind] = best
            if mated:
                rank1 = float(np.mean([a == b for a, b in zip(best, names, strict=True)]))
    return {
        "open_s": opened,
        "first_answer_s": first,
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "batch256_s": batch,
        "p50_core_ms": float(np.percentile(work, 50)),
        "p99_core_ms": float(np.percentile(work, 99)),
        "batch256_core_s": batch_work,
        "own_MB": memory()["own"] - before,
        "mapped_MB": memory()["mapped"],
        "rank1": rank1,
        "found": found,
    }


def measure_numpy(path: Path, n: int, shape: tuple[int, int], singles: int) -> dict[str, object]:
    """The plain way: one matrix in memory, one product, argmax."""
    asked, _ = probes(n, shape, True, 5)
    with Gallery.open(path) as gallery:
        held = VectorFile.open(gallery).rows(slice(0, n))
    held = np.array(held[0]), held[1]
    stacked = np.stack([p.cells for p in asked]), np.stack([p.visible for p in asked])
    times = []
    for i in range(singles):
        began = time.process_time()
        masked_scores((stacked[0][i : i + 1], stacked[1][i : i + 1]), held, "numpy")[0].argmax(axis=1)
        times.append(1000 * (time.process_time() - began))
    began = time.process_time()
    for i in range(0, BATCH, 32):
        masked_scores((stacked[0][i : i + 32], stacked[1][i : i + 32]), held, "numpy")[0].argmax(axis=1)
    return {
        "p50_core_ms": float(np.percentile(times, 50)),
        "p99_core_ms": float(np.percentile(times, 99)),
        "batch256_core_s": time.process_time() - began,
        "own_MB": memory()["own"],
    }


def measure_loop(path: Path, n: int, shape: tuple[int, int]) -> dict[str, object]:
    """The way of today's tools: a Python loop over lists of floats, one cosine at a time (no mask)."""
    with Gallery.open(path) as gallery:
        cells, _ = VectorFile.open(gallery).rows(slice(0, n))
    lists = cells.reshape(n, -1).tolist()
    asked, _ = probes(n, shape, True, 5)
    times = []
    for probe in asked[:3]:
        one = probe.cells.ravel().tolist()
        began = time.process_time()
        best = max(range(n), key=lambda i: _cosine(one, lists[i]))
        times.append(1000 * (time.process_time() - began))
        assert best >= 0
    return {"p50_core_ms": float(np.median(times))}


def _cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (
        (sum(x * x for x in a) ** 0.5) * (sum(y * y for y in b) ** 0.5)
    )


def in_own_process(path: Path, n: int, shape: str, method: str, singles: int) -> dict[str, object]:
    command = [sys.executable, __file__, str(path), "--measure", method, "--sizes", str(n), "--shape", shape]
    done = subprocess.run([*command, "--singles", str(singles)], check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def say(n: int, what: str, **values: object) -> None:
    shown = {k: round(v, 4 if abs(v) < 10 else 1) if isinstance(v, float) else v for k, v in values.items()}
    print(json.dumps({"entries": n, "what": what, **shown}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--shape", default="4x128")
    parser.add_argument("--methods", default="ivf,hnsw,pq")
    parser.add_argument("--hnsw-up-to", type=int, default=100_000, help="larger galleries take HNSW hours to build")
    parser.add_argument("--singles", type=int, default=100)
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    shape: tuple[int, int] = tuple(int(v) for v in options.shape.split("x"))  # type: ignore[assignment]
    if options.measure:
        run = {"numpy": measure_numpy, "loop": lambda *a: measure_loop(*a[:3])}.get(options.measure)
        arguments = (options.work, sizes[0], shape)
        made = run(*arguments, options.singles) if run else measure(*arguments, options.measure, options.singles)
        print(json.dumps(made))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    for n in sizes:
        path = options.work / f"{options.shape}-{n}.gallery"
        if not path.exists():
            began = time.process_time()
            seconds = build(path, n, shape)
            made_in = time.process_time() - began  # with making the signatures
            say(n, "build", seconds=seconds, per_s=n / seconds, core_s=made_in, MB=path.stat().st_size / 1e6)
        with Gallery.open(path) as gallery:
            began, spent = time.perf_counter(), time.process_time()
            VectorFile.build(gallery)
            took = {"seconds": time.perf_counter() - began, "core_s": time.process_time() - spent}
            say(n, "map", **took, MB=derived_file(path, ".vectors").stat().st_size / 1e6)
        exact = in_own_process(path, n, options.shape, "exact", options.singles)
        wanted = exact.pop("found")
        say(n, "exact", **exact)
        say(n, "numpy", **in_own_process(path, n, options.shape, "numpy", options.singles))
        if n <= 10_000:
            say(n, "python loop", **in_own_process(path, n, options.shape, "loop", options.singles))
        for method in options.methods.split(","):
            if method == "hnsw" and n > options.hnsw_up_to:
                continue
            with Gallery.open(path) as gallery:
                began, spent = time.perf_counter(), time.process_time()
                made = ShortlistIndex.build(gallery, method)
                took = {"build_s": time.perf_counter() - began, "build_core_s": time.process_time() - spent}
            size = derived_file(path, f".{method}").stat().st_size / 1e6
            row = in_own_process(path, n, options.shape, method, options.singles)
            found = row.pop("found")
            recall = {f"recall1_{kind}": _recall(found[kind], wanted[kind]) for kind in wanted}
            effort = f"{made.effort.entries}/{made.effort.visited}"
            say(n, method, **took, MB=size, effort=effort, trials=made.recall, **recall, **row)


def _recall(found: list[str], wanted: list[str]) -> float:
    return float(np.mean([a == b for a, b in zip(found, wanted, strict=True)]))


if __name__ == "__main__":
    main()
