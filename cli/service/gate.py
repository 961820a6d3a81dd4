"""Checks before the application: access, rate, size and speed of requests; also their log lines."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from facerec.cli.service.faults import ApiError
from facerec.cli.service.metrics import Metrics, RequestLog

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OPEN_PATHS = ("/", "/health", "/ready", "/docs", "/openapi.json")
"""Paths that need no token: the page itself, and whether the service runs. They show nothing of a gallery."""

PAGE_FILES = "/page/"
"""Path of the page's own files, which need no token either."""

_MOST_CLIENTS = 10_000
_CLIENT_GONE = 499  # the status that proxies log for a client that disconnected before its answer


@dataclass(frozen=True)
class ServeSettings:
    """Limits of the service.

    Attributes:
        workers: photographs described at a time. The commands use one per core
            (`facerec.landmarks.device.share_cores`).
        queue: requests that may wait for a worker; further ones are refused as busy at once. 16 wait some seconds on a
            CPU.
        per_minute: requests of one client address per minute, with as many saved up.
        max_bytes: largest size of a request's body. 20 MB suffice for any photograph of a phone.
        write_wait_s: how long an enrolment waits for another writer, seconds.
        body_s: longest pause between two parts of a body, seconds; slower clients are refused.
    """

    workers: int = 1
    queue: int = 16
    per_minute: int = 600
    max_bytes: int = 20 << 20
    write_wait_s: float = 5.0
    body_s: float = 30.0


@dataclass(frozen=True)
class Access:
    """Who may use the service.

    Attributes:
        token: the token that clients must send; empty when none is required.
        local: bound to this machine's own address; other names for it are then refused, so that a page from elsewhere
            cannot reach it through a name of its own.
        root_path: path under which a proxy shows the service, e.g. "/faces"; empty: none.
    """

    token: str = ""
    local: bool = True
    root_path: str = ""


class Watched:
    """The outermost layer: times each request, counts it and writes its line."""

    def __init__(self, app: Any, metrics: Metrics, log: RequestLog) -> None:
        self._app, self._metrics, self._log = app, metrics, log

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, sent, came = time.perf_counter(), _CLIENT_GONE, 0, 0
        said: dict[str, Any] = scope.setdefault("facerec", {})  # what verbs report about the request, see `note`

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            return message

        async def heard(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, counted, heard)
        finally:
            seconds = time.perf_counter() - began
            # The route's template, because the path itself would contain names and fill the memory with counters.
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.request(path, status, seconds)
            known = {
                "method": scope["method"] if scope["method"].isalpha() else "other",
                "path": path,
                "status": status,
                "ms": round(1000 * seconds, 1),
                "client": (scope.get("client") or ("",))[0],
                "bytes_in": came,
                "bytes_out": sent,
            }
            names = said.pop("names", {})
            self._log.write(known | said, names)


def note(scope: Message, **what: Any) -> None:
    """Add to the log line of the request of `scope`; `names` (a mapping) is written only where names are asked for."""
    scope.setdefault("facerec", {}).update(what)


class Gate:
    """Check access, rate and size before anything is read; count the bytes of the body while they arrive."""

    def __init__(self, app: Any, settings: ServeSettings, access: Access) -> None:
        self._app, self._settings, self._access = app, settings, access
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client: requests left, when

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["root_path"] = self._access.root_path  # routes are found below it, whether the proxy took it away or not
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            self._check(scope, headers)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        came, whole, refused = 0, False, False

        async def refuse(error: ApiError) -> Message:
            nonlocal refused
            refused = True
            await error.response()(scope, receive, send)
            return {"type": "http.disconnect"}

        async def counted() -> Message:
            nonlocal came, whole
            if refused:
                return {"type": "http.disconnect"}
            if whole:  # only the client's disconnection can still arrive
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._settings.body_s)
            except TimeoutError:
                return await refuse(ApiError(408, "too_slow", "expected the rest of the request's body"))
            came += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if came > self._settings.max_bytes:
                return await refuse(self._too_large())
            return message

        async def heard(message: Message) -> None:
            if (
                not refused
            ):  # the client already has its answer, so the application's answer to half a body is discarded
                await send(message)

        try:
            await self._app(scope, counted, heard)
        except Exception:
            if not refused:
                raise

    def _check(self, scope: Message, headers: dict[str, str]) -> None:
        token, host = self._access.token, headers.get("host", "")
        named = host.rsplit(":", 1)[0].strip("[]")
        if self._access.local and not token and named not in ("localhost", "127.0.0.1", "::1"):
            raise ApiError(403, "wrong_host", f"expected the loopback address as the host; got {host!r}")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise ApiError(403, "cross_origin", "expected a request of this service's own page")
        path = scope["path"].removeprefix(self._access.root_path)
        if token and path not in OPEN_PATHS and not path.startswith(PAGE_FILES):
            kind, _, sent = headers.get("authorization", "").strip().partition(" ")  # the kind is of any case: RFC 9110
            if kind.lower() != "bearer" or not hmac.compare_digest(sent.strip().encode(), token.encode()):
                raise ApiError(401, "unauthorized", "expected the header Authorization: Bearer TOKEN")
        self._count((scope.get("client") or ("",))[0])
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._settings.max_bytes:
            raise self._too_large()

    def _count(self, client: str) -> None:
        """A token bucket for each client, which fills at `per_minute` tokens per minute."""
        now, most = time.monotonic(), float(self._settings.per_minute)
        left, when = self._left.pop(client, (most, now))
        left = min(most, left + (now - when) * most / 60)
        self._left[client] = (max(0.0, left - 1), now)
        while len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        if left < 1:
            raise ApiError(429, "rate_limited", f"expected at most {self._settings.per_minute} requests per minute")

    def _too_large(self) -> ApiError:
        return ApiError(413, "too_large", f"expected at most {self._settings.max_bytes} bytes")
