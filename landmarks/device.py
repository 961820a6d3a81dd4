"""Where networks run, and how photographs share the cores."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from facerec.landmarks.cores import usable_cores
from facerec.landmarks.engine import engine_on
from facerec.landmarks.errors import DeviceError, InvalidInputError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController, _ThreadpoolLimiter

Device = Literal["cpu", "cuda"]


def resolve_device(requested: str) -> Device:
    """The device the networks run on: "cpu" or "cuda".

    Args:
        requested: "auto" (the GPU when torch can use one), "cpu" or "cuda".

    Raises:
        DeviceError: "cuda" was asked for and cannot be used; says why. InvalidInputError: another device.
    """
    if requested == "cpu":
        return "cpu"
    if requested not in ("auto", "cuda"):
        raise InvalidInputError(f"expected the device 'auto', 'cpu' or 'cuda'; got {requested!r}")
    if requested == "auto" and not _driver_there():
        return "cpu"  # without asking torch, whose loading takes half a second or more
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if requested == "auto":
        return "cpu"
    built = torch.version.cuda
    why = "torch finds no usable GPU" if built else "this torch was built without CUDA"
    raise DeviceError(f"expected a CUDA device for 'cuda'; {why} (torch {torch.__version__}). Use --device cpu")


def check_device(device: str) -> str:
    """`device`, when networks can run there.

    Raises:
        DeviceError: it is a GPU that torch does not see.
    """
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise DeviceError(f"the device {device} was requested, but torch finds no CUDA device")
    return device


def _driver_there() -> bool:
    """Whether this machine may have a GPU that torch can use: its driver leaves one of these."""
    return any(os.path.exists(path) for path in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")) or os.name == "nt"


def photos_at_once(workers: int | None, device: str, photos: int) -> int:
    """How many photographs to work on at a time: `workers`, or one per core (at most `photos`), or one on a GPU."""
    return workers or (1 if device == "cuda" else max(1, min(usable_cores(), photos)))


def share_cores(workers: int | None, device: str, photos: int) -> int:
    """How many photographs to work on at a time, each with its share of the cores for its networks.

    The networks are small: two photographs on a core each are done sooner than one after the other on two. The share
    holds for the rest of the process; `cores_shared` gives it back.

    Args:
        workers: as asked for, or None.
        device: where the networks run.
        photos: how many there are.
    """
    from threadpoolctl import threadpool_limits

    # The fit's linear algebra is many small systems. A pool of its own for them, spinning beside torch's, doubles the
    # time of everything else. Called before the search's library comes in, which keeps its threads.
    threadpool_limits(1, user_api="blas")
    chosen = photos_at_once(workers, device, photos)
    if engine_on(device) == "torch":
        import torch

        torch.set_num_threads(_threads_each(chosen))
    return chosen


@contextmanager
def cores_shared(workers: int) -> Iterator[None]:
    """`share_cores` among `workers` photographs, for as long as the context lasts."""
    with one_blas_thread():
        if engine_on() == "onnx":  # a session has one thread, whoever uses it
            yield
            return
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(_threads_each(workers))
        try:
            yield
        finally:
            torch.set_num_threads(before)


class _BlasLimit:
    """How many threads of this process ask for linear algebra on one thread, and how to end the limit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asking = 0
        self.limit: _ThreadpoolLimiter | None = None


_blas = _BlasLimit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Have the BLAS below numpy work on the calling thread alone for as long as the context lasts.

    The fit multiplies many small matrices. A pool of threads saves it a twentieth of a photograph's time and, by
    waiting actively between them, keeps another core busy, on which a second photograph could be described. Any number
    of threads may be inside at once: the first one in sets the limit of the process, the last one out lifts it.
    """
    from threadpoolctl import OpenBLASController

    # OpenBLAS has one limit for all threads, and threadpoolctl lets only the thread change it that did so first: here
    # the lock says whose turn it is.
    with _blas.lock:
        if _blas.asking == 0:
            OpenBLASController.clear_controlling_thread(force=True)
            _blas.limit = _blas_pools(len(sys.modules)).limit(limits=1, user_api="blas")
        _blas.asking += 1
    try:
        yield
    finally:
        with _blas.lock:
            _blas.asking -= 1
            if _blas.asking == 0 and _blas.limit is not None:
                OpenBLASController.clear_controlling_thread(force=True)
                _blas.limit.restore_original_limits()
                _blas.limit = None


@lru_cache(1)
def _blas_pools(modules: int) -> ThreadpoolController:
    """The thread pools of the libraries loaded with so many `modules`; looking for them takes a millisecond."""
    import numpy  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _threads_each(workers: int) -> int:
    """Threads for the networks of each of `workers` photographs; never more than OMP_NUM_THREADS allows."""
    import torch

    return max(1, min(torch.get_num_threads(), usable_cores() // workers))


def _one_thread_each() -> None:
    """Let the numerical libraries of a forked child work without the threads of their pools.

    Those threads are not copied by a fork, and a library that hands work to them waits for ever. One thread each is
    what a pool of processes wants anyway.
    """
    global _blas
    _blas = _BlasLimit()  # its lock may have been held by a thread that is not there any more
    if "torch" in sys.modules or "faiss" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
    if torch := sys.modules.get("torch"):  # keeps a count of its own beside that of the library below it
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread_each)
