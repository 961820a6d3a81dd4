"""From one machine's measured figures to 10^9 faces: the arithmetic behind docs/scale.md.

    python benchmarks/scale_paper.py [--picture-s 0.32] [--far 1e-6]

Nothing here is measured. The inputs are (their commands stand in benchmarks/results/gallery.md and recognition.md);
what is printed follows from them, taking cost to grow in proportion to the number of entries.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Per entry of 4 cells x 128 numbers.

    Attributes:
        file: bytes in the SQLite file; mapped: in the mapped file; pq: in the PQ index.
        index: bytes of the client's index of entries and names, in memory.
        write_s: seconds of one core to store an entry.
        exact_s: seconds of one core to compare a probe with an entry in a batch; pq_s: to scan its code.
    """

    file: float = 2699.0
    mapped: float = 2083.0
    pq: float = 72.1
    index: float = 100.0
    write_s: float = 1.9e-4
    exact_s: float = 6.6e-8
    pq_s: float = 4e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture-s", type=float, default=0.32, help="seconds of one core to describe a picture")
    parser.add_argument("--far", type=float, default=1e-6, help="false accept rate of one comparison")
    parser.add_argument("--memory-gb", type=float, default=256, help="of one machine, for mapped vectors")
    options = parser.parse_args()
    one = Measured()
    print("faces     file     mapped   PQ       machines  writer    enrolment   exact    PQ       strangers above the")
    print("                                     for exact 1 core    core-years  core-s   core-s   threshold, a probe")
    for n in (10**6, 10**7, 10**8, 10**9):
        machines = max(1, -(-int(n * one.mapped) // int(options.memory_gb * 1e9)))
        years = n * options.picture_s / (365.25 * 86400)
        sizes = "".join(f"{n * size / 1e9:9.2f}GB" for size in (one.file, one.mapped, one.pq))
        work = f"{n * one.write_s / 3600:8.2f}h {years:10.2f} {n * one.exact_s:9.2f} {n * one.pq_s:8.3f}"
        print(f"10^{len(str(n)) - 1} {sizes} {machines:6d}  {work} {n * options.far:12.0f}")
    print(
        f"\none stranger in 100 taken for someone among 10^9 is a FAR of {0.01 / 1e9:.0e}: measuring it takes "
        f"{10 / (0.01 / 1e9):.0e} impostor pairs"
    )


if __name__ == "__main__":
    main()
