"""Whose request is worked on next: visitors take turns, so that nobody waits for more than a few others."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from vtr_demo.errors import VtrError

AHEAD = 3
"""Requests of others that one waits for at most; our decision, as the next two."""
OWN, ALONE = 4, 32
"""Requests of one visitor that may be there at a time, on a page that strangers share and on one's own."""
LOOK_S = 1.0
"""How often a request that waits asks whether its client still does."""
_SMOOTHING = 0.2


class BusyError(VtrError):
    """A request that would wait too long; says when to ask again."""


class Turns:
    """One request is worked on at a time. A visitor's requests wait for one another, and then take turns with others'.

    At most ``AHEAD`` others are there when a visitor comes, else the request is refused: from when it is the first of
    its visitor's, a request waits for at most so many. All calls come from one event loop.
    """

    def __init__(self, own: int = OWN) -> None:
        self._own = own
        self._lanes: OrderedDict[str, deque[asyncio.Event]] = OrderedDict()  # the first of the first is worked on
        self._usual_s = 1.0

    @asynccontextmanager
    async def turn(self, visitor: str, wanted: Callable[[], bool] = lambda: True) -> AsyncIterator[None]:
        """Wait for a turn and keep it for the block; ``BusyError`` where it would be long, or nobody waits any more."""
        lane = self._lanes.get(visitor, deque())
        others = sum(len(one) for name, one in self._lanes.items() if name != visitor)
        if len(self._lanes) - (visitor in self._lanes) > AHEAD:
            raise BusyError(f"The page is busy with others' requests; {self._again(others)}.")
        if len(lane) >= self._own:
            raise BusyError(
                f"Your last {len(lane)} requests are still being worked on; {self._again(others + len(lane))}."
            )
        mine = asyncio.Event()
        self._lanes.setdefault(visitor, lane).append(mine)
        self._next()
        try:
            while not mine.is_set():
                try:
                    await asyncio.wait_for(mine.wait(), LOOK_S)
                except TimeoutError:
                    if not wanted():
                        raise BusyError("The request was closed before its turn came; ask again.") from None
            started = time.monotonic()
            yield
            self._usual_s += _SMOOTHING * (time.monotonic() - started - self._usual_s)
        finally:
            lane.remove(mine)
            if mine.is_set():
                self._lanes.move_to_end(visitor)
            if not lane:
                del self._lanes[visitor]
            self._next()

    def _next(self) -> None:
        """Give the turn to the first request of the first visitor; changes nothing while it has it."""
        if self._lanes:
            next(iter(self._lanes.values()))[0].set()

    def _again(self, requests: int) -> str:
        seconds = max(1, math.ceil(requests * self._usual_s))
        return f"ask again in about {seconds} second{'s' * (seconds > 1)}"
