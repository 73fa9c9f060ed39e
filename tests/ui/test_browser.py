"""The page in a real browser, over the stand-in engine: the few flows that a person starts with."""

from __future__ import annotations

import os
import re
import shutil

import pytest

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="NO BROWSER: install chromium or set CHROMIUM to test the page"),
]
SENTENCE = "a yellow taxi rolls through the city at night"
QUERY = "#query textarea, #query input"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture(params=[{"width": 1440, "height": 900}])
def page(request, browser, served):
    """A loaded page that fails the test if it spoke to anyone but the server or raised in a script."""
    context = browser.new_context(viewport=request.param)
    page, strangers, errors = context.new_page(), [], []
    local = (served[1], "data:", "blob:")
    page.on("request", lambda sent: None if sent.url.startswith(local) else strangers.append(sent.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(served[1])
    page.wait_for_selector(".examples .chip")
    yield page
    context.close()
    assert strangers == []
    assert errors == []


def ask(page, text: str) -> None:
    page.fill(QUERY, text)
    page.keyboard.press("Enter")
    page.wait_for_selector("#results .card .score")


def names(page) -> list[str]:
    return page.eval_on_selector_all("#results .card strong", "nodes => nodes.map(node => node.textContent)")


def parts(page) -> str:
    return page.get_attribute("#panel .bar", "aria-label")


def test_a_query_a_card_a_struck_word_and_a_frame(page):
    ask(page, SENTENCE)
    assert names(page)[0] == "night-taxi"
    page.click("#results .card >> nth=0")
    page.wait_for_selector("#panel .shot")
    before = parts(page)

    page.click('#panel .word[data-word="2"]')
    page.wait_for_selector('#panel .word.struck[data-word="2"]')
    assert parts(page) != before
    assert page.text_content("#results .without s") == "taxi"
    page.click('#results .without [data-word="2"]')
    page.wait_for_selector('#panel .word:not(.struck)[data-word="2"]')
    assert parts(page) == before

    page.click('#panel [data-pick="term:action"]')
    page.wait_for_selector('#panel .pick.open[data-pick="term:action"]')
    page.wait_for_function("document.querySelector('#panel video').readyState >= 1")
    page.click("#panel .shot >> nth=-1")
    wanted = float(page.get_attribute("#panel .shot >> nth=-1", "data-seek"))
    page.wait_for_function(f"document.querySelector('#panel video').currentTime >= {wanted - 0.05}")

    page.keyboard.press("Escape")
    page.wait_for_selector("#panel .why", state="detached")


def test_a_concept_is_muted_in_the_grid_and_counted_again_above_the_cards(page):
    ask(page, SENTENCE)
    page.click("#results .card >> nth=0")
    page.wait_for_selector("#panel .mute")
    before = parts(page)
    concept = page.get_attribute("#panel .mute >> nth=0", "data-concept")
    page.click(f'#panel .mute[data-concept="{concept}"]')
    page.wait_for_selector(f'#panel .mute.muted[data-concept="{concept}"]')
    assert page.text_content("#results .without s") == f"concept {int(concept) + 1}"
    page.click(f'#results .without [data-concept="{concept}"]')
    page.wait_for_selector(f'#panel .mute:not(.muted)[data-concept="{concept}"]')
    assert parts(page) == before


def test_an_open_clip_is_compared_with_another_hit(page):
    ask(page, SENTENCE)
    page.click("#results .card >> nth=0")
    page.click('#panel [data-do="rival"] >> nth=0')
    page.wait_for_selector("#panel .versus")
    assert "night-taxi lies above" in page.text_content("#panel .rivals .reason")
    scores = [page.text_content(f"#results .card .score >> nth={i}") for i in (0, 1)]
    shown = page.locator("#panel .versus tbody:last-child .score").all_text_contents()
    assert shown[:2] == scores
    page.click('#panel [data-do="rival"] >> nth=0')
    page.wait_for_selector("#panel .versus", state="detached")


def test_an_example_runs_and_a_slider_ranks_again(page):
    page.click(".examples .chip >> nth=1")
    page.wait_for_selector("#results .card .score")
    assert page.input_value(QUERY) == page.text_content(".examples .chip >> nth=1")
    first = page.text_content("#results .card .score >> nth=0")
    slider = page.locator('.m-entity input[type="range"]')
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    sync_api.expect(page.locator("#results .card .score").first).not_to_have_text(first)
    page.click("#reset")
    sync_api.expect(page.locator("#results .card .score").first).to_have_text(first)


def test_all_weights_at_zero_get_a_sentence_and_change_nothing(page):
    ask(page, SENTENCE)
    for name in ("global", "entity", "action", "relationship", "concepts"):
        bars = page.locator("#results .bar").first
        before, ranked = bars.get_attribute("aria-label"), names(page)
        box = page.locator(f'.m-{name} input[type="number"]')
        box.fill("0")
        box.press("Tab")
        if name != "concepts":
            sync_api.expect(bars).not_to_have_attribute("aria-label", before)
    sync_api.expect(page.locator(".toast-body").first).to_contain_text("weights are zero")
    assert names(page) == ranked


def test_a_broken_upload_gets_a_sentence_and_leaves_the_library(page, served, tmp_path):
    broken = tmp_path / "holiday.mp4"
    broken.write_text("this is no video")
    before = served[0].clips()
    page.get_by_role("tab", name="Library").click()
    page.set_input_files('#upload input[type="file"]', str(broken))
    outcome = page.locator("#outcome .bad")
    sync_api.expect(outcome).to_contain_text(re.compile("Not added: holiday.mp4: no video stream.*re-save"))
    assert served[0].clips() == before


def test_a_clip_is_described_and_its_sentence_explained(page):
    page.get_by_role("tab", name="Describe").click()
    page.click('.tile:has-text("moon-rises")')
    page.wait_for_selector("#ranked .sentence")
    assert page.text_content("#ranked q >> nth=0") == "the moon rises above a dark sea"
    page.click("#ranked .sentence >> nth=0")
    page.wait_for_selector("#dpanel .shot")
    assert page.text_content("#dpanel h2") == "moon-rises"


def test_concepts_show_frames_that_open_their_clip(page, served):
    page.get_by_role("tab", name="Concepts").click()
    page.wait_for_selector(".concept .spot")
    assert page.locator(".concept").count() == len(served[0].concepts())
    spot = page.locator('.spot[title^="kite-over-hills"]').first
    spot.click()
    page.wait_for_selector("#ranked .sentence")
    assert page.text_content("#ranked h3") == "Sentences for kite-over-hills"
    assert page.get_by_role("tab", name="Describe").get_attribute("aria-selected") == "true"
    assert page.locator(".tile.open").count() == 1


def test_a_concept_that_is_muted_on_its_card_is_muted_in_searches_until_the_weights_are_reset(page):
    ask(page, SENTENCE)
    page.get_by_role("tab", name="Concepts").click()
    page.click('.concept [data-do="mute"][data-concept="2"]')
    page.wait_for_selector('.concept.muted [data-do="mute"][data-concept="2"][aria-pressed="true"]')
    page.get_by_role("tab", name="Search").click()
    page.wait_for_selector('#results .without [data-concept="2"]')
    ask(page, "the moon rises above a dark sea")
    page.wait_for_selector('#results .without [data-concept="2"]')
    page.click("#reset")
    page.wait_for_selector("#results .without", state="detached")
    page.get_by_role("tab", name="Concepts").click()
    page.wait_for_selector(".concept.muted", state="detached")


def test_a_concept_is_renamed_where_its_name_stands(page, served):
    page.get_by_role("tab", name="Concepts").click()
    name = page.locator('.concept .name[data-concept="2"]')
    first = name.text_content()
    name.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("dropped")
    page.keyboard.press("Escape")
    sync_api.expect(name).to_have_text(first)
    for written, shown in (("<b>what moves</b>", "<b>what moves</b>"), ("", first)):
        name.click()
        page.keyboard.press("Control+A")
        page.keyboard.type(written) if written else page.keyboard.press("Delete")
        page.keyboard.press("Enter")
        for _ in range(100):
            if served[0].concepts()[2].name == shown:
                break
            page.wait_for_timeout(50)
        sync_api.expect(name).to_have_text(shown)
        assert served[0].concepts()[2].name == shown
    assert page.get_by_role("tab", name="Concepts").get_attribute("aria-selected") == "true"


def test_a_library_is_measured(page):
    page.get_by_role("tab", name="Measure").click()
    page.click("#measure")
    page.wait_for_selector("#measured .gauge")
    assert "queries among 9" in page.text_content("#measured .direction >> nth=0")
    assert page.locator("#measured .plain tbody tr").count() == 2


@pytest.mark.parametrize("page", [{"width": 390, "height": 844}], indirect=True)
def test_a_phone_never_scrolls_sideways(page):
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    ask(page, SENTENCE)
    assert not page.evaluate(wide)
    page.click("#results .card >> nth=0")
    page.wait_for_selector("#panel .shot")
    assert not page.evaluate(wide)
    for name in ("Describe", "Concepts", "Library", "Measure", "About"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(100)
        assert not page.evaluate(wide), name
