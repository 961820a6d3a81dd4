"""Two actors of a local Ray do what this process does alone, also when one of them is killed in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason="needs facerec[ray]")

from collections.abc import Callable

from facerec.evaluation.protocols.recognition import Picture
from facerec.evaluation.signatures import describe_on, describe_systems, systems_contract
from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.description import EnrolmentSettings
from facerec.recognition.enrolment import enroll
from facerec.recognition.enrolment_plan import plan_enrolment
from facerec.recognition.ray_workers import RayDescriber, RayError, RayWorkers, describer_contract
from facerec.recognition.store.sqlite import Gallery

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own
]

ADDRESS = os.environ.get("FACEREC_TEST_RAY", "local")
"""A cluster that runs already, otherwise one that lives as long as these tests."""

PATIENCE_S = 120.0
"""A busy machine takes half a minute to import what the actors need; a fault must not hang the whole suite."""


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[Any]:
    """One for all of these tests: starting it takes some ten seconds. It has two CPUs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {"num_cpus": 2, "include_dashboard": False} if ADDRESS == "local" else {}
    ray.init(address=ADDRESS, log_to_driver=False, configure_logging=False, **local)
    # Functions of a test module cannot be imported by the actors; by value they can.
    ray.cloudpickle.register_pickle_by_value(__import__("sys").modules[__name__])
    yield
    ray.shutdown()


def load(models: str, marks: str | None = None, delay: float = 0.0, tag: str = "a") -> Any:
    """Runs on the actors: the pretended models, which leave their process's number in the folder `marks`."""
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location("pretend_models", models)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["pretend_models"] = module
    spec.loader.exec_module(module)
    if marks:
        (Path(marks) / str(os.getpid())).touch()
    return module.PretendRecognizer(tag, delay)


def load_systems(models: str) -> Any:
    return {"one": load(models), "two": load(models, tag="b")}


def same(models: object) -> str:
    return "same"


def slow_square(models: object, item: tuple[int, float]) -> int:
    time.sleep(item[1])
    if item[0] == 99:
        raise InvalidInputError("expected anything but 99")
    return item[0] ** 2


@pytest.fixture
def people(tmp_path: Path, pretend: ModuleType) -> Any:
    for person in range(1, 7):
        for picture in range(4):
            pretend.paint(tmp_path / "people" / f"p{person}" / f"{picture}.png", (person, 6, picture))
    pretend.paint(tmp_path / "people" / "p2" / "nobody.png")
    pretend.paint(tmp_path / "people" / "p3" / "unfitted.png", (pretend.UNFITTED, 6, 0))
    (tmp_path / "people" / "p1" / "torn.png").write_bytes(b"\x89PNG torn")
    return tmp_path / "people"


@contextlib.contextmanager
def one_killed(marks: Path) -> Iterator[Any]:
    """Kill one of two actors soon after both are there."""
    marks.mkdir()
    stop = threading.Event()

    def kill() -> None:
        while len(list(marks.iterdir())) < 2:
            if stop.wait(0.05):
                return
        time.sleep(0.4)
        os.kill(int(min(marks.iterdir()).name), signal.SIGKILL)

    watcher = threading.Thread(target=kill)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def test_two_workers_one_killed_give_the_same_gallery(people: Any, tmp_path: Path, pretend: ModuleType) -> None:
    settings = EnrolmentSettings(batch=8)
    plan = plan_enrolment([people])
    recognizer = pretend.PretendRecognizer()
    with Gallery.create(tmp_path / "alone", recognizer.contract) as gallery:
        alone = enroll(plan, gallery, recognizer, settings)
    marks = tmp_path / "marks"
    loader = partial(load, str(pretend.__file__), str(marks), 0.2)
    with (
        one_killed(marks),
        Gallery.create(tmp_path / "spread", recognizer.contract) as gallery,
        RayWorkers.connect(
            ADDRESS, 2, loader, describer_contract, recognizer.contract.digest, start_s=PATIENCE_S
        ) as workers,
    ):
        spread = enroll(plan, gallery, recognizer, settings, describe_many=RayDescriber(workers))
        assert gallery.verify().faults == ()
    assert len(list(marks.iterdir())) == 3  # two, and the one that took the killed one's place
    assert spread.digest == alone.digest
    assert (spread.enrolled, spread.reasons) == (24, {"fit_unstable": 1, "no_face": 1, "unreadable": 1})


def test_an_evaluation_by_workers_has_the_results_and_the_cache_of_one_without(
    people: Any, tmp_path: Path, pretend: ModuleType
) -> None:
    paths = [*sorted(people.rglob("*.png")), tmp_path / "gone.png"]
    pictures = [Picture(path, path.name, path.parent.name) for path in paths]
    systems = load_systems(str(pretend.__file__))
    alone = describe_systems(pictures, systems, tmp_path / "alone")
    # Part of the work is done already, by one system: fits are known, results of the other are lacking.
    describe_systems(pictures[:5], {"one": systems["one"]}, tmp_path / "spread")
    done: list[int] = []
    with RayWorkers.connect(
        ADDRESS,
        2,
        partial(load_systems, str(pretend.__file__)),
        systems_contract,
        systems_contract(systems),
        start_s=PATIENCE_S,
    ) as workers:
        spread = describe_systems(pictures, systems, tmp_path / "spread", done.append, describe_on(workers))
    assert len(done) == len(pictures)
    assert spread["one"].computed == alone["one"].computed - 5
    for name in systems:
        assert spread[name].digests == alone[name].digests
        for a, b in zip(alone[name].results, spread[name].results, strict=True):
            assert (a.reason, a.faces, a.failed_at, a.yaw, a.box) == (b.reason, b.faces, b.failed_at, b.yaw, b.box)
            assert (a.signature is None) == (b.signature is None)
            if a.signature is not None and b.signature is not None:
                assert a.signature.contract == b.signature.contract
                assert a.signature.cells.tobytes() == b.signature.cells.tobytes()
    stored = [{p.relative_to(tmp_path / way) for p in (tmp_path / way).rglob("*.npz")} for way in ("alone", "spread")]
    assert stored[0] == stored[1]
    assert describe_systems(pictures, systems, tmp_path / "spread")["two"].computed == 0


def test_results_come_in_order_and_faults_as_they_are() -> None:
    models: Callable[[], dict[str, object]] = dict
    with RayWorkers.connect(ADDRESS, 2, models, same, "same", start_s=PATIENCE_S) as workers:
        taken = []

        def items() -> Iterator[Any]:
            for i in range(40):
                taken.append(i)
                yield i, 1.0 if i == 0 else 0.0

        results = workers.map(slow_square, items())
        assert next(results) == 0
        assert len(taken) <= 16  # while the first was slow, no more than eight a worker were taken
        assert list(results) == [i**2 for i in range(1, 40)]
        with pytest.raises(InvalidInputError, match="anything but 99"):
            list(workers.map(slow_square, [(1, 0.0), (99, 0.0), (2, 0.0)]))


def test_workers_with_other_models_or_without_room_are_refused(pretend: ModuleType) -> None:
    with (
        pytest.raises(ContractError, match="Install the same facerec"),
        RayWorkers.connect(ADDRESS, 1, dict, same, "other", start_s=PATIENCE_S),
    ):
        pass
    if ADDRESS == "local":
        with (
            pytest.raises(RayError, match=r"expected 3 workers .* takes 3 CPUs; the cluster has 2 CPUs"),
            RayWorkers.connect(ADDRESS, 3, dict, same, "same", start_s=3),
        ):
            pass


def test_a_cluster_that_refuses_gets_the_hint_about_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(RayError, match=r"Failed to connect .* set RAY_AUTH_MODE=token"),
        RayWorkers.connect("head:6379", 1, dict, same, "same"),
    ):
        pass
