"""Laws of vector stores, held against brute force: one suite for each, then what FAISS's segments add."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.stored import Faults
from vtr_demo.errors import LibraryError, ScoreError
from vtr_demo.vectors import local, segment
from vtr_demo.vectors.base import MEMBER_BITS, VectorStore, exact_scores, member_ids
from vtr_demo.vectors.local import FaissVectors
from vtr_demo.vectors.milvus import MilvusVectors

WIDTH = 13
NewStore = Callable[[], VectorStore]


def rows_of(seed: int, n: int = 1, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


class Plain:
    """The law: all vectors in a table, every one scored, sorted by score and id."""

    def __init__(self) -> None:
        self.rows: dict[int, np.ndarray] = {}

    def add(self, group: int, vectors: np.ndarray) -> None:
        self.remove(group)
        self.rows |= {int(key): row for key, row in zip(member_ids(group, range(len(vectors))), vectors, strict=True)}

    def remove(self, group: int) -> None:
        self.rows = {key: row for key, row in self.rows.items() if key >> MEMBER_BITS != group}

    def search(self, query: np.ndarray, k: int, groups: set[int] | None) -> list[tuple[int, float]]:
        keys = [key for key in self.rows if groups is None or key >> MEMBER_BITS in groups]
        scores = {key: float(exact_scores(self.rows[key][None], query)[0]) for key in keys}
        best: dict[int, tuple[int, float]] = {}
        for key, score in sorted(scores.items(), key=lambda pair: (-pair[1], pair[0])):
            best.setdefault(key >> MEMBER_BITS, (key, score))
        return [*best.values()][:k]


def put(store: VectorStore, group: int, vectors: np.ndarray) -> None:
    store.add(member_ids(group, range(len(vectors))), vectors, np.full(len(vectors), group))


def assert_same(store: VectorStore, plain: Plain, seed: int) -> None:
    """Same vectors, and the same answers to the bit."""
    assert store.count() == len(plain.rows)
    if plain.rows:
        keys = random.Random(seed).sample(sorted(plain.rows), min(5, len(plain.rows)))
        np.testing.assert_array_equal(store.vectors(np.array(keys)), [plain.rows[key] for key in keys])
    with pytest.raises(KeyError):
        store.vectors(member_ids(10_000, [0]))
    present = sorted({key >> MEMBER_BITS for key in plain.rows})
    hiding = ((None, set(present[1::3])), (None, set()))
    for some, without in ((None, None), (set(), None), (set(present[::2]), None), ({9_999}, None), *hiding):
        query = rows_of(seed)[0] * (np.arange(WIDTH) % 3 > 0)
        groups, hidden = (None if one is None else np.array([*one], np.int64) for one in (some, without))
        found = store.search(query, 7, groups=groups, without=hidden)
        left = some if without is None else {*present} - without
        assert [*zip(found.ids.tolist(), found.scores.tolist(), strict=True)] == plain.search(query, 7, left)
        expected = np.array([plain.rows[key] for key in found.ids.tolist()])
        np.testing.assert_array_equal(found.vectors, expected.reshape(-1, WIDTH))


@pytest.fixture(scope="module")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a standalone Milvus that runs while the module does."""
    milvus = pytest.importorskip("milvus", reason="no standalone Milvus: `pip install milvus` brings one for Linux")
    server = milvus.MilvusServer()
    server.set_base_dir(str(tmp_path_factory.mktemp("milvus")))
    server.start()
    yield f"127.0.0.1:{server.listen_port}"
    server.stop()


STORES = ["memory", "files", "codes", "milvus", pytest.param("milvus_server", marks=pytest.mark.slow)]


@pytest.fixture(params=STORES)
def new_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewStore:
    """Makes empty stores; those of FAISS have small segments, and for `codes` no vector is scored unless chosen."""
    monkeypatch.setattr(local, "SEGMENT_ROWS", 16)
    if request.param == "codes":
        monkeypatch.setattr(local, "EXACT_UP_TO", 0)
        monkeypatch.setattr(segment, "CODED", 6)
    if request.param == "milvus":
        pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed (requirements-scale.txt)")
        return lambda: MilvusVectors(f"milvus://{tmp_path / 'vectors.db'}", WIDTH)
    if request.param == "milvus_server":
        address, name = request.getfixturevalue("milvus_server"), f"test_{uuid4().hex}"
        return lambda: MilvusVectors(f"milvus://{address}/{name}", WIDTH)
    return lambda: FaissVectors(WIDTH, None if request.param == "memory" else tmp_path / "index")


# --------------------------------------------------------------------------- the five methods, for every store
def test_any_order_of_adding_and_removing_answers_as_brute_force(new_store: NewStore) -> None:
    store, plain, rng = new_store(), Plain(), random.Random(3)
    assert_same(store, plain, 0)
    for step in range(60):
        group = rng.randrange(25)
        if rng.random() < 0.3:
            store.remove(np.array([group, 9_999]))
            plain.remove(group)
        else:
            vectors = rows_of(step, rng.randrange(1, 5))
            put(store, group, vectors)
            plain.add(group, vectors)
        if step % 6 == 0:
            assert_same(store, plain, step)
    assert_same(store, plain, 99)


def test_equal_scores_come_in_order_of_ids(new_store: NewStore) -> None:
    store = new_store()
    for group in (30, 4, 17, 2, 25):
        put(store, group, np.ones((2, WIDTH), np.float32))
    found = store.search(np.ones(WIDTH, np.float32), 4)
    assert (found.ids >> MEMBER_BITS).tolist() == [2, 4, 17, 25]
    assert (found.ids & 1).tolist() == [0] * 4
    assert found.certain


def test_numbers_that_are_none_and_other_widths_are_refused_and_change_nothing(new_store: NewStore) -> None:
    store = new_store()
    put(store, 1, rows_of(1, 2))
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = rows_of(2, 4)
        spoiled[3, 2] = bad
        with pytest.raises(ScoreError, match=r"\[3\]"):
            put(store, 2, spoiled)
        with pytest.raises(ScoreError):
            store.search(spoiled[3], 1)
    with pytest.raises(ScoreError, match=rf"width {WIDTH}.*\(1, 8\)"):
        put(store, 2, np.zeros((1, 8)))
    assert store.count() == 2


def test_searches_beside_changes_only_ever_see_whole_groups(new_store: NewStore) -> None:
    store, faults = new_store(), []
    put(store, 0, np.ones((2, WIDTH), np.float32))

    def search() -> None:
        for _ in range(60):
            found = store.search(np.ones(WIDTH, np.float32), 3)
            if found.ids.tolist()[:1] != [0] or not (np.diff(found.scores) <= 0).all():
                faults.append(found)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(60):
        put(store, 1 + step % 20, 0.5 * np.ones((2, WIDTH), np.float32))
        store.remove(np.array([1 + (step * 7) % 20]))
    for thread in threads:
        thread.join()
    assert faults == []


# --------------------------------------------------------------------------- exactness and codes
@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), k=st.integers(1, 70), seed=st.integers(0, 99), repeat=st.booleans())
def test_a_search_equals_brute_force_up_to_rounding(n: int, k: int, seed: int, repeat: bool) -> None:
    vectors, query = rows_of(seed, n), rows_of(seed + 1)[0]
    if repeat:
        vectors[:] = vectors[np.arange(n) // 3]
    store = FaissVectors(WIDTH)
    store.add(np.arange(n) << MEMBER_BITS, vectors, np.arange(n))
    found, naive = store.search(query, k), vectors.astype(np.float64) @ query
    assert len(set(found.ids.tolist())) == len(found.ids) == min(n, k)
    np.testing.assert_allclose(found.scores, np.sort(naive)[::-1][: min(n, k)], atol=1e-5)
    assert found.certain


def coded(monkeypatch: pytest.MonkeyPatch, vectors: np.ndarray) -> FaissVectors:
    """A store whose vectors, one a group, are all chosen by their codes."""
    monkeypatch.setattr(local, "SEGMENT_ROWS", 500)
    monkeypatch.setattr(local, "EXACT_UP_TO", 0)
    store = FaissVectors(vectors.shape[1])
    for groups in np.array_split(np.arange(len(vectors)), len(vectors) // 400):
        store.add(groups << MEMBER_BITS, vectors[groups], groups)
    return store


def test_what_is_said_to_be_certain_is_right_and_codes_find_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, width = np.random.default_rng(0), 256
    centres = rng.normal(size=(40, width)).astype(np.float32)
    vectors = centres[rng.integers(40, size=3_000)] + 0.3 * rng.normal(size=(3_000, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[1234] = 2 * vectors[77]  # one that stands far above the rest
    store, sure, hits = coded(monkeypatch, vectors), 0, 0
    queries = [vectors[77], *(vectors[i] + 0.05 * rows_of(i, 1, width)[0] for i in range(0, 3_000, 100))]
    for query in queries:
        exact = np.argsort(-(vectors @ query), kind="stable")[:10].tolist()
        found = store.search(query, 10)
        right = (found.ids >> MEMBER_BITS).tolist() == exact
        hits += len(set((found.ids >> MEMBER_BITS).tolist()) & set(exact))
        assert right or not found.certain
        sure += store.search(query, 1).certain
    assert store.search(queries[0], 1).certain
    assert hits >= 0.98 * 10 * len(queries)
    assert 0 < sure < len(queries) + 1


def test_a_rare_group_is_found_among_codes_however_far_down(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = rows_of(5, 2_000)
    store, query = coded(monkeypatch, vectors), rows_of(6)[0]
    worst = np.argsort(vectors @ query)[:3]
    found = store.search(query, 5, groups=worst)
    assert (found.ids >> MEMBER_BITS).tolist() == worst[::-1].tolist()


# --------------------------------------------------------------------------- files
def contents(count: int) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    groups = {group: rows_of(group, 1 + group % 3) for group in range(1, count + 1)}
    return np.array([*groups], np.int64), np.array([*groups], np.int64) * 7, groups


def opened(
    directory: Path, count: int, read: list[int] | None = None, writable: bool = True, changed: Sequence[int] = ()
) -> FaissVectors:
    """A store of groups from 1 on, of which ``read`` lists those that are fetched; ``changed`` ones hold others."""
    numbers, tags, groups = contents(count)
    tags[[number - 1 for number in changed]] += 1

    def fetch(group: int) -> tuple[np.ndarray, np.ndarray]:
        if read is not None:
            read.append(group)
        if group == DAMAGED:
            raise LibraryError("damaged")
        return member_ids(group, range(len(groups[group]))), groups[group]

    return FaissVectors.open(directory, numbers, tags, fetch, WIDTH, writable=writable)


def assert_holds(store: FaissVectors, count: int) -> None:
    plain = Plain()
    for group, rows in contents(count)[2].items():
        if group != DAMAGED:
            plain.add(group, rows)
    assert_same(store, plain, count)


DAMAGED = 7
"""A group that cannot be read, and is left out."""


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SEGMENT_ROWS", 16)
    monkeypatch.setattr(segment, "CODED", 6)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: each step waits for the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as path:
        yield Path(path)


@pytest.mark.usefixtures("small_segments")
def test_full_segments_are_mapped_again_and_only_the_newest_vectors_are_read(folder: Path) -> None:
    read: list[int] = []
    assert_holds(opened(folder / "index", 40, read), 40)
    assert read == [*range(1, 41)]
    read.clear()
    store = opened(folder / "index", 40, read)
    assert DAMAGED in read
    assert len(read) <= 17
    assert_holds(store, 40)
    again: list[int] = []
    assert_holds(opened(folder / "index", 40, again, changed=[5]), 40)
    assert {5, *read} <= {*again} < {*range(1, 41)}


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("kill", [False, True])
def test_a_kill_or_failed_write_at_any_step_costs_time_alone(folder: Path, kill: bool) -> None:
    if kill and not hasattr(os, "fork"):
        pytest.skip("the kills need os.fork")
    for step in range(1, 60, 2):
        directory, faults = folder / f"{step}", Faults()
        if kill:
            child = os.fork()
            if child == 0:
                with Faults().at_step(directory, step, kill=True):
                    opened(directory, 20)
                os._exit(0)
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        else:
            with faults.at_step(directory, step):
                assert_holds(opened(directory, 20), 20)
            ended = faults.step < step
        assert_holds(opened(directory, 20, writable=False), 20)
        assert_holds(opened(directory, 20), 20)
        if ended:
            assert step > 5
            return
    pytest.fail("it never ended")


@pytest.mark.usefixtures("small_segments")
def test_a_flipped_bit_in_any_file_changes_no_answer(folder: Path) -> None:
    opened(folder, 20)
    rng, paths = random.Random(0), sorted(folder.glob("*"))
    assert {path.suffix for path in paths} == {".npz", ".vectors", ".codes", ".basis"}
    for number in range(40):
        path = paths[number % len(paths)]
        before = path.read_bytes()
        data = bytearray(before)
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(data))
        assert_holds(opened(folder, 20, writable=False), 20)
        path.write_bytes(before)
