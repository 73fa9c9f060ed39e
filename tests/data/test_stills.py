"""Stills of the playground: one picture, a spatial relation, nothing said of what moves falsely;
encounters, where a relation takes time; neighbours, which move where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.small_runs import eight_pairs, small_config
from tests.helpers.sprites import draw_sprites
from vtr_demo.config import TrainConfig
from vtr_demo.data.dataset import (
    Sample,
    playground_encounters,
    playground_neighbours,
    playground_samples,
    playground_stills,
    rival_of,
    rivals_of,
)
from vtr_demo.errors import ConfigError
from vtr_demo.playground.captions import PAIR_LEVELS, hard_negatives
from vtr_demo.playground.layout import sample_spec
from vtr_demo.playground.spec import SPLITS, in_split
from vtr_demo.structures import LEVELS
from vtr_demo.training.trainer import prepare


@pytest.fixture(scope="module")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(draw_sprites(tmp_path_factory.mktemp("sprites")))


def test_a_still_is_one_picture_with_false_relations_and_no_false_action(sprites: str) -> None:
    items = playground_stills(9, seed=3, sprites=sprites)
    assert [item.kind for item in items] == ["still"] * 9
    assert items[0].frames(8, 32).pixels.shape == (1, 32, 32, 3)
    wrong = [LEVELS[level] for item in items for level, _ in item.contrasts[0].false]
    assert wrong.count("relationship") >= 9
    assert "action" not in wrong
    for item in items:
        texts = [item.contrasts[0].true.text, *(false.text for _, false in item.contrasts[0].false)]
        assert len(set(texts)) == len(texts)


def test_the_same_seed_draws_the_same_stills(sprites: str) -> None:
    first, again, other = (playground_stills(4, seed, sprites=sprites) for seed in (1, 1, 2))
    assert [item.key for item in first] == [item.key for item in again]
    assert not {item.key for item in first} & {item.key for item in other}


def test_a_batch_holds_its_share_of_stills(sprites: str, tmp_path: Path) -> None:
    manifest = eight_pairs(tmp_path / "clips", frames=4)
    config = small_config(
        tmp_path,
        manifest,
        playground_clips=3,
        playground_stills=6,
        sprites=sprites,
        playground_share=0.25,
        still_share=0.5,
    )
    trainer = prepare(config)
    draw = trainer.sampler.draw(trainer._rng(1, 0))
    kinds = [trainer.sampler.items[i].kind for i in draw.chosen]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"video": 2, "playground": 2, "still": 4}
    assert trainer.train_step()["pairs"] > 0


def test_shares_beyond_a_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match="still_share"):
        TrainConfig(train=("x",), playground_stills=1, playground_share=0.75, still_share=0.5)


def test_drawn_clips_make_room_along_a_line(sprites: str, tmp_path: Path) -> None:
    manifest = eight_pairs(tmp_path / "clips", frames=4)
    counts = {"playground_clips": 4, "playground_stills": 6, "steps": 2, "batch": 8, "sprites": sprites}
    shares = {"playground_share": 0.25, "still_share": 0.5, "drawn_end": 0.0}
    trainer = prepare(small_config(tmp_path, manifest, **counts, **shares))
    found = []
    for done in (0.0, 0.5, 1.0):
        kinds = [trainer.sampler.items[i].kind for i in trainer.sampler.draw(trainer._rng(1, 0), done).chosen]
        found.append(tuple(kinds.count(kind) for kind in ("video", "playground", "still")))
    assert found == [(2, 2, 4), (5, 1, 2), (8, 0, 0)]
    assert trainer.train_step()["pairs"] > 0
    assert "pairs" not in trainer.train_step(), "the last batch holds files alone"


@pytest.mark.parametrize("draw", [playground_encounters, playground_neighbours])
def test_clips_of_two_things_come_with_false_relations(
    draw: Callable[..., list[Sample]], sprites: str
) -> None:
    items = draw(6, seed=3, sprites=sprites)
    assert [item.kind for item in items] == ["playground"] * 6
    assert items[0].frames(4, 32).pixels.shape == (4, 32, 32, 3)
    for item in items:
        levels = [LEVELS[level] for one in item.contrasts for level, _ in one.false]
        assert levels.count("relationship") >= len(item.contrasts), "each voice has a false relation"
    again, other = (draw(6, seed, sprites=sprites) for seed in (3, 4))
    assert [item.key for item in items] == [item.key for item in again]
    assert not {item.key for item in items} & {item.key for item in other}


def test_neighbours_move_and_one_is_beside_or_behind_the_other(sprites: str) -> None:
    items = playground_neighbours(8, 1, sprites=sprites)
    said = [{s.text.lower() for s in item.sentences} for item in items]
    assert all(any("left of" in s or "right of" in s for s in texts) for texts in said[::2])
    assert all(any("in front of" in s or "behind" in s for s in texts) for texts in said[1::2])
    wrong = {LEVELS[level] for item in items for one in item.contrasts for level, _ in one.false}
    assert "action" in wrong, "something false is said of what moves"


DRAWS = (playground_samples, playground_stills, playground_encounters, playground_neighbours)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_rival_is_a_clip_of_which_a_false_sentence_is_true(
    draw: Callable[..., list[Sample]], sprites: str
) -> None:
    plain, items = (draw(12, seed=3, sprites=sprites, rivals=rivals) for rivals in (False, True))
    assert plain == items, "rivals change nothing else"
    assert not rivals_of(plain)
    assert sum(len(one.rivals) for item in items for one in item.contrasts) >= 8
    for item in items:
        for one in item.contrasts:
            for place, rival in one.rivals.items():
                assert LEVELS[one.false[place][0]] in PAIR_LEVELS
                assert (rival.kind, rival.sentences) == (item.kind, ())
                pictures = [x.frames(3, 32).pixels for x in (item, rival)]
                assert pictures[0].shape == pictures[1].shape
                assert (pictures[0] != pictures[1]).any()
    again = draw(12, seed=3, sprites=sprites, rivals=True)
    assert [r.key for r in rivals_of(items)] == [r.key for r in rivals_of(again)]


def test_no_rival_shows_what_training_must_not(sprites: str) -> None:
    """The rival's spec, drawn from what is false of a clip, is in the split of the clip."""
    rng = np.random.default_rng(5)
    for split in SPLITS:
        for _ in range(20):
            spec = sample_spec(rng, split=split)
            told = [hard_negatives(spec, rng)[1] for _ in range(3)]
            if (found := rival_of(told, rng, split)) is not None:
                voice, place, other = found
                assert in_split(other, split)
                assert told[voice][place].spec == other


@pytest.mark.parametrize("towers_learn", [False, True])
def test_a_run_with_rivals_holds_clips_against_them(towers_learn: bool, sprites: str, tmp_path: Path) -> None:
    manifest = eight_pairs(tmp_path / "clips", frames=4)
    counts = {"playground_clips": 4, "playground_stills": 6, "steps": 2, "batch": 8, "sprites": sprites}
    shares = {"playground_share": 0.25, "still_share": 0.5, "playground_rivals": True}
    learns = {"freeze_backbone": False, "cache": ""} if towers_learn else {}
    trainer = prepare(small_config(tmp_path, manifest, **counts, **shares, **learns))
    batch = trainer.sampler.batch(trainer._rng(1, 0))
    assert batch.contrasts is not None
    assert batch.contrasts.shown is not None
    assert len(batch.contrasts.shown) == sum(len(group) for group in batch.contrasts.rivals) > 0
    assert trainer.train_step()["pairs"] > 0
