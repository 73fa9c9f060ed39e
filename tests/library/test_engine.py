"""A library from sentence to reasons: what is found, why, and how sure it is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.drawn import draw_clip
from tests.helpers.engines import BLUE, CAPTIONS, MIXED, RED, TEXTS, by_name
from tests.helpers.models import NULLS
from vtr_demo.errors import ConfigError, LibraryError, TextError, VideoError
from vtr_demo.evaluation import confidence
from vtr_demo.library import encoding
from vtr_demo.library.engine import Engine
from vtr_demo.results import ClipFilter
from vtr_demo.structures import TERMS, TermWeights
from vtr_demo.text.parser import parse, without_words
from vtr_demo.video import frames, sandbox

pytestmark = pytest.mark.usefixtures("few_null_captions")


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
    """A sentence of the null counts itself, so it never reaches the smallest p-value."""
    for text in (*TEXTS, *NULLS):
        every = original.search(text, k=99, weights=MIXED)
        best = max(hit.confidence for hit in every.hits)
        assert original.search(text, k=1, weights=MIXED).confident == every.confident
        assert every.confident or best < 1 - confidence.CONFIDENT_P
        assert text not in NULLS or best <= 1 - 2 / (1 + len(NULLS)) + 1e-9


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
    assert texts == {*(text for texts in CAPTIONS for text in texts), *NULLS}


def test_no_sentence_and_no_video_are_refused(original: Engine, tmp_path: Path) -> None:
    with pytest.raises(TextError, match="at least one"):
        original.describe(by_name(original, "still.mp4"), ["", "  "])
    with pytest.raises(VideoError, match=r"none\.mp4"):
        original.describe_file(tmp_path / "none.mp4", TEXTS)
