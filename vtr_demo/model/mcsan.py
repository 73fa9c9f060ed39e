"""MCSAN's four semantic levels, each pooled into one unit vector per modality.

Source: Nian et al., "Multi-Level Cross-Modal Semantic Alignment Network for Video-Text Retrieval", Mathematics
10(18) 3346, 2022 (abstract): the levels, "spatial-temporal semantic learning structures" and the shared attribute
projection. Their form is our decision:

    v_l = norm( sum_tp a^l_tp V_l x^l_tp )      t_l = norm( sum_w b^l_w U_l e_w )

Pooling is linear in the value tokens and its weights look at one modality only, so that <t_l, v_l> is an exact sum
over (word, frame, patch) and can be indexed. On the relationship level a token's value is its content times its role.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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

GLOBAL, ENTITY, ACTION, RELATIONSHIP = range(len(LEVELS))
BASE_MIX = (
    (1.0, 0.0, 1.0),  # global
    (1.0, 0.0, 0.0),  # entity
    (0.0, 1.0, 1.0),  # action
    (1.0, 1.0, 0.0),  # relationship
)
"""Each level's mix of (token, change since the previous frame, motion of the whole frame)."""
SHORTEST = 1e-4
"""Length below which a sum of tokens is rounding (changes that cancel out) and is not normalised."""
_WHOLE_HIDDEN = 1024  # width of the network from a frame's mean patch to its summary token
_NAMING = 12  # width of the network that names things, as a multiple of the one that looks for them
_POOLED = RELATIONSHIP  # levels with a pool of their own; the relationship level, the last, attends by roles
_CAPTION = 5  # words from which a text is a caption; fewer are a query
_FLOOR = -30.0  # exp(-30) of the weight: nothing at float precision, yet finite and trainable


@dataclass(frozen=True)
class LevelOutput:
    """One modality's levels. N is T*(1+P) for video and 1+W for text.

    vectors (B, L, D) unit, zero where the level is absent or cancels out; weights (B, L, N), sums to 1 over the
    level's tokens; base (B, N, D), the tokens near the tower's space; hidden[l] (B, N, H), the level's contextual
    tokens; roles (B, N, D), the factors of the relationship level's base tokens. For video alone: frame_mask (B, T);
    motion (B, N, D), the whole frames' motion in their place and zeros elsewhere, None where no tower reads motion;
    things (B, N), the attention of ``Focus``, sums to 1, None where there is none; entity (B, D), the entity level's
    sum of values before the focus adds to it.
    """

    vectors: Tensor
    weights: Tensor
    base: Tensor
    hidden: tuple[Tensor, ...]
    roles: Tensor
    frame_mask: Tensor | None = None
    motion: Tensor | None = None
    things: Tensor | None = None
    entity: Tensor | None = None


def unit(sums: Tensor) -> Tensor:
    """Return vectors (..., D) of length 1; those that are rounding alone are not stretched."""
    return F.normalize(sums, dim=-1, eps=SHORTEST)


class LevelPool(nn.Module):
    """Linear attention pooling of one level; untrained, it is the mean over the tokens that its prior admits.

    A ``contextual`` pool also reads contextual tokens, in its weights and in its values.
    """

    def __init__(self, width: int, hidden: int, *, contextual: bool) -> None:
        super().__init__()
        self.score = zero_linear(hidden, 1) if contextual else None
        self.value_base = identity_linear(width)
        self.value_hidden = zero_linear(hidden, width) if contextual else None

    def scores(self, hidden: Tensor) -> Tensor:
        """Return the learned logits (B, N) of contextual tokens (B, N, H)."""
        if self.score is None:
            return hidden.new_zeros(hidden.shape[:-1])
        return self.score(hidden).squeeze(-1)

    def value(self, base: Tensor, hidden: Tensor) -> Tensor:
        """Project base tokens (..., D) and contextual tokens (..., H) to values (..., D); linear in both."""
        value = self.value_base(base)
        return value if self.value_hidden is None else value + self.value_hidden(hidden)


class LevelPools(nn.ModuleList):
    """One pool for each level. The relationship level does without contextual tokens: they encode which
    objects there are, and the level would memorise pairs of objects."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(LevelPool(width, hidden, contextual=level != RELATIONSHIP) for level in range(len(LEVELS)))

    def pools(self) -> list[LevelPool]:
        """Return the pools in the order of ``LEVELS``."""
        return [pool for pool in self if isinstance(pool, LevelPool)]

    def weights(self, hidden: Sequence[Tensor], prior: Tensor, mask: Tensor) -> Tensor:
        """Return the weights (B, l, N) of the first l levels from contextual tokens l x (B, N, H).

        A softmax over ``mask`` of learned scores plus the log ``prior``, both broadcast to (B, l, N).
        """
        pairs = zip(self.pools(), hidden, strict=False)
        scores = torch.stack([pool.scores(h) for pool, h in pairs], dim=1)
        return masked_softmax(scores + prior, mask)

    def sums(self, pooled: Tensor, weights: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """Return the levels' values (B, L, D) from pooled base tokens (B, L, D) and hidden L x (B, N, H)."""
        columns = zip(self.pools(), pooled.unbind(1), weights.unbind(1), hidden, strict=True)
        return torch.stack([pool.value(x, torch.einsum("bn,bnh->bh", a, h)) for pool, x, a, h in columns], dim=1)

    def parts(self, bases: Sequence[Tensor], out: LevelOutput, things: Tensor | None = None) -> Tensor:
        """Return the summands (B, L, N, D) of ``out.vectors`` from each level's base tokens (B, N, D).

        ``things`` (B, N, D) are further summands of the entity level.
        """
        columns = zip(self.pools(), bases, out.hidden, strict=True)
        values = torch.stack([pool.value(x, h) for pool, x, h in columns], dim=1)
        summands = out.weights.unsqueeze(-1) * values
        if things is not None:
            summands[:, ENTITY] = summands[:, ENTITY] + things
        return summands / summands.sum(2).norm(dim=-1).clamp_min(SHORTEST)[:, :, None, None]


class Focus(nn.Module):
    """What the entity level adds for the things in a picture: it looks at them and names them.

    A network of width ``focus`` looks for things, one of twelve times that width turns each token into what the thing
    there is called, and their weighted sum, initially zero, is added to the level's: an exact sum over tokens still.
    It reads tokens of single frames, nothing of motion. Our decision.
    """

    def __init__(self, width: int, hidden: int, focus: int, dropout: float) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Linear(hidden, focus), nn.GELU(), zero_linear(focus, 1))
        names = _NAMING * focus
        self.name = nn.Sequential(nn.Linear(width + hidden, names), nn.GELU(), zero_linear(names, width, bias=True))
        self.dropout = SharedDropout(dropout)

    def attention(self, hidden: Tensor, attention: Tensor, mask: Tensor) -> Tensor:
        """Return weights (B, N) from contextual tokens (B, N, H) and the level's own ``attention`` (B, N)."""
        return masked_softmax(attention.clamp_min(1e-30).log() + self.look(hidden).squeeze(-1), mask)

    def values(self, base: Tensor, hidden: Tensor) -> Tensor:
        """Return (B, N, D) from base tokens (B, N, D) and contextual ones (B, N, H)."""
        return self.name(self.dropout(torch.cat([base, hidden], dim=-1)))


# --------------------------------------------------------------------------- roles
SCENE_EVIDENCE = 54
"""Features of where a patch is and how it moves."""
NECK = 16
"""Width through which a role must pass: wide enough for kinds of roles, too narrow for things."""
_HIDDEN = 64
_REACH = 2.0  # words over which a relation word's influence falls to 1/e


class Roles(nn.Module):
    """Reads the roles of tokens, which multiply their content, for the relationship level: who is what to whom.

    "A dog left of a cat" and "a cat left of a dog" differ in roles alone: tensor product binding (Smolensky,
    Artificial Intelligence 46, 1990), element-wise. A role, and the logit of the token's weight, is read from
    evidence that does not say *what* the token is, since with content the model memorised which things go with which
    relation. Initially all roles are one and all logits zero. Our decision.
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
class VideoLevels(nn.Module):
    """Decomposes a clip: entity in space, action in time, relationship from both, global from all."""

    mix: Tensor

    def __init__(
        self, patch_width: int, width: int, hidden: int, heads: int, dropout: float, *, focus: int = 0
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(patch_width, width, bias=False)
        if patch_width == width:
            nn.init.eye_(self.stem.weight)
        self.whole = nn.Sequential(
            nn.Linear(patch_width, _WHOLE_HIDDEN), nn.GELU(), nn.Dropout(dropout), zero_linear(_WHOLE_HIDDEN, width)
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
        self.focus = Focus(width, hidden, focus, dropout) if focus else None
        self.roles = Roles(SCENE_EVIDENCE, width)
        # log prior of [summary, patch] tokens: the global level starts on the summaries alone,
        # the others on the patches alone
        self.prior = nn.Parameter(torch.tensor([[0.0, _FLOOR], *[[_FLOOR, 0.0]] * (len(LEVELS) - 1)]))
        self.register_buffer("mix", torch.tensor(BASE_MIX), persistent=False)

    def forward(self, tokens: VideoTokens) -> LevelOutput:
        """Compute the levels of a padded batch; a clip's result does not depend on its neighbours."""
        return self.focused(self.levels(tokens))

    def levels(self, tokens: VideoTokens) -> LevelOutput:
        """Compute the levels without what the focus adds."""
        _, t, p, _ = tokens.patches.shape
        mask, token_mask = tokens.frame_mask, tokens.frame_mask.repeat_interleave(1 + p, dim=1)
        # the summary token also reads the frame's mean patch, as a plain pooled head would
        summary = tokens.summary + self.whole(tokens.patches.mean(2)) * mask.unsqueeze(-1)
        base = torch.cat([summary.unsqueeze(2), self.stem(tokens.patches)], dim=2).flatten(1, 2)
        change, frame_motion = _change(base, mask), _frame_motion(tokens)
        patch_motion = match_patches(tokens.patches, mask, tokens.grid)
        entity = self._entity(tokens)
        action = self._action(tokens, entity, patch_motion)
        both = entity + action
        hidden = tuple(self.dropout(x).flatten(1, 2) for x in (both, entity, action, both))

        prior = torch.cat([self.prior[:, :1], self.prior[:, 1:].expand(-1, p)], dim=1).repeat(1, t)  # (L, N)
        weights = self.pools.weights(hidden[:_POOLED], prior[:_POOLED], token_mask.unsqueeze(1))
        # relations hold between objects: the level attends where the entity level does
        attention = weights[:, ENTITY]
        evidence = scene_evidence(
            tokens.patches, patch_motion.shift, attention.unflatten(1, (t, -1)), mask, tokens.grid
        )
        roles, logits = self.roles(evidence.flatten(1, 2))
        logits = logits + attention.clamp_min(1e-6).log() + prior[RELATIONSHIP]
        weights = _append(weights, masked_softmax(logits, token_mask))
        mix = zip(self.mix.to(weights).T.unsqueeze(-1), (base, change, frame_motion), strict=True)
        pooled = sum((share * weights) @ x for share, x in mix if x is not None)
        relation = torch.einsum("bn,bnd->bd", weights[:, RELATIONSHIP], (base + change) * roles)
        pooled = _append(pooled[:, :_POOLED], relation)
        sums = self.pools.sums(pooled, weights, hidden)
        return LevelOutput(unit(sums), weights, base, hidden, roles, mask, frame_motion, entity=sums[:, ENTITY])

    def focused(self, out: LevelOutput) -> LevelOutput:
        """Add to the entity level what the focus sees, where there is one."""
        if self.focus is None:
            return out
        assert out.frame_mask is not None
        assert out.entity is not None
        hidden, tokens = out.hidden[ENTITY], out.base.shape[1] // out.frame_mask.shape[1]
        mask = out.frame_mask.repeat_interleave(tokens, dim=1)
        things = self.focus.attention(hidden, out.weights[:, ENTITY], mask)
        added = torch.einsum("bn,bnd->bd", things, self.focus.values(out.base, hidden))
        levels = [*out.vectors.unbind(1)]
        levels[ENTITY] = unit(out.entity + added)
        return replace(out, vectors=torch.stack(levels, dim=1), things=things)

    def parts(self, out: LevelOutput) -> Tensor:
        """Return the summands (B, L, N, D) of ``out.vectors``; a change counts where it arrives."""
        assert out.frame_mask is not None
        sources = (out.base, _change(out.base, out.frame_mask), out.motion)
        bases = [
            torch.stack([share * x for share, x in zip(mix, sources, strict=True) if x is not None]).sum(0)
            for mix in BASE_MIX
        ]
        bases[RELATIONSHIP] = bases[RELATIONSHIP] * out.roles
        added = None
        if self.focus is not None and out.things is not None:
            added = out.things.unsqueeze(-1) * self.focus.values(out.base, out.hidden[ENTITY])
        return self.pools.parts(bases, out, added)

    def _entity(self, tokens: VideoTokens) -> Tensor:
        """Entity tokens (B, T, 1+P, H): each frame alone, so that they carry nothing of motion."""
        place = self.place(grid_positions(tokens.grid, tokens.patches.device).to(tokens.patches))
        patches = self.enter_patch(tokens.patches) + place
        hidden = torch.cat([self.enter_summary(tokens.summary).unsqueeze(2), patches], dim=2)
        return self.spatial(self.norm(hidden).flatten(0, 1)).view_as(hidden)

    def _action(self, tokens: VideoTokens, entity: Tensor, motion: PatchMotion) -> Tensor:
        """Action tokens (B, T, 1+P, H): frame differences, a 3x3x3 convolution, how each patch has moved and
        changed since its match in the frame before, the motion of whole frames, attention in time."""
        b, t, n, h = entity.shape
        mask, grid = tokens.frame_mask, tokens.grid
        both = torch.stack([entity, difference(entity, mask)], dim=-1) * mask[:, :, None, None, None]
        volume = both[:, :, 1:].reshape(b, t, *grid, 2 * h).permute(0, 4, 1, 2, 3)
        patches = self.motion(volume).permute(0, 2, 3, 4, 1).reshape(b, t, n - 1, h)
        change = warped_change(entity[:, :, 1:], motion.assignment, mask)
        patches = patches + self.follow(torch.cat([change, displacement(motion.shift)], dim=-1))
        patches = patches + self.movement(tokens.patches, motion, mask, grid)
        whole = both[:, :, :1, :, 1]
        if tokens.motion is not None:
            whole = whole + self.enter_motion(tokens.motion * mask.unsqueeze(-1)).unsqueeze(2)
        hidden = self.motion_mix(F.gelu(torch.cat([whole, patches], dim=2)))
        hidden = hidden + self.time(clock(mask))[:, :, None]
        tracks = hidden.transpose(1, 2).reshape(b * n, t, h)  # attention in time, for each place alone
        tracks = self.temporal(tracks, mask.repeat_interleave(n, dim=0))
        return tracks.view(b, n, t, h).transpose(1, 2)


def _append(levels: Tensor, relationship: Tensor) -> Tensor:
    """Append the row (B, X) of the last level to those (B, L-1, X) of the others."""
    return torch.cat([levels, relationship.unsqueeze(1)], dim=1)


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
    """Pools the words of each level; starts as the tower's sentence vector and plain word means."""

    def __init__(self, width: int, hidden: int, heads: int, dropout: float, *, focus: int = 0) -> None:
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
        # added for short queries, and not at all from _CAPTION words on: "a dog" leans on the entity level
        self.brief = zero_linear(width, len(LEVELS), bias=True) if focus else None

    def forward(self, tokens: TextTokens) -> tuple[LevelOutput, Tensor]:
        """Compute levels, and level logits (B, L) that are -inf where the sentence lacks the level."""
        words = tokens.words * tokens.word_mask.unsqueeze(-1)
        base = torch.cat([tokens.summary.unsqueeze(1), words], dim=1)  # (B, 1+W, D)
        places = torch.arange(base.shape[1], device=base.device) / 32
        hidden = self.norm(self.enter(base) + self.order(fourier(places.unsqueeze(-1))))
        hidden = self.dropout(self.context(hidden, F.pad(tokens.word_mask, (1, 0), value=True)))
        hiddens = (hidden,) * len(LEVELS)

        mask = F.pad(tokens.level_mask & tokens.word_mask.unsqueeze(1), (1, 0))  # (B, L, 1+W)
        mask[:, GLOBAL, 0].fill_(True)  # the summary token is of the global level alone
        # the global level follows the tower's pooling, the others start as a mean
        pooling = tokens.pool.clamp_min(1e-30).log().clamp_min(_FLOOR)
        pooling = torch.cat([pooling[:, :1], pooling[:, 1:] + self.word_bias], dim=1)
        prior = torch.stack([pooling, *[torch.zeros_like(pooling)] * (_POOLED - 1)], dim=1)
        weights = self.pools.weights(hiddens[:_POOLED], prior, mask[:, :_POOLED])
        roles, logits = self.roles(sentence_evidence(tokens))
        weights = _append(weights, masked_softmax(logits, mask[:, RELATIONSHIP]))

        pooled = weights @ base
        relation = torch.einsum("bn,bnd->bd", weights[:, RELATIONSHIP], base * roles)
        vectors = unit(self.pools.sums(_append(pooled[:, :_POOLED], relation), weights, hiddens))
        sentence = F.normalize((weights[:, :1] @ base).squeeze(1), dim=-1)
        gates = self.gate(sentence)
        if self.brief is not None:
            brevity = (_CAPTION - tokens.word_mask.sum(1, keepdim=True)).clamp_min(0) / (_CAPTION - 1)
            gates = gates + brevity * self.brief(sentence)
        gates = gates.masked_fill(~mask.any(-1), -torch.inf)
        return LevelOutput(vectors, weights, base, hiddens, roles), gates

    def parts(self, out: LevelOutput) -> Tensor:
        """Return the summands (B, L, 1+W, D) of ``out.vectors``."""
        return self.pools.parts([*[out.base] * _POOLED, out.base * out.roles], out)
