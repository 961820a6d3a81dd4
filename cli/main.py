"""The `facerec` command. It lists its sub-commands without importing them and turns errors into messages and exit
codes.

Exit codes: 0 done, 1 internal error, 2 bad input or things that do not match, 3 finished with skipped items (where a
command has `--strict`), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from facerec.cli.command_list import CommandList
from facerec.cli.options import printable
from facerec.landmarks.cores import limit_threads
from facerec.landmarks.errors import FacerecError

EXIT_INTERNAL = 1
EXIT_BAD_INPUT = 2
EXIT_SKIPPED = 3
EXIT_INTERRUPTED = 130

# The help texts are written here, so that `facerec --help` imports no command and with it neither torch nor faiss. In
# the order of use, not of the alphabet. Each is served by `command` in the module cli/<name>.py.
COMMANDS: dict[str, str] = {
    "enroll": "Enrol photographs of known people in a gallery.",
    "identify": "Identify the people in photographs, or report them as unknown.",
    "cluster": "Group unknown faces in photographs into people.",
    "verify": "Decide whether two photographs show the same person.",
    "gallery": "Inspect, check, review, list, change, index, migrate or export a gallery.",
    "serve": "Serve the same functions over HTTP, with a web page (facerec[serve]).",
    "landmarks": "Locate the 68 landmarks of faces, and their visibility.",
    "frontalize": "Write texture, visibility mask, frontal view and mesh of faces.",
    "synth": "Render synthetic people in many poses.",
    "evaluate": "Measure recognition or landmarks on a data set, by pose.",
    "train": "Train the models from data.",
    "models": "List, describe or verify the weights and their licences.",
    "doctor": "Check this installation and report what it uses.",
    "demo": "Run the whole path on rendered people and write a report.",
}

EXAMPLES = """\b
Examples:
  facerec enroll people/ -g staff.gallery     one folder per person
  facerec identify door/*.jpg -g staff.gallery
  facerec verify a.jpg b.jpg
  facerec frontalize profile.jpg -o out/
  facerec demo -o demo-out"""


def _show_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version as installed_version

        click.echo(f"facerec {installed_version('facerec')}")
        ctx.exit()


@click.group(
    cls=CommandList,
    table=COMMANDS,
    modules="facerec.cli.{}",
    # Examples come first, because most readers look for them.
    help=f"Recognise faces across pose.\n\n{EXAMPLES}",
    epilog="Data go to stdout, messages to stderr. The weights that come with facerec are for research use.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error (also: FACEREC_DEBUG=1).")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.pass_context
def facerec(ctx: click.Context, debug: bool) -> None:
    """Recognise faces across pose."""
    ctx.meta["facerec.debug"] = debug


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never raises for an error of a command.

    `arguments` are those after the program's name; by default the process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = bool(os.environ.get("FACEREC_DEBUG")) or "--debug" in _before_command(given)
    try:
        result: Any = facerec.main(args=given, prog_name="facerec", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        _show_usage_error(error)
        return EXIT_BAD_INPUT
    except FacerecError as error:
        _say(f"error: {error}", traceback_of=error if debug else None)
        return EXIT_BAD_INPUT
    except OSError as error:
        # The caller can correct a path that cannot be read or written; any other system error is internal.
        if error.filename is None:
            return _internal(error, debug)
        _say(f"error: {error.strerror}: {error.filename}", traceback_of=error if debug else None)
        return EXIT_BAD_INPUT
    except Exception as error:
        return _internal(error, debug)
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the `facerec` script."""
    limit_threads()
    sys.exit(run())


def _before_command(arguments: list[str]) -> list[str]:
    """The arguments that belong to `facerec` itself: those before the command's name."""
    for place, argument in enumerate(arguments):
        if not argument.startswith("-"):
            return arguments[:place]
    return arguments


def _show_usage_error(error: click.ClickException) -> None:
    if isinstance(error, NoArgsIsHelpError):  # its message is the help itself
        click.echo(error.format_message(), err=True)
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    _say(f"error: {error.format_message()}")


def _internal(error: Exception, debug: bool) -> int:
    _say(f"internal error: {type(error).__name__}: {error}", traceback_of=error if debug else None)
    if not debug:
        click.echo(
            "This is an error in facerec. `facerec --debug ...` or FACEREC_DEBUG=1 shows the traceback.", err=True
        )
    return EXIT_INTERNAL


def _say(message: str, traceback_of: BaseException | None = None) -> None:
    if traceback_of is not None:
        click.echo("".join(traceback.format_exception(traceback_of)), err=True, nl=False)
    # Line breaks of our own messages stay; all other control characters are made visible.
    click.echo("facerec: " + "\n".join(printable(line) for line in message.split("\n")), err=True)


if __name__ == "__main__":
    main()
