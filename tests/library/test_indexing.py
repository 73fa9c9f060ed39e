"""Files that are added, damaged, edited and deleted, under this model and another: nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.drawn import draw_clip
from tests.helpers.engines import BLUE, GREEN, MIXED, RED, TEXTS, by_name, scores_of
from tests.helpers.models import checkpoint_of
from vtr_demo.errors import LibraryError
from vtr_demo.library import indexing
from vtr_demo.library.engine import Engine
from vtr_demo.model.checkpoint import ADDED_OPTIONS, untrained
from vtr_demo.structures import TermWeights
from vtr_demo.video import frames

pytestmark = pytest.mark.usefixtures("few_null_captions")


def faults_of(work: Callable[[int], None], count: int, meanwhile: Callable[[], None]) -> list[str]:
    """Whatever ``work`` meets in ``count`` threads while something else is done."""
    faults: list[str] = []

    def run(n: int) -> None:
        try:
            work(n)
        except Exception as error:  # noqa: BLE001 - whatever a thread meets is a fault
            faults.append(repr(error))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()
    return faults


# ---------------------------------------------------------------------- adding and forgetting
def test_files_that_fail_are_named_change_nothing_and_do_not_keep_out_the_good_ones(
    copied: Callable[..., Engine], clips: list[Path], tmp_path: Path
) -> None:
    engine = copied()
    before, status = engine.search(TEXTS[0]).hits, engine.status()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(clips[1].read_bytes()[:300])
    bad = [tmp_path / name for name in ("noise.mp4", "empty.mp4", "cut.mp4", "absent.mp4", "library")]
    assert len(engine.add(bad).failed) == len(bad)
    assert engine.search(TEXTS[0]).hits == before
    assert engine.status() == status
    twin = Path(shutil.copy(clips[0], tmp_path / "twin.mp4"))
    draw_clip(tmp_path / "new.mp4", frames=8, fps=4, colours=[BLUE])
    draw_clip(tmp_path / "whole.mkv", frames=120, fps=10, colours=[RED])
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(data[: len(data) // 2])
    report = engine.add([*bad, twin, *(tmp_path / name for name in ("new.mp4", "new.mp4", "half.mkv"))])
    assert [name for name, _ in report.failed] == [path.name for path in bad]
    assert all(name in sentence and "\n" not in sentence for name, sentence in report.failed)
    assert report.known == ("twin.mp4", "new.mp4")  # known by content, not by name
    assert [engine.clip(key).name for key in report.added] == ["new.mp4", "half.mkv"]
    [(partial, reason)] = report.partial
    assert partial == "half.mkv"
    assert "12.0 s" in reason
    assert engine.search(TEXTS[0], k=9).searched == 6


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are counted in /proc")
def test_files_on_their_way_lie_in_the_library_and_neither_they_nor_descriptors_are_left(
    copied: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))  # nothing may be put there
    engine = copied()
    for number in range(6):
        draw_clip(tmp_path / f"{number}.avi", frames=3 + number, size=(64, 64), codec="mpeg4")
    before = len(os.listdir("/proc/self/fd"))
    report = engine.add([tmp_path / f"{number}.avi" for number in range(6)])
    assert len(report.added) == 6
    frames.close_workers()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert [*Path(engine.status().directory, ".scratch").iterdir()] == []


def test_a_forgotten_clip_is_gone_and_the_others_keep_their_scores(
    copied: Callable[..., Engine], clips: list[Path]
) -> None:
    engine = copied()
    before, victim = scores_of(engine), by_name(engine, "numbers.mp4")
    engine.delete(victim)
    assert scores_of(engine) == {name: score for name, score in before.items() if name != "numbers.mp4"}
    assert clips[1].is_file()
    for call in (engine.delete, engine.describe, lambda clip_id: engine.explain(TEXTS[0], clip_id)):
        with pytest.raises(LibraryError):
            call(victim)
    assert engine.add([clips[1]], keep_copy=False).added == (victim,)  # equal content, equal id
    assert scores_of(engine) == pytest.approx(before, abs=1e-5)


def test_an_empty_library_answers_with_nothing(spec: str, tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "empty", spec)
    found = engine.search(TEXTS[0])
    assert (found.hits, found.searched, found.confident) == ((), 0, False)
    assert (engine.clips(), engine.status().clips) == ((), 0)
    engine.close()


def test_hundreds_of_slider_settings_while_another_thread_adds_and_forgets(
    copied: Callable[..., Engine], clips: list[Path]
) -> None:
    engine = copied()
    victim, done, expected = by_name(engine, "square.mp4"), threading.Event(), scores_of(engine, MIXED)

    def search(first: int) -> None:
        for step in range(1000):
            engine.search(TEXTS[0], weights=TermWeights(1, 1, 1, 1, 0.001 * (1000 * first + step)))
            for hit in engine.search(TEXTS[0], weights=MIXED).hits:
                assert abs(hit.score - expected[hit.name]) <= 1e-5
            if done.is_set() and step > 50:
                return

    def change() -> None:
        for _ in range(3):
            engine.delete(victim)
            engine.add([clips[0]], keep_copy=False)
        done.set()

    assert faults_of(search, 3, change) == []
    assert scores_of(engine, MIXED) == pytest.approx(expected, abs=1e-5)


def test_searches_and_lists_ask_the_disk_for_nothing(original: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    original.search(TEXTS[0])

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"the disk was asked for {arguments[0]}")

    for name in ("stat", "is_file", "exists", "open", "iterdir", "read_bytes"):
        monkeypatch.setattr(Path, name, refuse)
    for weights in (None, MIXED, replace(MIXED, action=0.1)):
        assert len(original.search(TEXTS[0], weights=weights).hits) == 4
    assert len(original.clips()) == 4
    assert original.clip(original.clips()[0].clip_id) == original.clips()[0]
    assert original.status().clips == 4


def test_only_clips_without_any_file_are_pruned(
    copied: Callable[..., Engine], clips: list[Path], tmp_path: Path
) -> None:
    engine = copied()
    draw_clip(tmp_path / "kept.mp4", frames=8, fps=4, colours=[BLUE])
    draw_clip(tmp_path / "gone.mp4", frames=8, fps=4, colours=[RED])
    engine.add([str(tmp_path / "kept.mp4")], keep_copy=True)
    engine.add([str(tmp_path / "gone.mp4")], keep_copy=False)
    assert engine.prune() == ()
    for name in ("kept.mp4", "gone.mp4"):
        (tmp_path / name).unlink()
    assert [view.name for view in engine.prune()] == ["gone.mp4"]
    assert [view.name for view in engine.clips()] == [*(clip.name for clip in clips), "kept.mp4"]
    assert engine.search(TEXTS[0]).searched == 5
    assert engine.prune() == ()


# ---------------------------------------------------------------------- damage and other models
def damage(engine: Engine, name: str, role: str) -> None:
    """Spoil a stored file of the clip called ``name``."""
    library = engine._library
    (library.directory / library.get(by_name(engine, name)).files[role].name).write_bytes(b"nothing")


@pytest.mark.parametrize("role", ["frames", "tokens", "vectors", "poster"])
def test_a_damaged_clip_is_named_and_made_again_from_what_is_left_or_its_file(
    copied: Callable[..., Engine], role: str
) -> None:
    engine = copied()
    before, clip = scores_of(engine), engine._library.get(by_name(engine, "cuts.mp4"))
    damage(engine, "cuts.mp4", role)
    engine.close()
    engine = copied()
    if role == "vectors":
        assert any("cuts.mp4" in problem for problem in engine.status().problems)
        assert scores_of(engine).keys() == before.keys() - {"cuts.mp4"}
    report = engine.rebuild()
    assert clip.id in report.added  # and another, where both have the file
    assert report.failed == ()
    for _ in range(2):
        assert engine.status().problems == ()
        again = engine._library.get(clip.id)
        assert (again.files, again.captions) == (clip.files, clip.captions)
        assert scores_of(engine) == pytest.approx(before, abs=1e-5)
        engine.close()
        engine = copied()


@pytest.mark.parametrize("role", ["frames", "tokens"])
def test_a_damaged_clip_whose_file_has_changed_or_gone_is_there_once(
    copied: Callable[..., Engine], tmp_path: Path, role: str
) -> None:
    engine = copied()
    path = tmp_path / "own.mp4"
    draw_clip(path, frames=8, fps=4, colours=[BLUE])
    (clip_id,) = engine.add([path], captions=[("a blue one",)], keep_copy=False).added
    damage(engine, "own.mp4", role)
    path.rename(tmp_path / "away.mp4")
    report = engine.rebuild()
    assert [name for name, _ in report.failed] == (["own.mp4"] if role == "frames" else [])
    assert engine.clip(clip_id).captions == ("a blue one",)
    damage(engine, "own.mp4", role)
    draw_clip(path, frames=8, fps=4, colours=[RED, GREEN])
    report = engine.rebuild()
    (again,) = report.added
    assert report.failed == ()
    assert (again == clip_id) == (role == "tokens"), "without its pixels it is what the file now holds"
    assert [view.name for view in engine.clips()].count("own.mp4") == 1
    assert engine.clip(again).captions == ("a blue one",)
    assert engine.status().problems == ()
    assert engine.search(TEXTS[0]).searched == 5


def test_another_tower_needs_the_files_and_loses_nothing_without_them(
    clips: list[Path], spec: str, tmp_path: Path
) -> None:
    paths = [Path(shutil.copy(clip, tmp_path / clip.name)) for clip in clips[:2]]
    with closing(Engine.open(tmp_path / "library", spec)) as engine:
        engine.add(paths, keep_copy=False)
        expected = scores_of(engine)
    other = checkpoint_of(tmp_path / "other", "tiny:1", 1)
    for path in paths:
        path.rename(tmp_path / f"away {path.name}")
    with pytest.raises(LibraryError, match=r"numbers\.mp4"):
        Engine.open(tmp_path / "library", other, rebuild=True)
    (tmp_path / f"away {paths[1].name}").rename(paths[1])
    with closing(Engine.open(tmp_path / "library", other, rebuild=True)) as engine:  # one does not stop the others
        assert [*scores_of(engine)] == [paths[1].name]
        assert [view.name for view in engine.clips()] == [path.name for path in paths]
        assert any(paths[0].name in problem for problem in engine.status().problems)
    with closing(Engine.open(tmp_path / "library", spec, rebuild=True)) as engine:  # nothing of it was lost
        assert scores_of(engine) == pytest.approx(expected, abs=1e-5)


def test_new_heads_over_the_same_tower_need_no_file(clips: list[Path], spec: str, tmp_path: Path) -> None:
    moved = [Path(shutil.copy(clip, tmp_path / clip.name)) for clip in clips[:2]]
    with closing(Engine.open(tmp_path / "library", spec)) as engine:
        engine.add(moved, keep_copy=False)
    for path in moved:
        path.unlink()
    other = checkpoint_of(tmp_path / "other", "tiny", 1)
    with closing(Engine.open(tmp_path / "library", other, rebuild=True)) as engine:
        rebuilt = scores_of(engine)
    with closing(Engine.open(tmp_path / "fresh", other)) as fresh:
        fresh.add(clips[:2], keep_copy=False)
        assert rebuilt == pytest.approx(scores_of(fresh), abs=1e-5)
    with closing(Engine.open(tmp_path / "library", other)) as again:  # and from now on it is the new model's
        assert len(again.clips()) == 2


def test_a_library_that_is_only_read_answers_and_takes_no_change(
    copied: Callable[..., Engine], clips: list[Path]
) -> None:
    writer, reader = copied(), copied(readonly=True)
    assert scores_of(reader) == scores_of(writer)
    for change in (lambda: reader.add([clips[0]]), lambda: reader.delete(by_name(reader, "cuts.mp4"))):
        with pytest.raises(LibraryError, match="reading only"):
            change()


def test_prototypes_found_in_the_first_clips_come_back_with_the_library(clips: list[Path], tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "library", "tiny")
    engine.search(TEXTS[0], weights=MIXED)  # is read anew once there are prototypes
    random = engine.model.model.concepts.prototypes.clone()
    engine.add(clips[:2], keep_copy=False)
    for hit in engine.search(TEXTS[0], weights=MIXED).hits:
        assert engine.explain(TEXTS[0], hit, weights=MIXED).alignment.score == pytest.approx(hit.score, abs=1e-5)
    found = engine.model.model.concepts.prototypes.clone()
    expected = scores_of(engine, MIXED)
    engine.add(clips[2:3], keep_copy=False)  # later clips do not move them
    assert found.equal(engine.model.model.concepts.prototypes)
    engine.close()
    again = Engine.open(tmp_path / "library", "tiny")
    assert not torch.allclose(random, found)
    assert torch.allclose(again.model.model.concepts.prototypes, found, atol=1e-6)
    scores = scores_of(again, MIXED)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    again.close()


def test_a_rebuild_for_another_untrained_model_finds_prototypes_of_its_own(clips: list[Path], tmp_path: Path) -> None:
    other = "tiny:1"
    engine = Engine.open(tmp_path / "library", "tiny")
    engine.add(clips[:3], keep_copy=False)
    engine.close()
    rebuilt = Engine.open(tmp_path / "library", other, rebuild=True)
    fresh = Engine.open(tmp_path / "fresh", other)
    fresh.add(clips[:3], keep_copy=False)
    assert torch.allclose(rebuilt.model.model.concepts.prototypes, fresh.model.model.concepts.prototypes, atol=1e-5)
    assert scores_of(rebuilt, MIXED) == pytest.approx(scores_of(fresh, MIXED), abs=1e-5)
    rebuilt.close()
    fresh.close()


def test_an_untrained_model_describes_a_file_with_the_prototypes_that_explain_it(
    clips: list[Path], tmp_path: Path
) -> None:
    described = Engine.open(tmp_path / "empty", "tiny")
    added = Engine.open(tmp_path / "library", "tiny")
    (clip_id,) = added.add([clips[0]], keep_copy=False).added
    for hit in described.describe_file(clips[0], TEXTS, weights=MIXED):
        alignment = added.explain(hit.text, clip_id, -1, MIXED).alignment
        assert alignment.terms() == pytest.approx(hit.terms, abs=1e-5)
    described.add(clips[:2], keep_copy=False)  # a file that was only described leaves no trace
    fresh = Engine.open(tmp_path / "fresh", "tiny")
    fresh.add(clips[:2], keep_copy=False)
    assert scores_of(described, MIXED) == pytest.approx(scores_of(fresh, MIXED), abs=1e-6)
    for engine in (described, added, fresh):
        engine.close()


def test_lost_prototypes_are_refused_and_a_rebuild_computes_all_vectors_anew(clips: list[Path], tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "library", "tiny")
    engine.add(clips[:3], keep_copy=False)
    expected = scores_of(engine, MIXED)
    engine._indexer.writer().set_setting(indexing.PROTOTYPES, {})
    engine.close()
    for options in ({}, {"readonly": True}):
        with pytest.raises(LibraryError, match=r"prototypes .* are lost; rebuild"):
            Engine.open(tmp_path / "library", "tiny", **options)
    rebuilt = Engine.open(tmp_path / "library", "tiny", rebuild=True)
    assert rebuilt.status().problems == ()
    assert scores_of(rebuilt, MIXED) == pytest.approx(expected, abs=1e-5)
    rebuilt.close()


def test_libraries_of_earlier_programs_fit_the_same_model() -> None:
    """Options that have left or come since do not make a model another one where they change nothing."""
    model = untrained("tiny")
    now = model.fingerprint
    model.model.config = model.model.config.model_copy(update=ADDED_OPTIONS)
    assert model.fingerprint == "24c11af9997c8f13" != now, "as the program of 2026-11-27 computed it"


# --------------------------------------------------------------------------- edits
def test_captions_written_and_imported_count_at_once(copied: Callable[..., Engine], tmp_path: Path) -> None:
    engine = copied()
    still, before = by_name(engine, "still.mp4"), engine.search(TEXTS[0])
    clip = engine.edit(still, name="  green\tfield.mp4 ", captions=["a green  field", "", "a green field", "grass"])
    assert (clip.name, clip.captions) == ("green field.mp4", ("a green field", "grass"))
    assert engine.clip(still) == clip
    after = engine.search(TEXTS[0])
    assert [hit.score for hit in after.hits] == pytest.approx([hit.score for hit in before.hits], abs=1e-6)
    assert "a green field" in {hit.text for hit in engine.describe(still, k=500)}

    table = tmp_path / "mine.csv"
    table.write_text(
        "clip,caption\nNUMBERS.MP4,numbers count up\ngreen field,grass\ngreen field,moss\nnobody.mp4,x\nnumbers,\n"
    )
    report = engine.import_captions(table)
    assert (report.clips, report.captions) == (2, 2)
    assert [line.split(":")[0] for line in report.left_out] == ["line 6", "line 5"]
    assert engine.clip(still).captions == ("a green field", "grass", "moss")
    assert engine.measure().texts == 3 + 3 + 1
    with pytest.raises(LibraryError, match="No line of mine"):
        engine.import_captions(table, only=[by_name(engine, "cuts.mp4")])
    engine.close()


def test_an_edit_that_cannot_be_read_changes_nothing(copied: Callable[..., Engine]) -> None:
    engine = copied()
    before = engine.clips()
    for name in (" ", "x" * 121, "a\u202eb"):
        with pytest.raises(LibraryError):
            engine.edit(before[2].clip_id, name=name)
    for captions in (["fine", "!!!"], ["a\ud800"], [f"dog {i}" for i in range(201)], ["dog " * 600]):
        with pytest.raises(LibraryError):
            engine.edit(before[2].clip_id, captions=captions)
    assert engine.clips() == before


def test_clips_set_aside_are_gone_from_everything_until_they_are_restored(copied: Callable[..., Engine]) -> None:
    engine = copied()
    first = engine.search(TEXTS[0]).hits[0].clip_id
    before, status = engine.search(TEXTS[0]), engine.status()
    (gone,) = engine.set_aside([first, "0" * 12])
    assert (gone.clip_id, [clip.clip_id for clip in engine.deleted()]) == (first, [first])
    assert first not in {clip.clip_id for clip in engine.list().clips}
    assert [hit.clip_id for hit in engine.search(TEXTS[0]).hits] == [hit.clip_id for hit in before.hits[1:]]
    assert engine.status().clips == status.clips - 1
    with pytest.raises(LibraryError, match="No clip"):
        engine.media(first)
    assert [clip.clip_id for clip in engine.restore([first])] == [first]
    assert engine.status() == status
    assert [(hit.clip_id, hit.score) for hit in engine.search(TEXTS[0]).hits] == [
        (hit.clip_id, hit.score) for hit in before.hits
    ]
    with pytest.raises(LibraryError, match="too many"):
        engine.set_aside(["0" * 12] * 1001)
    engine.close()


def test_searches_go_on_at_new_settings_while_clips_are_added(clips: list[Path], spec: str, tmp_path: Path) -> None:
    found, settings = [], iter(np.linspace(0.5, 1.5, 99).tolist())
    with closing(Engine.open(tmp_path / "library", spec)) as engine:

        def search(*_: Any) -> None:
            found.append(len(engine.search("a square", weights=replace(MIXED, entity=next(settings))).hits))

        engine.add(clips[:1])
        engine.add(clips[1:], progress=search)
        search()
    assert len(found) > 3
    assert (min(found), found[-1]) == (1, len(clips))


def test_sample_clips_come_a_few_at_a_time_and_what_a_kill_leaves_undone_is_done_at_the_next_start(
    clips: list[Path], spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clip in clips[:3]:
        shutil.copy(clip, tmp_path)
    rows = [json.dumps({"path": clip.name, "captions": [f"number {n}"]}) for n, clip in enumerate(clips[:3])]
    (tmp_path / "manifest.jsonl").write_text("\n".join(rows))
    engine = Engine.open(tmp_path / "library", spec)
    assert engine.wants_samples
    engine.add([clips[3]])  # from here on the prototypes stand
    monkeypatch.setattr("vtr_demo.library.engine.SAMPLES_AT_ONCE", 1)
    add, shares = engine.add, []

    def killed(paths: list[Path], **options: Any) -> Any:
        if paths[0].name == clips[1].name:
            raise KeyboardInterrupt
        return add(paths, **options)

    monkeypatch.setattr(engine, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        engine.add_samples(tmp_path, progress=lambda share, _: shares.append(share))
    assert len(engine.clips()) == 2
    assert len(engine.search("a square").hits) == 2
    assert shares == sorted(shares)
    assert max(shares) <= 1 / 3 + 1e-9
    engine.close()
    engine = Engine.open(tmp_path / "library", spec)
    assert engine.wants_samples
    engine.add_samples(tmp_path)
    assert {clip.captions for clip in engine.clips()} == {(), ("number 0",), ("number 1",), ("number 2",)}
    assert not engine.wants_samples
    engine.close()
