"""A tour of five steps over the sample clips: each asks which part of the score will move, then shows what moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vtr_demo.results import ClipFilter, ClipView
from vtr_demo.structures import TERMS
from vtr_demo.ui.html import bar_range, render
from vtr_demo.ui.state import EngineLike


@dataclass(frozen=True)
class Step:
    """A clip, by a part of its name, a sentence, and sentences of which one is compared with it: that after which the
    term ``about`` stands out most from the others, so that the lesson holds for the model that is served.

    Without ``after`` the first step asks for the largest part, the last one mutes the strongest concept.
    """

    title: str
    text: str
    clip: str
    before: str
    after: tuple[str, ...] = ()
    about: str = ""
    mutes: bool = False


def _variants(sentence: str, words: str) -> tuple[str, ...]:
    return tuple(sentence.format(word) for word in words.split())


SNOW, BALL = "A penguin waddles through the falling snow", "A soccer ball bounces"
STEPS = (
    Step("What is a score?", "A score is the sum of five parts. Which one do you expect to add most here?",
         "penguin_waddles", SNOW),
    Step("Change the thing", "The same clip, something else in the sentence. Which part will move most?",
         "penguin_waddles", SNOW, _variants("A {} waddles through the falling snow", "dog giraffe camel car"),
         "entity"),
    Step("Change the action", "The same thing does something else. Which part will move most?",
         "soccer_ball_bounces", BALL, _variants("A soccer ball {}", "rolls grows spins flies"), "action"),
    Step("Swap the roles", "The same words, but who follows whom is turned round. Which part will move most?",
         "cat_follows_mouse", "A cat follows a mouse", ("A mouse follows a cat",), "relationship"),
    Step("Mute a concept", "The concept that adds most is left out. Which part will move most?",
         "cat_follows_mouse", "A cat follows a mouse", mutes=True),
)  # fmt: skip


def tour(engine: EngineLike, click: Mapping[str, object] | None = None) -> str:
    """A step of the tour, its answer where the ``click`` guesses, or the invitation; empty without the sample clips."""
    clips = {name: _clip(engine, name) for name in {step.clip for step in STEPS}}
    if not all(clips.values()):
        return ""
    number, guess = str((click or {}).get("step", "")), str((click or {}).get("guess", ""))
    if number not in map(str, range(len(STEPS))):
        return render("tour", "invitation", count=len(STEPS))
    at = int(number)
    step, clip = STEPS[at], clips[STEPS[at].clip]
    assert clip is not None
    after = compared(engine, step, clip.clip_id)
    parts = _parts(engine, step, clip.clip_id, after) if guess in TERMS else None
    return render("tour", "step", step=step, after=after, at=at, count=len(STEPS), clip=clip, guess=guess, parts=parts)


def compared(engine: EngineLike, step: Step, clip_id: str) -> str:
    """The sentence that is compared with the step's; empty where there is none."""
    if not step.after:
        return ""
    hits = engine.describe(clip_id, [step.before, *step.after], k=1 + len(step.after))
    terms = {hit.text: hit.terms for hit in hits}

    def lead(text: str) -> float:
        moved = {name: abs(terms[text][name] - terms[step.before][name]) for name in TERMS}
        return moved.pop(step.about) - max(moved.values())

    return max(step.after, key=lead)


def _clip(engine: EngineLike, name: str) -> ClipView | None:
    return next(iter(engine.list(0, 1, "oldest", ClipFilter(name=name)).clips), None)


def _parts(engine: EngineLike, step: Step, clip_id: str, changed: str) -> dict[str, object]:
    """The parts before and after, what each moved by, and which moved most (of the first step: adds most)."""
    why = engine.explain(step.before, clip_id, moment=-1)
    before, after, concept = why.alignment.terms(), None, ""
    if changed:
        after = engine.explain(changed, clip_id, moment=-1).alignment.terms()
    elif step.mutes:
        adds = why.alignment.concept_terms.sum(axis=(1, 2))
        held = why.alignment.word_concept
        loudest = max(set(held[held >= 0].tolist()), key=lambda k: float(adds[held == k].sum()), default=0)
        weights = replace(engine.default_weights, muted=(loudest,))
        after = engine.explain(step.before, clip_id, moment=-1, weights=weights).alignment.terms()
        concept = why.concept_names[loudest]
    moved = before if after is None else {name: after[name] - before[name] for name in TERMS}
    most = max(TERMS, key=lambda name: moved[name] if after is None else abs(moved[name]))
    rows = [(step.before, before)] + ([(changed or f"without “{concept}”", after)] if after is not None else [])
    return {"rows": rows, "span": bar_range([terms for _, terms in rows]), "moved": moved, "most": most}
