"""Routes beside the page: the library's pictures and films by id, files to keep, and the MCP server."""

from __future__ import annotations

import csv
import io
import json
import mimetypes
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from vtr_demo.errors import ConfigError, VtrError
from vtr_demo.results import ClipView, Explanation, confidence_word
from vtr_demo.structures import TERMS
from vtr_demo.ui.address import decode
from vtr_demo.ui.html import Card, display_name
from vtr_demo.ui.mcp import McpServer
from vtr_demo.ui.state import EngineLike, list_hits
from vtr_demo.viz.figures import document, draw

# --------------------------------------------------------------------------- pictures, films and files to keep
HEADERS = {
    "Cache-Control": "private, max-age=3600",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; media-src 'self'; img-src 'self'",
}
MEDIA_TYPES = {"png": "image/png", "svg": "image/svg+xml", "json": "application/json", "csv": "text/csv; charset=utf-8"}
PATIENCE_S = 20
"""How long a file waits for those before it; one is made at a time, so that searches have the processor."""
FORMULA = tuple("=+-@\t\r")
"""What a formula starts with."""

MCP = "/gradio_api/mcp"
"""Where clients look for the tools of a Gradio page."""


def routes(engine: EngineLike, mcp: McpServer | None = None) -> list[BaseRoute]:
    """Serve what belongs to a clip by its id, and files to keep of what a query says; the engine alone says
    what belongs to an id."""
    making = threading.Semaphore(1)

    def serve(request: Request) -> Response:
        kind = request.path_params["kind"]
        try:
            clip = engine.clip(request.path_params["clip_id"])
            if moment := re.fullmatch("moment-([0-9]{1,6})", kind):
                still = engine.still(clip.clip_id, int(moment[1]))
                return Response(still, media_type="image/jpeg", headers=HEADERS)
            if kind in FILES:
                return keep(kind, f"{Path(clip.name).stem}-{kind}", lambda: explained(request, clip, kind))
            if kind not in ("media", "poster"):
                return PlainTextResponse("There is no such file.", status_code=404)
            file = engine.media(clip.clip_id) if kind == "media" else engine.poster(clip.clip_id)
        except VtrError as error:
            return PlainTextResponse(str(error), status_code=404)
        known = mimetypes.guess_type(file.name)[0] or ""  # never a page: a film can be one as well
        media_type = known if known.startswith(("video/", "image/")) and "svg" not in known else "video/mp4"
        return FileResponse(file, headers=HEADERS, media_type=media_type)

    def explained(request: Request, clip: ClipView, kind: str) -> bytes:
        _, view = decode(request.url.query)
        weights = view.term_weights(engine.default_weights)
        why = engine.explain(view.text, clip.clip_id, view.moment, weights, view.struck, mix=view.mix)
        return FILES[kind](why, clip)

    def results(request: Request) -> Response:
        def table() -> bytes:
            return results_csv(list_hits(engine, decode(request.url.query)[1])[1])

        return keep("results.csv", "results.csv", table)

    def keep(kind: str, name: str, make: Callable[[], bytes]) -> Response:
        if not making.acquire(timeout=PATIENCE_S):
            return PlainTextResponse("Others are waiting for files; try again in a minute.", status_code=503)
        try:
            content = make()
        except VtrError as error:
            return PlainTextResponse(str(error), status_code=400)
        finally:
            making.release()
        headers = HEADERS | {"Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}"}
        return Response(content, media_type=MEDIA_TYPES[kind.rpartition(".")[2]], headers=headers)

    tools = [Route(f"{MCP}/schema", lambda _: JSONResponse(mcp.listing)), Mount(MCP, mcp)] if mcp else []
    return [Route("/clips/{clip_id}/{kind}", serve), Route("/results.csv", results), *tools]


def results_csv(cards: Sequence[Card]) -> bytes:
    """The hits that a page lists, in its order, with the parts of their scores."""
    header = ["rank", "id", "name", "moment", "start_s", "end_s", "score", *TERMS, "confidence", "match"]
    rows = [
        [card.rank, hit.clip_id, hit.name, hit.moment, hit.start_s, hit.end_s, hit.score]
        + [hit.terms.get(name, 0.0) for name in TERMS]
        + (["", ""] if hit.confidence is None else [hit.confidence, confidence_word(hit.confidence)])
        for card in cards
        for hit in [card.hit]
    ]
    return _csv(header, rows)


def concepts_csv(why: Explanation, soft: bool) -> bytes:
    """The concept allocation, a row a token (words, then patches by frame) and a column a concept: 0 and 1, or
    the probabilities."""
    alignment, count = why.alignment, why.alignment.concept_count
    words, patches = alignment.word_soft, alignment.patch_soft
    if not soft:
        words, patches = (
            held[..., None] == np.arange(count) for held in (alignment.word_concept, alignment.patch_concept)
        )
    if words is None or patches is None:
        raise ConfigError("This explanation holds no probabilities; take the hard matrix.")
    header = ["token", "second", "row", "column", *(f"{k + 1} {name}" for k, name in enumerate(why.concept_names))]
    rows: list[list[Any]] = [[word, "", "", ""] for word in alignment.words]
    for second in alignment.seconds.round(3).tolist():
        rows.append(["whole frame", second, "", ""])
        rows += [["patch", second, row + 1, column + 1] for row, column in np.ndindex(*alignment.grid)]
    shares = np.concatenate([words, patches.reshape(-1, count)]).astype(float).round(7).tolist()
    return _csv(header, [[*row, *share] for row, share in zip(rows, shares, strict=True)])


def _csv(header: list[str], rows: list[list[Any]]) -> bytes:
    """UTF-8 with its mark, which spreadsheets need; a text that they would take for a formula gets a quote."""
    stream = io.StringIO()
    table = csv.writer(stream)
    for row in (header, *rows):
        table.writerow([f"'{cell}" if str(cell)[:1] in FORMULA and isinstance(cell, str) else cell for cell in row])
    return stream.getvalue().encode("utf-8-sig")


FILES: dict[str, Callable[[Explanation, ClipView], bytes]] = {
    "explanation.png": lambda why, clip: draw(why, display_name(clip.name)),
    "explanation.svg": lambda why, clip: draw(why, display_name(clip.name), kind="svg"),
    "explanation.json": lambda why, clip: json.dumps(document(why, clip.name), ensure_ascii=False).encode(),
    "concepts-hard.csv": lambda why, _: concepts_csv(why, soft=False),
    "concepts-soft.csv": lambda why, _: concepts_csv(why, soft=True),
}
"""What can be taken away of an explanation, by its file name."""
