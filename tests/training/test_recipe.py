"""Allocation that is not uniform, training by the weights that are served, and sliders from validation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.models import small_model, text_tokens, video_tokens
from tests.helpers.small_runs import small_config
from vtr_demo.config import LossConfig, ModelConfig, TrainConfig
from vtr_demo.data.grounding import AllocationTruth
from vtr_demo.evaluation.evaluate import encode_table
from vtr_demo.evaluation.metrics import Table
from vtr_demo.model.checkpoint import BUNDLED, SETTINGS, described, load
from vtr_demo.structures import TermWeights
from vtr_demo.training import losses
from vtr_demo.training.objective import Batch, Heads, loss_terms
from vtr_demo.training.setup import build_trainer
from vtr_demo.training.trainer import choose_weights, score_value

SERVED: dict[str, Any] = {"level_weights": (1.0, 0.0, 0.25, 0.5), "concept_weight": 0.1}


# --------------------------------------------------------------------------- the centred shift
def test_checkpoints_from_before_the_centred_shift_keep_ranking_without_it(tmp_path: Path) -> None:
    settings = json.loads((BUNDLED / SETTINGS).read_text())
    del settings["model"]["centred_shift"]
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    assert described(str(tmp_path))[0].centred_shift is False
    assert small_model().config.centred_shift is True


# --------------------------------------------------------------------------- the weights that are served
def test_validation_and_the_saved_sliders_are_those_of_the_validation_table(manifest: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, manifest, validation=(str(manifest),), steps=4, evaluate_every=2, lr=3e-3)
    trainer = build_trainer(config.replace(model=config.model.replace(**SERVED)))
    table = encode_table(trainer.trained(), trainer.validation, trainer.sampler.cache)
    metrics = trainer.validate()[0]
    values = [metrics[side][k] for side in ("text_to_video", "video_to_text") for k in ("R@1", "R@5", "R@10")]
    assert score_value(table, trainer.model.default_weights) == pytest.approx(float(np.mean(values)))
    best = load(str(trainer.run()))
    assert trainer.model.config.level_weights == SERVED["level_weights"], "training goes on by the config"
    table = encode_table(best, trainer.validation, trainer.sampler.cache)
    config_weights = TermWeights(*SERVED["level_weights"], SERVED["concept_weight"])
    assert score_value(table, best.model.default_weights) >= score_value(table, config_weights)
    assert best.model.default_weights == choose_weights(table, config_weights)


@pytest.mark.parametrize("seed", range(3))
def test_chosen_weights_are_never_worse_and_find_the_term_that_ranks(seed: int) -> None:
    model = small_model(trained=True)
    texts, videos = (model.encode_text(text_tokens(*[4] * 12, seed=seed)),
                     model.encode_video(video_tokens(*[2] * 12, seed=seed)))  # fmt: skip
    start = TermWeights(1.0, 0.3, 0.7, 0.2, 0.4)
    with torch.no_grad():
        table = Table(texts, videos, np.eye(12, dtype=bool))
        assert score_value(table, choose_weights(table, start)) >= score_value(table, start)
        videos.levels[:, 1] = texts.levels[:, 1]  # the entity level alone is always right
        chosen = choose_weights(table, TermWeights(1.0, 0.0, 0.0, 0.0, 0.0))
    assert chosen.entity > 0
    assert chosen.global_ == 1.0


# --------------------------------------------------------------------------- concepts from the playground
def grounded(folder: Path, sprites: str, **changes: Any) -> TrainConfig:
    """A run on the playground alone, with sixteen concepts."""
    model = ModelConfig(backbone="tiny", hidden=16, heads=2, concepts=16, concept_width=8, dropout=0.0)
    loss = LossConfig(grounding=1.0, balance=0.0, distill=0.0)
    settings: dict[str, Any] = {"train": (), "playground_clips": 12, "sprites": sprites, "lr": 1e-2}
    settings |= {"steps": 40, "model": model, "loss": loss} | changes
    return small_config(folder, Path(), **settings)


def test_allocation_nll_equals_the_loop_and_is_zero_where_certain_and_right() -> None:
    soft, labels = torch.randn(2, 4, 3).softmax(1), torch.tensor([[0, 3, -1], [2, 2, 1]])
    mask = labels >= 0
    pairs = [(b, n) for b in range(2) for n in range(3) if mask[b, n]]
    expected = -sum(float(soft[b, labels[b, n], n].log()) for b, n in pairs) / len(pairs)
    assert float(losses.allocation_nll(soft, labels, mask)) == pytest.approx(expected, rel=1e-5)
    certain = torch.nn.functional.one_hot(labels.clamp(min=0), 4).mT.float()
    assert float(losses.allocation_nll(certain, labels, mask)) == pytest.approx(0, abs=1e-6)
    assert float(losses.allocation_nll(soft, labels, torch.zeros_like(mask))) == 0


def test_things_and_scenes_weigh_half_each_however_many_patches_they_have() -> None:
    model = small_model(concepts=16, trained=True)
    data = Batch((video_tokens(2, 3, 2, 3),), text_tokens(7, 3, 5, 6), torch.eye(4, 12)[:, None].expand(-1, 5, -1))
    labels = torch.full((4, 3, 6), 12)
    labels[0, 0, 0] = 3  # one patch of a thing, all others of a scene
    truth = AllocationTruth((labels,), torch.full((4, 7), -1))
    term = loss_terms(Heads(model), replace(data, truth=truth), LossConfig(grounding=1.0))["grounding"]
    out = model.forward_video(data.videos[0])
    soft = out.concepts.soft.unflatten(2, (3, 7))[..., 1:].flatten(2)
    mask, flat = out.concept_mask.unflatten(1, (3, 7))[..., 1:].flatten(1), labels.flatten(1)
    thing, scene = (losses.allocation_nll(soft, flat, mask & (flat == k)) for k in (3, 12))
    assert torch.allclose(term, (thing + scene) / 2, atol=1e-5)
    assert "grounding" not in loss_terms(Heads(model), data, LossConfig(grounding=1.0))


def test_prototypes_start_at_the_mean_direction_of_their_category(sprites: str, tmp_path: Path) -> None:
    trainer = build_trainer(grounded(tmp_path, sprites))
    concepts, sampler = trainer.model.concepts, trainer.sampler
    assert sampler.truth is not None
    patches, labels = [], []
    for item in sampler.items:
        known = sampler.truth.patches(item)
        assert known is not None
        patches.append(sampler.cache.get(item).patches[0].flatten(0, 1))
        labels.append(torch.from_numpy(known).flatten())
    with torch.no_grad():
        points = trainer.model.video.stem(torch.cat(patches)) - concepts.centre[0]
    units = torch.nn.functional.normalize(points, dim=-1)
    for k in torch.cat(labels).unique().tolist():
        mean = units[torch.cat(labels) == k].mean(0)
        assert torch.allclose(concepts.prototypes[k], mean / mean.norm(), atol=1e-4)


def test_grounding_teaches_patches_and_words_their_concept(sprites: str, tmp_path: Path) -> None:
    trainer = build_trainer(grounded(tmp_path, sprites))

    def right() -> tuple[float, float]:
        """Share of patches, and of words, in their own concept."""
        trainer.model.eval()
        data = trainer.sampler.batch(np.random.default_rng(5))
        assert data.truth is not None
        with torch.no_grad():
            patches = trainer.model.forward_video(data.videos[0]).concepts.index()
            words = trainer.model.forward_text(data.texts).concepts.index()[:, 1:]
        truth = data.truth.patches[0]
        own = patches.unflatten(1, (truth.shape[1], -1))[..., 1:] == truth
        known = data.truth.words >= 0
        return float(own.float().mean()), float((words == data.truth.words)[known].float().mean())

    before = right()
    terms = [trainer.train_step()["grounding"] for _ in range(20)]
    after = right()
    assert terms[-1] < 0.7 * terms[0]
    assert after[0] > before[0]
    assert after[1] > before[1] + 0.25, "chance is a sixteenth"
