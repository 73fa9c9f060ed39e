"""The demo's page and its API: `python app.py [--library DIR] [--model SPEC] [--host H] [--port P]`.

The engine ranks and explains, vtr_demo/page*.py turn its records into HTML, this file wires both to
Gradio. Importing it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from vtr_demo.errors import LibraryError
from vtr_demo.structures import TermWeights
from vtr_demo.ui import api, html, state, tabs, theme
from vtr_demo.ui.state import EngineLike, Panel, View
from vtr_demo.ui.theme import explanation, html_block, mixer

HERE = Path(__file__).parent
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
LIVE = MODEL | {"trigger_mode": "always_last", "show_progress": "hidden"}
INGEST = MODEL | {"concurrency_id": "ingest"}
Chooser = tuple[Callable[[str], list[Any]], list[Any]]  # what shows a clip by its id, and where
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def speaks(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the package's errors into a message on the page; nothing on it changes then."""
    return state.guarded(handler, partial(gr.Error, title="That did not work", print_exception=False))


def drawn(panel: Panel, same_clip: bool) -> list[Any]:
    """Outputs of one explanation; the player is left alone while its clip stays the same."""
    return [gr.skip() if same_clip and panel.player else panel.player, panel.summary, panel.body]


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
            sliders = mixer(defaults)
            reset = gr.Button("Reset weights", size="sm", elem_id="reset")
        with gr.Column(elem_id="found"):
            results = html_block(elem_id="results")
        pieces = explanation("panel")
    view = gr.State(View())
    inputs, outputs = [view, *sliders], [query, view, results, *pieces]

    def show(old: View, new: View, weights: Sequence[float]) -> list[Any]:
        new, ranked, panel = state.searched(engine, new, TermWeights(*weights))
        text = gr.skip() if new.text == old.text else new.text
        return [text, new, ranked, *drawn(panel, (old.clip, old.moment) == (new.clip, new.moment))]

    @speaks
    def ask(old: View, text: str, *weights: float) -> list[Any]:
        return show(View(text=text), old.asking(text), weights)

    @speaks
    def click(old: View, event: gr.EventData, *weights: float) -> list[Any]:
        new = old.after(event._data)
        if event._data.get("do") == "pick":
            panel = state.explained(engine, new, TermWeights(*weights))[1]
            return [gr.skip(), new, gr.skip(), gr.skip(), gr.skip(), panel.body]
        return show(old, new, weights)

    @speaks
    def reweigh(old: View, *weights: float) -> list[Any]:
        return show(old, old, weights) if old.text else [gr.skip()] * len(outputs)

    asked = [view, query, *sliders]
    gr.on([query.submit, go.click], ask, asked, outputs, show_progress="minimal", **MODEL)
    results.click(click, inputs, outputs, **LIVE).then(None, js=theme.TO_PANEL, **QUIET)
    for piece in (examples, *pieces):
        piece.click(click, inputs, outputs, **LIVE)
    gr.on([slider.input for slider in sliders], reweigh, inputs, outputs, **LIVE)
    cleared = reset.click(lambda old: [old.unmuted(), *defaults], view, inputs, **QUIET)
    cleared.then(reweigh, inputs, outputs, **LIVE)
    return examples, results, view, lambda event: event.then(reweigh, inputs, outputs, **LIVE)


def describe_tab(engine: EngineLike, mine: gr.State) -> tuple[gr.HTML, Any, Chooser]:
    """Video to text. Returns the picker, the event after which the library has changed, and the chooser."""
    with gr.Row(elem_id="bench"):
        with gr.Column(elem_id="source"):
            picker = html_block(elem_id="picker")
            upload = gr.UploadButton(
                "Upload a clip", file_types=html.VIDEO_TYPES, size="sm", elem_id="upload-one"
            )
            own = gr.Textbox(
                label="Your own sentences, one a line", lines=4, elem_id="own", max_length=20_000,
                placeholder="Leave empty to rank the library’s captions and some general sentences",
            )  # fmt: skip
            rank = gr.Button("Rank sentences", variant="primary", elem_id="rank")
        with gr.Column(elem_id="told"):
            ranked = html_block(
                '<p class="empty">Choose a clip to see which sentences fit it best.</p>', "ranked"
            )
        pieces = explanation("dpanel")
    view = gr.State(View())
    outputs = [view, picker, ranked, *pieces]

    def show(old: View, new: View, sentences: str) -> list[Any]:
        told = state.described(engine, new, sentences, engine.default_weights)
        new, panel = state.explained(engine, new, engine.default_weights)
        same = old.clip == new.clip and bool(old.text)
        return [new, html.clip_picker(engine.clips(), new.clip), told, *drawn(panel, same)]

    @speaks
    def click(old: View, sentences: str, event: gr.EventData) -> list[Any]:
        new = old.after(event._data)
        return show(old, new if new.clip else View(clip=old.clip), sentences)

    @speaks
    def take(file: str, own_ids: list[str], progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        paths = tabs.uploaded([file], get_upload_folder())
        found = engine.add(paths, names=[path.name for path in paths], progress=told_to(progress))
        if not found.added:
            known = f"{paths[0].name} is already in the library; choose it among the clips."
            raise LibraryError(found.failed[0][1] if found.failed else known)
        return [[*own_ids, *found.added], *show(View(), View(clip=found.added[0]), "")]

    for piece in (picker, ranked, *pieces):
        event = piece.click(click, [view, own], outputs, **LIVE)
        if piece in (picker, ranked):
            event.then(None, js=theme.TO_PANEL, **QUIET)
    again = speaks(lambda old, sentences: show(old, View(clip=old.clip), sentences))
    rank.click(again, [view, own], outputs, **LIVE)
    changed = upload.upload(take, [upload, mine], [mine, *outputs], **INGEST)
    return picker, changed, (lambda clip: show(View(), View(clip=clip), ""), outputs)


def concepts_tab(
    engine: EngineLike, tab: gr.Tab, tab_bar: gr.Tabs, chooser: Chooser, view: gr.State, shared: bool
) -> Any:
    """What the concepts hold, drawn when the tab is opened. A frame opens its clip under Describe; what is
    muted is muted in the ``view`` of the search. Returns the event after which that may have changed.

    ``shared``: their names are not a visitor's to change.
    """
    wall, drawn_for = html_block('<p class="empty">Reading the library …</p>', "gallery"), gr.State(None)

    @speaks
    def show(before: object, looked: View) -> list[Any]:
        now = (tuple(clip.clip_id for clip in engine.clips()), looked.muted)
        return [gr.skip() if now == before else state.concept_gallery(engine, looked, not shared), now]

    @speaks
    def go(looked: View, event: gr.EventData) -> list[Any]:
        stay = [gr.skip()] * (1 + len(chooser[1]))
        if not shared and state.renamed(engine, event._data):
            return [gr.skip(), *stay]
        if event._data.get("do") == "mute":
            return [looked.after(event._data), *stay]
        there = chooser[0](str(event._data.get("clip", "")))
        return [gr.skip(), gr.Tabs(selected="describe"), *there]

    tab.select(show, [drawn_for, view], [wall, drawn_for], **MODEL)
    gone = wall.click(go, view, [view, tab_bar, *chooser[1]], **MODEL)
    gone.then(None, js=theme.TO_TILE, **QUIET)
    return gone.then(show, [drawn_for, view], [wall, drawn_for], **MODEL)


def library_tab(engine: EngineLike, mine: gr.State, shared: bool) -> tuple[gr.HTML, gr.HTML, list[Any]]:
    """Add, delete, rebuild. Returns the numbers, the shelf, and the events that change the library."""
    with gr.Row(elem_id="intake"):
        files = gr.File(
            label=tabs.invitation(engine.limits), file_count="multiple",
            file_types=html.VIDEO_TYPES, height=170, elem_id="upload", scale=3,
        )  # fmt: skip
        with gr.Column(scale=2, elem_id="facts"):
            numbers = html_block(elem_id="numbers")
            rebuild = gr.Button("Rebuild the index", size="sm", elem_id="rebuild", visible=not shared)
    said, shelf = html_block(elem_id="said"), html_block(elem_id="shelf")

    @speaks
    def add(paths: list[str], own: list[str], progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        taken = tabs.uploaded(paths, get_upload_folder())
        found = engine.add(taken, names=[path.name for path in taken], progress=told_to(progress))
        names = {clip.clip_id: clip.name for clip in engine.clips()}
        return [None, tabs.report(found, names), [*own, *found.added]]

    @speaks
    def remove(own: list[str], event: gr.EventData) -> str:
        clip_id = str(event._data.get("clip", ""))
        if shared and clip_id not in own:
            raise LibraryError("On a shared page you can delete only the clips that you added in this visit.")
        name = engine.clip(clip_id).name
        engine.delete(clip_id)
        return tabs.good_news(f"Deleted {name}.")

    @speaks
    def renew(progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        engine.rebuild(progress=told_to(progress))
        return tabs.good_news("The index holds every stored clip that can be read.")

    added = files.upload(add, [files, mine], [files, said, mine], show_progress_on=said, **INGEST)
    changes = [added, shelf.click(remove, mine, said, **INGEST)]
    if not shared:
        changes.append(rebuild.click(renew, None, said, **INGEST))
    return numbers, shelf, changes


def measure_tab(engine: EngineLike) -> None:
    """How well clips and captions find each other here."""
    html_block(tabs.LESSON)
    with gr.Row(elem_id="gauge"):
        file = gr.File(label=tabs.INVITATION, file_types=[".csv", ".jsonl"], height=150)
        go = gr.Button("Measure", variant="primary", elem_id="measure", scale=0)

    @speaks
    def measure(path: str | None) -> str:
        given = tabs.uploaded([path], get_upload_folder())[0] if path else None
        return tabs.measured(engine.measure(given))

    go.click(measure, file, html_block(elem_id="measured"), show_progress="minimal", **MODEL)


def told_to(progress: gr.Progress) -> Callable[[float, str], None]:
    """The engine's progress report, shown by Gradio."""
    return lambda fraction, what: progress(fraction, desc=what)


def build_ui(engine: EngineLike, shared: bool = False) -> gr.Blocks:
    """The page over an engine. ``shared``: visitors may delete only what they added themselves."""
    engine = state.remembering(engine)
    with gr.Blocks(
        title="Find the clip. See why.", fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)
    ) as demo:
        html_block(tabs.masthead())
        mine = gr.State([])
        with gr.Tabs() as tab_bar:
            with gr.Tab("Search", id="search"):
                examples, results, view, rank_again = search_tab(engine)
            with gr.Tab("Describe", id="describe"):
                picker, taken, chooser = describe_tab(engine, mine)
            with gr.Tab("Concepts", id="concepts") as tab:
                rank_again(concepts_tab(engine, tab, tab_bar, chooser, view, shared))
            with gr.Tab("Library", id="library"):
                numbers, shelf, changes = library_tab(engine, mine, shared)
            with gr.Tab("Measure", id="measure"):
                measure_tab(engine)
            with gr.Tab("About", id="about"):
                about = html_block()
        for function in api.functions(engine):
            gr.events.api(speaks(function), concurrency_id="model", concurrency_limit=1)

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
        "app_kwargs": {"routes": [api.route(engine)]}, "footer_links": ["api"], "run_history": False,
        "ssr_mode": False, "mcp_server": api.mcp_ready(),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Open the library and serve the page until interrupted."""
    from vtr_demo.entrance import enter

    door = enter(argv, HERE)
    demo = build_ui(door.engine, shared=door.shared)
    demo.launch(server_name=door.host, server_port=door.port, **launch_options(door.engine))


if __name__ == "__main__":
    main()
