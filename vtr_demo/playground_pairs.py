"""Clips that differ in exactly one level, and sentences that are false in exactly one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from vtr_demo.errors import BadConfig
from vtr_demo.playground_grammar import Voice, draw_voice, sentence
from vtr_demo.playground_layout import APART, layout, sample_spec
from vtr_demo.playground_lexicon import MOTIONS, RELATIONS, SCENES
from vtr_demo.playground_spec import ClipSpec, Split, in_split, motions_for
from vtr_demo.playground_things import CONTAINERS, RESERVED, THINGS, WIDE

PairLevel = Literal["entity", "action", "relationship"]
PAIR_LEVELS: tuple[PairLevel, ...] = ("entity", "action", "relationship")
Made = Callable[[], ClipSpec]
"""A spec that is made when it is chosen: of several hundred that are possible one is wanted."""
_TRIES = 4000


class Falsehood(NamedTuple):
    """What is false of a clip in one level alone, said in a sentence, and a clip of which it is true."""

    level: str
    text: str
    spec: ClipSpec


def minimal_pair(
    rng: np.random.Generator, level: PairLevel, split: Split = "probe"
) -> tuple[ClipSpec, str, ClipSpec, str]:
    """Two clips of ``split`` and their sentences that differ in ``level`` and in nothing else.

    entity: one thing is another one. action: one thing moves otherwise. relationship: another
    relation between the same things, or exchanged roles. Scene, camera, weather, places and the
    other words are the same.
    """
    if level not in PAIR_LEVELS:
        raise BadConfig(f"Unknown level {level!r}; use {', '.join(PAIR_LEVELS)}.")
    for _ in range(_TRIES):
        relation = str(rng.choice(list(RELATIONS))) if level == "relationship" else None
        spec = sample_spec(rng, split=split, relation=relation)
        others = [
            other for other in (make() for make in _variants(spec, level, rng)) if in_split(other, split)
        ]
        if not others:
            continue
        other = others[int(rng.integers(len(others)))]
        voice = draw_voice(rng, explicit=True)
        first, second = sentence(spec, voice), sentence(other, _same_words(voice, spec, other))
        if first != second:
            return spec, first, other, second
    raise BadConfig(f"No minimal pair of level {level!r} was found in split {split!r}.")


def contrast(
    spec: ClipSpec, rng: np.random.Generator, *, explicit: bool = True
) -> tuple[str, list[Falsehood]]:
    """A true sentence and, in the same voice, what is false of each level that can be false.

    The levels are entity, action, relationship (another relation, and exchanged roles) and, for a
    wrong scene, global. ``explicit`` names also what rests; without it rest goes unsaid and no
    action is false.
    """
    voice = draw_voice(rng, explicit=explicit)
    positive = sentence(spec, voice)
    return positive, [false for false in _false(spec, rng, voice) if false.text != positive]


def negatives(spec: ClipSpec, rng: np.random.Generator) -> list[tuple[str, str]]:
    """(level, sentence) pairs that are false in exactly that level; see ``contrast``."""
    return [(false.level, false.text) for false in contrast(spec, rng)[1]]


def _false(spec: ClipSpec, rng: np.random.Generator, voice: Voice) -> Iterator[Falsehood]:
    for level in ("entity", "action") if voice.explicit else ("entity",):
        options = _variants(spec, level, rng)
        if options:
            other = options[int(rng.integers(len(options)))]()
            yield Falsehood(level, sentence(other, voice), other)
    for kind in (_other_relations, _exchanged):
        options = list(kind(spec))
        if options:
            other = options[int(rng.integers(len(options)))]()
            yield Falsehood("relationship", sentence(other, _same_words(voice, spec, other)), other)
    scenes = [name for name in SCENES if name != spec.scene]
    elsewhere = replace(spec, scene=scenes[int(rng.integers(len(scenes)))])
    yield Falsehood("global", sentence(elsewhere, voice), elsewhere)


def _variants(spec: ClipSpec, level: str, rng: np.random.Generator) -> list[Made]:
    """Specs that differ from ``spec`` in ``level`` only."""
    if level == "relationship":
        return [*_other_relations(spec), *_exchanged(spec)]
    index = int(rng.integers(len(spec.actors)))
    if level == "entity":
        return [*_other_things(spec, 0 if spec.relation == "in" and index == 1 else index)]
    return [*_other_motions(spec, index)]


def _same_words(voice: Voice, spec: ClipSpec, other: ClipSpec) -> Voice:
    """The voice that keeps each thing's words when the two things have exchanged their roles."""
    if other.actors[0].sprite != spec.actors[min(1, len(spec.actors) - 1)].sprite or len(spec.actors) == 1:
        return voice
    (a, b, c), (d, e, f) = voice.nouns, voice.verbs
    return replace(voice, nouns=(b, a, c), verbs=(e, d, f))


def _with_actor(spec: ClipSpec, index: int, **changes: object) -> ClipSpec:
    actors = list(spec.actors)
    actors[index] = replace(actors[index], **changes)  # type: ignore[arg-type]
    return replace(spec, actors=tuple(actors))


def _other_things(spec: ClipSpec, index: int) -> Iterator[Made]:
    actor = spec.actors[index]
    barred = {a.sprite for a in spec.actors} | (set() if in_split(spec, "train") else set(WIDE))
    for name, thing in THINGS.items():
        if name in barred or (name in RESERVED) != (actor.sprite in RESERVED):
            continue
        if spec.relation == "in" and name in CONTAINERS:
            continue
        size = round(actor.size * thing.size / THINGS[actor.sprite].size, 3)
        yield partial(_with_actor, spec, index, sprite=name, size=size)


_KIN = {"vertical": ("vertical",), "depth": ("depth",), "loop": ("travel",), "travel": ("travel", "loop")}


def _other_motions(spec: ClipSpec, index: int) -> Iterator[Made]:
    """Motions that fit the same place and size."""
    motion = spec.actors[index].motion
    family = MOTIONS[motion].family
    if spec.relation and index < 2:
        options = motions_for(spec.relation)[index]
    elif len(spec.actors) > 1 and not spec.relation:
        options = APART
    else:
        kin = _KIN.get(family, (family,)) if index == 0 else (family,)
        options = tuple(name for name, other in MOTIONS.items() if other.family in kin)
    for name in options:
        if name != motion:
            yield partial(_with_actor, spec, index, motion=name)


def _other_relations(spec: ClipSpec) -> Iterator[Made]:
    if spec.relation is None:
        return
    motions = [actor.motion for actor in spec.actors]
    for name in RELATIONS[spec.relation].swaps:
        if all(motion in allowed for motion, allowed in zip(motions, motions_for(name), strict=False)):
            yield partial(_laid_out, spec, list(range(len(motions))), name)


def _exchanged(spec: ClipSpec) -> Iterator[Made]:
    """The two things in each other's role, each keeping its own motion."""
    if spec.relation is None or not RELATIONS[spec.relation].roles:
        return
    first, second = motions_for(spec.relation)
    if spec.actors[1].motion in first and spec.actors[0].motion in second:
        yield partial(_laid_out, spec, [1, 0, *range(2, len(spec.actors))], spec.relation)


def _laid_out(spec: ClipSpec, order: list[int], relation: str) -> ClipSpec:
    """The same things in other places; the noise of the places comes from the seed, so it stays."""
    actors = [spec.actors[k] for k in order]
    placed = layout([a.sprite for a in actors], [a.motion for a in actors], relation, spec.seed)
    return replace(spec, actors=placed, relation=relation)
