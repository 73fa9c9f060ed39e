"""Ablations: what differs is what the name says, differences are paired, runs resume."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.small_runs import draw_sprites, eight_pairs, small_config
from vtr_demo.ablation import FULL, VARIANTS, changed, measure, run_ablations, summary
from vtr_demo.config import TrainConfig
from vtr_demo.errors import BadConfig
from vtr_demo.records import LEVELS
from vtr_demo.schema import to_dict
from vtr_demo.tokens import text_tokens
from vtr_demo.train import prepare


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("ablation")
    manifest = eight_pairs(folder / "clips", frames=4)
    shown = (str(manifest),)
    return small_config(folder, manifest, steps=2, evaluate_every=2, validation=shown)


def flat(values: dict[str, object]) -> dict[str, object]:
    return {
        f"{section}.{key}": value
        for section in ("model", "loss")
        for key, value in values[section].items()  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_its_own_settings_and_no_other(config: TrainConfig, name: str) -> None:
    before, after = to_dict(config), to_dict(changed(config, name))
    named = {f"{part}.{key}": value for part, row in VARIANTS[name].items() for key, value in row.items()}
    assert {key: value for key, value in flat(after).items() if flat(before)[key] != value}.items() <= (
        named.items()
    )
    assert all(flat(after)[key] == value for key, value in named.items())
    assert {k: v for k, v in before.items() if k not in ("model", "loss")} == (
        {k: v for k, v in after.items() if k not in ("model", "loss")}
    )


def test_every_variant_is_trained_measured_and_compared_with_the_full_model(config: TrainConfig) -> None:
    answer = run_ablations(config, variants=["no KL constraint", "K = 8"], seeds=2, unseen_clips=0)
    assert list(answer["runs"]) == [FULL, "no KL constraint", "K = 8"]
    assert all(len(runs) == 2 for runs in answer["runs"].values())
    for tests in answer["summary"][FULL].values():
        assert all(row["difference"] == 0 and row["interval_95"] == [0, 0] for row in tests.values())
    saved = sorted(path.parent.parent.name for path in Path(config.out).glob("*/*/config.json"))
    assert saved == ["full_model"] * 2 + ["k_8"] * 2 + ["no_kl_constraint"] * 2
    again = run_ablations(config, variants=["no KL constraint", "K = 8"], seeds=2, unseen_clips=0)
    assert again["runs"] == answer["runs"], "finished runs are read back, not trained again"


def test_a_variant_that_is_the_config_already_is_not_trained_twice(config: TrainConfig) -> None:
    answer = run_ablations(config, variants=["K = 4"], seeds=1, unseen_clips=0)
    assert answer["runs"]["K = 4"] == answer["runs"][FULL]
    assert not (Path(config.out) / "k_4").exists()
    assert answer["summary"]["K = 4"]["validation, video"]["mean"]["interval_95"] is None, "one seed"


def test_unseen_combinations_are_a_test_of_their_own(config: TrainConfig, tmp_path: Path) -> None:
    sprites = draw_sprites(tmp_path / "sprites")
    config = replace(config, out=str(tmp_path / "run"), sprites=str(sprites), playground_clips=4)
    answer = run_ablations(config, variants=[], seeds=1, unseen_clips=3)
    assert answer["sizes"]["playground, unseen combinations"] == 3
    found = answer["runs"][FULL][0]["playground, unseen combinations"]
    assert all(0 <= value <= 100 for value in found.values())


def naive_precision(scores: list[float], held: list[bool]) -> float:
    """The mean, over the clips that hold the attribute, of the share of holders down to each of them."""
    ranked = [holds for _, holds in sorted(zip(scores, held, strict=True), reverse=True)]
    shares = [sum(ranked[: i + 1]) / (i + 1) for i, holds in enumerate(ranked) if holds]
    return 100 * sum(shares) / len(shares)


def test_attributes_are_measured_at_the_head_and_at_the_tail(config: TrainConfig, tmp_path: Path) -> None:
    trainer = prepare(replace(config, out=str(tmp_path), attribute_min_count=1))
    trainer.run()
    items, model, vocabulary = trainer.validation, trainer.model.eval(), trainer.vocabulary
    spoken = text_tokens([s for item in items for s in item.sentences], trainer.backbone)
    row = measure(trainer, {"shown": items}, spoken)["shown"]
    assert model.attributes is not None
    with torch.no_grad():
        seen = [model.encode_video(trainer.sampler.cache.get(item)).levels for item in items]
        logits = [model.attributes(levels, "video") for levels in seen]
    for place, level in enumerate(LEVELS):
        names = vocabulary.names[level]  # the most frequent first, and all of them occur in the test
        held = [[any(name in s.labels.get(level, ()) for s in i.sentences) for i in items] for name in names]
        scores = [[float(clip[place][0, k]) for clip in logits] for k in range(len(names))]
        found = [naive_precision(*column) for column in zip(scores, held, strict=True)]
        cut = math.ceil(len(names) / 5)
        assert row[f"{level} AP head"] == pytest.approx(sum(found[:cut]) / cut)
        assert row[f"{level} AP tail"] == pytest.approx(sum(found[cut:]) / (len(found) - cut))


def test_focal_and_plain_cross_entropy_are_compared_by_the_precision_of_attributes(
    config: TrainConfig,
) -> None:
    answer = run_ablations(config, variants=["BCE instead of focal BCE"], seeds=1, unseen_clips=0)
    rows = answer["summary"]["BCE instead of focal BCE"]["validation, video"]
    full = answer["runs"][FULL][0]["validation, video"]
    plain = answer["runs"]["BCE instead of focal BCE"][0]["validation, video"]
    assert {"global AP head", "global AP tail", "action AP head"} <= set(rows)
    for name, found in rows.items():
        assert found["difference"] == pytest.approx(plain[name] - full[name]), name


def test_differences_are_paired_by_seed() -> None:
    def run(value: float) -> dict[str, dict[str, float]]:
        return {"test": {"mean": value}}

    found = summary({FULL: [run(10.0), run(30.0), run(50.0)], "less": [run(9.0), run(29.0), run(49.0)]})
    row = found["less"]["test"]["mean"]
    assert row["value"] == pytest.approx(29.0)
    assert row["difference"] == pytest.approx(-1.0)
    assert row["interval_95"] == pytest.approx([-1.0, -1.0]), "the seeds' own spread does not count"
    wide = summary({FULL: [run(0.0), run(0.0)], "less": [run(0.0), run(2.0)]})["less"]["test"]["mean"]
    assert wide["interval_95"] == pytest.approx([1 - 12.706, 1 + 12.706], abs=1e-3), "t with one degree"


def test_what_cannot_be_ablated_is_said_in_a_sentence(config: TrainConfig) -> None:
    with pytest.raises(BadConfig, match="no such part"):
        run_ablations(config, variants=["no such part"])
    with pytest.raises(BadConfig, match="freeze_backbone"):
        run_ablations(replace(config, freeze_backbone=False))
    with pytest.raises(BadConfig, match="nothing to measure"):
        run_ablations(replace(config, validation=()), seeds=1, unseen_clips=0)
