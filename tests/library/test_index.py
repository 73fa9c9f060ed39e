"""Laws of the exact vector index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtr_demo.errors import LibraryError, ScoreError
from vtr_demo.library.index import VectorIndex


def drawn(seed: int, n: int, width: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def filled(n: int = 20, seed: int = 0) -> tuple[VectorIndex, np.ndarray, np.ndarray]:
    vectors = drawn(seed, n)
    ids = np.random.default_rng(seed + 1).permutation(10 * n)[:n].astype(np.int64)
    index = VectorIndex(7)
    index.add(ids, vectors)
    return index, ids, vectors


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), k=st.integers(1, 50), seed=st.integers(0, 99), repeat=st.booleans())
def test_search_equals_brute_force_up_to_ties(n: int, k: int, seed: int, repeat: bool) -> None:
    vectors = drawn(seed, n)
    if repeat:
        vectors[:] = vectors[np.arange(n) // 3]
    index = VectorIndex(7)
    index.add(np.arange(n) + 100, vectors)
    queries = drawn(seed + 1, 3)
    scores, ids = index.search(queries, k)
    naive = queries.astype(np.float64) @ vectors.T
    assert ids.shape == (3, min(n, k))
    for row in range(3):
        assert len(set(ids[row])) == len(ids[row])
        np.testing.assert_allclose(scores[row], naive[row][ids[row] - 100], atol=1e-5)
        np.testing.assert_allclose(scores[row], np.sort(naive[row])[::-1][: min(n, k)], atol=1e-5)


def test_equal_scores_come_in_order_of_ids() -> None:
    index = VectorIndex(2)
    index.add([9, 3, 7], np.ones((3, 2)))
    assert index.search(np.ones((1, 2)), 3)[1].tolist() == [[3, 7, 9]]


def test_ids_survive_deletion() -> None:
    index, ids, vectors = filled()
    gone = ids[::3]
    assert index.remove(gone) == len(gone)
    assert index.remove(gone) == 0
    kept = np.setdiff1d(ids, gone)
    assert sorted(index.ids()) == sorted(kept)
    rows = [ids.tolist().index(key) for key in kept]
    np.testing.assert_array_equal(index.vectors(kept), vectors[rows])
    _, found = index.search(vectors[rows] * 100, 1)
    naive = (vectors[rows] @ vectors[rows].T).argmax(axis=1)
    np.testing.assert_array_equal(found[:, 0], kept[naive])


def test_a_restricted_search_equals_a_search_of_only_those_vectors() -> None:
    index, ids, vectors = filled()
    some = ids[4:9]
    alone = VectorIndex(7)
    alone.add(some, vectors[4:9])
    queries = drawn(5, 4)
    for got, wanted in zip(index.search(queries, 9, among=some), alone.search(queries, 9), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert index.search(queries, 3, among=[987654])[1].shape == (4, 0)


def test_an_empty_index_answers_with_nothing() -> None:
    scores, ids = VectorIndex(7).search(drawn(0, 2), 5)
    assert scores.shape == ids.shape == (2, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_vectors_and_queries_are_refused(bad: float) -> None:
    index, _, vectors = filled()
    vectors[3, 2] = bad
    with pytest.raises(ScoreError, match=r"\[3\]"):
        index.search(vectors, 1)
    with pytest.raises(ScoreError, match=r"\[3\]"):
        index.add(np.arange(20) + 1000, vectors)
    assert len(index) == 20


def test_a_wrong_width_is_refused_with_both_numbers() -> None:
    index, _, _ = filled()
    with pytest.raises(ScoreError, match=r"width 7.*\(1, 8\)"):
        index.search(np.zeros((1, 8)), 1)


@pytest.mark.parametrize("ids", [[1, 1], [-1, 5], [0, 2]])
def test_repeated_negative_and_known_ids_are_refused(ids: list[int]) -> None:
    index = VectorIndex(2)
    index.add([0], np.zeros((1, 2)))
    with pytest.raises(ValueError, match="ids must be new"):
        index.add(ids, np.zeros((2, 2)))
    assert len(index) == 1


def test_unknown_ids_are_named() -> None:
    with pytest.raises(KeyError, match="77777"):
        filled()[0].vectors([77777])


def test_a_saved_index_comes_back_equal(tmp_path) -> None:
    index, ids, vectors = filled()
    index.save(tmp_path / "a.index")
    index.save(tmp_path / "a.index")
    loaded = VectorIndex.load(tmp_path / "a.index")
    np.testing.assert_array_equal(loaded.vectors(ids), vectors)
    np.testing.assert_array_equal(loaded.search(vectors, 5)[1], index.search(vectors, 5)[1])
    loaded.add([5000], vectors[:1])
    assert [path.name for path in tmp_path.iterdir()] == ["a.index"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text", "missing"])
def test_a_damaged_index_file_is_refused(tmp_path, damage: str) -> None:
    path = tmp_path / "a.index"
    filled()[0].save(path)
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes({"cut": data[:-9], "empty": b"", "flipped": data, "text": b"hello"}[damage])
    with pytest.raises(LibraryError, match=r"a\.index.*rebuild"):
        VectorIndex.load(path)
