"""Sentences and clips for the tests of the towers."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np
import torch

from vtr_demo.backbones.bundled import BundledBackbone
from vtr_demo.backbones.registry import Backbone
from vtr_demo.structures import Sentence, Word

torch.set_num_threads(1)

UGLY = (
    "a Brown dog  runs, fast",
    "I can't; don't",
    "héllo wörld 中文字 antidisestablishmentarianism",
    "caf&amp;é 👍🏽 İstanbul ﬁne…",
    "word " * 400,
    "",
)


@functools.cache
def bundled() -> BundledBackbone:
    """The bundled towers, opened once and never changed."""
    return BundledBackbone()


def sentence(text: str) -> Sentence:
    words = [Word(m.group(), m.start(), m.end(), m.group().lower(), "X") for m in re.finditer(r"\w+|[^\w\s]", text)]
    return Sentence(text, tuple(words), entities=((0,),) if words else ())


def clip(backbone: Backbone, frames: int, seed: int = 0, side: int | None = None) -> np.ndarray:
    side = side or backbone.frame_size
    coarse = np.random.default_rng(seed).integers(0, 256, (frames, 3, 3, 3), dtype=np.uint8)
    places = np.arange(side) * 3 // side
    return coarse[:, places][:, :, places]


def pooled(backbone: Backbone, texts: Sequence[str]) -> torch.Tensor:
    """(N, D): the sentence vectors as the tokens add up to them, before normalisation."""
    tokens = backbone.encode_text([sentence(text) for text in texts])
    return (tokens.pool.unsqueeze(-1) * torch.cat([tokens.summary.unsqueeze(1), tokens.words], dim=1)).sum(1)
