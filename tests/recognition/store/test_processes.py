"""A store with each step in a process of its own, as commands are run: what one process leaves, the next one finds."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BEGIN = """
import json, sys
sys.path.insert(0, sys.argv[2])
import pretend_models as pretend
from pathlib import Path
from facerec.recognition.store.galleries import open_gallery, search_of
address = sys.argv[1]
"""

STEPS = {
    "enrol": """
        from facerec.recognition.enrolment import enroll
        from facerec.recognition.enrolment_plan import plan_enrolment
        recognizer = pretend.PretendRecognizer()
        with open_gallery(address, recognizer.contract, create=True) as gallery:
            summary = enroll(plan_enrolment([Path(sys.argv[3])]), gallery, recognizer)
        said = [summary.enrolled, recognizer.described]
    """,
    "change": """
        with open_gallery(address, write=True) as gallery:
            gallery.rename('p2', 'Bo')
            gallery.merge(['p3'], 'p4')
            said = gallery.remove_people(['p1'])
    """,
    "look": """
        with open_gallery(address) as gallery:
            found = search_of(gallery).search([pretend.signature(2, 0.0, 9), pretend.signature(3, 60.0, 9)], 2)
            checked = gallery.verify()
            said = {
                "people": [[p.name, p.photos, p.entries] for p in gallery.people()],
                "found": [one.matches[0].person for one in found],
                "verified": [checked.entries, list(checked.faults), bool(gallery.calibration())],
                "digest": gallery.digest(),
            }
    """,
}


def step(name: str, address: Path | str, people: Path) -> Any:
    """What step `name` says, in a process of its own; a line on stderr is a failure."""
    script = BEGIN + textwrap.dedent(STEPS[name]) + "\nprint(json.dumps(said))"
    command = [sys.executable, "-c", script, str(address), str(Path(__file__).parents[2]), str(people)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), (name, done.stderr)
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["file", "milvus"])
def test_what_one_process_leaves_the_next_one_finds(kind: str, tmp_path: Path, pretend: ModuleType) -> None:
    if kind == "milvus":
        pytest.importorskip("pymilvus", reason="needs facerec[milvus]")
        pytest.importorskip("milvus_lite", reason="needs facerec[milvus]")
    for person in range(1, 6):
        for picture in range(2):
            pretend.paint(tmp_path / "people" / f"p{person}" / f"{picture}.png", (person, 6, picture))
    address = tmp_path / "g" if kind == "file" else f"milvus:{tmp_path}/m.db#staff"
    assert step("enrol", address, tmp_path / "people") == [10, 10]
    assert step("change", address, tmp_path / "people") == 2
    seen = step("look", address, tmp_path / "people")
    assert seen["people"] == [["Bo", 2, 2], ["p4", 4, 4], ["p5", 2, 2]]
    assert seen["found"] == ["Bo", "p4"]
    assert seen["verified"] == [8, [], True]
    assert step("enrol", address, tmp_path / "people") == [10, 2]  # only those of the person who was removed are new
