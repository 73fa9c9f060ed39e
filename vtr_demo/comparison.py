"""Two checkpoints on the same queries: is the difference more than luck?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo import metrics
from vtr_demo.checkpoint import Pretrained
from vtr_demo.corpus import file_items
from vtr_demo.evaluate import encode_table, open_test
from vtr_demo.protocols import Protocol, Table, ranks_by
from vtr_demo.tokens import VideoCache


def compare(
    first: Pretrained,
    second: Pretrained,
    data: str,
    *,
    split: str = "test",
    annotations: Path | None = None,
    videos: Path | None = None,
    kind: str = "",
    protocol: Protocol = "best_caption",
    cache: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """First minus second, in both directions, with 95 % intervals by a paired bootstrap over the clips."""
    dataset = open_test(data, split=split, annotations=annotations, videos=videos, kind=kind)
    stores, readable = [], []
    for one in (first, second):
        store = VideoCache(cache, one.backbone, one.model, one.video.clip_frames)
        readable.append(store.fill(file_items(dataset, one.video), dataset.name))
        stores.append(store)
    shared = {item.clip for item in readable[0]} & {item.clip for item in readable[1]}
    tables = [
        encode_table(one, [item for item in items if item.clip in shared], store)
        for one, items, store in zip((first, second), readable, stores, strict=True)
    ]
    answer = difference(
        tables, [one.model.default_weights for one in (first, second)], protocol=protocol, seed=seed
    )
    return answer | {
        "models": [first.spec, second.spec],
        "data": dataset.name,
        "split": dataset.split,
        "kind": kind or "all",
        "videos": len(shared),
        "protocol": protocol,
    }


def difference(
    tables: Sequence[Table], weights: Sequence[Any], *, protocol: Protocol = "best_caption", seed: int = 0
) -> dict[str, Any]:
    """Each metric of the first table minus that of the second, and its interval; the same queries in both."""
    first, second = (
        ranks_by(table.scores(weight), table.positives, protocol, table.pairs)
        for table, weight in zip(tables, weights, strict=True)
    )
    return {
        "text_to_video": _differences(first.text_to_video, second.text_to_video, first.text_groups, seed),
        "video_to_text": _differences(first.video_to_text, second.video_to_text, first.video_groups, seed),
    }


def _differences(a: np.ndarray, b: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, Any]:
    answer = {}
    for metric in metrics.METRICS:
        value, (low, high) = metrics.paired_difference(a, b, metric, seed=seed, groups=groups)
        answer[metric] = {"difference": value, "interval_95": [low, high]}
    return answer
