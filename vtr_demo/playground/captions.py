"""The words of a playground clip: its truth by level, and sentences from a small real grammar.

A sentence is a function of the spec and of a ``Voice``, which fixes the sentence pattern and every
choice of words. Two specs told in one voice differ in the words for what differs, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from vtr_demo.errors import ConfigError
from vtr_demo.playground.layout import APART, layout, sample_spec
from vtr_demo.playground.spec import (
    CAMERAS,
    KIND_VERBS,
    MOTIONS,
    RELATIONS,
    SCENES,
    SPATIAL_GROUPS,
    Actor,
    ClipSpec,
    Split,
    in_split,
    motions_for,
)
from vtr_demo.playground.things import CONTAINERS, RESERVED, THINGS, WIDE

_PATTERNS = 7


@dataclass(frozen=True)
class Voice:
    """Choices that turn a spec into one sentence; numbers are taken modulo the options there are."""

    pattern: int = 0
    nouns: tuple[int, int, int] = (0, 0, 0)
    verbs: tuple[int, int, int] = (0, 0, 0)
    place: int = 0
    relation: int = 0
    heading: bool = False
    """Say to which side it goes."""
    camera: bool = False
    """Say what the camera does."""
    explicit: bool = True
    """Name every action, also resting."""


def draw_voice(rng: np.random.Generator, *, explicit: bool = False) -> Voice:
    """A random voice; ``explicit`` leaves no action unsaid."""
    n = [int(value) for value in rng.integers(0, 2520, 9)]
    nouns, verbs = (n[1], n[2], n[3]), (n[4], n[5], n[6])
    heading, camera = bool(rng.random() < 0.4), bool(rng.random() < 0.35)
    return Voice(n[0], nouns, verbs, n[7], n[8], heading, camera, explicit)


def captions(spec: ClipSpec, rng: np.random.Generator, count: int = 4) -> list[str]:
    """``count`` different true sentences about ``spec``, each naming every actor."""
    found: dict[str, None] = {}
    for _ in range(60 * max(count, 1)):
        if len(found) >= count:
            break
        found.setdefault(sentence(spec, draw_voice(rng)))
    return list(found)


def truth(spec: ClipSpec) -> dict[str, Any]:
    """What is so in the clip, level by level; ``heading`` only for things that travel."""
    names = [actor.sprite for actor in spec.actors]
    return {
        "scene": spec.scene,
        "entity": names,
        "action": [[actor.sprite, actor.motion] for actor in spec.actors],
        "relationship": [[names[0], spec.relation, names[1]]] if spec.relation else [],
        "heading": [[a.sprite, _side(a)] for a in spec.actors if _heads(spec, a)],
        "camera": spec.camera,
    }


def sentence(spec: ClipSpec, voice: Voice) -> str:
    """One sentence about ``spec`` in ``voice``."""
    words = _Words(spec, voice)
    if spec.relation:
        text = _pair(words, spec.relation)
    elif len(spec.actors) == 1:
        text = _single(words)
    else:
        text = _company(words)
    if voice.camera and CAMERAS[spec.camera]:
        text += f" as {CAMERAS[spec.camera]}"
    return text[0].upper() + text[1:]


def article(noun: str) -> str:
    """ "a" or "an", by sound."""
    silent = noun.startswith(("UFO", "uni", "use", "one"))
    return "an" if noun[0].lower() in "aeiou" and not silent else "a"


def _side(actor: Actor) -> str:
    return "left" if actor.heading < 0 else "right"


def _heads(spec: ClipSpec, actor: Actor) -> bool:
    """Whether the thing goes from one side to the other."""
    if MOTIONS[actor.motion].family != "travel":
        return False
    return spec.relation is None or RELATIONS[spec.relation].group == "pursuit" or actor is not spec.actors[0]


class _Words:
    """The phrases of one spec in one voice, by the number of the actor."""

    def __init__(self, spec: ClipSpec, voice: Voice) -> None:
        self.spec, self.voice = spec, voice
        scene = SCENES[spec.scene]
        self.place = scene.places[voice.place % len(scene.places)]
        self.surface = scene.surfaces[voice.place // 7 % len(scene.surfaces)]

    def _noun(self, k: int) -> str:
        nouns = THINGS[self.spec.actors[k].sprite].nouns
        return nouns[self.voice.nouns[k] % len(nouns)]

    def _verb(self, k: int) -> tuple[str, str, str]:
        actor = self.spec.actors[k]
        verbs = MOTIONS[actor.motion].verbs
        if not self.voice.explicit:
            verbs = KIND_VERBS.get((actor.motion, THINGS[actor.sprite].kind), verbs)
        return verbs[self.voice.verbs[k] % len(verbs)]

    def thing(self, k: int) -> str:
        """a dog"""
        noun = self._noun(k)
        return f"{article(noun)} {noun}"

    def does(self, k: int) -> str:
        """rolls / swings back and forth"""
        verb, _, tail = self._verb(k)
        return f"{verb} {tail}".strip()

    def doing(self, k: int) -> str:
        """rolling / swinging back and forth"""
        _, verb, tail = self._verb(k)
        return f"{verb} {tail}".strip()

    def acting(self, k: int) -> str:
        """a rolling dog / a dog that is swinging back and forth; at rest, unless explicit, a dog"""
        if self.spec.actors[k].motion == "stay" and not self.voice.explicit:
            return self.thing(k)
        doing, noun = self.doing(k), self._noun(k)
        if " " in doing or " of " in noun or " with " in noun or " in " in noun or " on " in noun:
            pronoun = "who" if THINGS[self.spec.actors[k].sprite].kind == "person" else "that"
            return f"{self.thing(k)} {pronoun} is {doing}"
        return f"{article(doing)} {doing} {noun}"

    def way(self, k: int) -> str:
        """to the left, where it is to be said, with a space before it"""
        actor = self.spec.actors[k]
        if not (self.voice.heading and _heads(self.spec, actor)):
            return ""
        side, other = _side(actor), "right" if actor.heading < 0 else "left"
        return f" from {other} to {side}" if self.voice.relation % 2 else f" to the {side}"

    def where(self, k: int) -> str:
        """across the sand / on the beach"""
        travels = MOTIONS[self.spec.actors[k].motion].family == "travel"
        return f"across {self.surface}" if travels and self.voice.place % 3 else self.place

    def prep(self) -> str:
        """to the left of"""
        preps = RELATIONS[self.spec.relation or ""].preps
        return preps[self.voice.relation % len(preps)]

    def between(self) -> tuple[str, str, str] | None:
        """follows, following, followed; None where the relation has no verb"""
        verbs = RELATIONS[self.spec.relation or ""].verbs
        return verbs[self.voice.relation % len(verbs)] if verbs else None


def _single(w: _Words) -> str:
    thing, does, doing, way = w.thing(0), w.does(0), w.doing(0), w.way(0)
    patterns = (
        f"{thing} {does}{way} {w.where(0)}",
        f"{w.place}, {thing} {does}{way}",
        f"{thing} is {doing}{way} {w.where(0)}",
        f"{w.place}, {thing} is {doing}{way}",
        f"there is {thing} {doing}{way} {w.place}",
        f"{thing} {doing}{way} {w.where(0)}",
        f"{w.acting(0)} {w.place}",
    )
    return patterns[w.voice.pattern % len(patterns)]


def _pair(w: _Words, relation: str) -> str:
    """Two things in a relation; a third one is overhead."""
    spatial = RELATIONS[relation].group in SPATIAL_GROUPS
    core, place = _relate(w, spatial), w.place
    pattern = w.voice.pattern % _PATTERNS
    if len(w.spec.actors) == 3:
        if pattern % 2:
            return f"with {w.thing(2)} {w.doing(2)} overhead, {core} {place}"
        return f"{place}, {core} while {w.thing(2)} {w.does(2)} overhead"
    return f"{place}, {core}" if pattern in (1, 5) else f"{core} {place}"


def _relate(w: _Words, spatial: bool) -> str:
    """The two things and their relation, without the place."""
    verb = w.between()
    thing, other, prep, way = w.thing(0), w.acting(1), w.prep(), w.way(0)
    acting = f"{thing} is {w.doing(0)} {prep} {other}{way}"
    if spatial:
        named = f"{w.acting(0)} is {prep} {other}"
        bare = named if w.voice.explicit else f"{thing} is {prep} {w.thing(1)}"
    else:
        named = acting if verb is None else f"{w.acting(0)} {verb[0]} {other}{way}"
        bare = named if w.voice.explicit or verb is None else f"{thing} {verb[0]} {w.thing(1)}{way}"
    passive = f"{other} is {verb[2]} by {w.acting(0)}{way}" if verb is not None and verb[2] else named
    patterns = (
        f"{thing} {w.does(0)} {prep} {other}{way}",
        acting,
        f"{thing} {w.doing(0)} {prep} {other}{way}",
        passive,
        f"there is {thing} {w.doing(0)} {prep} {other}{way}",
        bare,
        named,
    )
    return patterns[w.voice.pattern % _PATTERNS]


def _company(w: _Words) -> str:
    """Two or three things without a relation."""
    count, pattern = len(w.spec.actors), w.voice.pattern % 4
    if pattern == 0:
        parts = [f"{w.thing(k)} {w.does(k)}" for k in range(count)]
        return f"{', '.join(parts[:-1])} and {parts[-1]} {w.place}"
    if pattern == 1:
        parts = [f"{w.thing(k)} is {w.doing(k)}" for k in range(count)]
        return f"{w.place}, {', '.join(parts[:-1])} and {parts[-1]}"
    if pattern == 2:
        parts = [f"{w.thing(k)} {w.does(k)}" for k in range(count)]
        return f"{w.place}, {parts[0]} while {' and '.join(parts[1:])}"
    parts = [w.acting(k) for k in range(count)]
    return f"{', '.join(parts[:-1])} and {parts[-1]} {w.place}"


# --------------------------------------------------------------------------- clips that differ in exactl
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
        raise ConfigError(f"Unknown level {level!r}; use {', '.join(PAIR_LEVELS)}.")
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
    raise ConfigError(f"No minimal pair of level {level!r} was found in split {split!r}.")


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
