"""The yardsticks of the model card: ConSE alone, and a plain two-layer head on pooled features.

The plain head knows no levels, words or concepts: mean patches of a clip through a small network
into the sentence space, trained with the same data, seeds and soft targets.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.losses import info_nce, soft_targets

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
