"""Confidence of a search: p-values of its scores against those of sentences unrelated to the library."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from vtr_demo.structures import TermWeights, TextFeatures

CONFIDENT_P = 0.2
"""There is no confident match where more than this share of unrelated sentences stands out in the
library as much as the query. With the bundled checkpoint 13 % of the names of things in the 40 drawn clips are
refused and 76 % of the names of things that are not in them, none of the clips' captions and 86 % of captions
of photos; of the captions of 37 real clips 27 %, and 75 % of those of photos."""

_FILE = Path(__file__).with_name("null_captions.txt")
_CHUNK = 4096
"""Clips scored at a time, so that a large library needs little memory."""
_TAIL = 64
"""Largest standardised scores of a sentence from which the rest of the tail is extrapolated."""
_LEAST_SPREAD = 1e-3
"""Where all sentences score alike with a clip, rounding must not look like a difference."""
_TIE = 1e-3
"""Standardised scores that differ by less are equal: scores carry the rounding of float32."""


@lru_cache(maxsize=1)
def null_captions() -> tuple[str, ...]:
    """The shipped sentences about everyday scenes, one a line; ours, in no library on purpose."""
    return tuple(line for line in _FILE.read_text(encoding="utf-8").splitlines() if line.strip())


class NullDistribution:
    """The scores of unrelated sentences with a library, as a null distribution (our decision).

    Some clips score high with whatever is asked. So a score is first standardised by the mean and
    spread of the unrelated sentences' scores with the same clip; adding a constant to all scores of
    a clip changes nothing. A sentence stands out as far as the largest of its standardised scores.
    A score's p-value is the share of unrelated sentences that stand out at least as far anywhere in
    the library, with one added to both counts so that it is never zero. So the smallest p-value of
    a query about nothing here is about uniform, however many clips there are.
    """

    def __init__(self, pieces: Iterable[np.ndarray], total: int = 0) -> None:
        """From the scores of M unrelated sentences with all clips or moments, some clips (M, n) at a time.

        Where these are a sample of ``total``, the largest of all is extrapolated: beyond the sample's upper
        end standardised scores are taken to fall exponentially (our decision, for large libraries).
        """
        means, spreads, tops, count, clips = [np.zeros(0)], [np.zeros(0)], [], 0, 0
        for scores in pieces:
            mean, spread = _mean_and_spread(scores)
            z_scores = (scores - mean) / spread
            tops.append(-np.sort(-z_scores, axis=1)[:, :_TAIL])
            means.append(mean)
            spreads.append(spread)
            count, clips = len(scores), clips + scores.shape[1]
        self.mean, self.spread = np.concatenate(means), np.concatenate(spreads)
        highest = np.zeros(0)
        if clips:
            top = -np.sort(-np.concatenate(tops, axis=1), axis=1)[:, :_TAIL]
            decay = top.mean(axis=1) - top[:, -1]
            highest = top[:, 0] + decay * np.log(max(total, clips) / clips)
        # of one clip the order of the scores is all there is, and exact
        self._sorted = np.sort(studentise(highest, count) if clips > 1 else highest)

    @classmethod
    def of(cls, texts: TextFeatures, vectors: np.ndarray, weights: TermWeights, total: int = 0) -> NullDistribution:
        """From the features of the null captions and a library's vectors (N, F), or a sample of its ``total``."""
        flat = texts.flat(weights).cpu().numpy()
        parts = (flat @ vectors[start : start + _CHUNK].T for start in range(0, len(vectors), _CHUNK))
        return cls(parts, total)

    def p_values(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Of scores (R,) with the clips ``rows`` (R,): in (0, 1]; never rises as a clip's score rises."""
        return self._shares((scores - self.mean[rows]) / self.spread[rows])

    def p_values_among(self, scores: np.ndarray, count: int) -> np.ndarray:
        """Of scores (R,) with the only clip, each the best of ``count`` sentences: the share of draws of as many
        unrelated sentences of which one stands out as much. Above the highest tenth of the unrelated sentences
        standardised scores are taken to fall exponentially (our decision)."""
        z_scores, highest = (scores - self.mean[0]) / self.spread[0], self._sorted[-max(1, len(self._sorted) // 10) :]
        share, start = self._shares(z_scores), highest[0]
        fall = np.exp(-np.maximum(z_scores - start, 0) / max(highest.mean() - start, _TIE))
        share = np.where(z_scores > start, len(highest) / len(self._sorted) * fall, share)
        return -np.expm1(count * np.log1p(-np.clip(share, 1e-9, 1 - 1e-12)))

    def p_values_beside(self, scores: np.ndarray, unrelated: np.ndarray) -> np.ndarray:
        """As ``p_values``, of scores (R,) with clips of which the unrelated sentences' scores (M, R) are given."""
        mean, spread = _mean_and_spread(unrelated)
        return self._shares((scores - mean) / spread)

    def _shares(self, z_scores: np.ndarray) -> np.ndarray:
        higher = len(self._sorted) - np.searchsorted(self._sorted, z_scores - _TIE, side="left")
        return (1 + higher) / (1 + len(self._sorted))


def _mean_and_spread(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and spread (n,) of M unrelated sentences' scores (M, n) with each clip."""
    return scores.mean(axis=0), np.maximum(scores.std(axis=0), _LEAST_SPREAD)


def studentise(z_scores: np.ndarray, count: int) -> np.ndarray:
    """Return standardised scores as if each sentence were left out of its own mean and spread.

    A query is not among the ``count`` sentences that it is standardised by, so neither may these
    be. This is the externally studentised residual (Cook and Weisberg 1982); it rises with the
    score alone, so it may be taken after the largest one was found.
    """
    others = max(1, count - 1)
    variance = (count - z_scores**2 * count / others) / others
    return z_scores * (count / others) / np.sqrt(np.maximum(variance, 1e-9))
