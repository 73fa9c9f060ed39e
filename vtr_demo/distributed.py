"""Several processes that train as one: rows gathered with gradients, means over all ranks, one writer.

Started by torchrun (gloo on CPU, NCCL on GPU). In a single process everything here does nothing.

A loss of joint vectors is computed on every rank alike, while a loss of one rank's own tokens is
weighted by ``share``; in both cases the mean of the ranks' gradients, which is what
DistributedDataParallel takes, is the gradient of one process with the joined batch.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from vtr_demo.errors import ConfigError

_A = TypeVar("_A")
_B = TypeVar("_B")
PATIENCE = timedelta(hours=12)
"""How long a rank waits for the others: rank 0 may decode a whole data set first."""


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world() > 1 else 0


def device_of(wanted: str) -> torch.device:
    """``auto``: this process's GPU where there is one, else the CPU."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda":
        wanted = f"cuda:{local}"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f'device is {wanted!r}, but torch finds no GPU; set device to "auto" or "cpu".')
    return torch.device(wanted)


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """The process group that torchrun's environment describes, for as long as the block runs."""
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    package = logging.getLogger("vtr_demo")
    level = package.level
    if rank() > 0:
        package.setLevel(logging.WARNING)  # one rank tells what all of them do
    try:
        yield
    finally:
        package.setLevel(level)
        dist.destroy_process_group()


def gather(rows: Tensor) -> Tensor:
    """(B, ...) of every rank as (world * B, ...), rank by rank, with gradients; B is the same everywhere."""
    return _Gather.apply(rows) if world() > 1 else rows


class _Gather(torch.autograd.Function):
    """Every rank computes the same loss, so the sum of the ranks' gradients is world times its own."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(world())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        start = rank() * ctx.rows
        return gradients[0][start : start + ctx.rows] * world()


def total(value: Tensor) -> Tensor:
    """The sum over the ranks, without a gradient."""
    if world() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def share(count: Tensor) -> Tensor:
    """The factor of a mean over this rank's ``count`` entries that makes the mean of the ranks the joint
    mean: world * count / all counts."""
    if world() == 1:
        return torch.ones((), device=count.device)
    count = count.float()
    return world() * count / total(count).clamp(min=1)


def together(value: Any) -> list[Any]:
    """What every rank says, in the order of the ranks."""
    if world() == 1:
        return [value]
    said: list[Any] = [None] * world()
    dist.all_gather_object(said, value)
    return said


def divided(values: Sequence[_A], work: Callable[[Sequence[_A]], Sequence[_B]]) -> list[_B]:
    """What ``work`` answers to each of ``values``, in order. All ranks have them, and each does its part."""
    parts = together(work(values[rank() :: world()]))
    return [parts[i % len(parts)][i // len(parts)] for i in range(len(values))]


def wait() -> None:
    """Until every rank is here."""
    if world() > 1:
        dist.barrier()


# --------------------------------------------------------------------------- work in pure Python, parsin
WORTH = 20_000
"""Values that each process must have to do: some half a minute of parsing, for three seconds to start."""
_AT_ONCE = 2_000


def spread(values: Sequence[_A], work: Callable[[Sequence[_A]], Sequence[_B]]) -> list[_B]:
    """What ``work`` answers to each of ``values``, in order; an exception of it is raised here.

    Where there is enough to do, as many processes share it as there are processors for each rank of
    torchrun. ``work`` is then found by its name, so it must be a function of a module.
    """
    from joblib import Parallel, cpu_count, delayed

    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    processes = min(cpu_count() // ranks, len(values) // WORTH)
    if processes < 2:
        return list(work(values))
    parts = [values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE)]
    answers = Parallel(processes)(delayed(work)(part) for part in parts)
    return [answer for part in answers for answer in part]
