"""Settings: what is unknown, of the wrong type or contradictory is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vtr_demo.config import LossConfig, ModelConfig, TrainConfig, VideoConfig, from_dict, read_config, to_dict
from vtr_demo.errors import ConfigError
from vtr_demo.files import fingerprint

GOOD: dict[str, Any] = {"train": ["a.jsonl"], "model": {"concepts": 8}, "loss": {"kl": 0.5}}


def test_settings_survive_a_round_trip_through_json() -> None:
    config = from_dict(TrainConfig, GOOD)
    assert (config.train, config.model.concepts, config.loss.kl) == (("a.jsonl",), 8, 0.5)
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"stepz": 3}, "stepz"),
        ({"model": {"konzepte": 3}}, "model.konzepte"),
        ({"loss": {"klon": 1}}, "loss.klon"),
        ({"steps": "many"}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"freeze_backbone": 1}, "freeze_backbone"),
        ({"model": 3}, "model"),
        ({"precision": "int8"}, "precision"),
        ({"loss": {"ranking": "guess"}}, "loss.ranking"),
        ({"video": {"fit": "stretch"}}, "video.fit"),
        ({"attribute_sizes": [5, 5, 5, 0.5]}, "attribute_sizes"),
        ({"attribute_sizes": 512}, "attribute_sizes"),
        ({"attribute_min_count": 2.5}, "attribute_min_count"),
        ({"model": {"level_weights": [1, 1, 1, True]}}, "level_weights"),
    ],
)
def test_an_unknown_or_ill_typed_setting_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=repr(named).strip("'")):
        from_dict(TrainConfig, GOOD | values)


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (TrainConfig, {"batch": 1}, "batch"),
        (TrainConfig, {"steps": 0}, "steps"),
        (TrainConfig, {"train": []}, "playground_clips"),
        (TrainConfig, {"patience": 3}, "validation"),
        (TrainConfig, {"checkpoint_activations": True}, "freeze_backbone"),
        (TrainConfig, {"warmup": 1.0}, "warmup"),
        (TrainConfig, {"ema": 1.0}, "ema"),
        (TrainConfig, {"lr": 0.0}, "lr"),
        (TrainConfig, {"attribute_sizes": [512, 512, 256]}, "attribute_sizes"),
        (TrainConfig, {"attribute_sizes": [512, 512, 256, -1]}, "attribute_sizes"),
        (TrainConfig, {"attribute_sizes": [0, 0, 0, 0]}, "loss.attributes"),
        (TrainConfig, {"attribute_min_count": 0}, "attribute_min_count"),
        (ModelConfig, {"hidden": 10, "heads": 4}, "model.heads"),
        (ModelConfig, {"concepts": 0}, "model.concepts"),
        (ModelConfig, {"dropout": 1.0}, "model.dropout"),
        (LossConfig, {"total": 0.0, "levels": 0.0}, "loss.levels"),
        (LossConfig, {"kl": -0.1}, "loss.kl"),
        (LossConfig, {"scale": 0.0}, "loss.scale"),
        (LossConfig, {"ranking": "hinge"}, "loss.soft_temperature"),
        (LossConfig, {"distill_mask": 1.0}, "loss.distill_mask"),
        (VideoConfig, {"clip_frames": 0}, "video.clip_frames"),
        (VideoConfig, {"max_frames": 4}, "video.clip_frames"),
        (VideoConfig, {"moment_s": 0.0}, "video.moment_s"),
    ],
)
def test_a_contradiction_is_named(kind: type, values: dict[str, Any], named: str) -> None:
    base = GOOD if kind is TrainConfig else {}
    with pytest.raises(ConfigError, match=named):
        from_dict(kind, {**base, **values})


def test_equal_settings_have_equal_fingerprints_and_others_not() -> None:
    assert fingerprint(ModelConfig(), "x") == fingerprint(ModelConfig(), "x")
    others = {
        fingerprint(ModelConfig()),
        fingerprint(ModelConfig(concepts=9)),
        fingerprint(VideoConfig()),
        "",
    }
    assert len(others) == 4


# ---------------------------------------------------------------------- files
def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_overrides_reach_nested_settings_and_notes_are_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", json.dumps(GOOD | {"_why": "a note"}))
    config = read_config(path, ["loss.kl=0.25", "model.allocation=soft", 'train=["b.jsonl"]', "steps=7"])
    assert (config.loss.kl, config.model.allocation, config.train, config.steps) == (
        0.25,
        "soft",
        ("b.jsonl",),
        7,
    )
    assert config.model.concepts == 8


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


@pytest.mark.parametrize("value", ["a.jsonl", 3, {"a": 1}])
def test_a_list_that_is_no_list_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigError, match="train"):
        from_dict(TrainConfig, {"train": value})
