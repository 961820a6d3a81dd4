"""The weight file of a DSSD or R-DSSD cascade: settings, initial shapes, ferns and networks as plain arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facerec.landmarks.dssd import Dssd, DssdSettings
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.ferns import FernLevel, FernSettings
from facerec.landmarks.initial_shapes import InitialShapes, InitialShapeSettings
from facerec.landmarks.rdssd import Cascade, CascadeSettings

_LEVEL = ("landmark", "offset", "first", "second", "threshold", "leaves", "directions")
_STEP = ".step"  # what one means in an array of whole numbers
_PACKED = {"leaves": (0, 1), "directions": (1,)}  # kept in one byte per number, and along which axes they share a step
_INITIAL = ("centres", "mean", "regression", "modes")


def coarse_arrays(initial: InitialShapes, coarse: list[list[FernLevel]]) -> dict[str, NDArray[Any]]:
    """Initial shapes and ferns, exact, by names that `coarse_from_arrays` reads."""
    arrays: dict[str, NDArray[Any]] = {f"initial.{name}": getattr(initial, name) for name in _INITIAL}
    for stage, levels in enumerate(coarse):
        for number, level in enumerate(levels):
            arrays |= {f"coarse.{stage}.{number}.{name}": getattr(level, name) for name in _LEVEL}
    return arrays


def coarse_from_arrays(
    arrays: Mapping[str, NDArray[Any]], settings: CascadeSettings
) -> tuple[InitialShapes, list[list[FernLevel]]]:
    """What `coarse_arrays` took apart; `InvalidInputError` when an array is missing."""

    def read(name: str) -> NDArray[Any]:
        if name not in arrays:
            raise InvalidInputError(
                f"expected an array {name!r} in the weights of a cascade; got {sorted(arrays)[:4]}..."
            )
        array, step = np.asarray(arrays[name]), arrays.get(f"{name}{_STEP}")
        if step is not None:
            return np.asarray(array * step, dtype=np.float32)
        return array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)

    initial = InitialShapes(settings.initial, *(read(f"initial.{name}") for name in _INITIAL))
    coarse = [
        [
            FernLevel(**{name: read(f"coarse.{stage}.{number}.{name}") for name in _LEVEL})
            for number in range(settings.ferns.levels)
        ]
        for stage in range(len(settings.coarse))
    ]
    return initial, coarse


def cascade_arrays(cascade: Cascade) -> dict[str, NDArray[Any]]:
    """What a weight file holds: floats as float16, indices as int16, settings as JSON bytes; leaves, which are most of
    it, and directions in one byte per number, with a step for each direction.
    """
    arrays = coarse_arrays(cascade.initial, cascade.coarse)
    for number, network in enumerate(cascade.networks):
        for name, tensor in network.state_dict().items():
            arrays[f"network.{number}.{name}"] = tensor.detach().cpu().numpy()
    small: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        axes = _PACKED.get(name.rpartition(".")[2])
        if axes is not None:
            step = np.maximum(np.abs(array).max(axis=axes, keepdims=True), 1e-6) / 127
            small[name], small[f"{name}{_STEP}"] = np.rint(array / step).astype(np.int8), step.astype(np.float32)
            continue
        small[name] = array.astype(np.int16 if array.dtype.kind in "iu" else np.float16)
    text = json.dumps(asdict(cascade.settings), sort_keys=True)
    small["settings"] = np.frombuffer(text.encode(), dtype=np.uint8)
    return small


def settings_from_json(text: str) -> CascadeSettings:
    """`CascadeSettings` of their JSON form."""
    stated = json.loads(text)
    return CascadeSettings(
        **(
            stated
            | {
                "network": DssdSettings(**stated["network"]),
                "initial": InitialShapeSettings(**stated["initial"]),
                "ferns": FernSettings(**stated["ferns"]),
                "coarse": tuple(stated["coarse"]),
                "fine": tuple(stated["fine"]),
            }
        )
    )


def cascade_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Cascade:
    """The cascade of a weight file, in evaluation mode, on the CPU."""
    if "settings" not in arrays:
        raise InvalidInputError(f"expected cascade weights with an array 'settings'; got {sorted(arrays)[:4]}...")
    settings = settings_from_json(arrays["settings"].tobytes().decode())
    initial, coarse = coarse_from_arrays(arrays, settings)
    networks = build_networks(settings, initial.mean, seed=0)
    for number, network in enumerate(networks):
        own = network.state_dict()
        prefix = f"network.{number}."
        stored = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        if set(stored) != set(own):
            raise InvalidInputError(
                f"expected network {number} of {settings}; missing {sorted(set(own) - set(stored))[:3]}, unknown "
                f"{sorted(set(stored) - set(own))[:3]}"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(torch.from_numpy(np.asarray(stored[name]).astype(np.float32)))
        network.eval().requires_grad_(False)
    return Cascade(settings, initial, coarse, networks)


def build_networks(settings: CascadeSettings, mean: NDArray[np.floating], seed: int) -> list[Dssd]:
    """Networks with seeded random weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [Dssd(settings.network, mean) for _ in range(settings.networks)]
