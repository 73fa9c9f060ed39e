"""The Library tab in a real browser, over the stand-in engine."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
expect.set_options(timeout=20_000)
pytestmark = pytest.mark.browser


@pytest.fixture
def shelf(page):
    """The page with the Library tab in front."""
    page.get_by_role("tab", name="Library").click()
    expect(page.locator("#shelf .item").first).to_be_visible()
    return page


def names(page) -> list[str]:
    return page.locator("#shelf .item h2").all_text_contents()


def test_captions_that_are_written_become_examples_and_sentences_at_once(shelf, served):
    first = served[0].list(0, 1).clips[0]
    opener = shelf.locator(f'[data-editor="{first.clip_id}"]')
    opener.click()
    form = shelf.locator("dialog.editor")
    expect(form).to_be_visible()
    assert form.locator("[data-field=captions]").input_value() == "\n".join(first.captions)
    form.locator("[data-field=captions]").fill("a gull over the pier\nharbour at noon")
    form.locator("[data-field=name]").fill("pier.mp4")
    form.get_by_role("button", name="Save").click()
    expect(shelf.locator("#outcome .report")).to_have_text("Saved pier.mp4.")
    expect(shelf.locator("#shelf .item h2").first).to_have_text("pier.mp4")
    expect(opener).to_be_focused()
    expect(shelf.locator(".examples .chip").first).to_have_text("a gull over the pier")
    assert served[0].clip(first.clip_id).captions == ("a gull over the pier", "harbour at noon")


def test_captions_are_imported_and_lines_that_fit_nothing_are_named(shelf, served, tmp_path):
    clip = served[0].list(0, 1, "name").clips[0]
    table = tmp_path / "mine.csv"
    table.write_text(f"clip,caption\n{clip.name},it floats away\nnobody.mp4,x\n")
    with shelf.expect_file_chooser() as chooser:
        shelf.get_by_role("button", name="Import captions").click()
    chooser.value.set_files(table)
    report = shelf.locator("#outcome .report")
    expect(report).to_contain_text("1 new caption for 1 clip")
    expect(report).to_contain_text("line 3: it names 'nobody.mp4'")
    expect(shelf.locator("#shelf")).to_contain_text("it floats away")


def test_many_are_chosen_deleted_and_brought_back(shelf, served):
    before = names(shelf)
    boxes = shelf.locator("[data-pick]")
    boxes.nth(0).click()
    boxes.nth(2).click(modifiers=["Shift"])
    shelf.get_by_role("button", name="Delete 3").click()
    expect(shelf.locator("#shelf .item")).to_have_count(len(before) - 3)
    assert names(shelf) == before[3:]
    expect(shelf.locator("#numbers dd").first).to_have_text(str(len(before) - 3))
    shelf.get_by_role("tab", name="Search").click()
    expect(shelf.locator("#results .wall .card")).to_have_count(len(before) - 3)
    shelf.get_by_role("tab", name="Library").click()
    shelf.get_by_role("button", name="Undo").click()
    expect(shelf.locator("#shelf .item")).to_have_count(len(before))
    assert len(served[0].clips()) == len(before)
    expect(shelf.locator("[data-delete-picked]")).to_be_hidden()


def test_what_was_just_added_comes_first_is_marked_and_can_be_asked_for(shelf, served, tmp_path):
    shutil.copy(served[0].clips()[0].path, tmp_path / "fresh.mp4")
    shelf.locator("#shelf input[type=search]").fill("moon")
    shelf.locator("#shelf input[type=search]").press("Enter")
    expect(shelf.locator("#shelf .item")).to_have_count(1)
    shelf.set_input_files("#upload input[type=file]", tmp_path / "fresh.mp4")
    expect(shelf.locator("#shelf .item.new")).to_be_visible()
    expect(shelf.locator("#shelf .item").first).to_have_class("item new")
    expect(shelf.locator("#shelf .item.new")).to_contain_text("No caption yet")
    shelf.get_by_role("tab", name="Search").click()
    expect(shelf.locator("#results .wall .card").first).to_contain_text("Find clips like this one")
