"""Correspondence of patches between frames, and what it says about how things move.

The correlation of all patches of two frames (FlowNet, Dosovitskiy et al., ICCV 2015), read out by a
soft arg-max. It has no weights, so it says how a patch moved and not what it shows. It is here because
differences at one place cannot distinguish rolling from sliding (our decision).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.model.layers import difference, patch_centres, zero_linear

LAGS = (1, 2, 3, 5, 7)
"""Frames back over which a patch is compared with its match. On drawn clips a linear probe of the evidence
alone separates waddles from rolls in 84 % of cases, and in 79 % without the last two."""
SWIFT = 16.0  # scales a movement by a sixteenth of the picture between two frames to 1
EVIDENCE = 4 + len(LAGS)
_CHANNELS = 64
_TEMPERATURE = 0.06
"""Of the cosines: the best of 16 settings for the heading of 132 drawn clips (99 % right)."""
_FAINT = 0.02
"""Share of the patches' root mean square below which a difference from the clip's mean patch counts as
noise; half precision, in which libraries keep tokens, rounds to a fortieth of that."""
_REACH = 0.15
"""Standard deviation of the prior of a movement between two frames, in picture sizes."""


@dataclass(frozen=True)
class PatchMotion:
    """How the patches of a padded batch of clips have moved.

    assignment (B, T, P, P): how likely patch p of a frame was at each place of the frame before; the first
    frame and padding are assigned to themselves. shift (B, T, P, 2): by how much it moved, in picture
    heights and widths, minus the shift of the median patch, which is the camera's. dissimilarity
    (B, T, P, len(LAGS)): half the squared distance (of directions, one minus the cosine) between a patch
    and its match so many frames before. Shift and dissimilarity are zero where there is no such frame.
    """

    assignment: Tensor
    shift: Tensor
    dissimilarity: Tensor


def match_patches(patches: Tensor, mask: Tensor, grid: tuple[int, int]) -> PatchMotion:
    """Match patches (B, T, P, Dv) to those ``LAGS`` frames earlier, where mask (B, T) is True."""
    with torch.autocast(patches.device.type, enabled=False):  # quantiles need full precision
        x, prior = _directions(patches.float(), mask), _log_prior(grid, patches.device)
        dissimilarity = x.new_zeros(*x.shape[:3], len(LAGS))
        identity = torch.eye(x.shape[2], device=x.device).expand(len(x), 1, -1, -1)
        assignment = identity
        for i, lag in enumerate(LAGS):
            if lag >= x.shape[1]:
                break
            real = (mask[:, lag:] & mask[:, :-lag]).unsqueeze(-1)
            match, distance = _match(x, prior / lag**2, lag)
            dissimilarity[:, lag:, :, i] = distance * real
            if lag == 1:
                match = torch.where(real.unsqueeze(-1), match, identity)
                assignment = torch.cat([identity, match], dim=1)
        places = patch_centres(grid, x.device)
        shift = places - assignment @ places
        shift = shift - shift.quantile(0.5, dim=2, keepdim=True)
    return PatchMotion(assignment.to(patches), shift.to(patches), dissimilarity.to(patches))


def _match(x: Tensor, prior: Tensor, lag: int) -> tuple[Tensor, Tensor]:
    """Assignments (B, T-lag, P, P) and dissimilarities (B, T-lag, P) to the frames ``lag`` before."""
    now, then = x[:, lag:], x[:, :-lag]
    cosines = now @ then.transpose(-1, -2)
    assignment = (cosines / _TEMPERATURE + prior).softmax(-1)
    squares = now.square().sum(-1) + (assignment @ then.square().sum(-1, keepdim=True)).squeeze(-1)
    return assignment, squares / 2 - (assignment * cosines).sum(-1)


def _directions(patches: Tensor, mask: Tensor) -> Tensor:
    """Centre patches (B, T, P, Dv) on the clip's mean patch and scale them to unit length. Those close to
    the mean, as all are in a picture of one colour, stay near zero, since their direction is rounding."""
    x = patches * mask[:, :, None, None]
    count = (mask.sum(1).clamp_min(1) * patches.shape[2])[:, None, None, None]
    size = x.square().sum((1, 2, 3), keepdim=True) / count
    x = x - x.sum((1, 2), keepdim=True) / count
    return x * (x.square().sum(-1, keepdim=True) + _FAINT**2 * size + 1e-12).rsqrt()


@lru_cache
def _log_prior(grid: tuple[int, int], device: torch.device) -> Tensor:
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
    """Convolves displacements and changes of patches over 3 x 5 x 5 frames and places; initially zero."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.read = nn.Conv3d(EVIDENCE, _CHANNELS, 3, padding=1)
        self.combine = nn.Conv3d(_CHANNELS, _CHANNELS, (1, 3, 3), padding=(0, 1, 1))
        self.write = zero_linear(_CHANNELS, hidden, bias=True)

    def forward(self, patches: Tensor, motion: PatchMotion, mask: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map patches (B, T, P, Dv), their motion and mask (B, T) to evidence (B, T, P, H)."""
        b, t, p, _ = patches.shape
        evidence = torch.cat([displacement(motion.shift), change_norm(patches, mask), motion.dissimilarity], dim=-1)
        evidence = evidence * mask[:, :, None, None]
        volume = F.gelu(self.read(evidence.reshape(b, t, *grid, EVIDENCE).permute(0, 4, 1, 2, 3)))
        volume = F.gelu(self.combine(volume))
        return self.write(volume.permute(0, 2, 3, 4, 1).reshape(b, t, p, _CHANNELS))
