"""Confidence of a search: p-values of its scores against those of sentences unrelated to the library."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from vtr_demo.structures import TermWeights, TextFeatures

CONFIDENT_P = 0.2
"""There is no confident match where more than this share of unrelated sentences scores as high with some clip of the
library as the query. With the bundled checkpoint 13 % of the names of things in the 40 drawn clips are refused and
73 % of the names of things that are not in them, none of the clips' captions and 84 % of captions of photos; of the
captions of 37 real clips 27 %, and 76 % of those of photos."""

_FILE = Path(__file__).with_name("null_captions.txt")
_CHUNK = 4096
"""Clips scored at a time, so that a large library needs little memory."""
_TAIL = 64
"""Largest scores of a sentence from which the rest of the tail is extrapolated."""
_TIE = 1e-5
"""Scores that differ by less are equal: they carry the rounding of float32."""


@lru_cache(maxsize=1)
def null_captions() -> tuple[str, ...]:
    """The shipped sentences about everyday scenes, one a line; ours, in no library on purpose."""
    return tuple(line for line in _FILE.read_text(encoding="utf-8").splitlines() if line.strip())


class NullDistribution:
    """The best scores of unrelated sentences in a library, as a null distribution (our decision).

    A score's p-value is the share of unrelated sentences of which some clip of the library scores at least as high,
    with one added to both counts so that it is never zero. So the smallest p-value of a query about nothing here is
    about uniform, however many clips there are, and of two clips the one that ranks higher is never the less sure.
    """

    def __init__(self, pieces: Iterable[np.ndarray], total: int = 0) -> None:
        """From the scores of M unrelated sentences with all clips or moments, some clips (M, n) at a time.

        Where these are a sample of ``total``, the largest of all is extrapolated: beyond the sample's upper
        end scores are taken to fall exponentially (our decision, for large libraries).
        """
        tops, clips, highest = [], 0, np.zeros(0)
        for scores in pieces:
            tops.append(-np.sort(-scores, axis=1)[:, :_TAIL])
            clips += scores.shape[1]
        if clips:
            top = -np.sort(-np.concatenate(tops, axis=1), axis=1)[:, :_TAIL]
            decay = top.mean(axis=1) - top[:, -1]
            highest = top[:, 0] + decay * np.log(max(total, clips) / clips)
        self._sorted = np.sort(highest)

    @classmethod
    def of(cls, texts: TextFeatures, vectors: np.ndarray, weights: TermWeights, total: int = 0) -> NullDistribution:
        """From the features of the null captions and a library's vectors (N, F), or a sample of its ``total``."""
        flat = texts.flat(weights).cpu().numpy()
        parts = (flat @ vectors[start : start + _CHUNK].T for start in range(0, len(vectors), _CHUNK))
        return cls(parts, total)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Of scores of any shape: in (0, 1]; never rises as a score rises."""
        higher = len(self._sorted) - np.searchsorted(self._sorted, scores - _TIE, side="left")
        return (1 + higher) / (1 + len(self._sorted))

    def p_values_among(self, scores: np.ndarray, count: int) -> np.ndarray:
        """Of scores (R,) with the only clip, each the best of ``count`` sentences: the share of draws of as many
        unrelated sentences of which one scores as high. Above the highest tenth of the unrelated sentences scores
        are taken to fall exponentially (our decision)."""
        highest = self._sorted[-max(1, len(self._sorted) // 10) :]
        share, start = self.p_values(scores), highest[0]
        fall = np.exp(-np.maximum(scores - start, 0) / max(highest.mean() - start, _TIE))
        share = np.where(scores > start, len(highest) / len(self._sorted) * fall, share)
        return -np.expm1(count * np.log1p(-np.clip(share, 1e-9, 1 - 1e-12)))
