"""Eight drawn clips whose colours the tiny towers can tell apart, with captions, as a manifest."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.drawn import draw_clip

SCENES = {
    (230, 20, 20): "a red ball rolls down the hill",
    (20, 200, 40): "the green frog jumps over a stone",
    (30, 40, 230): "blue waves crash against the rocks",
    (240, 240, 240): "white snow falls on the house",
    (10, 10, 10): "a black cat sleeps behind the door",
    (240, 220, 20): "yellow flowers move in the wind",
    (230, 30, 220): "a pink balloon rises above the trees",
    (20, 220, 230): "a swimmer dives into the turquoise pool",
}


def colour_manifest(folder: Path, captions: dict[int, list[str]] | None = None, count: int = 8) -> Path:
    """The first ``count`` clips; ``captions`` replaces those of a clip, by its number."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (colour, text) in enumerate(list(SCENES.items())[:count]):
        path = folder / f"{i}.mp4"
        draw_clip(path, frames=6, fps=4, size=(48, 48), colours=[colour, tuple(c // 2 for c in colour)])
        lines.append(json.dumps({"path": path.name, "captions": (captions or {}).get(i, [text])}))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest
