"""Optimisation: parameter groups, learning-rate factor, gradient clipping, EMA and WiSE-FT weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vtr_demo.errors import ConfigError
from vtr_demo.model.mcsan import GLOBAL, Roles
from vtr_demo.model.model import VTRModel
from vtr_demo.model.s2ca import Concepts

GLOBAL_HEAD = ("video.whole.3.weight", *(f"{side}.pools.{GLOBAL}.value_hidden.weight" for side in ("video", "text")))
"""Weights that the global level adds to the towers' joint space; zero-initialised."""
OF_GLOBAL = ("video.whole", "video.pools.0", "text.pools.0", "text.word_bias")
"""Parts of the model that the global level alone depends on, beside its row of ``video.prior``."""
FINAL_FACTOR = 0.02
"""Factor on the learning rate at the last step."""
MAX_SKIPPED = 10
"""Successive steps that fp16 may skip: from its first scale, 65536, that leaves 64."""
ROLE_RATE = 5.0
"""Factor on the learning rate of roles: they multiply each other across the modalities, and a product of two
small factors learns slowly (our decision)."""


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Return the learning-rate factor of ``step`` (from 1): linear warm-up, cosine to ``FINAL_FACTOR``.

    ``warmup`` is the share of ``steps`` in which the rate rises (Loshchilov and Hutter, SGDR, ICLR 2017).
    """
    rising = max(1, round(warmup * steps))
    if step <= rising:
        return step / rising
    done = (step - rising) / max(1, steps - rising)
    return FINAL_FACTOR + (1 - FINAL_FACTOR) * (1 + math.cos(math.pi * done)) / 2


def parameter_groups(
    heads: Sequence[nn.Module],
    towers: nn.Module | None,
    *,
    lr: float,
    allocation_rate: float,
    backbone_lr: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Return AdamW's groups: rates by part of the model, weight decay on matrices alone.

    Roles learn at ``ROLE_RATE`` times ``lr``, concept allocation at ``allocation_rate`` times, the towers, if
    they learn, at ``backbone_lr``. Biases, gains and log-priors are not decayed: decay would pull a
    log-prior, a choice of where to look, to "everywhere alike".
    """
    parts = [part for head in heads for part in head.modules()]
    roles = {id(p) for part in parts if isinstance(part, Roles) for p in part.parameters()}
    allocation = {id(p) for part in parts if isinstance(part, Concepts) for p in part.allocating()}
    named = [pair for head in heads for pair in head.named_parameters()]
    groups = []
    for members, rate in ((roles, ROLE_RATE), (allocation, allocation_rate)):
        some = [(name, p) for name, p in named if id(p) in members]
        groups += _split_by_decay(some, lr * rate, weight_decay / max(rate, 1.0))
    others = [(name, p) for name, p in named if id(p) not in roles | allocation]
    groups += _split_by_decay(others, lr, weight_decay)
    if towers is not None:
        groups += _split_by_decay(list(towers.named_parameters()), backbone_lr, weight_decay)
    return groups


def freeze_all_but(model: nn.Module, names: Sequence[str]) -> None:
    """Let only the parameters of the parts in ``names`` learn; without any name all do.

    Raises ConfigError for a name that the model does not have.
    """
    parameters = dict(model.named_parameters())
    for name in names:
        if not any(_belongs(parameter, name) for parameter in parameters):
            parts = ", ".join(child for child, _ in model.named_children())
            raise ConfigError(f"train_only names {name!r}, but the model has no such part; its parts are {parts}.")
    for name, parameter in parameters.items():
        parameter.requires_grad_(not names or any(_belongs(name, part) for part in names))


def hold_global(model: VTRModel) -> None:
    """Let nothing learn that the global level depends on, so that it ranks as it does now."""
    for name, parameter in model.named_parameters():
        if any(_belongs(name, part) for part in OF_GLOBAL):
            parameter.requires_grad_(False)
    others = torch.ones_like(model.video.prior)
    others[GLOBAL] = 0
    model.video.prior.register_hook(lambda gradient: gradient * others.to(gradient.device))


def _belongs(parameter: str, part: str) -> bool:
    return f"{parameter}.".startswith(f"{part}.")


def training_mode(model: nn.Module) -> None:
    """Put ``model`` into training mode, except its frozen parts: they compute without dropout."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _split_by_decay(named: Sequence[tuple[str, nn.Parameter]], lr: float, weight_decay: float) -> list[dict[str, Any]]:
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 and not name.endswith("prior") else exempt).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay, "lr": lr},
        {"params": exempt, "weight_decay": 0.0, "lr": lr},
    ]


class ClipAndStep:
    """Steps ``optimizer`` along gradients clipped to a joint norm of ``clip_norm``.

    An enabled ``scaler`` (fp16) skips steps whose gradients overflow and halves its scale, so that single
    skips are normal and ``MAX_SKIPPED`` in a row are not.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: Any, clip_norm: float) -> None:
        self._optimizer, self._scaler, self._clip_norm = optimizer, scaler, clip_norm
        self._tolerated = MAX_SKIPPED if scaler.is_enabled() else 1
        self._skipped = 0

    def step(self) -> str:
        """Take one step; returns an empty string, or what is not finite where training must stop."""
        self._scaler.unscale_(self._optimizer)
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        self._skipped = 0 if torch.isfinite(norm) else self._skipped + 1
        if self._skipped >= self._tolerated:
            repeated = "" if self._tolerated == 1 else f", for {self._skipped} steps in a row,"
            return f"The gradient{repeated}"
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return ""


# --------------------------------------------------------------------------- weights to evaluate and save
def exponential_average(module: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average (EMA) of ``module`` that starts at its present weights.

    The decay at step n is min(decay, (1 + n) / (10 + n)), so that the first steps are soon forgotten
    (TensorFlow's ExponentialMovingAverage with ``num_updates``).
    """

    def average(averaged: Any, current: Any, count: Any) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, count)

    averaged = AveragedModel(module, multi_avg_fn=average)
    averaged.update_parameters(module)  # the first update copies
    return averaged


@contextmanager
def swap_in(module: nn.Module, averaged: AveragedModel) -> Iterator[None]:
    """Context manager: ``module`` holds the weights of ``averaged``."""
    with _holding(list(module.parameters()), list(averaged.module.parameters())):
        yield


def global_head(model: VTRModel) -> list[Tensor]:
    """Return copies of the weights that the global level adds to the towers' joint space."""
    return [model.get_parameter(name).detach().clone() for name in GLOBAL_HEAD]


@contextmanager
def wise_ft(model: VTRModel, start: Sequence[Tensor], share: float) -> Iterator[None]:
    """Context manager: the global head is interpolated from ``start`` (0) to its trained weights (1).

    Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), CVPR 2022, applied to the one level
    that can rank before any training.
    """
    trained = [model.get_parameter(name) for name in GLOBAL_HEAD]
    with _holding(trained, [torch.lerp(a, b.detach(), share) for a, b in zip(start, trained, strict=True)]):
        yield


@contextmanager
def _holding(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
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
