"""The command that measures the confidence on a manifest's clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.colours import colour_manifest
from vtr_demo import cli, reliability

NULLS = tuple(f"a {colour} {thing} moves" for colour in ("red", "green", "blue") for thing in ("cat", "car"))


@pytest.mark.parametrize("given", [False, True])
def test_the_command_measures_a_manifest(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reliability, "null_captions", lambda: NULLS)
    manifest, file = colour_manifest(tmp_path, count=3), tmp_path / "result.json"
    (tmp_path / "nothing.txt").write_text("a whale sings\nan empty room\na whale sings\n")
    options = ["--nothing", str(tmp_path / "nothing.txt")] if given else []
    arguments = ["reliability", "--data", str(manifest), "--model", "tiny", "--json", str(file), *options]
    assert cli.main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == answer
    assert ({"shipped", "left_out"} <= answer.keys(), "given" in answer) == (True, given)
    assert (answer["texts"], answer["videos"], answer["shipped_sentences"]) == (3, 3, 6)
    assert answer["left_out"]["queries_about_nothing"] == 3
    if given:
        assert answer["given"]["queries_about_nothing"] == 2


def test_a_file_of_sentences_that_is_not_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "reliability",
        "--data",
        str(tmp_path),
        "--nothing",
        str(tmp_path / "no.txt"),
        "--model",
        "tiny",
    ]
    assert cli.main(arguments) == 2
    assert "cannot be read" in capsys.readouterr().err
