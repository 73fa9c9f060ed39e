"""How things move, told without what they are: evidence for the action level.

A thing that rolls, one that waddles and one that slides pass the same places. What tells them apart is
how alike a patch stays to itself while it is followed: a roll takes it ever farther from what it was, a
waddle brings it back with every second step. So each patch is looked for in frames up to
seven before (``matching``), and how far it has come and how much it has changed are
read by a small network over neighbouring places and times, which makes turning, growing and swaying of it.
It never sees the content, so what it learns of one thing holds for all (our decision, as in ``binding``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.blocks import difference
from vtr_demo.matching import unlike

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
