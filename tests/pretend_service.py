"""A service and commands in processes of their own, and random operations on their gallery. Not a test module."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

from facerec.cli.gallery import READ_MEANWHILE
from facerec.recognition.store.sqlite import Gallery
from tests import pretend_models

People = dict[str, set[tuple[int, int]]]
"""Names, and whose pictures each has: (person, picture)."""
Request = tuple[str, str, dict[str, str], Path | None]
"""Method, path, fields and photograph."""

COMMAND = Path(__file__).with_name("pretend_command.py")
WHO = ("command", "service", "page")
"""Who changes a gallery: a command, a client of the service, or the page, which asks for more and names the face."""


class Processes:
    """Starts `facerec` with the pretended models, each time in a process of its own, and names its exit code.

    They are forked from one process that has imported everything: Python's start takes longer than what is tried.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.lock, self.number = threading.Lock(), 0
        self.warm = subprocess.Popen(
            [sys.executable, str(COMMAND), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "FACEREC_DEBUG": ""},
        )

    def ask(self, **asked: object) -> Any:
        assert self.warm.stdin
        assert self.warm.stdout
        with self.lock:
            self.warm.stdin.write(json.dumps(asked) + "\n")
            self.warm.stdin.flush()
            line = self.warm.stdout.readline()
        assert line, "the process that forks the others has ended"
        return json.loads(line)

    def start(self, *arguments: object) -> Process:
        """A `Process` that works on `arguments`."""
        self.number += 1
        return Process(self, [str(argument) for argument in arguments], self.folder / f"said-{self.number}")

    def run(self, *arguments: object) -> dict[str, Any]:
        """What a command says on stdout and stderr, and its exit code."""
        process = self.start(*arguments)
        return {"code": process.wait(), "stdout": process.stdout.read_text(), "stderr": process.stderr.read_text()}

    def close(self) -> None:
        self.warm.kill()
        self.warm.wait()
        for stream in (self.warm.stdin, self.warm.stdout):
            assert stream
            stream.close()


class Process:
    """One of `Processes`; what it says is in the files `stdout` and `stderr`."""

    def __init__(self, processes: Processes, arguments: list[str], said: Path) -> None:
        self.processes = processes
        self.code: int | None = None
        self.stdout, self.stderr = said.with_suffix(".out.txt"), said.with_suffix(".err.txt")
        self.pid = processes.ask(start=arguments, stdout=str(self.stdout), stderr=str(self.stderr))

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.code is None:
            self.code = self.processes.ask(poll=self.pid)
        return self.code

    def wait(self, seconds: float = 240) -> int:
        """Its exit code, once it has ended."""
        until = time.monotonic() + seconds
        while (code := self.poll()) is None:
            assert time.monotonic() < until, f"process {self.pid} is still at work"
            time.sleep(0.002)
        return code

    def kill(self) -> bool:
        """kill -9, unless it has ended; whether it was at work."""
        at_work = self.poll() is None
        if at_work:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        return at_work

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


class ServiceProcess:
    """`facerec serve` with the pretended models, in a process of its own."""

    def __init__(self, processes: Processes, gallery: Path, *options: object) -> None:
        command = ["serve", "-g", gallery, "--port", 0, "--device", "cpu", "--per-minute", 1000000]
        self.process = processes.start(*command, *options)
        self.address = self._address()
        self.client = httpx.Client(base_url=self.address, timeout=120)

    def _address(self) -> str:
        until = time.monotonic() + 240
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(r"Serving .* at (http://\S+)/$", self.said(), re.M)
            if found:
                return found.group(1)
            time.sleep(0.01)
        raise AssertionError(self.said())

    def said(self) -> str:
        return self.process.stderr.read_text() if self.process.stderr.exists() else ""

    def resident(self) -> int:
        """Memory, bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> bool:
        """kill -9, unless it has ended; whether it was at work."""
        self.client.close()
        return self.process.kill()


class Operations:
    """Random changes of one gallery by commands and by the service, beside a list of what must be in it."""

    def __init__(self, folder: Path, pretend: ModuleType, seed: int = 0) -> None:
        self.folder, self.pretend, self.rng = Path(folder), pretend, random.Random(seed)
        self.gallery = self.folder / "gallery"
        self.people: People = {}
        self.numbers = 0
        self.names = 0
        self.counts: dict[str, int] = {}
        self.read_meanwhile = 0
        self.seconds: dict[tuple[str, str], float] = {}  # that an operation took the last time

    def picture(self, person: int, picture: int) -> Path:
        return pretend_models.paint(self.folder / "pictures" / f"{person}-{picture}.png", (person, 6, picture))

    def new_name(self) -> str:
        self.names += 1
        return self.rng.choice(["Zoë {}", "n/{}", "a b {}", "<i>{}</i>", "p{}"]).format(self.names)

    def begin(self, processes: Processes) -> None:
        rows = ["path,person"]
        for _ in range(6):
            self.numbers += 1
            name = self.new_name()
            rows.append(f"{self.picture(self.numbers, 0)},{name}")
            self.people[name] = {(self.numbers, 0)}
        (self.folder / "list.csv").write_text("\n".join(rows), encoding="utf-8")
        said = processes.run("enroll", self.folder / "list.csv", "-g", self.gallery, "--device", "cpu", "-q")
        assert said["code"] == 0, said

    def choose(self) -> tuple[str, list[object], Request, People]:
        """One operation: its name, the arguments of the command, the request (method, path, fields), what follows."""
        names = sorted(self.people)
        kinds = ["enrol"] * 3 + (["rename", "merge", "remove"] if len(names) > 3 else [])
        kind, after = self.rng.choice(kinds), {name: set(own) for name, own in self.people.items()}
        if kind == "enrol":
            if self.rng.random() < 0.5 and self.numbers < 200:
                self.numbers += 1
                who, name, picture = self.numbers, self.new_name(), 0
            else:
                name = self.rng.choice(names)
                who = self.rng.choice(sorted(after[name]))[0]
                picture = self.rng.randrange(1, 200)
            after.setdefault(name, set()).add((who, picture))
            photo = self.picture(who, picture)
            table = self.folder / "one.csv"
            table.write_text(f"path,person\n{photo},{name}", encoding="utf-8")
            command = ["enroll", table, "-g", self.gallery, "--device", "cpu", "-q"]
            return kind, command, ("POST", "/enroll", {"person": name}, photo), after
        old = self.rng.choice(names)
        own = after.pop(old)
        if kind == "remove":
            command, fields = ["remove", old, "-y"], {"person": old}
        elif kind == "rename":
            new = self.new_name()
            after[new] = own
            command, fields = ["rename", old, new], {"person": old, "to": new}
        else:
            into = self.rng.choice(sorted(after))
            after[into] |= own
            command, fields = ["merge", old, "--into", into], {"person": old, "into": into}
        command = ["gallery", *command, "-g", self.gallery, "-q"]
        return kind, command, ("POST", f"/gallery/{kind}", fields, None), after

    def ask(self, client: httpx.Client, request: Request, page: bool = False) -> Any:
        """The answer to a request; with `page` asked as the page asks it."""
        method, path, fields, photo = request
        files = {"photo": (photo.name, photo.read_bytes())} if photo else None
        headers = {"Origin": str(client.base_url).rstrip("/")} if page else {}
        if page and photo:
            fields = {**fields, "face": "0"}
        return client.request(method, path, data=fields, files=files, headers=headers)

    def step(self, client: httpx.Client, processes: Processes) -> None:
        """One operation by a command, the service or the page, and what the service says afterwards."""
        kind, command, request, after = self.choose()
        who = self.rng.choice(WHO)
        self.counts[f"{kind} by {who}"] = self.counts.get(f"{kind} by {who}", 0) + 1
        began = time.monotonic()
        if who == "command":
            said = processes.run(*command)
            # The service may be reading at this moment: then old bytes stay until it has read, and the command says so.
            assert said["code"] == 0, (command, said)
            assert not said["stderr"] or READ_MEANWHILE in said["stderr"], (command, said)
            self.read_meanwhile += bool(said["stderr"])
        else:
            answer = self.ask(client, request, who == "page")
            assert answer.status_code == 200, (request, answer.text)
        self.seconds[kind, who] = time.monotonic() - began
        self.people = after
        self.check(client, who == "page")

    def killed(self, service: ServiceProcess, processes: Processes) -> tuple[ServiceProcess, str, bool, bool]:
        """One operation, while which whoever makes it is killed: the state before it or the one after it, and no other.

        Returns the service, started again where it was killed, who was killed, whether at work, and whether the
        operation was done.
        """
        kind, command, request, after = self.choose()
        before, who = self.people, self.rng.choice(WHO)
        usual = self.seconds.get((kind, who), 0.1)
        if who == "command":
            victim = processes.start(*command)
            time.sleep(self.rng.uniform(0, 1.1 * usual))
            at_work = victim.kill()
        else:
            asking = threading.Thread(target=self.asked_in_vain, args=(service.client, request, who == "page"))
            asking.start()
            time.sleep(self.rng.uniform(0, 1.1 * usual))
            at_work = asking.is_alive()
            service.process.kill()
            asking.join()
            service.kill()
            service = ServiceProcess(processes, self.gallery)
        with Gallery.open(self.gallery) as gallery:
            found = {person.name: person.photos for person in gallery.people()}
            assert not gallery.verify().faults
        states = [{name: len(own) for name, own in people.items()} for people in (before, after)]
        assert found in states, (kind, found, states)
        self.people = after if found == states[1] else before
        self.check(service.client)
        return service, who, at_work, found == states[1]

    def asked_in_vain(self, client: httpx.Client, request: Request, page: bool) -> None:
        with contextlib.suppress(httpx.HTTPError):  # its service was killed
            self.ask(client, request, page)

    def check(self, client: httpx.Client, page: bool = False) -> None:
        """The service's people are those that must be there, and it names one of them rightly."""
        answer = client.get("/gallery/people", params={"poses": page})
        assert answer.status_code == 200, answer.text
        people = answer.json()["people"]
        assert {p["person"]: p["photos"] for p in people} == {name: len(own) for name, own in self.people.items()}
        assert not page or all(len(p["poses"]) == p["photos"] for p in people)
        name = self.rng.choice(sorted(self.people))
        who = self.rng.choice(sorted(self.people[name]))[0]
        holders = {other for other, own in self.people.items() if any(person == who for person, _ in own)}
        photo = self.picture(who, 250)
        files = {"photo": (photo.name, photo.read_bytes())}
        answer = client.post("/identify", params={"pictures": page}, files=files)
        assert answer.status_code == 200, answer.text
        assert answer.json()["faces"][0]["candidates"][0]["person"] in holders, (name, answer.text)
