"""Text-video retrieval that shows its reasons: MCSAN's four levels and S2CA's shared concepts.

from vtr_demo import Engine

library = Engine.open("library")
library.add(["clip.mp4"])
hit = library.search("a dog runs").hits[0]
library.explain("a dog runs", hit).figure().save("why.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtr_demo.backbones.registry import load_backbone
    from vtr_demo.config import TrainConfig
    from vtr_demo.errors import (
        BackboneError,
        CheckpointError,
        ConfigError,
        LibraryError,
        ManifestError,
        ScoreError,
        StoppedError,
        TextError,
        TrainingError,
        VideoError,
        VtrError,
    )
    from vtr_demo.evaluation.evaluate import evaluate
    from vtr_demo.library.engine import Engine
    from vtr_demo.model.checkpoint import load as load_model
    from vtr_demo.structures import TermWeights
    from vtr_demo.training.setup import train
    from vtr_demo.video.frames import read_frames

__version__ = "0.1.0"
__all__ = [
    "BackboneError",
    "CheckpointError",
    "ConfigError",
    "Engine",
    "LibraryError",
    "ManifestError",
    "ScoreError",
    "StoppedError",
    "TermWeights",
    "TextError",
    "TrainConfig",
    "TrainingError",
    "VideoError",
    "VtrError",
    "evaluate",
    "load_backbone",
    "load_model",
    "read_frames",
    "train",
]
_HOMES = {
    "Engine": "library.engine",
    "TermWeights": "structures",
    "TrainConfig": "config",
    "evaluate": "evaluation.evaluate",
    "load_backbone": "backbones.registry",
    "load_model": "model.checkpoint",
    "read_frames": "video.frames",
    "train": "training.setup",
}
"""Modules of the names that are not errors; importing the package loads none of them."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    value = getattr(home, "load" if name == "load_model" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
