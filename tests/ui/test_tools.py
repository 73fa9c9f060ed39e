"""Programs get JSON of a described type, from Gradio's API and from MCP alike, and a sentence for what is wrong."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

pytest.importorskip("gradio")

from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.helpers.fake_engine import SCENES, write_clip
from vtr_demo.errors import VtrError
from vtr_demo.library.engine import Engine
from vtr_demo.structures import TERMS
from vtr_demo.ui import mcp, tools
from vtr_demo.ui.address import decode

SENTENCE = "a red ball rolls across the beach"
NAMES = ["search_videos", "rank_captions", "explain_match", "library_status"]
ODD: list[Any] = [
    None, True, -1, 0, 3, 2.5, 10**30, -(10**30), 1e308, "", "x", "é" * 3000, "../../etc/passwd", "NaN", "[1", [],
    [1, 2], ["a", 3], [[["a"]]], {}, {"action": 1}, {"action": "much"}, {"action": -1}, {"action": 1e300},
    {"a": {"b": [1]}}, "🎬", "\x00", "\ud800",
]  # fmt: skip


@pytest.fixture(scope="module")
def client(served):
    return Client(served[1], verbose=False)


def arguments(engine: Any) -> dict[str, dict[str, Any]]:
    """Arguments of each tool that are right."""
    clip = engine.clips()[0].clip_id
    common = {"weights": {"action": 1}, "muted": [0, engine.concept_names[1]]}
    query = {"like_moment": -1, "mix": 0.25, "exclude": ["snow"], "struck": [0], **common}
    return {
        "search_videos": {"text": SENTENCE, "k": 3, **query},
        "rank_captions": {"clip_id": clip, "captions": ["the moon rises", SENTENCE], **common},
        "explain_match": {"text": SENTENCE, "clip_id": clip, "moment": 1, **query},
        "library_status": {"offset": 1, "limit": 2},
    }


def by_mcp(url: str, calls: list[tuple[str, dict[str, Any]]]) -> tuple[list[Any], list[Any], Any]:
    """(tools, answers, the text of the view) from an MCP client."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def ask() -> tuple[list[Any], list[Any], Any]:
        async with (
            streamablehttp_client(f"{url}gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            listed = (await session.list_tools()).tools
            answers = [await session.call_tool(name, given) for name, given in calls]
            return listed, answers, (await session.read_resource(mcp.VIEW)).contents[0]

    with ThreadPoolExecutor(1) as beside:  # a browser's driver, once started, has a loop of its own in this thread
        return beside.submit(asyncio.run, ask()).result()


def test_every_tool_answers_the_same_json_by_gradio_and_by_mcp(client, served):
    engine, url = served
    given = arguments(engine)
    listed, answers, view = by_mcp(url, [*given.items()])
    assert [tool.name for tool in listed] == NAMES
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {f"/{name}" for name in NAMES}
    assert view.mimeType == mcp.VIEW_TYPE
    assert "ui/initialize" in view.text
    assert [tool.name for tool in listed if tool.meta and tool.meta["ui"]["resourceUri"] == mcp.VIEW] == [NAMES[2]]
    for tool, (name, values), answer in zip(listed, given.items(), answers, strict=True):
        assert not answer.isError
        jsonschema.validate(values, tool.inputSchema)
        jsonschema.validate(answer.structuredContent, tool.outputSchema)
        assert json.loads(answer.content[0].text) == answer.structuredContent
        by_gradio = client.predict(**values, api_name=f"/{name}")
        assert mcp.structured(by_gradio) == answer.structuredContent
        described = [*tool.inputSchema["properties"].values()]
        for record in tool.outputSchema["$defs"].values():
            described += record["properties"].values()
        assert all(field.get("description") for field in described)


HOST = """(results) => new Promise((done) => {
  const frame = document.createElement('iframe'), [view, ...answers] = results, shown = [];
  const say = (message) => frame.contentWindow.postMessage({ jsonrpc: '2.0', ...message }, '*');
  const tell = (params) => say({ method: 'ui/notifications/tool-result', params });
  const next = () => answers.length ? tell(answers.shift()) : done(shown);
  addEventListener('message', ({ data }) => {
    if (data.method === 'ui/initialize') say({ id: data.id, result: { protocolVersion: data.params.protocolVersion } });
    if (data.method === 'ui/notifications/initialized') next();
    if (data.method !== 'ui/notifications/size-changed') return;
    shown.push([frame.contentDocument.body.innerText, data.params.height]);
    next();
  });
  frame.srcdoc = view;
  document.body.append(frame);
})"""
"""A host of MCP Apps: shows the view and hands it answers; resolves to what it then says, and its height."""


@pytest.mark.browser
def test_the_view_shows_an_answer_with_its_parts_or_its_text_alone_or_why_there_is_none(browser, served):
    given = arguments(served[0])["explain_match"]
    calls = [("explain_match", given), ("explain_match", {**given, "clip_id": "nowhere"})]
    _, (answer, refused), view = by_mcp(served[1], calls)
    assert refused.isError
    whole, error = (one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in (answer, refused))
    text = {key: value for key, value in whole.items() if key != "structuredContent"}
    page = browser.new_page()
    by_parts, by_text, why_not = page.evaluate(HOST, [view.text, whole, text, error])
    page.close()
    assert by_parts == by_text
    lines = by_parts[0].splitlines()
    match = answer.structuredContent
    assert lines[0] == f"{match['name']}: {match['score']:.3f}"
    for name, value in [*match["terms"].items(), *((word["word"], word["adds"]) for word in match["words"])]:
        assert name in lines
        assert f"{value:.3f}" in lines
    assert by_parts[1] > why_not[1]
    assert why_not[0].strip() == refused.content[0].text.strip()


def test_links_lead_to_the_film_the_pictures_and_the_page(client, served):
    engine, url = served
    hit = client.predict(**arguments(engine)["search_videos"], api_name="/search_videos")[0]
    for kind in ("media", "poster", "still"):
        address = hit["links"][kind]
        if address is not None:
            assert address.startswith(url)
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert answer.headers["content-type"].startswith(("video/", "image/"))
    tab, view = decode(hit["links"]["page"].partition("#")[2])
    assert (tab, view.text, view.clip, view.moment) == ("search", SENTENCE, hit["id"], hit["moment"])
    assert (view.struck, view.muted, view.mix.exclude) == ((0,), (0, 1), ("snow",))


def test_the_parts_of_a_hit_and_of_its_explanation_add_up_to_one_score(client, served):
    hits = client.predict(text=SENTENCE, k=3, api_name="/search_videos")
    assert hits[0]["name"] == "red-ball-beach"
    assert hits == sorted(hits, key=lambda hit: -hit["score"])
    assert len(hits) == 3 < len(client.predict(text=SENTENCE, api_name="/search_videos"))
    for hit in hits:
        pair = {"text": SENTENCE, "clip_id": hit["id"], "api_name": "/explain_match"}
        why = client.predict(**pair)
        assert client.predict(**pair, moment=hit["moment"]) == why
        assert (why["score"], why["terms"]) == (
            pytest.approx(hit["score"], abs=1e-5),
            pytest.approx(hit["terms"], abs=1e-5),
        )
        for parts in (hit["terms"].values(), (w["adds"] for w in why["words"]), (f["adds"] for f in why["frames"])):
            assert sum(parts) == pytest.approx(hit["score"], abs=1e-5)
        assert sum(why["concepts"].values()) == pytest.approx(why["terms"]["concepts"], abs=1e-5)
        assert [word["word"] for word in why["words"][1:]] == SENTENCE.split()
        expected = served[0].explain(SENTENCE, hit["id"], -1).alignment.score
        assert client.predict(**pair, moment=-1)["score"] == pytest.approx(expected, abs=1e-5)


def test_weights_muted_concepts_and_struck_words_are_the_engines(client, served):
    engine = served[0]
    asked = {"text": SENTENCE, "k": 3, "api_name": "/search_videos"}
    for muted in ([2, 5], [engine.concept_names[2], engine.concept_names[5]]):
        hits = client.predict(**asked, muted=muted, weights={"action": 0.5}, struck=[1])
        expected = engine.search(SENTENCE, 3, engine.weigh({"action": 0.5}, (2, 5)), (1,)).hits
        assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-6)
    clip = engine.clips()[0].clip_id
    full = client.predict(text=SENTENCE, clip_id=clip, weights={"concepts": 1}, api_name="/explain_match")
    loud = max(full["concepts"], key=lambda name: abs(full["concepts"][name]))
    less = client.predict(text=SENTENCE, clip_id=clip, weights={"concepts": 1}, muted=[loud], api_name="/explain_match")
    assert less["score"] == pytest.approx(full["score"] - full["concepts"][loud], abs=1e-5)
    sentences = ["the moon rises", "a red ball rolls"]
    ranked = client.predict(clip, sentences, dict.fromkeys(TERMS, 0) | {"global": 1}, api_name="/rank_captions")
    assert [hit["text"] for hit in ranked] == sentences[::-1]
    assert all(hit["terms"]["global"] == pytest.approx(hit["score"], abs=1e-6) for hit in ranked)


def test_the_status_names_what_can_be_weighed_muted_and_asked_for_and_no_path(client, served):
    status = client.predict(api_name="/library_status")
    assert status["weights"].keys() == set(TERMS)
    assert status["concepts"] == list(served[0].concept_names)
    assert {clip["id"] for clip in status["clips"]} == {clip.clip_id for clip in served[0].clips()}
    assert str(served[0].folder) not in json.dumps(status)


def test_one_sentence_is_a_list_of_one_and_a_list_may_be_json(client, served):
    clip = served[0].clips()[0].clip_id
    for given, texts in ((SENTENCE, {SENTENCE}), ('["a dog", "a cat"]', {"a dog", "a cat"})):
        ranked = client.predict(clip, given, None, None, api_name="/rank_captions")
        assert {one["text"] for one in ranked} == texts


def test_every_odd_argument_gets_an_answer_or_a_sentence(tmp_path):
    """Called as both servers call them: what is not refused in a sentence would end as an error without a message."""
    engine = Engine.open(tmp_path / "library", "tiny")
    engine.add([write_clip(SCENES[0], tmp_path, 1.0)[0]], captions=[[SENTENCE]])
    engine.concept_names = engine.status().concept_names
    functions = {function.__name__: function for function in tools.functions(engine)}
    given = arguments(engine)
    calls = [(name, values | {key: odd}) for name, values in given.items() for key in values for odd in ODD]
    calls += [(name, wrong) for name in given for wrong in ({"other": 1}, {})]
    refused = []
    for name, values in calls:
        try:
            functions[name](**values)
        except VtrError as error:
            refused.append(str(error))
    assert len(refused) > 300
    assert all(sentence.rstrip()[-1] in ".”…" and "\n" not in sentence for sentence in refused)


BODIES = [b"", b"[]", b"{}", b'{"data": []}', b'{"data": null}', b'{"data": [1,2,3,4,5,6,7,8,9,10,11]}',
          b'{"data": {"text": 1}}', b'{"data": ["a", "b"]}']  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_body_that_is_no_call_ends_in_a_message(served, name):
    with httpx.Client(base_url=served[1], timeout=20, headers={"content-type": "application/json"}) as http:
        for body in BODIES:
            answer = http.post(f"gradio_api/call/{name}", content=body)
            if answer.status_code != 200:
                assert answer.status_code in (400, 422)
                continue
            lines = http.get(f"gradio_api/call/{name}/{answer.json()['event_id']}").text
            assert "event: complete" in lines or re.search(r'data: .*[."]', lines), lines
            assert not re.search(r'data: (null|.*"error": *null)', lines), lines


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("search_videos", {"text": "   "}, "The text has no words"),
    ("search_videos", {"text": 3}, "text must be a text of at most 2000 characters, got 3"),
    ("search_videos", {"text": "a dog", "k": 51}, "k must be a whole number from 1 to 50, got 51"),
    ("search_videos", {"text": "a dog", "k": True}, "k must be a whole number"),
    ("search_videos", {"text": "a dog", "muted": [99]}, "no concept 99"),
    ("search_videos", {"text": "a dog", "weights": {"colour": 1}}, "no term 'colour'"),
    ("search_videos", {"text": "a dog", "weights": {"action": "much"}}, "weights must be numbers from 0"),
    ("explain_match", {"text": "a dog"}, "clip_id must be the id of a clip"),
    ("explain_match", {"text": "a dog", "clip_id": "../../etc/passwd"}, "No clip"),
    ("explain_match", {"text": "a dog", "clip_id": "a", "moment": "all"}, "moment must be a whole number from -1"),
    ("rank_captions", {"clip_id": "nobody", "captions": ["a dog"]}, "choose one from its list"),
    ("rank_captions", {"clip_id": "a", "captions": ["a dog", "---"]}, "number 1, '---', cannot be ranked"),
    ("library_status", {"limit": 1001}, "limit must be a whole number from 0 to 1000"),
]


def test_a_refusal_says_in_both_ways_what_is_wrong(client, served):
    _, answers, _ = by_mcp(served[1], [("rank_captions", {}), *((name, values) for name, values, _ in WRONG)])
    assert all(answer.isError for answer in answers)
    assert "clip_id must be the id of a clip, and is missing" in answers[0].content[0].text
    for (name, values, message), answer in zip(WRONG, answers[1:], strict=True):
        assert message in answer.content[0].text
        with pytest.raises(AppError) as caught:
            client.predict(**values, api_name=f"/{name}")
        assert message in str(caught.value)


# --------------------------------------------------------------------------- the README
def test_the_examples_of_the_readme_run(served):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(python|sh)\n(.*?)```", readme, flags=re.DOTALL)
    examples = [
        (kind, text.replace("http://127.0.0.1:7860", served[1][:-1])) for kind, text in blocks if "7860" in text
    ]
    assert [kind for kind, _ in examples] == ["python", "sh", "python"]
    programs = {"python": [sys.executable, "-c"], "sh": ["sh", "-c"]}
    for kind, text in examples:
        done = subprocess.run([*programs[kind], text], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "entity" in done.stdout
    assert json.loads(done.stdout.replace("'", '"')).keys() == set(TERMS)
