"""What one visitor looks at, as a frozen value, and how a click changes it.

The browser reports clicks as small dicts of strings; whatever ``ViewState.after`` does not know changes nothing.
Clips are chosen by id, never by path.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from vtr_demo.errors import ConfigError
from vtr_demo.results import ClipFilter
from vtr_demo.structures import MAX_EXCLUDED, NO_MIX, Mix, TermWeights

PAGE = 12
"""Hits that are shown at first, and how many more at a time."""
MAX_COUNT = 100_000
MAX_TEXT, MAX_SENTENCES, MAX_PHRASE = 16_000, 20_000, 80
"""Characters of a sentence, of one's own sentences and of an excluded phrase."""
ORDERS = {"best": "Best first", "newest": "Newest first", "name": "By name", "shortest": "Shortest first",
          "longest": "Longest first"}  # fmt: skip
LENGTHS = {"short": (0.0, 10.0), "medium": (10.0, 60.0), "long": (60.0, math.inf)}
"""Seconds from and to."""
ADDED = {"day": 1, "week": 7, "month": 31}
"""Days back."""
THEMES = ("light", "dark")
LOOKS, PAINTS = ("where", "concepts"), ("map", "plain")
"""Tabs of an explanation beside the first, Parts, and what is painted on frames beside the first, heat."""


@dataclass(frozen=True)
class Where:
    """Which clips are searched: part of the name, a key of ``LENGTHS`` and of ``ADDED``, one's own."""

    name: str = ""
    length: str = ""
    added: str = ""
    mine: bool = False

    def clip_filter(self, now: datetime) -> ClipFilter | None:
        """As the engine takes it; ``now`` is in UTC."""
        if self == Where():
            return None
        shortest, longest = LENGTHS.get(self.length, (0.0, math.inf))
        since = (now - timedelta(days=ADDED[self.added])).isoformat() if self.added else ""
        return ClipFilter(name=self.name, shortest_s=shortest, longest_s=longest, added_from=since, own=self.mine)


@dataclass(frozen=True)
class Look:
    """What of an explanation is in front and what is picked in it; explanation.js alone changes it.

    frame, only: the frame in front, the one that sums are limited to; box: "whole", or the rows and columns of two
    corners with commas between.
    """

    tab: str = ""
    paint: str = ""
    frame: int | None = None
    term: str = ""
    word: int | None = None
    concept: int | None = None
    only: int | None = None
    box: str = ""


@dataclass(frozen=True)
class ViewState:
    """A query, the open clip, how results are filtered and sorted; all of it stands in the address."""

    text: str = ""
    struck: tuple[int, ...] = ()
    """Words that do not count, by index."""
    muted: tuple[int, ...] = ()
    """Concepts that do not count, by index."""
    mix: Mix = NO_MIX
    clip: str = ""
    moment: int | None = None
    """A moment of the clip that was chosen by hand; None for the one that the query ranks."""
    rival: str = ""
    """The hit that the open clip is compared with."""
    weights: tuple[float, ...] = ()
    """The five sliders; empty where they stand at their defaults."""
    where: Where = Where()
    order: str = "best"
    count: int = PAGE
    own: str = ""
    """Under Describe, one's own sentences, one a line."""
    theme: str = ""
    look: Look = Look()
    words: tuple[str, ...] = field(default=(), compare=False)
    """The sentence's words before any was struck out; ``struck`` indexes them."""
    hits: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    """(clip id, moment) of the first hits, the best first."""
    confidence: float | None = field(default=None, compare=False)

    @property
    def asks(self) -> bool:
        """Whether there is anything to search for."""
        return bool(self.text.strip() or self.mix.like or self.mix.exclude)

    @property
    def filtered(self) -> bool:
        """Whether some clips are left out."""
        return self.where != Where()

    def after(self, click: Mapping[str, object]) -> ViewState:
        """The view after a click; an unknown or malformed click changes nothing. May raise ``ConfigError``."""
        values = {key: str(value) for key, value in click.items()}
        for change in (self._opened, self._reasoned, self._asked, self._filtered):
            if (view := change(values.get("do", ""), values)) is not None:
                return view
        return self

    def _opened(self, do: str, values: Mapping[str, str]) -> ViewState | None:
        """After a click on a clip, a moment or a sentence."""
        clip, text, moment = (values.get(key, "") for key in ("clip", "text", "moment"))
        match do:
            case "open" if clip:
                return replace(self, clip=clip, moment=None, rival="")
            case "moment" if clip and _is_index(moment):
                return replace(self, clip=clip, moment=int(moment))
            case "choose" if clip:
                return ViewState(clip=clip, muted=self.muted, where=self.where)
            case "sentence" if text:
                return replace(self, text=text, words=(), struck=(), confidence=None)
            case "close":
                return self.closed()
        return None

    def _reasoned(self, do: str, values: Mapping[str, str]) -> ViewState | None:
        """After a click in an explanation."""
        clip, word, concept = (values.get(key, "") for key in ("clip", "word", "concept"))
        match do:
            case "strike" if _is_index(word):
                return replace(self, struck=tuple(sorted({*self.struck} ^ {int(word)})))
            case "mute" if _is_index(concept):
                return replace(self, muted=tuple(sorted({*self.muted} ^ {int(concept)})))
            case "rival" if clip:
                return replace(self, rival="" if clip == self.rival else clip)
        return None

    def _asked(self, do: str, values: Mapping[str, str]) -> ViewState | None:
        """After a change of the query."""
        clip, text, value, moment = (values.get(key, "") for key in ("clip", "text", "value", "moment"))
        asked: ViewState | None = None
        match do:
            case "example" if text:
                asked = replace(self.asking(text), mix=NO_MIX)
            case "like" if clip:
                asked = replace(self.asking(""), mix=Mix(clip, int(moment) if _is_index(moment) else -1))
            case "unlike":
                asked = self._mixed(like="", moment=-1, share=NO_MIX.share)
            case "share" if _is_share(value):
                asked = self._mixed(share=float(value))
            case "exclude" if value.strip():
                asked = self._excluding(value)
            case "include" if text in self.mix.exclude:
                asked = self._mixed(exclude=tuple(phrase for phrase in self.mix.exclude if phrase != text))
        return asked

    def _filtered(self, do: str, values: Mapping[str, str]) -> ViewState | None:
        """After a change of what is listed, and how."""
        value, where, count = values.get("value", ""), self.where, PAGE
        order = self.order
        match do:
            case "more":
                count = min(MAX_COUNT, self.count + PAGE)
            case "order" if value in ORDERS:
                order, count = value, self.count
            case "name":
                where = replace(where, name=value.strip()[:MAX_PHRASE])
            case "length" if value in ("", *LENGTHS):
                where = replace(where, length=value)
            case "added" if value in ("", *ADDED):
                where = replace(where, added=value)
            case "mine":
                where = replace(where, mine=value == "true")
            case "unfilter":
                where = Where()
            case _:
                return None
        return replace(self, where=where, order=order, count=count)

    def _mixed(self, **changes: Any) -> ViewState:
        return replace(self, mix=replace(self.mix, **changes), hits=(), count=PAGE)

    def _excluding(self, phrase: str) -> ViewState:
        phrase = " ".join(phrase.split())[:MAX_PHRASE]
        if len(self.mix.exclude) >= MAX_EXCLUDED:
            raise ConfigError(f"{MAX_EXCLUDED} phrases are left out already; remove one first.")
        return self if phrase in self.mix.exclude else self._mixed(exclude=(*self.mix.exclude, phrase))

    def asking(self, text: str) -> ViewState:
        """Another sentence, nothing open; sliders, filters, what is muted and the example stay."""
        kept = ("muted", "weights", "where", "order", "theme", "mix")
        return ViewState(text=text[:MAX_TEXT], **{name: getattr(self, name) for name in kept})

    def weighing(self, sliders: Collection[float], defaults: TermWeights) -> ViewState:
        """With the sliders at these positions."""
        values = tuple(map(float, sliders))
        standing = values == (*defaults.levels(), defaults.concepts)
        return replace(self, weights=() if standing else values)

    def term_weights(self, defaults: TermWeights) -> TermWeights:
        """The sliders' weights without the muted concepts; ``ConfigError`` where all are zero."""
        return replace(TermWeights(*self.weights) if self.weights else defaults, muted=self.muted)

    def unmuted(self) -> ViewState:
        """With all concepts, and the sliders at their defaults."""
        return replace(self, muted=(), weights=())

    def listed(self) -> ViewState:
        """The query and what is listed for it alone."""
        kept = ("text", "struck", "muted", "mix", "weights", "where", "order", "count")
        return ViewState(**{name: getattr(self, name) for name in kept})

    def explained(self, moment: int) -> ViewState:
        """The query and the moment that is explained alone."""
        return replace(self.listed(), where=Where(), order="best", count=PAGE, moment=moment)

    def closed(self) -> ViewState:
        """Without an explanation."""
        return replace(self, clip="", moment=None, confidence=None, rival="")


def _is_index(text: str) -> bool:
    """Whether it is a whole number of a size that something on the page could have."""
    return text.isascii() and text.isdigit() and len(text) <= 6


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
