"""Commands that train a model and draw what it learns from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from vtr_demo.commands.console import Limit, Seed, Sprites, answer, option, progress, read_size
from vtr_demo.config import Split
from vtr_demo.errors import ConfigError


def train(
    config: Annotated[Path, option("FILE", "A JSON file, or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, option("key=value …", "Settings to change.", "--set")] = None,
) -> None:
    """Train a checkpoint, in one process or under torchrun."""
    from vtr_demo.config import read_config
    from vtr_demo.training import setup

    settings = read_config(config, overrides or ())
    first = os.environ.get("RANK", "0") == "0"  # under torchrun one process prints
    if first:
        progress(0.0, f"training into {settings.out}")
    folder = setup.train(settings)
    if first:
        answer(None, [str(folder)], as_json=False)


def playground(
    out: Annotated[Path, option("DIR")],
    count: Limit = None,
    seed: Seed = 0,
    split: Split = "train",
    samples: Annotated[Path | None, option("FILE", "Film the specs of this manifest instead.")] = None,
    sprites: Sprites = None,
    size: Annotated[Any, option("WxH", parser=read_size)] = "640x360",
) -> None:
    """Draw clips with known truth."""
    from vtr_demo.playground.generate import generate, render_samples

    if samples:
        manifest = render_samples(out, samples, size=size, sprites=sprites)
    elif count is None:
        raise ConfigError("Name how many clips to draw with --count, or give --samples FILE.")
    else:
        progress(0.0, f"drawing {count} clips")
        manifest = generate(out, count, seed, split=split, size=size, sprites=sprites)
    answer(None, [str(manifest)], as_json=False)
