"""Labels of patches and nouns: a thing's patches are those that change without it; nouns name it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vtr_demo.playground.captions import captions, noun_labels
from vtr_demo.playground.layout import sample_spec
from vtr_demo.playground.render import patch_labels, render
from vtr_demo.playground.spec import THINGS, Actor, ClipSpec
from vtr_demo.text.parser import parse, parse_many


def test_patches_belong_to_what_differs_from_the_same_clip_without_it(sprites):
    spec = ClipSpec("meadow", (Actor("apple", "stay", x=-0.2), Actor("car", "stay", x=0.25)))
    labels = patch_labels(spec, [1.0], size=180, grid=(9, 9), sprites=sprites)[0]
    assert set(labels) == {0, 1, 2}
    shown = render(spec, [1.0], size=180, sprites=sprites)[0].astype(float)
    for number, other in ((1, spec.actors[1]), (2, spec.actors[0])):
        without = render(replace(spec, actors=(other,)), [1.0], size=180, sprites=sprites)[0]
        change = np.abs(shown - without).max(axis=2).reshape(9, 20, 9, 20).mean(axis=(1, 3)).ravel()
        assert change[labels == number].min() > change[labels != number].mean()
        assert change[labels == 3 - number].max() < 5


def test_a_thing_in_front_hides_one_behind_and_a_faded_one_is_gone(sprites):
    near, far = Actor("car", "stay", depth=0.9, size=0.4), Actor("apple", "stay", depth=0.1, size=0.1)
    hidden = patch_labels(ClipSpec("beach", (far, near)), [1.0], size=90, grid=(9, 9), sprites=sprites)
    assert 2 in hidden
    fading = ClipSpec("beach", (Actor("car", "fade"),), duration_s=4.0)
    first, last = patch_labels(fading, [0.0, 3.99], size=90, grid=(9, 9), sprites=sprites)
    assert (first == 1).any()
    assert not (last == 1).any()


def test_nouns_are_those_of_things_and_of_the_scene():
    spec = ClipSpec("beach", (Actor("polar bear", "stay"), Actor("car", "stay", x=0.3)))
    sentence = parse("A polar bear stands near a car on the beach.")
    named = dict(zip((word.text for word in sentence.words), noun_labels(spec, sentence), strict=True))
    assert (named["bear"], named["car"], named["beach"]) == (1, 2, 0)
    assert {named[word] for word in ("A", "stands", "near", "on", "the")} == {-1}


@pytest.mark.parametrize("split", ["probe", "unseen_sprites"])
def test_almost_every_caption_has_a_noun_of_each_thing(split):
    rng, named, asked = np.random.default_rng(0), 0, 0
    for _ in range(12):
        spec = sample_spec(rng, split=split)
        for sentence in parse_many(captions(spec, rng, 2)):
            labels = noun_labels(spec, sentence)
            for i, actor in enumerate(spec.actors):
                words = [word.text.lower() for word, k in zip(sentence.words, labels, strict=True) if k == 1 + i]
                assert all(any(word in noun.split() for noun in THINGS[actor.sprite].nouns) for word in words)
                named, asked = named + bool(words), asked + 1
    assert named >= 0.8 * asked
