"""Laws of the library on disk: what was stored comes back, and no kill or damage costs more than it must."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.stored import (
    FOREIGN,
    GRID,
    OURS,
    RETRAINED,
    all_vectors,
    assert_holds,
    clip_of,
    contents_of,
    library,
    on_disk,
)
from vtr_demo import files
from vtr_demo.errors import LibraryError
from vtr_demo.library.database import read_catalogue
from vtr_demo.library.reader import LibraryReader
from vtr_demo.library.records import ClipContents, Moment, StoredClip, clip_from_json
from vtr_demo.library.store import LibraryWriter
from vtr_demo.results import ClipFilter, Order
from vtr_demo.structures import CropBox, FrameBatch, VideoTokens


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LibraryWriter]:
    """A library of three clips, open for writing."""
    library(tmp_path, 3)
    with LibraryWriter.open(tmp_path, OURS) as opened:
        yield opened


# --------------------------------------------------------------------------- round trip
def test_a_clip_comes_back_as_it_was_stored(store: LibraryWriter) -> None:
    assert_holds(store, [0, 1, 2])
    expected, stored = contents_of(1), store.get(clip_of(1).id)
    frames, tokens = store.frames(stored.id), store.tokens(stored.id)
    assert (frames.crop, frames.duration_s) == (expected.frames.crop, 4.0)
    np.testing.assert_array_equal(frames.seconds, expected.frames.seconds)
    assert (tokens.grid, tokens.patches.dtype) == (GRID, torch.float32)
    assert tokens.motion is not None
    assert expected.tokens.motion is not None
    for one, other in ((tokens.summary, expected.tokens.summary), (tokens.motion, expected.tokens.motion)):
        torch.testing.assert_close(one, other.half().float(), atol=0, rtol=0)
    assert stored.added
    assert replace(stored, added="", number=0, version="", tower="", files={}) == clip_of(1)


def test_a_record_comes_back_from_its_json_also_with_names_that_are_no_text() -> None:
    clip = replace(clip_of(0), name="a\udcff\n'\"日.mp4", source="/tmp/\udce4.mp4")
    assert clip_from_json(clip.json) == clip
    for bad in ("", "[]", "{}", clip.json.replace('"format": 2', '"format": 3'), "{" * 9000):
        with pytest.raises((ValueError, KeyError, TypeError)):
            clip_from_json(bad)


def test_a_moments_frames_are_a_slice_of_all_and_its_still_the_middle_one(store: LibraryWriter) -> None:
    clip = store.clips()[0]
    every = store.frames(clip.id)
    for number, (moment, middle) in enumerate(zip(clip.moments, (1, 4), strict=True)):
        some = store.frames(clip.id, moment.frames)
        np.testing.assert_array_equal(some.pixels, every.pixels[[*moment.frames]])
        np.testing.assert_array_equal(some.seconds, every.seconds[[*moment.frames]])
        assert files.jpeg(every.pixels[middle]) == store.still(clip.id, number)
    for number in (-1, 2, 999999):
        with pytest.raises(LibraryError, match="has no moment"):
            store.still(clip.id, number)
    assert store.problems() == ()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (3, 5, 200)])
def test_frames_of_any_shape_are_kept_exactly_and_a_poster_is_a_jpeg_of_the_promised_size(
    store: LibraryWriter, shape: tuple
) -> None:
    t, h, w = shape
    pixels = np.full((t, h, w, 3), 7, dtype=np.uint8)
    frames = FrameBatch(pixels, np.arange(t, dtype=float), CropBox(0, 0, w, h, w, h), float(t))
    tokens = VideoTokens(torch.zeros(1, t, 6, 4), torch.zeros(1, t, 3), torch.ones(1, t) > 0, GRID)
    poster = np.zeros((500, 1000, 3), np.uint8)
    clip = store.add(replace(clip_of(9), moments=()), ClipContents(frames, tokens, np.zeros((1, 6)), poster))
    np.testing.assert_array_equal(store.frames(clip.id).pixels, pixels)
    with Image.open(store.checked(clip.id, "poster")) as still:
        assert (still.format, still.size) == ("JPEG", (640, 320))


def test_playable_comes_before_copy_and_copy_before_the_original(tmp_path: Path) -> None:
    converted = tmp_path / "c.mp4"
    converted.write_bytes(b"converted")
    with LibraryWriter.open(tmp_path / "lib", OURS) as store:
        for n, copied, playable in ((0, False, False), (1, True, False), (2, True, True), (3, False, True)):
            original = tmp_path / f"{n}.MKV"
            original.write_bytes(bytes([n]))
            clip = replace(clip_of(n), source=str(original))
            paths = {"copy": original if copied else None, "playable": converted if playable else None}
            store.add(clip, replace(contents_of(n), **paths))
            assert store.media(clip.id).read_bytes() == (b"converted" if playable else bytes([n]))
            assert store.media(clip.id, original=True).read_bytes() == bytes([n])
            assert store.media(clip.id, original=True).is_relative_to(tmp_path / "lib") == copied
            original.write_bytes(b"other content")
            if copied or playable:
                assert store.media(clip.id).is_relative_to(tmp_path / "lib")
            if not copied:
                with pytest.raises(LibraryError, match="has changed since it was indexed"):
                    store.media(clip.id, original=True)
        (tmp_path / "0.MKV").unlink()
        with pytest.raises(LibraryError, match=r"clip 0\.mp4 is no longer at .*put the file back"):
            store.media(clip_of(0).id)


def test_bytes_are_those_on_disk_and_equal_files_are_kept_once(store: LibraryWriter, tmp_path: Path) -> None:
    sizes = sum((tmp_path / name).stat().st_size for name in on_disk(tmp_path))
    assert store.catalogue.sums().bytes == sum(clip.stored_bytes for clip in store.clips()) == sizes
    twin = store.add(clip_of(7), contents_of(1))
    assert twin.files == store.get(clip_of(1).id).files
    store.delete(clip_of(1).id)
    np.testing.assert_array_equal(store.frames(twin.id).pixels, contents_of(1).frames.pixels)
    reader = LibraryReader.open(tmp_path, OURS)
    assert [clip.name for clip in reader.clips()] == ["clip 0.mp4", "clip 2.mp4", "clip 7.mp4"]
    assert reader.problems() == ()


# --------------------------------------------------------------------------- ids and refusals
def test_ids_that_are_malformed_or_unknown_are_refused_everywhere(store: LibraryWriter) -> None:
    for clip_id in ("", "..", "../../etc", "0" * 12, "ABCDEF012345", "a" * 11 + "/", "\x00"):
        for call in (store.get, store.frames, store.tokens, store.media, store.delete):
            with pytest.raises(LibraryError, match="No clip"):
                call(clip_id)
    assert_holds(store, [0, 1, 2])


def test_the_same_content_is_found_by_digest_and_refused_twice(store: LibraryWriter) -> None:
    assert store.find_by_digest(clip_of(1).digest) == store.get(clip_of(1).id)
    for other in (clip_of(1).digest[:12] + "0" * 52, clip_of(9).digest):
        assert store.find_by_digest(other) is None
    with pytest.raises(LibraryError, match=r"clip 1\.mp4 is already in the library"):
        store.add(clip_of(1), contents_of(1))
    assert_holds(store, [0, 1, 2])


def misfits(upload: Path) -> list[tuple[str, StoredClip, ClipContents, type[Exception]]]:
    clip, good = clip_of(5), contents_of(5)
    nan = good.vectors.copy()
    nan[1, 1] = np.nan
    big = replace(good.tokens, patches=good.tokens.patches * 1e6)
    short = FrameBatch(good.frames.pixels[:4], good.frames.seconds[:4], good.frames.crop, 4.0)
    beyond = replace(clip, moments=(Moment(0, 1, (0,)), Moment(1, 2, (5,))))
    return [
        ("vectors are not finite", clip, replace(good, vectors=nan), LibraryError),
        ("do not fit float16", clip, replace(good, tokens=big), LibraryError),
        ("4 frames but tokens", clip, replace(good, frames=short), ValueError),
        ("2 moments need", clip, replace(good, vectors=good.vectors[:2]), ValueError),
        ("does not point into 5 frames", beyond, good, ValueError),
        ("No such file", clip, replace(good, copy=Path("/nowhere/x.mp4")), LibraryError),
        (r"u\.mp4 changed while it was copied", clip, replace(good, copy=upload), LibraryError),
    ]


def test_what_does_not_fit_is_refused_and_changes_nothing(store: LibraryWriter, tmp_path: Path) -> None:
    before = on_disk(tmp_path)
    (tmp_path / "u.mp4").write_bytes(b"not what was read")
    for sentence, clip, contents, kind in misfits(tmp_path / "u.mp4"):
        with pytest.raises(kind, match=sentence):
            store.add(clip, contents)
        assert on_disk(tmp_path) == before
    assert_holds(store, [0, 1, 2])


def test_no_library_is_made_by_reading_and_the_advice_can_be_pasted_wherever_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "my films; $HOME"
    with pytest.raises(LibraryError, match=r"no library at .*vtr_demo index") as refused:
        LibraryReader.open(folder, OURS)
    assert shlex.split(str(refused.value).split("`")[1])[-1] == str(folder)
    assert list(tmp_path.iterdir()) == []
    folder.write_text("a file")
    with pytest.raises(LibraryError, match="was not opened"):
        LibraryWriter.open(folder, OURS)


# --------------------------------------------------------------------------- two processes
def test_a_second_writer_gets_a_sentence_and_a_reader_does_not(store: LibraryWriter, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=rf"another process \(process {os.getpid()}\)"):
        LibraryWriter.open(tmp_path, OURS)
    assert_holds(LibraryReader.open(tmp_path, OURS), [0, 1, 2])
    store.close()
    with pytest.raises(LibraryError, match="is closed"):
        store.delete(clip_of(0).id)
    assert_holds(store, [0, 1, 2])


def test_a_reader_is_told_that_a_clip_was_deleted_meanwhile(store: LibraryWriter, tmp_path: Path) -> None:
    reader, ids = LibraryReader.open(tmp_path, OURS), [clip.id for clip in store.clips()]
    store.delete(ids[1])
    for read in (reader.frames, reader.tokens):
        with pytest.raises(LibraryError, match="No clip"):
            read(ids[1])
    assert [owner for owner, moment in all_vectors(reader)[1] if moment == -1] == [ids[0], ids[2]]
    assert_holds(reader, [0, 2])


def test_what_a_reader_sees_of_a_state_is_what_the_writer_wrote(store: LibraryWriter, tmp_path: Path) -> None:
    assert store.setting("concepts") == {}
    store.set_setting("concepts", {"names": {"3": "Hunde"}})
    seen = read_catalogue(tmp_path)
    assert (seen.settings, seen.version, seen.pending) == (store.catalogue.settings, store.version, {})
    assert tuple(seen.page()) == store.clips()
    reader = LibraryReader.open(tmp_path, OURS)
    assert reader.setting("concepts") == {"names": {"3": "Hunde"}}
    for change in (lambda: store.delete(clip_of(1).id), lambda: store.add(clip_of(7), contents_of(7))):
        change()
        assert reader.clips() == store.clips()
        for where in (reader, store):
            sums, clips = where.catalogue.sums(), where.clips()
            assert len(where) == sums.clips == len(clips)
            assert sums.bytes == sum(clip.stored_bytes for clip in clips)
            assert sums.moments == sum(len(clip.moments) for clip in clips)
            assert where.catalogue.contents()[0].tolist() == [clip.number for clip in clips]


# --------------------------------------------------------------------------- another model
def test_the_library_of_another_model_is_refused_with_advice_and_stays(tmp_path: Path) -> None:
    library(tmp_path)
    for kind in (LibraryReader, LibraryWriter):
        with pytest.raises(LibraryError, match=r"made by bundled.*--rebuild.*--model"):
            kind.open(tmp_path, RETRAINED)
    assert_holds(LibraryReader.open(tmp_path, OURS), [0, 1])


def test_an_empty_library_belongs_to_whoever_opens_it(tmp_path: Path) -> None:
    with LibraryWriter.open(tmp_path, OURS) as store:
        store.set_setting("concept_names", {"a": {"0": "kept"}})
    with LibraryWriter.open(tmp_path, RETRAINED) as store:
        assert not store.stale
        store.add(clip_of(0), contents_of(0))
    with pytest.raises(LibraryError, match="made by checkpoints/mine"):
        LibraryWriter.open(tmp_path, OURS)
    assert LibraryReader.open(tmp_path, RETRAINED).setting("concept_names") == {"a": {"0": "kept"}}


def test_new_vectors_take_over_all_at_once(tmp_path: Path) -> None:
    ids = library(tmp_path)
    with LibraryWriter.open(tmp_path, RETRAINED, allow_stale=True) as store:
        assert (store.stale, store.version.tower) == (True, "tower-1")
        with pytest.raises(LibraryError, match="finish its rebuild"):
            store.add(clip_of(5), contents_of(5))
        store.replace_vectors(ids[0], np.full((3, 9), 0.5))
        with pytest.raises(LibraryError, match=r"1 clips are not rebuilt yet \(clip 1\.mp4\)"):
            store.switch()
        assert_holds(LibraryReader.open(tmp_path, OURS), [0, 1])
    with LibraryWriter.open(tmp_path, RETRAINED, allow_stale=True) as store:
        assert [store.rebuilt(clip_id) for clip_id in ids] == [True, False], "the finished part was kept"
        store.replace_vectors(ids[1], np.full((3, 9), 0.25))
        store.switch()
        assert not store.stale
        store.add(clip_of(2), contents_of(2, width=9))
    reader = LibraryReader.open(tmp_path, RETRAINED)
    assert_holds(reader, [0, 1, 2])
    np.testing.assert_array_equal(all_vectors(reader)[0][:6, 0], [0.5, 0.5, 0.5, 0.25, 0.25, 0.25])
    assert on_disk(tmp_path) == {name for clip in reader.clips() for name in clip.file_names()}


def test_a_rebuild_for_another_tower_needs_everything_anew_and_keeps_uploads(tmp_path: Path) -> None:
    upload = tmp_path / "u.mp4"
    upload.write_bytes(bytes([0]))
    with LibraryWriter.open(tmp_path / "lib", OURS) as store:
        clip_id = store.add(clip_of(0), replace(contents_of(0), copy=upload)).id
        store.add(clip_of(1), contents_of(1))
    with LibraryWriter.open(tmp_path / "lib", FOREIGN, allow_stale=True) as store:
        with pytest.raises(LibraryError, match="another tower"):
            store.replace_vectors(clip_id, np.zeros((3, 6)))
        assert store.problems() == ()
        store.replace(store.get(clip_id), contents_of(0))
        store.carry_over(clip_of(1).id)
        store.switch()
        assert [clip.name for clip in store.clips()] == ["clip 0.mp4", "clip 1.mp4"], "none is lost"
        assert [clip.name for clip in store.damaged()] == ["clip 1.mp4"]
        assert store.media(clip_id).read_bytes() == bytes([0])
    with LibraryWriter.open(tmp_path / "lib", OURS, allow_stale=True) as store:
        store.replace_vectors(clip_of(1).id, contents_of(1).vectors)  # its tokens are still there
        store.replace(store.get(clip_id), contents_of(0))
        store.switch()
        assert_holds(store, [0, 1])


@pytest.mark.parametrize("spoil", ["DROP TABLE catalogue", "DELETE FROM uses", "UPDATE catalogue SET name = x'00'",
                                   "UPDATE derived SET value = 'x'", "UPDATE uses SET owner = owner + 1",
                                   "DELETE FROM catalogue WHERE number = 2"])  # fmt: skip
def test_derived_tables_that_are_not_as_written_are_made_again(tmp_path: Path, spoil: str) -> None:
    library(tmp_path, 3)
    with closing(sqlite3.connect(tmp_path / "library.db")) as connection, connection:
        connection.execute(spoil)
    page = LibraryReader.open(tmp_path, OURS).catalogue.page(order="name")
    assert [clip.name for clip in page] == [f"clip {n}.mp4" for n in range(3)]
    with LibraryWriter.open(tmp_path, OURS) as store:
        assert_holds(store, [0, 1, 2])
        store.delete(clip_of(1).id)
    assert on_disk(tmp_path) == {name for n in (0, 2) for name in store.get(clip_of(n).id).file_names()}
    assert_holds(LibraryReader.open(tmp_path, OURS), [0, 2])


# --------------------------------------------------------------------------- lists, a part at a time
FILTERS = [
    ClipFilter(),
    ClipFilter(name="É"),
    ClipFilter(name="%_"),
    ClipFilter(folder="/B"),
    ClipFilter(shortest_s=3, longest_s=5),
    ClipFilter(added_from="2026-01-03", added_before="2026-01-05"),
    ClipFilter(visitors=("",)),
    ClipFilter(visitors=("ann", "bob"), shortest_s=2),
    ClipFilter(visitors=()),
    ClipFilter(own=True),
    ClipFilter(own=True, visitors=("", "ann")),
    ClipFilter(visitors=("", "ann")),
    ClipFilter(uploaded=True),
    ClipFilter(captioned=True, visitors=("",)),
    ClipFilter(captioned=False),
]


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with names, folders, lengths, days and visitors that differ, and one that has gone."""
    directory = tmp_path_factory.mktemp("varied")
    names = ["b.mp4", "B é%_.mp4", "a.mp4", "É\udcff.mp4", "c'\"\\;--.mp4", "a.mp4", "日本.mp4"]
    with LibraryWriter.open(directory, OURS) as store:
        for n, name in enumerate(names):
            clip = replace(
                clip_of(n), name=name, source=f"/{'ab'[n % 2]}/x/{name}", duration_s=float(7 - n // 2),
                added=f"2026-01-0{n + 1}T00:00:00+00:00", visitor=("", "ann", "bob")[n % 3],
                captions=("a dog",) if n % 4 == 0 else (),
            )  # fmt: skip
            film = directory / "upload"
            film.write_bytes(bytes([n]))
            store.add(clip, replace(contents_of(n), copy=film if n % 2 else None))
            film.unlink()
        store.delete(store.clips()[4].id)
    return directory


@pytest.mark.parametrize("where", FILTERS)
def test_lists_sums_hidden_clips_and_a_spread_are_those_of_a_loop_over_all(varied: Path, where: ClipFilter) -> None:
    every, catalogue = (store := LibraryReader.open(varied, OURS)).clips(), store.catalogue
    clips = [
        clip
        for clip in every
        if where.name.lower() in clip.name.lower()
        and where.folder.lower() in clip.source.rpartition("/")[0].lower()
        and where.shortest_s <= clip.duration_s <= where.longest_s
        and where.added_from <= clip.added < (where.added_before or "3")
        and (where.visitors is None or clip.visitor in where.visitors)
        and (clip.copied or not where.own)
        and (clip.visitor or not where.uploaded)
        and where.captioned in (None, bool(clip.captions))
    ]
    orders: dict[Order, list[StoredClip]] = {
        "oldest": clips,
        "newest": clips[::-1],
        "name": sorted(clips, key=lambda clip: (clip.name.lower(), clip.number)),
        "shortest": sorted(clips, key=lambda clip: (clip.duration_s, clip.number)),
        "longest": sorted(clips, key=lambda clip: (-clip.duration_s, clip.number)),
        "largest": sorted(clips, key=lambda clip: (-clip.stored_bytes, clip.number)),
    }
    sums, hidden, some = catalogue.sums(where), catalogue.hidden(where), catalogue.spread(2, where)
    assert (sums.clips, sums.bytes) == (len(clips), sum(clip.stored_bytes for clip in clips))
    assert catalogue.spread(len(clips), where) == clips
    assert min(1, len(clips)) <= len(some) <= 2
    assert all(clip in clips for clip in some)
    assert hidden is None or {*hidden.tolist()} == {clip.number for clip in every if clip not in clips}
    assert all(clip in catalogue.at(clip.source) for clip in clips)
    for order, expected in orders.items():
        for offset, limit in ((0, None), (0, 2), (2, 2), (5, 9), (99, 1), (0, 0)):
            end = None if limit is None else offset + limit
            assert catalogue.page(where, order, offset, limit) == expected[offset:end], (order, offset, limit)


# --------------------------------------------------------------------------- set aside and restored
@pytest.mark.parametrize("reopened", [False, True])
def test_a_clip_that_was_set_aside_comes_back_as_it_was(store: LibraryWriter, tmp_path: Path, reopened: bool) -> None:
    before, held, ids = store.clips(), on_disk(tmp_path), [clip.id for clip in store.clips()]
    assert [clip.id for clip in store.set_aside([ids[2], "0" * 12, ids[0], ids[0]])] == [ids[2], ids[0]]
    if reopened:  # as after a kill
        store.close()
        store = LibraryWriter.open(tmp_path, OURS)
    assert [clip.id for clip in store.clips()] == [ids[1]]
    assert ids[0] not in store
    assert len(store) == len(store.catalogue.contents()[0]) == 1
    assert {clip.id for clip in store.deleted()} == {ids[0], ids[2]}
    store.add(clip_of(3), contents_of(3))  # takes no number of a clip that may come back
    assert {clip.id for clip in store.restore([ids[0], ids[2], "f" * 12])} == {ids[0], ids[2]}
    assert len({clip.number for clip in store.clips()}) == 4
    store.delete(clip_of(3).id)
    assert store.clips() == before
    assert store.deleted() == ()
    assert on_disk(tmp_path) == held
    assert_holds(store, [0, 1, 2])
    store.close()


def test_what_was_set_aside_goes_for_good_when_its_time_is_over_or_the_model_changes(tmp_path: Path) -> None:
    ids = library(tmp_path / "a", 2)
    with LibraryWriter.open(tmp_path / "a", OURS) as store:
        kept = {*store.get(ids[1]).file_names()}
        store.set_aside([ids[0]])
    with pytest.MonkeyPatch.context() as later:
        later.setattr("vtr_demo.library.transactions.KEPT", timedelta(hours=-1))
        with LibraryWriter.open(tmp_path / "a", OURS) as store:
            assert store.deleted() == ()
            assert on_disk(tmp_path / "a") == kept
    with LibraryWriter.open(tmp_path / "a", OURS) as store:
        store.set_aside([ids[1]])
        store.empty_deleted()
        assert store.deleted() == ()
        assert on_disk(tmp_path / "a") == set()
    ids = library(tmp_path / "b", 2)
    with LibraryWriter.open(tmp_path / "b", OURS) as store:
        store.set_aside(ids)
    with LibraryWriter.open(tmp_path / "b", RETRAINED) as store:  # an empty library belongs to whoever opens it
        assert (len(store), store.deleted(), on_disk(tmp_path / "b")) == (0, (), set())


def test_a_clip_set_aside_survives_a_lost_database_and_can_be_added_anew(tmp_path: Path) -> None:
    ids = library(tmp_path, 2)
    with LibraryWriter.open(tmp_path, OURS) as store:
        store.set_aside([ids[0]])
    (tmp_path / "library.db").unlink()
    with LibraryWriter.open(tmp_path, OURS) as store:
        assert [clip.id for clip in store.clips()] == [ids[1]]
        assert [clip.id for clip in store.deleted()] == [ids[0]]
        store.add(clip_of(0), contents_of(0))
        assert store.restore([ids[0]]) == []
        store.empty_deleted()
    with LibraryWriter.open(tmp_path, OURS) as store:
        assert_holds(store, [1, 0])


def test_captions_of_many_clips_change_in_one_step_and_nothing_else_does(store: LibraryWriter, tmp_path: Path) -> None:
    changed = [replace(clip, captions=(clip.name,)) for clip in store.clips()]
    store.delete(clip_of(1).id)
    store.update_all(changed)
    for reader in (store, LibraryReader.open(tmp_path, OURS)):
        assert [clip.captions for clip in reader.clips()] == [(clip_of(0).name,), (clip_of(2).name,)]
        assert_holds(reader, [0, 2])


def test_what_a_kill_leaves_of_files_on_their_way_is_gone_at_the_next_opening(tmp_path: Path) -> None:
    with LibraryWriter.open(tmp_path, OURS) as store, store.scratch() as folder:
        assert folder.is_relative_to(tmp_path)
        (folder / "half.mp4").write_bytes(b"half")
        shutil.copytree(tmp_path / ".scratch", tmp_path / "kept")
    shutil.copytree(tmp_path / "kept", tmp_path / ".scratch", dirs_exist_ok=True)
    LibraryWriter.open(tmp_path, OURS).close()
    assert not (tmp_path / ".scratch").exists()


def test_a_check_takes_up_strays_that_make_a_clip_and_puts_the_others_aside(
    store: LibraryWriter, tmp_path: Path
) -> None:
    whole = {name: (tmp_path / name).read_bytes() for name in store.get(clip_of(2).id).file_names()}
    store.delete(clip_of(2).id)
    store.check()
    assert_holds(store, [0, 1])
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "frames" / "stray.bin").write_bytes(b"whose?")
    store.check()
    assert "1 clips were taken up again and 1 files moved" in store.problems()[0]
    assert (tmp_path / "lost" / "frames" / "stray.bin").read_bytes() == b"whose?"
    store.check()
    assert_holds(store, [0, 1, 2])
