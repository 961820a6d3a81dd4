"""The standard's figures against scikit-learn, scipy and slow twins written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from facerec.evaluation.people_intervals import (
    effective_wilson,
    pair_share_interval,
    resample_fnir,
    resample_verification,
    share_interval,
)
from facerec.evaluation.score_figures import StandardSettings, differential, standard_figures
from facerec.evaluation.score_set import Sample, ScoreSet, from_matrix
from facerec.evaluation.standard_rates import (
    Rate,
    false_accept_rate,
    false_matches,
    false_non_matches,
    false_reject_rate,
    gini,
    threshold_at,
    worst_to_best,
    worst_to_mean,
)
from facerec.evaluation.verification import tar_at_far
from facerec.landmarks.errors import InvalidInputError

FAILURES = (0.0, 0.02, 0.2)


def world(failures: float, people: int = 40, pictures: int = 6, unknown: int = 10, seed: int = 0) -> ScoreSet:
    """Every picture of people, of whom some are not enrolled, against everybody enrolled; some pictures failed."""
    rng = np.random.default_rng(seed)
    who = [f"p{i:03d}" for i in range(people) for _ in range(pictures)]
    acquired = rng.random(len(who)) >= failures
    enrolled = rng.random(people - unknown) >= failures / 2
    probes = [
        Sample(
            f"{person}/{i}",
            person,
            bool(acquired[i]),
            yaw=float(15 * (i % 6)),
            pitch=float(30 * (i % 3 - 1)),
            groups=(("sex", "fm"[int(person[1:]) % 2]),),
        )
        for i, person in enumerate(who)
    ]
    references = [
        Sample(f"p{j:03d}", f"p{j:03d}", bool(enrolled[j]), groups=(("sex", "fm"[j % 2]),))
        for j in range(people - unknown)
    ]
    scores = rng.normal(size=(len(who), len(references)))
    for i, person in enumerate(who):
        if int(person[1:]) < len(references):
            scores[i, int(person[1:])] += 2.5
    scores[~acquired] = np.nan
    scores[:, ~enrolled] = np.nan
    return from_matrix("made up", references, probes, scores)


def pairs_of(one: ScoreSet) -> list[tuple[float, bool]]:
    return [
        (float(score), one.references[r].person == one.probes[p].person)
        for score, r, p in zip(one.scores, one.reference, one.probe, strict=True)
    ]


@pytest.mark.parametrize("failures", FAILURES)
def test_fnmr_at_fmr_is_what_scikit_learn_finds_on_completed_comparisons(failures: float) -> None:
    one = world(failures)
    found = standard_figures(one, np.random.default_rng(0), StandardSettings(fmr=(0.01, 0.1)))
    kept = [(score, same) for score, same in pairs_of(one) if not np.isnan(score)]
    far, tar, _ = roc_curve([same for _, same in kept], [score for score, _ in kept], drop_intermediate=False)
    for point in found["fnmr_at_fmr"]:
        at = np.flatnonzero(far <= point["target_fmr"])[-1]
        assert point["fmr"]["rate"] == pytest.approx(far[at])
        assert point["fnmr"]["rate"] == pytest.approx(1 - tar[at])
    assert found["auc"] == pytest.approx(roc_auc_score([same for _, same in kept], [score for score, _ in kept]))
    crossing = np.flatnonzero(far >= 1 - tar)[0]
    assert min(far[crossing - 1], 1 - tar[crossing]) - 1e-9 <= found["eer"] <= max(far[crossing], 1 - tar[crossing - 1])


@pytest.mark.parametrize("failures", FAILURES)
def test_every_rate_equals_counting_by_the_definitions(failures: float) -> None:
    one = world(failures)
    found = standard_figures(one, np.random.default_rng(0), StandardSettings(fmr=(0.05,), fpir=(0.1,)))
    probes_failed = [sample for sample in one.probes if not sample.acquired]
    fta = len(probes_failed) / len(one.probes)
    fte = sum(not sample.acquired for sample in one.references) / len(one.references)
    assert found["fta"]["rate"] == pytest.approx(fta)
    assert found["fte"]["rate"] == pytest.approx(fte)
    assert found["failed_to_compare"]["errors"] == 0
    point = found["fnmr_at_fmr"][0]
    matches = trials = misses = genuine = 0
    for score, same in pairs_of(one):
        if np.isnan(score):
            continue
        if same:
            genuine += 1
            misses += score < point["threshold"]
        else:
            trials += 1
            matches += score >= point["threshold"]
    assert (point["fmr"]["errors"], point["fmr"]["trials"]) == (matches, trials)
    assert (point["fnmr"]["errors"], point["fnmr"]["trials"]) == (misses, genuine)
    assert matches / trials <= 0.05
    assert point["far"] == pytest.approx(matches / trials * (1 - fta))
    assert point["frr"] == pytest.approx(fta + misses / genuine * (1 - fta))


@pytest.mark.parametrize("failures", FAILURES)
@pytest.mark.parametrize("unknown", [10, 0])
def test_identification_rates_equal_a_loop_over_searches(failures: float, unknown: int) -> None:
    one = world(failures, unknown=unknown)
    ranks = (1, 3)
    settings = StandardSettings(fpir=(0.1,), ranks=ranks)
    found = standard_figures(one, np.random.default_rng(0), settings)["identification"]
    point = found["fnir_at_fpir"][0]
    threshold = point["threshold"]
    enrolled = {sample.person for sample in one.references}
    matrix = one.scores.reshape(len(one.probes), len(one.references))
    alarms = searches = mated = 0
    missed = dict.fromkeys(ranks, 0)
    missed_anyhow = dict.fromkeys(ranks, 0)
    for probe, row in zip(one.probes, matrix, strict=True):
        listed = [(s, r.person) for s, r in zip(row, one.references, strict=True) if not np.isnan(s)]
        if unknown == 0 or probe.person not in enrolled:
            searches += 1
            alarms += any(score >= threshold for score, name in listed if name != probe.person)
        if probe.person in enrolled:
            mated += 1
            best = [name for _, name in sorted(listed, reverse=True)]
            accepted = [name for score, name in sorted(listed, reverse=True) if score >= threshold]
            for rank in ranks:
                missed[rank] += probe.person not in accepted[:rank]
                missed_anyhow[rank] += probe.person not in best[:rank]
    assert (point["fpir"]["errors"], point["fpir"]["trials"]) == (alarms, searches)
    assert alarms / searches <= 0.1
    for rank in ranks:
        assert (point["fnir"][str(rank)]["errors"], point["fnir"][str(rank)]["trials"]) == (missed[rank], mated)
        assert found["fnir"][str(rank)]["errors"] == missed_anyhow[rank]
    assert found["searches"]["non_mated_are"] == ("unknown probes" if unknown else "own person left out")


def test_failures_leave_matching_alone_and_show_as_fta_where_the_strict_figure_falls() -> None:
    rng = np.random.default_rng(0)
    same = np.repeat([True, False], [500, 5000])
    scores = np.where(same, 5.0, -5.0) + rng.normal(size=5500)
    failed = rng.random(5500) < 0.02
    probes = tuple(Sample(str(i), f"p{i % 50}", not failed[i]) for i in range(5500))
    references = tuple(Sample(f"r{i}", f"p{i}") for i in range(50))
    place = np.where(same, np.arange(5500) % 50, (np.arange(5500) + 7) % 50)
    one = ScoreSet("x", references, probes, place, np.arange(5500), np.where(failed, np.nan, scores))
    point = standard_figures(one, rng, StandardSettings(fmr=(0.01,)))["fnmr_at_fmr"][0]
    assert (point["fmr"]["errors"] / point["fmr"]["trials"], point["fnmr"]["rate"]) == (
        pytest.approx(0.01, abs=1e-3),
        0,
    )
    assert point["frr"] == pytest.approx(failed.mean())
    assert tar_at_far(one.scores, one.same(), (0.01,)) == []  # the strict rule puts 1 % out of reach


def test_a_known_distribution_gives_its_known_rates() -> None:
    one = world(0.0, people=150, pictures=8, unknown=0, seed=3)
    point = standard_figures(one, np.random.default_rng(0), StandardSettings(fmr=(0.01,)))["fnmr_at_fmr"][0]
    assert point["threshold"] == pytest.approx(norm.isf(0.01), abs=0.03)
    assert point["fnmr"]["rate"] == pytest.approx(norm.cdf(norm.isf(0.01) - 2.5), abs=0.03)


def test_fmr_and_fnmr_are_over_completed_comparisons() -> None:
    scores = np.array([1.0, 3.0, np.nan, 1.0, 2.0, np.nan])
    same = np.array([True, True, True, False, False, False])
    assert false_matches(scores, same, 2.0) == Rate(1, 2)
    assert false_non_matches(scores, same, 2.0) == Rate(1, 2)


def test_far_and_frr_count_a_failed_attempt_as_rejected() -> None:
    assert false_accept_rate(0.1, 0.2) == pytest.approx(0.08)
    assert false_reject_rate(0.1, 0.2) == pytest.approx(0.28)
    assert (false_accept_rate(0.5, 1.0), false_reject_rate(0.0, 1.0)) == (0.0, 1.0)


def test_few_errors_are_marked_and_none_gets_the_rule_of_three() -> None:
    assert Rate(29, 1000).few
    assert not Rate(30, 1000).few
    assert Rate(0, 600).bound == pytest.approx(0.005)
    assert Rate(1, 600).bound is None
    assert (Rate(0, 0).rate, Rate(0, 0).bound) == (None, None)


def test_a_threshold_shuts_out_ties_together() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.3, 0.3])
    at = threshold_at(scores, 0.2)
    assert np.count_nonzero(scores >= at) == 0
    assert threshold_at(np.arange(30.0), 0.1) == np.nextafter(26.0, np.inf)
    with pytest.raises(InvalidInputError, match="rate"):
        threshold_at(scores, 1.5)


def test_a_search_that_returns_nobody_is_no_false_positive() -> None:
    strangers = np.array([-np.inf] * 8 + [1.0, 2.0])
    at = threshold_at(strangers, 0.5)
    assert np.isfinite(at)
    assert np.count_nonzero(strangers >= at) == 2


def test_smaller_galleries_have_the_rates_of_galleries_drawn_one_by_one() -> None:
    one = world(0.02, people=60, unknown=0)
    settings = StandardSettings(fpir=(0.1,), gallery_sizes=(10, 60, 1000), ranks=(1,), drawn_galleries=200)
    found = standard_figures(one, np.random.default_rng(1), settings)["identification"]
    (small,) = found["gallery_sizes"]
    assert small["gallery_size"] == 10
    assert found["gallery_sizes_out_of_reach"] == [1000]
    matrix = one.scores.reshape(len(one.probes), len(one.references))
    rng = np.random.default_rng(5)
    rates = []
    for _ in range(200):
        chosen = rng.choice(len(one.references), 10, replace=False)
        names = {one.references[j].person for j in chosen}
        missed = total = 0
        for probe, row in zip(one.probes, matrix, strict=True):
            if probe.person in names:
                mate = row[int(probe.person[1:])]
                total += 1
                missed += np.isnan(mate) or any(row[j] >= mate for j in chosen if j != int(probe.person[1:]))
        rates.append(missed / total)
    assert small["fnir"]["1"]["rate"] == pytest.approx(np.mean(rates), abs=0.015)
    assert small["fnir"]["1"]["rate"] < found["fnir"]["1"]["rate"]


def test_groups_use_one_threshold_and_are_compared_within_themselves() -> None:
    one = world(0.0)
    found = standard_figures(one, np.random.default_rng(0), StandardSettings(fmr=(0.05,)))
    (point,) = found["by_group"]["sex"]
    assert point["threshold"] == found["fnmr_at_fmr"][0]["threshold"]
    sex = {sample.name: dict(sample.groups)["sex"] for sample in (*one.references, *one.probes)}
    for value in "fm":
        inside = [
            score
            for score, r, p in zip(one.scores, one.reference, one.probe, strict=True)
            if one.references[r].person != one.probes[p].person
            and sex[one.references[r].name] == sex[one.probes[p].name] == value
        ]
        rate = point["groups"][value]["fmr"]
        assert (rate["errors"], rate["trials"]) == (sum(s >= point["threshold"] for s in inside), len(inside))
    across = point["between"][0]
    within = sum(one["fmr"]["trials"] for one in point["groups"].values())
    assert across["fmr"]["trials"] + within == found["comparisons"]["impostor"]


def test_differentials_by_hand() -> None:
    rates = [0.01, 0.02, 0.04]
    assert worst_to_best(rates) == pytest.approx(4)
    assert worst_to_mean(rates) == pytest.approx(2)
    pairs = sum(abs(x - y) for x in rates for y in rates)
    assert gini(rates) == pytest.approx(3 / 2 * pairs / (2 * 9 * np.mean(rates)))
    assert gini([0.1, 0.1]) == 0
    assert gini([0.3, 0, 0]) == pytest.approx(1)
    assert (worst_to_best([0.1, 0]), worst_to_mean([0.1, 0]), gini([0.1]), gini([0, 0])) == (None,) * 4


def test_a_group_of_few_errors_marks_the_differential() -> None:
    def block(errors: int) -> dict[str, object]:
        return {"rate": errors / 1000, "errors": errors, "trials": 1000}

    many = {"a": {"fmr": block(40), "fnmr": block(50)}, "b": {"fmr": block(80), "fnmr": block(10)}}
    found = differential(many)
    assert (found["fmr"]["worst"], found["fmr"]["best"], found["fmr"]["few_errors"]) == ("b", "a", False)
    assert found["fnmr"]["few_errors"]


def test_rates_by_pose_add_up_to_the_whole() -> None:
    found = standard_figures(world(0.2), np.random.default_rng(0), StandardSettings(fmr=(0.05,), fpir=(0.1,)))
    for angle, bins in (("by_yaw", 6), ("by_pitch", 3)):
        assert len(found[angle]) == bins
        for rate in ("fmr", "fnmr"):
            for key in ("errors", "trials"):
                parts = sum(cell[0][rate][key] for cell in found[angle].values())
                assert parts == found["fnmr_at_fmr"][0][rate][key]
        searches = found["identification"]
        for rate, whole in (("fpir", "fpir"), ("fnir", "fnir")):
            parts = sum(cell[0][rate]["errors"] for cell in searches[angle].values())
            point = searches["fnir_at_fpir"][0][whole]
            assert parts == (point if rate == "fpir" else point["1"])["errors"]


# Intervals by people ------------------------------------------------------------------------------------------


def test_ten_people_all_right_are_not_certain() -> None:
    low, high = share_interval(np.ones(100, dtype=bool), np.repeat(np.arange(10), 10))
    assert high == 1.0
    assert low == pytest.approx(0.7225, abs=1e-3)  # Wilson, 10 of 10


def test_people_who_differ_widen_the_interval() -> None:
    people = np.repeat(np.arange(50), 10)
    rng = np.random.default_rng(0)
    alike = rng.random(500) < 0.8
    together = np.repeat(rng.random(50) < 0.8, 10)
    width = [high - low for low, high in (share_interval(one, people) for one in (alike, together))]
    assert width[1] > 2 * width[0]


def test_intervals_by_people_contain_the_truth_at_their_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    for people in (10, 50, 500):
        held, runs, who = 0, 400, np.repeat(np.arange(people), 10)
        for _ in range(runs):
            rates = rng.beta(0.7 * 4, 0.3 * 4, size=people)  # intra-class correlation 0.2
            low, high = share_interval(rng.random(len(who)) < np.repeat(rates, 10), who)
            held += low <= 0.7 <= high
        assert 0.93 - 0.02 <= held / runs <= 0.97 + 0.02  # 0.02: two standard deviations of 400 runs


def test_the_variance_of_pairs_is_that_of_all_pairs_which_share_a_person() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 12, 200), rng.integers(0, 12, 200)
    level = 3 * rng.normal(size=12)
    wrong = rng.normal(size=200) + level[second] > 1  # who is second decides
    off = wrong - wrong.mean()
    variance = (
        sum(
            off[i] * off[j]
            for i in range(200)
            for j in range(200)
            if {int(first[i]), int(second[i])} & {int(first[j]), int(second[j])}
        )
        / 200**2
        * 12
        / 11
    )
    expected = effective_wilson(float(wrong.mean()), float(np.sqrt(max(variance, 0.0))), 12, 200)
    assert pair_share_interval(wrong, first, second) == pytest.approx(expected)


def test_resampled_verification_equals_a_slow_loop_over_the_same_draws() -> None:
    one = world(0.0, people=8, pictures=2, unknown=0)
    first, second, people = one.people()
    scores, same = np.round(one.scores, 1), first == second  # ties
    drawn = resample_verification(scores, same, first, second, (0.1,), np.random.default_rng(3), 20)
    rng = np.random.default_rng(3)
    picks = rng.integers(0, people, size=(20, people))
    for row, pick in enumerate(picks):
        times = np.bincount(pick, minlength=people)
        repeats = np.where(first == second, times[first], times[first] * times[second])
        many, kind = np.repeat(scores, repeats), np.repeat(same, repeats)
        at = threshold_at(many[~kind], 0.1)
        assert drawn.fnmr[row, 0] == pytest.approx((many[kind] < at).mean())
        assert drawn.auc[row] == pytest.approx(roc_auc_score(kind, many))


def test_resampled_fnir_chooses_the_threshold_again_in_each_resample() -> None:
    rng = np.random.default_rng(0)
    mate, rank = rng.normal(size=30) + 2, rng.integers(1, 4, 30).astype(float)
    rank[::7], mate[::7] = np.inf, np.nan
    strangers = np.append(rng.normal(size=19) + 1, -np.inf)
    own, other = np.arange(30) // 3, 10 + np.arange(20) // 2
    drawn = resample_fnir(mate, rank, own, strangers, other, (1, 2), (0.1,), np.random.default_rng(5), 15)
    picks = np.random.default_rng(5).integers(0, 20, size=(15, 20))
    for row, pick in enumerate(picks):
        times = np.bincount(pick, minlength=20)
        at = threshold_at(np.repeat(strangers, times[other]), 0.1)
        for i, most in enumerate((1, 2)):
            right = (rank <= most) & (np.nan_to_num(mate, nan=-np.inf) >= at)
            assert drawn[row, i, 0] == pytest.approx(1 - np.average(right, weights=times[own]))


def test_strangers_alone_have_false_matches_by_group_and_no_figure_of_genuine_ones() -> None:
    whole = world(0.02)
    strangers = ~whole.same()
    one = ScoreSet(
        "strangers",
        whole.references,
        whole.probes,
        whole.reference[strangers],
        whole.probe[strangers],
        whole.scores[strangers],
    )
    figures = standard_figures(one, np.random.default_rng(0), StandardSettings(fmr=(0.1,)))
    (point,) = figures["fnmr_at_fmr"]
    sex = np.array([dict(sample.groups)["sex"] for sample in one.references])[one.reference]
    other = np.array([dict(sample.groups)["sex"] for sample in one.probes])[one.probe]
    inside = one.scores[(sex == "f") & (other == "f")]
    expected = (inside[~np.isnan(inside)] >= point["threshold"]).mean()
    assert figures["by_group"]["sex"][0]["groups"]["f"]["fmr"]["rate"] == pytest.approx(expected)
    assert point["fnmr"]["rate"] is None
    assert point["frr"] is None
    assert "auc" not in figures
    assert "identification" not in figures
