"""Eight drawn clips to train on, once for each file of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.small_runs import eight_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of a file of tests go."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Path:
    """Eight pairs of a clip and a sentence."""
    return eight_pairs(folder / "clips")
