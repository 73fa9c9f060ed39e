"""Four functions for scripts and agents, typed, JSON in and out, and the library's pictures and films by id.

The functions' docstrings become the descriptions of the API and of the MCP tools.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from vtr_demo.errors import ConfigError, VtrError
from vtr_demo.structures import Mix, TermWeights
from vtr_demo.ui.state import EngineLike
from vtr_demo.viz.figures import match_json

MAX_HITS = 50


def functions(engine: EngineLike) -> tuple[Callable[..., Any], ...]:
    """search_videos, rank_captions, explain_match and library_status over one engine."""

    def term_weights(weights: dict[str, float] | None, muted: list[str] | None) -> TermWeights:
        return engine.weigh(weights or {}, muted or ())

    def search_videos(
        text: str = "",
        k: int = 8,
        weights: dict[str, float] | None = None,
        muted: list[str] | None = None,
        like: str = "",
        like_moment: int = -1,
        mix: float = 0.5,
        exclude: list[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Find the clips of the library that fit a sentence, are like an example or both, best first, with
        the parts of each score.

        Args:
            text: A sentence about what happens in the clip; what it denies ("without people") counts against
                a clip. May be empty where there is an example or something to exclude.
            k: How many clips to return, 1 to 50.
            weights: Factors for some of global, entity, action, relationship and concepts, from 0; the
                others keep those of library_status.
            muted: Names of concepts that shall add nothing, as given by library_status.
            like: The id of a clip to find the like of, as given by search_videos or library_status.
            like_moment: The number of a moment of that clip, -1 for all of it.
            mix: The part of the example beside the sentence, from 0 (the sentence alone) to 1.
            exclude: Phrases that count against a clip, at most 8.
        """
        result = engine.search(
            text,
            k=max(1, min(whole_number("k", k), MAX_HITS)),
            weights=term_weights(weights, muted),
            mix=query_mix(like, like_moment, mix, exclude),
        )
        return [
            {
                "id": hit.clip_id,
                "name": hit.name,
                "moment": hit.moment,
                "score": hit.score,
                "start_s": hit.start_s,
                "end_s": hit.end_s,
                "confidence": hit.confidence,
                "confident": result.confident,
                "terms": hit.terms,
            }
            for hit in result.hits
        ]

    def rank_captions(
        clip_id: str, captions: list[str], weights: dict[str, float] | None = None, muted: list[str] | None = None
    ) -> list[dict[str, Any]]:
        """Rank sentences for one clip of the library, best first.

        Args:
            clip_id: The id of a clip, as given by search_videos or library_status.
            captions: Sentences to rank; an empty list ranks the library's own captions.
            weights: Factors for the parts of the score, as in search_videos.
            muted: Names of concepts that shall add nothing.
        """
        hits = engine.describe(
            clip_id, captions=captions or None, k=max(10, len(captions)), weights=term_weights(weights, muted)
        )
        return [
            {"text": hit.text, "score": hit.score, "confidence": hit.confidence, "terms": hit.terms} for hit in hits
        ]

    def explain_match(
        text: str,
        clip_id: str,
        weights: dict[str, float] | None = None,
        muted: list[str] | None = None,
        moment: int | None = None,
        like: str = "",
        like_moment: int = -1,
        mix: float = 0.5,
        exclude: list[str] | None = None,
    ) -> dict[str, Any]:
        """Take the score of a query and a clip apart into levels, words, frames and concepts.

        Args:
            text: The sentence; may be empty as in search_videos.
            clip_id: The id of a clip, as given by search_videos or library_status.
            weights: Factors for the parts of the score, as in search_videos.
            muted: Names of concepts that shall add nothing.
            moment: The number of a moment of the clip, as given by search_videos, -1 for the whole clip;
                without it, the moment that search_videos ranks.
            like: The id of an example, as in search_videos.
            like_moment: The number of a moment of the example, as in search_videos.
            mix: The part of the example beside the sentence, as in search_videos.
            exclude: Phrases that count against a clip, as in search_videos.
        """
        moment = None if moment is None else whole_number("moment", moment)
        asked = query_mix(like, like_moment, mix, exclude)
        why = engine.explain(text, clip_id, moment, weights=term_weights(weights, muted), mix=asked)
        return match_json(why, engine.clip(clip_id).name)

    def library_status() -> dict[str, Any]:
        """The model with its concepts and weights, the size of the library, and its clips with their ids
        and captions."""
        status = engine.status()
        clips = [
            {"id": clip.clip_id, "name": clip.name, "duration_s": clip.duration_s, "captions": list(clip.captions)}
            for clip in engine.clips()
        ]
        return {
            "model": status.model,
            "trained": status.trained,
            "device": status.device,
            "weights": status.default_weights.by_term(),
            "concepts": list(status.concept_names),
            "moments": status.moments,
            "stored_bytes": status.stored_bytes,
            "problems": list(status.problems),
            "clips": clips,
        }

    return search_videos, rank_captions, explain_match, library_status


def whole_number(name: str, value: object) -> int:
    """Check a number of a client; ``ConfigError`` where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ConfigError(f"{name} must be a whole number, got {value!r}.")
    return int(value)


def query_mix(like: object, moment: object, share: object, exclude: object) -> Mix:
    """Check what a client asks for beside the words; ``ConfigError`` where it makes no sense."""
    if isinstance(share, bool) or not isinstance(share, (int, float)):
        raise ConfigError(f"mix must be a number from 0 to 1, got {share!r}.")
    phrases = exclude or []
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise ConfigError(f"exclude must be a list of phrases, got {exclude!r}.")
    return Mix(str(like), whole_number("like_moment", moment), float(share), tuple(phrases))


def mcp_ready() -> bool:
    """Whether an MCP library that Gradio can use is installed (`pip install "gradio[mcp]"`)."""
    try:
        return importlib.metadata.version("mcp").split(".")[0] == "1"
    except importlib.metadata.PackageNotFoundError:
        return False


# --------------------------------------------------------------------------- pictures and films
HEADERS = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


def route(engine: EngineLike) -> Route:
    """Serve ``/clips/ID/poster``, ``/clips/ID/moment-N`` and ``/clips/ID/media``; the engine alone says what
    belongs to an id."""

    def serve(request: Request) -> Response:
        kind = request.path_params["kind"]
        try:
            clip = engine.clip(request.path_params["clip_id"])
            if moment := re.fullmatch("moment-([0-9]{1,6})", kind):
                still = engine.still(clip.clip_id, int(moment[1]))
                return Response(still, media_type="image/jpeg", headers=HEADERS)
            file = engine.media(clip.clip_id) if kind == "media" else clip.poster
        except VtrError as error:
            return PlainTextResponse(str(error), status_code=404)
        if kind not in ("media", "poster") or not file.is_file():
            return PlainTextResponse("There is no such file.", status_code=404)
        return FileResponse(file, headers=HEADERS)

    return Route("/clips/{clip_id}/{kind}", serve)
