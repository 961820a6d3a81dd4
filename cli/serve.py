"""`facerec serve`: the functions of the command line over HTTP."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facerec.cli.options import (
    fpir_option,
    gallery_option,
    note,
    printable,
    quiet_option,
    recognizer_options,
    workers_option,
)
from facerec.landmarks.device import resolve_device, share_cores

if TYPE_CHECKING:
    from facerec.cli.service.metrics import AccessLog
    from facerec.recognition.recognizer import RecognizerSettings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
TOKEN_VARIABLE = "FACEREC_TOKEN"
_STOP_SECONDS = 30  # how long requests in progress may take after the service was asked to stop


@click.command("serve")
@gallery_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 chooses a free one."
)
@workers_option
@click.option(
    "--queue", type=click.IntRange(min=0), default=16, show_default=True, help="Number of requests that may wait."
)
@click.option(
    "--per-minute", type=click.IntRange(min=1), default=600, show_default=True, help="Requests per client and minute."
)
@click.option(
    "--max-megabytes", type=click.IntRange(min=1), default=20, show_default=True, help="Largest size of a request, MB."
)
@click.option(
    "--access-log",
    type=click.Choice(["off", "requests", "names"]),
    show_default="requests, with -q off",
    help="Write a line of JSON to stderr for each request; with 'names' it includes names of files and people.",
)
@fpir_option
@click.option("--root-path", default="", metavar="PATH", help="Path under which a proxy serves the service.")
@recognizer_options("the gallery's", "the gallery's", "the gallery's")
@quiet_option
def command(
    gallery_path: Path | str,
    host: str,
    port: int,
    workers: int | None,
    queue: int,
    per_minute: int,
    max_megabytes: int,
    access_log: AccessLog | None,
    fpir: float | None,
    root_path: str,
    models: RecognizerSettings,
    quiet: bool,
) -> None:
    """Serve identify, verify, landmarks, frontalize, enroll and the gallery's people over HTTP.

    / is a page to drop photographs on, /docs lists the paths, and /openapi.json describes them. /health reports whether
    the service runs, /ready whether it can answer, and /metrics has counters for Prometheus. SIGTERM ends the service
    after the requests in progress are answered.

    To listen on an address other than the loopback address, set the environment variable FACEREC_TOKEN to a token,
    which clients send as "Authorization: Bearer TOKEN". The service has no TLS: put a proxy with TLS in front of it
    (docs/deploy.md).
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if host not in LOOPBACK and len(token) < 16:
        raise click.UsageError(f"expected a token of at least 16 characters in {TOKEN_VARIABLE} for the host {host}")
    if root_path and not (root_path.startswith("/") and root_path.isprintable()):
        raise click.UsageError(f"expected a path that begins with / for --root-path; got {root_path!r}")
    from facerec.cli.portraits import grace_hopper_file
    from facerec.landmarks.errors import InvalidInputError
    from facerec.recognition.store.galleries import open_gallery

    try:
        import uvicorn

        from facerec.cli.service.application import create_app
        from facerec.cli.service.gate import Access, ServeSettings
        from facerec.cli.service.metrics import RequestLog
        from facerec.cli.service.sockets import bound_socket
        from facerec.cli.service.verbs import Service
    except ImportError as error:
        raise InvalidInputError(f"expected FastAPI for facerec serve; install facerec[serve] ({error})") from error
    from facerec.recognition.recognizer import load_recognizer

    with bound_socket(host, port) as socket:  # a wrong path and a used port are reported before the models are loaded
        with open_gallery(gallery_path) as gallery:
            recognizer = load_recognizer(models, gallery.contract_json)
        where = resolve_device(models.device)
        workers = share_cores(workers, where, queue + 1)
        settings = ServeSettings(workers, queue, per_minute, max_megabytes << 20)
        service = Service(recognizer, gallery_path, models.device, fpir)
        portrait = grace_hopper_file()
        if portrait is not None and portrait.is_file():
            service.warm(portrait.read_bytes())
        access = Access(token, host in LOOPBACK, root_path.rstrip("/"))
        app = create_app(service, settings, access, RequestLog(access_log or ("off" if quiet else "requests")))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        shown = f"[{host}]" if ":" in host else host
        note(f"Serving {printable(str(gallery_path))} at http://{shown}:{socket.getsockname()[1]}{root_path}/", quiet)
        _server(uvicorn.Server)(config).run(sockets=[socket])


def _server(base: Any) -> Any:
    """uvicorn's server, which SIGINT and SIGTERM end without killing this process by the same signal afterwards."""

    class Server(base):  # type: ignore[misc]  # a class of a module that is imported late
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            kinds = (signal.SIGINT, signal.SIGTERM)
            before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
            try:
                yield
            finally:
                for kind, handler in before.items():
                    signal.signal(kind, handler)

    return Server
