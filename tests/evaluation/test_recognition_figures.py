from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.evaluation.bins import yaw_bin
from facerec.evaluation.intervals import wilson
from facerec.evaluation.protocols.cfp import read_cfp
from facerec.evaluation.protocols.csv_protocol import read_csv
from facerec.evaluation.recognition_figures import RecognitionFigures, recognition_figures
from facerec.evaluation.rows import worst_probes
from facerec.evaluation.signatures import describe_pictures
from facerec.evaluation.verification import auc

FINE, NO_FACE, UNSTABLE, HALF, PLAIN = range(5)


def measure(protocol: Any, recognizer: Any) -> RecognitionFigures:
    results = describe_pictures(protocol.pictures, recognizer).results
    return recognition_figures(protocol, results, np.random.default_rng(0))


def test_a_perfect_system_scores_one_everywhere(cfp_tree: Path, recognizer: Any) -> None:
    figures = measure(read_cfp(cfp_tree), recognizer)
    for view in ("frontal", "profile"):
        one = figures.identification[view]
        assert (one["n"], one["found"], one["rank1"], one["rank5"]) == (12, 1.0, 1.0, 1.0)
        assert one["rank1_interval"] == list(wilson(12, 12))
        assert one["failures"] == {}
    for kind in ("FF", "FP"):
        one = figures.verification[kind]
        assert (one["n"], one["found"], one["auc"], one["accuracy"], one["eer"]) == (12, 1.0, 1.0, 1.0, 0.0)
        assert set(one["folds"]) == {"07", "08"}
        assert one["threshold_from"] == "other folds"


def test_a_hidden_probe_lowers_rank_one_and_stays_in_n(cfp_tree: Path, recognizer: Any, write_picture: Any) -> None:
    write_picture(cfp_tree / "Data/Images/301/profile/01.jpg", 1, 11, NO_FACE)
    write_picture(cfp_tree / "Data/Images/302/profile/01.jpg", 2, 11, UNSTABLE)
    one = measure(read_cfp(cfp_tree), recognizer).identification["profile"]
    assert one["n"] == 12
    assert one["rank1"] == pytest.approx(10 / 12)
    assert one["rank5"] == pytest.approx(10 / 12)
    assert one["found"] == pytest.approx(11 / 12)
    assert one["described"] == pytest.approx(10 / 12)
    assert one["rank1_described"] == 1.0
    assert one["rank1_interval"] == list(wilson(10, 12))
    assert one["failures"] == {"fit_unstable": 1, "no_face": 1}


def test_a_failed_gallery_picture_makes_misses_of_all_the_persons_probes(
    cfp_tree: Path, recognizer: Any, write_picture: Any
) -> None:
    write_picture(cfp_tree / "Data/Images/303/frontal/01.jpg", 3, 1, NO_FACE)
    figures = measure(read_cfp(cfp_tree), recognizer)
    one = figures.identification["frontal"]
    assert one["rank1"] == pytest.approx(10 / 12)
    assert one["found"] == 1.0
    assert one["failures"] == {"gallery_failed": 2}
    assert one["gallery"]["described"] == pytest.approx(5 / 6)
    assert one["gallery"]["failures"] == {"no_face": 1}


def test_a_failed_pair_is_a_wrong_decision(cfp_tree: Path, recognizer: Any, write_picture: Any) -> None:
    # Profile 02 of person 301 is in a genuine pair, and in an impostor pair with person 303's frontal.
    write_picture(cfp_tree / "Data/Images/301/profile/02.jpg", 1, 12, NO_FACE)
    figures = measure(read_cfp(cfp_tree), recognizer)
    one = figures.verification["FP"]
    assert one["n"] == 12
    assert one["accuracy"] == pytest.approx(10 / 12)
    assert one["found"] == pytest.approx(10 / 12)
    assert one["folds"]["07"]["accuracy"] == pytest.approx(4 / 6)
    assert one["folds"]["08"]["accuracy"] == 1.0
    assert one["failures"] == {"no_face": 2}
    # Of 36 comparisons the failed genuine pair loses six and the failed impostor pair wins five more.
    assert one["auc"] == pytest.approx(1 - 11 / 36)
    rows = [row for row in figures.pairs if row.set == "FP"]
    assert sum(row.right for row in rows) == 10
    assert auc(
        np.array([np.nan if row.score is None else row.score for row in rows]), np.array([row.same for row in rows])
    ) == pytest.approx(one["auc"])


def test_one_fold_alone_is_flagged(cfp_tree: Path, recognizer: Any) -> None:
    one = measure(read_cfp(cfp_tree, ["8"]), recognizer).verification["FF"]
    assert "only one" in one["threshold_from"]


def csv_protocol(
    tmp_path: Path, write_picture: Any, rows: list[tuple[int, int, int, str, str]], columns: str = "pose,yaw"
) -> Any:
    """Rows of (person, number, fate, role, the other columns)."""
    lines = [f"path,person,role,{columns}"]
    for i, (person, number, fate, role, rest) in enumerate(rows):
        write_picture(tmp_path / f"{i}.png", person, number, fate)
        lines.append(f"{i}.png,p{person},{role},{rest}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    return read_csv(tmp_path / "list.csv")


def test_yaw_bins_use_the_given_yaw_else_the_estimate_else_say_unknown(
    tmp_path: Path, write_picture: Any, recognizer: Any
) -> None:
    protocol = csv_protocol(
        tmp_path,
        write_picture,
        [
            (1, 0, FINE, "gallery", ","),
            (2, 0, FINE, "gallery", ","),
            (1, 1, FINE, "probe", ",-80"),  # given
            (1, 2, FINE, "probe", ","),  # estimated: the made-up fit says 20 degrees
            (2, 3, NO_FACE, "probe", ",44.9"),  # given, failed
            (2, 4, NO_FACE, "probe", ","),  # unknown
        ],
    )
    one = measure(protocol, recognizer).identification["all"]
    assert {name: inside["n"] for name, inside in one["by_yaw"].items()} == {
        "15-30": 1,
        "30-45": 1,
        "75-90": 1,
        "unknown": 1,
    }
    assert one["by_yaw"]["30-45"]["rank1"] == 0.0
    assert one["by_yaw"]["unknown"]["rank1"] == 0.0
    assert one["yaw_source"] == {"given": 2, "estimated": 1, "unknown": 1}
    assert sum(inside["n"] for inside in one["by_yaw"].values()) == one["n"]


@pytest.mark.parametrize(
    ("yaw", "name"),
    [(0, "0-15"), (-14.9, "0-15"), (15, "15-30"), (-89, "75-90"), (90, "75-90"), (-135, "75-90"), (None, "unknown")],
)
def test_yaw_bins_hold_their_lower_edge(yaw: float | None, name: str) -> None:
    assert yaw_bin(yaw) == name


def test_poses_are_reported_each_with_their_angles(tmp_path: Path, write_picture: Any, recognizer: Any) -> None:
    rows = [(p, 0, FINE, "gallery", "11,0,0") for p in (1, 2)]
    rows += [(1, 1, FINE, "probe", "2,-90,0"), (2, 1, NO_FACE, "probe", "2,-90,0"), (1, 2, FINE, "probe", "20,90,0")]
    one = measure(csv_protocol(tmp_path, write_picture, rows, "pose,yaw,pitch"), recognizer).identification["all"]
    assert list(one["by_pose"]) == ["2", "20"]
    assert one["by_pose"]["2"]["rank1"] == 0.5
    assert (one["by_pose"]["2"]["yaw"], one["by_pose"]["2"]["pitch"]) == (-90, 0)


def test_strangers_are_not_part_of_rank_one(tmp_path: Path, write_picture: Any, recognizer: Any) -> None:
    rows = [(p, 0, FINE, "gallery", ",") for p in (1, 2)]
    rows += [(1, 1, FINE, "probe", ","), (2, 1, FINE, "probe", ",")]
    rows += [(p, 0, FINE, "probe", ",") for p in range(10, 21)] + [(30, 0, NO_FACE, "probe", ",")]
    figures = measure(csv_protocol(tmp_path, write_picture, rows), recognizer)
    one = figures.identification["all"]
    assert (one["n"], one["rank1"]) == (2, 1.0)
    assert one["open_set"]["unknown"] == {
        "n": 12,
        "found": pytest.approx(11 / 12),
        "described": pytest.approx(11 / 12),
        "failed_to_find": pytest.approx(1 / 12),
        "failed_to_fit": 0.0,
        "failed_to_describe": 0.0,
        "failures": {"no_face": 1},
    }
    (point,) = one["open_set"]["tpir_at_fpir"]
    assert point["target_fpir"] == 0.1
    assert point["tpir"] == 1.0
    assert sum(not row.known for row in figures.probes) == 12


def test_pictures_that_share_too_few_cells_are_not_compared(
    cfp_tree: Path, make_recognizer: Any, write_picture: Any
) -> None:
    class OneCell(make_recognizer):  # type: ignore[misc]
        def sign(self, lifted: Any) -> Any:
            face = super().sign(lifted)
            if int(lifted.face.image[0, 0, 2]) == HALF:
                signature = face.signature
                cells = signature.cells.copy()
                cells[1:] = 0
                seen = np.arange(16) < 1
                object.__setattr__(face, "signature", type(signature)(cells, seen, signature.contract))
            return face

    write_picture(cfp_tree / "Data/Images/301/profile/02.jpg", 1, 12, HALF)
    figures = measure(read_cfp(cfp_tree), OneCell())
    assert figures.identification["profile"]["failures"] == {"little_overlap": 1}
    assert figures.identification["profile"]["described"] == 1.0
    assert figures.verification["FP"]["failures"] == {"little_overlap": 2}
    assert figures.verification["FP"]["accuracy"] == pytest.approx(10 / 12)


def test_worst_probes_hold_failures_and_confusions(cfp_tree: Path, make_recognizer: Any, write_picture: Any) -> None:
    write_picture(cfp_tree / "Data/Images/301/profile/01.jpg", 1, 11, NO_FACE)
    write_picture(cfp_tree / "Data/Images/302/profile/01.jpg", 5, 11)  # shows person 305
    figures = measure(read_cfp(cfp_tree), make_recognizer())
    worst = worst_probes(figures.probes, 12)
    assert [(row.file, row.reason, row.rival) for row in worst] == [
        ("Data/Images/302/profile/01.jpg", "", "305"),
        ("Data/Images/301/profile/01.jpg", "no_face", None),
    ]
    assert worst[0].rank is not None
    assert worst[0].rank > 1
    assert worst[0].rival_file == "Data/Images/305/frontal/01.jpg"
    assert worst_probes(figures.probes, 0) == []


def test_figures_are_the_same_every_time(cfp_tree: Path, recognizer: Any) -> None:
    protocol = read_cfp(cfp_tree)
    first, second = measure(protocol, recognizer), measure(protocol, recognizer)
    assert first.identification == second.identification
    assert first.verification == second.verification


def test_failures_by_stage_are_shares_of_all_probes(cfp_tree: Path, recognizer: Any, write_picture: Any) -> None:
    fates = {"301": NO_FACE, "302": UNSTABLE, "303": PLAIN}
    for person, fate in fates.items():
        write_picture(cfp_tree / f"Data/Images/{person}/profile/01.jpg", int(person) - 300, 11, fate)
    figures = measure(read_cfp(cfp_tree), recognizer)
    one = figures.identification["profile"]
    for stage in ("find", "fit", "describe"):
        assert one[f"failed_to_{stage}"] == pytest.approx(1 / 12)
    assert one["rank1"] == pytest.approx(9 / 12)
    assert [row.failed_at for row in figures.probes if row.failed_at] == ["find", "fit", "describe"]
    write_picture(cfp_tree / "Data/Images/301/profile/02.jpg", 1, 12, UNSTABLE)
    pairs = measure(read_cfp(cfp_tree), recognizer).verification["FP"]
    assert pairs["failed_to_fit"] == pytest.approx(2 / 12)


def test_every_probe_is_compared_with_every_person_failures_included(
    cfp_tree: Path, recognizer: Any, write_picture: Any
) -> None:
    write_picture(cfp_tree / "Data/Images/301/profile/01.jpg", 1, 11, NO_FACE)
    scores = measure(read_cfp(cfp_tree), recognizer).identification["profile"]["scores"]
    assert (scores["n"], scores["genuine"]) == (12 * 6, 12)
    # One genuine comparison loses to all 60 impostors, five impostors win over all twelve: 60 + 5 * 11 of 720.
    assert scores["auc"] == pytest.approx(1 - 115 / 720)
    assert scores["histogram"]["failed"] == 6
    assert scores["calibration"]["failed"] == 6
    assert sum(one["n"] for one in scores["calibration"]["bins"]) == 72
    assert scores["calibration"]["fitted_on"] == "the other half of the people"
    assert scores["det"]["far"][0] == pytest.approx(5 / 60)


def test_groups_of_poses_are_reported_together(tmp_path: Path, write_picture: Any, recognizer: Any) -> None:
    rows = [(p, 0, FINE, "gallery", "11") for p in (1, 2)]
    rows += [(1, 1, FINE, "probe", "2"), (2, 1, NO_FACE, "probe", "3"), (1, 2, FINE, "probe", "4")]
    protocol = replace(
        csv_protocol(tmp_path, write_picture, rows, "pose"), groups={"near": ("2", "3"), "absent": ("2", "9")}
    )
    groups = measure(protocol, recognizer).identification["all"]["by_group"]
    assert list(groups) == ["near"]
    assert (groups["near"]["n"], groups["near"]["rank1"]) == (2, 0.5)


def test_the_open_set_curve_runs_through_the_stated_points(
    tmp_path: Path, write_picture: Any, make_recognizer: Any
) -> None:
    rows = [(p, 0, FINE, "gallery", ",") for p in (1, 2, 3)]
    rows += [(p, k, FINE, "probe", ",") for p in (1, 2, 3) for k in (1, 2)] + [(1, 9, NO_FACE, "probe", ",")]
    rows += [(p, 0, FINE, "probe", ",") for p in range(10, 30)]
    one = measure(csv_protocol(tmp_path, write_picture, rows), make_recognizer(noise=1.5)).identification["all"]
    curve = one["open_set"]["curve"]
    for point in one["open_set"]["tpir_at_fpir"]:
        least = min(
            fnir for fpir, fnir in zip(curve["fpir"], curve["fnir"], strict=True) if fpir <= point["target_fpir"]
        )
        assert 1 - point["tpir"] == pytest.approx(least)
        low, high = point["tpir_people_interval"]
        assert low <= point["tpir"] <= high
