"""`facerec models`: the weights, their training data and licences, and whether their files are intact."""

from __future__ import annotations

import click

from facerec.cli.options import json_option, note, printable, write_json
from facerec.cli.output import write_table
from facerec.landmarks.checkpoint import WeightRecord, verify_weights, weight_records, weights_folder
from facerec.landmarks.errors import ContractError, FacerecError, InvalidInputError


@click.group(name="models", help="List, describe or verify the weights and their licences.")
def command() -> None:
    """Group of `list`, `info` and `verify`."""


@command.command("list", help="List the weight files with size, training data and licence.")
@json_option
def list_models(as_json: bool) -> None:
    """Write the records as a table or as JSON."""
    records = weight_records()
    if as_json:
        write_json({"weights": [record.as_json() for record in records]})
        return
    if not records:
        note("This installation holds no weights. Install facerec again, or train them with `facerec train`.")
        return
    rows = [(_label(r), f"{r.bytes / 2**20:.1f} MB", ", ".join(r.training_sets) or "-", r.licence) for r in records]
    write_table(("MODEL", "SIZE", "TRAINED ON", "LICENCE"), rows, right=("SIZE",))
    note("`facerec models info MODEL` shows more; facerec's own code is under Apache-2.0.")


@command.command("info", help="Show the full record of one model. MODEL is a name that `facerec models list` shows.")
@click.argument("model")
@json_option
def info(model: str, as_json: bool) -> None:
    """Write one record in full."""
    record = _find(model)
    if as_json:
        write_json(record.as_json())
        return
    lines = {
        "model": _label(record),
        "what": record.what,
        "licence": record.licence,
        "trained on": ", ".join(record.training_sets) or "-",
        "split": record.split,
        **{f"metric {key}": str(value) for key, value in record.metric.items()},
        "made by": record.command,
        "file": str(weights_folder(record.folder) / record.file),
        "bytes": str(record.bytes),
        "sha256": record.sha256,
    }
    width = max(map(len, lines))
    click.echo("\n".join(f"{key:<{width}}  {printable(value)}" for key, value in lines.items()))


@command.command("verify", help="Compare weight files with their recorded SHA-256.")
@click.argument("models", nargs=-1)
@json_option
@click.pass_context
def verify(ctx: click.Context, models: tuple[str, ...], as_json: bool) -> None:
    """Write one line per file; exit code 2 when a file is missing, changed or not recorded, or when there is none."""
    records = [_find(model) for model in models] if models else weight_records()
    findings = [{"model": _label(record), "status": weight_status(record)} for record in records]
    if not models:
        findings += [{"model": name, "status": "not recorded"} for name in unrecorded_files()]
    if as_json:
        write_json({"weights": findings})
    elif findings:
        write_table(("MODEL", "STATUS"), [(item["model"], item["status"]) for item in findings])
    if not findings:
        note("This installation holds no weights. Install facerec again, or train them with `facerec train`.")
    if not findings or any(item["status"] != "ok" for item in findings):
        ctx.exit(2)


def weight_status(record: WeightRecord) -> str:
    """ "ok", "changed" or "missing", after reading the file again."""
    try:
        verify_weights(record)
    except ContractError:
        return "changed"
    except FacerecError:
        return "missing"
    return "ok"


def unrecorded_files() -> list[str]:
    """Weight files that lie in the package without a record, as "folder/file"."""
    known = {(record.folder, record.file) for record in weight_records()}
    return [
        f"{folder}/{path.name}"
        for folder in ("landmarks", "frontalize", "recognition")
        for path in sorted(weights_folder(folder).glob("*"))
        if path.suffix in (".npz", ".safetensors")
        and not path.name.startswith(".")
        and (folder, path.name) not in known
    ]


def _label(record: WeightRecord) -> str:
    return f"{record.folder}/{record.name}"


def _find(model: str) -> WeightRecord:
    records = weight_records()
    found = [record for record in records if model in (record.name, _label(record))]
    if len(found) == 1:
        return found[0]
    known = ", ".join(_label(record) for record in records) or "none"
    if found:
        raise InvalidInputError(f"{model!r} names several models: {', '.join(map(_label, found))}")
    raise InvalidInputError(f"there is no model {model!r}; there are: {known}")
