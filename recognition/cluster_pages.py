"""Groups of faces as a contact sheet and as a page on which names can be written in."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image as PilImage

from facerec.landmarks.types import Image
from facerec.recognition.cluster_file import CLUSTERS_FILE, ClusterFile, FaceGroup, FaceKey
from facerec.recognition.found_faces import PICTURE, FoundFace

SHOWN = 24
"""Faces of a group on the page and on the sheet; the file lists all."""

SHEET_ROWS = 60
"""Groups on the contact sheet; the page has all."""

_TITLE = 22


def contact_sheet(file: ClusterFile, faces: Mapping[FaceKey, FoundFace], columns: int = 12) -> Image:
    """A row for each group of two faces or more and each named one: who it is, and up to `columns` faces."""
    groups = [group for group in file.groups if group.name or len(group.faces) > 1][:SHEET_ROWS]
    rows = [_row(number, group, faces, columns) for number, group in enumerate(groups, start=1)]
    return np.vstack(rows) if rows else np.full((PICTURE, columns * PICTURE, 3), 255, dtype=np.uint8)


def _row(number: int, group: FaceGroup, faces: Mapping[FaceKey, FoundFace], columns: int) -> Image:
    row = np.full((_TITLE + PICTURE, columns * PICTURE, 3), 255, dtype=np.uint8)
    # OpenCV's letters are ASCII; the page shows names as they are written.
    name = group.name.encode("ascii", "replace").decode()
    title = f"{number}: {name or 'unknown'}, {len(group.faces)} photograph{'s' * (len(group.faces) != 1)}"
    cv2.putText(row, title, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    for place, (key, _) in enumerate(group.faces[:columns]):
        with PilImage.open(io.BytesIO(faces[key].picture)) as picture:
            row[_TITLE:, place * PICTURE : (place + 1) * PICTURE] = np.asarray(picture.convert("RGB"))
    return row


def write_page(folder: Path, file: ClusterFile, faces: Mapping[FaceKey, FoundFace]) -> Path:
    """Write index.html and the faces it shows to `folder`; returns the page's path.

    The page holds the file of groups: what is written into its name fields is saved as that file by a button.
    """
    pictures = folder / "faces"
    pictures.mkdir(exist_ok=True)
    for stale in pictures.glob("*.jpg"):
        stale.unlink()
    shown = []
    for number, group in enumerate(file.groups):
        listed = []
        for key, path in group.faces[:SHOWN]:
            name = f"{key[0][:16]}-{key[1]}.jpg"
            (pictures / name).write_bytes(faces[key].picture)
            listed.append({"picture": f"faces/{name}", "file": path, "yaw": round(faces[key].entry.pose[0])})
        shown.append({"number": number, "group": group, "faces": listed, "more": len(group.faces) - len(listed)})
    template = Environment(loader=PackageLoader("facerec.recognition", "templates"), autoescape=True).get_template(
        "clusters.html.j2"
    )
    # "</" cannot stand in a script element, and bytes of names that are no Unicode not in a page.
    data = json.dumps(file.as_json(), ensure_ascii=True).replace("</", "<\\/")
    page = folder / "index.html"
    text = template.render(groups=shown, data=data, name=CLUSTERS_FILE)
    page.write_bytes(text.encode("utf-8", "backslashreplace"))
    return page
