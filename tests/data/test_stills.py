"""Stills of the playground: one picture, a spatial relation, nothing said of what moves falsely;
encounters, where a relation takes time; neighbours, which move where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.small_runs import eight_pairs, small_config
from vtr_demo.config import MixtureConfig, TrainConfig
from vtr_demo.data.dataset import DRAWN, playground_samples
from vtr_demo.errors import ConfigError
from vtr_demo.structures import LEVELS
from vtr_demo.training.setup import build_trainer


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
