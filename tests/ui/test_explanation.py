"""What the panel is drawn from: every summand of the score that was ranked, and words about it that are true."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.helpers.fake_engine import FakeEngine
from vtr_demo.results import confidence_word
from vtr_demo.structures import TERMS, Mix, Sentence, TermWeights
from vtr_demo.ui import explanation, state
from vtr_demo.ui.view import ViewState

SENTENCE = "a red ball rolls across the beach"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return FakeEngine(tmp_path_factory.mktemp("drawn"))


def opened(engine, **changes: Any) -> tuple[ViewState, dict[str, Any]]:
    """The view and the panel of the best hit."""
    view, _, panel = state.run_search(engine, ViewState(text=SENTENCE, weights=changes.get("weights", ())))
    assert panel is None
    clip, moment = view.hits[0]
    view, _, panel = state.run_search(
        engine, replace(view, clip=clip, moment=moment if moment >= 0 else None, **changes)
    )
    return view, panel


def dense(panel: dict[str, Any]) -> np.ndarray:
    """(5, 1+W, T, 1+P): the summands as the browser reads them."""
    shape = (len(panel["seconds"]), 1 + panel["grid"][0] * panel["grid"][1])
    parts = np.zeros((len(TERMS), len(panel["words"]), *shape), np.float32)
    rows = np.frombuffer(b64decode(panel["parts"]), "<f4").reshape(-1, *shape)
    for (term, word), row in zip(panel["rows"], rows, strict=True):
        parts[term, word] = row
    return parts


def test_the_browser_gets_every_summand_of_the_ranked_score(engine):
    view, panel = opened(engine)
    alignment = engine.explain(SENTENCE, view.clip, view.moment).alignment
    np.testing.assert_array_equal(dense(panel), alignment.all_terms())
    assert dense(panel).sum() == pytest.approx(panel["score"], abs=1e-5)
    held = np.frombuffer(b64decode(panel["held"]), "<i2").reshape(alignment.patch_concept.shape)
    np.testing.assert_array_equal(held, alignment.patch_concept)
    assert json.loads(json.dumps(panel)) == json.loads(json.dumps(panel, allow_nan=False))


def test_frames_come_in_the_order_of_time_with_their_own_summands(engine):
    view, panel = opened(engine)
    why, clip = engine.explain(SENTENCE, view.clip, view.moment), engine.clip(view.clip)
    turn = np.arange(len(why.frames))[::-1]
    one = why.alignment
    turned = replace(one, level_terms=one.level_terms[:, :, turn], concept_terms=one.concept_terms[:, turn],
                     patch_concept=one.patch_concept[turn], seconds=one.seconds[turn])  # fmt: skip
    again = explanation.payload(
        replace(why, alignment=turned, frames=why.frames[turn]), clip, TermWeights(), ViewState(), {}
    )
    for key in ("parts", "rows", "held", "seconds", "frames", "verdict"):
        assert again[key] == panel[key] or key == "verdict"


def test_struck_words_keep_their_places_and_the_others_point_at_their_rows(engine):
    view, panel = opened(engine, struck=(2, 4))
    assert [chip["text"] for chip in panel["chips"]] == SENTENCE.split()
    rows = [chip["row"] for chip in panel["chips"]]
    assert [row is None for row in rows] == [index in (2, 4) for index in range(len(rows))]
    assert [panel["words"][row] for row in rows if row] == [
        w for i, w in enumerate(SENTENCE.split()) if i not in (2, 4)
    ]
    why = engine.explain(SENTENCE, view.clip, view.moment, struck=(2, 4))
    assert [chip["effect"] for chip in panel["chips"] if chip["row"]] == pytest.approx(why.word_effects.tolist())
    assert view.after({"do": "strike", "word": "2"}).struck == (4,)


def test_the_parse_names_phrases_of_the_words_that_are_left(engine):
    _, panel = opened(engine)
    assert panel["phrases"]
    for phrase in panel["phrases"]:
        assert " ".join(panel["words"][row] for row in phrase["rows"]) == phrase["text"]
        assert dense(panel)[phrase["term"]].any()


def test_a_muted_concept_adds_nothing_and_can_be_counted_again(engine):
    view, panel = opened(engine)
    added = engine.explain(SENTENCE, view.clip, view.moment).alignment.by_concept()
    concept = int(np.abs(added).argmax())
    muted = view.after({"do": "mute", "concept": str(concept)})
    assert muted == replace(view, muted=(concept,))
    _, ranked, after = state.run_search(engine, muted)
    assert after["score"] == pytest.approx(panel["score"] - added[concept], abs=1e-5)
    assert [c["muted"] for c in after["concepts"]] == [k == concept for k in range(len(after["concepts"]))]
    assert f'data-concept="{concept}" title="Count it again"' in ranked
    assert muted.after({"do": "mute", "concept": str(concept)}) == view
    assert muted.after({"do": "close"}).muted == (concept,)
    for click in ({"do": "example", "text": "another"}, {"do": "choose", "clip": view.clip}):
        assert muted.after(click).muted == (concept,)  # as a slider stays where it is
    assert muted.unmuted() == view


# --------------------------------------------------------------------------- in words
def test_the_verdict_names_the_largest_part_its_strongest_word_and_how_sure_it_is(engine):
    why = engine.explain("a ball", engine.clips()[0].clip_id, weights=TermWeights(0, 1, 0, 0, 0))
    for confidence, word in ((0.99, "strong"), (0.8, "weak"), (0.1, "no real match")):
        says = explanation.verdict(why, confidence)
        assert word in says.lower()
        assert explanation.BECAUSE["entity"] in says
        assert "“ball”" in says


def test_a_verdict_speaks_of_what_was_asked_for(engine):
    why = engine.explain(SENTENCE, engine.clips()[0].clip_id, weights=TermWeights(1, 0, 0, 0, 0))
    alone = replace(why, sentence=Sentence("", ()))
    assert "sentence and clip" in explanation.verdict(why)
    says = explanation.verdict(alone, mix=Mix("abc"))
    assert "example and clip" in says
    assert "sentence" not in says
    assert "left out" in explanation.verdict(alone, mix=Mix(exclude=("a dog",)))


def test_a_score_without_positive_parts_is_said_to_have_none(engine):
    why = engine.explain(SENTENCE, engine.clips()[0].clip_id)
    one = why.alignment
    negative = replace(one, level_terms=-np.abs(one.level_terms), concept_terms=-np.abs(one.concept_terms))
    assert "no part of the score is positive" in explanation.verdict(replace(why, alignment=negative))


def test_confidence_has_three_words_that_never_fall_as_it_rises():
    order = ["no match", "weak", "strong"]
    ranks = [order.index(confidence_word(share)) for share in np.linspace(0, 1, 101)]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2}


# --------------------------------------------------------------------------- against another clip
def test_why_one_clip_lies_above_another_adds_up_to_the_difference_of_their_scores(engine):
    view, panel = opened(engine)
    others = panel["comparison"]["others"]
    assert [other["id"] for other in others] == [clip for clip, _ in view.hits[1:]]
    assert panel["comparison"]["versus"] is None
    view = view.after({"do": "rival", "clip": others[0]["id"]})
    versus = state.run_search(engine, view)[2]["comparison"]["versus"]
    pairs = [engine.explain(SENTENCE, *hit).alignment.score for hit in view.hits[:2]]
    assert versus["scores"] == pytest.approx(pairs, abs=1e-5)
    for rows in (versus["terms"], versus["words"]):
        assert np.sum([row[1:] for row in rows], axis=0) == pytest.approx(pairs, abs=1e-5)
    assert "lies above" in versus["says"]
    assert view.after({"do": "rival", "clip": others[0]["id"]}).rival == ""
    for click in ({"do": "close"}, {"do": "open", "clip": "another"}, {"do": "example", "text": "b"}):
        assert view.after(click).rival == ""


def test_a_comparison_the_other_way_round_says_the_opposite_and_with_itself_nothing(engine):
    one, two = (engine.explain(SENTENCE, clip.clip_id) for clip in engine.clips()[:2])
    forth, back = (explanation.difference(*pair, "a", "b")["says"] for pair in ((one, two), (two, one)))
    assert {"lies above" in text for text in (forth, back)} == {True, False}
    assert "score alike" in explanation.difference(one, one, "a", "a")["says"]


def test_a_clip_that_was_deleted_meanwhile_is_no_rival(tmp_path):
    own = FakeEngine(tmp_path / "own")
    view, _, _ = state.run_search(own, ViewState(text=SENTENCE))
    (first, moment), (second, _) = view.hits[:2]
    own.delete(second)
    panel = state.run_explain(own, replace(view, clip=first, rival=second), moment)[1]
    assert second not in [other["id"] for other in panel["comparison"]["others"]]
    assert panel["comparison"]["versus"] is None
