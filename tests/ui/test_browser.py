"""The page in a real browser, over the stand-in engine: the few flows that a person starts with."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
SENTENCE = "a yellow taxi rolls through the city at night"
QUERY = "#query input"


def ask(page, text: str) -> None:
    page.fill(QUERY, text)
    page.keyboard.press("Enter")
    page.wait_for_selector("#results .card .score")


def names(page) -> list[str]:
    return page.eval_on_selector_all("#results .card strong", "nodes => nodes.map(node => node.textContent)")


def numbers(page, selector: str) -> list[int]:
    """The numbers shown, in thousandths."""
    texts = page.locator(selector).all_text_contents()
    return [round(1000 * float(text.replace("−", "-").replace("+", ""))) for text in texts]


def open_first(page) -> int:
    """Open the best hit; its score in thousandths."""
    ask(page, SENTENCE)
    page.click("#results .card >> nth=0")
    page.wait_for_selector("#panel .why canvas")
    (score,) = numbers(page, "#panel .figure")
    return score


def adds_up(page, total: int) -> None:
    """The parts and the words that are shown are ``total`` to the last digit."""
    assert sum(numbers(page, "#panel .legend .score")) == total
    assert sum(numbers(page, "#panel .word:not(.struck) small")) == total


def test_what_is_shown_adds_up_to_the_score_of_the_engine_to_the_last_digit(page, served):
    score = open_first(page)
    hit = served[0].search(SENTENCE).hits[0]
    why = served[0].explain(SENTENCE, hit)
    assert score == round(1000 * hit.score)
    adds_up(page, score)
    shown = numbers(page, "#panel .legend .score")
    assert shown == pytest.approx([1000 * value for value in hit.terms.values()], abs=1)
    words = 1000 * why.alignment.all_terms().sum(axis=(0, 2, 3))
    assert numbers(page, "#panel .word small") == pytest.approx(words, abs=1)

    assert numbers(page, "#panel .level .score") == shown
    page.click("#panel [role=tab][data-tab=where]")
    assert sum(numbers(page, "#panel .shot b")) == score
    page.click("#panel [role=tab][data-tab=concepts]")
    rows = numbers(page, "#panel tbody .score")
    assert sum(rows) == numbers(page, "#panel tfoot .score")[0] == shown[-1]
    for i, row in enumerate(rows, start=1):
        assert sum(numbers(page, f"#panel .ctable tbody tr:nth-child({i}) .cell button")) == row
        assert sum(numbers(page, f"#panel .ctable tbody tr:nth-child({i}) .chip small")) == row


def test_a_part_a_word_and_a_box_each_filter_the_others(page, served):
    score = open_first(page)
    alignment = served[0].explain(SENTENCE, served[0].search(SENTENCE).hits[0]).alignment
    page.click("#panel .legend [data-term='1']")
    (entity,) = numbers(page, "#panel .picked .score")
    assert entity == pytest.approx(1000 * alignment.terms()["entity"], abs=1)
    assert sum(numbers(page, "#panel .word small")) == entity
    page.click("#panel .word[data-row='3']")
    (both,) = numbers(page, "#panel .picked .score")
    assert both == pytest.approx(1000 * alignment.level_terms[1, 3].sum(), abs=1)
    assert "Striking it out" in page.text_content("#panel .effect")
    page.keyboard.press("Escape")
    adds_up(page, score)

    page.wait_for_function("document.querySelector('#panel .view canvas').width > 50")
    view = page.locator("#panel .view")
    view.scroll_into_view_if_needed()
    area = view.bounding_box()
    at = lambda x, y: (area["x"] + area["width"] * x, area["y"] + area["height"] * y)  # noqa: E731
    page.mouse.move(*at(0.25, 0.3))
    page.mouse.down()
    page.mouse.move(*at(0.75, 0.7))
    page.mouse.up()
    (box,) = numbers(page, "#panel .picked .score")
    rows, columns = alignment.grid
    frames = alignment.all_terms().sum(axis=(0, 1))
    frame = frames[frames.sum(axis=1).argmax(), 1:].reshape(rows, columns)
    cells = frame[int(0.3 * rows) : int(0.7 * rows) + 1, int(0.25 * columns) : int(0.75 * columns) + 1]
    assert box == pytest.approx(1000 * cells.sum(), abs=1)
    adds_up(page, box)
    assert "It speaks for" in page.text_content("#panel .speaks")


def test_a_box_is_drawn_and_the_film_is_played_by_keys(page, served):
    score = open_first(page)
    page.wait_for_function("document.querySelector('#panel .view canvas').width > 50")
    alignment = served[0].explain(SENTENCE, served[0].search(SENTENCE).hits[0]).alignment
    frames = alignment.all_terms().sum(axis=(0, 1))
    rows, columns = alignment.grid
    frame = frames[frames.sum(axis=1).argmax(), 1:].reshape(rows, columns)
    page.focus("#panel .view")
    top, left, height, width = rows >> 1, columns >> 1, 1, 1
    for key in ("ArrowRight", "Shift+ArrowLeft", "Shift+ArrowUp"):
        page.keyboard.press(key)
        left, width = (left - 1, 2) if key == "Shift+ArrowLeft" else (left, width)
        top, height = (top - 1, 2) if key == "Shift+ArrowUp" else (top, height)
        (box,) = numbers(page, "#panel .picked .score")
        assert box == pytest.approx(1000 * frame[top : top + height, left : left + width].sum(), abs=1)
        assert page.evaluate("document.activeElement.dataset.key") == "view"
    adds_up(page, box)
    page.keyboard.press("Escape")
    adds_up(page, score)

    page.wait_for_function("document.querySelector('#panel video').readyState >= 1")
    play, video = page.locator("#panel .play"), "document.querySelector('#panel video')"
    play.focus()
    page.keyboard.press("Enter")
    sync_api.expect(play).to_have_attribute("aria-label", "Pause")
    page.wait_for_function(f"!{video}.paused && {video}.currentTime > 0")
    page.keyboard.press("Space")
    sync_api.expect(play).to_have_attribute("aria-label", "Play")
    page.wait_for_selector("#panel .stage:not(.playing)")
    for key, second in (("End", alignment.seconds[-1]), ("Home", alignment.seconds[0])):  # of the moment, not the film
        page.press("#panel .stage input[type=range]", key)
        page.wait_for_function(f"Math.abs({video}.currentTime - {second}) < 0.05")


def test_a_word_is_struck_out_and_put_back(page, served):
    score = open_first(page)
    page.click("#panel .word[data-row='3']")
    page.click("#panel [data-key=strike]")
    page.wait_for_selector('#panel .word.struck[data-word="2"]')
    (without,) = numbers(page, "#panel .figure")
    hit = served[0].search(SENTENCE, struck=(2,)).hits[0]
    assert without == round(1000 * hit.score) != score
    adds_up(page, without)
    assert page.text_content("#results .without s") == "taxi"
    page.click('#panel .word.struck[data-word="2"]')
    page.wait_for_selector("#panel .word.struck", state="detached")
    assert numbers(page, "#panel .figure") == [score]


def test_tabs_turn_by_arrow_keys_and_stand_in_the_address_and_frames_seek_the_film(page):
    open_first(page)
    page.focus("#panel [role=tab][data-tab=parts]")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#panel .shots")
    assert page.evaluate("document.activeElement.dataset.tab") == "where"
    page.wait_for_url("**look=where*")
    page.reload()
    page.wait_for_selector("#panel .shots")
    page.wait_for_function("document.querySelector('#panel video').readyState >= 1")
    page.click("#panel .shot[data-frame='0']")
    first = page.evaluate("document.querySelector('#panel .stage input').value")
    page.wait_for_function(f"Math.abs(document.querySelector('#panel video').currentTime - {first}) < 0.05")
    page.keyboard.press("Escape")
    page.wait_for_selector("#panel .why", state="detached")
    assert page.evaluate("document.activeElement.dataset.do") == "open", "focus returns to the card"


def picks(page) -> list[object]:
    """What is picked in the explanation, and what it says of that."""
    looks = ("#panel .picked", "#panel .total", "#panel .clock", "#panel .whytabs [aria-selected=true]")
    pressed = page.eval_on_selector_all("#panel [aria-pressed=true]", "nodes => nodes.map(node => node.dataset.key)")
    box = page.locator("#panel .box").evaluate("node => node.hidden || node.getAttribute('style')")
    return [*map(page.text_content, looks), pressed, box]


def test_what_is_picked_is_in_the_address_and_back_and_forward_lead_through_it(page, browser):
    open_first(page)
    page.wait_for_function("document.querySelector('#panel .view canvas').width > 50")
    page.click("#panel [data-paint=map]")
    steps = [picks(page)]
    for selector in ("#panel .word[data-row='2']", "#panel .legend [data-term='4']", "#panel [data-tab=concepts]",
                     "#panel .concept-row >> nth=0", "#panel .cell button >> nth=1"):  # fmt: skip
        page.click(selector)
        steps.append(picks(page))
    page.focus("#panel .view")
    page.keyboard.press("Shift+ArrowLeft")
    steps.append(picks(page))
    link = page.url
    for key in ("word=2", "term=concepts", "look=concepts", "concept=", "only=1", "box=", "paint=map"):
        assert key in link

    fresh = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    fresh.goto(link)
    fresh.wait_for_selector("#panel .why canvas")
    assert picks(fresh) == steps[-1]
    assert fresh.url == link
    fresh.context.close()
    for before in steps[-2::-1]:
        page.go_back()
        sync_api.expect(page.locator("#panel .picked")).to_have_text(before[0])
        assert picks(page) == before
    while page.url != link:
        page.go_forward()
    sync_api.expect(page.locator("#panel .picked")).to_have_text(steps[-1][0])
    assert picks(page) == steps[-1]
    page.reload()
    page.wait_for_selector("#panel .why canvas")
    assert picks(page) == steps[-1]


def test_a_pick_that_an_explanation_does_not_have_is_passed_over(page, served):
    clip = served[0].clips()[0].clip_id
    page.goto(f"{served[1]}#q=a+taxi&clip={clip}&word=999&concept=77&only=500&frame=99&box=9,9,99,99")
    page.wait_for_selector("#panel .why canvas")
    assert picks(page)[4] == ["paint-heat"]
    assert "word" not in page.url


def test_a_concept_is_muted_in_its_row_and_counted_again_above_the_cards(page):
    score = open_first(page)
    page.click("#panel [role=tab][data-tab=concepts]")
    concept = page.get_attribute("#panel .ctable [data-do=mute] >> nth=0", "data-concept")
    page.click(f'#panel [data-do=mute][data-concept="{concept}"]')
    page.wait_for_selector(f'#panel [data-do=mute][data-concept="{concept}"][aria-pressed=true]')
    assert page.text_content("#results .without s") == f"concept {int(concept) + 1}"
    page.click(f'#results .without [data-concept="{concept}"]')
    page.wait_for_selector(f'#panel [data-do=mute][data-concept="{concept}"][aria-pressed=false]')
    assert numbers(page, "#panel .figure") == [score]


def test_an_open_clip_is_compared_with_another_hit(page):
    score = open_first(page)
    page.click('#panel [data-do="rival"] >> nth=0')
    page.wait_for_selector("#panel .versus")
    assert "night-taxi lies above" in page.text_content("#panel .rivals .reason")
    table = numbers(page, "#panel .versus .score")
    assert table[-3] == score
    for rows in (table[:15], table[15:-3]):
        assert [sum(rows[i::3]) for i in range(3)] == table[-3:]
    page.click('#panel [data-do="rival"] >> nth=0')
    page.wait_for_selector("#panel .versus", state="detached")


def test_the_explanation_is_short_before_a_tab_is_opened(page):
    open_first(page)
    panel, tabs = (page.locator(f"#panel {part}").first.bounding_box() for part in (".why", ".whytabs"))
    assert tabs["y"] + tabs["height"] - panel["y"] < 1100


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
    page.wait_for_selector("#dpanel .why canvas")
    assert page.text_content("#dpanel h2") == "moon-rises"


def test_concepts_show_frames_that_open_their_clip(page, served):
    page.get_by_role("tab", name="Concepts").click()
    page.wait_for_selector(".concept .spot")
    assert page.locator(".concept").count() == len(served[0].concepts())
    spot = page.locator('.spot[title^="kite-over-hills"]').first
    spot.click()
    page.wait_for_selector("#ranked .sentence")
    assert page.text_content("#ranked h2") == "Sentences for kite-over-hills"
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
    for tab in ("where", "concepts", "parts"):
        page.click(f"#panel [role=tab][data-tab={tab}]")
        assert not page.evaluate(wide), tab
    for name in ("Describe", "Concepts", "Library", "Measure", "About"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(100)
        assert not page.evaluate(wide), name
