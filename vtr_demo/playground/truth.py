"""What every patch and every word of a playground clip is about, from the spec alone (our decision).

It is what discovered concepts are measured against: the pictures' own geometry says which thing a
patch shows, and the words that the grammar draws from say what a word is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vtr_demo.playground.render import find_sprites, label_clip
from vtr_demo.playground.spec import CAMERAS, KIND_VERBS, MOTIONS, RELATIONS, SCENES, ClipSpec
from vtr_demo.playground.things import THINGS
from vtr_demo.structures import Sentence

OTHER, SCENE, MOTION, RELATION, CAMERA = "other", "scene", "motion", "relation", "camera"
THING, BACKGROUND = "thing", "background"
_HEADINGS = ("from left to right", "from right to left", "to the left", "to the right")
_ARTICLES = frozenset({"a", "an", "the", "is"})
"""Words that say nothing in a motion or a relation, whose prepositions are what it is about."""
_EMPTY = _ARTICLES | {
    "are",
    "does",
    "not",
    "who",
    "that",
    "there",
    "of",
    "with",
    "in",
    "on",
    "at",
    "by",
    "to",
}
"""Words that say nothing by themselves in the phrase of a thing or of a scene."""


def patch_actors(
    spec: ClipSpec,
    seconds: Sequence[float],
    *,
    size: int,
    grid: tuple[int, int],
    sprites: str | Path | None = None,
) -> np.ndarray:
    """(T, P) what covers most of each patch of the square view: 1 + i for ``actors[i]``, 0 for the scene.

    ``size`` is the view's side in pixels, as in ``frame_batch``; patches are row-major over ``grid``.
    Where two cover as much, the scene goes first, then the earlier actor.
    """
    labels = label_clip(spec, seconds, size, size, find_sprites(sprites))
    rows, columns = (np.arange(size) * count // size for count in grid)
    patch = rows[:, None] * grid[1] + columns[None, :]
    areas = np.zeros((len(labels), grid[0] * grid[1], 1 + len(spec.actors)), np.int64)
    for frame, picture in zip(areas, labels, strict=True):
        np.add.at(frame, (patch.ravel(), picture.ravel()), 1)
    return np.asarray(areas.argmax(axis=2))


def actor_kinds(spec: ClipSpec) -> tuple[str, ...]:
    """The class of each number of ``patch_actors``: the scene's name, then the kind of each actor."""
    return (spec.scene, *(THINGS[actor.sprite].kind for actor in spec.actors))


def word_classes(spec: ClipSpec, sentence: Sentence) -> tuple[str, ...]:
    """(W,) what each word of a true sentence is for: the kind of its thing, `scene`, `motion` (also where
    to), `relation`, `camera`, else `other`.

    A word counts by the first of the spec's phrases that holds it: things, scene, camera, relation,
    motion. Articles are `other` everywhere, prepositions are in things and scenes.
    """
    found: list[str | None] = [None] * len(sentence.words)
    text = sentence.text.lower()
    for phrase, name, empty in _phrases(spec):
        for hit in re.finditer(rf"(?<!\w){re.escape(phrase.lower())}(?!\w)", text):
            for i, word in enumerate(sentence.words):
                if found[i] is None and hit.start() <= word.start and word.end <= hit.end():
                    found[i] = OTHER if word.text.lower() in empty else name
    return tuple(name or OTHER for name in found)


def _phrases(spec: ClipSpec) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Every phrase that a sentence about ``spec`` may hold, its class, and what is empty in it."""
    for actor in spec.actors:
        thing = THINGS[actor.sprite]
        yield from ((noun, thing.kind, _EMPTY) for noun in thing.nouns)
    scene = SCENES[spec.scene]
    yield from ((phrase, SCENE, _EMPTY) for phrase in (*scene.places, *scene.surfaces))
    if CAMERAS[spec.camera]:
        yield CAMERAS[spec.camera], CAMERA, _EMPTY
    if spec.relation:
        relation = RELATIONS[spec.relation]
        forms = (form for verb in relation.verbs for form in verb if form)
        yield from ((phrase, RELATION, _ARTICLES) for phrase in (*forms, *relation.preps))
    for actor in spec.actors:
        verbs = MOTIONS[actor.motion].verbs + KIND_VERBS.get((actor.motion, THINGS[actor.sprite].kind), ())
        for present, participle, tail in verbs:
            yield from ((f"{form} {tail}".strip(), MOTION, _ARTICLES) for form in (present, participle))
    yield from ((phrase, MOTION, _ARTICLES) for phrase in _HEADINGS)
    yield "across", MOTION, _ARTICLES
