"""The concept grid as HTML: which concepts words and frames share, and what each of them adds."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from vtr_demo.results import LONGEST_NAME, ConceptShot, ConceptView, Explanation
from vtr_demo.structures import Alignment, TermWeights
from vtr_demo.ui.html import clock, data_uri, esc, heat_style, signed, swatch, title
from vtr_demo.viz import overlays
from vtr_demo.viz.overlays import concept_colour

LISTED = 8
"""Concepts named beside the grid, the strongest first."""


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


# --------------------------------------------------------------------------- the Concepts tab as HTML: w
LESSON = (
    "Words and patches of picture are sorted into the same {count} concepts, one each, and a word can meet a "
    "patch only in a concept that both fall into. No one named them: they were found in training, and each "
    "name lists what it was seen to hold. Below is what they hold in this library: words of its captions and "
    "of everyday sentences, and the frames that they fill most, everything else in the dark. Mute one to "
    "search without it."
)


TOLD = ("Leave it out of every search", "Count it in searches again")
RENAMING = " A name is yours to change: click it, write and press Enter; an empty one brings the first back."


def gallery(views: Sequence[ConceptView], muted: Collection[int] = (), nameable: bool = False) -> str:
    """Every concept, the one that holds most of the picture first; ``nameable``: names can be changed."""
    longest = max((share for view in views for share in (view.patches, view.words)), default=0.0)
    ordered = sorted(views, key=lambda view: -view.patches)
    cards = "".join(_card(view, longest, view.number in muted, nameable) for view in ordered)
    lesson = LESSON.format(count=len(views)) + (RENAMING if nameable else "")
    return f'<p class="lesson">{lesson}</p><div class="concepts-wall">{cards}</div>'


def _name(view: ConceptView, nameable: bool) -> str:
    if not nameable:
        return esc(view.name)
    return (
        f'<span class="name" contenteditable="plaintext-only" spellcheck="false" role="textbox" '
        f'aria-label="Name of concept {view.number + 1}" data-edit="rename" data-longest="{LONGEST_NAME}" '
        f'data-first="{esc(view.default_name)}" data-concept="{view.number}">'
        f"{esc(view.name)}</span>"
    )


def _card(view: ConceptView, longest: float, muted: bool, nameable: bool) -> str:
    said = "".join(f"<span>{esc(word)} <small>{times}</small></span>" for word, times in view.top_words)
    shots = "".join(_shot(shot, view.number) for shot in view.shots)
    return (
        f'<article class="concept{" muted" if muted else ""}"><div class="line">'
        f"<h4>{swatch(view.number)}<span>{view.number + 1}</span> {_name(view, nameable)}</h4>"
        f'<button class="quiet" data-do="mute" data-concept="{view.number}" title="{TOLD[muted]}" '
        f'aria-pressed="{str(muted).lower()}">{"Muted" if muted else "Mute"}</button></div>'
        f'<dl class="shares">{_share("patches", view, longest)}'
        f"{_share('words', view, longest)}</dl>"
        f'<div class="spots">{shots or "<p class=soft>No clip of this library holds it.</p>"}</div>'
        f'<p class="held">{said or "<span class=soft>It holds no word here.</span>"}</p>'
        f'<p class="soft">{_meeting(view)}</p></article>'
    )


def _share(what: str, view: ConceptView, longest: float) -> str:
    """A bar, the largest share of any concept being the full length."""
    share = view.patches if what == "patches" else view.words
    percent, width = f"{100 * share:.0f} %", 100 * share / max(longest, 1e-9)
    return (
        f'<dt>{what}</dt><dd role="img" aria-label="{percent} of all {what}">'
        f'<i style="width:{width:.1f}%;background:{concept_colour(view.number)}"></i></dd>'
        f'<dd class="score">{percent}</dd>'
    )


def _shot(shot: ConceptShot, concept: int) -> str:
    picture = overlays.spotlight(shot.frame, shot.held, concept_colour(concept))
    told = f"{title(shot.name)} at {clock(shot.second)}: {100 * shot.share:.0f} % of the frame"
    return (
        f'<button class="spot" data-do="choose" data-clip="{esc(shot.clip_id)}" title="{told}">'
        f'<img src="{data_uri(picture)}" alt="{told}" loading="lazy"></button>'
    )


def _meeting(view: ConceptView) -> str:
    if view.agreement is None:
        return "Too few captions here hold it to say how far words and pictures agree in it."
    own, others = view.agreement
    return (
        f"Words and patches agree by {signed(own)} (mean cosine) in a caption’s own clip, by "
        f"{signed(others)} in others."
    )
