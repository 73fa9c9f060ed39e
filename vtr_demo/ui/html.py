"""The page's HTML from Jinja templates, and how numbers and names are written on it. No Gradio, no state.

``templates/*.html`` hold macros; ``render`` calls one. Autoescape is on, so no text of a person, a file name
or a caption becomes markup. Buttons carry ``data-do`` and its arguments; static/page.js hands them on.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vtr_demo.files import jpeg
from vtr_demo.results import CaptionHit, ClipView, ConceptShot, Hit, SearchResult, confidence_word
from vtr_demo.structures import TERMS
from vtr_demo.ui.address import encode, link
from vtr_demo.ui.view import ORDERS, ViewState
from vtr_demo.video.reader import VIDEO_EXTENSIONS
from vtr_demo.viz import overlays
from vtr_demo.viz.figures import time_label
from vtr_demo.viz.overlays import concept_colour

TERM_NAMES = {name: name.capitalize() for name in TERMS}
TERM_LESSONS = {
    "global": "Hears the whole sentence and looks at the whole clip.",
    "entity": "Hears the things named (noun phrases) and looks for them inside single frames.",
    "action": "Hears the verbs and looks at what changes from frame to frame.",
    "relationship": "Hears who does what to whom, and where: triples such as “dog – left of – ball”.",
    "concepts": "Compares words and patches that were sorted into the same shared concept.",
}
"""What each term compares, in one line."""
_BETWEEN_TAGS = re.compile(r">\s+<")


# --------------------------------------------------------------------------- numbers and names
def signed(value: float, digits: int = 2) -> str:
    """Format a number with its sign, a true minus and no "-0.00"."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return f"+{text}" if value > 0 else f"−{text}"


def fixed(value: float, digits: int) -> str:
    """Format a number with so many digits."""
    return f"{value:.{digits}f}"


def size(count: int) -> str:
    """Format bytes for a person."""
    return f"{count / 2**20:.1f} MB".replace(".0 ", " ") if count >= 2**20 else f"{max(1, round(count / 1024))} kB"


def percentage(share: float) -> str:
    """Say what the calibrated confidence means in numbers."""
    percent = min(99, int(share * 100 + 1e-9))
    return f"stronger than {'over ' if share > 0.99 else ''}{percent} % of everyday sentences about other things"


def display_name(name: str) -> str:
    """Make a file name readable: "moon_rises.mp4" -> "moon rises"."""
    path = PurePath(name)
    return (path.stem if path.suffix.lower() in VIDEO_EXTENSIONS else name).replace("_", " ")


def clip_url(clip_id: str) -> str:
    """The address below which a clip's pictures and film are served."""
    return f"clips/{quote(clip_id, safe='')}"


def data_uri(picture: np.ndarray) -> str:
    """Put a picture (H, W, 3) uint8 inside the page itself."""
    return "data:image/jpeg;base64," + b64encode(jpeg(picture)).decode("ascii")


def spotlight(shot: ConceptShot, concept: int) -> np.ndarray:
    """The shot's frame with what the concept holds lit, (H, W, 3) uint8."""
    return overlays.spotlight(shot.frame, shot.held, concept_colour(concept))


# --------------------------------------------------------------------------- bars
def bar_range(rows: Collection[Mapping[str, float]]) -> tuple[float, float]:
    """(lowest, highest) stacked end over all rows, so that their bars can be compared."""
    low = min((sum(min(v, 0.0) for v in terms.values()) for terms in rows), default=0.0)
    high = max((sum(max(v, 0.0) for v in terms.values()) for terms in rows), default=0.0)
    return low, max(high, low + 1e-9)


def bar_parts(terms: Mapping[str, float], span: tuple[float, float]) -> list[tuple[str, float, float]]:
    """(term, left, width) in percent: positive parts stacked right of the zero mark, negative ones left.

    A width is ``100 * |value| / (high - low)``, so positive widths less negative ones are the score on the
    same scale.
    """
    low, high = span
    left = right = -low / (high - low) * 100
    parts = []
    for name in TERMS:
        share = terms.get(name, 0.0) / (high - low) * 100
        if share:
            parts.append((name, right if share > 0 else left + share, abs(share)))
        right, left = (right + share, left) if share > 0 else (right, left + share)
    return parts


# --------------------------------------------------------------------------- templates
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
    )
    environment.filters |= {
        "signed": signed,
        "fixed": fixed,
        "clock": time_label,
        "size": size,
        "confidence": confidence_word,
        "percentage": percentage,
        "display_name": display_name,
        "jpeg": data_uri,
        "spotlight": spotlight,
    }
    environment.globals |= {
        "TERMS": TERMS,
        "TERM_NAMES": TERM_NAMES,
        "bar_parts": bar_parts,
        "clip_url": clip_url,
        "concept_colour": concept_colour,
        "ORDERS": ORDERS,
        "LENGTHS": {"": "Any length", "short": "Under 10 s", "medium": "10 s to 1 min", "long": "Over 1 min"},
        "ADDED": {"": "Added any time", "day": "Added today", "week": "Added this week", "month": "Added this month"},
    }
    return environment


_ENVIRONMENT = _environment()


def render(template: str, macro: str, **values: Any) -> str:
    """Call a macro of ``templates/TEMPLATE.html``; white space between tags is dropped."""
    module = _ENVIRONMENT.get_template(f"{template}.html").module
    return _BETWEEN_TAGS.sub("><", str(getattr(module, macro)(**values)).strip())


# --------------------------------------------------------------------------- search
def example_captions(clips: Sequence[ClipView], count: int = 6) -> list[str]:
    """Captions spread over the library, short ones first within each clip."""
    captioned = [clip for clip in clips if clip.captions]
    step = max(1, len(captioned) // count)
    examples: list[str] = []
    for clip in captioned[::step] + captioned:
        text = min(clip.captions, key=lambda caption: abs(len(caption) - 30))
        if text not in examples and len(text) <= 70:
            examples.append(text)
    return examples[:count]


@dataclass(frozen=True)
class Card:
    """A hit with its rank (from 1) and its clip."""

    rank: int
    hit: Hit
    clip: ClipView


def results(result: SearchResult, cards: Sequence[Card], view: ViewState, more: bool, notice: str = "") -> str:
    """The ranked cards, how they are filtered and sorted, what does not count, and whether the best match can be
    trusted; ``more``: there are others."""
    sentence = result.sentence
    denied = {i for group in sentence.denied for i in group} | {*sentence.cues} if sentence.denied else set()
    runs = groupby(enumerate(sentence.words), key=lambda pair: pair[0] in denied)
    return render(
        "search",
        "results",
        result=result,
        cards=[(card, link("search", replace(view, clip=card.hit.clip_id, moment=None))) for card in cards],
        span=bar_range([card.hit.terms for card in cards]),
        view=view,
        more=more,
        notes=[text for text in (notice, result.note) if text],
        struck=[(index, view.words[index]) for index in view.struck if index < len(view.words)],
        read=[(" ".join(word.text for _, word in run), gone) for gone, run in runs] if denied else [],
        table=encode("search", view.listed()),
    )


def problem(message: str) -> str:
    """One sentence in the place of results that there are not."""
    return render("macros", "problem", message=message)


def address(tab: str, view: ViewState) -> str:
    """The address of what is shown, and the button that copies it."""
    return render("macros", "address", tab=tab, address=encode(tab, view))


# --------------------------------------------------------------------------- describe
def sentences(hits: Sequence[CaptionHit], clip: ClipView, view: ViewState, notes: Sequence[str] = ()) -> str:
    """Ranked sentences for a clip; a sentence opens its explanation. Of the open one, some words may be struck.
    ``notes`` name those that were left out."""
    span = bar_range([hit.terms for hit in hits])
    words = [(word, index in view.struck) for index, word in enumerate(view.words)] if view.struck else []
    rows = [(hit, link("describe", replace(view, text=hit.text, struck=()))) for hit in hits]
    return render(
        "describe", "sentences", rows=rows, span=span, clip=clip, open_text=view.text, words=words, notes=notes
    )
