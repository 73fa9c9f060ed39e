"""Why one clip lies above another, as HTML: the difference of two scores, by parts and by words.

Both scores are sums over the same parts and words, so their difference is one too, and every row below
is a summand of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vtr_demo.page import TERM_NAMES, esc, signed, title
from vtr_demo.page_why import quoted, word_parts
from vtr_demo.records import TERMS
from vtr_demo.results import ClipView, Explanation

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
