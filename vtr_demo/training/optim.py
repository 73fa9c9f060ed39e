"""Optimisation: AdamW, its parameter groups and schedule, what is frozen, and EMA and WiSE-FT weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vtr_demo.errors import ConfigError
from vtr_demo.model.mcsan import GLOBAL, Roles
from vtr_demo.model.model import VTRModel

GLOBAL_HEAD = ("video.whole.3.weight", *(f"{side}.pools.{GLOBAL}.value_hidden.weight" for side in ("video", "text")))
"""Weights that the global level adds to the towers' joint space; zero-initialised."""
OF_GLOBAL = ("video.whole", "video.pools.0", "text.pools.0", "text.word_bias")
"""Parts of the model that the global level alone depends on, beside its row of ``video.prior``."""
FINAL_FACTOR = 0.02
"""Factor on the learning rate at the last step."""
ROLE_RATE = 5.0
"""Factor on the learning rate of roles: they multiply each other across the modalities, and a product of two
small factors learns slowly (our decision)."""


def build_optimizer(
    groups: Sequence[dict[str, Any]], device: torch.device, *, steps: int, warmup: float
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Return AdamW over ``parameter_groups``, and the schedule that moves their rates by ``warmup_cosine``."""
    optimizer = torch.optim.AdamW(list(groups), fused=device.type == "cuda" or None)
    return optimizer, LambdaLR(optimizer, lambda taken: warmup_cosine(taken + 1, steps, warmup))


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
    heads: Sequence[nn.Module], towers: nn.Module | None, *, lr: float, backbone_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return AdamW's groups: rates by part of the model, weight decay on matrices alone.

    Roles learn at ``ROLE_RATE`` times ``lr``, the towers, if they learn, at ``backbone_lr``. Biases, gains and
    log-priors are not decayed: decay would pull a log-prior, a choice of where to look, to "everywhere alike".
    """
    roles = {id(p) for head in heads for part in head.modules() if isinstance(part, Roles) for p in part.parameters()}
    named = [pair for head in heads for pair in head.named_parameters()]
    fast = [(name, p) for name, p in named if id(p) in roles]
    others = [(name, p) for name, p in named if id(p) not in roles]
    groups = _split_by_decay(fast, lr * ROLE_RATE, weight_decay / ROLE_RATE) + _split_by_decay(others, lr, weight_decay)
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
    with holding(trained, [torch.lerp(a, b.detach(), share) for a, b in zip(start, trained, strict=True)]):
        yield


@contextmanager
def holding(parameters: Iterable[Tensor], values: Iterable[Tensor]) -> Iterator[None]:
    """Context manager: ``parameters`` hold ``values``."""
    own = list(parameters)
    before = [parameter.detach().clone() for parameter in own]
    with torch.no_grad():
        torch._foreach_copy_(own, list(values))
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(own, before)
