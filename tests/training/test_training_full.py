"""Training end to end: towers that learn, teachers, averages, precision, and input that is refused."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.small_clip import save_small_clip
from tests.helpers.small_runs import small_config
from vtr_demo.backbones.registry import load_backbone
from vtr_demo.config import CONFIGS, MixtureConfig, read_config
from vtr_demo.data.benchmarks import SPLITS
from vtr_demo.data.grounding import category_words
from vtr_demo.data.sampler import EndToEndSampler, on_grid
from vtr_demo.errors import ConfigError, ManifestError
from vtr_demo.evaluation.evaluate import evaluate
from vtr_demo.model.checkpoint import load
from vtr_demo.model.mcsan import Roles
from vtr_demo.model.s2ca import Concepts
from vtr_demo.structures import VideoTokens
from vtr_demo.training.distillation import Distiller
from vtr_demo.training.optim import ROLE_RATE, exponential_average
from vtr_demo.training.run_files import CsvLogger, open_tracker
from vtr_demo.training.setup import build_trainer
from vtr_demo.training.trainer import Trainer

USAGE = ("usage video", "usage text", "usage video hard", "usage text hard")
LIVE: dict[str, Any] = {"freeze_backbone": False, "lr": 3e-3, "backbone_lr": 1e-3}


@pytest.fixture(scope="module")
def clip(small_clip: Path) -> str:
    return f"open_clip:local-dir:{small_clip}"


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    state = {f"model.{name}": value.clone() for name, value in trainer.model.state_dict().items()}
    return state | {f"backbone.{name}": v.clone() for name, v in trainer.backbone.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(second[name].equal(v) for name, v in first.items())


# --------------------------------------------------------------------------- it learns
EVERY_TERM = {
    "total", "global", "entity", "action", "relationship", "pairs", "kl", "attributes", "concepts",
    "diversity", "balance", "distill",
}  # fmt: skip


@pytest.mark.slow
def test_open_clip_learns_eight_pairs_by_heart_end_to_end_with_every_loss_on(
    sprites: str, manifest: Path, clip: str, tmp_path: Path
) -> None:
    """Right both ways afterwards and not before, and every term counts."""
    config = small_config(
        tmp_path, manifest, clip, steps=40, evaluate_every=20, checkpoint_activations=True,
        validation=(str(manifest),), batch=10, playground_clips=2, mixture=MixtureConfig(playground=0.2),
        sprites=sprites, **LIVE,
    )  # fmt: skip
    trainer = build_trainer(config)
    before, untrained = weights(trainer), trainer.validate()[0]
    best = trainer.run()
    rows = list(csv.DictReader((Path(config.out) / "log.csv").open()))
    assert all(abs(float(row[term])) > 0 for row in rows[1:] for term in EVERY_TERM)
    answer = evaluate(load(str(best)), str(manifest))
    assert answer["text_to_video"]["R@1"] == answer["video_to_text"]["R@1"] == 100
    assert min(untrained[side]["R@1"] for side in ("text_to_video", "video_to_text")) < 100
    still = {name for name, value in weights(trainer).items() if value.equal(before[name])}
    assert {name for name in still if name.startswith("backbone.")} == {"backbone.model.logit_scale"}


def test_live_tokens_start_as_the_cached_ones(manifest: Path, clip: str, tmp_path: Path) -> None:
    frozen = build_trainer(small_config(tmp_path / "a", manifest, clip))
    live = build_trainer(small_config(tmp_path / "b", manifest, clip, **LIVE))
    assert isinstance(live.sampler, EndToEndSampler)
    one, two = (t.sampler.batch(np.random.default_rng(4)) for t in (frozen, live))
    for left, right in zip(one.videos, two.videos, strict=True):
        assert torch.allclose(left.patches, right.patches, atol=2e-2, rtol=1e-3)  # the cache holds float16
        assert torch.allclose(left.summary, right.summary, atol=1e-3)
    assert torch.allclose(one.texts.words, two.texts.words, atol=2e-2, rtol=1e-3)  # float16 as well
    assert torch.allclose(one.meaning, two.meaning, atol=1e-5)
    assert two.videos[0].patches.requires_grad
    assert two.texts.words.requires_grad
    assert equal(weights(frozen), weights(live))  # the same start


def test_two_learning_rates_are_kept_apart(manifest: Path, clip: str, tmp_path: Path) -> None:
    trainer = build_trainer(small_config(tmp_path, manifest, clip, **LIVE | {"backbone_lr": 0.0, "weight_decay": 0.5}))
    before = weights(trainer)
    trainer.train_step()
    after = weights(trainer)
    moved = {name for name, value in before.items() if not value.equal(after[name])}
    assert moved
    assert not [name for name in moved if name.startswith("backbone.")]
    peaks = sorted({group["initial_lr"] for group in trainer.optimizer.param_groups})
    assert peaks == [0.0, LIVE["lr"], ROLE_RATE * LIVE["lr"]]
    roles = {id(p) for part in trainer.model.modules() if isinstance(part, Roles) for p in part.parameters()}
    quick = [g["params"] for g in trainer.optimizer.param_groups if g["initial_lr"] == peaks[-1]]
    assert {id(p) for group in quick for p in group} == roles, "roles, and nothing else, learn faster"


def test_frames_are_decoded_once_where_they_are_kept(
    manifest: Path, clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path, manifest, clip, frame_cache=str(tmp_path / "frames"), **LIVE)
    first = build_trainer(config).sampler.batch(np.random.default_rng(0))
    kept = sorted((tmp_path / "frames").rglob("*.npy"))
    assert len(kept) == 8
    kept[3].write_bytes(b"cut off")  # made anew
    monkeypatch.setattr("vtr_demo.data.cache._KEPT_BYTES", 0)
    again = build_trainer(config).sampler.batch(np.random.default_rng(0))
    assert all(a.patches.equal(b.patches) for a, b in zip(first.videos, again.videos, strict=True))


def test_concepts_are_named_by_the_captions_also_where_towers_learn(manifest: Path, clip: str, tmp_path: Path) -> None:
    """Captions that come often enough, so that a concept is named by a noun of theirs or by its category."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    many = manifest.with_name("many.jsonl")
    extra = [" ".join((row["captions"][0], "again " * k)).strip() for row in rows for k in range(1, 8)]
    rows = [{**row, "captions": [*row["captions"], *extra[i::8]]} for i, row in enumerate(rows)]
    many.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trainer = build_trainer(small_config(tmp_path, many, clip, steps=1, evaluate_every=1, **LIVE))
    captions = trainer.sampler.captions()
    assert [c.sentence.text for c in captions] == [
        *dict.fromkeys(s.text for item in trainer.sampler.items for s in item.sentences)
    ]
    names = load(str(trainer.run())).concept_names
    words = {word.lemma for caption in captions for word in caption.sentence.words}
    stands_for = {name: category_words().get(name, frozenset(name.split(" and "))) for name in names}
    assert any(words & nouns for nouns in stands_for.values()), names


# --------------------------------------------------------------------------- stopping and going on
def test_a_resumed_end_to_end_run_with_averages_is_the_uninterrupted_one(
    manifest: Path, clip: str, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"ema": 0.9, "steps": 3, "evaluate_every": 2, "batch": 4} | LIVE
    changes["validation"] = (str(manifest),)
    straight = build_trainer(small_config(tmp_path / "a", manifest, clip, **changes))
    straight.run()
    for until in (1, None):  # before the first evaluation
        torch.manual_seed(9)  # whatever happened in between
        resumed = build_trainer(small_config(tmp_path / "b", manifest, clip, **changes))
        resumed.run(until=until)
    assert equal(weights(straight), weights(resumed))
    assert straight.average is not None
    assert resumed.average is not None
    assert equal(straight.average.state_dict(), resumed.average.state_dict())
    logs = [list(csv.DictReader((tmp_path / name / "run" / "log.csv").open())) for name in "ab"]
    assert all(float(row.pop("clips/s")) > 0 for log in logs for row in log[1:])
    assert all(log[0].pop("clips/s") == "" for log in logs), "nothing was trained before the first row"
    assert logs[0] == logs[1]
    saved = [load(str(tmp_path / name / "run" / "best")) for name in "ab"]
    assert saved[0].backbone.fingerprint == saved[1].backbone.fingerprint


def test_what_is_saved_and_measured_are_the_averaged_weights(manifest: Path, tmp_path: Path) -> None:
    trainer = build_trainer(small_config(tmp_path, manifest, steps=4, evaluate_every=4, ema=0.99, lr=1e-2))
    best = load(str(trainer.run()))
    assert trainer.average is not None
    with trainer.judged_weights():
        averaged = weights(trainer)
    saved = {f"model.{name}": value for name, value in best.model.state_dict().items()}
    assert all(averaged[name].equal(value) for name, value in saved.items())
    assert not equal(averaged, weights(trainer))  # afterwards the last weights are back


def test_the_average_forgets_geometrically() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    average = exponential_average(module, decay=0.5)
    expected = float(module.weight.detach())
    for step, value in enumerate((3.0, -1.0, 2.0, 5.0) * 4, start=1):
        with torch.no_grad():
            module.weight.fill_(value)
        average.update_parameters(module)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert float(average.module.weight) == pytest.approx(expected, rel=1e-5)


# --------------------------------------------------------------------------- the teacher
def test_distillation_vanishes_where_the_teacher_is_the_student_and_nothing_is_masked() -> None:
    """As many concepts as tokens, each token alone in a concept of full width, so that the concept
    features carry the tokens; the teacher's tokens are the student's own. The distiller, which starts
    random, must learn to hand them through."""
    torch.manual_seed(0)
    count, width = 6, 12
    concepts = Concepts(width, count, width).eval()
    tokens = torch.nn.functional.normalize(torch.eye(count, width) + 0.02 * torch.randn(8, count, width), dim=-1)
    with torch.no_grad():
        concepts.prototypes.copy_(torch.eye(count, width))
        mask = torch.ones(8, count, dtype=torch.bool)
        given = concepts(tokens, mask, "video")
        whole = F.normalize(tokens.mean(1), dim=-1)
    assert (given.allocation.sum(2) == 1).all()  # one token a concept
    distiller = Distiller(width, width, width, width, mask_share=0.0)
    optimizer = torch.optim.Adam(distiller.parameters(), lr=1e-2)
    losses = []
    for _ in range(300):
        loss = distiller.token_loss(given, mask, tokens, "video") + distiller.global_loss(whole, whole, "video")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 0.5
    assert losses[-1] < 1e-2


@pytest.fixture(scope="module")
def teachers(folder: Path) -> dict[str, str]:
    """Their grids (3x4, 10x10) and widths (24 and 32, 96) differ from the student's (4x4, 20)."""
    siglip = save_small_clip(folder / "siglip", "siglip", seed=1)
    return {"tiny": "tiny", "open_clip": f"open_clip:local-dir:{siglip}"}


@pytest.mark.parametrize(("live", "kind"), [(True, "tiny"), (False, "open_clip")])
def test_any_backbone_can_teach(
    manifest: Path, clip: str, teachers: dict[str, str], tmp_path: Path, live: bool, kind: str
) -> None:
    teacher = load_backbone(teachers[kind])
    trainer = build_trainer(small_config(tmp_path, manifest, clip, teacher=teachers[kind], **(LIVE if live else {})))
    batch = trainer.sampler.batch(np.random.default_rng(0))
    assert batch.teaching is not None
    taught, own = batch.teaching.videos[0], batch.videos[0]
    assert teacher.grid != own.grid
    assert taught.grid == own.grid
    assert teacher.patch_width != own.patches.shape[3]
    assert taught.patches.shape == (*own.patches.shape[:3], teacher.patch_width)
    assert batch.teaching.texts.words.shape == (*batch.texts.words.shape[:2], teacher.joint_width)
    assert not taught.patches.requires_grad
    assert trainer.train_step()["distill"] > 0


def test_a_grid_is_resampled_as_a_picture_is() -> None:
    ramp = torch.linspace(0, 1, 4).repeat(4, 1).reshape(1, 1, 16, 1)
    tokens = VideoTokens(ramp, torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool), (4, 4))
    found = on_grid(tokens, (2, 2))
    assert found.grid == (2, 2)
    rows = found.patches[0, 0, :, 0].view(2, 2)
    assert torch.allclose(rows[0], rows[1])  # nothing changes from top to bottom
    assert float(rows[0, 0]) + float(rows[0, 1]) == pytest.approx(1.0)  # symmetric about the middle
    assert float(rows[0, 0]) < float(rows[0, 1])
    assert on_grid(tokens, (4, 4)) is tokens


# --------------------------------------------------------------------------- precision
def test_bf16_learns_about_the_same_and_its_losses_are_float32(manifest: Path, clip: str, tmp_path: Path) -> None:
    full, half = (
        build_trainer(small_config(tmp_path / name, manifest, clip, precision=name, **LIVE))
        for name in ("fp32", "bf16")
    )
    one, two = full.train_step(), half.train_step()
    assert two["total"] == pytest.approx(one["total"], rel=0.1)
    assert one["total"] != two["total"]
    assert all(p.dtype == torch.float32 for p in half.model.parameters())


# --------------------------------------------------------------------------- what is measured
def test_attributes_and_the_use_of_concepts_are_logged(manifest: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, manifest, validation=(str(manifest),))
    trainer = build_trainer(config)
    trainer.run()
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in USAGE)
    assert 0 <= float(rows[-1]["global AP head"]) <= 100
    assert "entity AP head" in trainer.validate()[0]["attributes"]


@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_a_tracker_gets_every_row_of_the_log_under_its_step(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[tuple[str, float, int]] = []
    opened: list[Any] = []
    board = nullcontext(SimpleNamespace(add_scalar=lambda name, value, step: rows.append((name, value, step))))
    run = SimpleNamespace(log=lambda row, step: rows.extend((name, value, step) for name, value in row.items()))
    stands_for = SimpleNamespace(
        SummaryWriter=lambda folder: opened.append(folder) or board,
        init=lambda **settings: opened.append(settings) or run,
    )
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: name == tracker or find(name, *rest))
    for module in ("torch.utils.tensorboard", "trackio"):
        monkeypatch.setitem(sys.modules, module, stands_for)
    book = CsvLogger(tmp_path / "log.csv", open_tracker(tracker, tmp_path, {"seed": 3}))
    assert opened == rows == []
    book.write({"step": 2, "total": 0.5})
    book.write({"step": 4, "total": 0.25, "t2v R@1": 50.0})
    if tracker == "tensorboard":
        assert set(opened) == {str(tmp_path / "tensorboard")}
    else:
        (run_settings,) = opened
        assert run_settings["name"] == tmp_path.as_posix()
        assert (run_settings["config"], run_settings["resume"]) == ({"seed": 3}, "allow")
    space = "/" if tracker == "tensorboard" else " "
    logged = [row for row in rows if row[0] != "step"]
    assert logged == [("total", 0.5, 2), ("total", 0.25, 4), (f"t2v{space}R@1", 50.0, 4)]


@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_a_tracker_that_is_not_installed_is_named_before_any_work(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == tracker else find(name, *rest))
    with pytest.raises(ConfigError, match=f"pip install {tracker}"):
        build_trainer(small_config(tmp_path, tmp_path / "none.jsonl", tracker=tracker))


def test_a_log_takes_new_columns_and_keeps_old_rows(tmp_path: Path) -> None:
    book = CsvLogger(tmp_path / "log.csv")
    for row in ({"step": 1, "a": 0.5}, {"step": 2, "a": 0.25}, {"step": 3, "b, c": 1.0}, {"step": 4, "a": 2.0}):
        book.write(row)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["a"] for row in rows] == ["0.5", "0.25", "", "2.0"]
    assert rows[2]["b, c"] == "1.0"


def test_a_held_out_share_is_validated_on_and_not_trained_on(manifest: Path, tmp_path: Path) -> None:
    trainer = build_trainer(small_config(tmp_path, manifest, hold_out=0.25, batch=6))
    trained = {item.clip.id for item in trainer.sampler.items if item.clip}
    measured = {item.clip.id for item in trainer.validation if item.clip}
    assert len(trained) == 6
    assert len(measured) == 2
    assert not trained & measured
    assert trainer.validate()[0]["videos"] == 2


# --------------------------------------------------------------------------- configs and refusals
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_config_is_sound_and_trains_on_what_it_is_named_after(path: Path) -> None:
    named = json.loads(path.read_text())["train"]
    config = read_config(path.stem, [] if named else ["train=mine.jsonl"])
    if path.stem not in ("tiny", "bundled", "clip-heads", "concepts", "yours", "first-words"):
        assert config.train == (path.stem.split(".")[0],)
        assert config.train[0] in SPLITS


def test_a_single_clip_is_refused_since_ranking_needs_a_negative(manifest: Path, tmp_path: Path) -> None:
    alone = manifest.with_name("alone.jsonl")
    alone.write_text(json.dumps({"path": "0.mp4", "captions": ["a red ball"]}))
    with pytest.raises(ManifestError, match=r"alone\.jsonl: 1 clips"):
        build_trainer(small_config(tmp_path, alone))
