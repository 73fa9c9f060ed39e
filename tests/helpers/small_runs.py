"""Small training runs: eight drawn clips with a sentence or two each, and configs over tiny towers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.helpers.drawn import draw_clip
from vtr_demo.config import LossConfig, ModelConfig, TrainConfig, VideoConfig

torch.set_num_threads(1)

PAIRS = {
    "a red ball rolls over the grass": (230, 30, 30),
    "a green ball rolls into the pond": (20, 200, 40),
    "a blue car rolls under the bridge": (30, 40, 220),
    "the yellow ball rolls beside a boat": (240, 230, 20),
    "a white ball rolls down the mountain": (245, 245, 245),
    "a black ball jumps over the door": (10, 10, 10),
    "a purple kite flies above the beach": (150, 20, 180),
    "an orange ball rolls under a chair": (250, 140, 10),
}
"""Five or more say `ball` and `roll`, so that there are attributes to learn."""
EVERY_LOSS = LossConfig(soft_temperature=0.0, balance=0.05, distill=0.05, kl=0.02, attributes=0.02)
"""All terms on but ``pairs``, which needs the playground; only the own caption is right."""


def eight_pairs(folder: Path, *, frames: int = 6, count: int = 8, captions: dict[int, list[str]] | None = None) -> Path:
    """Clips of one colour each, which fades steadily (changes that cancel out would leave the action
    level nothing but rounding errors), and their manifest; ``captions`` replaces those of a clip, by its number."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, (caption, colour) in enumerate([*PAIRS.items()][:count]):
        shades = [tuple(round(value * (1 - 0.1 * k)) for value in colour) for k in range(frames)]
        draw_clip(folder / f"{i}.mp4", frames=frames, size=(64, 48), colours=shades)
        rows.append({"path": f"{i}.mp4", "captions": (captions or {}).get(i, [caption])})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def small_config(folder: Path, manifest: Path, backbone: str = "tiny", **changes: Any) -> TrainConfig:
    """A run of a few steps in ``folder``; nothing random but the Gumbel noise unless it is asked for."""
    settings: dict[str, Any] = {
        "out": str(folder / "run"),
        "cache": "",
        "train": (str(manifest),),
        "model": ModelConfig(backbone=backbone, hidden=16, heads=2, concepts=4, concept_width=8, dropout=0.0),
        "video": VideoConfig(clip_frames=3),
        "loss": EVERY_LOSS,
        "steps": 6,
        "batch": 8,
        "evaluate_every": 3,
        "warmup": 0.0,
        "workers": 1,
        "device": "cpu",
    }
    return TrainConfig(**settings | changes)
