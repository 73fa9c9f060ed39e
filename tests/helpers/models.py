"""Small models with every path alive, and random tokens to feed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vtr_demo.backbones.registry import load_backbone
from vtr_demo.config import ModelConfig, VideoConfig
from vtr_demo.model.checkpoint import RetrievalModel, save
from vtr_demo.model.model import VTRModel, build_model
from vtr_demo.structures import LEVELS, Sentence, TermWeights, TextTokens, VideoTokens, Word, map_tensors

torch.set_num_threads(1)

PATCH, WIDTH, GRID = 10, 12, (2, 3)
WEIGHTS = TermWeights(1.0, 0.7, 1.3, 0.9, 0.6)
"""Sliders that differ, so that a term in the wrong place shows."""


def alive(module: nn.Module, seed: int = 0, scale: float = 0.3) -> nn.Module:
    """Seeded noise on every parameter: what starts as zero or as an identity is neither any more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter.shape[-1] if parameter.ndim > 1 else 1
            if name.endswith("prior"):
                parameter.copy_(noise)
            else:
                parameter.add_(scale * noise / fan_in**0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("centre"):
                buffer.add_(0.1 * torch.randn(buffer.shape, generator=generator))
    return module


def small_model(*, attributes: Sequence[int] = (), living: bool = True, **config: Any) -> VTRModel:
    """A model of width 12 over 2x3 patches of width 10; ``living`` perturbs it."""
    settings = {"hidden": 8, "heads": 2, "concepts": 4, "concept_width": 5, "dropout": 0.0} | config
    torch.manual_seed(1)
    model = VTRModel(ModelConfig(**settings), patch_width=PATCH, width=WIDTH, attributes=attributes)
    if living:
        alive(model)
    return model.eval()


def video_tokens(*lengths: int, seed: int = 0, junk: float = 0.0, motion: bool = True) -> VideoTokens:
    """Clips of these numbers of frames, padded to the longest; padding holds ``junk``."""
    generator = torch.Generator().manual_seed(seed)
    b, t, p = len(lengths), max(lengths), GRID[0] * GRID[1]
    patches = torch.randn(b, t, p, PATCH, generator=generator)
    summary = nn.functional.normalize(torch.randn(b, t, WIDTH, generator=generator), dim=-1)
    mask = torch.arange(t) < torch.tensor(lengths)[:, None]
    patches = torch.where(mask[:, :, None, None], patches, junk)
    summary = torch.where(mask[:, :, None], summary, junk)
    done = torch.where(mask[:, :, None], torch.randn(b, t, WIDTH, generator=generator), junk)
    return VideoTokens(patches, summary, mask, GRID, done if motion else None)


def text_tokens(*lengths: int, seed: int = 0, junk: float = 0.0) -> TextTokens:
    """Sentences of these numbers of words; word i belongs to entity, action or relationship in turn."""
    generator = torch.Generator().manual_seed(seed + 100)
    b, w = len(lengths), max(lengths)
    words = torch.randn(b, w, WIDTH, generator=generator)
    summary = torch.randn(b, WIDTH, generator=generator)
    mask = torch.arange(w) < torch.tensor(lengths)[:, None]
    words = torch.where(mask[:, :, None], words, junk)
    levels = torch.stack([torch.ones(w, dtype=torch.bool), *(torch.arange(w) % 3 == k for k in range(3))])
    levels = levels & mask[:, None, :]
    pool = torch.rand(b, 1 + w, generator=generator) * torch.cat([torch.ones(b, 1), mask], 1)
    return TextTokens(words, summary, mask, levels, pool / pool.sum(1, keepdim=True))


def sentence_of(words: int) -> Sentence:
    """A sentence of ``words`` words to go with ``text_tokens``."""
    names = [f"w{i}" for i in range(words)]
    starts = np.cumsum([0, *(len(name) + 1 for name in names)])
    found = tuple(
        Word(name, int(start), int(start) + len(name), name, "X") for name, start in zip(names, starts, strict=False)
    )
    return Sentence(" ".join(names), found)


def row(tokens: Any, index: int) -> Any:
    """One clip or sentence of a batch, without its padding."""
    one = map_tensors(tokens, lambda value: value[index : index + 1])
    if isinstance(one, VideoTokens):
        return one.take(range(int(one.frame_mask.sum())))
    w = int(one.word_mask.sum())
    parts = one.words[:, :w], one.summary, one.word_mask[:, :w], one.level_mask[..., :w], one.pool[:, : 1 + w]
    return TextTokens(*parts)


__all__ = ["GRID", "LEVELS", "NULLS", "PATCH", "WEIGHTS", "WIDTH"]


NULLS = (
    "a cat sleeps in the square",
    "people walk in a street",
    "a boat on the sea",
    "rain falls on the roof",
    "the moon",
)
"""What stands for the shipped sentences about other things, which take seconds to read."""


def checkpoint_of(folder: Path, backbone: str, seed: int) -> str:
    """A checkpoint with heads that are alive; the SPEC to open it with."""
    towers = load_backbone(backbone)
    config = ModelConfig(backbone=backbone, trained=True, hidden=8, heads=2, concepts=5, concept_width=6)
    torch.manual_seed(0)
    model = alive(build_model(config, towers), seed)
    save(folder, RetrievalModel("x", model, towers, VideoConfig(clip_frames=4, moment_s=2.0, moment_frames=3)))
    return str(folder)
