"""Samples of the playground and their truth: every patch and word has the concept of what it shows or names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.small_runs import eight_pairs, small_config
from vtr_demo.backbones.registry import load_backbone
from vtr_demo.config import GROUNDED_CONCEPTS, MixtureConfig, TrainConfig
from vtr_demo.data.dataset import DRAWN, playground_samples
from vtr_demo.data.grounding import (
    CATEGORY_NAMES,
    KINDS,
    SCENE_GROUPS,
    UNKNOWN,
    CaptionPool,
    PlaygroundTruth,
    categories,
    drawn_captions,
    word_categories,
)
from vtr_demo.errors import ConfigError
from vtr_demo.playground.render import frame_times, patch_labels
from vtr_demo.playground.spec import SCENES, THINGS, Actor, ClipSpec
from vtr_demo.structures import LEVELS
from vtr_demo.text.parser import parse
from vtr_demo.training.setup import build_trainer

GRID = (3, 4)


def test_each_kind_and_each_scene_has_one_category() -> None:
    kinds = [kind for group in KINDS.values() for kind in group]
    assert sorted(kinds) == sorted({thing.kind for thing in THINGS.values()})
    assert sorted(scene for group in SCENE_GROUPS.values() for scene in group) == sorted(SCENES)
    assert len(KINDS) + len(SCENE_GROUPS) == GROUNDED_CONCEPTS


@pytest.mark.parametrize(("kind", "count"), [("clips", 3), ("stills", 1)])
def test_patches_have_the_category_of_what_covers_them(sprites: str, kind: str, count: int) -> None:
    truth = PlaygroundTruth(3, GRID, sprites)
    for item in playground_samples(kind, 3, 0, sprites=sprites):
        assert item.spec is not None
        seconds = frame_times(item.spec, count)
        labels = patch_labels(item.spec, seconds, grid=GRID, sprites=sprites)
        for _ in range(2):  # computed, and from memory
            assert np.array_equal(truth.patches(item), categories(item.spec)[labels])


def test_words_take_the_category_of_what_they_name_or_of_their_head() -> None:
    spec = ClipSpec("beach", (Actor("dog", "jump"), Actor("banana", "spin")))
    dog, banana, water = (CATEGORY_NAMES.index(name) for name in ("animals", "food", "seaside"))
    sentence = parse("a brown dog jumps up and down while a banana spins on the beach")
    by_word = dict(zip((word.text for word in sentence.words), word_categories(spec, sentence), strict=True))
    assert {by_word[word] for word in ("brown", "dog", "jumps")} == {dog}
    assert {by_word[word] for word in ("banana", "spins")} == {banana}
    assert {by_word[word] for word in ("on", "the", "beach")} == {water}
    assert set(word_categories(spec, parse("something happens"))) == {UNKNOWN}
    assert (word_categories(spec, parse("it is a dog, it is")) == dog).all(), "the last words look back"


def test_a_batch_is_unknown_where_it_is_padded_or_real(sprites: str) -> None:
    clip, still = (playground_samples(kind, 1, 0, sprites=sprites)[0] for kind in ("clips", "stills"))
    real = replace(playground_samples("clips", 1, 1, sprites=sprites)[0], kind="video", spec=None)
    truth = PlaygroundTruth(2, GRID, sprites)
    sentences = [item.sentences[0] for item in (clip, real, still)]
    batch = truth.batch([[clip, real], [still]], [(4, 12), (1, 12)], sentences, 40)
    first, second = batch.patches
    known = truth.patches(clip)
    assert known is not None
    assert first.shape == (2, 4, 12)
    assert torch.equal(first[0, :2], torch.from_numpy(known))
    assert (first[0, 2:] == UNKNOWN).all()
    assert (first[1] == UNKNOWN).all()
    assert (second >= 0).all()
    assert (batch.words[1] == UNKNOWN).all()
    count = len(sentences[0].words)
    assert (batch.words[0, :count] >= 0).all()
    assert (batch.words[0, count:] == UNKNOWN).all()


def test_drawn_captions_are_true_and_their_batches_keep_every_word() -> None:
    drawn = drawn_captions(60, 0)
    assert len(drawn) == 60
    assert drawn == drawn_captions(60, 0)
    sentences = [parse(text) for _, text in drawn]
    labels = [word_categories(spec, sentence) for (spec, _), sentence in zip(drawn, sentences, strict=True)]
    assert sum((row != UNKNOWN).all() for row in labels) >= 50
    assert any(len(sentence.words) == 1 for sentence in sentences)
    tower = load_backbone("tiny")
    tokens = [tower.encode_text([sentence]) for sentence in sentences]
    batch = CaptionPool(list(zip(tokens, labels, strict=True))).batch(np.random.default_rng(0), 12)
    assert batch.words.shape == batch.texts.word_mask.shape
    assert bool(((batch.words == UNKNOWN) | batch.texts.word_mask).all())


# --------------------------------------------------------------------------- samples
def test_shares_beyond_a_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match="still add up"):
        TrainConfig(train=("x",), playground_stills=1, mixture=MixtureConfig(playground=0.75, still=0.5))


def test_drawn_clips_make_room_along_a_line(sprites: str, tmp_path: Path) -> None:
    manifest = eight_pairs(tmp_path / "clips", frames=4)
    counts = {"playground_clips": 4, "playground_stills": 6, "steps": 2, "batch": 8, "sprites": sprites}
    mixture = MixtureConfig(playground=0.25, still=0.5, drawn_end=0.0)
    trainer = build_trainer(small_config(tmp_path, manifest, **counts, mixture=mixture))
    found = []
    for done in (0.0, 0.5, 1.0):
        kinds = [trainer.sampler.items[i].kind for i in trainer.sampler.draw(trainer.rng(1), done).items]
        found.append(tuple(kinds.count(kind) for kind in ("video", "playground", "still")))
    assert found == [(2, 2, 4), (5, 1, 2), (8, 0, 0)]
    assert trainer.train_step()["pairs"] > 0
    assert "pairs" not in trainer.train_step(), "the last batch holds files alone"


@pytest.mark.parametrize("kind", DRAWN)
def test_a_seed_draws_its_samples_with_sentences_that_are_false_in_their_level(kind: str, sprites: str) -> None:
    items, again, other = (playground_samples(kind, 4, seed, sprites=sprites) for seed in (1, 1, 2))
    assert [item.key for item in items] == [item.key for item in again]
    assert not {item.key for item in items} & {item.key for item in other}
    still = kind == "stills"
    assert {item.kind for item in items} == {"still" if still else "playground"}
    assert items[0].frames(4, 32).pixels.shape == (1 if still else 4, 32, 32, 3)
    for pair in (pair for item in items for pair in item.hard_negatives):
        levels = [LEVELS[level] for level, _ in pair.false]
        assert kind == "clips" or "relationship" in levels
        assert not (still and "action" in levels), "what rests may be said to do anything"
        texts = [pair.true.text, *(false.text for _, false in pair.false)]
        assert len(set(texts)) == len(texts)


def test_neighbours_move_and_one_is_beside_or_behind_the_other(sprites: str) -> None:
    items = playground_samples("neighbours", 8, 1, sprites=sprites)
    said = [{s.text.lower() for s in item.sentences} for item in items]
    assert all(any("left of" in s or "right of" in s for s in texts) for texts in said[::2])
    assert all(any("in front of" in s or "behind" in s for s in texts) for texts in said[1::2])
    wrong = {LEVELS[level] for item in items for one in item.hard_negatives for level, _ in one.false}
    assert "action" in wrong, "something false is said of what moves"
