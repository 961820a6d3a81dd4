"""Sets of lifted textures on disk, on which descriptors are trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import LOCATED, BatchFit, FitSettings, face_size, fit_batch, fit_face
from facerec.frontalize.texture import TEXTURE_SIZE, lift_geometry, lift_texture
from facerec.frontalize.types import FaceTexture, FittedFace
from facerec.frontalize.visibility import landmark_visibility, node_visibility
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.markup import cfp_to_ibug68
from facerec.landmarks.sets.cfp import cfp_names, read_cfp
from facerec.landmarks.sets.ytf import person_of_frame, read_points_csv
from facerec.landmarks.training.people import held_out_people, is_calibration_person, person_key
from facerec.landmarks.types import Box, Image


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to lift: file, whose it is, which set and view, and the annotated points ((68, 2), NaN; None: none)."""

    path: Path
    person: str
    source: str
    points: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class TextureSet:
    """Lifted textures.

    Attributes:
        pixels: (N, 256, 256, 3) uint8 RGB; visible: (N, 256, 256) uint8, 0-255 for [0, 1].
        person: (N,) unicode keys; source: (N,) unicode; yaw: (N,) float32 degrees, from the fit.
    """

    pixels: NDArray[np.uint8]
    visible: NDArray[np.uint8]
    person: NDArray[np.str_]
    source: NDArray[np.str_]
    yaw: NDArray[np.float32]

    def texture(self, index: int) -> FaceTexture:
        """Texture number `index`."""
        return FaceTexture(self.pixels[index], self.visible[index].astype(np.float32) / 255.0)

    def save(self, path: Path) -> None:
        """Write as npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, pixels=self.pixels, visible=self.visible, person=self.person, source=self.source, yaw=self.yaw)

    @staticmethod
    def load(path: Path) -> TextureSet:
        """Read what `save` wrote."""
        names = ("pixels", "visible", "person", "source", "yaw")
        with np.load(path, allow_pickle=False) as file:
            missing = set(names) - set(file.files)
            if missing:
                raise InvalidInputError(f"expected a texture set; {path.name} lacks {', '.join(sorted(missing))}")
            return TextureSet(*(file[k] for k in names))

    def __iter__(self) -> Iterator[FaceTexture]:
        """The textures, in order."""
        return map(self.texture, range(len(self.person)))

    @staticmethod
    def gather(rows: Iterable[Lifted]) -> TextureSet:
        """One set of many lifted pictures."""
        pixels, visible, person, source, yaw = [], [], [], [], []
        for row in rows:
            pixels.append(row.texture.pixels)
            visible.append(np.rint(row.texture.visible * 255).astype(np.uint8))
            person.append(row.picture.person)
            source.append(row.picture.source)
            yaw.append(row.fitted.camera.yaw)
        if not pixels:
            raise InvalidInputError("expected at least one lifted picture; got none")
        return TextureSet(
            np.stack(pixels), np.stack(visible), np.array(person), np.array(source), np.array(yaw, dtype=np.float32)
        )


def is_texture_set(path: Path) -> bool:
    """Whether a file is a texture set rather than a set of crops."""
    with np.load(path, allow_pickle=False) as file:
        return "pixels" in file.files


def without_calibration_people(textures: TextureSet) -> TextureSet:
    """The set without the people thresholds are calibrated on."""
    keep = np.array([not is_calibration_person(str(name)) for name in textures.person])
    return TextureSet(
        textures.pixels[keep], textures.visible[keep], textures.person[keep], textures.source[keep], textures.yaw[keep]
    )


def _cap(pictures: Iterable[Picture], per_person: int) -> list[Picture]:
    count: dict[tuple[str, str], int] = {}
    out = []
    for picture in pictures:
        key = picture.person, picture.source
        count[key] = count.get(key, 0) + 1
        if count[key] <= per_person:
            out.append(picture)
    return out


def annotated_pictures(data: Path, held_out: bool, per_person: int) -> list[Picture]:
    """CFP's and YouTube Faces' annotated pictures of the training people (or of the held-out ones)."""
    ytf, cfp = data / "ytf", data / "cfp-dataset"
    held = held_out_people(ytf, cfp)
    found = [
        Picture(path, person_key(person_of_frame(path)), "ytf", points)
        for path, points in read_points_csv(ytf / "landmarks68.csv")
        if (person_key(person_of_frame(path)) in held) == held_out
    ]
    names = cfp_names(cfp)
    numbers = [k for k, name in enumerate(names, start=1) if (person_key(name) in held) == held_out]
    found += [
        Picture(path, person_key(names[int(path.parts[-3]) - 1]), f"cfp-{view}", cfp_to_ibug68(fiducials, view)[0])
        for path, view, fiducials in read_cfp(cfp, numbers)
    ]
    return _cap(found, per_person)


def located_pictures(data: Path, held_out: bool, per_person: int) -> list[Picture]:
    """All pictures of CFP, YouTube Faces and LFW of the training people (or of the held-out ones)."""
    ytf, cfp = data / "ytf", data / "cfp-dataset"
    held = held_out_people(ytf, cfp)
    names = cfp_names(cfp)
    found = [Picture(p, person_key(person_of_frame(p)), "ytf") for p in sorted(ytf.glob("frames/*/*.jpg"))]
    for number, name in enumerate(names, start=1):
        for view in ("frontal", "profile"):
            folder = cfp / "Data" / "Images" / f"{number:03d}" / view
            found += [Picture(p, person_key(name), f"cfp-{view}") for p in sorted(folder.glob("*.jpg"))]
    found += [Picture(p, person_key(p.parent.name), "lfw") for p in sorted((data / "lfw").glob("*/*.jpg"))]
    return _cap((p for p in found if (p.person in held) == held_out), per_person)


@dataclass(frozen=True, eq=False)
class Lifted:
    """A lifted picture: where it came from, the photograph, its fit and its texture."""

    picture: Picture
    image: Image
    fitted: FittedFace
    texture: FaceTexture


def lift_row(picture: Picture, image: Image, fit: BatchFit, row: int, model: FaceModel) -> Lifted:
    """Lift `picture`, decoded as `image`, with the fit in row `row` of a batch."""
    camera = fit.camera(row)
    geometry = model.geometry(fit.shape[row], fit.expression[row])
    fitted = FittedFace(
        fit.shape[row],
        fit.expression[row],
        camera,
        float(fit.residual[row]),
        fit.points[row],
        landmark_visibility(model, fit.shape[row], fit.expression[row], camera),
    )
    seen = node_visibility(model, geometry, camera)
    return Lifted(picture, image, fitted, lift_geometry(image, geometry, camera, seen, TEXTURE_SIZE))


def lift_annotated(pictures: Sequence[Picture], batch: int = 64) -> Iterator[Lifted]:
    """Fit the annotated points and lift; pictures no face explains are left out."""
    model, settings = FaceModel.load(), FitSettings()
    for start in range(0, len(pictures), batch):
        chosen = pictures[start : start + batch]
        points = np.stack([p.points for p in chosen if p.points is not None]).astype(np.float64)
        weights = np.isfinite(points).all(axis=2).astype(np.float64)
        fit = fit_batch(points, np.asarray(weights, dtype=np.float64), model, settings)
        for k, picture in enumerate(chosen):
            if fit.residual[k] <= settings.max_residual * face_size(fit.camera(k)):
                yield lift_row(picture, read_image(picture.path), fit, k, model)


def lift_located(pictures: Sequence[Picture], landmarks: str = "godp") -> Iterator[Lifted]:
    """Find, locate, fit and lift as the product does; the largest face of each picture, failures left out.

    LFW's pictures are aligned crops, often cut at chin and forehead: where the detector finds nothing in one, the
    middle of the picture is taken for the face.
    """
    from facerec.landmarks.detection.detector import FaceDetector
    from facerec.landmarks.landmarker import Landmarker, look_again

    model, detector, landmarker = FaceModel.load(), FaceDetector.load(), Landmarker.load(landmarks)
    for picture in pictures:
        image = read_image(picture.path)
        boxes = detector.detect(image)
        if not boxes and picture.source == "lfw":
            height, width = image.shape[:2]
            boxes = [Box(0.2 * width, 0.22 * height, 0.8 * width, 0.85 * height)]
        if not boxes:
            continue
        largest = max(boxes, key=lambda box: box.width * box.height)
        try:
            fitted = fit_face(look_again(landmarker, image, landmarker.locate(image, [largest]))[0], model, LOCATED)
        except UnusablePhotoError:
            continue
        yield Lifted(picture, image, fitted, lift_texture(image, fitted, model))
