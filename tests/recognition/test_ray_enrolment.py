"""Enrolment by two actors of a local Ray gives the gallery that threads give, also when one of them is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="needs facerec[ray]")

from facerec.landmarks.errors import ContractError
from facerec.recognition.enrolment import EnrolmentSettings, enroll, plan_enrolment
from facerec.recognition.gallery import Gallery
from facerec.recognition.ray_enrolment import RayDescriber

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own
]


ADDRESS = os.environ.get("FACEREC_TEST_RAY", "local")
"""A cluster that runs already, otherwise one that lives as long as the test."""


def load(models: str, marks: str, delay: float, tag: str = "a"):
    """Runs on the actors: the pretended models, which leave their process's number in the folder `marks`."""
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location("pretend_models", models)
    module = importlib.util.module_from_spec(spec)
    sys.modules["pretend_models"] = module
    spec.loader.exec_module(module)
    (Path(marks) / str(os.getpid())).touch()
    return module.PretendRecognizer(tag, delay)


@pytest.fixture
def people(tmp_path, pretend):
    for person in range(1, 7):
        for picture in range(4):
            pretend.paint(tmp_path / "people" / f"p{person}" / f"{picture}.png", (person, 6, picture))
    (tmp_path / "people" / "p1" / "torn.png").write_bytes(b"\x89PNG torn")
    return tmp_path / "people"


def test_two_workers_one_killed_give_the_same_gallery(people, tmp_path, pretend):
    settings = EnrolmentSettings(batch=8)
    plan = plan_enrolment([people])
    recognizer = pretend.PretendRecognizer()
    with Gallery.create(tmp_path / "alone", recognizer.contract) as gallery:
        alone = enroll(plan, gallery, recognizer, settings)
    marks = tmp_path / "marks"
    marks.mkdir()

    def kill_one():
        while len(list(marks.iterdir())) < 2:
            time.sleep(0.05)
        time.sleep(0.4)
        os.kill(int(min(marks.iterdir()).name), signal.SIGKILL)

    # Functions of a test module cannot be imported by the actors; by value they can.
    ray.cloudpickle.register_pickle_by_value(__import__("sys").modules[__name__])
    loader = partial(load, pretend.__file__, str(marks), 0.2)
    watcher = threading.Thread(target=kill_one)
    with (
        Gallery.create(tmp_path / "spread", recognizer.contract) as gallery,
        RayDescriber.connect(ADDRESS, 2, loader, recognizer.contract.digest) as describe_many,
    ):
        watcher.start()
        spread = enroll(plan, gallery, recognizer, settings, describe_many=describe_many)
        watcher.join()
        assert gallery.verify().faults == ()
    assert len(list(marks.iterdir())) == 3  # two, and the one that took the killed one's place
    assert spread.digest == alone.digest
    assert (spread.enrolled, spread.reasons) == (24, {"unreadable": 1})
    with (
        pytest.raises(ContractError, match="Install the same facerec"),
        RayDescriber.connect(ADDRESS, 1, partial(load, pretend.__file__, str(marks), 0.0, "b"), "a"),
    ):
        pass
