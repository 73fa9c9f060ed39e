"""Training: eight pairs are learnt by heart, a stopped run is the run that was not, and NaN stops it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.models import text_tokens, video_tokens
from tests.helpers.small_runs import eight_pairs, small_config
from vtr_demo.config import LossConfig, ModelConfig, TrainConfig, VideoConfig
from vtr_demo.errors import ConfigError, TrainingError, VtrError
from vtr_demo.model.checkpoint import load
from vtr_demo.model.model import VTRModel
from vtr_demo.training import trainer as step_module
from vtr_demo.training.initialise import data_dependent_init
from vtr_demo.training.objective import loss_terms
from vtr_demo.training.setup import build_trainer, train
from vtr_demo.training.trainer import Trainer

MODEL = ModelConfig(backbone="tiny", hidden=16, heads=2, concepts=4, concept_width=8, dropout=0.0, reduce=12)


def config(out: Path, manifest: Path, **changes: Any) -> TrainConfig:
    usual: dict[str, Any] = {"out": str(out), "model": MODEL, "video": VideoConfig(clip_frames=4), "lr": 3e-3}
    return small_config(out, manifest, **usual | {"loss": LossConfig(), "weight_decay": 0.01} | changes)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


# ---------------------------------------------------------------------- learning
# ---------------------------------------------------------------------- attributes
def captioned(folder: Path, name: str, captions: dict[int, list[str]]) -> str:
    path = folder / f"{name}.jsonl"
    rows = [{"path": f"{i}.mp4", "captions": said} for i, said in captions.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_lemma_of_the_validation_data_alone_is_no_attribute(manifest: Path, tmp_path: Path) -> None:
    folder = manifest.parent
    trained = captioned(folder, "trained", {i: ["a dog runs on the beach"] for i in range(4)})
    shown = captioned(folder, "shown", {i: ["a zeppelin lands on the beach"] for i in range(4, 8)})
    settings = config(tmp_path, trained, validation=(shown,), attribute_min_count=1, batch=4)
    trainer = build_trainer(settings)
    names = {name for level in trainer.retrieval.vocabulary.names.values() for name in level}
    assert {"dog", "run", "beach"} <= names
    assert not [name for name in names if "zeppelin" in name or "land" in name]
    trainer.run()
    saved = load(str(tmp_path / "best")).vocabulary
    assert saved == trainer.retrieval.vocabulary


def test_a_run_without_a_single_attribute_trains_all_the_same(manifest: Path, tmp_path: Path) -> None:
    trainer = build_trainer(config(tmp_path, manifest, attribute_min_count=1000))
    assert set(trainer.retrieval.vocabulary.sizes.values()) == {0}
    terms = trainer.train_step()
    assert terms["attributes"] == 0


# ---------------------------------------------------------------------- stopping and going on
def test_a_run_that_was_killed_and_resumed_is_the_run_that_was_not(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"steps": 7, "batch": 5, "validation": (str(manifest),)}
    changes["model"] = MODEL.replace(dropout=0.2)  # noise must come back too
    straight = build_trainer(config(tmp_path / "straight", manifest, **changes))
    straight.run()
    saving = config(tmp_path / "killed", manifest, save_every=2, **changes)
    killed = build_trainer(saving)
    step = killed.train_step

    def dies() -> dict[str, float]:
        if killed.progress.step == 5:
            raise KeyboardInterrupt
        return step()

    monkeypatch.setattr(killed, "train_step", dies)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    torch.manual_seed(5)  # whatever happened in between
    again = build_trainer(saving.replace(save_every=3))  # how often it is saved makes no other run
    again.resume()
    assert again.progress.step == 4
    again.run()
    for part in ("model", "distiller"):
        states = [getattr(trainer.computed, part).state_dict() for trainer in (straight, again)]
        assert all(states[1][name].equal(value) for name, value in states[0].items())
    before = digests(tmp_path / "killed" / "best")
    finished = build_trainer(saving)
    finished.run()
    assert (finished.progress.step, digests(tmp_path / "killed" / "best")) == (7, before)


def test_the_folder_of_another_run_is_refused_and_left_alone(manifest: Path, tmp_path: Path) -> None:
    build_trainer(config(tmp_path, manifest)).run(until=1)
    before = digests(tmp_path)
    changes: tuple[dict[str, Any], ...] = (
        {"seed": 1}, {"loss": LossConfig(distill=0)}, {"model": MODEL.replace(concepts=5)}, {"freeze_backbone": False},
    )  # fmt: skip
    for change in changes:
        with pytest.raises(ConfigError, match="another run"):
            build_trainer(config(tmp_path, manifest, **change)).run()
    assert digests(tmp_path) == before


def test_a_run_on_other_data_is_refused_and_moved_data_are_not(tmp_path: Path) -> None:
    before = eight_pairs(tmp_path / "data")
    run = config(tmp_path / "run", before)
    build_trainer(run).run(until=1)
    kept, rows = digests(tmp_path / "run"), before.read_text().splitlines()
    recaptioned = json.dumps(json.loads(rows[0]) | {"captions": ["a yellow cloud rests"]})
    for other in (rows[:-1], [recaptioned, *rows[1:]], [rows[1].replace("1.mp4", "0.mp4"), *rows[2:]]):
        before.write_text("\n".join(other))
        with pytest.raises(ConfigError, match="other data"):
            build_trainer(run).run()
        assert digests(tmp_path / "run") == kept
    before.write_text("\n".join(rows))
    clip = tmp_path / "data" / "1.mp4"
    whole = clip.read_bytes()
    clip.write_bytes((tmp_path / "data" / "2.mp4").read_bytes() + b"\0")
    with pytest.raises(ConfigError, match=r"'1\.mp4'"):
        build_trainer(run).run()
    clip.write_bytes(whole)  # a later time of change
    assert build_trainer(run).run().exists()


def test_too_few_clips_to_hold_some_out_are_refused(tmp_path: Path) -> None:
    manifest = eight_pairs(tmp_path / "data", count=3)
    for share in (0.05, 0.34, 0.67, 0.99):
        with pytest.raises(VtrError, match="hold_out"):
            build_trainer(config(tmp_path / "run", manifest, hold_out=share))


def test_a_damaged_state_is_refused_in_a_sentence(manifest: Path, tmp_path: Path) -> None:
    build_trainer(config(tmp_path, manifest)).run(until=2)
    (tmp_path / "state.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(VtrError, match=r"state\.pt"):
        build_trainer(config(tmp_path, manifest)).run()


def test_training_stops_where_validation_no_longer_improves(manifest: Path, tmp_path: Path) -> None:
    settings = config(tmp_path, manifest, steps=40, evaluate_every=1, patience=2, validation=(str(manifest),), lr=1e-9)
    trainer = build_trainer(settings)
    trainer.run()
    assert trainer.progress.step == 3  # sliders are chosen after the first, the next two are no better


def poison(monkeypatch: pytest.MonkeyPatch, trainer: Trainer, term: str, step: int) -> None:
    """Let ``term`` be NaN at ``step``."""

    def poisoned(*arguments: Any) -> dict[str, torch.Tensor]:
        terms = loss_terms(*arguments)
        if trainer.progress.step == step:
            terms[term] = terms[term] * float("nan")
        return terms

    monkeypatch.setattr(step_module, "loss_terms", poisoned)


@pytest.mark.parametrize(("term", "step"), [("total", 1), ("distill", 5)])
def test_nan_stops_the_run_by_name_and_keeps_the_last_good_checkpoint_if_there_is_one(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str, step: int
) -> None:
    trainer = build_trainer(config(tmp_path, manifest, steps=20, evaluate_every=2))
    poison(monkeypatch, trainer, term, step)
    kept = f"{tmp_path / 'best'} keeps the last good checkpoint; " if step > 2 else ""
    with pytest.raises(TrainingError, match=f"'{term}' is not finite at step {step}; {kept}start again in a new `out`"):
        trainer.run()
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
    assert (tmp_path / "best").exists() == bool(kept)
    assert not kept or load(str(tmp_path / "best")).training["steps"] == 4


def test_a_gradient_that_is_not_finite_stops_the_run_and_leaves_the_weights_alone(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build_trainer(config(tmp_path, manifest))

    def steep(*arguments: Any) -> dict[str, torch.Tensor]:
        terms = loss_terms(*arguments)
        zero = trainer.model.text.gate.weight.sum() * 0.0
        return terms | {"total": terms["total"] + zero.abs().sqrt()}  # finite, with an infinite slope

    monkeypatch.setattr(step_module, "loss_terms", steep)
    before = weights(trainer)
    with pytest.raises(TrainingError, match="The gradient is not finite at step 1; start again"):
        trainer.train_step()
    assert all(before[name].equal(value) for name, value in weights(trainer).items())


# ---------------------------------------------------------------------- data that is not as it should be
def test_clips_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    path = eight_pairs(tmp_path / "data", count=5)
    (tmp_path / "data" / "2.mp4").write_bytes(b"noise" * 500)
    trainer = build_trainer(config(tmp_path / "out", path, batch=4))
    assert len(trainer.sampler.items) == 4
    assert all(len(labels) == 4 for labels in trainer.sampler.labels)
    assert np.isfinite(sum(trainer.train_step().values()))


def test_no_data_at_all_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = eight_pairs(tmp_path / "data", count=2)
    for name in ("0.mp4", "1.mp4"):
        (tmp_path / "data" / name).write_bytes(b"noise" * 500)
    with pytest.raises(VtrError):
        train(config(tmp_path / "out", path))
    with pytest.raises(VtrError):
        train(config(tmp_path / "out", tmp_path / "none.jsonl"))


# ---------------------------------------------------------------------- the start
def test_a_start_is_made_from_the_data_and_is_the_same_every_time(manifest: Path, tmp_path: Path) -> None:
    first, second = (build_trainer(config(tmp_path / name, manifest)) for name in "ab")
    assert first.model.config.trained
    assert all(first.model.state_dict()[k].equal(v) for k, v in second.model.state_dict().items())
    other = build_trainer(config(tmp_path / "c", manifest, seed=5)).model.concepts
    assert not other.query.weight.equal(first.model.concepts.query.weight)
    assert other.prototypes.equal(first.model.concepts.prototypes), "which start alike from every seed"


def test_patches_start_where_their_frames_summaries_are(manifest: Path, tmp_path: Path) -> None:
    """By ridge regression; reduced patches are centred, so they tell how summaries differ."""
    trainer = build_trainer(config(tmp_path, manifest))
    clips = [trainer.sampler.cache.get(item) for item in trainer.sampler.items]
    summaries = torch.cat([tokens.summary.float().flatten(0, 1) for tokens in clips])
    wanted = summaries - summaries.mean(0)
    with torch.no_grad():
        mapped = torch.cat([trainer.model.video.stem(t.patches.float().mean(2)).flatten(0, 1) for t in clips])
    assert (mapped - wanted).norm(dim=-1).mean() < 0.5 * wanted.norm(dim=-1).mean()


def test_initialisation_leaves_a_square_stem_alone_and_reduction_is_fitted_only_where_there_is_one() -> None:
    model = VTRModel(MODEL.replace(reduce=0), patch_width=12, width=12)
    model.fit_reduction(torch.randn(50, 12))
    assert model.reduction.numel() == 0
    tokens = video_tokens(3)
    square = replace(tokens, patches=torch.randn(*tokens.patches.shape[:3], 12))
    data_dependent_init(model, [square], [text_tokens(5)])
    assert model.video.stem.weight.equal(torch.eye(12))
    assert model.config.trained
