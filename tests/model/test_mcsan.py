"""MCSAN's levels: what each hears, what it is deaf to, and that pooling is a plain weighted sum."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from tests.helpers.models import WIDTH, row, small_model, text_tokens, video_tokens
from vtr_demo.model.mcsan import BASE_MIX
from vtr_demo.structures import TextTokens, VideoTokens

GLOBAL, ENTITY, ACTION, RELATIONSHIP = range(4)


def levels_of(model: torch.nn.Module, tokens: VideoTokens) -> torch.Tensor:
    with torch.no_grad():
        return model.video(tokens).vectors[0]


# ---------------------------------------------------------------------- what a level hears
def test_the_entity_level_does_not_hear_the_order_of_frames_and_the_action_level_does() -> None:
    model, tokens = small_model(), video_tokens(6)
    straight, shuffled = levels_of(model, tokens), levels_of(model, tokens.take([3, 0, 5, 1, 4, 2]))
    assert torch.allclose(straight[ENTITY], shuffled[ENTITY], atol=1e-5)
    for level in (ACTION, RELATIONSHIP, GLOBAL):
        assert not torch.allclose(straight[level], shuffled[level], atol=1e-2)


def test_untrained_action_turns_round_when_time_does() -> None:
    model, tokens = small_model(living=False), video_tokens(5)
    backwards = tokens.take(range(4, -1, -1))
    # The changes x_t - x_(t-1) are the same ones with the other sign.
    assert torch.allclose(levels_of(model, tokens)[ACTION], -levels_of(model, backwards)[ACTION], atol=1e-5)


def test_entity_sees_where_things_are_within_a_frame() -> None:
    model, tokens = small_model(), video_tokens(2)
    mirrored = replace(tokens, patches=tokens.patches.flip(2))
    assert not torch.allclose(levels_of(model, tokens)[ENTITY], levels_of(model, mirrored)[ENTITY], atol=1e-2)


@pytest.mark.parametrize("frames", [1, 4])
def test_nothing_moves_in_a_still_picture_however_often_it_is_shown(frames: int) -> None:
    model, tokens = small_model(living=False), video_tokens(1, motion=False).take([0] * frames)
    assert levels_of(model, tokens)[ACTION].eq(0).all()
    assert levels_of(model, tokens)[[GLOBAL, ENTITY, RELATIONSHIP]].norm(dim=-1).allclose(torch.ones(3))


def test_what_is_done_is_heard_by_the_whole_and_by_the_action_level_alone() -> None:
    model, tokens = small_model(), video_tokens(4)
    other = replace(tokens, motion=tokens.motion.flip(1))
    nothing = replace(tokens, motion=torch.zeros_like(tokens.motion))
    for changed in (other, nothing):
        apart = (levels_of(model, tokens) - levels_of(model, changed)).norm(dim=-1)
        assert (apart > 1e-2).tolist() == [True, False, True, False]
    assert levels_of(model, nothing).equal(levels_of(model, replace(tokens, motion=None)))


# ---------------------------------------------------------------------- padding and neighbours
@pytest.mark.parametrize("living", [True, False])
def test_a_clip_is_the_same_alone_beside_a_longer_one_and_whatever_its_padding_holds(living: bool) -> None:
    model = small_model(living=living)
    with torch.no_grad():
        joined = model.video(video_tokens(2, 5, 1))
        junk = model.video(video_tokens(2, 5, 1, junk=7.0))
    for i in range(3):
        alone = levels_of(model, row(video_tokens(2, 5, 1), i))
        assert torch.allclose(joined.vectors[i], alone, atol=1e-5)
        assert torch.allclose(junk.vectors[i], alone, atol=1e-5)


@pytest.mark.parametrize("living", [True, False])
def test_a_sentence_is_the_same_alone_and_beside_a_longer_one(living: bool) -> None:
    model = small_model(living=living)
    with torch.no_grad():
        joined, logits = model.text(text_tokens(2, 7, 1, junk=7.0))
    for i in range(3):
        with torch.no_grad():
            alone, own = model.text(row(text_tokens(2, 7, 1), i))
        assert torch.allclose(joined.vectors[i], alone.vectors[0], atol=1e-5)
        assert torch.allclose(logits[i], own[0], atol=1e-5)


def test_a_masked_word_has_no_effect() -> None:
    """A word past the tower's limit belongs to levels, but has no tokens."""
    model, tokens = small_model(), text_tokens(6)
    tokens.word_mask[0, 3:] = False
    changed = TextTokens(
        torch.cat([tokens.words[:, :3], tokens.words[:, 3:] * -5 + 2], 1),
        tokens.summary, tokens.word_mask, tokens.level_mask, tokens.pool,
    )  # fmt: skip
    with torch.no_grad():
        (before, logits), (after, others) = model.text(tokens), model.text(changed)
    assert torch.allclose(before.vectors, after.vectors, atol=1e-6)
    assert torch.allclose(logits, others, atol=1e-6)
    assert before.weights[:, :, 4:].eq(0).all()


def test_each_level_of_a_sentence_weighs_its_own_words_alone() -> None:
    model, tokens = small_model(), text_tokens(7)
    with torch.no_grad():
        weights = model.text(tokens)[0].weights[0]
    for level in (ENTITY, ACTION, RELATIONSHIP):
        assert weights[level, 1:].gt(0).equal(tokens.level_mask[0, level])
        assert weights[level, 0] == 0
    assert torch.allclose(weights.sum(1), torch.ones(4), atol=1e-6)


def test_a_level_without_words_is_zero_and_its_logit_minus_infinity() -> None:
    model, tokens = small_model(), text_tokens(4)
    tokens.level_mask[0, ACTION] = False
    tokens.level_mask[0, RELATIONSHIP] = False
    out, logits = model.text(tokens)
    assert out.vectors[0, [ACTION, RELATIONSHIP]].eq(0).all()
    assert logits[0].isneginf().tolist() == [False, False, True, True]
    (out.vectors.sum() + logits[torch.isfinite(logits)].sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.text.parameters() if p.grad is not None)


# ---------------------------------------------------------------------- pooling
def test_video_levels_are_the_weighted_sum_written_as_a_loop() -> None:
    model, tokens = small_model(), video_tokens(4)
    with torch.no_grad():
        out = model.video(tokens)
        frames = out.base.unflatten(1, (4, -1))[0]
        for level, (still, moved, done) in enumerate(BASE_MIX):
            pool = model.video.pools[level]
            total = torch.zeros(WIDTH)
            for t in range(4):
                for p in range(frames.shape[1]):
                    change = frames[t, p] - frames[t - 1, p] if t else torch.zeros(WIDTH)
                    n = t * frames.shape[1] + p
                    token = still * frames[t, p] + moved * change
                    if p == 0:  # the whole frame
                        token = token + done * tokens.motion[0, t]
                    if level == RELATIONSHIP:
                        value = pool.value_base(token * out.roles[0, n])
                    else:
                        value = pool.value_base(token) + pool.value_hidden(out.hidden[level][0, n])
                    total += out.weights[0, level, n] * value
            assert torch.allclose(normalize(total, dim=0), out.vectors[0, level], atol=1e-5)


def test_a_focus_moves_the_entity_level_alone_and_its_parts_stay_exact() -> None:
    plain, tokens = small_model(), video_tokens(2, 4)
    focused = small_model(focus=3)
    missing, _ = focused.load_state_dict(plain.state_dict(), strict=False)
    assert missing
    assert all(name.startswith(("video.focus.", "text.brief.")) for name in missing)
    with torch.no_grad():
        before, out = plain.video(tokens), focused.video(tokens)
        assert torch.allclose(focused.video.parts(out).sum(2), out.vectors, atol=1e-5)
        assert out.things is not None
        assert torch.allclose(out.things.sum(-1), torch.ones(2), atol=1e-6)
        others = [GLOBAL, ACTION, RELATIONSHIP]
        assert torch.allclose(out.vectors[:, others], before.vectors[:, others])
        assert not torch.allclose(out.vectors[:, ENTITY], before.vectors[:, ENTITY], atol=1e-3)
        focused.video.focus.name[-1].weight.zero_()  # as a new one is
        focused.video.focus.name[-1].bias.zero_()
        assert torch.allclose(focused.video(tokens).vectors, before.vectors, atol=1e-5)


def test_short_queries_have_gates_of_their_own_and_captions_keep_theirs() -> None:
    plain, focused, tokens = small_model(), small_model(focus=3), text_tokens(1, 2, 4, 5, 7)
    focused.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        (_, before), (_, after) = plain.text(tokens), focused.text(tokens)
    moved = (torch.nan_to_num(after - before).abs() > 1e-4).any(1)
    assert moved.tolist() == [True, True, True, False, False]


def test_pooling_weights_sum_to_one_over_real_tokens() -> None:
    with torch.no_grad():
        out = small_model().video(video_tokens(2, 4))
    assert torch.allclose(out.weights.sum(-1), torch.ones(2, 4), atol=1e-6)
    assert out.weights.unflatten(2, (4, -1))[0, :, 2:].eq(0).all()
