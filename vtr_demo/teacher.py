"""The teacher of the distillation: any frozen backbone, seen through the student's grid and words."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo.backbone import Backbone
from vtr_demo.batch import Teaching
from vtr_demo.corpus import Item
from vtr_demo.model import VTRModel
from vtr_demo.records import Sentence, TextTokens, VideoTokens
from vtr_demo.tokens import VideoCache


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

    def video(self, item: Item) -> VideoTokens:
        """The teacher's tokens of one clip on the student's grid, a batch of one."""
        return on_grid(self._cache.get(item), self._grid)

    def text(self, text: str) -> TextTokens:
        """The teacher's tokens of one sentence, a batch of one."""
        return self._texts[text]


class LiveTeacher:
    """A teacher that looks at the very frames of the batch, for students that are fine-tuned.

    ``model`` lends its reduction where the teacher is the student's own frozen backbone, so that the
    targets have the width that the heads take.
    """

    def __init__(self, backbone: Backbone, grid: tuple[int, int], model: VTRModel | None = None) -> None:
        self.backbone, self._grid, self._model = backbone, grid, model

    @torch.no_grad()
    def teach(
        self, clips: Sequence[tuple[np.ndarray | Tensor, np.ndarray | Tensor]], sentences: Sequence[Sentence]
    ) -> Teaching:
        """Tokens of groups of (pixels (B, T, H, W, 3) uint8, frame mask (B, T)) and of the sentences."""
        videos = [self.backbone.encode_frame_batch(pixels, mask) for pixels, mask in clips]
        if self._model is not None:
            videos = [self._model.reduced(tokens) for tokens in videos]
        return Teaching(
            tuple(on_grid(tokens, self._grid) for tokens in videos), self.backbone.encode_text(sentences)
        )


def frozen_copy(backbone: Backbone) -> Backbone:
    """The same towers, which stay as they are now."""
    twin = copy.deepcopy(backbone)
    twin.freeze()
    return twin
