"""`facerec train rdssd`: train the landmark cascade R-DSSD."""

from __future__ import annotations

from typing import Any

import click

from facerec.cli.train_dssd import CascadeChoice, cascade_options, train_variant


@click.command("rdssd")
@click.option(
    "--learning",
    type=click.Choice(["recurrent", "joint", "sequential"]),
    default="recurrent",
    show_default=True,
    help="Refine with one shared network, with one network per stage trained jointly, or one after the other.",
)
@click.option("--star", is_flag=True, help="R-DSSD*: one fern stage and two refinements.")
@cascade_options
def command(star: bool, **chosen: Any) -> None:
    """Train R-DSSD (two fern stages, three refinements) on landmark packs (npz) and write its weights.

    An interrupted training continues from its last checkpoint when the same command is run again.
    """
    train_variant("rdssd", "rdssd-star" if star else "rdssd", CascadeChoice(**chosen))
