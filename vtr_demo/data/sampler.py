"""Random training batches: photos, videos, playground clips and stills, with frozen or learning towers."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone
from vtr_demo.config import MixtureConfig
from vtr_demo.data.cache import FrameStore, Reduce, VideoCache, Videos, pad_clips
from vtr_demo.data.captions import EncodedCaption, text_batch, text_tokens
from vtr_demo.data.dataset import HardNegative, Sample
from vtr_demo.data.grounding import AllocationTruth, CaptionPool, GroundedCaptions, PlaygroundTruth
from vtr_demo.data.short import ShortQueries
from vtr_demo.structures import Sentence, TextTokens, VideoTokens, pad_text_tokens, pad_video_tokens, to_device

KINDS = ("photo", "video", "playground", "still")
_NEGATIVES_PER_CLIP = 4
_NAMING_CAPTIONS = 20_000


# --------------------------------------------------------------------------- what a training step takes
@dataclass(frozen=True)
class HardNegatives:
    """False sentences of a batch's minimal pairs: ``tokens`` of N sentences, the batch row of each (N,), and
    the index of the level that is wrong in it (N,)."""

    tokens: TextTokens
    rows: Tensor
    levels: Tensor


@dataclass(frozen=True)
class ShortTexts:
    """Short queries: ``tokens`` of S texts, the index of the level that each asks first (S,), and the clips of
    the batch that are right for it (S, B) bool."""

    tokens: TextTokens
    levels: Tensor
    right: Tensor


@dataclass(frozen=True)
class Teaching:
    """The frozen teacher's tokens of the same frames and words, in the layout of the student's."""

    videos: tuple[VideoTokens, ...]
    texts: TextTokens


@dataclass(frozen=True)
class Batch:
    """One step's data: text i belongs to video i over the concatenation of ``videos``.

    Videos of equal length are grouped (photos apart from clips), which saves padding. meaning (B, 1+L, Dt) as
    in ``EncodedCaption``; labels[l] (B, A_l). Without ``teaching`` the teacher's tokens are the batch's own: the
    frozen towers teach their heads.
    """

    videos: tuple[VideoTokens, ...]
    texts: TextTokens
    meaning: Tensor
    labels: tuple[Tensor, ...] = ()
    hard_negatives: HardNegatives | None = None
    teaching: Teaching | None = None
    truth: AllocationTruth | None = None
    short: ShortTexts | None = None
    captions: GroundedCaptions | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the same on ``device``; tokens in float32."""
        return to_device(self, device)


# --------------------------------------------------------------------------- teachers of the distillation
def on_grid(tokens: VideoTokens, grid: tuple[int, int]) -> VideoTokens:
    """Resample patches (B, T, P, Dv) to ``grid`` (rows, columns), bilinearly and antialiased."""
    if tokens.grid == grid:
        return tokens
    b, t, _, d = tokens.patches.shape
    maps = tokens.patches.float().flatten(0, 1).transpose(1, 2).reshape(b * t, d, *tokens.grid)
    maps = F.interpolate(maps, grid, mode="bilinear", align_corners=False, antialias=True)
    return replace(tokens, patches=maps.flatten(2).transpose(1, 2).unflatten(0, (b, t)), grid=grid)


@dataclass(frozen=True)
class TeacherTokens:
    """A teacher's cached tokens, for frozen students: clips by item, sentences by text; ``grid`` is the student's."""

    cache: VideoCache
    texts: Mapping[str, TextTokens]
    grid: tuple[int, int]

    def teach(self, groups: Sequence[Sequence[Sample]], texts: Sequence[str]) -> Teaching:
        """Return the tokens of groups of clips, and of the sentences."""
        videos = (pad_video_tokens([on_grid(self.cache.get(item), self.grid) for item in items]) for items in groups)
        return Teaching(tuple(videos), pad_text_tokens([self.texts[text] for text in texts]))


@dataclass(frozen=True)
class LiveTeacher:
    """A frozen teacher that encodes the frames of the batch, for students that are fine-tuned.

    ``reduce`` is given where the teacher is the student's own frozen backbone, so that the targets have the
    width that the heads take.
    """

    backbone: Backbone
    grid: tuple[int, int]
    reduce: Reduce | None = None

    @torch.no_grad()
    def teach(self, clips: Sequence[tuple[np.ndarray, np.ndarray]], sentences: Sequence[Sentence]) -> Teaching:
        """Encode groups of (pixels (B, T, H, W, 3) uint8, frame mask (B, T)), and the sentences."""
        videos = [self.backbone.encode_frame_batch(pixels, mask) for pixels, mask in clips]
        if self.reduce is not None:
            videos = [self.reduce(tokens) for tokens in videos]
        return Teaching(tuple(on_grid(tokens, self.grid) for tokens in videos), self.backbone.encode_text(sentences))


def frozen_copy(backbone: Backbone) -> Backbone:
    """Return a copy of the towers that stays as they are now."""
    frozen = copy.deepcopy(backbone)
    frozen.freeze()
    return frozen


# --------------------------------------------------------------------------- drawing
class DrawnNegative(NamedTuple):
    """A false sentence of the clip in one row of a batch, and the level that is wrong in it."""

    row: int
    level: int
    text: str


@dataclass(frozen=True)
class Draw:
    """The content of a batch before the towers run.

    groups: indices of items, one array a kind; texts: a sentence for each item, in that order.
    """

    groups: tuple[np.ndarray, ...]
    texts: tuple[str, ...]
    hard_negatives: tuple[DrawnNegative, ...]

    @property
    def items(self) -> np.ndarray:
        """Indices of all items (B,)."""
        return np.concatenate(self.groups)


@dataclass
class Sampler:
    """Draws batches of cached tokens; all randomness comes from the generator passed in.

    ``size`` is the number of clips a step and process, ``mixture`` the shares of the kinds in it. ``texts``
    holds every sentence of the items by its text; ``labels`` are L tensors (items, A_l). Each of
    several processes draws the joint batch and takes its part, so that no clip is drawn twice and the joint
    batch does not depend on how it is divided.
    """

    items: list[Sample]
    cache: Videos
    texts: dict[str, EncodedCaption]
    labels: tuple[Tensor, ...]
    size: int
    mixture: MixtureConfig
    teacher: TeacherTokens | None = None
    truth: PlaygroundTruth | None = None
    short: ShortQueries | None = None
    pool: CaptionPool | None = None

    def __post_init__(self) -> None:
        kinds = np.array([item.kind for item in self.items])
        self._by_kind = [np.flatnonzero(kinds == kind) for kind in KINDS]

    def captions(self) -> list[EncodedCaption]:
        """Return the items' own sentences, each once, without the false ones of minimal pairs."""
        return [self.texts[text] for text in self._own_sentences() if text in self.texts]

    def _own_sentences(self) -> dict[str, Sentence]:
        return {sentence.text: sentence for item in self.items for sentence in item.sentences}

    def batch(self, rng: np.random.Generator, done: float = 0.0) -> Batch:
        """Return a random batch; ``done`` is the share of training so far, from 0 to 1."""
        draw = self.draw(rng, done)
        captions = [self.texts[text] for text in draw.texts]
        sentences = [caption.sentence for caption in captions]
        videos, teaching = self._encode_videos(draw, sentences)
        texts = self._encode(draw.texts)
        return Batch(
            videos,
            texts,
            torch.stack([caption.meaning for caption in captions]).to(texts.words.device),
            tuple(labels[draw.items] for labels in self.labels),
            self._encode_negatives(draw),
            teaching,
            self._truth(draw, videos, sentences, texts),
            self._short_texts(draw.items, rng),
            self.pool.batch(rng, self.size) if self.pool else None,
        )

    def _encode_videos(
        self, draw: Draw, sentences: Sequence[Sentence]
    ) -> tuple[tuple[VideoTokens, ...], Teaching | None]:
        """The tokens of the clips by group, and the teacher's of the clips and their ``sentences``."""
        groups = [[self.items[i] for i in group] for group in draw.groups]
        videos = tuple(pad_video_tokens([self.cache.get(item) for item in items]) for items in groups)
        return videos, self.teacher.teach(groups, draw.texts) if self.teacher else None

    def _short_texts(self, items: np.ndarray, rng: np.random.Generator) -> ShortTexts | None:
        if self.short is None:
            return None
        texts, levels, right = self.short.draw(items, rng)
        return ShortTexts(self._encode(texts), levels, right) if texts else None

    def _truth(
        self, draw: Draw, videos: Sequence[VideoTokens], sentences: list[Sentence], texts: TextTokens
    ) -> AllocationTruth | None:
        if self.truth is None:
            return None
        groups = [[self.items[i] for i in group] for group in draw.groups]
        shapes = [(tokens.patches.shape[1], tokens.patches.shape[2]) for tokens in videos]
        return self.truth.batch(groups, shapes, sentences, texts.words.shape[1])

    def draw(self, rng: np.random.Generator, done: float = 0.0) -> Draw:
        """Draw this process's part of a random joint batch."""
        world, rank = distributed.world(), distributed.rank()
        counts = [(members, count) for members, count in self._counts(done, world) if count]
        groups = [rng.choice(members, count * world, replace=False) for members, count in counts]
        sentences = [self._draw_sentence(self.items[i], rng) for i in np.concatenate(groups)]
        negatives = _draw_negatives([pair for _, pair in sentences], rng)
        if world == 1:
            return Draw(tuple(groups), tuple(text for text, _ in sentences), tuple(negatives))
        starts = np.cumsum([0, *(count * world for _, count in counts)]).tolist()
        rows = [start + rank * n + i for start, (_, n) in zip(starts, counts, strict=False) for i in range(n)]
        place = {row: i for i, row in enumerate(rows)}
        return Draw(
            tuple(group[rank * count : (rank + 1) * count] for group, (_, count) in zip(groups, counts, strict=True)),
            tuple(sentences[row][0] for row in rows),
            tuple(one._replace(row=place[one.row]) for one in negatives if one.row in place),
        )

    def prefetch(self, rng: np.random.Generator, done: float = 0.0) -> None:
        """Prepare the batch that ``batch`` will return for this generator; cached tokens need nothing."""

    def _counts(self, done: float, world: int) -> list[tuple[np.ndarray, int]]:
        """Return the items of each kind, and how many of them one process takes."""
        photos, videos, *drawn = self._by_kind
        size = self.size
        factor = 1 - done * (1 - self.mixture.drawn_end)  # linear in the share of training
        shares = [factor * self.mixture.playground, factor * self.mixture.still]
        if not len(photos) + len(videos):
            total = sum(share for share, members in zip(shares, drawn, strict=True) if len(members))
            shares = [share / total for share in shares] if total else [1.0, 1.0]
        taken = [min(len(members) // world, round(size * share)) for share, members in zip(shares, drawn, strict=True)]
        rest = size - sum(taken)
        filmed = min(len(videos) // world, round(rest * self.mixture.video) if len(photos) else rest)
        return [(photos, min(len(photos) // world, rest - filmed)), (videos, filmed), *zip(drawn, taken, strict=True)]

    def _draw_sentence(self, item: Sample, rng: np.random.Generator) -> tuple[str, HardNegative | None]:
        if item.hard_negatives:
            pair = item.hard_negatives[int(rng.integers(len(item.hard_negatives)))]
            return pair.true.text, pair
        return item.sentences[int(rng.integers(len(item.sentences)))].text, None

    def _encode_negatives(self, draw: Draw) -> HardNegatives | None:
        if not draw.hard_negatives:
            return None
        rows, levels, texts = zip(*draw.hard_negatives, strict=True)
        return HardNegatives(self._encode(texts), torch.tensor(rows), torch.tensor(levels))

    def _encode(self, texts: Sequence[str]) -> TextTokens:
        return text_batch([self.texts[text] for text in texts])


def _draw_negatives(pairs: Sequence[HardNegative | None], rng: np.random.Generator) -> list[DrawnNegative]:
    negatives = []
    for row, pair in enumerate(pairs):
        if pair is None or not pair.false:
            continue
        for k in rng.choice(len(pair.false), min(_NEGATIVES_PER_CLIP, len(pair.false)), replace=False):
            level, sentence = pair.false[k]
            negatives.append(DrawnNegative(row, level, sentence.text))
    return negatives


# --------------------------------------------------------------------------- towers that learn
@dataclass(frozen=True)
class EndToEndVideos:
    """Tokens of clips by the towers as they are now, uncached. Stands in for a ``VideoCache``."""

    backbone: Backbone
    reduce: Reduce
    frames: FrameStore

    @torch.no_grad()
    def get(self, item: Sample) -> VideoTokens:
        """Return the tokens of one item, a batch of one, without gradients."""
        return self.reduce(self.backbone.encode_frames(self.frames.get(item)))


@dataclass
class EndToEndSampler(Sampler):
    """Draws as a ``Sampler``; pixels and sentences go through the towers with gradients.

    ``texts`` holds every sentence by its text, with the level embeddings of the untrained towers.
    """

    cache: EndToEndVideos
    live_teacher: LiveTeacher | None = None

    def captions(self) -> list[EncodedCaption]:
        """Encode the items' own sentences with the towers as they are now; of very many an even spread."""
        own = list(self._own_sentences().values())
        some = own[:: max(1, math.ceil(len(own) / _NAMING_CAPTIONS))]
        tokens = text_tokens(some, self.cache.backbone)
        return [replace(self.texts[sentence.text], tokens=tokens[sentence.text].half()) for sentence in some]

    def _encode_videos(
        self, draw: Draw, sentences: Sequence[Sentence]
    ) -> tuple[tuple[VideoTokens, ...], Teaching | None]:
        clips = [pad_clips([self.cache.frames.get(self.items[i]) for i in group]) for group in draw.groups]
        videos = tuple(self.cache.backbone.encode_frame_batch(pixels, mask) for pixels, mask in clips)
        return videos, self.live_teacher.teach(clips, sentences) if self.live_teacher else None

    def prefetch(self, rng: np.random.Generator, done: float = 0.0) -> None:
        """Decode the clips of a coming batch while this one is computed."""
        self.cache.frames.prefetch([self.items[i] for i in self.draw(rng, done).items])

    def _encode(self, texts: Sequence[str]) -> TextTokens:
        return self.cache.backbone.encode_text([self.texts[text].sentence for text in texts])
