"""The package's shape: imports point down, heavy libraries have one home, importing does nothing."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vtr_demo"
FILES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}
APP = ROOT / "app.py"
MOST_LINES = 300


@dataclass(frozen=True)
class Block:
    """Files that belong together, and the blocks below that they may import besides their own."""

    files: str
    below: str = ""

    def holds(self, name: str) -> bool:
        return name in self.files.split()


BLOCKS = {
    "ground": Block(
        "__init__ errors schema config config_file files guarded_import records features results palette"
    ),
    "numbers": Block(
        "losses metrics normalise protocols index blocks nullset partitions calibration", "ground"
    ),
    "video": Block("video video_source video_reader video_convert video_worker codec", "ground"),
    "text": Block("text grammar lexicon reading", "ground"),
    "playground": Block(
        "playground playground_art playground_easel playground_film playground_goods playground_grammar "
        "playground_layout playground_lexicon playground_motion playground_nature playground_pairs "
        "playground_people playground_pose playground_scenes playground_spec playground_sprites "
        "playground_things playground_town playground_truth playground_wide",
        "ground",
    ),
    "towers": Block(
        "backbone backbone_base backbone_bundled backbone_open_clip backbone_tiny i3d open_clip_files "
        "word_spans",
        "ground",
    ),
    "data": Block("data datasets sources attributes", "ground"),
    "model": Block("model mcsan s2ca binding matching movement pooling", "ground numbers"),
    "checkpoint": Block("checkpoint", "ground towers data model"),
    "library": Block(
        "engine librarian ingest queries explaining gallery measuring moments moment_quality renaming store "
        "shelf catalog clipfolder",
        "ground numbers video text data model checkpoint",
    ),
    "training": Block(
        "train objective evaluate probes baseline naming distill initial batch sampler live teacher frames "
        "tokens corpus drawn_corpus distributed sides optimisation logbook runstate preparation reliability "
        "comparison material ablation allocations concept_quality faithfulness attribution perturb step "
        "bench continuing processes",
        "ground numbers video text playground towers data model checkpoint",
    ),
    "pictures": Block("figure chart bar heatmap sheet", "ground"),
    "page": Block(
        "page page_about page_api page_concepts page_gallery page_library page_look page_measure page_media "
        "page_rivals page_view page_why",
        "ground pictures",
    ),
    "command line": Block(
        "__main__ cli arguments commands workshop answer dossier entrance",
        "ground data playground checkpoint library training pictures page",
    ),
}
"""From the ground up; a new file joins one of these, and the README's tree."""

HOMES = {
    "gradio": "app page_look",
    "starlette": "page_media",
    "faiss": "index",
    "joblib": "processes",
    "spacy": "text",
    "emoji": "text",
    "av": "video_source video_convert playground_film bench",
    "decord": "video_reader",
    "matplotlib": "sheet",
    "transformers": "backbone_bundled",
    "tokenizers": "backbone_bundled",
    "timm": "backbone_bundled",
    "open_clip": "open_clip_files word_spans",
    "huggingface_hub": "open_clip_files",
    "PIL": "codec heatmap video video_reader playground playground_art playground_easel playground_scenes "
    "playground_sprites",
}
"""The files that may import each heavy library."""


def block_of(name: str) -> str:
    homes = [block for block, content in BLOCKS.items() if content.holds(name)]
    assert len(homes) == 1, f"{name}.py belongs to one block of tests/test_architecture.py, not to {homes}"
    return homes[0]


@functools.lru_cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, anywhere in it, also by ``guarded_import``."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("guarded_import", "import_module")
        ):
            names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return names


def neighbours(path: Path) -> set[str]:
    """The package's files that a file imports."""
    parts = [name.split(".") for name in imported(path)]
    return {
        second[1] for second in parts if second[0] == "vtr_demo" and len(second) > 1 and second[1] in FILES
    }


def calls(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --------------------------------------------------------------------------- imports
def test_every_file_belongs_to_exactly_one_block():
    named = [name for block in BLOCKS.values() for name in block.files.split()]
    assert sorted(named) == sorted(FILES)


def test_blocks_name_only_blocks_below_them():
    seen: set[str] = set()
    for name, block in BLOCKS.items():
        assert set(block.below.split()) <= seen, name
        seen.add(name)


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down(name):
    block = block_of(name)
    allowed = {block, *BLOCKS[block].below.split()}
    wrong = {other for other in neighbours(FILES[name]) if block_of(other) not in allowed}
    assert not wrong, f"{name} ({block}) imports {sorted(wrong)} from above or beside"


def test_imports_have_no_cycle():
    waiting = {name: neighbours(path) - {name} for name, path in FILES.items()}
    while waiting:
        free = {name for name, needs in waiting.items() if not needs & waiting.keys()}
        assert free, f"a cycle among {sorted(waiting)}"
        waiting = {name: needs for name, needs in waiting.items() if name not in free}


def test_the_page_and_the_pictures_know_the_engine_only_by_its_answers():
    reached = {name for name in neighbours(APP) if block_of(name) not in ("page", "ground")}
    assert reached == {"entrance"}


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_has_its_homes(library):
    users = {
        name
        for name, path in (FILES | {"app": APP}).items()
        if any(found.split(".")[0] == library for found in imported(path))
    }
    assert users == set(HOMES[library].split())


# --------------------------------------------------------------------------- habits
def test_only_the_command_line_prints():
    assert {name for name, path in FILES.items() if "print" in calls(path)} == {"cli"}
    assert "print" not in calls(APP)


def test_only_the_entrances_end_the_program():
    ending = {name for name, path in FILES.items() if {"sys.exit", "exit", "quit"} & calls(path)}
    assert ending <= {"__main__", "entrance", "video_worker"}


@pytest.mark.parametrize("path", [*FILES.values(), APP], ids=lambda path: path.name)
def test_no_file_passes_the_stop(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", [*FILES.values(), APP], ids=lambda path: path.name)
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(tree_of(path))


def test_every_public_name_exists():
    for name, path in FILES.items():
        listed = [
            node.value
            for node in tree_of(path).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        for value in listed:
            module = importlib.import_module(f"vtr_demo.{name}" if name != "__init__" else "vtr_demo")
            missing = [public for public in ast.literal_eval(value) if not hasattr(module, public)]
            assert not missing, name


# --------------------------------------------------------------------------- importing does nothing
@pytest.mark.parametrize("name", ["vtr_demo", "vtr_demo.__main__", "vtr_demo.cli", "vtr_demo.video_worker"])
def test_what_must_start_quickly_is_light(name):
    loaded = run(f"import sys, {name}; print(*sys.modules)").split()
    assert not {"torch", "gradio", "spacy", "matplotlib", "faiss", "transformers"} & set(loaded)


def test_importing_the_package_loads_no_heavy_library_but_torch():
    names = ", ".join(f"vtr_demo.{name}" for name in FILES if name != "__init__")
    loaded = set(run(f"import sys, {names}; print(*sys.modules)").split())
    assert "torch" in loaded
    assert not (HOMES.keys() - {"PIL", "starlette"}) & loaded
