"""A service and commands in processes of their own, and random operations on their gallery. Not a test module."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

from tests import pretend_models

People = dict[str, set[tuple[int, int]]]
"""Names, and whose pictures each has: (person, picture)."""
Request = tuple[str, str, dict[str, str], Path | None]
"""Method, path, fields and photograph."""

COMMAND = Path(__file__).with_name("pretend_command.py")


class ServiceProcess:
    """`facerec serve` with the pretended models, in a process of its own."""

    def __init__(
        self, gallery: Path, *options: str, log: Path | None = None, environment: dict[str, str] | None = None
    ) -> None:
        command = [sys.executable, str(COMMAND), "serve", "-g", str(gallery), "--port", "0", "--device", "cpu"]
        self.log = Path(log or f"{gallery}.log.txt")
        with self.log.open("a") as stream:
            self.began = stream.tell()
            self.process = subprocess.Popen(
                [*command, "--per-minute", "1000000", *options],
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
            )
        self.address = self._address()
        self.client = httpx.Client(base_url=self.address, timeout=120)

    def _address(self) -> str:
        until = time.monotonic() + 240
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(r"Serving .* at (http://\S+)/$", self.said(), re.M)
            if found:
                return found.group(1)
            time.sleep(0.05)
        raise AssertionError(self.said())

    def said(self) -> str:
        return self.log.read_text()[self.began :]

    def resident(self) -> int:
        """Memory, bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.client.close()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.client.close()
        return code


class CommandProcess:
    """Commands one after the other in another process: what each says on stdout and stderr, and its exit code."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(COMMAND), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "FACEREC_DEBUG": ""},
        )

    def start(self, *arguments: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        self.process.stdin.flush()

    def run(self, *arguments: object) -> dict[str, Any]:
        self.start(*arguments)
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the command's process has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            stream.close()


class Operations:
    """Random changes of one gallery by commands and by the service, beside a list of what must be in it."""

    def __init__(self, folder: Path, pretend: ModuleType, seed: int = 0) -> None:
        self.folder, self.pretend, self.rng = Path(folder), pretend, random.Random(seed)
        self.gallery = self.folder / "gallery"
        self.people: People = {}
        self.numbers = 0
        self.names = 0
        self.counts: dict[str, int] = {}

    def picture(self, person: int, picture: int) -> Path:
        return pretend_models.paint(self.folder / "pictures" / f"{person}-{picture}.png", (person, 6, picture))

    def new_name(self) -> str:
        self.names += 1
        return self.rng.choice(["Zoë {}", "n/{}", "a b {}", "<i>{}</i>", "p{}"]).format(self.names)

    def begin(self, commands: CommandProcess) -> None:
        rows = ["path,person"]
        for _ in range(6):
            self.numbers += 1
            name = self.new_name()
            rows.append(f"{self.picture(self.numbers, 0)},{name}")
            self.people[name] = {(self.numbers, 0)}
        (self.folder / "list.csv").write_text("\n".join(rows), encoding="utf-8")
        said = commands.run("enroll", self.folder / "list.csv", "-g", self.gallery, "--device", "cpu", "-q")
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
            return (
                kind,
                ["gallery", "remove", old, "-y", "-g", self.gallery, "-q"],
                (
                    "POST",
                    "/gallery/remove",
                    {"person": old},
                    None,
                ),
                after,
            )
        if kind == "rename":
            new = self.new_name()
            after[new] = own
            return (
                kind,
                ["gallery", "rename", old, new, "-g", self.gallery, "-q"],
                (
                    "POST",
                    "/gallery/rename",
                    {"person": old, "to": new},
                    None,
                ),
                after,
            )
        into = self.rng.choice(sorted(after))
        after[into] |= own
        return (
            kind,
            ["gallery", "merge", old, "--into", into, "-g", self.gallery, "-q"],
            (
                "POST",
                "/gallery/merge",
                {"person": old, "into": into},
                None,
            ),
            after,
        )

    def ask(self, client: httpx.Client, request: Request) -> httpx.Response:
        method, path, fields, photo = request
        files = {"photo": (photo.name, photo.read_bytes())} if photo else None
        return client.request(method, path, data=fields, files=files)

    def step(self, client: httpx.Client, commands: CommandProcess) -> None:
        """One operation by a command or by the service, and what the service says afterwards."""
        kind, command, request, after = self.choose()
        by_command = self.rng.random() < 0.5
        self.counts[f"{kind} by {'command' if by_command else 'service'}"] = (
            self.counts.get(f"{kind} by {'command' if by_command else 'service'}", 0) + 1
        )
        if by_command:
            said = commands.run(*command)
            assert (said["code"], said["stderr"]) == (0, ""), (command, said)
        else:
            answer = self.ask(client, request)
            assert answer.status_code == 200, (request, answer.text)
        self.people = after
        self.check(client)

    def check(self, client: httpx.Client) -> None:
        """The service's people are those that must be there, and it names one of them rightly."""
        answer = client.get("/gallery/people")
        assert answer.status_code == 200, answer.text
        assert {p["person"]: p["photos"] for p in answer.json()["people"]} == {
            name: len(own) for name, own in self.people.items()
        }
        name = self.rng.choice(sorted(self.people))
        who = self.rng.choice(sorted(self.people[name]))[0]
        holders = {other for other, own in self.people.items() if any(person == who for person, _ in own)}
        photo = self.picture(who, 250)
        answer = client.post("/identify", files={"photo": (photo.name, photo.read_bytes())})
        assert answer.status_code == 200, answer.text
        assert answer.json()["faces"][0]["candidates"][0]["person"] in holders, (name, answer.text)
