"""Many visitors at once: no error but an honest refusal, searches that long requests do not hold, memory that stays.

The full form is fifty clients for two minutes: ``python -m pytest -m full tests/ui/test_load.py``.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import sys
import threading
import time
from collections import defaultdict
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from tests.helpers.fake_engine import SCENES, write_clip
from tests.ui.conftest import program
from vtr_demo.library.engine import Engine

pytest.importorskip("gradio")

TEXTS = [caption for scene in SCENES for caption in scene.captions]
SHARES = {"search": 8, "explain": 3, "rank": 1, "status": 2, "media": 4, "upload": 0.3}
"""How often a visitor asks for what."""
BUSY = re.compile(r"again in about (\d+) second")


class Visitor:
    """A client that mixes all that the page offers, and waits as long as it is told to where the page is busy.

    ``waits`` are seconds by kind, ``busy`` those that it was told, ``errors`` what was no answer.
    """

    def __init__(self, url: str, seed: int, film: Path) -> None:
        self.http = httpx.Client(base_url=url, timeout=180)
        self.random, self.film = random.Random(seed), film
        self.waits: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []
        self.busy: list[int] = []

    def run(self, until: float) -> None:
        """Ask until a time."""
        self.http.get("/", headers={"accept": "text/html"})
        while time.monotonic() < until:
            kind = self.random.choices([*SHARES], [*SHARES.values()])[0]
            try:
                getattr(self, kind)()
            except (httpx.HTTPError, AssertionError, KeyError, ValueError) as error:
                self.errors.append(f"{kind}: {error!r}")

    def call(self, name: str, *values: object) -> list:
        """Call a function of the API; a refusal that says what to do is an answer, too."""
        started = time.monotonic()
        joined = self.http.post(f"gradio_api/call/{name}", json={"data": values})
        text = self.http.get(f"gradio_api/call/{name}/{joined.json()['event_id']}").text
        if "event: complete" not in text:
            refused = BUSY.search(text)
            assert refused, text[:300]
            self.busy.append(int(refused[1]))
            time.sleep(min(int(refused[1]), 10) * self.random.uniform(0.5, 1.5))
            return []
        self.waits[name].append(time.monotonic() - started)
        return json.loads(text.rpartition("data: ")[2])[0]

    def search(self) -> None:
        """A search, with one of a few sentences."""
        hits = self.call("search_videos", self.random.choice(TEXTS), 5)
        assert not hits or len(hits) == len({hit["id"] for hit in hits})

    def explain(self) -> None:
        """An explanation of the best hit."""
        text = self.random.choice(TEXTS)
        for hit in self.call("search_videos", text, 1):
            why = self.call("explain_match", text, hit["id"])
            assert not why or abs(why["score"] - hit["score"]) < 1e-4

    def rank(self) -> None:
        """As many sentences as a request may have."""
        for hit in self.call("search_videos", TEXTS[0], 1):
            self.call("rank_captions", hit["id"], [f"{text} number {i}" for i in range(14) for text in TEXTS])

    def status(self) -> None:
        """What is there: of this visitor and the library alone."""
        self.call("library_status")

    def media(self) -> None:
        """A film and its poster."""
        for hit in self.call("search_videos", self.random.choice(TEXTS), 1):
            for link in (hit["links"]["media"], hit["links"]["poster"]):
                assert self.http.get(link).status_code == 200

    def upload(self) -> None:
        """A file sent and then abandoned, as by a visitor who leaves."""
        self.http.post("gradio_api/upload", files={"files": (self.film.name, self.film.read_bytes(), "video/mp4")})


def load(folder: Path, clients: int, seconds: float, model: str) -> tuple[list[Visitor], list[int]]:
    """Serve drawn clips, or of a trained model the sample clips, to so many clients for a while: the clients, and the
    server's memory in bytes."""
    films = [write_clip(scene, folder, 1.0)[0] for scene in SCENES]
    if model == "tiny":
        with closing(Engine.open(folder / "library", model)) as engine:
            engine.add(films, captions=[scene.captions for scene in SCENES])
    memory = []
    with program("--library", folder / "library", "--model", model, "--shared") as (url, server):
        there, wanted = 0, len(films) if model == "tiny" else 40
        while there < wanted:
            time.sleep(0.5)
            with suppress(httpx.HTTPError, AssertionError, LookupError, TypeError):  # while it starts
                there = Visitor(url, 0, films[0]).call("library_status")["count"]
        until = time.monotonic() + seconds
        visitors = [Visitor(url, seed, films[0]) for seed in range(clients)]
        threads = [threading.Thread(target=visitor.run, args=(until,)) for visitor in visitors]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
            memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
            time.sleep(0.5)
    return visitors, memory


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("clients", "seconds", "model"),
    [pytest.param(6, 6, "tiny", marks=pytest.mark.slow), pytest.param(50, 120, "bundled", marks=pytest.mark.full)],
)
@pytest.mark.timeout(900)
def test_many_visitors_get_answers_or_honest_refusals(tmp_path, clients, seconds, model):
    visitors, memory = load(tmp_path, clients, seconds, model)
    assert [error for visitor in visitors for error in visitor.errors] == []
    told = [seconds for visitor in visitors for seconds in visitor.busy]
    for name in ("search_videos", "explain_match", "rank_captions", "library_status"):
        waits = sorted(s for visitor in visitors for s in visitor.waits[name])
        if waits:
            most = f"95 % {waits[int(0.95 * len(waits))]:.2f} s, most {waits[-1]:.2f} s"
            print(f"{name}: {len(waits)}, median {statistics.median(waits):.2f} s, {most}")
    print(f"busy: {len(told)}, told {statistics.median(told or [0]):g} s")
    print("MB by tens of seconds:", [round(m / 2**20) for m in memory[::20]])
    assert sum(len(visitor.waits["search_videos"]) for visitor in visitors) > 0
    early, late = memory[len(memory) // 2 : -len(memory) // 4], memory[-len(memory) // 4 :]
    assert statistics.median(late) < 1.1 * statistics.median(early)
