"""What every test of a library stands on: a folder in memory, and a library of four clips."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.drawn import draw_clip, moving_square_clip
from tests.helpers.engines import BLUE, CAPTIONS, GREEN, RED
from tests.helpers.models import NULLS
from vtr_demo.library import queries
from vtr_demo.library.engine import Engine


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of synchronisations take minutes on a disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A clip that is one moment, two with several, one of them with hard cuts, and a still."""
    folder = tmp_path_factory.mktemp("clips")
    moving_square_clip(folder / "square.mp4", frames=20)
    draw_clip(folder / "numbers.mp4", frames=45, fps=5)
    draw_clip(folder / "cuts.mp4", frames=40, fps=5, colours=[RED] * 15 + [GREEN] * 10 + [BLUE] * 15)
    draw_clip(folder / "still.mp4", frames=40, fps=5, colours=[GREEN])
    return [folder / f"{name}.mp4" for name in ("square", "numbers", "cuts", "still")]


@pytest.fixture(scope="session")
def four_clips(clips: list[Path], spec: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a library of the clips, which nobody opens."""
    folder = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "null_captions", lambda: NULLS)
        engine = Engine.open(folder, spec)
    report = engine.add(clips, captions=CAPTIONS, keep_copy=False)
    assert (len(report.added), report.known, report.failed) == (4, (), ())
    engine.close()
    return folder


@pytest.fixture(scope="module")
def original(four_clips: Path, spec: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A library that no test changes."""
    engine = Engine.open(shutil.copytree(four_clips, tmp_path_factory.mktemp("original") / "library"), spec)
    yield engine
    engine.close()


@pytest.fixture
def copied(four_clips: Path, spec: str, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Opens a copy of the library, to change."""
    shutil.copytree(four_clips, tmp_path / "library")
    opened: list[Engine] = []

    def open_(model: str = spec, **options: Any) -> Engine:
        opened.append(Engine.open(tmp_path / "library", model, **options))
        return opened[-1]

    yield open_
    for engine in opened:
        engine.close()
