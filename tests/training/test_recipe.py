"""Allocation that is not uniform, training by the weights that are served, and sliders from validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.models import small_model, text_tokens, video_tokens
from tests.helpers.small_runs import eight_pairs, small_config
from vtr_demo.config import LossConfig
from vtr_demo.evaluation.evaluate import encode_table
from vtr_demo.evaluation.metrics import Table
from vtr_demo.model.checkpoint import BUNDLED, SETTINGS, described, load
from vtr_demo.structures import TermWeights
from vtr_demo.training import losses
from vtr_demo.training.objective import Batch, encode, loss_terms
from vtr_demo.training.setup import build_trainer
from vtr_demo.training.sliders import choose_weights, score_value

SERVED: dict[str, Any] = {"level_weights": (1.0, 0.0, 0.25, 0.5), "concept_weight": 0.1}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eight_pairs(tmp_path_factory.mktemp("pairs"))


# --------------------------------------------------------------------------- the centred shift
@pytest.mark.parametrize("centred", [True, False])
def test_a_shift_common_to_all_prototypes_changes_nothing_where_it_is_centred(centred: bool) -> None:
    model = small_model(centred_shift=centred)
    tokens = video_tokens(3, 2)
    with torch.no_grad():
        before = model.forward_video(tokens).concepts.soft
        model.concepts.read.bias.add_(
            50 * torch.randn(model.concepts.inner, generator=torch.Generator().manual_seed(1))
        )
        after = model.forward_video(tokens).concepts.soft
    assert torch.allclose(before, after, atol=1e-4) == centred
    mask = after.sum(1) > 0
    spread = after.amax(1)[mask] - after.sum(1)[mask] / model.config.concepts
    assert (spread.max() < 0.05) != centred, "a large common shift makes an uncentred allocation uniform"


def test_checkpoints_from_before_the_centred_shift_keep_ranking_without_it() -> None:
    assert "centred_shift" not in json.loads((BUNDLED / SETTINGS).read_text())["model"]
    assert described("bundled")[0].centred_shift is False
    assert small_model().config.centred_shift is True


# --------------------------------------------------------------------------- the weights that are served
def batch() -> Batch:
    generator = torch.Generator().manual_seed(9)
    meaning = torch.nn.functional.normalize(torch.randn(4, 5, 12, generator=generator), dim=-1)
    return Batch((video_tokens(2, 3, 2, 3),), text_tokens(7, 3, 5, 6), meaning)


def test_the_total_ranks_by_the_weights_that_are_served_and_zero_weights_have_finite_gradients() -> None:
    model, data = small_model(trained=True, **SERVED), batch()
    config = LossConfig(soft_temperature=0.0)
    gathered = encode(model, data).gathered
    scores = model.scores(gathered.texts, gathered.videos)  # by the default weights
    terms = loss_terms(model, data, config)
    assert torch.allclose(terms["total"], losses.info_nce(config.scale * scores), atol=1e-5)
    terms["total"].backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_validation_and_the_saved_sliders_are_those_of_the_validation_table(
    manifest: Path, tmp_path: Path
) -> None:
    config = small_config(tmp_path, manifest, validation=(str(manifest),), steps=4, evaluate_every=2, lr=3e-3)
    trainer = build_trainer(config.replace(model=config.model.replace(**SERVED)))
    metrics, table = trainer._validate()
    assert table is not None
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
