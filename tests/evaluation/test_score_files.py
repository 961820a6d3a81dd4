from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.evaluation.page_summary import page_summary
from facerec.evaluation.protocols.csv_protocol import read_csv
from facerec.evaluation.protocols.pairs import read_pairs
from facerec.evaluation.score_figures import StandardSettings, standard_figures
from facerec.evaluation.score_files import read_scores, write_scores
from facerec.evaluation.score_set import Sample, ScoreSet, from_matrix
from facerec.landmarks.errors import InvalidInputError


def made_up() -> ScoreSet:
    rng = np.random.default_rng(0)
    probes = [
        Sample(f"a{i}/0 {i}.jpg", f"a{i % 6}", i != 3, yaw=10.0 * i, groups=(("age", "old" if i % 2 else "young"),))
        for i in range(18)
    ]
    references = [Sample(f"a{j}", f"a{j}", groups=(("age", "old" if j % 2 else "young"),)) for j in range(6)]
    scores = rng.normal(size=(18, 6))
    scores[np.arange(18), np.arange(18) % 6] += 2
    scores[3] = np.nan
    return from_matrix("set", references, probes, scores)


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_what_is_written_is_read_back(tmp_path: Path, ending: str) -> None:
    one = made_up()
    write_scores(tmp_path, one, "set")
    back = read_scores(tmp_path / f"set.{ending}")
    assert (back.name, back.references, back.probes) == (one.name, one.references, one.probes)
    np.testing.assert_array_equal(back.reference, one.reference)
    np.testing.assert_array_equal(back.probe, one.probe)
    np.testing.assert_allclose(back.scores, one.scores, rtol=1e-8)


def test_four_columns_give_the_same_rates(tmp_path: Path) -> None:
    one = made_up()
    write_scores(tmp_path, one, "set")
    back = read_scores(tmp_path / "set.txt")
    settings = StandardSettings(fmr=(0.1,), fpir=(0.1,), ranks=(1,))
    found = [standard_figures(each, np.random.default_rng(0), settings) for each in (one, back)]
    for key in ("fta", "fte", "auc", "eer", "comparisons", "fnmr_at_fmr"):
        assert found[0][key] == found[1][key]
    assert found[0]["identification"]["fnir"] == found[1]["identification"]["fnir"]


def test_a_row_that_is_no_comparison_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("a b c\n")
    with pytest.raises(InvalidInputError, match="line 1"):
        read_scores(file)
    file = tmp_path / "x.csv"
    file.write_text("probe_subject_id,bio_ref_subject_id,score\na,b,high\n")
    with pytest.raises(InvalidInputError, match=r"line 2.*'high'"):
        read_scores(file)
    file.write_text("probe,score\na,1\n")
    with pytest.raises(InvalidInputError, match="bio_ref_subject_id"):
        read_scores(file)
    np.savez(tmp_path / "x.npz", format=np.array({"a": 1}, dtype=object))
    with pytest.raises(InvalidInputError, match=r"x\.npz"):
        read_scores(tmp_path / "x.npz")


def test_the_command_reports_on_anybodys_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scores(tmp_path, made_up(), "ours")
    arguments = ["evaluate", "scores", str(tmp_path / "ours.csv"), "--fmr", "0.05", "--gallery-sizes", "4"]
    assert run([*arguments, "--report", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "FNMR" in said.out
    content = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    assert f"evaluate scores {tmp_path / 'ours.csv'} --" in (tmp_path / "out/report.html").read_text("utf-8")
    ours = content["scores"]["ours"]
    assert [point["target_fmr"] for point in ours["standard"]["fnmr_at_fmr"]] == [0.05]
    assert ours["standard"]["identification"]["gallery_sizes"][0]["gallery_size"] == 4
    assert ours["rank1"] < 1  # the failed probe is a miss in the strict figure
    assert (tmp_path / "out/report.html").is_file()
    assert run([*arguments[:3], "--fmr", "2"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err


def test_quality_that_knows_the_errors_lowers_the_fnmr_at_once() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(size=100) + 2, rng.normal(size=900)])
    place = np.arange(1000)
    probes = tuple(
        Sample(
            str(i),
            f"p{i % 100}" if i < 100 else f"q{i}",
            yaw=20.0 * (i % 2),
            quality=float(scores[i]) if i < 100 else 1.0,
        )
        for i in range(1000)
    )
    references = tuple(Sample(f"r{j}", f"p{j}") for j in range(100))
    one = ScoreSet("x", references, probes, place % 100, place, scores)
    (curve,) = standard_figures(one, rng, StandardSettings(fmr=(0.1,)))["discard"]
    missed = curve["errors"][0]
    assert 0 < missed < 50
    for share, errors, rate in zip(curve["discarded"], curve["errors"], curve["fnmr"], strict=True):
        assert errors == max(0, missed - int(share * 100))
        assert rate == pytest.approx(errors / (100 - int(share * 100)))
    for parity, name in enumerate(("0-15", "15-30")):
        own = curve["by_yaw"][name]
        missed = int((scores[parity:100:2] < np.sort(scores[100:])[-91]).sum())
        assert own["trials"] == 50
        assert own["errors"] == [max(0, missed - int(share * 50)) for share in curve["discarded"]]
        assert own["fnmr"][10] == pytest.approx(own["errors"][10] / 25)


def test_groups_of_a_list_reach_the_pictures(tmp_path: Path, write_picture: Any) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name, 1)
    (tmp_path / "list.csv").write_text(
        "path,person,role,group:age,group:sex\na.png,p,gallery,20-29,f\nb.png,p,probe,30-39,\n"
    )
    first, second = read_csv(tmp_path / "list.csv").pictures
    assert first.groups == (("age", "20-29"), ("sex", "f"))
    assert second.groups == (("age", "30-39"),)


def test_pairs_tie_pictures_of_one_person_together(tmp_path: Path, write_picture: Any) -> None:
    for name in "abcd":
        write_picture(tmp_path / f"{name}.png", 1)
    file = tmp_path / "pairs.csv"
    head = "path_a,path_b,same,group:sex,group_b:age\n"
    file.write_text(
        head
        + "a.png,b.png,1,f,old\nb.png,c.png,1,f,\na.png,d.png,0,,young\n".replace(
            "b.png,c.png,1,f,", "c.png,b.png,1,f,old"
        )
    )
    with pytest.raises(InvalidInputError, match="groups"):  # a.png has no sex on the last line
        read_pairs(file)
    file.write_text(head + "a.png,b.png,1,f,old\nc.png,b.png,1,f,old\na.png,d.png,0,f,young\n")
    protocol = read_pairs(file)
    people = {picture.name: picture.person for picture in protocol.pictures}
    assert people["a.png"] == people["b.png"] == people["c.png"] != people["d.png"]
    assert dict(protocol.pictures[1].groups) == {"sex": "f", "age": "old"}
    assert protocol.pairs[0].same == (True, True, False)
    file.write_text("path_a,path_b,same\na.png,b.png,1\nb.png,c.png,1\na.png,c.png,0\n")
    with pytest.raises(InvalidInputError, match="line 4"):
        read_pairs(file)


def test_evaluated_pairs_write_score_files_that_give_the_same_figures(
    tmp_path: Path,
    write_picture: Any,
    recognizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from facerec.recognition.recognizer import Recognizer

    monkeypatch.setattr(Recognizer, "load", lambda **options: recognizer)
    lines = ["path_a,path_b,same,group:sex"]
    for person in range(1, 7):
        for number in (0, 1):
            write_picture(tmp_path / f"{person}{number}.png", person, number, 1 if (person, number) == (2, 1) else 0)
        sex = "fm"[person % 2]
        lines.append(f"{person}0.png,{person}1.png,1,{sex}")
        if person < 5:
            lines.append(f"{person}0.png,{person + 2}1.png,0,{sex}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    common = ["--fmr", "0.25", "--json", "-q"]
    arguments = ["evaluate", "recognition", "pairs", str(tmp_path / "pairs.csv"), "--device", "cpu"]
    assert run([*arguments, *common, "--scores", str(tmp_path / "scores")]) == 0
    ours = json.loads(capsys.readouterr().out)["verification"]["pairs"]["standard"]
    assert ours["fta"]["errors"] == 1
    (file,) = (tmp_path / "scores").glob("*.csv")
    assert run(["evaluate", "scores", str(file), *common]) == 0
    theirs = json.loads(capsys.readouterr().out)["scores"][file.stem]["standard"]
    for key in ("fta", "fte", "failed_to_compare", "auc", "eer", "comparisons", "people", "by_yaw"):
        assert ours[key] == theirs[key]
    assert list(ours["by_group"]["sex"][0]["groups"]) == ["f", "m"]


def test_systems_are_shown_side_by_side_at_one_false_match_rate() -> None:
    def standard(few: bool) -> dict[str, Any]:
        points = [
            {
                "target_fmr": target,
                "fmr": {"few_errors": scarce},
                "fnmr": {"rate": 0.3, "trials": 99, "interval": [0, 1]},
            }
            for target, scarce in ((0.001, few), (0.01, False))
        ]
        return {
            "n": 1000,
            "standard": {"people": 9, "fnmr_at_fmr": points, "by_yaw": {}, "by_pitch": {}, "by_group": {}},
        }

    # The first supports FMR 0.1 % by itself, the second does not.
    summary = page_summary({"kind": "scores", "scores": {"ours-set": standard(False), "theirs-set": standard(True)}})
    assert summary.table is not None
    assert list(summary.table.columns) == ["set: FNMR at FMR 1 %"]
    for _, (cell,) in summary.table.rows:
        assert cell is not None
        assert "/fnmr_at_fmr/1/" in cell[0][0]
