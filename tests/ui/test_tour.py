"""The tour's numbers are the engine's, and it is offered once."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.fake_engine import SCENES, FakeEngine
from tests.ui.conftest import serving
from vtr_demo.library.engine import Engine
from vtr_demo.structures import TERMS
from vtr_demo.ui import tour
from vtr_demo.ui.html import signed

SAMPLES = Path(__file__).parents[2] / "sample_videos"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    scenes = [replace(SCENES[i], name=name) for i, name in enumerate(sorted({step.clip for step in tour.STEPS}))]
    return FakeEngine(tmp_path_factory.mktemp("drawn"), scenes)


@pytest.mark.parametrize("at", range(len(tour.STEPS)))
def test_what_moved_most_is_what_the_engine_says_whatever_was_guessed(engine, at):
    step = tour.STEPS[at]
    clip = next(clip.clip_id for clip in engine.clips() if step.clip in clip.name)
    before = engine.explain(step.before, clip, moment=-1).alignment.terms()
    for guess in TERMS:
        drawn = tour.tour(engine, {"do": "tour", "step": str(at), "guess": guess})
        most = re.search(r"<strong>([A-Z]\w+)</strong> (?:moved|adds) most, by ([+−]?\d+\.\d+)", drawn)
        if step.after:
            afters = [engine.explain(text, clip, moment=-1).alignment.terms() for text in step.after]
            every = [{name: after[name] - before[name] for name in TERMS} for after in afters]
            rest = [{name: abs(value) for name, value in one.items() if name != step.about} for one in every]
            leads = [abs(one[step.about]) - max(others.values()) for one, others in zip(every, rest, strict=True)]
            moved = every[leads.index(max(leads))]
        elif step.mutes:
            muted = [replace(engine.default_weights, muted=(k,)) for k in range(len(engine.concept_names))]
            every = [engine.explain(step.before, clip, moment=-1, weights=one).alignment.terms() for one in muted]
            strongest = min(terms["concepts"] for terms in every)
            moved = dict.fromkeys(TERMS, 0.0) | {"concepts": strongest - before["concepts"]}
        else:
            moved = before
        amounts = moved if moved is before else {name: abs(value) for name, value in moved.items()}
        assert most.group(1).lower() == max(amounts, key=amounts.get)
        assert float(most.group(2).replace("−", "-")) == pytest.approx(moved[most.group(1).lower()], abs=6e-4)
        assert ("As you said" in drawn) == (guess == most.group(1).lower())
        scores = [sum(before.values())] + ([sum(before.values()) + sum(moved.values())] if moved is not before else [])
        assert re.findall(r'class="score">([^<]+)<', drawn) == [signed(score) for score in scores]


def test_without_the_sample_clips_there_is_no_tour_and_nonsense_starts_it_anew(engine, tmp_path):
    assert tour.tour(FakeEngine(tmp_path)) == ""
    invitation = tour.tour(engine)
    for click in ({"step": "9"}, {"step": "-1"}, {"guess": "x"}, {"step": ["0"]}):
        assert tour.tour(engine, click) == invitation
    assert "most" not in tour.tour(engine, {"step": "0", "guess": "x"}).split("guesses")[1]


@pytest.mark.browser
def test_a_visitor_is_led_through_all_steps_once(engine, browser):
    with serving(engine) as address:
        page = browser.new_page()
        page.goto(address)
        page.click(".tour [data-do=tour]")
        for at in range(len(tour.STEPS)):
            page.wait_for_selector(f".tour.steps[aria-label='Tour, step {at + 1} of {len(tour.STEPS)}']")
            assert page.locator(".tour [role=status]").count() == 0, "nothing is told before the guess"
            page.click(f".tour [data-guess={TERMS[at]}]")
            page.wait_for_selector(".tour [role=status]")
            page.click(".tour [data-do=tour].primary" if at + 1 < len(tour.STEPS) else ".tour [data-tour-end]")
        page.wait_for_selector("#tour", state="hidden")
        page.reload()
        page.wait_for_selector("#results .card")
        assert not page.locator("#tour").is_visible(), "it is offered once"
        page.close()


@pytest.mark.slow
def test_each_lesson_holds_for_the_bundled_model(tmp_path):
    with closing(Engine.open(tmp_path)) as bundled:
        bundled.add([SAMPLES / f"{name}.mp4" for name in sorted({step.clip for step in tour.STEPS})])
        for at, step in enumerate(tour.STEPS):
            about = step.about or ("concepts" if step.mutes else "global")
            drawn = tour.tour(bundled, {"step": str(at), "guess": about})
            assert "As you said" in drawn, (step.title, re.findall(r"<p>.*?</p>", drawn))
