"""Roles that multiply content, for the relationship level: who is what to whom.

"A dog left of a cat" and "a cat left of a dog" hold the same things in exchanged roles, and a sum of
tokens forgets which is which. So each token's content is multiplied by its role before the sum:
tensor product binding (Smolensky, Artificial Intelligence 46, 1990) in its element-wise form. A role
is read from evidence that does not say *what* the token is: where a patch lies among what the level
looks at and how that moves; which relation words stand before and after a word. With content in
the evidence the model memorised which two things go with which relation, and likewise when a token's
weight was read from its content; hence the weight comes from the evidence too. All of it is our
decision; MCSAN's abstract names the level and leaves its form open.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.model.layers import clock, difference, fourier, grid_positions, patch_centres, zero_linear
from vtr_demo.model.motion import SWIFT, change_norm
from vtr_demo.structures import LEVELS, TextTokens

SCENE_EVIDENCE = 54
"""Features of where a patch is and how it moves."""
NECK = 16
"""Width through which a role must pass: wide enough for kinds of roles, too narrow for things."""
_HIDDEN = 64
_REACH = 2.0  # words over which a relation word's influence falls to 1/e
_ENTITY, _RELATIONSHIP = LEVELS.index("entity"), LEVELS.index("relationship")


class Roles(nn.Module):
    """Maps evidence (B, N, E) to roles (B, N, D), the factors of the tokens' content, and to logits (B, N)
    of the tokens' weights; initially all factors are one and all logits zero."""

    def __init__(self, evidence: int, width: int) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.Linear(evidence, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, NECK), nn.Tanh())
        self.write = nn.Linear(NECK, width)
        self.count = zero_linear(NECK, 1)
        nn.init.zeros_(self.write.weight)
        nn.init.ones_(self.write.bias)

    def forward(self, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, E) -> (B, N, D), (B, N)."""
        neck = self.read(evidence)
        return self.write(neck), self.count(neck).squeeze(-1)

    def draw(self) -> None:
        """Initialise the roles at random: with both modalities' at one, neither has a gradient."""
        self.write.reset_parameters()


def scene_evidence(patches: Tensor, shift: Tensor, weights: Tensor, mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return (B, T, 1+P, E): where each patch is and how it moves; zero for the whole-frame token.

    patches (B, T, P, Dv), of which only the size of their change is used; shift (B, T, P, 2), how each
    patch has moved (``PatchMotion.shift``); weights (B, T, 1+P), the level's attention; mask (B, T).
    Places: in the picture and around the centre of attention. Motion: of that centre, of the patch
    itself, of all that moves in the clip, and how far ahead the patch lies in each of these directions;
    whether what is attended to draws together or apart. Time: from 0 to 1.
    """
    b, t, p, _ = patches.shape
    places = grid_positions(grid, weights.device).to(weights).expand(b, t, p, -1)
    xy = patch_centres(grid, weights.device).to(weights)
    attention = weights[:, :, 1:] / weights[:, :, 1:].sum(-1, keepdim=True).clamp_min(1e-6)
    centre = attention @ xy  # (B, T, 2)
    around = xy - centre.unsqueeze(2)  # (B, T, P, 2)
    spread = (attention.unsqueeze(-1) * around.square()).sum(2).add(1e-6).sqrt()
    moving = torch.tanh(8 * difference(centre, mask))
    pace = shift.norm(dim=-1, keepdim=True)
    drift = (pace * shift).sum((1, 2)) / pace.sum((1, 2)).clamp_min(1e-6)  # (B, 2), faster patches count more
    directions = [moving.unsqueeze(2), torch.tanh(SWIFT * shift), torch.tanh(SWIFT * drift)[:, None, None]]
    ahead = [4 * (around * direction).sum(-1, keepdim=True) for direction in directions]
    time = clock(mask).to(weights)
    parting = torch.tanh(16 * difference(spread.norm(dim=-1, keepdim=True), mask))
    whole = torch.cat([spread, moving, parting, time, torch.ones_like(time[..., :1])], dim=-1)
    evidence = [places, fourier((around + 1) / 2), *ahead, directions[1], directions[2].expand(b, t, p, -1)]
    evidence.append(change_norm(patches, mask))
    evidence.append(whole.unsqueeze(2).expand(b, t, p, -1))
    return F.pad(torch.cat(evidence, dim=-1), (0, 0, 1, 0))


def sentence_evidence(tokens: TextTokens) -> Tensor:
    """Return (B, 1+W, 2*Dt+2): the relation words before and after each word, nearer ones more, and whether
    there are any; zero for the whole-sentence token. Relation words are those of the relationship
    level that name no thing. Padding changes nothing."""
    relates = tokens.level_mask[:, _RELATIONSHIP] & ~tokens.level_mask[:, _ENTITY] & tokens.word_mask
    place = torch.arange(relates.shape[1], device=relates.device)
    apart = (place[:, None] - place[None, :]).to(tokens.words)
    sides = []
    for side in (apart > 0, apart < 0):
        share = torch.exp(-apart.abs() / _REACH) * side * relates.unsqueeze(1)
        total = share.sum(-1, keepdim=True)
        words = tokens.words * tokens.word_mask.unsqueeze(-1)
        sides += [share @ words / total.clamp_min(1e-6), (total > 0).to(words)]
    return F.pad(torch.cat(sides, dim=-1), (0, 0, 1, 0))
