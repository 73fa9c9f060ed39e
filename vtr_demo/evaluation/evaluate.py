"""Evaluate one checkpoint, or compare two, on captioned clips, and probe its levels on minimal pairs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vtr_demo.config import Protocol, Split
from vtr_demo.data.cache import VideoCache, Videos
from vtr_demo.data.captions import text_tokens
from vtr_demo.data.dataset import Sample, drawn_sample, file_samples
from vtr_demo.data.manifest import Dataset, load_dataset
from vtr_demo.data.sampler import Batch
from vtr_demo.data.short import QUERY_KINDS, right_clips, sample_sentences, short_queries
from vtr_demo.evaluation.metrics import (
    Table,
    ablations,
    bootstrap,
    interval,
    paired_differences,
    ranks,
    ranks_of,
    report,
    summarize,
    usage_entropy,
)
from vtr_demo.model.attributes import Vocabulary, label_matrix
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.model import VTRModel, join_texts, join_videos
from vtr_demo.playground.captions import PAIR_LEVELS, PairLevel, minimal_pair
from vtr_demo.playground.layout import sample_spec
from vtr_demo.structures import (
    LEVELS,
    Sentence,
    TermWeights,
    TextTokens,
    VideoFeatures,
    pad_text_tokens,
    pad_video_tokens,
)
from vtr_demo.text.parser import parse_many

_CHUNK = 32
HEAD = 0.2
"""Share of the attributes that counts as their head; MCSAN's focal loss is meant for the tail."""
MAX_QUERIES = 2000
"""Short queries of each kind that are measured; of more, a random choice."""


def token_cache(trained: RetrievalModel, folder: Path | None) -> VideoCache:
    """Return the cache of tower tokens that ``trained`` takes, in ``folder`` or in memory."""
    model, backbone = trained.model, trained.backbone
    return VideoCache(folder, backbone, trained.video.clip_frames, reduce=model.reduced, reduce_key=model.reduction_key)


@torch.no_grad()
def encode_table(
    trained: RetrievalModel, items: Sequence[Sample], cache: Videos, texts: Mapping[str, TextTokens] | None = None
) -> Table:
    """Encode a test set; equal captions become one text, right for each of their clips.

    ``texts`` holds the tokens of the sentences by their text, where they are known already.
    """
    model, backbone = trained.model, trained.backbone
    device = next(model.parameters()).device
    training = model.training, backbone.training
    model.eval()
    backbone.eval()
    tokens = texts or text_tokens([s for item in items for s in item.sentences], backbone)
    captions = list(dict.fromkeys(s.text for item in items for s in item.sentences))
    row = {text: index for index, text in enumerate(captions)}
    pairs = np.array([(row[s.text], column) for column, item in enumerate(items) for s in item.sentences])
    positives = np.zeros((len(captions), len(items)), dtype=bool)
    positives[pairs[:, 0], pairs[:, 1]] = True
    videos = [
        model.encode_video(pad_video_tokens([cache.get(i) for i in items[a : a + _CHUNK]]).to(device))
        for a in range(0, len(items), _CHUNK)
    ]
    encoded = [
        model.encode_text(pad_text_tokens([tokens[t] for t in captions[a : a + _CHUNK]]).to(device))
        for a in range(0, len(captions), _CHUNK)
    ]
    model.train(training[0])
    backbone.train(training[1])
    return Table(join_texts(encoded), join_videos(videos), positives, pairs)


@torch.no_grad()
def attribute_precision(
    model: VTRModel, table: Table, items: Sequence[Sample], vocabulary: Vocabulary, training_labels: Sequence[Tensor]
) -> dict[str, float]:
    """Return the mean average precision (percent) of attributes as `entity AP head`, `entity AP tail`, ...

    The head is the fifth of the attributes that is most frequent in training, which is where the
    imbalance comes from; attributes that no clip of the test set carries do not count.
    """
    from sklearn.metrics import average_precision_score

    if model.attributes is None:
        return {}
    labels = label_matrix([list(item.sentences) for item in items], vocabulary)
    logits = model.attributes(table.videos.levels)
    precision = {}
    for level, scores, training in zip(LEVELS, logits, training_labels, strict=True):
        truth, counts = labels[level].numpy() > 0, (training.numpy() > 0).sum(axis=0)
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
        cut = math.ceil(HEAD * len(order))
        for part, columns in (("head", order[:cut]), ("tail", order[cut:])):
            known = [k for k in columns if truth[:, k].any()]
            if known:
                values = average_precision_score(truth[:, known], scores[:, known].float().cpu().numpy())
                precision[f"{level} AP {part}"] = 100 * float(values)
    return precision


@torch.no_grad()
def concept_usage(model: VTRModel, batch: Batch) -> dict[str, float]:
    """Return the usage entropy of the concepts in a batch, by modality (see ``metrics.usage_entropy``).

    Of the probabilities, and (`hard`) of the arg-max, which allocates at test time: probabilities may be
    even while one concept is a little ahead everywhere and takes all tokens. `certainty` is the mean largest
    probability of a token, from 1 / K to 1.
    """
    batch = batch.to(next(model.parameters()).device)
    sides = {
        "video": [model.forward_video(tokens).concepts for tokens in batch.videos],
        "text": [model.forward_text(batch.texts).concepts],
    }
    answer = {}
    for side, parts in sides.items():
        soft = torch.stack([part.soft.sum((0, 2)) for part in parts]).sum(0)
        chosen = torch.cat([part.index().flatten() for part in parts])
        hard = torch.bincount(chosen[chosen >= 0], minlength=model.config.concepts)
        for name, counts in ((f"usage {side}", soft), (f"usage {side} hard", hard)):
            answer[name] = usage_entropy(counts.double().cpu().numpy())
        largest = torch.cat([part.soft.amax(1).flatten() for part in parts])
        answer[f"certainty {side}"] = float(largest[largest > 0].mean())
    return answer


def evaluate(
    trained: RetrievalModel,
    data: str | Dataset,
    *,
    protocol: Protocol = "merged",
    weights: TermWeights | None = None,
    cache: Path | None = None,
    with_ablations: bool = False,
) -> dict[str, Any]:
    """Evaluate a model on a manifest, or on what ``open_test`` opened.

    Returns the metrics of both directions with their intervals, what was left out, and the cost.
    """
    dataset = open_test(data)
    weights = weights or trained.model.default_weights
    store = token_cache(trained, cache)
    items = store.fill(file_samples(dataset, trained.video), dataset.name)
    started = time.perf_counter()
    table = encode_table(trained, items, store)
    encoded_s = time.perf_counter() - started
    started = time.perf_counter()
    table.scores(weights)
    ranked_s = time.perf_counter() - started
    texts, clips = table.positives.shape
    answer = report(table, weights, protocol=protocol)
    answer |= {
        "model": trained.spec,
        "data": dataset.name,
        "split": dataset.split,
        "kind": dataset.kind or "all",
        **_left_out(dataset, items),
        "weights": asdict(weights),
        "cost": {
            "bytes_per_clip": 4 * table.videos.flat().shape[1],
            "ms_per_query_ranking": 1000 * ranked_s / texts,
            "ms_per_item_heads_and_text_tower": 1000 * encoded_s / (texts + clips),
            "million_parameters_heads": _millions(trained.model),
            "million_parameters_towers": _millions(trained.backbone),
        },
    }
    answer["by_kind"] = by_kind(trained, table.videos, sample_sentences(items), weights)
    if with_ablations:
        answer["ablations"] = ablations(table, weights, protocol)
    return answer


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
            "interval_95": interval(rank, seed=seed),
            "queries": len(queries),
        }
    return answer


def _left_out(dataset: Dataset, items: Sequence[Sample]) -> dict[str, Any]:
    """What could not be evaluated, counted and by id.

    missing: no file, or one that cannot be read (``unreadable`` alone); uncaptioned: listed videos for
    which no sentence was published; left_out: lines of the manifest that could not be used.
    """
    measured = {item.clip.id for item in items if item.clip}
    unreadable = [clip.id for clip in dataset.clips if clip.id not in measured]
    missing = [*dataset.missing, *unreadable]
    return {
        "missing_videos": len(missing),
        "unreadable_clips": len(unreadable),
        "uncaptioned_videos": len(dataset.uncaptioned),
        "missing": missing,
        "unreadable": unreadable,
        "uncaptioned": list(dataset.uncaptioned),
        "left_out": list(dataset.left_out),
    }


def open_test(
    data: str | Dataset,
    *,
    split: str = "test",
    annotations: Path | None = None,
    videos: Path | None = None,
    kind: str = "",
) -> Dataset:
    """Load a manifest or benchmark, unless ``data`` is one already, narrowed to rows of ``kind`` (e.g. `real`)."""
    if isinstance(data, Dataset):
        return data
    dataset = load_dataset(data, split=split, annotations=annotations, videos=videos)
    clips = tuple(clip for clip in dataset.clips if kind in ("", clip.kind))
    return replace(dataset, clips=clips, kind=kind)


def _millions(module: torch.nn.Module) -> float:
    return round(sum(p.numel() for p in module.parameters()) / 1e6, 3)


def validation_value(answer: dict[str, Any]) -> float:
    """Return the mean of R@1, R@5 and R@10 over both directions, which selects the best checkpoint."""
    both = (answer["text_to_video"], answer["video_to_text"])
    return float(np.mean([side[name] for side in both for name in ("R@1", "R@5", "R@10")]))


# --------------------------------------------------------------------------- two checkpoints
def compare(
    first: RetrievalModel,
    second: RetrievalModel,
    data: str | Dataset,
    *,
    protocol: Protocol = "merged",
    cache: Path | None = None,
) -> dict[str, Any]:
    """Return first minus second in both directions, with 95 % intervals by a paired bootstrap over clips.

    Only clips that both models can read count.
    """
    dataset = open_test(data)
    models = (first, second)
    stores = [token_cache(model, cache) for model in models]
    readable = [
        store.fill(file_samples(dataset, model.video), dataset.name)
        for model, store in zip(models, stores, strict=True)
    ]
    shared = {item.clip for item in readable[0]} & {item.clip for item in readable[1]}
    tables = [
        encode_table(model, [item for item in items if item.clip in shared], store)
        for model, items, store in zip(models, readable, stores, strict=True)
    ]
    weights = [model.model.default_weights for model in models]
    a, b = (ranks_of(table, weight, protocol) for table, weight in zip(tables, weights, strict=True))
    return {
        "text_to_video": paired_differences(a.text_to_video, b.text_to_video, groups=a.text_groups),
        "video_to_text": paired_differences(a.video_to_text, b.video_to_text, groups=a.video_groups),
        "models": [first.spec, second.spec],
        "data": dataset.name,
        "split": dataset.split,
        "kind": dataset.kind or "all",
        "videos": len(shared),
        "protocol": protocol,
    }


# --------------------------------------------------------------------------- minimal pairs
def probe(
    trained: RetrievalModel,
    level: PairLevel,
    pairs: int,
    *,
    split: Split = "probe",
    seed: int = 0,
    sprites: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, Any]:
    """Return the accuracy in percent of each term and of the score on minimal pairs of playground clips.

    The two clips of a pair differ in one thing of ``level``. A term is right for (clip A, text a, clip B, text b)
    when it prefers the true partner: s(a, A) > s(a, B) for text to video, s(a, A) > s(b, A) for video to text;
    both texts and both clips are asked, and ties count half. ``split`` is `probe` (unseen combinations) or
    `unseen_sprites`. The 95 % bootstrap interval is over the pairs. ``cache`` keeps the clips' tokens.
    """
    rng = np.random.default_rng([seed, PAIR_LEVELS.index(level)])
    drawn = [minimal_pair(rng, level, split) for _ in range(pairs)]
    specs = [spec for first, _, second, _ in drawn for spec in (first, second)]
    texts = parse_many([text for _, true, _, other in drawn for text in (true, other)])
    items = [drawn_sample(spec, split, str(sprites or "")) for spec in specs]
    videos = _encode_drawn(trained, items, cache, level, progress)
    return {"level": level, "split": split, "pairs": pairs, "seed": seed} | {
        name: _accuracy(table) for name, table in _term_table(trained, texts, videos).items()
    }


def probe_kinds(
    trained: RetrievalModel,
    clips: int,
    *,
    split: Split = "probe",
    seed: int = 0,
    sprites: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, Any]:
    """Return ``by_kind`` on ``clips`` playground clips of ``split``, asked for all names of what they show."""
    rng = np.random.default_rng([seed, 9])  # no draw of the pairs'
    specs = [sample_spec(rng, split=split) for _ in range(clips)]
    items = [drawn_sample(spec, split, str(sprites or "")) for spec in specs]
    videos = _encode_drawn(trained, items, cache, "short queries", progress)
    kinds = by_kind(trained, videos, sample_sentences(items), seed=seed)
    return kinds | {"clips": clips, "split": split, "seed": seed}


@torch.no_grad()
def _encode_drawn(
    trained: RetrievalModel,
    items: Sequence[Sample],
    cache: Path | None,
    label: str,
    progress: Callable[[float, str], None] | None,
) -> VideoFeatures:
    store = token_cache(trained, cache)
    features = []
    for i, item in enumerate(items):
        if progress and i % 10 == 0:
            progress(i / len(items), f"{label}: clip {i + 1} of {len(items)}")
        features.append(trained.model.encode_video(store.read(item)))
    return join_videos(features)


@torch.no_grad()
def _term_table(trained: RetrievalModel, sentences: list[Sentence], videos: VideoFeatures) -> dict[str, np.ndarray]:
    """By term: (pairs, 2, 2) scores of the pair's texts with the pair's clips; and `score`."""

    def table(text: Tensor, video: Tensor) -> np.ndarray:
        a, b = (side.flatten(1).unflatten(0, (-1, 2)) for side in (text, video))
        return np.asarray((a @ b.transpose(1, 2)).cpu())

    texts = trained.encode_text(sentences)
    terms = {name: table(texts.levels[:, i], videos.levels[:, i]) for i, name in enumerate(LEVELS)}
    shares = texts.concept_weights.unsqueeze(-1) * texts.concepts
    score = table(texts.flat(trained.model.default_weights), videos.flat())
    return terms | {"concepts": table(shares, videos.concepts), "score": score}


def _accuracy(tables: np.ndarray) -> dict[str, Any]:
    own, swapped = np.eye(2, dtype=bool), ~np.eye(2, dtype=bool)
    others = {"text_to_video": tables[:, swapped], "video_to_text": tables[:, swapped][:, ::-1]}
    right = {}
    for name, other in others.items():
        margin = tables[:, own] - other  # (pairs, 2)
        right[name] = ((margin > 0) + 0.5 * (margin == 0)).mean(axis=1)
    right["both"] = (right["text_to_video"] + right["video_to_text"]) / 2
    ends = bootstrap(lambda drawn: right["both"][drawn].mean(keepdims=True), len(tables))
    return {name: float(100 * value.mean()) for name, value in right.items()} | {
        "interval_95": (100 * ends[0]).tolist()
    }
