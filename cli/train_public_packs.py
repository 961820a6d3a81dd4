"""`facerec train public-packs`: turn 300-W, COFW or HELEN into landmark packs."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, quiet_option


@click.command("public-packs")
@click.argument("dataset", type=click.Choice(["300w", "cofw", "helen"]))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the packs."
)
@quiet_option
def command(dataset: str, data: Path, output: Path, quiet: bool) -> None:
    """Pack the faces of a public landmark set under DATA.

    \b
    300w   a folder with lfpw/, helen/, afw/, ibug/: 300w_train, 300w_common, 300w_challenging (68 points)
    cofw   a COFW .mat file, version 5 or 7.3: its name (29 points with occlusion)
    helen  a folder with annotation/, trainnames.txt, testnames.txt, pictures: helen_train, helen_test (194 points)
    """
    from facerec.landmarks.sets.public import read_300w, read_cofw, read_helen
    from facerec.landmarks.training.packs import pack_faces

    if dataset == "300w":
        made = {
            "300w_train": pack_faces(read_300w(data, "train"), "300w-train"),
            "300w_common": pack_faces(read_300w(data, "common"), "300w-common"),
            "300w_challenging": pack_faces(read_300w(data, "challenging"), "300w-challenging"),
        }
    elif dataset == "cofw":
        made = {data.stem: pack_faces(read_cofw(data), "cofw")}
    else:
        made = {
            "helen_train": pack_faces(read_helen(data, "train"), "helen-train"),
            "helen_test": pack_faces(read_helen(data, "test"), "helen-test"),
        }
    for name, pack in made.items():
        pack.save(output / f"{name}.npz")
        note(f"{output / name}.npz: {len(pack)} faces", quiet)
