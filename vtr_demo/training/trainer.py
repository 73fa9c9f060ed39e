"""The training loop: steps, validation, checkpoints, and a log; one process or several under torchrun.

A step's data and noise depend on (seed, step, rank) alone, so a run that was stopped and resumed equals one
that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone
from vtr_demo.config import LossConfig
from vtr_demo.data.cache import Videos
from vtr_demo.data.captions import text_tokens
from vtr_demo.data.dataset import Sample
from vtr_demo.data.sampler import Sampler
from vtr_demo.errors import TrainingError
from vtr_demo.evaluation.evaluate import attribute_precision, concept_usage, encode_table, validation_value
from vtr_demo.evaluation.metrics import Scored, ranks_of, report, summarize
from vtr_demo.files import json_bytes, replace_file
from vtr_demo.model.checkpoint import RetrievalModel, save
from vtr_demo.model.model import VTRModel
from vtr_demo.structures import TERMS, TermWeights, TextTokens
from vtr_demo.training.concept_names import name_concepts, naming_data
from vtr_demo.training.distillation import Distiller
from vtr_demo.training.frozen import FrozenLevels
from vtr_demo.training.objective import Heads, autocast, check_finite, loss_terms
from vtr_demo.training.optim import global_head, holding, training_mode, wise_ft
from vtr_demo.training.run_files import CsvLogger, RunState, Track

log = logging.getLogger(__name__)
LOG, CONFIG, MISSING, BEST = "log.csv", "config.json", "missing.txt", "best"
_RANK_STRIDE = 999_983  # ranks draw different noise for the heads
_USAGE_STEP = 2**31  # seeds the batch on which the use of concepts is measured
GRID = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Values tried for the weight of each term beside the global one."""
ROUNDS = 2
"""Passes over the terms."""


class TrainingStep(nn.Module):
    """The forward pass of one step: all learning weights in one module, as DistributedDataParallel needs.

    ``precision``: half type of the heads' (and learning towers') autocast, None for float32.
    """

    def __init__(
        self,
        model: VTRModel,
        distiller: Distiller | None,
        towers: Backbone | None,
        loss: LossConfig,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.model, self.distiller, self.towers, self.loss = model, distiller, towers, loss
        self.start = deepcopy(model.text).eval().requires_grad_(False) if loss.anchor else None
        self.heads = Heads(model, precision, FrozenLevels(model))

    def forward(self, sampler: Sampler, rng: np.random.Generator, done: float) -> dict[str, Tensor]:
        """Return the loss terms of a batch drawn by ``sampler``; ``done`` is the share of training so far."""
        device = next(self.model.parameters()).device
        with autocast(device, self.heads.precision if self.towers is not None else None):
            batch = sampler.batch(rng, done).to(device)
        return loss_terms(self.heads, batch, self.loss, self.distiller, self.start)


@dataclass(frozen=True)
class RunOptions:
    """Plain values of a run.

    out: folder of its files. clips: those of one step, of all processes. learned_share: WiSE-FT
    coefficient. keep_towers: checkpoints hold the towers. record: the settings as they are written beside the
    log and into checkpoints. missing: lines that name absent videos. start: the training of the checkpoint
    that this run changes in parts.
    """

    out: Path
    seed: int
    steps: int
    clips: int
    evaluate_every: int
    save_every: int
    patience: int
    clip_norm: float
    learned_share: float
    keep_towers: bool
    record: Mapping[str, Any]
    missing: tuple[str, ...] = ()
    start: Mapping[str, Any] | None = None


@dataclass
class Progress:
    """Counters of a run: steps taken, best validation value and its step, evaluations since, sums of loss terms.

    Sums, and the seconds that steps took, are those since the last evaluation.
    """

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    stale: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Trainer:
    """One training run over the objects of ``setup.build_trainer``; ``run`` trains and saves the best.

    retrieval: the model that the run trains, as it is saved. computed: a step's forward pass over it.
    validation_tokens: of the ``validation`` items. average: the EMA of ``averaged_modules``.
    """

    options: RunOptions
    retrieval: RetrievalModel
    computed: TrainingStep
    sampler: Sampler
    validation: list[Sample]
    validation_tokens: Videos
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    average: AveragedModel | None
    state: RunState
    track: Track | None = None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.model, self.backbone = self.retrieval.model, self.retrieval.backbone
        self.towers, self.out = self.computed.towers, self.options.out
        self._global_start = global_head(self.model)
        self._logger = CsvLogger(self.out / LOG, self.track)
        self.training_step: nn.Module = self.computed
        if distributed.world() > 1:
            device = next(self.model.parameters()).device
            self.training_step = nn.parallel.DistributedDataParallel(
                self.computed, device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True
            )

    # ------------------------------------------------------------------ one step
    def train_step(self) -> dict[str, float]:
        """Take one optimiser step and return its loss terms.

        Raises TrainingError, and leaves the weights alone, where a term or the gradient is not finite.
        """
        self.progress.step += 1
        step, steps = self.progress.step, self.options.steps
        torch.manual_seed(self.options.seed * 1_000_003 + step + _RANK_STRIDE * distributed.rank())
        training_mode(self.model)
        self.backbone.train()
        self.optimizer.zero_grad()
        if step < steps:
            self.sampler.prefetch(self.rng(step + 1), (step + 1) / steps)
        terms = self.training_step(self.sampler, self.rng(step), step / steps)
        values = torch.stack(list(terms.values()))
        values.sum().backward()
        # After backward(), so that the GPU has all its work before Python waits.
        if bad := check_finite(terms):
            raise self._not_finite(f"The loss term {bad!r}")
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if not torch.isfinite(nn.utils.clip_grad_norm_(parameters, self.options.clip_norm)):
            raise self._not_finite("The gradient")
        self.optimizer.step()
        self.scheduler.step()
        if self.average:
            self.average.update_parameters(averaged_modules(self.model, self.towers))
        return dict(zip(terms, values.tolist(), strict=True))

    def rng(self, step: int) -> np.random.Generator:
        """Return the generator of a step's batch."""
        return np.random.default_rng([self.options.seed, step, 0])

    def _not_finite(self, what: str) -> TrainingError:
        best = self.out / BEST
        kept = f"{best} keeps the last good checkpoint; " if best.exists() else ""
        return TrainingError(
            f"{what} is not finite at step {self.progress.step}; {kept}start again in a new `out` with a "
            "lower lr or a lower weight of the loss terms at fault."
        )

    # ------------------------------------------------------------------ the run
    def run(self, *, until: int | None = None) -> Path:
        """Train to the last step (or ``until``), from the saved state if there is one.

        Evaluates every ``evaluate_every`` steps and at the end, and before the first where there are validation
        data, so that the best checkpoint is never worse than the start; returns its folder.
        """
        self.resume()
        self._write_settings()
        if self.validation and self.progress == Progress():
            self._evaluate()
        options = self.options
        last = options.steps if until is None else min(until, options.steps)
        bar = distributed.progress_bar(total=last, initial=self.progress.step, desc="training", unit="step")
        while (progress := self.progress).step < last:
            if options.patience and progress.stale >= options.patience:
                log.info("No better validation result in %d evaluations; stopping.", progress.stale)
                break
            start = time.perf_counter()
            for name, value in self.train_step().items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            progress.seconds += time.perf_counter() - start
            bar.update()
            if progress.step % options.evaluate_every == 0 or progress.step == options.steps:
                bar.set_postfix_str(self._evaluate())
            elif progress.step == last or (options.save_every and progress.step % options.save_every == 0):
                self._save()
        bar.close()
        return self.out / BEST

    def resume(self) -> None:
        """Restore the saved state of this run, if there is one."""
        self.progress = Progress(**self.state.load())

    def _save(self) -> None:
        if distributed.rank() == 0:
            self.state.save(vars(self.progress))

    def _write_settings(self) -> None:
        if distributed.rank() == 0:
            self.out.mkdir(parents=True, exist_ok=True)
            replace_file(self.out / CONFIG, json_bytes(self.options.record))
            if self.options.missing:
                replace_file(
                    self.out / MISSING, "\n".join([*self.options.missing, ""]).encode(errors="backslashreplace")
                )

    # ------------------------------------------------------------------ evaluation
    @contextmanager
    def judged_weights(self) -> Iterator[None]:
        """Context manager: swap in the weights that are evaluated and saved.

        These are the EMA weights, if there are any, with the global head at its WiSE-FT share.
        """
        modules = averaged_modules(self.model, self.towers)
        averaged = holding(modules.parameters(), self.average.module.parameters()) if self.average else nullcontext()
        with averaged, wise_ft(self.model, self._global_start, self.options.learned_share):
            yield

    def trained(self) -> RetrievalModel:
        """Return the model as it stands, with what a checkpoint keeps."""
        record = {"config": self.options.record, "steps": self.progress.step}
        record |= {"start": self.options.start} if self.options.start else {}
        return replace(self.retrieval, training=record)

    def validate(self) -> tuple[dict[str, Any], TermWeights]:
        """Return metrics on the validation items, by the weights that are saved, and the sliders that they were
        measured with; no metrics without items.

        Before the first step the sliders are the config's, later those that do best here; a checkpoint starts with
        them.
        """
        weights = self.model.training_weights
        if not self.validation:
            return {}, weights
        with self.judged_weights():
            table = encode_table(self.trained(), self.validation, self.validation_tokens, self._validation_texts)
            vocabulary = self.retrieval.vocabulary
            assert vocabulary is not None
            precision = attribute_precision(self.model, table, self.validation, vocabulary, self.sampler.labels)
        if self.progress.step:
            weights = choose_weights(table, weights)
        return report(table, weights, resamples=200) | {"attributes": precision}, weights

    @cached_property
    def _validation_texts(self) -> dict[str, TextTokens] | None:
        if self.towers is not None:
            return None
        return text_tokens([s for item in self.validation for s in item.sentences], self.backbone)

    def _evaluate(self) -> str:
        """Validate, save and log on rank 0; every rank takes its counters. Returns a line for the bar."""
        line = self._judge() if distributed.rank() == 0 else ""
        self.progress = distributed.all_gather_object(self.progress)[0]
        return line

    def _judge(self) -> str:
        progress, steps = self.progress, self.options.steps
        count = (progress.step - 1) % self.options.evaluate_every + 1
        losses = {name: value / count for name, value in progress.sums.items()}
        metrics, weights = self.validate()
        value = validation_value(metrics) if metrics else float(progress.step)
        progress.stale = 0 if value > progress.best else progress.stale + 1
        if value > progress.best or (value == progress.best and not progress.best_step):  # trained, and no worse
            progress.best, progress.best_step = value, progress.step
            self._save_best(weights)
        speed = self.options.clips * count / progress.seconds if progress.seconds else math.nan
        progress.sums, progress.seconds = {}, 0.0
        self._save()
        row: dict[str, float] = {"step": progress.step, "validation": value, **losses}
        row |= {"clips/s": speed} if losses else {}
        for side, short in (("text_to_video", "t2v"), ("video_to_text", "v2t")):
            if metrics:
                row |= {f"{short} {name}": metrics[side][name] for name in ("R@1", "R@10", "MdR")}
        self.model.eval()
        self.backbone.eval()
        with torch.no_grad():
            row |= concept_usage(self.model, self.sampler.batch(self.rng(_USAGE_STEP), progress.step / steps))
        row |= metrics.get("attributes", {})
        self._logger.write(row)
        log.info("%s", " ".join(f"{k} {v:.3g}" for k, v in row.items()))
        recalls = f", R@1 {row['t2v R@1']:.1f}|{row['v2t R@1']:.1f}" if metrics else ""
        used = f"{row['usage video hard']:.2f}|{row['usage text hard']:.2f}"
        return f"loss {sum(losses.values()):.2f}{recalls}, concepts {used}, {speed:.3g} clips/s"

    def _save_best(self, weights: TermWeights) -> None:
        """Save the model, with ``weights`` as its sliders."""
        self.backbone.eval()
        config = self.model.config
        with self.judged_weights():
            names, scores = name_concepts(self.model, *naming_data(self.sampler))
            self.retrieval = replace(self.retrieval, concept_names=names, concept_scores=scores)
            self.model.config = config.replace(level_weights=weights.levels(), concept_weight=weights.concepts)
            save(self.out / BEST, self.trained(), with_backbone=self.options.keep_towers)
        self.model.config = config


def averaged_modules(model: VTRModel, towers: Backbone | None) -> nn.ModuleDict:
    """Return the modules that an EMA follows: the model, and the towers where they learn."""
    return nn.ModuleDict({"model": model} | ({"backbone": towers} if towers is not None else {}))


# --------------------------------------------------------------------------- weights of the score
def choose_weights(table: Scored, start: TermWeights) -> TermWeights:
    """Return weights by a coordinate search over ``GRID`` from ``start``, by ``validation_value``.

    A weight changes only where the value rises, so that the result is never worse than ``start`` on
    ``table``. The global weight stays (our decision).
    """
    best, best_value = start, score_value(table, start)
    for _ in range(ROUNDS):
        before = best
        for term in TERMS[1:]:
            for weight in GRID:
                weights = best.changed({term: weight})
                if weights == best or not any(weights.levels()):
                    continue
                value = score_value(table, weights)
                if value > best_value:
                    best, best_value = weights, value
        if best == before:
            break
    return best


def score_value(table: Scored, weights: TermWeights) -> float:
    """Return ``validation_value`` of a table under ``weights``."""
    ranks = ranks_of(table, weights)
    sides = {"text_to_video": ranks.text_to_video, "video_to_text": ranks.video_to_text}
    return validation_value({side: summarize(values) for side, values in sides.items()})
