"""Ablations: what differs is what the name says, differences are paired, runs resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.small_runs import draw_sprites, eight_pairs, small_config
from vtr_demo.ablation import FULL, VARIANTS, changed, run_ablations, summary
from vtr_demo.config import TrainConfig
from vtr_demo.errors import BadConfig
from vtr_demo.schema import to_dict


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
