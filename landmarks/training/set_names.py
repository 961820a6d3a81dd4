"""The data sets behind training pictures, as weight records name them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SOURCES = {
    "cfp": "CFP",
    "ytf": "YouTube Faces",
    "lfw": "LFW",
    "celeba": "CelebA",
    "all": "All-Age-Faces",
    "utkface": "UTKFace",
    "rendered": "rendered people",
}


def training_sets(source: NDArray[np.str_]) -> list[str]:
    """Names of the data sets that pictures of the sources (N,) come from; turned ones count as their originals."""
    sources = {str(one).removeprefix("turned-").split("-")[0] for one in np.unique(source)}
    return [name for key, name in _SOURCES.items() if key in sources] + sorted(sources - set(_SOURCES))


def research_licence(sets: Sequence[str]) -> str:
    """What weights trained on `sets` may be used for: their pictures are of real people, for research."""
    listed = f"{', '.join(sets[:-1])} and {sets[-1]}" if len(sets) > 1 else sets[0]
    return f"research use only: trained on {listed}"
