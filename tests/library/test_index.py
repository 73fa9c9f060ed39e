"""Laws of the exact vector index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtr_demo.errors import ScoreError
from vtr_demo.library.index import VectorIndex


def random_vectors(seed: int, n: int, width: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), k=st.integers(1, 50), seed=st.integers(0, 99), repeat=st.booleans())
def test_search_equals_brute_force_up_to_ties(n: int, k: int, seed: int, repeat: bool) -> None:
    vectors = random_vectors(seed, n)
    if repeat:
        vectors[:] = vectors[np.arange(n) // 3]
    queries = random_vectors(seed + 1, 3)
    scores, rows = VectorIndex(vectors).search(queries, k)
    naive = queries.astype(np.float64) @ vectors.T
    assert rows.shape == (3, min(n, k))
    for query in range(3):
        assert len(set(rows[query])) == len(rows[query])
        np.testing.assert_allclose(scores[query], naive[query][rows[query]], atol=1e-5)
        np.testing.assert_allclose(scores[query], np.sort(naive[query])[::-1][: min(n, k)], atol=1e-5)


def test_equal_scores_come_in_order_of_rows() -> None:
    assert VectorIndex(np.ones((3, 2))).search(np.ones((1, 2)), 3)[1].tolist() == [[0, 1, 2]]


def test_an_empty_index_answers_with_nothing() -> None:
    scores, rows = VectorIndex(np.zeros((0, 7))).search(random_vectors(0, 2), 5)
    assert scores.shape == rows.shape == (2, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_vectors_and_queries_are_refused(bad: float) -> None:
    vectors = random_vectors(0, 20)
    index = VectorIndex(vectors)
    vectors[3, 2] = bad
    with pytest.raises(ScoreError, match=r"\[3\]"):
        index.search(vectors, 1)
    with pytest.raises(ScoreError, match=r"\[3\]"):
        VectorIndex(vectors)


def test_a_wrong_width_is_refused_with_both_numbers() -> None:
    with pytest.raises(ScoreError, match=r"width 7.*\(1, 8\)"):
        VectorIndex(random_vectors(0, 3)).search(np.zeros((1, 8)), 1)
