"""How far two partitions of the same tokens agree: purity, mutual information, one-to-one matching.

Pure functions of contingency tables (K, C) of counts: rows are one partition (concepts), columns
the other (classes of the truth, or concepts of another model). What chance would give is measured
by shuffling one side, which keeps the size of every part, and taken off as in the adjusted indices
of Hubert and Arabie 1985: (found - chance) / (1 - chance), 1 for a perfect answer and 0 for chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vtr_demo.metrics import usage_entropy

Measure = Callable[[np.ndarray], float]


def contingency(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(K, C) counts of tokens in part ``rows[i]`` and part ``columns[i]``; tokens below 0 are left out."""
    held = (rows >= 0) & (columns >= 0)
    cells = rows[held].astype(np.int64) * shape[1] + columns[held]
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)


def purity(table: np.ndarray) -> float:
    """Share of tokens whose row's most frequent column is theirs (Manning et al. 2008, eq. 16.1)."""
    return float(table.max(axis=1).sum() / max(table.sum(), 1))


def best_purity(table: np.ndarray) -> float:
    """The purity of the best partition into as many parts: K rows can name no more than K columns."""
    columns = np.sort(table.sum(axis=0))[::-1]
    return float(columns[: len(table)].sum() / max(table.sum(), 1))


def nmi(table: np.ndarray) -> float:
    """Mutual information over the mean of both entropies, 0..1; 0 where either side is all one part."""
    total = table.sum()
    if total == 0:
        return 0.0
    joint = table / total
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    both = _entropy(rows) + _entropy(columns)
    shared = both - _entropy(joint.ravel())
    trivial = min((rows > 0).sum(), (columns > 0).sum()) < 2
    return 0.0 if trivial else float(min(max(2 * shared / both, 0.0), 1.0))


def entropy_share(counts: np.ndarray) -> float:
    """``usage_entropy`` of K parts; 0 also where there is one part, or nothing in any."""
    return usage_entropy(counts) if len(counts) > 1 and counts.any() else 0.0


def _entropy(shares: np.ndarray) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


# --------------------------------------------------------------------------- chance
def by_chance(
    table: np.ndarray, measures: Sequence[Measure], rng: np.random.Generator, *, rounds: int = 50
) -> list[float]:
    """The mean of each measure over ``rounds`` random tables with the same row and column sums.

    Drawing such a table is shuffling one side's tokens (multivariate hypergeometric).
    """
    drawn = [shuffled(table.sum(axis=1), table.sum(axis=0), rng) for _ in range(rounds)]
    return [float(np.mean([measure(shuffled) for shuffled in drawn])) for measure in measures]


def shuffled(rows: np.ndarray, columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One random (K, C) table with these row and column sums."""
    left = columns.copy()
    table = np.zeros((len(rows), len(columns)), np.int64)
    for row, count in enumerate(rows):
        table[row] = rng.multivariate_hypergeometric(left, count, method="marginals")
        left = left - table[row]
    return table


def adjusted(found: float, chance: float) -> float:
    """(found - chance) / (1 - chance); 0 where chance alone is perfect, which then shows nothing."""
    return (found - chance) / (1 - chance) if chance < 1 - 1e-12 else 0.0


def interval(
    tables: np.ndarray, measure: Measure, rng: np.random.Generator, *, resamples: int = 500
) -> list[float]:
    """95 % bootstrap interval of ``measure`` over clips: ``tables`` (clips, K, C) are drawn and summed.

    Tokens of one clip resemble each other, so clips are what is drawn, with replacement. A draw repeats
    clips and therefore looks purer; the percentiles are moved by the mean of that bias.
    """
    count = len(tables)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    values = np.array([measure(np.tensordot(weight, tables, axes=1)) for weight in weights])
    bias = values.mean() - measure(tables.sum(axis=0))
    return [float(value) for value in np.percentile(values, (2.5, 97.5)) - bias]


# --------------------------------------------------------------------------- matching
def matching(table: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column), one to one, that hold the most tokens together (Hungarian algorithm, exact).

    min(K, C) pairs in the order of the rows.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table, maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]


def matched_share(table: np.ndarray) -> float:
    """Share of the tokens that lie in matched pairs of parts."""
    return float(sum(table[pair] for pair in matching(table)) / max(table.sum(), 1e-12))
