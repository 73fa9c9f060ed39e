"""Can the confidence be believed? A library's own captions against queries about nothing in it.

Three kinds of such queries, each measured by itself:

    shipped    one half of the shipped sentences asks, the other half is the null; then the reverse
    left out   each caption asks the library without the clips that it belongs to. The hardest:
               clips like those that were taken away may remain, and then a match is no mistake
    given      sentences of a file, against all shipped sentences

Figures as in ``calibration``; whole clips, without moments, which ``moment_quality`` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.calibration import ask_given, ask_halves, ask_left_out, summary
from vtr_demo.checkpoint import Pretrained
from vtr_demo.corpus import file_items
from vtr_demo.evaluate import encode_table, open_test
from vtr_demo.features import TermWeights
from vtr_demo.nullset import CONFIDENT_P, null_captions
from vtr_demo.text import parse_many
from vtr_demo.tokens import VideoCache


def reliability(
    pretrained: Pretrained,
    data: str,
    *,
    split: str = "test",
    kind: str = "",
    given: Sequence[str] = (),
    weights: TermWeights | None = None,
    cache: Path | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Measure the confidence on a manifest's clips and captions; ``given`` are queries about nothing."""
    weights = weights or pretrained.model.default_weights
    dataset = open_test(data, split=split, annotations=None, videos=None, kind=kind)
    store = VideoCache(cache, pretrained.backbone, pretrained.model, pretrained.video.clip_frames)
    table = encode_table(pretrained, store.fill(file_items(dataset, pretrained.video), dataset.name), store)
    videos = table.videos.flat().cpu().numpy()
    shipped = _flat(pretrained, null_captions(), weights) @ videos.T
    scores = table.scores(weights)
    groups = table.positives.argmax(axis=1)
    asked = {
        "shipped": ask_halves(scores, groups, shipped),
        "left_out": ask_left_out(scores, table.positives, shipped),
    }
    if given:
        others = _flat(pretrained, tuple(dict.fromkeys(given)), weights) @ videos.T
        asked["given"] = ask_given(scores, groups, shipped, others)
    return {name: summary(one, seed=seed, resamples=resamples) for name, one in asked.items()} | {
        "threshold": CONFIDENT_P,
        "shipped_sentences": len(shipped),
        "texts": len(scores),
        "videos": len(videos),
        "model": pretrained.spec,
        "data": dataset.name,
        "kind": kind or "all",
    }


def _flat(pretrained: Pretrained, texts: Sequence[str], weights: TermWeights) -> np.ndarray:
    """(N, F): the text side of the score for sentences without a clip."""
    return pretrained.encode_text(parse_many(texts)).flat(weights).cpu().numpy()
