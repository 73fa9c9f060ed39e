"""The page's HTML: what is shown is what was ranked, and nobody's text becomes markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.helpers.fake_engine import FakeEngine, Scene
from tests.viz.test_overlays import contrast
from vtr_demo.errors import LibraryError
from vtr_demo.results import CaptionReport, ExampleView, IndexReport
from vtr_demo.structures import TERMS, Mix, TermWeights
from vtr_demo.ui import html, shelf, state, theme
from vtr_demo.ui.shelf import Listing
from vtr_demo.ui.view import ViewState, Where

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
        assert self.open == []

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
    "values", [(0.3, 0.2, 0.1, 0.05, 0.02), (0.3, -0.2, 0.1, -0.05, 0.4), (-0.3, -0.2, -0.1, -0.05, -0.02), (0.0,) * 5]
)
def test_positive_widths_less_negative_widths_are_the_score_and_parts_neither_overlap_nor_leave_the_bar(values):
    terms = dict(zip(TERMS, values, strict=True))
    low, high = html.bar_range([terms, {"global": 0.7, "entity": -0.4}])
    parts = html.bar_parts(terms, (low, high))
    total = sum(-width if terms[name] < 0 else width for name, _, width in parts)
    assert total / 100 * (high - low) == pytest.approx(sum(values), abs=1e-4)
    ends = sorted((left, left + width) for _, left, width in html.bar_parts(terms, html.bar_range([terms])))
    if ends:
        assert [ends[0][0], ends[-1][1]] == pytest.approx([0, 100], abs=1e-2)
    assert all(start >= end - 1e-2 for (start, _), (_, end) in zip(ends[1:], ends[:-1], strict=True))


@pytest.mark.parametrize("numbers", [(1.0, 2.5, 10.0), (0.0, 10.0, 10.0), (0.0, 0.0, 0.0)])
def test_the_moment_lies_where_it_is_in_the_clip(numbers):
    start, end, duration = numbers
    line = html.render("macros", "timeline", duration_s=duration, start_s=start, end_s=end)
    left, width = map(float, re.search(r"left:([\d.]+)%;width:([\d.]+)%", line).groups())
    assert left == pytest.approx(100 * start / max(duration, 1e-6), abs=0.01)
    assert left + width <= 100.01


def test_no_text_of_a_person_becomes_markup(tmp_path, monkeypatch):
    nasty = FakeEngine(tmp_path, (replace(Scene("x", (NASTY,), *[(1, 2, 3)] * 3, (0.1, 0.1))),))
    clip_id = nasty.clips()[0].clip_id
    nasty.edit(clip_id, name=NASTY, captions=[NASTY])
    status = replace(nasty.status(), model=NASTY, problems=(NASTY,))
    concepts = [replace(concept, name=NASTY, top_words=((NASTY, 1),)) for concept in nasty.concepts()]
    monkeypatch.setattr(nasty, "status", lambda: status)
    monkeypatch.setattr(nasty, "concepts", lambda: concepts)
    monkeypatch.setattr(nasty, "example", lambda clip_id: ExampleView(clip_id, NASTY), raising=False)
    opened, shown, _ = state.run_search(nasty, ViewState(text=NASTY, clip=clip_id))
    mixed = ViewState(NASTY, mix=Mix(clip_id, exclude=(NASTY,)), where=Where(name=NASTY[:9]))
    lines = (f"{NASTY}: broken; mend it.",)
    pieces = [
        shown, state.run_search(nasty, replace(opened, struck=(1,)))[1], state.show_search(nasty, ViewState())[1],
        state.run_describe(nasty, ViewState(clip=clip_id, own=NASTY))[1],
        *state.library_parts(nasty), state.clip_picker(nasty, mixed), state.ask_more(nasty, mixed),
        state.concept_gallery(nasty, ViewState(), nameable=True),
        html.problem(NASTY), html.address("search", ViewState(text=NASTY)),
        shelf.shelf(nasty, Listing(name=NASTY[:9]), False),
        shelf.report(nasty, IndexReport((clip_id,), (NASTY,), ((NASTY, lines[0]),))),
        html.render("library", "imported", outcome=CaptionReport(1, 1, lines)),
        html.render("measure", "result", m=replace(nasty.measure(), left_out=lines)),
    ]  # fmt: skip
    for piece in pieces:
        tags = Tags(piece)
        assert "script" not in tags.names
        assert not any(name.startswith("on") for name in tags.attributes)
        assert "onerror=alert" not in re.sub(r"&lt;.*?&gt;", "", piece)


def test_the_panel_explains_the_moment_that_the_card_shows(engine):
    weights = (0.0, 1.0, 0.0, 0.0, 0.0)
    for hit in engine.search(SENTENCE, weights=TermWeights(*weights)).hits:
        asked = ViewState(text=SENTENCE, clip=hit.clip_id, weights=weights)
        view, ranked, panel = state.run_search(engine, asked)
        assert (panel["moment"], view.confidence) == (hit.moment, hit.confidence)
        assert panel["score"] == pytest.approx(hit.score, abs=1e-6)
        still = "poster" if hit.moment < 0 else f"moment-{hit.moment}"
        assert f'src="clips/{hit.clip_id}/{still}"' in ranked
        chosen = state.run_search(engine, replace(asked, moment=1))[2]
        assert chosen["moment"] == 1


def test_what_was_deleted_is_brought_back_or_removed_for_good(tmp_path):
    library = FakeEngine(tmp_path / "own")
    mine, others = (clip.clip_id for clip in library.clips()[:2])
    assert "Deleted red-ball-beach" in shelf.act(library, {"do": "delete", "clips": mine})
    assert f'data-do="restore" data-clips="{mine}"' in shelf.shelf(library, Listing(), False)
    assert "back" in shelf.act(library, {"do": "restore", "clips": mine})
    shelf.act(library, {"do": "delete", "clips": others})
    shelf.act(library, {"do": "empty"})
    assert library.deleted() == ()
    assert {mine, others} & {clip.clip_id for clip in library.clips()} == {mine}


def test_the_pages_of_a_listing_make_up_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "PAGE", 4)
    library, listing = FakeEngine(tmp_path), Listing()
    library.edit(library.clips()[3].clip_id, captions=[])

    def listed(one: Listing) -> list[str]:
        return re.findall(r'data-pick="(\w+)"', shelf.shelf(library, one, False))

    pages = [listed(listing.after({"do": "page", "value": page})) for page in (0, 1, 2)]
    assert [clip.clip_id for clip in library.clips()][::-1] == [clip for page in pages for clip in page]
    assert listed(replace(listing, page=99)) == pages[2]
    assert listed(listing.after({"do": "captioned", "value": "without"})) == [library.clips()[3].clip_id]
    for click in ({"do": "page", "value": "-1"}, {"do": "page", "value": "9" * 9}, {"do": "order", "value": "x"},
                  {"do": "captioned", "value": "x"}, {"value": ["x"]}, {}):  # fmt: skip
        assert listing.after(click) == listing


@pytest.mark.parametrize(
    "click",
    [{}, {"do": "nothing"}, {"do": "rival"}, {"do": "open"}, {"do": "strike", "word": "-1"},
     {"do": "strike", "word": "²"}, {"do": "mute"}, {"do": "mute", "concept": "-1"}, {"do": "mute", "concept": "٣"},
     {"do": "mute", "concept": "9" * 30}, {"do": "mute", "concept": "1; drop"}, {"do": ["open"], "clip": "x"}],
)  # fmt: skip
def test_a_malformed_click_changes_nothing(click):
    view = ViewState(text="a", clip="b")
    assert view.after(click) == view


def test_one_sentence_that_cannot_be_read_never_refuses_the_others(engine):
    clip_id = engine.clips()[0].clip_id
    lines = ["a red ball rolls", "狗在雪地里", "", "???", "the moon rises"]
    _, ranked, _ = state.show_describe(engine, ViewState(clip=clip_id, own="\n".join(lines)))
    assert sorted(re.findall(r'data-text="([^"]*)"', ranked)) == [lines[0], lines[4]]
    assert re.findall(r"Line (\d), “([^”]*)”, is left out", ranked) == [("2", lines[1]), ("4", lines[3])]
    _, ranked, _ = state.show_describe(engine, ViewState(clip=clip_id, own=lines[1]))
    assert ranked.count('role="alert"') == 1
    assert "English" in ranked


def test_an_uncertain_result_says_so(engine, monkeypatch):
    result = engine.search(SENTENCE)
    for confident in (True, False):
        monkeypatch.setattr(engine, "search", lambda *_, sure=confident, **__: replace(result, confident=sure))
        assert ("No confident match" in state.run_search(engine, ViewState(SENTENCE))[1]) != confident


@pytest.mark.parametrize(
    ("view", "message"),
    [(ViewState(text="  ", order="name"), "Type a sentence"),
     (ViewState(SENTENCE, weights=(0.0,) * 5), "weights are zero"),
     (ViewState(SENTENCE, struck=(*range(7),)), "words are struck out")],
)  # fmt: skip
def test_what_cannot_be_searched_gets_a_sentence_in_the_place_of_results(engine, view, message):
    _, ranked, panel = state.show_search(engine, view)
    assert ranked.startswith('<p class="problem" role="alert">')
    assert message in ranked
    assert panel is None


def test_only_files_of_the_upload_folder_are_taken(tmp_path):
    inside, outside = tmp_path / "up" / "a.mp4", tmp_path / "secret.txt"
    inside.parent.mkdir()
    inside.write_bytes(b"x")
    outside.write_text("x")
    (tmp_path / "up" / "link").symlink_to(outside)
    folder = str(tmp_path / "up")
    assert state.uploaded([str(inside)], folder) == [inside]
    for path in (outside, tmp_path / "up" / ".." / "secret.txt", tmp_path / "up" / "link", tmp_path / "up" / "no"):
        with pytest.raises(LibraryError, match="was not uploaded"):
            state.uploaded([str(path)], folder)


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


def test_the_page_loads_nothing_from_elsewhere():
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\((?!data:)", theme.head())


@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(block):
    css = (theme.STATIC / "page.css").read_text(encoding="utf-8")
    tokens = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r"{([^}]*--paper[^}]*)}", css)[block]))
    for text, ground in (("ink", "paper"), ("ink", "sheet"), ("soft", "paper"), ("soft", "sheet"),
                         ("accent-ink", "accent"), ("warn-ink", "warn"), ("bad", "sheet")):  # fmt: skip
        assert contrast(tokens[text], tokens[ground]) >= 4.5, (text, ground)


def test_concepts_are_shown_by_what_they_hold_the_fullest_first_and_the_muted_say_so(engine, monkeypatch):
    views = list(engine.concepts())
    views[0] = replace(views[0], words=0.5, patches=0.0, shots=(), top_words=())
    monkeypatch.setattr(engine, "concepts", lambda: views)
    text = state.concept_gallery(engine, ViewState(muted=(1,)), nameable=False)
    Tags(text)
    order = [int(number) - 1 for number in re.findall(r'class="swatch"[^>]*></i><span>(\d+)</span>', text)]
    assert order == sorted(range(len(views)), key=lambda k: -views[k].patches)
    shares = [share for k in order for share in (views[k].patches, views[k].words)]
    widths = [float(width) for width in re.findall(r'<i title="[^"]*" style="width:([\d.]+)%', text)]
    assert widths == pytest.approx([100 * share / max(shares) for share in shares], abs=0.06)
    assert text.count('data-do="choose"') == sum(len(view.shots) for view in views)
    assert text.count("Too few captions") == sum(view.agreement is None for view in views)
    (card,) = re.findall(r'<article class="concept muted">.*?</article>', text)
    assert 'data-do="mute" data-concept="1"' in card
    assert text.count('aria-pressed="true"') == 1


def test_names_of_concepts_can_be_written_where_they_are_the_visitors(engine):
    for nameable in (True, False):
        text = state.concept_gallery(engine, ViewState(), nameable)
        assert text.count('data-edit="rename"') == nameable * len(engine.concepts())
    remembering = state.CachedExplanations(engine)
    clip_id = engine.clips()[0].clip_id
    first = remembering.explain(SENTENCE, clip_id).concept_names
    for click in ({"do": "choose", "clip": clip_id}, {"do": "rename"}, {"do": "rename", "concept": "-1"}):
        assert not state.rename_concept(remembering, click)
    for name, shown in ((NASTY, NASTY), ("", first[1])):
        assert state.rename_concept(remembering, {"do": "rename", "concept": "1", "text": name})
        assert remembering.explain(SENTENCE, clip_id).concept_names == (first[0], shown, *first[2:])


def test_a_measurement_shows_both_directions_each_part_and_what_it_lacks(engine):
    measured = engine.measure()
    text = html.render("measure", "result", m=measured)
    Tags(text)
    assert text.count('<i style="width:50.00%"></i><b style="left:40.00%;width:10.00%"></b>') == 2
    rows = re.findall(r'<tr><th scope="row">.*?</tr>', text)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert cells == [["40.0", "30.0", "20.0", "10.0"], ["5.0", "2.5", "–", "–"]]
    assert "not as a benchmark" in text
    assert "not as a benchmark" not in html.render("measure", "result", m=replace(measured, captioned=100))


def test_a_search_looks_at_no_clip_but_those_it_shows(engine, monkeypatch):
    asked, clip = [], engine.clip
    monkeypatch.setattr(engine, "clip", lambda clip_id: asked.append(clip_id) or clip(clip_id))
    monkeypatch.setattr(engine, "clips", lambda: pytest.fail("a search lists the library"))
    state.run_search(engine, ViewState(text="a red ball", count=2))
    assert len(asked) == len(set(asked)) == 2
