"""Laws of the metrics; expected values come from hand-worked tables, loops and scikit-learn's definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtr_demo.errors import ScoreError
from vtr_demo.evaluation import metrics
from vtr_demo.evaluation.metrics import ranks

SMALL = st.integers(0, 3)  # few values, so that ties are common


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
    assert ranks(scores, np.arange(4)).tolist() == [1, 1.5, 3, 2]
    assert ranks(scores, [{1, 3}, {2}, {3}, {0}]).tolist() == [2, 3, 4, 4]


@settings(deadline=None)
@given(retrievals())
def test_ranks_equal_the_naive_loop(case):
    scores, answers = case
    rank = ranks(scores, answers)
    assert rank.tolist() == naive_ranks(scores, answers)
    assert len(rank) == len(scores)


@settings(deadline=None)
@given(retrievals(), st.randoms())
def test_permuting_queries_and_candidates_changes_nothing(case, rng):
    scores, answers = case
    rows, columns = list(range(scores.shape[0])), list(range(scores.shape[1]))
    rng.shuffle(rows)
    rng.shuffle(columns)
    moved = [{columns.index(a) for a in answers[row]} for row in rows]
    shuffled = ranks(scores[rows][:, columns], moved)
    assert shuffled.tolist() == ranks(scores, answers)[rows].tolist()
    assert metrics.summarize(shuffled) == pytest.approx(metrics.summarize(ranks(scores, answers)))


@settings(deadline=None)
@given(retrievals())
def test_only_the_order_of_the_scores_counts(case):
    scores, answers = case
    assert ranks(np.exp(scores) * 3 - 1, answers).tolist() == ranks(scores, answers).tolist()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int64])
def test_half_precision_and_integers_rank_alike(kind):
    scores = np.random.default_rng(0).integers(0, 50, (20, 30))
    expected = naive_ranks(scores, [{i} for i in range(20)])
    assert ranks(scores.astype(kind), np.arange(20)).tolist() == expected


def test_a_collapsed_model_gets_the_middle_rank():
    assert ranks(np.zeros((5, 9)), np.arange(5)).tolist() == [5.0] * 5
    assert metrics.summarize(ranks(np.zeros((5, 9)), np.arange(5)))["R@1"] == 0


def test_positives_may_be_indices_sets_or_a_table():
    scores = np.random.default_rng(1).normal(size=(4, 6))
    by_index = ranks(scores, np.array([5, 0, 2, 2]))
    assert by_index.tolist() == ranks(scores, [{5}, {0}, {2}, {2}]).tolist()
    table = np.zeros((4, 6), dtype=bool)
    table[range(4), [5, 0, 2, 2]] = True
    assert by_index.tolist() == ranks(scores, table).tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_scores_are_refused_by_place(bad):
    scores = np.zeros((3, 4), dtype=np.float16)
    scores[2, 1] = bad
    with pytest.raises(ScoreError, match="query 2 with candidate 1"):
        ranks(scores, np.arange(3))


@pytest.mark.parametrize(
    ("scores", "positives"),
    [
        (np.zeros(3), [{0}]),
        (np.zeros((0, 3)), []),
        (np.zeros((2, 3)), [{0}]),
        (np.zeros((2, 3)), [{0}, set()]),
        (np.zeros((2, 3)), [{0}, {3}]),
        (np.zeros((2, 3)), [{0}, {-1}]),
        (np.zeros((2, 3)), np.ones((2, 4), dtype=bool)),
    ],
)
def test_misshapen_input_is_refused(scores, positives):
    with pytest.raises(ScoreError):
        ranks(scores, positives)


# --------------------------------------------------------------------------- protocols
def test_best_caption_protocol_equals_a_loop_over_clips():
    rng = np.random.default_rng(2)
    clip = np.array([0, 2, 0, 1, 2, 2, 0])
    scores = rng.integers(0, 4, (7, 3)).astype(float)
    expected = []
    for video in range(3):
        own = [t for t in range(7) if clip[t] == video]
        expected += naive_ranks(scores[:, video][None], [set(own)])
    assert metrics.video_to_text(scores, clip).tolist() == expected


def test_each_caption_protocol_equals_a_loop_over_captions():
    rng = np.random.default_rng(3)
    clip = np.array([0, 2, 0, 1, 2, 2, 0])
    scores = rng.integers(0, 4, (7, 3)).astype(float)
    expected = []
    for text, video in enumerate(clip):
        others = [t for t in range(7) if clip[t] != video]
        column = scores[[text, *others], video]
        expected += naive_ranks(column[None], [{0}])
    assert metrics.video_to_text(scores, clip, "each_caption").tolist() == expected


def test_the_best_caption_is_never_ranked_below_any_caption():
    scores = np.random.default_rng(4).normal(size=(12, 4))
    clip = np.repeat(np.arange(4), 3)
    best = metrics.video_to_text(scores, clip)
    each = metrics.video_to_text(scores, clip, "each_caption").reshape(4, 3)
    assert best.tolist() == each.min(axis=1).tolist()


def test_with_one_caption_a_clip_all_protocols_agree():
    scores = np.random.default_rng(5).normal(size=(6, 6))
    clip = np.array([3, 1, 0, 5, 4, 2])
    best, each = (metrics.video_to_text(scores, clip, p) for p in ("best_caption", "each_caption"))
    assert best[clip].tolist() == each.tolist()
    for protocol in ("first", "averaged"):
        single = metrics.one_text_a_video(scores, clip, protocol)
        assert ranks(single.T, np.arange(6)).tolist() == best.tolist()


def test_averaged_scores_are_those_of_the_mean_vector():
    rng = np.random.default_rng(6)
    texts, videos, clip = rng.normal(size=(9, 5)), rng.normal(size=(3, 5)), np.tile(np.arange(3), 3)
    means = np.stack([texts[clip == v].mean(axis=0) for v in range(3)])
    assert np.allclose(metrics.one_text_a_video(texts @ videos.T, clip), means @ videos.T)
    assert np.allclose(metrics.one_text_a_video(texts @ videos.T, clip, "first"), texts[:3] @ videos.T)


def test_a_sentence_may_fit_several_clips():
    scores = np.array([[5.0, 4, 3], [1, 2, 3]])
    assert metrics.text_to_video(scores, [{1, 2}, {0}]).tolist() == [2, 3]
    # Clip 0 has text 1, clips 1 and 2 have text 0.
    assert metrics.video_to_text(scores, [{1, 2}, {0}]).tolist() == [2, 1, 1.5]
    assert metrics.video_to_text(scores, [{1, 2}, {0}], "each_caption").tolist() == [1, 1.5, 2]


def test_a_clip_without_caption_is_no_query_but_an_unknown_protocol_is_refused():
    assert len(metrics.video_to_text(np.ones((2, 3)), np.array([0, 2]))) == 2
    with pytest.raises(ScoreError, match="Unknown protocol"):
        metrics.video_to_text(np.ones((2, 3)), np.array([0, 2]), "best")  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match="needs a caption"):
        metrics.one_text_a_video(np.ones((2, 3)), np.array([0, 2]))


# --------------------------------------------------------------------------- summaries and intervals
def test_summary_of_known_ranks():
    assert metrics.summarize(np.array([1, 1, 3, 7, 50])) == {
        "R@1": 40.0,
        "R@5": 60.0,
        "R@10": 80.0,
        "MdR": 3.0,
        "MnR": 12.4,
    }
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


def test_group_names_may_be_strings_in_any_order():
    rank, names = np.array([1, 9, 2, 30]), np.array(["b", "a", "b", "a"])
    lows = metrics.interval(rank, groups=names, resamples=400)["R@1"]
    assert lows == (0.0, 50.0)


def test_a_model_differs_from_itself_by_nothing_and_pairing_narrows():
    rng = np.random.default_rng(9)
    hard = rng.integers(1, 60, 300)
    better = np.maximum(1, hard - rng.integers(0, 3, 300))
    assert metrics.paired_difference(hard, hard, resamples=100) == (0.0, (0.0, 0.0))
    value, (low, high) = metrics.paired_difference(hard, better, "MnR", resamples=500)
    assert value == pytest.approx(hard.mean() - better.mean())
    assert 0 < low <= value <= high
    unpaired = metrics.interval(hard, resamples=500)["MnR"]
    assert high - low < 0.2 * (unpaired[1] - unpaired[0])
    mirrored, (left, right) = metrics.paired_difference(better, hard, "MnR", resamples=500)
    assert (mirrored, left, right) == pytest.approx((-value, -high, -low))


def test_unequal_queries_unknown_metrics_and_wrong_groups_are_refused():
    with pytest.raises(ScoreError, match="not the same"):
        metrics.paired_difference(np.ones(3), np.ones(4))
    with pytest.raises(ScoreError, match="Unknown metric"):
        metrics.paired_difference(np.ones(3), np.ones(3), "R@7")
    with pytest.raises(ScoreError, match="group"):
        metrics.interval(np.ones(3), groups=np.arange(4), resamples=2)


# --------------------------------------------------------------------------- attributes and concepts
def naive_average_precision(scores, truth):
    """Sum over distinct thresholds of precision x gained recall, written as a loop."""
    total, before = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        taken = [t for s, t in zip(scores, truth, strict=True) if s >= threshold]
        total += sum(taken) / len(taken) * (sum(taken) - before) / sum(truth)
        before = sum(taken)
    return total


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SMALL, st.booleans()), min_size=1, max_size=12))
def test_average_precision_equals_the_loop_with_ties(rows):
    scores, truth = [float(s) for s, _ in rows], [t for _, t in rows]
    value = metrics.average_precision(np.array(scores)[:, None], np.array(truth)[:, None])
    if any(truth):
        assert value[0] == pytest.approx(naive_average_precision(scores, truth))
    else:
        assert np.isnan(value[0])


def test_perfect_and_reversed_attributes():
    scores = np.array([[3.0, 1], [2, 2], [1, 3]])
    labels = np.array([[1, 1], [0, 0], [0, 0]])
    assert metrics.average_precision(scores, labels).tolist() == pytest.approx([1.0, 1 / 3])
    with pytest.raises(ScoreError, match="Labels"):
        metrics.average_precision(scores, labels[:2])


def test_head_and_tail_split_the_attributes_that_occur():
    labels = np.zeros((10, 6), dtype=bool)
    for attribute, count in enumerate([1, 9, 0, 3, 7, 2]):
        labels[:count, attribute] = True
    head, tail = metrics.head_and_tail(labels, 0.4)
    assert head.tolist() == [1, 4]
    assert tail.tolist() == [0, 3, 5]


def test_usage_entropy_runs_from_collapse_to_even_use():
    assert metrics.usage_entropy([5, 5, 5, 5]) == pytest.approx(1)
    assert metrics.usage_entropy([0, 40, 0, 0]) == 0
    assert metrics.usage_entropy([1, 1, 0, 0]) == pytest.approx(0.5)
    assert metrics.usage_entropy([3]) == 1
    for bad in ([0, 0], [-1, 2], [np.nan, 1], [[1, 2]]):
        with pytest.raises(ScoreError):
            metrics.usage_entropy(bad)
