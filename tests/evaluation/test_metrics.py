"""Laws of the metrics; expected values come from hand-worked tables and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtr_demo.errors import ConfigError, ScoreError
from vtr_demo.evaluation import metrics
from vtr_demo.evaluation.metrics import PROTOCOLS, retrieval_ranks

SMALL = st.integers(0, 3)  # few values, so that ties are common


def ranks(scores, answers):
    """``metrics.ranks`` for one set of right answers a query."""
    return metrics.ranks(scores, table_of(answers, scores.shape[1]))


def table_of(answers, candidates):
    return np.array([[i in right for i in range(candidates)] for right in answers])


def naive_ranks(scores, positives):
    """The mean, over all orders of tied candidates, of the best positive's place among the negatives."""
    result = []
    for row, answers in zip(scores.tolist(), positives, strict=True):
        best = max(row[a] for a in answers)
        negatives = [value for i, value in enumerate(row) if i not in answers]
        first = 1 + sum(value > best for value in negatives)
        last = 1 + sum(value >= best for value in negatives)
        result.append((first + last) / 2)
    return result


@st.composite
def retrievals(draw):
    queries, candidates = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    scores = [[draw(SMALL) for _ in range(candidates)] for _ in range(queries)]
    answers = [draw(st.sets(st.integers(0, candidates - 1), min_size=1)) for _ in range(queries)]
    return np.array(scores, dtype=np.float32), answers


# --------------------------------------------------------------------------- ranks
def test_a_table_worked_by_hand():
    scores = np.array([[9, 1, 2, 3], [5, 5, 1, 0], [4, 3, 2, 1], [0, 7, 7, 7]])
    assert ranks(scores, [{0}, {1}, {2}, {3}]).tolist() == [1, 1.5, 3, 2]
    assert ranks(scores, [{1, 3}, {2}, {3}, {0}]).tolist() == [2, 3, 4, 4]


@settings(deadline=None)
@given(retrievals())
def test_ranks_equal_the_naive_loop(case):
    scores, answers = case
    expected = naive_ranks(scores, answers)
    assert ranks(scores, answers).tolist() == expected
    assert ranks(np.exp(scores) * 3 - 1, answers).tolist() == expected, "only their order counts"
    for kind in (np.float16, np.float64, np.int64):
        assert ranks(scores.astype(kind), answers).tolist() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_scores_are_refused_by_place(bad):
    scores = np.zeros((3, 4), dtype=np.float16)
    scores[2, 1] = bad
    with pytest.raises(ScoreError, match="query 2 with candidate 1"):
        ranks(scores, [{0}, {1}, {2}])


@pytest.mark.parametrize(
    ("scores", "positives"),
    [
        (np.zeros(3), table_of([{0}], 3)),
        (np.zeros((0, 3)), np.zeros((0, 3), dtype=bool)),
        (np.zeros((2, 3)), table_of([{0}], 3)),
        (np.zeros((2, 3)), table_of([{0}, set()], 3)),
        (np.zeros((2, 3)), np.ones((2, 4), dtype=bool)),
        (np.zeros((2, 3)), np.arange(2)),
    ],
)
def test_misshapen_input_is_refused(scores, positives):
    with pytest.raises(ScoreError):
        metrics.ranks(scores, positives)


# --------------------------------------------------------------------------- protocols
def several_captions(seed=3, kinds=4):
    """Seven texts of three clips with ties; text 2 belongs to clips 0 and 1, and twice to clip 1."""
    pairs = np.array([(0, 0), (1, 0), (2, 0), (2, 1), (3, 1), (2, 1), (4, 2), (5, 2), (6, 2)])
    positives = np.zeros((7, 3), dtype=bool)
    positives[pairs[:, 0], pairs[:, 1]] = True
    return np.random.default_rng(seed).integers(0, kinds, (7, 3)).astype(float), positives, pairs


@pytest.mark.parametrize("seed", range(4))
def test_both_protocols_equal_a_loop(seed):
    """Merged counts texts and clips; as published, each caption has its one clip."""
    scores, positives, pairs = several_captions(seed)
    merged = retrieval_ranks(scores, positives, "merged", pairs)
    assert merged.text_to_video.tolist() == naive_ranks(scores, [set(np.flatnonzero(r)) for r in positives])
    texts_of = [set(np.flatnonzero(column)) for column in positives.T]
    assert merged.video_to_text.tolist() == naive_ranks(scores.T, texts_of)
    published = retrieval_ranks(scores, positives, "as_published", pairs)
    every = scores[pairs[:, 0]]
    assert published.text_to_video.tolist() == naive_ranks(every, [{clip} for clip in pairs[:, 1]])
    captions_of = [set(np.flatnonzero(pairs[:, 1] == clip)) for clip in range(3)]
    assert published.video_to_text.tolist() == naive_ranks(every.T, captions_of)
    assert published.text_groups.tolist() == pairs[:, 1].tolist()
    with pytest.raises(ConfigError, match="median_caption"):
        retrieval_ranks(scores, positives, "median_caption", pairs)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_clip_without_a_caption_is_no_query(protocol):
    positives = np.array([[1, 0, 0], [0, 0, 1]], bool)
    rank = retrieval_ranks(np.ones((2, 3)), positives, protocol)
    assert (len(rank.text_to_video), rank.video_groups.tolist()) == (2, [0, 2])


# --------------------------------------------------------------------------- summaries and intervals
def test_summary_of_known_ranks():
    expected = {"R@1": 40.0, "R@5": 60.0, "R@10": 80.0, "MdR": 3.0, "MnR": 12.4}
    assert metrics.summarize(np.array([1, 1, 3, 7, 50])) == expected
    with pytest.raises(ScoreError, match="no queries"):
        metrics.summarize(np.array([]))


def test_the_recall_interval_agrees_with_the_binomial_one():
    rank = np.where(np.arange(1000) < 470, 1, 100)
    low, high = metrics.interval(rank, resamples=1000)["R@1"]
    error = 100 * math.sqrt(0.47 * 0.53 / 1000)
    assert low == pytest.approx(47 - 1.96 * error, abs=0.6)
    assert high == pytest.approx(47 + 1.96 * error, abs=0.6)


def test_intervals_hold_the_estimate_and_repeat_with_their_seed():
    rank = np.random.default_rng(7).integers(1, 40, 80)
    first, again = (metrics.interval(rank, seed=3, resamples=300) for _ in range(2))
    assert first == again
    assert first != metrics.interval(rank, seed=4, resamples=300)
    for name, value in metrics.summarize(rank).items():
        assert first[name][0] <= value <= first[name][1]


def test_copies_of_a_query_in_one_group_narrow_nothing():
    rank = np.random.default_rng(8).integers(1, 12, 60)
    copied, clip = np.repeat(rank, 20), np.repeat(np.arange(60), 20)
    alone = metrics.interval(rank, resamples=1500)["R@5"]
    grouped = metrics.interval(copied, resamples=1500, groups=clip)["R@5"]
    careless = metrics.interval(copied, resamples=200)["R@5"]
    assert grouped == pytest.approx(alone, abs=1e-9)
    assert careless[1] - careless[0] < 0.5 * (alone[1] - alone[0])
    names = np.array(["b", "a", "b", "a"])
    assert metrics.interval(np.array([1, 9, 2, 30]), groups=names, resamples=400)["R@1"] == [0.0, 50.0]
    assert metrics.interval(np.array([1, 4]), groups=np.zeros(2))["MnR"] == [2.5, 2.5], "one cluster"


def test_a_model_differs_from_itself_by_nothing_and_pairing_narrows():
    rng = np.random.default_rng(9)
    hard = rng.integers(1, 60, 300)
    better = np.maximum(1, hard - rng.integers(0, 3, 300))
    same = metrics.paired_differences(hard, hard, resamples=100)
    assert same == {name: {"difference": 0, "interval_95": [0, 0]} for name in metrics.METRICS}
    found = metrics.paired_differences(hard, better, resamples=500)["MnR"]
    mirrored = metrics.paired_differences(better, hard, resamples=500)["MnR"]
    low, high = found["interval_95"]
    assert found["difference"] == pytest.approx(hard.mean() - better.mean())
    assert 0 < low <= found["difference"] <= high
    unpaired = metrics.interval(hard, resamples=500)["MnR"]
    assert high - low < 0.2 * (unpaired[1] - unpaired[0])
    assert (mirrored["difference"], mirrored["interval_95"]) == (-found["difference"], pytest.approx([-high, -low]))


def test_unequal_queries_and_wrong_groups_are_refused():
    with pytest.raises(ScoreError, match="not the same"):
        metrics.paired_differences(np.ones(3), np.ones(4))
    with pytest.raises(ScoreError, match="group"):
        metrics.interval(np.ones(3), groups=np.arange(4), resamples=2)


def test_usage_entropy_runs_from_collapse_to_even_use():
    assert metrics.usage_entropy([5, 5, 5, 5]) == pytest.approx(1)
    assert metrics.usage_entropy([0, 40, 0, 0]) == 0
    assert metrics.usage_entropy([1, 1, 0, 0]) == pytest.approx(0.5)
    assert metrics.usage_entropy([3]) == 1
