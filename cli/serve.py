"""`facerec serve`: the verbs of the command line over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.options import gallery_option, note, printable, quiet_option, recognizer_options, workers_option
from facerec.landmarks.device import resolve_device, share_cores

if TYPE_CHECKING:
    from facerec.recognition.recognizer import RecognizerSettings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
TOKEN_VARIABLE = "FACEREC_TOKEN"


@click.command("serve")
@gallery_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one."
)
@workers_option
@click.option("--queue", type=click.IntRange(min=0), default=16, show_default=True, help="Requests that may wait.")
@click.option("--per-minute", type=click.IntRange(min=1), default=600, show_default=True, help="Requests of a client.")
@click.option("--max-megabytes", type=click.IntRange(min=1), default=20, show_default=True, help="Of a request.")
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
    models: RecognizerSettings,
    quiet: bool,
) -> None:
    """Answer over HTTP: identify, verify, landmarks, frontalize, enroll, and the gallery's people.

    /docs lists the paths, /openapi.json describes them, / is a page to drop a photograph on. On another address than
    this machine's own the environment variable FACEREC_TOKEN must hold a token, which clients send as
    "Authorization: Bearer TOKEN". There is no TLS: put a proxy before it that has.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if host not in LOOPBACK and len(token) < 16:
        raise click.UsageError(f"expected a token of at least 16 characters in {TOKEN_VARIABLE} for the host {host}")
    from facerec.landmarks.errors import InvalidInputError
    from facerec.recognition.store.galleries import open_gallery

    try:
        import uvicorn

        from facerec.cli.api import ServeSettings, Service, create_app
    except ImportError as error:
        raise InvalidInputError(f"expected FastAPI for facerec serve; install facerec[serve] ({error})") from error
    from facerec.recognition.recognizer import load_recognizer

    with open_gallery(gallery_path) as gallery:  # a wrong path is answered before the models are loaded
        recognizer = load_recognizer(models, gallery.contract_json)
    where = resolve_device(models.device)
    workers = share_cores(workers, where, queue + 1)
    settings = ServeSettings(workers, queue, per_minute, max_megabytes << 20)
    app = create_app(Service(recognizer, gallery_path, models.device), settings, token, local=host in LOOPBACK)
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False, log_config=None)
    with config.bind_socket() as socket:
        shown = f"[{host}]" if ":" in host else host
        note(f"Serving {printable(str(gallery_path))} at http://{shown}:{socket.getsockname()[1]}/", quiet)
        uvicorn.Server(config).run(sockets=[socket])
