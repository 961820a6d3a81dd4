"""Random operations by commands, clients of the service and its page on one gallery, with kill -9 in the middle.

    python benchmarks/serve_operations.py [--operations 1000] [--kills 100] [--seed 0]

Pretended models (tests/pretend_models.py). After every operation the service's people are compared with those that must
be there, and it must name one of them rightly; after a kill the gallery holds the state before the operation or the one
after it, verifies, and the service answers right. Each command and each service is a process of its own. Needs
facerec[serve] and httpx.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pretend, served = beside_the_tests("pretend_models"), beside_the_tests("pretend_service")
    deadly = set(random.Random(options.seed).sample(range(options.operations), options.kills))
    kills: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        operations = served.Operations(folder, pretend, options.seed)
        processes = served.Processes(folder)
        stack.callback(processes.close)
        operations.begin(processes)
        service = served.ServiceProcess(processes, operations.gallery)
        stack.callback(lambda: service.kill())
        for number in range(options.operations):
            if number in deadly:
                service, who, at_work, done = operations.killed(service, processes)
                kills[f"{who}, {'at work' if at_work else 'at rest'}, {'done' if done else 'not done'}"] += 1
            else:
                operations.step(service.client, processes)
            if number % 100 == 99:
                print(f"{number + 1} operations", file=sys.stderr, flush=True)
        with Gallery.open(operations.gallery) as gallery:
            faults = gallery.verify().faults
            people, entries = len(gallery.people()), len(gallery.entries())
    assert not faults, faults
    said = {"operations": operations.counts, "kills": kills, "people": people, "entries": entries}
    print(json.dumps(said | {"warnings of a reader": operations.read_meanwhile}))


if __name__ == "__main__":
    main()
