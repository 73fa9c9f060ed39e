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

from vtr_demo.config import TrainConfig
from vtr_demo.errors import CheckpointError, ConfigError
from vtr_demo.structures import LEVELS, Sentence

SIZES: dict[str, int] = dict(zip(LEVELS, TrainConfig.model_fields["attribute_sizes"].default, strict=True))
"""The most attributes that each level keeps, unless the config says otherwise."""


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
                raise ValueError(f"{level}: {len(names)} names, {len(set(names))} of them distinct, "
                                 f"and {len(counts)} counts")  # fmt: skip
            if not all(self.videos >= a >= b >= 1 for a, b in zip(counts, counts[1:] or counts, strict=False)):
                raise ValueError(f"{level}: counts must fall from at most {self.videos} to at least 1")

    @property
    def sizes(self) -> dict[str, int]:
        """A_l by level: the width of each attribute projection."""
        return {level: len(self.names[level]) for level in LEVELS}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values, for the checkpoint."""
        attributes = {
            level: [[name, count] for name, count in zip(self.names[level], self.counts[level], strict=True)]
            for level in LEVELS
        }
        return {"videos": self.videos, "attributes": attributes}

    @classmethod
    def from_dict(cls, values: Any) -> Vocabulary:
        """The inverse of ``to_dict``; anything else is refused as a damaged checkpoint."""
        try:
            pairs = {level: [(str(n), int(c)) for n, c in values["attributes"][level]] for level in LEVELS}
            names = {level: tuple(name for name, _ in pairs[level]) for level in LEVELS}
            counts = {level: tuple(count for _, count in pairs[level]) for level in LEVELS}
            return cls(names, counts, int(values["videos"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"The checkpoint's attribute vocabulary is damaged ({error}); save it again."
            ) from error


def build_vocabulary(
    clips: Sequence[Sequence[Sentence]],
    sizes: Mapping[str, int] | None = None,
    min_count: int = TrainConfig.model_fields["attribute_min_count"].default,
) -> Vocabulary:
    """The most frequent attributes of the training clips, each given by its parsed sentences.

    A label counts once a clip, however many of its sentences say it. ``sizes`` overrides ``SIZES``
    level by level.
    """
    wanted = SIZES | dict(sizes or {})
    if set(wanted) != set(LEVELS) or min(wanted.values()) < 0 or min_count < 1:
        raise ConfigError(
            f"Attribute sizes must be 0 or more for levels of {LEVELS} and their least count 1 or more, "
            f"got {sizes} and {min_count}."
        )
    names: dict[str, tuple[str, ...]] = {}
    counts: dict[str, tuple[int, ...]] = {}
    for level in LEVELS:
        found = Counter(label for sentences in clips for label in _labels(sentences, level))
        ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        kept = [(name, count) for name, count in ranked if count >= min_count][: wanted[level]]
        names[level] = tuple(name for name, _ in kept)
        counts[level] = tuple(count for _, count in kept)
    return Vocabulary(names, counts, len(clips))


def label_matrix(clips: Sequence[Sequence[Sentence]], vocabulary: Vocabulary) -> dict[str, Tensor]:
    """(N, A_l) float by level, 1 where any sentence of the clip carries the attribute, else 0."""
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


@dataclass(frozen=True)
class Imbalance:
    """How uneven one level's labels are, the reason for a focal loss.

    positives: clips per attribute, in the vocabulary's order. unlabelled: clips without any attribute.
    head_tail_ratio: the most over the fewest positives, among attributes that have any (the imbalance
    factor of Cui et al. 2019); 1 is even, 0 means that there are none. absent: attributes without a
    positive. positive_rate: the share of ones in the whole matrix.
    """

    clips: int
    positives: tuple[int, ...]
    unlabelled: int

    @property
    def head_tail_ratio(self) -> float:
        seen = [count for count in self.positives if count]
        return max(seen) / min(seen) if seen else 0.0

    @property
    def absent(self) -> int:
        return self.positives.count(0)

    @property
    def positive_rate(self) -> float:
        cells = self.clips * len(self.positives)
        return sum(self.positives) / cells if cells else 0.0


def imbalance(labels: Mapping[str, Tensor]) -> dict[str, Imbalance]:
    """The unevenness of each level of a ``label_matrix``."""
    return {
        level: Imbalance(
            len(matrix), tuple(int(count) for count in matrix.sum(dim=0)), int((matrix.sum(dim=1) == 0).sum())
        )
        for level, matrix in labels.items()
    }


def imbalance_report(labels: Mapping[str, Tensor], vocabulary: Vocabulary) -> str:
    """One line a level for the training log, with the names at the head and at the tail."""
    lines = []
    for level, found in imbalance(labels).items():
        names = vocabulary.names[level]
        ends = f"{names[0]} … {names[-1]}" if names else "none"
        lines.append(
            f"attributes {level}: {len(names)} ({ends}), head/tail {found.head_tail_ratio:.1f}, "
            f"{found.positive_rate:.2%} positive, {found.absent} without a clip, "
            f"{found.unlabelled} of {found.clips} clips without one"
        )
    return "\n".join(lines)


class Attributes(nn.Module):
    """Attribute logits of each level from its vectors (MCSAN's projection layer).

    One projection serves both modalities. The bias starts at -log(99), as focal loss wants.
    """

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_attribute_layer(width, size) for size in sizes)

    def forward(self, vectors: Tensor) -> tuple[Tensor, ...]:
        """(B, L, D) unit vectors -> L tensors of (B, A_l) logits."""
        return tuple(layer(vectors[:, i] * vectors.shape[-1] ** 0.5) for i, layer in enumerate(self.layers))


def _attribute_layer(width: int, size: int) -> nn.Linear:
    layer = nn.Linear(width, size)
    nn.init.normal_(layer.weight, std=width**-0.5)
    nn.init.constant_(layer.bias, -4.595)  # -log(99)
    return layer
