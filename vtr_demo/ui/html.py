"""Records as HTML for the page: results and pickers. No Gradio, no state.

Every text that comes from a person, a file name or a caption passes ``esc``; every number is shown
with the same few formats. Buttons carry ``data-do`` and its arguments; page.js hands them on.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import PurePath
from urllib.parse import quote

import numpy as np

from vtr_demo.results import (
    CaptionHit,
    ClipView,
    Hit,
    SearchResult,
)
from vtr_demo.structures import TERMS
from vtr_demo.viz import overlays
from vtr_demo.viz.overlays import concept_colour, tint

VIDEO_TYPES = [".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".3gp", ".ogv"]
TERM_NAMES = {
    "global": "Global",
    "entity": "Entity",
    "action": "Action",
    "relationship": "Relationship",
    "concepts": "Concepts",
}


def esc(text: object) -> str:
    """Text made safe for HTML content and for quoted attributes."""
    return escape(str(text), quote=True)


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, a true minus and no "-0.00"."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return f"+{text}" if value > 0 else f"−{text}"


def clock(seconds: float) -> str:
    """1.5 -> "1.5 s"; 75 -> "1:15"."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def size(count: int) -> str:
    """Bytes for a person."""
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{max(1, round(count / 1024))} kB"


def confidence_words(share: float) -> str:
    """What the calibrated confidence means."""
    percent = min(99, int(share * 100 + 1e-9))
    return f"stronger than {'over ' if share > 0.99 else ''}{percent} % of unrelated texts"


def title(name: str) -> str:
    """A file name for reading, as HTML: "moon_rises.mp4" -> "moon rises"."""
    stem = PurePath(name).stem if PurePath(name).suffix.lower() in VIDEO_TYPES else name
    return esc(stem.replace("_", " "))


def poster(clip_id: str, name: str, moment: int = -1) -> str:
    """A still picture of the clip, or of one of its moments, by id."""
    kind = "poster" if moment < 0 else f"moment-{moment}"
    address = f"clips/{quote(clip_id, safe='')}/{kind}"
    return f'<img class="poster" src="{address}" alt="Still from {title(name)}" loading="lazy">'


# --------------------------------------------------------------------------- bars
def bar_range(rows: Collection[Mapping[str, float]]) -> tuple[float, float]:
    """(lowest, highest) stacked end over all rows, so that their bars can be compared."""
    low = min((sum(min(v, 0.0) for v in terms.values()) for terms in rows), default=0.0)
    high = max((sum(max(v, 0.0) for v in terms.values()) for terms in rows), default=0.0)
    return low, max(high, low + 1e-9)


def stacked_bar(terms: Mapping[str, float], low: float, high: float) -> str:
    """Five parts of a score on one line: positive parts right of the zero mark, negative parts left.

    A part is ``100 * |value| / (high - low)`` percent wide, so positive widths less negative widths
    are the score on the same scale.
    """
    width = high - low
    zero = -low / width * 100
    left = right = zero
    parts = []
    for name in TERMS:
        share = terms.get(name, 0.0) / width * 100
        if share == 0:
            continue
        start = right if share > 0 else left + share
        right, left = (right + share, left) if share > 0 else (right, left + share)
        side, told = "" if share > 0 else " minus", f"{TERM_NAMES[name]} {signed(terms[name])}"
        parts.append(
            f'<i class="part {name}{side}" title="{told}" '
            f'style="left:{start:.3f}%;width:{abs(share):.3f}%"></i>'
        )
    spoken = ", ".join(f"{TERM_NAMES[name]} {signed(terms.get(name, 0.0))}" for name in TERMS)
    mark = f'<i class="zero" style="left:{zero:.3f}%"></i>' if low < 0 else ""
    drawn = "".join(parts) + mark
    return f'<span class="bar" role="img" aria-label="Parts of the score: {spoken}">{drawn}</span>'


def timeline(duration_s: float, start_s: float, end_s: float) -> str:
    """Where the moment lies in the clip."""
    length = max(duration_s, 1e-6)
    left, width = start_s / length * 100, max(end_s - start_s, 0) / length * 100
    return (
        f'<span class="timeline" role="img" aria-label="From {clock(start_s)} to {clock(end_s)} '
        f'of {clock(duration_s)}"><i style="left:{left:.2f}%;width:{min(width, 100 - left):.2f}%"></i></span>'
    )


# --------------------------------------------------------------------------- search
def examples(captions: Sequence[str]) -> str:
    """Example sentences that run when clicked."""
    chips = "".join(
        f'<button class="chip" data-do="example" data-text="{esc(text)}">{esc(text)}</button>'
        for text in captions
    )
    return f'<div class="examples"><span class="soft">Try</span>{chips}</div>' if chips else ""


def choose_examples(clips: Sequence[ClipView], count: int = 6) -> list[str]:
    """Captions spread over the library, short ones first within each clip."""
    captioned = [clip for clip in clips if clip.captions]
    step = max(1, len(captioned) // count)
    chosen: list[str] = []
    for clip in captioned[::step] + captioned:
        text = min(clip.captions, key=lambda caption: abs(len(caption) - 30))
        if text not in chosen and len(text) <= 70:
            chosen.append(text)
    return chosen[:count]


def hit_card(hit: Hit, clip: ClipView, rank: int, span: tuple[float, float], is_open: bool) -> str:
    """One result: picture, moment, name, score with its parts, confidence."""
    found = hit.moment >= 0
    when = f"{clock(hit.start_s)} – {clock(hit.end_s)}" if found else clock(clip.duration_s)
    line = timeline(clip.duration_s, hit.start_s, hit.end_s) if found else ""
    return (
        f'<button class="card{" open" if is_open else ""}" data-do="open" data-clip="{esc(hit.clip_id)}" '
        f'data-moment="{hit.moment}" aria-pressed="{str(is_open).lower()}">'
        f'<span class="frame">{poster(hit.clip_id, clip.name, hit.moment)}<b class="rank">{rank}</b>'
        f'<span class="when">{when}</span>{line}</span>'
        f'<span class="facts"><span class="line"><strong title="{esc(clip.name)}">{title(clip.name)}</strong>'
        f'<span class="score">{signed(hit.score)}</span></span>{stacked_bar(hit.terms, *span)}'
        f'<span class="soft">{confidence_words(hit.confidence)}</span></span></button>'
    )


def swatch(concept: int) -> str:
    """A square in the concept's own colour."""
    return f'<i class="swatch" style="background:{concept_colour(concept)}"></i>'


def results(
    result: SearchResult,
    clips: Mapping[str, ClipView],
    open_clip: str = "",
    words: Sequence[str] = (),
    struck: Collection[int] = (),
) -> str:
    """The ranked cards, with what was struck out and muted, and whether the best match can be trusted."""
    removed = "".join(
        f'<button class="chip struck" data-do="strike" data-word="{i}" title="Put it back">'
        f"<s>{esc(words[i])}</s></button>"
        for i in sorted(struck)
        if i < len(words)
    )
    removed += "".join(
        f'<button class="chip struck" data-do="mute" data-concept="{k}" title="Count it again">'
        f"{swatch(k)}<s>concept {k + 1}</s></button>"
        for k in result.weights.muted
    )
    without = f'<span class="without">without {removed}</span>' if removed else ""
    count = f"{result.searched} clip{'' if result.searched == 1 else 's'} in {result.took_ms:.0f} ms"
    advice = "" if open_clip or not result.hits else ". Open one to see why."
    head = f'<div class="line found"><span class="soft">{count}{advice}</span>{without}</div>'
    if result.note:
        head += f'<p class="note">{esc(result.note)}</p>'
    if not result.hits:
        return head + '<p class="empty">The library holds no clips yet. Add some under Library.</p>'
    if not result.confident:
        head += (
            '<p class="banner" role="status"><strong>No confident match.</strong> Texts that have nothing '
            "to do with the library often fit one of its clips as well. Closest clips, for what they are "
            "worth:</p>"
        )
    span = bar_range([hit.terms for hit in result.hits])
    shown = [hit for hit in result.hits if hit.clip_id in clips]
    cards = "".join(
        hit_card(hit, clips[hit.clip_id], rank, span, hit.clip_id == open_clip)
        for rank, hit in enumerate(shown, start=1)
    )
    return f'{head}<div class="cards{"" if result.confident else " unsure"}">{cards}</div>'


def wall(clips: Sequence[ClipView]) -> str:
    """What there is to find, before anything was asked: a picture and a sentence that runs when clicked."""
    if not clips:
        return '<p class="empty">The library holds no clips yet. Add some under Library.</p>'
    tiles = "".join(
        f'<button class="card" data-do="example" data-text="{esc(clip.captions[0])}">'
        f'<span class="frame">{poster(clip.clip_id, clip.name)}</span>'
        f'<span class="facts"><span>{esc(clip.captions[0])}</span></span></button>'
        for clip in clips
        if clip.captions
    )
    count = f"{len(clips)} clip{'' if len(clips) == 1 else 's'} to search"
    head = f'<div class="line found"><span class="soft">{count}</span></div>'
    return f'{head}<div class="cards wall">{tiles}</div>'


# --------------------------------------------------------------------------- describe
def clip_picker(clips: Sequence[ClipView], chosen: str = "") -> str:
    """All clips as small pictures to choose from."""
    if not clips:
        return '<p class="empty">The library holds no clips yet. Upload one to describe it.</p>'
    tiles = "".join(
        f'<button class="tile{" open" if clip.clip_id == chosen else ""}" data-do="choose" '
        f'data-clip="{esc(clip.clip_id)}" aria-pressed="{str(clip.clip_id == chosen).lower()}">'
        f"{poster(clip.clip_id, clip.name)}"
        f'<span title="{esc(clip.name)}">{title(clip.name)}</span></button>'
        for clip in clips
    )
    return f'<div class="tiles">{tiles}</div>'


def sentences(hits: Sequence[CaptionHit], clip: ClipView, open_text: str = "") -> str:
    """Ranked sentences for a clip; a sentence opens its explanation."""
    if not hits:
        return '<p class="empty">There are no sentences to rank: write some, one a line.</p>'
    span = bar_range([hit.terms for hit in hits])
    rows = "".join(
        f'<li><button class="sentence{" open" if hit.text == open_text else ""}" data-do="sentence" '
        f'data-text="{esc(hit.text)}" aria-pressed="{str(hit.text == open_text).lower()}">'
        f'<span class="line"><q>{esc(hit.text)}</q><span class="score">{signed(hit.score)}</span></span>'
        f'{stacked_bar(hit.terms, *span)}<span class="soft">{confidence_words(hit.confidence)}</span>'
        "</button></li>"
        for hit in hits
    )
    advice = "" if open_text else '<p class="soft hint">Open one to see why it fits.</p>'
    return f'<h3>Sentences for {title(clip.name)}</h3>{advice}<ol class="sentences">{rows}</ol>'


def data_uri(picture: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 inside the page itself."""
    return "data:image/jpeg;base64," + b64encode(overlays.to_jpeg(picture)).decode("ascii")


def heat_style(value: float, limit: float) -> str:
    """A value on the colour scale of all pictures, for elements of class ``heat``."""
    *colour, opacity = tint(value, limit)
    red, green, blue = (round(255 * part) for part in colour)
    return f"--tint:rgb({red} {green} {blue});--opacity:{opacity:.3f}"
