"""MCSAN's four semantic levels, each pooled into one unit vector per modality.

Source: Nian et al., "Multi-Level Cross-Modal Semantic Alignment Network for Video-Text
Retrieval", Mathematics 10(18) 3346, 2022 (abstract). The abstract names the levels, the
"spatial-temporal semantic learning structures" and the shared attribute projection; their form
below is our decision:

    v_l = norm( sum_tp a^l_tp V_l x^l_tp )      t_l = norm( sum_w b^l_w U_l e_w )

Pooling is linear in the value tokens and its weights look at one modality only, so that
<t_l, v_l> is an exact sum over (word, frame, patch) and can be indexed. On the relationship level a
token's value is its content times its role (``binding``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.model.layers import (
    Block,
    SharedDropout,
    clock,
    difference,
    fourier,
    grid_positions,
    identity_linear,
    masked_softmax,
    patch_centres,
    zero_linear,
)
from vtr_demo.model.motion import SWIFT, Movement, PatchMotion, change_norm, displacement, match_patches, warped_change
from vtr_demo.structures import LEVELS, TextTokens, VideoTokens

ENTITY, RELATIONSHIP = LEVELS.index("entity"), LEVELS.index("relationship")
SHORTEST = 1e-4
"""Length below which a sum of tokens is rounding (changes that cancel out) and is not normalised."""


class LevelPool(nn.Module):
    """Linear attention pooling of one level; starts as the mean over the tokens that ``prior`` admits.

    ``contextual`` weighs tokens by their context and adds the values of contextual tokens to those of the
    base tokens.
    """

    def __init__(self, width: int, hidden: int, *, contextual: bool = True) -> None:
        super().__init__()
        self.score = zero_linear(hidden, 1) if contextual else None
        self.value_base = identity_linear(width)
        self.value_hidden = zero_linear(hidden, width) if contextual else None

    def weights(self, hidden: Tensor, prior: Tensor, mask: Tensor) -> Tensor:
        """a (B, N): softmax of learned scores plus the log ``prior``, over ``mask``."""
        scores = self.score(hidden).squeeze(-1) if self.score is not None else 0.0
        return masked_softmax(scores + prior, mask)

    def vector(self, base: Tensor, weights: Tensor, hidden: Tensor) -> Tensor:
        """The unit level vector (B, D) of pooled ``base`` (B, D) and of ``hidden`` (B, N, H); V is linear."""
        value = self.value_base(base)
        if self.value_hidden is not None:
            value = value + self.value_hidden(torch.einsum("bn,bnh->bh", weights, hidden))
        return F.normalize(value, dim=-1, eps=SHORTEST)

    def parts(self, weights: Tensor, base: Tensor, hidden: Tensor) -> Tensor:
        """The summands (B, N, D) of the unit level vector, from tokens that are not pooled yet."""
        value = self.value_base(base)
        if self.value_hidden is not None:
            value = value + self.value_hidden(hidden)
        summands = weights.unsqueeze(-1) * value
        return summands / summands.sum(1).norm(dim=-1).clamp_min(SHORTEST)[:, None, None]


class LevelPools(nn.ModuleList):
    """One pool a level. The relationship level does without contextual tokens: they encode which objects
    there are, and the level would memorise pairs of objects."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(LevelPool(width, hidden, contextual=level != RELATIONSHIP) for level in range(len(LEVELS)))

    def pools(self) -> list[LevelPool]:
        """The pools in the order of ``LEVELS``."""
        return [pool for pool in self if isinstance(pool, LevelPool)]

    def weights(self, hidden: Sequence[Tensor], priors: Sequence[Tensor], mask: Tensor) -> Tensor:
        """a (B, L, N) from contextual tokens (B, N, H) and log priors (N,) of each level."""
        columns = zip(self.pools(), hidden, priors, strict=True)
        return torch.stack([pool.weights(h, prior, mask) for pool, h, prior in columns], dim=1)

    def vectors(self, pooled: Tensor, weights: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """Unit (B, L, D) from pooled base tokens (B, L, D), weights (B, L, N) and hidden (B, N, H) each."""
        columns = zip(self.pools(), pooled.unbind(1), weights.unbind(1), hidden, strict=True)
        return torch.stack([pool.vector(x, a, h) for pool, x, a, h in columns], dim=1)

    def parts(self, weights: Tensor, bases: Sequence[Tensor], hidden: Sequence[Tensor]) -> Tensor:
        """(B, L, N, D): the summands of ``vectors``, from each level's base tokens (B, N, D)."""
        columns = zip(self.pools(), weights.unbind(1), bases, hidden, strict=True)
        return torch.stack([pool.parts(a, x, h) for pool, a, x, h in columns], dim=1)


def with_relationship(levels: Tensor, values: Tensor) -> Tensor:
    """``levels`` (B, L, ...) with ``values`` (B, ...) for the relationship level."""
    rows = list(levels.unbind(1))
    rows[RELATIONSHIP] = values
    return torch.stack(rows, dim=1)


def rebound(pooled: Tensor, weights: Tensor, tokens: Tensor) -> Tensor:
    """``pooled`` (B, L, D) with the relationship level's row pooled from ``tokens`` (B, N, D)."""
    return with_relationship(pooled, torch.einsum("bn,bnd->bd", weights[:, RELATIONSHIP], tokens))


# --------------------------------------------------------------------------- roles
SCENE_EVIDENCE = 54
"""Features of where a patch is and how it moves."""
NECK = 16
"""Width through which a role must pass: wide enough for kinds of roles, too narrow for things."""
_HIDDEN = 64
_REACH = 2.0  # words over which a relation word's influence falls to 1/e


class Roles(nn.Module):
    """Reads the roles of tokens, which multiply their content, for the relationship level: who is what to whom.

    "A dog left of a cat" and "a cat left of a dog" hold the same things in exchanged roles, and a sum of tokens
    forgets which is which: tensor product binding (Smolensky, Artificial Intelligence 46, 1990), element-wise.
    A role is read from evidence that does not say *what* the token is, since with content in the evidence the
    model memorised which two things go with which relation; likewise the logit of the token's weight. (All our
    decision.) Initially all roles are one and all logits zero.
    """

    def __init__(self, evidence: int, width: int) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.Linear(evidence, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, NECK), nn.Tanh())
        self.write = nn.Linear(NECK, width)
        self.count = zero_linear(NECK, 1)
        nn.init.zeros_(self.write.weight)
        nn.init.ones_(self.write.bias)

    def forward(self, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """Map evidence (B, N, E) to the factors (B, N, D) of the tokens' content and to logits (B, N)."""
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
    relates = tokens.level_mask[:, RELATIONSHIP] & ~tokens.level_mask[:, ENTITY] & tokens.word_mask
    place = torch.arange(relates.shape[1], device=relates.device)
    apart = (place[:, None] - place[None, :]).to(tokens.words)
    sides = []
    for side in (apart > 0, apart < 0):
        share = torch.exp(-apart.abs() / _REACH) * side * relates.unsqueeze(1)
        total = share.sum(-1, keepdim=True)
        words = tokens.words * tokens.word_mask.unsqueeze(-1)
        sides += [share @ words / total.clamp_min(1e-6), (total > 0).to(words)]
    return F.pad(torch.cat(sides, dim=-1), (0, 0, 1, 0))


# --------------------------------------------------------------------------- levels
BASE_MIX = ((1.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0))
"""Each level's mix of (token, change since the previous frame, motion of the whole frame): the global and
the action level have the motion."""

WHOLE_HIDDEN = 1024
"""Width of the network from a frame's mean patch to its summary token."""
FLOOR = -30.0  # exp(-30) of the weight: nothing at float precision, yet finite and trainable


@dataclass(frozen=True)
class LevelOutput:
    """One modality's levels. N is T*(1+P) for video and 1+W for text.

    vectors (B, L, D) unit, zero where the level is absent or cancels out; weights (B, L, N), sums
    to 1 over the level's tokens; base (B, N, D), the tokens near the tower's space; hidden[l] (B, N, H), the
    level's contextual tokens; roles (B, N, D), the factors of the relationship level's base tokens;
    frame_mask (B, T) for video, None for text; motion (B, N, D), the whole
    frames' motion in their place and zeros elsewhere, None for text and where no tower reads motion.
    """

    vectors: Tensor
    weights: Tensor
    base: Tensor
    hidden: tuple[Tensor, ...]
    roles: Tensor
    frame_mask: Tensor | None = None
    motion: Tensor | None = None


class VideoLevels(nn.Module):
    """Decomposes a clip: entity in space, action in time, relationship from both, global from all."""

    mix: Tensor

    def __init__(self, patch_width: int, width: int, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Linear(patch_width, width, bias=False)
        if patch_width == width:
            nn.init.eye_(self.stem.weight)
        self.whole = nn.Sequential(
            nn.Linear(patch_width, WHOLE_HIDDEN), nn.GELU(), nn.Dropout(dropout), zero_linear(WHOLE_HIDDEN, width)
        )
        self.enter_patch = nn.Linear(patch_width, hidden)
        self.enter_summary = nn.Linear(width, hidden)
        self.place = nn.Linear(16, hidden)
        self.time = nn.Linear(8, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.spatial = Block(hidden, heads, dropout)
        self.motion = nn.Conv3d(2 * hidden, hidden, 3, padding=1, groups=hidden)
        self.follow = nn.Linear(hidden + 3, hidden)
        self.movement = Movement(hidden)
        self.enter_motion = zero_linear(width, hidden)
        self.motion_mix = nn.Linear(hidden, hidden)
        self.temporal = Block(hidden, heads, dropout)
        self.dropout = SharedDropout(dropout)
        self.pools = LevelPools(width, hidden)
        self.roles = Roles(SCENE_EVIDENCE, width)
        # log prior of [summary, patch] tokens: the global level starts on the summaries alone,
        # the others on the patches alone
        self.prior = nn.Parameter(torch.tensor([[0.0, FLOOR], [FLOOR, 0.0], [FLOOR, 0.0], [FLOOR, 0.0]]))
        self.register_buffer("mix", torch.tensor(BASE_MIX), persistent=False)

    def forward(self, tokens: VideoTokens) -> LevelOutput:
        """Levels of a padded batch; a clip's result does not depend on its neighbours."""
        b, t, p, _ = tokens.patches.shape
        mask = tokens.frame_mask
        # the summary token also reads the frame's mean patch, as a plain pooled head would
        summary = tokens.summary + self.whole(tokens.patches.mean(2)) * mask.unsqueeze(-1)
        base = torch.cat([summary.unsqueeze(2), self.stem(tokens.patches)], dim=2).flatten(1, 2)
        entity = self._entity(tokens)
        motion = match_patches(tokens.patches, mask, tokens.grid)
        action = self._action(tokens, entity, motion)
        both = entity + action
        hidden = tuple(self.dropout(s).flatten(1, 2) for s in (both, entity, action, both))
        token_mask = mask[:, :, None].expand(b, t, 1 + p).reshape(b, -1)
        priors = [torch.cat([prior[:1], prior[1:].expand(p)]).repeat(t) for prior in self.prior]
        weights = self.pools.weights(hidden, priors, token_mask)
        change, frame_motion = _change(base, mask), _frame_motion(tokens)
        # relations hold between objects: the level attends where the entity level does
        attention = weights[:, ENTITY]
        evidence = scene_evidence(tokens.patches, motion.shift, attention.view(b, t, 1 + p), mask, tokens.grid)
        roles, counts = self.roles(evidence.flatten(1, 2))
        counts = counts + attention.clamp_min(1e-6).log() + priors[RELATIONSHIP]
        weights = with_relationship(weights, masked_softmax(counts, token_mask))
        mix = zip(self.mix.to(weights).T.unsqueeze(-1), (base, change, frame_motion), strict=True)
        pooled = sum((share * weights) @ x for share, x in mix if x is not None)
        pooled = rebound(pooled, weights, (base + change) * roles)
        vectors = self.pools.vectors(pooled, weights, hidden)
        return LevelOutput(vectors, weights, base, hidden, roles, mask, frame_motion)

    def parts(self, out: LevelOutput) -> Tensor:
        """(B, L, N, D): the summands of ``out.vectors``; a change belongs to the frame where it arrives."""
        assert out.frame_mask is not None
        change = _change(out.base, out.frame_mask)
        tokens = (out.base, change, out.motion)
        bases = [
            torch.stack([share * x for share, x in zip(mix, tokens, strict=True) if x is not None]).sum(0)
            for mix in BASE_MIX
        ]
        return self.pools.parts(out.weights, _in_roles(bases, out.roles), out.hidden)

    def _entity(self, tokens: VideoTokens) -> Tensor:
        """Entity tokens (B, T, 1+P, H): each frame alone, so that they carry nothing of motion."""
        place = self.place(grid_positions(tokens.grid, tokens.patches.device).to(tokens.patches))
        patches = self.enter_patch(tokens.patches) + place
        hidden = torch.cat([self.enter_summary(tokens.summary).unsqueeze(2), patches], dim=2)
        return self._within_frames(self.spatial, self.norm(hidden))

    def _action(self, tokens: VideoTokens, entity: Tensor, motion: PatchMotion) -> Tensor:
        """Action tokens (B, T, 1+P, H): frame differences, a 3x3x3 convolution, how each patch has moved and
        changed since its match in the frame before, the motion of whole frames, attention in time."""
        b, t, n, h = entity.shape
        mask, grid = tokens.frame_mask, tokens.grid
        both = torch.stack([entity, difference(entity, mask)], dim=-1).flatten(3)  # (B, T, 1+P, 2H)
        both = both * mask[:, :, None, None]
        volume = both[:, :, 1:].reshape(b, t, *grid, 2 * h).permute(0, 4, 1, 2, 3)
        moved = self.motion(volume).permute(0, 2, 3, 4, 1).reshape(b, t, n - 1, h)
        change = warped_change(entity[:, :, 1:], motion.assignment, mask)
        moved = moved + self.follow(torch.cat([change, displacement(motion.shift)], dim=-1))
        moved = moved + self.movement(tokens.patches, motion, mask, grid)
        whole = both[:, :, :1].reshape(b, t, 1, h, 2)[..., 1]
        if tokens.motion is not None:
            whole = whole + self.enter_motion(tokens.motion * mask.unsqueeze(-1)).unsqueeze(2)
        hidden = self.motion_mix(F.gelu(torch.cat([whole, moved], dim=2)))
        hidden = hidden + self.time(clock(mask))[:, :, None]
        lines = hidden.transpose(1, 2).reshape(b * n, t, h)
        lines = self.temporal(lines, mask.repeat_interleave(n, dim=0))
        return lines.view(b, n, t, h).transpose(1, 2)

    @staticmethod
    def _within_frames(block: nn.Module, x: Tensor) -> Tensor:
        return block(x.flatten(0, 1)).view_as(x)


def _change(base: Tensor, mask: Tensor) -> Tensor:
    """``difference`` of tokens (B, T*N, D). Differences are taken before they are pooled: the other way
    round, a still picture would leave rounding errors, and normalising would make a vector of them."""
    return difference(base.unflatten(1, (mask.shape[1], -1)), mask).flatten(1, 2)


def _frame_motion(tokens: VideoTokens) -> Tensor | None:
    """The motion of whole frames as (B, T*(1+P), Ds), zero for patches and padding."""
    if tokens.motion is None:
        return None
    whole = (tokens.motion * tokens.frame_mask.unsqueeze(-1)).unsqueeze(2)
    return F.pad(whole, (0, 0, 0, tokens.patches.shape[2])).flatten(1, 2)


class TextLevels(nn.Module):
    """Pools the words of each level; starts as the tower's own sentence vector and plain word means."""

    def __init__(self, width: int, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Linear(width, hidden)
        self.order = nn.Linear(8, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.context = Block(hidden, heads, dropout)
        self.dropout = SharedDropout(dropout)
        self.pools = LevelPools(width, hidden)
        self.roles = Roles(2 * width + 2, width)
        self.word_bias = nn.Parameter(torch.zeros(()))
        self.gate = zero_linear(width, len(LEVELS), bias=True)

    def forward(self, tokens: TextTokens) -> tuple[LevelOutput, Tensor]:
        """Levels, and level logits (B, L) that are -inf where the sentence lacks the level."""
        words = tokens.words * tokens.word_mask.unsqueeze(-1)
        base = torch.cat([tokens.summary.unsqueeze(1), words], dim=1)  # (B, 1+W, D)
        whole = torch.ones_like(tokens.word_mask[:, :1])
        mask = torch.cat([whole, tokens.word_mask], dim=1)
        places = torch.arange(base.shape[1], device=base.device) / 32
        hidden = self.norm(self.enter(base) + self.order(fourier(places.unsqueeze(-1))))
        hidden = self.dropout(self.context(hidden, mask))
        weights = torch.stack([self._weights(i, tokens, hidden) for i in range(len(LEVELS))], dim=1)
        hiddens = (hidden,) * len(LEVELS)
        roles, counts = self.roles(sentence_evidence(tokens))
        weights = with_relationship(weights, masked_softmax(counts, weights[:, RELATIONSHIP] > 0))
        pooled = rebound(weights @ base, weights, base * roles)
        vectors = self.pools.vectors(pooled, weights, hiddens)
        absent = weights.sum(-1) == 0
        sentence = F.normalize((weights[:, :1] @ base).squeeze(1), dim=-1)
        logits = self.gate(sentence).masked_fill(absent, -torch.inf)
        return LevelOutput(vectors, weights, base, hiddens, roles), logits

    def parts(self, out: LevelOutput) -> Tensor:
        """(B, L, 1+W, D): the summands of ``out.vectors``."""
        return self.pools.parts(out.weights, _in_roles([out.base] * len(LEVELS), out.roles), out.hidden)

    def _weights(self, level: int, tokens: TextTokens, hidden: Tensor) -> Tensor:
        """b^l (B, 1+W): the global level follows the tower's own pooling, the others their words alone."""
        is_global = torch.full_like(tokens.word_mask[:, :1], level == 0)
        mask = torch.cat([is_global, tokens.level_mask[:, level] & tokens.word_mask], dim=1)
        prior = torch.zeros_like(tokens.pool)
        if level == 0:
            prior = tokens.pool.clamp_min(1e-30).log().clamp_min(FLOOR)
            prior = torch.cat([prior[:, :1], prior[:, 1:] + self.word_bias], dim=1)
        return self.pools.pools()[level].weights(hidden, prior, mask)


def _in_roles(bases: list[Tensor], roles: Tensor) -> list[Tensor]:
    """Each level's base tokens (B, N, D), those of the relationship level times their roles."""
    bases[RELATIONSHIP] = bases[RELATIONSHIP] * roles
    return bases
