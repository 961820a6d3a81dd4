"""Training of the texture model: mean and modes of lifted textures without their lighting."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.render import push_pull
from facerec.frontalize.texture import delight
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.types import FaceTexture
from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TextureModelSettings:
    """Settings of the texture model."""

    size: int = 160  # texels per side: wider than the photographs' own resolution after averaging
    modes: int = 40
    min_visible: float = 0.75  # share of the chart seen, mirror twin included, for a picture to count
    light_rounds: int = 2


def learn_texture_model(
    textures: list[tuple[FaceTexture, Floats]], settings: TextureModelSettings | None = None
) -> TextureModel:
    """Learn mean and modes from lifted textures and their normals.

    Each texture is delit against the running mean, its unseen texels taken from the mirror twin and then from the mean;
    the modes are the principal components of what results.

    Args:
        textures: pairs of texture and (T, T, 3) normals in the camera's frame, T = settings.size.

    Raises:
        InvalidInputError: too few textures for the number of modes, or of another size.
    """
    settings = settings or TextureModelSettings()
    if len(textures) <= settings.modes or any(t.visible.shape[0] != settings.size for t, _ in textures):
        raise InvalidInputError(f"expected more than {settings.modes} textures of {settings.size} texels per side")

    def symmetric(
        values: NDArray[np.float32], weight: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        known = weight > 0.15
        twin = known[:, ::-1] & ~known
        filled = np.where(twin[..., None], values[:, ::-1], values)
        return filled, known | twin

    count = np.zeros((settings.size, settings.size, 1), dtype=np.float64)
    total = np.zeros((settings.size, settings.size, 3))
    for texture, _ in textures:
        filled, known = symmetric(texture.pixels.astype(np.float32), texture.visible)
        total += filled * known[..., None]
        count += known[..., None]
    mean = push_pull(total / np.maximum(count, 1), (count[..., 0] > len(textures) * 0.05).astype(np.float32))
    rows = np.zeros((len(textures), settings.size * settings.size * 3), dtype=np.float32)
    for round_index in range(settings.light_rounds):
        smooth_mean = np.asarray((mean + mean[:, ::-1]) / 2, dtype=np.float32)
        total[:], count[:] = 0, 0
        for k, (texture, normals) in enumerate(textures):
            plain, known = symmetric(delight(texture, smooth_mean, normals), texture.visible)
            total += plain * known[..., None]
            count += known[..., None]
            if round_index == settings.light_rounds - 1:
                # The unseen rest follows the person's own tone.
                tone = (plain[known].mean(axis=0) + 1) / (smooth_mean[known].mean(axis=0) + 1)
                rows[k] = np.where(known[..., None], plain, np.clip(smooth_mean * tone, 0, 255)).ravel()
        mean = push_pull(total / np.maximum(count, 1), (count[..., 0] > len(textures) * 0.05).astype(np.float32))
    centre = rows.mean(axis=0)
    # Faces outnumber no texels: the small Gram matrix has the same components.
    rows -= centre
    gram = (rows @ rows.T).astype(np.float64)
    variance, vectors = np.linalg.eigh(gram)
    top = vectors[:, ::-1][:, : settings.modes]
    sizes = np.sqrt(np.maximum(variance[::-1][: settings.modes], 1e-6))
    modes = (top.T / sizes[:, None]).astype(np.float32) @ rows
    modes *= (sizes / np.sqrt(len(rows)))[:, None].astype(np.float32)
    shape = (settings.size, settings.size, 3)
    return TextureModel(centre.reshape(shape), modes.reshape(-1, *shape).astype(np.float32))


def texture_model_error(model: TextureModel, textures: list[tuple[FaceTexture, Floats]]) -> dict[str, float]:
    """How well the model explains textures it may not have seen.

    Each texture is delit against the mean, and its seen texels are projected onto the modes by least squares.

    Args:
        model: the model, T texels per side.
        textures: as `learn_texture_model` takes them.

    Returns:
        Mean absolute difference over the seen texels, grey levels: "error_levels" of the model, "mean_only_levels" of
        its mean alone.
    """
    if not textures:
        raise InvalidInputError("expected at least one texture; got none")
    alone, explained = [], []
    basis = model.modes.reshape(len(model.modes), -1)
    for texture, normals in textures:
        seen = np.repeat((texture.visible > 0).ravel(), 3)
        rest = (delight(texture, model.mean, normals) - model.mean).ravel()[seen]
        coefficients, *_ = np.linalg.lstsq(basis[:, seen].T, rest, rcond=None)
        alone.append(float(np.abs(rest).mean()))
        explained.append(float(np.abs(rest - coefficients @ basis[:, seen]).mean()))
    return {"error_levels": float(np.mean(explained)), "mean_only_levels": float(np.mean(alone))}


def shrink(texture: FaceTexture, size: int) -> FaceTexture:
    """The texture at another size (area filter)."""
    weight = cv2.resize(texture.visible, (size, size), interpolation=cv2.INTER_AREA)
    seen = (texture.visible > 0).astype(np.float32)
    share = cv2.resize(seen, (size, size), interpolation=cv2.INTER_AREA)
    total = cv2.resize(texture.pixels.astype(np.float32) * seen[..., None], (size, size), interpolation=cv2.INTER_AREA)
    pixels = total / np.maximum(share, 1e-6)[..., None] * (share > 0.5)[..., None]
    return FaceTexture(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), (weight * (share > 0.5)).astype(np.float32))
