"""Whatever a file holds: no crash, no batch ended, no other file opened, no connection, nothing left behind.

The full form is 2,002 mutants: ``python -m pytest -m full tests/library/test_hostile.py``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.drawn import draw_clip
from tests.helpers.hostile import FORMATS, Trace, can_trace, run_traced, write_attempts, write_mutants

ROOT = Path(__file__).parents[2]
needs_strace = pytest.mark.skipif(
    not can_trace(), reason="NOT TRACED: strace is not installed or not allowed here (apt-get install strace)"
)


READ_ALL = """
    import sys
    from pathlib import Path
    from vtr_demo.config import VideoConfig
    from vtr_demo.errors import VideoError
    from vtr_demo.video.frames import probe, still_frames
    from vtr_demo.video.transcode import convert
    count = 0
    for path in sorted(Path(sys.argv[1]).iterdir()):
        for read in (probe, lambda one: still_frames(one, size=8, config=VideoConfig()),
                     lambda one: convert(one, "/dev/null", max_side=64)):
            try:
                read(path)
            except VideoError:
                pass
        count += 1
    print(count)
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server on loopback that nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def index_traced(folder: Path, spec: str, tmp_path: Path) -> tuple[dict, Trace]:
    """Index a folder in a process of its own that is traced: its answer, and what it asked the system for."""
    scratch, library = tmp_path / "scratch", tmp_path / "library"
    scratch.mkdir()
    words = ["index", *map(str, sorted(folder.iterdir())), "--library", str(library), "--model", spec, "--json"]
    command = [sys.executable, "-m", "vtr_demo", *words]
    done, trace = run_traced(command, tmp_path / "trace", cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch)})
    assert done.returncode == 0, done.stderr[-2000:]
    assert [path.name for path in scratch.iterdir() if not path.name.startswith("torchinductor")] == []  # torch's own
    assert not [path for path in library.rglob("*") if ".part" in path.name or "lost" in path.parts]
    return json.loads(done.stdout), trace


def assert_kept_in(trace: Trace, folder: Path) -> None:
    """Decoders were shut off, opened nothing but what lies in the folder and code, and no address was asked for."""
    assert trace.decoders
    # What the C library asks for, and does not get: how many processors there are, tables of old character sets.
    library = ("/proc/stat", "/sys/devices/system/cpu/online", "/usr/lib/x86_64-linux-gnu/gconv/", "/usr/lib64/gconv/")
    films = {str(path) for path in folder.iterdir()}
    code = (sys.prefix, sys.base_prefix, str(ROOT / "vtr_demo"))
    roots = (str(folder.parent / "library" / ".scratch"), *code, *library)
    assert [asked for asked in trace.of_decoders() if asked not in films and not asked.startswith(roots)] == []
    assert trace.connections() == []


FEW = pytest.param(tuple(FORMATS), 2, marks=pytest.mark.slow, id="few")
MANY = [pytest.param((name,), 154, marks=pytest.mark.full, id=name) for name in FORMATS]


@needs_strace
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("names", "count"), [FEW, *MANY])
def test_no_mutant_crashes_a_decoder_ends_a_batch_or_opens_another_file(names, count, spec, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    mutants = [path for name in names for path in write_mutants(name, folder, count)]
    whole = [folder / "0-first.mp4", folder / "z-last.mp4"]
    for number, path in enumerate(whole):
        draw_clip(path, frames=8 + number, size=(64, 64))
    answer, trace = index_traced(folder, spec, tmp_path)
    refused = answer["failed"]
    assert {path.name for path in whole} <= {one["name"] for one in answer["added"]}
    assert len(answer["added"]) + len(answer["known"]) + len(refused) == len(mutants) + len(whole)
    assert [one for one in refused if "crashed" in one["reason"] or "makes no sense" in one["reason"]] == []
    print(f"{', '.join(names)}: {len(refused)} of {len(mutants)} refused, {trace.decoders} decoders")
    assert_kept_in(trace, folder)


@needs_strace
@pytest.mark.slow
def test_no_file_makes_whoever_reads_it_open_another_or_connect(spec, tmp_path, listener):
    folder, outside = tmp_path / "films", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    draw_clip(canary := outside / "canary.mp4", frames=5, size=(64, 64))
    draw_clip(folder / "whole.mp4", frames=5, size=(64, 64), codec="libx265")
    attempts = write_attempts(folder, canary, listener.getsockname()[1])
    assert len(attempts) >= 80
    answer, trace = index_traced(folder, spec, tmp_path)
    assert "whole.mp4" in {one["name"] for one in answer["added"]}
    assert_kept_in(trace, folder)
    assert not [path for path in trace.opened() if "canary" in path]
    # Also where a kernel has neither Landlock nor seccomp: read by a process that may open what it likes.
    command = [sys.executable, "-c", textwrap.dedent(READ_ALL), str(folder)]
    done, trace = run_traced(command, tmp_path / "trace-open", cwd=ROOT)
    assert done.stdout.split() == [str(len(attempts) + 1)], done.stderr[-2000:]
    assert not [path for path in trace.opened() if "canary" in path]
    assert trace.connections() == []
    with pytest.raises(BlockingIOError):
        listener.accept()
