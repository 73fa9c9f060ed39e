"""Scores put right by the whole query set: hubs, which are near to every query, lose their lead.

Each takes cosine-like scores (Q, N) of Q queries and N candidates and gives scores of the same shape
whose order within a row is the answer to that query. All three look at the other queries, so none of
them is available to a single live search; results with and without them must not be mixed. They work
on logarithms, which keeps the order and cannot overflow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vtr_demo.errors import BadScores

NEEDS = "the whole query set"
"""What marks their results."""
SCALE = 100.0
"""Factor on scores before an exponential: CLIP's logit scale."""


def dual_softmax(scores: np.ndarray, scale: float = SCALE) -> np.ndarray:
    """The log of the product of both directions' softmaxes (DSL: Cheng et al. 2021, CAMoE).

    CAMoE multiplies the raw score with the softmax over the queries, which turns the order round
    where scores are negative; the product of two softmaxes does not (our decision).
    """
    logits = scale * _checked_table(scores)
    return logits - _log_sum(logits, 1) + logits - _log_sum(logits, 0)


def query_bank(
    scores: np.ndarray, bank: np.ndarray | None = None, beta: float = 20.0, nearest: int = 1
) -> np.ndarray:
    """QB-Norm with its dynamic inverted softmax (Bogolin et al. 2022, eq. 3-5; beta 20, k 1 there).

    bank (M, N): scores of M bank queries, by rights training captions; default the queries
    themselves. A query whose best candidate is among the ``nearest`` of some bank query has its row
    divided by the bank's softmax mass, the others stay as they are.
    """
    table = _checked_table(scores)
    known = table if bank is None else _checked_table(bank)
    if known.shape[1] != table.shape[1]:
        raise BadScores(f"The bank scores {known.shape[1]} candidates, the queries {table.shape[1]}.")
    places = np.argpartition(-known, min(nearest, known.shape[1]) - 1, axis=1)[:, :nearest]
    active = np.zeros(table.shape[1], dtype=bool)
    active[places] = True
    inverted = beta * table - _log_sum(beta * known, 0)
    return np.where(active[table.argmax(axis=1)][:, None], inverted, table)


def sinkhorn(scores: np.ndarray, scale: float = SCALE, rounds: int = 10) -> np.ndarray:
    """Log of the matrix whose rows and columns all have the same mass (Sinkhorn-Knopp; Cuturi 2013).

    Used at test time by UCoFiA (Wang et al. 2023). The last step is over the columns (candidates),
    which then sum to exactly Q / N; the rows sum to 1 as far as ``rounds`` brought them.
    """
    table = scale * _checked_table(scores)
    queries, candidates = table.shape
    for _ in range(rounds):
        table = table - _log_sum(table, 1)
        table = table - _log_sum(table, 0) + np.log(queries / candidates)
    return table


NORMALISATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dsl": dual_softmax,
    "qb_norm": query_bank,
    "sinkhorn": sinkhorn,
}


def _checked_table(scores: np.ndarray) -> np.ndarray:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape or not np.isfinite(table).all():
        raise BadScores(f"Scores must be a finite table (queries, candidates), got {table.shape}.")
    return table


def _log_sum(logits: np.ndarray, axis: int) -> np.ndarray:
    highest = logits.max(axis=axis, keepdims=True)
    return np.asarray(highest + np.log(np.exp(logits - highest).sum(axis=axis, keepdims=True)))
