"""The page: its tabs together, whose event is worked on next, and all that serving it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, cast

import gradio as gr
from gradio.context import LocalContext
from starlette.middleware import Middleware

from vtr_demo.config import SharedConfig
from vtr_demo.errors import ConfigError, while_wanted
from vtr_demo.ui import api, html, shelf, state, tabs, theme, tools, visitors
from vtr_demo.ui.address import decode
from vtr_demo.ui.html import render
from vtr_demo.ui.mcp import McpServer
from vtr_demo.ui.shelf import Listing
from vtr_demo.ui.state import CachedExplanations, EngineLike
from vtr_demo.ui.tabs import LIVE, QUIET, TURNS, TabParts, html_block, in_place, reports_errors
from vtr_demo.ui.tour import tour
from vtr_demo.ui.turns import ALONE, OWN, BusyError, Turns
from vtr_demo.ui.view import Look, ViewState

SESSIONS = 500
"""Loaded pages whose state is kept, 215 kB each (Gradio keeps 10,000 by default)."""
QUERY = 5
"""Where the sentence stands among what a search updates."""


class Page(gr.Blocks):
    """Blocks whose functions for programs may be called with fewer arguments; the others have their defaults.

    Visitors take turns, whichever way they ask. ``engine`` is ``library`` as they may use it; ``tokens`` tell them
    apart on a page that strangers share, within the limits of ``sharing``.
    """

    engine: EngineLike
    library: EngineLike
    sharing: SharedConfig | None
    tokens: visitors.Tokens | None
    turns: dict[str, Turns]
    functions: tuple[Callable[..., Any], ...]

    def turn(
        self, group: str, request: Any = None, wanted: Callable[[], bool] = lambda: True
    ) -> AbstractAsyncContextManager[None]:
        """The turn of a request's visitor in a group; request: as for ``visitors.asker``."""
        turns = self.turns.get(group)
        return turns.turn(visitors.asker(self.tokens, request), wanted) if turns else nullcontext()

    def is_wanted(self, event: str | None) -> bool:
        """Whether the client of an event still waits for it; True where there is none."""
        running = [one for job in self._queue.active_jobs for one in job or ()]
        return event is None or any(one._id == event and one.alive for one in running)

    async def process_api(
        self, block_fn: Any, inputs: Any, state: Any = None, request: Any = None, *args: Any, **rest: Any
    ) -> Any:
        """Work on an event once it is its visitor's turn, for as long as its client waits."""
        event = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        wanted = partial(self.is_wanted, rest.get("event_id"))
        try:
            async with self.turn(event.concurrency_id, request, wanted):
                with while_wanted(wanted):
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


def build_page(
    engine: EngineLike, sharing: SharedConfig | None = None, filling: Callable[[], str] = lambda: ""
) -> Page:
    """The page over an engine. ``sharing``: strangers may use it, each with their own clips, within its limits;
    ``filling`` tells how far the sample clips are, empty where they are all there."""
    shared = sharing is not None
    with Page(
        title="Find the clip. See why.", fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)
    ) as page:
        page.library, page.sharing = engine, sharing
        page.tokens = visitors.tokens_of(engine, sharing) if sharing else None
        page.turns = {name: Turns(OWN if sharing else ALONE) for name in TURNS}
        page.engine = engine = _for_visitors(engine, sharing, page.tokens)
        page.functions = tools.functions(engine, lambda: visitors.page_address(_request()))
        with gr.Row(elem_id="top"):
            html_block(render("about", "masthead", sharing=sharing))
            address = html_block(elem_id="address", script=theme.ADDRESS)
        here, news = gr.Textbox(visible=False), html_block(elem_id="news")
        with gr.Tabs() as tab_bar:
            with gr.Tab("Search", id="search"):
                guide = html_block(elem_id="tour")
                examples, search, rank_again = tabs.search_tab(engine, address)
            with gr.Tab("Describe", id="describe"):
                picker, taken, describe = tabs.describe_tab(engine, address)
            with gr.Tab("Concepts", id="concepts") as tab:
                rank_again(tabs.concepts_tab(engine, tab, tab_bar, describe, search.view, shared))
            with gr.Tab("Library", id="library"):
                numbers, clips, listing, changes = tabs.library_tab(engine, shared)
            with gr.Tab("Measure", id="measure"):
                tabs.measure_tab(engine)
            with gr.Tab("About", id="about"):
                about = html_block()
        for function in page.functions:
            gr.events.api(reports_errors(function), concurrency_id=tools.group(function), concurrency_limit=None)

        def refresh(listed: Listing, count: int = 1) -> list[Any]:
            if not count:  # nothing has changed: a page that is loaded reports so, too
                return [gr.skip()] * len(parts)
            return [*state.library_parts(engine), shelf.shelf(engine, listed, shared)]

        def follow(count: int, searched: ViewState, described: ViewState) -> list[Any]:
            if not count:
                return [gr.skip()] * (1 + len(search.outputs))
            shown = search.show(searched)
            shown[QUERY] = gr.skip()  # where somebody may be writing
            return [state.clip_picker(engine, described), *shown]

        parts = [examples, numbers, about, clips]
        page.load(refresh, listing, parts, **QUIET)
        places = [tab_bar, *search.outputs, *describe.outputs]

        def travel(event: gr.EventData) -> list[Any]:
            return arrive(search, describe, event._data.get("address"), first=False)

        page.load(partial(arrive, search, describe), here, places, js=theme.ARRIVE, **LIVE)
        address.click(travel, None, places, **LIVE).then(None, js=theme.SHOW_ADDRESS, **QUIET)
        taken.then(lambda count: count + 1, changes, changes, **QUIET)
        changed = changes.change(refresh, [listing, changes], parts, **QUIET)
        changed.then(follow, [changes, search.view, describe.view], [picker, *search.outputs], **LIVE)
        guide_visitors(page, news, guide, changes, filling)
    page.queue(max_size=64)
    return page


def guide_visitors(page: Page, news: gr.HTML, guide: gr.HTML, changes: gr.State, filling: Callable[[], str]) -> None:
    """Offer the tour once the sample clips are there, and show how far they are until then."""
    clock, before = gr.Timer(3, active=False), gr.State(-1)

    @in_place(0, 1)
    def click(event: gr.EventData) -> str:
        return tour(page.engine, event._data)

    def tick(count: int, before: int) -> list[Any]:
        note, total = filling(), page.engine.list(0, 0).total
        changed = gr.skip() if before in (-1, total) else count + 1
        return [note, gr.Timer(active=bool(note)), total, changed, gr.skip() if note else tour(page.engine)]

    guide.click(click, None, guide, **LIVE)
    for event in (page.load, clock.tick):
        event(tick, [changes, before], [news, clock, before, changes, guide], **QUIET)


def arrive(search: TabParts, describe: TabParts, address: object, first: bool = True) -> list[Any]:
    """Show what an address names: the tab, and the two tabs that have a view; ``first``: on a page just loaded."""
    tab, view, problem = "search", ViewState(), ""
    try:
        tab, view = decode(str(address or ""))
    except ConfigError as error:
        problem = html.problem(f"{error} The page shows its start instead.")
    view = replace(view, look=Look())  # the browser's alone, so no link of the page to another clip has it
    searched, described = [gr.skip()] * len(search.outputs), [gr.skip()] * len(describe.outputs)
    if first or tab == "search":
        searched = search.show(view if tab == "search" else ViewState(), True)
    if first or tab == "describe":
        described = describe.show(view if tab == "describe" else ViewState())
    if first and tab != "describe":
        described[-1] = gr.skip()  # one address, that of the tab in front
    if problem:
        searched[1] = problem + searched[1]
    return [gr.Tabs(selected=tab), *searched, *described]


def _request() -> Any:
    """The request of the event that is worked on; None outside of one."""
    return LocalContext.request.get(None)


def _for_visitors(engine: EngineLike, sharing: SharedConfig | None, tokens: visitors.Tokens | None) -> EngineLike:
    """The engine as the visitor of the current request may use it; explanations are kept."""
    kept: Any = CachedExplanations(engine)
    if sharing and tokens:
        kept = visitors.VisitorEngine(kept, sharing, lambda: visitors.current_visitor(tokens, _request()))
    return cast(EngineLike, kept)


def launch_options(page: Page, hosts: Sequence[str] = ()) -> dict[str, Any]:
    """What ``launch`` needs: look, limits, the routes that serve media by clip id, and the guard before them all.

    hosts: names, beside those of this machine and addresses in numbers, under which the page is served.
    """
    try:
        server = McpServer(page.functions, page.turn)
    except ImportError:  # pip install "gradio[mcp]"
        server = None

    @asynccontextmanager
    async def running(_: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if server:
                await stack.enter_async_context(server.serving())
            if page.sharing:
                await stack.enter_async_context(visitors.purging(page.library, page.sharing))
            yield

    app_options = {
        "routes": api.routes(page.engine, server),
        "middleware": [Middleware(visitors.Guard, hosts=hosts, tokens=page.tokens)],
        "lifespan": running,
        "openapi_url": None,
    }
    return {
        "head": theme.head(), "theme": theme.theme(), "max_file_size": page.engine.limits.max_bytes,
        "app_kwargs": app_options, "footer_links": ["api"], "run_history": False,
        "ssr_mode": False, "mcp_server": False, "enable_monitoring": False,
        "state_session_capacity": SESSIONS,
        "_frontend": False,  # else a page whose first answer takes over three seconds, on a busy machine, ends
    }  # fmt: skip
