"""How many cores this process may use, by its affinity and its cgroup's quota, not by the machine's number of cores."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may keep busy, at least 1.

    The least of its affinity (`taskset`, a job scheduler) and of the CPU quota of its cgroups (`--cpus` of a container,
    `CPUQuota=` of systemd), rounded up: one and a half cores keep two threads busy most of the time.

    Args:
        cgroups: where the kernel shows control groups.
        own: the file that names those of this process.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = list(_quotas(cgroups, own))
    return max(1, min(there, math.ceil(min(quotas)))) if quotas else there


def limit_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have the libraries that count the machine's cores by themselves start no more threads than may run.

    To be called before they are imported. They see an affinity, but no quota. What the user set stays.
    """
    cores = usable_cores()
    if cores < (os.cpu_count() or 1):
        for name in _THREAD_VARIABLES:
            environment.setdefault(name, str(cores))


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """CPU quotas in cores of this process's cgroup and of those around it, of version 2 and 1."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            roots, read = [cgroups, cgroups / "unified"], _quota_2
        elif "cpu" in controllers.split(","):
            roots, read = [cgroups / controllers, cgroups / "cpu"], _quota_1
        else:
            continue
        for root in roots:
            folder = root / path.lstrip("/")
            # A container sees its own group as the root, while `own` may name it as the host does.
            for place in {folder, *(parent for parent in folder.parents if parent.is_relative_to(root)), root}:
                quota = read(place)
                if quota is not None:
                    yield quota


def _quota_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return None if quota <= 0 else quota / period
    except (OSError, ValueError, ZeroDivisionError):
        return None
