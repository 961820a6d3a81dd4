"""The socket of the service, and the process that uses its port when it is taken."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from facerec.landmarks.errors import InvalidInputError


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port` (0: a free one); whoever connects waits until a server runs on it.

    Raises:
        InvalidInputError: the address cannot be bound; names the process that uses it, if the system shows it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(2048)  # a port that somebody listens on is refused only here
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise InvalidInputError(
                f"expected a free port; port {port} of {host} is used by {port_user(port)}. Choose another with --port"
            ) from None
        why = f"{host}, port {port}: {error.strerror}"
        raise InvalidInputError(f"expected an address of this machine; got {why}") from None
    return bound


def port_user(port: int) -> str:
    """The process that listens on the TCP port `port` of this machine, as "process 12 (facerec serve -g staff)"."""
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*") if wanted else ():
        try:
            if any(os.readlink(file) in wanted for file in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"process {process.name} ({command[:120]})"
        except OSError:  # another user's, or it has just ended
            continue
    return "another process"


def _listening(port: int) -> set[str]:
    """Inodes of the sockets that listen on `port`; none where the system does not say."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        except OSError:
            continue
        found |= {row[9] for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == "0A"}
    return found
