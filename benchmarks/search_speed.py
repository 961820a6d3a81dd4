"""Exact search by bytes and numpy's products in turn, in memory: milliseconds, memory, equal answers.

    python benchmarks/search_speed.py [--entries 1000000] [--shape 4x128] [--probes 256] [--rounds 5] [--people 5]
    python benchmarks/search_speed.py --simulated --entries 10000000

Two pictures per person, seen through the masks of a pose (`gallery_scale.py`). numpy computes the two products of the
masked score over one matrix in memory, 32 probes at a time, and takes the best; facerec answers with the best people,
by name. Both take turns in one process with one thread. With --same, so many probes, half of them mates of
entries, are searched by bytes and by floats, and every field of their answers is compared. With --simulated only
the first vectors are kept, and the others are made of them when they are read, so that a machine without memory for
them can be measured; numpy is then left out.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from gallery_scale import people, pictures
from numpy.typing import NDArray

from facerec.recognition.masked_score import Vectors, masked_scores
from facerec.recognition.search import MaskedSearch, SearchResult, SearchSettings
from facerec.recognition.signature import Signature
from facerec.recognition.store.records import EntryIndex

BLOCK = 10_000
"""Entries that are made together, from one seed."""

BASE = 100_000
"""Entries that a simulated store keeps."""

BYTES = SearchSettings(byte_probes=0, kept_bytes=1 << 40)
FLOATS = SearchSettings(byte_entries=1 << 40)


def block(number: int, shape: tuple[int, int]) -> Vectors:
    """Vectors of the entries from BLOCK * number on, both pictures of a person side by side."""
    who = np.repeat(people(BLOCK // 2 * number, BLOCK // 2, shape), 2, axis=0)
    return pictures(np.random.default_rng([2, number]), who)


class Store:
    """Vectors of `entries` signatures in memory.

    `simulated`, only the first BASE of them are kept; the others are these with the numbers of each cell moved on by
    one place per BASE entries, which makes them strangers.
    """

    def __init__(self, entries: int, shape: tuple[int, int], simulated: bool) -> None:
        count = min(entries, BASE) if simulated else entries
        self.kept: Vectors = np.empty((count, *shape), np.float32), np.empty((count, shape[0]), np.bool_)
        for start in range(0, count, BLOCK):
            for whole, part in zip(self.kept, block(start // BLOCK, shape), strict=True):
                whole[start : start + BLOCK] = part[: count - start]

    def rows(self, at: slice | NDArray[np.int64]) -> Vectors:
        """Vectors by their places."""
        count = len(self.kept[1])
        if isinstance(at, slice) and at.stop <= count:
            return self.kept[0][at], self.kept[1][at]
        places = np.arange(at.start, at.stop) if isinstance(at, slice) else at
        cells, seen = self.kept[0][places % count], self.kept[1][places % count]
        moved = places // count
        for turn in np.unique(moved[moved > 0]):
            cells[moved == turn] = np.roll(cells[moved == turn], turn, axis=2)
        return cells, seen


def probes_of(entries: int, shape: tuple[int, int], count: int) -> list[Signature]:
    """`count` probes, mates of entries and strangers in turn."""
    rng = np.random.default_rng(3)
    half = -(-count // 2)
    chosen = rng.integers(0, max(1, min(entries, BASE) // BLOCK), -(-half // 100))
    mates = np.concatenate([people(BLOCK // 2 * int(n), BLOCK // 2, shape)[:100] for n in chosen])[:half]
    strangers = people(0x7FFFFFFF, half, shape)
    who = np.stack([mates, strangers], axis=1).reshape(-1, *shape)[:count]
    return [Signature(*one, "c") for one in zip(*pictures(rng, who), strict=True)]


def search_of(store: Store, entries: int, shape: tuple[int, int], settings: SearchSettings) -> MaskedSearch:
    person = np.arange(entries) // 2
    names = tuple(f"person {number:08d}" for number in range(int(person[-1]) + 1))
    index = EntryIndex(np.arange(entries), person, names, np.arange(entries))
    return MaskedSearch(index, shape, "c", store.rows, settings)


def fields(results: list[SearchResult]) -> list[object]:
    """All that an answer says."""
    return [([astuple(m) for m in r.matches], r.people, r.comparable, r.largest_overlap) for r in results]


def spent(run: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock and processor seconds of a call."""
    wall, work = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - work


def by_numpy(held: Vectors, asked: list[Signature]) -> None:
    cells, seen = np.stack([p.cells for p in asked]), np.stack([p.visible for p in asked])
    for i in range(0, len(asked), 32):
        masked_scores((cells[i : i + 32], seen[i : i + 32]), held, "numpy")[0].argmax(axis=1)


def say(what: str, taken: list[tuple[float, float]], unit: float) -> tuple[float, float]:
    wall, work = (median(one[k] for one in taken) * unit for k in (0, 1))
    print(f"  {what:42s} {wall:9.2f} wall-clock, {work:9.2f} processor {'ms' if unit > 1 else 's'}", flush=True)
    return wall, work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--shape", default="4x128")
    parser.add_argument("--probes", type=int, default=256, help="probes that are searched together")
    parser.add_argument("--rounds", type=int, default=5, help="batches; ten times as many single probes")
    parser.add_argument("--same", type=int, default=0, help="probes whose answers by bytes and floats are compared")
    parser.add_argument("--people", type=int, default=5, help="best people of an answer; 64 where a cohort ranks again")
    parser.add_argument("--simulated", action="store_true")
    options = parser.parse_args()
    cells, width = (int(number) for number in options.shape.split("x"))
    entries, shape = options.entries, (cells, width)
    store = Store(entries, shape, options.simulated)
    search, asked = search_of(store, entries, shape, BYTES), probes_of(entries, shape, max(options.probes, 10))
    print(f"{entries} entries of {options.shape}, {options.probes} probes together:")
    say("making the bytes, and a first answer", [spent(partial(search.search, asked[:1], options.people))], 1)
    held = None if options.simulated else store.kept
    if held is not None:
        by_numpy(held, asked[:1])
    one: tuple[list[tuple[float, float]], ...] = ([], [])
    many: tuple[list[tuple[float, float]], ...] = ([], [])
    for k in range(10 * options.rounds):
        own = [asked[k % len(asked)]]
        one[0].append(spent(partial(search.search, own, options.people)))
        if held is not None:
            one[1].append(spent(partial(by_numpy, held, own)))
    for _ in range(options.rounds):
        many[0].append(spent(partial(search.search, asked[: options.probes], options.people)))
        if held is not None:
            many[1].append(spent(partial(by_numpy, held, asked[: options.probes])))
    for what, (ours, theirs), unit in (("one probe, median", one, 1000.0), ("together, median", many, 1.0)):
        mine = say(f"{what}, bytes", ours, unit)
        if theirs:
            other = say(f"{what}, numpy", theirs, unit)
            print(f"  {what:42s} ratio {mine[0] / other[0]:.3f} wall-clock, {mine[1] / other[1]:.3f} processor")
    print(f"  peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    if options.same:
        plain, equal = search_of(store, entries, shape, FLOATS), 0
        trial = probes_of(entries, shape, options.same)
        for start in range(0, len(trial), 250):
            part = trial[start : start + 250]
            pairs = zip(fields(search.search(part)), fields(plain.search(part)), strict=True)
            equal += sum(a == b for a, b in pairs)
        print(f"  answers equal in every field: {equal} of {len(trial)}")


if __name__ == "__main__":
    main()
