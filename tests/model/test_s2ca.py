"""S2CA's concepts: a discrete allocation, means of values, and no concept made of nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from tests.helpers.models import alive
from vtr_demo.model.s2ca import Concepts, kmeans

D, DC, K, N = 12, 5, 4, 9


def concepts(count: int = K, *, living: bool = True, **options: Any) -> Concepts:
    torch.manual_seed(2)
    module = Concepts(D, count, DC, **options)
    return (alive(module) if living else module).eval()


def tokens(*lengths: int, seed: int = 0, junk: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    x = torch.randn(len(lengths), max(lengths), D, generator=generator)
    return torch.where(mask.unsqueeze(-1), x, junk), mask


# ---------------------------------------------------------------------- the allocation
@pytest.mark.parametrize("training", [True, False])
def test_columns_sum_to_one_and_to_zero_where_padded(training: bool) -> None:
    x, mask = tokens(N, 4)
    out = concepts().train(training)(x, mask, "video")
    assert torch.allclose(out.allocation.sum(1), mask.float(), atol=1e-5)
    assert torch.allclose(out.soft.sum(1), mask.float(), atol=1e-5)
    rounded = out.allocation.round()
    assert torch.allclose(out.allocation, rounded, atol=1e-6)
    assert set(rounded.unique().tolist()) <= {0.0, 1.0}


def test_in_use_the_allocation_is_the_arg_max_and_always_the_same() -> None:
    x, mask = tokens(N)
    module = concepts()
    torch.manual_seed(1)
    first = module(x, mask, "text")
    torch.manual_seed(2)
    second = module(x, mask, "text")
    assert first.allocation.equal(second.allocation)
    assert first.index()[0].equal(first.soft[0].argmax(0))


def test_in_training_gumbel_noise_moves_tokens_now_and_then() -> None:
    x, mask = tokens(200)
    module = concepts().train()
    draws = torch.stack([module(x, mask, "text").index()[0] for _ in range(8)])
    moved = (draws != draws[0]).any(0).float().mean()
    assert 0.05 < float(moved) <= 1
    # Noise of Gumbel's kind draws each concept as often as its probability says.
    share = torch.stack([(draws == k).float().mean() for k in range(K)])
    assert torch.allclose(share, module(x, mask, "text").soft[0].mean(1), atol=0.06)


# ---------------------------------------------------------------------- aggregated features
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("side", ["video", "text"])
def test_concepts_equal_a_plain_loop(side: Any, centred: bool) -> None:
    module = concepts(centred_shift=centred)
    x, mask = tokens(N)
    with torch.no_grad():
        out = module(x, mask, side)
        centre = module.centre[("video", "text").index(side)]
        shifted = [token - centre for token in x[0]]
        queries = _queries(module, shifted)
        first = torch.stack([module.scale * (t @ queries[0]) / t.norm() for t in shifted])
        for k, query in enumerate(queries):
            logits = torch.stack([module.scale * (t @ query) / t.norm() for t in shifted])
            held = out.allocation[0, k]
            total, mass = torch.zeros(DC), 0.0
            for n, token in enumerate(shifted):
                total += held[n] * module.value(token)
                mass += float(held[n])
            caf = module.out(total / (mass + 1.0))
            assert torch.allclose(out.aggregated[0, k], caf, atol=1e-5)
            if mass:
                assert torch.allclose(out.vectors[0, k], normalize(caf, dim=0), atol=1e-5)
            assert torch.allclose((out.soft[0, k] / out.soft[0, 0]).log(), logits - first, atol=1e-3)


def _queries(module: Concepts, shifted: list[torch.Tensor]) -> list[torch.Tensor]:
    shifts = []
    for p in module.prototypes:
        looks = torch.stack([module.query(p) @ module.key(t / t.norm()) / module.inner**0.5 for t in shifted])
        seen = sum(a * (t / t.norm()) for a, t in zip(looks.softmax(0), shifted, strict=True))
        shifts.append(module.write(module.read(seen)))
    mean = sum(shifts) / len(shifts) if module.centred_shift else 0.0
    pairs = zip(module.prototypes, shifts, strict=True)
    return [normalize(module.match(p + shift - mean), dim=0) for p, shift in pairs]


def test_parts_sum_to_the_vectors_and_stay_with_their_concept() -> None:
    module = concepts()
    x, mask = tokens(N, 4)
    with torch.no_grad():
        out = module(x, mask, "text")
        parts = module.parts(out, x, "text")
    assert torch.allclose(parts.sum(2), out.vectors, atol=1e-5)
    assert parts.norm(dim=-1)[out.allocation == 0].eq(0).all()


def test_an_empty_concept_is_zero_and_has_no_weight() -> None:
    """So that two clips without any do not match."""
    module = concepts(16)
    x, mask = tokens(3, 3)
    mask[1] = False
    out = module(x, mask, "text")
    empty = out.allocation.sum(-1) == 0
    assert empty[1].all()
    assert out.index()[1].eq(-1).all()
    assert int(empty.sum()) >= 29
    assert out.vectors[empty].eq(0).all()
    weights = module.text_weights(out)
    assert weights[empty].eq(0).all()
    assert weights.sum(1).tolist() == pytest.approx([1, 0], abs=1e-6)


# ---------------------------------------------------------------------- learning and ablations
def test_zero_tokens_give_finite_gradients() -> None:
    module = concepts().train()
    x = torch.zeros(1, 3, D, requires_grad=True)
    out = module(x, torch.ones(1, 3, dtype=torch.bool), "text")
    out.vectors.sum().backward()
    assert torch.isfinite(x.grad).all()


# ---------------------------------------------------------------------- k-means
def test_kmeans_finds_planted_directions_and_is_repeatable() -> None:
    generator = torch.Generator().manual_seed(0)
    planted = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q[:5]
    owner = torch.arange(500) % 5
    length = 0.5 + torch.rand(500, 1, generator=generator)  # only directions count
    points = length * normalize(planted[owner] + 0.05 * torch.randn(500, D, generator=generator), dim=-1)
    centres = kmeans(points, 5)
    cosines = centres @ planted.T
    assert sorted(cosines.argmax(1).tolist()) == [0, 1, 2, 3, 4]
    assert cosines.amax(1).min() > 0.99
    assert centres.equal(kmeans(points, 5))


@pytest.mark.parametrize(
    "points", [torch.randn(2, D), torch.zeros(3, D), torch.randn(1, D).repeat(9, 1), torch.zeros(0, D)]
)
def test_kmeans_with_fewer_points_than_concepts_still_gives_unit_directions(points: torch.Tensor) -> None:
    centres = kmeans(points, 4)
    assert centres.shape == (4, D)
    assert torch.allclose(centres.norm(dim=-1), torch.ones(4), atol=1e-5)
    assert torch.isfinite(centres).all()
    cosines = centres @ centres.T - torch.eye(4)
    assert cosines.max() < 0.999  # none twice
