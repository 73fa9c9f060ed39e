"""The README is true: its tree, its commands, its links, and the Space's settings at its head."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from vtr_demo import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPACE_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """Every line of the shell blocks, continued lines joined, comments removed."""
    lines = "\n".join(fenced("bash")).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines if line.strip()]


def check_line() -> str:
    (line,) = [line for line in commands() if line.startswith("pip install -r requirements-dev.txt")]
    return line


@pytest.fixture(scope="module")
def settings() -> dict:
    head = re.match(r"---\n(.*?)\n---\n", README, flags=re.DOTALL)
    assert head, "the README begins with the Space's settings"
    return yaml.safe_load(head.group(1))


# --------------------------------------------------------------------------- the Space
def test_the_space_finds_its_settings(settings):
    required = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "app_file", "license"}
    assert required <= settings.keys()
    assert settings["sdk"] == "gradio"
    assert {settings["colorFrom"], settings["colorTo"]} <= SPACE_COLOURS
    assert (ROOT / settings["app_file"]).is_file()
    assert len(settings["short_description"]) <= 60
    assert isinstance(settings["python_version"], str), "3.10 without quotes would be the number 3.1"


def test_the_space_runs_a_gradio_that_the_requirements_allow(settings):
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = {r.name: r.specifier for r in (Requirement(x) for x in lines if x.strip() and x[0] != "#")}
    assert wanted["gradio"].contains(settings["sdk_version"])
    assert wanted["gradio"].contains(version("gradio"))
    named = re.search(r"Python (3\.\d+) to (3\.\d+)", README)
    assert named
    assert SpecifierSet(f">={named[1]},<={named[2]}").contains(settings["python_version"])


def test_the_licence_is_the_one_that_is_named(settings):
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert settings["license"] == "apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


# --------------------------------------------------------------------------- the tree
def entries() -> list[tuple[str, str]]:
    (tree,) = [block for block in fenced("text") if "vtr_demo/" in block]
    return re.findall(r"^ *([\w./-]+?\.\w+|[\w./-]+/) {2,}(\S.*)$", tree, flags=re.MULTILINE)


def test_the_tree_names_every_file_of_the_package_once():
    named = Counter(name for name, _ in entries() if name.endswith(".py") and name != "app.py")
    assert named == Counter(path.name for path in (ROOT / "vtr_demo").glob("*.py"))


def test_the_tree_says_something_else_of_each():
    phrases = Counter(phrase for _, phrase in entries())
    assert phrases.most_common(1)[0][1] == 1


def test_everything_outside_the_package_is_there():
    outside = [name for name, _ in entries() if not (ROOT / "vtr_demo" / name).exists()]
    assert {"checkpoints/", "sample_videos/", "tests/", "requirements.txt"} <= set(outside)
    missing = [name for name in outside if not (ROOT / name).exists()]
    assert missing == []


def test_linked_files_exist():
    links = re.findall(r"\]\(([^)\s]+)\)", README)
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert links
    assert missing == []


# --------------------------------------------------------------------------- the commands
def test_the_shown_commands_are_understood():
    shown = [line.split("-m vtr_demo ", 1)[1] for line in commands() if "-m vtr_demo " in line]
    parsed = [cli.parse(shlex.split(arguments)) for arguments in shown]
    assert {"index", "search", "describe", "explain", "evaluate", "train", "serve"} <= {
        chosen.command for chosen in parsed
    }


def test_overrides_that_are_shown_are_settings():
    from vtr_demo.config import read_config

    runs = [
        cli.parse(shlex.split(line, comments=True)[3:])
        for line in commands()
        if line.startswith("python -m vtr_demo train")
    ]
    configs = [read_config(run.config, [pair for pairs in run.set for pair in pairs]) for run in runs]
    assert [config.start for config in configs] == ["bundled", ""]
    assert all(config.train and (config.validation or config.hold_out) for config in configs)


def test_the_processes_that_are_shown_make_the_batch_of_the_source():
    from vtr_demo.config import read_config

    (line,) = [line for line in commands() if line.startswith("torchrun")]
    chosen = cli.parse(shlex.split(line.split("-m vtr_demo ", 1)[1]))
    processes = int(line.split("--nproc_per_node ", 1)[1].split()[0])
    overrides = [pair for pairs in chosen.set for pair in pairs]
    source, shown = (read_config(chosen.config, given) for given in ((), overrides))
    assert processes * shown.batch == source.batch == 128


def test_ci_runs_the_one_line_that_checks_everything():
    line = check_line()
    assert all(tool in line for tool in ("ruff check", "ruff format --check", "mypy", "pytest"))
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in script, "the script takes the line from the README"
    assert "pytest" not in script, "and has no second version of it"
