"""`facerec serve` with the models that ship: its start, the first answers, and a photograph of 100 faces.

    python benchmarks/serve_photographs.py DATA [--starts 3]

A gallery of 20 people of DATA/lfw, one picture each. After each start twelve other photographs are identified as the
page asks for them, and each answer's time of the processor is compared, which other jobs on the machine disturb less
than the clock. The crowd is 100 LFW portraits in ten rows, 2500 x 2500 px; memory is the most that was resident while
it was answered, less that after the twelve. Needs facerec[serve] and httpx; memory and processor time need Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

FACEREC = Path(sys.executable).with_name("facerec")
TICKS = os.sysconf("SC_CLK_TCK")


class Served:
    """The service in a process of its own."""

    def __init__(self, gallery: Path) -> None:
        began = time.monotonic()
        command = [str(FACEREC), "serve", "-g", str(gallery), "--port", "0", "--access-log", "off", "--device", "cpu"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        address = None
        while address is None:
            address = re.search(r"at (http://\S+)/$", self.process.stderr.readline())
        self.client = httpx.Client(base_url=address[1], timeout=600)
        assert self.client.get("/ready").status_code == 200
        self.start_s, self.start_cpu_s = time.monotonic() - began, self.cpu_s()

    def cpu_s(self) -> float:
        """Seconds of the processor so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self, what: str) -> float:
        """Memory, MB: "VmRSS" now, "VmHWM" the most since `forget`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{what}:\s+(\d+) kB$", status, re.M)
        assert found is not None
        return int(found[1]) * 1024 / 1e6

    def forget(self) -> None:
        """Let the most of memory be that from now on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def identify(self, photo: bytes) -> Any:
        """The answer the page gets, its size in bytes, and processor time, seconds."""
        before = self.cpu_s()
        answer = self.client.post("/identify?pictures=true", files={"photo": ("p.jpg", photo)})
        assert answer.status_code == 200, answer.text
        return answer.json(), len(answer.content), round(self.cpu_s() - before, 2)

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()


def collage(files: list[Path]) -> bytes:
    """100 portraits, in ten rows, JPEG."""
    pictures = [cv2.resize(cv2.imread(str(file)), (250, 250)) for file in files[:100]]
    rows = [np.hstack(pictures[10 * row : 10 * row + 10]) for row in range(10)]
    return bytes(cv2.imencode(".jpg", np.vstack(rows))[1])


def without_pictures(answer: dict[str, Any]) -> int:
    """Bytes of an answer without its photograph, crops and frontal views."""
    faces = [{name: value for name, value in face.items() if name != "pictures"} for face in answer["faces"]]
    return len(json.dumps({"faces": faces}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    people = [sorted(folder.iterdir()) for folder in sorted((options.data / "lfw").iterdir())]
    known = [pictures for pictures in people if len(pictures) > 1][:20]
    crowd = collage([pictures[0] for pictures in people])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = ["path,person", *(f"{pictures[0]},{pictures[0].parent.name}" for pictures in known)]
        (folder / "list.csv").write_text("\n".join(rows))
        enrol = [str(FACEREC), "enroll", str(folder / "list.csv"), "-g", str(folder / "gallery"), "-q"]
        subprocess.run(enrol, check=True)
        for _ in range(options.starts):
            served = Served(folder / "gallery")
            answers = [served.identify(pictures[1].read_bytes())[2] for pictures in known[:12]]
            said = {"start_s": round(served.start_s, 1), "start_cpu_s": served.start_cpu_s, "answers_cpu_s": answers}
            print(json.dumps(said | {"load_average": round(os.getloadavg()[0], 1)}), flush=True)
            before = served.memory_mb("VmRSS")
            figures: dict[str, Any] = {"MB_before": round(before, 1)}
            for turn in ("first", "second"):
                served.forget()
                answer, size, seconds = served.identify(crowd)
                figures[turn] = {
                    "faces": len(answer["faces"]),
                    "answer_MB": round(size / 1e6, 2),
                    "answer_without_pictures_MB": round(without_pictures(answer) / 1e6, 2),
                    "cpu_s": seconds,
                    "MB_most_more": round(served.memory_mb("VmHWM") - before, 1),
                    "MB_after_more": round(served.memory_mb("VmRSS") - before, 1),
                }
            print(json.dumps({"crowd": figures}), flush=True)
            served.stop()


if __name__ == "__main__":
    main()
