"""Training of the texture model: mean and modes of lifted textures without their lighting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import push_pull
from facerec.frontalize.texture import delight, resample_grid
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.types import FaceTexture
from facerec.frontalize.visibility import surface_normals
from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TextureModelSettings:
    """Settings of the texture model."""

    size: int = 192  # texels per side: 0.6 per mm, the crops hold 0.8 px per mm
    modes: int = 240  # with 160 strangers are more alike: benchmarks/trials.md
    min_visible: float = 0.75  # share of the chart seen, mirror twin included, for a picture to count
    red_green: tuple[float, float] = (1.1, 2.1)  # of median skin: grey pictures and coloured lights fall outside
    green_blue: tuple[float, float] = (1.0, 1.7)
    overexposed: float = 0.05  # largest share of texels with a channel of 250 and more
    light_rounds: int = 2
    early: int = 4  # every fourth texture suffices for the mean of the rounds before the last
    outliers: float = 0.12  # share of textures left out, those that half of the modes explain worst


def is_usable(texture: FaceTexture, settings: TextureModelSettings) -> bool:
    """Whether enough of a texture was seen, in colour and not overexposed."""
    seen = texture.visible > 0
    if float((seen | seen[:, ::-1]).mean()) < settings.min_visible:
        return False
    skin = texture.pixels[texture.visible > 0.15]
    red, green, blue = np.median(skin, axis=0) + 1
    within = settings.red_green[0] < red / green < settings.red_green[1]
    within &= settings.green_blue[0] < green / blue < settings.green_blue[1]
    return bool(within and (skin >= 250).any(axis=1).mean() < settings.overexposed)


Textures = Sequence[tuple[FaceTexture, Floats]]
"""Pairs of a texture, T texels per side, and the rotation (3, 3) of the camera that it was lifted with."""


def learn_texture_model(textures: Textures, settings: TextureModelSettings | None = None) -> TextureModel:
    """Learn mean and modes from lifted textures.

    Each texture is delit against the running mean, its unseen texels taken from the mirror twin and then from the mean;
    the modes are the principal components of what results. Textures that the first components explain worst are left
    out then, and the components computed again.

    Args:
        textures: see `Textures`; T = settings.size.

    Raises:
        InvalidInputError: too few textures for the number of modes, or of another size.
    """
    settings = settings or TextureModelSettings()
    kept = len(textures) - round(settings.outliers * len(textures))
    if kept <= settings.modes or any(t.visible.shape[0] != settings.size for t, _ in textures):
        raise InvalidInputError(f"expected more than {settings.modes} textures of {settings.size} texels per side")
    normals = _normals(settings.size)
    total, count = np.zeros((settings.size, settings.size, 3)), np.zeros((settings.size, settings.size, 1))
    for texture, _ in textures:
        filled, known = _symmetric(texture.pixels.astype(np.float32), texture.visible)
        total += filled * known[..., None]
        count += known[..., None]
    rows = np.zeros((len(textures), settings.size * settings.size * 3), dtype=np.float32)
    every = 1
    for following in reversed(range(settings.light_rounds)):
        least = 0.05 * len(textures[::every])
        mean = push_pull(total / np.maximum(count, 1), (count[..., 0] > least).astype(np.float32))
        mean = np.asarray((mean + mean[:, ::-1]) / 2, dtype=np.float32)
        total[:], count[:] = 0, 0
        every = settings.early if following else 1
        for k, (texture, rotation) in enumerate(textures[::every]):
            plain, known = _symmetric(delight(texture, mean, normals @ rotation.T), texture.visible)
            total += plain * known[..., None]
            count += known[..., None]
            if not following:
                # The unseen rest follows the person's own tone.
                tone = (plain[known].mean(axis=0) + 1) / (mean[known].mean(axis=0) + 1)
                rows[k] = np.where(known[..., None], plain, np.clip(mean * tone, 0, 255)).ravel()
    if kept < len(rows):
        rows = rows[_explained(rows, settings)[:kept]]
    centre, modes, _ = _components(rows, settings.modes)
    shape = (settings.size, settings.size, 3)
    return TextureModel(centre.reshape(shape), modes.reshape(-1, *shape))


def _normals(size: int) -> Floats:
    """(T, T, 3) unit normals of the mean face: a person's differ little from them where light is smooth."""
    upright = resample_grid(surface_normals(FaceModel.load().mean), size).astype(np.float64)
    return np.asarray(upright / np.maximum(np.linalg.norm(upright, axis=2, keepdims=True), 1e-9))


def _symmetric(
    values: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values with what only the mirror twin saw taken from it, and what is known then."""
    known = weight > 0.15
    twin = known[:, ::-1] & ~known
    return np.where(twin[..., None], values[:, ::-1], values), known | twin


def _components(rows: NDArray[np.float32], modes: int) -> tuple[NDArray[np.float32], NDArray[np.float32], Floats]:
    """Mean (P,), principal components (M, P), a standard deviation long, and coefficients (N, M) of rows (N, P)."""
    centre = rows.mean(axis=0)
    # Faces outnumber no texels: the small Gram matrix has the same components.
    gram = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], 16384):
        part = rows[:, start : start + 16384] - centre[start : start + 16384]
        gram += part @ part.T
    top = eigh(gram, subset_by_index=(len(gram) - modes, len(gram) - 1))[1][:, ::-1]
    # Of vectors that sum to zero, the product with the rows is that with the centred rows; rounding aside.
    learnt = (top / np.sqrt(len(rows))).T.astype(np.float32) @ rows
    learnt -= (top / np.sqrt(len(rows))).sum(axis=0)[:, None].astype(np.float32) * centre
    return centre, np.asarray(learnt, dtype=np.float32), np.asarray(top * np.sqrt(len(rows)))


def _explained(rows: NDArray[np.float32], settings: TextureModelSettings) -> NDArray[np.intp]:
    """Row numbers, those first that half of the modes explain best: hands, hair and dark glasses come last."""
    few = np.ascontiguousarray(rows[:, ::7])  # the channels in turn
    centre, modes, coefficients = _components(few, max(1, settings.modes // 2))
    rest = few - centre - coefficients.astype(np.float32) @ modes
    return np.argsort(np.abs(rest).mean(axis=1), kind="stable")


def texture_model_error(model: TextureModel, textures: Textures) -> dict[str, float]:
    """How well the model explains textures it may not have seen.

    Each texture is delit against the mean, and its seen texels are projected onto the modes by least squares.

    Args:
        model: the model, T texels per side.
        textures: see `Textures`.

    Returns:
        Mean absolute difference over the seen texels, grey levels: "error_levels" of the model, "mean_only_levels" of
        its mean alone.
    """
    if not textures:
        raise InvalidInputError("expected at least one texture; got none")
    alone, explained = [], []
    basis = model.modes.reshape(len(model.modes), -1)
    normals = _normals(model.mean.shape[0])
    for texture, rotation in textures:
        seen = np.repeat((texture.visible > 0).ravel(), 3)
        rest = (delight(texture, model.mean, normals @ rotation.T) - model.mean).ravel()[seen]
        used = basis[:, seen]
        gram = (used @ used.T).astype(np.float64)
        coefficients = np.linalg.solve(gram + 1e-9 * np.trace(gram) * np.eye(len(gram)), used @ rest)
        alone.append(float(np.abs(rest).mean()))
        explained.append(float(np.abs(rest - coefficients.astype(np.float32) @ used).mean()))
    return {"error_levels": float(np.mean(explained)), "mean_only_levels": float(np.mean(alone))}
