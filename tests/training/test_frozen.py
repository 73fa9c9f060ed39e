"""Levels that do not learn are computed once, and a step with them is the step without."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.models import row, small_model, text_tokens, video_tokens
from vtr_demo.training.frozen import FrozenLevels
from vtr_demo.training.optim import training_mode


@pytest.mark.parametrize("lengths", [(1, 1, 1), (3, 3), (4, 2, 3)])
def test_concepts_of_stored_levels_are_those_of_the_model(lengths: tuple[int, ...]) -> None:
    model = small_model().requires_grad_(False)
    frozen, tokens = FrozenLevels(model), video_tokens(*lengths)
    for batch in (tokens, row(tokens, 0), tokens):
        given, plain = model.forward_video(batch, frozen.video(batch)), model.forward_video(batch)
        assert torch.allclose(given.levels.vectors, plain.levels.vectors, atol=2e-3)
        assert torch.allclose(given.concepts.soft, plain.concepts.soft, atol=2e-2)
        assert torch.equal(given.concept_mask, plain.concept_mask)


def test_a_focus_learns_over_stored_levels_as_over_computed_ones() -> None:
    model = small_model(focus=3, trained=True)
    model.video.requires_grad_(False)
    model.video.focus.requires_grad_(True)
    frozen = FrozenLevels(model)
    gradients = []
    for tokens in (video_tokens(4, 2, 3), video_tokens(3, 3), video_tokens(4, 2, 3)):
        for levels in (frozen.video(tokens), model.video(tokens)):
            (levels.vectors.sum() + levels.things.square().sum()).backward()
            gradients.append([levels.vectors.detach(), *(one.grad.clone() for one in model.video.focus.parameters())])
            model.zero_grad()
        for given, plain in zip(*gradients[-2:], strict=True):
            assert torch.allclose(given, plain, rtol=2e-2, atol=2e-3)


def test_what_is_stored_has_no_dropout() -> None:
    model = small_model(focus=3, trained=True, dropout=0.5)
    model.video.requires_grad_(False)
    model.video.focus.requires_grad_(True)
    training_mode(model)
    stored = FrozenLevels(model).video(video_tokens(3, 3))
    assert model.video.focus.training
    assert torch.allclose(stored.vectors[:, 2], model.eval().video(video_tokens(3, 3)).vectors[:, 2], atol=2e-3)


def test_what_learns_is_not_stored() -> None:
    model = small_model().requires_grad_(False)
    model.text.gate.requires_grad_(True)
    frozen = FrozenLevels(model)
    assert frozen.text(text_tokens(2, 5)) is None
    assert frozen.video(video_tokens(2, 2)) is not None


def test_sentences_are_stored_without_their_padding() -> None:
    model = small_model().requires_grad_(False)
    frozen = FrozenLevels(model)
    for batch in (text_tokens(2, 5, 3), row(text_tokens(2, 5, 3), 0), text_tokens(5, 7, seed=1), text_tokens(2, 5, 3)):
        given, plain = model.forward_text(batch, frozen.text(batch)), model.forward_text(batch)
        assert torch.allclose(given.concepts.soft, plain.concepts.soft, atol=2e-2)
        assert torch.equal(torch.isfinite(given.level_logits), torch.isfinite(plain.level_logits))


def test_each_clip_and_sentence_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model().requires_grad_(False)
    frozen = FrozenLevels(model)
    frozen.video(video_tokens(3, 3))
    frozen.text(text_tokens(2, 4))
    monkeypatch.setattr(model.video, "levels", None)
    monkeypatch.setattr(model.text, "forward", None)
    frozen.video(row(video_tokens(3, 3), 1))
    frozen.text(text_tokens(2, 4))
