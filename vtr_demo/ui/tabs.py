"""The page's tabs as Gradio components, and what their events do; each takes the engine and returns what others need.

Visitors take turns at events of the groups ``TURNS`` (page.py): Gradio's own queues know no visitors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from vtr_demo.errors import VtrError
from vtr_demo.structures import TERMS
from vtr_demo.ui import html, shelf, state, theme
from vtr_demo.ui.html import TERM_NAMES, render
from vtr_demo.ui.shelf import Listing
from vtr_demo.ui.state import EngineLike
from vtr_demo.ui.view import MAX_SENTENCES, MAX_TEXT, ViewState
from vtr_demo.video.reader import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

CAPTION_FILES = [".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson"]
TURNS = ("model", "long", "example")
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None, "api_visibility": "private"}
LIVE = MODEL | {"trigger_mode": "always_last", "show_progress": "hidden"}
LONG = MODEL | {"concurrency_id": "long"}
EXAMPLE = MODEL | {"concurrency_id": "example"}
INGEST = MODEL | {"concurrency_id": "ingest", "concurrency_limit": 1}
LISTING = LIVE | {"concurrency_id": "listing", "concurrency_limit": 1, "trigger_mode": "multiple"}
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


# --------------------------------------------------------------------------- components and errors
def html_block(value: str | None = "", elem_id: str | None = None, script: str = "", **options: Any) -> gr.HTML:
    """A piece of page whose buttons and texts report what is done with them; ``script`` runs once."""
    options = {"elem_classes": ["vtr"], "js_on_load": f"{theme.CLICK}\n{script}", **options}
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, **options)


def explanation_block(elem_id: str) -> gr.HTML:
    """An explanation, drawn by explanation.js from the JSON of ``explanation.payload``; None hides it."""
    classes = ["vtr", "explained"]
    return html_block(None, elem_id, theme.EXPLAIN, html_template="<section></section>", elem_classes=classes)


def weight_sliders(values: Sequence[float]) -> list[gr.Slider]:
    """Five sliders, one a term."""
    return [
        gr.Slider(0, 2, value, step=0.05, label=TERM_NAMES[name], buttons=[], elem_classes=["mix", f"m-{name}"])
        for name, value in zip(TERMS, values, strict=True)
    ]


def sent_files(files: Sequence[str]) -> list[Path]:
    """The paths of files that were sent to the page."""
    return state.uploaded(files, get_upload_folder())


def progress_report(progress: gr.Progress) -> Callable[[float, str], None]:
    """The engine's progress report, shown by Gradio."""
    return lambda fraction, what: progress(fraction, desc=what)


def reports_errors(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the package's errors into a message on the page, where nothing changes then, safe for HTML."""

    @wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except VtrError as error:
            text = escape(str(error), quote=False)
            raise gr.Error(text, title="That did not work", print_exception=False) from error

    return call


def in_place(
    at: int, of: int, kept: Callable[..., str] = lambda *_: ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Turn the package's errors into a sentence in the ``at``-th ``of`` the components that a handler updates, after
    what is ``kept`` there; the others stay as they are."""

    def wrap(handler: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(handler)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return handler(*args, **kwargs)
            except VtrError as error:
                shown = [gr.skip()] * of
                shown[at] = kept(*args) + html.problem(str(error))
                return shown if of > 1 else shown[0]

        return call

    return wrap


@dataclass(frozen=True)
class TabParts:
    """What other parts of the page need of a tab: its view, what shows a view, and the components that it updates."""

    view: gr.State
    show: Callable[..., list[Any]]
    outputs: list[Any]


def search_tab(engine: EngineLike, address: gr.HTML) -> tuple[gr.HTML, TabParts, Callable[[Any], Any]]:
    """Text, clips and pictures to video. Returns the examples, the tab's parts, and what ranks again after an event
    that has changed the view. Before anything is asked, the results hold the library's wall."""
    defaults = engine.default_weights
    with gr.Row(elem_id="ask"):
        query = gr.Textbox(
            placeholder="What happens in a clip …", label="Sentence", show_label=False, max_lines=1,
            container=False, autofocus=True, elem_id="query", max_length=MAX_TEXT,
        )  # fmt: skip
        go = gr.Button("Search", variant="primary", elem_id="go", scale=0)
    with gr.Row(elem_id="askmore"):
        file = gr.UploadButton(
            "Ask with a picture or clip",
            file_types=[*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS],
            size="sm",
            elem_id="ask-file",
        )
        more = html_block(state.ask_more(engine, ViewState()), "ask-mix")
    examples = html_block(elem_id="examples")
    with gr.Row(elem_id="desk"):
        with gr.Column(elem_id="rail"):
            html_block(render("search", "rail"))
            sliders = weight_sliders([*defaults.levels(), defaults.concepts])
            reset = gr.Button("Reset weights", size="sm", elem_id="reset")
        with gr.Column(elem_id="hits"):
            results = html_block(elem_id="results")
        why = explanation_block("panel")
    view = gr.State(ViewState())
    inputs, outputs = [view, *sliders], [view, results, why, more, address, query, *sliders]

    def show(new: ViewState, placing: bool = False) -> list[Any]:
        """``placing``: also the sentence and the sliders, as an address has them."""
        new, ranked, panel = state.show_search(engine, new)
        shown = [new, ranked, panel, state.ask_more(engine, new), html.address("search", new)]
        if not placing:
            return [*shown, new.text, *[gr.skip()] * len(sliders)]
        return [*shown, new.text, *(new.weights or (*defaults.levels(), defaults.concepts))]

    def ask(old: ViewState, text: str, *weights: float) -> list[Any]:
        return show(old.asking(text).weighing(weights, defaults))

    refused = in_place(3, len(outputs), lambda old, *_: state.ask_more(engine, old))

    @refused
    def click(old: ViewState, event: gr.EventData) -> list[Any]:
        return show(old.after(event._data))

    def reweigh(old: ViewState, *weights: float) -> list[Any]:
        new = old.weighing(weights, defaults)
        return show(new) if new.asks else [new, *[gr.skip()] * (len(outputs) - 1)]

    @refused
    def take(old: ViewState, path: str) -> list[Any]:
        (file,) = sent_files([path])
        return show(old.after({"do": "like", "clip": engine.read_example(file, file.name).example_id}))

    gr.on([query.submit, go.click], ask, [view, query, *sliders], outputs, **LIVE)
    results.click(click, view, outputs, **LIVE).then(None, js=theme.TO_PANEL, **QUIET)
    for piece in (examples, why, more):
        piece.click(click, view, outputs, **LIVE)
    file.upload(take, [view, file], outputs, show_progress_on=more, **EXAMPLE)
    gr.on([slider.input for slider in sliders], reweigh, inputs, outputs, **LIVE)
    reset.click(lambda old: show(old.unmuted(), True), view, outputs, **LIVE)
    parts = TabParts(view, show, outputs)
    return examples, parts, lambda event: event.then(reweigh, inputs, outputs, **LIVE)


def describe_tab(engine: EngineLike, address: gr.HTML) -> tuple[gr.HTML, Any, TabParts]:
    """Video to text. Returns the picker, the event after which the library has changed, and the tab's parts."""
    with gr.Row(elem_id="bench"):
        with gr.Column(elem_id="source"):
            picker = html_block(elem_id="picker")
            upload = gr.UploadButton("Upload a clip", file_types=[*VIDEO_EXTENSIONS], size="sm", elem_id="upload-one")
            own = gr.Textbox(
                label="Your own sentences, one a line", lines=4, elem_id="own", max_length=MAX_SENTENCES,
                placeholder="Leave empty to rank the library’s captions and some general sentences",
            )  # fmt: skip
            rank = gr.Button("Rank sentences", variant="primary", elem_id="rank")
        with gr.Column(elem_id="ranking"):
            ranked = html_block(elem_id="ranked")
        why = explanation_block("dpanel")
    view = gr.State(ViewState())
    outputs = [view, picker, ranked, why, own, address]

    def show(new: ViewState) -> list[Any]:
        new, sentences, panel = state.show_describe(engine, new)
        return [new, state.clip_picker(engine, new), sentences, panel, new.own, html.address("describe", new)]

    def click(old: ViewState, sentences: str, event: gr.EventData) -> list[Any]:
        new = old.after(event._data)
        return show(replace(new if new.clip else ViewState(clip=old.clip, where=new.where), own=sentences))

    @in_place(2, len(outputs))
    def take(file: str, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        (sent,) = sent_files([file])
        clip_id = state.add_upload(engine, sent, progress_report(progress))
        return show(ViewState(clip=clip_id))

    for piece in (picker, ranked, why):
        event = piece.click(click, [view, own], outputs, **LIVE)
        if piece in (picker, ranked):
            event.then(None, js=theme.TO_PANEL, **QUIET)
    rank.click(lambda old, lines: show(ViewState(clip=old.clip, own=lines)), [view, own], outputs, **LIVE | LONG)
    changed = upload.upload(take, upload, outputs, show_progress_on=ranked, **INGEST)
    return picker, changed, TabParts(view, show, outputs)


def concepts_tab(
    engine: EngineLike, tab: gr.Tab, tab_bar: gr.Tabs, describe: TabParts, view: gr.State, shared: bool
) -> Any:
    """What the concepts hold, drawn when the tab is opened. A frame opens its clip under Describe; what is
    muted is muted in the ``view`` of the search. Returns the event after which that may have changed.

    ``shared``: their names are not a visitor's to change.
    """
    wall, drawn_for = html_block('<p class="empty">Reading the library …</p>', "gallery"), gr.State(None)

    @in_place(0, 2)
    def show(before: object, looked: ViewState) -> list[Any]:
        now = ([(one.patches, one.words, one.top_words) for one in engine.concepts()], looked.muted)
        return [gr.skip() if now == before else state.concept_gallery(engine, looked, not shared), now]

    @reports_errors
    def go(looked: ViewState, event: gr.EventData) -> list[Any]:
        stay = [gr.skip()] * (1 + len(describe.outputs))
        if not shared and state.rename_concept(engine, event._data):
            return [gr.skip(), *stay]
        if event._data.get("do") == "mute":
            return [looked.after(event._data), *stay]
        there = describe.show(ViewState(clip=str(event._data.get("clip", ""))))
        return [gr.skip(), gr.Tabs(selected="describe"), *there]

    tab.select(show, [drawn_for, view], [wall, drawn_for], **LIVE | LONG)
    gone = wall.click(go, view, [view, tab_bar, *describe.outputs], **MODEL)
    gone.then(None, js=theme.TO_TILE, **QUIET)
    return gone.then(show, [drawn_for, view], [wall, drawn_for], **LONG)


def library_tab(engine: EngineLike, shared: bool) -> tuple[gr.HTML, gr.HTML, gr.State, gr.State]:
    """Add, caption, rename, delete, restore. Returns the numbers, the clips, which of them are listed, and a counter
    of changes to the library."""
    most = engine.limits
    with gr.Row(elem_id="intake"):
        files = gr.File(
            label=f"Add videos, up to {html.size(most.max_bytes)} and {most.max_duration_s / 60:.0f} minutes each",
            file_count="multiple", file_types=[*VIDEO_EXTENSIONS], height=170, elem_id="upload", scale=3,
        )  # fmt: skip
        with gr.Column(scale=2, elem_id="facts"):
            numbers = html_block(elem_id="numbers")
            with gr.Row(elem_id="tools"):
                table = gr.UploadButton("Import captions", file_types=CAPTION_FILES, size="sm", elem_id="import")
                rebuild = gr.Button("Rebuild the index", size="sm", elem_id="rebuild", visible=not shared)
    outcome, clips = html_block(elem_id="outcome"), html_block(elem_id="shelf", script=theme.SHELF)
    form = html_block(render("library", "editor"), "editor")  # beside the list, which is drawn anew while it is open
    listing, changes = gr.State(Listing()), gr.State(0)
    told = [outcome, changes]

    @in_place(1, 4)
    def add(paths: list[str], count: int, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        sent = sent_files(paths)
        report = engine.add(sent, names=[path.name for path in sent], progress=progress_report(progress))
        return [None, shelf.report(engine, report), count + 1, Listing(new=report.added)]

    @in_place(0, 2)
    def take_captions(path: str, count: int) -> list[Any]:
        (file,) = sent_files([path])
        return [render("library", "imported", outcome=engine.import_captions(file)), count + 1]

    @in_place(0, 4)
    def click(old: Listing, count: int, event: gr.EventData) -> list[Any]:
        said = shelf.act(engine, event._data)
        if said is None:
            return [gr.skip(), gr.skip(), new := old.after(event._data), shelf.shelf(engine, new, shared)]
        return [said, count + 1, old, gr.skip()]

    @in_place(0, 2)
    def renew(count: int, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        engine.rebuild(progress=progress_report(progress))
        return [shelf.success("The index holds every stored clip that can be read."), count + 1]

    files.upload(
        add, [files, changes], [files, *told, listing], show_progress_on=outcome, **INGEST
    ).then(None, js=theme.TO_NEW, **QUIET)  # fmt: skip
    table.upload(take_captions, [table, changes], told, show_progress_on=outcome, **INGEST)
    gr.on([clips.click, outcome.click, form.click], click, [listing, changes], [*told, listing, clips], **LISTING)
    rebuild.click(renew, changes, told, **INGEST)
    return numbers, clips, listing, changes


def measure_tab(engine: EngineLike) -> None:
    """How well clips and captions find each other here."""
    html_block(render("measure", "intro"))
    with gr.Row(elem_id="gauge"):
        file = gr.File(label="Captions: .csv (columns clip, caption) or .jsonl", file_types=CAPTION_FILES, height=150)
        go = gr.Button("Measure", variant="primary", elem_id="measure", scale=0)

    @in_place(0, 1)
    def measure(path: str | None) -> str:
        return render("measure", "result", m=engine.measure(*sent_files([path] if path else [])))

    go.click(measure, file, html_block(elem_id="measured"), show_progress="minimal", **LONG)
