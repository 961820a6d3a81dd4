"""Search of a gallery in Milvus: its index gives candidates, the exact masked score ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facerec.landmarks.errors import ContractError
from facerec.recognition.search import MaskedSearch, SearchResult, SearchSettings
from facerec.recognition.signature import Signature
from facerec.recognition.store.milvus import MilvusGallery
from facerec.recognition.store.milvus_rows import packed_regions, row_order, row_vectors
from facerec.recognition.store.records import EntryIndex


class MilvusSearch:
    """Searches a Milvus gallery: Milvus names entries, the exact masked score ranks them (see `search.Search`)."""

    reads_gallery = True

    def __init__(self, gallery: MilvusGallery, settings: SearchSettings | None = None) -> None:
        self.settings = settings or SearchSettings()
        self.contract = gallery.contract_digest
        self._gallery = gallery

    def search(self, probes: Sequence[Signature], k: int = 5) -> list[SearchResult]:
        """The `k` best people for each probe; `SearchResult.people` are those that were looked at."""
        shape, nobodies = self._gallery.shape, self._gallery.nobodies()
        for probe in probes:
            if probe.contract != self.contract:
                raise ContractError(
                    f"expected probes of the gallery's contract {self.contract[:12]}; got {probe.contract[:12]}"
                )
        if not probes:
            return []
        return [
            self._rank(probe, sorted(rows, key=row_order), shape, nobodies, k)
            for probe, rows in zip(probes, self._gallery.named(np.stack([p.cells for p in probes])), strict=True)
        ]

    def _rank(
        self,
        probe: Signature,
        rows: list[dict[str, Any]],
        shape: tuple[int, int],
        nobodies: frozenset[str],
        k: int,
    ) -> SearchResult:
        found_rows = [(int(r["id"]), r["data"]["person"], r["data"]["sha256"], packed_regions(r["data"])) for r in rows]
        index = EntryIndex.of(found_rows, nobodies)
        read = [row_vectors(self._gallery.address, row, shape) for row in rows]
        cells = np.stack([c for c, _ in read]) if read else np.zeros((0, *shape), dtype=np.float32)
        visible = np.stack([v for _, v in read]) if read else np.zeros((0, shape[0]), dtype=np.bool_)
        search = MaskedSearch(index, shape, self.contract, lambda at: (cells[at], visible[at]), self.settings, "numpy")
        (found,) = search.search([probe], k)
        return SearchResult(found.matches, found.people, None, found.largest_overlap)
