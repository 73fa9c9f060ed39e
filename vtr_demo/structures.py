"""The records that travel between stages.

Axes, used in every shape of the package: B batch, L levels, T frames, P patches, W words,
K concepts, D width. ``1+P`` and ``1+W`` put the summary token ("whole frame", "whole sentence")
at index 0, before the patches or words.

    path -> FrameBatch -> VideoTokens -> VideoFeatures -+
                                                        +-> Alignment -> picture
    text -> Sentence   -> TextTokens  -> TextFeatures  -+
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo.errors import ConfigError

LEVELS = ("global", "entity", "action", "relationship")
TERMS = (*LEVELS, "concepts")
CONTENT_LEVELS = (LEVELS.index("entity"), LEVELS.index("action"))
"""The levels of content words, as against function words."""
_T = TypeVar("_T")


def map_tensors(value: _T, change: Callable[[Tensor], Tensor]) -> _T:
    """Return ``value`` with every tensor in its nested tuples and records replaced by ``change(tensor)``."""
    changed: Any = value
    if isinstance(value, Tensor):
        changed = change(value)
    elif isinstance(value, tuple):
        changed = tuple(map_tensors(part, change) for part in value)
    elif is_dataclass(value) and not isinstance(value, type):
        parts = {part.name: map_tensors(getattr(value, part.name), change) for part in fields(value)}
        changed = replace(value, **parts)
    return changed


def to_device(value: _T, device: torch.device | str) -> _T:
    """Return nested tuples and records of tensors on ``device``, numbers with a fraction in float32."""
    return map_tensors(value, lambda x: x.to(device, torch.float32) if x.is_floating_point() else x.to(device))


class _Tokens:
    """What towers compute, by clip or sentence."""

    def to(self, device: torch.device | str) -> Self:
        """Return the tokens on ``device``, in float32."""
        return to_device(self, device)

    def half(self) -> Self:
        """Return the tokens in float16, as they are stored."""
        return map_tensors(self, lambda x: x.half() if x.is_floating_point() else x)


# --------------------------------------------------------------------------- video
@dataclass(frozen=True)
class CropBox:
    """Where the model's square view lies in the upright source picture, all in source pixels."""

    left: int
    top: int
    width: int
    height: int
    source_width: int
    source_height: int

    def __post_init__(self) -> None:
        right, bottom = self.left + self.width, self.top + self.height
        inside = self.left >= 0 and self.top >= 0 and self.width > 0 and self.height > 0
        if not (inside and right <= self.source_width and bottom <= self.source_height):
            raise ValueError(f"crop {self} does not lie inside its source picture")


@dataclass(frozen=True)
class FrameBatch:
    """Frames as the model sees them: pixels (T, H, W, 3) uint8 RGB, seconds (T,) from pts.

    ``coded`` is the file that these very frames were decoded from, where there is one: it is stored as it is.
    """

    pixels: np.ndarray
    seconds: np.ndarray
    crop: CropBox
    duration_s: float
    coded: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[-1] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be (T,H,W,3) uint8, got {self.pixels.shape} {self.pixels.dtype}")
        if len(self.pixels) == 0 or self.seconds.shape != (len(self.pixels),):
            raise ValueError(f"{len(self.pixels)} frames but seconds of shape {self.seconds.shape}")
        if not np.isfinite(self.seconds).all() or (np.diff(self.seconds) < 0).any():
            raise ValueError("seconds must be finite and must not decrease")

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: Sequence[int]) -> FrameBatch:
        """Return the frames at ``indices``, which must not decrease in time."""
        rows = list(indices)
        return replace(self, pixels=self.pixels[rows], seconds=self.seconds[rows], coded=None)


@dataclass(frozen=True)
class VideoTokens(_Tokens):
    """What the image and motion towers compute, padded over T.

    patches (B, T, P, Dv), row-major over ``grid``; summary (B, T, Ds), one vector a frame in the
    space of the sentence vector; frame_mask (B, T) bool, True for real frames; motion (B, T, Ds),
    the action around each frame, in the same space, None where there is no motion tower.
    """

    patches: Tensor
    summary: Tensor
    frame_mask: Tensor
    grid: tuple[int, int]
    motion: Tensor | None = None

    def __post_init__(self) -> None:
        b, t, p, _ = self.patches.shape
        if p != self.grid[0] * self.grid[1]:
            raise ValueError(f"{p} patches do not fill a {self.grid[0]}x{self.grid[1]} grid")
        if self.summary.shape[:2] != (b, t) or self.frame_mask.shape != (b, t):
            raise ValueError(
                f"patches {tuple(self.patches.shape)}, summary {tuple(self.summary.shape)} "
                f"and frame_mask {tuple(self.frame_mask.shape)} disagree"
            )
        if self.frame_mask.dtype != torch.bool:
            raise ValueError("frame_mask must be boolean")
        if self.motion is not None and self.motion.shape != self.summary.shape:
            raise ValueError(f"motion {tuple(self.motion.shape)} is not {tuple(self.summary.shape)}")

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def whole(self) -> Tensor:
        """(B, T, Ds): summary plus motion."""
        return self.summary if self.motion is None else self.summary + self.motion

    def take(self, frames: Sequence[int]) -> VideoTokens:
        """Return the same clips with only the frames at these indices."""
        columns = list(frames)
        return map_tensors(self, lambda value: value[:, columns])


def pad_video_tokens(clips: Sequence[VideoTokens]) -> VideoTokens:
    """Join the tokens of clips into one batch, padding T to the longest clip."""
    grids = {clip.grid for clip in clips}
    if len(grids) != 1:
        raise ValueError(f"clips must share one patch grid, got {sorted(grids)}")
    known = {clip.motion is not None for clip in clips}
    if len(known) != 1:
        raise ValueError("some of the clips have motion tokens and some have none")
    names = ("patches", "summary", "frame_mask", *(["motion"] if known.pop() else []))
    joined = {name: _joined([getattr(clip, name) for clip in clips]) for name in names}
    return VideoTokens(grid=clips[0].grid, **joined)


def _joined(values: Sequence[Tensor]) -> Tensor:
    """Tensors (B, N, ...) along the first axis; the second is padded with zeros to the longest."""
    longest = max(value.shape[1] for value in values)
    room = [(0, 0) * (value.ndim - 2) + (0, longest - value.shape[1]) for value in values]
    return torch.cat([F.pad(value, pad) for value, pad in zip(values, room, strict=True)])


# --------------------------------------------------------------------------- text
@dataclass(frozen=True)
class Word:
    """One word of a sentence: characters ``[start, end)`` of its cleaned text."""

    text: str
    start: int
    end: int
    lemma: str
    pos: str

    @property
    def is_function_word(self) -> bool:
        """Return whether the word only ties others together: articles, prepositions, auxiliaries, pronouns."""
        return self.pos in ("ADP", "AUX", "CCONJ", "DET", "PART", "PRON", "PUNCT", "SCONJ")


@dataclass(frozen=True)
class Sentence:
    """A parsed sentence. Each level lists groups of word indices (noun chunks, verbs, triples)."""

    text: str
    words: tuple[Word, ...]
    entities: tuple[tuple[int, ...], ...] = ()
    actions: tuple[tuple[int, ...], ...] = ()
    relationships: tuple[tuple[int, ...], ...] = ()
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """Lemmatised attribute labels by level, e.g. {"action": ("run", "catch frisbee")}."""
    denied: tuple[tuple[int, ...], ...] = ()
    """Groups of words that the sentence denies: "people" in "a street without people"."""
    cues: tuple[int, ...] = ()
    """The words that deny them: "without"."""

    def level_mask(self) -> np.ndarray:
        """(L, W) bool: the words of each level; global holds all words."""
        mask = np.zeros((len(LEVELS), len(self.words)), dtype=bool)
        mask[0] = True
        for row, groups in enumerate((self.entities, self.actions, self.relationships), start=1):
            for group in groups:
                mask[row, list(group)] = True
        return mask


@dataclass(frozen=True)
class TextTokens(_Tokens):
    """What a text tower computes, padded over W.

    words (B, W, Dt), each the mean of its sub-word tokens; summary (B, Dt); word_mask (B, W) bool,
    True where a word has tokens (not padding, not past the context limit); level_mask (B, L, W)
    bool; pool (B, 1+W), the weights whose sum over [summary, words] is the tower's own sentence
    vector before normalisation.
    """

    words: Tensor
    summary: Tensor
    word_mask: Tensor
    level_mask: Tensor
    pool: Tensor

    def __post_init__(self) -> None:
        b, w, d = self.words.shape
        expected = {"summary": (b, d), "word_mask": (b, w), "level_mask": (b, len(LEVELS), w), "pool": (b, 1 + w)}
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} must be {shape}, got {tuple(getattr(self, name).shape)}")

    def content_mask(self) -> Tensor:
        """(B, W) bool: the words of things and of actions."""
        things, actions = (self.level_mask[:, level] for level in CONTENT_LEVELS)
        return (things | actions) & self.word_mask

    def __len__(self) -> int:
        return len(self.words)


def pad_text_tokens(texts: Sequence[TextTokens]) -> TextTokens:
    """Join single-sentence tokens into one batch, padding W to the longest sentence."""
    return TextTokens(
        _joined([text.words for text in texts]),
        torch.cat([text.summary for text in texts]),
        _joined([text.word_mask for text in texts]),
        _joined([text.level_mask.transpose(1, 2) for text in texts]).transpose(1, 2),
        _joined([text.pool for text in texts]),
    )


# --------------------------------------------------------------------------- the score's summands
@dataclass(frozen=True)
class Alignment:
    """A score for one sentence and one clip, with its reasons. NumPy, float32.

    level_terms (L, 1+W, T, 1+P) and concept_terms (1+W, T, 1+P) are the summands: together they
    add up to ``score``. word_concept (1+W,) and patch_concept (T, 1+P) are the discrete concept
    allocations, -1 for none, and word_soft (1+W, K) and patch_soft (T, 1+P, K) their probabilities.
    concept_count is K. words has 1+W entries, the first for the whole sentence; seconds is (T,).
    """

    score: float
    level_terms: np.ndarray
    concept_terms: np.ndarray
    word_concept: np.ndarray
    patch_concept: np.ndarray
    concept_count: int
    words: tuple[str, ...]
    seconds: np.ndarray
    grid: tuple[int, int]
    word_soft: np.ndarray | None = None
    patch_soft: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.words), len(self.seconds), 1 + self.grid[0] * self.grid[1])
        if self.level_terms.shape != (len(LEVELS), *shape) or self.concept_terms.shape != shape:
            raise ValueError(
                f"terms {self.level_terms.shape} and {self.concept_terms.shape} "
                f"do not fit words, frames and patches {shape}"
            )

    def terms(self) -> dict[str, float]:
        """The five contributions; they add up to the score."""
        values = [*self.level_terms.sum(axis=(1, 2, 3)), self.concept_terms.sum()]
        return {name: float(value) for name, value in zip(TERMS, values, strict=True)}

    def all_terms(self) -> np.ndarray:
        """(5, 1+W, T, 1+P): levels and concepts stacked in the order of ``TERMS``."""
        return np.concatenate([self.level_terms, self.concept_terms[None]])

    def by_concept(self) -> np.ndarray:
        """(K,): the contribution of each concept; adds up to the ``concepts`` term."""
        held = self.word_concept >= 0
        by_word = self.concept_terms.sum(axis=(1, 2))
        return np.bincount(self.word_concept[held], by_word[held], self.concept_count)


# --------------------------------------------------------------------------- the two sides of the score
@dataclass(frozen=True)
class TermWeights:
    """The sliders: a factor for each level and for the concepts. Levels are renormalised.

    ``muted`` are concepts, by index, that add nothing; the others keep their shares.
    """

    global_: float = 1.0
    entity: float = 1.0
    action: float = 1.0
    relationship: float = 1.0
    concepts: float = 0.5
    muted: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        values = (*self.levels(), self.concepts)
        if not all(np.isfinite(v) and v >= 0 for v in values):
            raise ConfigError(f"Term weights must be finite and not negative, got {values}.")
        if sum(values) == 0:
            raise ConfigError("All level and concept weights are zero; raise at least one of them.")

    def levels(self) -> tuple[float, float, float, float]:
        """The four level weights in the order of ``LEVELS``."""
        return self.global_, self.entity, self.action, self.relationship

    def log_levels(self, like: Tensor) -> Tensor:
        """(L,): the logarithms of the level weights, with the device and type of ``like``."""
        return _logarithms(self.levels(), like.device, like.dtype)

    def by_term(self) -> dict[str, float]:
        """The factors by the names in ``TERMS``."""
        return {name: getattr(self, key) for name, key in _FIELDS.items()}

    def changed(self, values: Mapping[str, float]) -> TermWeights:
        """With other factors for the terms named, as in ``TERMS``."""
        for name, value in values.items():
            if name not in TERMS:
                raise ConfigError(f"There is no term {name!r} to weigh; there are {', '.join(TERMS)}.")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigError(f"The weight of {name} must be a number, got {value!r}.")
        return replace(self, **{_FIELDS[name]: float(value) for name, value in values.items()})  # type: ignore[arg-type]

    def ablated(self) -> dict[str, TermWeights]:
        """Each term that weighs something alone (`only entity`) and left out (`without entity`)."""
        ablations: dict[str, TermWeights] = {}
        for name, key in _FIELDS.items():
            if not getattr(self, key):
                continue
            alone = {other: float(other == key) for other in _FIELDS.values()}
            ablations[f"only {name}"] = replace(self, **alone)  # type: ignore[arg-type]
            if sum(bool(getattr(self, other)) for other in _FIELDS.values()) > 1:
                ablations[f"without {name}"] = replace(self, **{key: 0.0})  # type: ignore[arg-type]
        return ablations


AGAINST = 0.5
"""How much an excluded phrase counts against a clip, where the words of a query count 1."""
MAX_EXCLUDED = 8


@dataclass(frozen=True)
class Mix:
    """What a query asks for beside its words. The score stays one inner product:

    (1 - share) words + share example - AGAINST (each phrase excluded)
    """

    like: str = ""
    """Id of an example: a clip of the library, or a file that ``Engine.read_example`` has read."""
    moment: int = -1
    """Moment of the example, -1 for all of it."""
    share: float = 0.5
    """Part of the example where there are words as well, from 0 to 1."""
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.share) and 0 <= self.share <= 1):
            raise ConfigError(f"The share of the example must lie between 0 and 1, got {self.share}.")
        if len(self.exclude) > MAX_EXCLUDED:
            raise ConfigError(f"{len(self.exclude)} phrases are excluded; give at most {MAX_EXCLUDED}.")


NO_MIX = Mix()


@lru_cache
def _logarithms(factors: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(factors, device=device, dtype=dtype).log()


_FIELDS = dict(zip(TERMS, ("global_", *LEVELS[1:], "concepts"), strict=True))
"""The field of each term."""


@dataclass(frozen=True)
class VideoFeatures:
    """The video side of the score.

    levels (B, L, D), unit vectors; concepts (B, K, Dc), unit vectors, zero where the concept is
    empty; allocation (B, T, 1+P), the concept of each token or -1. The parts are optional:
    level_parts (B, L, T, 1+P, D) sums to ``levels`` over (T, 1+P); concept_parts
    (B, T, 1+P, Dc), summed over the tokens of concept k, is row k of ``concepts``; soft
    (B, K, T, 1+P) are the probabilities of ``allocation``.
    """

    levels: Tensor
    concepts: Tensor
    allocation: Tensor
    level_parts: Tensor | None = None
    concept_parts: Tensor | None = None
    soft: Tensor | None = None

    def flat(self) -> Tensor:
        """(B, L*D + K*Dc): the video's side of the one inner product that is the score."""
        return torch.cat([self.levels.flatten(1), self.concepts.flatten(1)], dim=1)

    def as_query(self) -> TextFeatures:
        """One clip in the place of a sentence, to find its like; with parts, one row for the levels and one
        for each concept that the clip holds.

        Levels weigh alike where the clip has them, a concept as many patches as it holds (our decision).
        """
        count = self.concepts.shape[1]
        present = self.levels.norm(dim=-1) > 0.5
        held = torch.stack([(self.allocation == k).flatten(1).sum(1) for k in range(count)], dim=1)
        held = held * (self.concepts.norm(dim=-1) > 0.5)
        rows = held[0].nonzero()[:, 0]
        level_parts = F.pad(self.levels.unsqueeze(2), (0, 0, 0, len(rows)))
        concept_parts = self.concepts.new_zeros(1, count, 1 + len(rows), self.concepts.shape[2])
        concept_parts[0, rows, 1 + torch.arange(len(rows), device=rows.device)] = self.concepts[0, rows]
        return TextFeatures(
            self.levels,
            torch.zeros_like(self.levels[..., 0]).masked_fill(~present, -torch.inf),
            self.concepts,
            held / held.sum(1, keepdim=True).clamp_min(1),
            torch.cat([rows.new_full((1,), -1), rows])[None],
            level_parts,
            concept_parts,
            F.pad(F.one_hot(rows, count).T, (1, 0)).to(self.levels)[None],
        )


@dataclass(frozen=True)
class TextFeatures:
    """The text side of the score, laid out as ``VideoFeatures``.

    level_logits (B, L), -inf where the sentence lacks the level; concept_weights (B, K), sums to
    1 over the sentence's concepts (or all zero); allocation (B, 1+W); level_parts
    (B, L, 1+W, D); concept_parts (B, 1+W, Dc); soft (B, K, 1+W).
    """

    levels: Tensor
    level_logits: Tensor
    concepts: Tensor
    concept_weights: Tensor
    allocation: Tensor
    level_parts: Tensor | None = None
    concept_parts: Tensor | None = None
    soft: Tensor | None = None

    def gates(self, weights: TermWeights) -> Tensor:
        """g_l (B, L): sums to 1 over the levels present that have a weight, else all zero."""
        logits = self.level_logits + weights.log_levels(self.levels)
        dead = torch.isinf(logits).all(dim=1, keepdim=True)
        return torch.where(dead, torch.zeros_like(logits), logits.masked_fill(dead, 0.0).softmax(dim=1))

    def shares(self, weights: TermWeights) -> Tensor:
        """lambda w_k (B, K): what a concept's agreement counts for in the score."""
        shares = weights.concepts * self.concept_weights
        if not weights.muted:  # as in training, which need not wait for a mask at each step
            return shares
        return shares * shares.new_tensor([k not in weights.muted for k in range(shares.shape[1])])

    def flat(self, weights: TermWeights) -> Tensor:
        """(B, L*D + K*Dc): the text's side of the score, with the sliders applied."""
        levels = self.gates(weights).unsqueeze(-1) * self.levels
        concepts = self.shares(weights).unsqueeze(-1) * self.concepts
        return torch.cat([levels.flatten(1), concepts.flatten(1)], dim=1)


@dataclass(frozen=True)
class QueryPart:
    """A summand of a query: the features of words or of an example, one of a batch, and their factor.

    rows (N,) place its tokens among the words of an ``Alignment``.
    """

    factor: float
    features: TextFeatures
    rows: tuple[int, ...]


def term_sums(text: np.ndarray, video: np.ndarray, width: int) -> dict[str, float]:
    """The five terms of the inner product of two flat vectors (F,), cut where they meet; D is ``width``."""
    products = text * video
    edges = [*(i * width for i in range(len(LEVELS) + 1)), len(products)]
    return {name: float(products[a:b].sum()) for name, (a, b) in zip(TERMS, pairwise(edges), strict=True)}
