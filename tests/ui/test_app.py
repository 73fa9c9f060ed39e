"""The page's wiring and its API, driven through gradio_client over a stand-in engine, without a browser."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import urllib.error
import urllib.request
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("gradio")

from gradio_client import Client
from gradio_client.exceptions import AppError

import app
from tests.helpers.fake_engine import FakeEngine
from vtr_demo.config import SharedConfig
from vtr_demo.errors import LibraryError
from vtr_demo.structures import TERMS, TermWeights
from vtr_demo.ui import api, html, state
from vtr_demo.ui.address import encode
from vtr_demo.ui.explanation import downloads
from vtr_demo.ui.view import ORDERS, ViewState, Where
from vtr_demo.video.frames import LimitConfig
from vtr_demo.video.reader import VIDEO_EXTENSIONS

SENTENCE = "a red ball rolls across the beach"


@pytest.fixture(scope="module")
def client(served):
    return Client(served[1], verbose=False)


def get(url: str, **headers: str):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)


def test_a_page_starts_also_on_a_machine_too_busy_to_answer_at_once(tmp_path, monkeypatch):
    def late(*_: object, **__: object) -> None:
        raise httpx.ReadTimeout("no answer within 3 s")

    monkeypatch.setattr(httpx, "head", late)
    engine = FakeEngine(tmp_path)
    demo = app.build_ui(engine)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **app.launch_options(engine))
    try:
        assert get(url).status == 200
    finally:
        demo.close()


def test_only_the_four_functions_are_public(client):
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/search_videos", "/rank_captions", "/explain_match", "/library_status"}


def test_search_returns_terms_that_add_up(client):
    hits = client.predict(text=SENTENCE, k=3, api_name="/search_videos")
    assert len(hits) == 3
    assert hits[0]["name"] == "red-ball-beach"
    assert hits == sorted(hits, key=lambda hit: -hit["score"])
    for hit in hits:
        assert sum(hit["terms"].values()) == pytest.approx(hit["score"], abs=1e-5)


def test_the_number_of_results_has_a_default(client, served):
    assert len(client.predict(text=SENTENCE, api_name="/search_videos")) == 8


def test_captions_are_ranked_for_a_clip(client, served):
    clip = served[0].clips()[0]
    sentences = ["the moon rises", "a red ball rolls"]
    ranked = client.predict(clip_id=clip.clip_id, captions=sentences, api_name="/rank_captions")
    assert [hit["text"] for hit in ranked] == sentences[::-1]


def test_an_explanation_adds_up_by_words_frames_and_terms(client, served):
    clip = served[0].clips()[0]
    why = client.predict(text=SENTENCE, clip_id=clip.clip_id, api_name="/explain_match")
    for parts in (why["terms"].values(), (w["adds"] for w in why["words"]), (f["adds"] for f in why["frames"])):
        assert sum(parts) == pytest.approx(why["score"], abs=1e-5)
    assert sum(why["concepts"].values()) == pytest.approx(why["terms"]["concepts"], abs=1e-5)
    assert [word["word"] for word in why["words"][1:]] == SENTENCE.split()


def test_weights_and_muted_concepts_can_be_chosen(client, served):
    clip = served[0].clips()[0]
    pair = {"text": SENTENCE, "clip_id": clip.clip_id}
    full = client.predict(**pair, weights={"concepts": 1}, api_name="/explain_match")
    loud = max(full["concepts"], key=lambda name: abs(full["concepts"][name]))
    less = client.predict(**pair, weights={"concepts": 1}, muted=[loud], api_name="/explain_match")
    assert less["score"] == pytest.approx(full["score"] - full["concepts"][loud], abs=1e-5)
    assert less["concepts"][loud] == 0
    nothing = dict.fromkeys(TERMS, 0)
    hits = client.predict(text=SENTENCE, k=3, weights=nothing | {"action": 1}, api_name="/search_videos")
    assert all(hit["terms"]["action"] == pytest.approx(hit["score"], abs=1e-6) for hit in hits)
    ranked = client.predict(
        clip_id=clip.clip_id, captions=[SENTENCE], weights=nothing | {"global": 1}, api_name="/rank_captions"
    )
    assert ranked[0]["terms"]["global"] == pytest.approx(ranked[0]["score"], abs=1e-6)


def test_the_status_names_what_can_be_weighed_and_muted(client, served):
    status = client.predict(api_name="/library_status")
    assert status["weights"].keys() == set(TERMS)
    assert status["concepts"] == list(served[0].concept_names)


def test_the_status_lists_clips_without_their_paths(client, served):
    status = client.predict(api_name="/library_status")
    assert {clip["id"] for clip in status["clips"]} == {clip.clip_id for clip in served[0].clips()}
    assert str(served[0].folder) not in json.dumps(status)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("/search_videos", {"text": "   "}, "The sentence is empty"),
        ("/explain_match", {"text": SENTENCE, "clip_id": "../../etc/passwd"}, "No clip"),
        ("/search_videos", {"text": SENTENCE, "weights": {"colour": 1}}, "no term .*colour"),
        ("/search_videos", {"text": SENTENCE, "weights": {"action": "much"}}, "weights must be numbers from 0"),
        ("/search_videos", {"text": SENTENCE, "weights": {"action": -1}}, "weights must be numbers from 0"),
        ("/explain_match", {"text": SENTENCE, "clip_id": "a", "moment": "all"}, "moment must be a whole number"),
        ("/search_videos", {"text": SENTENCE, "k": True}, "k must be a whole number"),
        ("/rank_captions", {"clip_id": "nobody", "captions": ["a"]}, "choose one from its list"),
    ],
)
def test_an_error_reaches_the_client_as_a_sentence(client, name, values, message):
    with pytest.raises(AppError, match=message):
        client.predict(**values, api_name=name)


def test_an_explanation_is_of_the_moment_that_was_ranked(client, served):
    for hit in client.predict(text=SENTENCE, k=3, api_name="/search_videos"):
        pair = {"text": SENTENCE, "clip_id": hit["id"]}
        why = client.predict(**pair, api_name="/explain_match")
        assert why["score"] == pytest.approx(hit["score"], abs=1e-5)
        assert why["terms"] == pytest.approx(hit["terms"], abs=1e-5)
        assert client.predict(**pair, moment=hit["moment"], api_name="/explain_match") == why
        whole = client.predict(**pair, moment=-1, api_name="/explain_match")
        expected = served[0].explain(SENTENCE, hit["id"], -1).alignment.score
        assert whole["score"] == pytest.approx(expected, abs=1e-5)


def test_a_message_with_markup_is_shown_as_text():
    @app.reports_errors
    def fails() -> None:
        raise LibraryError("<img src=x> is no clip; choose another.")

    with pytest.raises(app.gr.Error) as caught:
        fails()
    assert caught.value.message == "&lt;img src=x&gt; is no clip; choose another."


def test_media_are_served_by_id_with_ranges(served):
    engine, url = served
    clip = engine.clips()[0]
    with get(f"{url}clips/{clip.clip_id}/media", Range="bytes=0-9") as answer:
        assert answer.status == 206
        assert answer.read() == engine.media(clip.clip_id).read_bytes()[:10]
    with get(f"{url}clips/{clip.clip_id}/poster") as answer:
        assert answer.read() == clip.poster.read_bytes()
    for moment in range(len(clip.moments)):
        with get(f"{url}clips/{clip.clip_id}/moment-{moment}") as answer:
            assert answer.headers["content-type"] == "image/jpeg"
            assert answer.read() == engine.still(clip.clip_id, moment)


@pytest.mark.parametrize(
    "path",
    ["clips/nobody/media", "clips/..%2F..%2Fetc%2Fpasswd/media", "clips/{id}/other",
     "clips/{id}/moment-2", "clips/{id}/moment--1", "clips/{id}/moment-", "clips/{id}/moment-0x1",
     "clips/{id}/moment-9999999", "clips/nobody/moment-0",
     "gradio_api/file={media}", "gradio_api/file=/etc/passwd"],
)  # fmt: skip
def test_nothing_else_is_served(served, path):
    engine, url = served
    clip = engine.clips()[0]
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(url + path.format(id=clip.clip_id, media=engine.media(clip.clip_id)))
    assert caught.value.code in (403, 404)


def table(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.read().decode("utf-8-sig"))))


def kept(served, file: str, **changes: Any):
    """What is explained, and the answer at its address for ``file`` with other values for some of its query."""
    engine, url = served
    hit = engine.search(SENTENCE).hits[0]
    why = engine.explain(SENTENCE, hit)
    addresses = [urlsplit(address) for _, address in downloads(why, ViewState(text=SENTENCE))]
    (address,) = (one for one in addresses if one.path.endswith(f"/{file}"))
    query = dict(parse_qsl(address.query)) | {key: str(value) for key, value in changes.items()}
    return why, get(f"{url}{address.path}?{urlencode(query)}")


def test_an_explanation_is_taken_away_as_picture_drawing_and_numbers(served):
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        why, answer = kept(served, f"explanation.{kind}")
        assert answer.read().startswith(start)
        assert "attachment" in answer.headers["content-disposition"]
    why, answer = kept(served, "explanation.json")
    said = json.load(answer)
    assert said["score"] == pytest.approx(why.alignment.score)
    for name, rows in said["parts"].items():
        assert np.sum(rows) == pytest.approx(said["terms"][name], abs=1e-5)
    assert sum(said["terms"].values()) == pytest.approx(said["score"], abs=1e-5)


def test_a_file_follows_its_address(served):
    changes = {"strike": "2", "mute": "1", "weights": "1,1,0,1,2", "moment": -1}
    why, answer = kept(served, "explanation.json", **changes)
    weights = TermWeights(1, 1, 0, 1, 2, muted=(1,))
    wanted = served[0].explain(SENTENCE, why.clip_id, -1, weights=weights, struck=(2,))
    assert json.load(answer)["terms"] == pytest.approx(wanted.alignment.terms(), abs=1e-6)


def test_concept_matrices_are_taken_away_hard_and_soft(served):
    why, answer = kept(served, "concepts-hard.csv")
    hard, soft = table(answer), table(kept(served, "concepts-soft.csv")[1])
    alignment = why.alignment
    names = list(hard[0])[4:]
    assert len(names) == alignment.concept_count
    held = [*alignment.word_concept, *alignment.patch_concept.ravel()]
    for row, probabilities, concept in zip(hard, soft, held, strict=True):
        assert [float(row[name]) for name in names] == [float(k == concept) for k in range(len(names))]
        assert concept < 0 or np.argmax([float(probabilities[name]) for name in names]) == concept
    last = hard[-1]
    assert (last["token"], int(last["row"]), int(last["column"])) == ("patch", *alignment.grid)


@given(
    st.builds(
        ViewState, text=st.sampled_from([SENTENCE, "a yellow kite", "the moon"]), order=st.sampled_from([*ORDERS]),
        struck=st.sampled_from([(), (1,)]), muted=st.sampled_from([(), (2,)]), count=st.integers(1, 12),
        where=st.builds(Where, name=st.sampled_from(["", "a", "moon", "zebra"]), mine=st.booleans()),
        weights=st.sampled_from([(), (0.0, 2.0, 1.0, 1.0, 0.5)]),
    )
)  # fmt: skip
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_of_results_lists_what_the_page_at_that_address_lists_in_that_order(served, view):
    engine, url = served
    _, shown, _ = state.show_search(engine, view)
    rows = table(get(f"{url}results.csv?{encode('search', view)}"))
    assert [row["id"] for row in rows] == re.findall(r'class="face"[^>]*data-clip="(\w+)"', shown)
    scores = re.findall(r'class="score"[^>]*>([^<]+)<', shown)
    assert [html.signed(float(row["score"])) for row in rows] == scores
    for row in rows:
        assert sum(float(row[name]) for name in TERMS) == pytest.approx(float(row["score"]), abs=1e-5)
    for link in re.findall(r'href="(results\.csv[^"]*)"', shown):  # the page offers it under that very address
        assert table(get(url + unescape(link))) == rows


@pytest.mark.parametrize(
    ("change", "message"),
    [({"moment": "all"}, "moment=all"), ({"weights": "1,2"}, "weights=1,2"), ({"weights": "nan,1,1,1,1"}, "weights="),
     ({"weights": "0,0,0,0,0"}, "weights="), ({"strike": "-1"}, "strike=-1"),
     ({"q": " "}, "sentence is empty"), ({"mute": "1;2"}, "mute=1"), ({"text": "x"}, "text=x")],
)  # fmt: skip
def test_a_malformed_address_of_a_file_gets_a_sentence(served, change, message):
    with pytest.raises(urllib.error.HTTPError) as caught:
        kept(served, "explanation.json", **change)
    assert caught.value.code == 400
    assert message in caught.value.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="400"):
        get(f"{served[1]}results.csv?{urlencode({'q': SENTENCE} | change)}")


@pytest.mark.parametrize("text", ["=1+1", "-5+cmd|x", "@a", "\tb"])
def test_a_text_that_a_spreadsheet_would_run_is_quoted(served, text):
    engine = served[0]
    why = engine.explain(SENTENCE, engine.clips()[0].clip_id)
    why = replace(why, alignment=replace(why.alignment, words=(text, *why.alignment.words[1:])))
    lines = api.concepts_csv(why, soft=False).decode("utf-8-sig").splitlines()
    assert lines[1].startswith(f"'{text},")


def test_importing_the_page_starts_nothing(served):
    assert not hasattr(app, "demo")
    assert app.build_ui(served[0]) is not app.build_ui(served[0])


def test_an_error_is_one_sentence_in_its_place_and_all_else_stays():
    @app.in_place(1, 3, lambda given: f"<i>{given}</i>")
    def handler(given: str) -> list[str]:
        if given == "bad":
            raise LibraryError("It is <gone>.")
        return ["a", "b", "c"]

    assert handler("good") == ["a", "b", "c"]
    first, said, last = handler("bad")
    assert first == last == app.gr.skip()
    assert said.startswith("<i>bad</i>")
    assert "It is &lt;gone&gt;." in said


# --------------------------------------------------------------------------- arguments
class Opened:
    """Stands in for the engine and remembers how it was opened."""

    limits = LimitConfig()

    def __init__(self, library: Path, model: str, **options: Any) -> None:
        self.library, self.model, self.options = library, model, options

    wants_samples = False

    def visitor_key(self) -> bytes:
        return b"key"

    @classmethod
    def open(cls, library: Path, model: str, **options: Any) -> Opened:
        return cls(library, model, **options)


class Page:
    """Stands in for the page and remembers how it was launched; ``taken`` raises as for a taken port."""

    def __init__(self, engine: Any, sharing: Any) -> None:
        self.engine, self.shared, self.options = engine, sharing, {}

    def launch(self, **options: Any) -> None:
        self.options = options
        if options["server_port"] == 1:
            raise OSError("Cannot find empty port in range: 1-1.")


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[Page]:
    """The pages that were opened."""
    opened: list[Page] = []

    def build(engine: Any, sharing: Any, filling: Any) -> Page:
        assert filling() == ""
        opened.append(Page(engine, sharing))
        return opened[-1]

    monkeypatch.setattr("vtr_demo.library.engine.Engine", Opened)
    monkeypatch.setattr(app, "build_ui", build)
    monkeypatch.delenv("SPACE_ID", raising=False)
    return opened


def test_without_arguments_the_library_lies_at_home_and_only_this_machine_sees_the_page(pages):
    app.main([])
    (page,) = pages
    assert (page.engine.library, page.engine.model) == (app.HERE / "library", "bundled")
    assert page.engine.options["device"] == "cpu"
    assert (page.options["server_name"], page.options["server_port"], page.shared) == ("127.0.0.1", None, None)


def test_a_space_is_shared_and_open_to_all(pages, tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/demo")
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        port = free.getsockname()[1]
    app.main(["--library", str(tmp_path / "mine"), "--model", "x", "--port", str(port), "--device", "cuda:1"])
    (page,) = pages
    assert (page.engine.library, page.engine.model) == (tmp_path / "mine", "x")
    assert page.engine.options["device"] == "cuda:1"
    assert (page.options["server_name"], page.options["server_port"], page.shared) == ("0.0.0.0", port, SharedConfig())


def test_a_library_that_cannot_be_written_is_opened_for_reading(pages, tmp_path, monkeypatch, caplog):
    def open_(library: Path, model: str, **options: Any) -> Opened:
        if not options.get("readonly"):
            raise LibraryError("The library is being written by another process.")
        return Opened(library, model, **options)

    monkeypatch.setattr(Opened, "open", open_)
    app.main(["--library", str(tmp_path), "--limits", "max_duration_s=60", "max_bytes=1e6"])
    (page,) = pages
    assert page.engine.options["readonly"]
    assert page.engine.options["limits"] == LimitConfig(max_duration_s=60, max_bytes=1_000_000)
    assert "being written by another process" in caplog.text


def test_a_port_or_host_that_cannot_be_had_ends_the_program_before_a_model_is_opened(pages, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        for arguments in (["--port", str(taken.getsockname()[1])], ["--port", "7990", "--host", "no.host.invalid"]):
            with pytest.raises(SystemExit, match="cannot serve the page on port"):
                app.main(arguments)
    for port in ("0", "99999", "-1", "http"):
        with pytest.raises(SystemExit):
            app.main(["--port", port])
        assert "--port" in capsys.readouterr().err
    assert pages == []


@pytest.mark.usefixtures("pages")
def test_a_taken_port_ends_the_program_with_a_sentence():
    with pytest.raises(SystemExit, match="cannot serve the page: port 1 is taken"):
        app.main(["--port", "1"])


def test_a_model_that_is_not_there_ends_the_program_with_a_sentence(tmp_path):
    with pytest.raises(SystemExit) as caught:
        app.main(["--model", str(tmp_path / "nowhere"), "--library", str(tmp_path / "library")])
    assert "nowhere" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_an_unknown_argument_ends_the_program_with_the_usage(capsys):
    with pytest.raises(SystemExit):
        app.parse_args(["--colour", "red"])
    assert "--library" in capsys.readouterr().err


def test_the_page_takes_every_ending_that_the_command_line_takes(served):
    config = app.build_ui(served[0]).config
    takes = [part["props"]["file_types"] for part in config["components"] if part["props"].get("file_types")]
    assert sum(types == [*VIDEO_EXTENSIONS] for types in takes) == 2
