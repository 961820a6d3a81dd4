"""A gallery in Milvus: for more faces than one machine holds, or many readers and writers.

`milvus:PATH` is Milvus Lite, a folder beside this process; `milvus:http://HOST:19530` is a server or a cluster, by the
same code. `#NAME` behind either names the gallery (by default "facerec"), MILVUS_TOKEN in the environment logs in.

There are no transactions over collections. Keys are therefore made from what they name (a person and the digest of a
photograph), and a photograph's record is written after its entries: a process that is killed leaves at most entries
whose photograph is described once more and then replaces them, never two of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, FacerecError, InvalidInputError
from facerec.recognition.impostors import keep_calibrated
from facerec.recognition.signature import MASK_GROUPS, Signature, unpack_regions
from facerec.recognition.store.faults import DamagedGalleryError, NameTakenError, NoGalleryError, UnknownPersonError
from facerec.recognition.store.milvus_rows import (
    entry_record,
    entry_row,
    hexadecimal,
    path_text,
    person_key,
    photo_key,
    photo_record,
    photo_row,
    row_vectors,
)
from facerec.recognition.store.milvus_schema import (
    check_client,
    client_of,
    load_collections,
    make_collection,
    make_gallery,
    milvus_errors,
)
from facerec.recognition.store.milvus_strangers import MilvusStrangers
from facerec.recognition.store.protocol import MILVUS_PREFIX, ModelContract, check_one_kind, contract_mismatch
from facerec.recognition.store.records import (
    EntryIndex,
    EntryRecord,
    GalleryInfo,
    NewEntry,
    NewPhoto,
    PersonRecord,
    PhotoRecord,
    Verification,
    content_digest,
    pairs_that_share,
    people_of,
)

_SHORTLIST = 100  # entries named in each group of masks; with eight groups some 2 MB per probe
_AT_ONCE = 500  # rows per call: far below the 64 MB that a message may have


class MilvusGallery:
    """An open gallery in Milvus; the methods are those of `Gallery`. Made by `open`."""

    erased = False
    """Whether the bytes of what was removed have left the disk: Milvus compacts on its own time."""

    def __init__(self, address: str, client: Any, name: str) -> None:
        """Use `open`."""
        self.address = address
        self._client = client
        self._name = name
        self._strangers = MilvusStrangers(client, address, self._collection("strangers"))
        self._content_changed = False

    @classmethod
    def open(cls, address: str, contract: ModelContract | None = None, *, create: bool = False) -> MilvusGallery:
        """Open the gallery at `milvus:URI[#NAME]`; with `create` (and `contract`) make it when it is not there."""
        uri, _, name = address.removeprefix(MILVUS_PREFIX).partition("#")
        name = name or "facerec"
        if not uri or not re.fullmatch(r"[A-Za-z_]\w{0,99}", name):
            raise InvalidInputError(
                f"expected milvus:PATH or milvus:http://HOST:PORT, and #NAME in letters; got {address}"
            )
        check_client(address)
        if "://" not in uri and not create and not Path(uri).exists():
            raise NoGalleryError(
                f"expected a gallery; there is no {uri}. Make one: facerec enroll PHOTOS... -g {address}"
            )
        with milvus_errors(address):
            client = client_of(uri)
            gallery = cls(address, client, name)
            try:
                if not client.has_collection(gallery._collection("contract")):
                    if not create or contract is None:
                        raise NoGalleryError(f"expected a gallery at {address}; Milvus has none of that name")
                    make_gallery(client, gallery._collection, contract)
                load_collections(client, [gallery._collection(kind) for kind in ("contract", "photos", "entries")])
                if contract is not None:
                    gallery.check_contract(contract)
            except BaseException:
                client.close()
                raise
        return gallery

    def close(self) -> None:
        """Close the connection; whoever changed the content first measures its impostor scores, see `Gallery.close`."""
        try:
            if self._content_changed:
                self._content_changed = False
                with contextlib.suppress(FacerecError):  # derived: whoever reads the gallery measures them again
                    keep_calibrated(self)
        finally:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._content_changed = False  # no seconds of measuring between an interruption and its end
        self.close()

    # ---- contract ------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The address, for messages."""
        return self.address

    @property
    def contract_digest(self) -> str:
        """Digest of the contract under which every entry was made."""
        return str(self._contract()["digest"])

    @property
    def contract_json(self) -> str:
        """The contract spelt out."""
        return str(self._contract()["json"])

    @property
    def shape(self) -> tuple[int, int]:
        """(C, D) of the stored signatures; (0, 0) while there is none."""
        cells, dimension = self._contract()["shape"]
        return int(cells), int(dimension)

    @property
    def state(self) -> str:
        """Names the present content: another one after every change, and once its impostor scores are there."""
        with milvus_errors(self.address):
            rows = self._client.get(self._collection("contract"), ids=[1, 2], output_fields=["id", "data"])
        data = {int(row["id"]): row["data"] for row in rows}
        revisions = [data[i]["revision"] if i in data else None for i in (1, 2)]
        return hashlib.sha256(repr((self.contract_digest, data[1]["created"], revisions)).encode()).hexdigest()

    def current_state(self) -> str:
        """`state`: a connection sees every change."""
        return self.state

    def check_contract(self, contract: ModelContract) -> None:
        """Raise `ContractError` unless `contract` is the gallery's."""
        if contract.digest != self.contract_digest:
            raise contract_mismatch(self.address, self.contract_digest, self.contract_json, contract)

    # ---- reading -------------------------------------------------------------------------------------------------

    def info(self) -> GalleryInfo:
        """Counts, contract and digest; `bytes` is that of the vectors."""
        photos, index, shape = self.photos(), self.index(), self.shape
        skipped = Counter(photo.outcome for photo in photos if photo.outcome != "enrolled")
        return GalleryInfo(
            path=Path(self.address),
            contract=self.contract_digest,
            contract_json=self.contract_json,
            people=len(index.names),
            photos=sum(photo.outcome == "enrolled" for photo in photos),
            entries=len(index.ids),
            skipped=dict(sorted(skipped.items())),
            shape=shape,
            bytes=4 * len(index.ids) * shape[0] * shape[1],
            created=str(self._contract()["created"]),
            digest=self.digest(),
            nobodies=len(index.nobodies),
        )

    def people(self) -> list[PersonRecord]:
        """The people that have entries, by name."""
        return people_of(self.entries())

    def entries(self, person: str | None = None, sha256: str | None = None) -> list[EntryRecord]:
        """All entries, or only one person's or one photograph's, without their vectors, in the order of `index`."""
        wanted = {"person_key": person and person_key(person), "sha256": sha256 and hexadecimal(sha256)}
        condition = " and ".join(f'{field} == "{value}"' for field, value in wanted.items() if value)
        photos = {row["id"]: row["data"] for row in self._rows("photos", condition)}
        nobodies = self.nobodies()
        records = []
        for row in self._rows("entries", condition):
            photo = photos.get(row["photo"])
            if photo is None:  # its photograph's record was never written: a writer was killed
                continue
            records.append(entry_record(row, photo, nobodies))
        return sorted(records, key=lambda r: (r.person, r.sha256, r.face))

    def photos(self, digests: Sequence[str] | None = None) -> list[PhotoRecord]:
        """The photographs the gallery knows; with `digests`, only those contents."""
        rows: list[dict[str, Any]] = []
        if digests is None:
            rows = list(self._rows("photos"))
        else:
            for start in range(0, len(digests), _AT_ONCE):
                listed = ", ".join(f'"{hexadecimal(digest)}"' for digest in digests[start : start + _AT_ONCE])
                rows += self._rows("photos", f"sha256 in [{listed}]")
        records = [photo_record(row["data"]) for row in rows]
        return sorted(records, key=lambda r: (r.person, r.sha256))

    def stored_entries(self, person: str, sha256: str) -> tuple[NewEntry, ...]:
        """The entries of one photograph, as they would be stored again."""
        records = self.entries(person, sha256)
        cells, visible = self.vectors([record.entry for record in records])
        digest = self.contract_digest
        return tuple(
            r.with_signature(Signature(c, v, digest, unpack_regions(r.regions)))
            for r, c, v in zip(records, cells, visible, strict=True)
        )

    def shared_photos(self) -> list[tuple[str, str]]:
        """Pairs of people that share a face of a photograph, see `Gallery.shared_photos`."""
        return pairs_that_share(self.entries())

    def index(self) -> EntryIndex:
        """All entries in their fixed order, without vectors."""
        return EntryIndex.of([(r.entry, r.person, r.sha256, r.regions) for r in self.entries()], self.nobodies())

    def vectors(self, ids: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Cells (N, C, D) float32 and visibility (N, C) of the entries `ids`, in that order; checksums are tested."""
        shape, wanted = self.shape, [int(i) for i in ids]
        cells = np.zeros((len(wanted), *shape), dtype=np.float32)
        visible = np.zeros((len(wanted), shape[0]), dtype=np.bool_)
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            with milvus_errors(self.address):
                found = self._client.get(self._collection("entries"), ids=part, output_fields=["data", "cells"])
            rows = {int(row["id"]): row for row in found}
            for i, entry in enumerate(part, start):
                if entry not in rows:
                    raise InvalidInputError(f"expected an entry of {self.address}; there is no entry {entry}")
                cells[i], visible[i] = row_vectors(self.address, rows[entry], shape)
        return cells, visible

    def digest(self) -> str:
        """Digest of the content; that of the file with the same entries (`Gallery.digest`)."""
        photos = {row["id"] for row in self._rows("photos")}
        rows = [
            (data["person"], data["sha256"], data["face"], bytes.fromhex(data["checksum"]))
            for data in (row["data"] for row in self._rows("entries") if row["photo"] in photos)
        ]
        return content_digest(self.contract_digest, sorted(rows), self.nobodies())

    def verify(self) -> Verification:
        """Check every entry's vector against its checksum."""
        faults = []
        ids = self.index().ids.tolist()
        for entry in ids:
            try:
                self.vectors([entry])
            except InvalidInputError as error:
                faults.append(str(error))
        remarks = tuple(f"{a} and {b}: the same photograph under two names" for a, b in self.shared_photos())
        return Verification(len(ids), tuple(faults), remarks)

    # ---- writing -------------------------------------------------------------------------------------------------

    def add(self, photos: Sequence[NewPhoto]) -> None:
        """Store photographs and their entries; one that the same person already has is replaced."""
        digest = self.contract_digest
        entries: list[dict[str, Any]] = []
        records: list[dict[str, Any]] = []
        for photo in photos:
            key = photo_key(photo.person, photo.sha256)
            for entry in photo.entries:
                if entry.signature.contract != digest:
                    raise ContractError(
                        f"expected signatures of contract {digest[:12]} for {self.address}; "
                        f"got contract {entry.signature.contract[:12]}"
                    )
                if entry.texture:
                    raise InvalidInputError(f"expected no textures to keep; {self.address} holds signatures only")
                entries.append(entry_row(photo, entry, key))
            records.append(photo_row(photo, key))
        if entries:
            self._hold(photos)
        self._count_change()
        with milvus_errors(self.address):
            for start in range(0, len(records), _AT_ONCE):
                keys = ", ".join(f'"{row["id"]}"' for row in records[start : start + _AT_ONCE])
                if self._client.has_collection(self._collection("entries")):
                    self._client.delete(self._collection("entries"), filter=f"photo in [{keys}]")
            for name, rows in (("entries", entries), ("photos", records)):  # the record last: it says all is there
                for start in range(0, len(rows), _AT_ONCE):
                    self._client.upsert(self._collection(name), rows[start : start + _AT_ONCE])

    def relocate(self, moved: Sequence[tuple[str, str, Path, Path]]) -> None:
        """Note new places of known photographs: (person, sha256, relative path, absolute path)."""
        for person, sha256, relative, absolute in moved:
            for row in self._rows("photos", f'id == "{photo_key(person, sha256)}"'):
                data = {**row["data"], "relative_path": path_text(relative), "absolute_path": path_text(absolute)}
                with milvus_errors(self.address):
                    self._client.upsert(self._collection("photos"), [{**row, "data": data, "none": [0.0, 0.0]}])

    def remove_people(self, names: Sequence[str]) -> int:
        """Remove people with everything known of them; returns the number of entries that went with them.

        Milvus hides what is deleted at once and drops the bytes when it compacts its files, which is asked for here
        and done on the server's own time.
        """
        known = {photo.person for photo in self.photos()}
        for name in names:
            if name not in known:
                raise UnknownPersonError(f"expected a person of {self.address}; there is no {name!r}")
        return self._delete([f'person_key == "{person_key(name)}"' for name in names])

    def remove_photos(self, photos: Sequence[tuple[str, str]]) -> int:
        """Remove photographs, each (person, sha256)."""
        return self._delete(
            [f'person_key == "{person_key(person)}" and sha256 == "{hexadecimal(sha256)}"' for person, sha256 in photos]
        )

    def remove_entries(self, ids: Sequence[int]) -> int:
        """Remove single entries, and photographs that have none left."""
        records = {record.entry: record for record in self.entries()}
        for entry in ids:
            if entry not in records:
                raise InvalidInputError(f"expected an entry of {self.address}; there is no entry {entry}")
        self._count_change()
        with milvus_errors(self.address):
            self._client.delete(self._collection("entries"), ids=[int(i) for i in set(ids)])
        left = {(r.person, r.sha256) for r in records.values() if r.entry not in set(ids)}
        touched = {(records[i].person, records[i].sha256) for i in ids}
        self.remove_photos(sorted(touched - left))
        return len(set(ids))

    def rename(self, old: str, new: str) -> None:
        """Call the person `old` `new` from now on."""
        if any(photo.person == new for photo in self.photos()):
            raise NameTakenError(f"expected a name that is not in {self.address}; {new!r} is")
        self._give_to([old], new)

    def merge(self, names: Sequence[str], into: str) -> None:
        """Make the people `names` and `into` one person, called `into`."""
        if not any(photo.person == into for photo in self.photos()):
            raise UnknownPersonError(f"expected a person of {self.address}; there is no {into!r}")
        check_one_kind(self.address, [*names, into], self.nobodies())
        self._give_to([name for name in names if name != into], into)

    def nobodies(self) -> frozenset[str]:
        """Names of the known strangers."""
        return self._strangers.names()

    def mark(self, names: Sequence[str], nobody: bool) -> None:
        """Make the people `names` known strangers, or people again."""
        known = {photo.person for photo in self.photos()}
        for name in names:
            if name not in known:
                raise UnknownPersonError(f"expected a person of {self.address}; there is no {name!r}")
        self._count_change()
        self._strangers.mark(names, nobody)

    def store_calibration(self, data: bytes) -> None:
        """Keep impostor scores for the present revision."""
        row = {"id": 2, "data": {"revision": self._contract()["revision"], "data": data.hex()}, "none": [0.0, 0.0]}
        with milvus_errors(self.address):
            self._client.upsert(self._collection("contract"), [row])

    def calibration(self) -> bytes:
        """The stored impostor scores; empty when there are none for the present revision."""
        for row in self._rows("contract", "id == 2"):
            if row["data"]["revision"] == self._contract()["revision"]:
                return bytes.fromhex(row["data"]["data"])
        return b""

    def named(self, cells: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        """Rows of entries worth scoring for probes of cells (P, C, D): Milvus's best by inner product of each group."""
        rows: list[list[dict[str, Any]]] = [[] for _ in cells]
        if self.shape == (0, 0):
            return rows
        flat = list(cells.reshape(len(cells), -1))
        for group in range(1, MASK_GROUPS + 1):
            with milvus_errors(self.address):
                found = self._client.search(
                    self._collection("entries"),
                    data=flat,
                    anns_field="cells",
                    filter=f"seen == {group}",
                    limit=_SHORTLIST,
                    output_fields=["data", "cells"],
                    search_params={"metric_type": "IP"},
                )
            for own, hits in zip(rows, found, strict=True):
                own += [{"id": hit["id"], **hit["entity"]} for hit in hits]
        return rows

    # ---- inside --------------------------------------------------------------------------------------------------

    def _collection(self, kind: str) -> str:
        return f"{self._name}_{kind}"

    def _contract(self) -> dict[str, Any]:
        with milvus_errors(self.address):
            rows = self._client.get(self._collection("contract"), ids=[1], output_fields=["data"])
        if not rows:
            raise DamagedGalleryError(f"{self.address} is damaged: it has lost the record of its contract")
        return dict(rows[0]["data"])

    def _set_contract(self, **changed: Any) -> None:
        row = {"id": 1, "data": {**self._contract(), **changed}, "none": [0.0, 0.0]}
        with milvus_errors(self.address):
            self._client.upsert(self._collection("contract"), [row])

    def _count_change(self) -> None:
        # Before the change, so that whatever was derived from the state before it is stale even when a kill follows.
        self._set_contract(revision=self._contract()["revision"] + 1)
        self._content_changed = True

    def _hold(self, photos: Sequence[NewPhoto]) -> None:
        """Make room for signatures of the shape of those in `photos`, or check that theirs is the gallery's."""
        shapes = {entry.signature.cells.shape for photo in photos for entry in photo.entries}
        mine = self.shape
        if mine == (0, 0) and len(shapes) == 1:
            (shape,) = shapes
            texts, width = ["person_key", "sha256", "photo"], shape[0] * shape[1]
            make_collection(self._client, self._collection("entries"), "INT64", texts, width)
            self._set_contract(shape=list(shape))
        elif shapes != {mine}:
            raise ContractError(f"expected signatures of shape {mine} for {self.address}; got {sorted(shapes)}")

    def _rows(self, kind: str, condition: str = "") -> Iterator[dict[str, Any]]:
        """Rows of a collection that meet `condition`, without their vectors."""
        fields = {"contract": [], "photos": ["person_key", "sha256"], "entries": ["photo"]}[kind]
        with milvus_errors(self.address):
            if kind == "entries" and not self._client.has_collection(self._collection(kind)):
                return
            rows = self._client.query_iterator(
                self._collection(kind),
                batch_size=_AT_ONCE,
                filter=condition,
                output_fields=["id", "data", *fields],
            )
            try:
                while part := rows.next():
                    yield from (dict(row) for row in part)
            finally:
                rows.close()

    def _delete(self, conditions: Sequence[str]) -> int:
        removed = 0
        self._count_change()
        for condition in conditions:
            removed += sum(1 for _ in self._rows("entries", condition))
            with milvus_errors(self.address):
                for kind in ("photos", "entries"):
                    if self._client.has_collection(self._collection(kind)):
                        self._client.delete(self._collection(kind), filter=condition)
                        self._client.compact(self._collection(kind))
        if nobodies := self.nobodies():
            self._strangers.mark(sorted(nobodies - {photo.person for photo in self.photos()}), False)
        return removed

    def _give_to(self, names: Sequence[str], into: str) -> None:
        mine = {photo.sha256 for photo in self.photos() if photo.person == into and photo.outcome == "enrolled"}
        for name in names:
            known = [photo for photo in self.photos() if photo.person == name]
            if not known:
                raise UnknownPersonError(f"expected a person of {self.address}; there is no {name!r}")
            given = [
                NewPhoto(
                    into,
                    photo.sha256,
                    photo.relative_path,
                    photo.absolute_path,
                    photo.faces,
                    photo.outcome,
                    photo.detail,
                    self.stored_entries(name, photo.sha256),
                )
                for photo in known
                if photo.sha256 not in mine
            ]
            self.add(given)
            if name in self.nobodies():
                self._strangers.mark([into], True)
            mine |= {photo.sha256 for photo in given if photo.outcome == "enrolled"}
            self._delete([f'person_key == "{person_key(name)}"'])
