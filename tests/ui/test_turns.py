"""Visitors take turns: no request waits for more than three of others, whoever asks for how much."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading

import pytest

pytest.importorskip("gradio")

import httpx

from vtr_demo.config import SharedConfig
from vtr_demo.library.engine import Engine
from vtr_demo.ui.page import build_page, launch_options
from vtr_demo.ui.turns import OWN, BusyError, Turns

MOST = 3
"""Others' requests that one waits for (issue 23)."""


async def settled() -> None:
    for _ in range(9):
        await asyncio.sleep(0)


class Asked:
    """A request whose work ends when it is told so; ``waited`` is None until it is the first of its visitor's."""

    def __init__(self, turns: Turns, visitor: str) -> None:
        self.visitor, self.works, self.end = visitor, False, asyncio.Event()
        self.waited: int | None = None
        self.task = asyncio.create_task(self._run(turns))

    async def _run(self, turns: Turns) -> None:
        async with turns.turn(self.visitor):
            self.works = True
            await self.end.wait()
            self.works = False


@pytest.mark.parametrize("seed", range(12))
def test_one_works_at_a_time_and_nobody_waits_for_more_than_three_others(seed):
    rng = random.Random(seed)

    async def play() -> tuple[int, int]:
        turns, there, refused, longest = Turns(), [], 0, 0
        before: Asked | None = None
        for _ in range(300):
            action, new = rng.random(), None
            if action < 0.6 or not there:
                there.append(new := Asked(turns, rng.choice("AAAABCDEFGH")))
            elif action < 0.9:
                next(one for one in there if one.works).end.set()
            else:
                rng.choice(there).task.cancel()  # its client has gone
            await settled()
            if new is not None and new.task.done():
                refused += 1
                assert re.search(r"ask again in about \d+ second", str(new.task.exception()))
                others = {one.visitor for one in there if one.visitor != new.visitor}
                own = [one for one in there if one.visitor == new.visitor]
                assert len(others) > MOST or len(own) > OWN
            there = [one for one in there if not one.task.done()]
            works = [one for one in there if one.works]
            assert len(works) == min(1, len(there))
            for number, one in enumerate(there):
                first = one.visitor not in {earlier.visitor for earlier in there[:number]}
                if first and not one.works and works[0].visitor != one.visitor and works[0] is not before:
                    one.waited = (one.waited or 0) + 1
                elif first and one.waited is None:
                    one.waited = int(not one.works and works[0].visitor != one.visitor)
                longest = max(longest, one.waited or 0)
            before = works[0] if works else None
        for one in there:
            one.task.cancel()
        return longest, refused

    longest, refused = asyncio.run(play())
    assert longest == MOST
    assert refused


def test_a_request_whose_client_is_gone_leaves_its_place(monkeypatch):
    monkeypatch.setattr("vtr_demo.ui.turns.LOOK_S", 0.01)

    async def play() -> None:
        turns = Turns()
        working = Asked(turns, "A")
        await settled()
        with pytest.raises(BusyError, match="closed"):
            async with turns.turn("B", lambda: False):
                raise AssertionError
        working.end.set()
        await working.task
        async with turns.turn("C"):
            pass

    asyncio.run(play())


def test_a_visitor_who_asks_for_much_does_not_hold_another_whichever_way_they_ask(tmp_path):
    log, started, go_on = [], threading.Semaphore(0), threading.Semaphore(0)
    engine, sharing = Engine.open(tmp_path / "library", "tiny"), SharedConfig()
    search = engine.search

    def slow(text, *args, **options):
        """A search that ends when it is told so."""
        log.append(text)
        started.release()
        assert go_on.acquire(timeout=60)
        return search(text, *args, **options)

    engine.search = slow
    page = build_page(engine, sharing)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(page))
    clients = [httpx.Client(base_url=url, timeout=60) for _ in range(6)]
    try:
        for client in clients:
            client.get("/", headers={"accept": "text/html"})

        def ask(who: int, number: int) -> str:
            data = {"data": [f"visitor {who} asks {number}"]}
            return clients[who].post("gradio_api/call/search_videos", json=data).json()["event_id"]

        def answer(who: int, event: str) -> str:
            return clients[who].get(f"gradio_api/call/search_videos/{event}").text

        def by_mcp(who: int) -> str:
            call = {"name": "search_videos", "arguments": {"text": f"visitor {who} asks a tool"}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
            headers = {"accept": "application/json, text/event-stream"}
            result = clients[who].post("gradio_api/mcp/", json=body, headers=headers).json()["result"]
            assert result["isError"]
            return result["content"][0]["text"]

        heavy = [ask(0, number) for number in range(OWN)]
        assert started.acquire(timeout=60)
        others = [ask(who, 0) for who in (1, 2, 3)]
        refused = [answer(who, ask(who, OWN)).rpartition("data: ")[2] for who in (0, 4)]
        for text in (*(json.loads(one)["error"] for one in refused), by_mcp(0), by_mcp(4)):
            assert re.search(r"again in about \d+ second", text)
        go_on.release(20)
        answers = [answer(0, event) for event in heavy] + [answer(who, one) for who, one in enumerate(others, 1)]
        assert all("event: complete" in text for text in answers)
        assert not {*heavy, *others} & set(page.state_holder.session_data)
        order = [int(text.split()[1]) for text in log]
        assert order[0] == 0
        assert sorted(order[1:4]) == [1, 2, 3]
        assert order[4:] == [0] * (OWN - 1)
    finally:
        go_on.release(100)
        page.close()
        engine.close()
