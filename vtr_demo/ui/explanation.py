"""One explanation as HTML: player, reason in words, word chips, level bars, concept grid, frame heat.

Everything is read from ``Explanation.alignment``, whose summands add up to the score that ranked.
A *pick* says which summands the frames show: ``total``, ``term:NAME``, ``word:I``, ``concept:K``
or ``map`` (which concept holds each patch).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from vtr_demo.results import ClipView, Explanation
from vtr_demo.structures import TERMS, TermWeights
from vtr_demo.ui.concepts import grid
from vtr_demo.ui.html import (
    TERM_NAMES,
    bar_range,
    clock,
    confidence_words,
    data_uri,
    esc,
    heat_style,
    signed,
    stacked_bar,
    swatch,
    title,
)
from vtr_demo.viz import overlays
from vtr_demo.viz.overlays import patch_limit, picked, word_parts

LEAST_HEAT = 1e-6
FAINT = 0.02
"""A word, level or frame below this share of the largest is not worth a sentence."""


# --------------------------------------------------------------------------- numbers


# --------------------------------------------------------------------------- words
def reason(explanation: Explanation) -> str:
    """Why the score is what it is, in two or three short sentences (HTML)."""
    made = explanation.alignment
    terms = made.terms()
    name, best = max(terms.items(), key=lambda item: item[1])
    if best <= 0:
        return "Nothing in this clip speaks for the sentence: no part of the score is positive."
    gains = sum(value for value in terms.values() if value > 0)
    level = made.all_terms()[TERMS.index(name)]
    by_word, by_frame = level.sum(axis=(1, 2)), level.sum(axis=(0, 2))
    order = [int(i) for i in np.argsort(-by_word) if by_word[i] > 0.25 * by_word.max()][:3]
    strongest = " and ".join(quoted(made.words[i], i) for i in order)
    where = f", strongest at {clock(made.seconds[int(by_frame.argmax())])}" if len(by_frame) > 1 else ""
    part = f"<b class='ink {name}'>{TERM_NAMES[name].lower()}</b>"
    said = [f"Mostly {part} ({100 * best / gains:.0f} % of what speaks for it): {strongest}{where}."]
    others = sorted(((v, n) for n, v in terms.items() if n != name and v > FAINT * gains), reverse=True)
    if others:
        listed = ", ".join(f"{TERM_NAMES[n].lower()} {signed(v)}" for v, n in others)
        said.append(f"Then {listed}.")
    words = word_parts(made)
    worst = int(words.argmin())
    if words[worst] < -FAINT * gains:
        said.append(f"{quoted(made.words[worst], worst)} counts against it ({signed(words[worst])}).")
    return " ".join(said)


def quoted(word: str, index: int) -> str:
    """A word of ``Alignment.words`` as it is spoken of; the first of them is the whole sentence."""
    return "the sentence as a whole" if index == 0 else f"“{esc(word)}”"


def word_chips(explanation: Explanation, words: Sequence[str], struck: Collection[int]) -> str:
    """The sentence as chips: colour is what the word adds, a click strikes it out or puts it back.

    ``words`` are those of the whole sentence and ``struck`` indexes them; the explanation knows only
    the words that are left.
    """
    parts = word_parts(explanation.alignment)[1:]
    limit = float(max(np.abs(parts).max(initial=0.0), 1e-9))
    chips = []
    left = 0
    for index, word in enumerate(words):
        if index in struck:
            chips.append(
                f'<button class="word struck" data-do="strike" data-word="{index}" aria-pressed="true" '
                f'title="Struck out. Click to put it back."><s>{esc(word)}</s></button>'
            )
            continue
        part = float(parts[left]) if left < len(parts) else 0.0
        effect = float(explanation.word_effects[left]) if left < len(explanation.word_effects) else 0.0
        left += 1
        change = f"{'falls' if effect > 0 else 'rises'} by {abs(effect):.3f}"
        told = f"Adds {signed(part, 3)}. Without it the score {change}. Click to strike it out."
        chips.append(
            f'<button class="word heat" data-do="strike" data-word="{index}" aria-pressed="false" '
            f'title="{told}" style="{heat_style(part, limit)}">{esc(word)}'
            f"<small>{signed(part)}</small></button>"
        )
    return f'<div class="words" role="group" aria-label="Words of the sentence">{"".join(chips)}</div>'


# --------------------------------------------------------------------------- parts of the panel
def player(clip: ClipView, moment: int) -> str:
    """The clip itself with its moments; buttons seek without asking the server."""
    start = clip.moments[moment][0] if 0 <= moment < len(clip.moments) else 0.0
    address = f"clips/{quote(clip.clip_id, safe='')}"
    length = max(clip.duration_s, 1e-6)
    spans = "".join(
        f'<button data-seek="{begin:.3f}" class="span{" open" if index == moment else ""}" '
        f'style="left:{begin / length * 100:.2f}%;width:{(end - begin) / length * 100:.2f}%" '
        f'aria-label="Play from {clock(begin)} to {clock(end)}" '
        f'title="{clock(begin)} – {clock(end)}"></button>'
        for index, (begin, end) in enumerate(clip.moments or [(0.0, clip.duration_s)])
    )
    shape = f"aspect-ratio:{max(clip.width, 1)}/{max(clip.height, 1)}"
    return (
        f'<div class="player"><video controls muted playsinline preload="metadata" src="{address}/media" '
        f'style="{shape}" data-start="{start:.3f}" aria-label="{title(clip.name)}"></video>'
        f'<div class="track" role="group" aria-label="Moments">{spans}<i class="head"></i></div></div>'
    )


def summary(
    explanation: Explanation,
    clip: ClipView,
    words: Sequence[str] = (),
    struck: Collection[int] = (),
    confidence: float | None = None,
) -> str:
    """Score, reason and word chips; ``words`` and ``struck`` as in ``word_chips``."""
    words = words or [word.text for word in explanation.sentence.words]
    made = explanation.alignment
    terms = made.terms()
    span = bar_range([terms])
    sure = f'<span class="soft">{confidence_words(confidence)}</span>' if confidence is not None else ""
    return (
        f'<div class="why"><div class="line"><h2>{title(clip.name)}</h2>'
        '<button class="quiet" data-do="close" aria-label="Close the explanation">Close</button></div>'
        f'<div class="total"><span class="figure">{signed(made.score)}</span>{sure}</div>'
        f"{stacked_bar(terms, *span)}<p class='reason'>{reason(explanation)}</p>"
        f"{word_chips(explanation, words, struck)}"
        '<p class="soft hint">Click a word to strike it out and rank again.</p></div>'
    )


def level_rows(explanation: Explanation, weights: TermWeights) -> str:
    """A row a term: contribution, and the weight g_l that the sentence gives the level."""
    terms = explanation.alignment.terms()
    low, high = min(0.0, *terms.values()), max(1e-9, *terms.values())
    rows = []
    for name in TERMS:
        value, gate = terms[name], explanation.gates.get(name, weights.concepts)
        left, width = (min(value, 0.0) - low) / (high - low) * 100, abs(value) / (high - low) * 100
        sign = "λ" if name == "concepts" else "g"
        tags = ", ".join(
            f"{esc(tag)} {chance * 100:.0f} %" for tag, chance in explanation.video_tags.get(name, ())
        )
        seen = f'<span class="soft tags">seen: {tags}</span>' if tags else ""
        rows.append(
            f'<li><span class="level-name"><i class="dot {name}"></i>{TERM_NAMES[name]}</span>'
            '<span class="level-bar">'
            f'<i class="{name}" style="left:{left:.2f}%;width:{width:.2f}%"></i></span>'
            f'<span class="score">{signed(value)}</span>'
            f'<span class="soft gate" title="Weight for this sentence">{sign} = {gate:.2f}</span>{seen}</li>'
        )
    return f'<ul class="levels">{"".join(rows)}</ul>'


def body(explanation: Explanation, weights: TermWeights, pick: str, rivals: str = "") -> str:
    """Level bars, heat over the frames, and the concept grid with one colour scale; ``rivals`` after the
    bars."""
    return (
        '<div class="whybody"><section><h3>What each part adds</h3>'
        f"{level_rows(explanation, weights)}</section>{rivals}"
        f"<section><h3>Where it looks</h3>{chooser(explanation, pick)}{frames(explanation, pick)}"
        f"{scale(explanation)}</section>"
        f"<section><h3>Which concepts words and frames share</h3>{grid(explanation, weights)}</section></div>"
    )


def chooser(explanation: Explanation, pick: str) -> str:
    """Buttons that choose which summands the frames show."""
    made = explanation.alignment
    used = sorted({int(k) for k in np.unique(made.patch_concept)} | {int(k) for k in made.word_concept})
    groups: Mapping[str, list[tuple[str, str, str]]] = {
        "Parts": [("total", "Whole score", "")]
        + [(f"term:{name}", TERM_NAMES[name], f'<i class="dot {name}"></i>') for name in TERMS],
        "Words": [(f"word:{i}", esc(word), "") for i, word in enumerate(made.words)],
        "Concepts": [("map", "Concept map", "")]
        + [(f"concept:{k}", esc(explanation.concept_names[k]), swatch(k)) for k in used if k >= 0],
    }
    rows = ""
    for heading, entries in groups.items():
        buttons = "".join(
            f'<button class="pick{" open" if key == pick else ""}" data-do="pick" data-pick="{key}" '
            f'aria-pressed="{str(key == pick).lower()}">{mark}{label}</button>'
            for key, label, mark in entries
        )
        rows += f'<div class="picks"><span class="soft">{heading}</span><div>{buttons}</div></div>'
    return rows


def frames(explanation: Explanation, pick: str) -> str:
    """The frames the model saw under the picked heat; a click seeks the player."""
    made = explanation.alignment
    heat, limit = picked(made, pick), patch_limit(made)
    figures = []
    for t in np.argsort(made.seconds, kind="stable"):
        second = made.seconds[t]
        if pick == "map":
            shown = overlays.concept_overlay(
                explanation.frames[t], made.patch_concept[t, 1:].reshape(made.grid)
            )
            note = ""
        else:
            shown = overlays.overlay(explanation.frames[t], heat[t, 1:].reshape(made.grid), limit)
            note = f"<b>{signed(float(heat[t].sum()), 3)}</b>"
        figures.append(
            f'<button class="shot" data-seek="{second:.3f}" title="Play from {clock(second)}">'
            f'<img src="{data_uri(shown)}" alt="Frame at {clock(second)}, {esc(pick)}">'
            f"<span><span>{clock(second)}</span>{note}</span></button>"
        )
    whole = float(heat[:, 0].sum())
    extra = (
        f'<p class="soft hint">{signed(whole, 3)} of this comes from whole frames, not from patches.</p>'
        if pick != "map" and abs(whole) > 5e-4
        else ""
    )
    per_row = len(figures) if len(figures) <= 6 else -(-len(figures) // 2)
    return f'<div class="shots" style="--per-row:{per_row}">{"".join(figures)}</div>{extra}'


def scale(explanation: Explanation) -> str:
    """The legend of the one colour scale, with its two ranges."""
    limit = patch_limit(explanation.alignment)
    if limit < LEAST_HEAT:
        return '<p class="soft hint">No single patch adds anything here, so there is no heat to show.</p>'
    steps = "".join(
        f'<i class="heat" style="{heat_style(value, 1.0)}"></i>' for value in np.linspace(-1, 1, 21)
    )
    return (
        f'<div class="scale"><span>{signed(-limit, 4)}</span><span class="steps">{steps}</span>'
        f'<span>{signed(limit, 4)}</span><span class="soft">added to the score by one patch; '
        "the same colours in all frames and choices</span></div>"
    )


# --------------------------------------------------------------------------- why one clip lies above ano
FAINT_DIFFERENCE = 5e-3
"""Differences below this are not worth a word."""


@dataclass(frozen=True)
class Rival:
    """Another clip of the results, its place among them (from 1) and the moment that was found."""

    rank: int
    clip: ClipView
    moment: int


def section(clip: ClipView, why: Explanation, rivals: Sequence[Rival], other: Explanation | None) -> str:
    """The clips to compare with and, where ``other`` explains one of them, the comparison."""
    if not rivals:
        return ""
    chosen = other.clip_id if other else ""
    buttons = "".join(_button(rival, rival.clip.clip_id == chosen) for rival in rivals)
    names = {rival.clip.clip_id: rival.clip.name for rival in rivals}
    told = versus(why, other, clip.name, names.get(chosen, "")) if other else ""
    return (
        '<section class="rivals"><h3>Against another clip</h3>'
        f'<div class="picks"><span class="soft">Compare</span><div>{buttons}</div></div>{told}</section>'
    )


def versus(why: Explanation, other: Explanation, name: str, other_name: str) -> str:
    """Both scores and what their difference is made of."""
    one, two = why.alignment, other.alignment
    mine, theirs = one.terms(), two.terms()
    parts = [(f'<i class="dot {key}"></i>{TERM_NAMES[key]}', mine[key], theirs[key]) for key in TERMS]
    words = [
        (quoted(word, i), float(a), float(b))
        for i, (word, a, b) in enumerate(zip(one.words, word_parts(one), word_parts(two), strict=True))
    ]
    gap = one.score - two.score
    limit = max(abs(a - b) for _, a, b in [*parts, *words]) or 1.0
    heads = f'<th scope="col">{title(name)}</th><th scope="col">{title(other_name)}</th>'
    return (
        f"<p class='reason'>{_verdict(gap, parts, name, other_name)}</p>"
        f'<div class="gridwrap"><table class="versus"><thead><tr><th></th>{heads}<th class="lean"></th>'
        f'<th scope="col">difference</th></tr></thead><tbody>{_rows(parts, limit)}</tbody>'
        f"<tbody>{_rows(words, limit)}</tbody>"
        f"<tbody>{_row('score', one.score, two.score, 0.0)}</tbody></table></div>"
        '<p class="soft hint">The parts add up to the difference of the scores, and so do the words.</p>'
    )


def _verdict(gap: float, parts: Sequence[tuple[str, float, float]], name: str, other_name: str) -> str:
    one, two = f"<b>{title(name)}</b>", f"<b>{title(other_name)}</b>"
    if abs(gap) < FAINT_DIFFERENCE:
        return f"{one} and {two} score alike."
    ahead, sign = ("above", 1) if gap > 0 else ("below", -1)
    ordered = sorted(((sign * (a - b), label) for label, a, b in parts), reverse=True)
    with_it = [f"{label} {signed(value)}" for value, label in ordered if value >= FAINT_DIFFERENCE]
    against = [f"{label} {signed(value)}" for value, label in reversed(ordered) if value <= -FAINT_DIFFERENCE]
    why = f": {', '.join(with_it)}" if with_it else ""
    other = f" Against it: {', '.join(against)}." if against else ""
    return f"{one} lies {ahead} {two} by {abs(gap):.2f}{why}.{other}"


def _rows(rows: Sequence[tuple[str, float, float]], limit: float) -> str:
    return "".join(_row(label, a, b, limit) for label, a, b in rows)


def _row(label: str, a: float, b: float, limit: float) -> str:
    """One summand of both scores; its bar reaches left where it speaks for the other clip."""
    width = 50 * abs(a - b) / limit if limit else 0.0
    left = 50.0 if a >= b else 50.0 - width
    side = "more" if a >= b else "less"
    bar = f'<i class="{side}" style="left:{left:.2f}%;width:{width:.2f}%"></i>' if limit else ""
    return (
        f'<tr><th scope="row">{label}</th><td class="score">{signed(a)}</td>'
        f'<td class="score">{signed(b)}</td><td class="lean">{bar}</td>'
        f'<td class="score">{signed(a - b)}</td></tr>'
    )


def _button(rival: Rival, chosen: bool) -> str:
    return (
        f'<button class="pick{" open" if chosen else ""}" data-do="rival" '
        f'data-clip="{esc(rival.clip.clip_id)}" aria-pressed="{str(chosen).lower()}">'
        f"<small>{rival.rank}</small>{title(rival.clip.name)}</button>"
    )
