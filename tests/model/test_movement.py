"""Evidence of movement: it tells a roll from a slide, and never hears what it is that moves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vtr_demo.model.motion import LAGS, Movement, match_patches

GRID = (5, 7)
WIDTH = 32


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clip(looks: list[Tensor], columns: list[int]) -> tuple[Tensor, Tensor]:
    """A thing of one patch before a still background: how it looks and where it is, frame by frame."""
    background = noise(*GRID, WIDTH, seed=0)
    frames = []
    for look, column in zip(looks, columns, strict=True):
        frame = background.clone()
        frame[2, column] = look
        frames.append(frame.flatten(0, 1))
    return torch.stack(frames).unsqueeze(0), torch.ones(1, len(frames), dtype=torch.bool)


def at(values: Tensor, frame: int, column: int) -> Tensor:
    return values[0, frame, 2 * GRID[1] + column]


def living(hidden: int = 6) -> Movement:
    torch.manual_seed(0)
    movement = Movement(hidden)
    torch.nn.init.normal_(movement.write.weight)
    return movement


def test_a_slide_stays_alike_a_roll_does_not_and_a_waddle_comes_back() -> None:
    looks = [2 * noise(WIDTH, seed=seed) for seed in range(1, 1 + max(LAGS) + 1)]
    last = len(looks) - 1
    columns = [min(frame, GRID[1] - 1) for frame in range(len(looks))]
    found = {
        gait: at(match_patches(*clip(shown, columns), GRID).dissimilarity, last, columns[last])
        for gait, shown in {
            "slide": looks[:1] * len(looks),
            "waddle": [looks[frame % 2] for frame in range(len(looks))],
            "roll": looks,
        }.items()
    }
    back = torch.tensor([lag % 2 == 0 for lag in LAGS])
    assert back.any()
    assert found["slide"].max() < 0.1
    assert found["roll"].min() > 0.5
    assert found["waddle"][back].max() < 0.1
    assert found["waddle"][~back].min() > 0.5


def test_it_is_deaf_to_what_moves() -> None:
    """Turning all of feature space, so that everything becomes something else, changes nothing."""
    patches, mask = clip([2 * noise(WIDTH, seed=seed) for seed in (1, 2, 1)], [1, 2, 4])
    turn = torch.linalg.qr(noise(WIDTH, WIDTH, seed=5)).Q
    movement = living()
    with torch.no_grad():
        told = [movement(x, match_patches(x, mask, GRID), mask, GRID) for x in (patches, patches @ turn)]
    assert told[0].abs().max() > 0.01
    assert torch.allclose(told[0], told[1], atol=1e-4)


def test_padding_and_a_neighbour_change_nothing() -> None:
    patches, mask = clip([noise(WIDTH, seed=seed) for seed in (1, 2, 3)], [1, 2, 3])
    padded = torch.cat([patches, noise(1, 2, 35, WIDTH, seed=7)], dim=1)
    longer = torch.cat([mask, torch.zeros(1, 2, dtype=torch.bool)], dim=1)
    both = torch.cat([padded, noise(1, 5, 35, WIDTH, seed=8)])
    masks = torch.cat([longer, torch.ones(1, 5, dtype=torch.bool)])
    movement = living()
    with torch.no_grad():
        alone = movement(patches, match_patches(patches, mask, GRID), mask, GRID)
        beside = movement(both, match_patches(both, masks, GRID), masks, GRID)
    assert torch.allclose(alone[0], beside[0, :3], atol=1e-5)
    assert match_patches(both, masks, GRID).dissimilarity[0, 3:].eq(0).all()


@pytest.mark.parametrize("frames", [1, 2])
def test_a_short_clip_has_nothing_three_frames_before(frames: int) -> None:
    patches, mask = clip([noise(WIDTH, seed=1)] * frames, [1] * frames)
    found = match_patches(patches, mask, GRID).dissimilarity
    assert found.shape == (1, frames, 35, len(LAGS))
    assert found[..., frames - 1 :].eq(0).all()
    assert torch.isfinite(living()(patches, match_patches(patches, mask, GRID), mask, GRID)).all()


def test_at_birth_it_says_nothing() -> None:
    patches, mask = clip([noise(WIDTH, seed=seed) for seed in (1, 2)], [1, 4])
    assert Movement(6)(patches, match_patches(patches, mask, GRID), mask, GRID).eq(0).all()
