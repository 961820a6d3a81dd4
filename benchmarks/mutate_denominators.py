"""Do the tests of the measures see a wrong denominator? Each mutation makes a figure flatter; its test must fail.

    python benchmarks/mutate_denominators.py [--only NAME]

Works on a copy of the source in a temporary folder. Prints a line for each mutation and exits with 1 when a test let
one pass, or when a test fails without any mutation. Needs pytest.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from mutants import MUTATIONS

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("landmarks", "frontalize", "recognition", "evaluation", "cli")


def copy_source(to: Path) -> None:
    """The source and its tests, importable as facerec from `to`/build/typing."""
    for folder in (*FOLDERS, "tests"):
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "benchmarks" / "peers", to / "benchmarks" / "peers")
    shutil.copy(ROOT / "pyproject.toml", to)
    links = to / "build" / "typing" / "facerec"
    links.mkdir(parents=True)
    for folder in FOLDERS:
        (links / folder).symlink_to(to / folder)


def passes(copy: Path, tests: list[str]) -> bool:
    """Whether the tests pass on the copy; an error in pytest itself ends the program.

    In a child that is forked with the heavy packages loaded and facerec not, so that each run reads the copy again.
    """
    context = multiprocessing.get_context("fork")
    code = context.Value("i", -1)
    child = context.Process(target=_run, args=(copy, tests, code))
    child.start()
    child.join()
    if code.value not in (0, 1):
        sys.exit(f"pytest could not run {tests}: exit code {code.value}")
    return bool(code.value == 0)


def _run(copy: Path, tests: list[str], code: Synchronized[int]) -> None:
    import pytest

    os.chdir(copy)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(copy / "build" / "typing"))
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        code.value = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(copy), *tests]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Mutations whose name holds this text.")
    chosen = [one for one in MUTATIONS if parser.parse_args().only in one.name]
    for heavy in ("numpy", "scipy.stats", "scipy.optimize", "cv2", "PIL.Image", "torch", "pytest"):
        importlib.import_module(heavy)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        copy_source(copy)
        if not passes(copy, sorted({one.test for one in chosen})):
            print("the tests fail without any mutation")
            return 1
        missed = 0
        for one in chosen:
            path = copy / one.file
            source = path.read_text(encoding="utf-8")
            if source.count(one.right) != 1:
                sys.exit(f"{one.name}: expected its text once in {one.file}; found {source.count(one.right)} times")
            path.write_text(source.replace(one.right, one.wrong), encoding="utf-8")
            seen = not passes(copy, [one.test])
            path.write_text(source, encoding="utf-8")
            missed += not seen
            print(f"{'seen  ' if seen else 'MISSED'}  {one.name}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} wrong denominators seen by their tests")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
