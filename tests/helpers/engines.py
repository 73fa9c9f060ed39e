"""What tests ask of a small library, and how its answers are compared."""

from __future__ import annotations

from vtr_demo.library.engine import Engine
from vtr_demo.structures import TermWeights

TEXTS = ("A brown dog catches a red frisbee on the beach.", "snow", "Two dogs chase a ball behind the house!")
MIXED = TermWeights(0.8, 1.2, 0.6, 1.0, 0.7)
RED, GREEN, BLUE = (210, 30, 30), (30, 190, 60), (30, 60, 200)
CAPTIONS = [("a red square moves", "the square"), (), ("red, then green, then blue", "the square"), ("snow",)]
"""Of the clips of ``original``."""


def by_name(engine: Engine, name: str) -> str:
    return next(clip.clip_id for clip in engine.clips() if clip.name == name)


def scores_of(engine: Engine, weights: TermWeights | None = None) -> dict[str, float]:
    """By name, of the first text."""
    return {hit.name: hit.score for hit in engine.search(TEXTS[0], weights=weights).hits}
