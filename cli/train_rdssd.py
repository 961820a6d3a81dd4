"""`facerec train rdssd`: learn the landmark cascade R-DSSD."""

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
    help="Refinements with one shared network, with one each trained together, or one after the other.",
)
@click.option("--star", is_flag=True, help="R-DSSD*: one fern stage and two refinements.")
@cascade_options
def command(star: bool, **chosen: Any) -> None:
    """Learn R-DSSD (two fern stages, three refinements) from landmark packs (npz) and write its weights.

    An interrupted training goes on where its last checkpoint was when the same command is given again.
    """
    train_variant("rdssd", "rdssd-star" if star else "rdssd", CascadeChoice(**chosen))
