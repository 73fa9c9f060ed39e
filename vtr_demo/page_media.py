"""Pictures and films of the library over HTTP, by clip id: no path travels to or from a browser."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from vtr_demo.errors import VtrError
from vtr_demo.page_view import EngineLike

HEADERS = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


def route(engine: EngineLike) -> Route:
    """``/clips/ID/poster``, ``/clips/ID/moment-N`` and ``/clips/ID/media``; the engine alone says
    what belongs to an id."""

    def serve(request: Request) -> Response:
        kind = request.path_params["kind"]
        try:
            clip = engine.clip(request.path_params["clip_id"])
            if moment := re.fullmatch("moment-([0-9]{1,6})", kind):
                still = engine.still(clip.clip_id, int(moment[1]))
                return Response(still, media_type="image/jpeg", headers=HEADERS)
        except VtrError as error:
            return PlainTextResponse(str(error), status_code=404)
        files = {"poster": clip.poster, "media": clip.media}
        file = files.get(kind)
        if file is None or not file.is_file():
            return PlainTextResponse("There is no such file.", status_code=404)
        return FileResponse(file, headers=HEADERS)

    return Route("/clips/{clip_id}/{kind}", serve)
