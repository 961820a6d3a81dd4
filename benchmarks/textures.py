"""How much plain textures of one person agree across pose, before anything is learnt, and what each ingredient adds.

    python benchmarks/textures.py DATA [--people 50] [--only "model fit, mask"]

DATA holds cfp-dataset/. Of the held-out people 301-400, frontal/01 is compared with the other pictures looked at
(frontal/02, /03 and the four profiles) by the masked correlation of grey textures; the figure is the area under the ROC
curve of same person against others, by |yaw| of the second picture. Faces that are not found or not fitted are left out
here: this compares ingredients on the same pictures, it is no recognition figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from found import found_landmarks
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import LOCATED, FitSettings, fit_face
from facerec.frontalize.texture import lift_geometry, lift_texture, mirror_fill
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.types import FaceTexture, FittedFace
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Image, Landmarks

PEOPLE = range(301, 401)
BINS = ((0, 30), (30, 50), (50, 60), (60, 70), (70, 90))
SIDE = 64  # texels: details beyond a hundredth of the face do not agree between photographs

Lift = Callable[[Image, Landmarks, FaceModel], FaceTexture]


def whole(image: Image, mark: Landmarks, model: FaceModel) -> FaceTexture:
    """What the product makes."""
    return lift_texture(image, fit_face(mark, model), model)


def of_fit(settings: FitSettings) -> Lift:
    """The same with another fit."""
    return lambda image, mark, model: lift_texture(image, fit_face(mark, model, settings), model)


def of_mean_face(image: Image, mark: Landmarks, model: FaceModel) -> FaceTexture:
    """The mean face on the fitted camera."""
    fitted = fit_face(mark, model, FitSettings(identity_modes=0, expression_modes=0))
    return lift_texture(image, fitted, model)


def without_mask(image: Image, mark: Landmarks, model: FaceModel) -> FaceTexture:
    """Every texel counts, hidden ones take what lies in front of them."""
    fitted = fit_face(mark, model)
    geometry = model.geometry(fitted.shape, fitted.expression)
    return lift_geometry(image, geometry, fitted.camera, np.ones(geometry.shape[:2]))


def filled(image: Image, mark: Landmarks, model: FaceModel) -> FaceTexture:
    """Hidden texels are matched as if their mirror twin were they."""
    return mirror_fill(whole(image, mark, model))[0]


def without_light(image: Image, mark: Landmarks, model: FaceModel) -> FaceTexture:
    """The lift with light normalisation."""
    return lift_texture(image, fit_face(mark, model), model, albedo=TextureModel.load().mean)


INGREDIENTS: dict[str, Lift] = {
    "model fit, mask": whole,
    "2FCSL instead of model fit": of_fit(FitSettings(method="2fcsl")),
    "places of located points": of_fit(LOCATED),
    "mean face": of_mean_face,
    "without mask": without_mask,
    "with mirror fill": filled,
    "with light normalised": without_light,
}


def lifted_or_empty(lift: Lift, image: Image, mark: Landmarks, model: FaceModel) -> FaceTexture:
    """What `lift` makes; an empty texture, which agrees with none, where its fit is refused."""
    try:
        return lift(image, mark, model)
    except UnusablePhotoError:
        return FaceTexture(np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), np.float32))


def agreement(one: list[FaceTexture], other: list[FaceTexture]) -> NDArray[np.float64]:
    """(N, M) correlation of grey textures over the texels both saw; 0 where they share less than a twentieth."""

    def stacked(textures: list[FaceTexture]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values, masks = [], []
        for texture in textures:
            seen = (texture.visible > 0).astype(np.float32)
            grey = cv2.cvtColor(texture.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) * seen
            share, total = (cv2.resize(a, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for a in (seen, grey))
            mask = share > 0.5
            values.append((total / np.maximum(share, 1e-6) * mask).ravel())
            masks.append(mask.ravel())
        return np.array(values, dtype=np.float64) / 255, np.array(masks, dtype=np.float64)

    (a, m), (b, n) = stacked(one), stacked(other)
    both = np.maximum(m @ n.T, 1.0)
    mean_a, mean_b = a @ n.T / both, m @ b.T / both
    product = a @ b.T / both - mean_a * mean_b
    spread = ((a**2) @ n.T / both - mean_a**2) * (m @ (b**2).T / both - mean_b**2)
    return np.where(both > SIDE * SIDE / 20, product / np.sqrt(np.maximum(spread, 1e-12)), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("work/found"), help="where found landmarks are kept")
    parser.add_argument("--people", type=int, default=100, help="of the held-out ones; fewer for a quicker look")
    parser.add_argument("--only", action="append", choices=list(INGREDIENTS), help="ingredient; all when not given")
    arguments = parser.parse_args()
    pictures = arguments.data / "cfp-dataset" / "Data" / "Images"
    profiles = [pictures / f"{k:03d}" / "profile" / f"{j:02d}.jpg" for k in PEOPLE for j in range(1, 5)]
    frontals = [pictures / f"{k:03d}" / "frontal" / f"{j:02d}.jpg" for k in PEOPLE for j in range(1, 4)]
    marks = dict(zip(profiles, found_landmarks(profiles, arguments.cache), strict=True))
    marks |= dict(zip(frontals, found_landmarks(frontals, arguments.cache), strict=True))
    wanted = {f"{k:03d}" for k in PEOPLE[: arguments.people]}
    marks = {path: mark for path, mark in marks.items() if path.parts[-3] in wanted}
    model, faces = FaceModel.load(), {}
    fits: dict[Path, FittedFace] = {}
    for path, mark in marks.items():
        if mark is not None:
            try:
                fits[path] = fit_face(mark, model)
            except UnusablePhotoError:
                continue
            faces[path] = (read_image(path), mark)
    gallery = [p for p in faces if p.parent.name == "frontal" and p.stem == "01"]
    probes = [p for p in faces if p not in set(gallery)]
    yaw = np.abs([fits[p].camera.yaw for p in probes])
    same = np.array([[g.parts[-3] == p.parts[-3] for p in probes] for g in gallery])
    chosen = [(yaw >= low) & (yaw < high) for low, high in BINS]
    print(f"{len(gallery)} gallery pictures, {len(probes)} others")
    print(
        f"{'':28}"
        + "".join(f"{low}-{high} ({int(c.sum())})".rjust(12) for (low, high), c in zip(BINS, chosen, strict=True))
    )
    for name, lift in INGREDIENTS.items():
        if arguments.only and name not in arguments.only:
            continue
        textures = {path: lifted_or_empty(lift, image, mark, model) for path, (image, mark) in faces.items()}
        scores = agreement([textures[p] for p in gallery], [textures[p] for p in probes])
        figures = [roc_auc_score(same[:, c].ravel(), scores[:, c].ravel()) for c in chosen]
        print(f"{name:28}" + "".join(f"{figure:12.3f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
