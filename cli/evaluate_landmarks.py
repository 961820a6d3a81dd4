"""`facerec evaluate landmarks`: errors of located landmarks on annotated pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from facerec.cli.evaluate_output import finish, fold_names, landmark_tables, run_facts
from facerec.cli.options import detector_option, device_option, json_option, quiet_option
from facerec.landmarks.device import resolve_device
from facerec.landmarks.models import LANDMARK_MODELS

if TYPE_CHECKING:
    from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
    from facerec.landmarks.sets.aflw import AflwPart
    from facerec.landmarks.sets.public import W300Part

_PUBLIC_SETS = ("300w", "cofw", "helen")
_TURNED_SETS = ("aflw", "aflw-pifa", "aflw2000", "afw")
_LANDMARK_SETS = ("points", "cfp", "synthetic", *_PUBLIC_SETS, *_TURNED_SETS, "uhdb31")


@click.command("landmarks")
@click.argument("dataset", type=click.Choice(_LANDMARK_SETS))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--folds", default=None, help="Folds of cfp, e.g. 7,8.  [default: all]")
@click.option(
    "--view", type=click.Choice(["frontal", "profile"]), default=None, help="View of cfp.  [default: profile]"
)
@click.option(
    "--part",
    type=click.Choice(["common", "challenging", "full", "train", "test", "frontal"]),
    default=None,
    help="Part of 300w (common, challenging, full, train) or aflw (test, frontal, train).  [default: full, test]",
)
@click.option(
    "--landmarks",
    "annotation",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="For uhdb31: folder of the files with points.  [default: beside the pictures]",
)
@click.option(
    "--resolution",
    type=click.Choice(["R1024", "R256", "R128"]),
    default=None,
    help="For uhdb31: sample the pictures down by area.  [default: as they are]",
)
@click.option("--rows", default=None, help="For aflw-pifa: which of its 34 points, from 0, are AFLW's 1 to 21.")
@click.option(
    "--boxes",
    type=click.Choice(["detected", "annotated"]),
    default="detected",
    show_default=True,
    help="Detect the faces, or give the annotated boxes to the landmark model.",
)
@click.option(
    "--box-noise", is_flag=True, help="Also measure from annotated boxes whose size or position is off by 5 to 20 %."
)
@click.option("--model", type=click.Choice(LANDMARK_MODELS), default="godp", show_default=True, help="Landmark model.")
@click.option("--report", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write the report here.")
@click.option(
    "--worst", type=click.IntRange(min=0), default=12, show_default=True, help="Number of worst errors listed."
)
@click.option("--no-photos", is_flag=True, help="No thumbnails of photographs in the report.")
@detector_option
@device_option
@json_option
@quiet_option
@click.pass_context
def landmarks(
    ctx: click.Context,
    dataset: str,
    data: Path,
    folds: str | None,
    view: str | None,
    part: str | None,
    annotation: Path | None,
    resolution: str | None,
    rows: str | None,
    boxes: str,
    box_noise: bool,
    model: str,
    folder: Path | None,
    worst: int,
    no_photos: bool,
    detector: str,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure landmark errors on the annotated pictures of a data set.

    \b
    points     a CSV with file,x0,y0,...,x67,y67 (and optionally pose,yaw,pitch); pictures lie relative to it cfp
    CFP's official tree with its 30 fiducials per picture synthetic  a folder made by `facerec synth`: rendered people
    in 21 views, with exact points 300w       a folder with lfpw/, helen/, afw/ and ibug/, a .pts file beside each
    picture; in full its parts too cofw       COFW_test.mat or COFW_test_color.mat: 27 of its 29 points, with what is
    hidden helen      annotation/, testnames.txt and the pictures: five points made from its 194 aflw
    AFLWinfo_release.mat and AFLW's pictures: 19 points (AFLW-Full; --part frontal: AFLW-F) aflw-pifa  BoundingBox.mat,
    Landmark.mat and TestImages/; --rows names AFLW's 21 of its 34 points aflw2000   AFLW2000-3D's .mat files and
    pictures: 68 points by |yaw| 0-30-60-90, and errors of the pose afw        anno.mat and the pictures of AFW: 6
    points uhdb31     {subject}d31{pose}.bmp with nine points in a .pts, .txt or .csv file beside each or in --landmarks

    The points of a set with another markup are compared with the corresponding ones of the 68.
    """
    _check_options(dataset, folds, view, part, rows, annotation, resolution)
    if dataset == "uhdb31":
        annotated, settings = _read_uhdb31(data, annotation, resolution)
    else:
        annotated, settings = _read_set(dataset, data, part, rows, fold_names(folds, dataset), view)

    from facerec.cli.output import photo_progress
    from facerec.evaluation.landmark_errors import locate_landmarks, yaw_of_points
    from facerec.evaluation.landmark_figures import landmark_figures
    from facerec.evaluation.report import LandmarkSet, RunFacts, landmark_report
    from facerec.frontalize.face_model import FaceModel
    from facerec.landmarks.detection.detectors import load_detector
    from facerec.landmarks.landmarker import Landmarker

    where = resolve_device(device)
    landmarker = Landmarker.load(model, device=where)
    chosen = load_detector(detector, where) if boxes == "detected" else None
    with photo_progress(len(annotated), "Locating", quiet) as advance:
        results = locate_landmarks(annotated, landmarker, chosen.detector if chosen else None, advance)
    mean_face = FaceModel.load().landmarks()
    yaws = [one.yaw if one.yaw is not None else yaw_of_points(one.as_ibug68(), mean_face) for one in annotated]
    figures, faces = landmark_figures(annotated, results, yaws, mean_face)
    if box_noise:
        from facerec.evaluation.box_noise import box_noise_figures

        with photo_progress(len(annotated), "Boxes with noise", quiet) as advance:
            figures["box_noise"] = box_noise_figures(annotated, landmarker, advance=advance)
    facts = RunFacts(
        settings={"landmarks": model, "boxes": boxes, "detector": chosen.name if chosen else "none"},
        **run_facts(ctx, where),
    )
    chosen_set = LandmarkSet(dataset, settings, _set_digest(annotated), rendered=dataset == "synthetic")
    report = landmark_report(chosen_set, figures, faces, results, facts, worst)
    if folder is not None and not no_photos:
        from facerec.evaluation.cases import landmark_cases
        from facerec.evaluation.landmark_figures import worst_faces

        # A picture may hold several annotated faces, so rows are found by themselves, not by their file.
        place = {id(face): number for number, face in enumerate(faces)}
        places = [place[id(face)] for face in worst_faces(faces, worst)]
        report = replace(report, pictures=landmark_cases(annotated, results, places))
    finish(report, folder, as_json, quiet, landmark_tables(report.json))


def _check_options(
    dataset: str,
    folds: str | None,
    view: str | None,
    part: str | None,
    rows: str | None,
    annotation: Path | None,
    resolution: str | None,
) -> None:
    """Refuse options that belong to other sets than the one that is read."""
    if dataset != "cfp" and (folds is not None or view is not None):
        raise click.UsageError("--folds and --view are for cfp only")
    if dataset not in ("300w", "aflw") and part is not None:
        raise click.UsageError("--part is for 300w and aflw only")
    if dataset != "uhdb31" and (annotation is not None or resolution is not None):
        raise click.UsageError("--landmarks and --resolution are for uhdb31 only")
    if (dataset == "aflw-pifa") != (rows is not None):
        raise click.UsageError("--rows is for aflw-pifa, which needs it")


def _read_uhdb31(
    data: Path, annotation: Path | None, resolution: str | None
) -> tuple[list[AnnotatedPicture], dict[str, Any]]:
    from facerec.evaluation.protocols.aflw import read_uhdb31_landmarks

    return read_uhdb31_landmarks(data, annotation, resolution), {
        "points": 9,
        "resolution": resolution or "as they are",
    }


def _read_set(
    name: str, data: Path, part: str | None, rows: str | None, folds: Sequence[str] | None, view: str | None
) -> tuple[list[AnnotatedPicture], dict[str, Any]]:
    """Annotated pictures, and the facts about them that the report states."""
    if name in _PUBLIC_SETS:
        return _read_public_set(name, data, part or "full")
    if name in _TURNED_SETS:
        return _read_turned_set(name, data, part or "test", rows)
    return _read_landmark_set(name, data, folds, view or "profile")


def _read_landmark_set(
    name: str, data: Path, folds: Sequence[str] | None, view: str
) -> tuple[list[AnnotatedPicture], dict[str, Any]]:
    if name == "points":
        from facerec.evaluation.protocols.landmark_sets import read_points

        return read_points(data), {"file": data.name}
    if name == "synthetic":
        from facerec.evaluation.protocols.synthetic import read_synthetic_points

        return read_synthetic_points(data), {"file": data.name}
    from facerec.evaluation.protocols.cfp import read_cfp_landmarks

    annotated = read_cfp_landmarks(data, folds, "frontal" if view == "frontal" else "profile")
    return annotated, {"folds": list(folds or ("all",)), "view": view, "points": 30}


def _read_public_set(name: str, data: Path, part: str) -> tuple[list[AnnotatedPicture], dict[str, Any]]:
    from facerec.evaluation.protocols.public_sets import (
        read_300w_landmarks,
        read_cofw_landmarks,
        read_helen_landmarks,
    )

    if name == "cofw":
        return read_cofw_landmarks(data), {"file": data.name, "points": 27}
    if name == "helen":
        return read_helen_landmarks(data), {"part": "test", "points": "5 places"}
    return read_300w_landmarks(data, cast("W300Part", part)), {"part": part}


def _read_turned_set(
    name: str, data: Path, part: str, rows: str | None
) -> tuple[list[AnnotatedPicture], dict[str, Any]]:
    from facerec.evaluation.protocols.aflw import (
        read_aflw2000_landmarks,
        read_aflw_landmarks,
        read_afw_landmarks,
        read_pifa_landmarks,
    )

    if name == "aflw":
        return read_aflw_landmarks(data, cast("AflwPart", part)), {"part": part, "points": 19}
    if name == "aflw2000":
        return read_aflw2000_landmarks(data), {"points": 68}
    if name == "afw":
        return read_afw_landmarks(data), {"points": 6}
    try:
        wanted = [int(row) for row in (rows or "").split(",")]
    except ValueError:
        raise click.UsageError(f"expected --rows 0,1,...; got {rows!r}") from None
    return read_pifa_landmarks(data, wanted), {"points": 19, "rows": wanted}


def _set_digest(annotated: Sequence[AnnotatedPicture]) -> str:
    """SHA-256 over names, contents and annotations of the faces."""
    import hashlib

    from facerec.landmarks.errors import UnusablePhotoError
    from facerec.landmarks.image import photo_digest

    digest = hashlib.sha256()
    for one in annotated:
        try:
            content = (
                photo_digest(one.path) if one.picture is None else hashlib.sha256(one.picture.tobytes()).hexdigest()
            )
        except UnusablePhotoError:
            content = ""
        digest.update(f"{one.name}\0{content}\0".encode())
        digest.update(one.points.tobytes())
    return digest.hexdigest()
