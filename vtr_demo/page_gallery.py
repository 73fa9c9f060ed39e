"""The Concepts tab as HTML: what each shared concept has come to hold in this library."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vtr_demo import heatmap
from vtr_demo.page import clock, esc, signed, swatch, title
from vtr_demo.page_why import data_uri
from vtr_demo.palette import concept_colour
from vtr_demo.results import LONGEST_NAME, ConceptShot, ConceptView

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
        f'data-first="{esc(view.first)}" data-concept="{view.number}">'
        f"{esc(view.name)}</span>"
    )


def _card(view: ConceptView, longest: float, muted: bool, nameable: bool) -> str:
    said = "".join(f"<span>{esc(word)} <small>{times}</small></span>" for word, times in view.said)
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
    picture = heatmap.spotlight(shot.frame, shot.held, concept_colour(concept))
    told = f"{title(shot.name)} at {clock(shot.second)}: {100 * shot.share:.0f} % of the frame"
    return (
        f'<button class="spot" data-do="choose" data-clip="{esc(shot.clip_id)}" title="{told}">'
        f'<img src="{data_uri(picture)}" alt="{told}" loading="lazy"></button>'
    )


def _meeting(view: ConceptView) -> str:
    if view.met is None:
        return "Too few captions here hold it to say how far words and pictures agree in it."
    own, others = view.met
    return (
        f"Words and patches agree by {signed(own)} (mean cosine) in a caption’s own clip, by "
        f"{signed(others)} in others."
    )
