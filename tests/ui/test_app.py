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
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("gradio")

import gradio as gr

import app
from vtr_demo.config import SharedConfig
from vtr_demo.errors import LibraryError
from vtr_demo.structures import TERMS, TermWeights
from vtr_demo.ui import api, html, state, tabs
from vtr_demo.ui.address import encode
from vtr_demo.ui.explanation import downloads
from vtr_demo.ui.page import build_page
from vtr_demo.ui.view import ORDERS, ViewState, Where
from vtr_demo.video.frames import LimitConfig
from vtr_demo.video.reader import VIDEO_EXTENSIONS

SENTENCE = "a red ball rolls across the beach"


def get(url: str, **headers: str):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)


def test_an_error_is_a_message_safe_for_html_or_a_sentence_in_its_place():
    def handler(given: str) -> list[str]:
        if given == "bad":
            raise LibraryError("It is <gone>.")
        return ["a", "b", "c"]

    with pytest.raises(gr.Error) as caught:
        tabs.reports_errors(handler)("bad")
    assert caught.value.message == "It is &lt;gone&gt;."
    in_place = tabs.in_place(1, 3, lambda given: f"<i>{given}</i>")(handler)
    assert in_place("good") == ["a", "b", "c"]
    first, said, last = in_place("bad")
    assert first == last == gr.skip()
    assert said.startswith("<i>bad</i>")
    assert "It is &lt;gone&gt;." in said


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
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
     ({"q": " "}, "has no words"), ({"mute": "1;2"}, "mute=1"), ({"text": "x"}, "text=x")],
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


# --------------------------------------------------------------------------- arguments
@pytest.fixture
def started(monkeypatch) -> dict[str, Any]:
    """What the program has done: the arguments and options of ``opened``, ``sharing``, the options of ``launched``."""
    done: dict[str, Any] = {}

    def open_(*arguments: object, **options: object) -> SimpleNamespace:
        if done.get("locked") and not options.get("readonly"):
            raise LibraryError("The library is being written by another process.")
        done["opened"] = (*arguments, options)
        return SimpleNamespace(wants_samples=False)

    def launch(**options: Any) -> None:
        done["launched"] = options
        if options["server_port"] == 1:
            raise OSError("Cannot find empty port in range: 1-1.")

    def build(engine: Any, sharing: SharedConfig | None, filling: Any) -> SimpleNamespace:
        assert filling() == ""
        done["sharing"] = sharing
        return SimpleNamespace(launch=launch)

    monkeypatch.setattr("vtr_demo.library.engine.Engine.open", open_)
    monkeypatch.setattr(app, "build_page", build)
    monkeypatch.setattr(app, "launch_options", lambda page, hosts: {})
    monkeypatch.delenv("SPACE_ID", raising=False)
    return done


def test_without_arguments_the_library_lies_at_home_and_only_this_machine_sees_the_page(started):
    app.main([])
    *places, options = started["opened"]
    assert (*places, options["device"]) == (app.HERE / "library", "bundled", "cpu")
    assert (started["launched"], started["sharing"]) == ({"server_name": "127.0.0.1", "server_port": None}, None)


def test_a_space_is_shared_and_open_to_all(started, tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/demo")
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        port = free.getsockname()[1]
    app.main(["--library", str(tmp_path / "mine"), "--model", "x", "--port", str(port), "--device", "cuda:1"])
    *places, options = started["opened"]
    assert (*places, options["device"]) == (tmp_path / "mine", "x", "cuda:1")
    assert started["launched"] == {"server_name": "0.0.0.0", "server_port": port}
    assert started["sharing"] == SharedConfig()


def test_a_library_that_cannot_be_written_is_opened_for_reading(started, tmp_path, caplog):
    started["locked"] = True
    app.main(["--library", str(tmp_path), "--limits", "max_duration_s=60", "max_bytes=1e6"])
    options = started["opened"][-1]
    assert options["readonly"]
    assert options["limits"] == LimitConfig(max_duration_s=60, max_bytes=1_000_000)
    assert "being written by another process" in caplog.text


def test_a_port_or_host_that_cannot_be_had_ends_the_program_before_a_model_is_opened(started, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        for arguments in (["--port", str(taken.getsockname()[1])], ["--port", "7990", "--host", "no.host.invalid"]):
            with pytest.raises(SystemExit, match="cannot serve the page on port"):
                app.main(arguments)
    refused = [
        ("--library", "", "name a folder"),
        *(("--port", one, "is no port") for one in ("0", "99999", "-1", "http")),
    ]
    refused += [("--limits", one, "is no limit such as") for one in ("weight=3", "max_bytes=many", "visitor_clips=x")]
    for option, value, reason in refused:
        with pytest.raises(SystemExit):
            app.main([option, value])
        assert re.search(f"argument {option}: .*{reason}", capsys.readouterr().err)
    assert started == {}
    with pytest.raises(SystemExit, match="cannot serve the page: port 1 is taken"):
        app.main(["--port", "1"])


def test_a_model_that_is_not_there_ends_the_program_with_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="nowhere") as caught:
        app.main(["--model", str(tmp_path / "nowhere"), "--library", str(tmp_path / "library")])
    assert "Traceback" not in str(caught.value)


def test_the_page_takes_every_ending_that_the_command_line_takes(served):
    config = build_page(served[0]).config
    takes = [part["props"]["file_types"] for part in config["components"] if part["props"].get("file_types")]
    assert sum(types == [*VIDEO_EXTENSIONS] for types in takes) == 2
