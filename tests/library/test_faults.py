"""Laws of the library under faults: a kill or a failed write at every step, and flipped bits in every file.

The quick form spoils every fifth step of each change and some bits of every kind of file; the full form
(``python -m pytest -m full tests/library/test_faults.py``) every step, 500 kills in a row and 400 bits.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.stored import (
    OURS,
    RETRAINED,
    Faults,
    all_vectors,
    assert_holds,
    clip_of,
    contents_of,
    library,
    old_library,
    on_disk,
)
from vtr_demo.errors import LibraryError
from vtr_demo.library import transactions
from vtr_demo.library.reader import LibraryReader
from vtr_demo.library.records import StoredClip
from vtr_demo.library.store import LibraryWriter

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the kills need os.fork")


LONGEST = 400
"""Steps past which a change would not end."""


# --------------------------------------------------------------------------- changes and what they may leave
def rebuild(store: LibraryWriter) -> None:
    if store.stale:
        for clip in store.clips():
            if not store.rebuilt(clip.id):
                store.replace_vectors(clip.id, np.ones((3, 9)))
        store.switch()


def repair(store: LibraryWriter) -> None:
    store.check()
    for clip in store.damaged():
        store.replace(clip, contents_of(1))


CHANGES: dict[str, Callable[[LibraryWriter], object]] = {
    "add": lambda store: store.add(clip_of(2), contents_of(2)),
    "delete": lambda store: store.delete(clip_of(0).id),
    "rename": lambda store: store.set_setting("concept_names", {"x": {"0": "new"}}),
    "rebuild": rebuild,
    "repair": repair,
    "open_old": lambda store: None,
}


def make(directory: Path, name: str) -> None:
    """Open a library and change it."""
    wanted = RETRAINED if name == "rebuild" else OURS
    with LibraryWriter.open(directory, wanted, allow_stale=name == "rebuild") as store:
        CHANGES[name](store)


def number_of(clip: StoredClip) -> int:
    return int(clip.name.split()[1].split(".")[0])


def assert_tidy(store: LibraryWriter) -> None:
    """No file lies there that is no clip's."""
    assert on_disk(store.directory) == {name for clip in store.clips() for name in clip.file_names()}


def check(directory: Path, name: str) -> None:
    """A library is as before the change or after it, and takes the change then."""
    if name == "rebuild":
        with LibraryWriter.open(directory, RETRAINED, allow_stale=True) as store:
            assert_holds(store, [0, 1])
            stale = store.stale
        if stale:
            assert_holds(LibraryReader.open(directory, OURS), [0, 1])
            make(directory, name)
        with LibraryWriter.open(directory, RETRAINED) as store:
            assert_holds(store, [0, 1])
            assert (all_vectors(store)[0] == 1).all()
            assert_tidy(store)
        return
    if name == "open_old":
        assert_holds(LibraryReader.open(directory, OURS), [0, 1])
    with LibraryWriter.open(directory, OURS) as store:
        there = [number_of(clip) for clip in store.clips()]
        if name == "repair":
            store.check()
            assert there == [0, 1]
            assert {clip.name for clip in store.damaged()} <= {"clip 1.mp4"}
            repair(store)
        assert_holds(store, there)
        assert_tidy(store)
        if name == "add":
            assert there in ([0, 1], [0, 1, 2])
            if len(there) == 2:
                CHANGES[name](store)
            assert_holds(store, [0, 1, 2])
        elif name == "delete":
            assert there in ([0, 1], [1])
        elif name == "rename":
            assert store.setting("concept_names") in ({"x": {"0": "old"}}, {"x": {"0": "new"}})
        elif name == "open_old":
            assert there == [0, 1]
            assert [store.media(clip.id).read_bytes() for clip in store.clips()] == [b"\0", b"\1"]
            assert store.setting("concept_names") == {OURS.fingerprint: {"0": "mine"}}
            assert not (directory / "clips").exists()


def start(directory: Path, change: str) -> None:
    """The library that a change is made to."""
    if change == "open_old":
        directory.mkdir()
        old_library(directory)
        return
    library(directory)
    with LibraryWriter.open(directory, OURS) as store:
        store.set_setting("concept_names", {"x": {"0": "old"}})
        if change == "repair":
            (directory / store.get(clip_of(1).id).files["tokens"].name).write_bytes(b"spoiled")


def killed(directory: Path, change: Callable[[Path], None], step: int) -> bool:
    """Make a change in a child process that ends at a step; False where it came to its own end before."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with Faults().at_step(directory, step, kill=True):
                change(directory)
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 77), f"the change failed on its own at step {step}"
    return code == 77


STRIDES = [5, pytest.param(1, marks=pytest.mark.full)]
"""Every fifth step, from another one for each change, or in the full form every step."""


@pytest.mark.parametrize("kill", [pytest.param(True, marks=needs_fork), False])
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("name", CHANGES)
def test_a_kill_or_a_failed_write_at_any_step_leaves_the_library_before_or_after_the_change(
    tmp_path: Path, name: str, stride: int, kill: bool
) -> None:
    start(tmp_path / "start", name)
    for step in range(1 + (len(name) + kill) % stride, LONGEST, stride):
        directory, faults = tmp_path / "run", Faults()
        shutil.copytree(tmp_path / "start", directory)
        if kill:
            ended = not killed(directory, partial(make, name=name), step)
        else:
            with suppress(LibraryError), faults.at_step(directory, step):
                make(directory, name)
            ended = faults.step < step
        check(directory, name)
        shutil.rmtree(directory)
        if ended:
            assert step > 10
            return
    pytest.fail("the change never ended")


# --------------------------------------------------------------------------- flipped bits
def check_flip(directory: Path, path: Path, bit: int) -> None:
    """A flipped bit is noticed or changes nothing, and costs one clip at most."""
    before = path.read_bytes()
    data = bytearray(before)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    where = f"bit {bit} of {path.name}"
    reader = LibraryReader.open(directory, OURS)
    assert len(reader) == 3, where
    _, owners = all_vectors(reader)
    assert len({owner for owner, _ in owners}) >= 2, where
    with LibraryWriter.open(directory, OURS) as store:
        store.check()
        damaged = store.damaged()
        assert len(damaged) <= 1, where
        assert store.setting("concept_names") == {"x": {"0": "old"}}, where
        noticed = bool(store.problems())
        for clip in damaged:
            store.replace(clip, contents_of(number_of(clip)))
        assert noticed or path.read_bytes() == before or path.name in ("library.db", "settings.json"), where
        if not noticed:
            assert_holds(store, [0, 1, 2])
    with LibraryWriter.open(directory, OURS) as store:
        assert_holds(store, [0, 1, 2])


def kinds(directory: Path) -> list[Path]:
    """One file of each kind, of different clips."""
    names = sorted(on_disk(directory))
    folders = dict.fromkeys(name.split("/")[0] for name in names)
    chosen = [next(directory / name for name in names if name.startswith(folder)) for folder in folders]
    return [directory / "library.db", directory / "settings.json", *chosen]


@pytest.mark.parametrize("count", [24, pytest.param(400, marks=pytest.mark.full)])
def test_a_flipped_bit_is_noticed_and_costs_one_clip_at_most(tmp_path: Path, count: int) -> None:
    rng = random.Random(count)
    library(tmp_path / "start", 3)
    with LibraryWriter.open(tmp_path / "start", OURS) as store:
        store.set_setting("concept_names", {"x": {"0": "old"}})
    for number in range(count):
        directory = tmp_path / "run"
        shutil.copytree(tmp_path / "start", directory)
        paths = kinds(directory)
        path = paths[number % len(paths)]
        check_flip(directory, path, rng.randrange(8 * path.stat().st_size))
        shutil.rmtree(directory)


@pytest.mark.full
@needs_fork
def test_500_kills_in_a_row_lose_nothing(tmp_path: Path) -> None:
    """One library, opened again after each kill: what a finished change said stays true."""
    rng, directory = random.Random(1), tmp_path / "lib"
    library(directory, 2)
    for _ in range(500):
        with LibraryWriter.open(directory, OURS) as store:
            before = {number_of(clip) for clip in store.clips()}
            assert_holds(store, [number_of(clip) for clip in store.clips()])
        n = rng.randrange(6)

        def change(folder: Path, n: int = n, present: bool = n in before) -> None:
            with LibraryWriter.open(folder, OURS) as store:
                if present:
                    store.delete(clip_of(n).id)
                else:
                    store.add(clip_of(n), contents_of(n))

        ended = not killed(directory, change, rng.randrange(1, 45))
        with LibraryWriter.open(directory, OURS) as store:
            after = {number_of(clip) for clip in store.clips()}
            assert after == before ^ {n} or (not ended and after == before)
            assert_tidy(store)
    assert not (directory / "lost").exists()


# --------------------------------------------------------------------------- damage, strangers, full disks
@pytest.mark.parametrize("role", ["frames", "tokens", "vectors", "poster"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing"])
def test_a_damaged_file_costs_its_own_clip_only_and_is_named(tmp_path: Path, role: str, damage: str) -> None:
    ids = library(tmp_path, 3)
    path = tmp_path / LibraryReader.open(tmp_path, OURS).get(ids[1]).files[role].name
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-5] if damage == "cut" else b"")
    with LibraryWriter.open(tmp_path, OURS) as store:
        store.check()
        (sentence,) = store.problems()
        assert sentence.startswith(f"clip 1.mp4: its {role} in the library are missing or damaged")
        for clip_id in (ids[0], ids[2]):
            store.frames(clip_id)
            store.tokens(clip_id)
        assert store.find_by_digest(clip_of(1).digest) is None
        store.add(clip_of(1), contents_of(1))
        assert_holds(store, [0, 1, 2])
    assert_holds(LibraryReader.open(tmp_path, OURS), [0, 1, 2])


def test_a_lost_database_is_written_again_also_for_a_reader(tmp_path: Path) -> None:
    library(tmp_path)
    for content in (None, b"", b"SQLite format 3\0 not", os.urandom(9000)):
        if content is None:
            (tmp_path / "library.db").unlink()
        else:
            (tmp_path / "library.db").write_bytes(content)
        if content != b"":
            reader = LibraryReader.open(tmp_path, OURS)
            assert "listed again from their own records" in reader.problems()[0]
            assert len(reader) == 2
        with LibraryWriter.open(tmp_path, OURS) as store:
            assert len(store) == 2
        assert_holds(LibraryReader.open(tmp_path, OURS), [0, 1])


def test_what_the_library_does_not_know_is_put_aside_or_taken_up_and_never_deleted(tmp_path: Path) -> None:
    ids = library(tmp_path / "a", 3)
    library(tmp_path / "b", 1)
    with LibraryWriter.open(tmp_path / "a", OURS) as store:
        whole = store.get(ids[2])
    strange = {name: name for name in ("tokens/holiday.txt", "records/notes.json", f"media/{'0' * 64}.mp4")}
    record = json.loads(clip_of(0).json)
    values = [None, 5, "a", [], {}, record, *({**record, key: 5} for key in record)]  # that look like records
    strange |= {f"records/{i}.json": text for i, text in enumerate([*map(json.dumps, values), "[" * 100_000])}
    for name, text in strange.items():
        (tmp_path / "b" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "b" / name).write_text(text)
    for name in whole.file_names():  # as if somebody had brought a clip back
        shutil.copy(tmp_path / "a" / name, tmp_path / "b" / name)
    with LibraryWriter.open(tmp_path / "b", OURS) as store:
        assert_holds(store, [0, 2])
    for name, text in strange.items():
        assert (tmp_path / "b" / "lost" / name).read_text() == text


def test_a_full_disk_can_be_read_and_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = library(tmp_path, 3)
    monkeypatch.setattr(transactions, "_free_bytes", lambda folder: 0)
    assert_holds(LibraryReader.open(tmp_path, OURS), [0, 1, 2])
    with LibraryWriter.open(tmp_path, OURS) as store:
        store.delete(ids[0])
        assert not (tmp_path / transactions.RESERVE).exists(), "it was given up for the deletion"
        monkeypatch.undo()
        store.delete(ids[1])
        assert (tmp_path / transactions.RESERVE).stat().st_size == transactions.RESERVE_BYTES
    assert_holds(LibraryReader.open(tmp_path, OURS), [2])


# --------------------------------------------------------------------------- the first format
def test_an_old_library_is_read_in_place_and_taken_over_without_encoding(tmp_path: Path) -> None:
    old_library(tmp_path, 3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    reader = LibraryReader.open(tmp_path, OURS)
    assert_holds(reader, [0, 1, 2])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with LibraryWriter.open(tmp_path, OURS) as store:
        tokens = [store.tokens(clip.id) for clip in store.clips()]
        for clip in store.clips():
            store.pack(clip)
        for clip, before_it in zip(store.clips(), tokens, strict=True):
            assert torch.equal(store.tokens(clip.id).patches, before_it.patches)
            assert clip.files["tokens"].name.endswith(".packed")
    again = LibraryReader.open(tmp_path, OURS)
    assert [clip.added for clip in again.clips()] == [clip.added for clip in reader.clips()]
    assert_holds(again, [0, 1, 2])


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"version": 1}', "\x00\x00"])
def test_an_old_library_without_its_list_is_taken_over_from_its_folders(tmp_path: Path, content: str | None) -> None:
    old_library(tmp_path)
    (tmp_path / "library.json").unlink() if content is None else (tmp_path / "library.json").write_text(content)
    with LibraryWriter.open(tmp_path, OURS) as store:
        assert {clip.name for clip in store.clips()} == {"clip 0.mp4", "clip 1.mp4"}
        assert len(store.problems()) == (content is not None)
    assert_holds(LibraryReader.open(tmp_path, OURS), [0, 1])


def test_an_old_clip_without_a_record_is_named_until_it_is_deleted(tmp_path: Path) -> None:
    old_library(tmp_path, 3)
    folder = next((tmp_path / "clips").glob(f"{clip_of(1).id}-*"))
    (folder / "record.json").write_text("{")
    (tmp_path / "notes" / "concept_names.json").write_text("[]")
    tokens = (folder / "tokens.safetensors").read_bytes()
    for _ in range(2):
        with LibraryWriter.open(tmp_path, OURS) as store:
            assert [clip.name for clip in store.clips()] == ["clip 0.mp4", "clip 2.mp4"]
            assert any(one.startswith("clip 1.mp4: its record.json") for one in store.problems())
            assert any("names that were given to concepts are lost" in one for one in store.problems())
    kept = next((tmp_path / "lost").rglob("tokens.safetensors"))
    assert kept.read_bytes() == tokens
    with LibraryWriter.open(tmp_path, OURS) as store:
        store.delete(clip_of(1).id)
        store.set_setting("concept_names", {})
        assert_holds(store, [0, 2])


def test_a_library_of_a_later_format_is_refused_untouched(tmp_path: Path) -> None:
    old_library(tmp_path)
    path = tmp_path / "library.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    before = path.read_text()
    with pytest.raises(LibraryError, match="format 2"):
        LibraryWriter.open(tmp_path, OURS)
    assert path.read_text() == before
