"""Correspondence of patches between frames, and what it says about how things move.

The correlation of all patches of two frames (FlowNet, Dosovitskiy et al., ICCV 2015), read out by a
soft arg-max. It has no weights, so it says how a patch moved and not what it shows. Differences at one
place cannot tell a thing that rolls from one that slides, which is why it is here (our decision).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.model.layers import difference, patch_centres

LAGS = (1, 2, 3, 5, 7)
"""Frames back over which a patch is compared with itself. On drawn clips a linear reading of the evidence
alone tells waddles from rolls in 84 % of cases, and in 79 % without the last two."""
SWIFT = 16.0  # a patch that moves by a sixteenth of the picture between two frames is swift
EVIDENCE = 4 + len(LAGS)
_CHANNELS = 64
_TEMPERATURE = 0.06
"""Of the cosines. Of 16 settings none told the heading of 132 drawn clips better (99 %)."""
_FAINT = 0.02
"""Share of a patch's usual size below which its difference from the clip's mean patch is faint: half
precision, in which libraries keep tokens, rounds to a fortieth of that."""
_REACH = 0.15
"""Picture sizes that a thing is expected to move between two frames."""


@dataclass(frozen=True)
class PatchMotion:
    """How the patches of a padded batch of clips have moved.

    assignment (B, T, P, P): how likely patch p of a frame was at each place of the frame before; the first
    frame and padding are assigned to themselves. shift (B, T, P, 2): by how much it moved, in picture
    heights and widths, minus the shift of the median patch, which is the camera's. dissimilarity
    (B, T, P, len(lags)): half the squared distance (of directions, one minus the cosine) between a patch
    and its match so many frames before. Shift and dissimilarity are zero where there is no such frame.
    """

    assignment: Tensor
    shift: Tensor
    dissimilarity: Tensor


def match_patches(patches: Tensor, mask: Tensor, grid: tuple[int, int], lags: Sequence[int] = LAGS) -> PatchMotion:
    """Match patches (B, T, P, Dv) to those of earlier frames; mask (B, T); ``lags`` begins with 1."""
    with torch.autocast(patches.device.type, enabled=False):  # quantiles need full precision
        x, near = _directions(patches.float(), mask), _nearness(grid, patches.device)
        matches = [_match(x, near / lag**2, lag) for lag in lags if lag < x.shape[1]]
        dissimilarity = x.new_zeros(*x.shape[:3], len(lags))
        for i, (_, apart) in enumerate(matches):
            real = (mask[:, lags[i] :] & mask[:, : -lags[i]]).unsqueeze(-1)
            dissimilarity[:, lags[i] :, :, i] = apart * real
        itself = torch.eye(x.shape[2], device=x.device).expand(len(x), 1, -1, -1)
        assignment = itself
        if matches:
            real = (mask[:, 1:] & mask[:, :-1])[:, :, None, None]
            assignment = torch.cat([itself, torch.where(real, matches[0][0], itself)], dim=1)
        places = patch_centres(grid, x.device)
        shift = places - assignment @ places
        shift = shift - shift.quantile(0.5, dim=2, keepdim=True)
    return PatchMotion(assignment.to(patches), shift.to(patches), dissimilarity.to(patches))


def _match(x: Tensor, near: Tensor, lag: int) -> tuple[Tensor, Tensor]:
    """Assignments (B, T-lag, P, P) and dissimilarities (B, T-lag, P) to the frames ``lag`` before."""
    now, then = x[:, lag:], x[:, :-lag]
    cosines = now @ then.transpose(-1, -2)
    assignment = (cosines / _TEMPERATURE + near).softmax(-1)
    squares = now.square().sum(-1) + (assignment @ then.square().sum(-1, keepdim=True)).squeeze(-1)
    return assignment, squares / 2 - (assignment * cosines).sum(-1)


def _directions(patches: Tensor, mask: Tensor) -> Tensor:
    """Patches (B, T, P, Dv) around the clip's mean patch at unit length; those close to the mean, as all
    are in a picture of one colour, stay near zero, since their direction is rounding."""
    x = patches * mask[:, :, None, None]
    count = (mask.sum(1).clamp_min(1) * patches.shape[2])[:, None, None, None]
    size = x.square().sum((1, 2, 3), keepdim=True) / count
    x = x - x.sum((1, 2), keepdim=True) / count
    return x * (x.square().sum(-1, keepdim=True) + _FAINT**2 * size + 1e-12).rsqrt()


@lru_cache
def _nearness(grid: tuple[int, int], device: torch.device) -> Tensor:
    """(P, P) log prior of moving from one place to another between two frames."""
    places = patch_centres(grid, device)
    return -torch.cdist(places, places).square() / (2 * _REACH**2)


def warped_change(x: Tensor, assignment: Tensor, mask: Tensor) -> Tensor:
    """Return the change of tokens (B, T, P, H) since their match; zero where no frame comes before."""
    return difference(x, mask, before=assignment[:, 1:] @ x[:, :-1])


def displacement(shift: Tensor) -> Tensor:
    """Return (B, T, P, 3): the bounded direction and the length of each patch's ``shift`` (B, T, P, 2)."""
    return torch.cat([torch.tanh(SWIFT * shift), SWIFT * shift.norm(dim=-1, keepdim=True)], dim=-1)


def change_norm(patches: Tensor, mask: Tensor) -> Tensor:
    """Return (B, T, P, 1): how much each patch changes in its place, over the clip's mean, as log(1 + x)."""
    change = difference(patches, mask).norm(dim=-1, keepdim=True)
    count = mask.sum(1).clamp_min(1)[:, None, None, None] * patches.shape[2]
    return torch.log1p(change / (change.sum((1, 2), keepdim=True) / count).clamp_min(1e-6))


class Movement(nn.Module):
    """Displacements and changes of patches, convolved over 3 x 5 x 5 frames and places; zero-initialised."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.read = nn.Conv3d(EVIDENCE, _CHANNELS, 3, padding=1)
        self.combine = nn.Conv3d(_CHANNELS, _CHANNELS, (1, 3, 3), padding=(0, 1, 1))
        self.write = nn.Linear(_CHANNELS, hidden)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(self, patches: Tensor, motion: PatchMotion, mask: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches (B, T, P, Dv), their motion and mask (B, T) -> (B, T, P, H)."""
        b, t, p, _ = patches.shape
        evidence = torch.cat([displacement(motion.shift), change_norm(patches, mask), motion.dissimilarity], dim=-1)
        evidence = evidence * mask[:, :, None, None]
        volume = F.gelu(self.read(evidence.reshape(b, t, *grid, EVIDENCE).permute(0, 4, 1, 2, 3)))
        volume = F.gelu(self.combine(volume))
        return self.write(volume.permute(0, 2, 3, 4, 1).reshape(b, t, p, _CHANNELS))
