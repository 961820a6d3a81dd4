"""`facerec train landmark-packs`: turn annotated photographs into landmark training packs."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, quiet_option


@click.command("landmark-packs")
@click.option(
    "--ytf",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with frames/ and landmarks68.csv of YouTube Faces.",
)
@click.option(
    "--cfp",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="CFP's official tree.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the packs."
)
@click.option(
    "--sets",
    is_flag=True,
    help="Also write a training pack for each set (train_SET.npz), so that sets can be weighted.",
)
@quiet_option
def command(ytf: Path, cfp: Path, output: Path, sets: bool, quiet: bool) -> None:
    """Write real_train.npz and real_test.npz.

    The test people (CFP's folds 7 and 8, every seventh person of YouTube Faces, and their namesakes in either set)
    are in real_test.npz only.
    """
    import numpy as np

    from facerec.landmarks.training.packs import join_packs, pack_cfp, pack_points_csv
    from facerec.landmarks.training.people import held_out_people

    held_out = held_out_people(ytf, cfp)
    for name, want_held_out in (("real_train", False), ("real_test", True)):
        pack = join_packs(
            pack_points_csv(ytf / "landmarks68.csv", held_out, want_held_out), pack_cfp(cfp, held_out, want_held_out)
        )
        pack.save(output / f"{name}.npz")
        note(f"{output / name}.npz: {len(pack)} faces", quiet)
        if sets and not want_held_out:
            for source in np.unique(pack.source):
                part = pack.rows(np.flatnonzero(pack.source == source))
                part.save(output / f"train_{source}.npz")
                note(f"{output / f'train_{source}'}.npz: {len(part)} faces", quiet)
