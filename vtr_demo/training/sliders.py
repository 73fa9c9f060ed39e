"""Choose the weights of the score, which are the sliders' starting positions, on a validation table."""

from __future__ import annotations

from vtr_demo.evaluation.evaluate import validation_value
from vtr_demo.evaluation.metrics import Scored, ranks_of, summarize
from vtr_demo.structures import TermWeights

TERMS = ("entity", "action", "relationship", "concepts")
GRID = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Values tried for the weight of each term beside the global one."""
ROUNDS = 2
"""Passes over the terms."""


def choose_weights(table: Scored, start: TermWeights) -> TermWeights:
    """Return weights by a coordinate search over ``GRID`` from ``start``, by ``validation_value``.

    A weight changes only where the value rises, so that the result is never worse than ``start`` on
    ``table``. The global weight stays (our decision).
    """
    best, best_value = start, score_value(table, start)
    for _ in range(ROUNDS):
        before = best
        for term in TERMS:
            for weight in GRID:
                weights = best.changed({term: weight})
                if weights == best or not any(weights.levels()):
                    continue
                value = score_value(table, weights)
                if value > best_value:
                    best, best_value = weights, value
        if best == before:
            break
    return best


def score_value(table: Scored, weights: TermWeights) -> float:
    """Return ``validation_value`` of a table under ``weights``."""
    ranks = ranks_of(table, weights)
    sides = {"text_to_video": ranks.text_to_video, "video_to_text": ranks.video_to_text}
    return validation_value({side: summarize(values) for side, values in sides.items()})
