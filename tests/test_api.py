"""The public names of the package, and the five lines of a notebook."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import vtr_demo
from tests.helpers.drawn import moving_square_clip
from vtr_demo import errors

ROOT = Path(__file__).parents[1]


def python(code: str, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_resolves_and_is_listed() -> None:
    namespace: dict[str, object] = {}
    exec("from vtr_demo import *", namespace)
    assert set(vtr_demo.__all__) <= namespace.keys()
    assert set(vtr_demo.__all__) <= set(dir(vtr_demo))
    own = [one for one in vars(errors).values() if isinstance(one, type) and one.__module__ == errors.__name__]
    kinds = {one.__name__ for one in own if issubclass(one, errors.VtrError)}
    assert "VtrError" in kinds
    assert kinds <= set(vtr_demo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vtr_demo.nothing


def test_type_checkers_see_the_public_names() -> None:
    tree = ast.parse(Path(vtr_demo.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    names = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert names == set(vtr_demo.__all__)


def test_the_five_lines_of_a_notebook(tmp_path: Path) -> None:
    moving_square_clip(tmp_path / "clip.mp4", frames=12)
    output = python(
        'from vtr_demo import Engine\n'
        'lib = Engine.open("library", "tiny"); lib.add(["clip.mp4"])\n'
        'hit = lib.search("a dog runs").hits[0]\n'
        'why = lib.explain("a dog runs", hit); why.figure().save("why.png")\n'
        'print(abs(why.alignment.score - hit.score) < 1e-5, why.moment == hit.moment)\n',
        tmp_path,
    )  # fmt: skip
    assert output.split() == ["True", "True"]
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(2**24)) > 10
