"""How weights move: parameter groups with their own rates, the schedule, a moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vtr_demo.config import TrainConfig
from vtr_demo.model.model import VTRModel
from vtr_demo.model.roles import Roles
from vtr_demo.model.s2ca import Concepts
from vtr_demo.structures import LEVELS

GROWN = (
    "video.whole.3.weight",
    *(f"{side}.pools.{LEVELS.index('global')}.value_hidden.weight" for side in ("video", "text")),
)
"""What the global level adds to the towers' own space; zero where training starts from nothing."""
FLOOR = 0.02
"""What is left of the learning rate at the end."""
SKIPPED = 10
"""Steps in a row that fp16 may skip: from its first scale, 65536, that leaves 64."""
ROLE_RATE = 5.0
"""Roles multiply each other across the modalities, and a product of two small factors learns slowly."""
ALLOCATION_RATE = 0.1
"""What decides a token's concept starts from k-means, the same for every seed, and hardly leaves it: at three
tenths of the rate two seeds found other concepts (the model card has the figures)."""


def schedule(step: int, config: TrainConfig) -> float:
    """The factor on every learning rate at ``step`` (from 1): linear warm-up, then a cosine to 2 %."""
    warm = max(1, round(config.warmup * config.steps))
    if step <= warm:
        return step / warm
    done = (step - warm) / max(1, config.steps - warm)
    return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2


def parameter_groups(
    heads: Sequence[nn.Module], towers: nn.Module | None, config: TrainConfig
) -> list[dict[str, Any]]:
    """Weight decay on matrices alone; roles at ``ROLE_RATE`` times the rate, the allocation to concepts at
    ``ALLOCATION_RATE`` times; the towers, where they learn, at ``backbone_lr``.

    ``peak`` is the learning rate that ``schedule`` scales.
    """
    parts = [part for head in heads for part in head.modules()]
    paced = [
        ([p for part in parts if isinstance(part, Roles) for p in part.parameters()], ROLE_RATE),
        ([p for part in parts if isinstance(part, Concepts) for p in part.allocating()], ALLOCATION_RATE),
    ]
    own = {id(p) for some, _ in paced for p in some}
    others = [p for head in heads for p in head.parameters() if id(p) not in own]
    groups = _decayed(others, config.lr, config.weight_decay)
    for some, rate in paced:
        groups += _decayed(some, config.lr * rate, config.weight_decay / max(rate, 1.0))
    if towers is not None:
        groups += _decayed(list(towers.parameters()), config.backbone_lr, config.weight_decay)
    return groups


def _decayed(parameters: list[nn.Parameter], peak: float, decay: float) -> list[dict[str, Any]]:
    learning = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": decay, "peak": peak},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0, "peak": peak},
    ]


def grown(model: VTRModel) -> list[Tensor]:
    """A copy of what the global level adds to the towers' own space."""
    return [model.get_parameter(name).detach().clone() for name in GROWN]


@contextmanager
def between(model: VTRModel, start: Sequence[Tensor], share: float) -> Iterator[None]:
    """For as long as the block runs, what the global level adds to the towers' own space lies at ``share`` of
    the way from where training started to where it is; ``start`` was then its ``grown``.

    "Robust fine-tuning of zero-shot models", Wortsman et al., CVPR 2022 (WiSE-FT), for the one level that can
    rank before it has learnt anything.
    """
    ends = [model.get_parameter(name) for name in GROWN]
    with _holding(ends, [torch.lerp(a, b.detach(), share) for a, b in zip(start, ends, strict=True)]):
        yield


@contextmanager
def _holding(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """``parameters`` hold ``values`` for as long as the block runs."""
    before = [parameter.detach().clone() for parameter in parameters]
    _fill(parameters, values)
    try:
        yield
    finally:
        _fill(parameters, before)


@torch.no_grad()
def _fill(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


class ClipAndStep:
    """Steps of ``optimizer`` along gradients that are clipped to a joint norm of ``clip_norm``.

    An enabled ``scaler`` (fp16) skips steps whose gradients overflow and halves its scale each time, so
    that some are usual; many in a row are gradients that no scale makes finite.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: Any, clip_norm: float) -> None:
        self._optimizer, self._scaler, self._clip_norm = optimizer, scaler, clip_norm
        self._most = SKIPPED if scaler.is_enabled() else 1
        self._bad = 0

    def step(self) -> str:
        """Take one step; an empty string, or what is not finite, where training must not go on."""
        self._scaler.unscale_(self._optimizer)
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        self._bad = 0 if torch.isfinite(norm) else self._bad + 1
        if self._bad >= self._most:
            return "The gradient" if self._most == 1 else f"The gradient, for {self._bad} steps in a row,"
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return ""


class Average:
    """An exponential moving average of the learning weights of ``modules`` (EMA).

    The decay rises as (1 + step) / (10 + step) up to ``decay``, so that the first steps, which are the
    furthest off, are forgotten soon (TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        self._decay = decay
        self._live = {
            f"{name}.{key}": parameter
            for name, module in modules.items()
            for key, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self._kept = {key: value.detach().clone() for key, value in self._live.items()}

    def update(self, step: int) -> None:
        """Take in the weights after ``step`` (from 1)."""
        average = get_ema_multi_avg_fn(min(self._decay, (1 + step) / (10 + step)))
        average(tuple(self._kept.values()), tuple(self._live.values()), step)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The modules hold the averaged weights for as long as the block runs."""
        with _holding(list(self._live.values()), [self._kept[key] for key in self._live]):
            yield

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name."""
        return self._kept

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of ``state_dict``."""
        for key, value in self._kept.items():
            value.copy_(state[key])
