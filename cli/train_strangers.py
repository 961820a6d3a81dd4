"""`facerec train strangers`: compute the cohort that normalises scores, and the scores of strangers and mates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.options import device_option, note, weights_root_option
from facerec.cli.recorded_command import recorded_command
from facerec.landmarks.device import resolve_device

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facerec.recognition.training.strangers import DescribedPeople


@click.command("strangers")
@click.argument("sets", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@weights_root_option("recognition")
@device_option
def command(sets: tuple[Path, ...], weights_root: Path | None, device: str) -> None:
    """Compute the cohort and the thresholds of the package's face network.

    SETS are made by `facerec train face-set`. Only the calibration people are used, a sixteenth of all people by a hash
    of their names, on whom the network was not trained: half of them make the cohort, the other half are scored. They
    have too few pictures of one side of a face, so the cohort also uses such pictures of training people.
    """
    import numpy as np

    from facerec.landmarks.checkpoint import save_weights, weights_folder
    from facerec.landmarks.training.set_names import training_sets
    from facerec.recognition.impostor_curve import ImpostorCurve
    from facerec.recognition.recognizer import Recognizer
    from facerec.recognition.shipped_impostors import ShippedImpostors
    from facerec.recognition.threshold import ThresholdSettings
    from facerec.recognition.training.groups import balanced
    from facerec.recognition.training.strangers import (
        in_cohort,
        make_cohort,
        mates_by_yaw,
        same_person_logit,
        score_strangers,
    )

    contract = Recognizer.load(descriptor="resnet").contract.digest
    people, source, calibration = _describe(sets, resolve_device(device))
    note(f"{int(calibration.sum())} pictures of people for calibration, {int((~calibration).sum())} of others' sides")
    member = in_cohort(people.person)
    cohort = make_cohort(people.rows(calibration & member), people.rows(~calibration | member), contract)
    judged = calibration & ~member
    scores = score_strangers(people.rows(judged), np.char.partition(source[judged], "-")[:, 0], cohort)
    alike, general = balanced(scores.alike), balanced(scores.general)
    pairs = sum(len(v) for v in scores.alike.values()), sum(len(v) for v in scores.general.values())
    least = ThresholdSettings().least_accepts
    count = len(set(people.person[judged].tolist()))
    record = save_weights(
        "recognition",
        "cohort-resnet",
        cohort.arrays(),
        what="cohort that normalises the scores of resnet: each member is the mean of three people who look alike",
        training_sets=training_sets(source),
        split="half of the people for calibration, by a hash of their names, and pictures of one side of the face of "
        "people that resnet was trained on; nobody of the held-out people",
        metric={"members": len(cohort.cells), "patterns": len(cohort.patterns)},
        licence="research use only: trained on collections gathered for non-commercial research",
        command=recorded_command(),
        root=weights_root,
    )
    shipped = ShippedImpostors(
        contract=contract,
        people=count,
        what=f"pictures of {count} people of {', '.join(training_sets(source))} in no descriptor's training set and "
        "not in the cohort: pairs of adults of one group and sex, each group counted alike, and pairs within each set, "
        "each set counted alike",
        alike=ImpostorCurve.measure(alike, least, pairs[0]),
        general=ImpostorCurve.measure(general, least, pairs[1]),
        cohort=cohort.of_arrays(cohort.arrays()).digest,
        mates=mates_by_yaw(scores),
        logit=same_person_logit(scores),
    )
    target = weights_folder("recognition", weights_root) / "impostors-resnet.json"
    target.write_text(json.dumps(shipped.as_json(), indent=1) + "\n", encoding="utf-8")
    note(f"{len(cohort.cells)} members; {pairs[0]} and {pairs[1]} impostor pairs, {len(scores.mates)} pairs of mates")
    click.echo(f"{record.file}: {record.bytes / 1e6:.2f} MB")
    click.echo(str(target))


def _describe(sets: tuple[Path, ...], device: str) -> tuple[DescribedPeople, NDArray[np.str_], NDArray[np.bool_]]:
    """Signatures of the people for calibration and of others' sides, sources (N,), and who is for calibration (N,)."""
    import numpy as np

    from facerec.landmarks.checkpoint import load_weights
    from facerec.landmarks.training.people import is_calibration_person
    from facerec.recognition.descriptors import MIN_SEEN
    from facerec.recognition.resnet import network_of
    from facerec.recognition.resnet_graph import for_photographs
    from facerec.recognition.training.faces import load_faces
    from facerec.recognition.training.network_cells import describe_faces, views_on
    from facerec.recognition.training.strangers import CohortSettings, DescribedPeople, group_names

    faces = load_faces(sets, device)
    calibration = np.array([is_calibration_person(str(name)) for name in faces.person])
    from_side = np.isin(faces.source, ["cfp-profile", "ytf"]) & (np.abs(faces.yaw) >= CohortSettings().side_yaw)
    faces = faces.rows(calibration | from_side)
    arrays = [load_weights("recognition", name) for name in ("resnet", "resnet-start")]
    photo = [network_of(for_photographs(own)).to(device) for own in arrays]
    network = network_of(arrays[0]).to(device)
    cells, known = describe_faces(network, views_on(device), faces, MIN_SEEN, photo=photo)
    groups = group_names(faces.person, faces.group, faces.source)
    people = DescribedPeople(cells, known, faces.person, groups, faces.yaw)
    calibration = np.array([is_calibration_person(str(name)) for name in faces.person])
    return people, faces.source, calibration
