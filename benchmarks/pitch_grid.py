"""Faces at every yaw and pitch: who is found, and how far the landmarks and the fitted pose are from the truth.

    python benchmarks/pitch_grid.py DATA/ict_facekit.npz OUT --people 10

Heads are drawn and photographed as in `rendered_heads.py` (shapes of the head model's own modes, a perspective camera),
at yaw -90 to 90 in steps of 30 and pitch -60 to 60 in steps of 20. A head counts as found when the finder's box has an
IoU of at least 0.4 with the landmarks' box. Errors are those of found heads, in % of the side of the true landmarks'
box (square root of its area): over the points that the camera sees, and over all 68. OUT gets `grid.md` and
`heads.png`, one person at all places of the grid. At the corners of the grid a head looks far up or down over its
shoulder; there a rendered head shows mostly skull, which has no hair.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from rendered_heads import HeadSampler, RenderedHead

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.types import Camera
from facerec.landmarks.image import write_image
from facerec.landmarks.types import Box
from facerec.recognition.recognizer import FaceFit, Recognizer

YAWS = tuple(range(-90, 91, 30))
PITCHES = tuple(range(60, -61, -20))
FIRST_PERSON = 500
"""Number of the first head; `rendered_heads.py` draws from 0."""

MEASURES = ("found", "nme_visible", "nme_all", "pose_error")


def measure(head: RenderedHead, recognizer: Recognizer, model: FaceModel) -> dict[str, float]:
    """`MEASURES` of one head: 1 or 0, two errors in % and degrees of rotation; errors are NaN when it is not found."""
    truth = Box.around(head.points.astype(np.float32))
    finds = [(one.face if isinstance(one, FaceFit) else one, one) for one in recognizer.fit(head.image)]
    hits = [(face.box.iou(truth), face, one) for face, one in finds if face.box.iou(truth) >= 0.4]
    if not hits:
        return dict(zip(MEASURES, (0.0, np.nan, np.nan, np.nan), strict=True))
    _, face, one = max(hits, key=lambda hit: hit[0])
    side = float(np.sqrt((truth.x1 - truth.x0) * (truth.y1 - truth.y0)))
    marks = face.landmarks if isinstance(one, FaceFit) else None
    errors = np.full(68, np.nan)
    if marks is not None:
        errors = 100 * np.linalg.norm(marks.points - head.points, axis=1) / side
    angle = float("nan")
    if isinstance(one, FaceFit):
        true = Camera.from_angles(*head.angles).rotation
        turn = one.fitted.camera.rotation @ true.T
        angle = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    visible = head.landmarks_seen(model)
    return dict(zip(MEASURES, (1.0, float(errors[visible].mean()), float(errors.mean()), angle), strict=True))


def table(rows: dict[tuple[int, int], list[dict[str, float]]], name: str) -> list[str]:
    """Markdown: `name` over pitch and yaw; shares in %, errors as medians of the found heads."""
    lines = [
        f"| {name}: pitch \\ yaw | " + " | ".join(f"{yaw:+d}" for yaw in YAWS) + " |",
        "| --- |" + " --- |" * len(YAWS),
    ]
    for pitch in PITCHES:
        cells = []
        for yaw in YAWS:
            values = np.array([row[name] for row in rows[yaw, pitch]])
            if name == "found":
                cells.append(f"{100 * values.mean():.0f}")
            else:
                cells.append(f"{np.nanmean(values):.1f}" if np.isfinite(values).any() else "-")
        lines.append(f"| {pitch:+d} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=10)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    heads = grid_heads(arguments.model, arguments.folder, arguments.people)
    recognizer, model = Recognizer.load(), FaceModel.load()
    rows: dict[tuple[int, int], list[dict[str, float]]] = {}
    for head in heads:
        rows.setdefault(head.pose[1:], []).append(measure(head, recognizer, model))
    lines = [f"{arguments.people} people"]
    for name in MEASURES:
        lines += ["", *table(rows, name)]
    found = {pose: float(np.mean([row["found"] for row in group])) for pose, group in rows.items()}
    for least, limit in (("within", 45), ("at", 60)):
        shares = [share for (_, pitch), share in found.items() if (abs(pitch) <= 45) == (limit == 45)]
        lines.append(f"found {least} pitch +-{limit}: {100 * np.mean(shares):.1f} %")
    (arguments.folder / "grid.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def grid_heads(model: Path, folder: Path, people: int) -> list[RenderedHead]:
    """The heads at all places of the grid; writes heads.png of the first person into `folder`."""
    sampler = HeadSampler(model)
    poses = [(1000 + i, yaw, pitch) for i, (pitch, yaw) in enumerate((p, y) for p in PITCHES for y in YAWS)]
    heads = [sampler.photograph(FIRST_PERSON + person, pose) for person in range(people) for pose in poses]
    sheet = np.stack([head.image for head in heads[: len(poses)]]).reshape(
        len(PITCHES), len(YAWS), *heads[0].image.shape
    )
    image = np.concatenate([np.concatenate(list(row), axis=1) for row in sheet], axis=0)
    write_image(folder / "heads.png", np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)))
    return heads


if __name__ == "__main__":
    main()
