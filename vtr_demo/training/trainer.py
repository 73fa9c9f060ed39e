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
from vtr_demo.evaluation.metrics import report
from vtr_demo.files import json_bytes, replace_file
from vtr_demo.model.checkpoint import RetrievalModel, save
from vtr_demo.model.model import VTRModel
from vtr_demo.structures import TermWeights, TextTokens
from vtr_demo.training.concept_names import name_concepts, naming_data
from vtr_demo.training.distillation import Distiller
from vtr_demo.training.frozen import FrozenLevels
from vtr_demo.training.logger import CsvLogger, Track
from vtr_demo.training.objective import autocast, check_finite, loss_terms
from vtr_demo.training.optim import ClipAndStep, global_head, swap_in, training_mode, wise_ft
from vtr_demo.training.resume import RunState
from vtr_demo.training.sliders import choose_weights

log = logging.getLogger(__name__)
LOG, CONFIG, MISSING, BEST = "log.csv", "config.json", "missing.txt", "best"
_RANK_STRIDE = 999_983  # ranks draw different noise for the heads
_USAGE_STEP = 2**31  # seeds the batch on which the use of concepts is measured


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
        self.model, self.distiller, self.towers = model, distiller, towers
        self.loss, self.precision = loss, precision
        self.start = deepcopy(model.text).eval().requires_grad_(False) if loss.anchor else None
        self.frozen = FrozenLevels(model)

    def forward(self, sampler: Sampler, rng: np.random.Generator, done: float) -> dict[str, Tensor]:
        """Return the loss terms of a batch drawn by ``sampler``; ``done`` is the share of training so far."""
        device = next(self.model.parameters()).device
        with autocast(device, self.precision if self.towers is not None else None):
            batch = sampler.batch(rng, done).to(device)
        return loss_terms(self.model, batch, self.loss, self.distiller, self.precision, self.frozen, self.start)


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


class Trainer:
    """One training run over the objects of ``setup.build_trainer``; ``run`` trains and saves the best."""

    def __init__(
        self,
        options: RunOptions,
        trained: RetrievalModel,
        computed: TrainingStep,
        sampler: Sampler,
        validation: list[Sample],
        validation_tokens: Videos,
        *,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler,
        stepper: ClipAndStep,
        scaler: Any,
        average: AveragedModel | None,
        state: RunState,
        track: Track | None = None,
    ) -> None:
        self.options, self.out, self.progress = options, options.out, Progress()
        self.model, self.backbone, self.vocabulary = trained.model, trained.backbone, trained.vocabulary
        self.distiller, self.towers = computed.distiller, computed.towers
        self.sampler, self.validation, self._validation_tokens = sampler, validation, validation_tokens
        self.optimizer, self.scheduler, self.scaler = optimizer, scheduler, scaler
        self.average, self.state = average, state
        self.stepper = stepper
        self._trained = trained
        self._global_start = global_head(trained.model)
        self._logger = CsvLogger(self.out / LOG, track)
        self._validation_texts: dict[str, TextTokens] | None = None
        self.training_step: nn.Module = computed
        if distributed.world() > 1:
            device = next(trained.model.parameters()).device
            self.training_step = nn.parallel.DistributedDataParallel(
                computed, device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True
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
        self.scaler.scale(values.sum()).backward()
        # After backward(), so that the GPU has all its work before Python waits.
        bad = check_finite(terms)
        self._stop_if(f"The loss term {bad!r}" if bad else "")
        self._stop_if(self.stepper.step())
        self.scheduler.step()
        if self.average:
            self.average.update_parameters(self._averaged_modules())
        return dict(zip(terms, values.tolist(), strict=True))

    def rng(self, step: int) -> np.random.Generator:
        """Return the generator of a step's batch."""
        return np.random.default_rng([self.options.seed, step, 0])

    def _stop_if(self, what: str) -> None:
        if what:
            best = self.out / BEST
            kept = f"{best} keeps the last good checkpoint; " if best.exists() else ""
            raise TrainingError(
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
        steps, progress = self.options.steps, self.progress
        last = steps if until is None else min(until, steps)
        bar = distributed.progress_bar(total=last, initial=progress.step, desc="training", unit="step")
        while progress.step < last and not self._out_of_patience():
            start = time.perf_counter()
            for name, value in self.train_step().items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            progress.seconds += time.perf_counter() - start
            bar.update()
            if progress.step % self.options.evaluate_every == 0 or progress.step == steps:
                bar.set_postfix_str(self._evaluate())
            elif progress.step == last or self._save_is_due():
                self._save()
        bar.close()
        return self.out / BEST

    def resume(self) -> None:
        """Restore the saved state of this run, if there is one."""
        for name, value in self.state.load().items():
            setattr(self.progress, name, value)

    def _save(self) -> None:
        if distributed.rank() == 0:
            self.state.save(vars(self.progress))

    def _save_is_due(self) -> bool:
        every = self.options.save_every
        return bool(every) and self.progress.step % every == 0

    def _out_of_patience(self) -> bool:
        if not self.options.patience or self.progress.stale < self.options.patience:
            return False
        log.info("No better validation result in %d evaluations; stopping.", self.progress.stale)
        return True

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
        averaged = swap_in(self._averaged_modules(), self.average) if self.average else nullcontext()
        with averaged, wise_ft(self.model, self._global_start, self.options.learned_share):
            yield

    def _averaged_modules(self) -> nn.ModuleDict:
        return averaged_modules(self.model, self.towers)

    def trained(self) -> RetrievalModel:
        """Return the model as it stands, with what a checkpoint keeps."""
        record = {"config": self.options.record, "steps": self.progress.step}
        record |= {"start": self.options.start} if self.options.start else {}
        return replace(self._trained, training=record)

    def validate(self) -> tuple[dict[str, Any], TermWeights]:
        """Return metrics on the validation items, by the weights that are saved, and the sliders that they were
        measured with; no metrics without items.

        Before the first step the sliders are the config's, later those that do best here; a checkpoint starts with
        them.
        """
        weights = self.model.training_weights
        if not self.validation:
            return {}, weights
        if self.towers is None and self._validation_texts is None:
            sentences = [s for item in self.validation for s in item.sentences]
            self._validation_texts = text_tokens(sentences, self.backbone)
        with self.judged_weights():
            trained = self.trained()
            assert trained.vocabulary is not None
            table = encode_table(trained, self.validation, self._validation_tokens, self._validation_texts)
            precision = attribute_precision(self.model, table, self.validation, trained.vocabulary, self.sampler.labels)
        if self.progress.step:
            weights = choose_weights(table, weights)
        return report(table, weights, resamples=200) | {"attributes": precision}, weights

    def usage(self) -> dict[str, float]:
        """Return the entropy of the concepts' use on a training batch; see ``concept_usage``."""
        self.model.eval()
        self.backbone.eval()
        with torch.no_grad():
            batch = self.sampler.batch(self.rng(_USAGE_STEP), self.progress.step / self.options.steps)
            return concept_usage(self.model, batch)

    def _evaluate(self) -> str:
        """Validate, save and log on rank 0; every rank takes its outcome. Returns a line for the bar."""
        outcome = (self._judge(), self.progress) if distributed.rank() == 0 else None
        line, progress = distributed.all_gather_object(outcome)[0]
        for name in ("best", "best_step", "stale"):
            setattr(self.progress, name, getattr(progress, name))
        self.progress.sums, self.progress.seconds = {}, 0.0
        return str(line)

    def _judge(self) -> str:
        progress = self.progress
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
        row |= self.usage()
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
            self._trained = replace(self._trained, concept_names=names, concept_scores=scores)
            self.model.config = config.replace(level_weights=weights.levels(), concept_weight=weights.concepts)
            save(self.out / BEST, self.trained(), with_backbone=self.options.keep_towers)
        self.model.config = config


def averaged_modules(model: VTRModel, towers: Backbone | None) -> nn.ModuleDict:
    """Return the modules that an EMA follows: the model, and the towers where they learn."""
    return nn.ModuleDict({"model": model} | ({"backbone": towers} if towers is not None else {}))
