"""The yardsticks of the model card: ConSE alone, and a plain two-layer head on pooled features.

The plain head knows no levels, words or concepts: mean patches of a clip through a small network
into the sentence space, trained with the same data, seeds and soft targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo import metrics
from vtr_demo.backbone import Backbone, load_backbone
from vtr_demo.config import TrainConfig
from vtr_demo.corpus import Item, load_items
from vtr_demo.losses import info_nce, soft_targets
from vtr_demo.tokens import encode_texts

STEPS, BATCH, WIDTH = 600, 256, 1024
SCALE, TEMPERATURE = 20.0, 0.1


class PlainHead(nn.Module):
    """Pooled patches (B, Dv) to unit vectors (B, D) in the sentence space."""

    def __init__(self, patch_width: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(patch_width, WIDTH), nn.GELU(), nn.Dropout(0.3), nn.Linear(WIDTH, width)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, Dv) -> (B, D)."""
        return F.normalize(self.layers(pooled), dim=-1)


def train_plain_head(pooled: Tensor, sentences: list[Tensor], *, seed: int) -> PlainHead:
    """Fit to clips (N, Dv) and, for each, the unit vectors (captions, D) of its sentences."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = PlainHead(pooled.shape[1], sentences[0].shape[1])
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    head.train()
    for _ in range(STEPS):
        rows = rng.choice(len(pooled), min(BATCH, len(pooled)), replace=False)
        texts = torch.stack([sentences[i][int(rng.integers(len(sentences[i])))] for i in rows])
        scores = SCALE * texts @ head(pooled[rows]).T
        loss = info_nce(scores, soft_targets(texts @ texts.T, TEMPERATURE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.eval()


@torch.no_grad()
def pooled_clip(item: Item, backbone: Backbone, frames: int) -> tuple[Tensor, Tensor]:
    """Mean patch (Dv,) and unit mean frame summary (D,) of one clip."""
    tokens = backbone.encode_frames(item.frames(frames, backbone.frame_size).pixels)
    return tokens.patches.mean((0, 1, 2)), F.normalize(tokens.whole.mean((0, 1)), dim=-1)


def compare_baselines(
    config: TrainConfig, kinds: Sequence[str] = ("real", "generated"), seeds: Sequence[int] = (0, 1, 2)
) -> dict[str, Any]:
    """Metrics by kind of validation row: ConSE, and per seed the plain head, alone and with half of ConSE."""
    from tqdm import tqdm

    backbone = load_backbone(config.model.backbone)
    train = load_items(config.train, "train", config)
    test = load_items(config.validation, config.validation_split, config)
    texts = encode_texts([s for item in (*train, *test) for s in item.sentences], backbone)
    bar = tqdm([*train, *test], desc="pooled features", unit="clip", disable=None)
    features = [pooled_clip(item, backbone, config.video.clip_frames) for item in bar]
    pooled = torch.stack([patch for patch, _ in features])
    conse = torch.stack([summary for _, summary in features])[len(train) :]
    meanings = [torch.stack([texts[s.text].meaning[0] for s in item.sentences]) for item in train]
    heads = {seed: train_plain_head(pooled[: len(train)], meanings, seed=seed) for seed in seeds}
    answer: dict[str, Any] = {}
    for kind in kinds:
        rows = [i for i, item in enumerate(test) if item.clip is not None and item.clip.kind == kind]
        chosen = [test[i] for i in rows]
        sentences = list(dict.fromkeys(s.text for item in chosen for s in item.sentences))
        positives = np.array([[t in {s.text for s in item.sentences} for item in chosen] for t in sentences])
        queries = torch.stack([texts[t].meaning[0] for t in sentences])
        answer[kind] = {"ConSE": _measured(queries, conse[rows], positives)}
        for seed, head in heads.items():
            with torch.no_grad():
                own = head(pooled[len(train) :][rows])
            answer[kind][f"plain head, seed {seed}"] = _measured(queries, own, positives)
            mixed = own + 0.5 * conse[rows]
            answer[kind][f"plain head + ConSE/2, seed {seed}"] = _measured(queries, mixed, positives)
    return answer


def _measured(queries: Tensor, videos: Tensor, positives: np.ndarray) -> dict[str, dict[str, float]]:
    scores = (queries @ F.normalize(videos, dim=-1).T).numpy()
    return {
        "text_to_video": metrics.summarize(metrics.text_to_video(scores, positives)),
        "video_to_text": metrics.summarize(metrics.video_to_text(scores, positives)),
    }
