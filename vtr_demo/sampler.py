"""Random batches of a corpus: photos, videos, playground clips and stills together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.batch import Batch, Contrasts, Teaching
from vtr_demo.config import TrainConfig
from vtr_demo.corpus import Contrast, Item
from vtr_demo.records import TextTokens, VideoTokens, pad_text_tokens, pad_video_tokens
from vtr_demo.teacher import TeacherTokens
from vtr_demo.tokens import Text, Videos, text_batch

KINDS = ("photo", "video", "playground", "still")
_CONTRASTS_A_CLIP = 4
_RIVALLED = 0.5  # how often a clip that has a rival is told so that the rival is heard


class Wrong(NamedTuple):
    """A false sentence of the clip in one row; ``rival`` is a clip of which it is true."""

    row: int
    level: int
    text: str
    rival: Item | None


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

    def rivals(self) -> tuple[Tensor | None, list[list[Item]]]:
        """Where false sentences are that are true of another clip, and these clips, one group a kind."""
        kinds: dict[str, list[tuple[int, Item]]] = {}
        for place, wrong in enumerate(self.contrasts):
            if wrong.rival is not None:
                kinds.setdefault(wrong.rival.kind, []).append((place, wrong.rival))
        groups = list(kinds.values())
        shown = torch.tensor([place for group in groups for place, _ in group]) if groups else None
        return shown, [[rival for _, rival in group] for group in groups]


class Sampler:
    """Draws batches of frozen towers' tokens; everything random comes from the generator handed in.

    ``texts`` holds every sentence of the items by its text; ``labels`` are L tensors (items, A_l).
    With several processes each draws the joint batch and takes its part, so that no clip is drawn
    twice and the joint batch does not depend on how it is divided.
    """

    def __init__(
        self,
        items: list[Item],
        cache: Videos,
        texts: dict[str, Text],
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

    def spoken(self) -> list[Text]:
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

    def expect(self, rng: np.random.Generator, done: float = 0.0) -> None:
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

    def _sentence(self, item: Item, rng: np.random.Generator) -> tuple[str, Contrast | None]:
        if item.contrasts:
            rivalled = [contrast for contrast in item.contrasts if contrast.rivals]
            options = rivalled if rivalled and rng.random() < _RIVALLED else item.contrasts
            contrast = options[int(rng.integers(len(options)))]
            return contrast.true.text, contrast
        return item.sentences[int(rng.integers(len(item.sentences)))].text, None

    @staticmethod
    def _false(drawn: list[Contrast | None], rng: np.random.Generator) -> list[Wrong]:
        found = []
        for row, contrast in enumerate(drawn):
            if contrast is None or not contrast.false:
                continue
            count = min(_CONTRASTS_A_CLIP, len(contrast.false))
            for k in rng.choice(len(contrast.false), count, replace=False):
                level, sentence = contrast.false[k]
                found.append(Wrong(row, level, sentence.text, contrast.rivals.get(int(k))))
        return found

    def _contrasts(self, draw: Draw) -> Contrasts | None:
        if not draw.contrasts:
            return None
        rows, levels, texts, _ = zip(*draw.contrasts, strict=True)
        tokens, (shown, groups) = self._told(texts), draw.rivals()
        rivals = tuple(self._seen(group) for group in groups)
        return Contrasts(tokens, torch.tensor(rows), torch.tensor(levels), rivals, shown)

    def _told(self, texts: Sequence[str]) -> TextTokens:
        """The tokens of these sentences, true or false, as a batch."""
        return text_batch([self.texts[text] for text in texts])

    def _seen(self, items: Sequence[Item]) -> VideoTokens:
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
