"""The tour's numbers are the engine's, and it is offered once."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.helpers.fake_engine import SCENES, FakeEngine
from vtr_demo.structures import TERMS
from vtr_demo.ui import tour


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
            after = engine.explain(step.after, clip, moment=-1).alignment.terms()
            moved = {name: after[name] - before[name] for name in TERMS}
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


def test_without_the_sample_clips_there_is_no_tour_and_nonsense_starts_it_anew(engine, tmp_path):
    assert tour.tour(FakeEngine(tmp_path)) == ""
    invitation = tour.tour(engine)
    for click in ({"step": "9"}, {"step": "-1"}, {"guess": "x"}, {"step": ["0"]}):
        assert tour.tour(engine, click) == invitation
    assert "most" not in tour.tour(engine, {"step": "0", "guess": "x"}).split("guesses")[1]
