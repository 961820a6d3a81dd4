"""UHDB31: one frontal gallery picture per person, 20 other poses as probes.

    DATA/{subject}d31{pose:02d}.bmp          any depth of folders; .png and .jpg are taken as well

Gallery: pose 11 of every subject. Probes: the 20 other poses. Pose p has yaw and pitch of
`facerec.evaluation.protocols.poses.uhdb31_angles`.
"""

from __future__ import annotations

import re
from pathlib import Path

from facerec.evaluation.protocols.poses import UHDB31_GALLERY_POSE, UHDB31_GROUPS, uhdb31_angles
from facerec.evaluation.protocols.recognition import Identification, Picture, PictureList, RecognitionProtocol
from facerec.landmarks.errors import InvalidInputError

EXPECTED = "expected UHDB31's pictures, named {subject}d31{pose:02d}.bmp with poses 01 to 21"

_NAME = re.compile(r"(?P<subject>.+)d31(?P<pose>\d{2})\.(bmp|png|jpe?g)", re.IGNORECASE)


def read_uhdb31(data: Path) -> RecognitionProtocol:
    """The 1-to-all protocol on the pictures under `data`.

    Raises:
        InvalidInputError: no such pictures, a pose outside 1..21, a subject's pose twice, or a subject that
            lacks a pose.
    """
    if not data.is_dir():
        raise InvalidInputError(f"{EXPECTED}; {data} is not a folder")
    pictures = PictureList()
    gallery: dict[str, int] = {}
    probes: list[int] = []
    taken: dict[tuple[str, int], Path] = {}
    for path in sorted(data.rglob("*")):
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        subject, pose = match["subject"], int(match["pose"])
        if not 1 <= pose <= 21:
            raise InvalidInputError(f"{EXPECTED}; got {path}")
        if (subject, pose) in taken:
            raise InvalidInputError(
                f"{EXPECTED}, each pose once per subject (name one resolution's folder); "
                f"got {taken[subject, pose]} and {path}"
            )
        taken[subject, pose] = path
        yaw, pitch = uhdb31_angles(pose)
        name = path.relative_to(data).as_posix()
        index = pictures.add(Picture(path, name, subject, pose=str(pose), yaw=float(yaw), pitch=float(pitch)))
        if pose == UHDB31_GALLERY_POSE:
            gallery[subject] = index
        else:
            probes.append(index)
    listed = pictures.done()
    absent = sorted({listed[i].person for i in probes} - set(gallery))
    if not gallery or not probes or absent:
        raise InvalidInputError(
            f"{EXPECTED}; found {len(gallery)} gallery pictures (pose 11) and {len(probes)} probes"
            + (f"; without pose 11: {', '.join(absent[:5])}" if absent else "")
        )
    missing = [
        f"{subject}d31{pose:02d}" for subject in gallery for pose in range(1, 22) if (subject, pose) not in taken
    ]
    if missing:
        # Fewer probes would be an easier experiment under the same name.
        raise InvalidInputError(
            f"{EXPECTED}, all 21 of every subject; {len(missing)} are missing, the first: {', '.join(missing[:3])} "
            "(for a part of the set list what there is in a CSV: facerec evaluate recognition csv)"
        )
    return RecognitionProtocol(
        name="uhdb31",
        pictures=listed,
        identifications=(Identification("all", tuple(gallery.values()), tuple(probes)),),
        settings={"people": len(gallery), "gallery": "pose 11"},
        groups=UHDB31_GROUPS,
    )
