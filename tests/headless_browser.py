"""A real browser for tests of pages. Not a test module; loaded by `conftest.py`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """Chromium, steered through the pipe of its debugging protocol.

    `said` collects what pages complained of: errors and warnings of the console, and exceptions.
    """

    def __init__(self, profile: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            # A camera that shows a test picture, and is allowed without a question.
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
        ]
        # The protocol's ends are file descriptors 3 and 4 of the browser.
        shell = f"exec {CHROMIUM} {' '.join(arguments)} --user-data-dir={profile} 3<&{to_browser} 4>&{from_browser}"
        self.process = subprocess.Popen(
            ["bash", "-c", shell], pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._rest, self._session = 0, b"", ""
        self.said: list[str] = []

    def open(self, address: str) -> None:
        target = self.send("Target.createTarget", url=address)["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.send(f"{domain}.enable")

    def send(self, method: Any, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                self._rest += os.read(self._in, 1 << 20)
            part, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(part)
            if answer.get("id") == self._number:
                return answer["result"]
            params = answer.get("params", {})
            if answer.get("method") == "Runtime.exceptionThrown":
                self.said.append(params["exceptionDetails"]["text"])
            elif answer.get("method") == "Runtime.consoleAPICalled" and params["type"] in (
                "error",
                "warning",
                "assert",
            ):
                self.said.append(str(params["args"]))
            elif answer.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                self.said.append(params["entry"]["text"])

    def evaluate(self, script: Any) -> Any:
        return self.send("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, script: Any, seconds: int = 240) -> Any:
        until = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < until, self.evaluate("document.body.innerText")
            time.sleep(0.1)
        return value

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._out)
        os.close(self._in)
