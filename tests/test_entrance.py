"""From app.py's arguments to an open library, on one's own machine and on a shared Space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vtr_demo import entrance


class Opened:
    """Stands in for the engine and remembers how it was opened."""

    def __init__(self, library: Path, model: str, **options: Any) -> None:
        self.library, self.model, self.options = library, model, options

    @classmethod
    def open(cls, library: Path, model: str, **options: Any) -> Opened:
        return cls(library, model, **options)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "Engine", Opened)
    monkeypatch.delenv("SPACE_ID", raising=False)


@pytest.mark.usefixtures("opened")
def test_without_arguments_the_library_lies_at_home_and_only_this_machine_sees_the_page(
    tmp_path: Path,
) -> None:
    door = entrance.enter([], tmp_path)
    assert isinstance(door.engine, Opened)
    assert (door.engine.library, door.engine.model) == (tmp_path / "library", "bundled")
    assert door.engine.options["samples"] == tmp_path / "sample_videos"
    assert (door.host, door.port, door.shared) == ("127.0.0.1", None, False)


@pytest.mark.usefixtures("opened")
def test_a_space_is_shared_and_open_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "someone/demo")
    door = entrance.enter(["--library", str(tmp_path / "mine"), "--model", "x", "--port", "7861"], tmp_path)
    assert isinstance(door.engine, Opened)
    assert (door.engine.library, door.engine.model) == (tmp_path / "mine", "x")
    assert (door.host, door.port, door.shared) == ("0.0.0.0", 7861, True)


def test_a_model_that_is_not_there_ends_the_program_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        entrance.enter(["--model", str(tmp_path / "nowhere")], tmp_path)
    assert "nowhere" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_an_unknown_argument_ends_the_program_with_the_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        entrance.enter(["--colour", "red"], tmp_path)
    assert "--library" in capsys.readouterr().err
