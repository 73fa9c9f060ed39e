"""The commands on a library and on one clip: arguments in, an answer out. Nothing is printed here.

Heavy modules are imported inside the functions, so that `--help` is quick.
"""

from __future__ import annotations

import json
import os
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr_demo.answer import Answer, Tell
from vtr_demo.errors import ConfigError, ManifestError, VideoError, VtrError
from vtr_demo.video.reader import VIDEO_EXTENSIONS

if TYPE_CHECKING:
    from vtr_demo.library.engine import Engine
    from vtr_demo.results import Hit
    from vtr_demo.structures import TermWeights


# --------------------------------------------------------------------------- library
def index(chosen: Namespace, tell: Tell) -> Answer:
    """Index files and folders; a file that fails is named with its reason."""
    paths = videos_in(chosen.paths)
    if not paths:
        folders = ", ".join(map(str, chosen.paths))
        return Answer(_report(), f"No video file lies in {folders}; known endings: {_endings()}.", 1)
    with _opened(chosen, chosen.library, tell, rebuild=chosen.rebuild) as engine:
        report = engine.add(paths, keep_copy=chosen.copy, progress=tell)
        names = {clip.clip_id: clip.name for clip in engine.clips()}
    lines = [f"indexed {names[clip_id]} as {clip_id}" for clip_id in report.added]
    lines += [f"known   {name}" for name in report.known]
    lines += [f"failed  {sentence}" for _, sentence in report.failed]
    lines.append(
        f"{len(report.added)} indexed, {len(report.known)} known already, {len(report.failed)} failed; "
        f"{chosen.library} holds {len(names)} clips."
    )
    value = _report(
        added=[{"id": clip_id, "name": names[clip_id]} for clip_id in report.added],
        known=list(report.known),
        failed=[{"name": name, "reason": reason} for name, reason in report.failed],
    )
    return Answer(value, "\n".join(lines), 0 if report.added or report.known else 1)


def search(chosen: Namespace, tell: Tell) -> Answer:
    """Clips for a sentence."""
    with _opened(chosen, chosen.library, tell, readonly=True) as engine:
        found = engine.search(chosen.text, chosen.k, _weights(engine, chosen))
    value = [_hit(hit) for hit in found.hits]
    lines = (
        [] if found.confident else ["No confident match: unrelated sentences often fit a clip here as well."]
    )
    for place, hit in enumerate(found.hits, start=1):
        lines.append(
            f"{place:2d}. {hit.score:+.3f}  {hit.confidence:4.0%}  {_span(hit)}  {hit.name}  {hit.path}"
        )
        lines.append(f"      {_terms(hit.terms)}")
    return Answer(value, "\n".join([*lines, found.note] if found.note else lines))


# --------------------------------------------------------------------------- one clip
def describe(chosen: Namespace, tell: Tell) -> Answer:
    """Sentences for a clip."""
    captions = read_captions(chosen.captions)
    with _for_one_file(chosen, tell) as engine:
        hits = engine.describe_file(chosen.video, captions, chosen.k, _weights(engine, chosen))
    value = [
        {"text": hit.text, "score": hit.score, "confidence": float(hit.confidence), "terms": hit.terms}
        for hit in hits
    ]
    lines = [f"{i:2d}. {hit.score:+.3f}  {hit.confidence:4.0%}  {hit.text}" for i, hit in enumerate(hits, 1)]
    return Answer(value, "\n".join(lines))


def explain(chosen: Namespace, tell: Tell) -> Answer:
    """Why a sentence and a clip match: pictures, and every word x frame part."""
    from vtr_demo.viz import figures

    if chosen.library:
        with _opened(chosen, chosen.library, tell, readonly=True) as engine:
            answer = figures.export(chosen.out, *_explained(engine, chosen, str(chosen.video)))
    else:
        with _for_one_file(chosen, tell) as engine:
            report = engine.add([chosen.video], keep_copy=False)
            if report.failed:
                raise VtrError(report.failed[0][1])
            answer = figures.export(chosen.out, *_explained(engine, chosen, report.added[0]))
    lines = [
        f"{answer['score']:+.3f}  {answer['text']}  ~  {answer['name']}",
        _terms(answer["terms"]),
        *(f"{word['adds']:+.3f}  {word['word']}" for word in answer["words"]),
        *(f"wrote {chosen.out / name}" for name in (*answer["pictures"], figures.DOCUMENT)),
    ]
    return Answer(answer, "\n".join(lines))


def _explained(engine: Engine, chosen: Namespace, clip_id: str) -> tuple[Any, Hit]:
    """The explanation of a clip's best moment, and what a search says of it."""
    name, weights = engine.clip(clip_id).name, _weights(engine, chosen)
    hits = engine.search(chosen.text, len(engine.clips()), weights).hits
    hit = next((hit for hit in hits if hit.clip_id == clip_id), None)
    if hit is None:
        raise ConfigError(f"{name} is not searchable; rebuild the library.")
    return engine.explain(chosen.text, clip_id, hit.moment, weights), hit


def _weights(engine: Engine, chosen: Namespace) -> TermWeights:
    return engine.weigh(dict(chosen.weights), chosen.mute)


# --------------------------------------------------------------------------- reading and wording
def videos_in(paths: Sequence[Path]) -> list[Path]:
    """The files among ``paths``, and the video files below the folders among them, each once."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            found[path] = None  # a file that is missing or no video is reported when it is indexed
            continue
        for folder, below, names in os.walk(path):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(names):
                if name.lower().endswith(VIDEO_EXTENSIONS) and not name.startswith("."):
                    found[Path(folder, name)] = None
    return list(found)


def read_captions(path: Path) -> list[str]:
    """The sentences of a file: one a line, or one JSON list of texts."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    lines: Any = text.splitlines()
    if text.lstrip().startswith("["):
        try:
            lines = json.loads(text)
        except ValueError as error:
            raise ManifestError(f"{path} begins as a JSON list but is none ({error}).") from error
    captions = [line.strip() for line in lines if isinstance(line, str) and line.strip()]
    if not captions:
        raise ManifestError(f"{path} holds no sentence; write one a line.")
    return captions


@contextmanager
def _opened(
    chosen: Namespace, library: Path, tell: Tell, *, rebuild: bool = False, readonly: bool = False
) -> Iterator[Engine]:
    from vtr_demo.library.engine import Engine

    tell(0.0, f"opening the model {chosen.model}")
    engine = Engine.open(library, chosen.model, progress=tell, rebuild=rebuild, readonly=readonly)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _for_one_file(chosen: Namespace, tell: Tell) -> Iterator[Engine]:
    """An engine over an empty library that is gone afterwards."""
    if not chosen.video.is_file():
        raise VideoError(chosen.video, "there is no such file", "check the path")
    with tempfile.TemporaryDirectory(prefix="vtr-") as folder, _opened(chosen, Path(folder), tell) as engine:
        yield engine


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "id": hit.clip_id,
        "name": hit.name,
        "path": hit.path,
        "score": float(hit.score),
        "start_s": float(hit.start_s),
        "end_s": float(hit.end_s),
        "confidence": float(hit.confidence),
        "terms": {name: float(value) for name, value in hit.terms.items()},
    }


def _report(**parts: list[Any]) -> dict[str, list[Any]]:
    return {"added": [], "known": [], "failed": []} | parts


def _span(hit: Hit) -> str:
    return f"{hit.start_s:5.1f}-{hit.end_s:.1f} s"


def _terms(terms: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:+.3f}" for name, value in terms.items())


def _endings() -> str:
    return " ".join(VIDEO_EXTENSIONS)
