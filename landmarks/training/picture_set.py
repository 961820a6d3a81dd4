"""Colour pictures of one face each with its landmarks, on disk: what the detector and the finder also learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.array_file import load_arrays, save_arrays
from facerec.landmarks.training.packs import LandmarkPack, PackedFace
from facerec.landmarks.types import Box, Image


@dataclass(frozen=True, eq=False)
class FacePicture:
    """A picture of one face.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        points: (68, 2) float32 px, every point, hidden ones where they lie.
        state: (68,) int8, as in `LandmarkPack`; a point may be `NOT_ANNOTATED` for a landmark network although its
            place is known.
        pose: (3,) float32 degrees: yaw, pitch, roll.
        person: who it is, so that people can be kept apart.
        source: the set it came from.
    """

    image: Image
    points: NDArray[np.float32]
    state: NDArray[np.int8]
    pose: NDArray[np.float32]
    person: str
    source: str

    def packed(self) -> PackedFace:
        """The face as a row of a landmark pack; points without annotation are NaN there."""
        face = PackedFace.cut_from(
            self.image, self.points, self.state, Box.around(self.points), float(self.pose[0]), self.source
        )
        face.points[self.state == 0] = np.nan
        return face


@dataclass(frozen=True, eq=False)
class PictureSet:
    """N pictures, compressed.

    Attributes:
        data: (bytes,) uint8, JPEG files one after the other; ends: (N,) int64, where each ends.
        points: (N, 68, 2) float32; state: (N, 68) int8; pose: (N, 3) float32; person, source: (N,) unicode.
    """

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    points: NDArray[np.float32]
    state: NDArray[np.int8]
    pose: NDArray[np.float32]
    person: NDArray[np.str_]
    source: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> FacePicture:
        first = int(self.ends[row - 1]) if row else 0
        decoded = cv2.imdecode(self.data[first : int(self.ends[row])], cv2.IMREAD_COLOR)
        if decoded is None:
            raise InvalidInputError(f"expected a picture in row {row}; got other bytes")
        image = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        return FacePicture(
            image, self.points[row], self.state[row], self.pose[row], str(self.person[row]), str(self.source[row])
        )

    def __iter__(self) -> Iterator[FacePicture]:
        return (self[row] for row in range(len(self)))

    def pack(self) -> LandmarkPack:
        """All faces as a landmark pack."""
        return LandmarkPack.gather(face.packed() for face in self)

    def save(self, path: Path) -> None:
        """Write as npz."""
        save_arrays(path, self)

    @staticmethod
    def load(path: Path) -> PictureSet:
        """Read what `save` wrote; `InvalidInputError` when the file is another."""
        return load_arrays(path, PictureSet, "a picture set")

    @staticmethod
    def gather(pictures: Iterable[FacePicture], quality: int = 92) -> PictureSet:
        """Compress pictures; `InvalidInputError` when there is none."""
        streams, rest = [], []
        for one in pictures:
            done, stream = cv2.imencode(
                ".jpg", cv2.cvtColor(one.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
            )
            if not done:
                raise InvalidInputError(f"expected a picture; got {one.image.shape} {one.image.dtype}")
            streams.append(stream)
            rest.append(one)
        if not streams:
            raise InvalidInputError("expected at least one picture; got none")
        return PictureSet(
            np.concatenate(streams),
            np.cumsum([len(stream) for stream in streams]),
            np.stack([one.points for one in rest]).astype(np.float32),
            np.stack([one.state for one in rest]).astype(np.int8),
            np.stack([one.pose for one in rest]).astype(np.float32),
            np.array([one.person for one in rest], dtype=np.str_),
            np.array([one.source for one in rest], dtype=np.str_),
        )
