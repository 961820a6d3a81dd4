"""Do the tests of the measures see a wrong denominator? Each mutation makes a figure flatter; its test must fail.

    python benchmarks/mutate_denominators.py [--only NAME]

Works on a copy of the source in a temporary folder. Prints a line for each mutation and exits with 1 when a test let
one pass, or when a test fails without any mutation. Needs pytest.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("landmarks", "frontalize", "recognition", "evaluation", "cli")


@dataclass(frozen=True)
class Mutation:
    """One wrong denominator.

    Attributes:
        name: what it falsifies.
        file: the source file.
        right, wrong: the text that is replaced, once, and by what.
        test: the test that must fail, as pytest names it.
    """

    name: str
    file: str
    right: str
    wrong: str
    test: str


MUTATIONS = (
    Mutation(
        "rank-k over described probes only",
        "evaluation/ranks.py",
        "return float(np.count_nonzero(ranks <= k)) / len(ranks) if len(ranks)",
        "return float(np.count_nonzero(ranks <= k)) / max(np.isfinite(ranks).sum(), 1) if len(ranks)",
        "tests/evaluation/test_ranks.py::test_a_failed_probe_lowers_rank_one",
    ),
    Mutation(
        "CMC over described probes only",
        "evaluation/ranks.py",
        "[rank_k(ranks, k) for k in range(1, longest + 1)]",
        "[rank_k(ranks[np.isfinite(ranks)], k) for k in range(1, longest + 1)]",
        "tests/evaluation/test_ranks.py::test_cmc_never_falls_and_ends_below_one_when_probes_failed",
    ),
    Mutation(
        "ties broken in our favour",
        "evaluation/ranks.py",
        "ranks = (filled >= mate[:, None]).sum(axis=1)",
        "ranks = 1 + (filled > mate[:, None]).sum(axis=1)",
        "tests/evaluation/test_ranks.py::test_equal_scores_for_everybody_are_no_rank_one",
    ),
    Mutation(
        "TPIR over described known probes only",
        "evaluation/ranks.py",
        "float(np.count_nonzero(named)) / len(ranks)))",
        "float(np.count_nonzero(named)) / np.isfinite(ranks).sum()))",
        "tests/evaluation/test_ranks.py::test_tpir_at_fpir_is_the_best_that_any_threshold_gives",
    ),
    Mutation(
        "FPIR over all unknown probes, failed ones too",
        "evaluation/ranks.py",
        "allowed = int(target * len(alarms) + 1e-9)",
        "allowed = int(target * len(unknown_best) + 1e-9)",
        "tests/evaluation/test_ranks.py::test_failed_unknown_probes_do_not_lower_the_false_alarm_rate",
    ),
    Mutation(
        "accuracy over scored pairs only",
        "evaluation/verification.py",
        "return float(np.count_nonzero(right)) / len(scores)",
        "return float(np.count_nonzero(right)) / known.sum()",
        "tests/evaluation/test_verification.py::test_failed_pairs_stay_in_the_denominator",
    ),
    Mutation(
        "AUC over scored pairs only",
        "evaluation/verification.py",
        "    filled = worst_scores(scores, same)\n    genuine, impostor = filled[same], np.sort(filled[~same])",
        "    filled, same = scores[~np.isnan(scores)], same[~np.isnan(scores)]\n"
        "    genuine, impostor = filled[same], np.sort(filled[~same])",
        "tests/evaluation/test_verification.py::test_failed_pairs_stay_in_the_denominator",
    ),
    Mutation(
        "ROC, EER and TAR over scored pairs only",
        "evaluation/verification.py",
        "    filled = worst_scores(scores, same)\n    genuine, impostor = np.sort(filled[same])",
        "    filled, same = scores[~np.isnan(scores)], same[~np.isnan(scores)]\n"
        "    genuine, impostor = np.sort(filled[same])",
        "tests/evaluation/test_verification.py::test_roc_equals_counting_at_every_threshold",
    ),
    Mutation(
        "DET without the failed pairs",
        "evaluation/verification.py",
        "    curve = roc(scores, same)\n    frr = 1 - curve.tar",
        "    curve = roc(scores[~np.isnan(scores)], same[~np.isnan(scores)])\n    frr = 1 - curve.tar",
        "tests/evaluation/test_verification.py::test_failed_pairs_keep_the_det_away_from_zero",
    ),
    Mutation(
        "threshold from the fold itself",
        "evaluation/verification.py",
        "others = ~inside if len(names) > 1 else inside",
        "others = inside",
        "tests/evaluation/test_verification.py::test_each_fold_uses_the_threshold_of_the_others",
    ),
    Mutation(
        "calibration fitted on the fold itself",
        "evaluation/calibration.py",
        "others = ~inside if len(names) > 1 else inside",
        "others = inside",
        "tests/evaluation/test_calibration.py::test_each_fold_is_mapped_by_the_others",
    ),
    Mutation(
        "Cllr without the pairs that say nothing",
        "evaluation/calibration.py",
        "    genuine, impostor = ratios[same], ratios[~same]",
        "    genuine, impostor = ratios[same & (ratios != 0)], ratios[~same & (ratios != 0)]",
        "tests/evaluation/test_calibration.py::test_failed_pairs_cost_a_bit_each_and_stay_in_the_denominator",
    ),
    Mutation(
        "reliability weighed by pairs instead of kinds",
        "evaluation/calibration.py",
        "share = np.where(same, 0.5 / genuine, 0.5 / (len(same) - genuine))",
        "share = np.full(len(same), 1 / len(same))",
        "tests/evaluation/test_calibration.py::test_reliability_equals_counting_pairs_by_bin",
    ),
    Mutation(
        "Wilson's interval with the normal approximation's denominator",
        "evaluation/intervals.py",
        "weight = 1 + z * z / trials",
        "weight = 1.0",
        "tests/evaluation/test_intervals.py::test_wilson_matches_the_textbook_values",
    ),
    Mutation(
        "interval over pictures instead of people",
        "evaluation/people_intervals.py",
        "    return pair_share_interval(values, people, people)\n",
        "    return pair_share_interval(values, np.arange(len(values)), np.arange(len(values)))\n",
        "tests/evaluation/test_standard_rates.py::test_people_who_differ_widen_the_interval",
    ),
    Mutation(
        "ten people, all right, taken for all their pictures",
        "evaluation/people_intervals.py",
        "        count, z = float(people), float(ndtri(tail))",
        "        count, z = float(trials or people), float(ndtri(tail))",
        "tests/evaluation/test_standard_rates.py::test_ten_people_all_right_are_not_certain",
    ),
    Mutation(
        "interval of pairs without the second person",
        "evaluation/people_intervals.py",
        "np.bincount(a, off, count) + np.bincount(b[two], off[two], count)",
        "np.bincount(a, off, count)",
        "tests/evaluation/test_standard_rates.py::test_the_variance_of_pairs_is_that_of_all_pairs_which_share_a_person",
    ),
    Mutation(
        "draws of pairs without the second person",
        "evaluation/people_intervals.py",
        "weight = np.where(own, weight, weight * times[:, b])",
        "weight = np.where(own, weight, weight)",
        "tests/evaluation/test_standard_rates.py::test_resampled_verification_equals_a_slow_loop_over_the_same_draws",
    ),
    Mutation(
        "threshold of FPIR held fixed while people are drawn",
        "evaluation/people_intervals.py",
        "alarms <= target * alarms[:, -1:] + 1e-9",
        "np.arange(1, len(best) + 1)[None] <= target * len(best) + 0 * alarms",
        "tests/evaluation/test_standard_rates.py::test_resampled_fnir_chooses_the_threshold_again_in_each_resample",
    ),
    Mutation(
        "FMR over failed comparisons too",
        "evaluation/standard_rates.py",
        "    return Rate(int(np.count_nonzero(impostor >= threshold)), len(impostor))",
        "    return Rate(int(np.count_nonzero(impostor >= threshold)), int((~same).sum()))",
        "tests/evaluation/test_standard_rates.py::test_fmr_and_fnmr_are_over_completed_comparisons",
    ),
    Mutation(
        "FNMR over failed comparisons too",
        "evaluation/standard_rates.py",
        "    return Rate(int(np.count_nonzero(genuine < threshold)), len(genuine))",
        "    return Rate(int(np.count_nonzero(genuine < threshold)), int(same.sum()))",
        "tests/evaluation/test_standard_rates.py::test_fmr_and_fnmr_are_over_completed_comparisons",
    ),
    Mutation(
        "FRR without the failures to acquire",
        "evaluation/standard_rates.py",
        "    return fta + fnmr * (1 - fta)",
        "    return fnmr * (1 - fta)",
        "tests/evaluation/test_standard_rates.py::test_far_and_frr_count_a_failed_attempt_as_rejected",
    ),
    Mutation(
        "FTA over comparisons instead of attempts",
        "evaluation/score_figures.py",
        "counted(Rate(attempts.count(False), len(attempts)))",
        "counted(Rate(attempts.count(False), len(same)))",
        "tests/evaluation/test_standard_rates.py::test_every_rate_equals_counting_by_the_definitions",
    ),
    Mutation(
        "FTE over acquired attempts",
        "evaluation/score_figures.py",
        "Rate(list(enrolled.values()).count(False), len(enrolled))",
        "Rate(list(enrolled.values()).count(False), attempts.count(True))",
        "tests/evaluation/test_standard_rates.py::test_every_rate_equals_counting_by_the_definitions",
    ),
    Mutation(
        "FNIR without the failed searches",
        "evaluation/standard_rates.py",
        "returned(found, rank, threshold))), len(found.mate))",
        "returned(found, rank, threshold))), int(np.isfinite(found.mate).sum()))",
        "tests/evaluation/test_standard_rates.py::test_identification_rates_equal_a_loop_over_searches",
    ),
    Mutation(
        "FPIR over searches that name somebody",
        "evaluation/standard_rates.py",
        "return Rate(int(np.count_nonzero(found.strangers >= threshold)), len(found.strangers))",
        "return Rate(int(np.count_nonzero(found.strangers >= threshold)), int(np.isfinite(found.strangers).sum()))",
        "tests/evaluation/test_standard_rates.py::test_identification_rates_equal_a_loop_over_searches",
    ),
    Mutation(
        "strangers' searches with their own person in the gallery",
        "evaluation/standard_rates.py",
        "        filled[unknown, mates] = -np.inf\n",
        "        filled[unknown, mates] += 0\n",
        "tests/evaluation/test_standard_rates.py::test_identification_rates_equal_a_loop_over_searches",
    ),
    Mutation(
        "a group's impostors across groups",
        "evaluation/score_figures.py",
        "(sides[0] == value) & (sides[1] == value)",
        "(sides[0] == value) | (sides[1] == value)",
        "tests/evaluation/test_standard_rates.py::test_groups_use_one_threshold_and_are_compared_within_themselves",
    ),
    Mutation(
        "Gini without the correction for few groups",
        "evaluation/standard_rates.py",
        "return float(n / (n - 1) * spread)",
        "return float(spread)",
        "tests/evaluation/test_standard_rates.py::test_differentials_by_hand",
    ),
    Mutation(
        "min-Cllr without the failed pairs",
        "evaluation/calibration.py",
        "    ratios = np.zeros(len(scores))\n    if kind.any()",
        "    scores, same, known = scores[known], same[known], known[known]\n"
        "    ratios = np.zeros(len(scores))\n    if kind.any()",
        "tests/evaluation/test_calibration.py::test_min_cllr_is_that_of_isotonic_regression_and_failed_pairs_cost_a_bit",
    ),
    Mutation(
        "Holm's correction without the number of tests",
        "evaluation/intervals.py",
        "(len(p_values) - place) * p_values[index]",
        "p_values[index]",
        "tests/evaluation/test_intervals.py::test_holm_adjusts_as_in_the_textbook",
    ),
    Mutation(
        "found over found pictures only",
        "evaluation/recognition_figures.py",
        '"found": _share(sum(row.found for row in rows), n),',
        '"found": _share(sum(row.found for row in rows), sum(row.found for row in rows)),',
        "tests/evaluation/test_recognition_figures.py::test_a_hidden_probe_lowers_rank_one_and_stays_in_n",
    ),
    Mutation(
        "failures by stage over found pictures only",
        "evaluation/recognition_figures.py",
        "    n = len(failed_at)\n",
        '    n = sum(at not in ("read", "find") for at in failed_at)\n',
        "tests/evaluation/test_recognition_figures.py::test_failures_by_stage_are_shares_of_all_probes",
    ),
    Mutation(
        "comparisons without the failed ones",
        "evaluation/recognition_figures.py",
        "    scores = best.scores.ravel()\n",
        "    scores = best.scores.ravel()\n    same, scores = same[~np.isnan(scores)], scores[~np.isnan(scores)]\n",
        "tests/evaluation/test_recognition_figures.py::test_every_probe_is_compared_with_every_person_failures_included",
    ),
    Mutation(
        "template lost when one picture failed",
        "evaluation/pooling.py",
        "    if not described:",
        "    if len(described) < len(own):",
        "tests/evaluation/test_systems.py::test_a_template_is_found_when_any_picture_is",
    ),
    Mutation(
        "CED over found faces only",
        "evaluation/landmark_errors.py",
        'return np.asarray(np.searchsorted(np.sort(errors), at, side="right") / max(len(errors), 1))',
        'return np.asarray(np.searchsorted(np.sort(errors), at, side="right") / max(np.isfinite(errors).sum(), 1))',
        "tests/evaluation/test_landmark_errors.py::test_ced_counts_misses_and_its_area_is_that_under_the_staircase",
    ),
    Mutation(
        "area under the CED over found faces only",
        "evaluation/landmark_errors.py",
        "return float(np.maximum(0.0, 1.0 - errors / limit).mean())",
        "return float(np.maximum(0.0, 1.0 - errors[np.isfinite(errors)] / limit).mean())",
        "tests/evaluation/test_landmark_errors.py::test_ced_counts_misses_and_its_area_is_that_under_the_staircase",
    ),
    Mutation(
        "failure rate over found faces only",
        "evaluation/landmark_errors.py",
        "return float(np.count_nonzero(errors > limit)) / len(errors) if len(errors)",
        "return float(np.count_nonzero(errors > limit)) / max(np.isfinite(errors).sum(), 1) if len(errors)",
        "tests/evaluation/test_landmark_errors.py::test_figures_count_misses_everywhere_but_in_the_mean",
    ),
    Mutation(
        "NME over all 68 points, annotated or not",
        "evaluation/landmark_errors.py",
        "return float(np.nanmean(point_errors(located, annotated, sources))) / length",
        "return float(np.nansum(point_errors(located, annotated, sources))) / 68 / length",
        "tests/evaluation/test_landmark_errors.py::test_nme_is_the_mean_over_annotated_points",
    ),
)


def copy_source(to: Path) -> None:
    """The source and its tests, importable as facerec from `to`/build/typing."""
    for folder in (*FOLDERS, "tests"):
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)
    links = to / "build" / "typing" / "facerec"
    links.mkdir(parents=True)
    for folder in FOLDERS:
        (links / folder).symlink_to(to / folder)


def passes(copy: Path, tests: list[str]) -> bool:
    """Whether the tests pass on the copy; an error in pytest itself ends the program.

    In a child that is forked with the heavy packages loaded and facerec not, so that each run reads the copy again.
    """
    context = multiprocessing.get_context("fork")
    code = context.Value("i", -1)
    child = context.Process(target=_run, args=(copy, tests, code))
    child.start()
    child.join()
    if code.value not in (0, 1):
        sys.exit(f"pytest could not run {tests}: exit code {code.value}")
    return bool(code.value == 0)


def _run(copy: Path, tests: list[str], code: Synchronized[int]) -> None:
    import pytest

    os.chdir(copy)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(copy / "build" / "typing"))
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        code.value = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(copy), *tests]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Mutations whose name holds this text.")
    chosen = [one for one in MUTATIONS if parser.parse_args().only in one.name]
    for heavy in ("numpy", "scipy.stats", "scipy.optimize", "cv2", "PIL.Image", "torch", "pytest"):
        importlib.import_module(heavy)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        copy_source(copy)
        if not passes(copy, sorted({one.test for one in chosen})):
            print("the tests fail without any mutation")
            return 1
        missed = 0
        for one in chosen:
            path = copy / one.file
            source = path.read_text(encoding="utf-8")
            if source.count(one.right) != 1:
                sys.exit(f"{one.name}: expected its text once in {one.file}; found {source.count(one.right)} times")
            path.write_text(source.replace(one.right, one.wrong), encoding="utf-8")
            seen = not passes(copy, [one.test])
            path.write_text(source, encoding="utf-8")
            missed += not seen
            print(f"{'seen  ' if seen else 'MISSED'}  {one.name}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} wrong denominators seen by their tests")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
