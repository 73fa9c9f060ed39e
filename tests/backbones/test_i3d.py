"""I3D against TensorFlow's rules written as loops; windows, short clips, order, and a damaged file."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.data_files import SHARED
from vtr_demo.backbones import bundled
from vtr_demo.backbones.bundled import I3D, load_i3d
from vtr_demo.config import VideoConfig
from vtr_demo.video.frames import read_frames

CLIPS = SHARED / "clips" / "videos"


@pytest.fixture(scope="module")
def motion() -> I3D:
    return load_i3d()[0].requires_grad_(False)


def noise(frames: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (frames, 3, 6, 6))).float()
    return F.interpolate(coarse, (64, 64), mode="bilinear").permute(0, 2, 3, 1).byte()


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9])
@pytest.mark.parametrize(("side", "stride"), [(7, 2), (3, 2), (3, 1), (2, 2), (1, 1)])
def test_padding_is_tensorflows(n: int, side: int, stride: int) -> None:
    line = torch.rand(n)
    volume = line.view(1, 1, n, 1, 1).expand(1, 1, n, 2, 2)
    found = bundled._max_pool(volume, (side, 1, 1), (stride, 1, 1))[0, 0, :, 0, 0]
    out = math.ceil(n / stride)
    before = max((out - 1) * stride + side - n, 0) // 2
    for i in range(out):
        start = i * stride - before
        seen = [float(line[j]) for j in range(start, start + side) if 0 <= j < n]
        assert float(found[i]) == max(seen)


def test_every_frame_gets_logits_and_windows_are_apart(motion: I3D) -> None:
    frames = noise(9)
    found = motion.frames(frames)
    assert found.shape == (9, 400)
    assert torch.allclose(found[:8], motion.frames(frames[:8]), atol=1e-4)
    assert torch.allclose(found[8:], motion.frames(frames[8:]), atol=1e-4)
    assert motion.frames(frames[:1]).shape == (1, 400)


def test_the_order_of_frames_counts(motion: I3D) -> None:
    frames = noise(4)
    forth, back = motion.frames(frames).mean(0), motion.frames(frames.flip(0)).mean(0)
    assert (forth - back).abs().max() > 1e-2


@pytest.mark.parametrize("count", [1, 5])
def test_frames_are_read_as_if_each_were_repeated_four_times(motion: I3D, count: int) -> None:
    frames = noise(count)
    pixels = F.interpolate(frames.permute(0, 3, 1, 2) / 127.5 - 1, (160, 160), mode="bilinear", antialias=True)
    volume = torch.stack([pixels[i // 4] for i in range(4 * count)], dim=1)
    expected = motion(volume[None])[0]
    expected = torch.stack([expected[i // 2] for i in range(count)])
    assert torch.allclose(motion.frames(frames), expected, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 5])
def test_frames_get_the_same_with_and_without_gradients(motion: I3D, frames: int) -> None:
    picture = noise(frames, seed=frames)
    with torch.no_grad():
        quick = motion.frames(picture)
    assert torch.allclose(quick, motion.frames(picture), atol=1e-4)


def test_classes_are_kinetics_400_in_its_order() -> None:
    _, embeddings, names = load_i3d()
    assert len(set(names)) == 400
    assert list(names) == sorted(names)
    assert (names[0], names[-1]) == ("abseiling", "zumba")
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(400), atol=1e-3)


@pytest.mark.parametrize(
    ("clip", "done"),
    [("playing_guitar", "playing bass guitar"), ("example__yoga", "yoga"), ("default_juggle", "juggling soccer ball")],
)
def test_real_clips_are_taken_for_what_is_done_in_them(motion: I3D, clip: str, done: str) -> None:
    if not CLIPS.is_dir():
        pytest.skip(f"NOT RUN: there are no real clips at {CLIPS}")
    path = next(path for path in CLIPS.iterdir() if clip in path.name)
    pixels = read_frames(path, 8, size=260, config=VideoConfig()).pixels
    chances = motion.frames(torch.from_numpy(pixels)).softmax(dim=-1).mean(dim=0)
    assert load_i3d()[2][int(chances.argmax())] == done
