"""Batches whose tokens are made as they are needed, so that the towers learn (end-to-end fine-tuning)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vtr_demo.backbone import Backbone
from vtr_demo.batch import Batch
from vtr_demo.config import TrainConfig
from vtr_demo.corpus import Item
from vtr_demo.frames import FrameStore, padded
from vtr_demo.model import VTRModel
from vtr_demo.records import TextTokens, VideoTokens
from vtr_demo.sampler import Sampler
from vtr_demo.teacher import LiveTeacher
from vtr_demo.tokens import Spoken


class LiveVideos:
    """Clips through the towers as they stand; nothing is remembered. Stands in for a ``VideoCache``."""

    def __init__(self, backbone: Backbone, model: VTRModel, frames: FrameStore) -> None:
        self._backbone, self._model, self.frames = backbone, model, frames

    @torch.no_grad()
    def get(self, item: Item) -> VideoTokens:
        """The tokens of one item, a batch of one, without gradients."""
        return self._model.reduced(self._backbone.encode_frames(self.frames.get(item)))


class LiveSampler(Sampler):
    """Draws as a ``Sampler`` does; pixels and sentences go through the towers, with gradients.

    ``spoken`` holds every sentence by its text with the meaning that the frozen towers gave it.
    """

    def __init__(
        self,
        items: list[Item],
        videos: LiveVideos,
        spoken: Mapping[str, Spoken],
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
        clips = [padded([self._frames.get(self.items[i]) for i in group]) for group in draw.groups]
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

    def expect(self, rng: np.random.Generator, done: float = 0.0) -> None:
        """Decode the clips of a coming batch while this one is computed."""
        draw = self.draw(rng, done)
        rivals = [wrong.rival for wrong in draw.contrasts if wrong.rival is not None]
        self._frames.expect([*(self.items[i] for i in draw.chosen), *rivals])

    def _told(self, texts: Sequence[str]) -> TextTokens:
        return self._backbone.encode_text([self._spoken[text].sentence for text in texts])

    def _seen(self, items: Sequence[Item]) -> VideoTokens:
        return self._backbone.encode_frame_batch(*padded([self._frames.get(item) for item in items]))
