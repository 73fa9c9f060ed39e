"""A training config as a JSON file, with overrides from the command line; contradictions are named.

Keys that begin with an underscore (``_about``, ``_source``) are for people. A setting that is given
and could have no effect is refused: whoever wrote it expects something that would not happen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vtr_demo.config import TrainConfig
from vtr_demo.errors import BadConfig
from vtr_demo.schema import from_dict

CONFIGS = Path(__file__).resolve().parent / "configs"

_LIST_FIELDS = ("train", "validation")


def _names_no_benchmark(config: TrainConfig) -> bool:
    """Whether all data are manifests, which name their own files."""
    named = (*config.train, *config.validation)
    return all(name.endswith((".jsonl", ".json")) or Path(name).is_file() for name in named)


_IDLE: tuple[tuple[str, Callable[[TrainConfig], bool], str], ...] = (
    ("backbone_lr", lambda c: c.freeze_backbone, "freeze_backbone is true"),
    (
        "cache",
        lambda c: not c.freeze_backbone and bool(c.cache),
        "freeze_backbone is false",
    ),
    ("annotations", _names_no_benchmark, "train and validation name no benchmark"),
    ("videos", _names_no_benchmark, "train and validation name no benchmark"),
    (
        "motion_precision",
        lambda c: c.motion_precision == "bf16" and not c.start and c.model.backbone != "bundled",
        "only the bundled towers have a motion tower",
    ),
    ("sprites", lambda c: not c.drawn, "nothing of the playground is drawn"),
    ("playground_rivals", lambda c: not c.drawn, "nothing of the playground is drawn"),
    ("playground_rivals", lambda c: not c.loss.pairs, "loss.pairs is 0"),
    (
        "playground_share",
        lambda c: not c.drawn_clips,
        "playground_clips, playground_encounters and playground_neighbours are 0",
    ),
    ("drawn_end", lambda c: not c.train, "train names no data"),
    ("drawn_end", lambda c: not c.drawn, "nothing of the playground is drawn"),
    ("playground_share", lambda c: not c.train, "train names no data"),
    ("still_share", lambda c: not c.playground_stills, "playground_stills is 0"),
    ("validation_split", lambda c: not c.validation, "validation names no data"),
    ("loss.soft_temperature", lambda c: c.loss.ranking == "hinge", "loss.ranking is 'hinge'"),
    ("loss.kl_on", lambda c: not c.loss.kl, "loss.kl is 0"),
    ("loss.kl_temperature", lambda c: not c.loss.kl, "loss.kl is 0"),
    ("loss.kl_temperature", lambda c: c.loss.kl_on == "attribute", "loss.kl_on is 'attribute'"),
    ("loss.focal_gamma", lambda c: not c.loss.attributes, "loss.attributes is 0"),
    ("loss.focal_alpha", lambda c: not c.loss.attributes, "loss.attributes is 0"),
    ("loss.distill_mask", lambda c: not c.loss.distill, "loss.distill is 0"),
)
"""Settings that mean nothing under a condition, and the condition in words."""


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """A JSON config file with ``key=value`` overrides; nested keys are joined by dots.

    A path that does not exist may be the name of one of the package's own configs.
    """
    path = Path(path)
    own = CONFIGS / f"{path.name.removesuffix('.json')}.json"
    if not path.exists() and path.parent == Path(".") and own.is_file():
        path = own
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"The config {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise BadConfig(f"The config {path} is not valid JSON ({error}).") from error
    if not isinstance(values, dict):
        raise BadConfig(f"The config {path} must be a JSON object of settings.")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise BadConfig(f"--set takes key=value, got {override!r}.")
        _place(values, key.split("."), _value(text, key), key)
    values = {key: value for key, value in values.items() if not key.startswith("_")}
    config = from_dict(TrainConfig, values)
    _refuse_idle(config, values)
    return config


def _refuse_idle(config: TrainConfig, given: dict[str, Any]) -> None:
    for name, idle, because in _IDLE:
        table: Any = given
        for part in name.split("."):
            table = table.get(part) if isinstance(table, dict) else None
        if table not in (None, "", 0) and idle(config):
            raise BadConfig(f"{name} has no effect while {because}; leave one of the two out.")


def _value(text: str, key: str) -> Any:
    if key in _LIST_FIELDS and text and not text.startswith("["):
        return text.split(",")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _place(values: dict[str, Any], path: list[str], value: Any, key: str) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise BadConfig(f"--set {key}: {part!r} is no table of settings.")
    values[path[-1]] = value
