"""What each part of the two papers contributes: the same short training with one part changed.

Every variant is trained from several seeds on one corpus, and measured on the same tests as the full
model of the same seed. Differences are paired by seed; the interval is Student's t over the seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.config import TrainConfig
from vtr_demo.corpus import Item
from vtr_demo.drawn_corpus import playground_items
from vtr_demo.errors import BadConfig
from vtr_demo.evaluate import attribute_columns, attribute_precision, encode_table, validation_value
from vtr_demo.material import Material, gather
from vtr_demo.protocols import report
from vtr_demo.records import TextTokens
from vtr_demo.schema import from_dict, to_dict
from vtr_demo.tokens import text_tokens
from vtr_demo.train import Trainer, prepare

FULL = "full model"
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    FULL: {},
    "no relationship level": {"model": {"relationship": False}},
    "roles not bound to content": {"model": {"binding": False}},
    "no KL constraint": {"loss": {"kl": 0.0}},
    "an attribute projection for each modality": {"model": {"shared_attributes": False}},
    "BCE instead of focal BCE": {"loss": {"focal_gamma": 0.0, "focal_alpha": 0.5}},
    "soft allocation instead of Gumbel": {"model": {"allocation": "soft"}},
    "prototypes for each modality": {"model": {"shared_prototypes": False}},
    "no distillation": {"loss": {"distill": 0.0}},
    "K = 4": {"model": {"concepts": 4}},
    "K = 8": {"model": {"concepts": 8}},
    "K = 16": {"model": {"concepts": 16}},
    "K = 32": {"model": {"concepts": 32}},
}
"""Settings by section that differ from the config; one that changes nothing is not run twice."""

Tell = Callable[[float, str], None]


def run_ablations(
    config: TrainConfig,
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: int = 3,
    unseen_clips: int = 200,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Train and measure every variant ``seeds`` times; runs lie below ``config.out`` and resume.

    Tests: the validation rows of each kind, and ``unseen_clips`` playground clips with unseen
    combinations and one caption each. All with every level weighted alike. Raises ``BadConfig``
    for an unknown variant and for towers that learn: runs could not share them.
    """
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise BadConfig(f"Unknown ablation {unknown[0]!r}; known: {', '.join(VARIANTS)}.")
    if not config.freeze_backbone:
        raise BadConfig("Ablations share the towers' tokens; set freeze_backbone to true.")
    material = gather(config)
    tests = _tests(material, config, unseen_clips)
    spoken = text_tokens(
        [s for items in tests.values() for i in items for s in i.sentences], material.backbone
    )
    chosen = {name: changed(config, name) for name in dict.fromkeys([FULL, *variants])}
    results: dict[str, list[dict[str, Any]]] = {}
    done = 0
    for name, settings in chosen.items():
        if name != FULL and settings == chosen[FULL]:
            results[name] = results[FULL]
            continue
        results[name] = []
        for seed in range(seeds):
            if tell:
                tell(done / (len(chosen) * seeds), f"{name}, seed {seed}")
            out = str(Path(config.out) / _folder(name) / f"seed_{seed}")
            trainer = prepare(replace(settings, seed=seed, out=out), material)
            trainer.run()
            results[name].append(measure(trainer, tests, spoken))
            done += 1
    return {
        "config": to_dict(config),
        "seeds": seeds,
        "sizes": {name: len(items) for name, items in tests.items()},
        "runs": results,
        "summary": summary(results),
    }


def changed(config: TrainConfig, variant: str) -> TrainConfig:
    """``config`` with the settings of ``variant``."""
    values = to_dict(config)
    for section, settings in VARIANTS[variant].items():
        values[section] |= settings
    return from_dict(TrainConfig, values)


def measure(
    trainer: Trainer, tests: Mapping[str, list[Item]], spoken: Mapping[str, TextTokens]
) -> dict[str, Any]:
    """By test: R@1 in both directions, the mean of R@1, R@5 and R@10 over both, and the average precision
    of each level's attributes at the head and at the tail, in percent.

    ``spoken``: the tokens of the tests' sentences by their text.
    """
    found = {}
    with trainer.averaged():
        for name, items in tests.items():
            table = encode_table(trainer.pretrained(), items, trainer.sampler.cache, spoken)
            answer = report(table, trainer.model.training_weights, resamples=20)
            precision = attribute_precision(
                trainer.model, table, items, trainer.vocabulary, trainer.sampler.labels
            )
            found[name] = {
                "mean": validation_value(answer),
                "text_to_video R@1": answer["text_to_video"]["R@1"],
                "video_to_text R@1": answer["video_to_text"]["R@1"],
                **attribute_columns(precision),
            }
    return found


def summary(results: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> dict[str, Any]:
    """By variant, test and metric: the mean over the seeds, and the difference to the full model."""
    answer: dict[str, Any] = {}
    for name, runs in results.items():
        answer[name] = {
            test: {
                metric: _compared(
                    [run[test][metric] for run in runs], [run[test][metric] for run in results[FULL]]
                )
                for metric in runs[0][test]
            }
            for test in runs[0]
        }
    return answer


def _compared(values: Sequence[float], full: Sequence[float]) -> dict[str, Any]:
    """Mean, mean paired difference, and the 95 % interval of that (none for a single seed)."""
    from scipy import stats

    apart = np.subtract(values, full)
    mean, row = float(apart.mean()), {"value": float(np.mean(values))}
    if len(apart) < 2:
        return row | {"difference": mean, "interval_95": None}
    reach = float(stats.t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart)))
    return row | {"difference": mean, "interval_95": [mean - reach, mean + reach]}


def _tests(material: Material, config: TrainConfig, unseen_clips: int) -> dict[str, list[Item]]:
    tests: dict[str, list[Item]] = {}
    for item in material.validation:
        kind = item.clip.kind if item.clip and item.clip.kind else item.kind
        tests.setdefault(f"validation, {kind}", []).append(item)
    if unseen_clips:
        assert material.cache is not None
        drawn = playground_items(unseen_clips, config.seed, split="probe", sprites=config.sprites)
        single = [replace(item, sentences=item.sentences[:1], contrasts=()) for item in drawn]
        tests["playground, unseen combinations"] = material.cache.fill(single, "unseen combinations")
    if not tests:
        raise BadConfig("There is nothing to measure on; name validation data or ask for unseen clips.")
    return tests


def _folder(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name).split()).lower()
