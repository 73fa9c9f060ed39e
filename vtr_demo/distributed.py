"""Helpers for training in several processes: gathered rows with gradients, means over all ranks, one writer.

torchrun starts the processes (gloo on CPU, NCCL on GPU). In a single process every function here is a no-op.

A loss over the gathered vectors is computed alike on every rank; a loss over a rank's own tokens is
weighted by ``rank_weight``. In both cases the mean of the ranks' gradients, which DistributedDataParallel
takes, equals the gradient of one process with the joint batch.
"""

from __future__ import annotations

import logging
import os
import re
import sys
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
TIMEOUT = timedelta(hours=12)
"""How long a collective waits: rank 0 may decode a whole data set first."""
MIN_ITEMS_PER_PROCESS = 20_000
"""Smallest share of ``parallel_map`` worth a process: about 30 s of parsing for 3 s of start-up."""
_BATCH_SIZE = 2_000


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def progress_bar(items: Any = None, **options: Any) -> Any:
    """Return a tqdm bar over ``items``, in the first process alone; where stderr is a file, a state each minute."""
    from tqdm import tqdm

    seconds = 0 if sys.stderr.isatty() else 60
    return tqdm(items, disable=rank() > 0, mininterval=max(0.1, seconds), delay=seconds, **options)


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if world() > 1 else 0


def resolve_device(name: str) -> torch.device:
    """Return the device ``name``: ``cuda`` is this process's GPU, and so is ``auto`` where there is one."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{local}"
    if not re.fullmatch(r"cpu|cuda:\d+", name):
        raise ConfigError(f"Unknown device {name!r}; choose auto, cpu, cuda or cuda:N.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name != "cpu" and int(name.removeprefix("cuda:")) >= count:
        reason = f"torch finds {count} GPUs, counted from 0" if count else "torch finds no GPU"
        raise ConfigError(f"The device is {name!r}, but {reason}; choose auto or cpu.")
    return torch.device(name)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the process group that torchrun's environment describes; rank 0 alone logs below warnings."""
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    log = logging.getLogger("vtr_demo")
    level = log.level
    if rank() > 0:
        log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
        dist.destroy_process_group()


def all_gather(rows: Tensor) -> Tensor:
    """Gather (B, ...) of every rank as (world * B, ...), in the order of ranks, with gradients; B is the same
    on every rank.

    Every rank computes the same loss from the result, so the sum of the ranks' gradients is ``world`` times
    its own and the backward pass needs no communication. (torch.distributed.nn does it with one, and is
    deprecated since torch 2.13.)
    """
    if world() == 1:
        return rows
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world())]
    dist.all_gather(parts, rows.detach().contiguous())
    if rows.requires_grad and torch.is_grad_enabled():
        own = rows.view_as(rows)
        own.register_hook(lambda gradient: gradient * world())
        parts[rank()] = own
    return torch.cat(parts)


def all_reduce_sum(value: Tensor) -> Tensor:
    """Return the sum over the ranks, without gradient."""
    if world() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def rank_weight(count: Tensor) -> Tensor:
    """Return world * count / (sum of the ranks' counts): the weight of a mean over this rank's ``count``
    entries with which the mean over the ranks is the mean over all entries."""
    if world() == 1:
        return torch.ones((), device=count.device)
    count = count.float()
    return world() * count / all_reduce_sum(count).clamp(min=1)


def all_gather_object(value: Any) -> list[Any]:
    """Return the ``value`` of every rank, in the order of ranks."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def scatter_map(values: Sequence[_A], function: Callable[[Sequence[_A]], Sequence[_B]]) -> list[_B]:
    """Return ``function(values)``, of which each rank computes its part; every rank passes all ``values``."""
    parts = all_gather_object(function(values[rank() :: world()]))
    return [parts[i % len(parts)][i // len(parts)] for i in range(len(values))]


def barrier() -> None:
    """Wait until every rank is here."""
    if world() > 1:
        dist.barrier()


def parallel_map(values: Sequence[_A], function: Callable[[Sequence[_A]], Sequence[_B]]) -> list[_B]:
    """Return ``function(values)``, computed by several processes on this machine where there is enough to do.

    Each rank of torchrun gets its share of the processors. ``function`` must be a function of a module, since
    it is pickled by name. An exception in a process is raised here.
    """
    from joblib import Parallel, cpu_count, delayed

    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    processes = min(cpu_count() // ranks, len(values) // MIN_ITEMS_PER_PROCESS)
    if processes < 2:
        return list(function(values))
    batches = [values[start : start + _BATCH_SIZE] for start in range(0, len(values), _BATCH_SIZE)]
    return [result for part in Parallel(processes)(delayed(function)(batch) for batch in batches) for result in part]
