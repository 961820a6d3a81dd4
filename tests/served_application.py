"""The application of `facerec serve` behind a real socket, in a thread of its own. Not a test module."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import uvicorn

from facerec.cli.service.sockets import bound_socket

if TYPE_CHECKING:
    from fastapi import FastAPI


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yields its address, and what stops it (it also stops at the end).

    The socket is the one of `facerec serve`, which listens before the server runs: the first request waits for the
    server and is not refused.
    """
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", log_config=None))
    with bound_socket("127.0.0.1", 0) as socket:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join()

        try:
            yield f"http://127.0.0.1:{socket.getsockname()[1]}", stop
        finally:
            stop()
