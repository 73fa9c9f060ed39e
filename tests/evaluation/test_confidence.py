"""Confidence: p-values are uniform for queries about nothing and never rise with the score."""

from __future__ import annotations

import numpy as np
import pytest

from vtr_demo.evaluation.confidence import NullDistribution


def drawn(seed: int, sentences: int, clips: int) -> np.ndarray:
    """Scores of sentences that are alike in law; each clip has its own mean and spread."""
    rng = np.random.default_rng(seed)
    shared = 0.5 * rng.normal(size=(sentences, 1))  # a sentence that all clips like more
    noise = rng.normal(size=(sentences, clips)) + shared
    return rng.normal(size=clips) + noise * rng.uniform(0.1, 2, clips)


def smallest(null: NullDistribution, scores: np.ndarray) -> float:
    return float(null.p_values(scores).min())


@pytest.mark.parametrize("clips", [1, 2, 30])
def test_the_smallest_p_value_of_an_unrelated_query_is_uniform(clips: int) -> None:
    found = []
    for seed in range(40):
        table = drawn(seed, 59 + 25, clips)
        null = NullDistribution([table[:59]])
        found += [smallest(null, row) for row in table[59:]]
    for share in (0.05, 0.1, 0.3, 0.5, 0.8):
        # queries of one draw share its null: the standard error is that of 40 draws of 59 sentences
        error = np.sqrt(share * (1 - share) * (1 / len(found) + 1 / (40 * 59)))
        assert np.mean(np.array(found) <= share + 1e-9) == pytest.approx(share, abs=3.5 * error)


@pytest.mark.parametrize("count", [1, 10, 400])
def test_the_best_of_many_unrelated_sentences_seldom_stands_out_from_as_many(count: int) -> None:
    found = []
    for seed in range(200):
        table = drawn(seed, 300 + count, 1)
        values = NullDistribution([table[:300]]).p_values_among(table[300:, 0], count)
        order = np.argsort(table[300:, 0])
        assert (np.diff(values[order]) <= 1e-9).all()
        found.append(values.min())
    for share in (0.05, 0.2, 0.5):
        error = np.sqrt(share * (1 - share) / len(found))
        assert (
            np.mean(np.array(found) <= share) <= share + 3.5 * error + 0.03
        )  # a normal tail falls faster than assumed


def test_p_values_equal_a_loop_over_sentences() -> None:
    scores, queries = drawn(1, 80, 6), drawn(2, 9, 6)
    for row in (*queries, np.linspace(-9, 9, 40)):
        loop = [(1 + sum(max(other) >= score for other in scores)) / 81 for score in row]
        assert NullDistribution([scores]).p_values(row).tolist() == loop


def test_clips_may_come_in_any_pieces_and_order() -> None:
    scores, query = drawn(3, 40, 7), drawn(4, 1, 7)[0]
    order = np.array([3, 0, 6, 1, 5, 2, 4])
    whole = NullDistribution([scores]).p_values(query)
    pieces = NullDistribution(scores[:, part] for part in (order[:1], order[1:5], order[5:]))
    assert pieces.p_values(query).tolist() == whole.tolist()


def test_a_library_without_clips_or_with_one_sentence_is_no_error() -> None:
    for null in (NullDistribution([]), NullDistribution([np.zeros((9, 0))])):
        assert len(null.p_values(np.zeros(0))) == 0
    for clips in (1, 3):
        alone = NullDistribution([np.full((1, clips), 0.2)])
        assert alone.p_values(np.array([0.1, 0.2, 0.3])).tolist() == [1, 1, 0.5]


def test_scores_that_are_equal_but_for_rounding_are_tied() -> None:
    rng = np.random.default_rng(6)
    noise = 1e-7 * rng.normal(size=(30, 4))
    null = NullDistribution([np.zeros((30, 4)) + noise])
    assert null.p_values(1e-7 * rng.normal(size=4)).tolist() == [1] * 4
    assert null.p_values(np.full(4, 0.1)).tolist() == [1 / 31] * 4


def test_a_sample_of_a_library_gives_about_the_p_values_of_all_of_it() -> None:
    scores = np.random.default_rng(3).normal(size=(200, 12_000))
    whole, sample = NullDistribution([scores]), NullDistribution([scores[:, ::6]], 12_000)
    bare = NullDistribution([scores[:, ::6]])
    heights = np.linspace(2.5, 5.5, 40)
    expected = whole.p_values(heights)
    errors, without = (one.p_values(heights) - expected for one in (sample, bare))
    assert errors.min() > -0.05, "a sample claims no more confidence than the whole library"
    assert np.abs(errors).mean() < np.abs(without).mean()
    assert without.min() < -0.3, "the extrapolation is needed"
