"""The figures of the confidence are those of naive counts."""

from __future__ import annotations

import numpy as np
import pytest

from vtr_demo.calibration import (
    Asked,
    ask_given,
    ask_halves,
    ask_left_out,
    auroc,
    bins,
    figures,
    smallest_p,
    summary,
    threshold_for,
)
from vtr_demo.nullset import NullDistribution


def shares(seed: int, count: int, of: int = 20) -> np.ndarray:
    """p-values with many ties."""
    return np.random.default_rng(seed).integers(1, of + 1, count) / of


def scores(seed: int, queries: int, clips: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(queries, clips))


@pytest.mark.parametrize("seed", range(4))
def test_auroc_equals_a_count_of_pairs(seed: int) -> None:
    about, nothing = shares(seed, 23), shares(seed + 9, 31)
    pairs = [(a < n) + 0.5 * (a == n) for a in about for n in nothing]
    assert auroc(about, nothing) == pytest.approx(np.mean(pairs))
    assert auroc(about, nothing) == pytest.approx(1 - auroc(nothing, about))
    assert auroc(about, about) == pytest.approx(0.5)


@pytest.mark.parametrize("count", [1, 19, 20, 21, 60, 200])
def test_at_its_threshold_false_alarms_are_within_five_percent_and_below_it_not(count: int) -> None:
    about = shares(count, count, of=50)
    edge = threshold_for(about)
    assert (about > edge).mean() <= 0.05
    assert (about > edge - 1e-9).mean() > 0.05


def test_refusals_and_false_alarms_are_shares_above_the_threshold() -> None:
    about, nothing = np.array([0.01, 0.2, 0.3, 0.9]), np.array([0.2, 0.4, 0.5, 0.6, 1.0])
    found = figures(about, nothing, threshold=0.3)
    assert (found["false_alarms"], found["refused"]) == (25, 80)
    assert found["refused_at_5_percent_false_alarms"] == 20  # none of four may be refused: p > 0.9


def test_the_bins_hold_every_query_once_and_uniform_ones_as_expected() -> None:
    table = bins(np.arange(1, 201) / 200)
    assert list(table.values()) == pytest.approx([5, 5, 10, 10, 10, 10, 25, 25])
    assert sum(bins(shares(3, 77)).values()) == pytest.approx(100)
    assert bins(np.array([0.05, 0.1, 1.0]))["0 to 0.05"] == pytest.approx(100 / 3)  # edges count below


# --------------------------------------------------------------------------- who asks
def test_a_query_has_the_smallest_p_value_of_its_clips() -> None:
    asked, null = scores(0, 5, 4), scores(1, 30, 4)
    known = NullDistribution([null])
    loop = [min(known.p_values(row[[j]], np.array([j]))[0] for j in range(4)) for row in asked]
    assert smallest_p(asked, null).tolist() == loop


def test_left_out_captions_never_see_their_own_clips() -> None:
    asked, null = scores(2, 6, 3), scores(3, 40, 3)
    own = np.array([0, 0, 1, 1, 2, 2])[:, None] == np.arange(3)
    far = asked + 1000.0 * own  # sure of its own clip, whatever the rest
    found = ask_left_out(far, own, null)
    assert found.about.tolist() == [1 / 41] * 6
    assert found.nothing.tolist() == ask_left_out(asked, own, null).nothing.tolist()
    assert found.about_groups.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_library_of_one_clip_is_empty_once_it_is_left_out() -> None:
    found = ask_left_out(np.ones((2, 1)), np.ones((2, 1), dtype=bool), scores(4, 9, 1))
    assert found.nothing.tolist() == [1, 1]


def test_each_half_of_the_null_asks_the_other() -> None:
    null, asked = scores(5, 11, 4), scores(6, 3, 4)
    own = np.arange(3)
    found = ask_halves(asked, own, null)
    again = ask_given(asked, own, null[::2], null[1::2])
    assert (len(found.about), len(found.nothing)) == (6, 11)
    assert found.nothing[:5].tolist() == again.nothing.tolist()
    assert found.about[:3].tolist() == again.about.tolist()


def test_halves_of_a_null_that_is_alike_are_uniform() -> None:
    found = np.concatenate([
        ask_halves(scores(9, 1, 8), np.zeros(1), scores(seed, 200, 8)).nothing
        for seed in range(20)
    ])  # fmt: skip
    for name, value in bins(found).items():
        low, high = map(float, name.split(" to "))
        assert value == pytest.approx(100 * (high - low), abs=2.5)


# --------------------------------------------------------------------------- the whole
def test_intervals_hold_the_figures_and_draw_whole_groups() -> None:
    asked = Asked(shares(7, 40) / 3, shares(8, 60), np.arange(40) // 4, np.arange(60))
    found = summary(asked, resamples=200)
    for name, (low, high) in found["interval_95"].items():
        assert low <= found[name] <= high
    for row in found["reliability"]:
        assert row["interval_95"][0] <= row["observed"] <= row["interval_95"][1]
    one = summary(Asked(asked.about, asked.nothing, np.zeros(40), np.zeros(60)), resamples=20)
    assert all(low == high for low, high in one["interval_95"].values())
    assert summary(asked, resamples=50) == summary(asked, resamples=50)
