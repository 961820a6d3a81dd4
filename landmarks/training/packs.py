"""Landmark training packs: square grey face crops with points, visibility and yaw, and how they are made.

A pack is one npz file (no pickled objects) with the arrays of `LandmarkPack`. Any set can be turned into one; the
trainers and `pack_points_csv`, `pack_cfp`, `pack_faces` know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.crop import PACK_SCALE, PACK_SIZE, Roi, cut, grey
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import read_image
from facerec.landmarks.markup import IBUG68_OUTER_EYE_CORNERS, cfp_faces_right, cfp_to_ibug68
from facerec.landmarks.sets.cfp import cfp_full_box, cfp_names, read_cfp
from facerec.landmarks.sets.public import SetFace
from facerec.landmarks.sets.ytf import person_of_frame, read_points_csv
from facerec.landmarks.training.array_file import load_arrays, save_arrays
from facerec.landmarks.training.people import person_key
from facerec.landmarks.types import Box, Image

NOT_ANNOTATED, VISIBLE, HIDDEN = 0, 1, 2
"""Values of `LandmarkPack.state`."""

_ARRAYS = ("images", "points", "state", "yaw", "source")


@dataclass(frozen=True, eq=False)
class LandmarkPack:
    """Faces to learn landmarks from.

    Attributes:
        images: (N, 192, 192) uint8 grey; the face's tight landmark box is centred, its longer side is 192 / 1.5 px.
        points: (N, L, 2) float32, px of the crop; NaN where not annotated. L = 68 points are ibug68; other sets keep
            their own markup (COFW's 29, HELEN's 194).
        state: (N, L) int8: 0 not annotated, 1 visible, 2 hidden (by the face itself or by something else).
        yaw: (N,) float32 degrees, > 0: the nose points to the image's right; NaN where unknown.
        source: (N,) unicode, the set and view a face came from.
    """

    images: NDArray[np.uint8]
    points: NDArray[np.float32]
    state: NDArray[np.int8]
    yaw: NDArray[np.float32]
    source: NDArray[np.str_]

    def __post_init__(self) -> None:
        n = len(self.images)
        shapes = (self.images.shape[1:], self.points.shape, self.state.shape, self.yaw.shape, self.source.shape)
        count = self.points.shape[1] if self.points.ndim == 3 else 68
        if shapes != ((PACK_SIZE, PACK_SIZE), (n, count, 2), (n, count), (n,), (n,)):
            raise InvalidInputError(
                f"expected images (N, {PACK_SIZE}, {PACK_SIZE}), points (N, L, 2), "
                "state (N, L), yaw (N,), source (N,); "
                f"got {(n, *shapes[0])}, {shapes[1:]}"
            )
        if self.images.dtype != np.uint8 or self.source.dtype.kind != "U":
            raise InvalidInputError(
                f"expected uint8 images, unicode sources; got {self.images.dtype}, {self.source.dtype}"
            )
        if not np.isin(self.state, (NOT_ANNOTATED, VISIBLE, HIDDEN)).all():
            raise InvalidInputError("expected states 0 (not annotated), 1 (visible) or 2 (hidden)")
        if not np.array_equal(np.isfinite(self.points).all(axis=2), self.state != NOT_ANNOTATED):
            raise InvalidInputError("expected finite points exactly where the state is not 0 (not annotated)")

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, chosen: NDArray[np.intp]) -> LandmarkPack:
        """The faces with these numbers, in that order."""
        return LandmarkPack(*[getattr(self, name)[chosen] for name in _ARRAYS])

    def save(self, path: Path) -> None:
        """Write the pack as npz, uncompressed (grey photographs do not shrink, and reading must be fast)."""
        save_arrays(path, self)

    @staticmethod
    def load(path: Path) -> LandmarkPack:
        """Read a pack; `InvalidInputError` when the file is not one."""
        return load_arrays(path, LandmarkPack, "a landmark pack")

    @staticmethod
    def gather(rows: Iterator[PackedFace]) -> LandmarkPack:
        """One pack of many faces; `InvalidInputError` when there is none."""
        faces = list(rows)
        if not faces:
            raise InvalidInputError("expected at least one face to pack; got none")
        return LandmarkPack(
            np.stack([f.image for f in faces]),
            np.stack([f.points for f in faces]),
            np.stack([f.state for f in faces]),
            np.array([f.yaw for f in faces], dtype=np.float32),
            np.array([f.source for f in faces], dtype=np.str_),
        )


@dataclass(frozen=True, eq=False)
class PackedFace:
    """One row of a pack; see `LandmarkPack` for its attributes."""

    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    state: NDArray[np.int8]
    yaw: float
    source: str

    @staticmethod
    def cut_from(
        image: Image, points: NDArray[np.float32], state: NDArray[np.int8], box: Box, yaw: float, source: str
    ) -> PackedFace:
        """Crop a face for a pack.

        Args:
            image: (H, W, 3) uint8 RGB.
            points: (68, 2) px in `image`, NaN where not annotated.
            state: (68,) see `LandmarkPack`.
            box: tight box of all 68 landmarks, px; guess it where only some are annotated.
            yaw: degrees or NaN.
            source: the set and view.
        """
        roi = Roi.around(box, PACK_SCALE)
        return PackedFace(cut(grey(image), roi, PACK_SIZE), roi.to_crop(points, PACK_SIZE), state, yaw, source)


def packed_face(pack: LandmarkPack, row: int) -> PackedFace:
    """One face of a pack."""
    return PackedFace(pack.images[row], pack.points[row], pack.state[row], float(pack.yaw[row]), str(pack.source[row]))


class FaceDraw:
    """Draws faces from several packs.

    Packs are drawn by their weights; within a pack, the sets it came from by the square root of their sizes (so that
    a set of a thousand profiles is not lost among many thousand frontals), within a set every face alike.

    Args:
        packs: packs with their weights.

    Raises:
        InvalidInputError: no pack, an empty one, a weight that is not positive, or packs of different markups.
    """

    def __init__(self, packs: Sequence[tuple[LandmarkPack, float]]) -> None:
        if not packs or any(weight <= 0 or len(pack) == 0 for pack, weight in packs):
            raise InvalidInputError("expected at least one pack, every pack with faces and a positive weight")
        markups = {pack.points.shape[1] for pack, _ in packs}
        if len(markups) != 1:
            raise InvalidInputError(f"expected packs of one markup; got {sorted(markups)} points")
        self.landmarks = markups.pop()
        self._packs = [pack for pack, _ in packs]
        self._sets: list[tuple[int, NDArray[np.intp]]] = []
        shares: list[float] = []
        total = sum(weight for _, weight in packs)
        for number, (pack, weight) in enumerate(packs):
            names, counts = np.unique(pack.source, return_counts=True)
            roots = np.sqrt(counts) / np.sqrt(counts).sum()
            for name, root in zip(names, roots, strict=True):
                self._sets.append((number, np.flatnonzero(pack.source == name)))
                shares.append(float(weight / total * root))
        self._shares = np.array(shares) / sum(shares)

    def draw(self, count: int, rng: np.random.Generator) -> Iterator[PackedFace]:
        """`count` faces, one at a time; the caller may use `rng` between them."""
        for choice in rng.choice(len(self._sets), count, p=self._shares):
            number, rows = self._sets[choice]
            yield packed_face(self._packs[number], int(rows[rng.integers(len(rows))]))


def rough_yaw(points: NDArray[np.floating]) -> float:
    """Yaw, degrees, guessed from 68 annotated points; good to about ten degrees within +-50.

    The nose tip stands off the line between the outer eye corners by about 0.55 of their distance, so its shift along
    that line grows with the tangent of the yaw.
    """
    left, right = points[IBUG68_OUTER_EYE_CORNERS[0]], points[IBUG68_OUTER_EYE_CORNERS[1]]
    along = right - left
    span = float(np.hypot(*along))
    shift = float((points[30] - (left + right) / 2) @ along) / span**2
    return float(np.rad2deg(np.arctan2(shift, 0.55)))


YTF_OFFSET = 0.0165
CFP_FRONTAL_OFFSET = 0.008
"""How far annotated points lie to the right of what they name, share of the face's box (the square root of its area).

The points of YouTube Faces and of CFP's frontals come from detectors, and all of a face's lie to one side: so say
dlib's ERT, which trained on other annotations, on pictures and on their mirror images alike, and any network that
learns from mirrored pictures, which cannot take a side (`benchmarks/results/`). CFP's hand-made profiles have no such
offset."""


def without_offset(points: NDArray[np.floating], box: Box, share: float) -> NDArray[np.float32]:
    """Points (L, 2) px moved left by `share` of the face's box, NaN kept: back onto what they name."""
    return np.asarray(points - [share * float(np.sqrt(box.width * box.height)), 0.0], dtype=np.float32)


def pack_points_csv(
    path: Path, held_out: Collection[str], want_held_out: bool = False, offset: float = YTF_OFFSET
) -> LandmarkPack:
    """Pack a points file of YouTube Faces.

    The file says nothing about hidden points, so all count as visible.

    Args:
        path: the csv file (`read_points_csv`).
        held_out: keys of the people to leave out (`held_out_people`).
        want_held_out: pack those people instead of all others.
        offset: what the points are moved left by, share of their box; 0 takes them as they are.
    """

    def faces() -> Iterator[PackedFace]:
        state = np.full(68, VISIBLE, dtype=np.int8)
        for picture, annotated in read_points_csv(path):
            if (person_key(person_of_frame(picture)) in held_out) == want_held_out:
                image = read_image(picture)
                points = without_offset(annotated, Box.around(annotated), offset)
                yield PackedFace.cut_from(image, points, state, Box.around(points), rough_yaw(points), "ytf")

    return LandmarkPack.gather(faces())


CFP_PROFILE_YAW = 75.0
"""Nominal yaw of a CFP profile, degrees; the set does not annotate it."""


def pack_cfp(
    folder: Path, held_out: Collection[str], want_held_out: bool = False, offset: float = CFP_FRONTAL_OFFSET
) -> LandmarkPack:
    """Pack CFP's official tree: 30 of the 68 points per picture, the rest not annotated.

    Args:
        folder: the tree.
        held_out: keys of the people to leave out (`held_out_people`).
        want_held_out: pack those people instead of all others.
        offset: what the points of frontals are moved left by, share of the face's box; 0 takes them as they are.
    """
    people = [
        number
        for number, name in enumerate(cfp_names(folder), start=1)
        if (person_key(name) in held_out) == want_held_out
    ]

    def faces() -> Iterator[PackedFace]:
        for picture, view, fiducials in read_cfp(folder, people):
            points, annotated = cfp_to_ibug68(fiducials, view)
            yaw = 0.0
            if view == "profile":
                yaw = CFP_PROFILE_YAW if cfp_faces_right(fiducials) else -CFP_PROFILE_YAW
            state = np.where(annotated, VISIBLE, NOT_ANNOTATED).astype(np.int8)
            points = without_offset(points, cfp_full_box(points, view), offset if view == "frontal" else 0.0)
            box = cfp_full_box(points, view)
            yield PackedFace.cut_from(read_image(picture), points, state, box, yaw, f"cfp-{view}")

    return LandmarkPack.gather(faces())


def join_packs(*packs: LandmarkPack) -> LandmarkPack:
    """One pack of all faces of several."""
    return LandmarkPack(*[np.concatenate([getattr(pack, name) for pack in packs]) for name in _ARRAYS])


def pack_faces(faces: Iterable[SetFace], source: str) -> LandmarkPack:
    """Pack faces around the tight box of their points, which is what facerec's detector is trained to give.

    COFW's faces are packed around the set's own boxes: its points leave the jaw out, so their box is too small.

    Args:
        faces: of one markup.
        source: what the pack calls the set.

    Raises:
        InvalidInputError: no faces.
    """

    def packed() -> Iterator[PackedFace]:
        for face in faces:
            state = np.where(face.hidden, HIDDEN, VISIBLE).astype(np.int8)
            yaw = rough_yaw(face.points) if len(face.points) == 68 else float("nan")
            yield PackedFace.cut_from(
                face.image(), face.points, state, face.box or Box.around(face.points), yaw, source
            )

    return LandmarkPack.gather(packed())
