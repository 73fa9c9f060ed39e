"""Recall by kind of query: things, actions, places and pairs of them, as people type them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vtr_demo.data.short import QUERY_KINDS, right_clips, short_queries
from vtr_demo.evaluation.metrics import interval, ranks, summarize
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.structures import Sentence, TermWeights, VideoFeatures
from vtr_demo.text.parser import parse_many

MAX_QUERIES = 2000
"""Queries of each kind that are measured; of more, a random choice."""


def by_kind(
    trained: RetrievalModel,
    videos: VideoFeatures,
    sentences: Sequence[Sequence[Sentence]],
    weights: TermWeights | None = None,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Return text-to-video recall by kind of short query, in percent, with 95 % intervals over the queries.

    ``videos`` are N clips and ``sentences`` what each shows. A clip counts as right if it has all that the
    query names, also where another clip's sentence gave the query. Kinds without a query are left out.
    """
    weights = weights or trained.model.default_weights
    distinct = dict.fromkeys(query for group in sentences for sentence in group for query in short_queries(sentence))
    rng = np.random.default_rng(seed)
    answer: dict[str, Any] = {}
    for kind in QUERY_KINDS:
        queries = [query for query in distinct if query.kind == kind]
        if len(queries) > MAX_QUERIES:
            queries = [queries[i] for i in np.sort(rng.choice(len(queries), MAX_QUERIES, replace=False))]
        if not queries:
            continue
        texts = trained.encode_text(parse_many([query.text for query in queries]))
        scores = (texts.flat(weights) @ videos.flat().T).cpu().numpy()
        rank = ranks(scores, right_clips(queries, sentences))
        answer[kind] = summarize(rank) | {
            "R@3": float(100 * (rank <= 3).mean()),
            "interval_95": {name: list(ends) for name, ends in interval(rank, seed=seed).items()},
            "queries": len(queries),
        }
    return answer
