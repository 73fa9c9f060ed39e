"""Random batches of a corpus: photos, videos, playground clips and stills together."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone
from vtr_demo.config import TrainConfig
from vtr_demo.data.cache import FrameStore, Reduce, VideoCache, Videos, pad_clips
from vtr_demo.data.captions import CaptionText, EncodedCaption, text_batch
from vtr_demo.data.dataset import HardNegative, Sample
from vtr_demo.structures import Sentence, TextTokens, VideoTokens, pad_text_tokens, pad_video_tokens


# --------------------------------------------------------------------------- what a training step works
@dataclass(frozen=True)
class HardNegatives:
    """Minimal pairs of a batch: ``tokens`` of N false sentences, the row of the batch that each
    belongs to, and the level (index) that it gets wrong.
    """

    tokens: TextTokens
    rows: Tensor
    levels: Tensor

    def to(self, device: torch.device) -> HardNegatives:
        """The same on ``device``."""
        return HardNegatives(
            self.tokens.to(device),
            self.rows.to(device),
            self.levels.to(device),
        )


@dataclass(frozen=True)
class Teaching:
    """The frozen teacher's tokens of the same frames and words, in the layout of the student's."""

    videos: tuple[VideoTokens, ...]
    texts: TextTokens

    def to(self, device: torch.device) -> Teaching:
        """The same on ``device``."""
        return Teaching(tuple(video.to(device) for video in self.videos), self.texts.to(device))


@dataclass(frozen=True)
class Batch:
    """One step's data: text i belongs to video i over the concatenation of ``videos``.

    Videos of equal length travel together (photos apart from clips), so that nothing is padded in
    vain. meaning (B, 1+L, Dt) as in ``CaptionText``; labels[l] (B, A_l). Without ``teaching`` the
    batch's own tokens are the teacher's: the frozen towers teach their heads.
    """

    videos: tuple[VideoTokens, ...]
    texts: TextTokens
    meaning: Tensor
    labels: tuple[Tensor, ...] = ()
    contrasts: HardNegatives | None = None
    teaching: Teaching | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``; tokens in float32."""
        return replace(
            self,
            videos=tuple(video.to(device) for video in self.videos),
            texts=self.texts.to(device),
            meaning=self.meaning.to(device),
            labels=tuple(labels.to(device) for labels in self.labels),
            contrasts=self.contrasts.to(device) if self.contrasts else None,
            teaching=self.teaching.to(device) if self.teaching else None,
        )


# --------------------------------------------------------------------------- the teacher of the distilla
def on_grid(tokens: VideoTokens, grid: tuple[int, int]) -> VideoTokens:
    """The same tokens with patches (B, T, P, Dv) resampled to ``grid`` (rows, columns), bilinearly.

    A coarser grid averages over the cells that it covers (antialiasing).
    """
    if tokens.grid == grid:
        return tokens
    b, t, _, d = tokens.patches.shape
    maps = tokens.patches.float().flatten(0, 1).transpose(1, 2).reshape(b * t, d, *tokens.grid)
    maps = F.interpolate(maps, grid, mode="bilinear", align_corners=False, antialias=True)
    return replace(tokens, patches=maps.flatten(2).transpose(1, 2).unflatten(0, (b, t)), grid=grid)


class TeacherTokens:
    """Tokens that were computed beforehand, for frozen students: clips by item, sentences by text."""

    def __init__(self, cache: VideoCache, texts: Mapping[str, TextTokens], grid: tuple[int, int]) -> None:
        self._cache, self._texts, self._grid = cache, texts, grid

    def video(self, item: Sample) -> VideoTokens:
        """The teacher's tokens of one clip on the student's grid, a batch of one."""
        return on_grid(self._cache.get(item), self._grid)

    def text(self, text: str) -> TextTokens:
        """The teacher's tokens of one sentence, a batch of one."""
        return self._texts[text]


class LiveTeacher:
    """A teacher that encodes the frames of the batch, for students that are fine-tuned.

    ``reduce`` is given where the teacher is the student's own frozen backbone, so that the targets have the
    width that the heads take.
    """

    def __init__(self, backbone: Backbone, grid: tuple[int, int], reduce: Reduce | None = None) -> None:
        self.backbone, self._grid, self._reduce = backbone, grid, reduce

    @torch.no_grad()
    def teach(
        self, clips: Sequence[tuple[np.ndarray | Tensor, np.ndarray | Tensor]], sentences: Sequence[Sentence]
    ) -> Teaching:
        """Tokens of groups of (pixels (B, T, H, W, 3) uint8, frame mask (B, T)) and of the sentences."""
        videos = [self.backbone.encode_frame_batch(pixels, mask) for pixels, mask in clips]
        if self._reduce is not None:
            videos = [self._reduce(tokens) for tokens in videos]
        return Teaching(
            tuple(on_grid(tokens, self._grid) for tokens in videos), self.backbone.encode_text(sentences)
        )


def frozen_copy(backbone: Backbone) -> Backbone:
    """The same towers, which stay as they are now."""
    twin = copy.deepcopy(backbone)
    twin.freeze()
    return twin


KINDS = ("photo", "video", "playground", "still")
_CONTRASTS_A_CLIP = 4


class Wrong(NamedTuple):
    """A false sentence of the clip in one row."""

    row: int
    level: int
    text: str


@dataclass(frozen=True)
class Draw:
    """What a batch is made of, before any tower has run.

    groups: indices of items, one array a kind; texts: a sentence for each item, in that order.
    """

    groups: tuple[np.ndarray, ...]
    texts: tuple[str, ...]
    contrasts: tuple[Wrong, ...]

    @property
    def chosen(self) -> np.ndarray:
        """Indices of all items (B,)."""
        return np.concatenate(self.groups)


class Sampler:
    """Draws batches of frozen towers' tokens; everything random comes from the generator handed in.

    ``texts`` holds every sentence of the items by its text; ``labels`` are L tensors (items, A_l).
    With several processes each draws the joint batch and takes its part, so that no clip is drawn
    twice and the joint batch does not depend on how it is divided.
    """

    def __init__(
        self,
        items: list[Sample],
        cache: Videos,
        texts: dict[str, EncodedCaption],
        labels: tuple[Tensor, ...],
        config: TrainConfig,
        teacher: TeacherTokens | None = None,
    ) -> None:
        self.items, self.cache, self.texts, self.labels = items, cache, texts, labels
        self.teacher = teacher
        self._size, self._long = config.batch, config.long_share
        self._drawn = (config.playground_share, config.still_share)
        self._drawn_end = config.drawn_end
        self._by_kind = [
            np.array([i for i, item in enumerate(items) if item.kind == kind], dtype=np.int64)
            for kind in KINDS
        ]

    def spoken(self) -> list[EncodedCaption]:
        """The items' own sentences, each once; not the false ones of minimal pairs."""
        own = dict.fromkeys(sentence.text for item in self.items for sentence in item.sentences)
        return [self.texts[text] for text in own if text in self.texts]

    def batch(self, rng: np.random.Generator, done: float = 0.0) -> Batch:
        """A random batch: photos, videos, playground clips and stills in their shares, one sentence each.

        ``done`` says how much of the training is, from 0 to 1.
        """
        draw = self.draw(rng, done)
        return Batch(
            tuple(self._seen([self.items[i] for i in group]) for group in draw.groups),
            self._told(draw.texts),
            torch.stack([self.texts[text].meaning for text in draw.texts]),
            tuple(labels[draw.chosen] for labels in self.labels),
            self._contrasts(draw),
            self._teaching(draw),
        )

    def draw(self, rng: np.random.Generator, done: float = 0.0) -> Draw:
        """This process's part of a random joint batch."""
        world, rank = distributed.world(), distributed.rank()
        counts = [(where, count) for where, count in self._counts(done, world) if count]
        groups = [rng.choice(where, count * world, replace=False) for where, count in counts]
        spoken = [self._sentence(self.items[i], rng) for i in np.concatenate(groups)]
        false = self._false([contrast for _, contrast in spoken], rng)
        if world == 1:
            return Draw(tuple(groups), tuple(text for text, _ in spoken), tuple(false))
        own: list[int] = []
        start = 0
        for _, count in counts:
            own += range(start + rank * count, start + (rank + 1) * count)
            start += count * world
        place = {row: i for i, row in enumerate(own)}
        return Draw(
            tuple(
                group[rank * count : (rank + 1) * count]
                for group, (_, count) in zip(groups, counts, strict=True)
            ),
            tuple(spoken[row][0] for row in own),
            tuple(wrong._replace(row=place[wrong.row]) for wrong in false if wrong.row in place),
        )

    def prefetch(self, rng: np.random.Generator, done: float = 0.0) -> None:
        """``batch`` will be asked with this generator soon; nothing to prepare where tokens are kept."""

    def _counts(self, done: float, world: int) -> list[tuple[np.ndarray, int]]:
        """How many of each kind one process takes."""
        photos, videos, *drawn = self._by_kind
        size = self._size
        kept = 1 - done * (1 - self._drawn_end)
        shares: Sequence[float] = [kept * share for share in self._drawn]
        if not len(photos) + len(videos):
            whole = sum(share for share, where in zip(shares, drawn, strict=True) if len(where))
            shares = [share / whole for share in shares] if whole else [1.0, 1.0]
        taken = [
            min(len(where) // world, round(size * share)) for share, where in zip(shares, drawn, strict=True)
        ]
        rest = size - sum(taken)
        filmed = min(len(videos) // world, round(rest * self._long) if len(photos) else rest)
        return [
            (photos, min(len(photos) // world, rest - filmed)),
            (videos, filmed),
            *zip(drawn, taken, strict=True),
        ]

    def _sentence(self, item: Sample, rng: np.random.Generator) -> tuple[str, HardNegative | None]:
        if item.contrasts:
            contrast = item.contrasts[int(rng.integers(len(item.contrasts)))]
            return contrast.true.text, contrast
        return item.sentences[int(rng.integers(len(item.sentences)))].text, None

    @staticmethod
    def _false(drawn: list[HardNegative | None], rng: np.random.Generator) -> list[Wrong]:
        found = []
        for row, contrast in enumerate(drawn):
            if contrast is None or not contrast.false:
                continue
            count = min(_CONTRASTS_A_CLIP, len(contrast.false))
            for k in rng.choice(len(contrast.false), count, replace=False):
                level, sentence = contrast.false[k]
                found.append(Wrong(row, level, sentence.text))
        return found

    def _contrasts(self, draw: Draw) -> HardNegatives | None:
        if not draw.contrasts:
            return None
        rows, levels, texts = zip(*draw.contrasts, strict=True)
        return HardNegatives(self._told(texts), torch.tensor(rows), torch.tensor(levels))

    def _told(self, texts: Sequence[str]) -> TextTokens:
        """The tokens of these sentences, true or false, as a batch."""
        return text_batch([self.texts[text] for text in texts])

    def _seen(self, items: Sequence[Sample]) -> VideoTokens:
        """The tokens of these clips as a batch."""
        return pad_video_tokens([self.cache.get(item) for item in items])

    def _teaching(self, draw: Draw) -> Teaching | None:
        if self.teacher is None:
            return None
        return Teaching(
            tuple(
                pad_video_tokens([self.teacher.video(self.items[i]) for i in group]) for group in draw.groups
            ),
            pad_text_tokens([self.teacher.text(text) for text in draw.texts]),
        )


# --------------------------------------------------------------------------- batches whose tokens are ma
class EndToEndVideos:
    """Clips through the towers as they stand; nothing is remembered. Stands in for a ``VideoCache``."""

    def __init__(self, backbone: Backbone, reduce: Reduce, frames: FrameStore) -> None:
        self._backbone, self._reduce, self.frames = backbone, reduce, frames

    @torch.no_grad()
    def get(self, item: Sample) -> VideoTokens:
        """The tokens of one item, a batch of one, without gradients."""
        return self._reduce(self._backbone.encode_frames(self.frames.get(item)))


class EndToEndSampler(Sampler):
    """Draws as a ``Sampler`` does; pixels and sentences go through the towers, with gradients.

    ``spoken`` holds every sentence by its text with the meaning that the frozen towers gave it.
    """

    def __init__(
        self,
        items: list[Sample],
        videos: EndToEndVideos,
        spoken: Mapping[str, CaptionText],
        labels: tuple[Tensor, ...],
        config: TrainConfig,
        backbone: Backbone,
        teacher: LiveTeacher | None = None,
    ) -> None:
        super().__init__(items, videos, {}, labels, config)
        self._frames, self._spoken, self._backbone, self._live_teacher = (
            videos.frames,
            spoken,
            backbone,
            teacher,
        )

    def batch(self, rng: np.random.Generator, done: float = 0.0) -> Batch:
        """A random batch of tokens that lead back to the towers' weights."""
        draw = self.draw(rng, done)
        clips = [pad_clips([self._frames.get(self.items[i]) for i in group]) for group in draw.groups]
        sentences = [self._spoken[text].sentence for text in draw.texts]
        videos = tuple(self._backbone.encode_frame_batch(pixels, mask) for pixels, mask in clips)
        texts = self._told(draw.texts)
        return Batch(
            videos,
            texts,
            torch.stack([self._spoken[text].meaning for text in draw.texts]).to(texts.words.device),
            tuple(labels[draw.chosen] for labels in self.labels),
            self._contrasts(draw),
            self._live_teacher.teach(clips, sentences) if self._live_teacher else None,
        )

    def prefetch(self, rng: np.random.Generator, done: float = 0.0) -> None:
        """Decode the clips of a coming batch while this one is computed."""
        draw = self.draw(rng, done)
        self._frames.prefetch([self.items[i] for i in draw.chosen])

    def _told(self, texts: Sequence[str]) -> TextTokens:
        return self._backbone.encode_text([self._spoken[text].sentence for text in texts])
