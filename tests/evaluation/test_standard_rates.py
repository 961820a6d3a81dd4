"""The standard's figures against scikit-learn, scipy and slow twins written from the definitions."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from facerec.evaluation.people_intervals import (
    ComparedPeople,
    Spread,
    auc_interval,
    eer_interval,
    effective_wilson,
    fnir_interval,
    fnmr_interval,
    pair_share_interval,
    share_interval,
    spread_by_people,
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


def test_the_spread_of_a_share_is_that_of_leaving_each_person_out() -> None:
    rng = np.random.default_rng(1)
    who = rng.integers(0, 12, 200)  # people with few and with many pictures
    wrong = rng.normal(size=200) + 2 * rng.normal(size=12)[who] > 1
    share = wrong.mean()
    left_out = [wrong[who != person].mean() - share for person in range(12)]
    expected = np.sqrt(11 / 12 * np.sum(np.square(left_out)))
    assert spread_by_people((wrong - share) / 200, ComparedPeople.of(who, who)).deviation == pytest.approx(expected)
    low, high = share_interval(wrong, who)
    assert low < share < high


def test_comparisons_of_the_same_two_people_are_counted_once() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 12, 200), rng.integers(0, 12, 200)
    wrong = rng.normal(size=200) + 3 * rng.normal(size=12)[second] > 1  # who is second decides
    share = wrong.mean()
    involved = (np.arange(12)[:, None] == first) | (np.arange(12)[:, None] == second)
    growth = 1 / (1 - involved.mean(axis=1))
    variance = 11 / 12 * sum((wrong[~one].mean() - share) ** 2 for one in involved)
    for a in range(12):
        for b in range(a):
            of_both = involved[a] & involved[b]
            variance -= 11 / 12 * growth[a] * growth[b] * ((wrong[of_both] - share).sum() / 200) ** 2
    found = spread_by_people((wrong - share) / 200, ComparedPeople.of(first, second))
    assert found.deviation == pytest.approx(np.sqrt(variance))
    assert pair_share_interval(wrong, first, second) == effective_wilson(float(share), found, 200)
    swapped = ComparedPeople.of(second, first)
    assert spread_by_people((wrong - share) / 200, swapped).deviation == pytest.approx(found.deviation)


def test_people_in_two_comparisons_of_opposite_outcome_are_not_sure() -> None:
    # A ring in which errors and right answers take turns: what each person is in adds up to nothing.
    first = np.arange(20)
    wrong = first % 2 == 0
    spread = spread_by_people((wrong - 0.5) / 20, ComparedPeople.of(first, (first + 1) % 20))
    assert spread.deviation >= 0.95 * np.sqrt(0.25 / 20)  # nearly that of twenty independent trials
    assert pair_share_interval(wrong, first, (first + 1) % 20) == pytest.approx((0.28, 0.72), abs=0.04)


def test_a_spread_that_one_person_makes_is_hardly_known() -> None:
    who = np.repeat(np.arange(10), 10)
    even, one = np.zeros((2, 100))
    even[::10], one[:10] = 1, 1
    spreads = [spread_by_people((x - x.mean()) / 100, ComparedPeople.of(who, who)) for x in (one, np.roll(one, 5))]
    assert spreads[0].freedom < 3 < spreads[1].freedom <= 9
    # One error among a hundred must not be surer than none.
    wrong = np.zeros(100, dtype=bool)
    wrong[0] = True
    assert share_interval(wrong, who)[1] > 0.1


def few_people(rng: np.random.Generator, people: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, same, first, second: three genuine comparisons of each person, each compared with eight others."""
    level, ease = rng.normal(size=(2, people))
    own, a = np.repeat(np.arange(people), 3), np.repeat(np.arange(people), 8)
    b = (a + np.tile(1 + np.arange(8), people)) % people
    genuine = 2 + ease[own] + rng.normal(size=len(own))
    impostor = (level[a] + level[b]) / np.sqrt(2) + rng.normal(size=len(a))
    same = np.arange(len(own) + len(a)) < len(own)
    return np.concatenate([genuine, impostor]), same, np.concatenate([own, a]), np.concatenate([own, b])


def test_intervals_of_verification_hold_the_truth_as_often_as_they_say() -> None:
    rng, scale, runs = np.random.default_rng(0), np.sqrt(2.0), 300
    truth = {
        "fnmr": norm.cdf(norm.isf(0.1) - 2 / scale),
        "auc": norm.cdf(1.0),
        "eer": norm.cdf(-1 / scale),
        "fnir": norm.cdf(norm.isf(0.1) - 2 / scale),
    }
    held = dict.fromkeys(truth, 0)
    for _ in range(runs):
        scores, same, first, second = few_people(rng)
        people = ComparedPeople.of(first, second)
        mates, strangers = (scale * rng.normal(size=30) for _ in range(2))  # one search of each person
        found = {
            "fnmr": fnmr_interval(scores, same, people, 0.1),
            "auc": auc_interval(scores, same, people),
            "eer": eer_interval(scores, same, people),
            "fnir": fnir_interval(mates + 2, np.arange(30), strangers, np.arange(30, 60), 0.1),
        }
        for name, (low, high) in found.items():
            held[name] += low <= truth[name] <= high
    for name, count in held.items():
        assert 0.92 <= count / runs <= 0.985, name  # two standard deviations of 300 runs around 93 and 97 %


def test_the_threshold_moves_with_the_strangers() -> None:
    rng = np.random.default_rng(0)
    genuine = rng.normal(size=3000) + 2
    who = np.arange(3000)
    width = []
    for strangers in (30, 3000):
        found = fnir_interval(genuine, who, rng.normal(size=strangers), 3000 + np.arange(strangers), 0.1)
        width.append(found[1] - found[0])
    fixed = share_interval(genuine < norm.isf(0.1), who)
    assert width[1] < 2 * (fixed[1] - fixed[0])
    assert width[0] > 5 * (fixed[1] - fixed[0])


def test_intervals_of_verification_take_failures_as_infinite_scores_and_refuse_nan() -> None:
    scores, same, first, second = few_people(np.random.default_rng(2))
    people = ComparedPeople.of(first, second)
    failed = scores.copy()
    failed[:9] = -np.inf  # three people's genuine comparisons
    failed[-4:] = np.inf
    for interval in (auc_interval, eer_interval, partial(fnmr_interval, target=0.1)):
        low, high = interval(failed, same, people)
        assert 0 <= low < high <= 1
        assert interval(scores, same, people) != (low, high)
        with pytest.raises(InvalidInputError, match="completed"):
            interval(np.where(np.isinf(failed), np.nan, failed), same, people)
        with pytest.raises(InvalidInputError, match="both kinds"):
            interval(scores, np.ones_like(same), people)


def test_ten_people_told_apart_without_error_are_not_certain() -> None:
    who = np.arange(10)
    first, second = np.concatenate([who, who]), np.concatenate([who, np.roll(who, 1)])
    scores, same = np.repeat([1.0, 0.0], 10), np.repeat([True, False], 10)
    people = ComparedPeople.of(first, second)
    assert auc_interval(scores, same, people) == pytest.approx((0.7225, 1.0), abs=1e-3)
    assert eer_interval(scores, same, people) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert fnmr_interval(scores, same, people, 0.1) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert effective_wilson(0.5, Spread(0.0, 1.0, 0)) == (0.0, 1.0)


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
