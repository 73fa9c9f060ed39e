"""What one process computes of a training step: a batch drawn, encoded and heard by the losses."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vtr_demo.backbone import Backbone
from vtr_demo.config import TrainConfig
from vtr_demo.distill import Distiller
from vtr_demo.model import VTRModel
from vtr_demo.objective import loss_terms
from vtr_demo.sampler import Sampler
from vtr_demo.sides import autocast

HALVES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Step(nn.Module):
    """One module, so that every learning weight is found in it."""

    def __init__(
        self, config: TrainConfig, model: VTRModel, distiller: Distiller | None, towers: Backbone | None
    ) -> None:
        super().__init__()
        self.config, self.model, self.distiller, self.towers = config, model, distiller, towers
        self.precision = HALVES[config.precision]

    def forward(self, sampler: Sampler, rng: np.random.Generator, done: float) -> dict[str, Tensor]:
        """The loss terms of the batch that ``sampler`` draws, with the share of training that is ``done``."""
        device = next(self.model.parameters()).device
        with autocast(device, self.precision if self.towers is not None else None):
            batch = sampler.batch(rng, done).to(device)
        if self.precision is None:
            return loss_terms(self.model, batch, self.config.loss, self.distiller)
        return loss_terms(self.model, batch, self.config.loss, self.distiller, self.precision)
