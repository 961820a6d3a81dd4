"""Enrolment on many machines: Ray actors describe, this process reads the photographs and writes the gallery.

There stays one writer, so the gallery is the same as without Ray. An actor that dies is started anew, somewhere, and
what it was asked is asked again; describing has no effects, so that costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from facerec.landmarks.errors import ContractError, FacerecError, InvalidInputError
from facerec.recognition.enrolment import Describer, EnrolmentSettings, Outcome, describe_photo


class RayError(FacerecError):
    """The Ray cluster cannot be reached, or its workers cannot be started."""


class RayDescriber:
    """Describes photographs by actors of a Ray cluster (see `enrolment.DescribeMany`)."""

    def __init__(self, pool: Any, workers: int) -> None:
        """Use `connect`."""
        self._pool = pool
        self.workers = workers

    @staticmethod
    @contextlib.contextmanager
    def connect(
        address: str, workers: int, load: Callable[[], Describer], contract: str, gpus: float = 0
    ) -> Iterator[RayDescriber]:
        """Start `workers` actors on the cluster at `address` and stop them at the end.

        Args:
            address: HOST:PORT of the cluster's head, "auto" for the one this machine belongs to, "local" for one that
                lives as long as this.
            workers: actors, each with models of its own.
            load: loads the models; called on the actors' machines, where the same facerec must be installed.
            contract: digest of the contract that their models must have.
            gpus: GPUs an actor.

        Raises:
            RayError: there is no such cluster, or it cannot start the actors.
            ContractError: another machine has other models.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # facerec sends nothing anywhere
        try:
            import ray
            from ray.util import ActorPool
        except ImportError as error:
            raise InvalidInputError(f"expected Ray for --ray; install facerec[ray] ({error})") from error
        mine = not ray.is_initialized()
        try:
            if mine:
                local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
                ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
            # Endless retries: what is lost with a machine is asked of another.
            make: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=-1)
            remote = make(_Worker)
            actors = [remote.remote(load) for _ in range(workers)]
            for digest in ray.get([actor.contract.remote() for actor in actors]):
                if digest != contract:
                    raise ContractError(
                        f"expected workers with models of contract {contract[:12]}; one has {digest[:12]}. Install "
                        f"the same facerec on every machine"
                    )
            yield RayDescriber(ActorPool(actors), workers)
        except (ConnectionError, ray.exceptions.RayError) as error:
            raise RayError(f"Ray at {address}: {error}") from error
        finally:
            if mine:
                ray.shutdown()

    def __call__(self, photos: Sequence[Path], settings: EnrolmentSettings) -> Iterator[Outcome]:
        """What became of each of `photos`, in their order. Their bytes travel, so workers need not see the files."""
        return iter(self._pool.map(lambda actor, path: actor.describe.remote(_bytes(path), settings), photos))


class _Worker:
    """Runs on some machine of the cluster."""

    def __init__(self, load: Callable[[], Describer]) -> None:
        self._describer = load()

    def contract(self) -> str:
        return self._describer.contract.digest

    def describe(self, photo: bytes, settings: EnrolmentSettings) -> Outcome:
        return describe_photo(photo, self._describer, settings)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it was read a moment ago for its digest; empty bytes are unreadable to the worker
