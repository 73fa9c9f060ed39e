"""The library from file to reasons: what is found, why, and what is never lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.drawn import draw_clip, moving_square_clip
from tests.helpers.models import NULLS, checkpoint_of
from vtr_demo.errors import ConfigError, LibraryError, TextError, VideoError
from vtr_demo.evaluation import confidence
from vtr_demo.library import encoding, indexing
from vtr_demo.library.engine import Engine
from vtr_demo.model.checkpoint import ADDED_OPTIONS, untrained
from vtr_demo.results import ClipFilter
from vtr_demo.structures import LEVELS, TERMS, TermWeights
from vtr_demo.text.parser import parse, without_words
from vtr_demo.video import frames, sandbox
from vtr_demo.video.frames import LimitConfig

TEXTS = ("A brown dog catches a red frisbee on the beach.", "snow", "Two dogs chase a ball behind the house!")
MIXED = TermWeights(0.8, 1.2, 0.6, 1.0, 0.7)
pytestmark = pytest.mark.usefixtures("few_null_captions")
RED, GREEN, BLUE = (210, 30, 30), (30, 190, 60), (30, 60, 200)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A clip that is one moment, two with several, one of them with hard cuts, and a still."""
    folder = tmp_path_factory.mktemp("clips")
    moving_square_clip(folder / "square.mp4", frames=20)
    draw_clip(folder / "numbers.mp4", frames=45, fps=5)
    draw_clip(folder / "cuts.mp4", frames=40, fps=5, colours=[RED] * 15 + [GREEN] * 10 + [BLUE] * 15)
    draw_clip(folder / "still.mp4", frames=40, fps=5, colours=[GREEN])
    return [folder / f"{name}.mp4" for name in ("square", "numbers", "cuts", "still")]


@pytest.fixture(scope="module")
def original(clips: list[Path], spec: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A library that no test changes."""
    engine = Engine.open(tmp_path_factory.mktemp("library"), spec)
    captions = [("a red square moves",), (), ("red, then green, then blue", "colours"), ()]
    report = engine.add(clips, captions=captions, keep_copy=False)
    assert (len(report.added), report.known, report.failed) == (4, (), ())
    yield engine
    engine.close()


@pytest.fixture
def copied(original: Engine, spec: str, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Opens copies of the library, to change."""
    shutil.copytree(original.status().directory, tmp_path / "library")
    opened: list[Engine] = []

    def open_(model: str = spec, **options: Any) -> Engine:
        opened.append(Engine.open(tmp_path / "library", model, **options))
        return opened[-1]

    yield open_
    for engine in opened:
        engine.close()


def by_name(engine: Engine, name: str) -> str:
    return next(clip.clip_id for clip in engine.clips() if clip.name == name)


def scores_of(engine: Engine, weights: TermWeights | None = None) -> dict[str, float]:
    """By name, of the first text."""
    return {hit.name: hit.score for hit in engine.search(TEXTS[0], weights=weights).hits}


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


def test_the_parts_of_a_list_make_up_the_library(original: Engine) -> None:
    pages = [original.list(offset, 2, "oldest") for offset in (0, 2, 4)]
    assert [page.total for page in pages] == [4, 4, 4]
    assert tuple(clip for page in pages for clip in page.clips) == original.clips()
    assert original.list(where=ClipFilter(name="CUTS")).clips == (original.clip(by_name(original, "cuts.mp4")),)
    for bad in ((-1, 2, "oldest"), (0, 1001, "oldest"), (0, -1, "oldest"), (0, 1, "best")):
        with pytest.raises(LibraryError, match="A list takes"):
            original.list(*bad)


def test_the_model_saw_the_very_frames_that_are_stored_and_ranks_with_the_tokens_that_are(original: Engine) -> None:
    library, model = original._indexer.library, original.model
    for clip in original.clips():
        frames, tokens = library.frames(clip.clip_id), library.tokens(clip.clip_id)
        seen = encoding.encode_frames(model, frames)
        for name in ("patches", "summary"):
            assert torch.equal(getattr(seen, name), getattr(tokens, name))
        moments = library.get(clip.clip_id).moments
        vectors = encoding.clip_vectors(model, tokens, clip.duration_s, moments)
        np.testing.assert_allclose(library.clip_vectors(clip.clip_id), vectors, atol=1e-6)


def test_milvus_answers_as_the_librarys_own_vectors_do(copied: Callable[..., Engine], tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed (requirements-scale.txt)")
    engine = copied()
    expected = [engine.search(text, weights=MIXED).hits for text in TEXTS]
    engine.close()
    remote = copied(vectors=f"milvus://{tmp_path / 'vectors.db'}")
    assert [remote.search(text, weights=MIXED).hits for text in TEXTS] == expected
    gone = expected[0][0].clip_id
    remote.delete(gone)
    assert gone not in {hit.clip_id for hit in remote.search(TEXTS[0], k=9).hits}


# ---------------------------------------------------------------------- search
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("weights", [None, MIXED, TermWeights(0, 0, 1, 0, 0), TermWeights(0, 0, 0, 0, 1)])
def test_a_hits_terms_add_up_to_its_score_best_first_each_clip_once(
    original: Engine, text: str, weights: TermWeights | None
) -> None:
    result = original.search(text, weights=weights)
    assert [hit.name for hit in result.hits] != []
    assert len({hit.clip_id for hit in result.hits}) == len(result.hits) == result.searched == 4
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)
    for hit in result.hits:
        assert tuple(hit.terms) == TERMS
        if hit.moment >= 0:
            assert (hit.start_s, hit.end_s) == original.clip(hit.clip_id).moments[hit.moment]
        assert sum(hit.terms.values()) == pytest.approx(hit.score, abs=1e-5)
        muted = [name for name, factor in result.weights.by_term().items() if factor == 0]
        assert all(hit.terms[name] == 0 for name in muted)
    assert original.search(text, k=2, weights=weights).hits == result.hits[:2]
    with pytest.raises(LibraryError, match="at least 1"):
        original.search(text, k=0)


def test_a_score_is_that_of_whole_and_best_moment_found_by_brute_force(original: Engine) -> None:
    for hit in original.search(TEXTS[0], weights=MIXED).hits:
        moments = range(len(original.clip(hit.clip_id).moments)) or [-1]
        options = {m: original.explain(TEXTS[0], hit.clip_id, m, MIXED).alignment.score for m in moments}
        assert hit.score == pytest.approx(max(options.values()), abs=1e-5)
        assert options[hit.moment] == pytest.approx(hit.score, abs=1e-5)


def test_the_clip_with_cuts_has_moments_at_its_cuts_and_short_clips_have_none(original: Engine) -> None:
    borders = [start for start, _ in original.clip(by_name(original, "cuts.mp4")).moments]
    assert any(abs(border - 3.0) < 0.4 for border in borders)
    assert any(abs(border - 5.0) < 0.4 for border in borders)
    assert original.clip(by_name(original, "square.mp4")).moments == ()
    hit = next(h for h in original.search(TEXTS[0]).hits if h.name == "square.mp4")
    assert (hit.moment, hit.start_s) == (-1, 0.0)
    assert hit.end_s == pytest.approx(2.0, abs=0.11)


def test_weights_are_chosen_by_the_names_of_terms_and_concepts(original: Engine) -> None:
    names, usual = original.status().concept_names, original.default_weights
    chosen = original.weigh({"action": 3, "concepts": 0.5}, [names[3], names[0], names[3]])
    assert chosen == replace(usual, action=3.0, concepts=0.5, muted=(0, 3))
    assert original.weigh({}) == usual
    assert usual.by_term() == dict(zip(TERMS, (*usual.levels(), usual.concepts), strict=True))
    for values, muted, said in (
        ({"global_": 1}, (), "no term 'global_'"),
        ({"action": True}, (), "must be a number"),
        ({}, ["nobody"], f"no concept 'nobody' to mute; there are: {re.escape(names[0])}"),
    ):
        with pytest.raises(ConfigError, match=said):
            original.weigh(values, muted)


def test_struck_words_are_searched_as_if_never_written(original: Engine) -> None:
    sentence = parse(TEXTS[0])
    struck = {1, 6}
    short = without_words(sentence, struck)
    first, second = original.search(TEXTS[0], struck=struck), original.search(short)
    assert first.sentence.text == short
    assert [(h.clip_id, h.score) for h in first.hits] == [(h.clip_id, h.score) for h in second.hits]
    with pytest.raises(TextError, match="keep at least one"):
        original.search(TEXTS[0], struck=range(len(sentence.words)))
    with pytest.raises(TextError, match="no word 77"):
        original.search(TEXTS[0], struck={77})


@pytest.mark.parametrize("text", ["", "   ", "?!", "собака бежит по снегу"])
def test_a_text_that_cannot_be_read_is_refused_in_a_sentence(original: Engine, text: str) -> None:
    with pytest.raises(TextError):
        original.search(text)


# ---------------------------------------------------------------------- explanation
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("weights", [None, MIXED])
def test_an_explanation_rebuilds_the_very_score_of_its_hit(
    original: Engine, text: str, weights: TermWeights | None
) -> None:
    """A hit and a clip by its id are explained by the moment that was ranked."""
    hits = original.search(text, weights=weights).hits
    for hit, given in [*((hit, (hit,)) for hit in hits), *((hit, (hit.clip_id,)) for hit in hits)]:
        found = original.explain(text, *given, weights=weights)
        assert found.moment == hit.moment
        assert found.alignment.score == pytest.approx(hit.score, abs=1e-5)
        assert float(found.alignment.all_terms().sum()) == pytest.approx(hit.score, abs=1e-5)
        assert found.alignment.terms() == pytest.approx(hit.terms, abs=1e-5)
        assert found.alignment.by_concept().sum() == pytest.approx(hit.terms["concepts"], abs=1e-5)
        assert len(found.frames) == len(found.alignment.seconds)
        assert (np.diff(found.alignment.seconds) >= 0).all()
        assert sum(found.gates.values()) == pytest.approx(1, abs=1e-5)
        assert tuple(found.gates) == LEVELS


def test_a_moments_explanation_shows_the_frames_of_whole_and_moment(original: Engine) -> None:
    clip_id = by_name(original, "numbers.mp4")
    record = original._library.get(clip_id)
    stored = original._library.frames(clip_id)
    whole = original.explain(TEXTS[0], clip_id, -1)
    for k, moment in enumerate(record.moments):
        found = original.explain(TEXTS[0], clip_id, k)
        times = {*whole.alignment.seconds.tolist(), *stored.seconds[list(moment.frames)].tolist()}
        assert set(found.alignment.seconds.tolist()) == times
        for second, frame in zip(found.alignment.seconds, found.frames, strict=True):
            row = int(np.flatnonzero(stored.seconds == second)[0])
            assert (frame == stored.pixels[row]).all()


def test_a_moment_or_clip_that_is_not_there_is_refused(original: Engine) -> None:
    clip_id = by_name(original, "square.mp4")
    for moment in (0, -2, 99):
        with pytest.raises(LibraryError, match="no moment"):
            original.explain(TEXTS[0], clip_id, moment)
    for bad in ("ffffffffffff", "../../etc", ""):
        with pytest.raises(LibraryError):
            original.explain(TEXTS[0], bad)
        with pytest.raises(LibraryError):
            original.describe(bad)


def test_word_effects_are_the_score_minus_that_of_the_struck_sentence(original: Engine) -> None:
    hit = original.search(TEXTS[0], weights=MIXED).hits[0]
    found = original.explain(TEXTS[0], hit.clip_id, hit.moment, MIXED)
    assert len(found.word_effects) == len(found.sentence.words)
    for i in range(len(found.sentence.words)):
        without = original.explain(TEXTS[0], hit.clip_id, hit.moment, MIXED, struck={i})
        assert found.word_effects[i] == pytest.approx(hit.score - without.alignment.score, abs=1e-5)


@pytest.mark.parametrize("text", ["dogs 中", "中 dogs 文 a", "snow", "a 🙂", "1 2"])
def test_a_word_that_cannot_be_struck_does_not_spoil_the_explanation(original: Engine, text: str) -> None:
    hit = original.search(text).hits[0]
    found = original.explain(text, hit.clip_id, hit.moment)
    assert np.isfinite(found.word_effects).all()
    assert len(found.word_effects) == len(found.sentence.words)


def test_a_click_decodes_nothing_and_needs_no_file(
    copied: Callable[..., Engine], clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = copied()
    extra = shutil.copy(clips[0], tmp_path / "gone.mp4")
    draw_clip(extra, frames=44, fps=4, colours=[BLUE, RED, RED])
    assert engine.add([Path(extra)], keep_copy=False).failed == ()
    before = engine.search(TEXTS[0]).hits
    Path(extra).unlink()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a video was decoded")

    for module, name in [
        (sandbox, "call"), (frames, "read_frames"), (frames, "probe"), (encoding, "encode_frames"),
        (encoding, "read_clip"), (encoding, "read_film_guarded"),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, refuse)
    engine.close()
    engine = copied()
    assert [(h.clip_id, h.score) for h in engine.search(TEXTS[0]).hits] == [(h.clip_id, h.score) for h in before]
    for hit in before:
        found = engine.explain(TEXTS[0], hit.clip_id, hit.moment)
        assert found.alignment.score == pytest.approx(hit.score, abs=1e-5)
        assert engine.describe(hit.clip_id, ["a dog"])
        assert engine.clip(hit.clip_id).poster.is_file()
    assert "gone.mp4" in [clip.name for clip in engine.clips()]


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
    engine = Engine.open(tmp_path / "library", spec, samples=tmp_path)
    assert {clip.captions for clip in engine.clips()} == {(), ("number 0",), ("number 1",), ("number 2",)}
    assert not engine.wants_samples
    engine.close()


# ---------------------------------------------------------------------- confidence
@pytest.mark.parametrize("text", [*TEXTS, *NULLS])
def test_a_clip_that_ranks_higher_is_never_the_less_sure(original: Engine, text: str) -> None:
    """Also by a loop over the sentences and the stored vectors."""
    hits = original.search(text, 99, MIXED).hits
    sure = [hit.confidence for hit in hits]
    assert sure == sorted(sure, reverse=True)
    _, vectors = original._ranking.table(original._library.clips())
    best = (original._queries.flat([parse(null) for null in NULLS], MIXED) @ vectors.T).max(axis=1)
    for hit in hits:
        assert hit.confidence == pytest.approx(1 - (1 + (best >= hit.score - 1e-5).sum()) / (1 + len(NULLS)))


def test_how_many_hits_are_asked_for_does_not_change_whether_there_is_a_match(original: Engine) -> None:
    for text in (*TEXTS, *NULLS):
        every = original.search(text, k=99, weights=MIXED)
        best = max(hit.confidence for hit in every.hits)
        assert original.search(text, k=1, weights=MIXED).confident == every.confident
        assert every.confident or best < 1 - confidence.CONFIDENT_P


def test_an_unrelated_sentence_is_no_surer_than_itself(original: Engine) -> None:
    """A sentence of the null counts itself, so it never reaches the smallest p-value."""
    for text in NULLS:
        hits = original.search(text, weights=MIXED).hits
        assert max(hit.confidence for hit in hits) <= 1 - 2 / (1 + len(NULLS)) + 1e-9


def test_the_shipped_null_captions_can_all_be_read_and_none_comes_twice() -> None:
    texts = confidence.null_captions()
    assert len(set(texts)) == len(texts) >= 100
    for text in texts[::10]:
        parse(text)


# ---------------------------------------------------------------------- sentences for a clip
def test_described_sentences_score_as_the_whole_clip_does_in_an_explanation(original: Engine) -> None:
    clip_id = by_name(original, "numbers.mp4")
    ranked = original.describe(clip_id, [*TEXTS, TEXTS[0], "  ", f" {TEXTS[1]} "], weights=MIXED)
    assert sorted(hit.text for hit in ranked) == sorted(TEXTS)
    assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)
    for hit in ranked:
        alignment = original.explain(hit.text, clip_id, -1, MIXED).alignment
        assert hit.score == pytest.approx(alignment.score, abs=1e-5)
        assert sum(hit.terms.values()) == pytest.approx(hit.score, abs=1e-5)
        assert 0 <= hit.confidence < 1
    assert original.describe(clip_id, TEXTS, k=1, weights=MIXED) == ranked[:1]


def test_a_file_is_described_as_the_same_clip_in_the_library_is(original: Engine, clips: list[Path]) -> None:
    inside = original.describe(by_name(original, "cuts.mp4"), TEXTS)
    outside = original.describe_file(clips[2], TEXTS)
    assert [hit.text for hit in inside] == [hit.text for hit in outside]
    assert [hit.score for hit in inside] == pytest.approx([hit.score for hit in outside], abs=1e-5)
    assert original.status().clips == 4


def test_without_captions_the_librarys_own_and_general_ones_are_ranked(original: Engine) -> None:
    texts = {hit.text for hit in original.describe(by_name(original, "still.mp4"), k=99)}
    assert texts == {"a red square moves", "red, then green, then blue", "colours", *NULLS}


def test_no_sentence_and_no_video_are_refused(original: Engine, tmp_path: Path) -> None:
    with pytest.raises(TextError, match="at least one"):
        original.describe(by_name(original, "still.mp4"), ["", "  "])
    with pytest.raises(VideoError, match=r"none\.mp4"):
        original.describe_file(tmp_path / "none.mp4", TEXTS)


# ---------------------------------------------------------------------- adding and forgetting
def test_files_that_fail_are_named_and_leave_the_library_as_it_was(
    copied: Callable[..., Engine], clips: list[Path], tmp_path: Path
) -> None:
    engine = copied()
    before, status = engine.search(TEXTS[0]).hits, engine.status()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(clips[1].read_bytes()[:300])
    bad = [tmp_path / name for name in ("noise.mp4", "empty.mp4", "cut.mp4", "absent.mp4", "library")]
    report = engine.add(bad)
    assert (report.added, report.known) == ((), ())
    assert [name for name, _ in report.failed] == [path.name for path in bad]
    for name, sentence in report.failed:
        assert name in sentence
        assert "\n" not in sentence
    assert engine.search(TEXTS[0]).hits == before
    assert engine.status() == status


def test_one_bad_file_does_not_keep_out_the_good_ones(
    copied: Callable[..., Engine], clips: list[Path], tmp_path: Path
) -> None:
    engine = copied()
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 999)
    twin = shutil.copy(clips[0], tmp_path / "twin.mp4")
    draw_clip(tmp_path / "new.mp4", frames=8, fps=4, colours=[BLUE])
    draw_clip(tmp_path / "whole.mkv", frames=120, fps=10, colours=[RED])
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    report = engine.add([tmp_path / name for name in ("noise.mp4", twin, "new.mp4", "new.mp4", "cut.mkv")])
    assert [name for name, _ in report.failed] == ["noise.mp4"]
    assert report.known == ("twin.mp4", "new.mp4")  # known by content, not by name
    assert [engine.clip(key).name for key in report.added] == ["new.mp4", "cut.mkv"]
    [(partial, reason)] = report.partial
    assert partial == "cut.mkv"
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


def test_a_clip_that_is_too_long_or_too_large_is_refused_before_it_is_decoded(
    original: Engine, clips: list[Path]
) -> None:
    tight = Engine(original.model, original._indexer, LimitConfig(max_duration_s=1.0))
    with pytest.raises(VideoError):
        tight.describe_file(clips[1], TEXTS)
    small = Engine(original.model, original._indexer, LimitConfig(max_bytes=100))
    with pytest.raises(VideoError, match="MiB"):
        small.describe_file(clips[1], TEXTS)


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


def test_status_counts_what_is_there(original: Engine) -> None:
    status = original.status()
    moments = sum(len(clip.moments) for clip in original.clips())
    assert (status.clips, status.moments, status.problems, status.trained) == (4, moments, (), True)
    assert status.stored_bytes == sum(clip.stored_bytes for clip in original.clips())
    assert status.default_weights == original.default_weights


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


def test_one_writer_at_a_time_and_readers_beside_it(copied: Callable[..., Engine], clips: list[Path]) -> None:
    writer = copied()
    with pytest.raises(LibraryError):
        copied()
    reader = copied(readonly=True)
    assert [h.score for h in reader.search(TEXTS[0]).hits] == [h.score for h in writer.search(TEXTS[0]).hits]
    for change in (lambda: reader.add([clips[0]]), lambda: reader.delete(by_name(reader, "cuts.mp4"))):
        with pytest.raises(LibraryError, match="reading only"):
            change()
    writer.close()
    copied().delete(by_name(reader, "cuts.mp4"))


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


@pytest.mark.parametrize(
    "change",
    [{"name": " "}, {"name": "x" * 121}, {"name": "a\u202eb"}, {"captions": ["fine", "!!!"]}, {"captions": ["a\ud800"]},
     {"captions": [f"dog {i}" for i in range(201)]}, {"captions": ["dog " * 600]}],
)  # fmt: skip
def test_an_edit_that_cannot_be_read_changes_nothing(copied: Callable[..., Engine], change: dict[str, object]) -> None:
    engine = copied()
    before = engine.clips()
    with pytest.raises(LibraryError):
        engine.edit(by_name(engine, "cuts.mp4"), **change)  # type: ignore[arg-type]
    assert engine.clips() == before
    engine.close()


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
