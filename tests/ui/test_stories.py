"""What people do on the page, in a real browser over a real library: what is shown is what the engine says."""

from __future__ import annotations

import csv
import re
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.drawn import write_video
from tests.helpers.fake_engine import SCENES, write_clip
from tests.ui.conftest import program, serving
from tests.ui.test_browser import QUERY, ask, sync_api
from vtr_demo.library.engine import Engine
from vtr_demo.structures import Mix
from vtr_demo.ui.html import signed

pytestmark = pytest.mark.browser
SAMPLES = Path(__file__).parents[2] / "sample_videos"
NAMES = ("penguin_waddles", "red_car_drives", "owl_flies_at_night", "camel_approaches", "dog_meets_snowman")
DENYING = "an animal that is not in the snow"
expect = sync_api.expect


def film(path: Path, parts: list[Path]) -> Path:
    """The clips one after the other, twelve frames a second."""
    import av

    pictures = []
    for part in parts:
        with av.open(str(part)) as source:
            pictures += [frame.to_ndarray(width=320, height=240, format="rgb24") for frame in source.decode(video=0)]
    write_video(path, pictures[::2], range(len(pictures[::2])), fps=12, codec="libx264")
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("stories")
    clips = [SAMPLES / f"{name}.mp4" for name in NAMES]
    with closing(Engine.open(folder / "library", "tiny")) as engine:
        engine.add(clips, captions=[(f"a {name.replace('_', ' ')}",) for name in NAMES], keep_copy=False)
        engine.add([film(folder / "film.mp4", clips[:4])])
        yield engine


@pytest.fixture(scope="module")
def address(library) -> Iterator[str]:
    with serving(library) as url:
        yield url


@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#results .wall .card")
    yield page
    context.close()
    assert errors == []


def by_name(library: Engine, name: str) -> str:
    return next(clip.clip_id for clip in library.clips() if clip.name.startswith(name))


def cards(page) -> list[tuple[str, str]]:
    """(name, score) of the hits, as they are shown."""
    read = "cards => cards.map(c => [c.querySelector('strong').title, c.querySelector('.score').textContent])"
    return [tuple(pair) for pair in page.eval_on_selector_all("#results .hit-card", read)]


def ranked(library: Engine, text: str, mix: Mix = Mix(), **options) -> list[tuple[str, str]]:  # noqa: B008
    return [(hit.name, signed(hit.score)) for hit in library.search(text, 12, mix=mix, **options).hits]


def shown(page) -> list[str]:
    """All that a person sees of a search."""
    looks = ("#results .hit-card", "#panel .figure", "#panel .sentence-parsed", "#ask-mix", "#results .without")
    texts = [re.sub(r"\\s+", " ", " ".join(page.locator(selector).all_text_contents())) for selector in looks]
    sliders = page.eval_on_selector_all(".mix input[type=range]", "nodes => nodes.map(node => node.value)")
    dark = page.evaluate("document.body.classList.contains('dark')")
    picked = page.eval_on_selector_all("#panel [aria-pressed=true]", "nodes => nodes.map(node => node.dataset.key)")
    return [*texts, page.input_value(QUERY), str(sliders), str(dark), str(picked)]


def wait_for_address(page, pattern: str) -> str:
    page.wait_for_function("pattern => new RegExp(pattern).test(location.hash)", arg=pattern)
    return page.url


def test_a_link_shows_the_same_in_a_fresh_browser_and_back_forward_and_reload_work(page, browser, library):
    ask(page, DENYING)
    expect(page.locator("#results .read s")).to_have_text("that is not in the snow")
    assert cards(page) == ranked(library, DENYING)
    box = page.locator('.m-concepts input[type="number"]')
    box.fill("1")
    box.press("Tab")
    wait_for_address(page, "weights=")
    page.click("#results .hit-card .face >> nth=1")
    page.wait_for_selector("#panel .figure")
    page.click("[data-theme-switch]")
    link = wait_for_address(page, "clip=.*theme=dark")
    before = shown(page)
    fresh = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    fresh.goto(link)
    fresh.wait_for_selector("#panel .figure")
    expect(fresh.locator("#panel .figure")).to_have_text(page.text_content("#panel .figure"))
    assert shown(fresh) == before
    fresh.context.close()

    page.go_back()
    page.wait_for_selector("#panel .figure", state="detached")
    page.go_forward()
    page.wait_for_selector("#panel .figure")
    page.reload()
    page.wait_for_selector("#panel .figure")
    expect(page.locator("body.dark")).to_have_count(1)
    assert shown(page) == before


def test_an_example_words_and_exclusions_are_one_query_whose_parts_add_up(page, library):
    ask(page, "a bird at night")
    owl = by_name(library, "owl")
    page.hover(f'#results .hit-card:has([data-clip="{owl}"])')
    page.click(f'#results .likethis[data-clip="{owl}"]')
    wait_for_address(page, f"^#like={owl}$")
    assert cards(page) == ranked(library, "", Mix(owl))
    page.fill(QUERY, "a car")
    page.keyboard.press("Enter")
    wait_for_address(page, "q=a.car&like=")
    page.fill(".leaveout", "a camel")
    page.keyboard.press("Enter")
    wait_for_address(page, "not=a.camel")
    mix = Mix(owl, share=0.5, exclude=("a camel",))
    assert cards(page) == ranked(library, "a car", mix)
    page.click("#results .hit-card .face >> nth=0")
    page.wait_for_selector("#panel .figure")
    why = library.explain("a car", library.search("a car", mix=mix).hits[0], mix=mix)
    assert page.text_content("#panel .figure") == signed(why.alignment.score, 3)
    adds = page.eval_on_selector_all(
        "#panel .sentence-parsed .word small", "nodes => nodes.map(node => Number(node.textContent.replace('−', '-')))"
    )
    assert sum(adds) == pytest.approx(why.alignment.score, abs=6e-4)
    page.click('.against [data-do="include"]')
    page.wait_for_selector(".against", state="detached")
    page.click('.example [data-do="unlike"]')
    wait_for_address(page, "^#q=a.car&clip=")
    assert cards(page) == ranked(library, "a car")


def test_a_picture_is_a_query_and_stays_outside_the_library(page, library):
    before = library.clips()
    poster = library.clip(by_name(library, "camel")).poster
    page.set_input_files("#askmore input[type=file]", str(poster))
    page.wait_for_selector(".example img")
    wait_for_address(page, "^#like=[0-9a-f]{12}$")
    like = page.url.rpartition("=")[2]
    assert cards(page) == ranked(library, "", Mix(like))
    assert cards(page)[0][0] == "camel_approaches.mp4"
    assert library.clips() == before


def test_what_is_no_picture_is_refused_where_it_was_given_and_an_example_that_is_gone_is_left_out(
    page, library, address, tmp_path
):
    ask(page, "a bird at night")
    before, broken = cards(page), tmp_path / "holiday.png"
    broken.write_text("no picture")
    page.set_input_files("#askmore input[type=file]", str(broken))
    expect(page.locator("#ask-mix .problem")).to_contain_text("holiday.png")
    assert cards(page) == before
    ask(page, "a bird")
    expect(page.locator("#ask-mix .problem")).to_have_count(0)
    page.goto(f"{address}#q=a+bird&like=0123456789ab&share=0.3")
    expect(page.locator("#results .problem")).to_contain_text("example is gone")
    assert cards(page) == ranked(library, "a bird")
    wait_for_address(page, "^#q=a.bird$")
    page.goto(f"{address}#like=0123456789ab")
    expect(page.locator("#results .problem")).to_contain_text("example is gone")
    expect(page.locator("#results .wall .card")).to_have_count(len(library.clips()))


def test_a_link_shows_the_same_after_the_server_was_killed_and_started_again(browser, tmp_path):
    with closing(Engine.open(tmp_path / "library", "tiny")) as engine:
        engine.add([write_clip(scene, tmp_path)[0] for scene in SCENES[:2]])
    screens, link = [], "q=a+red+ball+rolls&strike=1&mute=0&weights=1.0,0.5,1.0,1.0,1.0&order=name&theme=dark"
    for _ in range(2):
        with program("--library", tmp_path / "library", "--model", "tiny") as (address, _):
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.goto(f"{address}#{link}")
            if not screens:
                page.click("#results .hit-card .face >> nth=0")
                page.click("#panel .word[data-row='2']")
                page.click("#panel .legend [data-term='1']")
                link = wait_for_address(page, "clip=.*term=entity&word=2").partition("#")[2]
            page.wait_for_selector("#panel .figure")
            screens.append(shown(page))
            page.context.close()
    assert screens[0] == screens[1]
    assert "'word-2'" in screens[0][-1]
    assert "ball" in screens[0][0]


def test_results_are_filtered_sorted_and_more_on_demand(page, library, address):
    page.goto(f"{address}#q=an+animal&count=2")
    expect(page.locator("#results .hit-card")).to_have_count(2)
    page.click("#results .more")
    expect(page.locator("#results .hit-card")).to_have_count(len(library.clips()))
    page.select_option('#results [data-change="order"]', "name")
    wait_for_address(page, "order=name")
    names = [name for name, _ in cards(page)]
    assert names == sorted(names)
    page.click("#results .filters summary")
    page.fill('#results [data-change="name"]', "SNOW")
    page.keyboard.press("Enter")
    expect(page.locator("#results .hit-card")).to_have_count(1)
    assert cards(page) == [pair for pair in ranked(library, "an animal") if "snow" in pair[0]]
    page.check('#results [data-change="mine"]')
    page.click('#results [data-do="unfilter"]')
    expect(page.locator("#results .hit-card")).to_have_count(len(library.clips()))
    assert page.input_value('#results [data-change="name"]') == ""
    page.click("#results .filters summary")
    page.check('#results [data-change="mine"]')
    expect(page.locator("#results .hit-card strong")).to_have_text(["film"])
    with urllib.request.urlopen(address + page.get_attribute("#results [download]", "href")) as table:
        assert [row["name"] for row in csv.DictReader(table.read().decode("utf-8-sig").splitlines())] == ["film.mp4"]
    page.hover("#results .hit-card >> nth=0")
    page.wait_for_selector("#results .hit-card video.preview")


def test_every_moment_of_a_film_stands_on_a_line_with_its_score(page, library):
    ask(page, "a red car in a city")
    page.click(f'#results .face[data-clip="{by_name(library, "film")}"]')
    page.wait_for_selector("#panel .momentbar")
    why = library.explain("a red car in a city", by_name(library, "film"))
    titles = page.eval_on_selector_all("#panel .momentbar", "bars => bars.map(bar => bar.title.split('score ')[1])")
    assert titles == [signed(score, 3) for score in why.moment_scores]
    assert page.text_content("#panel .figure") == titles[why.moment]
    other = min(range(len(titles)), key=lambda moment: why.moment_scores[moment])
    page.click(f'#panel .momentbar[data-moment="{other}"]')
    expect(page.locator("#panel .figure")).to_have_text(titles[other])
    wait_for_address(page, f"moment={other}")
    page.go_back()
    expect(page.locator("#panel .figure")).to_have_text(titles[why.moment])


def test_an_error_stands_where_results_would_and_no_older_result_stays(page, library, address):
    ask(page, "a dog")
    page.fill(QUERY, "狗在雪地里")
    page.keyboard.press("Enter")
    expect(page.locator("#results .problem")).to_contain_text("English")
    assert cards(page) == []
    page.fill(QUERY, " ".join(f"dog{i}" for i in range(320)))
    page.keyboard.press("Enter")
    expect(page.locator("#results .note").first).to_contain_text("120 of 320")
    page.goto("about:blank")
    page.goto(f"{address}#q=a+dog&weights=many")
    expect(page.locator("#results .problem")).to_contain_text("damaged")
    page.wait_for_timeout(1500)  # whatever else a page asks for when it is loaded
    expect(page.locator("#results .problem")).to_contain_text("damaged")
    page.goto(f"{address}#q=a+dog&clip=0123456789ab")
    expect(page.locator("#results .note")).to_contain_text("no longer in the library")
    assert cards(page) == ranked(library, "a dog")


def test_a_word_struck_under_describe_ranks_its_sentence_again(page, library):
    clip = by_name(library, "penguin")
    page.get_by_role("tab", name="Describe").click()
    page.fill("#own textarea", "a penguin in the snow\na red car")
    page.click(f'.tile[data-clip="{clip}"]')
    page.wait_for_selector("#ranked .sentence")
    page.click('#ranked .sentence:has-text("penguin")')
    page.wait_for_selector("#dpanel .figure")
    page.click('#dpanel .word[data-row="2"]')
    page.click('#dpanel [data-do="strike"]')
    page.wait_for_selector("#ranked .sentence q s")
    left = library.describe(clip, ["a in the snow"])[0]
    assert page.text_content("#ranked .sentence.open .score") == signed(left.score)
    wait_for_address(page, "tab=describe.*strike=1.*clip=")
