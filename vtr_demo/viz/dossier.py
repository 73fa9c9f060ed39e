"""One explanation as files: pictures, and every word x frame part of the score as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vtr_demo.results import Explanation, Hit
from vtr_demo.structures import TERMS
from vtr_demo.viz import figures, overlays
from vtr_demo.viz.figures import match_json

DOCUMENT = "explanation.json"


def document(why: Explanation, hit: Hit) -> dict[str, Any]:
    """An explanation as plain JSON values.

    ``parts`` gives (1+W, T) numbers for each term, rows as in ``words`` (the whole sentence first)
    and columns as in ``frames``; each adds up to its entry in ``terms``, and these to ``score``.
    """
    made = why.alignment
    parts = zip(TERMS, made.all_terms().sum(axis=3).tolist(), strict=True)
    return match_json(why, hit.name) | {
        "text": why.sentence.text,
        "path": hit.path,
        "start_s": hit.start_s,
        "end_s": hit.end_s,
        "moment": why.moment,
        "confidence": hit.confidence,
        "parts": dict(parts),
        "tags": {level: dict(tags) for level, tags in why.video_tags.items()},
    }


def write(out: Path, why: Explanation, hit: Hit) -> dict[str, Any]:
    """Draw the pictures and write the document into ``out``; returns the document, which lists them."""
    out.mkdir(parents=True, exist_ok=True)
    made = why.alignment
    seconds, grid = made.seconds.tolist(), overlays.word_frame_heat(made)
    moments = grid.sum(axis=0)
    shown: dict[str, Any] = {
        "sentence": why.sentence.text,
        "clip": hit.name,
        "concept_names": why.concept_names,
    }
    pictures = {
        "explanation": figures.explanation_figure(made, why.frames, **shown),
        "explanation_dark": figures.explanation_figure(made, why.frames, **shown, theme="dark"),
    }
    pictures["words"] = figures.word_frame_grid(
        grid, made.words, seconds, overlays.shared_range([grid]), frames=why.frames
    )
    duration_s = max(hit.end_s, seconds[-1])
    pictures["timeline"] = figures.timeline_strip(
        moments, seconds, duration_s, overlays.shared_range([moments]), frames=why.frames
    )
    for name, picture in pictures.items():
        (out / f"{name}.png").write_bytes(overlays.to_png(picture))
    answer = document(why, hit) | {"pictures": [f"{name}.png" for name in pictures]}
    (out / DOCUMENT).write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return answer
