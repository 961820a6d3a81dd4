"""The collections of a gallery in Milvus, and the translation of Milvus's errors."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from facerec.landmarks.errors import FacerecError, InvalidInputError
from facerec.recognition.store.protocol import ModelContract
from facerec.recognition.store.writer_lock import utc_now


class MilvusError(FacerecError):
    """Milvus cannot be reached or refused something."""


def make_collection(
    client: Any, name: str, key: Literal["INT64", "VARCHAR"], texts: Sequence[str], width: int = 0
) -> None:
    """Make the collection `name` when it is not there.

    Args:
        client: pymilvus's.
        name: of the collection.
        key: type of its primary key, `id`.
        texts: its columns of text.
        width: numbers in a vector of cells; 0: it holds none.
    """
    from pymilvus import DataType

    if client.has_collection(name):
        return
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", getattr(DataType, key), is_primary=True, **({"max_length": 160} if key == "VARCHAR" else {}))
    for text in texts:
        schema.add_field(text, DataType.VARCHAR, max_length=160)
    schema.add_field("data", DataType.JSON)
    index = client.prepare_index_params()
    if width:
        schema.add_field("seen", DataType.INT8)
        schema.add_field("cells", DataType.FLOAT_VECTOR, dim=width)
        # AUTOINDEX: exact on Lite, a graph chosen by the server on a cluster.
        index.add_index("cells", index_type="AUTOINDEX", metric_type="IP")
    else:
        schema.add_field("none", DataType.FLOAT_VECTOR, dim=2)  # Milvus wants a vector in every collection
        index.add_index("none", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")


def load_collections(client: Any, names: Sequence[str]) -> None:
    """Have those of `names` that are there answer: a new process finds the collections of Lite as they lie on the
    disk, and a server may have let go of them."""
    for name in names:
        if client.has_collection(name):
            client.load_collection(name)


def client_of(uri: str) -> Any:
    """A client of the Milvus at `uri`; MILVUS_TOKEN in the environment logs in."""
    from pymilvus import MilvusClient

    return MilvusClient(uri, token=os.environ.get("MILVUS_TOKEN", ""), timeout=30)


def check_client(address: str) -> None:
    """Raise `InvalidInputError` when there is no pymilvus to open `address` with; keep it silent when there is."""
    try:
        _silence_client()
    except ImportError as error:
        raise InvalidInputError(f"expected pymilvus for {address}; install facerec[milvus] ({error})") from error


def _silence_client() -> None:
    """Keep the client's own log lines and tracebacks off the terminal: its errors come as exceptions, too."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when the library below the client is loaded
    import pymilvus  # noqa: F401  # sets its loggers up when it is imported

    parts = [name for name in logging.root.manager.loggerDict if name.startswith("pymilvus.")]
    for name in ("pymilvus", "milvus_lite", *parts):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def make_gallery(client: Any, collection: Callable[[str], str], contract: ModelContract) -> None:
    """Make what a gallery without entries consists of.

    Args:
        client: pymilvus's.
        collection: name of the gallery's collection of a kind.
        contract: that of the models.
    """
    make_collection(client, collection("contract"), "INT64", [])
    make_collection(client, collection("photos"), "VARCHAR", ["person_key", "sha256"])
    data = {
        "digest": contract.digest,
        "json": contract.as_json(),
        "shape": [0, 0],
        "created": utc_now(),
        "revision": 0,
    }
    client.upsert(collection("contract"), [{"id": 1, "data": data, "none": [0.0, 0.0]}])


@contextlib.contextmanager
def milvus_errors(address: str) -> Iterator[None]:
    """Raise errors of Milvus as facerec's own."""
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        raise MilvusError(f"{address}: Milvus says: {error.message or error}") from error
