"""Random batches of a corpus whose towers have run: photos, videos and playground clips together."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vtr_demo.config import TrainConfig
from vtr_demo.corpus import Contrast, Item
from vtr_demo.objective import Batch, Contrasts
from vtr_demo.records import pad_video_tokens
from vtr_demo.tokens import Text, VideoCache, text_batch

_CONTRASTS_A_CLIP = 2


class Sampler:
    """Draws batches; everything random comes from the generator that is handed in.

    ``texts`` holds every sentence of the items by its text; ``labels`` are L tensors (items, A_l).
    """

    def __init__(
        self,
        items: list[Item],
        cache: VideoCache,
        texts: dict[str, Text],
        labels: tuple[Tensor, ...],
        config: TrainConfig,
    ) -> None:
        self.items, self.cache, self.texts, self.labels = items, cache, texts, labels
        self._size, self._long, self._drawn = config.batch, config.long_share, config.playground_share
        self._by_kind = [
            np.array([i for i, item in enumerate(items) if item.kind == kind], dtype=np.int64)
            for kind in ("photo", "video", "playground")
        ]

    def batch(self, rng: np.random.Generator) -> Batch:
        """A random batch: photos, videos and playground clips in their shares, one sentence each."""
        groups = [rng.choice(where, count, replace=False) for where, count in self._counts() if count]
        chosen = np.concatenate(groups)
        items = [self.items[i] for i in chosen]
        drawn = [self._sentence(item, rng) for item in items]
        texts = [self.texts[text] for text, _ in drawn]
        videos = tuple(pad_video_tokens([self.cache.get(self.items[i]) for i in group]) for group in groups)
        return Batch(
            videos,
            text_batch(texts),
            torch.stack([text.meaning for text in texts]),
            tuple(labels[chosen] for labels in self.labels),
            self._contrasts([contrast for _, contrast in drawn], rng),
        )

    def _counts(self) -> list[tuple[np.ndarray, int]]:
        photos, videos, playground = self._by_kind
        size = self._size
        drawn = min(len(playground), round(size * self._drawn) if len(photos) + len(videos) else size)
        rest = size - drawn
        filmed = min(len(videos), round(rest * self._long) if len(photos) else rest)
        return [(photos, min(len(photos), rest - filmed)), (videos, filmed), (playground, drawn)]

    def _sentence(self, item: Item, rng: np.random.Generator) -> tuple[str, Contrast | None]:
        if item.contrasts:
            contrast = item.contrasts[int(rng.integers(len(item.contrasts)))]
            return contrast.true.text, contrast
        return item.sentences[int(rng.integers(len(item.sentences)))].text, None

    def _contrasts(self, drawn: list[Contrast | None], rng: np.random.Generator) -> Contrasts | None:
        texts, rows, levels = [], [], []
        for row, contrast in enumerate(drawn):
            if contrast is None or not contrast.false:
                continue
            count = min(_CONTRASTS_A_CLIP, len(contrast.false))
            for k in rng.choice(len(contrast.false), count, replace=False):
                level, sentence = contrast.false[k]
                texts.append(self.texts[sentence.text])
                rows.append(row)
                levels.append(level)
        if not rows:
            return None
        return Contrasts(text_batch(texts), torch.tensor(rows), torch.tensor(levels))
