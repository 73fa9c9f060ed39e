"""Training: batches, optimiser, validation, checkpoints that resume to the same result.

A step's data and noise depend on (seed, step) alone, so a run that was stopped and resumed is the
run that was not.
"""

from __future__ import annotations

import csv
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtr_demo.attributes import Vocabulary, build_vocabulary, imbalance_report, label_matrix
from vtr_demo.backbone import Backbone, load_backbone
from vtr_demo.checkpoint import Pretrained, save
from vtr_demo.config import TrainConfig, fingerprint, to_dict
from vtr_demo.corpus import Item, load_items, playground_items
from vtr_demo.distill import Distiller
from vtr_demo.errors import BadConfig, TrainingStopped
from vtr_demo.evaluate import encode_table, report, validation_value
from vtr_demo.files import replace_file, to_json
from vtr_demo.initial import begin, fit_reduction
from vtr_demo.model import VTRModel, model_from
from vtr_demo.objective import check_finite, loss_terms
from vtr_demo.records import LEVELS
from vtr_demo.sampler import Sampler
from vtr_demo.tokens import VideoCache, encode_texts

log = logging.getLogger(__name__)
STATE, LOG, CONFIG = "state.pt", "log.csv", "config.json"
BEST = "best"
_SAMPLED_CLIPS = 512
_CONTRASTS_A_CLIP = 2


class Trainer:
    """One run. Everything is handed in by ``prepare``; ``run`` trains and saves the best checkpoint."""

    def __init__(
        self,
        config: TrainConfig,
        backbone: Backbone,
        model: VTRModel,
        vocabulary: Vocabulary,
        sampler: Sampler,
        validation: list[Item],
    ) -> None:
        self.config, self.backbone, self.model = config, backbone, model
        self.vocabulary, self.sampler, self.validation = vocabulary, sampler, validation
        self.out = Path(config.out)
        self.step, self.best, self.stale = 0, -math.inf, 0
        self.distiller = None
        if config.loss.distill:
            self.distiller = Distiller(
                model.config.concept_width,
                model.width,
                model.video.stem.in_features,
                backbone.word_width,
                config.loss.distill_mask,
            )
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config.lr)

    # ------------------------------------------------------------------ optimisation
    def _groups(self) -> list[dict[str, Any]]:
        """Weight decay on matrices alone."""
        modules: list[torch.nn.Module] = [self.model, *([self.distiller] if self.distiller else [])]
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to 2 % of the peak."""
        warm = max(1, round(self.config.warmup * self.config.steps))
        if step <= warm:
            return self.config.lr * step / warm
        done = (step - warm) / max(1, self.config.steps - warm)
        return self.config.lr * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the loss terms. NaN stops the run and leaves the weights alone."""
        self.step += 1
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.zero_grad()
        sums: dict[str, float] = {}
        for part in range(self.config.accumulate):
            batch = self.sampler.batch(np.random.default_rng([self.config.seed, self.step, part]))
            terms = loss_terms(self.model, batch, self.config.loss, self.distiller)
            bad = check_finite(terms)
            if bad:
                raise TrainingStopped(
                    f"The loss term {bad!r} is not finite at step {self.step}; {self.out} keeps the last "
                    "good checkpoint: lower lr or the weight of that term."
                )
            (torch.stack(list(terms.values())).sum() / self.config.accumulate).backward()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / self.config.accumulate
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
        self.optimizer.step()
        return sums

    # ------------------------------------------------------------------ the run
    def run(self, *, until: int | None = None) -> Path:
        """Train to ``config.steps`` (or ``until``), from the saved state where there is one."""
        from tqdm import tqdm

        self.out.mkdir(parents=True, exist_ok=True)
        self._resume()
        replace_file(self.out / CONFIG, to_json(to_dict(self.config)))
        last = min(until or self.config.steps, self.config.steps)
        sums: dict[str, float] = {}
        bar = tqdm(total=last, initial=self.step, desc="training", unit="step", disable=None)
        while self.step < last:
            for name, value in self.train_step().items():
                sums[name] = sums.get(name, 0.0) + value
            bar.update()
            if self.step % self.config.evaluate_every == 0 or self.step == last:
                count = (self.step - 1) % self.config.evaluate_every + 1
                shown = self._checkpoint({name: value / count for name, value in sums.items()})
                bar.set_postfix_str(shown)
                sums = {}
                if self.config.patience and self.stale >= self.config.patience:
                    log.info("No better validation result in %d evaluations; stopping.", self.stale)
                    break
        bar.close()
        return self.out / BEST

    def validate(self) -> dict[str, Any]:
        """Metrics on the validation items; empty without any."""
        if not self.validation:
            return {}
        table = encode_table(self.pretrained(), self.validation, self.sampler.cache)
        return report(table, self.model.training_weights, resamples=200)

    def pretrained(self) -> Pretrained:
        """The model as it stands, with what a checkpoint keeps."""
        return Pretrained(
            self.config.out,
            self.model,
            self.backbone,
            self.config.video,
            self.vocabulary,
            training={"config": to_dict(self.config), "steps": self.step},
        )

    def _checkpoint(self, losses: dict[str, float]) -> str:
        answer = self.validate()
        value = validation_value(answer) if answer else float(self.step)
        better = value > self.best
        self.best, self.stale = (value, 0) if better else (self.best, self.stale + 1)
        if better:
            save(self.out / BEST, self.pretrained())
        self._save_state()
        row: dict[str, Any] = {"step": self.step, "validation": value, **losses}
        for side, short in (("text_to_video", "t2v"), ("video_to_text", "v2t")):
            if answer:
                row |= {f"{short} {name}": answer[side][name] for name in ("R@1", "R@10", "MdR")}
        self._write_log(row)
        log.info("%s", " ".join(f"{k} {v:.3g}" for k, v in row.items()))
        return f"loss {sum(losses.values()):.2f}, validation {value:.1f}"

    def _write_log(self, row: dict[str, Any]) -> None:
        path = self.out / LOG
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    # ------------------------------------------------------------------ resuming
    def _save_state(self) -> None:
        import io

        buffer = io.BytesIO()
        torch.save(
            {
                "run": self._run_id(),
                "step": self.step,
                "best": self.best,
                "stale": self.stale,
                "model": self.model.state_dict(),
                "distiller": self.distiller.state_dict() if self.distiller else {},
                "optimizer": self.optimizer.state_dict(),
            },
            buffer,
        )
        replace_file(self.out / STATE, buffer.getvalue())

    def _run_id(self) -> str:
        return fingerprint(replace(self.config, out="", cache="", device=""), self.backbone.fingerprint)

    def _resume(self) -> None:
        path = self.out / STATE
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["run"] != self._run_id():
            raise BadConfig(
                f"{self.out} holds another run; set out=... to a new folder, or remove {path} to start over."
            )
        self.model.load_state_dict(state["model"])
        if self.distiller:
            self.distiller.load_state_dict(state["distiller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.stale = state["step"], state["best"], state["stale"]
        log.info("Resuming %s at step %d.", self.out, self.step)


def prepare(config: TrainConfig) -> Trainer:
    """Load towers and data, compute tokens, and start the model from closed forms."""
    torch.manual_seed(config.seed)
    backbone = load_backbone(config.model.backbone)
    items = load_items(config.train, "train", config)
    if config.playground_clips:
        items += playground_items(config.playground_clips, config.seed, sprites=config.sprites)
    spoken = [list(item.sentences) for item in items]
    vocabulary = build_vocabulary(spoken)
    labels = label_matrix(spoken, vocabulary)
    log.info("%s", imbalance_report(labels, vocabulary))
    model = model_from(config.model, backbone, [vocabulary.sizes[level] for level in LEVELS])
    _reduce(model, backbone, items, config)
    cache = VideoCache(
        Path(config.cache) if config.cache else None, backbone, model, config.video.clip_frames
    )
    known = {item.key for item in cache.fill(items, "training")}
    kept = [i for i, item in enumerate(items) if item.key in known]
    items = [items[i] for i in kept]
    sentences = [s for item in items for s in item.sentences]
    sentences += [s for item in items for c in item.contrasts for s in (c.true, *(f for _, f in c.false))]
    kept_labels = tuple(labels[level][kept] for level in LEVELS)
    sampler = Sampler(items, cache, encode_texts(sentences, backbone), kept_labels, config)
    validation = load_items(config.validation, config.validation_split, config) if config.validation else []
    if validation:
        validation = cache.fill(validation, "validation")
    some = items[:: max(1, len(items) // _SAMPLED_CLIPS)]
    texts = list(sampler.texts.values())
    texts = texts[:: max(1, len(texts) // 2048)]
    begin(model, [cache.get(item) for item in some], [text.tokens for text in texts], seed=config.seed)
    return Trainer(config, backbone, model, vocabulary, sampler, validation)


def _reduce(model: VTRModel, backbone: Backbone, items: list[Item], config: TrainConfig) -> None:
    """Fit the reduction on tokens of a spread of items."""
    if not model.reduction.numel():
        return
    some = items[:: max(1, len(items) // (_SAMPLED_CLIPS // 2))]
    patches = []
    for item in some:
        batch = item.frames(2, backbone.frame_size)
        with torch.no_grad():
            patches.append(backbone.encode_frames(batch.pixels).patches.flatten(0, 2))
    fit_reduction(model, torch.cat(patches))


def train(config: TrainConfig) -> Path:
    """Train by ``config``; returns the folder of the best checkpoint."""
    return prepare(config).run()
