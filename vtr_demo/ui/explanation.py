"""One explanation as HTML: player, reason in words, word chips, level bars, concept grid, frame heat.

Everything is read from ``Explanation.alignment``, whose summands add up to the score that ranked.
A *pick* says which summands the frames show: those of ``overlays.picked``, or ``map`` (which concept holds
each patch).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from vtr_demo.results import ClipView, Explanation
from vtr_demo.structures import TERMS, TermWeights
from vtr_demo.ui.concepts import grid_values
from vtr_demo.ui.html import TERM_NAMES, bar_range, render
from vtr_demo.viz import overlays
from vtr_demo.viz.overlays import patch_limit, picked, word_parts

MIN_HEAT = 1e-6
"""Where no patch adds more, there is no scale to show."""
MIN_SHARE = 0.02
"""A word or level below this share of the positive parts is not worth a sentence."""
MIN_DIFFERENCE = 5e-3
"""Two scores closer than this are alike."""


# --------------------------------------------------------------------------- the top of the panel
def player(clip: ClipView, moment: int) -> str:
    """The clip itself with its moments."""
    return render("explanation", "player", clip=clip, moment=moment)


def summary(
    why: Explanation,
    clip: ClipView,
    words: Sequence[str] = (),
    struck: Collection[int] = (),
    confidence: float | None = None,
) -> str:
    """Score, reason and word chips.

    ``words`` are those of the whole sentence and ``struck`` indexes them; the explanation knows only the
    words that are left.
    """
    terms = why.alignment.terms()
    chips = word_chips(why, words or [word.text for word in why.sentence.words], struck)
    return render(
        "explanation",
        "summary",
        clip=clip,
        score=why.alignment.score,
        terms=terms,
        span=bar_range([terms]),
        confidence=confidence,
        reason=reason(why),
        chips=chips,
        limit=max([abs(chip["part"]) for chip in chips if not chip["struck"]] + [1e-9]),
    )


def word_chips(why: Explanation, words: Sequence[str], struck: Collection[int]) -> list[dict[str, Any]]:
    """A chip a word: what it adds, and the change of the score without it."""
    parts, effects = iter(word_parts(why.alignment)[1:]), iter(why.word_effects)
    chips: list[dict[str, Any]] = []
    for index, word in enumerate(words):
        chip = {"index": index, "word": word, "struck": index in struck}
        if not chip["struck"]:
            chip |= {"part": float(next(parts, 0.0)), "effect": float(next(effects, 0.0))}
        chips.append(chip)
    return chips


def reason(why: Explanation) -> dict[str, Any]:
    """Why the score is what it is: its largest term with its strongest words and frame, the other positive
    terms, and the word that counts most against it. Empty where no term is positive."""
    alignment = why.alignment
    terms = alignment.terms()
    term, best = max(terms.items(), key=lambda item: item[1])
    if best <= 0:
        return {}
    gains = sum(value for value in terms.values() if value > 0)
    level = alignment.all_terms()[TERMS.index(term)]
    by_word, by_frame = level.sum(axis=(1, 2)), level.sum(axis=(0, 2))
    strongest = [int(i) for i in np.argsort(-by_word) if by_word[i] > 0.25 * by_word.max()][:3]
    parts = word_parts(alignment)
    worst = int(parts.argmin())
    others = [(name, value) for name, value in terms.items() if name != term and value > MIN_SHARE * gains]
    return {
        "term": term,
        "share": best / gains,
        "words": [(i, alignment.words[i]) for i in strongest],
        "second": alignment.seconds[int(by_frame.argmax())] if len(by_frame) > 1 else None,
        "others": sorted(others, key=lambda other: other[::-1], reverse=True),
        "against": (worst, alignment.words[worst], float(parts[worst])) if parts[worst] < -MIN_SHARE * gains else None,
    }


# --------------------------------------------------------------------------- below it
def body(why: Explanation, weights: TermWeights, pick: str, comparison: str = "") -> str:
    """Level bars, ``comparison`` (HTML of ``compare``), heat over the frames, and the concept grid."""
    alignment = why.alignment
    limit = patch_limit(alignment)
    whole = float(picked(alignment, pick)[:, 0].sum())
    return render(
        "explanation",
        "body",
        levels=level_rows(why, weights),
        comparison=Markup(comparison),
        picks=picks(why),
        pick=pick,
        shots=shots(why, pick),
        whole=whole if pick != "map" and abs(whole) > 5e-4 else 0.0,
        scale_limit=limit if limit >= MIN_HEAT else None,
        concept_grid=grid_values(why, weights),
    )


def level_rows(why: Explanation, weights: TermWeights) -> list[dict[str, Any]]:
    """A row a term: contribution, bar in percent, the weight g_l that the sentence gives it, tags seen."""
    terms = why.alignment.terms()
    low, high = min(0.0, *terms.values()), max(1e-9, *terms.values())
    return [
        {
            "name": name,
            "value": value,
            "left": (min(value, 0.0) - low) / (high - low) * 100,
            "width": abs(value) / (high - low) * 100,
            "gate": why.gates.get(name, weights.concepts),
            "tags": why.video_tags.get(name, ()),
        }
        for name, value in terms.items()
    ]


def picks(why: Explanation) -> list[tuple[str, list[tuple[str, str, str, int | None]]]]:
    """Groups of picks: (heading, [(pick, label, term or "", concept or None), ...])."""
    alignment = why.alignment
    used = sorted({*map(int, np.unique(alignment.patch_concept)), *map(int, alignment.word_concept)} - {-1})
    terms = [(f"term:{name}", TERM_NAMES[name], name, None) for name in TERMS]
    return [
        ("Parts", [("total", "Whole score", "", None), *terms]),
        ("Words", [(f"word:{i}", word, "", None) for i, word in enumerate(alignment.words)]),
        (
            "Concepts",
            [("map", "Concept map", "", None), *((f"concept:{k}", why.concept_names[k], "", k) for k in used)],
        ),
    ]


def shots(why: Explanation, pick: str) -> list[tuple[float, np.ndarray, float | None]]:
    """(second, picture, what the frame adds) for each frame, in time order; a map adds nothing."""
    alignment = why.alignment
    heat, limit = picked(alignment, pick), patch_limit(alignment)
    shown: list[tuple[float, np.ndarray, float | None]] = []
    for t in np.argsort(alignment.seconds, kind="stable"):
        second, frame = float(alignment.seconds[t]), why.frames[t]
        if pick == "map":
            held = alignment.patch_concept[t, 1:].reshape(alignment.grid)
            shown.append((second, overlays.concept_overlay(frame, held), None))
        else:
            patches = heat[t, 1:].reshape(alignment.grid)
            shown.append((second, overlays.overlay(frame, patches, limit), float(heat[t].sum())))
    return shown


# --------------------------------------------------------------------------- against another clip
@dataclass(frozen=True)
class OtherHit:
    """Another clip of the results, its rank (from 1) and the moment that was ranked."""

    rank: int
    clip: ClipView
    moment: int


def compare(clip: ClipView, why: Explanation, others: Sequence[OtherHit], other: Explanation | None) -> str:
    """The clips to compare with and, where ``other`` explains one of them, the comparison."""
    names = {hit.clip.clip_id: hit.clip.name for hit in others}
    selected = other.clip_id if other else ""
    return render(
        "explanation",
        "comparison",
        others=others,
        selected=selected,
        versus=difference(why, other, clip.name, names.get(selected, "")) if other else None,
    )


def difference(why: Explanation, other: Explanation, name: str, other_name: str) -> dict[str, Any]:
    """Both scores, and the terms and words that their difference is made of."""
    one, two = why.alignment, other.alignment
    mine, theirs = one.terms(), two.terms()
    terms = [(key, mine[key], theirs[key]) for key in TERMS]
    words = [*zip(one.words, word_parts(one).tolist(), word_parts(two).tolist(), strict=True)]
    gap = one.score - two.score
    sign = 1 if gap > 0 else -1
    ordered = sorted(((sign * (a - b), TERM_NAMES[key], key) for key, a, b in terms), reverse=True)
    return {
        "name": name,
        "other_name": other_name,
        "score": one.score,
        "other_score": two.score,
        "terms": terms,
        "words": words,
        "limit": max(abs(a - b) for _, a, b in [*terms, *words]) or 1.0,
        "gap": abs(gap),
        "ahead": "" if abs(gap) < MIN_DIFFERENCE else "above" if gap > 0 else "below",
        "reasons": [(key, value) for value, _, key in ordered if value >= MIN_DIFFERENCE],
        "against": [(key, value) for value, _, key in reversed(ordered) if value <= -MIN_DIFFERENCE],
    }
