"""The demo's page and its API: ``python app.py``; ``--help`` lists the options.

The engine ranks and explains, vtr_demo/ui turns its records into HTML, this file wires both to Gradio.
Importing it does nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from vtr_demo.errors import LibraryError, VtrError
from vtr_demo.structures import TermWeights
from vtr_demo.ui import api, html, sections, state, theme
from vtr_demo.ui.state import EngineLike, ViewState
from vtr_demo.ui.theme import explanation_block, html_block, weight_sliders
from vtr_demo.video.decode import LimitConfig, read_limit
from vtr_demo.video.reader import VIDEO_EXTENSIONS

HERE = Path(__file__).parent
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
LIVE = MODEL | {"trigger_mode": "always_last", "show_progress": "hidden"}
INGEST = MODEL | {"concurrency_id": "ingest"}
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
ClipOpener = tuple[Callable[[str], list[Any]], list[Any]]
"""What shows a clip by its id, and the components that it updates."""


def reports_errors(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the package's errors into a message on the page; nothing on it changes then."""
    return state.guarded(handler, partial(gr.Error, title="That did not work", print_exception=False))


def search_tab(engine: EngineLike) -> tuple[gr.HTML, gr.HTML, gr.State, Callable[[Any], Any]]:
    """Text to video. Returns the examples, the results, which hold the library's wall at first, what the
    visitor looks at, and what ranks again after an event that has changed it."""
    defaults = [*engine.default_weights.levels(), engine.default_weights.concepts]
    with gr.Row(elem_id="ask"):
        query = gr.Textbox(
            placeholder="Describe what happens in a clip …", label="Sentence", show_label=False, max_lines=1,
            container=False, autofocus=True, elem_id="query", max_length=2000,
        )  # fmt: skip
        go = gr.Button("Search", variant="primary", elem_id="go", scale=0)
    examples = html_block(elem_id="examples")
    with gr.Row(elem_id="desk"):
        with gr.Column(elem_id="rail"):
            html_block('<h3>Weigh the parts</h3><p class="soft">Moving one ranks again.</p>')
            sliders = weight_sliders(defaults)
            reset = gr.Button("Reset weights", size="sm", elem_id="reset")
        with gr.Column(elem_id="hits"):
            results = html_block(elem_id="results")
        why = explanation_block("panel")
    view = gr.State(ViewState())
    inputs, outputs = [view, *sliders], [query, view, results, why]

    def show(old: ViewState, new: ViewState, weights: Sequence[float]) -> list[Any]:
        new, ranked, panel = state.run_search(engine, new, TermWeights(*weights))
        text = gr.skip() if new.text == old.text else new.text
        return [text, new, ranked, panel]

    @reports_errors
    def ask(old: ViewState, text: str, *weights: float) -> list[Any]:
        return show(ViewState(text=text), old.asking(text), weights)

    @reports_errors
    def click(old: ViewState, event: gr.EventData, *weights: float) -> list[Any]:
        return show(old, old.after(event._data), weights)

    @reports_errors
    def reweigh(old: ViewState, *weights: float) -> list[Any]:
        return show(old, old, weights) if old.text else [gr.skip()] * len(outputs)

    asked = [view, query, *sliders]
    gr.on([query.submit, go.click], ask, asked, outputs, show_progress="minimal", **MODEL)
    results.click(click, inputs, outputs, **LIVE).then(None, js=theme.TO_PANEL, **QUIET)
    for piece in (examples, why):
        piece.click(click, inputs, outputs, **LIVE)
    gr.on([slider.input for slider in sliders], reweigh, inputs, outputs, **LIVE)
    cleared = reset.click(lambda old: [old.unmuted(), *defaults], view, inputs, **QUIET)
    cleared.then(reweigh, inputs, outputs, **LIVE)
    return examples, results, view, lambda event: event.then(reweigh, inputs, outputs, **LIVE)


def describe_tab(engine: EngineLike, mine: gr.State) -> tuple[gr.HTML, Any, ClipOpener]:
    """Video to text. Returns the picker, the event after which the library has changed, and the opener."""
    with gr.Row(elem_id="bench"):
        with gr.Column(elem_id="source"):
            picker = html_block(elem_id="picker")
            upload = gr.UploadButton("Upload a clip", file_types=[*VIDEO_EXTENSIONS], size="sm", elem_id="upload-one")
            own = gr.Textbox(
                label="Your own sentences, one a line", lines=4, elem_id="own", max_length=20_000,
                placeholder="Leave empty to rank the library’s captions and some general sentences",
            )  # fmt: skip
            rank = gr.Button("Rank sentences", variant="primary", elem_id="rank")
        with gr.Column(elem_id="ranking"):
            ranked = html_block('<p class="empty">Choose a clip to see which sentences fit it best.</p>', "ranked")
        why = explanation_block("dpanel")
    view = gr.State(ViewState())
    outputs = [view, picker, ranked, why]

    def show(new: ViewState, sentences: str) -> list[Any]:
        sentences_html = state.run_describe(engine, new, sentences, engine.default_weights)
        new, panel = state.run_explain(engine, new, engine.default_weights)
        return [new, html.clip_picker(engine.clips(), new.clip), sentences_html, panel]

    @reports_errors
    def click(old: ViewState, sentences: str, event: gr.EventData) -> list[Any]:
        new = old.after(event._data)
        return show(new if new.clip else ViewState(clip=old.clip), sentences)

    @reports_errors
    def take(file: str, own_ids: list[str], progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        clip_id = state.add_upload(engine, file, get_upload_folder(), progress_report(progress))
        return [[*own_ids, clip_id], *show(ViewState(clip=clip_id), "")]

    for piece in (picker, ranked, why):
        event = piece.click(click, [view, own], outputs, **LIVE)
        if piece in (picker, ranked):
            event.then(None, js=theme.TO_PANEL, **QUIET)
    again = reports_errors(lambda old, sentences: show(ViewState(clip=old.clip), sentences))
    rank.click(again, [view, own], outputs, **LIVE)
    changed = upload.upload(take, [upload, mine], [mine, *outputs], **INGEST)
    return picker, changed, (lambda clip: show(ViewState(clip=clip), ""), outputs)


def concepts_tab(
    engine: EngineLike, tab: gr.Tab, tab_bar: gr.Tabs, opener: ClipOpener, view: gr.State, shared: bool
) -> Any:
    """What the concepts hold, drawn when the tab is opened. A frame opens its clip under Describe; what is
    muted is muted in the ``view`` of the search. Returns the event after which that may have changed.

    ``shared``: their names are not a visitor's to change.
    """
    wall, drawn_for = html_block('<p class="empty">Reading the library …</p>', "gallery"), gr.State(None)

    @reports_errors
    def show(before: object, looked: ViewState) -> list[Any]:
        now = (tuple(clip.clip_id for clip in engine.clips()), looked.muted)
        return [gr.skip() if now == before else state.concept_gallery(engine, looked, not shared), now]

    @reports_errors
    def go(looked: ViewState, event: gr.EventData) -> list[Any]:
        stay = [gr.skip()] * (1 + len(opener[1]))
        if not shared and state.rename_concept(engine, event._data):
            return [gr.skip(), *stay]
        if event._data.get("do") == "mute":
            return [looked.after(event._data), *stay]
        there = opener[0](str(event._data.get("clip", "")))
        return [gr.skip(), gr.Tabs(selected="describe"), *there]

    tab.select(show, [drawn_for, view], [wall, drawn_for], **MODEL)
    gone = wall.click(go, view, [view, tab_bar, *opener[1]], **MODEL)
    gone.then(None, js=theme.TO_TILE, **QUIET)
    return gone.then(show, [drawn_for, view], [wall, drawn_for], **MODEL)


def library_tab(engine: EngineLike, mine: gr.State, shared: bool) -> tuple[gr.HTML, gr.HTML, list[Any]]:
    """Add, delete, rebuild. Returns the numbers, the shelf, and the events that change the library."""
    with gr.Row(elem_id="intake"):
        files = gr.File(
            label=sections.upload_label(engine.limits), file_count="multiple",
            file_types=[*VIDEO_EXTENSIONS], height=170, elem_id="upload", scale=3,
        )  # fmt: skip
        with gr.Column(scale=2, elem_id="facts"):
            numbers = html_block(elem_id="numbers")
            rebuild = gr.Button("Rebuild the index", size="sm", elem_id="rebuild", visible=not shared)
    outcome, shelf = html_block(elem_id="outcome"), html_block(elem_id="shelf")

    @reports_errors
    def add(paths: list[str], own: list[str], progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        report = state.add_uploads(engine, paths, get_upload_folder(), progress_report(progress))
        names = {clip.clip_id: clip.name for clip in engine.clips()}
        return [None, sections.report(report, names), [*own, *report.added]]

    @reports_errors
    def remove(own: list[str], event: gr.EventData) -> str:
        name = state.delete_clip(engine, event._data, own if shared else None)
        return sections.success(f"Deleted {name}.")

    @reports_errors
    def renew(progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        engine.rebuild(progress=progress_report(progress))
        return sections.success("The index holds every stored clip that can be read.")

    added = files.upload(add, [files, mine], [files, outcome, mine], show_progress_on=outcome, **INGEST)
    changes = [added, shelf.click(remove, mine, outcome, **INGEST)]
    if not shared:
        changes.append(rebuild.click(renew, None, outcome, **INGEST))
    return numbers, shelf, changes


def measure_tab(engine: EngineLike) -> None:
    """How well clips and captions find each other here."""
    html_block(sections.measure_intro())
    with gr.Row(elem_id="gauge"):
        file = gr.File(label=sections.CAPTIONS_LABEL, file_types=[".csv", ".tsv", ".json", ".jsonl"], height=150)
        go = gr.Button("Measure", variant="primary", elem_id="measure", scale=0)

    @reports_errors
    def measure(path: str | None) -> str:
        given = sections.uploaded([path], get_upload_folder())[0] if path else None
        return sections.measurement(engine.measure(given))

    go.click(measure, file, html_block(elem_id="measured"), show_progress="minimal", **MODEL)


def progress_report(progress: gr.Progress) -> Callable[[float, str], None]:
    """The engine's progress report, shown by Gradio."""
    return lambda fraction, what: progress(fraction, desc=what)


def build_ui(engine: EngineLike, shared: bool = False) -> gr.Blocks:
    """The page over an engine. ``shared``: visitors may delete only what they added themselves."""
    engine = state.cache_explanations(engine)
    with gr.Blocks(
        title="Find the clip. See why.", fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)
    ) as demo:
        html_block(sections.masthead())
        mine = gr.State([])
        with gr.Tabs() as tab_bar:
            with gr.Tab("Search", id="search"):
                examples, results, view, rank_again = search_tab(engine)
            with gr.Tab("Describe", id="describe"):
                picker, taken, opener = describe_tab(engine, mine)
            with gr.Tab("Concepts", id="concepts") as tab:
                rank_again(concepts_tab(engine, tab, tab_bar, opener, view, shared))
            with gr.Tab("Library", id="library"):
                numbers, shelf, changes = library_tab(engine, mine, shared)
            with gr.Tab("Measure", id="measure"):
                measure_tab(engine)
            with gr.Tab("About", id="about"):
                about = html_block()
        for function in api.functions(engine):
            gr.events.api(reports_errors(function), concurrency_id="model", concurrency_limit=1)

        def refresh(own: list[str]) -> list[str]:
            return state.library_parts(engine, own if shared else None)

        parts = [examples, numbers, shelf, about]
        demo.load(refresh, mine, parts, **QUIET)
        demo.load(lambda: html.wall(engine.clips()), None, results, **QUIET)
        demo.load(lambda: html.clip_picker(engine.clips()), None, picker, **QUIET)
        taken.then(refresh, mine, parts, **QUIET)
        for change in changes:
            change.then(refresh, mine, parts, **QUIET)
            change.then(lambda: html.clip_picker(engine.clips()), None, picker, **QUIET)
    return demo.queue(max_size=64)


def launch_options(engine: EngineLike) -> dict[str, Any]:
    """What ``launch`` needs: look, limits, and the one route that serves media by clip id."""
    return {
        "head": theme.head(), "theme": theme.theme(), "max_file_size": engine.limits.max_bytes,
        "app_kwargs": {"routes": api.routes(engine)}, "footer_links": ["api"], "run_history": False,
        "ssr_mode": False, "mcp_server": api.mcp_ready(),
    }  # fmt: skip


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; a Space is shared and open to all, a page of one's own only to this machine."""
    space = bool(os.environ.get("SPACE_ID"))
    parser = argparse.ArgumentParser(description="Text-video search that shows its reasons.")
    parser.add_argument("--library", type=Path, default=HERE / "library", help="folder of the library")
    parser.add_argument("--model", default="bundled", help="bundled, open_clip:NAME/PRETRAINED or a folder")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default: %(default)s")
    parser.add_argument(
        "--limits", nargs="*", action="extend", type=read_limit, default=[], metavar="NAME=X",
        help="what a file may cost, as `python -m vtr_demo limits` lists it",
    )  # fmt: skip
    parser.add_argument("--host", default="0.0.0.0" if space else "127.0.0.1")
    parser.add_argument("--port", type=int, default=None, help="default: the first free port from 7860")
    args = parser.parse_args(argv)
    args.shared = space
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Open the library and serve the page until interrupted; a failure is one sentence."""
    from vtr_demo.library.engine import Engine

    args = parse_args(argv)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("vtr_demo").setLevel(logging.INFO)
    log = logging.getLogger("vtr_demo.app")
    options: dict[str, Any] = {
        "device": args.device, "limits": LimitConfig(**dict(args.limits)),
        "progress": lambda share, what: log.info("%3.0f %% %s", 100 * share, what),
    }  # fmt: skip
    try:
        engine = Engine.open(args.library, args.model, samples=HERE / "sample_videos", **options)
    except LibraryError as error:
        try:
            engine = Engine.open(args.library, args.model, readonly=True, **options)
        except VtrError:
            sys.exit(str(error))
        log.warning("%s Until then the page shows the library as it is and changes nothing.", error)
    except VtrError as error:
        sys.exit(str(error))
    demo = build_ui(engine, shared=args.shared)
    try:
        demo.launch(server_name=args.host, server_port=args.port, **launch_options(engine))
    except OSError:
        port = f"port {args.port} is" if args.port else "all ports from 7860 on are"
        sys.exit(
            f"{args.host} cannot serve the page: {port} taken, or the address is not this machine's; "
            f"choose another --port or --host."
        )


if __name__ == "__main__":
    main()
