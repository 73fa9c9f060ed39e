"""A Ray cluster of two processes indexes as this process does, bit for bit; so does its actor without Ray."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.drawn import draw_clip
from vtr_demo.errors import LibraryError
from vtr_demo.library import cluster, indexing
from vtr_demo.library.engine import Engine
from vtr_demo.library.records import StoredClip
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.video.frames import LimitConfig

pytestmark = pytest.mark.usefixtures("few_null_captions")
ROOT = Path(__file__).parents[2]
COLOURS = [(210, 30, 30), (30, 190, 60), (30, 60, 200)]


@pytest.fixture(scope="module")
def _two_processes() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="Ray is not installed (requirements-scale.txt)")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    ray.init("local", num_cpus=2, include_dashboard=False, runtime_env=environment, object_store_memory=2**27)
    yield
    ray.shutdown()


def without_ray(
    _: str,
    paths: Sequence[Path],
    model: RetrievalModel,
    limits: LimitConfig,
    prototypes: dict[str, Any] | None,
    scratch: Path,
) -> Iterator[cluster.Outcome]:
    """Do the work of the actors here."""
    encoder = cluster._Encoder(model.spec, model.fingerprint, limits, prototypes, None)
    encoder._begin = lambda _: 1
    rows = ({"number": i, "path": os.fsencode(path)} for i, path in enumerate(paths))
    return cluster._in_order(map(encoder, rows), paths, scratch)


@pytest.fixture(params=["one process", pytest.param("ray", marks=pytest.mark.slow)])
def sent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are handed to the cluster."""
    names: list[str] = []
    prepare = cluster.prepare_on_ray if request.param == "ray" else without_ray
    if request.param == "ray":
        request.getfixturevalue("_two_processes")

    def prepared(address: str, paths: Sequence[Path], *rest: Any) -> Iterator[cluster.Outcome]:
        names.extend(path.name for path in paths)
        yield from prepare(address, paths, *rest)

    monkeypatch.setattr(indexing, "prepare_on_ray", prepared)
    return names


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """Films that differ in everything, and two that are none."""
    folder = tmp_path / "films"
    folder.mkdir()
    draw_clip(folder / "a.mp4", frames=6, colours=COLOURS[:1])
    draw_clip(
        folder / "b.mkv", frames=44, fps=4, size=(64, 48), colours=COLOURS
    )  # several moments, and a copy for browsers
    draw_clip(folder / "c \udcff.webm", codec="libvpx-vp9", frames=6)
    (folder / "d.mp4").write_text("no film")
    draw_clip(folder / "e.mov", rotate=90, size=(48, 64), frames=6, sound=True)
    shutil.copy(folder / "a.mp4", folder / "f.mp4")
    for path in (paths := sorted(folder.iterdir())):
        os.utime(path, (time.time() - 60,) * 2)
    return [*paths, folder / "gone.mp4"]


def stored(engine: Engine) -> list[StoredClip]:
    """All that is stored; files are named by the digests of their content."""
    return [replace(clip, added="") for clip in engine._indexer.library.clips()]


@pytest.mark.parametrize("model", ["trained", "tiny"])
def test_a_cluster_stores_what_this_process_stores(model, spec, films, tmp_path, sent):
    name = spec if model == "trained" else model
    here, there = Engine.open(tmp_path / "here", name), Engine.open(tmp_path / "there", name)
    expected = here.add(films, keep_copy=False)
    assert (len(expected.added), len(expected.known), len(expected.failed)) == (4, 1, 2)
    assert there.add(films, keep_copy=False, cluster="local") == expected
    assert stored(there) == stored(here)

    # what is known is not sent: neither what lies where it lay, nor what was moved or touched
    sent.clear()
    films[1].rename(films[1].with_name("moved.mkv"))
    os.utime(films[0], (1e9, 1e9))
    draw_clip(films[-1], frames=9)
    again = [films[0], films[1].with_name("moved.mkv"), *films[2:]]
    assert there.add(again, keep_copy=False, cluster="local") == here.add(again, keep_copy=False)
    assert sent == ["d.mp4", "gone.mp4"]
    here.close()
    there.close()


class Fatal(cluster._Encoder):
    """Ends its process at one file."""

    def _begin(self, number: int) -> int:
        attempt = super()._begin(number)
        if number == 4 and attempt <= cluster._ATTEMPTS:
            os._exit(1)
        return attempt


@pytest.mark.slow
@pytest.mark.usefixtures("_two_processes")
def test_a_process_that_ends_costs_its_file_alone(spec, films, tmp_path, monkeypatch):
    engine = Engine.open(tmp_path / "library", spec)
    monkeypatch.setattr(cluster, "_Encoder", Fatal)
    report = engine.add(films[:5], cluster="local")
    assert [name for name, _ in report.failed] == ["d.mp4", "e.mov"]
    assert "without --ray" in report.failed[1][1]
    assert len(report.added) == 3
    monkeypatch.undo()
    assert len(engine.add(films[:5], cluster="local").added) == 1
    engine.close()


def test_without_ray_the_sentence_names_what_to_install(spec, films, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = Engine.open(tmp_path / "library", spec)
    with pytest.raises(LibraryError, match=r"requirements-scale\.txt"):
        engine.add(films[:1], cluster="auto")
    engine.close()


@pytest.mark.usefixtures("sent")
def test_machines_with_another_model_are_refused(spec, films, tmp_path):
    engine = Engine.open(tmp_path / "library", spec)
    engine.model = engine._indexer._model = replace(engine.model, spec="tiny")
    with pytest.raises(LibraryError, match="another tiny; give all the same"):
        engine.add(films[:1], cluster="local")
    assert engine.clips() == ()
    engine.close()
