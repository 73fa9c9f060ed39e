"""Laws of the library on disk: what was stored comes back, and no kill or damage costs more than it must."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vtr_demo import files
from vtr_demo.errors import LibraryError
from vtr_demo.library.clip_files import ClipContents, ClipRecord, Origin
from vtr_demo.library.segments import Moment
from vtr_demo.library.store import Shelf, Store
from vtr_demo.structures import CropBox, FrameBatch, VideoTokens

OURS = Origin("1111aaaa", tower="tower-1", model="bundled")
RETRAINED = Origin("2222bbbb", tower="tower-1", model="checkpoints/mine")
FOREIGN = Origin("3333cccc", tower="tower-2", model="open_clip:ViT-B-32/x")
FRAMES, GRID = 5, (2, 3)


def record_of(n: int) -> ClipRecord:
    return ClipRecord(
        name=f"clip {n}.mp4",
        source=f"/nowhere/clip {n}.mp4",
        digest=hashlib.sha256(bytes([n])).hexdigest(),
        duration_s=4.0,
        width=64,
        height=48,
        moments=(Moment(0.0, 2.0, (0, 1, 2)), Moment(2.0, 4.0, (3, 4))),
        captions=("a café", "日本"),
    )


def contents_of(n: int, width: int = 6) -> ClipContents:
    rng = np.random.default_rng(n)
    pixels = rng.integers(0, 256, (FRAMES, 18, 24, 3), dtype=np.uint8)
    frames = FrameBatch(pixels, np.linspace(0.1, 3.9, FRAMES), CropBox(8, 0, 48, 48, 64, 48), 4.0)
    tokens = VideoTokens(
        torch.from_numpy(rng.normal(size=(1, FRAMES, 6, 4))).float(),
        torch.from_numpy(rng.normal(size=(1, FRAMES, 3))).float(),
        torch.ones(1, FRAMES, dtype=torch.bool),
        GRID,
        torch.from_numpy(rng.normal(size=(1, FRAMES, 3))).float() if n % 2 else None,
    )
    return ClipContents(frames, tokens, rng.normal(size=(3, width)).astype(np.float32))


def library(directory: Path, count: int = 2) -> list[str]:
    """A library of ``count`` clips; returns their ids."""
    with Store.open(directory, OURS) as store:
        return [store.add(record_of(n), contents_of(n)).id for n in range(count)]


def assert_holds(shelf: Shelf, numbers: list[int]) -> None:
    """The library holds these clips, in order and whole, and nothing is wrong with it."""
    assert [clip.name for clip in shelf.list()] == [f"clip {n}.mp4" for n in numbers]
    assert shelf.problems() == ()
    matrix, owners = shelf.vectors()
    assert owners == [(record_of(n).id, moment) for n in numbers for moment in (-1, 0, 1)]
    for row, n in enumerate(numbers):
        wanted, clip_id = contents_of(n), record_of(n).id
        np.testing.assert_array_equal(shelf.frames(clip_id).pixels, wanted.frames.pixels)
        torch.testing.assert_close(shelf.tokens(clip_id).patches, wanted.tokens.patches, atol=0, rtol=1e-3)
        if not shelf.stale and shelf.made_by == OURS:
            np.testing.assert_array_equal(matrix[3 * row : 3 * row + 3], wanted.vectors)


# --------------------------------------------------------------------------- round trip
def test_a_clip_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    library(tmp_path / "lib")
    with Store.open(tmp_path / "lib", OURS) as store:
        assert_holds(store, [0, 1])
        wanted = contents_of(1)
        got, tokens = store.frames(record_of(1).id), store.tokens(record_of(1).id)
        assert (got.crop, got.duration_s) == (wanted.frames.crop, 4.0)
        np.testing.assert_array_equal(got.seconds, wanted.frames.seconds)
        assert tokens.grid == GRID
        assert tokens.patches.dtype == torch.float32
        torch.testing.assert_close(tokens.summary, wanted.tokens.summary.half().float(), atol=0, rtol=0)
        assert (tokens.motion is None) == (wanted.tokens.motion is None)
        if tokens.motion is not None:
            torch.testing.assert_close(tokens.motion, wanted.tokens.motion.half().float(), atol=0, rtol=0)
        stored = store.get(record_of(1).id)
        assert stored.added
        assert dataclasses.replace(stored, added="") == record_of(1)


def test_the_frames_of_a_moment_equal_a_slice_of_all_frames(tmp_path: Path) -> None:
    clip_id = library(tmp_path)[0]
    store = Shelf.open(tmp_path, OURS)
    moment = store.get(clip_id).moments[1]
    some, every = store.frames(clip_id, moment.frames), store.frames(clip_id)
    np.testing.assert_array_equal(some.pixels, every.pixels[3:5])
    np.testing.assert_array_equal(some.seconds, every.seconds[3:5])


def test_a_moments_still_is_its_middle_frame(tmp_path: Path) -> None:
    clip_id = library(tmp_path)[0]
    store = Shelf.open(tmp_path, OURS)
    for moment, frame in ((0, 1), (1, 4)):
        with Image.open(io.BytesIO(store.still(clip_id, moment))) as still:
            wanted = store.frames(clip_id, [frame]).pixels[0]
            assert (still.format, still.size) == ("JPEG", (wanted.shape[1], wanted.shape[0]))
            assert files.jpeg(wanted) == store.still(clip_id, moment)


@pytest.mark.parametrize("moment", [-1, 2, 999999])
def test_a_moment_that_is_not_there_is_refused_and_the_clip_stays_sound(tmp_path: Path, moment: int) -> None:
    clip_id = library(tmp_path)[0]
    store = Shelf.open(tmp_path, OURS)
    with pytest.raises(LibraryError, match="has no moment"):
        store.still(clip_id, moment)
    assert store.problems() == ()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (3, 5, 200)])
def test_frames_of_any_shape_and_equal_neighbours_are_kept_exactly(tmp_path: Path, shape: tuple) -> None:
    t, h, w = shape
    pixels = np.full((t, h, w, 3), 7, dtype=np.uint8)
    frames = FrameBatch(pixels, np.arange(t, dtype=float), CropBox(0, 0, w, h, w, h), float(t))
    tokens = VideoTokens(torch.zeros(1, t, 6, 4), torch.zeros(1, t, 3), torch.ones(1, t) > 0, GRID)
    record = dataclasses.replace(record_of(0), moments=())
    with Store.open(tmp_path, OURS) as store:
        store.add(record, ClipContents(frames, tokens, np.zeros((1, 6))))
        np.testing.assert_array_equal(store.frames(record.id).pixels, pixels)


def test_stills_are_jpegs_of_the_promised_size(tmp_path: Path) -> None:
    poster = np.zeros((500, 1000, 3), np.uint8)
    with Store.open(tmp_path, OURS) as store:
        store.add(record_of(0), dataclasses.replace(contents_of(0), poster=poster))
        with Image.open(store.poster(record_of(0).id)) as still:
            assert (still.format, still.size) == ("JPEG", (640, 320))
        with Image.open(store.strip(record_of(0).id)) as strip:
            assert (strip.format, strip.size) == ("JPEG", (5 * 160, 120))


def test_playable_comes_before_copy_and_copy_before_the_original(tmp_path: Path) -> None:
    upload, converted, outside = tmp_path / "u.MKV", tmp_path / "c.mp4", tmp_path / "outside.mp4"
    for path in (upload, converted, outside):
        path.write_bytes(path.name.encode())
    cases = [
        (0, None, None, b"outside.mp4", b"outside.mp4"),
        (1, upload, None, b"u.MKV", b"u.MKV"),
        (2, upload, converted, b"c.mp4", b"u.MKV"),
        (3, None, converted, b"c.mp4", b"outside.mp4"),
    ]
    with Store.open(tmp_path / "lib", OURS) as store:
        for n, copy, playable, shown, original in cases:
            record = dataclasses.replace(record_of(n), source=str(outside))
            store.add(record, dataclasses.replace(contents_of(n), copy=copy, playable=playable))
            assert store.media(record.id).read_bytes() == shown
            assert store.media(record.id, original=True).read_bytes() == original
        outside.unlink()
        with pytest.raises(LibraryError, match=r"clip 0\.mp4 is no longer at .*put the file back"):
            store.media(record_of(0).id)


def test_bytes_are_those_on_disk(tmp_path: Path) -> None:
    ids = library(tmp_path)
    shelf = Shelf.open(tmp_path, OURS)
    on_disk = sum(file.stat().st_size for file in (tmp_path / "clips").rglob("*") if file.is_file())
    assert shelf.stored_bytes() == shelf.stored_bytes(ids[0]) + shelf.stored_bytes(ids[1]) == on_disk


def test_notes_are_kept_and_their_names_cannot_be_paths(tmp_path: Path) -> None:
    with Store.open(tmp_path, OURS) as store:
        assert store.note("concepts") == {}
        store.set_note("concepts", {"names": {"3": "Hunde"}})
    assert Shelf.open(tmp_path, OURS).note("concepts") == {"names": {"3": "Hunde"}}
    with pytest.raises(ValueError, match="small letters"):
        Shelf.open(tmp_path, OURS).note("../library")


# --------------------------------------------------------------------------- ids and refusals
@pytest.mark.parametrize("clip_id", ["", "..", "../../etc", "0" * 12, "ABCDEF012345", "a" * 11 + "/", "\x00"])
def test_ids_that_are_malformed_or_unknown_are_refused_everywhere(tmp_path: Path, clip_id: str) -> None:
    library(tmp_path)
    with Store.open(tmp_path, OURS) as store:
        for call in (store.get, store.frames, store.tokens, store.poster, store.media, store.delete):
            with pytest.raises(LibraryError, match="No clip"):
                call(clip_id)
        assert_holds(store, [0, 1])


def test_the_same_content_is_found_by_digest_and_refused_twice(tmp_path: Path) -> None:
    library(tmp_path)
    with Store.open(tmp_path, OURS) as store:
        assert store.find_by_digest(record_of(1).digest) == store.get(record_of(1).id)
        assert store.find_by_digest(record_of(1).digest[:12] + "0" * 52) is None
        assert store.find_by_digest(record_of(9).digest) is None
        with pytest.raises(LibraryError, match=r"clip 1\.mp4 is already in the library"):
            store.add(record_of(1), contents_of(1))
        assert_holds(store, [0, 1])


def misfits() -> list[tuple[str, ClipRecord, ClipContents, type[Exception]]]:
    record, good = record_of(5), contents_of(5)
    nan = good.vectors.copy()
    nan[1, 1] = np.nan
    big = dataclasses.replace(good.tokens, patches=good.tokens.patches * 1e6)
    short = FrameBatch(good.frames.pixels[:4], good.frames.seconds[:4], good.frames.crop, 4.0)
    beyond = dataclasses.replace(record, moments=(Moment(0, 1, (0,)), Moment(1, 2, (5,))))
    return [
        ("vectors are not finite", record, dataclasses.replace(good, vectors=nan), LibraryError),
        ("do not fit float16", record, dataclasses.replace(good, tokens=big), LibraryError),
        ("4 frames but tokens", record, dataclasses.replace(good, frames=short), ValueError),
        ("2 moments need", record, dataclasses.replace(good, vectors=good.vectors[:2]), ValueError),
        ("does not point into 5 frames", beyond, good, ValueError),
        ("No such file", record, dataclasses.replace(good, copy=Path("/nowhere/x.mp4")), LibraryError),
    ]


@pytest.mark.parametrize("case", misfits(), ids=lambda case: case[0])
def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path, case: tuple) -> None:
    sentence, record, contents, kind = case
    library(tmp_path)
    with Store.open(tmp_path, OURS) as store:
        with pytest.raises(kind, match=sentence):
            store.add(record, contents)
        assert len(list((tmp_path / "clips").iterdir())) == 2
        assert_holds(store, [0, 1])


def test_a_full_disk_is_a_sentence_and_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    library(tmp_path)
    with Store.open(tmp_path, OURS) as store:

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(LibraryError, match=r"clip 7\.mp4 was not stored \(No space left on device\)"):
            store.add(record_of(7), contents_of(7))
        monkeypatch.undo()
        assert_holds(store, [0, 1])
        store.add(record_of(7), contents_of(7))
    assert_holds(Shelf.open(tmp_path, OURS), [0, 1, 7])


def test_no_library_is_made_by_reading(tmp_path: Path) -> None:
    for opened in (lambda: Shelf.open(tmp_path, OURS), lambda: Store.open(tmp_path, OURS, create=False)):
        with pytest.raises(LibraryError, match=r"no library at .*vtr_demo index"):
            opened()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "lib").write_text("x")
    with pytest.raises(LibraryError, match="was not opened"):
        Store.open(tmp_path / "lib", OURS)


# --------------------------------------------------------------------------- two processes
def test_a_second_writer_gets_a_sentence_and_a_reader_does_not(tmp_path: Path) -> None:
    library(tmp_path)
    with Store.open(tmp_path, OURS) as store:
        with pytest.raises(LibraryError, match=rf"another process \(process {os.getpid()}\)"):
            Store.open(tmp_path, OURS)
        assert_holds(Shelf.open(tmp_path, OURS), [0, 1])
        store.add(record_of(2), contents_of(2))
    with pytest.raises(LibraryError, match="is closed"):
        store.delete(record_of(0).id)
    with Store.open(tmp_path, OURS) as store:
        assert_holds(store, [0, 1, 2])


def test_the_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    script = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from vtr_demo.files import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert "process" in (tmp_path / ".lock-owner").read_text()
    Store.open(tmp_path, OURS).close()


# --------------------------------------------------------------------------- deletion and damage
def test_deletion_removes_one_clip_and_its_bytes_only(tmp_path: Path) -> None:
    ids = library(tmp_path, 3)
    (tmp_path / "clips" / "holiday notes").mkdir()
    with Store.open(tmp_path, OURS) as store:
        store.delete(ids[1])
        assert_holds(store, [0, 2])
        assert len(list((tmp_path / "clips").iterdir())) == 3
    assert_holds(Shelf.open(tmp_path, OURS), [0, 2])
    assert (tmp_path / "clips" / "holiday notes").is_dir()


@pytest.mark.parametrize("file", ["record.json", "frames.npz", "tokens.safetensors", "vectors.npy"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "missing"])
def test_a_damaged_file_costs_its_own_clip_only_and_is_named(tmp_path: Path, file: str, damage: str) -> None:
    ids = library(tmp_path, 3)
    path = next((tmp_path / "clips").glob(f"{ids[1]}-*")) / file
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        data[2] ^= 16
        path.write_bytes({"cut": data[:-5], "flipped": data, "empty": b""}[damage])
    with Store.open(tmp_path, OURS) as store:
        for read in (store.frames, store.tokens):
            read(ids[0])
            read(ids[2])
        readers = {"frames.npz": store.frames, "tokens.safetensors": store.tokens, "record.json": store.get}
        if file == "vectors.npy":
            _, owners = store.vectors()
            assert [owner for owner, moment in owners if moment == -1] == [ids[0], ids[2]]
        else:
            with pytest.raises(LibraryError, match=rf"clip 1\.mp4: its {file}"):
                readers[file](ids[1])
        assert len(store.problems()) == 1
        assert store.problems()[0].startswith(f"clip 1.mp4: its {file}")
        assert store.find_by_digest(record_of(1).digest) is None
        store.add(record_of(1), contents_of(1))
        assert_holds(store, [0, 1, 2])
    assert_holds(Shelf.open(tmp_path, OURS), [0, 1, 2])


def test_a_damaged_clip_can_be_deleted(tmp_path: Path) -> None:
    ids = library(tmp_path)
    (next((tmp_path / "clips").glob(f"{ids[0]}-*")) / "record.json").write_text("{")
    with Store.open(tmp_path, OURS) as store:
        store.delete(ids[0])
        assert_holds(store, [1])


def test_a_record_that_names_a_path_is_damaged(tmp_path: Path) -> None:
    clip_id = library(tmp_path, 1)[0]
    path = next((tmp_path / "clips").glob(f"{clip_id}-*")) / "record.json"
    values = json.loads(path.read_text())
    values["record"]["copy"] = "../../../secret.mp4"
    path.write_text(json.dumps(values))
    assert len(Shelf.open(tmp_path, OURS).problems()) == 1


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"version": 1}', "\x00\x00"])
def test_a_lost_list_of_clips_is_made_again_from_the_folders(tmp_path: Path, text: str | None) -> None:
    library(tmp_path)
    if text is None:
        (tmp_path / "library.json").unlink()
    else:
        (tmp_path / "library.json").write_text(text)
    with Store.open(tmp_path, OURS) as store:
        assert {clip.name for clip in store.list()} == {"clip 0.mp4", "clip 1.mp4"}
        assert len(store.problems()) == (text is not None)
    assert Shelf.open(tmp_path, OURS).problems() == ()


def test_a_library_of_a_later_format_is_refused_untouched(tmp_path: Path) -> None:
    library(tmp_path)
    path = tmp_path / "library.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    before = path.read_text()
    with pytest.raises(LibraryError, match="format 2"):
        Store.open(tmp_path, OURS)
    assert path.read_text() == before


# --------------------------------------------------------------------------- another model
def test_the_library_of_another_model_is_refused_with_advice_and_stays(tmp_path: Path) -> None:
    library(tmp_path)
    for kind in (Shelf, Store):
        with pytest.raises(LibraryError, match=r"made by bundled.*--rebuild.*--model"):
            kind.open(tmp_path, RETRAINED)
    assert_holds(Shelf.open(tmp_path, OURS), [0, 1])


def test_an_empty_library_belongs_to_whoever_opens_it(tmp_path: Path) -> None:
    Store.open(tmp_path, OURS).close()
    with Store.open(tmp_path, RETRAINED) as store:
        assert not store.stale
        store.add(record_of(0), contents_of(0))
    with pytest.raises(LibraryError, match="made by checkpoints/mine"):
        Store.open(tmp_path, OURS)


def test_new_vectors_take_over_all_at_once(tmp_path: Path) -> None:
    ids = library(tmp_path)
    with Store.open(tmp_path, RETRAINED, allow_stale=True) as store:
        assert (store.stale, store.made_by.tower) == (True, "tower-1")
        with pytest.raises(LibraryError, match="finish its rebuild"):
            store.add(record_of(5), contents_of(5))
        store.replace_vectors(ids[0], np.full((3, 9), 0.5))
        with pytest.raises(LibraryError, match=r"1 clips are not rebuilt yet \(clip 1\.mp4\)"):
            store.switch()
        assert_holds(Shelf.open(tmp_path, OURS), [0, 1])
    with Store.open(tmp_path, RETRAINED, allow_stale=True) as store:
        assert [store.rebuilt(clip_id) for clip_id in ids] == [True, False], "the finished part was kept"
        store.replace_vectors(ids[1], np.full((3, 9), 0.25))
        store.switch()
        assert not store.stale
        store.add(record_of(2), contents_of(2, width=9))
    shelf = Shelf.open(tmp_path, RETRAINED)
    assert_holds(shelf, [0, 1, 2])
    np.testing.assert_array_equal(shelf.vectors()[0][:6, 0], [0.5, 0.5, 0.5, 0.25, 0.25, 0.25])
    assert len(list((tmp_path / "clips").iterdir())) == 3


def test_a_rebuild_for_another_tower_needs_everything_anew_and_keeps_uploads(tmp_path: Path) -> None:
    upload = tmp_path / "u.mp4"
    upload.write_bytes(b"film")
    with Store.open(tmp_path / "lib", OURS) as store:
        clip_id = store.add(record_of(0), dataclasses.replace(contents_of(0), copy=upload)).id
        store.add(record_of(1), contents_of(1))
    with Store.open(tmp_path / "lib", FOREIGN, allow_stale=True) as store:
        with pytest.raises(LibraryError, match="another tower"):
            store.replace_vectors(clip_id, np.zeros((3, 6)))
        assert store.problems() == ()
        store.replace(store.get(clip_id), contents_of(0))
        store.switch(drop=True)
        assert_holds(store, [0])
        assert store.media(clip_id).read_bytes() == b"film"


# --------------------------------------------------------------------------- kills
def kill_before_step(step: int, directory: Path, work: Callable[[], None]) -> bool:
    """Run ``work`` in a child that is killed before its ``step``-th change of a file; False: it ended."""
    changes = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
    child = os.fork()
    if child == 0:
        left = step

        def hook(event: str, arguments: tuple) -> None:
            nonlocal left
            if event not in changes or not str(arguments[0]).startswith(str(directory)):
                return
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the child failed on its own"
    return False


def sweep(tmp_path: Path, work: Callable[[Path], None], check: Callable[[Path], None]) -> int:
    """Kill ``work`` before each of its file operations in turn; ``check`` what every kill leaves."""
    library(tmp_path / "start")
    step, killed = 0, True
    while killed:
        step += 1
        directory = tmp_path / f"run{step}"
        shutil.copytree(tmp_path / "start", directory)
        killed = kill_before_step(step, directory, lambda directory=directory: work(directory))
        check(directory)
        shutil.rmtree(directory)
    return step - 1


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill tests need os.fork")


@needs_fork
def test_a_kill_at_any_step_of_adding_leaves_the_library_before_or_after_it(tmp_path: Path) -> None:
    seen = set()

    def check(directory: Path) -> None:
        with Store.open(directory, OURS) as store:
            assert_holds(store, [0, 1, 2] if len(store) == 3 else [0, 1])
            assert len(list((directory / "clips").iterdir())) == len(store), "nothing half-written is left"
            seen.add(len(store))
            if len(store) == 2:
                store.add(record_of(2), contents_of(2))

    steps = sweep(tmp_path, lambda directory: library_add(directory, 2), check)
    assert steps >= 10
    assert seen == {2, 3}


def library_add(directory: Path, n: int) -> None:
    with Store.open(directory, OURS) as store:
        store.add(record_of(n), contents_of(n))


@needs_fork
def test_a_kill_at_any_step_of_deleting_leaves_the_library_before_or_after_it(tmp_path: Path) -> None:
    seen = set()

    def delete(directory: Path) -> None:
        with Store.open(directory, OURS) as store:
            store.delete(record_of(0).id)

    def check(directory: Path) -> None:
        with Store.open(directory, OURS) as store:
            assert_holds(store, [0, 1] if len(store) == 2 else [1])
            seen.add(len(store))
            assert len(list((directory / "clips").iterdir())) == len(store)

    assert sweep(tmp_path, delete, check) >= 5
    assert seen == {1, 2}


@needs_fork
def test_a_kill_at_any_step_of_a_rebuild_leaves_the_old_library_or_the_new(tmp_path: Path) -> None:
    seen = set()

    def rebuild(directory: Path) -> None:
        with Store.open(directory, RETRAINED, allow_stale=True) as store:
            for clip in store.list():
                if not store.rebuilt(clip.id):
                    store.replace_vectors(clip.id, np.ones((3, 9)))
            store.switch()

    def check(directory: Path) -> None:
        with Store.open(directory, RETRAINED, allow_stale=True) as store:
            seen.add(store.stale)
            assert_holds(store, [0, 1])
            if store.stale:
                assert_holds(Shelf.open(directory, OURS), [0, 1])
        if store.stale:
            rebuild(directory)
        assert_holds(Shelf.open(directory, RETRAINED), [0, 1])
        assert (Shelf.open(directory, RETRAINED).vectors()[0] == 1).all()

    assert sweep(tmp_path, rebuild, check) >= 10
    assert seen == {True, False}
