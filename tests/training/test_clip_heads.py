"""Heads over a frozen open_clip model: the run starts as that model ranks, keeps its score, and is never worse."""

from __future__ import annotations

import csv
import shlex
from html import unescape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.helpers.drawn import moving_square_clip
from tests.helpers.small_runs import small_config
from vtr_demo import cli
from vtr_demo.backbones.registry import load_backbone
from vtr_demo.config import ModelConfig, SharedConfig, TrainConfig, read_config
from vtr_demo.data.dataset import Sample
from vtr_demo.evaluation.evaluate import encode_table, token_cache
from vtr_demo.library.engine import Engine
from vtr_demo.model.checkpoint import RetrievalModel, load
from vtr_demo.structures import TermWeights
from vtr_demo.training.setup import build_trainer
from vtr_demo.training.trainer import score_value
from vtr_demo.ui.state import concept_gallery, library_parts
from vtr_demo.ui.view import ViewState
from vtr_demo.ui.visitors import VisitorEngine

ALONE = TermWeights(1.0, 0.0, 0.0, 0.0, 0.0)
SMALL = (
    "playground_clips=4", "playground_encounters=2", "playground_neighbours=2", "playground_stills=8",
    "playground_validation=10", "grounding_captions=12", "video.clip_frames=3", "model.hidden=16", "batch=8",
    "steps=4", "evaluate_every=2", "lr=0.03", "cache=", "workers=1", "device=cpu",
)  # fmt: skip


class Run(NamedTuple):
    """A finished run: its towers' SPEC, its validation clips, the start and the best checkpoint, its log."""

    spec: str
    validation: list[Sample]
    start: RetrievalModel
    best: RetrievalModel
    log: list[dict[str, str]]


@pytest.fixture(scope="module")
def run(small_clip: Path, sprites: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What ``train --config clip-heads --set model.backbone=...`` does, on few clips and far too hard."""
    folder = tmp_path_factory.mktemp("heads")
    spec = f"open_clip:local-dir:{small_clip}"
    places = (f"model.backbone={spec}", f"out={folder / 'run'}", f"sprites={sprites}")
    trainer = build_trainer(read_config("clip-heads", [*SMALL, *places]))
    config = trainer.options.record["model"]
    assert (config["backbone"], config["level_weights"], config["concept_weight"]) == (spec, (1, 0, 0, 0), 0)
    start = load(str(trainer.run(until=0)))
    best = trainer.run()
    log = list(csv.DictReader((folder / "run" / "log.csv").open()))
    return Run(spec, trainer.validation, start, load(str(best)), log)


def clip_scores(spec: str, items: list[Sample], texts: list[str]) -> Tensor:
    """CLIP4Clip's meanP by open_clip's own functions, (texts, clips)."""
    towers = load_backbone(spec)
    videos = []
    with torch.no_grad():
        for item in items:
            pixels = towers._prepared(torch.from_numpy(item.frames(3, towers.frame_size).pixels.copy()))
            videos.append(normalize(towers.model.encode_image(pixels, normalize=True).mean(0), dim=-1))
        sentences = towers.model.encode_text(towers.tokenizer(texts), normalize=True)
    return sentences @ torch.stack(videos).T


def table_of(trained: RetrievalModel, items: list[Sample]):
    return encode_table(trained, items, token_cache(trained, None))


def sentences(items: list[Sample]) -> list[str]:
    return list(dict.fromkeys(s.text for item in items for s in item.sentences))


def test_before_the_first_step_it_serves_the_score_of_clip(run: Run) -> None:
    assert run.start.model.default_weights == ALONE
    table = table_of(run.start, run.validation)
    own = clip_scores(run.spec, run.validation, sentences(run.validation))
    scores = run.start.model.scores(table.texts, table.videos)
    assert torch.allclose(scores, own, atol=2e-3)  # cached tokens are float16
    assert float(run.log[0]["validation"]) == pytest.approx(score_value(table, ALONE))
    assert [int(row["step"]) for row in run.log] == [0, 2, 4]


def test_the_global_level_is_clip_however_the_others_train(run: Run) -> None:
    before, after = table_of(run.start, run.validation), table_of(run.best, run.validation)
    assert after.texts.levels[:, 0].equal(before.texts.levels[:, 0])
    assert after.videos.levels[:, 0].equal(before.videos.levels[:, 0])
    for level in (1, 2, 3):
        for side in ("texts", "videos"):
            vectors = [getattr(table, side).levels[:, level] for table in (before, after)]
            assert not torch.allclose(*vectors, atol=1e-2), (level, side)
    prototypes = [trained.model.concepts.prototypes for trained in (run.start, run.best)]
    assert not torch.allclose(*prototypes, atol=1e-3)


def test_the_best_checkpoint_is_no_worse_on_validation_than_clip(run: Run) -> None:
    table = table_of(run.best, run.validation)
    values = [float(row["validation"]) for row in run.log]
    assert score_value(table, run.best.model.default_weights) == pytest.approx(max(values))
    assert min(values) == values[0] == pytest.approx(score_value(table, ALONE))
    assert run.best.training["steps"] > 0, "at equal recall the trained heads are kept"


@pytest.mark.usefixtures("few_null_captions")
def test_the_checkpoint_opens_in_the_page_and_explains_by_every_term(run: Run, tmp_path: Path) -> None:
    from vtr_demo.ui.page import build_page

    moving_square_clip(tmp_path / "square.mp4", frames=8)
    engine = Engine.open(tmp_path / "library", run.best.spec)
    engine.add([tmp_path / "square.mp4"])
    (hit,) = engine.search("a red square moves", weights=TermWeights(1.0, 0.5, 0.5, 0.5, 0.5)).hits
    alignment = engine.explain("a red square moves", hit, weights=TermWeights(1.0, 0.5, 0.5, 0.5, 0.5)).alignment
    assert np.isclose(alignment.all_terms().sum(), hit.score, atol=1e-4)
    assert engine.status().train_command == ""
    assert not any("untrained" in part for part in library_parts(engine))
    build_page(engine)
    engine.close()


@pytest.mark.usefixtures("few_null_captions")
def test_an_untrained_model_says_what_is_missing_and_the_command_that_trains_it(
    small_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = f"open_clip:local-dir:{small_clip}"
    engine = Engine.open(tmp_path / "library", spec)
    page = [unescape(part) for part in [*library_parts(engine), concept_gallery(engine, ViewState(), True)]]
    command = engine.status().train_command
    assert all(command in part for part in page)
    strangers = VisitorEngine(engine, SharedConfig(), lambda: "someone")
    assert any("are untrained" in part for part in library_parts(strangers))
    assert not any(str(small_clip) in part and "train --config" in part for part in library_parts(strangers))
    engine.close()
    program, module, name, *options = shlex.split(command)
    assert (program, module, name) == ("python", "-m", "vtr_demo")
    started: list[TrainConfig] = []
    monkeypatch.setattr("vtr_demo.training.setup.train", lambda config: started.append(config) or tmp_path)
    assert cli.main(options) == 0
    assert started[0].model.backbone == spec
    assert started[0].hold_global


def test_a_run_that_fine_tunes_clip_starts_as_clip(small_clip: Path, manifest: Path, tmp_path: Path) -> None:
    """As the benchmarks' configs do."""
    spec = f"open_clip:local-dir:{small_clip}"
    model = ModelConfig(backbone=spec, hidden=16, heads=2, concepts=4, concept_width=8,
                        level_weights=(1.0, 0.0, 0.0, 0.0), concept_weight=0.0)  # fmt: skip
    trainer = build_trainer(small_config(tmp_path, manifest, spec, model=model, freeze_backbone=False))
    items = trainer.sampler.items
    own = clip_scores(spec, items, sentences(items))
    table = encode_table(trainer.trained(), items, trainer.sampler.cache)
    assert torch.allclose(trainer.model.scores(table.texts, table.videos), own, atol=2e-3)


def test_where_training_makes_it_worse_the_start_is_kept(manifest: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, manifest, steps=4, evaluate_every=1, lr=0.3, validation=(str(manifest),))
    trainer = build_trainer(config.replace(model=config.model.replace(level_weights=(1.0, 0.0, 0.0, 0.0))))
    with torch.no_grad():  # as good a start as there can be
        table = encode_table(trainer.trained(), trainer.validation, trainer.validation_tokens)
        directions = torch.linalg.lstsq(table.videos.levels[:, 0], table.texts.levels[:, 0]).solution.T
        trainer.model.video.pools.pools()[0].value_base.weight.copy_(directions)
    best = load(str(trainer.run()))
    rows = [float(row["validation"]) for row in csv.DictReader((tmp_path / "run" / "log.csv").open())]
    assert rows[0] == max(rows) > min(rows)
    table = encode_table(best, trainer.validation, token_cache(best, None))
    assert score_value(table, best.model.default_weights) == pytest.approx(rows[0])
