"""Both directions of retrieval over captioned clips, by named protocols, with intervals and ablations."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from vtr_demo import metrics
from vtr_demo.checkpoint import Pretrained
from vtr_demo.config import TrainConfig
from vtr_demo.corpus import Item, file_items
from vtr_demo.data import Dataset, load_dataset
from vtr_demo.features import TermWeights, TextFeatures, VideoFeatures
from vtr_demo.model import join_texts, join_videos
from vtr_demo.records import LEVELS, pad_video_tokens
from vtr_demo.tokens import VideoCache, encode_texts, text_batch

Protocol = Literal["best_caption", "each_caption"]
_CHUNK = 32


@dataclass(frozen=True)
class Table:
    """Encoded texts and videos of a test, and which belong together: positives (texts, videos) bool."""

    texts: TextFeatures
    videos: VideoFeatures
    positives: np.ndarray

    def scores(self, weights: TermWeights) -> np.ndarray:
        """(texts, videos)."""
        return (self.texts.flat(weights) @ self.videos.flat().T).cpu().numpy()


@torch.no_grad()
def encode_table(pretrained: Pretrained, items: Sequence[Item], cache: VideoCache) -> Table:
    """Encode a test. Equal captions are one text, right for each of their clips; padding changes nothing."""
    model = pretrained.model
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    known = encode_texts([s for item in items for s in item.sentences], pretrained.backbone)
    texts = list(known)
    place = {text: row for row, text in enumerate(texts)}
    positives = np.zeros((len(texts), len(items)), dtype=bool)
    for column, item in enumerate(items):
        positives[[place[s.text] for s in item.sentences], column] = True
    videos = [
        model.encode_video(pad_video_tokens([cache.get(i) for i in items[a : a + _CHUNK]]).to(device))
        for a in range(0, len(items), _CHUNK)
    ]
    chunks = [texts[a : a + _CHUNK] for a in range(0, len(texts), _CHUNK)]
    encoded = [model.encode_text(text_batch([known[t] for t in chunk]).to(device)) for chunk in chunks]
    model.train(was_training)
    return Table(join_texts(encoded), join_videos(videos), positives)


def ranks_of(table: Table, weights: TermWeights, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of text to video, one a text, and of video to text by ``protocol``."""
    scores = table.scores(weights)
    return metrics.text_to_video(scores, table.positives), metrics.video_to_text(
        scores, table.positives, protocol
    )


def report(
    table: Table,
    weights: TermWeights,
    *,
    protocol: Protocol = "best_caption",
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Both directions' metrics in percent with 95 % bootstrap intervals over the queries."""
    answer: dict[str, Any] = {}
    for name, rank in zip(
        ("text_to_video", "video_to_text"), ranks_of(table, weights, protocol), strict=True
    ):
        spread = metrics.interval(rank, seed=seed, resamples=resamples)
        answer[name] = metrics.summarize(rank) | {"interval_95": {k: list(v) for k, v in spread.items()}}
    texts, videos = table.positives.shape
    return answer | {"texts": texts, "videos": videos, "video_to_text_protocol": protocol}


def ablations(table: Table, weights: TermWeights, protocol: Protocol = "best_caption") -> dict[str, Any]:
    """R@1 of both directions with each term alone and with each term left out (no training involved)."""
    names = [*LEVELS, "concepts"]
    fields = ["global_", *names[1:]]
    rows: dict[str, Any] = {}
    for name, key in zip(names, fields, strict=True):
        if not getattr(weights, key):
            continue
        alone = TermWeights(**{other: float(other == key) for other in fields})
        rows[f"only {name}"] = _recall(table, alone, protocol)
        if sum(bool(getattr(weights, other)) for other in fields) > 1:
            rows[f"without {name}"] = _recall(table, replace(weights, **{key: 0.0}), protocol)
    return rows


def _recall(table: Table, weights: TermWeights, protocol: Protocol) -> dict[str, float]:
    t2v, v2t = ranks_of(table, weights, protocol)
    return {
        "text_to_video R@1": metrics.summarize(t2v)["R@1"],
        "video_to_text R@1": metrics.summarize(v2t)["R@1"],
    }


def evaluate(
    pretrained: Pretrained,
    data: str,
    *,
    split: str = "test",
    annotations: Path | None = None,
    videos: Path | None = None,
    kind: str = "",
    protocol: Protocol = "best_caption",
    weights: TermWeights | None = None,
    cache: Path | None = None,
    with_ablations: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure a model on a manifest or benchmark; ``kind`` keeps only rows of that kind (e.g. `real`)."""
    dataset = load_dataset(data, split=split, annotations=annotations, videos=videos)
    dataset = _of_kind(dataset, kind)
    if progress:
        progress(dataset.summary())
    weights = weights or pretrained.model.default_weights
    store = VideoCache(cache, pretrained.backbone, pretrained.model, pretrained.video.clip_frames)
    items = store.fill(file_items(dataset, pretrained.video), dataset.name)
    started = time.perf_counter()
    table = encode_table(pretrained, items, store)
    encoded_s = time.perf_counter() - started
    started = time.perf_counter()
    table.scores(weights)
    ranked_s = time.perf_counter() - started
    texts, clips = table.positives.shape
    answer = report(table, weights, protocol=protocol)
    answer |= {
        "model": pretrained.spec,
        "data": dataset.name,
        "split": dataset.split,
        "kind": kind or "all",
        "missing_videos": len(dataset.missing) + len(dataset.clips) - len(items),
        "weights": asdict(weights),
        "cost": {
            "bytes_per_clip": 4 * table.videos.flat().shape[1],
            "ms_per_query_ranking": 1000 * ranked_s / texts,
            "ms_per_item_heads_and_text_tower": 1000 * encoded_s / (texts + clips),
        },
    }
    if with_ablations:
        answer["ablations"] = ablations(table, weights, protocol)
    return answer


def _of_kind(dataset: Dataset, kind: str) -> Dataset:
    if not kind:
        return dataset
    return replace(dataset, clips=tuple(clip for clip in dataset.clips if clip.kind == kind))


def validation_value(answer: dict[str, Any]) -> float:
    """One number to choose checkpoints by: the mean of R@1, R@5 and R@10 over both directions."""
    both = (answer["text_to_video"], answer["video_to_text"])
    return float(np.mean([side[name] for side in both for name in ("R@1", "R@5", "R@10")]))


def default_cache(config: TrainConfig) -> Path | None:
    """Where a training run keeps tokens; None keeps them in memory only."""
    return Path(config.cache) if config.cache else None
