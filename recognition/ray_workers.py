"""Work on many machines: Ray actors hold models and receive work photograph by photograph.

Enrolment and evaluation both read photographs and write results in one process and only describe elsewhere, so what
they write is the same as without Ray. An actor that dies is restarted on some machine and its requests are repeated;
describing has no side effects, so this costs only time.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from facerec.landmarks.errors import ContractError, FacerecError, InvalidInputError
from facerec.recognition.description import Describer, EnrolmentSettings, Outcome, describe_photo

Models = TypeVar("Models")
Models_co = TypeVar("Models_co", covariant=True)
Item = TypeVar("Item")
Result = TypeVar("Result")

START_S = 600.0
"""How long actors may take to start, seconds. Loading models takes a few, on a busy machine a minute or two; a cloud
machine that joins only now takes some minutes. A cluster that is too small would otherwise be waited for forever."""

_EACH = 2
"""Items that an actor is given at a time: one that it works on and the next, so that it never waits for its bytes."""

_AHEAD = 8
"""Items per actor that may be started before the oldest is finished: bounds what is kept while one actor is slow."""


class RayError(FacerecError):
    """The Ray cluster cannot be reached, or its workers cannot be started."""


class RayWorkers(Generic[Models_co]):
    """Actors of a Ray cluster, each with models of its own. Made by `connect`."""

    def __init__(self, actors: Sequence[Any]) -> None:
        """Use `connect`."""
        self._actors = actors

    @staticmethod
    @contextlib.contextmanager
    def connect(
        address: str,
        workers: int,
        load: Callable[[], Models],
        contract_of: Callable[[Models], str],
        contract: str,
        gpus: float = 0,
        start_s: float = START_S,
    ) -> Iterator[RayWorkers[Models]]:
        """Start `workers` actors on the cluster at `address` and stop them at the end.

        Args:
            address: HOST:PORT of the cluster's head, "auto" for the one this machine belongs to, "local" for one that
                lives as long as this.
            workers: actors, each with models of its own and one CPU.
            load: loads the models; called on the actors' machines, where the same facerec must be installed.
            contract_of: digest of the contract of loaded models.
            contract: the digest that the actors' models must have.
            gpus: GPUs per actor.
            start_s: see `START_S`.

        Raises:
            RayError: there is no such cluster, or it did not start the actors in time.
            ContractError: another machine has other models.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # facerec sends nothing anywhere
        try:
            import ray
        except ImportError as error:
            raise InvalidInputError(f"expected Ray for --ray; install facerec[ray] ({error})") from error
        mine = not ray.is_initialized()
        if mine:
            local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
            try:
                ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
            except Exception as error:  # Ray raises bare Exceptions when a node does not come up
                raise RayError(f"Ray at {address}: {error}{_token_hint(address)}") from error
        actors: list[Any] = []
        try:
            # Endless retries: what is lost with a machine is asked of another.
            make: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=-1)
            actors += [make(_Worker).remote(load, contract_of) for _ in range(workers)]
            for digest in _wait_for_actors(ray, address, actors, gpus, start_s):
                if digest != contract:
                    raise ContractError(
                        f"expected workers with models of contract {contract[:12]}; one has {digest[:12]}. Install "
                        f"the same facerec on every machine"
                    )
            yield RayWorkers(actors)
        except ray.exceptions.RayError as error:
            raise RayError(f"Ray at {address}: {error}") from error
        finally:
            for actor in actors:
                ray.kill(actor)
            if mine:
                ray.shutdown()

    def map(self, work: Callable[[Models_co, Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`work(models, item)` of each of `items`, in their order; items are taken as the actors get to them.

        What `work` raises on an actor is raised here.
        """
        import ray

        coming = enumerate(items)
        free = deque(actor for _ in range(_EACH) for actor in self._actors)
        running: dict[Any, tuple[int, Any]] = {}
        done: dict[int, Result] = {}
        wanted = 0
        while True:
            while free and len(running) + len(done) < _AHEAD * len(self._actors):
                number, item = next(coming, (-1, None))
                if number < 0:
                    break
                actor = free.popleft()
                running[actor.run.remote(work, item)] = number, actor
            if wanted in done:
                yield done.pop(wanted)
                wanted += 1
                continue
            if not running:
                return
            (finished,), _ = ray.wait(list(running))
            number, actor = running.pop(finished)
            free.append(actor)
            try:
                done[number] = ray.get(finished)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error


class RayDescriber:
    """Describes photographs of an enrolment by Ray actors (see `description.DescribeMany`)."""

    def __init__(self, workers: RayWorkers[Describer]) -> None:
        self._workers = workers

    def __call__(self, photos: Sequence[Path], settings: EnrolmentSettings) -> Iterator[Outcome]:
        """The result for each of `photos`, in their order. Their bytes are sent, so workers need no access to the
        files.
        """
        return self._workers.map(_describe, ((photo_bytes(path), settings) for path in photos))


def describer_contract(describer: Describer) -> str:
    """`contract_of` for an enrolment's models."""
    return describer.contract.digest


def photo_bytes(path: Path) -> bytes:
    """The bytes of a photograph that was there a moment ago; none, which no worker can read, when it is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _describe(describer: Describer, photo: tuple[bytes, EnrolmentSettings]) -> Outcome:
    return describe_photo(photo[0], describer, photo[1])


def _token_hint(address: str) -> str:
    """What to try when a cluster refuses: since Ray 2.60 it requires a token that programs do not send unasked."""
    if address == "local" or os.environ.get("RAY_AUTH_MODE"):
        return ""
    return (
        ". If the cluster requires a token, set RAY_AUTH_MODE=token and give every machine the same "
        "~/.ray/auth_token (docs/scale.md)"
    )


def _wait_for_actors(ray: Any, address: str, actors: Sequence[Any], gpus: float, start_s: float) -> list[str]:
    """The contract of every actor's models, once all have loaded them."""
    try:
        digests: list[str] = ray.get([actor.contract.remote() for actor in actors], timeout=start_s)
    except ray.exceptions.GetTimeoutError:
        there = ray.cluster_resources()
        wanted = f"{len(actors)} CPUs" + (f" and {len(actors) * gpus:g} GPUs" if gpus else "")
        raise RayError(
            f"Ray at {address}: expected {len(actors)} workers to start within {start_s:g} s, which takes {wanted}; "
            f"the cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs, others may use them"
        ) from None
    return digests


class _Worker:
    """Runs on some machine of the cluster."""

    def __init__(self, load: Callable[[], Any], contract_of: Callable[[Any], str]) -> None:
        self._models = load()
        self._contract = contract_of(self._models)

    def contract(self) -> str:
        return self._contract

    def run(self, work: Callable[[Any, Any], Any], item: Any) -> Any:
        return work(self._models, item)
