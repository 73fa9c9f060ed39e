"""How high do sentences score that have nothing to do with a library? The yardstick of confidence."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from vtr_demo.features import TermWeights, TextFeatures

_FILE = Path(__file__).with_name("null_captions.txt")


@lru_cache(maxsize=1)
def null_captions() -> tuple[str, ...]:
    """The shipped sentences about everyday scenes, one a line; ours, in no library on purpose."""
    return tuple(line for line in _FILE.read_text(encoding="utf-8").splitlines() if line.strip())


class NullDistribution:
    """The best score that each unrelated sentence reaches in a library (our decision).

    A score's p-value is the share of unrelated sentences whose best is at least as high, with one
    added to both counts so that it is never zero.
    """

    def __init__(self, best_scores: np.ndarray) -> None:
        self._sorted = np.sort(best_scores)

    @classmethod
    def of(cls, texts: TextFeatures, vectors: np.ndarray, weights: TermWeights) -> NullDistribution:
        """From the features of the null captions and a library's vectors (N, F)."""
        if len(vectors) == 0:
            return cls(np.zeros(0))
        return cls((texts.flat(weights).cpu().numpy() @ vectors.T).max(axis=1))

    def p_value(self, score: float) -> float:
        """In (0, 1]; small where unrelated sentences hardly ever score as high."""
        higher = len(self._sorted) - int(np.searchsorted(self._sorted, score, side="left"))
        return (1 + higher) / (1 + len(self._sorted))
