"""Commands over a library, or over one clip as if it were a library of its own."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtr_demo.commands.console import (
    REFUSED,
    Count,
    Exclude,
    Folder,
    Json,
    Library,
    Like,
    LikeMoment,
    Limits,
    Model,
    Mute,
    Share,
    Text,
    Weights,
    answer,
    find_videos,
    option,
    progress,
    refuse,
)
from vtr_demo.config import SharedConfig
from vtr_demo.errors import ConfigError, VideoError, VtrError, readable_name
from vtr_demo.video.confine import LimitConfig

if TYPE_CHECKING:
    from vtr_demo.library.engine import Engine
    from vtr_demo.results import ClipView, Hit
    from vtr_demo.structures import Mix

_MOST_PROBLEMS = 5
"""Sentences about damaged clips that a command prints."""


def index(
    library: Library,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Video files, or folders of them.", readable=False)
    ] = None,  # not checked by typer: one that cannot be read is reported like other failures
    captions: Annotated[Path | None, option("FILE", "Captions of the files: a table, or JSON.")] = None,
    exclude: Annotated[list[str] | None, option("PATTERN …", "Names to leave out, such as 'raw*'.")] = None,
    skipped: Annotated[bool, option(None, "List what was skipped in folders.", "--skipped")] = False,
    limits: Limits = None,
    rebuild: Annotated[
        bool, option(None, "Move a library of another model to this; repair what is damaged.", "--rebuild")
    ] = False,
    copy: Annotated[bool, option(None, "Keep a copy of each file in the library.", "--copy")] = False,
    ray: Annotated[str, option("ADDRESS", "Read and encode on a Ray cluster: local, auto or HOST:PORT.")] = "",
    model: Model = "bundled",
    as_json: Json = False,
) -> int:
    """Add video files to a library; a file that fails is named with its reason."""
    from vtr_demo.results import IndexReport
    from vtr_demo.video.reader import VIDEO_EXTENSIONS

    if not paths and not rebuild:
        raise ConfigError("Name the files or folders to index, as in index PATH... --library DIR.")
    files, left = find_videos(paths or (), VIDEO_EXTENSIONS, exclude or ())
    left_out = [{"path": str(path), "reason": reason} for path, reason in left]
    indexed = repaired = IndexReport((), (), ())
    clips: tuple[ClipView, ...] = ()
    if files or not paths:
        texts = _captions_of(files, captions) if captions else None
        with _engine(library, model, create=bool(files), rebuild=rebuild, limits=_limits(limits)) as engine:
            indexed = engine.add(files, captions=texts, keep_copy=copy, progress=progress, cluster=ray)
            if rebuild:
                repaired = engine.rebuild(progress)
            clips = engine.clips()
    names = {clip.clip_id: clip.name for clip in clips}
    walked = [Path(os.path.realpath(path)) for path in paths or () if os.path.isdir(path)]
    gone = [c for c in clips if any(folder in c.path.parents for folder in walked) and not os.path.isfile(c.path)]
    failed = (*indexed.failed, *repaired.failed)
    value = {
        "added": [{"id": clip_id, "name": names[clip_id]} for clip_id in indexed.added],
        "known": [*indexed.known],
        "moved": [*indexed.moved],
        "failed": [{"name": name, "reason": reason} for name, reason in failed],
        "partial": [{"name": name, "reason": reason} for name, reason in indexed.partial],
        "replaced": [{"id": clip_id, "name": name} for clip_id, name in indexed.replaced],
        "gone": [{"id": clip.clip_id, "name": clip.name, "path": str(clip.path)} for clip in gone],
        "repaired": [{"id": clip_id, "name": names[clip_id]} for clip_id in repaired.added],
        "skipped": left_out if skipped else len(left),
    }
    end = (
        f"{len(indexed.added)} indexed, {len(indexed.known)} known already, {len(failed)} failed; "
        f"{library} holds {len(names)} clips."
    )
    if paths and not files:
        folders, endings = ", ".join(map(str, paths)), " ".join(VIDEO_EXTENSIONS)
        end = f"No video file lies in {folders}; known endings: {endings}."
    omitted = [f"skipped {row['path']}: {row['reason']}" for row in left_out] if skipped else _counted(left)
    answer(value, [*omitted, *_index_lines(value), end], as_json)
    usable = indexed.added or indexed.known
    return 0 if usable or not (paths or failed) else 1


def _index_lines(value: dict[str, Any]) -> list[str]:
    """Say what ``index`` did with each clip, for people."""
    moved = dict.fromkeys(value["moved"], " (moved here)")
    missing = "is no longer at {path}; put it back, or use delete or prune"
    return [
        *("indexed {name} as {id}".format(**row) for row in value["added"]),
        *(f"known   {name}{moved.get(name, '')}" for name in value["known"]),
        *("deleted {id}: {name} now holds another film".format(**row) for row in value["replaced"]),
        *(f"gone    {{name}} ({{id}}) {missing}".format(**row) for row in value["gone"]),
        *("partial {name}: {reason}".format(**row) for row in value["partial"]),
        *("repaired {name} ({id})".format(**row) for row in value["repaired"]),
        *("failed  {reason}".format(**row) for row in value["failed"]),
    ]


def _counted(left: Sequence[tuple[Path, str]]) -> list[str]:
    """Say how many files were skipped, by reason; nothing where none was."""
    counts = ", ".join(f"{n} {reason}" for reason, n in Counter(reason for _, reason in left).most_common())
    return [f"skipped {len(left)} in folders ({counts}); --skipped lists them"] if left else []


def _captions_of(files: Sequence[Path], captions: Path) -> list[list[str]]:
    """The sentences of each file, by a file of captions; lines that fit none are named on stderr."""
    from vtr_demo.data.caption_files import describe_left_out, match_captions, read_captions

    names = [(str(i), readable_name(path), os.path.realpath(path)) for i, path in enumerate(files)]
    matched, left_out = match_captions(read_captions(captions), names)
    if left_out:
        progress(0.0, f"{captions.name}: {describe_left_out(left_out)}")
    return [matched.get(str(i), []) for i in range(len(files))]


def show_limits(as_json: Json = False) -> None:
    """List what a file may cost before it is refused, what a shared page allows, and how to change that."""
    limits, shared = LimitConfig(), SharedConfig()
    lines = [f"{one.name}={getattr(limits, one.name)}  {one.metadata['about']}" for one in fields(limits)]
    public = [f"{name}={getattr(shared, name)}  {one.description}" for name, one in SharedConfig.model_fields.items()]
    change = (
        "Change one for index, describe, explain or serve, as in --limits max_duration_s=3600; the rest for app.py."
    )
    answer(asdict(limits) | shared.to_dict(), [*lines, *public, change], as_json)


def list_clips(library: Library, model: Model = "bundled", as_json: Json = False) -> None:
    """List the clips of a library."""
    with _engine(library, model, readonly=True) as engine:
        clips = engine.clips()
    value = [
        {"id": clip.clip_id, "name": clip.name, "duration_s": clip.duration_s, "captions": clip.captions}
        | {"path": str(clip.path)}
        for clip in clips
    ]
    lines = [
        f"{clip.clip_id}  {clip.duration_s:7.1f} s  {clip.name}  {clip.path}{'' if clip.path.is_file() else '  (gone)'}"
        for clip in clips
    ]
    answer(value, lines or [_empty(library, model)], as_json)


def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As list prints them.")],
    library: Library,
    model: Model = "bundled",
    as_json: Json = False,
) -> int:
    """Forget clips of a library; the original files stay where they are."""
    deleted, failed = [], []
    with _engine(library, model, create=False) as engine:
        for clip_id in dict.fromkeys(ids):
            try:
                engine.delete(clip_id)
                deleted.append(clip_id)
            except VtrError as error:
                failed.append({"id": clip_id, "reason": str(error)})
                refuse(str(error))
    lines = [f"deleted {clip_id}" for clip_id in deleted]
    answer({"deleted": deleted, "failed": failed}, lines, as_json)
    return REFUSED if failed else 0


def prune(library: Library, model: Model = "bundled", as_json: Json = False) -> None:
    """Forget the clips whose file is gone from disk and of which the library keeps nothing that plays."""
    with _engine(library, model, create=False) as engine:
        clips = engine.clips()
        gone = engine.prune()
    deleted = [{"id": clip.clip_id, "name": clip.name, "path": str(clip.path)} for clip in gone]
    lines = [f"deleted {clip.clip_id}  {clip.name}  {clip.path}" for clip in gone]
    answer({"deleted": deleted}, [*lines, f"{len(gone)} of {len(clips)} clips deleted."], as_json)


def search(
    library: Library,
    text: Text = "",
    k: Count = 8,
    weights: Weights = None,
    mute: Mute = None,
    like: Like = "",
    like_moment: LikeMoment = -1,
    mix: Share = 0.5,
    exclude: Exclude = None,
    model: Model = "bundled",
    as_json: Json = False,
) -> None:
    """Find clips of a library by sentence, by example (--like), or by both."""
    with _engine(library, model, readonly=True) as engine:
        query = _mix(engine, like, like_moment, mix, exclude)
        result = engine.search(text, k, engine.weigh(dict(weights or ()), mute or ()), mix=query)
    lines = []
    if not result.searched:
        lines.append(_empty(library, model))
    elif not result.confident:
        lines.append("No confident match: unrelated sentences often fit a clip here as well.")
    for rank, hit in enumerate(result.hits, start=1):
        span = f"{hit.start_s:5.1f}-{hit.end_s:.1f} s"
        sure = "   -" if hit.confidence is None else f"{hit.confidence:4.0%}"
        lines.append(f"{rank:2d}. {hit.score:+.3f}  {sure}  {span}  {hit.name}  {hit.path}")
        lines.append(f"      {_terms(hit.terms)}")
    answer([_hit(hit) for hit in result.hits], [*lines, *filter(None, [result.note])], as_json)


# --------------------------------------------------------------------------- one clip
def describe(
    video: Path,
    captions: Annotated[Path, option("FILE", "One sentence a line, a table, or JSON.")],
    k: Count = 10,
    weights: Weights = None,
    mute: Mute = None,
    limits: Limits = None,
    model: Model = "bundled",
    as_json: Json = False,
) -> None:
    """Rank sentences for a clip."""
    from vtr_demo.data.caption_files import describe_left_out, read_captions
    from vtr_demo.results import confidence_word

    table = read_captions(captions)
    if table.left_out:
        progress(0.0, f"{captions.name}: {describe_left_out(table.left_out)}")
    with _empty_engine(video, model, limits) as engine:
        factors = engine.weigh(dict(weights or ()), mute or ())
        hits = engine.describe_file(video, table.sentences, k, factors)
    value = [
        {"text": hit.text, "score": hit.score, "confidence": float(hit.confidence)}
        | {"match": confidence_word(hit.confidence), "terms": hit.terms}
        for hit in hits
    ]
    lines = [f"{i:2d}. {hit.score:+.3f}  {hit.confidence:4.0%}  {hit.text}" for i, hit in enumerate(hits, 1)]
    answer(value, lines, as_json)


def explain(
    text: Annotated[str, typer.Argument(help='"" with --like or --exclude alone.')],
    video: Annotated[str, typer.Argument(help="A file; with --library the id of a clip.")],
    out: Annotated[Path, option("DIR", "Folder for the pictures and explanation.json.")],
    library: Folder = None,
    weights: Weights = None,
    mute: Mute = None,
    like: Like = "",
    like_moment: LikeMoment = -1,
    mix: Share = 0.5,
    exclude: Exclude = None,
    limits: Limits = None,
    model: Model = "bundled",
    as_json: Json = False,
) -> None:
    """Show why a query and a clip match: pictures, and the terms with their word x frame parts."""
    from vtr_demo.viz import figures

    with _engine(library, model, readonly=True) if library else _empty_engine(Path(video), model, limits) as engine:
        clip_id = video if library else _added(engine, Path(video))
        name, factors = engine.clip(clip_id).name, engine.weigh(dict(weights or ()), mute or ())
        query = _mix(engine, like, like_moment, mix, exclude)
        hits = engine.search(text, len(engine.clips()), factors, mix=query).hits
        hit = next((hit for hit in hits if hit.clip_id == clip_id), None)
        if hit is None and clip_id == query.like:
            raise ConfigError(f"{name} is the example itself; name another clip to compare it with.")
        if hit is None:
            raise ConfigError(f"{name} is not searchable; rebuild the library.")
        value = figures.export(out, engine.explain(text, hit, weights=factors, mix=query), hit)
    lines = [
        f"{value['score']:+.3f}  {value['text']}  ~  {value['name']}",
        _terms(value["terms"]),
        *(f"{word['adds']:+.3f}  {word['word']}" for word in value["words"]),
        *(f"wrote {out / name}" for name in (*value["pictures"], figures.DOCUMENT)),
    ]
    answer(value, lines, as_json)


# --------------------------------------------------------------------------- shared
@contextmanager
def _engine(library: Path, model: str, *, create: bool = True, **options: Any) -> Iterator[Engine]:
    from vtr_demo.library.engine import Engine
    from vtr_demo.library.reader import require_library

    if not create:
        require_library(library)
    progress(0.0, f"opening the model {model}")
    engine = Engine.open(library, model, progress=progress, **options)
    try:
        yield engine
        problems = engine.status().problems
        for problem in problems[:_MOST_PROBLEMS]:
            progress(0.0, problem)
        if len(problems) > _MOST_PROBLEMS:
            progress(0.0, f"{len(problems) - _MOST_PROBLEMS} further clips of the library are damaged.")
    finally:
        engine.close()


@contextmanager
def _empty_engine(video: Path, model: str, limits: Limits = None) -> Iterator[Engine]:
    """An engine over an empty library, removed afterwards, for a ``video`` that must exist."""
    if not os.path.isfile(video):
        raise VideoError(video, "there is no such file", "check the path")
    with (
        tempfile.TemporaryDirectory(prefix="vtr-") as folder,
        _engine(Path(folder), model, limits=_limits(limits)) as engine,
    ):
        yield engine


def _mix(engine: Engine, like: str, moment: int, share: float, exclude: Sequence[str] | None) -> Mix:
    """What a query asks for beside its words; ``like`` is the id of a clip or a file, which is read."""
    from vtr_demo.library.records import CLIP_ID
    from vtr_demo.structures import Mix

    if like and (os.path.isfile(like) or not CLIP_ID.fullmatch(like)):
        like = engine.read_example(like).example_id
    return Mix(like, moment, share, tuple(exclude or ()))


def _empty(library: Path, model: str) -> str:
    from vtr_demo.library.reader import index_command

    return f"The library {library} is empty; add clips with `{index_command('PATH...', library, model)}`."


def _limits(changed: Sequence[tuple[str, Any]] | None) -> LimitConfig:
    return LimitConfig(**dict(changed or ()))


def _added(engine: Engine, video: Path) -> str:
    indexed = engine.add([video], keep_copy=False)
    if indexed.failed:
        raise VtrError(indexed.failed[0][1])
    return indexed.added[0]


def _hit(hit: Hit) -> dict[str, Any]:
    from vtr_demo.results import confidence_word

    numbers: dict[str, Any] = {name: float(getattr(hit, name)) for name in ("score", "start_s", "end_s")}
    numbers["confidence"] = hit.confidence
    numbers["match"] = None if hit.confidence is None else confidence_word(hit.confidence)
    terms = {name: float(value) for name, value in hit.terms.items()}
    return {"id": hit.clip_id, "name": hit.name, "path": hit.path} | numbers | {"terms": terms}


def _terms(terms: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:+.3f}" for name, value in terms.items())
