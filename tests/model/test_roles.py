"""Roles: read from places and relation words, never from what a token is."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tests.helpers.models import text_tokens
from vtr_demo.model.mcsan import NECK, SCENE_EVIDENCE, Roles, VideoLevels, scene_evidence, sentence_evidence
from vtr_demo.structures import LEVELS, TextTokens, VideoTokens

GRID = (3, 4)
ENTITY, RELATIONSHIP = LEVELS.index("entity"), LEVELS.index("relationship")


def scene(frames: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Patches (1, T, P, 5), their shifts (1, T, P, 2), weights (1, T, 1+P) and mask (1, T)."""
    draw = torch.Generator().manual_seed(seed)
    patches = torch.randn(1, frames, 12, 5, generator=draw)
    weights = torch.rand(1, frames, 13, generator=draw).softmax(-1)
    shift = 0.1 * torch.randn(1, frames, 12, 2, generator=draw)
    return patches, shift, weights, torch.ones(1, frames, dtype=torch.bool)


def sentence() -> TextTokens:
    """dog | left of | cat: one thing on each side of two relation words."""
    tokens = text_tokens(4)
    level_mask = torch.zeros_like(tokens.level_mask)
    level_mask[0, ENTITY, [0, 3]] = True
    level_mask[0, RELATIONSHIP] = True
    return replace(tokens, level_mask=level_mask)


def test_roles_are_one_at_birth_and_differ_once_drawn() -> None:
    roles, evidence = Roles(6, 10), torch.randn(2, 5, 6)
    factors, counts = roles(evidence)
    assert torch.equal(factors, torch.ones(2, 5, 10))
    assert torch.equal(counts, torch.zeros(2, 5))
    roles.draw()
    found = roles(evidence)[0]
    assert found.std() > 0.05
    assert torch.linalg.matrix_rank((found - roles.write.bias).flatten(0, 1), rtol=1e-4) <= NECK


def test_the_relationship_level_looks_where_the_entity_level_looks() -> None:
    """At birth its weights are the entity level's; evidence alone moves them."""
    torch.manual_seed(0)
    levels = VideoLevels(5, 8, 16, 2, 0.0).eval()
    torch.nn.init.normal_(levels.pools.pools()[ENTITY].score.weight)  # type: ignore[union-attr]
    tokens = VideoTokens(torch.randn(2, 3, 12, 5), torch.randn(2, 3, 8), torch.ones(2, 3).bool(), GRID)
    weights = levels(tokens).weights
    assert torch.allclose(weights[:, RELATIONSHIP], weights[:, ENTITY], atol=1e-5)
    assert levels.roles is not None
    torch.nn.init.normal_(levels.roles.count.weight)
    moved = levels(tokens).weights
    assert torch.equal(moved[:, ENTITY], weights[:, ENTITY])
    assert not torch.allclose(moved[:, RELATIONSHIP], moved[:, ENTITY], atol=1e-3)
    assert torch.allclose(moved.sum(-1), torch.ones(2, len(LEVELS)))


def test_things_that_draw_together_are_told_from_things_that_part() -> None:
    """The same frames forth and back differ in the evidence of drawing together, by sign."""
    patches, shift, _, mask = scene(3)
    weights = torch.zeros(1, 3, 13)
    for frame, reach in enumerate((1, 2, 3)):
        weights[0, frame, [1 + 4, 1 + 4 + reach]] = 0.5  # two things, ever further apart
    parting = scene_evidence(patches, shift, weights, mask, GRID)[0, :, 1]
    meeting = scene_evidence(patches.flip(1), shift, weights.flip(1), mask, GRID)[0, :, 1]
    column = [k for k in range(SCENE_EVIDENCE) if (parting[1:, k] > 0).all() and (meeting[1:, k] < 0).all()]
    assert column, "some number rises where the two part and falls where they meet"


def test_the_one_ahead_is_told_from_the_one_behind() -> None:
    """Two things move the same way: some number is positive for the first of them and negative for the
    other, and when both turn round it changes its sign."""
    patches, shift, _, mask = scene(3)
    weights = torch.zeros(1, 3, 13)
    weights[..., [1 + 4, 1 + 7]] = 0.5  # the left and the right end of the middle row
    right, left = shift.zero_(), torch.zeros_like(shift)
    right[:, 1:, [4, 7], 1], left[:, 1:, [4, 7], 1] = 0.1, -0.1
    there, back = (scene_evidence(patches, way, weights, mask, GRID)[0, 1:] for way in (right, left))
    signs = [torch.sign(found[:, [1 + 4, 1 + 7]]) for found in (there, back)]
    ahead = (signs[0] == torch.tensor([-1.0, 1.0])[:, None]).all((0, 1))
    behind = (signs[1] == torch.tensor([1.0, -1.0])[:, None]).all((0, 1))
    assert (ahead & behind).sum() >= 2, "by its own way and by that of all that moves"


def test_a_patch_is_placed_not_recognised() -> None:
    """Another content with changes of the same size gives the same evidence."""
    patches, shift, weights, mask = scene()
    turned = patches.flip(-1) * -1 + 7.0
    found = scene_evidence(patches, shift, weights, mask, GRID)
    assert torch.allclose(found, scene_evidence(turned, shift, weights, mask, GRID))


def test_the_centre_is_where_the_level_looks() -> None:
    patches, shift, weights, mask = scene(1)
    left, right = weights.clone(), weights.clone()
    left[..., 1:] = torch.eye(12)[4]
    right[..., 1:] = torch.eye(12)[7]
    one, other = (scene_evidence(patches, shift, w, mask, GRID)[0, 0, 1 + 5] for w in (left, right))
    assert torch.equal(one[:16], other[:16]), "the same place in the picture"
    assert not torch.allclose(one[16:32], other[16:32]), "another place beside what is looked at"


def test_a_word_hears_the_relation_words_beside_it_and_not_itself() -> None:
    tokens = sentence()
    found = sentence_evidence(tokens)
    other_things = tokens.words.clone()
    other_things[0, [0, 3]] = torch.randn_like(other_things[0, [0, 3]])
    assert torch.equal(sentence_evidence(replace(tokens, words=other_things)), found)
    other_relation = tokens.words.clone()
    other_relation[0, 1] += 1.0
    changed = sentence_evidence(replace(tokens, words=other_relation))
    assert not torch.allclose(changed[0, 1], found[0, 1])
    assert not torch.allclose(changed[0, 4], found[0, 4])


def test_the_two_sides_of_a_relation_are_told_apart() -> None:
    found, width = sentence_evidence(sentence())[0], sentence().words.shape[-1]
    before, after = found[:, : width + 1], found[:, width + 1 :]
    assert before[1].eq(0).all(), "nothing stands before the first thing"
    assert after[4].eq(0).all(), "nothing stands behind the last"
    near, far = (torch.exp(torch.tensor(-step / 2.0)) for step in (1.0, 2.0))
    words = sentence().words[0]
    mixed = (near * words[1] + far * words[2]) / (near + far)
    assert torch.allclose(after[1, :width], mixed, atol=1e-6)


def test_a_sentence_without_relation_words_has_no_evidence() -> None:
    tokens = sentence()
    silent = replace(tokens, level_mask=torch.zeros_like(tokens.level_mask))
    assert sentence_evidence(silent).eq(0).all()
