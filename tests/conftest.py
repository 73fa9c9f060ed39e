"""What every test stands on: one thread a process, and a random state that no test leaves behind."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores, also in their children

import numpy as np
import pytest
import torch

from tests.helpers.models import NULLS, checkpoint_of
from tests.helpers.small_clip import save_small_clip
from tests.helpers.sprites import draw_sprites


@pytest.fixture(autouse=True)
def _random_state_restored() -> Iterator[None]:
    """A test that seeds or draws does not change what the next one sees."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])


@pytest.fixture(scope="module")
def few_null_captions() -> Iterator[None]:
    """Engines compare with ``NULLS``."""
    from vtr_demo.library import engine, queries

    with pytest.MonkeyPatch.context() as patch:
        for module in (queries, engine):
            patch.setattr(module, "null_captions", lambda: NULLS)
        yield


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of five concepts whose every term says something, over the tiny towers."""
    return checkpoint_of(tmp_path_factory.mktemp("model") / "a", "tiny", 0)


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small open_clip model."""
    return save_small_clip(tmp_path_factory.mktemp("clip") / "vit")


@pytest.fixture(scope="session")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Stand-ins for the playground's emoji."""
    return str(draw_sprites(tmp_path_factory.mktemp("sprites")))
