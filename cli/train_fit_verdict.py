"""`facerec train fit-verdict`: learn when a fit cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("fit-verdict")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--profiles", default=170, show_default=True, help="Training profiles.")
@click.option("--frontals", default=60, show_default=True, help="Training frontals.")
@click.option("--backgrounds", default=100, show_default=True, help="Training backgrounds, a box in each.")
@click.option("--good-lost", default=0.01, show_default=True, help="Share of the good fits that may be refused.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--landmarks", default="godp", show_default=True, help="Landmark model.")
def command(
    data: Path, profiles: int, frontals: int, backgrounds: int, good_lost: float, seed: int, landmarks: str
) -> None:
    """Weigh residual, shape, confidence and visible share on fits known to be right or wrong.

    DATA holds cfp-dataset/, ytf/ and backgrounds/. Landmarks are located in boxes that are about right, shifted and far
    off, on training people only; a fit is good when it falls within 12 % of the annotated points, bad beyond 20 %. Run
    it again whenever the landmark model changes: its confidence is part of the rule.
    """
    import numpy as np

    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.fit import LOCATED, face_size, fit_batch, landmark_weights
    from facerec.frontalize.fit_verdict import FitEvidence, learn_rule
    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.errors import InvalidInputError
    from facerec.landmarks.image import read_image
    from facerec.landmarks.landmarker import Landmarker
    from facerec.landmarks.markup import cfp_to_ibug68
    from facerec.landmarks.sets.cfp import cfp_full_box, cfp_names, read_cfp
    from facerec.landmarks.training.people import held_out_people, person_key
    from facerec.landmarks.types import Box, Landmarks

    rng, locator = np.random.default_rng(seed), Landmarker.load(landmarks)
    cfp = data / "cfp-dataset"
    held = held_out_people(data / "ytf", cfp)
    numbers = [k for k, name in enumerate(cfp_names(cfp), start=1) if person_key(name) not in held]

    def shifted(box: Box, shift: tuple[float, float], zoom: float) -> Box:
        side, angle = max(box.width, box.height), rng.uniform(0, 2 * np.pi)
        away, scale = side * rng.uniform(*shift), np.exp(rng.uniform(-zoom, zoom)) / 2
        x, y = box.center[0] + away * np.cos(angle), box.center[1] + away * np.sin(angle)
        return Box(x - scale * box.width, y - scale * box.height, x + scale * box.width, y + scale * box.height)

    marks: list[Landmarks] = []
    truth: list[np.ndarray] = []
    for view, wanted in (("profile", profiles), ("frontal", frontals)):
        chosen = [row for row in read_cfp(cfp, numbers) if row[1] == view]
        for path, kind, fiducials in chosen[:: max(1, len(chosen) // max(wanted, 1))]:
            points = cfp_to_ibug68(fiducials, kind)[0]
            box = cfp_full_box(points, kind)
            # As detectors find it, as they misplace it, and no face at all.
            boxes = [shifted(box, s, z) for s, z in (((0, 0.08), 0.08), ((0.1, 0.4), 0.3), ((0.4, 0.9), 0.8))]
            marks += locator.locate(read_image(path), boxes)
            truth += [points] * len(boxes)
    # Every fifth background is held back, as for the other trainers.
    files = [p for k, p in enumerate(sorted((data / "backgrounds").glob("*.jpg"))) if k % 5 != 0]
    for file in files[:: max(1, len(files) // max(backgrounds, 1))]:
        image = read_image(file)
        height, width = image.shape[:2]
        side = rng.uniform(0.3, 0.8) * min(height, width)
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        marks += locator.locate(image, [Box(x, y, x + side, y + side)])
        truth.append(np.full((68, 2), np.nan))
    if not marks:
        raise InvalidInputError("expected at least one picture; got none")
    settings = LOCATED
    fit = fit_batch(
        np.stack([mark.points for mark in marks]).astype(np.float64),
        np.stack([landmark_weights(mark, settings) for mark in marks]),
        FaceModel.load(),
        settings,
    )
    good, bad = [], []
    for k, (mark, points) in enumerate(zip(marks, truth, strict=True)):
        camera = fit.camera(k)
        residual = float(fit.residual[k]) / face_size(camera)
        evidence = FitEvidence.of(mark, camera, residual, fit.shape[k], fit.expression[k])
        known = np.isfinite(points).all(axis=1)
        if not known.any():
            bad.append(evidence)
            continue
        box = Box.around(points)
        off = np.linalg.norm(fit.points[k][known] - points[known], axis=1).mean() / np.sqrt(box.width * box.height)
        if off < 0.12:
            good.append(evidence)
        elif off > 0.2:
            bad.append(evidence)
    rule = learn_rule(good, bad, good_lost)
    caught = float(np.mean([rule.odds(e) > 0 for e in bad]))
    record = save_weights(
        "frontalize",
        "fit_verdict",
        {"rule": np.array([*rule.weights, rule.bias])},
        what="when a fit cannot be trusted: weights of residual, shape, landmark confidence and visible share",
        training_sets=["CFP", "background photographs without faces"],
        split="CFP folds 1-6 without namesakes of held-back people; backgrounds except every fifth",
        metric={"good": len(good), "bad": len(bad), "good_lost": good_lost, "bad_caught": round(caught, 4)},
        licence="research use only: learnt from CFP",
        command=f"facerec train fit-verdict DATA --profiles {profiles} --frontals {frontals}"
        f" --backgrounds {backgrounds} --good-lost {good_lost} --seed {seed} --landmarks {landmarks}",
        form="npz",
    )
    click.echo(
        f"{record.file}: {rule}, catches {caught:.1%} of {len(bad)} bad fits, loses {good_lost:.1%} of {len(good)}"
    )
