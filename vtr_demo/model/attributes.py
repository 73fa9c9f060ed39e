"""Attributes: the lemmas that a level's shared projection learns to predict (MCSAN).

A vocabulary is built from the training captions alone. A clip carries an attribute if any of its
sentences does, so both modalities of a clip share their targets (as in the hybrid space of Dong et
al. 2021; sizes and the least frequency follow it, the split into levels is our decision).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vtr_demo.errors import CheckpointError
from vtr_demo.structures import LEVELS, Sentence


@dataclass(frozen=True)
class Vocabulary:
    """A_l attributes by level, the most frequent first (ties by name), so that the tail is the end.

    counts: in how many of the ``videos`` training videos each occurs. Every level has an entry, which
    may be empty.
    """

    names: dict[str, tuple[str, ...]]
    counts: dict[str, tuple[int, ...]]
    videos: int

    def __post_init__(self) -> None:
        if tuple(self.names) != LEVELS or tuple(self.counts) != LEVELS:
            raise ValueError(f"names and counts need the levels {LEVELS} in this order")
        for level in LEVELS:
            names, counts = self.names[level], self.counts[level]
            if len(names) != len(counts) or len(set(names)) != len(names):
                raise ValueError(
                    f"{level}: {len(names)} names, {len(set(names))} of them distinct, {len(counts)} counts"
                )
            if list(counts) != sorted(counts, reverse=True) or any(not 1 <= c <= self.videos for c in counts):
                raise ValueError(f"{level}: counts must fall from at most {self.videos} to at least 1")

    @property
    def sizes(self) -> dict[str, int]:
        """A_l by level: the width of each attribute projection."""
        return {level: len(self.names[level]) for level in LEVELS}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values, for the checkpoint."""
        pairs = {level: zip(self.names[level], self.counts[level], strict=True) for level in LEVELS}
        attributes = {level: [[name, count] for name, count in pairs[level]] for level in LEVELS}
        return {"videos": self.videos, "attributes": attributes}

    @classmethod
    def from_dict(cls, values: Any) -> Vocabulary:
        """Restore a vocabulary from ``to_dict``; refuse anything else as a damaged checkpoint."""
        try:
            pairs = {level: [(str(n), int(c)) for n, c in values["attributes"][level]] for level in LEVELS}
            return cls._from_pairs(pairs, int(values["videos"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"The checkpoint's attribute vocabulary is damaged ({error}); save it again."
            ) from error

    @classmethod
    def _from_pairs(cls, pairs: Mapping[str, Sequence[tuple[str, int]]], videos: int) -> Vocabulary:
        names = {level: tuple(name for name, _ in pairs[level]) for level in LEVELS}
        counts = {level: tuple(count for _, count in pairs[level]) for level in LEVELS}
        return cls(names, counts, videos)


def build_vocabulary(clips: Sequence[Sequence[Sentence]], sizes: Sequence[int], min_count: int) -> Vocabulary:
    """Collect the most frequent attributes of the training clips, each given by its parsed sentences.

    A label counts once a clip, however many of its sentences carry it. ``sizes`` (L,) are the most attributes
    that each level keeps, of those that ``min_count`` clips carry.
    """
    pairs = {}
    for level, size in zip(LEVELS, sizes, strict=True):
        counts = Counter(label for sentences in clips for label in _labels(sentences, level))
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        pairs[level] = [pair for pair in ranked if pair[1] >= min_count][:size]
    return Vocabulary._from_pairs(pairs, len(clips))


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
