"""`facerec identify`: identify the people in photographs, or report them as unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.films import films_option
from facerec.cli.options import (
    count,
    format_options,
    fpir_option,
    gallery_option,
    note,
    printable,
    quiet_option,
    recognizer_options,
    threshold_option,
    workers_option,
)
from facerec.cli.photos import given_photos, photos_argument, report_ignored
from facerec.landmarks.device import resolve_device, share_cores

if TYPE_CHECKING:
    from facerec.recognition.identification import ProbeFace
    from facerec.recognition.recognizer import RecognizerSettings
    from facerec.recognition.search import SearchMethod
    from facerec.recognition.threshold import Threshold

_TABLE_COLUMNS = ("file", "face", "yaw", "decision", "person", "score", "overlap", "why")
_CSV_COLUMNS = (
    "file",
    "face",
    "x0",
    "y0",
    "x1",
    "y1",
    "yaw",
    "pitch",
    "roll",
    "visible_fraction",
    "quality",
    "decision",
    "person",
    "best",
    "score",
    "overlap",
    "entry",
    "reason",
    "detail",
    "threshold",
    "far",
    "pairs",
    "fpir",
    "entries",
    "turned",
    "notes",
    "margin",
    "known_stranger",
    "reason_code",
)


@click.command("identify")
@films_option
@photos_argument("probes", "[PROBE]...")
@gallery_option
@click.option(
    "-k", "candidates", type=click.IntRange(min=1), default=5, show_default=True, help="Number of candidates listed."
)
@threshold_option("a match")
@fpir_option
@click.option(
    "--far",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=None,
    help="Use the threshold for this false accept rate of single pairs instead, whatever the gallery's size.",
)
@click.option(
    "--search",
    "method",
    type=click.Choice(["exact", "ivf", "hnsw", "pq"]),
    default="exact",
    show_default=True,
    help="Search method for a very large gallery; ivf, hnsw and pq need `facerec gallery index`.",
)
@format_options("table", "csv", "jsonl")
@click.option(
    "--save-debug",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Write NAME-N.overlay.png, .texture.png, .mask.png and .frontal.png of face N to this folder.",
)
@workers_option
@click.option("--strict", is_flag=True, help="Exit with 3 when a photograph had no usable face.")
@recognizer_options("the gallery's", "the gallery's", "the gallery's")
@quiet_option
def command(
    probes: tuple[Path, ...],
    gallery_path: Path | str,
    candidates: int,
    threshold: float | None,
    fpir: float | None,
    far: float | None,
    method: SearchMethod,
    form: str,
    save_debug: Path | None,
    workers: int | None,
    strict: bool,
    models: RecognizerSettings,
    quiet: bool,
) -> int:
    """Identify the people in PROBEs (photographs, folders or - for standard input), in the given order.

    The decision for each face is match, unknown (a normal result) or abstain (reason code too_little_seen). It is
    abstain when too little of the face was seen in both pictures, or when the face is cut off or covered and its score
    is not well above the threshold. An unknown face comes with its best candidate and with its margin, the score minus
    the threshold. A person is matched at most once in a photograph: a second face with the same best candidate stays
    unknown. The threshold is chosen so that at most one stranger in a hundred (--fpir) matches somebody in a gallery of
    this size. The score is the cosine of two faces minus the score that strangers reach against them. The models are
    those that made the gallery. --device cuda also searches on the GPU (with facerec[gpu] in place of faiss-cpu).

    If no face is found with certainty, the photograph is also searched at 90, 180 and 270 degrees; "turned" gives the
    clockwise rotation, while box and pose refer to the original photograph.

    In films (mp4, mov, mkv, avi, webm, with facerec[video]; rtsp:// and --camera; folders of frames and animations with
    --film) faces are tracked, with one decision per track, made from all its frames (docs/films.md).

    \b
    Examples:
      facerec identify door.mp4 -g staff.gallery --save-debug out/
      facerec identify door.jpg -g staff.gallery
      facerec identify door/ -g staff.gallery --format jsonl --fpir 0.001
    """
    if sum(given is not None for given in (threshold, fpir, far)) > 1:
        raise click.UsageError("expected one of --threshold, --fpir and --far")

    from facerec.cli.output import photo_progress, spinner
    from facerec.frontalize.face_model import FaceModel
    from facerec.landmarks.photo_files import photo_names
    from facerec.recognition.identification import Identifier
    from facerec.recognition.stage_pictures import write_stages

    given = given_photos(probes)
    report_ignored(given.passed_over, quiet)
    photos = given.files
    workers = share_cores(workers, resolve_device(models.device), len(photos))
    with spinner("Loading the models and the gallery", quiet):
        opened = Identifier.open(
            gallery_path,
            models,
            fpir=fpir,
            far=far,
            threshold=threshold,
            search=method,
            candidates=candidates,
            workers=workers,
        )
    with opened as identifier:
        names, model = photo_names(photos), None
        results = _Results(form, identifier.versions)
        with photo_progress(len(photos), "Identifying", quiet) as advance:
            for probe in identifier.identify([(file, given.source(file)) for file in photos], advance):
                results.take(probe)
                if save_debug is not None and probe.described is not None:
                    model = model or FaceModel.load()
                    write_stages(probe.described, model, save_debug, f"{names[probe.file]}-{probe.face}")
        results.finish()
        _say_summary(len(photos), results.counts, len(results.unusable), identifier.threshold, quiet)
    if results.counts["internal_error"]:
        return 1
    return 3 if strict and results.unusable else 0


class _Results:
    """Writes each face as soon as it is identified, or a table at the end, and counts the decisions."""

    def __init__(self, form: str, versions: Mapping[str, str]) -> None:
        from facerec.cli.output import write_csv_row

        self.form, self.versions = form, versions
        self.counts: Counter[str] = Counter()
        self._refused: set[Path] = set()
        self._used: set[Path] = set()
        self._rows: list[list[object]] = []
        if form == "csv":
            write_csv_row(_CSV_COLUMNS)

    @property
    def unusable(self) -> set[Path]:
        """Photographs without a usable face."""
        return self._refused - self._used

    def take(self, probe: ProbeFace) -> None:
        """Count a face and write it."""
        from facerec.cli.output import write_csv_row, write_line

        self.counts[probe.decision if probe.reason != "internal_error" else "internal_error"] += 1
        (self._refused if probe.decision == "none" else self._used).add(probe.file)
        if self.form == "jsonl":
            write_line(probe.as_json(self.versions))
        elif self.form == "csv":
            write_csv_row(_csv_row(probe))
        else:
            self._rows.append(_table_row(probe))

    def finish(self) -> None:
        """Write the table, when that is the format."""
        from facerec.cli.output import write_table

        if self.form == "table":
            write_table(_TABLE_COLUMNS, self._rows, right=["face", "yaw", "score", "overlap"])


def _say_summary(photos: int, counts: Counter[str], unusable: int, threshold: Threshold, quiet: bool) -> None:
    faces = counts["match"] + counts["unknown"] + counts["abstain"]
    note(
        f"{count(photos, 'photo')}, {count(faces, 'face')}: {counts['match']} match, {counts['unknown']} unknown, "
        f"{counts['abstain']} abstain; {count(unusable, 'photo')} without a usable face",
        quiet,
    )
    shown = "none" if threshold.value is None else f"{threshold.value:.3f}"
    note(f"Threshold {shown} ({printable(threshold.note)})", quiet)


def _table_row(probe: ProbeFace) -> list[object]:
    best = next(iter(probe.candidates), None)
    # The columns before it already give the verdict, of a match all of it, and the line below the table the origin of
    # the threshold.
    why = f"{probe.reason}: {probe.detail}" if probe.detail else probe.reason.removeprefix(f"{probe.decision}: ")
    why = "" if probe.decision == "match" else why.replace(f" ({probe.threshold.note})", "")
    turned = f"turned by {probe.turned}" if probe.turned else ""
    return [
        probe.file,
        probe.face,
        None if probe.pose is None else f"{probe.pose[0]:+.0f}",
        probe.decision,
        probe.person,
        None if best is None else f"{best.score:.2f}",
        None if best is None or best.overlap is None else f"{100 * best.overlap:.0f} %",
        "; ".join(said for said in (why, turned, *probe.notes) if said),
    ]


def _csv_row(probe: ProbeFace) -> list[object]:
    best = next(iter(probe.candidates), None)
    box = [None] * 4 if probe.box is None else [f"{v:.2f}" for v in _edges(probe)]
    pose = [None] * 3 if probe.pose is None else [f"{angle:.2f}" for angle in probe.pose]
    return [
        str(probe.file),
        probe.face,
        *box,
        *pose,
        None if probe.visible_fraction is None else f"{probe.visible_fraction:.4f}",
        None if probe.quality is None else f"{probe.quality:.4f}",
        probe.decision,
        probe.person,
        best.person if best else None,
        f"{best.score:.6f}" if best else None,
        f"{best.overlap:.4f}" if best and best.overlap is not None else None,
        best.entry if best else None,
        probe.reason,
        probe.detail,
        probe.threshold.value,
        probe.threshold.far,
        probe.threshold.pairs,
        probe.threshold.fpir,
        probe.threshold.entries,
        probe.turned,
        "; ".join(probe.notes),
        None if probe.margin is None else f"{probe.margin:.6f}",
        probe.known_stranger,
        probe.code,
    ]


def _edges(probe: ProbeFace) -> tuple[float, float, float, float]:
    assert probe.box is not None
    return probe.box.x0, probe.box.y0, probe.box.x1, probe.box.y1
