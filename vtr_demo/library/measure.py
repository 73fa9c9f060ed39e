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


def right_answers(
    captions: Mapping[str, Sequence[str]], owners: Sequence[tuple[str, int]]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the texts (X), each once, the first row of each clip (C,), and which belong together (X, C).

    ``captions`` by clip id; ``owners`` (clip id, moment) of each row, clip by clip.
    """
    clips = list(dict.fromkeys(clip_id for clip_id, _ in owners))
    place = {clip_id: column for column, clip_id in enumerate(clips)}
    first = [i for i, (clip_id, _) in enumerate(owners) if i == 0 or owners[i - 1][0] != clip_id]
    pairs = [(text.strip(), place[key]) for key, texts in captions.items() if key in place for text in texts]
    texts = list(dict.fromkeys(text for text, _ in pairs if text))
    if not texts:
        raise LibraryError("No clip of this library has a caption to measure with; give a file of captions.")
    if len(texts) > MOST_CAPTIONS:
        raise LibraryError(f"{len(texts)} captions are too many for this page; give at most {MOST_CAPTIONS}.")
    row = {text: i for i, text in enumerate(texts)}
    positives = np.zeros((len(texts), len(clips)), dtype=bool)
    for text, column in pairs:
        if text:
            positives[row[text], column] = True
    return texts, np.array(first), positives


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
        clips = library.spread(MOST_CLIPS, replace(where, captioned=True))
        known: Mapping[str, Sequence[str]] = {clip.id: clip.captions for clip in clips}
    else:
        table = read_captions(captions, max_bytes=MOST_BYTES, max_rows=MOST_CAPTIONS)
        every = library.list(where=where)
        known, left_out = match_captions(table, [(clip.id, clip.name, clip.source) for clip in every])
        if not known:
            raise LibraryError(f"No line of {table.name} fits a clip of this library; {describe_left_out(left_out)}.")
        clips = tuple(clip for clip in every if clip.id in known)[:MOST_CLIPS]
    others = [clip for clip in library.spread(MOST_CLIPS, where) if clip.id not in known]
    chosen = sorted((*clips, *others[: MOST_CLIPS - len(clips)]), key=lambda clip: clip.number)
    view = ranking.table(chosen)
    texts, starts, positives = right_answers(known, view.owners)
    features = queries.model.encode_text(parse_many(texts))
    forth, back, without = recalls(LibraryTable(features, view.vectors, starts, positives), weights)
    return Measurement(
        texts=len(texts),
        clips=len(starts),
        library=library.count(where),
        captioned=back.queries,
        text_to_video=forth,
        video_to_text=back,
        ablations=without,
        query_ms=query_ms(queries, ranking.store, texts, weights),
        vector_bytes=view.vectors.nbytes / len(starts),
        stored_bytes=sum(clip.stored_bytes for clip in view.clips.values()) / len(starts),
        left_out=left_out,
    )


def recalls(table: LibraryTable, weights: TermWeights) -> tuple[Recall, Recall, dict[str, tuple[float, float]]]:
    """Return text to video, video to text, and R@1 of both without each term and with it alone."""
    results = report(table, weights)
    without = {
        name: (row["text_to_video R@1"], row["video_to_text R@1"]) for name, row in ablations(table, weights).items()
    }
    texts, captioned = len(table.positives), int(table.positives.any(axis=0).sum())
    sides = (("text_to_video", texts), ("video_to_text", captioned))
    forth, back = (_recall(results[side], queries) for side, queries in sides)
    return forth, back, without


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
