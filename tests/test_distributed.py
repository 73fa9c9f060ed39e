"""Several processes train as one: the same gradients, disjoint clips, one writer."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.small_clip import save_small_clip
from tests.helpers.small_runs import EVERY_LOSS, eight_pairs, small_config
from tests.helpers.sprites import draw_sprites
from vtr_demo import distributed
from vtr_demo.backbones.registry import load_backbone
from vtr_demo.config import MixtureConfig, TrainConfig
from vtr_demo.data import captions as captions_module
from vtr_demo.errors import ConfigError, TrainingError
from vtr_demo.model import checkpoint
from vtr_demo.structures import Sentence, TextTokens
from vtr_demo.text.parser import parse_many
from vtr_demo.training.setup import build_trainer
from vtr_demo.training.trainer import Trainer

pytestmark = pytest.mark.slow
WORLD = 2
TEXTS = ("a dog runs", "snow", "two cats sleep on a red sofa", "a man sings a song", "rain falls")


def quiet(logits: Tensor, tau: float = 1.0, hard: bool = False, dim: int = -1) -> Tensor:
    """Gumbel-softmax without its noise: processes draw different noise, which is no error."""
    soft = (logits / tau).softmax(dim)
    held = torch.zeros_like(soft).scatter_(dim, soft.argmax(dim, keepdim=True), 1.0)
    return held - soft.detach() + soft


def configs(folder: Path, ranks: int) -> dict[str, TrainConfig]:
    """Frozen heads with minimal pairs, and open_clip towers that learn; a joint batch of eight clips."""
    manifest = folder / "clips" / "manifest.jsonl"
    shared: dict[str, Any] = {
        "batch": 8 // ranks,
        "clip_norm": 1e9,
        "out": str(folder / f"run{ranks}"),
        "loss": EVERY_LOSS.replace(distill_mask=0.0, soft_temperature=0.1),
    }
    frozen = small_config(
        folder, manifest, playground_clips=4, sprites=str(folder / "sprites"),
        mixture=MixtureConfig(playground=0.25), cache=str(folder / f"cache{ranks}"), **shared,
    )  # fmt: skip
    clip = f"open_clip:local-dir:{folder / 'clip'}"
    live = small_config(
        folder, manifest, clip, freeze_backbone=False, checkpoint_activations=True, tower_chunk=2, lr=1e-3,
        backbone_lr=1e-3, validation=(str(manifest),), steps=3, evaluate_every=2, ema=0.9, **shared,
    )  # fmt: skip
    return {"frozen": frozen, "live": live}


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    modules = {"model": trainer.model, "distiller": trainer.computed.distiller, "towers": trainer.towers}
    return {
        f"{where}.{name}": parameter.grad.clone()
        for where, module in modules.items()
        if module is not None
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def one_step(config: TrainConfig) -> dict[str, Any]:
    trainer = build_trainer(config)
    chosen = trainer.sampler.draw(np.random.default_rng(7)).items
    terms = trainer.train_step()
    return {"gradients": gradients(trainer), "terms": terms, "chosen": torch.tensor(chosen)}


def some_texts() -> tuple[dict[str, TextTokens], int]:
    """The tokens of five sentences, two at a time, and how many of them this process encoded."""
    tower, encoded = load_backbone("tiny", "cpu"), []
    plain = tower.encode_text

    def counted(sentences: Sequence[Sentence]) -> TextTokens:
        encoded.extend(sentences)
        return plain(sentences)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tower, "encode_text", counted)
        patch.setattr(captions_module, "_CHUNK", 2)
        found = captions_module.text_tokens(parse_many(TEXTS), tower, divided=True)
    return found, len(encoded)


def work(rank: int, folder: str) -> None:
    """What each process does; the answers go into files."""
    torch.set_num_threads(1)
    F.gumbel_softmax = quiet
    home = Path(folder)
    torch.distributed.init_process_group("gloo", init_method=f"file://{home / 'meeting'}", rank=rank, world_size=WORLD)
    answers: dict[str, Any] = {name: one_step(config) for name, config in configs(home, WORLD).items()}
    answers["texts"] = some_texts()
    trainer = build_trainer(configs(home, WORLD)["live"])
    trainer.run()
    answers["weights"] = trainer.model.state_dict()
    answers["best"] = (trainer.progress.best, trainer.progress.stale, trainer.progress.step)
    broken = build_trainer(configs(home, WORLD)["frozen"].replace(out=str(home / "broken")))
    if rank == 1:
        with torch.no_grad():
            broken.sampler.labels[0].fill_(float("nan"))
            broken.sampler.texts = {
                text: replace(value, meaning=value.meaning * float("nan"))
                for text, value in broken.sampler.texts.items()
            }
    try:
        broken.run()
    except TrainingError as error:
        answers["stopped"] = str(error)
    torch.save(answers, home / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ranks")
    eight_pairs(folder / "clips")
    draw_sprites(folder / "sprites")
    save_small_clip(folder / "clip")
    mp.spawn(work, args=(str(folder),), nprocs=WORLD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "gumbel_softmax", quiet)
        alone = {name: one_step(config) for name, config in configs(folder, 1).items()}
    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(WORLD)]
    return {"alone": alone, "ranks": ranks, "folder": folder}


@pytest.mark.parametrize("kind", ["frozen", "live"])
def test_two_processes_give_the_terms_and_gradients_of_one_with_the_joined_batch(
    answers: dict[str, Any], kind: str
) -> None:
    alone, ranks = answers["alone"][kind], [rank[kind] for rank in answers["ranks"]]
    assert len(alone["gradients"]) > 50
    for rank in ranks:
        assert rank["gradients"].keys() == alone["gradients"].keys()
        for name, value in alone["gradients"].items():
            assert float((rank["gradients"][name] - value).abs().max()) <= 1e-5 * max(1.0, float(value.abs().max())), (
                name
            )
    assert kind == "live" or alone["terms"]["pairs"] > 0
    for name, value in alone["terms"].items():
        assert np.mean([rank["terms"][name] for rank in ranks]) == pytest.approx(value, rel=1e-4, abs=1e-6), name
    first, second = (rank["chosen"].tolist() for rank in ranks)
    assert len(first) == len(second) == 4
    assert sorted(first + second) == sorted(alone["chosen"].tolist()), "the parts are disjoint"


def test_each_rank_encodes_its_part_of_the_sentences_and_all_get_the_tokens_of_one(answers: dict[str, Any]) -> None:
    alone, count = some_texts()
    assert count == len(alone) == len(TEXTS)
    assert sorted(rank["texts"][1] for rank in answers["ranks"]) == [2, 3]
    for rank in answers["ranks"]:
        found = rank["texts"][0]
        assert [*found] == [*alone]
        for text, value in alone.items():
            assert torch.allclose(found[text].words, value.words, atol=1e-6)
            assert torch.equal(found[text].level_mask, value.level_mask)
            assert torch.allclose(found[text].pool, value.pool)


def test_ranks_hold_the_same_weights_after_a_run_and_one_of_them_writes(answers: dict[str, Any]) -> None:
    first, second = answers["ranks"]
    assert all(second["weights"][name].equal(value) for name, value in first["weights"].items())
    assert first["best"] == second["best"]
    run = answers["folder"] / f"run{WORLD}"
    assert [row["step"] for row in csv.DictReader((run / "log.csv").open())] == ["0", "2", "3"]
    assert (run / "best" / "checkpoint.json").is_file()


def test_nan_on_one_rank_stops_all(answers: dict[str, Any]) -> None:
    assert all("not finite at step 1" in rank["stopped"] for rank in answers["ranks"])


@pytest.mark.parametrize("name", ["cuda", "cuda:9", "gpu", "", "cuda:-1", "cpu:0"])
def test_a_device_that_is_not_there_is_one_sentence(name):
    if name == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="choose auto"):
        distributed.resolve_device(name)


def test_a_model_is_loaded_where_it_is_wanted():
    assert distributed.resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="choose auto"):
        checkpoint.load("tiny", "gpu")
    assert next(checkpoint.load("tiny", "auto").model.parameters()).device == distributed.resolve_device("auto")
