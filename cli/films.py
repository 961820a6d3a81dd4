"""`facerec identify` and `facerec enroll` of films: files, animations, folders of frames, cameras and streams."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from facerec.cli.options import count, note, printable, write_json
from facerec.landmarks.cores import usable_cores
from facerec.landmarks.device import cores_shared, resolve_device

if TYPE_CHECKING:
    from facerec.landmarks.video import Film
    from facerec.recognition.films.answers import TrackAnswer
    from facerec.recognition.films.tracks import FilmDescriber, Track

F = TypeVar("F", bound=Callable[..., Any])

_FILM = "Treat the paths as films: a folder of pictures is a film of these frames, and so is an animated GIF or WebP."
_RATE = click.option(
    "--rate",
    type=click.FloatRange(0, 120, min_open=True),
    default=5.0,
    show_default=True,
    help="Frames of a film that are processed per second.",
)


def films_option(function: F) -> F:
    """Add `--film`, `--rate`, `--camera` and `--per-frame`; films are processed here, photographs by the command.

    Must stand above `photos_argument`.
    """

    @functools.wraps(function)
    def command(
        *args: Any, film: bool, rate: float, camera: int | None, per_frame: bool, duration: float | None, **others: Any
    ) -> Any:
        films = _films(others["probes"], film, camera)
        if not films:
            return function(*args, **others)
        return _identify(films, rate, per_frame, duration, _collect_options(others))

    options = [
        click.option("--film", is_flag=True, help=_FILM),
        _RATE,
        click.option(
            "--camera", type=click.IntRange(0), metavar="N", help="Read frames from this camera; Ctrl-C ends it."
        ),
        click.option("--per-frame", is_flag=True, help="For films, also write a line for each face of each frame."),
        click.option("--duration", type=float, metavar="S", help="Process a film for this many seconds only."),
    ]
    return cast(F, _with_options(command, options))


def enroll_film_option(function: F) -> F:
    """Add `--film`, `--rate`, `--person`, `--track` and `--save-debug`; films are enrolled here. Must stand above
    `photos_argument`."""

    @functools.wraps(function)
    def command(
        *args: Any,
        film: bool,
        rate: float,
        person: str | None,
        track: int | None,
        save_debug: Path | None,
        **others: Any,
    ) -> Any:
        films = _films(others["photos"], film, None)
        if not films:
            if person is not None:
                raise click.UsageError("--person names the person of a film; photographs are named by their folder")
            if track is not None or save_debug is not None:
                raise click.UsageError("--track and --save-debug are for films")
            return function(*args, **others)
        if others["sync"] or others["keep_textures"] or others["ray_address"] is not None:
            raise click.UsageError("--sync, --keep-textures and --ray are for photographs")
        if track is not None and len(films) > 1:
            raise click.UsageError("expected one film with --track")
        given = _collect_options(others) | {"track": track, "save_debug": save_debug}
        return _enroll(films, rate, person, given)

    options = [
        click.option("--film", is_flag=True, help=_FILM),
        _RATE,
        click.option(
            "--person", help="The person that the film shows.  [default: the name of its file without the extension]"
        ),
        click.option(
            "--track",
            type=click.IntRange(1),
            metavar="N",
            help="Which face of a film of several people is the person's, by the number of `facerec identify` and of "
            "--save-debug.",
        ),
        click.option(
            "--save-debug",
            type=click.Path(file_okay=False, path_type=Path),
            help="Write a contact sheet per face of a film, NAME-track-N.png, to this folder.",
        ),
    ]
    return cast(F, _with_options(command, options))


def _with_options(command: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def _collect_options(others: dict[str, Any]) -> dict[str, Any]:
    """The options as a command gets them from `recognizer_options` and `format_options`, which stand below."""
    from facerec.recognition.recognizer import RecognizerSettings

    names = {name: others[name] for name in ("landmarks", "detector", "descriptor", "device")}
    form = "jsonl" if others["as_json"] else others.get("form") or "table"
    return others | {"models": RecognizerSettings(**names, smallest=others["min_face"]), "form": form}


def _films(given: Sequence[str | Path], film: bool, camera: int | None) -> list[Film]:
    """The films among the given paths; none when these are photographs."""
    from facerec.landmarks.video import STREAMS, Film, is_film

    texts = [str(one) for one in given]
    films = [text for text in texts if film or is_film(text)]
    if films and len(films) < len(texts):
        raise click.UsageError("expected films or photographs, not both; --film takes folders and animations for films")
    for text in films:
        if not text.startswith(STREAMS) and not Path(text).exists():
            raise click.BadParameter(f"there is no {printable(text)}")
    found = [Film(text if text.startswith(STREAMS) else Path(text)) for text in films]
    return found if camera is None else [*found, Film(f"camera:{camera}")]


def _follow(
    film: Film, describer: FilmDescriber, rate: float, quiet: bool, duration: float | None = None
) -> tuple[list[Track], bool]:
    """The tracks of a film, and whether Ctrl-C ended it; results until then are kept."""
    from facerec.cli.output import photo_progress
    from facerec.landmarks.video import read_ahead
    from facerec.recognition.films.tracks import FaceTracker

    cores = usable_cores()
    known = film.duration
    total = None if known is None else round(min(known, duration or known) * rate)
    began, looked, interrupted = time.monotonic(), 0, False
    with cores_shared(cores), ThreadPoolExecutor(cores) as pool:
        tracker = FaceTracker(describer, pool=pool)
        try:
            with (
                photo_progress(total, "Looking", quiet) as advance,
                contextlib.closing(read_ahead(film, rate)) as frames,
            ):
                for frame in frames:
                    if duration is not None and frame.time > duration:
                        break
                    tracker.look(frame)
                    looked += 1
                    advance(1)
        except KeyboardInterrupt:
            interrupted = True
            note("interrupted; the results until then follow")
    passed = time.monotonic() - began
    note(
        f"{printable(film.name)}: {count(looked, 'frame')} processed, {looked / max(passed, 1e-9):.1f} per second, "
        f"{count(len(tracker.tracks), 'track')}",
        quiet,
    )
    return tracker.tracks, interrupted


def _identify(
    films: Sequence[Film], rate: float, per_frame: bool, duration: float | None, given: dict[str, Any]
) -> int:
    from facerec.cli.output import write_line
    from facerec.recognition.films.answers import decide_tracks, frame_lines
    from facerec.recognition.films.pictures import write_pictures
    from facerec.recognition.front_door import gallery_contract
    from facerec.recognition.identification import Identifier
    from facerec.recognition.recognizer import load_recognizer

    if sum(given[name] is not None for name in ("threshold", "fpir", "far")) > 1:
        raise click.UsageError("expected one of --threshold, --fpir and --far")
    if given["form"] == "csv":
        raise click.UsageError("films are reported as a table or with --format jsonl")
    resolve_device(given["models"].device)
    recognizer = load_recognizer(given["models"], gallery_contract(given["gallery_path"]))
    names = _file_names(films)
    rows: list[list[object]] = []
    interrupted = False
    with Identifier.open(
        given["gallery_path"],
        recognizer,
        fpir=given["fpir"],
        far=given["far"],
        threshold=given["threshold"],
        search=given["method"],
    ) as identifier:
        for film, name in zip(films, names, strict=True):
            tracks, interrupted = _follow(film, recognizer, rate, given["quiet"], duration)
            answers = decide_tracks(film.name, tracks, identifier)
            if given["form"] == "jsonl":
                for answer in answers:
                    write_line(answer.as_json(identifier))
                for line in frame_lines(film.name, answers) if per_frame else []:
                    write_line(line)
            rows += [_row(answer, identifier.threshold.note) for answer in answers]
            if given["save_debug"] is not None and not interrupted:
                write_pictures(film, answers, given["save_debug"], name, rate)
            if interrupted:
                break
    if given["form"] == "table":
        from facerec.cli.output import write_table

        heads = ["film", "track", "start", "end", "frames", "yaw", "decision", "person", "score", "why"]
        write_table(heads, rows, right=["track", "start", "end", "frames", "score"])
    shown = "none" if identifier.threshold.value is None else f"{identifier.threshold.value:.3f}"
    note(f"Threshold {shown} ({printable(identifier.threshold.note)})", given["quiet"])
    if interrupted:
        raise KeyboardInterrupt
    return 0


def _file_names(films: Sequence[Film]) -> list[str]:
    """What the pictures of each film are called by, no two alike."""
    from facerec.landmarks.photo_files import photo_names

    places = [Path(str(i), Path(film.name).name.replace(":", "_")) for i, film in enumerate(films)]
    return list(photo_names(places).values())


def _row(answer: TrackAnswer, threshold_note: str) -> list[object]:
    yaws = [one.pose[0] for one in answer.track.sightings]
    return [
        answer.film,
        answer.track.number,
        f"{answer.track.sightings[0].time:.1f}",
        f"{answer.track.last.time:.1f}",
        len(answer.track.sightings),
        f"{min(yaws):+.0f} to {max(yaws):+.0f}",
        answer.decision.verdict,
        answer.person,
        None if answer.match is None else f"{answer.match.score:.2f}",
        # The column before it already gives the verdict, and the line below the table the origin of the threshold.
        answer.decision.reason.removeprefix(f"{answer.decision.verdict}: ").replace(f" ({threshold_note})", ""),
    ]


def _enroll(films: Sequence[Film], rate: float, person: str | None, given: dict[str, Any]) -> int:
    from facerec.landmarks.errors import UnusablePhotoError
    from facerec.recognition.films.enrolment import add_film, choose_track, film_photo
    from facerec.recognition.films.pictures import write_sheets
    from facerec.recognition.front_door import gallery_contract
    from facerec.recognition.recognizer import load_recognizer
    from facerec.recognition.store.galleries import open_gallery
    from facerec.recognition.store.records import person_name

    recognizer = load_recognizer(given["models"], gallery_contract(given["gallery_path"]))
    records = []
    for film, file_name in zip(films, _file_names(films), strict=True):
        if not isinstance(film.source, Path):
            raise click.UsageError("expected films in files to enrol; a stream cannot be read again later")
        name = person_name(person or (film.source.name if film.source.is_dir() else film.source.stem))
        if given["dry_run"]:
            note(f"{printable(film.name)} -> {printable(name)}: would be enrolled", given["quiet"])
            continue
        record: dict[str, object] = {"film": film.name, "person": name, "reason": None, "detail": ""}
        try:
            tracks, interrupted = _follow(film, recognizer, rate, given["quiet"])
            if interrupted:
                raise KeyboardInterrupt  # a film that was interrupted is not enrolled
            if given["save_debug"] is not None:
                write_sheets(tracks, given["save_debug"], file_name)
            track = choose_track(tracks, given["track"])
            photo = film_photo(film.source, name, track)
            with open_gallery(given["gallery_path"], recognizer.contract, write=True, create=True) as gallery:
                new = add_film(gallery, photo)
            yaws = [one.pose[0] for one in track.counted]
            shown = [round(min(yaws), 1), round(max(yaws), 1)]
            record |= {"track": track.number, "frames": len(track.counted), "yaw": shown, "new": new}
        except UnusablePhotoError as error:
            record |= {"reason": error.reason, "detail": error.detail}
        records.append(record)
        if record["reason"]:
            said = f"{record['reason']}: {record['detail']}"
        elif new:
            said = f"{count(len(yaws), 'frame')} in one entry, yaw {shown[0]:+.0f} to {shown[1]:+.0f}"
        else:
            said = "known already"
        note(f"{printable(film.name)} -> {printable(name)}: {said}", given["quiet"])
    if given["as_json"]:
        write_json({"films": records})
    return 3 if given["strict"] and any(record["reason"] for record in records) else 0
