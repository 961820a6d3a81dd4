"""The wrong denominators that `mutate_denominators.py` puts into the measures, and the test that must see each."""

from __future__ import annotations

from dataclasses import dataclass


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
        "        count, z = float(spread.people), float(ndtri(tail))",
        "        count, z = float(trials or spread.people), float(ndtri(tail))",
        "tests/evaluation/test_standard_rates.py::test_ten_people_all_right_are_not_certain",
    ),
    Mutation(
        "interval of pairs without the second person",
        "evaluation/people_intervals.py",
        "        own += np.bincount(people.second[apart], moves[apart], people.count)\n",
        "",
        "tests/evaluation/test_standard_rates.py::test_comparisons_of_the_same_two_people_are_counted_once",
    ),
    Mutation(
        "comparisons of two people counted with both",
        "evaluation/people_intervals.py",
        "variance = max(variance - pairs, pairs + alone)",
        "variance = max(variance, pairs + alone)",
        "tests/evaluation/test_standard_rates.py::test_comparisons_of_the_same_two_people_are_counted_once",
    ),
    Mutation(
        "spread below that of independent comparisons",
        "evaluation/people_intervals.py",
        "variance = max(variance - pairs, pairs + alone)",
        "variance = variance - pairs",
        "tests/evaluation/test_standard_rates.py::test_people_in_two_comparisons_of_opposite_outcome_are_not_sure",
    ),
    Mutation(
        "a person left out of the sum but not of the number",
        "evaluation/people_intervals.py",
        "        growth = 1 / np.maximum(1 - share, _LEAST_REST)",
        "        growth = np.ones(people.count)",
        "tests/evaluation/test_standard_rates.py::test_the_spread_of_a_share_is_that_of_leaving_each_person_out",
    ),
    Mutation(
        "a spread that one person makes taken for well known",
        "evaluation/people_intervals.py",
        "    return 2 / (2 / (count - 1) + excess / count)",
        "    return count - 1.0",
        "tests/evaluation/test_standard_rates.py::test_a_spread_that_one_person_makes_is_hardly_known",
    ),
    Mutation(
        "threshold held fixed while strangers change",
        "evaluation/people_intervals.py",
        "    moves = np.where(same, 1.0, slope) * errors",
        "    moves = np.where(same, 1.0, 0.0) * errors",
        "tests/evaluation/test_standard_rates.py::test_the_threshold_moves_with_the_strangers",
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
        "FMR between groups over all comparisons",
        "evaluation/score_figures.py",
        "return np.asarray(((sides[0] == x) & (sides[1] == y)) | ((sides[0] == y) & (sides[1] == x)))",
        "return np.asarray(((sides[0] == x) & (sides[1] == y)) | (sides[0] == y))",
        "tests/evaluation/test_standard_rates.py::test_groups_use_one_threshold_and_are_compared_within_themselves",
    ),
    Mutation(
        "differential without the mark of few errors",
        "evaluation/score_figures.py",
        '"few_errors": any(one["errors"] < FEW_ERRORS for one in stated.values()),',
        '"few_errors": all(one["errors"] < FEW_ERRORS for one in stated.values()),',
        "tests/evaluation/test_standard_rates.py::test_a_group_of_few_errors_marks_the_differential",
    ),
    Mutation(
        "worst group over the mean of all",
        "evaluation/standard_rates.py",
        "return max(rates) / min(rates) if len(rates) > 1 and min(rates) > 0 else None",
        "return max(rates) / float(np.mean(rates)) if len(rates) > 1 and min(rates) > 0 else None",
        "tests/evaluation/test_standard_rates.py::test_differentials_by_hand",
    ),
    Mutation(
        "FNMR after discarding over all comparisons",
        "evaluation/score_figures.py",
        '"fnmr": [float(one.mean()) for one in kept]',
        '"fnmr": [float(one.sum()) / len(missed) for one in kept]',
        "tests/evaluation/test_score_files.py::test_quality_that_knows_the_errors_lowers_the_fnmr_at_once",
    ),
    Mutation(
        "a bin of yaw discarded by the whole set's quality",
        "evaluation/score_figures.py",
        "_after_discarding(missed[label == name])",
        "_after_discarding(missed)",
        "tests/evaluation/test_score_files.py::test_quality_that_knows_the_errors_lowers_the_fnmr_at_once",
    ),
    Mutation(
        "FNIR without the rank",
        "evaluation/standard_rates.py",
        "return (found.rank <= rank) & np.isfinite(scores) & (scores >= threshold)",
        "return np.isfinite(scores) & (scores >= threshold)",
        "tests/evaluation/test_standard_rates.py::test_identification_rates_equal_a_loop_over_searches",
    ),
    Mutation(
        "smaller galleries searched as the whole one",
        "evaluation/standard_rates.py",
        "rank = (filled[np.ix_(mated, gallery)] >= mate[:, None])",
        "rank = (filled[mated] >= mate[:, None])",
        "tests/evaluation/test_standard_rates.py::test_smaller_galleries_have_the_rates_of_galleries_drawn_one_by_one",
    ),
    Mutation(
        "Tippett shares over both kinds together",
        "evaluation/calibration.py",
        "/ max(int(np.count_nonzero(kind)), 1)\n",
        "/ max(len(same), 1)\n",
        "tests/evaluation/test_calibration.py::test_tippett_shares_are_counts_above_each_ratio",
    ),
    Mutation(
        "a probe of a score file is acquired whatever came of it",
        "evaluation/score_files.py",
        'acquired = stated == "1" if stated in ("0", "1") else completed',
        "acquired = True",
        "tests/evaluation/test_score_files.py::test_four_columns_give_the_same_rates",
    ),
    Mutation(
        "pose error over faces that were not found",
        "evaluation/head_pose.py",
        "        kept += 1\n        found =",
        "        kept += result.points is not None\n        found =",
        "tests/evaluation/test_public_sets.py::test_aflw2000_is_measured_by_its_bins_and_its_pose",
    ),
    Mutation(
        "a view in which nothing was found left out of the mean",
        "evaluation/landmark_figures.py",
        "if len(found) == len(views) else None for name",
        "if found else None for name",
        "tests/evaluation/test_public_sets.py::test_aflw2000_is_measured_by_its_bins_and_its_pose",
    ),
    Mutation(
        "a peer's picture without a face left out",
        "benchmarks/peers/protocol.py",
        "np.isfinite(vectors).all(axis=1)",
        "np.ones(len(vectors), dtype=bool)",
        "tests/evaluation/test_peers.py::test_a_network_s_vectors_give_the_scores_that_the_same_signatures_do",
    ),
    Mutation(
        "pairs without people taken for one person each",
        "evaluation/protocols/pairs.py",
        '            parent[root(row["path_a"])] = root(row["path_b"])',
        '            root(row["path_a"])',
        "tests/evaluation/test_score_files.py::test_pairs_tie_pictures_of_one_person_together",
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
        '"people": len(set(people.tolist())),\n        "found": _share(sum(row.found for row in rows), n),',
        '"people": len(set(people.tolist())),\n'
        '        "found": _share(sum(row.found for row in rows), sum(row.found for row in rows)),',
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
