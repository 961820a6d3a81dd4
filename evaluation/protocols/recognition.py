"""What every recognition protocol comes down to: pictures, galleries with probes, and pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facerec.landmarks.errors import InvalidInputError


@dataclass(frozen=True)
class Picture:
    """One photograph of a protocol.

    Attributes:
        path: where it is on disk.
        name: how reports call it: the path relative to the protocol's data, with forward slashes.
        person: who it shows.
        pose: name of the pose, where the protocol has one.
        yaw, pitch: degrees, where the protocol states them (yaw > 0: the nose points to the image's right).
    """

    path: Path
    name: str
    person: str
    pose: str | None = None
    yaw: float | None = None
    pitch: float | None = None


@dataclass(frozen=True)
class Identification:
    """A gallery and the probes searched in it, as indices into the protocol's pictures.

    Attributes:
        name: e.g. "frontal".
        gallery: one or several entries a person.
        probes: pictures of people in the gallery.
        unknown: probes of people who are not in the gallery (open set), reported apart.
    """

    name: str
    gallery: tuple[int, ...]
    probes: tuple[int, ...]
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True)
class PairSet:
    """Pairs to verify, as indices into the protocol's pictures; all tuples have one item a pair.

    Attributes:
        name: e.g. "FP".
        first, second: the two pictures.
        same: whether they show one person.
        fold: name of the fold the pair belongs to.
    """

    name: str
    first: tuple[int, ...]
    second: tuple[int, ...]
    same: tuple[bool, ...]
    fold: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.first), len(self.second), len(self.same), len(self.fold)}
        if len(lengths) != 1 or not self.first:
            raise InvalidInputError(f"expected pairs, each with two pictures, a flag and a fold; got lengths {lengths}")


@dataclass(frozen=True)
class RecognitionProtocol:
    """A recognition experiment on pictures that lie on disk.

    Attributes:
        name: "cfp", "csv", "synthetic", "lfw", "uhdb31".
        pictures: every picture that the experiment needs, each once.
        identifications: galleries with their probes.
        pairs: sets of pairs to verify.
        rendered: whether the pictures are rendered rather than photographs.
        settings: what was chosen (folds, files), for the report.
    """

    name: str
    pictures: tuple[Picture, ...]
    identifications: tuple[Identification, ...] = ()
    pairs: tuple[PairSet, ...] = ()
    rendered: bool = False
    settings: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.identifications:
            gallery = {self.pictures[i].person for i in one.gallery}
            absent = sorted({self.pictures[i].person for i in one.probes} - gallery)
            enrolled = sorted({self.pictures[i].person for i in one.unknown} & gallery)
            if absent or enrolled:
                raise InvalidInputError(
                    f"{one.name}: expected probes of enrolled people and unknown probes of others; "
                    f"not enrolled: {absent[:5]}, enrolled: {enrolled[:5]}"
                )

    def digest(self, photo_digests: Sequence[str]) -> str:
        """SHA-256 over names, people, contents and roles of all pictures: equal digests, equal experiment.

        Args:
            photo_digests: content digest of each picture, in the order of `pictures`.
        """
        if len(photo_digests) != len(self.pictures):
            raise InvalidInputError(f"expected {len(self.pictures)} digests; got {len(photo_digests)}")
        listed = [
            [p.name, p.person, p.pose, p.yaw, p.pitch, d] for p, d in zip(self.pictures, photo_digests, strict=True)
        ]
        roles = [[one.name, one.gallery, one.probes, one.unknown] for one in self.identifications]
        pairs = [[one.name, one.first, one.second, one.same, one.fold] for one in self.pairs]
        return hashlib.sha256(json.dumps([self.name, listed, roles, pairs]).encode()).hexdigest()


class PictureList:
    """Collects a protocol's pictures, each path once, and gives each its index."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._pictures: list[Picture] = []

    def add(self, picture: Picture) -> int:
        """Index of `picture`, new or known by its name."""
        index = self._index.setdefault(picture.name, len(self._pictures))
        if index == len(self._pictures):
            self._pictures.append(picture)
        return index

    def done(self) -> tuple[Picture, ...]:
        """All pictures so far; refuses the protocol when files are missing.

        Raises:
            InvalidInputError: naming how many are missing and the first few.
        """
        missing = [picture.path for picture in self._pictures if not picture.path.is_file()]
        if missing:
            first = ", ".join(str(path) for path in missing[:3])
            raise InvalidInputError(
                f"expected {len(self._pictures)} pictures on disk; {len(missing)} are missing, the first: {first}"
            )
        return tuple(self._pictures)
