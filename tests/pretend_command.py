"""`facerec` with the pretended models, as a process: `python tests/pretend_command.py ARGUMENTS`. Not a test module.

With "-" it runs commands that come as lines of JSON, and writes a line with exit code, stdout and stderr of each.
PRETEND_DELAY in the environment: seconds that a photograph takes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path


def main() -> int:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from facerec.cli.main import run
    from facerec.recognition import recognizer
    from tests.pretend_models import PretendRecognizer

    class Recognizer(PretendRecognizer):
        @classmethod
        def load(cls, *arguments: object, **settings: object) -> Recognizer:
            return cls(delay=float(os.environ.get("PRETEND_DELAY", "0")))

    setattr(recognizer, "Recognizer", Recognizer)  # noqa: B010 - a stand-in, of another type
    if sys.argv[1:] != ["-"]:
        return run()
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(json.loads(line))
        print(json.dumps({"code": code, "stdout": out.getvalue(), "stderr": err.getvalue()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
