"""Approximate indexes: they give the entries of a very large gallery that are worth scoring.

The masked score is a quotient of two inner products, and an index knows one. Entries are therefore grouped by how many
cells they show, so that within a group the denominator hardly varies, and each group has an index of its own by the
inner product <E_g, E_p>. The shortlists of all groups are then scored and ranked exactly (`search`). The search effort
is chosen when the index is built: as much as it takes to find what the exact search finds.

Like every derived file, `GALLERY.ivf`, `.hnsw` and `.pq` name the state of the gallery they were made from; a digest
guards every byte.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.masked_score import Vectors
from facerec.recognition.search import IndexMethod, MaskedSearch, SearchResult, SearchSettings
from facerec.recognition.signature import Signature, mask_group
from facerec.recognition.store.derived_files import derived_file
from facerec.recognition.store.sqlite_reading import GalleryReader
from facerec.recognition.store.vector_file import VectorFile, no_index

_MAGIC = b"facerec shortlist 1\n"
_DIGEST = 32


@dataclass(frozen=True)
class ShortlistSettings:
    """How an approximate index is built and how well it must find.

    Attributes:
        recall: share of the trial probes for which the best person must be the one that the exact search finds.
        trials: trial probes; 256 tell 99 % from 96 %.
        mate_score: cosine of a trial probe with the entry it is made of. A half is what pictures of one person reach
            with a usable descriptor in unlike poses; easier ones need less search effort.
        flat: groups of fewer entries are scored by inner product without an index; below this nothing is gained.
        training: vectors that centroids are trained on.
        block_bytes: vectors added at a time.
    """

    recall: float = 0.99
    trials: int = 256
    mate_score: float = 0.5
    flat: int = 4096
    training: int = 65536
    block_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1 or not 0 < self.mate_score <= 1 or min(self.trials, self.training) < 1:
            raise InvalidInputError(f"expected a recall and a mate score in (0, 1], and trials; got {self}")


@dataclass(frozen=True)
class Effort:
    """Search effort of an index: `entries` returned in each group, and lists (ivf) or graph nodes (hnsw) visited."""

    entries: int
    visited: int


_EFFORTS: dict[IndexMethod, tuple[Effort, ...]] = {
    "ivf": tuple(Effort(max(100, 2 * lists), lists) for lists in (8, 32, 128, 512, 2048)),
    "hnsw": tuple(Effort(nodes, nodes) for nodes in (64, 128, 256, 512, 1024, 2048)),
    "pq": tuple(Effort(entries, 0) for entries in (50, 200, 800, 3200)),
}
"""Tried in this order until the recall is reached."""


@dataclass(frozen=True, eq=False)
class ShortlistIndex:
    """An approximate index of one state of a gallery. Threads may share it.

    Attributes:
        method: what kind.
        effort: its search effort.
        recall: share of the trial probes whose best person was the exact search's, measured when it was built.
        groups: for each group, places (M,) in the gallery's index and the FAISS index over them.
    """

    method: IndexMethod
    effort: Effort
    recall: float
    groups: tuple[tuple[NDArray[np.int64], Any], ...]

    @staticmethod
    def build(gallery: GalleryReader, method: IndexMethod, settings: ShortlistSettings | None = None) -> ShortlistIndex:
        """Index the mapped vectors of `gallery` (see `VectorFile.build`) and write the index beside it.

        If even the greatest effort stays below the requested recall, it is used, and `recall` states the measured
        value.
        """
        import faiss

        settings = settings or ShortlistSettings()
        vectors = VectorFile.open(gallery)
        group_of = _group_of(vectors, settings)
        groups = []
        for group in np.unique(group_of):
            places = np.flatnonzero(group_of == group)
            groups.append((places, _build_group(vectors, places, method, settings)))
        trials = _trial_probes(vectors, gallery.contract_digest, settings)
        wanted = _best_people(_search(vectors, gallery, None).search(trials, 1))
        for effort in _EFFORTS[method]:
            made = ShortlistIndex(method, effort, 0.0, tuple(groups))
            found = _best_people(_search(vectors, gallery, made).search(trials, 1))
            recall = float(np.mean([a == b for a, b in zip(found, wanted, strict=True)]))
            if recall >= settings.recall:
                break
        made = ShortlistIndex(method, effort, recall, tuple(groups))
        blobs = [b for places, index in groups for b in (places.tobytes(), faiss.serialize_index(index).tobytes())]
        header = {
            "state": gallery.state,
            "method": method,
            "entries": effort.entries,
            "visited": effort.visited,
            "recall": recall,
            "sizes": [len(blob) for blob in blobs],
        }
        _write(gallery, method, header, blobs)
        return made

    @staticmethod
    def open(gallery: GalleryReader, method: IndexMethod) -> ShortlistIndex:
        """Read the index beside `gallery`.

        Raises:
            NoIndexError: there is none for the gallery's present state. InvalidInputError: it is damaged.
        """
        import faiss

        path = derived_file(gallery.path, f".{method}")
        option = f" --method {method}"
        try:
            data = np.fromfile(path, dtype=np.uint8)
        except FileNotFoundError:
            raise no_index(gallery.path, path, "there is none", option) from None
        start = data[: len(_MAGIC) + _DIGEST].tobytes()
        rest = data[len(start) :]
        # FAISS trusts what it reads, so nothing reaches it before the digest of all of it was tested.
        if (
            not start.startswith(_MAGIC)
            or hashlib.blake2b(rest.data, digest_size=_DIGEST).digest() != start[len(_MAGIC) :]
        ):
            raise InvalidInputError(f"{path} is damaged; remove it: everything in it is in the gallery")
        end = int(np.argmax(rest == ord("\n")))
        header = json.loads(rest[:end].tobytes())
        if header["state"] != gallery.state:
            raise no_index(gallery.path, path, "it is of an older state of the gallery", option)
        at, blobs = end + 1, []
        for size in header["sizes"]:
            blobs.append(rest[at : at + size])
            at += size
        groups = [
            (np.frombuffer(places.tobytes(), dtype=np.int64), faiss.deserialize_index(index))
            for places, index in zip(blobs[::2], blobs[1::2], strict=True)
        ]
        return ShortlistIndex(method, Effort(header["entries"], header["visited"]), header["recall"], tuple(groups))

    def places(self, cells: NDArray[np.float32], visible: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        """For each probe of cells (P, C, D) and visibility (P, C): places in the gallery's index, ascending."""
        named: list[list[NDArray[np.int64]]] = [[] for _ in cells]
        flat = np.ascontiguousarray(cells.reshape(len(cells), -1))
        for places, index in self.groups:
            _, rows = index.search(flat, min(self.effort.entries, len(places)), params=self._parameters(index))
            for own, row in zip(named, rows, strict=True):
                own.append(places[row[row >= 0]])
        return [np.unique(np.concatenate(own)) for own in named]

    def _parameters(self, index: Any) -> Any:
        faiss = importlib.import_module("faiss")  # its type stubs do not know these names
        if isinstance(index, faiss.IndexIVF):
            return faiss.SearchParametersIVF(nprobe=min(self.effort.visited, index.nlist))
        if isinstance(index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=self.effort.visited)
        return None


def shortlist_search(
    gallery: GalleryReader, method: IndexMethod, settings: SearchSettings | None = None
) -> MaskedSearch:
    """Search those entries of `gallery` that an index names; the gallery must stay open as long as the search is used.

    Args:
        gallery: open, with an index file and the approximate index beside it.
        method: the approximate index to take the shortlist from.
        settings: see `SearchSettings`.

    Raises:
        NoIndexError: the index asked for is not there, or is of an older state.
    """
    vectors = VectorFile.open(gallery)
    shortlist = ShortlistIndex.open(gallery, method)
    return MaskedSearch(
        vectors.index, gallery.shape, gallery.contract_digest, vectors.rows, settings, shortlist=shortlist
    )


def _group_of(vectors: VectorFile, settings: ShortlistSettings) -> NDArray[np.int64]:
    return np.concatenate([mask_group(visible) for _, visible in _blocks(vectors, settings)])


def _blocks(
    vectors: VectorFile, settings: ShortlistSettings, places: NDArray[np.int64] | None = None
) -> Iterator[Vectors]:
    """Blocks of rows, all or those at `places`."""
    n = len(vectors.index.ids) if places is None else len(places)
    step = max(1, settings.block_bytes // (4 * vectors.shape[0] * vectors.shape[1]))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        yield vectors.rows(rows if places is None else places[rows])


def _build_group(
    vectors: VectorFile, places: NDArray[np.int64], method: IndexMethod, settings: ShortlistSettings
) -> Any:
    import faiss

    n, width = len(places), vectors.shape[0] * vectors.shape[1]
    index = faiss.index_factory(width, _factory(method, n, width, settings), faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        chosen = np.sort(np.random.default_rng(0).choice(n, min(n, settings.training), replace=False))
        index.train(vectors.rows(places[chosen])[0].reshape(-1, width))
    for cells, _ in _blocks(vectors, settings, places):
        index.add(cells.reshape(-1, width))
    return index


def _factory(method: IndexMethod, n: int, width: int, settings: ShortlistSettings) -> str:
    """FAISS's name of the index for `n` vectors of `width` numbers."""
    if n < settings.flat:
        return "Flat"
    if method == "ivf":
        return f"IVF{int(2 * np.sqrt(n))},SQ8"  # a list and the centroids are about equally long to scan
    if method == "hnsw":
        return "HNSW32,SQ8"
    # Four bits for four numbers, an eighth of one byte per number: small enough that scanning all of it is fast.
    return f"PQ{next(m for m in range(width // 4, 0, -1) if width % m == 0)}x4fs"


def _trial_probes(vectors: VectorFile, contract: str, settings: ShortlistSettings) -> list[Signature]:
    """Probes made of entries: each cell turned away to the cosine `mate_score`, seen through another entry's mask."""
    rng = np.random.default_rng(1)
    n = len(vectors.index.ids)
    cells, visible = vectors.rows(np.sort(rng.choice(n, min(n, settings.trials), replace=False)))
    _, masks = vectors.rows(rng.integers(0, n, len(cells)))
    masks = np.where((masks & visible).any(axis=1, keepdims=True), masks, True) & visible
    noise = rng.normal(size=cells.shape).astype(np.float32)
    noise -= (noise * cells).sum(axis=2, keepdims=True) * cells
    noise /= np.linalg.norm(noise, axis=2, keepdims=True)
    turned = settings.mate_score * cells + np.sqrt(1 - settings.mate_score**2) * noise
    return [Signature((c * m[:, None]).astype(np.float32), m, contract) for c, m in zip(turned, masks, strict=True)]


def _search(vectors: VectorFile, gallery: GalleryReader, shortlist: ShortlistIndex | None) -> MaskedSearch:
    # Whatever the overlap: the trials ask for the index's answers, not for decisions.
    settings = SearchSettings(min_overlap=0.0)
    return MaskedSearch(
        vectors.index, vectors.shape, gallery.contract_digest, vectors.rows, settings, shortlist=shortlist
    )


def _best_people(results: list[SearchResult]) -> list[str]:
    return [result.matches[0].person if result.matches else "" for result in results]


def _write(gallery: GalleryReader, method: IndexMethod, header: dict[str, Any], blobs: list[bytes]) -> None:
    path = derived_file(gallery.path, f".{method}")
    fresh = derived_file(path, f".new-{os.getpid()}")
    parts = [json.dumps(header).encode() + b"\n", *blobs]
    total = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        total.update(part)
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            for part in (_MAGIC, total.digest(), *parts):
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
