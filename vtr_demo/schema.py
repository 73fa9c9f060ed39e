"""Frozen dataclasses as plain values and back; an unknown key or a wrong type is refused by name."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from vtr_demo.errors import BadConfig

T = TypeVar("T")
_LISTS: dict[Any, tuple[Any, str]] = {
    tuple[float, ...]: ((int, float), "numbers"),
    tuple[int, ...]: (int, "whole numbers"),
    tuple[str, ...]: (str, "strings"),
}


def require(condition: bool, message: str) -> None:
    """Refuse settings with ``message`` unless ``condition`` holds."""
    if not condition:
        raise BadConfig(message)


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON-ready values."""
    return asdict(config)


def from_dict(kind: type[T], values: dict[str, Any], where: str = "") -> T:
    """Build ``kind`` from plain values; an unknown key or a wrong type is refused by name."""
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{where}{key}"
        if key not in known:
            raise BadConfig(f"Unknown setting {name!r}; known here: {', '.join(sorted(known))}.")
        arguments[key] = _coerced(hints[key], value, name)
    return kind(**arguments)


def _coerced(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        require(isinstance(value, dict), f"Setting {name!r} must be a table of settings, got {value!r}.")
        return from_dict(hint, value, f"{name}.")
    choices = getattr(hint, "__args__", ()) if "Literal" in str(hint) else ()
    if choices:
        require(value in choices, f"Setting {name!r} must be one of {list(choices)}, got {value!r}.")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool):
        fits = isinstance(value, hint) and not (hint is not bool and isinstance(value, bool))
        require(fits, f"Setting {name!r} must be of type {hint.__name__}, got {value!r}.")
        return value
    kind, plural = _LISTS[hint]
    listed = isinstance(value, list | tuple) and all(
        isinstance(part, kind) and not isinstance(part, bool) for part in value
    )
    require(listed, f"Setting {name!r} must be a list of {plural}, got {value!r}.")
    return tuple(value)
