"""The bench: ratios of one run, and cases that change what they say they do."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from timeit import timeit

import pytest

from tests.helpers.drawn import moving_square_clip
from tests.helpers.models import NULLS
from vtr_demo import bench as module
from vtr_demo.bench import CASES, TOP, Bench, Case, measure, run, select, table
from vtr_demo.cli import main
from vtr_demo.errors import ConfigError
from vtr_demo.model.checkpoint import load

SMALL = 300
pytestmark = pytest.mark.usefixtures("few_null_captions")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    path = tmp_path_factory.mktemp("bench") / "square.mp4"
    moving_square_clip(path)
    return Bench(load("tiny"), path)


@pytest.fixture(autouse=True)
def small_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RERANKED", SMALL)
    monkeypatch.setattr(module, "null_captions", lambda: NULLS)


def test_every_case_runs_and_reports_what_it_compared(bench: Bench) -> None:
    rows = list(run(bench.model, bench.clip, rounds=2, clips=SMALL))
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


@pytest.mark.parametrize("name", ["striking", "muting", "sliding"])
def test_each_time_a_library_is_ranked_again_something_has_changed(bench: Bench, name: str) -> None:
    case, before = CASES[name](bench), []
    for _ in range(3):
        scores = [sum(terms.values()) for terms in case.ours()]
        assert len(scores) == TOP
        assert scores == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
        assert scores not in before
        before.append(scores)


def test_an_unknown_case_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'dancing'.*indexing, codes"):
        select(["indexing", "dancing"])
    assert select([]) == tuple(CASES)


def test_the_command_prints_ratios_and_writes_json(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    words = ["bench", "listing", "sliding", "--model", "tiny", "--clip", str(bench.clip), "--rounds", "1"]
    assert main([*words, "--clips", "200"]) == 0
    assert "listing: " in capsys.readouterr().out
    assert main([*words, "--clips", "200", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert [row["name"] for row in found["bench"]] == ["listing", "sliding"]
    assert found["rounds"] == 1
    assert main(["bench", "dancing", "--model", "tiny"]) == 2
