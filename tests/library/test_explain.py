"""A moment's reasons are the whole clip's and its own, merged frame by frame, and still add up."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.models import GRID, WEIGHTS, sentence_of, small_model, text_tokens, video_tokens
from vtr_demo.library.explain import merged_alignment
from vtr_demo.library.ranking import WHOLE_SHARE
from vtr_demo.structures import Alignment

WHOLE, MOMENT = (0, 2, 4, 6), (2, 3, 4)


def both() -> tuple[Alignment, Alignment]:
    model, text, video = small_model(), text_tokens(7), video_tokens(8)
    first, second = (
        model.align(sentence_of(7), text, video.take(frames), np.array(frames) * 0.5, WEIGHTS)
        for frames in (WHOLE, MOMENT)
    )
    return first, second


def mean(whole: float, moment: float) -> float:
    return WHOLE_SHARE * whole + (1 - WHOLE_SHARE) * moment


def test_the_merged_terms_rebuild_the_weighted_mean_of_both_scores() -> None:
    whole, moment = both()
    merged, frames = merged_alignment(whole, WHOLE, moment, MOMENT)
    assert frames == [0, 2, 3, 4, 6]
    assert merged.seconds.tolist() == [0.0, 1.0, 1.5, 2.0, 3.0]
    assert merged.score == pytest.approx(mean(whole.score, moment.score), abs=1e-6)
    assert float(merged.all_terms().sum()) == pytest.approx(merged.score, abs=1e-5)
    assert merged.by_concept().sum() == pytest.approx(merged.terms()["concepts"], abs=1e-5)
    for name, value in merged.terms().items():
        assert value == pytest.approx(mean(whole.terms()[name], moment.terms()[name]), abs=1e-5)


def test_a_frame_of_both_gets_both_shares_and_a_frame_of_one_its_own_alone() -> None:
    whole, moment = both()
    merged, frames = merged_alignment(whole, WHOLE, moment, MOMENT)
    for t, frame in enumerate(frames):
        expected = np.zeros_like(merged.all_terms()[:, :, t])
        for alignment, own, share in ((whole, WHOLE, WHOLE_SHARE), (moment, MOMENT, 1 - WHOLE_SHARE)):
            if frame in own:
                expected += share * alignment.all_terms()[:, :, own.index(frame)]
        assert np.allclose(merged.all_terms()[:, :, t], expected, atol=1e-7)


def test_patch_concepts_are_the_moments_where_it_has_the_frame() -> None:
    whole, moment = both()
    merged, frames = merged_alignment(whole, WHOLE, moment, MOMENT)
    for t, frame in enumerate(frames):
        source, own = (moment, MOMENT) if frame in MOMENT else (whole, WHOLE)
        assert (merged.patch_concept[t] == source.patch_concept[own.index(frame)]).all()
    assert merged.patch_concept.shape == (5, 1 + GRID[0] * GRID[1])


def test_merging_with_itself_changes_nothing() -> None:
    whole, _ = both()
    merged, frames = merged_alignment(whole, WHOLE, whole, WHOLE)
    assert frames == list(WHOLE)
    assert np.allclose(merged.all_terms(), whole.all_terms(), atol=1e-7)
    assert merged.score == pytest.approx(whole.score)
