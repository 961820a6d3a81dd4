"""From one photograph to entries of a gallery: describe its faces and select those that are enrolled."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from facerec.frontalize.types import FaceTexture
from facerec.landmarks.errors import (
    ContractError,
    DeviceError,
    InvalidInputError,
    ReasonCode,
    UnusablePhotoError,
    no_face,
)
from facerec.landmarks.image import read_photo
from facerec.landmarks.types import Image
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.signature import Signature
from facerec.recognition.store.protocol import ModelContract
from facerec.recognition.store.records import FacesPolicy, NewEntry


class Describer(Protocol):
    """The part of a recognizer that enrolment and identification need (`facerec.recognition.recognizer.Recognizer`).

    `describe` is called from several threads at once and must give each picture the same answer as alone.
    """

    @property
    def contract(self) -> ModelContract:
        """What shaped the signatures."""
        ...

    def describe(self, image: Image) -> list[DescribedFace | UndescribedFace]:
        """The faces of a picture, largest first; none when there is none."""
        ...

    def describe_texture(self, texture: FaceTexture) -> Signature:
        """The signature of a texture alone."""
        ...


@dataclass(frozen=True)
class EnrolmentSettings:
    """How photographs are enrolled.

    Attributes:
        faces: which faces of a photograph belong to its person: "largest" (default: a portrait may have people in the
            background; of a group photograph the face that the person's other photographs show, see `group_photos`),
            "one" (photographs with several faces are skipped as multiple_faces) or "all".
        workers: photographs described at a time. The commands take one per core (`facerec.cli.options.share_cores`).
        batch: photographs per transaction; what a killed process loses at most. 16 take seconds, a commit milliseconds.
        keep_textures: keep each face's UV texture in the gallery, some 100 KB per face, so that it can be described
            again by another descriptor when the photograph is gone. Off: a texture is a picture of the person.
        sync: remove from the gallery what is no longer in the folders that are enrolled, or has changed.
        frontal_yaw: a person seen only within this |yaw|, degrees, counts as "frontal only".
        profile_yaw: from this |yaw| on, degrees, an entry counts as a profile view: the far eye is hidden.
        rival: a photograph is a group photograph when the second face's side exceeds this share of the largest one's.
            A bystander who stands twice as far from the camera as the person stays below.
    """

    faces: FacesPolicy = "largest"
    workers: int = 1
    batch: int = 16
    keep_textures: bool = False
    sync: bool = False
    frontal_yaw: float = 30.0
    profile_yaw: float = 60.0
    rival: float = 0.5

    def __post_init__(self) -> None:
        if self.workers < 1 or self.batch < 1:
            raise InvalidInputError(f"expected at least 1 worker and 1 photograph per batch; got {self}")


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of describing one photograph's bytes.

    Attributes:
        reason, detail: why it cannot be used; None and "" otherwise.
        entries: the faces that count.
        notes: those of `image.read_photo`.
        group: 0, or, for a group photograph, the number of faces in it: then `entries` are all that were described,
            and at most one of them is the person's.
    """

    reason: ReasonCode | Literal["internal_error"] | None
    detail: str = ""
    entries: tuple[NewEntry, ...] = ()
    notes: tuple[str, ...] = ()
    group: int = 0


class DescribeMany(Protocol):
    """Describes many photographs, in threads of this process or on other machines (see `ray_workers`)."""

    def __call__(self, photos: Sequence[Path], settings: EnrolmentSettings) -> Iterable[Outcome]:
        """The result for each of `photos`, in their order."""
        ...


def new_entry(number: int, face: DescribedFace, keep_texture: bool = False) -> NewEntry:
    """A described face as an entry; `number` is its place among the faces of its photograph."""
    return NewEntry(
        face=number,
        signature=face.signature,
        pose=face.fitted.camera.angles,
        visible_share=visible_share(face),
        quality=face.quality,
        box=face.face.box,
        texture=texture_bytes(face.texture) if keep_texture else b"",
    )


def texture_bytes(texture: FaceTexture) -> bytes:
    """A texture without loss, as a compressed npz."""
    stream = io.BytesIO()
    np.savez_compressed(stream, pixels=texture.pixels, visible=texture.visible)
    return stream.getvalue()


def stored_texture(data: bytes) -> FaceTexture:
    """Read what `texture_bytes` wrote; raises `InvalidInputError` when it is damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return FaceTexture(stored["pixels"], stored["visible"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInputError(f"expected a kept texture; it is damaged: {error}") from error


def visible_share(face: DescribedFace) -> float:
    """Share of the texture that the camera saw at all, in [0, 1]."""
    return float(np.mean(face.texture.visible > 0))


def choose_faces(
    faces: Sequence[DescribedFace | UndescribedFace], policy: FacesPolicy, keep_textures: bool = False
) -> list[NewEntry]:
    """The entries of a photograph under `policy`.

    Raises:
        UnusablePhotoError: no_face, multiple_faces, or why the wanted face was not described. A smaller face never
            takes the place of the largest: it may be a bystander's.
    """
    if not faces:
        raise UnusablePhotoError("no_face", "no face was found")
    if policy == "one" and len(faces) > 1:
        raise UnusablePhotoError("multiple_faces", f"{len(faces)} faces, where one was expected")
    wanted = faces if policy == "all" else faces[:1]
    entries = [new_entry(i, face, keep_textures) for i, face in enumerate(wanted) if isinstance(face, DescribedFace)]
    if not entries:
        first = wanted[0]
        assert isinstance(first, UndescribedFace)
        raise UnusablePhotoError(first.reason, first.detail)
    return entries


def is_group(faces: Sequence[DescribedFace | UndescribedFace], rival: float) -> bool:
    """Whether another face is so large, by the share `rival` of the largest one's side, that size decides nothing."""
    boxes = [face.face.box if isinstance(face, DescribedFace) else face.box for face in faces]
    sides = sorted((math.sqrt(box.width * box.height) for box in boxes), reverse=True)
    return len(sides) > 1 and sides[1] > rival * sides[0]


def describe_photo(source: Path | bytes, describer: Describer, settings: EnrolmentSettings) -> Outcome:
    """What becomes of one photograph, a file or its bytes."""
    notes: tuple[str, ...] = ()
    try:
        photo = read_photo(source)
        notes = photo.notes
        if not (faces := describer.describe(photo.pixels)):
            raise no_face(*photo.pixels.shape[:2])
        group = settings.faces == "largest" and is_group(faces, settings.rival)
        entries = choose_faces(faces, "all" if group else settings.faces, settings.keep_textures)
        return Outcome(None, entries=tuple(entries), notes=notes, group=len(faces) if group else 0)
    except UnusablePhotoError as error:
        return Outcome(error.reason, error.detail, notes=notes)
    except (ContractError, DeviceError):
        raise  # these would hit every photograph
    except Exception as error:  # one photograph must not end hours of work; the summary lists it
        return Outcome("internal_error", f"{type(error).__name__}: {error}")
