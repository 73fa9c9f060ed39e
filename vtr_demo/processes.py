"""Work in pure Python, parsing above all, shared by several processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")
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
