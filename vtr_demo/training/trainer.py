"""Training: steps, validation, checkpoints that resume to the same result; one process or torchrun.

A step's data and noise depend on (seed, step, rank) alone, so a run that was stopped and resumed is
the run that was not.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone
from vtr_demo.config import TrainConfig, read_config
from vtr_demo.data.captions import text_tokens
from vtr_demo.data.dataset import Sample
from vtr_demo.data.sampler import Sampler
from vtr_demo.errors import TrainingError
from vtr_demo.evaluation.evaluate import (
    attribute_columns,
    attribute_precision,
    concept_usage,
    encode_table,
    validation_value,
)
from vtr_demo.evaluation.metrics import report
from vtr_demo.files import json_bytes, replace_file
from vtr_demo.model.attributes import Vocabulary
from vtr_demo.model.checkpoint import RetrievalModel, save
from vtr_demo.model.model import VTRModel
from vtr_demo.structures import TextTokens
from vtr_demo.training.concept_names import evidence, name_concepts
from vtr_demo.training.distillation import Distiller
from vtr_demo.training.objective import autocast, check_finite, loss_terms
from vtr_demo.training.optim import Average, ClipAndStep, between, grown, parameter_groups, schedule
from vtr_demo.training.resume import RunState
from vtr_demo.training.setup import TrainingData, assemble, settled

# --------------------------------------------------------------------------- what one process computes o
HALVES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Step(nn.Module):
    """One module, so that every learning weight is found in it."""

    def __init__(
        self, config: TrainConfig, model: VTRModel, distiller: Distiller | None, towers: Backbone | None
    ) -> None:
        super().__init__()
        self.config, self.model, self.distiller, self.towers = config, model, distiller, towers
        self.precision = HALVES[config.precision]

    def forward(self, sampler: Sampler, rng: np.random.Generator, done: float) -> dict[str, Tensor]:
        """The loss terms of the batch that ``sampler`` draws, with the share of training that is ``done``."""
        device = next(self.model.parameters()).device
        with autocast(device, self.precision if self.towers is not None else None):
            batch = sampler.batch(rng, done).to(device)
        if self.precision is None:
            return loss_terms(self.model, batch, self.config.loss, self.distiller)
        return loss_terms(self.model, batch, self.config.loss, self.distiller, self.precision)


# --------------------------------------------------------------------------- what a run says of itself:
Row = Mapping[str, float]


class CsvLogger:
    """Appends rows to ``path``; a column that comes later is empty in the rows before it."""

    def __init__(self, path: Path, board: Path | None = None) -> None:
        """``board``: the folder of TensorBoard's events; None, or no such package, writes none."""
        self._path = path
        self._board = board if board and importlib.util.find_spec("tensorboard") else None

    def write(self, row: Row) -> None:
        """Add one row; ``step`` is its place on TensorBoard's axis."""
        self._write_csv(row)
        if self._board is not None:
            from torch.utils.tensorboard import SummaryWriter

            with SummaryWriter(str(self._board)) as writer:  # type: ignore[no-untyped-call]
                for name, value in row.items():
                    writer.add_scalar(name.replace(" ", "/"), value, int(row["step"]))  # type: ignore[no-untyped-call]

    def _write_csv(self, row: Row) -> None:
        known, rows = self._read()
        columns = [*known, *(name for name in row if name not in known)]
        if known == columns:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, columns).writerow(row)
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows([*rows, row])
        replace_file(self._path, text.getvalue().encode())

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        if not self._path.exists():
            return [], []
        with self._path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or ()), list(reader)


__all__ = ["Trainer", "prepare", "read_config", "train"]

log = logging.getLogger(__name__)
LOG, CONFIG, BOARD, MISSING, BEST = "log.csv", "config.json", "tensorboard", "missing.txt", "best"
_RANKS_APART = 999_983  # ranks draw different noise for the heads


class Trainer:
    """One run. Everything is handed in by ``prepare``; ``run`` trains and saves the best checkpoint.

    ``taught``: the teacher's patch and word widths, where it is not the backbone itself. ``tuned``: the
    backbone was trained before, so checkpoints must hold it though it may be frozen now.
    """

    def __init__(
        self,
        config: TrainConfig,
        backbone: Backbone,
        model: VTRModel,
        vocabulary: Vocabulary,
        sampler: Sampler,
        validation: list[Sample],
        *,
        taught: tuple[int, int] | None = None,
        missing: tuple[str, ...] = (),
        tuned: bool = False,
    ) -> None:
        self.config, self.backbone, self.model = config, backbone, model
        self.vocabulary, self.sampler, self.validation = vocabulary, sampler, validation
        self.out, self._missing = Path(config.out), missing
        self.step, self.best, self.stale = 0, -math.inf, 0
        self.sums: dict[str, float] = {}
        self.names: tuple[str, ...] = ()
        device = next(model.parameters()).device
        self.distiller = None
        if config.loss.distill:
            widths = taught or (model.video.stem.in_features, backbone.word_width)
            self.distiller = Distiller(
                model.config.concept_width, model.width, *widths, config.loss.distill_mask
            ).to(device)
        self.towers = None if config.freeze_backbone else backbone
        self._keeps_towers = tuned or self.towers is not None
        heads = [self.model, *([self.distiller] if self.distiller else [])]
        groups = parameter_groups(heads, self.towers, config)
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=device.type == "cuda" or None)
        learning: dict[str, nn.Module] = {"model": model} | ({"backbone": backbone} if self.towers else {})
        self.average = Average(learning, config.ema) if config.ema else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")  # type: ignore[attr-defined]
        self._descent = ClipAndStep(self.optimizer, self.scaler, config.clip_norm)
        self._start = grown(model)
        self._state = RunState(self)
        self._logbook = CsvLogger(self.out / LOG, self.out / BOARD)
        self._spoken: dict[str, TextTokens] | None = None
        self._computed: nn.Module = Step(config, model, self.distiller, self.towers)
        if distributed.world() > 1:
            self._computed = nn.parallel.DistributedDataParallel(
                self._computed,
                device_ids=[device] if device.type == "cuda" else None,
                find_unused_parameters=True,
            )

    # ------------------------------------------------------------------ optimisation
    def learning_rate(self, step: int) -> float:
        """The heads' rate: linear warm-up, then a cosine to 2 % of the peak."""
        return self.config.lr * schedule(step, self.config)

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the loss terms. NaN stops the run and leaves the weights alone."""
        self.step += 1
        torch.manual_seed(self.config.seed * 1_000_003 + self.step + _RANKS_APART * distributed.rank())
        self.model.train()
        self.backbone.train()
        factor = schedule(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimizer.zero_grad()
        sums: dict[str, float] = {}
        for part in range(self.config.accumulate):
            if self.step < self.config.steps:
                self.sampler.prefetch(self._rng(self.step + 1, part), (self.step + 1) / self.config.steps)
            with self._synchronised(part == self.config.accumulate - 1):
                terms = self._computed(
                    self.sampler, self._rng(self.step, part), self.step / self.config.steps
                )
                values = torch.stack(list(terms.values()))
                self.scaler.scale(values.sum() / self.config.accumulate).backward()
            bad = check_finite(terms)  # asked now, so that Python hands all work over before it waits
            self._refuse(f"The loss term {bad!r}" if bad else "")
            for name, value in zip(terms, values.tolist(), strict=True):
                sums[name] = sums.get(name, 0.0) + value / self.config.accumulate
        self._refuse(self._descent.step())
        if self.average:
            self.average.update(self.step)
        return sums

    def _rng(self, step: int, part: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, step, part])

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged once a step, with the last of its parts."""
        if last or distributed.world() == 1:
            return nullcontext()
        return self._computed.no_sync()  # type: ignore[operator]

    def _refuse(self, what: str) -> None:
        if what:
            best = self.out / BEST
            kept = f"{best} keeps the last good checkpoint; " if best.exists() else ""
            raise TrainingError(
                f"{what} is not finite at step {self.step}; {kept}start again in a new `out` with a lower "
                "lr or a lower weight of the loss terms at fault."
            )

    # ------------------------------------------------------------------ the run
    def run(self, *, until: int | None = None) -> Path:
        """Train to ``config.steps`` (or ``until``), from the saved state where there is one.

        Evaluates every ``evaluate_every`` steps and at the end; the best checkpoint is the answer.
        """
        from tqdm import tqdm

        self._state.resume()
        self._announce()
        last = min(until or self.config.steps, self.config.steps)
        quiet = None if distributed.rank() == 0 else True
        bar = tqdm(total=last, initial=self.step, desc="training", unit="step", disable=quiet)
        while self.step < last and not self._done():
            for name, value in self.train_step().items():
                self.sums[name] = self.sums.get(name, 0.0) + value
            bar.update()
            if self.step % self.config.evaluate_every == 0 or self.step == self.config.steps:
                bar.set_postfix_str(self._checkpoint())
            elif (self.step == last or self._state.due()) and distributed.rank() == 0:
                self._state.save()  # without an evaluation, which a whole run would lack
        bar.close()
        return self.out / BEST

    def _done(self) -> bool:
        if not self.config.patience or self.stale < self.config.patience:
            return False
        log.info("No better validation result in %d evaluations; stopping.", self.stale)
        return True

    def _announce(self) -> None:
        if distributed.rank() == 0:
            self.out.mkdir(parents=True, exist_ok=True)
            replace_file(self.out / CONFIG, json_bytes(self.config.to_dict()))
            if self._missing:
                replace_file(self.out / MISSING, "\n".join([*self._missing, ""]).encode())

    def validate(self) -> dict[str, Any]:
        """Metrics on the validation items; empty without any. By the averaged weights, if there are."""
        if not self.validation:
            return {}
        if self.towers is None and self._spoken is None:
            self._spoken = text_tokens([s for i in self.validation for s in i.sentences], self.backbone)
        with self.averaged():
            table = encode_table(self.pretrained(), self.validation, self.sampler.cache, self._spoken)
            answer = report(table, self.model.training_weights, resamples=200)
            return answer | {
                "attributes": attribute_precision(
                    self.model, table, self.validation, self.vocabulary, self.sampler.labels
                )
            }

    def usage(self) -> dict[str, float]:
        """Entropy of the concepts' use on a training batch, as ``concept_usage`` gives it."""
        self.model.eval()
        self.backbone.eval()
        with torch.no_grad():
            return concept_usage(
                self.model, self.sampler.batch(self._rng(2**31, 0), self.step / self.config.steps)
            )

    def pretrained(self) -> RetrievalModel:
        """The model as it stands, with what a checkpoint keeps."""
        return RetrievalModel(
            self.config.out,
            self.model,
            self.backbone,
            self.config.video,
            self.vocabulary,
            self.names,
            training={"config": self.config.to_dict(), "steps": self.step},
        )

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """For as long as it is open the weights are those that are judged and saved: the averaged ones, where
        there are any, and the global level's at their share of the way from the start."""
        applied = self.average.applied() if self.average else nullcontext()
        with applied, between(self.model, self._start, self.config.learned_share):
            yield

    def _checkpoint(self) -> str:
        """Validate, save and log; rank 0 works and the others hear the outcome."""
        said = self._judge() if distributed.rank() == 0 else None
        outcome = distributed.all_gather_object(said)[0]
        self.best, self.stale, self.sums = outcome[0], outcome[1], {}
        return str(outcome[2])

    def _judge(self) -> tuple[float, int, str]:
        count = (self.step - 1) % self.config.evaluate_every + 1
        losses = {name: value / count for name, value in self.sums.items()}
        answer = self.validate()
        value = validation_value(answer) if answer else float(self.step)
        better = value > self.best
        self.best, self.stale = (value, 0) if better else (self.best, self.stale + 1)
        if better:
            with self.averaged():
                self.names = name_concepts(self.model, *evidence(self.sampler), self.vocabulary)
                save(self.out / BEST, self.pretrained(), with_backbone=self._keeps_towers)
        self.sums = {}
        self._state.save()
        row: dict[str, float] = {"step": self.step, "validation": value, **losses}
        for side, short in (("text_to_video", "t2v"), ("video_to_text", "v2t")):
            if answer:
                row |= {f"{short} {name}": answer[side][name] for name in ("R@1", "R@10", "MdR")}
        row |= self.usage()
        row |= attribute_columns(answer.get("attributes", {}))
        self._logbook.write(row)
        log.info("%s", " ".join(f"{k} {v:.3g}" for k, v in row.items()))
        recalls = f", R@1 {row['t2v R@1']:.1f}|{row['v2t R@1']:.1f}" if answer else ""
        used = f"{row['usage video hard']:.2f}|{row['usage text hard']:.2f}"
        return self.best, self.stale, f"loss {sum(losses.values()):.2f}{recalls}, concepts {used}"


def prepare(config: TrainConfig, material: TrainingData | None = None) -> Trainer:
    """Load towers and data (or take ``material``), and start the model from a checkpoint or closed forms."""
    config = settled(config)
    parts = assemble(config, material)
    return Trainer(
        config,
        parts.backbone,
        parts.model,
        parts.vocabulary,
        parts.sampler,
        parts.validation,
        taught=parts.taught,
        missing=parts.missing,
        tuned=parts.tuned,
    )


def train(config: TrainConfig) -> Path:
    """Train by ``config``; returns the folder of the best checkpoint."""
    with distributed.process_group(distributed.resolve_device(config.device)):
        return prepare(config).run()
