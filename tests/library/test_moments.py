"""Moments tile a clip, cuts are borders; what is searched, and explained, is a weighted mean of whole and moment."""

from __future__ import annotations

import itertools
from bisect import bisect_right

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.models import GRID, WEIGHTS, sentence_of, small_model, text_tokens, video_tokens
from vtr_demo.config import VideoConfig
from vtr_demo.library.encoding import clip_vectors, encode_parts, find_moments, whole_frames
from vtr_demo.library.explain import merged_alignment
from vtr_demo.library.ranking import WHOLE_SHARE, fused
from vtr_demo.library.records import Moment
from vtr_demo.model.checkpoint import untrained
from vtr_demo.structures import Alignment
from vtr_demo.video.frames import plan_frames

CONFIG = VideoConfig(moment_s=2.0, moment_frames=3)


@st.composite
def shots(draw: st.DrawFn) -> tuple[np.ndarray, list[int], float]:
    """Ascending seconds (some twice, as in clips with few frames), cuts between others, a duration."""
    steps = draw(st.lists(st.sampled_from([0.0, 0.04, 0.5, 0.5, 1.7, 9.0]), min_size=1, max_size=40))
    seconds = np.cumsum([draw(st.sampled_from([0.0, 0.3])), *steps])
    moved = [i for i in range(1, len(seconds)) if seconds[i] > seconds[i - 1]]
    cuts = sorted(draw(st.sets(st.sampled_from(moved)))) if moved else []
    return seconds, cuts, float(seconds[-1] + draw(st.sampled_from([0.0, 0.04, 5.0])) + 1e-3)


@given(shots())
@settings(max_examples=150, deadline=None)
def test_moments_tile_the_clip_hold_frames_of_their_own_and_cross_no_cut(
    shot: tuple[np.ndarray, list[int], float],
) -> None:
    seconds, cuts, duration = shot
    moments = find_moments(seconds, cuts, duration, CONFIG)
    if not moments:
        assert cuts == []
        return
    assert len(moments) > 1
    assert (moments[0].start_s, moments[-1].end_s) == (0.0, duration)
    for before, after in itertools.pairwise(moments):
        assert before.start_s < before.end_s == after.start_s < after.end_s
    for moment in moments:
        assert 1 <= len(moment.frames) <= CONFIG.moment_frames
        assert len({bisect_right(cuts, i) for i in moment.frames}) == 1
        for i in moment.frames:
            assert moment.start_s - 1e-9 <= seconds[i] <= moment.end_s + 1e-9
    used = [i for moment in moments for i in moment.frames]
    assert used == sorted(set(used))
    for cut in cuts:
        border = (seconds[cut - 1] + seconds[cut]) / 2
        assert any(abs(moment.start_s - border) < 1e-9 for moment in moments)


def test_a_long_shot_is_cut_into_equal_windows_near_the_wanted_length_and_a_short_one_is_none() -> None:
    assert find_moments(np.array([0.0, 1.0, 2.0]), [], 2.5, CONFIG) == []
    assert find_moments(np.array([0.0]), [], 0.0, CONFIG) == []
    moments = find_moments(np.arange(0, 11, 0.5), [], 11.0, CONFIG)
    lengths = [moment.end_s - moment.start_s for moment in moments]
    assert lengths == pytest.approx([11 / 6] * 6) or lengths == pytest.approx([11 / 5] * 5)


# ---------------------------------------------------------------------- which seconds are read
@pytest.mark.parametrize("duration", [0.0, 0.04, 3.0, 6.1, 59.0, 3000.0])
def test_a_plan_reads_ascending_seconds_within_the_clip_and_keeps_to_its_limits(duration: float) -> None:
    config = VideoConfig(max_frames=50)
    plan = plan_frames(duration, config)
    assert list(plan.seconds) == sorted(set(plan.seconds))
    assert len(plan.seconds) <= config.max_frames
    assert plan.seconds[0] >= 0
    assert plan.seconds[-1] <= duration
    assert len(plan.whole) == config.clip_frames
    assert list(plan.whole) == sorted(plan.whole)


def test_the_whole_is_spread_evenly_and_the_same_with_and_without_a_timeline() -> None:
    short, long = plan_frames(6.0, VideoConfig()), plan_frames(60.0, VideoConfig())
    assert len(short.seconds) == 8
    assert len(long.seconds) > 60
    assert [10 * short.seconds[i] for i in short.whole] == pytest.approx([long.seconds[i] for i in long.whole])


# ---------------------------------------------------------------------- what is searched
def test_a_fused_vector_scores_as_the_weighted_mean_of_whole_and_moment() -> None:
    rng = np.random.default_rng(0)
    vectors, query = rng.normal(size=(4, 7)), rng.normal(size=7)
    whole, *moments = (vectors @ query).tolist()
    assert fused(vectors) @ query == pytest.approx(
        [WHOLE_SHARE * whole + (1 - WHOLE_SHARE) * moment for moment in moments]
    )
    assert (fused(vectors[:1]) == vectors[:1]).all()


def test_parts_encoded_in_batches_are_those_encoded_one_by_one() -> None:
    opened = untrained("tiny")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    tokens = opened.backbone.encode_frames(pixels).half().to("cpu")
    moments = (Moment(0, 1, (0, 3)), Moment(1, 2, (5,)), Moment(2, 3, (7, 8, 11)))
    parts = [whole_frames(9.0, 12, opened), *(moment.frames for moment in moments)]
    vectors = clip_vectors(opened, tokens, 9.0, moments)
    assert vectors.dtype == np.float32
    for part, vector in zip(parts, vectors, strict=True):
        with torch.no_grad():
            alone = opened.model.encode_video(tokens.take(part)).flat()[0].numpy()
        assert np.allclose(vector, alone, atol=1e-5)
    small = torch.cat([f.flat() for f in encode_parts(opened, tokens, parts, chunk=1)])
    assert np.allclose(vectors, small, atol=1e-5)
    # stored frames that do not fit the plan all stand for the clip
    plan = plan_frames(30.0, opened.video)
    assert whole_frames(30.0, len(plan.seconds), opened) == plan.whole
    assert whole_frames(30.0, 3, opened) == (0, 1, 2)


# ---------------------------------------------------------------------- what is explained
WHOLE, MOMENT = (0, 2, 4, 6), (2, 3, 4)


def aligned(*selections: tuple[int, ...]) -> list[Alignment]:
    model, text, video = small_model(), text_tokens(7), video_tokens(8)
    return [model.align(sentence_of(7), text, video.take(own), np.array(own) * 0.5, WEIGHTS) for own in selections]


def test_merged_reasons_rebuild_the_weighted_mean_of_both_scores_frame_by_frame() -> None:
    whole, moment = aligned(WHOLE, MOMENT)
    merged, frames = merged_alignment(whole, WHOLE, moment, MOMENT)
    assert frames == [0, 2, 3, 4, 6]
    assert merged.seconds.tolist() == [0.0, 1.0, 1.5, 2.0, 3.0]
    assert merged.score == pytest.approx(WHOLE_SHARE * whole.score + (1 - WHOLE_SHARE) * moment.score, abs=1e-6)
    assert float(merged.all_terms().sum()) == pytest.approx(merged.score, abs=1e-5)
    assert merged.by_concept().sum() == pytest.approx(merged.terms()["concepts"], abs=1e-5)
    assert merged.patch_concept.shape == (5, 1 + GRID[0] * GRID[1])
    for t, frame in enumerate(frames):  # the sum of its shares, and the concepts of the moment, which looks closer
        expected = np.zeros_like(merged.all_terms()[:, :, t])
        for alignment, own, share in ((whole, WHOLE, WHOLE_SHARE), (moment, MOMENT, 1 - WHOLE_SHARE)):
            if frame in own:
                expected += share * alignment.all_terms()[:, :, own.index(frame)]
        assert np.allclose(merged.all_terms()[:, :, t], expected, atol=1e-7)
        source, own = (moment, MOMENT) if frame in MOMENT else (whole, WHOLE)
        assert (merged.patch_concept[t] == source.patch_concept[own.index(frame)]).all()


def test_merging_with_itself_changes_nothing() -> None:
    (whole,) = aligned(WHOLE)
    merged, frames = merged_alignment(whole, WHOLE, whole, WHOLE)
    assert frames == list(WHOLE)
    assert np.allclose(merged.all_terms(), whole.all_terms(), atol=1e-7)
    assert merged.score == pytest.approx(whole.score)
