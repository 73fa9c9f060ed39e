"""The records refuse what cannot be, and the sliders and sums obey their definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.models import row, text_tokens, video_tokens
from vtr_demo.errors import ConfigError
from vtr_demo.structures import (
    LEVELS,
    TERMS,
    Alignment,
    CropBox,
    FrameBatch,
    Sentence,
    TermWeights,
    TextFeatures,
    Word,
    pad_text_tokens,
    pad_video_tokens,
)

CROP = CropBox(0, 0, 4, 4, 4, 4)


def features(logits: list[float]) -> TextFeatures:
    """A sentence with these level logits and nothing else of interest."""
    levels = torch.eye(4, 6).unsqueeze(0)
    concepts = torch.ones(1, 2, 3)
    return TextFeatures(levels, torch.tensor([logits]), concepts, torch.tensor([[0.25, 0.75]]), torch.zeros(1, 3))


# ---------------------------------------------------------------------- sliders
@pytest.mark.parametrize("muted", range(4))
def test_a_slider_at_zero_removes_its_level_and_the_others_share_its_weight(muted: int) -> None:
    values = [1.0, 0.7, 1.3, 0.9]
    before = features([0.3, -1.0, 0.5, 0.0]).gates(TermWeights(*values))[0]
    values[muted] = 0.0
    after = features([0.3, -1.0, 0.5, 0.0]).gates(TermWeights(*values))[0]
    rest = [i for i in range(4) if i != muted]
    assert after[muted] == 0
    assert float(after.sum()) == pytest.approx(1, abs=1e-6)
    assert torch.allclose(after[rest], before[rest] / before[rest].sum(), atol=1e-6)


def test_a_level_that_the_sentence_lacks_has_no_gate_and_no_place_in_the_sum() -> None:
    gates = features([0.3, -math.inf, 0.5, -math.inf]).gates(TermWeights())[0]
    assert gates[1] == gates[3] == 0
    assert float(gates.sum()) == pytest.approx(1, abs=1e-6)


def test_a_sentence_without_any_level_that_counts_scores_nothing_rather_than_nan() -> None:
    only_action = TermWeights(0, 0, 1, 0, 0)
    lacking = features([0.3, 0.1, -math.inf, -math.inf])
    assert lacking.gates(only_action).eq(0).all()
    assert lacking.flat(only_action).eq(0).all()


@pytest.mark.parametrize("values", [(0, 0, 0, 0, 0), (-1, 1, 1, 1, 1), (math.nan,) * 5, (1, 1, 1, 1, math.inf)])
def test_sliders_that_mean_nothing_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError):
        TermWeights(*values)


# ---------------------------------------------------------------------- self-checks
V = video_tokens(2)
PIXELS = np.zeros((2, 4, 4, 3), np.uint8)
REFUSED = {
    "backwards": (lambda: FrameBatch(PIXELS, np.array([1.0, 0.0]), CROP, 1.0), "seconds"),
    "too few seconds": (lambda: FrameBatch(PIXELS, np.zeros(1), CROP, 1.0), "seconds"),
    "no time": (lambda: FrameBatch(PIXELS, np.array([0.0, math.nan]), CROP, 1.0), "seconds"),
    "no bytes": (lambda: FrameBatch(PIXELS.astype(float), np.zeros(2), CROP, 1.0), "uint8"),
    "no frames": (lambda: FrameBatch(PIXELS[:0], np.zeros(0), CROP, 1.0), "0 frames"),
    "left": (lambda: CropBox(-1, 0, 4, 4, 4, 4), "inside"),
    "right": (lambda: CropBox(1, 0, 4, 4, 4, 4), "inside"),
    "empty": (lambda: CropBox(0, 0, 0, 4, 4, 4), "inside"),
    "below": (lambda: CropBox(0, 3, 2, 2, 4, 4), "inside"),
    "grid": (lambda: replace(V, grid=(5, 5)), "grid"),
    "frames of the summary": (lambda: replace(V, summary=V.summary[:, :1]), "disagree"),
    "mask": (lambda: replace(V, frame_mask=V.frame_mask.float()), "boolean"),
    "motion": (lambda: replace(V, motion=V.motion[:, :1]), "motion"),
    "two grids": (lambda: pad_video_tokens([V, replace(V, grid=(3, 2))]), "grid"),
    "motion of some": (lambda: pad_video_tokens([V, video_tokens(2, motion=False)]), "motion"),
    "words": (lambda: replace(text_tokens(2), word_mask=torch.ones(1, 3, dtype=torch.bool)), "word_mask"),
    "terms": (lambda: replace(alignment(), words=("all", "a")), "do not fit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_record_whose_parts_disagree_is_refused(name: str) -> None:
    make, named = REFUSED[name]
    with pytest.raises(ValueError, match=named):
        make()


def test_padding_and_taking_apart_gives_back_each_clip_and_sentence() -> None:
    clips = [video_tokens(n, seed=n) for n in (3, 1, 5)]
    texts = [text_tokens(n, seed=n) for n in (2, 6, 1)]
    joined, read = pad_video_tokens(clips), pad_text_tokens(texts)
    assert joined.patches.shape[:2] == (3, 5)
    assert read.words.shape[:2] == (3, 6)
    for i in range(3):
        assert row(joined, i).patches.equal(clips[i].patches)
        assert row(joined, i).summary.equal(clips[i].summary)
        assert row(joined, i).motion.equal(clips[i].motion)
        assert row(read, i).words.equal(texts[i].words)
        assert row(read, i).level_mask.equal(texts[i].level_mask)
        assert row(read, i).pool.equal(texts[i].pool)


def test_level_mask_marks_the_words_of_each_group() -> None:
    words = tuple(Word(c, i, i + 1, c, "X") for i, c in enumerate("abcd"))
    mask = Sentence("abcd", words, entities=((0,), (3,)), actions=((1, 2),)).level_mask()
    assert mask.astype(int).tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]]


# ---------------------------------------------------------------------- sums of an alignment
def alignment() -> Alignment:
    rng = np.random.default_rng(0)
    levels, concepts = rng.normal(size=(4, 3, 2, 7)), rng.normal(size=(3, 2, 7))
    concepts[0] = 0  # the whole sentence belongs to no concept
    held, score = np.array([-1, 4, 1]), float(levels.sum() + concepts.sum())
    places = np.zeros((2, 7), int), 5, ("all", "a", "b"), np.arange(2.0), (2, 3)
    return Alignment(score, levels, concepts, held, *places)


def test_an_alignment_adds_up_by_term_and_by_concept() -> None:
    why = alignment()
    levels, concepts = why.level_terms, why.concept_terms
    assert list(why.terms()) == list(TERMS)
    assert sum(why.terms().values()) == pytest.approx(why.score)
    assert why.terms()["action"] == pytest.approx(levels[LEVELS.index("action")].sum())
    assert why.all_terms().sum() == pytest.approx(why.score)
    expected = [0, concepts[2].sum(), 0, 0, concepts[1].sum()]
    assert why.by_concept() == pytest.approx(expected)
