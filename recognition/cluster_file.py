"""Groups of faces in a file in which a person writes names, which a second run keeps and `enroll` uses."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.clusters import ClusterSettings, cluster
from facerec.recognition.found_faces import FoundFace, read_faces
from facerec.recognition.identification import Identifier
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import NewPhoto, person_name

CLUSTERS_FILE, FACES_FILE = "clusters.json", "faces.npz"

FaceKey = tuple[str, int]
"""SHA-256 of the photograph and the number of the face in it."""


@dataclass(frozen=True)
class FaceGroup:
    """Faces that are grouped as one person.

    Attributes:
        name: whose they are, as a person or a gallery says; "": unknown.
        gallery: the name under which a gallery knows them; "": it does not. Another `name` was given by hand.
        faces: keys and files.
    """

    name: str
    gallery: str
    faces: tuple[tuple[FaceKey, str], ...]

    @property
    def named_by_hand(self) -> bool:
        """Whether a person wrote the name in."""
        return bool(self.name) and self.name != self.gallery

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        faces = [{"file": file, "sha256": sha256, "face": face} for (sha256, face), file in self.faces]
        return {"name": self.name, "gallery": self.gallery, "faces": faces}


@dataclass(frozen=True)
class FoundContract:
    """The contract of faces that were kept (see `protocol.ModelContract`)."""

    digest: str
    text: str

    def as_json(self) -> str:
        """The contract as JSON."""
        return self.text


@dataclass(frozen=True)
class ClusterFile:
    """The content of a file of groups.

    Attributes:
        contract: that of the signatures.
        cut: the score from which on groups were joined.
        groups: those with a name first, then the largest first.
    """

    contract: FoundContract
    cut: float
    groups: tuple[FaceGroup, ...]

    def names_by_hand(self) -> dict[FaceKey, str]:
        """Name of each face that a person named."""
        return {key: group.name for group in self.groups if group.named_by_hand for key, _ in group.faces}

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "format": 1,
            "contract": self.contract.digest,
            "contract_json": self.contract.text,
            "cut": self.cut,
            "clusters": [group.as_json() for group in self.groups],
        }

    def write(self, path: Path) -> None:
        """Write the file; only its owner may read it."""
        fresh = path.with_name(path.name + ".part")
        fresh.touch(mode=0o600)
        text = json.dumps(self.as_json(), indent=1, ensure_ascii=False)
        fresh.write_bytes(text.encode("utf-8", "backslashreplace"))
        os.replace(fresh, path)

    @staticmethod
    def read(path: Path) -> ClusterFile:
        """Read a file that `write` made and a person edited.

        Raises:
            InvalidInputError: it is no such file; the message states what is wrong in it.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            groups = tuple(
                FaceGroup(
                    person_name(str(one["name"] or "")),
                    str(one["gallery"] or ""),
                    tuple(((str(f["sha256"]), int(f["face"])), str(f["file"])) for f in one["faces"]),
                )
                for one in record["clusters"]
            )
            contract = FoundContract(str(record["contract"]), str(record["contract_json"]))
            return ClusterFile(contract, float(record["cut"]), groups)
        except OSError as error:
            raise InvalidInputError(f"expected a file of clusters; {path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(
                f"expected a file of clusters as `facerec cluster` writes it; {path}: {type(error).__name__}: {error}"
            ) from error


def group_faces(
    faces: Sequence[FoundFace],
    cut: float,
    identifier: Identifier | None = None,
    by_hand: Mapping[FaceKey, str] | None = None,
    settings: ClusterSettings | None = None,
) -> tuple[FaceGroup, ...]:
    """Group faces into people: first those that a person or the gallery names, then the others by similarity.

    Args:
        faces: of any number of photographs.
        cut: see `clusters.cluster`.
        identifier: names faces by a gallery; None: nobody is known.
        by_hand: names that a person gave to faces; they count more than the gallery's.
        settings: see `ClusterSettings`.
    """
    number = {sha256: i for i, sha256 in enumerate(dict.fromkeys(face.sha256 for face in faces))}
    photos = [number[face.sha256] for face in faces]
    known = _identify_known(faces, photos, identifier) if identifier is not None else [None] * len(faces)
    hand = [(by_hand or {}).get(face.key) for face in faces]
    taken = {(photo, name) for photo, name in zip(photos, hand, strict=True) if name}
    known = [None if (photo, name) in taken else name for photo, name in zip(photos, known, strict=True)]
    names = [own or gallery for own, gallery in zip(hand, known, strict=True)]
    labels = cluster([face.entry.signature for face in faces], photos, names, cut, settings)
    groups: dict[int, list[int]] = {}
    for i, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(i)
    made = []
    for members in groups.values():
        name = next((names[i] for i in members if names[i]), None) or ""
        gallery = next((known[i] for i in members if known[i]), None) or ""
        listed = tuple((faces[i].key, str(faces[i].path)) for i in members)
        made.append(FaceGroup(name, gallery, listed))
    return tuple(sorted(made, key=lambda group: (not group.name, -len(group.faces))))


def _identify_known(faces: Sequence[FoundFace], photos: Sequence[int], identifier: Identifier) -> list[str | None]:
    """The name that the gallery has for each face; a person at most once per photograph."""
    of_photo: dict[int, list[int]] = {}
    for i, photo in enumerate(photos):
        of_photo.setdefault(photo, []).append(i)
    names: list[str | None] = [None] * len(faces)
    decided = identifier.decide_signatures([[faces[i].entry.signature for i in own] for own in of_photo.values()])
    for own, said in zip(of_photo.values(), decided, strict=True):
        for i, (_, match) in zip(own, said, strict=True):
            names[i] = match.person if match is not None else None
    return names


def enroll_clusters(path: Path, file: ClusterFile, gallery: GalleryStore) -> dict[str, int]:
    """Enrol the faces of the groups that were named by hand; needs the faces kept beside the file.

    A face that the gallery already has under this name is left as it is. Faces that the gallery itself named are not
    enrolled, because nobody has checked them.

    Args:
        path: the file of clusters.
        file: its content.
        gallery: open for writing.

    Returns:
        Number of photographs added, by name.

    Raises:
        InvalidInputError: the kept faces are not there or lack a face. ContractError: other models made the gallery.
    """
    gallery.check_contract(file.contract)
    kept = read_faces(path.with_name(FACES_FILE), file.contract.digest)
    if kept is None:
        raise InvalidInputError(
            f"expected the faces of {path} beside it, in {FACES_FILE}, as `facerec cluster` left them"
        )
    faces = {face.key: face for face in kept.faces}
    added: dict[str, int] = {}
    photos: dict[tuple[str, str], NewPhoto] = {}
    there = {(record.person, record.sha256) for record in gallery.photos()}
    for group in file.groups:
        if not group.named_by_hand:
            continue
        for key, listed in group.faces:
            if key not in faces:
                raise InvalidInputError(f"expected face {key[1]} of {listed} among the kept faces; it is not there")
            face = faces[key]
            place = (group.name, face.sha256)
            if place in there:
                continue
            if place in photos:  # two groups of one name: the same person twice on a photograph
                photos[place] = replace(photos[place], entries=(*photos[place].entries, face.entry))
                continue
            added[group.name] = added.get(group.name, 0) + 1
            absolute = Path(os.path.abspath(face.path))
            photos[place] = NewPhoto(
                person=group.name,
                sha256=face.sha256,
                relative_path=Path(face.path.name),
                absolute_path=absolute,
                faces="all",
                outcome="enrolled",
                entries=(face.entry,),
            )
    if photos:
        gallery.add(list(photos.values()))
    return added
