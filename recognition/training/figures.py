"""Figures of a face network on people it was not trained on, by which settings are chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Cells = tuple[NDArray[np.float32], NDArray[np.bool_]]


def masked(a: Cells, b: Cells) -> NDArray[np.float32]:
    """(N, M) mean cosine over the cells that both saw; -1 where there is none."""
    (ca, ka), (cb, kb) = a, b
    total = ca.reshape(len(ca), -1) @ cb.reshape(len(cb), -1).T
    both = ka.astype(np.float32) @ kb.astype(np.float32).T
    return np.where(both > 0, total / np.maximum(both, 1), np.float32(-1))


def auc(same: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Area under the curve of right accepts over false ones."""
    ordered = np.sort(other)
    order = np.searchsorted(ordered, same, side="left") + np.searchsorted(ordered, same, side="right")
    return float(order.mean() / (2 * len(other)))


def frontal_profile_figures(
    cells: NDArray[np.float32],
    known: NDArray[np.bool_],
    person: NDArray[np.str_],
    source: NDArray[np.str_],
    draws: int = 20,
) -> dict[str, float]:
    """CFP's figures: from each person's first frontal picture to other frontals and to profiles.

    Returns:
        "fp_auc", "ff_auc" over all pairs; "fp_rank1", "ff_rank1"; "fp_tpir", "ff_tpir": share of probes of enrolled
        people that are named right at the threshold where 1 % of the probes of the other half of the people are named.
    """
    frontal, profile = np.flatnonzero(source == "cfp-frontal"), np.flatnonzero(source == "cfp-profile")
    _, first = np.unique(person[frontal], return_index=True)
    gallery = frontal[first]
    others = np.setdiff1d(frontal, gallery)
    out: dict[str, float] = {}
    rng = np.random.default_rng(0)
    for name, probes in (("fp", profile), ("ff", others)):
        everything = masked((cells[frontal], known[frontal]), (cells[probes], known[probes]))
        same = person[frontal][:, None] == person[probes][None]
        apart = frontal[:, None] != probes[None]
        out[f"{name}_auc"] = auc(everything[same & apart], everything[~same])
        score = masked((cells[gallery], known[gallery]), (cells[probes], known[probes]))
        named = person[gallery][score.argmax(0)] == person[probes]
        out[f"{name}_rank1"] = float(named.mean())
        rates = []
        for _ in range(draws):
            inside = np.isin(person[gallery], rng.permutation(person[gallery])[: len(gallery) // 2])
            known_probe = np.isin(person[probes], person[gallery][inside])
            best = score[inside].max(0)
            threshold = np.quantile(best[~known_probe], 0.99)
            right = person[gallery][inside][score[inside].argmax(0)] == person[probes]
            rates.append(float((right & (best > threshold))[known_probe].mean()))
        out[f"{name}_tpir"] = float(np.mean(rates))
    return out


def pair_figures(
    cells: NDArray[np.float32],
    known: NDArray[np.bool_],
    person: NDArray[np.str_],
    rates: tuple[float, ...] = (1e-3, 1e-4),
) -> dict[str, float]:
    """True accept rates, "tar_RATE": share of a person's own pairs above what RATE of the pairs of others reach."""
    score = masked((cells, known), (cells, known))
    upper = np.triu(np.ones(score.shape, dtype=bool), 1)
    same = person[:, None] == person[None]
    other = score[upper & ~same]
    genuine = score[upper & same]
    return {f"tar_{rate:g}": float((genuine > np.quantile(other, 1 - rate)).mean()) for rate in rates}


def group_figures(
    cells: NDArray[np.float32], known: NDArray[np.bool_], group: NDArray[np.str_], reference: str, rate: float = 1e-3
) -> dict[str, float]:
    """False match rates within groups, "fmr_GROUP", at the threshold that `rate` of the pairs of `reference` reach.

    Args:
        cells, known: one face per person.
        group: (N,) the group of each; "" belongs to none.
        reference: start of the names of the groups whose pairs set the threshold.
        rate: see above.
    """
    inner = {}
    for name in np.unique(group[group != ""]):
        at = np.flatnonzero(group == name)
        if len(at) >= 10:
            score = masked((cells[at], known[at]), (cells[at], known[at]))
            inner[str(name)] = score[np.triu_indices(len(at), 1)]
    base = np.concatenate([v for k, v in inner.items() if k.startswith(reference)])
    threshold = np.quantile(base, 1 - rate)
    return {f"fmr_{name}": float((score >= threshold).mean()) for name, score in inner.items()}


def person_groups(person: NDArray[np.str_], group: NDArray[np.str_]) -> NDArray[np.str_]:
    """(N,) "asian woman", ... of people of UTKFace and All-Age-Faces, whose names say so; "" for others."""
    out = []
    for name, kind in zip(person.tolist(), group.tolist(), strict=True):
        sex = ""
        if name.startswith("utkface "):
            sex = "woman" if name.split()[1].split("_")[1] == "1" else "man"
        elif name.startswith("all-age-faces "):
            # Women come first in the set.
            sex = "woman" if int(name.split()[1].split("A")[0]) <= LAST_WOMAN else "man"
        out.append(f"{kind} {sex}" if sex else "")
    return np.array(out)


def person_age(person: str) -> int | None:
    """Age of a person of UTKFace or All-Age-Faces, whose names say so; None for others."""
    if person.startswith("utkface "):
        return int(person.split()[1].split("_")[0])
    if person.startswith("all-age-faces "):
        return int(person.split()[1].split("A")[1])
    return None


LAST_WOMAN = 7380
"""Number of the last picture of a woman in All-Age-Faces."""
