"""Work shared by several processes gives what one process gives."""

from __future__ import annotations

import os

import pytest
import torch

from vtr_demo import distributed
from vtr_demo.errors import TextError
from vtr_demo.text.parser import parse_many

TEXTS = [f"a {noun} runs after {count} dogs" for noun in ("man", "woman", "cat") for count in range(9)]


@pytest.fixture(autouse=True)
def _two_processes(monkeypatch):
    """As little as ten texts is worth a process, and there are two processors."""
    monkeypatch.setattr(distributed, "MIN_ITEMS_PER_PROCESS", 10)
    monkeypatch.setattr(distributed, "_BATCH_SIZE", 4)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)


def process_of(values):
    return [os.getpid()] * len(values)


@pytest.mark.parametrize("count", [0, 19, 27])
def test_sentences_come_in_their_order(count):
    shared, alone = distributed.parallel_map(TEXTS[:count], parse_many), parse_many(TEXTS[:count])
    assert shared == alone
    assert [s.labels for s in shared] == [s.labels for s in alone]  # which equality leaves out


def test_much_work_is_shared_little_is_not_and_each_rank_has_its_processors(monkeypatch):
    assert os.getpid() not in distributed.parallel_map(TEXTS, process_of)
    assert set(distributed.parallel_map(TEXTS[:19], process_of)) == {os.getpid()}
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert set(distributed.parallel_map(TEXTS, process_of)) == {os.getpid()}


def test_what_goes_wrong_elsewhere_is_raised_here():
    with pytest.raises(TextError):
        distributed.parallel_map([*TEXTS, "\x00"], parse_many)


def test_one_process_needs_no_group() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    assert distributed.all_gather(rows) is rows
    assert float(distributed.rank_weight(torch.tensor(5))) == 1.0
    assert distributed.all_gather_object("a") == ["a"]
    assert (distributed.world(), distributed.rank()) == (1, 0)
