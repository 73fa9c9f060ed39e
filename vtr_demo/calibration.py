"""Are p-values right? Of queries about a library against queries about nothing in it.

A query's p-value is the smallest over what it is compared with. It is refused where the product would say
that there is no confident match; false alarms are refused queries that have a match. Figures in percent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from vtr_demo.nullset import CONFIDENT_P, NullDistribution

FALSE_ALARMS = 0.05
"""The share of false alarms at which refusals are compared."""
EDGES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
"""Of the bins of p-values: above one edge, up to the next."""


@dataclass(frozen=True)
class Asked:
    """p-values of queries whose clip is in the library, and of queries about nothing in it.

    Groups name what was written together, such as the captions of one clip; intervals draw these.
    """

    about: np.ndarray
    nothing: np.ndarray
    about_groups: np.ndarray
    nothing_groups: np.ndarray


# --------------------------------------------------------------------------- who asks
def smallest_p(scores: np.ndarray, null: np.ndarray) -> np.ndarray:
    """(Q,): the smallest p-value over the clips, from scores (Q, N) and those of the null (M, N)."""
    known, rows = NullDistribution([null]), np.arange(scores.shape[1])
    return np.array([known.p_values(row, rows).min(initial=1.0) for row in scores])


def ask_given(scores: np.ndarray, groups: np.ndarray, null: np.ndarray, others: np.ndarray) -> Asked:
    """Captions (Q, N) in ``groups`` (Q,) and other sentences (R, N), all against the null (M, N)."""
    return Asked(smallest_p(scores, null), smallest_p(others, null), groups, np.arange(len(others)))


def ask_halves(scores: np.ndarray, groups: np.ndarray, null: np.ndarray) -> Asked:
    """Every other sentence of the null asks, the rest is the null; and the reverse."""
    halves = [ask_given(scores, groups, null[i::2], null[1 - i :: 2]) for i in (0, 1)]
    first, second = halves
    return Asked(
        np.concatenate([first.about, second.about]),
        np.concatenate([first.nothing, second.nothing]),
        np.concatenate([first.about_groups, second.about_groups]),
        np.arange(len(null)),
    )


def ask_left_out(scores: np.ndarray, positives: np.ndarray, null: np.ndarray) -> Asked:
    """Each caption with its clips, ``positives`` (Q, N), and then without them."""
    groups = positives.argmax(axis=1)
    without = [
        smallest_p(row[None, ~own], null[:, ~own])[0] for row, own in zip(scores, positives, strict=True)
    ]
    return Asked(smallest_p(scores, null), np.array(without), groups, groups)


# --------------------------------------------------------------------------- what is measured
def auroc(about: np.ndarray, nothing: np.ndarray) -> float:
    """How often a query about the library has the smaller p-value than one about nothing; ties half."""
    ordered = np.sort(nothing)
    above = len(nothing) - np.searchsorted(ordered, about, side="right")
    level = len(nothing) - np.searchsorted(ordered, about, side="left") - above
    return float((above + level / 2).mean() / len(nothing))


def threshold_for(about: np.ndarray, false_alarms: float = FALSE_ALARMS) -> float:
    """The smallest p-value that may be asked for with at most this share of captions refused."""
    return float(np.sort(about)[::-1][int(false_alarms * len(about))])


def figures(about: np.ndarray, nothing: np.ndarray, threshold: float = CONFIDENT_P) -> dict[str, float]:
    """AUROC, and refusals (percent) at 5 % false alarms and at the product's own threshold."""
    return {
        "auroc": 100 * auroc(about, nothing),
        "refused_at_5_percent_false_alarms": 100 * float((nothing > threshold_for(about)).mean()),
        "refused": 100 * float((nothing > threshold).mean()),
        "false_alarms": 100 * float((about > threshold).mean()),
    }


def bins(nothing: np.ndarray) -> dict[str, float]:
    """By bin of p-values: the percentage of queries about nothing. Its width is what it should be."""
    # a p-value is a fraction of a whole number: what lies on an edge must not fall off it by rounding
    counted = [float(100 * (nothing <= edge + 1e-9).mean()) for edge in EDGES]
    return {
        f"{low:g} to {high:g}": after - before
        for (low, high), (before, after) in zip(pairwise(EDGES), pairwise(counted), strict=True)
    }


def summary(asked: Asked, *, seed: int = 0, resamples: int = 1000) -> dict[str, Any]:
    """All figures with 95 % bootstrap intervals over the groups, and the reliability table."""
    rng = np.random.default_rng(seed)
    draw_about, draw_nothing = _drawer(asked.about_groups), _drawer(asked.nothing_groups)
    drawn_figures, drawn_bins = [], []
    for _ in range(resamples):
        about, nothing = asked.about[draw_about(rng)], asked.nothing[draw_nothing(rng)]
        drawn_figures.append(figures(about, nothing))
        drawn_bins.append(bins(nothing))
    table = [
        {"p": name, "expected": 100 * (high - low), "observed": value, "interval_95": interval}
        for (name, value), interval, (low, high) in zip(
            bins(asked.nothing).items(), _intervals(drawn_bins).values(), pairwise(EDGES), strict=True
        )
    ]
    return figures(asked.about, asked.nothing) | {
        "interval_95": _intervals(drawn_figures),
        "threshold_at_5_percent_false_alarms": threshold_for(asked.about),
        "queries_about_nothing": len(asked.nothing),
        "reliability": table,
    }


def _drawer(groups: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
    """Draws whole groups with replacement: the rows of one bootstrap sample."""
    members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    return lambda rng: np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])


def _intervals(drawn: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """The central 95 % of each figure."""
    return {
        name: [float(edge) for edge in np.quantile([one[name] for one in drawn], [0.025, 0.975])]
        for name in drawn[0]
    }
