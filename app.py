"""The demo's page and its API: ``python app.py``; ``--help`` lists the options.

The engine ranks and explains, vtr_demo/ui turns its records into HTML, this file wires both to Gradio.
Importing it does nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import ipaddress
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from vtr_demo.config import SharedConfig
from vtr_demo.errors import LibraryError, VtrError
from vtr_demo.ui import api, html, mcp, sections, shelf, state, theme, tools, visitors
from vtr_demo.ui.shelf import Listing
from vtr_demo.ui.state import EngineLike
from vtr_demo.ui.theme import address_block, explanation_block, html_block, weight_sliders
from vtr_demo.ui.tour import tour
from vtr_demo.ui.turns import ALONE, OWN, BusyError, Turns
from vtr_demo.ui.view import MAX_SENTENCES, MAX_TEXT, Look, ViewState
from vtr_demo.video.decode import LimitConfig, read_limit
from vtr_demo.video.reader import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

log = logging.getLogger("vtr_demo.app")
HERE = Path(__file__).parent
CAPTION_FILES = [".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson"]
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None, "api_visibility": "private"}
LIVE = MODEL | {"trigger_mode": "always_last", "show_progress": "hidden"}
LONG = MODEL | {"concurrency_id": "long"}
EXAMPLE = MODEL | {"concurrency_id": "example"}
TURNS = ("model", "long", "example")
"""What visitors take turns in (``Page.process_api``), one at a time in each; Gradio's own queues know no visitors."""
INGEST = MODEL | {"concurrency_id": "ingest", "concurrency_limit": 1}
LISTING = LIVE | {"concurrency_id": "listing", "concurrency_limit": 1, "trigger_mode": "multiple"}
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
SHARED = SharedConfig.model_fields
SESSIONS = 500
"""Loaded pages whose state is kept, 215 kB each (Gradio keeps 10,000 by default)."""
QUERY = 5
"""Where the sentence stands among what a search updates."""


def still_wanted() -> bool:
    """Whether the client of the event that is being worked on still waits for it."""
    event, page = LocalContext.event_id.get(None), LocalContext.blocks.get(None)
    return page is None or is_wanted(page, event)


def is_wanted(page: gr.Blocks, event: str | None) -> bool:
    """Whether the client of an event still waits for it; True where there is none."""
    if event is None:
        return True
    running = [one for job in page._queue.active_jobs for one in job or ()]
    return any(one._id == event and one.alive for one in running)


def reports_errors(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the package's errors into a message on the page; nothing on it changes then."""
    return state.guarded(handler, partial(gr.Error, title="That did not work", print_exception=False))


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
        more = html_block(html.ask_more(ViewState(), None), "ask-mix")
    examples = html_block(elem_id="examples")
    with gr.Row(elem_id="desk"):
        with gr.Column(elem_id="rail"):
            html_block(html.render("search", "rail"))
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
        shown = [new, ranked, panel, html.ask_more(new, state.example_of(engine, new)), html.address("search", new)]
        if not placing:
            return [*shown, new.text, *[gr.skip()] * len(sliders)]
        return [*shown, new.text, *(new.weights or (*defaults.levels(), defaults.concepts))]

    def ask(old: ViewState, text: str, *weights: float) -> list[Any]:
        return show(old.asking(text).weighing(weights, defaults))

    refused = in_place(3, len(outputs), lambda old, *_: html.ask_more(old, state.example_of(engine, old)))

    @refused
    def click(old: ViewState, event: gr.EventData) -> list[Any]:
        return show(old.after(event._data))

    def reweigh(old: ViewState, *weights: float) -> list[Any]:
        new = old.weighing(weights, defaults)
        return show(new) if new.asks else [new, *[gr.skip()] * (len(outputs) - 1)]

    @refused
    def take(old: ViewState, path: str) -> list[Any]:
        read = state.read_example(engine, path, get_upload_folder())
        return show(old.after({"do": "like", "clip": read}))

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
        clip_id = state.add_upload(engine, file, get_upload_folder(), progress_report(progress))
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
    with gr.Row(elem_id="intake"):
        files = gr.File(
            label=shelf.upload_label(engine.limits), file_count="multiple",
            file_types=[*VIDEO_EXTENSIONS], height=170, elem_id="upload", scale=3,
        )  # fmt: skip
        with gr.Column(scale=2, elem_id="facts"):
            numbers = html_block(elem_id="numbers")
            with gr.Row(elem_id="tools"):
                table = gr.UploadButton("Import captions", file_types=CAPTION_FILES, size="sm", elem_id="import")
                rebuild = gr.Button("Rebuild the index", size="sm", elem_id="rebuild", visible=not shared)
    outcome, clips = html_block(elem_id="outcome"), html_block(elem_id="shelf", script=theme.SHELF)
    form = html_block(shelf.editor(), "editor")
    listing, changes = gr.State(Listing()), gr.State(0)
    told = [outcome, changes]

    def own() -> list[str] | None:
        return [clip.clip_id for clip in engine.uploads()] if shared else None

    @in_place(1, 4)
    def add(paths: list[str], count: int, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        report = state.add_uploads(engine, paths, get_upload_folder(), progress_report(progress))
        return [None, shelf.report(engine, report), count + 1, Listing(new=report.added)]

    @in_place(0, 2)
    def take_captions(path: str, count: int) -> list[Any]:
        (file,) = sections.uploaded([path], get_upload_folder())
        return [shelf.imported(engine.import_captions(file, own())), count + 1]

    @in_place(0, 4)
    def click(old: Listing, count: int, event: gr.EventData) -> list[Any]:
        said = shelf.act(engine, event._data, own())
        if said is None:
            return [gr.skip(), gr.skip(), new := old.after(event._data), shelf.shelf(engine, new, own())]
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
    html_block(sections.measure_intro())
    with gr.Row(elem_id="gauge"):
        file = gr.File(label=sections.CAPTIONS_LABEL, file_types=CAPTION_FILES, height=150)
        go = gr.Button("Measure", variant="primary", elem_id="measure", scale=0)

    @in_place(0, 1)
    def measure(path: str | None) -> str:
        given = sections.uploaded([path], get_upload_folder())[0] if path else None
        return sections.measurement(engine.measure(given))

    go.click(measure, file, html_block(elem_id="measured"), show_progress="minimal", **LONG)


def arrive(search: TabParts, describe: TabParts, address: object, first: bool = True) -> list[Any]:
    """Show what an address names: the tab, and the two tabs that have a view; ``first``: on a page just loaded."""
    tab, view, problem = state.read_address(str(address or ""))
    view = replace(view, look=Look())  # the browser's alone, so no link of the page to another clip has it
    found, described = [gr.skip()] * len(search.outputs), [gr.skip()] * len(describe.outputs)
    if first or tab == "search":
        found = search.show(view if tab == "search" else ViewState(), True)
    if first or tab == "describe":
        described = describe.show(view if tab == "describe" else ViewState())
    if first and tab != "describe":
        described[-1] = gr.skip()  # one address, that of the tab in front
    if problem:
        found[1] = html.problem(problem) + found[1]
    return [gr.Tabs(selected=tab), *found, *described]


def progress_report(progress: gr.Progress) -> Callable[[float, str], None]:
    """The engine's progress report, shown by Gradio."""
    return lambda fraction, what: progress(fraction, desc=what)


class Page(gr.Blocks):
    """Blocks whose functions for programs may be called with fewer arguments; the others have their defaults.

    Visitors take turns, told apart by ``visitor_of`` a request.
    """

    visitor_of: Callable[[Any], str]
    turns: dict[str, Turns]

    async def process_api(
        self, block_fn: Any, inputs: Any, state: Any = None, request: Any = None, *args: Any, **rest: Any
    ) -> Any:
        """Work on an event once it is its visitor's turn."""
        event = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        turns = self.turns.get(event.concurrency_id)
        wanted = partial(is_wanted, self, rest.get("event_id"))
        try:
            async with turns.turn(self.visitor_of(request), wanted) if turns else nullcontext():
                return await super().process_api(block_fn, inputs, state, request, *args, **rest)
        except BusyError as error:
            raise gr.Error(str(error), title="Busy", print_exception=False) from error
        finally:
            if getattr(event, "api_visibility", "") == "public":  # else 215 kB of state stay for each call of a program
                for kept in (self.state_holder.session_data, self.state_holder.time_last_used):
                    kept.pop(str(rest.get("session_hash")), None)
                self._queue.event_ids_to_events.pop(str(rest.get("event_id")), None)

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """Check, and fill up, what a client sends; a message where it is no list."""
        if not isinstance(inputs, list):
            raise gr.Error("data must be a list of the arguments in their order.", print_exception=False)
        if block_fn.api_visibility == "public":
            inputs += [None] * (len(block_fn.inputs) - len(inputs))
        super().validate_inputs(block_fn, inputs)


def log_progress(share: float, what: str) -> None:
    """Say on the terminal how far something is."""
    log.info("%3.0f %% %s", 100 * share, what)


class Filling:
    """Indexes the sample clips into an empty library while the page is served."""

    def __init__(self, engine: Any, folder: Path) -> None:
        """Begin at once, in a thread."""
        self._engine, self._folder, self.share = engine, folder, 0.0
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self) -> None:
        def told(share: float, what: str) -> None:
            self.share = min(share, 0.99)
            log_progress(share, what)

        try:
            self._engine.add_samples(self._folder, progress=told)
        except VtrError as error:
            log.warning("The sample clips were not added: %s", error)
        finally:
            self.share = 1.0

    def note(self) -> str:
        """What the page says of it; empty once it is done."""
        if self.share >= 1:
            return ""
        text = (
            f"First start: the sample clips are being read, {self.share:.0%} done. Those that are here can be searched."
        )
        return html.render("macros", "notice", text=text)


def build_ui(
    engine: EngineLike, sharing: SharedConfig | None = None, filling: Callable[[], str] = lambda: ""
) -> gr.Blocks:
    """The page over an engine. ``sharing``: strangers may use it, each with their own clips, within its limits;
    ``filling`` tells how far the sample clips are, empty where they are all there."""
    tokens = visitors.tokens_of(engine, sharing) if sharing else None
    engine, shared = page_engine(state.cache_explanations(engine), sharing), sharing is not None
    with Page(
        title="Find the clip. See why.", fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)
    ) as demo:
        demo.turns = {name: Turns(OWN if sharing else ALONE) for name in TURNS}
        demo.visitor_of = partial(visitors.asker, tokens)
        with gr.Row(elem_id="top"):
            html_block(sections.masthead(sharing))
            address = address_block()
        here, news, clock = gr.Textbox(visible=False), html_block(elem_id="news"), gr.Timer(3, active=False)
        with gr.Tabs() as tab_bar:
            with gr.Tab("Search", id="search"):
                guide = html_block(elem_id="tour")
                examples, search, rank_again = search_tab(engine, address)
            with gr.Tab("Describe", id="describe"):
                picker, taken, describe = describe_tab(engine, address)
            with gr.Tab("Concepts", id="concepts") as tab:
                rank_again(concepts_tab(engine, tab, tab_bar, describe, search.view, shared))
            with gr.Tab("Library", id="library"):
                numbers, clips, listing, changes = library_tab(engine, shared)
            with gr.Tab("Measure", id="measure"):
                measure_tab(engine)
            with gr.Tab("About", id="about"):
                about = html_block()
        for function in tools.functions(engine, page_address):
            group = "long" if function.__name__ == "rank_captions" else "model"
            gr.events.api(reports_errors(function), concurrency_id=group, concurrency_limit=None)

        def refresh(listed: Listing) -> list[str]:
            own = [clip.clip_id for clip in engine.uploads()] if shared else None
            return [*state.library_parts(engine), shelf.shelf(engine, listed, own)]

        def follow(found: ViewState, described: ViewState) -> list[Any]:
            shown = search.show(found)
            shown[QUERY] = gr.skip()  # where somebody may be writing
            return [state.clip_picker(engine, described), *shown]

        parts = [examples, numbers, about, clips]
        demo.load(refresh, listing, parts, **QUIET)
        places = [tab_bar, *search.outputs, *describe.outputs]

        def travel(event: gr.EventData) -> list[Any]:
            return arrive(search, describe, event._data.get("address"), first=False)

        demo.load(partial(arrive, search, describe), here, places, js=theme.ARRIVE, **LIVE)
        address.click(travel, None, places, **LIVE).then(None, js=theme.SHOW_ADDRESS, **QUIET)
        taken.then(lambda count: count + 1, changes, changes, **QUIET)
        changed = changes.change(refresh, listing, parts, **QUIET)
        changed.then(follow, [search.view, describe.view], [picker, *search.outputs], **LIVE)

        @in_place(0, 1)
        def guided(event: gr.EventData) -> str:
            return tour(engine, event._data)

        guide.click(guided, None, guide, **LIVE)

        def tick(count: int, before: int) -> list[Any]:
            said, total = filling(), engine.list(0, 0).total
            seen = [said, gr.Timer(active=bool(said)), total]
            changed = gr.skip() if before in (-1, total) else count + 1
            return [*seen, changed, gr.skip() if said else tour(engine)]

        seen = gr.State(-1)
        for event in (demo.load, clock.tick):
            event(tick, [changes, seen], [news, clock, seen, changes, guide], **QUIET)
    return demo.queue(max_size=64)


def page_engine(engine: EngineLike, sharing: SharedConfig | None) -> EngineLike:
    """The engine as the visitor of the current request may use it, for as long as they wait."""
    return visitors.engine_for(engine, sharing, lambda: LocalContext.request.get(None), still_wanted)


def page_address() -> str:
    """The page's address as the client of the current request knows it."""
    return visitors.page_address(LocalContext.request.get(None))


def launch_options(
    engine: EngineLike, sharing: SharedConfig | None = None, hosts: Sequence[str] = ()
) -> dict[str, Any]:
    """What ``launch`` needs: look, limits, the routes that serve media by clip id, and the guard before them all.

    hosts: names, beside those of this machine and addresses in numbers, under which the page is served.
    """
    tokens = visitors.tokens_of(engine, sharing) if sharing else None
    own = page_engine(engine, sharing)
    server = mcp.open_mcp(tools.functions(own, page_address), partial(visitors.asker, tokens, None))
    served = {"routes": api.routes(own, server)}
    guard = {"middleware": [Middleware(visitors.Guard, hosts=hosts, tokens=tokens)]}
    running = [server.serving] if server else []
    if sharing:
        running.append(partial(visitors.purging, engine, sharing))
    ends = {"lifespan": mcp.together(*running)}
    return {
        "head": theme.head(), "theme": theme.theme(), "max_file_size": engine.limits.max_bytes,
        "app_kwargs": {**served, **guard, **ends, "openapi_url": None}, "footer_links": ["api"], "run_history": False,
        "ssr_mode": False, "mcp_server": False, "enable_monitoring": False,
        "state_session_capacity": SESSIONS,
        "_frontend": False,  # else a page whose first answer takes over three seconds, on a busy machine, ends
    }  # fmt: skip


def is_local(host: str) -> bool:
    """Whether a page that is served on ``host`` can be reached from this machine alone."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


def read_any_limit(text: str) -> tuple[str, float]:
    """Read NAME=X, a limit of a file or of a shared page."""
    name, _, value = text.partition("=")
    if name not in SHARED:
        return read_limit(text)
    try:
        changed: Any = {name: float(value) if name == "kept_hours" else int(value)}
        return name, getattr(SharedConfig(**changed), name)
    except (ValueError, VtrError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no limit such as {name}=10 ({error}).") from error


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; a Space is shared and open to all, a page of one's own only to this machine."""
    space = bool(os.environ.get("SPACE_ID"))
    parser = argparse.ArgumentParser(description="Text-video search that shows its reasons.")
    parser.add_argument("--library", type=Path, default=HERE / "library", help="folder of the library")
    parser.add_argument("--model", default="bundled", help="bundled, open_clip:NAME/TAG or ORG/REPO, or a folder")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default: %(default)s")
    vectors_help = "keep the vectors in Milvus; default: in the library"
    parser.add_argument("--vectors", default="", metavar="milvus://HOST:PORT/COLLECTION", help=vectors_help)
    parser.add_argument(
        "--limits", nargs="*", action="extend", type=read_any_limit, default=[], metavar="NAME=X",
        help="what a file may cost and a shared page allows, as `python -m vtr_demo limits` lists it",
    )  # fmt: skip
    parser.add_argument("--host", default="0.0.0.0" if space else "127.0.0.1")
    parser.add_argument("--port", type=port_number, default=None, help="default: the first free port from 7860")
    parser.add_argument(
        "--shared", action=argparse.BooleanOptionalAction,
        help="strangers use the page: each sees, and deletes, only their own uploads, within quotas, for a day; "
        "default: on a Space, and where others than this machine can reach the page",
    )  # fmt: skip
    parser.add_argument(
        "--allow-host", nargs="*", action="extend", default=[], metavar="NAME",
        help="further names under which the page is served, such as that of a proxy; addresses in numbers always are",
    )  # fmt: skip
    args = parser.parse_args(argv)
    args.shared = space or not is_local(args.host) if args.shared is None else args.shared
    own_names = (args.host, socket.gethostname(), socket.getfqdn(), *os.environ.get("SPACE_HOST", "").split(","))
    args.allow_host += [name for name in own_names if name]
    return args


def port_number(text: str) -> int:
    """Read a port of the command line."""
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; choose one from 1 to 65535")
    return int(text)


def require_port(host: str, port: int) -> None:
    """End the program with a sentence where the page could not be served there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        sys.exit(f"{host} cannot serve the page on port {port} ({error.strerror}); choose another --port or --host.")


def settle_in() -> None:
    """Fit the process to where it runs."""
    # Gradio sums up the last 10,000 events in a table twice an event, for a monitoring page that is off here.
    os.environ |= {"GRADIO_ANALYTICS_MAX_EVENTS": "1", "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**9)}
    with suppress(AttributeError, OSError):  # glibc alone has it
        ctypes.CDLL(None).mallopt(-8, 2)  # M_ARENA_MAX: a heap for each thread keeps a gigabyte more than is used
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces  # there, and nowhere else

        # Such a Space must name what uses its GPU. This computes on the CPU: a search takes less than the wait.
        spaces.GPU(lambda: None)


def main(argv: Sequence[str] | None = None) -> None:
    """Open the library and serve the page until interrupted; a failure is one sentence."""
    from vtr_demo.library.engine import Engine

    args = parse_args(argv)
    settle_in()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("vtr_demo").setLevel(logging.INFO)
    if args.port:
        require_port(args.host, args.port)  # before a model is opened, which takes a while
    options: dict[str, Any] = {
        "device": args.device, "vectors": args.vectors,
        "limits": LimitConfig(**{k: v for k, v in args.limits if k not in SHARED}),
        "progress": log_progress,
    }  # fmt: skip
    try:
        engine = Engine.open(args.library, args.model, **options)
    except LibraryError as error:
        try:
            engine = Engine.open(args.library, args.model, **(options := {**options, "readonly": True}))
        except VtrError:
            sys.exit(str(error))
        log.warning("%s Until then the page shows the library as it is and changes nothing.", error)
    except VtrError as error:
        sys.exit(str(error))
    sharing = SharedConfig(**{k: v for k, v in args.limits if k in SHARED}) if args.shared else None
    filling = Filling(engine, HERE / "sample_videos") if engine.wants_samples and not options.get("readonly") else None
    demo = build_ui(engine, sharing, filling.note if filling else lambda: "")
    try:
        served = launch_options(engine, sharing, args.allow_host)
        demo.launch(server_name=args.host, server_port=args.port, **served)
    except OSError:
        port = f"port {args.port} is" if args.port else "all ports from 7860 on are"
        sys.exit(
            f"{args.host} cannot serve the page: {port} taken, or the address is not this machine's; "
            f"choose another --port or --host."
        )


if __name__ == "__main__":
    main()
