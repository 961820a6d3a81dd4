"""A click group whose commands are imported when they are called, not when they are listed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

import click

from facerec.cli.options import printable


class CommandList(click.Group):
    """A group that knows its commands by name and help text only, until one is called.

    Args:
        table: command name -> short help, in the order they are listed.
        modules: where the commands are: "facerec.cli.{}" serves `gallery` by `command` in `facerec.cli.gallery`; a
            hyphen in a name is an underscore in the module's.
    """

    def __init__(self, *args: Any, table: Mapping[str, str], modules: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = dict(table)
        self.modules = modules

    def module_of(self, name: str) -> str:
        """Full name of the module that serves the command `name`."""
        return self.modules.format(name.replace("-", "_"))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands whose modules are installed, in the order of the table."""
        return [name for name in self.table if importlib.util.find_spec(self.module_of(name)) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of `cmd_name` and return its `command`; None when there is no such name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = self.module_of(cmd_name)
        found = importlib.import_module(module).command
        if not isinstance(found, click.Command):
            raise TypeError(f"expected {module}.command to be a click.Command; got {type(found).__name__}")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown name is answered with the nearest known one."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Commands: {', '.join(known)}."
            ctx.fail(f"there is no command '{printable(name)}'. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.table[name]) for name in self.list_commands(ctx)])
