"""Sentences about a playground clip: true ones, hard negatives and minimal pairs, and its truth by level.

A sentence is a function of the spec and of a ``Phrasing``, which fixes the sentence pattern and every choice
of words. In one phrasing, two specs differ in the words for what differs and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from vtr_demo.config import Split
from vtr_demo.errors import ConfigError
from vtr_demo.playground.layout import APART, layout, sample_spec
from vtr_demo.playground.spec import (
    CAMERAS,
    CONTAINERS,
    MOTIONS,
    RELATIONS,
    SCENES,
    SPATIAL_GROUPS,
    THINGS,
    Actor,
    ClipSpec,
    Relation,
    choose,
    in_split,
    motions_for,
)
from vtr_demo.structures import Sentence

PairLevel = Literal["entity", "action", "relationship"]
PAIR_LEVELS: tuple[PairLevel, ...] = get_args(PairLevel)
_TRIES = 4000
_NOUNS = frozenset({"NOUN", "PROPN"})


@dataclass(frozen=True)
class Phrasing:
    """Choices that turn a spec into one sentence; numbers are taken modulo the options there are."""

    pattern: int = 0
    nouns: tuple[int, int, int] = (0, 0, 0)
    verbs: tuple[int, int, int] = (0, 0, 0)
    place: int = 0
    relation: int = 0
    heading: bool = False
    """Name the side to which a thing moves."""
    camera: bool = False
    """Name the motion of the camera."""
    explicit: bool = True
    """Name every action, also resting."""


def sample_phrasing(rng: np.random.Generator, *, explicit: bool = False) -> Phrasing:
    """Sample a phrasing; ``explicit`` names every action."""
    n = [int(value) for value in rng.integers(0, 2520, 9)]
    nouns, verbs = (n[1], n[2], n[3]), (n[4], n[5], n[6])
    heading, camera = bool(rng.random() < 0.4), bool(rng.random() < 0.35)
    return Phrasing(n[0], nouns, verbs, n[7], n[8], heading, camera, explicit)


def captions(spec: ClipSpec, rng: np.random.Generator, count: int = 4) -> list[str]:
    """Return up to ``count`` different true sentences about ``spec``, each naming every actor."""
    texts: dict[str, None] = {}
    for _ in range(60 * max(count, 1)):
        if len(texts) >= count:
            break
        texts.setdefault(sentence(spec, sample_phrasing(rng)))
    return list(texts)


def phrases(spec: ClipSpec) -> tuple[str, ...]:
    """Return all the ways to name each thing, motion and place of ``spec``, one a phrase."""
    names = [noun for actor in spec.actors for noun in THINGS[actor.sprite].nouns]
    moving = [actor.motion for actor in spec.actors if actor.motion != "stay"]
    verbs = [
        f"something {form} {tail}".strip()
        for motion in moving
        for verb, participle, tail in MOTIONS[motion].verbs
        for form in (verb, f"is {participle}")
    ]
    places = [f"something {place}" for place in SCENES[spec.scene].places]
    return tuple(dict.fromkeys((*(f"{article(noun)} {noun}" for noun in names), *verbs, *places)))


def truth(spec: ClipSpec) -> dict[str, Any]:
    """Return what is true of ``spec`` by level; ``heading`` only of things that travel."""
    names = [actor.sprite for actor in spec.actors]
    return {
        "scene": spec.scene,
        "entity": names,
        "action": [[actor.sprite, actor.motion] for actor in spec.actors],
        "relationship": [[names[0], spec.relation, names[1]]] if spec.relation else [],
        "heading": [[a.sprite, "left" if a.heading < 0 else "right"] for a in spec.actors if _travels(spec, a)],
        "camera": spec.camera,
    }


def noun_labels(spec: ClipSpec, sentence: Sentence) -> np.ndarray:
    """Return what each word of a true sentence names, (W,): 1 + i for ``spec.actors[i]``, 0 scene, -1 neither.

    Only nouns within the phrase of a thing or scene count. Longer phrases go first, so that a word of "polar
    bear" does not count for another bear.
    """
    phrases = [(noun, 1 + i) for i, actor in enumerate(spec.actors) for noun in THINGS[actor.sprite].nouns]
    phrases += [(phrase, 0) for phrase in (*SCENES[spec.scene].places, *SCENES[spec.scene].surfaces)]
    labels = np.full(len(sentence.words), -1)
    text = sentence.text.lower()
    for phrase, label in sorted(phrases, key=lambda pair: -len(pair[0])):
        for hit in re.finditer(rf"(?<!\w){re.escape(phrase.lower())}(?!\w)", text):
            for i, word in enumerate(sentence.words):
                within = hit.start() <= word.start and word.end <= hit.end()
                if within and word.pos in _NOUNS and labels[i] < 0:
                    labels[i] = label
    return labels


def sentence(spec: ClipSpec, phrasing: Phrasing) -> str:
    """Return the true sentence about ``spec`` in ``phrasing``."""
    words = _Words(spec, phrasing)
    if spec.relation:
        text = _related(words, spec.relation)
    elif len(spec.actors) == 1:
        text = _single(words)
    else:
        text = _unrelated(words)
    if phrasing.camera and CAMERAS[spec.camera]:
        text += f" as {CAMERAS[spec.camera]}"
    return text[0].upper() + text[1:]


def article(noun: str) -> str:
    """Return "a" or "an", by sound."""
    consonant = noun.startswith(("UFO", "uni", "use", "one"))
    return "an" if noun[0].lower() in "aeiou" and not consonant else "a"


def _travels(spec: ClipSpec, actor: Actor) -> bool:
    """Whether the thing moves from one side to the other."""
    if MOTIONS[actor.motion].family != "travel":
        return False
    return spec.relation is None or RELATIONS[spec.relation].group == "pursuit" or actor is not spec.actors[0]


class _Words:
    """The phrases of one spec in one phrasing; ``k`` counts its actors."""

    def __init__(self, spec: ClipSpec, phrasing: Phrasing) -> None:
        self.spec, self.phrasing = spec, phrasing
        scene = SCENES[spec.scene]
        self.place = scene.places[phrasing.place % len(scene.places)]
        self.surface = scene.surfaces[phrasing.place // 7 % len(scene.surfaces)]

    def _noun(self, k: int) -> str:
        nouns = THINGS[self.spec.actors[k].sprite].nouns
        return nouns[self.phrasing.nouns[k] % len(nouns)]

    def _verb(self, k: int) -> tuple[str, str, str]:
        actor = self.spec.actors[k]
        verbs = MOTIONS[actor.motion].verbs_of("" if self.phrasing.explicit else THINGS[actor.sprite].kind)
        return verbs[self.phrasing.verbs[k] % len(verbs)]

    def thing(self, k: int) -> str:
        """Return the actor with its article: "a dog"."""
        noun = self._noun(k)
        return f"{article(noun)} {noun}"

    def does(self, k: int) -> str:
        """Return what the actor does, finite: "swings back and forth"."""
        verb, _, tail = self._verb(k)
        return f"{verb} {tail}".strip()

    def doing(self, k: int) -> str:
        """Return what the actor is doing, as a participle: "swinging back and forth"."""
        _, verb, tail = self._verb(k)
        return f"{verb} {tail}".strip()

    def acting(self, k: int) -> str:
        """Return the actor with its motion: "a rolling dog", "a dog that is swinging back and forth".

        One at rest is "a dog", unless the phrasing is explicit.
        """
        if self.spec.actors[k].motion == "stay" and not self.phrasing.explicit:
            return self.thing(k)
        doing, noun = self.doing(k), self._noun(k)
        if " " in doing or {"of", "with", "in", "on"} & set(noun.split()):
            pronoun = "who" if THINGS[self.spec.actors[k].sprite].kind == "person" else "that"
            return f"{self.thing(k)} {pronoun} is {doing}"
        return f"{article(doing)} {doing} {noun}"

    def direction(self) -> str:
        """to the left / from right to left, of the first thing, with a space before it; "" where it goes unsaid"""
        actor = self.spec.actors[0]
        if not (self.phrasing.heading and _travels(self.spec, actor)):
            return ""
        side, other = ("left", "right") if actor.heading < 0 else ("right", "left")
        return f" from {other} to {side}" if self.phrasing.relation % 2 else f" to the {side}"

    def where(self) -> str:
        """across the sand / on the beach"""
        travels = MOTIONS[self.spec.actors[0].motion].family == "travel"
        return f"across {self.surface}" if travels and self.phrasing.place % 3 else self.place


def _single(w: _Words) -> str:
    thing, does, doing, way = w.thing(0), w.does(0), w.doing(0), w.direction()
    patterns = (
        f"{thing} {does}{way} {w.where()}",
        f"{w.place}, {thing} {does}{way}",
        f"{thing} is {doing}{way} {w.where()}",
        f"{w.place}, {thing} is {doing}{way}",
        f"there is {thing} {doing}{way} {w.place}",
        f"{thing} {doing}{way} {w.where()}",
        f"{w.acting(0)} {w.place}",
    )
    return patterns[w.phrasing.pattern % len(patterns)]


def _related(w: _Words, relation: str) -> str:
    """Two things in a relation; a third one is overhead."""
    core, place = _relation(w, RELATIONS[relation]), w.place
    pattern = w.phrasing.pattern % 7
    if len(w.spec.actors) == 3:
        if pattern % 2:
            return f"with {w.thing(2)} {w.doing(2)} overhead, {core} {place}"
        return f"{place}, {core} while {w.thing(2)} {w.does(2)} overhead"
    return f"{place}, {core}" if pattern in (1, 5) else f"{core} {place}"


def _relation(w: _Words, rule: Relation) -> str:
    """The two things and their relation, without the place."""
    verb = rule.verbs[w.phrasing.relation % len(rule.verbs)] if rule.verbs else None
    prep = rule.preps[w.phrasing.relation % len(rule.preps)]
    thing, other, way = w.thing(0), w.acting(1), w.direction()
    acting = f"{thing} is {w.doing(0)} {prep} {other}{way}"
    if rule.group in SPATIAL_GROUPS:
        named = f"{w.acting(0)} is {prep} {other}"
        bare = named if w.phrasing.explicit else f"{thing} is {prep} {w.thing(1)}"
    else:
        named = acting if verb is None else f"{w.acting(0)} {verb[0]} {other}{way}"
        bare = named if w.phrasing.explicit or verb is None else f"{thing} {verb[0]} {w.thing(1)}{way}"
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
    return patterns[w.phrasing.pattern % len(patterns)]


def _unrelated(w: _Words) -> str:
    """Two or three things without a relation."""
    actors = range(len(w.spec.actors))
    does = [f"{w.thing(k)} {w.does(k)}" for k in actors]
    patterns = (
        f"{_listed(does)} {w.place}",
        f"{w.place}, {_listed([f'{w.thing(k)} is {w.doing(k)}' for k in actors])}",
        f"{w.place}, {does[0]} while {' and '.join(does[1:])}",
        f"{_listed([w.acting(k) for k in actors])} {w.place}",
    )
    return patterns[w.phrasing.pattern % len(patterns)]


def _listed(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


# --------------------------------------------------------------------------- minimal pairs, hard negatives
Variant = Callable[[], ClipSpec]
"""A spec that is built on demand: of several hundred, one is needed."""


def minimal_pair(
    rng: np.random.Generator, level: PairLevel, split: Split = "probe"
) -> tuple[ClipSpec, str, ClipSpec, str]:
    """Sample two clips of ``split``, each followed by its sentence, that differ in ``level`` alone.

    entity: one thing is another one. action: one thing moves differently. relationship: another relation
    of the same things, or their roles exchanged. Scene, camera, places and the other words are the same.
    """
    for _ in range(_TRIES):
        relation = str(rng.choice(list(RELATIONS))) if level == "relationship" else None
        spec = sample_spec(rng, split=split, relation=relation)
        others = [v for v in (build() for build in _variants(spec, level, rng)) if in_split(v, split)]
        if not others:
            continue
        other = choose(rng, *others)
        phrasing = sample_phrasing(rng, explicit=True)
        first, second = sentence(spec, phrasing), sentence(other, _same_words(phrasing, spec, other))
        if first != second:
            return spec, first, other, second
    raise ConfigError(f"No minimal pair of level {level!r} was found in split {split!r}.")


def hard_negatives(
    spec: ClipSpec, rng: np.random.Generator, *, explicit: bool = True
) -> tuple[str, list[tuple[str, str]]]:
    """Return a true sentence and (level, sentence) pairs, each false in this level alone, in its phrasing.

    The levels are entity, action, relationship (another relation, and exchanged roles) and, for another
    scene, global. Without ``explicit`` resting goes unsaid, and no action is false.
    """
    phrasing = sample_phrasing(rng, explicit=explicit)
    true = sentence(spec, phrasing)
    others: list[tuple[str, ClipSpec]] = []
    for level in ("entity", "action") if explicit else ("entity",):
        if variants := _variants(spec, level, rng):
            others.append((level, choose(rng, *variants)()))
    for variants in (_other_relations(spec), _exchanged_roles(spec)):
        if variants:
            others.append(("relationship", choose(rng, *variants)()))
    elsewhere = choose(rng, *(name for name in SCENES if name != spec.scene))
    others.append(("global", replace(spec, scene=elsewhere)))
    texts = [(level, sentence(other, _same_words(phrasing, spec, other))) for level, other in others]
    return true, [(level, text) for level, text in texts if text != true]


def _variants(spec: ClipSpec, level: str, rng: np.random.Generator) -> list[Variant]:
    """Specs that differ from ``spec`` in ``level`` only."""
    if level == "relationship":
        return [*_other_relations(spec), *_exchanged_roles(spec)]
    index = int(rng.integers(len(spec.actors)))
    if level == "entity":
        return _other_things(spec, 0 if spec.relation == "in" and index == 1 else index)
    return _other_motions(spec, index)


def _same_words(phrasing: Phrasing, spec: ClipSpec, other: ClipSpec) -> Phrasing:
    """The phrasing that keeps each thing's words where two things have exchanged their roles."""
    if len(spec.actors) == 1 or other.actors[0].sprite != spec.actors[1].sprite:
        return phrasing
    (a, b, c), (d, e, f) = phrasing.nouns, phrasing.verbs
    return replace(phrasing, nouns=(b, a, c), verbs=(e, d, f))


def _with_actor(spec: ClipSpec, index: int, **changes: Any) -> ClipSpec:
    actors = list(spec.actors)
    actors[index] = replace(actors[index], **changes)
    return replace(spec, actors=tuple(actors))


def _other_things(spec: ClipSpec, index: int) -> list[Variant]:
    """Another thing in the place of an actor, from the things that the same splits show."""
    actor = spec.actors[index]
    reserved, train = THINGS[actor.sprite].split == "unseen_sprites", in_split(spec, "train")
    variants: list[Variant] = []
    for name, thing in THINGS.items():
        barred = any(name == other.sprite for other in spec.actors) or (thing.split == "train" and not train)
        if barred or (thing.split == "unseen_sprites") != reserved:
            continue
        if spec.relation == "in" and name in CONTAINERS:
            continue
        size = round(actor.size * thing.size / THINGS[actor.sprite].size, 3)
        variants.append(partial(_with_actor, spec, index, sprite=name, size=size))
    return variants


_KIN = {"vertical": ("vertical",), "depth": ("depth",), "loop": ("travel",), "travel": ("travel", "loop")}


def _other_motions(spec: ClipSpec, index: int) -> list[Variant]:
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
    return [partial(_with_actor, spec, index, motion=name) for name in options if name != motion]


def _other_relations(spec: ClipSpec) -> list[Variant]:
    """Other relations of the same things that their motions allow."""
    motions = [actor.motion for actor in spec.actors]
    return [
        partial(_rearranged, spec, spec.actors, name)
        for name in (RELATIONS[spec.relation].swaps if spec.relation else ())
        if all(motion in allowed for motion, allowed in zip(motions, motions_for(name), strict=False))
    ]


def _exchanged_roles(spec: ClipSpec) -> list[Variant]:
    """The two things in each other's role, each with its own motion."""
    if spec.relation is None or not RELATIONS[spec.relation].roles:
        return []
    first, second = motions_for(spec.relation)
    if spec.actors[1].motion not in first or spec.actors[0].motion not in second:
        return []
    return [partial(_rearranged, spec, (spec.actors[1], spec.actors[0], *spec.actors[2:]), spec.relation)]


def _rearranged(spec: ClipSpec, actors: Sequence[Actor], relation: str) -> ClipSpec:
    """The same things in other places; the noise of the places comes from the seed, so it stays."""
    placed = layout([a.sprite for a in actors], [a.motion for a in actors], relation, spec.seed)
    return replace(spec, actors=placed, relation=relation)
