"""Which concept each patch and each word of a clip falls into, by one model or by several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vtr_demo.checkpoint import Pretrained
from vtr_demo.corpus import Item
from vtr_demo.drawn_corpus import drawn_item
from vtr_demo.playground_spec import ClipSpec, Split
from vtr_demo.records import TextTokens, VideoTokens
from vtr_demo.text import parse_many

SPLIT: Split = "probe"
"""Combinations of thing, motion, relation and scene that training never showed."""


@dataclass(frozen=True)
class Observed:
    """One clip as one model allocates it: patches (T, P) over ``grid``, and (W,) words a sentence.

    -1: a word past the text tower's limit.
    """

    patches: np.ndarray
    grid: tuple[int, int]
    words: tuple[np.ndarray, ...]

    @property
    def tokens(self) -> dict[str, np.ndarray]:
        """By modality, the concept of every token in one row."""
        return {"patches": self.patches.ravel(), "words": np.concatenate(self.words)}


def drawn_items(count: int, seed: int, sprites: str | Path | None) -> list[tuple[ClipSpec, Item]]:
    """``count`` clips of the playground in unseen combinations, with their specs; the same for a seed."""
    from vtr_demo.playground import captions, sample_spec

    rng = np.random.default_rng([seed, 0])
    specs = [sample_spec(rng, split=SPLIT) for _ in range(count)]
    found = []
    for spec in specs:
        sentences = tuple(parse_many(captions(spec, rng)))
        found.append((spec, replace(drawn_item(spec, SPLIT, str(sprites or "")), sentences=sentences)))
    return found


@torch.no_grad()
def observe(everyone: Sequence[Pretrained], item: Item) -> tuple[Observed, ...]:
    """One clip and its sentences as each model allocates them; models with equal towers share tokens."""
    tokens: dict[str, tuple[VideoTokens, TextTokens]] = {}
    found = []
    for pretrained in everyone:
        towers, model = pretrained.backbone, pretrained.model.eval()
        key = pretrained.tower_fingerprint
        if key not in tokens:
            frames = item.frames(pretrained.video.clip_frames, towers.frame_size)
            tokens[key] = towers.encode_frames(frames.pixels), towers.encode_text(item.sentences)
        device = next(model.parameters()).device
        video, text = tokens[key][0].to(device), tokens[key][1].to(device)
        patches = model.encode_video(video).allocation[0, :, 1:].cpu().numpy()  # 0: the whole frame
        rows = model.encode_text(text).allocation[:, 1:].cpu().numpy()
        words = tuple(row[: len(s.words)] for row, s in zip(rows, item.sentences, strict=True))
        found.append(Observed(patches, video.grid, words))
    return tuple(found)
