"""The concept grid as HTML: which concepts words and frames share, and what each of them adds."""

from __future__ import annotations

import numpy as np

from vtr_demo.features import TermWeights
from vtr_demo.page import clock, esc, signed, swatch
from vtr_demo.palette import tint
from vtr_demo.records import Alignment
from vtr_demo.results import Explanation

LISTED = 8
"""Concepts named beside the grid, the strongest first."""


def heat_style(value: float, limit: float) -> str:
    """A value on the colour scale of all pictures, for elements of class ``heat``."""
    *colour, opacity = tint(value, (-limit, limit))
    red, green, blue = (round(255 * part) for part in colour)
    return f"--tint:rgb({red} {green} {blue});--opacity:{opacity:.3f}"


def frame_concepts(alignment: Alignment) -> np.ndarray:
    """(T, K): what each frame adds through each concept; adds up to the ``concepts`` term."""
    found = np.zeros((len(alignment.seconds), alignment.concept_count), np.float32)
    for k in range(alignment.concept_count):
        found[:, k] = alignment.concept_terms[alignment.word_concept == k].sum(axis=(0, 2))
    return found


def grid(explanation: Explanation, weights: TermWeights) -> str:
    """Words and frames against concepts: dot, share allocated there; colour, what it adds."""
    made = explanation.alignment
    count = made.concept_count
    by_word = np.zeros((len(made.words), count), np.float32)
    held = made.word_concept >= 0
    by_word[np.flatnonzero(held), made.word_concept[held]] = made.concept_terms.sum(axis=(1, 2))[held]
    by_frame = frame_concepts(made)
    limit = float(max(np.abs(by_word).max(), np.abs(by_frame).max(), 1e-9))
    in_word = made.word_concept[:, None] == np.arange(count)
    in_frame = (made.patch_concept[:, :, None] == np.arange(count)).mean(axis=1)
    used = [k for k in range(count) if in_word[:, k].any() or in_frame[:, k].any()]
    head = "".join(f'<th scope="col">{_mute(k, explanation, weights)}</th>' for k in used)
    word_rows = "".join(
        _grid_row(esc(word), [(by_word[w, k], float(in_word[w, k])) for k in used], limit)
        for w, word in enumerate(made.words)
    )
    frame_rows = "".join(
        _grid_row(clock(second), [(by_frame[t, k], float(in_frame[t, k])) for k in used], limit)
        for t, second in sorted(enumerate(made.seconds), key=lambda pair: pair[1])
    )
    total = _grid_row("sum", [(value, 0.0) for value in made.by_concept()[used]], limit)
    off = (
        "Concepts weigh 0 now, so they add nothing; raise their weight to use them. "
        if not weights.concepts
        else ""
    )
    return (
        f'<div class="gridwrap"><table class="grid"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{word_rows}</tbody><tbody>{frame_rows}</tbody><tbody>{total}</tbody></table>"
        f"{_concept_key(explanation, used)}</div>"
        f'<p class="soft hint">{off}A dot says that the word, or that share of the frame, is allocated to '
        f"the concept; the colour is what it adds, from {signed(-limit, 3)} to {signed(limit, 3)}. "
        "Click a concept to mute it and rank again.</p>"
    )


def _mute(concept: int, explanation: Explanation, weights: TermWeights) -> str:
    muted = concept in weights.muted
    told = f"{'Count' if muted else 'Mute'} concept {concept + 1}: {esc(explanation.concept_names[concept])}"
    return (
        f'<button class="mute{" muted" if muted else ""}" data-do="mute" data-concept="{concept}" '
        f'aria-pressed="{str(muted).lower()}" title="{told}">{swatch(concept)}<span>{concept + 1}</span>'
        "</button>"
    )


def _concept_key(explanation: Explanation, used: list[int]) -> str:
    adds = explanation.alignment.by_concept()
    rows = "".join(
        f"<li>{swatch(k)}<span>{k + 1} · {esc(explanation.concept_names[k])}</span>"
        f'<span class="score">{signed(float(adds[k]), 3)}</span></li>'
        for k in sorted(used, key=lambda k: -abs(adds[k]))[:LISTED]
        if abs(adds[k]) >= 5e-4
    )
    return f'<ul class="concept-key">{rows}</ul>'


def _grid_row(label: str, cells: list[tuple[float, float]], limit: float) -> str:
    columns = "".join(
        f'<td class="heat" style="{heat_style(float(value), limit)}" title="{signed(float(value), 4)}">'
        + (f'<i style="--share:{share:.2f}"></i>' if share > 0 else "")
        + "</td>"
        for value, share in cells
    )
    return f'<tr><th scope="row">{label}</th>{columns}</tr>'
