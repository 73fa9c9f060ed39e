"""Concepts as HTML: the grid of an explanation, and the Concepts tab."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from vtr_demo.results import LONGEST_NAME, ConceptView, Explanation
from vtr_demo.structures import Alignment, TermWeights
from vtr_demo.ui.html import render
from vtr_demo.viz.layout import time_label

LISTED = 8
"""Concepts named beside the grid, the strongest first."""


def frame_concepts(alignment: Alignment) -> np.ndarray:
    """(T, K): what each frame adds through each concept; adds up to the ``concepts`` term."""
    added = np.zeros((len(alignment.seconds), alignment.concept_count), np.float32)
    for k in range(alignment.concept_count):
        added[:, k] = alignment.concept_terms[alignment.word_concept == k].sum(axis=(0, 2))
    return added


def word_concepts(alignment: Alignment) -> np.ndarray:
    """(1+W, K): what each word adds through its concept; adds up to the ``concepts`` term."""
    added = np.zeros((len(alignment.words), alignment.concept_count), np.float32)
    held = alignment.word_concept >= 0
    added[np.flatnonzero(held), alignment.word_concept[held]] = alignment.concept_terms.sum(axis=(1, 2))[held]
    return added


def grid_values(why: Explanation, weights: TermWeights) -> dict[str, Any]:
    """The grid of words and frames against the concepts that they are allocated to.

    A cell is (what it adds, share allocated there).
    """
    alignment = why.alignment
    concepts = np.arange(alignment.concept_count)
    by_word, by_frame, sums = word_concepts(alignment), frame_concepts(alignment), alignment.by_concept()
    in_word = (alignment.word_concept[:, None] == concepts).astype(float)
    in_frame = (alignment.patch_concept[:, :, None] == concepts).mean(axis=1)
    used = np.flatnonzero(in_word.any(axis=0) | in_frame.any(axis=0)).tolist()

    def row(label: str, values: np.ndarray, shares: np.ndarray) -> tuple[str, list[tuple[float, float]]]:
        return label, [(float(values[k]), float(shares[k])) for k in used]

    words = [row(*parts) for parts in zip(alignment.words, by_word, in_word, strict=True)]
    order = np.argsort(alignment.seconds, kind="stable")
    frames = [row(time_label(alignment.seconds[t]), by_frame[t], in_frame[t]) for t in order]
    strongest = sorted(used, key=lambda k: -abs(sums[k]))[:LISTED]
    return {
        "concepts": [{"number": k, "name": why.concept_names[k], "muted": k in weights.muted} for k in used],
        "bodies": [words, frames, [row("sum", sums, np.zeros(len(concepts)))]],
        "limit": float(max(np.abs(by_word).max(), np.abs(by_frame).max(), 1e-9)),
        "key": [
            {"number": k, "name": why.concept_names[k], "adds": float(sums[k])}
            for k in strongest
            if abs(sums[k]) >= 5e-4
        ],
        "off": not weights.concepts,
    }


def gallery(views: Sequence[ConceptView], muted: Collection[int] = (), nameable: bool = False) -> str:
    """Every concept, the one that holds most of the picture first; ``nameable``: names can be changed."""
    return render(
        "concepts",
        "gallery",
        views=sorted(views, key=lambda view: -view.patches),
        longest=max((share for view in views for share in (view.patches, view.words)), default=0.0),
        muted=muted,
        nameable=nameable,
        max_name=LONGEST_NAME,
    )
