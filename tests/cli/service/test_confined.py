"""The service where a container or systemd would put it: a read-only root, no home, a user nobody knows, few cores."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("fastapi", reason="needs facerec[serve]")
pytest.importorskip("httpx", reason="needs httpx to ask the service")

import httpx

COMMAND = Path(__file__).parents[2] / "pretend_command.py"

# In a mount namespace of its own: everything is read-only but the gallery's folder ($1).
CONFINED = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o bind,remount,ro /
for place in /tmp /dev/shm; do
    case "$1" in $place/*) ;; *) mountpoint -q $place && mount -o bind,remount,ro $place ;; esac
done
if touch "$2" 2>/dev/null; then echo "the root can be written" >&2; exit 99; fi
shift 2
exec "$@"
"""


def namespaces() -> bool:
    """Whether this machine lets the tests have a mount namespace of their own."""
    if shutil.which("unshare") is None or shutil.which("mountpoint") is None:
        return False
    trial = ["unshare", "--mount", "sh", "-c", "mount --make-rprivate / && mount -o bind,remount,ro /"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.fixture
def gallery(tmp_path: Path, pretend: ModuleType) -> Path:
    from facerec.recognition.enrolment import enroll
    from facerec.recognition.enrolment_plan import plan_enrolment
    from facerec.recognition.store.sqlite import Gallery

    for person in range(1, 4):
        pretend.paint(tmp_path / "people" / f"p{person}" / "0.png", (person, 6, 0))
    models, folder = pretend.PretendRecognizer(), tmp_path / "data"
    folder.mkdir()
    with Gallery.create(folder / "gallery", models.contract) as opened:
        enroll(plan_enrolment([tmp_path / "people"]), opened, models)
    return folder / "gallery"


def answers(command: list[str], gallery: Path, photo: Path, environment: dict[str, str], log: Path) -> None:
    """Run the service by `command`, ask it once, and have it enrol somebody; ends it."""
    with log.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, stdin=subprocess.DEVNULL, env=environment)
    try:
        until, found = time.monotonic() + 240, None
        while found is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            found = re.search(r"Serving .* at (http://\S+)/$", log.read_text(), re.M)
            time.sleep(0.05)
        files = {
            "photo": ("p.png", photo.read_bytes() + b"\0" * (2 << 20))
        }  # more than a form keeps in memory by itself
        with httpx.Client(base_url=found.group(1), timeout=120) as client:
            assert client.get("/ready").status_code == 200
            answer = client.post("/identify", files=files)
            assert answer.status_code == 200, answer.text
            assert answer.json()["faces"][0]["candidates"][0]["person"] == "p2"
            said = client.post("/enroll", files=files, data={"person": "Ida"})
            assert said.json()["outcome"] == "enrolled", said.text
            assert client.delete("/gallery/people/Ida").json()["bytes_gone"]
    finally:
        process.terminate()
        process.wait(60)
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_it_serves_with_a_read_only_root_and_without_a_home(gallery: Path, tmp_path: Path, pretend: ModuleType) -> None:
    if not namespaces():
        pytest.skip("this machine gives no mount namespace")
    photo = pretend.paint(tmp_path / "probe.png", (2, 6, 7))
    serve = [sys.executable, str(COMMAND), "serve", "-g", str(gallery), "--port", "0", "--device", "cpu"]
    refused = str(tmp_path / "must-not-be-made")
    command = ["unshare", "--mount", "sh", "-c", CONFINED, "sh", str(gallery.parent), refused, *serve]
    kept = ("PATH", "LANG", "OMP_NUM_THREADS")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    answers(command, gallery, photo, environment, tmp_path / "log.txt")
    assert sorted(os.listdir(gallery.parent)) == ["gallery"]


@pytest.mark.slow
def test_a_user_without_a_name_or_a_home_may_write_a_gallery(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user often has no entry of its own: who holds a lock is then said without a name."""
    from facerec.recognition.store import writer_lock
    from facerec.recognition.store.sqlite import Gallery

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.delenv("HOME", raising=False)
    with Gallery.open(gallery, write=True) as opened:
        opened.rename("p1", "Ida")
        with pytest.raises(writer_lock.GalleryLockedError, match="an unnamed user"):
            Gallery.open(gallery, write=True)
