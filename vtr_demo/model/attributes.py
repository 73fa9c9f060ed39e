"""Attributes: the lemmas that a level's shared projection learns to predict (MCSAN).

A vocabulary is built from the training captions alone. A clip carries an attribute if any of its
sentences does, so both modalities of a clip share their targets (as in the hybrid space of Dong et
al. 2021; sizes and the least frequency follow it, the split into levels is our decision).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vtr_demo.config import Count, Natural, Settings, require
from vtr_demo.structures import LEVELS, Sentence


class Vocabulary(Settings):
    """What a checkpoint keeps of the attributes: by level, each with the number of the ``videos`` training videos that
    carry it, the most frequent first (ties by name), so that the tail is the end. A level may have none."""

    table = "attributes"
    videos: Natural
    attributes: dict[str, list[Annotated[tuple[str, Count], Field(strict=False)]]]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require(self.attributes.keys() == set(LEVELS), f"The attributes need the levels {', '.join(LEVELS)}.")
        for level, pairs in self.attributes.items():
            counts = [count for _, count in pairs]
            require(len({name for name, _ in pairs}) == len(pairs), f"An attribute of {level} is named twice.")
            falling = counts == sorted(counts, reverse=True) and max(counts, default=0) <= self.videos
            require(falling, f"The counts of {level} must fall from at most {self.videos}.")
        return self

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """A_l attributes by level."""
        return {level: tuple(name for name, _ in self.attributes[level]) for level in LEVELS}

    @property
    def sizes(self) -> dict[str, int]:
        """A_l by level: the width of each attribute projection."""
        return {level: len(self.attributes[level]) for level in LEVELS}


def build_vocabulary(clips: Sequence[Sequence[Sentence]], sizes: Sequence[int], min_count: int) -> Vocabulary:
    """Collect the most frequent attributes of the training clips, each given by its parsed sentences.

    A label counts once a clip, however many of its sentences carry it. ``sizes`` (L,) are the most attributes
    that each level keeps, of those that ``min_count`` clips carry.
    """
    attributes = {}
    for level, size in zip(LEVELS, sizes, strict=True):
        counts = Counter(label for sentences in clips for label in _labels(sentences, level))
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        attributes[level] = [pair for pair in ranked if pair[1] >= min_count][:size]
    return Vocabulary(videos=len(clips), attributes=attributes)


def label_matrix(clips: Sequence[Sequence[Sentence]], vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Return (N, A_l) float by level: 1 where any sentence of the clip carries the attribute, else 0."""
    matrices = {}
    for level in LEVELS:
        column = {name: i for i, name in enumerate(vocabulary.names[level])}
        matrix = torch.zeros(len(clips), len(column))
        for row, sentences in enumerate(clips):
            matrix[row, [column[label] for label in _labels(sentences, level) if label in column]] = 1.0
        matrices[level] = matrix
    return matrices


def _labels(sentences: Sequence[Sentence], level: str) -> set[str]:
    return {label for sentence in sentences for label in sentence.labels.get(level, ())}


class Attributes(nn.Module):
    """Attribute logits of each level from its vectors (MCSAN's projection layer).

    One projection serves both modalities. The bias starts at -log(99), as focal loss wants.
    """

    def __init__(self, width: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for size in sizes:
            layer = nn.Linear(width, size)
            nn.init.normal_(layer.weight, std=width**-0.5)
            nn.init.constant_(layer.bias, -4.595)  # -log(99)
            self.layers.append(layer)

    def forward(self, vectors: Tensor) -> tuple[Tensor, ...]:
        """(B, L, D) unit vectors -> L tensors of (B, A_l) logits."""
        return tuple(layer(vectors[:, i] * vectors.shape[-1] ** 0.5) for i, layer in enumerate(self.layers))
