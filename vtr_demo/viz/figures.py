"""One explanation as a picture, as a drawing and as JSON.

Only ``Figure`` objects, no pyplot and no global state, so several threads may draw at once.
"""

from __future__ import annotations

import io
import json
from functools import lru_cache
from pathlib import Path
from textwrap import fill, shorten
from typing import Any, Literal

import numpy as np
from PIL import Image

from vtr_demo.errors import ScoreError
from vtr_demo.results import Explanation, Hit
from vtr_demo.structures import TERMS, Alignment
from vtr_demo.viz import overlays
from vtr_demo.viz.overlays import NEGATIVE, POSITIVE, TERM_COLOURS, THEMES, Theme, concept_colour, rgb

ThemeName = Literal["light", "dark"]
DOCUMENT = "explanation.json"
PICTURES = ("explanation.png", "explanation_dark.png", "explanation.svg")
WIDTH, DPI, MARGIN = 10.0, 160, 0.35
SMALL, TEXT, TITLE = 7.5, 9.0, 14.0
MAX_FRAMES, PER_ROW, MAX_CONCEPTS = 16, 8, 12
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "Arial Unicode MS", "Symbola")
"""DejaVu Sans comes with matplotlib; the others serve further scripts where a system has them."""


# --------------------------------------------------------------------------- files
def export(out: Path, why: Explanation, hit: Hit) -> dict[str, Any]:
    """Write ``why`` as ``PICTURES`` and ``explanation.json`` into ``out``; return the JSON, which lists them."""
    out.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        theme: ThemeName = "dark" if "dark" in name else "light"
        (out / name).write_bytes(draw(why, hit.name, theme=theme, kind=name.rpartition(".")[2]))
    answer = document(why, hit.name) | {
        "path": hit.path,
        "start_s": hit.start_s,
        "end_s": hit.end_s,
        "confidence": hit.confidence,
        "pictures": list(PICTURES),
    }
    text = json.dumps(answer, indent=1, ensure_ascii=False) + "\n"
    (out / DOCUMENT).write_text(text, encoding="utf-8", errors="backslashreplace")  # a path may hold odd bytes
    return answer


def document(why: Explanation, clip_name: str) -> dict[str, Any]:
    """Return an explanation as plain JSON values with its ``parts``.

    They are (1+W, T) numbers for each term, rows as in ``words`` (the whole sentence first) and columns as in
    ``frames``; each adds up to its entry in ``terms``, and these to ``score``.
    """
    parts = zip(TERMS, why.alignment.all_terms().sum(axis=3).tolist(), strict=True)
    return match_json(why, clip_name) | {
        "text": why.sentence.text,
        "moment": why.moment,
        "parts": dict(parts),
        "tags": {level: dict(tags) for level, tags in why.video_tags.items()},
    }


def match_json(why: Explanation, clip_name: str) -> dict[str, Any]:
    """Return an explanation as plain JSON values; ``adds`` of the words and of the frames each sum to the
    score."""
    alignment = why.alignment
    by_word = overlays.word_parts(alignment)
    by_frame = overlays.frame_parts(alignment).sum(axis=1)
    words = [
        {"word": word, "adds": float(by_word[i]), "concept": why.concept_names[concept] if concept >= 0 else None}
        | ({"without_it": -float(why.word_effects[i - 1])} if 0 < i <= len(why.word_effects) else {})
        for i, (word, concept) in enumerate(zip(alignment.words, alignment.word_concept, strict=True))
    ]
    frames = [
        {"second": float(second), "adds": float(value)}
        for second, value in zip(alignment.seconds, by_frame, strict=True)
    ]
    return {
        "id": why.clip_id,
        "name": clip_name,
        "score": float(alignment.score),
        "terms": alignment.terms(),
        "gates": {level: float(gate) for level, gate in why.gates.items()},
        "words": words,
        "frames": frames,
        "concepts": dict(zip(why.concept_names, map(float, alignment.by_concept()), strict=True)),
    }


# --------------------------------------------------------------------------- the figure
def explanation_figure(why: Explanation, clip: str = "") -> Image.Image:
    """Draw why a sentence and a clip match, as a picture; ``clip`` is what to call the clip."""
    return Image.open(io.BytesIO(draw(why, clip))).convert("RGB")


def draw(why: Explanation, clip: str = "", *, theme: ThemeName = "light", kind: str = "png") -> bytes:
    """Draw the best frame with its heat, the five parts, words by frames, the heat and the concepts of the
    frames, as the bytes of a file of this ``kind``, png or svg.

    Raises ``ScoreError`` where a summand is not finite, which a picture would hide.
    """
    from matplotlib.figure import Figure

    alignment, look = why.alignment, THEMES[theme]
    if not np.isfinite(alignment.all_terms()).all():
        raise ScoreError("Contributions to be drawn hold NaN or infinite numbers; check the model's weights.")
    shown = spread(len(alignment.seconds), MAX_FRAMES)
    strip = 1.5 * -(-len(shown) // PER_ROW)
    heights = [2.7, 0.5 + 0.27 * len(alignment.words), strip, strip + 0.7]
    figure: Any = Figure((WIDTH, 1.0 + sum(heights)), dpi=DPI, facecolor=look.ground, layout="constrained")
    title = fill(shorten(printable(f"“{why.sentence.text}”"), 240, placeholder=" …"), 70)
    figure.suptitle(title, fontsize=TITLE, weight="bold", ha="left", x=0.01)
    rows = figure.subfigures(4, 1, height_ratios=heights)
    _best_frame(rows[0], why, shorten(printable(clip), 60, placeholder=" …"), look)
    _words_by_frames(rows[1], alignment, look)
    _strip(rows[2], why, shown, "Heat: what each patch adds", None)
    _strip(rows[3], why, shown, "Concepts: which one each patch falls into", look)
    _in_style(figure, look)
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, facecolor=look.ground, bbox_inches="tight", pad_inches=MARGIN)
    return stream.getvalue()


def _best_frame(part: Any, why: Explanation, clip: str, look: Theme) -> None:
    """The frame that adds most under its heat, and the five terms as bars."""
    alignment = why.alignment
    heat = overlays.frame_parts(alignment)
    best = int(heat.sum(axis=1).argmax())
    picture, bars = part.subplots(1, 2, width_ratios=[1, 1.5])
    picture.imshow(_painted(why, best))
    picture.set(xticks=[], yticks=[])
    picture.set_title(f"{clip} at {time_label(float(alignment.seconds[best]))}".strip(), fontsize=TEXT)
    terms = alignment.terms()
    labels = [f"{name}  {value:+.3f}".replace("-", "−") for name, value in terms.items()]
    bars.barh(labels, [*terms.values()], color=[TERM_COLOURS[name] for name in terms])
    bars.axvline(0, color=look.soft, linewidth=0.8)
    bars.invert_yaxis()
    bars.set_xticks([])
    bars.set_title(f"score {alignment.score:+.3f}".replace("-", "−"), fontsize=TITLE, weight="bold", loc="left")


def _words_by_frames(part: Any, alignment: Alignment, look: Theme) -> None:
    """What each word and frame add together, the concept of each word, and the sums of the words."""
    values = alignment.all_terms().sum(axis=(0, 3))
    limit = overlays.colour_limit(values)
    concept, grid, sums = part.subplots(1, 3, width_ratios=[0.3, 5, 1.4], sharey=True)
    colours = [rgb(concept_colour(int(k))) if k >= 0 else rgb(look.panel) for k in alignment.word_concept]
    concept.imshow(np.array(colours)[:, None], aspect="auto")
    for row, k in enumerate(alignment.word_concept):
        if k >= 0:
            ink = "#ffffff" if colours[row] @ [0.3, 0.6, 0.1] < 0.5 else "#000000"
            concept.text(0, row, str(k + 1), ha="center", va="center", fontsize=SMALL, color=ink)
    names = [shorten(printable(word), 28, placeholder="…") or "▯" for word in alignment.words]
    concept.set_yticks(range(len(names)), names)
    concept.set_xticks([])
    concept.set_title("concept", fontsize=SMALL)
    grid.imshow(overlays.blend(rgb(look.panel), overlays.tint(values, limit)), aspect="auto")
    ticks = spread(len(alignment.seconds), 12)
    grid.set_xticks(ticks, [time_label(float(alignment.seconds[i])) for i in ticks])
    grid.set_title("Words by frames, orange for what speaks for the clip", fontsize=TEXT)
    by_word = values.sum(axis=1)
    sums.barh(range(len(by_word)), by_word, color=[POSITIVE if value >= 0 else NEGATIVE for value in by_word])
    sums.set_xticks([])
    for row, value in enumerate(by_word):
        label = f"{value:+.3f}".replace("-", "−")
        sums.annotate(label, (max(value, 0), row), (3, 0), textcoords="offset points", va="center", fontsize=SMALL)


def _strip(part: Any, why: Explanation, shown: list[int], title: str, look: Theme | None) -> None:
    """Frames under their heat, or with ``look`` their patches in the colours of their concepts with a key."""
    from matplotlib.patches import Patch

    alignment = why.alignment
    part.suptitle(title, fontsize=TEXT, ha="left", x=0.01)
    places = part.subplots(-(-len(shown) // PER_ROW), PER_ROW, squeeze=False).ravel()
    for place in places[len(shown) :]:
        place.set_visible(False)
    patches = alignment.patch_concept[:, 1:]
    for place, t in zip(places, shown, strict=False):
        held = patches[t].reshape(alignment.grid)
        place.imshow(overlays.concept_overlay(why.frames[t], held) if look else _painted(why, t))
        place.set(xticks=[], yticks=[])
        place.set_xlabel(time_label(float(alignment.seconds[t])), fontsize=SMALL)
    if look:
        numbers, counts = np.unique(patches[patches >= 0], return_counts=True)
        most = numbers[np.argsort(-counts, kind="stable")][:MAX_CONCEPTS]
        names = [f"{k + 1} {shorten(printable(why.concept_names[k]), 34, placeholder=' …')}" for k in most]
        keys = [Patch(color=concept_colour(int(k)), label=name) for k, name in zip(most, names, strict=True)]
        part.legend(handles=keys, loc="outside lower left", ncols=4, frameon=False, fontsize=SMALL)


def _painted(why: Explanation, t: int) -> np.ndarray:
    """Frame ``t`` under the heat of all parts, at the one scale of all frames."""
    alignment = why.alignment
    heat = overlays.frame_parts(alignment)[:, 1:]
    return overlays.overlay(why.frames[t], heat[t].reshape(alignment.grid), overlays.colour_limit(heat))


def _in_style(figure: Any, look: Theme) -> None:
    """Fonts, colours and no frames, for all that was drawn."""
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    for axes in figure.findobj(Axes):
        axes.spines[:].set_visible(False)
        axes.set_facecolor(look.ground)
        axes.tick_params(length=0, labelsize=SMALL)
    for text in figure.findobj(Text):
        text.set(family=fonts(), parse_math=False)
        if text.get_color() == "black":
            text.set_color(look.ink)


# --------------------------------------------------------------------------- text
def time_label(seconds: float) -> str:
    """Format seconds as people read them: 1.5 -> "1.5 s", 75 -> "1:15"."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def spread(count: int, most: int) -> list[int]:
    """Indices of at most ``most`` of ``count`` frames, evenly spread."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()


def printable(text: str) -> str:
    """Return ``text`` with blanks for white space and a box for what no font at hand can draw."""
    known = _characters()
    return "".join(" " if c.isspace() else c if ord(c) in known else "▯" for c in text)


@lru_cache(maxsize=1)
def fonts() -> list[str]:
    """Those of ``FONTS`` that are installed."""
    from matplotlib.font_manager import fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    return [name for name in FONTS if name in installed]


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset().union(*(get_font(findfont(name)).get_charmap() for name in fonts()))
