"""`facerec demo`: the whole path, end to end, on rendered people and on two portraits in the public domain."""

from __future__ import annotations

import csv
import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facerec.cli.options import device_option, note, quiet_option
from facerec.landmarks.device import resolve_device, share_cores

if TYPE_CHECKING:
    from facerec.evaluation.protocols.recognition import Picture, RecognitionProtocol
    from facerec.evaluation.signatures import PictureResult
    from facerec.landmarks.types import Image
    from facerec.recognition.recognizer import Recognizer

TURNS = (-60, -30, 30, 60)
"""Degrees of yaw to which the product itself turns the portraits."""

SEED = 20
"""Seed of the rendered people. Its value does not matter; it is fixed so that two machines show the same people."""

DEMO_SYSTEM = "default"
"""Name of the product's own models in the report."""


@dataclass(frozen=True)
class ProbeOutcome:
    """The product's decision on one probe; a row of decisions.csv.

    Attributes:
        file: the picture, relative to the demo's folder.
        person: the person it shows.
        pose: pose number, or what was done to the portrait.
        rendered_by: the model that rendered the picture; empty for a photograph or a copy of one.
        decision: "match", "unknown", "abstain", or the reason code of a picture without a signature.
        named: the person named by a match; empty otherwise.
        outcome: "right", "wrong person", "not named".
        reason: one sentence.
    """

    file: str
    person: str
    pose: str
    rendered_by: str
    decision: str
    named: str
    outcome: str
    reason: str


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for pictures, gallery and report.",
)
@click.option("--subjects", type=click.IntRange(min=2), default=20, show_default=True, help="People to render.")
@device_option
@quiet_option
@click.pass_context
def command(ctx: click.Context, output: Path, subjects: int, device: str, quiet: bool) -> None:
    """Run the whole path on rendered people and on two public-domain portraits, and write a report.

    Renders people in 21 poses, enrols their frontal views together with the portraits that installed packages carry,
    identifies all the rest and altered copies of the portraits, and writes OUTPUT/report.html with the figures by pose.
    The people are rendered from facerec's own face model: figures on them do not carry over to photographs.

    \b
    Examples:
      facerec demo
      facerec demo -o out/ --subjects 5
    """
    from facerec.recognition.recognizer import Recognizer

    where = resolve_device(device)
    recognizer = Recognizer.load(device=where)  # first: missing weights should be reported at once
    started = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    with _step(f"Rendering {subjects} people in 21 poses", quiet):
        _render(output / "people", subjects)
    with _step("Altering and turning the real portraits", quiet):
        portraits = _write_portraits(output, recognizer)
    if not portraits and not quiet:
        note("No portrait was found in matplotlib or scikit-image; the demo continues with rendered people only.")
    protocol = _protocol(output, portraits)

    from facerec.cli.output import photo_progress, write_table
    from facerec.evaluation.signatures import describe_in_threads, describe_systems
    from facerec.evaluation.store import cache_folder

    with (
        _step(f"Describing {len(protocol.pictures)} pictures", quiet),
        photo_progress(len(protocol.pictures), "Describing", quiet) as advance,
        describe_in_threads({"": recognizer}, share_cores(None, where, len(protocol.pictures))) as describe_tasks,
    ):
        kept = cache_folder(output / "signatures", where)
        run = describe_systems(protocol.pictures, {"": recognizer}, kept, advance, describe_tasks)[""]
    with _step("Enrolling the frontal views and identifying the rest", quiet):
        gallery = _enroll(output, protocol, recognizer)
        said = _identify(gallery, protocol, run.results, recognizer)
        _write_rows(output / "decisions.csv", said)
    with _step("Writing the report", quiet):
        content = _report(ctx, output, protocol, run.results, run.digests, recognizer, where)

    click.echo(f"The people do not exist; they are rendered by {_renderer()}. The portraits are real.\n")
    headings, rows = _table(content, protocol, said)
    write_table(headings, rows, right=headings[1:])
    click.echo(f"\nReport: {output / 'report.html'}")
    photo = shlex.quote(str(protocol.pictures[protocol.identifications[0].probes[0]].path))
    note(f"Done in {time.perf_counter() - started:.0f} s. Next: facerec identify {photo} -g {gallery}", quiet)


@contextmanager
def _step(what: str, quiet: bool) -> Iterator[None]:
    started = time.perf_counter()
    note(f"{what} ...", quiet)
    yield
    note(f"  {time.perf_counter() - started:.0f} s", quiet)


def _render(folder: Path, subjects: int) -> None:
    """Run `facerec synth`, the command that a user would give."""
    from facerec.cli.synth import command as synth

    arguments = ["-o", str(folder), "--subjects", str(subjects), "--seed", str(SEED), "--quiet"]
    synth.main(args=arguments, prog_name="facerec synth", standalone_mode=False)


def _renderer() -> str:
    """The model that renders the people, as outputs name it."""
    from facerec.landmarks.checkpoint import weight_records

    models = [f"{r.name} {r.sha256[:12]}" for r in weight_records() if r.folder == "frontalize"]
    return "facerec's own face model (" + ", ".join(models) + ")"


def _write_portraits(output: Path, recognizer: Recognizer) -> list[Picture]:
    """Write each portrait, its altered copies and its turned views; write the intermediate stages to OUTPUT/stages."""
    from facerec.cli.portraits import altered_copies, installed_portraits, turned
    from facerec.evaluation.protocols.recognition import Picture
    from facerec.frontalize.face_model import FaceModel
    from facerec.landmarks.image import write_image
    from facerec.recognition.recognizer import DescribedFace
    from facerec.recognition.stage_pictures import write_stages

    model = FaceModel.load()
    folder = output / "portraits"
    folder.mkdir(exist_ok=True)
    pictures: list[Picture] = []
    for person, image in installed_portraits().items():
        copies: dict[str, tuple[Image, float | None]] = {"original": (image, None)}
        copies |= {name: (copy, None) for name, copy in altered_copies(image).items()}
        faces = recognizer.describe(image)
        if faces and isinstance(faces[0], DescribedFace):
            # A turned copy is a rendered picture and is labelled as one.
            copies |= {f"turned to yaw {yaw:+d}": (turned(faces[0], model, yaw), float(yaw)) for yaw in TURNS}
            write_stages(faces[0], model, output / "stages", f"{_file_name(person)}-0")
        for name, (copy, yaw) in copies.items():
            path = folder / f"{_file_name(f'{person} {name}')}.png"
            write_image(path, copy)
            pictures.append(Picture(path, path.relative_to(output).as_posix(), person, name, yaw, None))
    return pictures


def _file_name(text: str) -> str:
    return text.lower().replace(" ", "_")


def _protocol(output: Path, portraits: Sequence[Picture]) -> RecognitionProtocol:
    """One gallery of all frontal views; the rendered probes and the altered portraits as two sets of probes."""
    from facerec.evaluation.protocols.recognition import Identification, PictureList, RecognitionProtocol
    from facerec.evaluation.protocols.synthetic import read_synthetic

    rendered = read_synthetic(output / "people")
    pictures = PictureList()
    places = [pictures.add(replace(picture, name=f"people/{picture.name}")) for picture in rendered.pictures]
    gallery = [places[i] for one in rendered.identifications for i in one.gallery]
    probes = [places[i] for one in rendered.identifications for i in one.probes]
    altered: list[int] = []
    for portrait in portraits:
        (gallery if portrait.pose == "original" else altered).append(pictures.add(portrait))
    sets = [Identification("rendered", tuple(gallery), tuple(probes))]
    if altered:
        sets.append(Identification("portraits", tuple(gallery), tuple(altered)))
    people = len({picture.person for picture in rendered.pictures})
    return RecognitionProtocol(
        name="demo",
        pictures=pictures.done(),
        identifications=tuple(sets),
        rendered=True,
        settings={
            "people": people,
            "portraits": len({portrait.person for portrait in portraits}),
            "rendered_by": _renderer(),
            "pictures": f"The {people} people of the set 'rendered' do not exist; their pictures were rendered by "
            f"{_renderer()}. The set 'portraits' are altered copies of two public-domain photographs; the turned "
            "ones among them are rendered too.",
        },
    )


def _enroll(output: Path, protocol: RecognitionProtocol, recognizer: Recognizer) -> Path:
    """Enrol the protocol's gallery as `facerec enroll TABLE` does; return the gallery's path."""
    from facerec.recognition.front_door import enroll

    table = output / "enrol.csv"
    chosen = sorted({i for one in protocol.identifications for i in one.gallery})
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "person"])
        writer.writerows([protocol.pictures[i].name, protocol.pictures[i].person] for i in chosen)
    path = output / "demo.gallery"
    for old in output.glob("demo.gallery*"):  # of an earlier demo, perhaps by other models
        old.unlink()
    enroll(table, path, recognizer)
    return path


def _identify(
    path: Path, protocol: RecognitionProtocol, results: Sequence[PictureResult], recognizer: Recognizer
) -> list[ProbeOutcome]:
    """Search every probe in the gallery file and decide."""
    from facerec.recognition.decision import FaceResult, decide_together
    from facerec.recognition.search import MaskedSearch
    from facerec.recognition.store.sqlite import Gallery
    from facerec.recognition.threshold import threshold_of

    said: list[ProbeOutcome] = []
    renderer = _renderer()
    with Gallery.open(path, recognizer.contract) as gallery:
        threshold = threshold_of(gallery)
        search = MaskedSearch.of(gallery)
        for one in protocol.identifications:
            for i in one.probes:
                picture, result = protocol.pictures[i], results[i]
                drawn = one.name == "rendered" or (picture.pose or "").startswith("turned")
                decision: str
                if result.signature is None:
                    decision, named, reason = result.reason or "unreadable", "", result.detail
                else:
                    (found,) = search.search([result.signature])
                    [(decided, match)] = decide_together([FaceResult(found)], threshold)
                    decision, named, reason = decided.verdict, match.person if match else "", decided.reason
                outcome = "not named" if not named else "right" if named == picture.person else "wrong person"
                said.append(
                    ProbeOutcome(
                        file=picture.name,
                        person=picture.person,
                        pose=picture.pose or "",
                        rendered_by=renderer if drawn else "",
                        decision=decision,
                        named=named,
                        outcome=outcome,
                        reason=reason,
                    )
                )
    return said


def _write_rows(path: Path, rows: Sequence[ProbeOutcome]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(ProbeOutcome.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(vars(row) for row in rows)
    os.replace(temporary, path)


def _report(
    ctx: click.Context,
    output: Path,
    protocol: RecognitionProtocol,
    results: Sequence[PictureResult],
    digests: Sequence[str],
    recognizer: Recognizer,
    device: str,
) -> Mapping[str, Any]:
    """Write report.json, report.csv and report.html; return the JSON content."""
    import numpy as np

    from facerec.cli.evaluate_output import command_line, write_with_heads
    from facerec.evaluation.cases import recognition_cases
    from facerec.evaluation.environment import machine, versions, weight_digests
    from facerec.evaluation.recognition_figures import recognition_figures
    from facerec.evaluation.report import RunFacts, SystemRun, recognition_report
    from facerec.frontalize.face_model import FaceModel

    facts = RunFacts(
        command=command_line(ctx),
        settings={"seed": SEED},
        versions=versions(),
        weights=weight_digests(),
        machine=machine(device),
    )
    figures = recognition_figures(protocol, results, np.random.default_rng(0), DEMO_SYSTEM)
    run = SystemRun(figures, results, {}, recognizer.contract.digest)
    report = recognition_report(protocol, {DEMO_SYSTEM: run}, digests, facts)
    pictures = {picture.name: picture for picture in protocol.pictures}
    shots = recognition_cases(report.json["worst"], pictures, recognizer, FaceModel.load())
    write_with_heads(output, replace(report, pictures=shots))
    return report.json


def _table(
    content: Mapping[str, Any], protocol: RecognitionProtocol, said: Sequence[ProbeOutcome]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows for the terminal: each pose or alteration with its rank-1 and its decisions."""
    headings = ("set", "yaw", "pitch", "probes", "found %", "rank-1 %", "named right", "named wrong", "not named")
    rows: list[tuple[str, ...]] = []
    for one in protocol.identifications:
        outcomes: dict[str, Counter[str]] = {}
        files = {protocol.pictures[i].name for i in one.probes}
        for row in said:
            if row.file in files:
                outcomes.setdefault(row.pose, Counter())[row.outcome] += 1
        figures = content["identification"][one.name]
        blocks = [(pose, figures["by_pose"][pose], outcomes[pose]) for pose in figures["by_pose"]]
        blocks.append((f"all {one.name}", figures, sum(outcomes.values(), Counter())))
        for name, block, counts in blocks:
            rows.append(
                (
                    f"pose {name}" if name.isdigit() else name,
                    _angle(block.get("yaw")),
                    _angle(block.get("pitch")),
                    str(block["n"]),
                    f"{100 * block['found']:.0f}",
                    f"{100 * block['rank1']:.0f}",
                    str(counts["right"]),
                    str(counts["wrong person"]),
                    str(counts["not named"]),
                )
            )
    return headings, rows


def _angle(value: float | None) -> str:
    return "" if value is None else f"{value:+.0f}"
