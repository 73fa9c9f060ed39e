"""What the bundled model card says of the making of its checkpoint is what checkpoint and config say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vtr_demo.config import read_config
from vtr_demo.evaluation.confidence import CONFIDENT_P
from vtr_demo.playground.things import RESERVED, THINGS
from vtr_demo.structures import LEVELS

FOLDER = Path(__file__).parents[2] / "checkpoints" / "bundled"


@pytest.fixture(scope="module")
def card() -> str:
    """The card's words, however its lines are broken."""
    return " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Any]:
    return json.loads((FOLDER / "checkpoint.json").read_text(encoding="utf-8"))


def test_the_shipped_config_is_what_the_checkpoint_was_trained_by(checkpoint):
    trained = checkpoint["training"]["config"]
    shipped = read_config("bundled", [f"{key}={json.dumps(trained[key])}" for key in ("train", "validation")])
    said = json.loads(json.dumps(shipped.to_dict()))
    assert {"steps", "lr", "loss", "playground_clips", "attribute_sizes"} <= set(trained)
    # the rest says where things lay, or comes from --set
    stored = {key: _known(value, said[key]) for key, value in trained.items()}
    assert stored == {key: said[key] for key in trained} | {"seed": trained["seed"]}


def _known(stored: Any, today: Any) -> Any:
    """A stored setting without the options that are gone."""
    return {key: stored[key] for key in today if key in stored} if isinstance(today, dict) else stored


def test_the_card_counts_what_the_config_asks_for(card, checkpoint):
    config = read_config("bundled", ['train=["a.jsonl"]'])
    kinds = (config.playground_clips, config.playground_encounters, config.playground_neighbours)
    assert f"{sum(kinds):,} clips ({config.playground_encounters:,} of them" in card
    assert f"{config.playground_neighbours:,} of them two things" in card
    assert f"{config.playground_stills:,} single pictures of the playground" in card
    assert f"with {len(THINGS) - len(RESERVED)} kinds of things" in card
    assert f"{config.steps:,} steps of {config.batch}" in card
    assert f"| seed | {checkpoint['training']['config']['seed']}." in card


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
