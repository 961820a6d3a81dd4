"""The masked score of many pairs at once, as inner products.

With seen cells of unit length and unseen cells zero, two inner products give the masked score of the literature:
<E_g, E_p> is the sum of the cosines over the cells that both pictures saw, <O_g, O_p> is their number k, and
S = <E_g, E_p> / k.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import DeviceError, InvalidInputError

InnerProduct = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Inner products (A, B) of rows (A, W) and (B, W)."""

Product = Literal["faiss", "numpy"] | InnerProduct
"""Who multiplies: FAISS, numpy as its plain twin, or FAISS on a GPU (`gpu_product`)."""

Vectors = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Cells (N, C, D) and visibility (N, C) of N signatures."""


def masked_scores(probes: Vectors, gallery: Vectors, product: Product = "faiss") -> tuple[NDArray[np.float32], Overlap]:
    """Masked scores and overlaps of all pairs.

    Args:
        probes: cells (P, C, D) and visibility (P, C).
        gallery: cells (N, C, D) and visibility (N, C).
        product: who multiplies.

    Returns:
        (P, N) float32 scores, 0 where no cell was seen by both, and (P, N) float32 numbers of cells seen by both.
    """
    (p_cells, p_seen), (g_cells, g_seen) = probes, gallery
    if p_cells.shape[1:] != g_cells.shape[1:]:
        raise InvalidInputError(
            f"expected signatures of one shape (C, D); got {p_cells.shape[1:]}, {g_cells.shape[1:]}"
        )
    width = p_cells.shape[1] * p_cells.shape[2]
    sums = _inner(p_cells.reshape(-1, width), g_cells.reshape(-1, width), product)
    overlap = _inner(p_seen.astype(np.float32), g_seen.astype(np.float32), product)
    return np.divide(sums, overlap, out=np.zeros_like(sums), where=overlap > 0), overlap


Overlap = NDArray[np.float32]
"""(P, N) number of cells seen by both, exact in float32."""


def gpu_product(gpu: int = 0) -> InnerProduct:
    """FAISS's inner products on a GPU, in float32; blocks of vectors travel there for each batch of probes.

    Args:
        gpu: number of the GPU.

    Raises:
        DeviceError: this FAISS has no GPU support, or finds no such GPU.
    """
    faiss = importlib.import_module("faiss")  # its type stubs are those of the CPU
    found = faiss.get_num_gpus()
    if gpu >= found:
        why = f"it finds {found} GPUs" if hasattr(faiss, "StandardGpuResources") else "it was built without GPU support"
        raise DeviceError(
            f"expected a FAISS with a GPU to search with --device cuda; {why} (faiss {faiss.__version__}). Install "
            f"facerec[gpu] in place of faiss-cpu, or use --device cpu"
        )
    resources = faiss.StandardGpuResources()
    lock = threading.Lock()  # one stream and one scratch memory: FAISS's GPU resources serve one thread at a time

    def product(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        with lock:
            return np.asarray(
                faiss.pairwise_distance_gpu(resources, a, b, metric=faiss.METRIC_INNER_PRODUCT, device=gpu)
            )

    return product


def product_on(device: str) -> Product:
    """Who multiplies for `--device`: "cpu", "cuda" (a GPU or `DeviceError`) or "auto" (a GPU when FAISS has one)."""
    if device == "cpu":
        return "faiss"
    if device not in ("auto", "cuda"):
        raise InvalidInputError(f"expected the device 'auto', 'cpu' or 'cuda'; got {device!r}")
    if device == "auto" and not importlib.import_module("faiss").get_num_gpus():
        return "faiss"
    return gpu_product()


def _inner(a: NDArray[np.float32], b: NDArray[np.float32], product: Product) -> NDArray[np.float32]:
    if product == "numpy" or not len(a) or not len(b):
        return np.asarray(a @ b.T, dtype=np.float32)
    rows = np.ascontiguousarray(a), np.ascontiguousarray(b)
    if product != "faiss":
        return product(*rows)
    import faiss

    return np.asarray(faiss.pairwise_distances(*rows, metric=faiss.METRIC_INNER_PRODUCT), dtype=np.float32)
