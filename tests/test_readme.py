"""What the README names exists: commands, folders, links, and the Space's settings at its head."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import version
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from tests.helpers.command_line import parse
from vtr_demo.config import read_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """The arguments of every `-m vtr_demo` in the shell blocks, continued lines joined."""
    lines = "\n".join(fenced("bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[line.index("vtr_demo") + 1 :] for line in words if "vtr_demo" in line]


def test_the_commands_parse_and_their_settings_are_known():
    parsed = [parse(command) for command in commands()]
    assert len(parsed) > 8
    runs = [options for name, options in parsed if name == "train"]
    for run in runs:
        assert read_config(run["config"], run["overrides"] or ()).batch > 0
    assert len(runs) >= 3


def test_folders_and_linked_files_exist():
    (tree,) = fenced("text")[-1:]
    folder, missing = ROOT, []
    for line in tree.splitlines():
        if line.startswith("   "):
            continue  # goes on with the line above
        name = line.split()[0]
        path = (folder if line.startswith(" ") else ROOT) / name
        if not line.startswith(" ") and name.endswith("/"):
            folder = path
        if not path.exists():
            missing.append(name)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in link]
    assert [*missing, *(link for link in links if not (ROOT / link).exists())] == []
    packages = {path.parent.name for path in (ROOT / "vtr_demo").glob("*/__init__.py")}
    named = {line.split()[0] for line in tree.splitlines() if line.startswith(" ")}
    assert packages == {name.rstrip("/") for name in named if name.endswith("/")}


def test_the_space_can_start_the_page():
    settings = yaml.safe_load(README.split("---\n")[1])
    assert settings["sdk"] == "gradio"
    assert (ROOT / settings["app_file"]).is_file()
    assert isinstance(settings["python_version"], str)  # 3.10 without quotes would be the number 3.1
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = {r.name: r.specifier for r in (Requirement(x) for x in lines if x.strip() and x[0] != "#")}
    assert required["gradio"].contains(settings["sdk_version"])
    assert required["gradio"].contains(version("gradio"))
