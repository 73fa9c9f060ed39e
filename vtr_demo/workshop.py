"""The commands that measure, train, draw clips and open the page: arguments in, an answer out.

Heavy modules are imported inside the functions, so that `--help` is quick.
"""

from __future__ import annotations

import importlib.util
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from vtr_demo.answer import Answer, Tell, to_json
from vtr_demo.errors import ConfigError

APP = Path(__file__).resolve().parents[1] / "app.py"
SAMPLES = APP.parent / "sample_videos"


def evaluate(chosen: Namespace, tell: Tell) -> Answer:
    """Both directions of retrieval on a manifest or benchmark, of one model or of two on the same queries."""
    from vtr_demo.model import checkpoint

    tell(0.0, f"opening the model {chosen.model}")
    model = checkpoint.load(chosen.model, chosen.device)
    options = {
        name: getattr(chosen, name)
        for name in ("split", "annotations", "videos", "kind", "protocol", "cache")
    }
    if chosen.against:
        from vtr_demo.evaluation.evaluate import compare

        answer = compare(model, checkpoint.load(chosen.against, chosen.device), chosen.data, **options)
    else:
        from vtr_demo.evaluation.evaluate import evaluate as measure

        answer = measure(
            model,
            chosen.data,
            **options,
            normalise=chosen.normalise,
            with_ablations=chosen.ablations,
            progress=lambda line: tell(0.0, line),
        )
    return _measured(answer, chosen.json)


def probe(chosen: Namespace, tell: Tell) -> Answer:
    """How often each term tells minimal pairs of one level apart."""
    from vtr_demo.evaluation.probes import PROBED
    from vtr_demo.evaluation.probes import probe as measure
    from vtr_demo.model import checkpoint

    tell(0.0, f"opening the model {chosen.model}")
    model = checkpoint.load(chosen.model)
    options = {name: getattr(chosen, name) for name in ("split", "seed", "sprites", "cache")}
    options["progress"] = tell
    answer = {level: measure(model, level, chosen.pairs, **options) for level in PROBED}
    return _measured(answer | {"model": model.spec}, chosen.json)


def faithfulness(chosen: Namespace, tell: Tell) -> Answer:
    """Deletion and insertion curves of the attribution, and the random-weights check."""
    from vtr_demo.evaluation.faithfulness import faithfulness as measure
    from vtr_demo.model import checkpoint

    tell(0.0, f"opening the model {chosen.model}")
    options = {name: getattr(chosen, name) for name in ("kind", "limit", "steps", "seed")}
    answer = measure(checkpoint.load(chosen.model), chosen.data, progress=tell, **options)
    return _measured(answer, chosen.json)


def bench(arguments: Namespace, tell: Tell) -> Answer:
    """Speed and memory as ratios to named baselines."""
    from vtr_demo.bench import Ratio, as_json, chosen, table
    from vtr_demo.bench import bench as measure
    from vtr_demo.model import checkpoint

    names = chosen(arguments.names)
    clip = arguments.clip or next(iter(sorted(SAMPLES.glob("*.mp4"))), None)
    if clip is None:
        raise ConfigError(f"There is no clip in {SAMPLES} to measure with; name one with --clip FILE.")
    tell(0.0, f"opening the model {arguments.model}; measuring with {clip.name}")
    rows: list[Ratio] = []
    for row in measure(checkpoint.load(arguments.model), clip, names, rounds=arguments.rounds):
        tell(len(rows) / len(names), f"{row.name} is measured")
        rows.append(row)
    answer = {"clip": clip.name, "rounds": arguments.rounds, "bench": as_json(rows)}
    return Answer(answer, _measured(answer, arguments.json).text if arguments.json else table(rows))


def _measured(answer: dict[str, Any], file: Path | None) -> Answer:
    text = to_json(answer)
    if file and str(file) != "-":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    return Answer(answer, text)


def train(chosen: Namespace, tell: Tell) -> Answer:
    """One training run."""
    from vtr_demo.config import read_config
    from vtr_demo.training.trainer import train as run

    config = read_config(chosen.config, [pair for pairs in chosen.set for pair in pairs])
    first = os.environ.get("RANK", "0") == "0"  # of several processes under torchrun, one speaks
    if first:
        tell(0.0, f"training into {config.out}")
    folder = run(config)
    return Answer({"checkpoint": str(folder)}, str(folder) if first else "")


def playground(chosen: Namespace, tell: Tell) -> Answer:
    """Clips of the playground with their truth."""
    from vtr_demo.playground.generate import generate, render_samples

    options = {"size": chosen.size, "sprites": chosen.sprites}
    if chosen.samples:
        manifest = render_samples(chosen.out, chosen.samples, **options)
    elif chosen.count is None:
        raise ConfigError("Name how many clips to draw with --count, or give --samples FILE.")
    else:
        tell(0.0, f"drawing {chosen.count} clips")
        manifest = generate(chosen.out, chosen.count, chosen.seed, split=chosen.split, **options)
    return Answer({"manifest": str(manifest)}, str(manifest))


def serve(chosen: Namespace, tell: Tell) -> Answer:
    """The page, with the arguments of app.py."""
    if not APP.is_file():
        raise ConfigError(f"The page's app.py is not in {APP.parent}; run this inside the repository.")
    spec = importlib.util.spec_from_file_location("app", APP)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{APP} is no Python file; get it again from the repository.")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    page.main(chosen.rest)
    return Answer(None, "")
