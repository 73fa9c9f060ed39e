"""The HTML that follows from what a visitor looks at (``view``), by way of the engine. No Gradio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from typing import Any, Protocol

from vtr_demo.errors import LibraryError, TextError, VtrError
from vtr_demo.results import (
    LONGEST_NAME,
    CaptionHit,
    CaptionReport,
    ClipFilter,
    ClipPage,
    ClipView,
    ConceptView,
    ExampleView,
    Explanation,
    IndexReport,
    Measurement,
    SearchResult,
    Status,
)
from vtr_demo.structures import MAX_EXCLUDED, NO_MIX, Mix, TermWeights
from vtr_demo.text.parser import clean
from vtr_demo.ui import explanation, html
from vtr_demo.ui.html import render
from vtr_demo.ui.view import ViewState
from vtr_demo.video.frames import LimitConfig

GONE = "The clip that was open is no longer in the library; here are the others."
GONE_EXAMPLE = (
    "The example is gone: a file is kept in memory for a while only, and a clip may have been deleted. Here is what "
    "there is without it; choose it again."
)
GONE_HERE = "This clip is no longer in the library; choose another."
MAX_WALL, MAX_PICKED, MAX_LOOKED = 48, 60, 200
"""Clips on the wall, to choose from under Describe, and looked through for examples: the newest."""
MAX_COMPARED = 7
"""Hits that an open clip can be compared with, itself among them."""
SORTING: dict[str, Callable[[ClipView], Any]] = {
    "newest": lambda clip: -datetime.fromisoformat(clip.added).timestamp(),
    "name": lambda clip: clip.name.lower(),
    "shortest": lambda clip: clip.duration_s,
    "longest": lambda clip: -clip.duration_s,
}
"""The keys by which hits are sorted, which come best first; equals stay so."""


class EngineLike(Protocol):
    """The part of the engine that the page uses; tests hand in a stand-in."""

    @property
    def default_weights(self) -> TermWeights: ...
    @property
    def limits(self) -> LimitConfig: ...

    def weigh(self, values: Any, muted: Any = ()) -> TermWeights: ...
    def search(
        self, text: str, k: int = 8, weights: Any = None, struck: Any = (), *, mix: Mix = NO_MIX, where: Any = None
    ) -> SearchResult: ...
    def describe(
        self, clip_id: str, captions: Any = None, *, k: int = 10, weights: Any = None, where: Any = None
    ) -> tuple[CaptionHit, ...]: ...
    def explain(
        self,
        text: str,
        clip: Any,
        moment: int | None = None,
        weights: Any = None,
        struck: Any = (),
        *,
        mix: Mix = NO_MIX,
    ) -> Explanation: ...
    def read_example(self, path: Any, name: str = "") -> ExampleView: ...
    def example(self, example_id: str) -> ExampleView: ...
    def concepts(self) -> tuple[ConceptView, ...]: ...
    def rename(self, concept: int, name: str) -> None: ...
    def measure(self, captions: Any = None, weights: Any = None, where: Any = None) -> Measurement: ...
    def list(self, offset: int = 0, limit: int = 48, order: Any = "newest", where: Any = None) -> ClipPage: ...
    def clip(self, clip_id: str) -> ClipView: ...
    def still(self, clip_id: str, moment: int) -> bytes: ...
    def poster(self, clip_id: str) -> Path: ...
    def media(self, clip_id: str) -> Path: ...
    def add(
        self, paths: Any, *, names: Any = None, keep_copy: bool = True, progress: Any = None, visitor: str = ""
    ) -> IndexReport: ...
    def delete(self, clip_id: str) -> None: ...
    def forget_visitors(self, before: str) -> int: ...
    def visitor_key(self) -> bytes: ...
    def edit(self, clip_id: str, *, name: str | None = None, captions: Any = None) -> ClipView: ...
    def import_captions(self, path: Any, only: Any = None) -> CaptionReport: ...
    def set_aside(self, clip_ids: Any) -> tuple[ClipView, ...]: ...
    def restore(self, clip_ids: Any) -> tuple[ClipView, ...]: ...
    def deleted(self) -> tuple[ClipView, ...]: ...
    def empty_deleted(self) -> None: ...
    def rebuild(self, progress: Any = None) -> object: ...
    def status(self, where: ClipFilter | None = None) -> Status: ...


class CachedExplanations:
    """An engine that keeps its last explanations, 2 MB each: other frames of the same match cost no second pass."""

    def __init__(self, engine: EngineLike) -> None:
        self._engine = engine
        self.explain = lru_cache(12)(engine.explain)

    def rename(self, concept: int, name: str) -> None:
        """As the engine; explanations hold names, so none is kept."""
        self._engine.rename(concept, name)
        self.explain.cache_clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


Panel = dict[str, Any] | None
"""What ``explanation.payload`` gives; None when nothing is open."""


def list_hits(engine: EngineLike, view: ViewState) -> tuple[SearchResult, list[html.Card]]:
    """Rank for the view's query: the result, of which one more than the view lists is asked for, and what the view
    lists, in its order."""
    if not view.asks:
        raise TextError("Type a sentence first, for example what happens in the clip.")
    weights, where = view.term_weights(engine.default_weights), view.where.clip_filter(datetime.now(UTC))
    result = engine.search(view.text, view.count + 1, weights, view.struck, mix=view.mix, where=where)
    cards: list[html.Card] = []
    for hit in result.hits[: view.count]:
        with suppress(LibraryError):  # deleted since
            cards.append(html.Card(len(cards) + 1, hit, engine.clip(hit.clip_id)))
    key = SORTING.get(view.order, lambda clip: 0)
    return result, sorted(cards, key=lambda card: key(card.clip))


def run_search(engine: EngineLike, view: ViewState) -> tuple[ViewState, str, Panel]:
    """Rank for the view's query and explain its open clip again: (view, results, panel)."""
    (result, cards), notice = list_hits(engine, view), ""
    best = [card.hit for card in sorted(cards, key=lambda card: card.rank)]
    view = replace(view, confidence=None, hits=tuple((hit.clip_id, hit.moment) for hit in best[:MAX_COMPARED]))
    for hit in best:
        if hit.clip_id == view.clip:
            view = replace(view, confidence=hit.confidence)
    if not view.struck:
        view = replace(view, words=tuple(word.text for word in result.sentence.words))
    try:
        view, panel = run_explain(engine, view, view.moment)
    except LibraryError:  # deleted in another tab, or since the link was made
        view, panel, notice = view.closed(), None, GONE
    return view, html.results(result, cards, view, len(result.hits) > view.count, notice), panel


def run_explain(engine: EngineLike, view: ViewState, moment: int | None) -> tuple[ViewState, Panel]:
    """Explain the view's query and clip, if both are given: (view, panel); ``moment`` None is the ranked one."""
    if not view.clip or not view.asks:
        return view, None
    clip, weights = engine.clip(view.clip), view.term_weights(engine.default_weights)
    why = engine.explain(view.text, view.clip, moment, weights=weights, struck=view.struck, mix=view.mix)
    if not view.struck:
        view = replace(view, words=tuple(word.text for word in why.sentence.words))
    comparison = _comparison(engine, view, weights, clip, why)
    return view, explanation.payload(why, clip, weights, view, comparison)


def _comparison(
    engine: EngineLike, view: ViewState, weights: TermWeights, clip: ClipView, why: Explanation
) -> dict[str, Any]:
    """The other hits, as far as the library still holds them, and how the open clip differs from the chosen one."""
    others, versus = [], None
    for rank, (clip_id, moment) in enumerate(view.hits, start=1):
        if clip_id == view.clip:
            continue
        with suppress(LibraryError):  # deleted since the search
            name = html.display_name(engine.clip(clip_id).name)
            others.append({"rank": rank, "id": clip_id, "name": name})
            if clip_id == view.rival:
                other = engine.explain(view.text, clip_id, moment, weights, view.struck, mix=view.mix)
                versus = explanation.difference(why, other, html.display_name(clip.name), name)
    return {"others": others, "selected": view.rival if versus else "", "versus": versus}


def run_describe(engine: EngineLike, view: ViewState) -> tuple[ViewState, str, Panel]:
    """Rank sentences for the view's clip, its own ones, one a line, or the library's, and explain the open one:
    (view, ranking, panel). The open sentence is ranked without its struck words; one that cannot be read is left out
    and named."""
    if not view.clip:
        raise TextError("Choose a clip first, or upload one.")
    clip, weights = engine.clip(view.clip), view.term_weights(engine.default_weights)
    own, left_out = _own_sentences(view.own)
    hits = engine.describe(view.clip, captions=own or None, k=max(10, len(own)), weights=weights)
    if view.struck:
        left = engine.explain(view.text, view.clip, -1, weights=weights, struck=view.struck).sentence.text
        again = replace(engine.describe(view.clip, captions=[left], k=1, weights=weights)[0], text=view.text)
        others = [hit for hit in hits if hit.text != view.text]
        hits = tuple(sorted([*others, again], key=lambda hit: -hit.score))
    for hit in hits:
        if hit.text == view.text:
            view = replace(view, confidence=hit.confidence)
    view, panel = run_explain(engine, view, -1)
    return view, html.sentences(hits, clip, view, left_out), panel


def _own_sentences(lines: str) -> tuple[list[str], list[str]]:
    """Split what was written into the sentences that can be read and a note for each of the others."""
    own, left_out, first = [], [], None
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            if line.strip():
                clean(line)
                own.append(line.strip())
        except TextError as error:
            left_out.append(f"Line {number}, “{shorten(line, 40, placeholder=' …')}”, is left out. {error}")
            first = first or error
    if first and not own:
        raise first
    return own, left_out


def show_search(engine: EngineLike, view: ViewState) -> tuple[ViewState, str, Panel]:
    """As ``run_search``, with the library's wall where nothing was ever asked, and a sentence in the place of the
    results where something fails: nothing of an earlier query stays. An example that is gone is left out."""
    if view.mix.like and example_of(engine, view) is None:
        view, ranked, panel = show_search(engine, view.after({"do": "unlike"}))
        return view, html.problem(GONE_EXAMPLE) + ranked, panel
    if view == replace(ViewState(), muted=view.muted, weights=view.weights, theme=view.theme):
        return view, render("search", "wall", page=engine.list(0, MAX_WALL)), None
    try:
        return run_search(engine, view)
    except VtrError as error:
        if not view.struck:
            return view.closed(), html.problem(str(error)), None
        view, ranked, panel = show_search(engine, replace(view, struck=()))  # struck words can be put back
        return view, html.problem(str(error)) + ranked, panel


def show_describe(engine: EngineLike, view: ViewState) -> tuple[ViewState, str, Panel]:
    """As ``run_describe``, with a sentence in the place of the ranking where something fails or is still to do."""
    if not view.clip:
        return view, render("macros", "empty", text="Choose a clip to see which sentences fit it best."), None
    try:
        engine.clip(view.clip)
    except LibraryError:
        return replace(view, clip="", text=""), html.problem(GONE_HERE), None
    try:
        return run_describe(engine, view)
    except VtrError as error:
        if not view.struck:
            return replace(view, text=""), html.problem(str(error)), None
        view, ranked, panel = show_describe(engine, replace(view, struck=()))
        return view, html.problem(str(error)) + ranked, panel


def example_of(engine: EngineLike, view: ViewState) -> ExampleView | None:
    """The example of a view; None where it has none, or it is gone."""
    with suppress(LibraryError):
        return engine.example(view.mix.like) if view.mix.like else None
    return None


def ask_more(engine: EngineLike, view: ViewState) -> str:
    """What is asked for beside the words: the example with its share, and the phrases that count against."""
    return render("search", "ask_more", view=view, example=example_of(engine, view), most=MAX_EXCLUDED)


def concept_gallery(engine: EngineLike, view: ViewState, nameable: bool) -> str:
    """Every concept as it is in the library, the one that holds most of the picture first, and which the ``view``
    mutes; ``nameable`` where the visitor may rename them."""
    concepts = sorted(engine.concepts(), key=lambda concept: -concept.patches)
    longest = max((share for concept in concepts for share in (concept.patches, concept.words)), default=0.0)
    return render(
        "concepts", "gallery", views=concepts, longest=longest, muted=view.muted, nameable=nameable,
        max_name=LONGEST_NAME, status=engine.status(),
    )  # fmt: skip


def rename_concept(engine: EngineLike, click: Mapping[str, object]) -> bool:
    """Rename a concept if the click asks for it; returns whether it did. The page shows the name already."""
    concept = str(click.get("concept", ""))
    if click.get("do") != "rename" or not (concept.isascii() and concept.isdigit()):
        return False
    engine.rename(int(concept), str(click.get("text", "")))
    return True


def uploaded(files: Sequence[str], folder: str) -> list[Path]:
    """The paths of an upload; ``LibraryError`` where one does not lie in the upload ``folder``."""
    paths = [Path(file).resolve() for file in files]
    for path in paths:
        if not path.is_relative_to(Path(folder).resolve()) or not path.is_file():
            raise LibraryError(f"{path.name} was not uploaded through this page; upload it again.")
    return paths


def add_upload(engine: EngineLike, path: Path, progress: Callable[[float, str], None]) -> str:
    """Index one uploaded file and return its clip's id; ``LibraryError`` where it is no new clip."""
    report = engine.add([path], names=[path.name], progress=progress)
    if not report.added:
        known = f"{path.name} is already in the library; choose it among the clips."
        raise LibraryError(report.failed[0][1] if report.failed else known)
    return report.added[0]


def library_parts(engine: EngineLike) -> list[str]:
    """Examples, numbers and About for the library as it is."""
    status = engine.status()
    captioned = engine.list(0, MAX_LOOKED, where=ClipFilter(captioned=True)).clips
    return [
        render("search", "examples", captions=html.example_captions(captioned), status=status),
        render("library", "state", status=status),
        render("about", "about", status=status, lessons=html.TERM_LESSONS),
    ]


def clip_picker(engine: EngineLike, view: ViewState) -> str:
    """The clips to choose from under Describe: the newest that pass the view's filter, and the one chosen."""
    name = view.where.name
    page = engine.list(0, MAX_PICKED, where=ClipFilter(name=name))
    return render("describe", "picker", page=page, selected=view.clip, name=name)
