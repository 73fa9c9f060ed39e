"""Where each patch was in the frame before: how things move, read from likeness alone.

The correlation of all patches of two neighbouring frames (FlowNet, Dosovitskiy et al., ICCV 2015),
read out by a soft arg-max. Nothing is learnt, so it says how a patch moved and not what it shows. That
differences at one place cannot tell a thing that rolls from one that slides is why it is here (our
decision).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.model.layers import difference, patch_centres

_SHARPNESS = 0.06
"""Temperature of the cosines. Of 16 settings none told the heading of 132 drawn clips better (99 %)."""
_FAINT = 0.02
"""Share of a patch's usual size below which its difference from the clip's mean patch is faint: half
precision, in which libraries keep tokens, rounds to a fortieth of that."""
_REACH = 0.15
"""Picture sizes that a thing is expected to move between two frames."""


def match(patches: Tensor, mask: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(B, T, P, P) and (B, T, P, 2) from patches (B, T, P, Dv) and frames' mask (B, T).

    First: how likely patch p of a frame was at each place of the frame before; the first frame and
    padding match themselves. Second: by how much it moved, in picture heights and widths, without what
    the median patch moved, which is the camera; zero in the first frame and in padding.
    """
    with torch.autocast(patches.device.type, enabled=False):  # quantiles need full precision
        found, shift = _matched(patches.float(), mask, grid)
    return found.to(patches), shift.to(patches)


def unlike(patches: Tensor, mask: Tensor, grid: tuple[int, int], lags: Sequence[int]) -> Tensor:
    """(B, T, P, len(lags)): half the squared distance, of directions one minus the cosine, of each patch and
    what it was so many frames before, wherever that was then; zero where there is no such frame."""
    with torch.autocast(patches.device.type, enabled=False):
        x, near = _directions(patches.float(), mask), _nearness(grid, patches.device)
        changed = [_unlike(x, mask, near / lag**2, lag) for lag in lags]
    return torch.stack(changed, dim=-1).to(patches)


def _unlike(x: Tensor, mask: Tensor, near: Tensor, lag: int) -> Tensor:
    if x.shape[1] <= lag:
        return torch.zeros_like(x[..., 0])
    now, then = x[:, lag:], x[:, :-lag]
    cosines = now @ then.transpose(-1, -2)
    found = (cosines / _SHARPNESS + near).softmax(-1)
    lengths = now.square().sum(-1) + (found @ then.square().sum(-1, keepdim=True)).squeeze(-1)
    real = (mask[:, lag:] & mask[:, :-lag]).unsqueeze(-1)
    return F.pad((lengths / 2 - (found * cosines).sum(-1)) * real, (0, 0, lag, 0))


def _directions(patches: Tensor, mask: Tensor) -> Tensor:
    """Patches (B, T, P, Dv) around the clip's mean patch at unit length; those that lie in it, as all do
    in a picture of one colour, stay near zero, since their direction is rounding."""
    x = patches * mask[:, :, None, None]
    counted = (mask.sum(1).clamp_min(1) * patches.shape[2])[:, None, None, None]
    size = x.square().sum((1, 2, 3), keepdim=True) / counted
    x = x - x.sum((1, 2), keepdim=True) / counted
    return x * (x.square().sum(-1, keepdim=True) + _FAINT**2 * size + 1e-12).rsqrt()


@lru_cache
def _nearness(grid: tuple[int, int], device: torch.device) -> Tensor:
    """(P, P) log prior of moving from one place to another between two frames."""
    places = patch_centres(grid, device)
    return -torch.cdist(places, places).square() / (2 * _REACH**2)


def _matched(patches: Tensor, mask: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    b, _, p, _ = patches.shape
    x = _directions(patches, mask)
    places, near = patch_centres(grid, x.device), _nearness(grid, x.device)
    found = (x[:, 1:] @ x[:, :-1].transpose(-1, -2) / _SHARPNESS + near).softmax(-1)
    itself = torch.eye(p, device=x.device)
    real = (mask[:, 1:] & mask[:, :-1])[:, :, None, None]
    found = torch.cat([itself.expand(b, 1, p, p), torch.where(real, found, itself)], dim=1)
    shift = places - found @ places
    return found, shift - shift.quantile(0.5, dim=2, keepdim=True)


def followed(x: Tensor, found: Tensor, mask: Tensor) -> Tensor:
    """What tokens (B, T, P, H) have changed by since where ``match`` found them; zero without a before."""
    return difference(x, mask, before=found[:, 1:] @ x[:, :-1])


# --------------------------------------------------------------------------- how things move, told witho
LAGS = (1, 2, 3, 5, 7)
"""Frames back over which a patch is compared with itself. On drawn clips a linear reading of the evidence
alone tells waddles from rolls in 84 % of cases, and in 79 % without the last two."""
SWIFT = 16.0  # a patch that moves by a sixteenth of the picture between two frames is swift
EVIDENCE = 4 + len(LAGS)
_CHANNELS = 64


def way(shift: Tensor) -> Tensor:
    """(B, T, P, 3): where each patch has moved, bounded, and how far, from ``matching.match``'s shift."""
    return torch.cat([torch.tanh(SWIFT * shift), SWIFT * shift.norm(dim=-1, keepdim=True)], dim=-1)


def energy(patches: Tensor, mask: Tensor) -> Tensor:
    """(B, T, P, 1): how much each patch changes in its place, against the clip's mean, as a logarithm."""
    change = difference(patches, mask).norm(dim=-1, keepdim=True)
    counted = mask.sum(1).clamp_min(1)[:, None, None, None] * patches.shape[2]
    return torch.log1p(change / (change.sum((1, 2), keepdim=True) / counted).clamp_min(1e-6))


class Movement(nn.Module):
    """Patches' ways and changes, read over 3 x 5 x 5 frames and places; nothing at birth."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.read = nn.Conv3d(EVIDENCE, _CHANNELS, 3, padding=1)
        self.combine = nn.Conv3d(_CHANNELS, _CHANNELS, (1, 3, 3), padding=(0, 1, 1))
        self.write = nn.Linear(_CHANNELS, hidden)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(self, patches: Tensor, shift: Tensor, mask: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, T, P, Dv), (B, T, P, 2) and (B, T) -> (B, T, P, H)."""
        b, t, p, _ = patches.shape
        evidence = _evidence(patches, shift, mask, grid) * mask[:, :, None, None]
        volume = F.gelu(self.read(evidence.reshape(b, t, *grid, EVIDENCE).permute(0, 4, 1, 2, 3)))
        volume = F.gelu(self.combine(volume))
        return self.write(volume.permute(0, 2, 3, 4, 1).reshape(b, t, p, _CHANNELS))


def _evidence(patches: Tensor, shift: Tensor, mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, T, P, E): way, change in place, change when followed."""
    changes = unlike(patches, mask, grid, LAGS)
    return torch.cat([way(shift), energy(patches, mask), changes], dim=-1)
