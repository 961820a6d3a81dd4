"""The command that a weight record keeps, complete enough to be run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

UNRECORDED = frozenset(
    {"run", "work", "test", "metric_json", "export", "weights_root", "device", "threads", "loaders", "quiet", "help"}
)
"""Options that affect where and how a training runs or how its result is measured, not the result itself."""


def recorded_command(resolved: Mapping[str, Any] | None = None) -> str:
    """The running `facerec train` command with every argument and option that shapes the weights.

    Files and folders are named without the folders of this machine; where these are the working folder, a shell that is
    given the line starts a training with the same settings.

    Args:
        resolved: values, by the option's argument name, of options whose default is the trainer's own.

    Raises `ValueError` for a name in `resolved` that the command has no option of.
    """
    context = click.get_current_context()
    chosen = context.params | dict(resolved or {})
    if unknown := chosen.keys() - {parameter.name for parameter in context.command.params}:
        raise ValueError(f"expected options of {context.command.name}; got {', '.join(sorted(unknown))}")
    words = ["facerec", "train", context.command.name or ""]
    for parameter in context.command.params:
        name = parameter.name or ""
        value = chosen.get(name)
        if name in UNRECORDED or value is None or value is False:
            continue
        many = parameter.multiple or parameter.nargs == -1
        for one in value if many else [value]:
            if isinstance(parameter, click.Option):
                words.append(max(parameter.opts, key=len))
            if one is not True:
                words.append(_text(one))
    return shlex.join(words)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ":".join(_text(part) for part in value)
    if isinstance(value, Path):
        return value.name
    if isinstance(value, float):
        short = f"{value:.10g}"
        return short if float(short) == value else repr(value)
    return str(value)
