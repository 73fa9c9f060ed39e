"""A training config as a JSON file, with overrides from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vtr_demo.config import TrainConfig, from_dict
from vtr_demo.errors import BadConfig


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """A JSON config file with ``key=value`` overrides; nested keys are joined by dots."""
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
        _place(values, key.split("."), _value(text), key)
    return from_dict(TrainConfig, {k: v for k, v in values.items() if not k.startswith("_")})


def _value(text: str) -> Any:
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
