"""What the bundled model card says of the making of its checkpoint is what checkpoint and config say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vtr_demo.evaluation.confidence import CONFIDENT_P
from vtr_demo.playground.spec import THINGS
from vtr_demo.structures import LEVELS

FOLDER = Path(__file__).parents[2] / "checkpoints" / "bundled"


@pytest.fixture(scope="module")
def card() -> str:
    """The card's words, however its lines are broken."""
    return " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Any]:
    return json.loads((FOLDER / "checkpoint.json").read_text(encoding="utf-8"))


def test_the_card_counts_what_the_checkpoint_was_trained_on(card, checkpoint):
    words = checkpoint["training"]  # the last of three runs, each of which began with the one before
    concepts, config = words["start"]["config"], words["start"]["start"]["config"]
    assert f"{words['config']['playground_stills']:,} drawn pictures" in card
    assert f"{concepts['playground_stills']:,} stills and {concepts['playground_clips']} clips" in card
    assert f"{concepts['steps']} steps of {concepts['batch']}" in card
    kinds = [config[f"playground_{kind}"] for kind in ("clips", "encounters", "neighbours")]
    assert f"{sum(kinds):,} clips ({kinds[1]:,} of them" in card
    assert f"{kinds[2]:,} of them two things" in card
    assert f"{config['playground_stills']:,} single pictures of the playground" in card
    assert f"with {sum(t.split != 'unseen_sprites' for t in THINGS.values())} kinds of things" in card
    assert f"{config['steps']:,} steps of {config['batch']}" in card
    assert f"| seed | {config['seed']}." in card


def test_the_card_tells_the_starting_positions_of_the_sliders(card, checkpoint):
    model = checkpoint["model"]
    weights = ", ".join(f"{weight:g}" for weight in model["level_weights"])
    assert f"({weights} and λ {model['concept_weight']:g})" in card
    assert f"The threshold is {CONFIDENT_P:.2f};" in card


def test_the_card_names_the_checkpoints_concepts(card, checkpoint):
    listed = ", ".join(f"{k} *{name}*" for k, name in enumerate(checkpoint["concept_names"], start=1))
    assert listed in card


def test_the_card_measures_the_checkpoint(card, checkpoint):
    size = (FOLDER / "model.safetensors").stat().st_size
    assert f"{size / 1e6:.1f} MB" in card
    sizes = [len(checkpoint["attributes"]["attributes"][level]) for level in LEVELS]
    assert f"{' / '.join(f'{n:,}' for n in sizes)} lemmas and pairs" in card
