"""Commands that train a model, draw what it learns from, and measure it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vtr_demo.commands.console import (
    Cache,
    JsonFile,
    Kind,
    Limit,
    Model,
    Number,
    Seed,
    Sprites,
    answer,
    option,
    progress,
    read_size,
    report,
)
from vtr_demo.config import Protocol, Split
from vtr_demo.errors import ConfigError

SAMPLES = Path(__file__).resolve().parents[2] / "sample_videos"


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
        typer.echo(folder)


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
    typer.echo(manifest)


def evaluate(
    data: Annotated[str, option("MANIFEST|DATASET", "A file of captions or a benchmark's name.")],
    json_file: JsonFile = None,
    split: str = "test",
    annotations: Annotated[Path | None, option("DIR", "A benchmark's official files.")] = None,
    videos: Annotated[Path | None, option("DIR", "A benchmark's videos.")] = None,
    kind: Kind = "",
    protocol: Protocol = "merged",
    ablations: Annotated[bool, option(None, "Also each term alone and left out.", "--ablations")] = False,
    against: Annotated[str | None, option("SPEC", "Report the differences to this model instead.")] = None,
    cache: Cache = None,
    device: str = "cpu",
    model: Model = "bundled",
) -> None:
    """Measure both directions of retrieval on a manifest or a benchmark."""
    from vtr_demo.evaluation import evaluate as evaluation

    trained = _load(model, device)
    dataset = evaluation.open_test(data, split=split, annotations=annotations, videos=videos, kind=kind)
    progress(0.0, dataset.summary())
    if against:
        other = _load(against, device)
        value = evaluation.compare(trained, other, dataset, protocol=protocol, cache=cache)
    else:
        value = evaluation.evaluate(trained, dataset, protocol=protocol, cache=cache, with_ablations=ablations)
    report(value, json_file)


def probe(
    pairs: Number = 200,
    seed: Seed = 0,
    split: Literal["probe", "unseen_sprites"] = "probe",
    clips: Annotated[int, option("N", "Also ask for things, actions and places in N clips.", min=0)] = 0,
    sprites: Sprites = None,
    cache: Cache = None,
    json_file: JsonFile = None,
    model: Model = "bundled",
) -> None:
    """Tell minimal pairs of drawn clips apart, level by level."""
    from vtr_demo.evaluation import evaluate as evaluation
    from vtr_demo.playground.captions import PAIR_LEVELS

    trained = _load(model)
    options: dict[str, Any] = {"split": split, "seed": seed, "sprites": sprites, "cache": cache}
    options["progress"] = progress
    levels = {level: evaluation.probe(trained, level, pairs, **options) for level in PAIR_LEVELS}
    kinds = evaluation.probe_kinds(trained, clips, **options) if clips else {}
    report(levels | ({"by_kind": kinds} if kinds else {}) | {"model": trained.spec}, json_file)


def concepts(
    clips: Number = 60,
    seed: Seed = 0,
    data: Annotated[str, option("MANIFEST", "Captioned clips whose nouns are measured too.")] = "",
    kind: Kind = "",
    sprites: Sprites = None,
    json_file: JsonFile = None,
    model: Model = "bundled",
) -> None:
    """Measure whether a noun's concept covers the thing it names, on drawn clips, and how good the names are."""
    from vtr_demo.evaluation.concepts import grounding

    options: dict[str, Any] = {"clips": clips, "seed": seed, "data": data, "kind": kind, "sprites": sprites}
    report(grounding(_load(model), progress=progress, **options), json_file)


def faithfulness(
    data: Annotated[str, option("MANIFEST", "A file of captions that names its clips.")],
    kind: Kind = "",
    limit: Limit = None,
    steps: Annotated[int, option("N", "Points of a curve after the first.", min=1)] = 6,
    seed: Seed = 0,
    json_file: JsonFile = None,
    model: Model = "bundled",
) -> None:
    """Measure whether the summands point at what a score rests on."""
    from vtr_demo.evaluation import faithfulness as evaluation

    options: dict[str, Any] = {"kind": kind, "limit": limit, "steps": steps, "seed": seed}
    report(evaluation.faithfulness(_load(model), data, progress=progress, **options), json_file)


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="All by default.")] = None,
    clip: Annotated[Path | None, option("FILE", "By default the first of sample_videos.")] = None,
    rounds: Number = 7,
    clips: Number = 100_000,
    json_file: JsonFile = None,
    model: Model = "bundled",
) -> None:
    """Measure speed and memory as ratios to named baselines."""
    from vtr_demo import bench as benchmark

    cases = benchmark.select(names or ())
    clip = clip or next(iter(sorted(SAMPLES.glob("*.mp4"))), None)
    if clip is None:
        raise ConfigError(f"There is no clip in {SAMPLES} to measure with; name one with --clip FILE.")
    rows: list[benchmark.Ratio] = []
    for row in benchmark.run(_load(model), clip, cases, rounds=rounds, clips=clips):
        rows.append(row)
        progress(len(rows) / len(cases), f"{row.name} is measured")
    if json_file:
        report({"clip": clip.name, "rounds": rounds, "bench": [asdict(row) for row in rows]}, json_file)
    else:
        answer(None, [benchmark.table(rows)], as_json=False)


def _load(model: str, device: str = "cpu") -> Any:
    from vtr_demo.model import checkpoint

    progress(0.0, f"opening the model {model}")
    return checkpoint.load(model, device)
