"""Correspondence of patches between frames on drawn textures, and the evidence of movement that is read from it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.models import small_model, video_tokens
from vtr_demo.model import motion
from vtr_demo.model.motion import LAGS, Movement, match_patches, warped_change

GRID = (5, 7)


def match(patches: Tensor, mask: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    found = match_patches(patches, mask, grid)
    return found.assignment, found.shift


def texture(seed: int = 0) -> Tensor:
    """A picture of patches (5, 7, 32), no two alike."""
    return torch.randn(*GRID, 32, generator=torch.Generator().manual_seed(seed))


def clip(*frames: Tensor) -> tuple[Tensor, Tensor]:
    """Patches (1, T, P, 32) and mask (1, T)."""
    patches = torch.stack([frame.flatten(0, 1) for frame in frames]).unsqueeze(0)
    return patches, torch.ones(1, len(frames), dtype=torch.bool)


def with_thing(row: int, column: int) -> Tensor:
    """A still background with a thing of one patch."""
    picture = texture()
    picture[row, column] = 2 * torch.randn(32, generator=torch.Generator().manual_seed(9))
    return picture


def test_a_still_picture_does_not_move() -> None:
    patches, mask = clip(texture(), texture(), texture())
    found, shift = match(patches, mask, GRID)
    assert shift.abs().max() < 1e-3
    assert warped_change(patches, found, mask).abs().max() < 1e-2


@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (1, -1), (0, -1)])
def test_a_thing_is_found_where_it_was(down: int, right: int) -> None:
    patches, mask = clip(with_thing(2, 3), with_thing(2 + down, 3 + right))
    found, shift = match(patches, mask, GRID)
    here, before = (2 + down) * 7 + 3 + right, 2 * 7 + 3
    assert found[0, 1, here].argmax() == before
    assert torch.allclose(shift[0, 1, here], torch.tensor([down / 5, right / 7]), atol=0.01)
    change = warped_change(patches, found, mask)[0, 1]
    assert change[here].norm() < 0.1 * (patches[0, 1, here] - patches[0, 0, here]).norm()


def test_the_camera_is_taken_off() -> None:
    """When everything moves alike and one thing does not, it is the thing that moves, the other way."""
    before, after = texture(), texture().roll(1, dims=1)
    before[2, 3] = after[2, 3] = 2 * torch.randn(32, generator=torch.Generator().manual_seed(9))
    _, shift = match(*clip(before, after), GRID)
    assert torch.allclose(shift[0, 1, 2 * 7 + 3], torch.tensor([0.0, -1 / 7]), atol=0.01)
    assert shift[0, 1, 7 + 5].abs().max() < 0.01


def test_the_first_frame_and_padding_have_not_moved_and_change_nothing() -> None:
    patches, mask = clip(with_thing(2, 3), with_thing(2, 4))
    padded = torch.cat([patches, torch.randn(1, 2, 35, 32)], dim=1)
    longer = torch.cat([mask, torch.zeros(1, 2, dtype=torch.bool)], dim=1)
    found, shift = match(padded, longer, GRID)
    assert shift[:, [0, 2, 3]].eq(0).all()
    assert warped_change(padded, found, longer)[:, [0, 2, 3]].eq(0).all()
    for padded_part, part in zip((found, shift), match(patches, mask, GRID), strict=True):
        assert torch.allclose(padded_part[:, :2], part, atol=1e-6)
    assert torch.allclose(found.sum(-1), torch.ones(1, 4, 35), atol=1e-5)


def test_brightness_and_a_shared_offset_do_not_count() -> None:
    patches, mask = clip(with_thing(2, 3), with_thing(2, 4))
    assert torch.allclose(match(3 * patches + 5, mask, GRID)[1], match(patches, mask, GRID)[1], atol=1e-4)


def test_half_precision_finds_the_same() -> None:
    patches, mask = clip(with_thing(2, 3), with_thing(2, 4))
    with torch.autocast("cpu", torch.bfloat16):
        found, shift = match(patches.bfloat16(), mask, GRID)
    assert found.dtype == shift.dtype == torch.bfloat16
    assert torch.allclose(shift.float(), match(patches, mask, GRID)[1], atol=0.02)


def test_no_frame_is_no_movement() -> None:
    patches, _ = clip(texture())
    found, shift = match(patches, torch.zeros(1, 1, dtype=torch.bool), GRID)
    assert torch.isfinite(found).all()
    assert shift.eq(0).all()


def test_rounding_in_a_picture_of_one_colour_is_no_movement() -> None:
    """Libraries keep tokens in half precision: what it does to patches that are alike is nothing."""
    flat = texture()[2, 3].expand(1, 4, 35, 32)
    noisy = flat + 1e-4 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(1, 4, dtype=torch.bool)
    for tokens in (noisy, noisy.half().float()):
        assert torch.allclose(match(tokens, mask, GRID)[1], match(flat, mask, GRID)[1], atol=1e-3)
        assert match_patches(tokens, mask, GRID).dissimilarity[..., :2].abs().max() < 1e-3


def test_a_forward_pass_matches_each_pair_of_frames_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lags: list[int] = []
    original = motion._match

    def counting(x: Tensor, near: Tensor, lag: int) -> tuple[Tensor, Tensor]:
        lags.append(lag)
        return original(x, near, lag)

    monkeypatch.setattr(motion, "_match", counting)
    small_model().encode_video(video_tokens(9))
    assert lags == list(motion.LAGS)


# --------------------------------------------------------------------------- evidence
def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def thing_clip(looks: list[Tensor], columns: list[int]) -> tuple[Tensor, Tensor]:
    """A thing of one patch before a still background: how it looks and where it is, frame by frame."""
    frames = [texture() for _ in looks]
    for frame, look, column in zip(frames, looks, columns, strict=True):
        frame[2, column] = look
    return clip(*frames)


def at(values: Tensor, frame: int, column: int) -> Tensor:
    return values[0, frame, 2 * GRID[1] + column]


def living(hidden: int = 6) -> Movement:
    torch.manual_seed(0)
    movement = Movement(hidden)
    torch.nn.init.normal_(movement.write.weight)
    return movement


def test_a_slide_stays_alike_a_roll_does_not_and_a_waddle_comes_back() -> None:
    looks = [2 * noise(32, seed=seed) for seed in range(1, 1 + max(LAGS) + 1)]
    last = len(looks) - 1
    columns = [min(frame, GRID[1] - 1) for frame in range(len(looks))]
    found = {
        gait: at(match_patches(*thing_clip(shown, columns), GRID).dissimilarity, last, columns[last])
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
    patches, mask = thing_clip([2 * noise(32, seed=seed) for seed in (1, 2, 1)], [1, 2, 4])
    turn = torch.linalg.qr(noise(32, 32, seed=5)).Q
    movement = living()
    with torch.no_grad():
        told = [movement(x, match_patches(x, mask, GRID), mask, GRID) for x in (patches, patches @ turn)]
    assert told[0].abs().max() > 0.01
    assert torch.allclose(told[0], told[1], atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2])
def test_a_short_clip_has_nothing_three_frames_before(frames: int) -> None:
    patches, mask = thing_clip([noise(32, seed=1)] * frames, [1] * frames)
    found = match_patches(patches, mask, GRID).dissimilarity
    assert found.shape == (1, frames, 35, len(LAGS))
    assert found[..., frames - 1 :].eq(0).all()
    assert torch.isfinite(living()(patches, match_patches(patches, mask, GRID), mask, GRID)).all()
