"""The package's shape: imports point one way, heavy libraries have one home, importing does nothing."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vtr_demo"
FILES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
FILES["app"] = ROOT / "app.py"

STEPS = """
errors
config structures distributed
results
files
video text playground
backbones viz
model data ui
evaluation vectors
training library
bench
commands
cli app
__main__
"""
"""From the ground up. A folder or file imports from the steps below it, and nothing beside or above it."""

HOMES = {
    "gradio": "vtr_demo/ui/page vtr_demo/ui/tabs vtr_demo/ui/theme",
    "starlette": "vtr_demo/ui/api vtr_demo/ui/page vtr_demo/ui/visitors",
    "faiss": "vtr_demo/vectors/segment",
    "pymilvus": "vtr_demo/vectors/milvus",
    "joblib": "vtr_demo/distributed",
    "ray": "vtr_demo/library/cluster",
    "spacy": "vtr_demo/text/parser",
    "emoji": "vtr_demo/text/parser",
    "decord": "vtr_demo/video/reader",
    "timm": "vtr_demo/backbones/bundled",
    "transformers": "vtr_demo/backbones/bundled",
    "open_clip": "vtr_demo/backbones/hub vtr_demo/backbones/open_clip",
    "huggingface_hub": "vtr_demo/backbones/hub",
}
"""The only files that import each heavy library."""


@functools.cache
def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, anywhere in it, also by ``guarded_import``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("guarded_import"):
            names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return names


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_point_one_way():
    step = {name: i for i, line in enumerate(STEPS.split("\n")) for name in line.split()}
    wrong = []
    for name, path in FILES.items():
        own = name.split("/")[1] if "/" in name else name
        for other in imported(path) if own != "__init__" else ():
            package, _, rest = other.partition(".")
            place = rest.split(".")[0]
            if package == "vtr_demo" and place in step and place != own and step[place] >= step[own]:
                wrong.append(f"{name} imports {other}")
    assert not wrong


def test_files_of_a_folder_import_each_other_without_a_cycle():
    modules = {name.replace("/", "."): path for name, path in FILES.items() if not name.endswith("__init__")}
    waiting = {
        name: {other for other in modules for found in imported(path) if f"{found}.".startswith(f"{other}.")}
        for name, path in modules.items()
    }
    while waiting:
        free = {name for name, needs in waiting.items() if not needs & waiting.keys()}
        assert free, f"a cycle among {sorted(waiting)}"
        waiting = {name: needs for name, needs in waiting.items() if name not in free}


def test_every_folder_stays_small():
    folders = {path.parent for path in FILES.values()}
    assert not [folder.name for folder in folders if len(list(folder.glob("*.py"))) > 20]


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_has_its_homes(library):
    users = {name for name, path in FILES.items() if any(found.split(".")[0] == library for found in imported(path))}
    assert users == set(HOMES[library].split())


DECODER = "vtr_demo.video.sandbox, vtr_demo.video.reader, vtr_demo.video.transcode"
HEAVY = {"torch", "gradio", "spacy", "matplotlib", "faiss", "transformers"}


@pytest.mark.parametrize(
    ("names", "heavy"), [("vtr_demo, vtr_demo.__main__, vtr_demo.cli", HEAVY), (DECODER, HEAVY | {"pydantic"})]
)
def test_what_must_start_quickly_is_light(names, heavy):
    loaded = run(f"import sys, {names}; print(*sys.modules)").split()
    assert not heavy & set(loaded)


def test_importing_the_package_loads_no_heavy_library_but_torch():
    page = {"app", *HOMES["gradio"].split()}
    names = ", ".join(name.replace("/", ".") for name in FILES if name not in page and "__" not in name)
    loaded = set(run(f"import sys, {names}; print(*sys.modules)").split())
    assert "torch" in loaded
    assert not (HOMES.keys() - {"starlette"}) & loaded
