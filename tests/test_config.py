"""Settings: what is unknown, of the wrong type or contradictory is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vtr_demo.config import LossConfig, ModelConfig, TrainConfig, VideoConfig, read_config
from vtr_demo.errors import ConfigError

GOOD: dict[str, Any] = {"train": ["a.jsonl"], "model": {"concepts": 8}, "loss": {"kl": 0.5}}


def test_settings_survive_a_round_trip_through_json() -> None:
    config = TrainConfig(**GOOD)
    assert (config.train, config.model.concepts, config.loss.kl) == (("a.jsonl",), 8, 0.5)
    assert TrainConfig(**json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"stepz": 3}, "stepz"),
        ({"model": {"konzepte": 3}}, "model.konzepte"),
        ({"loss": {"klon": 1}}, "loss.klon"),
        ({"model": {"allocation": "soft"}}, "model.allocation"),
        ({"steps": "many"}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"freeze_backbone": 1}, "freeze_backbone"),
        ({"model": 3}, "model"),
        ({"train": "a.jsonl"}, "train"),
        ({"train": {"a": 1}}, "train"),
        ({"precision": "int8"}, "precision"),
        ({"video": {"reader": "guess"}}, "video.reader"),
        ({"video": {"fit": "stretch"}}, "video.fit"),
        ({"attribute_sizes": [5, 5, 5, 0.5]}, "attribute_sizes"),
        ({"attribute_sizes": 512}, "attribute_sizes"),
        ({"attribute_min_count": 2.5}, "attribute_min_count"),
        ({"model": {"level_weights": [1, 1, 1, True]}}, "level_weights"),
    ],
)
def test_an_unknown_or_ill_typed_setting_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=repr(named).strip("'")):
        TrainConfig(**GOOD | values)


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (TrainConfig, {"batch": 1}, "batch"),
        (TrainConfig, {"steps": 0}, "steps"),
        (TrainConfig, {"train": []}, "playground_clips"),
        (TrainConfig, {"loss": {"grounding": 1.0}}, "loss.grounding has nothing to learn from"),
        (TrainConfig, {"playground_clips": 2, "loss": {"grounding": 1.0}}, "16 model.concepts or more, got 8"),
        (TrainConfig, {"patience": 3}, "validation"),
        (TrainConfig, {"checkpoint_activations": True}, "freeze_backbone"),
        (TrainConfig, {"tower_chunk": 8}, "freeze_backbone"),
        (TrainConfig, {"hold_global": True, "freeze_backbone": False}, "hold_global"),
        (TrainConfig, {"hold_global": True, "start": "bundled"}, "hold_global"),
        (TrainConfig, {"tracker": "wandb"}, "'tensorboard' or 'trackio'"),
        (TrainConfig, {"warmup": 1.0}, "warmup"),
        (TrainConfig, {"ema": 1.0}, "ema"),
        (TrainConfig, {"lr": 0.0}, "lr"),
        (TrainConfig, {"attribute_sizes": [512, 512, 256]}, "attribute_sizes"),
        (TrainConfig, {"attribute_sizes": [512, 512, 256, -1]}, "attribute_sizes"),
        (TrainConfig, {"attribute_sizes": [0, 0, 0, 0]}, "loss.attributes"),
        (TrainConfig, {"attribute_min_count": 0}, "attribute_min_count"),
        (TrainConfig, {"backbone_lr": 1e-5}, "backbone_lr"),
        (TrainConfig, {"freeze_backbone": False, "cache": "x"}, "cache"),
        (TrainConfig, {"frame_cache": "x"}, "frame_cache"),
        (TrainConfig, {"sprites": "x"}, "sprites"),
        (TrainConfig, {"loss": {"attributes": 0, "focal_gamma": 1.0}}, "loss.focal_gamma"),
        (TrainConfig, {"loss": {"distill": 0, "distill_mask": 0.2}}, "loss.distill_mask"),
        (TrainConfig, {"loss": {"distill": 0}, "teacher": "tiny"}, "teacher"),
        (TrainConfig, {"validation": ["b.jsonl"], "hold_out": 0.1}, "hold_out"),
        (TrainConfig, {"workers": 0, "freeze_backbone": False}, "workers"),
        (TrainConfig, {"validation_split": "val"}, "validation_split"),
        (TrainConfig, {"annotations": "official"}, "annotations has no effect while .* no benchmark"),
        (TrainConfig, {"validation": ["b.jsonl"], "videos": "c"}, "videos has no effect while .* no benchmark"),
        (TrainConfig, {"motion_precision": "bf16", "model": {"backbone": "tiny"}}, "motion_precision"),
        (ModelConfig, {"hidden": 10, "heads": 4}, "model.heads"),
        (ModelConfig, {"concepts": 0}, "model.concepts"),
        (ModelConfig, {"dropout": 1.0}, "model.dropout"),
        (LossConfig, {"total": 0.0, "levels": 0.0}, "loss.levels"),
        (LossConfig, {"kl": -0.1}, "loss.kl"),
        (LossConfig, {"scale": 0.0}, "loss.scale"),
        (LossConfig, {"distill_mask": 1.0}, "loss.distill_mask"),
        (VideoConfig, {"clip_frames": 0}, "video.clip_frames"),
        (VideoConfig, {"max_frames": 4}, "video.clip_frames"),
        (VideoConfig, {"moment_s": 0.0}, "video.moment_s"),
    ],
)
def test_a_contradiction_is_named(tmp_path: Path, kind: type, values: dict[str, Any], named: str) -> None:
    path = write(tmp_path / "c.json", json.dumps(GOOD | values))
    with pytest.raises(ConfigError, match=named):
        read_config(path) if kind is TrainConfig else kind(**values)


def test_the_nearest_known_setting_is_named_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", json.dumps(GOOD | {"stepz": 3}))
    with pytest.raises(ConfigError, match=r"c\.json: Unknown setting 'stepz'; did you mean 'steps'\?"):
        read_config(path)


def test_a_copy_with_other_values_is_validated_as_a_whole() -> None:
    config = TrainConfig(**GOOD)
    assert config.replace(steps=7).replace(steps=config.steps) == config
    with pytest.raises(ConfigError, match="patience"):
        config.replace(patience=3)
    with pytest.raises(ConfigError, match="stepz"):
        config.replace(stepz=3)


# ---------------------------------------------------------------------- files
def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_overrides_reach_nested_settings_and_notes_are_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", json.dumps(GOOD | {"_why": "a note"}))
    config = read_config(path, ["loss.kl=0.25", "model.heads=2", 'train=["b.jsonl"]', "steps=7"])
    assert (config.loss.kl, config.model.heads, config.train, config.steps) == (0.25, 2, ("b.jsonl",), 7)
    assert config.model.concepts == 8
    named = ["train=msvd,b.jsonl", "annotations=official", "videos=clips"]  # a benchmark's folders go with its name
    assert read_config(path, named).train == ("msvd", "b.jsonl")


@pytest.mark.parametrize(
    ("text", "overrides", "named"),
    [
        ("{", (), "not valid JSON"),
        ("[1]", (), "JSON object"),
        (json.dumps(GOOD), ("steps",), "key=value"),
        (json.dumps(GOOD), ("steps.x=1",), "steps"),
        (json.dumps(GOOD | {"steps": 3}), ("steps.x=1",), "steps"),
        (json.dumps(GOOD), ("loss.kl=much",), "loss.kl"),
    ],
)
def test_a_bad_file_or_override_is_refused_in_a_sentence(
    tmp_path: Path, text: str, overrides: tuple[str, ...], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        read_config(write(tmp_path / "c.json", text), overrides)


def test_a_missing_config_and_one_that_is_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json"):
        read_config(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ConfigError, match=r"b\.json"):
        read_config(tmp_path / "b.json")
