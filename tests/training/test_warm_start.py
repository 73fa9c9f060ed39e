"""Training that goes on from a checkpoint: what is taken over, what the new data decide, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.drawn import draw_clip
from tests.helpers.small_runs import small_config
from vtr_demo.config import CONFIGS, ModelConfig, TrainConfig, VideoConfig, read_config
from vtr_demo.errors import CheckpointError, ConfigError
from vtr_demo.model.checkpoint import RetrievalModel, described, load
from vtr_demo.structures import LEVELS
from vtr_demo.text.parser import parse_many
from vtr_demo.training.optim import global_head
from vtr_demo.training.setup import build_trainer, resolve_start
from vtr_demo.training.trainer import Trainer

OTHERS = ("a red ball sinks", "a grey cat sinks", "a ball sinks in the pond", "a ball sinks", "a ball sinks")
"""Share `ball` and `red` with the first data, and bring `sink`."""
COUNTED: dict[str, Any] = {"attribute_min_count": 1}


@pytest.fixture(scope="module")
def first(folder: Path, manifest: Path) -> Path:
    """A checkpoint of four steps, whose sliders are not where heads are born."""
    config = small_config(folder / "first", manifest, steps=4, evaluate_every=4, **COUNTED)
    model = config.model.replace(level_weights=(1.0, 0.5, 0.25, 0.125), concept_weight=0.25)
    return build_trainer(config.replace(model=model)).run()


@pytest.fixture(scope="module")
def other(folder: Path) -> Path:
    """Other clips with other words."""
    rows = []
    for i, caption in enumerate(OTHERS):
        draw_clip(folder / f"other{i}.mp4", frames=6, size=(64, 48), colours=[(40 * i, 90, 200 - 40 * i)] * 6)
        rows.append(json.dumps({"path": f"other{i}.mp4", "captions": [caption]}))
    path = folder / "other.jsonl"
    path.write_text("\n".join(rows))
    return path


def going_on(out: Path, data: Path, start: Path, **changes: Any) -> TrainConfig:
    usual: dict[str, Any] = {"start": str(start), "model": ModelConfig(), "video": VideoConfig()} | COUNTED
    return small_config(out, data, **usual | changes)


def scores(model: RetrievalModel, trainer: Trainer) -> torch.Tensor:
    """Of the run's own clips with some sentences."""
    tokens = [trainer.sampler.cache.get(item) for item in trainer.sampler.items]
    texts = model.backbone.encode_text(parse_many(["a red ball rolls", "a cat", "it sinks in the pond"]))
    with torch.no_grad():
        text = model.model.encode_text(texts)
        rows = [model.model.scores(text, model.model.encode_video(clip)) for clip in tokens]
    return torch.cat(rows, dim=1)


def test_before_the_first_step_it_ranks_as_the_checkpoint_does(first: Path, other: Path, tmp_path: Path) -> None:
    before, trainer = load(str(first)), build_trainer(going_on(tmp_path, other, first))
    trainer.model.eval()
    assert torch.equal(scores(trainer.trained(), trainer), scores(before, trainer))
    assert trainer.model.config == before.model.config  # with its sliders
    assert trainer.trained().video == before.video


def test_attributes_that_both_know_are_kept_and_the_others_begin(first: Path, other: Path, tmp_path: Path) -> None:
    before, trainer = load(str(first)), build_trainer(going_on(tmp_path, other, first))
    assert before.vocabulary is not None
    kept = begun = 0
    for level, name in enumerate(LEVELS):
        known = before.vocabulary.names[name]
        assert trainer.model.attributes is not None
        assert before.model.attributes is not None
        own, old = (m.attributes.layers[level] for m in (trainer.model, before.model))
        for row, label in enumerate(trainer.retrieval.vocabulary.names[name]):
            if label in known:
                assert own.weight[row].equal(old.weight[known.index(label)])
                assert own.bias[row].equal(old.bias[known.index(label)])
                kept += 1
            else:
                assert own.bias[row].item() == pytest.approx(-4.595)
                begun += 1
    assert kept
    assert begun


def test_cached_tokens_of_the_checkpoint_are_right_for_it(
    folder: Path, small_clip: Path, manifest: Path, other: Path
) -> None:
    """Its patches are reduced along the checkpoint's directions, not along new ones of the other data."""
    clip = f"open_clip:local-dir:{small_clip}"
    config = small_config(folder / "reduced", manifest, clip, steps=1, evaluate_every=1)
    start = build_trainer(config.replace(model=config.model.replace(reduce=8))).run()
    before, trainer = load(str(start)), build_trainer(going_on(folder / "on", other, start))
    assert trainer.model.reduction.shape[1] == 8
    assert trainer.model.reduction.equal(before.model.reduction)
    assert trainer.backbone.fingerprint == before.backbone.fingerprint


def test_towers_that_were_tuned_are_taken_over(folder: Path, manifest: Path, other: Path) -> None:
    tuned: dict[str, Any] = {"freeze_backbone": False, "backbone_lr": 1e-2, "steps": 1, "evaluate_every": 1}
    start = build_trainer(small_config(folder / "tuned", manifest, **tuned)).run()
    trainer = build_trainer(going_on(folder / "tuned on", other, start, steps=1, evaluate_every=1))
    assert trainer.backbone.fingerprint == load(str(start)).backbone.fingerprint
    assert trainer.backbone.fingerprint != load("tiny").backbone.fingerprint
    after = load(str(trainer.run()))  # frozen now, they are kept all the same
    assert after.tuned
    assert after.backbone.fingerprint == trainer.backbone.fingerprint
    assert not load("tiny").tuned


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_global_levels_share_counts_from_the_checkpoint(
    share: float, first: Path, other: Path, tmp_path: Path
) -> None:
    trainer = build_trainer(going_on(tmp_path, other, first, steps=2, learned_share=share))
    start = global_head(trainer.model)
    assert all(bool(weight.any()) for weight in start)
    trainer.train_step()
    end = global_head(trainer.model)
    with trainer.judged_weights():
        for a, b, now in zip(start, end, global_head(trainer.model), strict=True):
            torch.testing.assert_close(now, a + share * (b - a))
            assert share or now.equal(a)
            assert share != 1.0 or now.equal(b)


def test_a_run_that_goes_on_from_a_checkpoint_can_be_resumed(first: Path, other: Path, tmp_path: Path) -> None:
    whole = build_trainer(going_on(tmp_path / "whole", other, first, steps=4, learned_share=0.5))
    whole.run()
    halted = going_on(tmp_path / "halted", other, first, steps=4, learned_share=0.5)
    build_trainer(halted).run(until=2)
    again = build_trainer(halted)
    again.run()
    for (name, a), b in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert a.equal(b), name
    with whole.judged_weights(), again.judged_weights():
        assert all(a.equal(b) for a, b in zip(global_head(whole.model), global_head(again.model), strict=True))


# --------------------------------------------------------------------------- settings
def test_a_setting_that_contradicts_the_checkpoint_is_refused_by_name(first: Path, other: Path) -> None:
    shaped = load(str(first)).model.config.replace(trained=False)
    with pytest.raises(ConfigError, match=r"model\.concepts is 5, but the checkpoint .*first.* has 4"):
        resolve_start(going_on(Path("out"), other, first, model=shaped.replace(concepts=5)))
    with pytest.raises(ConfigError, match=r"model\.backbone is 'bundled'"):
        resolve_start(going_on(Path("out"), other, first, model=ModelConfig(backbone="bundled")))


def test_what_shapes_no_weight_may_be_chosen_anew(first: Path, other: Path) -> None:
    shaped = load(str(first)).model.config.replace(trained=False, dropout=0.4, concept_weight=0.1)
    found = resolve_start(
        going_on(Path("out"), other, first, model=shaped, video=VideoConfig(clip_frames=5, fit="squash"))
    )
    assert found.model == shaped.replace(trained=True)
    assert found.video == VideoConfig(clip_frames=5, fit="squash")


def test_the_bundled_checkpoint_can_be_gone_on_from_by_its_own_config_and_without_one() -> None:
    config = read_config(CONFIGS / "bundled.json", ['train=["a.jsonl"]', "start=bundled"])
    kept = described("bundled")[0].focus  # of the first words, which that config does not have
    assert resolve_start(config).model == config.model.replace(trained=True, focus=kept)
    bare = resolve_start(TrainConfig(train=("a.jsonl",), start="bundled"))
    assert bare.model == resolve_start(config).model


@pytest.mark.parametrize("start", ["tiny", "untrained:tiny", "open_clip:ViT-B-32/openai", "no/such/folder"])
def test_what_is_no_trained_checkpoint_is_refused(start: str, manifest: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{start} is no trained checkpoint; give `bundled` or a folder"):
        build_trainer(small_config(Path("out"), manifest, start=start))


def test_only_the_named_parts_learn_and_the_others_compute_as_in_use(first: Path, other: Path, tmp_path: Path) -> None:
    before = load(str(first))
    config = going_on(tmp_path, other, first, steps=2, evaluate_every=2, train_only=("concepts", "text.pools"))
    trainer = build_trainer(config.replace(model=before.model.config.replace(dropout=0.5)))
    after = load(str(trainer.run()))
    assert after.vocabulary == before.vocabulary  # the attributes' projection is not among the parts
    changed = {
        name
        for name, value in after.model.state_dict().items()
        if not torch.equal(value, before.model.state_dict()[name])
    }
    assert changed
    assert all(name.startswith(("concepts.", "text.pools.")) for name in changed)
    assert {name.split(".")[0] for name in changed} == {"concepts", "text"}
    trainer.train_step()
    clip = trainer.sampler.cache.get(trainer.sampler.items[0])
    with torch.no_grad():
        vectors = [trainer.model.forward_video(clip).levels.vectors for _ in range(2)]
    assert torch.equal(*vectors)


def test_a_part_that_cannot_be_trained_alone_is_refused(first: Path, other: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'video\.pool'.*its parts are video"):
        build_trainer(going_on(tmp_path, other, first, train_only=("video.pool",)))
    with pytest.raises(ConfigError, match="start"):
        small_config(tmp_path, other, train_only=("concepts",))


def test_new_concepts_replace_those_of_the_checkpoint_and_nothing_else(
    first: Path, other: Path, tmp_path: Path
) -> None:
    before = load(str(first))
    config = going_on(tmp_path, other, first, new_concepts=True, train_only=("concepts",))
    trainer = build_trainer(config.replace(model=ModelConfig(concepts=6)))
    assert trainer.model.config.centred_shift
    assert trainer.model.config.hidden == before.model.config.hidden
    state = trainer.model.state_dict()
    assert state["concepts.prototypes"].shape[0] == 6
    levels = {name for name in state if name.startswith(("video.", "text.", "attributes."))}
    assert all(torch.equal(state[name], before.model.state_dict()[name]) for name in levels)
    with pytest.raises(ConfigError, match="new_concepts"):
        small_config(tmp_path, other, new_concepts=True)


def test_training_without_motion_still_validates_with_it(first: Path, other: Path, tmp_path: Path) -> None:
    config = going_on(tmp_path, other, first, motion_precision="off", validation=(str(other),))
    trainer = build_trainer(config)
    assert trainer.sampler.cache.get(trainer.sampler.items[0]).motion is None
    assert trainer.validate()[0]["videos"] == len(OTHERS)
