"""Names that people give to concepts: kept with the library, for one model, and shown wherever names are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.drawn import draw_clip
from tests.helpers.models import checkpoint_of
from vtr_demo.errors import LibraryError
from vtr_demo.library.database import read_catalogue
from vtr_demo.library.engine import Engine
from vtr_demo.results import LONGEST_NAME
from vtr_demo.viz.figures import match_json

pytestmark = pytest.mark.usefixtures("few_null_captions")


@pytest.fixture
def engine(copied: Callable[..., Engine]) -> Engine:
    return copied()


def names(engine: Engine) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As the Concepts tab has them, and as an explanation has them."""
    clip = engine.clips()[0]
    shown = tuple(view.name for view in engine.concepts())
    return shown, engine.explain("a square", clip.clip_id).concept_names


def test_a_name_is_shown_everywhere_and_outlives_the_program(engine: Engine, spec: str) -> None:
    found = engine.model.names
    engine.rename(1, "  all that\tmoves ")
    expected = (found[0], "all that moves", *found[2:])
    assert names(engine) == (expected, expected)
    directory = engine.status().directory
    engine.close()
    again = Engine.open(Path(directory), spec)
    assert names(again) == (expected, expected)
    again.close()


def test_an_empty_name_brings_the_first_back(engine: Engine) -> None:
    engine.rename(2, "water")
    engine.rename(3, "sky")
    engine.rename(2, " \n ")
    assert names(engine)[0] == (*engine.model.names[:3], "sky", *engine.model.names[4:])
    engine.rename(3, engine.model.names[3])
    assert names(engine) == (engine.model.names, engine.model.names)


def test_equal_names_are_told_apart(engine: Engine) -> None:
    """What an explanation says of concepts by name must not lose one of them."""
    for concept in (1, 3, 4):
        engine.rename(concept, "moving")
    engine.rename(2, "moving (4)")
    first = engine.model.names[0]
    expected = (first, "moving", "moving (4)", "moving (4) (4)", "moving (5)")
    assert names(engine) == (expected, expected)
    clip = engine.clips()[0]
    why = engine.explain("a square moves", clip.clip_id)
    told = match_json(why, clip.name)["concepts"]
    assert sum(told.values()) == pytest.approx(why.alignment.terms()["concepts"], abs=1e-6)


def test_names_belong_to_one_model(engine: Engine, tmp_path: Path) -> None:
    engine.rename(0, "mine")
    directory = Path(engine.status().directory)
    engine.close()
    other = Engine.open(directory, checkpoint_of(tmp_path / "b", "tiny", 1), rebuild=True)
    assert names(other) == (other.model.names, other.model.names)
    other.rename(0, "theirs")
    other.close()
    kept = read_catalogue(directory).settings["concept_names"]
    assert sorted(list(given.values()) for given in kept.values()) == [["mine"], ["theirs"]]


def test_a_long_name_an_unknown_concept_and_a_library_that_is_only_read_are_refused(engine: Engine, spec: str) -> None:
    engine.rename(0, "x" * LONGEST_NAME)
    with pytest.raises(LibraryError, match=f"A name of {LONGEST_NAME + 1} letters is too long"):
        engine.rename(0, "y" * (LONGEST_NAME + 1))
    for concept in (-1, 5, 10**9):
        with pytest.raises(LibraryError, match=f"There is no concept {concept + 1}; this model has 5"):
            engine.rename(concept, "name")
    reader = Engine.open(Path(engine.status().directory), spec, readonly=True)
    with pytest.raises(LibraryError, match="open for reading only"):
        reader.rename(0, "name")
    assert names(reader)[0][0] == "x" * LONGEST_NAME
    reader.close()


def test_names_outlive_a_damaged_database_and_their_loss_is_told(engine: Engine, spec: str) -> None:
    engine.rename(0, "mine")
    directory = Path(engine.status().directory)
    engine.close()
    for lost in (("library.db",), ("settings.json",), ("library.db", "settings.json")):
        for name in lost:
            (directory / name).write_bytes(b"no such thing" * 100)
        again = Engine.open(directory, spec)
        assert any(name in problem for name in lost for problem in again.status().problems)
        first = again.model.names[0] if len(lost) == 2 else "mine"
        assert names(again)[0][0] == first
        again.close()


def test_renaming_does_not_wait_for_indexing(engine: Engine, tmp_path: Path) -> None:
    def rename_meanwhile(share: float, what: str) -> None:
        done = threading.Thread(target=engine.rename, args=(0, f"at {share}"), daemon=True)
        done.start()
        done.join(20)
        assert not done.is_alive(), "the name waits for the end of indexing"

    draw_clip(tmp_path / "new.mp4", frames=8, fps=4, colours=[(30, 60, 200)])
    assert engine.add([str(tmp_path / "new.mp4")], progress=rename_meanwhile).failed == ()
    assert names(engine)[0][0] == "at 1.0"
