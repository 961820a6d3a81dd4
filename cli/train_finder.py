"""`facerec train finder`: learn when a candidate is a face."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("finder")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--false-share", default=0.025, show_default=True, help="Pictures without a face that may keep one.")
@click.option("--faces", default=240, show_default=True, help="Training pictures of people, half of them profiles.")
@click.option("--backgrounds", default=250, show_default=True, help="Training backgrounds.")
@click.option(
    "--skip",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Names of backgrounds in which there is a face after all, one a line.",
)
def command(data: Path, false_share: float, faces: int, backgrounds: int, skip: Path | None) -> None:
    """Weigh the detector's score against the landmarks' confidence, on training pictures under DATA.

    DATA holds cfp-dataset/, ytf/ and backgrounds/. The held-back people and backgrounds are not touched.
    """
    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.datasets import cfp_full_box, cfp_names, held_out_people, person_key, read_cfp
    from facerec.landmarks.detector import FaceDetector
    from facerec.landmarks.finder import FaceFinder, FinderRule, evidence, learn_rule
    from facerec.landmarks.image import read_image
    from facerec.landmarks.landmarker import Landmarker
    from facerec.landmarks.markup import cfp_to_ibug68

    finder = FaceFinder(FaceDetector.load(), Landmarker.load(), FinderRule(0.0, 0.0, 0.0))
    cfp = data / "cfp-dataset"
    held = held_out_people(data / "ytf", cfp)
    numbers = [k for k, name in enumerate(cfp_names(cfp), start=1) if person_key(name) not in held]
    true = []
    for view in ("frontal", "profile"):
        chosen = [item for item in read_cfp(cfp, numbers) if item[1] == view]
        for path, kind, fiducials in chosen[:: max(1, 2 * len(chosen) // faces)]:
            box = cfp_full_box(cfp_to_ibug68(fiducials, kind)[0], kind)
            found = [f for f in finder.candidates(read_image(path)) if f.box.iou(box) >= 0.4]
            true += [evidence(found[0].box, found[0].landmarks)] if found else []
    files = [p for k, p in enumerate(sorted((data / "backgrounds").glob("*.jpg"))) if k % 5 != 0]
    skipped = set(skip.read_text().split()) if skip else set()
    files = [p for p in files if p.name not in skipped]
    files = files[:: max(1, len(files) // backgrounds)]
    others = [[evidence(f.box, f.landmarks) for f in finder.candidates(read_image(p))] for p in files]
    rule = learn_rule(true, others, false_share)
    import numpy as np

    kept = np.mean([rule.score * s + rule.confidence * c + rule.bias >= 0 for s, c in true])
    record = save_weights(
        "landmarks",
        "finder",
        {"rule": np.array([rule.score, rule.confidence, rule.bias])},
        what="when a candidate is a face: weights of detector score and landmark confidence",
        training_sets=["CFP", "background photographs without faces"],
        split="CFP folds 1-6 without namesakes of held-back people; backgrounds except every fifth",
        metric={"train_faces_kept": round(float(kept), 4), "train_backgrounds_false": false_share},
        licence="research use only: learnt from CFP",
        command=f"facerec train finder DATA --false-share {false_share} --faces {faces} --backgrounds {backgrounds}"
        + (" --skip FILE" if skip else ""),
    )
    click.echo(f"{record.file}: {rule}, keeps {kept:.1%} of {len(true)} training faces")
