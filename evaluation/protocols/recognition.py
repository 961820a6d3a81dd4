"""The common form of all recognition protocols: pictures, galleries with probes, and pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box


@dataclass(frozen=True)
class Picture:
    """One photograph of a protocol.

    Attributes:
        path: where it is on disk.
        name: how reports call it: the path relative to the protocol's data, with forward slashes.
        person: who it shows.
        pose: name of the pose, where the protocol has one.
        yaw, pitch: degrees, where the protocol states them (yaw > 0: the nose points to the image's right).
        size: (width, height) px to which the picture is brought by area down-sampling before anything else; None: as
            it is.
        box: the face that is meant, where the protocol states it (pictures of several people); None: the largest.
        groups: (name, value) of each grouping that the protocol gives it a value in, e.g. ("age", "20-29").
    """

    path: Path
    name: str
    person: str
    pose: str | None = None
    yaw: float | None = None
    pitch: float | None = None
    size: tuple[int, int] | None = None
    box: Box | None = None
    groups: tuple[tuple[str, str], ...] = ()

    def key(self, photo_digest: str) -> str:
        """Digest of everything about the picture that shapes its results: its bytes, its size, which face is meant."""
        if self.size is None and self.box is None:
            return photo_digest
        box = None if self.box is None else (self.box.x0, self.box.y0, self.box.x1, self.box.y1)
        return hashlib.sha256(json.dumps([photo_digest, self.size, box]).encode()).hexdigest()


@dataclass(frozen=True)
class Template:
    """Several pictures of one person that are compared as one (IJB).

    Attributes:
        name: the template's identifier.
        person: who it shows.
        pictures: indices into the protocol's pictures.
        media: for each of them the photograph or video it is from: frames of one video count as one medium.
    """

    name: str
    person: str
    pictures: tuple[int, ...]
    media: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.pictures or len(self.media) != len(self.pictures):
            raise InvalidInputError(
                f"expected a template of at least one picture, each with its medium; got {len(self.pictures)} pictures "
                f"and {len(self.media)} media for {self.name}"
            )


@dataclass(frozen=True)
class Identification:
    """A gallery and the probes searched in it, as indices into the protocol's pictures (or templates, if it has any).

    Attributes:
        name: e.g. "frontal".
        gallery: one or several entries per person.
        probes: pictures of people in the gallery.
        unknown: probes of people who are not in the gallery (open set), reported apart.
    """

    name: str
    gallery: tuple[int, ...]
    probes: tuple[int, ...]
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True)
class PairSet:
    """Pairs to verify, as indices into the protocol's pictures (or templates); all tuples have one item per pair.

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
        name: "cfp", "csv", "pairs", "synthetic", "lfw", "uhdb31", "ijb".
        pictures: every picture that the experiment needs, each once.
        templates: what is compared, when it is not single pictures.
        groups: named sets of poses that are reported together, e.g. the eight around the frontal one.
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
    templates: tuple[Template, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        compared: Sequence[Picture | Template] = self.templates or self.pictures
        for one in self.identifications:
            gallery = {compared[i].person for i in one.gallery}
            absent = sorted({compared[i].person for i in one.probes} - gallery)
            enrolled = sorted({compared[i].person for i in one.unknown} & gallery)
            if absent or enrolled:
                raise InvalidInputError(
                    f"{one.name}: expected probes of enrolled people and unknown probes of others; "
                    f"not enrolled: {absent[:5]}, enrolled: {enrolled[:5]}"
                )

    @property
    def compared(self) -> tuple[Picture, ...]:
        """What galleries, probes and pairs point to: the pictures, or each template's first one under its name."""
        return (
            tuple(
                replace(self.pictures[one.pictures[0]], name=f"template {one.name}", person=one.person)
                for one in self.templates
            )
            or self.pictures
        )

    def digest(self, photo_digests: Sequence[str]) -> str:
        """SHA-256 over names, people, contents and roles of all pictures: equal digests mean equal experiments.

        Args:
            photo_digests: content digest of each picture, in the order of `pictures`.
        """
        if len(photo_digests) != len(self.pictures):
            raise InvalidInputError(f"expected {len(self.pictures)} digests; got {len(photo_digests)}")
        listed = [
            [p.name, p.person, p.pose, p.yaw, p.pitch, p.key(d) if d else d, *([p.groups] if p.groups else [])]
            for p, d in zip(self.pictures, photo_digests, strict=True)
        ]
        roles = [[one.name, one.gallery, one.probes, one.unknown] for one in self.identifications]
        pairs = [[one.name, one.first, one.second, one.same, one.fold] for one in self.pairs]
        templates = [[one.name, one.person, one.pictures, one.media] for one in self.templates]
        whole = [self.name, listed, roles, pairs, *([templates] if templates else [])]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


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

    def done(self, some_missing: bool = False) -> tuple[Picture, ...]:
        """All pictures so far; refuses the protocol when files are missing.

        Args:
            some_missing: refuse it only when all are. Those that are missing are then unreadable photographs, which
                count as failures like any other.

        Raises:
            InvalidInputError: naming how many are missing and the first few.
        """
        missing = [picture.path for picture in self._pictures if not picture.path.is_file()]
        if missing and not (some_missing and len(missing) < len(self._pictures)):
            first = ", ".join(str(path) for path in missing[:3])
            raise InvalidInputError(
                f"expected {len(self._pictures)} pictures on disk; {len(missing)} are missing, the first: {first}"
            )
        return tuple(self._pictures)
