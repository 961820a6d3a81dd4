"""Random operations by commands and by the service on one gallery, with kill -9 of either in the middle.

    python benchmarks/serve_operations.py [--operations 1000] [--kills 100] [--seed 0]

Pretended models (tests/pretend_models.py). After every operation the service's people are compared with those that must
be there, and it must name one of them rightly; after a kill the gallery holds the state before the operation or the one
after it, verifies, and the service answers right. Needs facerec[serve] and httpx.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

from facerec.recognition.store.sqlite import Gallery


def beside_the_tests(name: str) -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "tests" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def killed(operations: Any, service: Any, commands: Any, rng: random.Random) -> tuple[Any, Any, str]:
    """One operation, in the middle of which who does it is killed; returns both, the killed one started again."""
    served = beside_the_tests("pretend_service")
    kind, command, request, after = operations.choose()
    before, by_command = operations.people, rng.random() < 0.5
    if by_command:
        commands.start(*command)
        time.sleep(rng.uniform(0, 0.15))
        commands.kill()
        commands = served.CommandProcess()
    else:

        def ask() -> None:
            with contextlib.suppress(httpx.HTTPError):  # its service was killed
                operations.ask(service.client, request)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(rng.uniform(0, 0.15))
        service.process.kill()
        asking.join()
        service.kill()
        service = served.ServiceProcess(operations.gallery)
    with Gallery.open(operations.gallery) as gallery:
        found = {person.name: person.photos for person in gallery.people()}
        assert not gallery.verify().faults
    states = [{name: len(own) for name, own in people.items()} for people in (before, after)]
    assert found in states, (kind, found, states)
    operations.people = after if found == states[1] else before
    operations.check(service.client)
    who = "command" if by_command else "service"
    return service, commands, f"{who} killed, {'done' if found == states[1] else 'not done'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pretend, served = beside_the_tests("pretend_models"), beside_the_tests("pretend_service")
    rng = random.Random(options.seed)
    deadly = set(rng.sample(range(options.operations), options.kills))
    kills: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        operations = served.Operations(folder, pretend, options.seed)
        commands = served.CommandProcess()
        operations.begin(commands)
        service = served.ServiceProcess(operations.gallery)
        try:
            for number in range(options.operations):
                if number in deadly:
                    service, commands, what = killed(operations, service, commands, rng)
                    kills[what] = kills.get(what, 0) + 1
                else:
                    operations.step(service.client, commands)
            with Gallery.open(operations.gallery) as gallery:
                faults = gallery.verify().faults
        finally:
            commands.kill()
            service.kill()
    assert not faults, faults
    print(json.dumps({"operations": operations.counts, "kills": kills, "wrong": 0, "faults": 0}))


if __name__ == "__main__":
    main()
