"""Who is held back: the rule of who nothing may be trained on, and of whom thresholds alone may be learnt on.

The detector's training (`held_out_names` and what it calls) compares names by their letters alone, everything else by
`person_key`; both hold back CFP folds 07 and 08 and every seventh person of YouTube Faces, with their namesakes.
"""

from __future__ import annotations

import hashlib
import re
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
    frames = ytf_people(ytf)
    return frozenset(person_key(n) for n in [*frames[::7], *cfp_names(cfp)[300:400]])


def is_calibration_person(key: str) -> bool:
    """Whether thresholds are calibrated on this person (`person_key`): one in sixteen, by a hash of the name.

    Descriptors must not be trained on them, or impostors would look easier than strangers are.
    """
    return hashlib.sha256(key.encode()).digest()[0] % 16 == 0


def frame_person(file: str) -> str:
    """Name of the person of a YouTube Faces frame: `NAME_VF.jpg`, V the video and F the frame."""
    return re.sub(r"_\d+$", "", Path(file).stem)


def held_out_frame_people(data: Path) -> set[str]:
    """Every seventh name of YouTube Faces, over both folders. `data` holds `frames/training` and `frames/test`."""
    names = sorted({frame_person(path.name) for path in data.glob("frames/*/*.jpg")})
    return set(names[::HELD_OUT_EVERY_YTF])


def plain_name(name: str) -> str:
    """The letters of `name` alone, small: the two sets spell people differently."""
    return re.sub(r"[^a-z]", "", name.lower())


def held_out_names(cfp: Path, ytf: Path) -> set[str]:
    """Names, letters only, of the held-out people of both sets; the same person may be in the other set too."""
    names = (cfp / "Data" / "list_name.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    held = {plain_name(names[number - 1]) for number in HELD_OUT_CFP if number <= len(names)}
    return held | {plain_name(name) for name in held_out_frame_people(ytf)}


def training_people(cfp: Path, ytf: Path) -> list[int]:
    """CFP people that may be trained on."""
    names = (cfp / "Data" / "list_name.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    held = held_out_names(cfp, ytf)
    return [i for i in range(1, HELD_OUT_CFP.start) if i > len(names) or plain_name(names[i - 1]) not in held]


def frame_people(data: Path) -> set[str]:
    """All names of YouTube Faces."""
    return {frame_person(path.name) for path in data.glob("frames/*/*.jpg")}
