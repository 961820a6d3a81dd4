"""The collections of a gallery in Milvus, and what Milvus's errors are called here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from facerec.landmarks.errors import FacerecError
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
    """Say in the words of this project what Milvus ran into."""
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        raise MilvusError(f"{address}: Milvus says: {error.message or error}") from error
