"""Described faces of many photographs in one file, so that a second run describes only new photographs."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PilImage

from facerec.landmarks.crop import Roi, framed
from facerec.landmarks.errors import ContractError, DeviceError, InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import photo_digest, read_image
from facerec.landmarks.types import Box, Image
from facerec.recognition.description import Describer, new_entry
from facerec.recognition.recognizer import DescribedFace
from facerec.recognition.signature import Signature
from facerec.recognition.store.records import NewEntry

PICTURE = 112
"""Side of a face's picture, px."""

_BATCH = 32
_BOX = ("x0", "y0", "x1", "y1", "score")


@dataclass(frozen=True, eq=False)
class FoundFace:
    """One described face of a photograph.

    Attributes:
        path: the photograph's file.
        sha256: digest of its bytes.
        entry: its number in the photograph, signature, pose, quality and box.
        picture: the face's part of the photograph, `PICTURE` px, a JPEG file's bytes.
    """

    path: Path
    sha256: str
    entry: NewEntry
    picture: bytes

    @property
    def key(self) -> tuple[str, int]:
        """The face's key, independent of the path: the photograph's content and the face's number."""
        return self.sha256, self.entry.face


@dataclass
class FoundFaces:
    """The faces of photographs.

    Attributes:
        faces: in the order of the photographs.
        looked_at: digests of the photographs that were looked at, those without a usable face included.
        skipped: files that gave no face, each with its reason code and sentence.
        new: photographs described in this run.
    """

    faces: list[FoundFace] = field(default_factory=list)
    looked_at: set[str] = field(default_factory=set)
    skipped: list[tuple[Path, str, str]] = field(default_factory=list)
    new: int = 0

    def beside(self, known: FoundFaces | None) -> FoundFaces:
        """These and what `known` has of photographs that were not looked at again: what an interrupted run keeps."""
        rest = [face for face in known.faces if face.sha256 not in self.looked_at] if known else []
        looked_at = self.looked_at | (known.looked_at if known else set())
        return FoundFaces([*self.faces, *rest], looked_at, self.skipped, self.new)


def find_faces(
    photos: Sequence[Path],
    describer: Describer,
    known: FoundFaces | None = None,
    workers: int = 1,
    progress: Callable[[int], None] = lambda photos: None,
) -> Iterator[FoundFaces]:
    """Describe all faces of photographs; gives what there is after each batch, the last one complete.

    Args:
        photos: files.
        describer: the models.
        known: of a former run with the same models: its photographs are not described again.
        workers: photographs described at a time.
        progress: called with the number of photographs done since the last call.
    """
    before: dict[str, list[FoundFace]] = {}
    for face in known.faces if known else []:
        before.setdefault(face.sha256, []).append(face)
    looked_at = known.looked_at if known else set()
    found = FoundFaces()

    def look(path: Path) -> tuple[str, list[FoundFace] | UnusablePhotoError]:
        try:
            sha256 = photo_digest(path)
        except UnusablePhotoError as error:
            return "", error
        if sha256 in looked_at:
            return sha256, [FoundFace(path, sha256, face.entry, face.picture) for face in before.get(sha256, [])]
        try:
            image = read_image(path)
            described = describer.describe(image)
        except UnusablePhotoError as error:
            return sha256, error
        except (ContractError, DeviceError):
            raise  # these would hit every photograph
        except Exception as error:  # one photograph must not end hours of work
            return "", UnusablePhotoError("unreadable", f"internal error: {type(error).__name__}: {error}")
        return sha256, [
            FoundFace(path, sha256, new_entry(i, face), face_picture(image, face.face.box))
            for i, face in enumerate(described)
            if isinstance(face, DescribedFace)
        ]

    with ThreadPoolExecutor(workers, thread_name_prefix="facerec") as pool:
        try:
            for start in range(0, len(photos), _BATCH):
                batch = photos[start : start + _BATCH]
                for path, (sha256, faces) in zip(batch, pool.map(look, batch), strict=True):
                    found.new += bool(sha256) and sha256 not in looked_at
                    if sha256 in found.looked_at:
                        continue  # the same photograph twice
                    if sha256:
                        found.looked_at.add(sha256)
                    if isinstance(faces, UnusablePhotoError):
                        found.skipped.append((path, faces.reason, faces.detail))
                    elif not faces:
                        found.skipped.append((path, "no_face", "no face was found"))
                    else:
                        found.faces += faces
                progress(len(batch))
                yield found
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if not photos:
        yield found


def face_picture(image: Image, box: Box) -> bytes:
    """The face's part of a photograph, `PICTURE` px, as the bytes of a JPEG file."""
    roi = Roi.around(box, 1.6)
    if box.width > 4 * PICTURE:  # averaged down first, or the cut would alias
        scale = 2 * PICTURE / box.width
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        roi = Roi.around(Box(*(getattr(box, name) * scale for name in _BOX[:4])), 1.6)
    stream = io.BytesIO()
    PilImage.fromarray(framed(image, roi, PICTURE)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def write_faces(path: Path, found: FoundFaces, contract: str) -> None:
    """Keep faces in an npz. It holds signatures and pictures of people: only its owner may read it."""
    faces = found.faces
    records = [
        {"path": str(f.path), "sha256": f.sha256, "face": f.entry.face, "pose": list(f.entry.pose)}
        | {"visible_share": f.entry.visible_share, "quality": f.entry.quality}
        | {"box": [getattr(f.entry.box, name) for name in _BOX]}
        for f in faces
    ]
    text = json.dumps({"contract": contract, "faces": records, "looked_at": sorted(found.looked_at)})
    fresh = path.with_name(path.name + ".part")
    fresh.touch(mode=0o600)
    with fresh.open("wb") as stream:
        np.savez(
            stream,
            allow_pickle=False,
            header=np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8),
            cells=np.stack([f.entry.signature.cells for f in faces]) if faces else np.zeros((0, 1, 1), np.float32),
            visible=np.stack([f.entry.signature.visible for f in faces]) if faces else np.zeros((0, 1), bool),
            pictures=np.frombuffer(b"".join(f.picture for f in faces), dtype=np.uint8),
            lengths=np.array([len(f.picture) for f in faces], dtype=np.int64),
        )
    os.replace(fresh, path)


def read_faces(path: Path, contract: str) -> FoundFaces | None:
    """What `write_faces` kept; None: there is no file, or it was made with other models.

    Raises:
        InvalidInputError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            header = json.loads(kept["header"].tobytes().decode("utf-8", "surrogatepass"))
            if header["contract"] != contract:
                return None
            cells, visible, pictures = kept["cells"], kept["visible"], kept["pictures"].tobytes()
            ends = np.cumsum(kept["lengths"])
        faces = [
            FoundFace(
                Path(record["path"]),
                record["sha256"],
                NewEntry(
                    record["face"],
                    Signature(cells[i], visible[i], contract),
                    (record["pose"][0], record["pose"][1], record["pose"][2]),
                    record["visible_share"],
                    record["quality"],
                    Box(*record["box"]),
                ),
                pictures[int(ends[i - 1]) if i else 0 : int(ends[i])],
            )
            for i, record in enumerate(header["faces"])
        ]
        return FoundFaces(faces, set(header["looked_at"]))
    except Exception as error:  # a zip, an array, JSON or a value in it
        raise InvalidInputError(
            f"expected faces as `facerec cluster` keeps them; {path} is damaged: {error}"
        ) from error
