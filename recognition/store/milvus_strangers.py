"""The known strangers of a gallery in Milvus: a collection of their names, made with the first mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facerec.recognition.store.milvus_rows import person_key
from facerec.recognition.store.milvus_schema import make_collection, milvus_errors


class MilvusStrangers:
    """Which people of one gallery are known strangers."""

    def __init__(self, client: Any, address: str, collection: str) -> None:
        """Keep names in `collection`; `client` is pymilvus's, `address` stands in messages."""
        self._client, self._address, self._collection = client, address, collection

    def names(self) -> frozenset[str]:
        """Who they are."""
        with milvus_errors(self._address):
            if not self._client.has_collection(self._collection):
                return frozenset()
            rows = self._client.query(self._collection, filter='id != ""', output_fields=["data"])
        return frozenset(row["data"]["person"] for row in rows)

    def mark(self, names: Sequence[str], nobody: bool) -> None:
        """Make `names` known strangers, or people again."""
        with milvus_errors(self._address):
            if nobody:
                make_collection(self._client, self._collection, "VARCHAR", [])
                rows = [{"id": person_key(name), "data": {"person": name}, "none": [0.0, 0.0]} for name in names]
                self._client.upsert(self._collection, rows)
            elif names and self._client.has_collection(self._collection):
                self._client.delete(self._collection, ids=[person_key(name) for name in names])
