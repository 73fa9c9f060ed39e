"""A page that strangers share: each sees and deletes their own clips alone, within quotas, for a while."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

pytest.importorskip("gradio")

from gradio_client import Client
from gradio_client.exceptions import AppError
from starlette.requests import HTTPConnection

from tests.helpers.fake_engine import SCENES, write_clip
from tests.ui.conftest import serving
from vtr_demo.config import SharedConfig
from vtr_demo.errors import LibraryError, stop_if_unwanted
from vtr_demo.library.engine import Engine
from vtr_demo.structures import Mix
from vtr_demo.ui import shelf, visitors
from vtr_demo.ui.page import Page, build_page, launch_options
from vtr_demo.ui.shelf import Listing

SHARING = SharedConfig(visitor_clips=2, visitor_bytes=10**9, all_clips=3, all_bytes=10**9, sentences=5)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    return [write_clip(scene, folder, 1.0)[0] for scene in SCENES[:4]]


@pytest.fixture(scope="module")
def library(films, tmp_path_factory):
    with closing(Engine.open(tmp_path_factory.mktemp("shared") / "library", "tiny")) as engine:
        engine.add(films[:1], captions=[["a red ball rolls"]])
        yield engine


class Shared:
    """An engine behind a shared page, of which ``who`` is the present visitor."""

    def __init__(self, engine: Engine, folder: Path, sharing: SharedConfig = SHARING) -> None:
        self.who, self.folder = "", folder
        self.engine = visitors.VisitorEngine(engine, sharing, lambda: self.who)

    def add(self, who: str, film: Path) -> str:
        """Upload a copy of a film as a visitor; returns the clip's id, or its name where it is known."""
        self.who = who
        upload = self.folder / film.name
        shutil.copy(film, upload)
        try:
            report = self.engine.add([upload])
        finally:
            assert not upload.exists()
        assert not report.failed
        return (*report.added, *report.known)[0]


@pytest.fixture
def shared(library, tmp_path):
    page = Shared(library, tmp_path)
    yield page
    for clip in library.clips():
        if clip.visitor:
            library.delete(clip.clip_id)


def test_a_clip_is_its_visitors_alone_in_everything_that_is_answered(shared, library, films):
    (ours,) = [clip.clip_id for clip in library.clips()]
    hers = shared.add("a", films[1])
    assert {clip.clip_id for clip in shared.engine.list(0, 1000).clips} == {ours, hers}
    assert {hit.clip_id for hit in shared.engine.search("a dog", 9).hits} == {ours, hers}
    shared.who = "b"
    assert [clip.clip_id for clip in shared.engine.list(0, 1000).clips] == [ours]
    assert [clip.clip_id for clip in shared.engine.list().clips] == [ours]
    assert {hit.clip_id for hit in shared.engine.search("a dog", 9).hits} == {ours}
    assert shared.engine.status().clips == 1
    assert all(shot.clip_id == ours for view in shared.engine.concepts() for shot in view.shots)
    with pytest.raises(LibraryError) as unknown:
        shared.engine.clip("0123456789ab")
    asked: list[Callable[[], object]] = [
        lambda: shared.engine.clip(hers),
        lambda: shared.engine.media(hers),
        lambda: shared.engine.poster(hers),
        lambda: shared.engine.still(hers, 0),
        lambda: shared.engine.describe(hers, ["a dog"]),
        lambda: shared.engine.explain("a dog", hers),
        lambda: shared.engine.search("a dog", mix=Mix(like=hers)),
        lambda: shared.engine.set_aside([hers]),
        lambda: shared.engine.edit(hers, name="mine"),
    ]
    for ask in asked:
        with pytest.raises(LibraryError) as refused:
            ask()
        assert str(refused.value) == str(unknown.value).replace("0123456789ab", hers)
    shared.who = "a"
    shared.engine.set_aside([hers])
    assert [clip.clip_id for clip in library.clips()] == [ours]


def test_the_same_film_of_two_visitors_is_two_clips_and_one_survives_the_other(shared, library, films):
    hers, his = shared.add("a", films[1]), shared.add("b", films[1])
    assert hers != his
    assert shared.add("b", films[1]) == films[1].name  # known
    shared.engine.set_aside([his])
    shared.who = "a"
    assert shared.engine.media(hers).read_bytes() == films[1].read_bytes()
    shared.engine.set_aside([hers])
    assert not [clip for clip in library.clips() if clip.visitor]
    media = library.status().directory
    assert not [path for path in Path(media, "media").iterdir() if path.read_bytes() == films[1].read_bytes()]


def test_the_librarys_own_clips_are_known_and_nobodys_to_delete(shared, library, films):
    (ours,) = [clip.clip_id for clip in library.clips()]
    assert shared.add("a", films[0]) == films[0].name  # known
    for change in ({"do": "delete", "clips": ours}, {"do": "edit", "clip": ours, "name": "mine"}):
        with pytest.raises(LibraryError, match="that you added"):
            shelf.act(shared.engine, change)
    assert f'data-pick="{ours}"' not in shelf.shelf(shared.engine, Listing(), shared=True)
    for name in ("delete", "restore", "empty_deleted", "rename", "rebuild", "add_samples", "prune", "close"):
        with pytest.raises(LibraryError, match="not possible on a shared page"):
            getattr(shared.engine, name)


def test_quotas_hold_for_a_visitor_and_for_all_in_clips_and_in_bytes(shared, library, films, tmp_path):
    shared.add("a", films[1])
    shared.add("a", films[2])
    with pytest.raises(LibraryError, match="at most 2 clips"):
        shared.add("a", films[3])
    shared.add("b", films[3])
    with pytest.raises(LibraryError, match="at most 3 clips"):
        shared.add("c", films[3])
    with pytest.raises(LibraryError, match="cookie"):
        shared.add("", films[3])
    with pytest.raises(LibraryError, match="6 sentences are too many"):
        shared.engine.describe(shared.engine.list(0, 1000).clips[0].clip_id, ["a dog"] * 6)
    with pytest.raises(LibraryError, match="0 MB of your clips"):
        Shared(library, tmp_path, SharedConfig(visitor_bytes=1000)).add("d", films[1])


def test_a_page_that_is_served_deletes_old_clips_of_visitors_and_no_others(shared, library, films, monkeypatch):
    monkeypatch.setattr(visitors, "PURGE_S", 0.1)
    shared.add("a", films[1])
    now = datetime.now(UTC)
    assert library.forget_visitors((now - timedelta(hours=1)).isoformat(timespec="seconds")) == 0

    async def serve() -> None:
        page = build_page(library, SharedConfig(kept_hours=1 / 3600))
        async with launch_options(page)["app_kwargs"]["lifespan"](None):
            for _ in range(200):
                if len(library.clips()) == 1:
                    return
                await asyncio.sleep(0.05)

    asyncio.run(serve())
    assert [clip.visitor for clip in library.clips()] == [""]


def test_no_record_has_another_file_served_than_the_film_that_was_indexed(films, tmp_path):
    film, nameless = Path(shutil.copy(films[0], tmp_path)), Path(shutil.copy(films[0], tmp_path / "secret"))
    with closing(Engine.open(tmp_path / "library", "tiny")) as engine:
        (clip_id,) = engine.add([film], keep_copy=False).added
        assert engine.media(clip_id) == film
        writer = engine._indexer.writer()
        clip = writer.get(clip_id)
        for other in (Path("/etc/passwd"), nameless, films[1], tmp_path / "library" / "library.db", tmp_path):
            writer.update(replace(clip, source=str(other)))
            with pytest.raises(LibraryError):
                engine.media(clip_id)
        engine.poster(clip_id).write_bytes(b"<script>")
        with pytest.raises(LibraryError, match="poster"):
            engine.poster(clip_id)


# --------------------------------------------------------------------------- tokens
def test_a_token_names_its_visitor_until_it_expires_and_no_change_to_it_is_accepted():
    tokens = visitors.Tokens(b"key", 100)
    token = tokens.issue()
    visitor, left = tokens.read(token)
    assert 98 < left <= 100
    assert tokens.read(tokens.issue(visitor))[0] == visitor
    for cookies, whose in ((f"other=1; {visitors.COOKIE}={token}", visitor), ("", "")):
        headers = [(b"cookie", cookies.encode())]
        assert tokens.of(HTTPConnection({"type": "http", "headers": headers}))[0] == whose
    for i in range(len(token)):
        for changed in (token[:i] + ("0" if token[i] != "0" else "1") + token[i + 1 :], token[:i], token[i + 1 :]):
            assert tokens.read(changed) == ("", 0.0)
    assert visitors.Tokens(b"other", 100).read(token) == ("", 0.0)
    assert tokens.read(visitors.Tokens(b"key", -1).issue()) == ("", 0.0)


def test_the_key_stays_with_the_library(tmp_path):
    with closing(Engine.open(tmp_path / "library", "tiny")) as engine:
        key = engine.visitor_key()
        assert engine.visitor_key() == key
    with closing(Engine.open(tmp_path / "library", "tiny")) as engine:
        assert engine.visitor_key() == key


# --------------------------------------------------------------------------- over HTTP
@pytest.fixture(scope="module")
def page(library, films):
    """(engine, address, a film) of a shared page."""
    with serving(library, SHARING, ["demo.example"]) as url:
        yield library, url, films[1]


def ask(url: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def arrive(url: str) -> str:
    """Open the page as a new visitor; returns the cookie."""
    cookie = ask(url, "/", Accept="text/html").getheader("set-cookie")
    assert "HttpOnly" in cookie
    return cookie.partition(";")[0]


def test_a_browser_keeps_its_cookie_and_another_gets_another(page):
    _, url, _ = page
    cookie = arrive(url)
    assert ask(url, "/", Accept="text/html", Cookie=cookie).getheader("set-cookie") is None
    assert arrive(url) != cookie
    over_tls = ask(url, "/", Accept="text/html", X_Forwarded_Proto="https").getheader("set-cookie")
    assert "Secure; SameSite=None; Partitioned" in over_tls


def test_media_of_a_visitors_clip_need_their_cookie(page):
    engine, url, film = page
    cookie = arrive(url)
    visitor, _ = visitors.tokens_of(engine, SHARING).read(cookie.partition("=")[2])
    (clip_id,) = engine.add([film], visitor=visitor).added
    for kind in ("media", "poster"):
        assert ask(url, f"/clips/{clip_id}/{kind}", Cookie=cookie).status == 200
        assert ask(url, f"/clips/{clip_id}/{kind}").status == 404
        assert ask(url, f"/clips/{clip_id}/{kind}", Cookie=arrive(url)).status == 404
    for who, theirs in (({"Cookie": cookie}, [clip_id]), ({}, []), ({"Cookie": arrive(url)}, [])):
        rows = ask(url, "/results.csv?q=a+ball&mine=1", **who).read().decode("utf-8-sig").splitlines()[1:]
        assert [row.split(",")[1] for row in rows] == theirs
    engine.delete(clip_id)


@pytest.mark.parametrize(
    ("host", "served"),
    [("evil.example", False), ("127.0.0.1.evil.example", False), ("localhost.evil.example:80", False), ("", False),
     ("localhost", True), ("127.0.0.1:1", True), ("[::1]:7860", True), ("10.1.2.3", True), ("demo.example", True),
     ("DEMO.example.", True)],
)  # fmt: skip
def test_only_our_own_names_are_served(page, host, served):
    _, url, _ = page
    answers = {path: ask(url, path, Host=host).status for path in ("/", "/config", "/gradio_api/info")}
    assert set(answers.values()) == ({200} if served else {421})


def test_a_shared_page_tells_nothing_of_this_machine(page):
    engine, url, _ = page
    for path in ("/", "/config", "/gradio_api/info", "/monitoring/summary"):
        assert engine.status().directory not in ask(url, path).read().decode()
    assert ask(url, "/monitoring/summary").status == 403
    assert ask(url, "/openapi.json").status == 404
    assert ask(url, "/docs").status == 404


def test_an_upload_through_the_page_is_found_again_with_the_same_cookie(page):
    """The whole way, as a browser goes it: upload, event with its queue, state after a reload."""
    engine, url, film = page
    cookie = arrive(url)
    before = {clip.clip_id for clip in engine.clips()}
    with httpx.Client(base_url=url, headers={"cookie": cookie}, timeout=60) as browser:
        config = browser.get("config").json()
        (upload,) = (one["id"] for one in config["components"] if one["props"].get("elem_id") == "upload")
        (event_id,) = (one["id"] for one in config["dependencies"] if [upload, "upload"] in one["targets"])
        files = {"files": (film.name, film.read_bytes(), "video/mp4")}
        raw = browser.post("gradio_api/upload", files=files).json()[0]
        data = {"path": raw, "orig_name": film.name, "meta": {"_type": "gradio.FileData"}}
        event = {"data": [[data], None, None], "fn_index": event_id, "session_hash": "a"}
        assert browser.post("gradio_api/queue/join", json=event).status_code == 200
        with browser.stream("GET", "gradio_api/queue/data?session_hash=a") as events:
            assert any('"process_completed"' in line and '"success":true' in line for line in events.iter_lines())
        assert not Path(raw).exists()
    (new,) = {clip.clip_id for clip in engine.clips()} - before
    assert engine.clip(new).visitor
    assert ask(url, f"/clips/{new}/media", Cookie=cookie).status == 200
    listed = Client(url, verbose=False, headers={"cookie": cookie}).predict(api_name="/library_status")
    assert new in json.dumps(listed)
    assert new not in json.dumps(Client(url, verbose=False).predict(api_name="/library_status"))
    engine.delete(new)


def test_work_that_nobody_waits_for_ends_with_a_sentence(page, monkeypatch):
    engine, url, _ = page
    (clip,) = engine.clips()
    client = Client(url, verbose=False)
    assert client.predict(clip.clip_id, ["a dog"], api_name="/rank_captions")
    monkeypatch.setattr(Page, "is_wanted", lambda self, event: False)
    with pytest.raises(AppError, match="closed before it was done"):
        client.predict(clip.clip_id, ["a cat"], api_name="/rank_captions")
    stop_if_unwanted()  # outside of it nothing is stopped
