"""Unwrapping a face mesh into the UV chart: a near-isometric, fold-free, mirror-symmetric map onto the unit square.

Mean-value weights (Floater 2003) keep every triangle the right way round inside a convex boundary; the stretch-driven
reweighting of Yoshizawa et al. (2004) then evens out the scale, so that a texel means about the same area everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class UnwrapSettings:
    """Settings of the unwrapping."""

    rounds: int = 5  # stretch no longer falls after the fifth round on the face mesh
    exponent: float = 0.8  # below 1, so that the reweighting converges instead of swinging
    smoothing: int = 30  # rounds of Laplacian smoothing of the metric: ears and nostrils must not claim texels
    clip: float = 5.0  # bound on one round's reweighting


def boundary_loops(triangles: Ints) -> list[Ints]:
    """Boundary loops of a mesh as vertex lists, the longest first. Triangles (F, 3)."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    directed = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in directed if (b, a) not in directed}
    loops: list[Ints] = []
    left = set(following)
    while left:
        start = min(left)
        loop = [start]
        left.discard(start)
        nxt = following[start]
        while nxt != start:
            loop.append(nxt)
            left.discard(nxt)
            nxt = following[nxt]
        loops.append(np.array(loop, dtype=np.int64))
    return sorted(loops, key=len, reverse=True)


def close_holes(vertices: Floats, triangles: Ints) -> Ints:
    """Zip every loop but the longest: a strip of triangles from its upper to its lower chain.

    A fan around the middle would do for the topology, but its long edges pull the rims of a closed mouth apart in the
    chart; a strip's edges are as short as the gap.

    Returns:
        (A, 3) triangles to add; each closes its loop without new vertices.
    """
    added: list[tuple[int, int, int]] = []
    for loop in boundary_loops(triangles)[1:]:
        x = vertices[loop, 0]
        ring = np.roll(loop, -int(x.argmin()))
        far = int(vertices[ring, 0].argmax())
        one, other = list(ring[: far + 1]), [ring[0], *ring[:far:-1], ring[far]]
        i = j = 0
        while i < len(one) - 1 or j < len(other) - 1:
            forward_one = j == len(other) - 1 or (
                i < len(one) - 1 and vertices[one[i + 1], 0] <= vertices[other[j + 1], 0]
            )
            if forward_one:
                corner = (int(one[i + 1]), int(one[i]), int(other[j]))
                i += 1
            else:
                corner = (int(other[j]), int(other[j + 1]), int(one[i]))
                j += 1
            if len(set(corner)) == 3:
                added.append(corner)
    return np.array(added, dtype=np.int64).reshape(-1, 3)


def _mean_value_weights(vertices: Floats, triangles: Ints) -> sp.csr_matrix:
    rows, columns, values = [], [], []
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        origin = vertices[triangles[:, a]]
        to_b, to_c = vertices[triangles[:, b]] - origin, vertices[triangles[:, c]] - origin
        length_b, length_c = (np.linalg.norm(e, axis=1) + 1e-9 for e in (to_b, to_c))
        cosine = np.clip((to_b * to_c).sum(axis=1) / (length_b * length_c), -1.0, 1.0)
        tangent = np.tan(np.arccos(cosine) / 2)
        rows += [triangles[:, a], triangles[:, a]]
        columns += [triangles[:, b], triangles[:, c]]
        values += [tangent / length_b, tangent / length_c]
    n = len(vertices)
    return sp.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n))


def _stretch(uv: Floats, vertices: Floats, triangles: Ints) -> Floats:
    """Root mean square stretch of the map uv -> surface around each vertex (Sander et al. 2001)."""
    q1, q2, q3 = (uv[triangles[:, k]] for k in range(3))
    p1, p2, p3 = (vertices[triangles[:, k]] for k in range(3))
    area = ((q2[:, 0] - q1[:, 0]) * (q3[:, 1] - q1[:, 1]) - (q3[:, 0] - q1[:, 0]) * (q2[:, 1] - q1[:, 1])) / 2
    area = np.where(area < 0, -1.0, 1.0) * np.maximum(np.abs(area), 1e-12)
    along_u = (p1 * (q2 - q3)[:, 1:] + p2 * (q3 - q1)[:, 1:] + p3 * (q1 - q2)[:, 1:]) / (2 * area[:, None])
    along_v = (p1 * (q3 - q2)[:, :1] + p2 * (q1 - q3)[:, :1] + p3 * (q2 - q1)[:, :1]) / (2 * area[:, None])
    squared = ((along_u**2).sum(axis=1) + (along_v**2).sum(axis=1)) / 2
    surface = np.linalg.norm(np.cross(p2 - p1, p3 - p1), axis=1) / 2
    total = np.zeros(len(uv))
    weight = np.zeros(len(uv))
    for k in range(3):
        np.add.at(total, triangles[:, k], surface * squared)
        np.add.at(weight, triangles[:, k], surface)
    return np.asarray(np.sqrt(total / np.maximum(weight, 1e-12)))


def unwrap(vertices: Floats, triangles: Ints, boundary_uv: Floats, settings: UnwrapSettings | None = None) -> Floats:
    """Map a mesh with the topology of a disc onto the unit square.

    Args:
        vertices: (V, 3), mirror-symmetric about x = 0 (each vertex has a mirror twin).
        triangles: (F, 3) without holes (see `close_holes`).
        boundary_uv: (V, 2); only the rows of the outer boundary count: they say where each boundary vertex lies,
            and are pushed from the middle of the square onto its edge.
        settings: see `UnwrapSettings`.

    Returns:
        (V, 2) chart positions in [0, 1]; mirror twins differ in u -> 1 - u only.

    Raises:
        InvalidInputError: the mesh has a hole.
    """
    settings = settings or UnwrapSettings()
    loops = boundary_loops(triangles)
    if len(loops) != 1:
        raise InvalidInputError(f"expected a mesh with one boundary loop; got {len(loops)}")
    boundary = loops[0]
    n = len(vertices)
    uv = np.zeros((n, 2))
    centred = boundary_uv[boundary] - 0.5
    uv[boundary] = centred / np.abs(centred).max(axis=1, keepdims=True) / 2 + 0.5
    free = np.ones(n, dtype=bool)
    free[boundary] = False

    weights = _mean_value_weights(vertices, triangles)
    ring = weights.copy()
    ring.data[:] = 1.0
    average = sp.diags(1.0 / np.asarray(ring.sum(axis=1)).ravel()) @ ring
    metric = vertices.copy()
    for _ in range(settings.smoothing):
        moved = average @ metric
        moved[boundary] = metric[boundary]
        metric = moved

    for round_index in range(settings.rounds + 1):
        laplacian = (sp.diags(np.asarray(weights.sum(axis=1)).ravel()) - weights).tocsr()
        right = -laplacian[free][:, ~free] @ uv[~free]
        uv[free] = spla.spsolve(laplacian[free][:, free].tocsc(), right)
        if round_index < settings.rounds:
            stretch = _stretch(uv, metric, triangles)
            relative = np.clip(stretch / np.median(stretch), 1 / settings.clip, settings.clip)
            weights = weights @ sp.diags(relative**-settings.exponent)

    twin = cKDTree(vertices).query(vertices * [-1.0, 1.0, 1.0])[1]
    return np.asarray((uv + uv[twin] * [-1.0, 1.0] + [1.0, 0.0]) / 2)


def grid_operator(uv: Floats, triangles: Ints, holes: NDArray[np.bool_], size: int) -> sp.csr_matrix:
    """The linear map from mesh vertices to the regular chart grid.

    Nodes inside `holes` (triangles that closed the eyes, the mouth and the nostrils) follow a smooth surface instead:
    the biharmonic continuation of the nodes around them.

    Args:
        uv: (V, 2) chart positions.
        triangles: (F, 3).
        holes: (F,) which triangles only close a hole; no node takes a value from them.
        size: G, nodes along each side; node (i, j) lies at u = j / (G - 1), v = i / (G - 1).

    Returns:
        (G * G, V) sparse matrix, rows sum to one.
    """
    scaled = uv * (size - 1)
    weights = np.full((size * size, 3), -1.0)
    owner = np.full(size * size, -1, dtype=np.int64)
    inside_best = np.full(size * size, -np.inf)
    corners = scaled[triangles]
    low = np.maximum(np.ceil(corners.min(axis=1) - 1e-9).astype(int), 0)
    high = np.minimum(np.floor(corners.max(axis=1) + 1e-9).astype(int), size - 1)
    for index, ((x0, y0), (x1, y1)) in enumerate(zip(low, high, strict=True)):
        if x1 < x0 or y1 < y0:
            continue
        gx, gy = np.meshgrid(np.arange(x0, x1 + 1), np.arange(y0, y1 + 1))
        p = np.stack([gx.ravel(), gy.ravel()], axis=1).astype(float)
        a, b, c = corners[index]
        det = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if abs(det) < 1e-14:
            continue
        wb = ((p[:, 0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (p[:, 1] - a[1])) / det
        wc = ((b[0] - a[0]) * (p[:, 1] - a[1]) - (p[:, 0] - a[0]) * (b[1] - a[1])) / det
        w = np.stack([1 - wb - wc, wb, wc], axis=1)
        node = (p[:, 1] * size + p[:, 0]).astype(int)
        better = w.min(axis=1) > inside_best[node]
        inside_best[node[better]] = w.min(axis=1)[better]
        weights[node[better]] = w[better]
        owner[node[better]] = index
    if (owner < 0).any():
        raise InvalidInputError(
            f"{int((owner < 0).sum())} chart nodes lie in no triangle: the chart does not fill the square"
        )
    n = len(uv)
    rows = np.repeat(np.arange(size * size), 3)
    direct = sp.csr_matrix((weights.ravel(), (rows, triangles[owner].ravel())), shape=(size * size, n))
    unknown = holes[owner]
    if not unknown.any():
        return direct
    laplace = _grid_laplacian(size)
    bending = (laplace.T @ laplace).tocsr()
    solve = spla.splu(bending[unknown][:, unknown].tocsc())
    around = (bending[unknown][:, ~unknown] @ direct[~unknown]).tocsc()
    used = np.flatnonzero(np.diff(around.indptr))
    filled = sp.lil_matrix((int(unknown.sum()), n))
    filled[:, used] = -solve.solve(around[:, used].toarray())
    order = np.empty(size * size, dtype=np.int64)
    order[np.flatnonzero(~unknown)] = np.arange(int((~unknown).sum()))
    order[np.flatnonzero(unknown)] = int((~unknown).sum()) + np.arange(int(unknown.sum()))
    return sp.vstack([direct[~unknown], filled.tocsr()]).tocsr()[order]


def _grid_laplacian(size: int) -> sp.csr_matrix:
    line = sp.diags([np.ones(size - 1), -2 * np.ones(size), np.ones(size - 1)], [-1, 0, 1]).tolil()
    line[0, 0] = line[-1, -1] = -1
    eye = sp.identity(size)
    return (sp.kron(line, eye) + sp.kron(eye, line)).tocsr()
