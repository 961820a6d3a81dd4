"""Who is held out: the people on whom nothing may be trained, and those on whom only thresholds are calibrated.

Every training holds back the people of CFP folds 07 and 08 and every seventh person of YouTube Faces, with their
namesakes in the other sets; names are compared by `person_key`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

from facerec.landmarks.sets.cfp import cfp_names
from facerec.landmarks.sets.ytf import ytf_people

HELD_OUT_CFP = range(301, 401)
"""People of CFP folds 07 and 08: never trained on."""

HELD_OUT_EVERY_YTF = 7


def person_key(name: str) -> str:
    """A person's name with case, accents, underscores and punctuation taken out, to compare names across sets."""
    plain = unicodedata.normalize("NFKD", name.replace("_", " ").replace("-", " "))
    return " ".join("".join(c for c in plain.lower() if c.isalnum() or c == " ").split())


def held_out_people(ytf: Path, cfp: Path) -> frozenset[str]:
    """Keys (`person_key`) of the people nothing may be trained on.

    CFP folds 07 and 08 (people 301-400), every seventh YouTube Faces person, and their namesakes in every set.

    Args:
        ytf: folder with `frames/`.
        cfp: CFP's official tree.
    """
    frames, names = ytf_people(ytf), cfp_names(cfp)
    held = names[HELD_OUT_CFP.start - 1 : HELD_OUT_CFP.stop - 1]
    return frozenset(person_key(n) for n in [*frames[::HELD_OUT_EVERY_YTF], *held])


def is_calibration_person(key: str) -> bool:
    """Whether thresholds are calibrated on this person (`person_key`): one in sixteen, by a hash of the name.

    Descriptors must not be trained on them, or impostors would look easier than strangers are.
    """
    return hashlib.sha256(key.encode()).digest()[0] % 16 == 0


def training_people(ytf: Path, cfp: Path) -> list[int]:
    """Numbers of CFP's people, from 1, that may be trained on. Folders as in `held_out_people`."""
    held = held_out_people(ytf, cfp)
    return [i for i, name in enumerate(cfp_names(cfp), start=1) if person_key(name) not in held]
