"""How weights move: chunks change no gradient, long ones are clipped, and rates follow a cosine."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.models import small_model, text_tokens, video_tokens
from tests.helpers.small_runs import EVERY_LOSS, small_config
from tests.test_distributed import gradients, quiet
from vtr_demo.backbones.registry import load_backbone
from vtr_demo.config import TrainConfig
from vtr_demo.training.optim import global_head, parameter_groups, warmup_cosine, wise_ft
from vtr_demo.training.setup import build_trainer
from vtr_demo.training.trainer import Trainer

SETTLED = EVERY_LOSS.replace(distill_mask=0.0)
"""Nothing random but the Gumbel noise, which ``quiet`` takes away."""


def config(out: Path, manifest: Path, backbone: str = "tiny", **changes: Any) -> TrainConfig:
    return small_config(out, manifest, backbone, **{"loss": SETTLED, "batch": 5, "clip_norm": 1e9} | changes)


def norm(found: dict[str, Tensor]) -> float:
    return float(torch.stack([value.square().sum() for value in found.values()]).sum().sqrt())


def backward(trainer: Trainer) -> dict[str, Tensor]:
    """Gradients of one batch of the first step by itself."""
    trainer.optimizer.zero_grad()
    trainer.model.train()
    trainer.backbone.train()
    terms = trainer.training_step(trainer.sampler, trainer.rng(1), 0.0)
    torch.stack(list(terms.values())).sum().backward()
    return gradients(trainer)


# --------------------------------------------------------------------------- between start and end
def test_at_share_zero_a_global_level_that_has_learnt_only_that_ranks_as_an_untrained_one() -> None:
    model, clips, texts = small_model(living=False), video_tokens(3, 5), text_tokens(4, 2)
    start = global_head(model)
    assert not any(weight.any() for weight in start)
    untrained = model.scores(model.encode_text(texts), model.encode_video(clips)).detach()
    with torch.no_grad():
        model.video.whole[-1].weight.normal_()
        model.text.pools.pools()[0].value_hidden.weight.normal_()
    assert not torch.allclose(model.scores(model.encode_text(texts), model.encode_video(clips)), untrained)
    with wise_ft(model, start, 0.0):
        assert model.scores(model.encode_text(texts), model.encode_video(clips)).equal(untrained)


# --------------------------------------------------------------------------- memory of towers that learn
def test_gradients_are_those_of_the_whole_batch_however_few_frames_go_through_the_towers_at_a_time(
    small_clip: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ranking losses compare all clips of the batch with each other, so parts of it cannot be added up."""
    monkeypatch.setattr(F, "gumbel_softmax", quiet)
    clip = f"open_clip:local-dir:{small_clip}"
    trainer = build_trainer(config(tmp_path, manifest, clip, tower_chunk=4, freeze_backbone=False))
    assert trainer.backbone.grad_chunk == 4
    trainer.backbone.grad_chunk = 0
    whole = backward(trainer)
    assert len([name for name in whole if name.startswith("towers.") and whole[name].any()]) > 20
    for chunk, blocks in ((1, False), (4, False), (1000, False), (0, True), (4, True)):
        trainer.backbone.grad_chunk = chunk
        trainer.backbone.set_grad_checkpointing(blocks)
        parts = backward(trainer)
        assert whole.keys() == parts.keys()
        for name, value in whole.items():
            assert (value - parts[name]).norm() <= 1e-3 * value.norm() + 1e-6, (chunk, blocks, name)


def test_activations_of_one_chunk_are_kept_and_not_those_of_the_batch(small_clip: Path) -> None:
    """Counted in bytes that autograd saves. Two clips more add next to nothing; gradients are the same."""
    towers = load_backbone(str(small_clip))
    towers.unfreeze()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 2, 32, 32, 3), np.uint8)

    def run(count: int, chunk: int) -> tuple[int, list[Tensor]]:
        """Bytes that are saved, and the gradients of all weights that have one."""
        kept: list[int] = []
        towers.zero_grad()
        towers.grad_chunk = chunk
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
            tokens = towers.encode_frame_batch(pixels[:count], np.ones((count, 2), bool))
        saved = sum(kept)
        outputs = [value for value in (tokens.patches, tokens.summary, tokens.motion) if value is not None]
        sum(value.sin().sum() for value in outputs).backward()
        return saved, [p.grad.clone() for p in towers.parameters() if p.grad is not None]

    (whole, expected), (chunks, found) = run(3, 0), run(3, 2)
    assert chunks - run(1, 2)[0] < (whole - run(1, 0)[0]) / 4
    assert len(found) == len(expected) > 3
    assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-4) for a, b in zip(expected, found, strict=True))


# --------------------------------------------------------------------------- clipping
def test_gradients_longer_than_the_limit_are_shortened_to_it(manifest: Path, tmp_path: Path) -> None:
    free, held = (
        build_trainer(config(tmp_path / name, manifest, clip_norm=most)) for name, most in (("a", 1e9), ("b", 1e-2))
    )
    free.train_step()
    held.train_step()
    long, short = gradients(free), gradients(held)
    assert norm(long) > 1e-2
    assert norm(short) == pytest.approx(1e-2, rel=1e-3)
    assert norm(short) <= 1e-2 * (1 + 1e-6)
    for name, value in short.items():  # in the same direction
        assert torch.allclose(value, long[name] * 1e-2 / norm(long), atol=1e-7, rtol=1e-3), name


# --------------------------------------------------------------------------- rates
def test_the_learning_rate_rises_and_falls_along_a_cosine() -> None:
    rates = [warmup_cosine(step, 100, 0.1) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert max(rates) == rates[9] == 1
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))
    assert rates[54] == pytest.approx(0.02 + 0.98 / 2, abs=0.01)  # halfway down
    assert rates[-1] == pytest.approx(0.02)


def test_a_step_is_taken_at_the_rate_of_its_number(manifest: Path, tmp_path: Path) -> None:
    trainer = build_trainer(config(tmp_path, manifest, steps=4, lr=1e-3, warmup=0.5))
    used: list[list[float]] = []
    trainer.optimizer.register_step_pre_hook(lambda o, *_: used.append([g["lr"] for g in o.param_groups]))
    for _ in range(4):
        trainer.train_step()
    peaks = [group["initial_lr"] for group in trainer.optimizer.param_groups]
    for step, rates in enumerate(used, 1):
        assert rates == pytest.approx([peak * warmup_cosine(step, 4, 0.5) for peak in peaks])


def test_weight_decay_pulls_at_matrices_and_at_no_log_prior() -> None:
    model = small_model(attributes=(3, 2, 2, 2))
    groups = parameter_groups([model], None, lr=1e-3, backbone_lr=0.0, weight_decay=0.1)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert decay[id(model.video.prior)] == 0
    for name, parameter in model.named_parameters():
        assert bool(decay[id(parameter)]) == (parameter.ndim > 1 and parameter is not model.video.prior), name
