"""What one visitor looks at, as a frozen value, and the HTML that follows from it. No Gradio.

The browser reports clicks as small dicts of strings. ``View.after`` is the only place that reads
them; whatever it does not know leaves the view as it is. Clips are chosen by id, never by path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from html import escape
from typing import Any, Protocol, cast

from vtr_demo.config import LimitConfig
from vtr_demo.errors import LibraryError, TextError, VtrError
from vtr_demo.results import (
    CaptionHit,
    ClipView,
    ConceptView,
    Explanation,
    IndexReport,
    Measurement,
    SearchResult,
    Status,
)
from vtr_demo.structures import TermWeights
from vtr_demo.ui import concepts, explanation, html, tabs

RIVALS = 7
"""Hits that an open clip can be compared with, itself among them."""


class EngineLike(Protocol):
    """The part of the engine that the page uses; tests hand in a stand-in."""

    @property
    def default_weights(self) -> TermWeights: ...
    @property
    def limits(self) -> LimitConfig: ...

    def weigh(self, values: Any, muted: Any = ()) -> TermWeights: ...
    def search(self, text: str, k: int = 8, weights: Any = None, struck: Any = ()) -> SearchResult: ...
    def describe(
        self, clip_id: str, captions: Any = None, k: int = 10, weights: Any = None
    ) -> tuple[CaptionHit, ...]: ...
    def explain(
        self, text: str, clip: Any, moment: int | None = None, weights: Any = None, struck: Any = ()
    ) -> Explanation: ...
    def concepts(self) -> tuple[ConceptView, ...]: ...
    def rename(self, concept: int, name: str) -> None: ...
    def measure(self, captions: Any = None, weights: Any = None) -> Measurement: ...
    def clips(self) -> tuple[ClipView, ...]: ...
    def clip(self, clip_id: str) -> ClipView: ...
    def still(self, clip_id: str, moment: int) -> bytes: ...
    def add(
        self, paths: Any, *, names: Any = None, keep_copy: bool = True, progress: Any = None
    ) -> IndexReport: ...
    def delete(self, clip_id: str) -> None: ...
    def rebuild(self, progress: Any = None) -> object: ...
    def status(self) -> Status: ...


class Remembering:
    """An engine that keeps its last explanations: other frames of the same match cost no second pass."""

    def __init__(self, engine: EngineLike, kept: int) -> None:
        self._engine = engine
        self.explain = lru_cache(kept)(engine.explain)

    def rename(self, concept: int, name: str) -> None:
        self._engine.rename(concept, name)
        self.explain.cache_clear()  # it holds names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def remembering(engine: EngineLike, kept: int = 12) -> EngineLike:
    """The same engine with the last ``kept`` explanations (about 2 MB each) at hand."""
    return cast(EngineLike, Remembering(engine, kept))


@dataclass(frozen=True)
class View:
    """A sentence, the words and concepts struck out of it, the open clip and what its frames show."""

    text: str = ""
    words: tuple[str, ...] = ()
    """The sentence's words before any was struck out; ``struck`` indexes them."""
    struck: tuple[int, ...] = ()
    muted: tuple[int, ...] = ()
    """Concepts that are not to count, by index."""
    clip: str = ""
    moment: int = -1
    pick: str = "total"
    confidence: float | None = None
    found: tuple[tuple[str, int], ...] = ()
    """(clip id, moment) of the first hits, the best first."""
    rival: str = ""
    """The hit that the open clip is compared with."""

    def after(self, click: Mapping[str, object]) -> View:
        """The view after a click; an unknown or malformed click changes nothing."""
        values = {key: str(value) for key, value in click.items()}
        clip, text, word, concept = (values.get(key, "") for key in ("clip", "text", "word", "concept"))
        changed: dict[str, Any] = {}
        match values.get("do"):
            case "open" if clip:
                moment = values.get("moment", "")
                changed = {"clip": clip, "moment": int(moment) if _counts(moment) else -1}
                changed |= {"pick": "total", "rival": ""}
            case "choose" if clip:
                return View(clip=clip, muted=self.muted)
            case "example" if text:
                return self.asking(text)
            case "sentence" if text:
                changed = {"text": text, "words": (), "struck": (), "pick": "total", "confidence": None}
            case "strike" if _counts(word):
                changed = {"struck": tuple(sorted({*self.struck} ^ {int(word)}))}
                changed["pick"] = "total" if self.pick.startswith("word:") else self.pick
            case "mute" if _counts(concept):
                changed = {"muted": tuple(sorted({*self.muted} ^ {int(concept)}))}
            case "rival" if clip:
                changed = {"rival": "" if clip == self.rival else clip}
            case "pick" if values.get("pick"):
                changed = {"pick": values["pick"]}
            case "close":
                return self.closed()
        return replace(self, **changed)

    def asking(self, text: str) -> View:
        """Another sentence; what is muted stays so."""
        return View(text=text, muted=self.muted)

    def unmuted(self) -> View:
        """With all concepts."""
        return replace(self, muted=())

    def weighed(self, weights: TermWeights) -> TermWeights:
        """The sliders' ``weights`` without the muted concepts."""
        return replace(weights, muted=self.muted)

    def closed(self) -> View:
        """Without an explanation."""
        return replace(self, clip="", moment=-1, pick="total", confidence=None, rival="")


def _counts(text: str) -> bool:
    """Whether it is a whole number of a size that something on the page could have."""
    return text.isascii() and text.isdigit() and len(text) <= 6


@dataclass(frozen=True)
class Panel:
    """The HTML of one explanation; all empty when nothing is open."""

    player: str = ""
    summary: str = ""
    body: str = ""


def searched(
    engine: EngineLike, view: View, weights: TermWeights, count: int = 12
) -> tuple[View, str, Panel]:
    """Rank for the view's sentence and explain its open clip again: (view, results, panel)."""
    if not view.text.strip():
        raise TextError("Type a sentence first, for example what happens in the clip.")
    found = engine.search(view.text, k=count, weights=view.weighed(weights), struck=view.struck)
    scored = {hit.clip_id: hit.confidence for hit in found.hits}
    first = tuple((hit.clip_id, hit.moment) for hit in found.hits[:RIVALS])
    view = replace(view, confidence=scored.get(view.clip), found=first)
    if not view.struck:
        view = replace(view, words=tuple(word.text for word in found.sentence.words))
    clips = {clip.clip_id: clip for clip in engine.clips()}
    ranked = html.results(found, clips, view.clip, view.words, view.struck)
    return view, ranked, explained(engine, view, weights)[1]


def explained(engine: EngineLike, view: View, weights: TermWeights) -> tuple[View, Panel]:
    """The explanation of the view's sentence and clip, or nothing."""
    if not view.clip or not view.text:
        return view, Panel()
    clip, weights = engine.clip(view.clip), view.weighed(weights)
    why = engine.explain(view.text, view.clip, moment=view.moment, weights=weights, struck=view.struck)
    if not view.struck:
        view = replace(view, words=tuple(word.text for word in why.sentence.words))
    summary = explanation.summary(why, clip, view.words, view.struck, view.confidence)
    body = explanation.body(why, weights, view.pick, _compared(engine, view, weights, clip, why))
    return view, Panel(explanation.player(clip, view.moment), summary, body)


def _compared(engine: EngineLike, view: View, weights: TermWeights, clip: ClipView, why: Explanation) -> str:
    """The open clip beside one of the other hits, as far as the library still holds them."""
    rivals, other = [], None
    for rank, (key, moment) in enumerate(view.found, start=1):
        if key == view.clip:
            continue
        with suppress(LibraryError):  # deleted since it was found
            rivals.append(explanation.Rival(rank, engine.clip(key), moment))
    for rival in rivals:
        if (key := rival.clip.clip_id) == view.rival:
            other = engine.explain(view.text, key, moment=rival.moment, weights=weights, struck=view.struck)
    return explanation.section(clip, why, rivals, other)


def described(
    engine: EngineLike, view: View, own_sentences: str, weights: TermWeights, count: int = 10
) -> str:
    """Ranked sentences for the view's clip."""
    if not view.clip:
        raise TextError("Choose a clip first, or upload one.")
    own = [line.strip() for line in own_sentences.splitlines() if line.strip()]
    weights, count = view.weighed(weights), max(count, len(own))
    hits = engine.describe(view.clip, captions=own or None, k=count, weights=weights)
    return html.sentences(hits, engine.clip(view.clip), view.text)


def guarded(handler: Callable[..., Any], refusal: Callable[[str], Exception]) -> Callable[..., Any]:
    """``handler``, whose errors of the package become what ``refusal`` makes of their text, safe for HTML."""

    @wraps(handler)
    def asked(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except VtrError as error:
            raise refusal(escape(str(error), quote=False)) from error

    return asked


def concept_gallery(engine: EngineLike, view: View, nameable: bool) -> str:
    """What the concepts hold in the library as it is, and which the ``view`` mutes; ``nameable`` where the
    visitor may rename them."""
    return concepts.gallery(engine.concepts(), view.muted, nameable)


def renamed(engine: EngineLike, click: Mapping[str, object]) -> bool:
    """Whether a click was a new name for a concept, which it then has; it stands on the page already."""
    concept = str(click.get("concept", ""))
    if click.get("do") != "rename" or not _counts(concept):
        return False
    engine.rename(int(concept), str(click.get("text", "")))
    return True


def library_parts(engine: EngineLike, own: Sequence[str] | None) -> list[str]:
    """Examples, numbers, shelf and About for the library as it is; ``own`` limits what can be deleted."""
    clips, status = engine.clips(), engine.status()
    deletable = [clip.clip_id for clip in clips] if own is None else own
    return [
        html.examples(html.choose_examples(clips)),
        tabs.library_state(status),
        tabs.library(clips, deletable),
        tabs.about(status),
    ]
