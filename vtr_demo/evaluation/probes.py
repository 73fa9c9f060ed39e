"""Level probes: minimal pairs of playground clips that differ in one entity, action or relation.

For a pair (clip A, text a, clip B, text b) a term is right in one direction when it prefers the true
partner: s(a, A) > s(a, B) for text to video, s(a, A) > s(b, A) for video to text; both texts and
both clips are asked, so a probe of n pairs has 2n questions a direction. Ties count half.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtr_demo.data.dataset import drawn_sample
from vtr_demo.evaluation.evaluate import token_cache
from vtr_demo.evaluation.metrics import bootstrap
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.model import join_videos
from vtr_demo.playground.captions import minimal_pair
from vtr_demo.playground.spec import Split
from vtr_demo.structures import LEVELS, TERMS, Sentence, TermWeights, TextFeatures, VideoFeatures
from vtr_demo.text.parser import parse_many

PROBED = ("entity", "action", "relationship")


def probe(
    pretrained: RetrievalModel,
    level: str,
    pairs: int,
    *,
    split: Split = "probe",
    seed: int = 0,
    sprites: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, Any]:
    """Return the accuracy in percent of each term and of the score on ``pairs`` minimal pairs of ``level``.

    ``split`` is `probe` (unseen combinations) or `unseen_sprites`; with a 95 % bootstrap interval over
    the pairs. ``cache`` keeps the clips' tokens for the next checkpoint with the same towers.
    """
    store = token_cache(pretrained, cache)
    rng = np.random.default_rng([seed, PROBED.index(level)])
    videos: list[VideoFeatures] = []
    texts: list[str] = []
    for i in range(pairs):
        if progress and i % 10 == 0:
            progress(i / pairs, f"{level}: pair {i + 1} of {pairs}")
        first, one, second, other = minimal_pair(rng, level, split)  # type: ignore[arg-type]
        texts += [one, other]
        for spec in (first, second):
            tokens = store.read(drawn_sample(spec, split, str(sprites or "")))
            with torch.no_grad():
                videos.append(pretrained.model.encode_video(tokens))
    questions = _term_table(pretrained, parse_many(texts), join_videos(videos))
    return {"level": level, "split": split, "pairs": pairs, "seed": seed} | {
        name: _accuracy(table) for name, table in questions.items()
    }


@torch.no_grad()
def _term_table(pretrained: RetrievalModel, sentences: list[Sentence], videos: VideoFeatures) -> dict[str, np.ndarray]:
    """By term: (pairs, 2, 2) scores of the pair's texts with the pair's clips; and `score`."""
    model = pretrained.model
    weights = model.default_weights
    tables: dict[str, list[np.ndarray]] = {name: [] for name in (*TERMS, "score")}
    for row in range(0, len(sentences), 2):
        text = model.encode_text(pretrained.backbone.encode_text(sentences[row : row + 2]))
        clips = VideoFeatures(videos.levels[row : row + 2], videos.concepts[row : row + 2], videos.allocation)
        for name, table in _terms(text, clips, weights).items():
            tables[name].append(table.numpy())
    return {name: np.stack(pairs) for name, pairs in tables.items()}


def _terms(text: TextFeatures, video: VideoFeatures, weights: TermWeights) -> dict[str, torch.Tensor]:
    terms = {name: text.levels[:, i] @ video.levels[:, i].T for i, name in enumerate(LEVELS)}
    shares = text.concept_weights.unsqueeze(-1) * text.concepts
    terms["concepts"] = shares.flatten(1) @ video.concepts.flatten(1).T
    return terms | {"score": text.flat(weights) @ video.flat().T}


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
