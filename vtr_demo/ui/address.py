"""The page's address: all that a visitor looks at, as text behind ``#``. One codec; the server keeps nothing.

``decode(encode(tab, view)) == (tab, view)``. Whatever else stands in an address is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from vtr_demo.errors import ConfigError, VtrError
from vtr_demo.structures import NO_MIX, TERMS, TermWeights
from vtr_demo.ui.view import (
    ADDED,
    LENGTHS,
    LOOKS,
    MAX_COUNT,
    MAX_SENTENCES,
    MAX_TEXT,
    ORDERS,
    PAINTS,
    THEMES,
    Look,
    ViewState,
    Where,
)

TABS = ("search", "describe", "concepts", "library", "measure", "about")
MAX_ADDRESS = 40_000
"""Characters of an address that is read."""


def encode(tab: str, view: ViewState) -> str:
    """Write what is not at its default, in a fixed order."""
    pairs = [("tab", tab)] if tab != TABS[0] else []
    for key, (part, name, _) in _KEYS.items():
        value = getattr(getattr(view, part) if part else view, name)
        if value != getattr(_DEFAULTS[part], name):
            pairs += [(key, _written(one)) for one in (value if key == "not" else [value])]
    return urlencode(pairs, errors="surrogatepass")


def link(tab: str, view: ViewState) -> str:
    """The address as the target of a link."""
    return f"#{encode(tab, view)}"


def decode(address: str) -> tuple[str, ViewState]:
    """Read an address; ``ConfigError`` names the first thing in it that makes no sense."""
    if len(address) > MAX_ADDRESS:
        raise ConfigError("This link is too long to be one of this page.")
    try:
        pairs = parse_qsl(address.removeprefix("#"), keep_blank_values=True, strict_parsing=bool(address.strip("#")),
                          errors="surrogatepass", max_num_fields=64)  # fmt: skip
    except ValueError as error:
        raise _damaged(address) from error
    tab, parts, keys = TABS[0], dict(_DEFAULTS), set()
    for key, text in pairs:
        try:
            if key in keys:
                raise ValueError(key)
            keys |= {key} - {"not"}
            if key == "tab":
                tab = _one_of(TABS)(text)
                continue
            part, name, read = _KEYS[key]
            value = (*parts[part].exclude, read(text)) if key == "not" else read(text)
            parts[part] = replace(parts[part], **{name: value})
        except (KeyError, ValueError, VtrError) as error:
            raise _damaged(f"{key}={text}") from error
    return tab, replace(parts.pop(""), **parts)


def _damaged(part: str) -> ConfigError:
    shown = part if len(part) <= 60 else f"{part[:60]} …"
    return ConfigError(f"This link is damaged (“{shown}”).")


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(repr, value))
    return "1" if value is True else str(value)


# --------------------------------------------------------------------------- how each value is read
def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and str(int(text)) == text):
        raise ValueError(text)
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(map(_number, text.split(",")))
    if list(numbers) != sorted({*numbers}):
        raise ValueError(text)
    return numbers


def _float(text: str) -> float:
    if len(text) > 24:
        raise ValueError(text)
    return float(text)


def _weights(text: str) -> tuple[float, ...]:
    weights = tuple(map(_float, text.split(",")))
    if len(weights) != 5:
        raise ValueError(text)
    TermWeights(*weights)
    return weights


def _text(longest: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not text or len(text) > longest:
            raise ValueError(text)
        return text

    return read


def _one_of(choices: Collection[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read


def _box(text: str) -> str:
    if text != "whole" and len([_number(corner) for corner in text.split(",")]) != 4:
        raise ValueError(text)
    return text


_ID = _text(40)
_KEYS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "q": ("", "text", _text(MAX_TEXT)),
    "strike": ("", "struck", _numbers),
    "mute": ("", "muted", _numbers),
    "like": ("mix", "like", _ID),
    "like-moment": ("mix", "moment", _number),
    "share": ("mix", "share", _float),
    "not": ("mix", "exclude", _text(MAX_TEXT)),
    "clip": ("", "clip", _ID),
    "moment": ("", "moment", lambda text: -1 if text == "-1" else _number(text)),
    "rival": ("", "rival", _ID),
    "weights": ("", "weights", _weights),
    "name": ("where", "name", _text(MAX_TEXT)),
    "length": ("where", "length", _one_of(LENGTHS)),
    "added": ("where", "added", _one_of(ADDED)),
    "mine": ("where", "mine", lambda text: bool(_one_of(("1",))(text))),
    "order": ("", "order", _one_of(ORDERS)),
    "count": ("", "count", lambda text: min(MAX_COUNT, max(1, _number(text)))),
    "own": ("", "own", _text(MAX_SENTENCES)),
    "look": ("look", "tab", _one_of(LOOKS)),
    "paint": ("look", "paint", _one_of(PAINTS)),
    "term": ("look", "term", _one_of(TERMS)),
    "frame": ("look", "frame", _number),
    "word": ("look", "word", _number),
    "concept": ("look", "concept", _number),
    "only": ("look", "only", _number),
    "box": ("look", "box", _box),
    "theme": ("", "theme", _one_of(THEMES)),
}
"""How an address calls each value: the part of the view that holds it, its name there, and what reads it."""
_DEFAULTS: dict[str, Any] = {"": ViewState(), "mix": NO_MIX, "where": Where(), "look": Look()}
