"""Measure how well the clips of a library are found by their captions, ranked as its searches rank.

A clip counts by its best moment, as among the hits; protocol ``merged`` (see ``evaluation.metrics``). In a large
library this is done among some of its clips, those with captions first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.data.caption_files import describe_left_out, match_captions, read_captions
from vtr_demo.errors import LibraryError
from vtr_demo.evaluation.metrics import ablations, report
from vtr_demo.library.queries import Queries
from vtr_demo.library.ranking import Ranking
from vtr_demo.library.reader import LibraryReader
from vtr_demo.results import ClipFilter, Measurement, Recall
from vtr_demo.structures import TermWeights, TextFeatures
from vtr_demo.text.parser import parse_many
from vtr_demo.vectors.base import VectorStore

MOST_CAPTIONS, MOST_BYTES = 5_000, 5_000_000
MOST_CLIPS = 5_000
"""Clips that are measured among: some 100 MB of vectors (our decision)."""
TIMED = 5


@dataclass(frozen=True)
class LibraryTable:
    """Captions and the clips of a library, to be scored: ``metrics.Scored``.

    vectors (N, F), the rows of each clip together; starts (C,), each clip's first row; positives (X, C) bool.
    """

    texts: TextFeatures
    vectors: np.ndarray
    starts: np.ndarray
    positives: np.ndarray
    pairs: np.ndarray | None = None

    def scores(self, weights: TermWeights) -> np.ndarray:
        """(X, C): each clip by its best row."""
        scores = self.texts.flat(weights).cpu().numpy() @ self.vectors.T
        return np.maximum.reduceat(scores, self.starts, axis=1)


def right_answers(captions: Mapping[str, Sequence[str]], clips: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the texts (X), each once, and which belong to which clip (X, C), by ids; ``captions`` are by clip id."""
    place = {clip_id: column for column, clip_id in enumerate(clips)}
    pairs = [(text.strip(), place[key]) for key, texts in captions.items() if key in place for text in texts]
    rows = {text: i for i, text in enumerate(dict.fromkeys(text for text, _ in pairs if text))}
    if not rows:
        raise LibraryError("No clip of this library has a caption to measure with; give a file of captions.")
    if len(rows) > MOST_CAPTIONS:
        raise LibraryError(f"{len(rows)} captions are too many for this page; give at most {MOST_CAPTIONS}.")
    positives = np.zeros((len(rows), len(clips)), dtype=bool)
    for text, column in pairs:
        if text:
            positives[rows[text], column] = True
    return [*rows], positives


def measure_library(
    queries: Queries,
    ranking: Ranking,
    library: LibraryReader,
    captions: Path | None,
    weights: TermWeights,
    where: ClipFilter | None = None,
) -> Measurement:
    """Measure both directions among the clips ``where`` with their own captions, or those of a file."""
    where = where or ClipFilter()
    left_out: tuple[str, ...] = ()
    if captions is None:
        clips = library.catalogue.spread(MOST_CLIPS, replace(where, captioned=True))
        known: Mapping[str, Sequence[str]] = {clip.id: clip.captions for clip in clips}
    else:
        file = read_captions(captions, max_bytes=MOST_BYTES, max_rows=MOST_CAPTIONS)
        every = library.catalogue.page(where)
        known, left_out = match_captions(file, [(clip.id, clip.name, clip.source) for clip in every])
        if not known:
            raise LibraryError(f"No line of {file.name} fits a clip of this library; {describe_left_out(left_out)}.")
        clips = [clip for clip in every if clip.id in known][:MOST_CLIPS]
    others = [clip for clip in library.catalogue.spread(MOST_CLIPS, where) if clip.id not in known]
    clips = sorted((*clips, *others[: MOST_CLIPS - len(clips)]), key=lambda clip: clip.number)
    clips, vectors = ranking.table(clips)
    starts = np.cumsum([0, *(max(1, len(clip.moments)) for clip in clips)])[:-1]
    texts, positives = right_answers(known, [clip.id for clip in clips])
    features = queries.model.encode_text(parse_many(texts))
    table = LibraryTable(features, vectors, starts, positives)
    results = report(table, weights)
    forth = _recall(results["text_to_video"], len(texts))
    back = _recall(results["video_to_text"], int(positives.any(axis=0).sum()))
    sides = ("text_to_video R@1", "video_to_text R@1")
    return Measurement(
        texts=len(texts),
        clips=len(clips),
        library=library.catalogue.sums(where).clips,
        captioned=back.queries,
        text_to_video=forth,
        video_to_text=back,
        ablations={name: (row[sides[0]], row[sides[1]]) for name, row in ablations(table, weights).items()},
        query_ms=query_ms(queries, ranking.store, texts, weights),
        vector_bytes=vectors.nbytes / len(clips),
        stored_bytes=sum(clip.stored_bytes for clip in clips) / len(clips),
        left_out=left_out,
    )


def query_ms(queries: Queries, store: VectorStore, texts: Sequence[str], weights: TermWeights) -> float:
    """Return milliseconds to parse, encode and search one sentence, the median of a few."""
    taken = []
    for text in texts[:TIMED]:
        started = time.perf_counter()
        store.search(queries.flat(parse_many([text]), weights)[0], 1)
        taken.append(1000 * (time.perf_counter() - started))
    return float(np.median(taken))


def _recall(results: dict[str, Any], queries: int) -> Recall:
    intervals = {name: (low, high) for name, (low, high) in results["interval_95"].items()}
    return Recall(queries, {name: results[name] for name in intervals}, intervals)
