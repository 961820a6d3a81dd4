"""Nonsense at `facerec serve` over loopback: no 500, no hang, no growth.

    python benchmarks/serve_fuzz.py [--requests 100000] [--seed 0]

Pretended models (tests/pretend_models.py) read pictures that are cut, spoilt and made up; requests have wrong methods,
paths, lengths, parts, parameters and names, or are no HTTP at all. Memory counts from when every route has answered
once, because what is loaded at first use (the face model, the search) is no growth. Needs facerec[serve] and httpx.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from serve_operations import beside_the_tests

PATHS = ("/identify", "/verify", "/landmarks", "/frontalize", "/enroll", "/group", "/gallery/people", "/gallery/remove")
PATHS += (
    "/gallery/rename",
    "/gallery/merge",
    "/health",
    "/ready",
    "/metrics",
    "/",
    "/docs",
    "/openapi.json",
    "/page/main.js",
)
WORDS = (
    "",
    "p1",
    "..",
    "a/b",
    "\x00",
    "ü" * 50,
    "%2e",
    "-5",
    "1e9",
    "true",
    "🙂",
    "' OR 1=1",
    "<b>",
    "\ud800",
    "x" * 2000,
)
FIELDS = ("photo", "first", "second", "person", "to", "into", "face", "signatures", "k", "nobody")


def word(rng: random.Random) -> str:
    return rng.choice(WORDS).encode("utf-8", "replace").decode()


def spoilt(rng: random.Random, picture: bytes) -> bytes:
    data = bytearray(picture)
    kind = rng.randrange(5)
    if kind == 0:
        return bytes(data[: rng.randrange(len(data) + 1)])
    if kind == 1:
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 2:
        return rng.randbytes(rng.randrange(2000))
    elif kind == 3:
        place = rng.randrange(len(data))
        data[place:place] = rng.randbytes(rng.randrange(1, 200))
    return bytes(data)


def by_form(rng: random.Random, client: httpx.Client, pictures: list[bytes]) -> int:
    path = rng.choice(PATHS)
    if rng.random() < 0.1:
        path += "/" + rng.choice(("p1", "..", "%00", "a%2Fb", "x" * 300))
    files: dict[str, Any] = {}
    data: dict[str, str] = {}
    for name in rng.sample(FIELDS, rng.randrange(4)) + (["photo"] if rng.random() < 0.5 else []):
        if rng.random() < 0.6:
            files[name] = (word(rng) or "p", spoilt(rng, rng.choice(pictures)))
        else:
            data[name] = word(rng)
    params = {rng.choice(("k", "pictures", "poses", "x")): word(rng)} if rng.random() < 0.3 else None
    method = rng.choice(("GET", "POST", "POST", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"))
    return client.request(method, path, files=files or None, data=data or None, params=params).status_code


def by_socket(rng: random.Random, address: tuple[str, int]) -> int:
    length = rng.choice(("0", "10", "-1", "1000000000000", "x", "5, 5"))
    kind = rng.choice(
        ("multipart/form-data; boundary=x", "multipart/form-data", "application/json", "\x00", "x" * 5000)
    )
    verb = rng.choice(("POST", "GET", "P\x00T", "post"))
    head = f"{verb} {rng.choice(PATHS)}{word(rng)} HTTP/1.1\r\n"
    head += f"Host: 127.0.0.1\r\nContent-Length: {length}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
    text = head.encode("utf-8", "replace") + rng.choice(
        (b"", b"--x\r\n", b"--x--\r\n", rng.randbytes(rng.randrange(300)))
    )
    with socket.create_connection(address, timeout=60) as stream:
        stream.sendall(text[: rng.randrange(1, len(text) + 1)] if rng.random() < 0.3 else text)
        stream.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := stream.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    return int(answer[9:12]) if answer[:7] == b"HTTP/1." else 0


def every_route_once(client: httpx.Client, picture: bytes) -> None:
    for path in ("/", "/docs", "/openapi.json", "/health", "/ready", "/metrics", "/gallery/people?poses=true"):
        assert client.get(path).status_code == 200, path
    for path in ("/identify?pictures=true", "/landmarks", "/frontalize"):
        assert client.post(path, files={"photo": picture}).status_code == 200, path
    assert client.post("/verify", files={"first": picture, "second": picture}).status_code == 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pretend, served = beside_the_tests("pretend_models"), beside_the_tests("pretend_service")
    rng, said, slowest = random.Random(options.seed), Counter[int](), 0.0
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        operations = served.Operations(folder, pretend)
        processes = served.Processes(folder)
        operations.begin(processes)
        service = served.ServiceProcess(processes, operations.gallery, "--access-log", "off")
        at = urlsplit(service.address)
        pictures = [operations.picture(who, 9).read_bytes() for who in range(1, 7)]
        try:
            every_route_once(service.client, pictures[0])
            for number in range(options.requests):
                if number % max(1, options.requests // 10) == 0:
                    memory.append(round(service.resident() / 1e6, 1))
                    print(f"{number} requests, {memory[-1]} MB", file=sys.stderr, flush=True)
                began = time.monotonic()
                if rng.random() < 0.8:
                    said[by_form(rng, service.client, pictures)] += 1
                else:
                    said[by_socket(rng, (str(at.hostname), int(at.port or 0)))] += 1
                slowest = max(slowest, time.monotonic() - began)
            assert service.client.get("/ready").status_code == 200
            memory.append(round(service.resident() / 1e6, 1))
            people = service.client.get("/gallery/people").json()["people"]
            log = service.said()
        finally:
            service.kill()
            processes.close()
    print(
        json.dumps(
            {
                "requests": options.requests,
                "statuses": {str(status): count for status, count in sorted(said.items())},
                "slowest_s": round(slowest, 1),
                "MB_after_each_tenth": memory,
                "people_at_the_end": len(people),
                "entries_at_the_end": sum(person["photos"] for person in people),
            }
        )
    )
    assert not any(status == 500 for status in said), log[-3000:]


if __name__ == "__main__":
    main()
