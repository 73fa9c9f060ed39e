"""The page's HTML: what is shown is what was ranked, and nobody's text becomes markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.helpers.fake_engine import FakeEngine, Scene
from vtr_demo.errors import LibraryError, TextError
from vtr_demo.results import CaptionReport, ExampleView, IndexReport
from vtr_demo.structures import TERMS, Mix, TermWeights
from vtr_demo.ui import concepts, html, sections, shelf, state, theme
from vtr_demo.ui.shelf import Listing
from vtr_demo.ui.view import ViewState
from vtr_demo.video.frames import LimitConfig

NASTY = "<script>alert('x')</script> \"quoted\" & <img src=x onerror=alert(1)>"
SENTENCE = "a red ball rolls across the beach"


class Tags(HTMLParser):
    """Collects tags and attribute names, and refuses to end with open ones."""

    void = ("img", "br", "link", "input", "video")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return FakeEngine(tmp_path_factory.mktemp("drawn"))


@pytest.mark.parametrize(
    "terms",
    [
        dict(zip(TERMS, (0.3, 0.2, 0.1, 0.05, 0.02), strict=True)),
        dict(zip(TERMS, (0.3, -0.2, 0.1, -0.05, 0.0), strict=True)),
        dict(zip(TERMS, (-0.3, -0.2, -0.1, -0.05, -0.02), strict=True)),
        dict.fromkeys(TERMS, 0.0),
    ],
)
def test_positive_widths_less_negative_widths_are_the_score(terms):
    low, high = html.bar_range([terms, {"global": 0.7, "entity": -0.4}])
    parts = html.bar_parts(terms, (low, high))
    total = sum(-width if terms[name] < 0 else width for name, _, width in parts)
    assert total / 100 * (high - low) == pytest.approx(sum(terms.values()), abs=1e-4)


def test_parts_of_a_bar_neither_overlap_nor_leave_it():
    terms = dict(zip(TERMS, (0.3, -0.2, 0.1, -0.05, 0.4), strict=True))
    parts = sorted((left, left + width) for _, left, width in html.bar_parts(terms, html.bar_range([terms])))
    assert parts[0][0] == pytest.approx(0, abs=1e-2)
    assert parts[-1][1] == pytest.approx(100, abs=1e-2)
    assert all(start >= end - 1e-2 for (start, _), (_, end) in zip(parts[1:], parts[:-1], strict=True))


@pytest.mark.parametrize("numbers", [(1.0, 2.5, 10.0), (0.0, 10.0, 10.0), (0.0, 0.0, 0.0)])
def test_the_moment_lies_where_it_is_in_the_clip(numbers):
    start, end, duration = numbers
    line = html.render("macros", "timeline", duration_s=duration, start_s=start, end_s=end)
    left, width = map(float, re.search(r"left:([\d.]+)%;width:([\d.]+)%", line).groups())
    assert left == pytest.approx(100 * start / max(duration, 1e-6), abs=0.01)
    assert left + width <= 100.01


def test_no_text_of_a_person_becomes_markup(engine, tmp_path):
    nasty = FakeEngine(tmp_path, (replace(Scene("x", (NASTY,), *[(1, 2, 3)] * 3, (0.1, 0.1))),))
    clip_id = nasty.clips()[0].clip_id
    scene, view = nasty._clips[clip_id]
    nasty._clips[clip_id] = (scene, replace(view, name=NASTY))
    opened, shown, _ = state.run_search(nasty, ViewState(text=NASTY, clip=clip_id))
    _, struck, _ = state.run_search(nasty, replace(opened, struck=(1,)))
    report = IndexReport((clip_id,), (NASTY,), ((NASTY, f"{NASTY}: broken; mend it."),))
    pieces = [
        shown, struck, html.wall(nasty.list()),
        html.examples([NASTY]), html.clip_picker(nasty.list(), "", NASTY),
        html.sentences(nasty.describe(clip_id), nasty.clip(clip_id), ViewState(clip=clip_id)),
        html.ask_more(ViewState(NASTY, mix=Mix(clip_id, exclude=(NASTY,))), ExampleView(clip_id, NASTY)),
        html.problem(NASTY), html.address("search", ViewState(text=NASTY)),
        shelf.shelf(nasty, Listing(name=NASTY[:9]), None), shelf.report(nasty, report),
        shelf.imported(CaptionReport(1, 1, (NASTY,))),
        sections.library_state(replace(nasty.status(), model=NASTY, problems=(NASTY,))),
        sections.about(replace(nasty.status(), model=NASTY)),
        concepts.gallery([replace(view, name=NASTY, top_words=((NASTY, 1),)) for view in nasty.concepts()]),
    ]  # fmt: skip
    for piece in pieces:
        tags = Tags(piece)
        assert "script" not in tags.names
        assert not any(name.startswith("on") for name in tags.attributes)
        assert tags.open == []
        assert "onerror=alert" not in re.sub(r"&lt;.*?&gt;", "", piece)


def test_the_panel_explains_the_moment_that_the_card_shows(engine):
    weights = (0.0, 1.0, 0.0, 0.0, 0.0)
    for hit in engine.search(SENTENCE, weights=TermWeights(*weights)).hits:
        asked = ViewState(text=SENTENCE, clip=hit.clip_id, weights=weights)
        view, _, panel = state.run_search(engine, asked)
        assert (panel["moment"], view.confidence) == (hit.moment, hit.confidence)
        assert panel["score"] == pytest.approx(hit.score, abs=1e-6)
        chosen = state.run_search(engine, replace(asked, moment=1))[2]
        assert chosen["moment"] == 1


def test_on_a_shared_page_only_clips_of_ones_own_are_changed(tmp_path):
    library = FakeEngine(tmp_path / "own")
    mine, others = (clip.clip_id for clip in library.clips()[:2])
    for do in ("delete", "edit", "restore", "empty"):
        with pytest.raises(LibraryError, match="only the clips that you added"):
            shelf.act(library, {"do": do, "clips": f"{mine} {others}", "clip": others}, [mine])
    before = library.clip(others)
    assert "Deleted red-ball-beach" in shelf.act(library, {"do": "delete", "clips": mine}, [mine])
    assert shelf.act(library, {"do": "empty"}, [mine]) is None
    drawn = shelf.shelf(library, Listing(), [mine])
    assert f'data-do="restore" data-clips="{mine}"' in drawn
    assert f'data-clips="{others}"' not in drawn
    assert "back" in shelf.act(library, {"do": "restore", "clips": mine}, [mine])
    shelf.act(library, {"do": "delete", "clips": others}, None)
    shelf.act(library, {"do": "empty"}, None)
    assert (library.deleted(), mine in {clip.clip_id for clip in library.clips()}) == ((), True)
    assert before.clip_id not in {clip.clip_id for clip in library.clips()}


def test_the_pages_of_a_listing_make_up_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "PAGE", 4)
    library, listing, met = FakeEngine(tmp_path), Listing(), []
    library.edit(library.clips()[3].clip_id, captions=[])
    for page in (0, 1, 2):
        met.append(
            re.findall(r'data-pick="(\w+)"', shelf.shelf(library, listing.after({"do": "page", "value": page}), None))
        )
    assert [clip.clip_id for clip in library.clips()][::-1] == [clip for part in met for clip in part]
    last = shelf.shelf(library, replace(listing, page=99), None)
    assert re.findall(r'data-pick="(\w+)"', last) == met[2]
    bare = shelf.shelf(library, listing.after({"do": "captioned", "value": "without"}), None)
    assert re.findall(r'data-pick="(\w+)"', bare) == [library.clips()[3].clip_id]
    for click in ({"do": "page", "value": "-1"}, {"do": "page", "value": "9" * 9}, {"do": "order", "value": "x"},
                  {"do": "captioned", "value": "x"}, {"value": ["x"]}, {}):  # fmt: skip
        assert listing.after(click) == listing


@pytest.mark.parametrize(
    "click",
    [{}, {"do": "nothing"}, {"do": "rival"}, {"do": "open"}, {"do": "strike", "word": "-1"},
     {"do": "strike", "word": "²"}, {"do": "mute"}, {"do": "mute", "concept": "-1"},
     {"do": "mute", "concept": "٣"},
     {"do": "mute", "concept": "9" * 30}, {"do": "mute", "concept": "1; drop"},
     {"do": "strike", "word": "2; drop"}, {"do": ["open"], "clip": "x"}],
)  # fmt: skip
def test_a_malformed_click_changes_nothing(click):
    view = ViewState(text="a", clip="b")
    assert view.after(click) == view


def test_a_visitor_who_has_opened_nothing_is_told_that_reasons_can_be_opened(engine):
    view, ranked, _ = state.run_search(engine, ViewState(text=SENTENCE))
    first = view.hits[0][0]
    assert "Open one to see why" in ranked
    assert "Open one to see why" not in state.run_search(engine, replace(view, clip=first))[1]
    view, ranked, _ = state.run_describe(engine, ViewState(clip=first))
    assert "Open one to see why" in ranked
    assert "Open one to see why" not in state.run_describe(engine, replace(view, text=SENTENCE))[1]


def test_one_sentence_that_cannot_be_read_never_refuses_the_others(engine):
    clip_id = engine.clips()[0].clip_id
    lines = ["a red ball rolls", "狗在雪地里", "", "???", "the moon rises"]
    _, ranked, _ = state.show_describe(engine, ViewState(clip=clip_id, own="\n".join(lines)))
    assert sorted(re.findall(r'data-text="([^"]*)"', ranked)) == [lines[0], lines[4]]
    assert re.findall(r"Line (\d), “([^”]*)”, is left out", ranked) == [("2", lines[1]), ("4", lines[3])]
    _, ranked, _ = state.show_describe(engine, ViewState(clip=clip_id, own=lines[1]))
    assert ranked.count('role="alert"') == 1
    assert "English" in ranked


def test_an_uncertain_result_says_so(engine):
    result = replace(engine.search(SENTENCE), confident=False)
    cards = [html.Card(1, hit, engine.clip(hit.clip_id)) for hit in result.hits]
    assert "No confident match" in html.results(result, cards, ViewState(), False)
    assert "No confident match" not in html.results(replace(result, confident=True), cards, ViewState(), False)


def test_empty_text_is_refused_with_a_sentence(engine):
    with pytest.raises(TextError, match="Type a sentence"):
        state.run_search(engine, ViewState(text="  "))


def test_only_files_of_the_upload_folder_are_taken(tmp_path):
    inside, outside = tmp_path / "up" / "a.mp4", tmp_path / "secret.txt"
    inside.parent.mkdir()
    inside.write_bytes(b"x")
    outside.write_text("x")
    (tmp_path / "up" / "link").symlink_to(outside)
    folder = str(tmp_path / "up")
    assert sections.uploaded([str(inside)], folder) == [inside]
    for path in (outside, tmp_path / "up" / ".." / "secret.txt", tmp_path / "up" / "link", tmp_path / "up" / "no"):
        with pytest.raises(LibraryError, match="was not uploaded"):
            sections.uploaded([str(path)], folder)


def test_examples_come_from_different_clips_of_the_library(engine):
    examples = html.example_captions(engine.clips())
    assert len(examples) == len(set(examples)) == 6
    assert set(examples) <= {caption for clip in engine.clips() for caption in clip.captions}
    assert html.example_captions(()) == []


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "+0.12"), (-0.123, "−0.12"), (0.001, "0.00"), (-0.001, "0.00"), (0, "0.00")]
)
def test_numbers_carry_their_sign(value, text):
    assert html.signed(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.983, "98 %"), (1.0, "over 99 %"), (0.0, "0 %"), (0.29, "29 %")])
def test_confidence_is_rounded_down(share, text):
    assert html.percentage(share) == f"stronger than {text} of everyday sentences about other things"


def test_limits_are_stated():
    assert shelf.upload_label(LimitConfig()) == "Add videos, up to 200 MB and 15 minutes each"


def test_the_page_loads_nothing_from_elsewhere():
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\((?!data:)", theme.head())


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [("ink", "paper"), ("ink", "sheet"), ("soft", "paper"), ("soft", "sheet"), ("accent-ink", "accent"),
     ("warn-ink", "warn"), ("bad", "sheet")],
)  # fmt: skip
def test_text_has_the_contrast_of_wcag_aa(block, text, ground):
    css = (theme.STATIC / "page.css").read_text(encoding="utf-8")
    tokens = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r"{([^}]*--paper[^}]*)}", css)[block]))
    high, low = sorted((luminance(tokens[text]), luminance(tokens[ground])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_concepts_are_shown_by_what_they_hold_the_fullest_first(engine):
    views = list(engine.concepts())
    views[0] = replace(views[0], words=0.5, patches=0.0, shots=(), top_words=())
    text = concepts.gallery(views)
    Tags(text)
    order = [int(number) - 1 for number in re.findall(r'class="swatch"[^>]*></i><span>(\d+)</span>', text)]
    assert order == sorted(range(len(views)), key=lambda k: -views[k].patches)
    shares = [share for k in order for share in (views[k].patches, views[k].words)]
    widths = [float(width) for width in re.findall(r'<i title="[^"]*" style="width:([\d.]+)%', text)]
    assert widths == pytest.approx([100 * share / max(shares) for share in shares], abs=0.06)
    assert text.count('data-do="choose"') == sum(len(view.shots) for view in views)
    assert text.count("Too few captions") == sum(view.agreement is None for view in views)
    assert concepts.gallery([])


def test_a_card_shows_the_moment_that_was_found_and_of_a_whole_clip_its_poster(engine):
    result = engine.search("a red square moves")
    clips = {clip.clip_id: clip for clip in engine.clips()}
    for hit in result.hits:
        for moment, kind in ((0, "moment-0"), (1, "moment-1"), (-1, "poster")):
            one = replace(result, hits=(replace(hit, moment=moment),))
            card = html.results(one, [html.Card(1, one.hits[0], clips[hit.clip_id])], ViewState(), False)
            assert f'src="clips/{hit.clip_id}/{kind}"' in card


def test_a_concept_that_is_muted_says_so_on_its_card(engine):
    text = state.concept_gallery(engine, ViewState(muted=(1,)), nameable=False)
    Tags(text)
    assert text.count('aria-pressed="true"') == text.count('<article class="concept muted">') == 1
    (card,) = re.findall(r'<article class="concept muted">.*?</article>', text)
    assert 'data-do="mute" data-concept="1"' in card
    assert text.count('data-do="mute"') == len(engine.concepts())


def test_names_of_concepts_can_be_written_where_they_are_the_visitors(engine):
    views = engine.concepts()
    assert concepts.gallery(views, nameable=True).count('data-edit="rename"') == len(views)
    assert "data-edit" not in concepts.gallery(views)
    remembering = state.cache_explanations(engine)
    clip_id = engine.clips()[0].clip_id
    first = remembering.explain(SENTENCE, clip_id).concept_names
    for click in ({"do": "choose", "clip": clip_id}, {"do": "rename"}, {"do": "rename", "concept": "-1"}):
        assert not state.rename_concept(remembering, click)
    assert state.rename_concept(remembering, {"do": "rename", "concept": "1", "text": NASTY})
    assert remembering.explain(SENTENCE, clip_id).concept_names == (first[0], NASTY, *first[2:])
    Tags(state.concept_gallery(remembering, ViewState(), nameable=True))
    assert state.rename_concept(remembering, {"do": "rename", "concept": "1", "text": ""})
    assert remembering.explain(SENTENCE, clip_id).concept_names == first


def test_a_measurement_shows_both_directions_each_part_and_costs(engine):
    measured = engine.measure()
    text = sections.measurement(measured)
    Tags(text)
    assert text.count('<i style="width:50.00%"></i><b style="left:40.00%;width:10.00%"></b>') == 2
    assert "50.0 <small>[40–50]</small>" in text
    rows = re.findall(r'<tr><th scope="row">.*?</tr>', text)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert cells == [["40.0", "30.0", "20.0", "10.0"], ["5.0", "2.5", "–", "–"]]
    assert "not as a benchmark" in text
    assert "not as a benchmark" not in sections.measurement(replace(measured, captioned=100))
    assert "Lines left out" not in text
    named = sections.measurement(replace(measured, left_out=("line 3: it names '<b>.mp4'", "line 9: no sentence")))
    assert "Lines left out: 2" in named
    assert "line 3: it names &#39;&lt;b&gt;.mp4&#39;" in named
    assert "21 ms" in text
    assert "2.4 MB" in text


def test_a_search_looks_at_no_clip_but_those_it_shows(engine, monkeypatch):
    asked, clip = [], engine.clip
    monkeypatch.setattr(engine, "clip", lambda clip_id: asked.append(clip_id) or clip(clip_id))
    monkeypatch.setattr(engine, "clips", lambda: pytest.fail("a search lists the library"))
    state.run_search(engine, ViewState(text="a red ball", count=2))
    assert len(asked) == len(set(asked)) == 2
