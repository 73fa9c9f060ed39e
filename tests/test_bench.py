"""The bench: ratios of one run, and baselines that really do the same."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from timeit import timeit

import numpy as np
import pytest

from tests.helpers.drawn import moving_square_clip
from vtr_demo import bench as module
from vtr_demo.bench import CASES, TOP, Bench, Case, measure, run, select, table
from vtr_demo.cli import main
from vtr_demo.errors import ConfigError
from vtr_demo.model.checkpoint import RetrievalModel, load
from vtr_demo.vectors.base import MEMBER_BITS

SMALL = 300


@pytest.fixture(scope="module")
def model() -> RetrievalModel:
    return load("tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "square.mp4"
    moving_square_clip(path)
    return path


@pytest.fixture(autouse=True)
def small_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VECTORS", SMALL)
    monkeypatch.setattr(module, "RERANKED", SMALL)


def test_every_case_runs_and_reports_what_it_compared(model: RetrievalModel, clip: Path) -> None:
    rows = list(run(model, clip, rounds=2, clips=SMALL))
    assert [row.name for row in rows] == list(CASES)
    for row in rows:
        assert 0 < row.lowest <= row.ratio <= row.highest
        assert row.seconds > 0
        assert row.ours != row.baseline
    text = table(rows)
    assert all(row.ours in text and row.baseline in text for row in rows)


def test_the_ratio_is_the_median_of_rounds_taken_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only the two ways move: what else passes does not count."""
    clock = [0.0]
    calls: list[str] = []
    costs = {"ours": iter([9.0, 1.0, 2.0, 6.0]), "baseline": iter([9.0, 2.0, 2.0, 2.0])}

    def way(name: str) -> None:
        calls.append(name)
        clock[0] += next(costs[name])

    monkeypatch.setattr(module, "timeit", partial(timeit, timer=lambda: clock[0]))
    case = Case(lambda: way("ours"), lambda: way("baseline"), "a", "b", 30, 20)
    row = measure("x", case, 3)
    assert calls == ["ours", "baseline"] * 4
    assert (row.lowest, row.ratio, row.highest, row.seconds) == (0.5, 1.0, 3.0, 2.0)
    assert row.memory == 1.5


def test_both_ways_of_searching_find_the_same(model: RetrievalModel, clip: Path) -> None:
    case = CASES["searching"](Bench(model, clip))
    assert np.array_equal(case.ours().ids >> MEMBER_BITS, case.baseline())
    assert len(case.baseline()) == TOP
    width = model.model.encode_video(Bench(model, clip).tokens()).flat().shape[1]
    assert case.ours_bytes == SMALL * width * 4


def test_the_terms_that_are_timed_sum_to_the_scores(model: RetrievalModel, clip: Path) -> None:
    case = CASES["reasons"](Bench(model, clip))
    scores = case.baseline().scores
    assert np.allclose([sum(terms.values()) for terms in case.ours()], scores, atol=1e-5)


@pytest.mark.parametrize("name", ["striking", "muting", "sliding"])
def test_each_time_a_library_is_ranked_again_something_has_changed(
    model: RetrievalModel, clip: Path, name: str
) -> None:
    case, before = CASES[name](Bench(model, clip)), []
    for _ in range(3):
        scores = [sum(terms.values()) for terms in case.ours()]
        assert len(scores) == TOP
        assert scores == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
        assert scores not in before
        before.append(scores)


def test_explaining_and_scoring_give_one_score(model: RetrievalModel, clip: Path) -> None:
    case = CASES["explaining"](Bench(model, clip))
    assert case.ours().score == pytest.approx(float(case.baseline()[0, 0]), abs=1e-6)


def test_the_whole_file_is_decoded_by_the_baseline(model: RetrievalModel, clip: Path) -> None:
    case = CASES["decoding"](Bench(model, clip))
    frames = case.baseline()
    assert frames > len(case.ours().pixels)
    assert case.baseline_bytes % frames == 0


def test_an_unknown_case_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'dancing'.*decoding, .*heads"):
        select(["decoding", "dancing"])
    assert select([]) == tuple(CASES)


def test_the_command_prints_ratios_and_writes_json(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    words = ["bench", "heads", "reading", "--model", "tiny", "--clip", str(clip), "--rounds", "1"]
    assert main(words) == 0
    assert "heads: " in capsys.readouterr().out
    assert main([*words, "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert [row["name"] for row in found["bench"]] == ["heads", "reading"]
    assert found["rounds"] == 1
    assert main(["bench", "dancing", "--model", "tiny"]) == 2
