"""The page's address: all that a visitor looks at, as text behind ``#``. One codec; the server keeps nothing.

``decode(encode(tab, view)) == (tab, view)``. Whatever else stands in an address is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from vtr_demo.errors import ConfigError, VtrError
from vtr_demo.structures import TERMS, Mix, TermWeights
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
_MAX_ID = 40


def encode(tab: str, view: ViewState) -> str:
    """Write what is not at its default, in a fixed order."""
    mix, where, look, plain = view.mix, view.where, view.look, ViewState()
    values: list[tuple[str, str]] = [
        ("tab", "" if tab == TABS[0] else tab),
        ("q", view.text),
        ("strike", _join(view.struck)),
        ("mute", _join(view.muted)),
        ("like", mix.like),
        ("like-moment", "" if mix.moment < 0 else str(mix.moment)),
        ("share", "" if mix.share == plain.mix.share else repr(mix.share)),
        *(("not", phrase) for phrase in mix.exclude),
        ("clip", view.clip),
        ("moment", "" if view.moment is None else str(view.moment)),
        ("rival", view.rival),
        ("weights", ",".join(map(repr, view.weights))),
        ("name", where.name),
        ("length", where.length),
        ("added", where.added),
        ("mine", "1" if where.mine else ""),
        ("order", "" if view.order == plain.order else view.order),
        ("count", "" if view.count == plain.count else str(view.count)),
        ("own", view.own),
        ("look", look.tab),
        ("paint", look.paint),
        ("term", look.term),
        *((key, "" if (number := getattr(look, key)) is None else str(number)) for key in _PICKED),
        ("box", look.box),
        ("theme", view.theme),
    ]
    return urlencode([(key, value) for key, value in values if value], errors="surrogatepass")


def link(tab: str, view: ViewState) -> str:
    """The address as the target of a link."""
    return f"#{encode(tab, view)}"


def decode(address: str) -> tuple[str, ViewState]:
    """Read an address; ``ConfigError`` names the first thing in it that makes no sense."""
    if len(address) > MAX_ADDRESS:
        raise ConfigError("This link is too long to be one of this page.")
    tab, view, where, mix, look = TABS[0], ViewState(), Where(), Mix(), Look()
    seen: set[str] = set()
    try:
        pairs = parse_qsl(address.removeprefix("#"), keep_blank_values=True, strict_parsing=bool(address.strip("#")),
                          errors="surrogatepass", max_num_fields=64)  # fmt: skip
    except ValueError as error:
        raise _damaged(address) from error
    for key, text in pairs:
        try:
            if key in seen or key not in _READERS:
                raise ValueError(key)
            value = _READERS[key](text)
            seen |= {key} - {"not"}
            match key:
                case "tab":
                    tab = value
                case "not":
                    mix = replace(mix, exclude=(*mix.exclude, value))
                case "like" | "share" | "like-moment":
                    mix = replace(mix, **{"moment" if key == "like-moment" else key: value})
                case "name" | "length" | "added" | "mine":
                    where = replace(where, **{key: value})
                case "look" | "paint" | "term" | "box":
                    look = replace(look, **{"tab" if key == "look" else key: value})
                case _ if key in _PICKED:
                    look = replace(look, **{key: value})
                case _:
                    view = replace(view, **{_FIELDS.get(key, key): value})
        except (ValueError, VtrError) as error:
            raise _damaged(f"{key}={text}") from error
    return tab, replace(view, mix=mix, where=where, look=look)


def _damaged(part: str) -> ConfigError:
    shown = part if len(part) <= 60 else f"{part[:60]} …"
    return ConfigError(f"This link is damaged (“{shown}”).")


def _join(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


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


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read


def _box(text: str) -> str:
    if text != "whole" and len([_number(corner) for corner in text.split(",")]) != 4:
        raise ValueError(text)
    return text


def _moment(text: str) -> int:
    return -1 if text == "-1" else _number(text)


_PICKED = ("frame", "word", "concept", "only")
_FIELDS = {"q": "text", "strike": "struck", "mute": "muted"}
_READERS: dict[str, Callable[[str], Any]] = {
    "tab": _one_of(TABS),
    "q": _text(MAX_TEXT),
    "strike": _numbers,
    "mute": _numbers,
    "like": _text(_MAX_ID),
    "like-moment": _number,
    "share": _float,
    "not": _text(MAX_TEXT),
    "clip": _text(_MAX_ID),
    "moment": _moment,
    "rival": _text(_MAX_ID),
    "weights": _weights,
    "name": _text(MAX_TEXT),
    "length": _one_of(tuple(LENGTHS)),
    "added": _one_of(tuple(ADDED)),
    "mine": lambda text: bool(_one_of(("1",))(text)),
    "order": _one_of(tuple(ORDERS)),
    "count": lambda text: min(MAX_COUNT, max(1, _number(text))),
    "own": _text(MAX_SENTENCES),
    "look": _one_of(LOOKS),
    "paint": _one_of(PAINTS),
    "term": _one_of(TERMS),
    "box": _box,
    **dict.fromkeys(_PICKED, _number),
    "theme": _one_of(THEMES),
}
