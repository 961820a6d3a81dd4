"""`facerec` with the pretended models, as a process: `python tests/pretend_command.py ARGUMENTS`. Not a test module.

With "-" it imports everything once and then forks a process for each line of JSON that comes: {"start": arguments,
"stdout": file, "stderr": file} answers its number, {"poll": number} its exit code, or null while it runs.
PRETEND_DELAY in the environment: seconds that a photograph takes.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

# What enroll, gallery and serve import when they are called.
_EARLY: tuple[str, ...] = ("cli.enroll", "cli.gallery", "cli.gallery_entries", "cli.serve", "cli.service.application")
_EARLY += ("recognition.enrolment", "recognition.impostors", "recognition.store.sqlite")


def main() -> int:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from facerec.cli.main import run
    from facerec.recognition import recognizer
    from tests.pretend_models import PretendRecognizer

    class Recognizer(PretendRecognizer):
        @classmethod
        def load(cls, *_: object, **settings: object) -> Recognizer:
            return cls(delay=float(os.environ.get("PRETEND_DELAY", "0")))

    setattr(recognizer, "Recognizer", Recognizer)  # noqa: B010 - a stand-in, of another type
    if sys.argv[1:] != ["-"]:
        return run()
    for name in _EARLY:
        importlib.import_module(f"facerec.{name}")
    importlib.import_module("faiss")
    importlib.import_module("uvicorn")
    for line in sys.stdin:
        asked = json.loads(line)
        print(_polled(asked["poll"]) if "poll" in asked else _forked(run, asked), flush=True)
    return 0


def _forked(run: Callable[[list[str]], int], asked: dict[str, str]) -> str:
    process = os.fork()
    if process:
        return str(process)
    for stream, file in ((0, os.devnull), (1, asked["stdout"]), (2, asked["stderr"])):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, stream)
        os.close(opened)
    code = 1
    try:
        code = run(list(asked["start"]))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _polled(process: int | str) -> str:
    ended, status = os.waitpid(int(process), os.WNOHANG)
    return json.dumps(os.waitstatus_to_exitcode(status) if ended else None)


if __name__ == "__main__":
    sys.exit(main())
