"""Four functions for scripts and agents, typed, JSON in and out, over one engine.

Docstrings and field descriptions become those of Gradio's API and of the MCP tools (mcp.py). Whatever a client sends
is checked here against the signature: what does not fit is refused in one sentence, and nothing is clamped in silence.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import cache, wraps
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from vtr_demo.errors import ConfigError, TextError
from vtr_demo.results import CaptionHit, Hit, confidence_word
from vtr_demo.structures import MAX_EXCLUDED, Mix, TermWeights
from vtr_demo.text.parser import clean
from vtr_demo.ui.address import link
from vtr_demo.ui.html import clip_url
from vtr_demo.ui.state import EngineLike
from vtr_demo.ui.view import ViewState
from vtr_demo.video import sandbox
from vtr_demo.viz.figures import match_json

MAX_HITS, MAX_SENTENCES, MAX_LISTED, MAX_LETTERS = 50, 5_000, 1_000, 2_000


# --------------------------------------------------------------------------- what comes in
def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _sentences(value: object) -> object:
    """One sentence, or a list of them as JSON, in the place of a list."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.lstrip().startswith("[") else [value]
    except (ValueError, RecursionError):
        return [value]


Text = Annotated[str, Field(max_length=MAX_LETTERS, title=f"a text of at most {MAX_LETTERS} characters")]
Id = Annotated[str, Field(max_length=80, title="the id of a clip")]
Moment = Annotated[int, BeforeValidator(_whole), Field(ge=-1, le=10**6, title="a whole number from -1")]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_HITS, title=f"a whole number from 1 to {MAX_HITS}")]
Weights = Annotated[
    dict[str, Annotated[float, Field(ge=0, le=1000)]], Field(title="numbers from 0 to 1000 by the names of terms")
]
Muted = Annotated[list[int | str], Field(max_length=256, title="a list of names or numbers of concepts")]
Words = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=500, title="a list of whole numbers from 0")]
Part = Annotated[float, Field(ge=0, le=1, title="a number from 0 to 1")]
Phrases = Annotated[list[Text], Field(max_length=MAX_EXCLUDED, title=f"a list of at most {MAX_EXCLUDED} phrases")]


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments of a client against the signature and return plain JSON; None stands for a default."""
    hints, signature = get_type_hints(function, include_extras=True), inspect.signature(function)
    result = TypeAdapter(hints.pop("return"))
    fields: dict[str, Any] = {
        name: (hints[name], ... if one.default is one.empty else one.default)
        for name, one in signature.parameters.items()
    }
    strict = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    arguments = create_model(function.__name__, __config__=strict, **fields)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) > len(fields):
            raise ConfigError(f"{function.__name__} takes {len(fields)} arguments, got {len(args)}.")
        given = {**dict(zip(fields, args, strict=False)), **kwargs}
        try:
            values = arguments(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise ConfigError(_refusal(error, arguments)) from error
        return result.dump_python(function(**{name: getattr(values, name) for name in fields}), mode="json")

    plain = get_type_hints(function)
    parameters = [one.replace(annotation=plain[one.name]) for one in signature.parameters.values()]
    call.__signature__ = signature.replace(parameters=parameters, return_annotation=plain["return"])  # type: ignore[attr-defined]
    call.__annotations__ = plain
    call.arguments, call.result = arguments, result  # type: ignore[attr-defined]
    return call


def _title(annotation: Any) -> str:
    """The title within an optional argument's type."""
    inner = [one for part in get_args(annotation) for one in get_args(part)[1:]]
    return next((one.title for one in inner if getattr(one, "title", None)), "")


def _refusal(error: ValidationError, arguments: type[BaseModel]) -> str:
    """Say in a sentence which argument is wrong, what it must be, and what came."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    field = arguments.model_fields.get(name)
    if field is None:
        return f"There is no argument {name[:40]!r}; there are {', '.join(arguments.model_fields)}."
    needed = field.title or _title(field.annotation)
    if first["type"] == "missing":
        return f"{name} must be {needed}, and is missing."
    got = repr(first["input"])
    return f"{name} must be {needed}, got {got[:80]}{'…' if len(got) > 80 else ''}."


# --------------------------------------------------------------------------- what goes out
Terms = Annotated[dict[str, float], Field(description="the parts of the score by term; they add up to it")]
Confidence = Annotated[
    float | None,
    Field(description="the share of unrelated texts that score less with any clip; null for a query without words"),
]
Verdict = Annotated[str | None, Field(description="confidence in words: strong, weak or no match")]


class Links(BaseModel):
    """Where to look."""

    media: str = Field(description="address of the film")
    poster: str = Field(description="address of a still picture of the clip")
    still: str | None = Field(description="address of a still picture of the moment; null for the whole clip")
    page: str = Field(description="address of the page that shows this")


class VideoHit(BaseModel):
    """A clip that was found."""

    id: str = Field(description="id of the clip")
    name: str = Field(description="file name of the clip")
    moment: int = Field(description="number of the best moment, -1 for the whole clip")
    start_s: float = Field(description="second at which the moment starts")
    end_s: float = Field(description="second at which it ends")
    score: float = Field(description="the sum of the terms; higher is better")
    terms: Terms
    confidence: Confidence
    verdict: Verdict
    confident: bool = Field(description="false where no clip of the library stands out for this query")
    links: Links = Field(description="where to look at it")


class RankedCaption(BaseModel):
    """A sentence that was ranked for a clip."""

    text: str = Field(description="the sentence")
    score: float = Field(description="the sum of the terms; higher is better")
    terms: Terms
    confidence: Confidence
    verdict: Verdict


class WordPart(BaseModel):
    """What a word adds."""

    word: str = Field(description="the word, or what else the query consists of, such as the whole sentence")
    adds: float = Field(description="its summand of the score")
    concept: str | None = Field(description="the concept that holds it")
    without_it: float | None = Field(None, description="how the score changes where the word is struck out")


class FramePart(BaseModel):
    """What a frame adds."""

    second: float = Field(description="when it is shown")
    adds: float = Field(description="its summand of the score")


class Match(BaseModel):
    """The score of a query and a clip, taken apart."""

    id: str = Field(description="id of the clip")
    name: str = Field(description="file name of the clip")
    moment: int = Field(description="number of the moment that was explained, -1 for the whole clip")
    score: float = Field(description="the sum of the terms, of all words, and of all frames")
    terms: Terms
    gates: dict[str, float] = Field(description="the weight of each level for this sentence; they add up to 1")
    words: list[WordPart] = Field(description="summands by word, in order; index 1 is the first word of the sentence")
    frames: list[FramePart] = Field(description="summands by frame")
    concepts: dict[str, float] = Field(description="summands by concept; they add up to the term concepts")
    links: Links = Field(description="where to look at it")


class ListedClip(BaseModel):
    """A clip of the library."""

    id: str = Field(description="id of the clip")
    name: str = Field(description="file name of the clip")
    duration_s: float = Field(description="seconds that it lasts")
    captions: list[str] = Field(description="sentences that came with it")


class LibraryStatus(BaseModel):
    """The model and the library."""

    model: str = Field(description="the model's SPEC")
    trained: bool = Field(description="whether its heads were trained")
    device: str = Field(description="where it computes")
    weights: dict[str, float] = Field(description="default factors by term")
    concepts: list[str] = Field(description="names of the concepts, by number from 0")
    count: int = Field(description="clips in the library; the list below may hold fewer")
    moments: int = Field(description="moments of these clips")
    stored_bytes: int = Field(description="what they take on disk")
    problems: list[str] = Field(description="a sentence for each thing that is damaged")
    protections: dict[str, bool] = Field(description="which guards hold the processes that decode files on this system")
    clips: list[ListedClip] = Field(description="clips in order of arrival, from offset on")


protections = cache(sandbox.protections)


# --------------------------------------------------------------------------- the functions
def _scored(hit: Hit | CaptionHit) -> dict[str, Any]:
    verdict = None if hit.confidence is None else confidence_word(hit.confidence)
    return {"score": hit.score, "terms": hit.terms, "confidence": hit.confidence, "verdict": verdict}


class Functions:
    """What programs call, over one engine; ``base`` returns the page's address. Defaults are never changed."""

    def __init__(self, engine: EngineLike, base: Callable[[], str] = lambda: "/") -> None:
        self._engine, self._base = engine, base

    def _links(self, clip_id: str, view: ViewState) -> Links:
        clip, moment = f"{self._base()}{clip_url(clip_id)}", view.moment
        still = None if moment is None or moment < 0 else f"{clip}/moment-{moment}"
        page = self._base() + link("search", view)
        return Links(media=f"{clip}/media", poster=f"{clip}/poster", still=still, page=page)

    def _view(
        self, text: str, clip_id: str, moment: int, weights: TermWeights, struck: list[int], mix: Mix
    ) -> ViewState:
        own = weights.by_term() != self._engine.default_weights.by_term()
        factors = (*weights.levels(), weights.concepts) if own else ()
        return ViewState(
            text=text, struck=tuple(struck), mix=mix, clip=clip_id, moment=moment, weights=factors, muted=weights.muted
        )

    def search_videos(
        self,
        text: Text = "",
        k: Count = 8,
        weights: Weights = {},
        muted: Muted = [],
        like: Id = "",
        like_moment: Moment = -1,
        mix: Part = 0.5,
        exclude: Phrases = [],
        struck: Words = [],
    ) -> list[VideoHit]:
        """Find the clips of the library that fit a sentence, are like an example or both, best first, with
        the parts of each score.

        Args:
            text: A sentence about what happens in the clip; what it denies ("without people") counts against
                a clip. May be empty where there is an example or something to exclude.
            k: How many clips to return, 1 to 50.
            weights: Factors for some of global, entity, action, relationship and concepts, from 0; the
                others keep those of library_status.
            muted: Concepts that shall add nothing, by name or by number from 0, as given by library_status.
            like: The id of a clip to find the like of, as given by search_videos or library_status.
            like_moment: The number of a moment of that clip, -1 for all of it.
            mix: The part of the example beside the sentence, from 0 (the sentence alone) to 1.
            exclude: Phrases that count against a clip, at most 8.
            struck: Words of the sentence to leave out, by number from 0.
        """
        chosen, asked = self._engine.weigh(weights, muted), Mix(like, like_moment, mix, tuple(exclude))
        result = self._engine.search(text, k, chosen, tuple(struck), mix=asked)
        return [
            VideoHit(
                id=hit.clip_id,
                name=hit.name,
                moment=hit.moment,
                start_s=hit.start_s,
                end_s=hit.end_s,
                confident=result.confident,
                links=self._links(hit.clip_id, self._view(text, hit.clip_id, hit.moment, chosen, struck, asked)),
                **_scored(hit),
            )
            for hit in result.hits
        ]

    def rank_captions(
        self,
        clip_id: Id,
        captions: Annotated[
            list[Text],
            BeforeValidator(_sentences),
            Field(max_length=MAX_SENTENCES, title=f"a list of at most {MAX_SENTENCES} sentences"),
        ] = [],
        weights: Weights = {},
        muted: Muted = [],
    ) -> list[RankedCaption]:
        """Rank sentences for one clip of the library, best first.

        Args:
            clip_id: The id of a clip, as given by search_videos or library_status.
            captions: Sentences to rank; an empty list ranks the library's own captions and general sentences, of
                which the best 10 are returned.
            weights: Factors for the parts of the score, as in search_videos.
            muted: Concepts that shall add nothing, as in search_videos.
        """
        for number, sentence in enumerate(captions):
            try:
                clean(sentence)
            except TextError as error:
                raise ConfigError(
                    f"captions: number {number}, {sentence[:40]!r}, cannot be ranked; leave it out, or write an "
                    f"English sentence of at most {MAX_LETTERS} characters."
                ) from error
        chosen = self._engine.weigh(weights, muted)
        hits = self._engine.describe(clip_id, captions or None, k=max(10, len(captions)), weights=chosen)
        return [RankedCaption(text=hit.text, **_scored(hit)) for hit in hits]

    def explain_match(
        self,
        text: Text = "",
        clip_id: Id = "",
        weights: Weights = {},
        muted: Muted = [],
        moment: Moment | None = None,
        like: Id = "",
        like_moment: Moment = -1,
        mix: Part = 0.5,
        exclude: Phrases = [],
        struck: Words = [],
    ) -> Match:
        """Take the score of a query and a clip apart into levels, words, frames and concepts.

        Args:
            text: The sentence; may be empty as in search_videos.
            clip_id: The id of a clip, as given by search_videos or library_status.
            weights: Factors for the parts of the score, as in search_videos.
            muted: Concepts that shall add nothing, as in search_videos.
            moment: The number of a moment of the clip, as given by search_videos, -1 for the whole clip;
                without it, the moment that search_videos ranks.
            like: The id of an example, as in search_videos.
            like_moment: The number of a moment of the example, as in search_videos.
            mix: The part of the example beside the sentence, as in search_videos.
            exclude: Phrases that count against a clip, as in search_videos.
            struck: Words of the sentence to leave out, as in search_videos.
        """
        if not clip_id:
            raise ConfigError("clip_id must be the id of a clip, and is missing; library_status lists the clips.")
        chosen, asked = self._engine.weigh(weights, muted), Mix(like, like_moment, mix, tuple(exclude))
        why = self._engine.explain(text, clip_id, moment, chosen, tuple(struck), mix=asked)
        shown = self._links(clip_id, self._view(text, clip_id, why.moment, chosen, struck, asked))
        return Match(**match_json(why, self._engine.clip(clip_id).name), moment=why.moment, links=shown)

    def library_status(
        self,
        offset: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=2**53, title="a whole number from 0")] = 0,
        limit: Annotated[
            int, BeforeValidator(_whole), Field(ge=0, le=MAX_LISTED, title=f"a whole number from 0 to {MAX_LISTED}")
        ] = 100,
    ) -> LibraryStatus:
        """The model with its concepts and weights, the size of the library, and its clips with their ids
        and captions, a part at a time.

        Args:
            offset: The number, from 0, of the first clip to list.
            limit: How many clips to list, up to 1,000.
        """
        status, page = self._engine.status(), self._engine.list(offset, limit, "oldest")
        return LibraryStatus(
            model=status.model,
            trained=status.trained,
            device=status.device,
            weights=status.default_weights.by_term(),
            concepts=list(status.concept_names),
            count=page.total,
            moments=status.moments,
            stored_bytes=status.stored_bytes,
            problems=list(status.problems),
            protections=protections(),
            clips=[
                ListedClip(id=one.clip_id, name=one.name, duration_s=one.duration_s, captions=list(one.captions))
                for one in page.clips
            ],
        )


def functions(engine: EngineLike, base: Callable[[], str] = lambda: "/") -> tuple[Callable[..., Any], ...]:
    """Return the four ``Functions``, each ``checked``."""
    own = Functions(engine, base)
    public: tuple[Callable[..., Any], ...] = (
        own.search_videos,
        own.rank_captions,
        own.explain_match,
        own.library_status,
    )
    return tuple(checked(function) for function in public)


def group(function: Callable[..., Any]) -> str:
    """Which requests a function takes turns with (``tabs.TURNS``): many sentences hold up no search."""
    return "long" if function.__name__ == "rank_captions" else "model"
