"""Originals overwritten, moved, deleted, restored: indexing again heals, and no entry plays another film."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.drawn import draw_clip
from vtr_demo.errors import LibraryError, StoppedError
from vtr_demo.library import encoding, indexing
from vtr_demo.library.engine import Engine
from vtr_demo.library.records import ClipContents
from vtr_demo.library.store import LibraryWriter
from vtr_demo.ui import state
from vtr_demo.ui.view import ViewState
from vtr_demo.video import sandbox

RED, GREEN, BLUE = (210, 30, 30), (30, 190, 60), (30, 60, 200)
pytestmark = pytest.mark.usefixtures("few_null_captions")


def film(path: Path, colour: tuple[int, int, int], age_s: float = 60.0) -> Path:
    """Draw a clip of one colour that was last changed ``age_s`` ago."""
    path.parent.mkdir(exist_ok=True)
    draw_clip(path, frames=6, fps=5, colours=[colour])
    os.utime(path, (then := time.time() - age_s, then))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    film(tmp_path / "films" / "a.mp4", RED)
    film(tmp_path / "films" / "b.mp4", GREEN)
    return tmp_path / "films"


@pytest.fixture
def engine(folder: Path, spec: str, tmp_path: Path) -> Iterator[Engine]:
    """A library of both films, a.mp4 with a caption."""
    opened = Engine.open(tmp_path / "library", spec)
    added = opened.add(files(folder), captions=[["red"], []], keep_copy=False).added
    assert len(added) == 2
    yield opened
    opened.close()


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mp4"))


def check(engine: Engine) -> dict[str, str]:
    """Every entry plays what was indexed under it; returns what each file's content is indexed as, by path."""
    for clip in engine.clips():
        assert hashlib.sha256(engine.media(clip.clip_id).read_bytes()).hexdigest()[:12] == clip.clip_id
    assert engine.search("red").searched == len(engine.clips())
    return {str(clip.path): clip.clip_id for clip in engine.clips()}


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("a file was read")


def test_what_has_not_changed_is_known_without_being_read_and_what_was_touched_is_read_once(
    engine, folder, monkeypatch
):
    before = check(engine)
    for touched in (False, True):
        if touched:
            os.utime(folder / "a.mp4", (1e9, 1e9))
            assert engine.add(files(folder), keep_copy=False).known == ("a.mp4", "b.mp4")
            assert check(engine) == before
        with monkeypatch.context() as patch:
            patch.setattr(encoding, "sha256_of", refuse)
            patch.setattr(encoding, "read_clip", refuse)
            report = engine.add(files(folder), keep_copy=False)
            assert (report.added, report.known, report.failed) == ((), ("a.mp4", "b.mp4"), ())


def test_a_file_just_written_is_read_again_for_it_may_change_within_the_disks_clock(engine, folder, monkeypatch):
    new = film(folder / "new.mp4", BLUE, age_s=0)
    assert len(engine.add([new], keep_copy=False).added) == 1
    content, state = new.read_bytes(), new.stat()
    new.write_bytes(content[:-1] + b"x")
    os.utime(new, ns=(state.st_atime_ns, state.st_mtime_ns))
    read: list[Path] = []
    real = encoding.sha256_of
    monkeypatch.setattr(encoding, "sha256_of", lambda path: (read.append(path), real(path))[1])
    engine.add([new], keep_copy=False)
    assert read == [new]


def test_an_overwritten_file_takes_its_entrys_place(engine, folder):
    old = check(engine)[str(folder / "a.mp4")]
    film(folder / "a.mp4", BLUE)
    with pytest.raises(LibraryError, match="has changed"):
        engine.media(old)
    report = engine.add(files(folder), keep_copy=False)
    assert report.replaced == ((old, "a.mp4"),)
    assert (len(report.added), report.known) == (1, ("b.mp4",))
    assert check(engine)[str(folder / "a.mp4")] == report.added[0] != old
    assert engine.clip(report.added[0]).captions == ()  # they were of the other film


def test_an_overwritten_file_of_which_the_library_has_a_copy_leaves_the_copy(spec, folder, tmp_path):
    engine = Engine.open(tmp_path / "copies", spec)
    engine.add(files(folder), keep_copy=True)
    film(folder / "a.mp4", BLUE)
    report = engine.add(files(folder), keep_copy=True)
    assert (len(report.added), report.replaced) == (1, ())
    assert len(check(engine)) == 3
    engine.close()


def test_a_file_overwritten_by_what_cannot_be_read_fails_and_its_entry_never_plays_it(engine, folder):
    old = check(engine)[str(folder / "a.mp4")]
    (folder / "a.mp4").write_bytes(b"no film" * 500)
    report = engine.add(files(folder), keep_copy=False)
    assert [name for name, _ in report.failed] == ["a.mp4"]
    with pytest.raises(LibraryError, match="has changed"):
        engine.media(old)


def test_a_moved_folder_is_recognised_by_content_and_keeps_its_captions(engine, folder, tmp_path):
    before = check(engine)
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "a.mp4").rename(tmp_path / "elsewhere" / "renamed.mp4")
    report = engine.add(files(tmp_path / "elsewhere"), keep_copy=False)
    assert (report.added, report.moved, report.replaced) == ((), ("b.mp4", "renamed.mp4"), ())
    after = check(engine)
    assert sorted(after.values()) == sorted(before.values())
    moved = engine.clip(before[str(folder / "a.mp4")])
    assert (moved.name, moved.captions) == ("renamed.mp4", ("red",))


def test_an_upload_of_a_film_that_has_left_its_place_is_copied_and_renames_nothing(engine, folder, tmp_path):
    before = check(engine)
    (tmp_path / "upload").mkdir()
    upload = (folder / "a.mp4").rename(tmp_path / "upload" / "mine.mp4")
    report = engine.add([upload], keep_copy=True)
    assert (report.known, report.moved) == (("mine.mp4",), ())
    upload.unlink()
    assert sorted(check(engine).values()) == sorted(before.values())
    assert engine.clip(before[str(folder / "a.mp4")]).name == "a.mp4"


def test_a_second_copy_of_a_film_does_not_move_it(engine, folder, tmp_path):
    before = check(engine)
    shutil.copy(folder / "a.mp4", tmp_path / "copy.mp4")
    report = engine.add([tmp_path / "copy.mp4"], keep_copy=False)
    assert (report.known, report.moved) == (("copy.mp4",), ())
    assert check(engine) == before


def test_two_films_that_change_names_keep_their_entries(engine, folder, tmp_path):
    before = check(engine)
    for source, target in (("a.mp4", "c"), ("b.mp4", "a.mp4"), ("c", "b.mp4")):
        (folder / source).rename(folder / target)
    report = engine.add(files(folder), keep_copy=False)
    assert (report.added, report.replaced) == ((), ())
    after = check(engine)
    assert after == {str(folder / "a.mp4"): before[str(folder / "b.mp4")],
                     str(folder / "b.mp4"): before[str(folder / "a.mp4")]}  # fmt: skip


def test_a_deleted_file_is_pruned_and_a_restored_one_plays_again(engine, folder):
    before = check(engine)
    (folder / "a.mp4").rename(folder / "kept")
    with pytest.raises(LibraryError, match="no longer at"):
        engine.media(before[str(folder / "a.mp4")])
    (folder / "kept").rename(folder / "a.mp4")
    assert check(engine) == before
    (folder / "a.mp4").unlink()
    assert [clip.clip_id for clip in engine.prune()] == [before[str(folder / "a.mp4")]]
    assert check(engine) == {str(folder / "b.mp4"): before[str(folder / "b.mp4")]}


def test_a_file_that_grows_while_it_is_read_is_not_stored(engine, folder, monkeypatch):
    new = film(folder / "new.mp4", BLUE)
    real: Callable = encoding.read_clip

    def growing(path: Path, *rest: object) -> object:
        encoded = real(path, *rest)
        with path.open("ab") as stream:
            stream.write(b"more")
        return encoded

    monkeypatch.setattr(encoding, "read_clip", growing)
    ((_, reason),) = engine.add([new], keep_copy=False).failed
    assert "changed while it was read" in reason
    assert len(check(engine)) == 2


# --------------------------------------------------------------------------- many files
def test_files_are_taken_in_their_order_whatever_lies_between_them(engine, folder):
    shutil.copy(film(folder / "new.mp4", BLUE), folder / "same.mp4")
    (folder / "text.mp4").write_text("no film")
    order = ["new.mp4", "a.mp4", "same.mp4", "text.mp4", "new.mp4", "absent.mp4", "b.mp4"]
    report = engine.add([folder / name for name in order], captions=[[name] for name in order], keep_copy=False)
    (added,) = report.added
    assert engine.clip(added).name == "new.mp4"
    assert report.known == ("a.mp4", "same.mp4", "new.mp4", "b.mp4")
    assert [name for name, _ in report.failed] == ["text.mp4", "absent.mp4"]
    assert {clip.name: clip.captions for clip in engine.clips()} == {
        "a.mp4": ("a.mp4",),
        "b.mp4": ("b.mp4",),
        "new.mp4": ("new.mp4",),  # given last
    }
    assert len(check(engine)) == 3


def test_a_file_is_decoded_once(engine, folder, monkeypatch):
    jobs, call = [], sandbox.call
    monkeypatch.setattr(sandbox, "call", lambda job, *rest, **more: (jobs.append(job), call(job, *rest, **more))[1])
    engine.add([film(folder / "new.mp4", BLUE), folder / "a.mp4"], keep_copy=False)
    assert jobs == ["film"]


def test_the_next_file_is_read_while_one_is_stored(engine, folder, monkeypatch):
    films = [film(folder / f"{i}.mp4", (10 * i, 90, 200)) for i in range(3)]
    begun, stored, waits = threading.Event(), [], []
    read: Callable = encoding.read_clip
    add: Callable = LibraryWriter.add

    def reading(path: Path, *rest: object) -> object:
        if path == films[1]:
            begun.set()
        return read(path, *rest)

    def adding(*arguments: object) -> object:
        if not stored:
            waits.append(begun.wait(60))
        stored.append(1)
        return add(*arguments)

    monkeypatch.setattr(encoding, "read_clip", reading)
    monkeypatch.setattr(LibraryWriter, "add", adding)
    assert len(engine.add(films, keep_copy=False).added) == 3
    assert waits == [True]


def test_who_stops_keeps_what_was_stored_and_leaves_no_thread(engine, folder, tmp_path):
    films = [film(folder / f"{i}.mp4", (10 * i, 90, 200)) for i in range(5)]
    before = set(threading.enumerate())

    def stop(share: float, _: str) -> None:
        if share > 0.3:
            raise StoppedError("enough")

    with pytest.raises(StoppedError):
        engine.add(films, keep_copy=False, progress=stop)
    assert {clip.name for clip in engine.clips()} == {"a.mp4", "b.mp4", "0.mp4", "1.mp4"}
    assert set(threading.enumerate()) <= before
    report = engine.add(films, keep_copy=False)
    assert (report.known, len(report.added)) == (("0.mp4", "1.mp4"), 3)


def test_progress_names_the_file_and_the_time_left_by_the_last_ones(engine, folder, monkeypatch):
    films = [film(folder / f"{i}.mp4", (10 * i, 90, 200)) for i in range(6)]
    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr(indexing.time, "perf_counter", lambda: float(next(clock)))
    texts: list[str] = []
    engine.add(films, keep_copy=False, progress=lambda _, text: texts.append(text))
    assert texts[:3] == [f"{i}.mp4 ({i + 1} of 6)" for i in range(3)]
    assert texts[3:6] == [
        "3.mp4 (4 of 6, about 2 min left)",
        "4.mp4 (5 of 6, about 80 s left)",
        "5.mp4 (6 of 6, about 40 s left)",
    ]


# --------------------------------------------------------------------------- looking at a library
def test_a_search_on_the_page_and_its_list_ask_the_disk_for_no_clip(engine, spec, tmp_path, monkeypatch):
    (clip, _), writer = engine.clips(), engine._indexer.writer()
    stored, contents = writer.get(clip.clip_id), [writer.frames, writer.tokens, writer.clip_vectors]
    contents = ClipContents(*(read(clip.clip_id) for read in contents))
    for i in range(60):
        digest = hashlib.sha256(str(i).encode()).hexdigest()
        writer.add(
            replace(stored, name=f"{i}.mp4", digest=digest, source=f"/gone/{i}.mp4", number=0, files={}), contents
        )
    engine.close()
    again, view, asked, real = Engine.open(tmp_path / "library", spec), ViewState(text="red"), [], os.stat
    state.run_search(again, view)  # what is read once
    monkeypatch.setattr(os, "stat", lambda path, *rest, **more: (asked.append(path), real(path, *rest, **more))[1])
    watched = ["open", "os.scandir"]  # a hook stays for good
    sys.addaudithook(lambda event, values: asked.append(values[0]) if event in watched else None)
    _, page, _ = state.run_search(again, view)
    assert page.count("<img") >= view.count
    assert len(again.list(limit=48).clips) == 48
    watched.clear()
    assert not [path for path in asked if str(path).startswith((str(tmp_path), "/gone"))]
    again.close()


def test_captions_that_come_later_are_kept_with_the_known_clip(engine, folder):
    report = engine.add(files(folder), captions=[["scarlet"], ["green"]], keep_copy=False)
    assert report.known == ("a.mp4", "b.mp4")
    assert [clip.captions for clip in engine.clips()] == [("scarlet",), ("green",)]
    engine.add(files(folder), keep_copy=False)
    assert [clip.captions for clip in engine.clips()] == [("scarlet",), ("green",)]
