"""What one visitor looks at, as a frozen value, and the HTML that follows from it. No Gradio.

The browser reports clicks as small dicts of strings. Only ``ViewState.after`` and ``rename_concept`` read
them; whatever they do not know changes nothing. Clips are chosen by id, never by path.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from html import escape
from pathlib import Path
from typing import Any, Protocol, cast

from vtr_demo.errors import LibraryError, TextError, VtrError
from vtr_demo.results import (
    CaptionHit,
    ClipView,
    ConceptView,
    ExampleView,
    Explanation,
    IndexReport,
    Measurement,
    SearchResult,
    Status,
)
from vtr_demo.structures import NO_MIX, Mix, TermWeights
from vtr_demo.ui import concepts, explanation, html, sections
from vtr_demo.video.frames import LimitConfig

MAX_COMPARED = 7
"""Hits that an open clip can be compared with, itself among them."""


class EngineLike(Protocol):
    """The part of the engine that the page uses; tests hand in a stand-in."""

    @property
    def default_weights(self) -> TermWeights: ...
    @property
    def limits(self) -> LimitConfig: ...

    def weigh(self, values: Any, muted: Any = ()) -> TermWeights: ...
    def search(
        self, text: str, k: int = 8, weights: Any = None, struck: Any = (), mix: Mix = NO_MIX
    ) -> SearchResult: ...
    def describe(
        self, clip_id: str, captions: Any = None, k: int = 10, weights: Any = None
    ) -> tuple[CaptionHit, ...]: ...
    def explain(
        self, text: str, clip: Any, moment: int | None = None, weights: Any = None, struck: Any = (), mix: Mix = NO_MIX
    ) -> Explanation: ...
    def read_example(self, path: Any, name: str = "") -> ExampleView: ...
    def example(self, example_id: str) -> ExampleView: ...
    def concepts(self) -> tuple[ConceptView, ...]: ...
    def rename(self, concept: int, name: str) -> None: ...
    def measure(self, captions: Any = None, weights: Any = None) -> Measurement: ...
    def clips(self) -> tuple[ClipView, ...]: ...
    def clip(self, clip_id: str) -> ClipView: ...
    def still(self, clip_id: str, moment: int) -> bytes: ...
    def media(self, clip_id: str) -> Path: ...
    def add(self, paths: Any, *, names: Any = None, keep_copy: bool = True, progress: Any = None) -> IndexReport: ...
    def delete(self, clip_id: str) -> None: ...
    def rebuild(self, progress: Any = None) -> object: ...
    def status(self) -> Status: ...


class CachedExplanations:
    """An engine that keeps its last explanations: other frames of the same match cost no second pass."""

    def __init__(self, engine: EngineLike, kept: int) -> None:
        self._engine = engine
        self.explain = lru_cache(kept)(engine.explain)

    def rename(self, concept: int, name: str) -> None:
        """As the engine; explanations hold names, so none is kept."""
        self._engine.rename(concept, name)
        self.explain.cache_clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def cache_explanations(engine: EngineLike, kept: int = 12) -> EngineLike:
    """The same engine with the last ``kept`` explanations (about 2 MB each) at hand."""
    return cast(EngineLike, CachedExplanations(engine, kept))


@dataclass(frozen=True)
class ViewState:
    """A sentence, the words and concepts struck out of it, the open clip and what its frames show."""

    text: str = ""
    words: tuple[str, ...] = ()
    """The sentence's words before any was struck out; ``struck`` indexes them."""
    struck: tuple[int, ...] = ()
    muted: tuple[int, ...] = ()
    """Concepts that are not to count, by index."""
    clip: str = ""
    moment: int = -1
    confidence: float | None = None
    hits: tuple[tuple[str, int], ...] = ()
    """(clip id, moment) of the first hits, the best first."""
    rival: str = ""
    """The hit that the open clip is compared with."""

    def after(self, click: Mapping[str, object]) -> ViewState:
        """The view after a click; an unknown or malformed click changes nothing."""
        values = {key: str(value) for key, value in click.items()}
        clip, text, word, concept = (values.get(key, "") for key in ("clip", "text", "word", "concept"))
        changed: dict[str, Any] = {}
        match values.get("do"):
            case "open" if clip:
                moment = values.get("moment", "")
                changed = {"clip": clip, "moment": int(moment) if _is_index(moment) else -1}
                changed["rival"] = ""
            case "choose" if clip:
                return ViewState(clip=clip, muted=self.muted)
            case "example" if text:
                return self.asking(text)
            case "sentence" if text:
                changed = {"text": text, "words": (), "struck": (), "confidence": None}
            case "strike" if _is_index(word):
                changed = {"struck": tuple(sorted({*self.struck} ^ {int(word)}))}
            case "mute" if _is_index(concept):
                changed = {"muted": tuple(sorted({*self.muted} ^ {int(concept)}))}
            case "rival" if clip:
                changed = {"rival": "" if clip == self.rival else clip}
            case "close":
                return self.closed()
        return replace(self, **changed)

    def asking(self, text: str) -> ViewState:
        """Another sentence; what is muted stays so."""
        return ViewState(text=text, muted=self.muted)

    def unmuted(self) -> ViewState:
        """With all concepts."""
        return replace(self, muted=())

    def weighed(self, weights: TermWeights) -> TermWeights:
        """The sliders' ``weights`` without the muted concepts."""
        return replace(weights, muted=self.muted)

    def closed(self) -> ViewState:
        """Without an explanation."""
        return replace(self, clip="", moment=-1, confidence=None, rival="")


def _is_index(text: str) -> bool:
    """Whether it is a whole number of a size that something on the page could have."""
    return text.isascii() and text.isdigit() and len(text) <= 6


Panel = dict[str, Any] | None
"""What ``explanation.payload`` gives; None when nothing is open."""


def run_search(
    engine: EngineLike, view: ViewState, weights: TermWeights, count: int = 12
) -> tuple[ViewState, str, Panel]:
    """Rank for the view's sentence and explain its open clip again: (view, results, panel)."""
    if not view.text.strip():
        raise TextError("Type a sentence first, for example what happens in the clip.")
    result = engine.search(view.text, k=count, weights=view.weighed(weights), struck=view.struck)
    first = tuple((hit.clip_id, hit.moment) for hit in result.hits[:MAX_COMPARED])
    view = replace(view, confidence=None, hits=first)
    for hit in result.hits:
        if hit.clip_id == view.clip:  # other weights may rank another moment of the open clip
            view = replace(view, confidence=hit.confidence, moment=hit.moment)
    if not view.struck:
        view = replace(view, words=tuple(word.text for word in result.sentence.words))
    clips: dict[str, ClipView] = {}
    for hit in result.hits:
        with suppress(LibraryError):  # deleted since
            clips[hit.clip_id] = engine.clip(hit.clip_id)
    table = html.address_query(view.text, view.weighed(weights), view.struck)
    ranked = html.results(result, clips, view.clip, view.words, view.struck, table)
    return view, ranked, run_explain(engine, view, weights)[1]


def run_explain(engine: EngineLike, view: ViewState, weights: TermWeights) -> tuple[ViewState, Panel]:
    """Explain the view's sentence and clip, if both are given: (view, panel)."""
    if not view.clip or not view.text:
        return view, None
    clip, weights = engine.clip(view.clip), view.weighed(weights)
    why = engine.explain(view.text, view.clip, moment=view.moment, weights=weights, struck=view.struck)
    if not view.struck:
        view = replace(view, words=tuple(word.text for word in why.sentence.words))
    about = explanation.Asked(view.text, view.words, view.struck, confidence=view.confidence)
    comparison = _comparison(engine, view, weights, clip, why)
    return view, explanation.payload(why, clip, weights, about, comparison)


def _comparison(
    engine: EngineLike, view: ViewState, weights: TermWeights, clip: ClipView, why: Explanation
) -> dict[str, Any]:
    """The open clip beside one of the other hits, as far as the library still holds them."""
    others, other = [], None
    for rank, (clip_id, moment) in enumerate(view.hits, start=1):
        if clip_id == view.clip:
            continue
        with suppress(LibraryError):  # deleted since the search
            others.append(explanation.OtherHit(rank, engine.clip(clip_id), moment))
    for hit in others:
        if (clip_id := hit.clip.clip_id) == view.rival:
            other = engine.explain(view.text, clip_id, moment=hit.moment, weights=weights, struck=view.struck)
    return explanation.compare(clip, why, others, other)


def run_describe(engine: EngineLike, view: ViewState, own_sentences: str, weights: TermWeights, count: int = 10) -> str:
    """Rank sentences for the view's clip: those of ``own_sentences``, one a line, or the library's."""
    if not view.clip:
        raise TextError("Choose a clip first, or upload one.")
    own = [line.strip() for line in own_sentences.splitlines() if line.strip()]
    weights, count = view.weighed(weights), max(count, len(own))
    hits = engine.describe(view.clip, captions=own or None, k=count, weights=weights)
    return html.sentences(hits, engine.clip(view.clip), view.text)


def guarded(handler: Callable[..., Any], to_error: Callable[[str], Exception]) -> Callable[..., Any]:
    """Wrap ``handler``: errors of the package become what ``to_error`` makes of their text, safe for HTML."""

    @wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except VtrError as error:
            raise to_error(escape(str(error), quote=False)) from error

    return call


def concept_gallery(engine: EngineLike, view: ViewState, nameable: bool) -> str:
    """What the concepts hold in the library as it is, and which the ``view`` mutes; ``nameable`` where the
    visitor may rename them."""
    return concepts.gallery(engine.concepts(), view.muted, nameable)


def rename_concept(engine: EngineLike, click: Mapping[str, object]) -> bool:
    """Rename a concept if the click asks for it; returns whether it did. The page shows the name already."""
    concept = str(click.get("concept", ""))
    if click.get("do") != "rename" or not _is_index(concept):
        return False
    engine.rename(int(concept), str(click.get("text", "")))
    return True


def add_uploads(
    engine: EngineLike, files: Sequence[str], folder: str, progress: Callable[[float, str], None]
) -> IndexReport:
    """Index files that lie in the upload ``folder``, under their own names."""
    paths = sections.uploaded(files, folder)
    return engine.add(paths, names=[path.name for path in paths], progress=progress)


def add_upload(engine: EngineLike, file: str, folder: str, progress: Callable[[float, str], None]) -> str:
    """Index one file and return its clip's id; ``LibraryError`` where it is no new clip."""
    report = add_uploads(engine, [file], folder, progress)
    if not report.added:
        known = f"{Path(file).name} is already in the library; choose it among the clips."
        raise LibraryError(report.failed[0][1] if report.failed else known)
    return report.added[0]


def delete_clip(engine: EngineLike, click: Mapping[str, object], own: Collection[str] | None) -> str:
    """Delete the clip that a click names and return its name; ``own`` are the only ones that may be."""
    clip_id = str(click.get("clip", ""))
    if own is not None and clip_id not in own:
        raise LibraryError("On a shared page you can delete only the clips that you added in this visit.")
    name = engine.clip(clip_id).name
    engine.delete(clip_id)
    return name


def library_parts(engine: EngineLike, own: Sequence[str] | None) -> list[str]:
    """Examples, numbers, shelf and About for the library as it is; ``own`` limits what can be deleted."""
    clips, status = engine.clips(), engine.status()
    deletable = [clip.clip_id for clip in clips] if own is None else own
    return [
        html.examples(html.example_captions(clips)),
        sections.library_state(status),
        sections.library(clips, deletable),
        sections.about(status),
    ]
