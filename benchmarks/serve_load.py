"""`facerec serve` under 1 to 50 clients, a minute each, and 8 threads against one: no answer may differ, memory must
not grow.

    python benchmarks/serve_load.py [--clients 1,5,10,25,50] [--seconds 60] [--delay 0.01]

Pretended models (tests/pretend_models.py) that take --delay seconds per picture: it is the service that is tried, its
queue, its snapshots and its limits. Every answer is compared with what one thread said before. Needs facerec[serve]
and httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from gallery_kill import enrol, paint, pretended

from facerec.cli.service.application import create_app
from facerec.cli.service.gate import ServeSettings
from facerec.cli.service.verbs import Service
from facerec.recognition.identification import IdentificationSettings, Identifier
from facerec.recognition.search import MaskedSearch
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.threshold import threshold_of


def serve(gallery: Path, bound: socket.socket, delay: float) -> None:
    settings = ServeSettings(workers=2, queue=16, per_minute=10**6)
    app = create_app(Service(pretended().PretendRecognizer("a", delay), gallery), settings)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", log_config=None)).run(sockets=[bound])


def resident(pid: int) -> float:
    """Memory of a process, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def plain(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("timings_ms", "versions")}


async def load(
    address: str, photos: list[tuple[str, bytes]], wanted: list[Any], clients: int, seconds: float, pid: int
) -> dict[str, Any]:
    until = time.monotonic() + seconds
    counts: Counter[str] = Counter()
    times: list[float] = []
    memory: list[float] = []

    async def client(number: int, session: httpx.AsyncClient) -> None:
        rng = np.random.default_rng(number)
        while time.monotonic() < until:
            i = int(rng.integers(len(photos)))
            began = time.monotonic()
            answer = await session.post("/identify", files={"photo": photos[i]})
            if answer.status_code == 200:
                times.append(time.monotonic() - began)
                right = [plain(face) for face in answer.json()["faces"]] == wanted[i]
                counts["right" if right else "WRONG"] += 1
            else:
                counts[answer.json()["error"]["code"]] += 1
                await asyncio.sleep(0.05)

    async def watch() -> None:
        while time.monotonic() < until:
            memory.append(resident(pid))
            await asyncio.sleep(0.5)

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as session:
        await asyncio.gather(watch(), *(client(i, session) for i in range(clients)))
    tenth = len(memory) // 10 + 1
    return {
        "answers": dict(counts),
        "p50_ms": round(1000 * float(np.percentile(times, 50)), 1),
        "p99_ms": round(1000 * float(np.percentile(times, 99)), 1),
        "MB_after_a_tenth": round(memory[tenth], 1),
        "MB_at_the_end": round(memory[-1], 1),
        "MB_most": round(max(memory), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="1,5,10,25,50")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--delay", type=float, default=0.01)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paint(folder / "people", 200)
        enrol(folder / "people", folder / "staff", 0.0)
        pretend = pretended()
        probes = [pretend.paint(folder / "probes" / f"{i}.png", (i % 60, 6, 50 + i)) for i in range(120)]
        photos = [(probe.name, probe.read_bytes()) for probe in probes]
        with Gallery.open(folder / "staff") as gallery:
            threshold = threshold_of(gallery)
            search, models = MaskedSearch.of(gallery), pretend.PretendRecognizer("a", 0.001)
            identifier = Identifier(models, search, threshold)
            records = [[plain(face.as_json({})) for face in identifier.identify([probe])] for probe in probes]
            with ThreadPoolExecutor(8) as pool:
                threads = list(pool.map(lambda probe: list(identifier.identify([probe])), probes * 5))
            many = Identifier(models, search, threshold, IdentificationSettings(workers=8))
            together = [plain(face.as_json({})) for face in many.identify(probes)]
        assert [[plain(f.as_json({})) for f in faces] for faces in threads] == records * 5
        assert together == [face for faces in records for face in faces]
        print(json.dumps({"8 threads": {"probes": 5 * len(probes), "unlike one thread": 0}}), flush=True)
        wanted = [[face | {"file": probe.name} for face in faces] for probe, faces in zip(probes, records, strict=True)]
        with socket.create_server(("127.0.0.1", 0)) as bound:
            address = f"http://127.0.0.1:{bound.getsockname()[1]}"
            server = multiprocessing.get_context("fork").Process(
                target=serve, args=(folder / "staff", bound, options.delay)
            )
            server.start()
        try:
            assert server.pid is not None
            for clients in map(int, options.clients.split(",")):
                said = asyncio.run(load(address, photos, wanted, clients, options.seconds, server.pid))
                said["load_average"] = round(os.getloadavg()[0], 1)
                print(json.dumps({f"{clients} clients, {options.seconds:.0f} s": said}), flush=True)
                assert set(said["answers"]) <= {"right", "busy"}, said
        finally:
            server.terminate()
            server.join()


if __name__ == "__main__":
    main()
