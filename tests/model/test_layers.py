"""The small parts: identities at birth, softmax that knows its mask, dropout that pooling cannot undo."""

from __future__ import annotations

import math

import torch

from tests.helpers.models import alive
from vtr_demo.model.layers import Block, SharedDropout, masked_softmax


def test_masked_softmax_is_a_softmax_over_what_the_mask_admits() -> None:
    logits = torch.tensor([[1.0, 2.0, 50.0], [0.5, math.nan, math.inf]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    first = [math.e / (math.e + math.e**2), math.e**2 / (math.e + math.e**2), 0.0]
    assert torch.allclose(masked_softmax(logits, mask), torch.tensor([first, [1.0, 0.0, 0.0]]))


def test_a_row_without_anything_is_zero_and_has_no_nan_gradient() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    weights = masked_softmax(logits, mask)
    weights.square().sum().backward()
    assert weights[0].eq(0).all()
    assert torch.isfinite(logits.grad).all()


def test_a_block_is_the_identity_at_birth_and_not_later() -> None:
    block, x = Block(8, 2, 0.0), torch.randn(3, 5, 8)
    assert torch.allclose(block(x), x)
    assert not torch.allclose(alive(block)(x), x, atol=1e-2)


def test_a_masked_key_has_no_effect_on_real_tokens() -> None:
    block = alive(Block(8, 2, 0.0))
    x, mask = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True, True, True, False, False]])
    changed = x.clone()
    changed[1, 3:] = 9.0
    assert torch.allclose(block(x, mask)[1, :3], block(changed, mask)[1, :3], atol=1e-6)
    assert torch.allclose(block(x, mask)[1, :3], block(x[1:, :3])[0], atol=1e-5)


def test_shared_dropout_drops_the_same_channels_of_every_token_and_nothing_in_use() -> None:
    dropout, x = SharedDropout(0.5), torch.ones(4, 6, 2, 64)
    dropped = dropout(x)
    assert (dropped == dropped[:, :1, :1]).all()
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert len({tuple(row) for row in dropped[:, 0, 0].tolist()}) == 4
    assert dropout.eval()(x).equal(x)
