"""The command that a weight record keeps, complete enough to be run again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

UNRECORDED = frozenset(
    {"run", "work", "test", "export", "weights_root", "device", "threads", "loaders", "quiet", "help"}
)
"""Options that affect where and how a training runs, not its result."""


def recorded_command(resolved: Mapping[str, Any] | None = None) -> str:
    """The running `facerec train` command with every argument and option that shapes the weights.

    Files and folders are named without the folders of this machine.

    Args:
        resolved: values, by the option's argument name, of options whose default is the trainer's own.
    """
    context = click.get_current_context()
    words = ["facerec train", context.command.name or ""]
    for parameter in context.command.params:
        name = parameter.name or ""
        value = (resolved or {}).get(name, context.params.get(name))
        if name in UNRECORDED or value is None or value is False:
            continue
        many = parameter.multiple or parameter.nargs == -1
        for one in value if many else [value]:
            if isinstance(parameter, click.Option):
                words.append(max(parameter.opts, key=len))
            if one is not True:
                words.append(_text(one))
    return " ".join(words)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ":".join(_text(part) for part in value)
    if isinstance(value, Path):
        return value.name
    return f"{value:.10g}" if isinstance(value, float) else str(value)
