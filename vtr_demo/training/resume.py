"""What a run needs to go on where it was stopped."""

from __future__ import annotations

import io
import logging
import pickle
from pathlib import Path
from typing import Any, Protocol

import torch

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone
from vtr_demo.config import TrainConfig
from vtr_demo.errors import CheckpointError, ConfigError
from vtr_demo.files import fingerprint, replace_file
from vtr_demo.model.model import VTRModel
from vtr_demo.training.distillation import Distiller
from vtr_demo.training.optim import Average

log = logging.getLogger(__name__)
STATE = "state.pt"
_LATER = {
    "frame_cache": "", "workers": 4, "hold_out": 0.0, "mirror": False, "drawn_end": 1.0,
    "attribute_sizes": (512, 512, 256, 256), "attribute_min_count": 5, "start": "", "save_every": 0,
    "motion_precision": "fp32",
}  # fmt: skip
"""Settings that younger versions added: at these values a run is the one it was before."""
_OF_THE_MACHINE = ("frame_cache", "workers", "save_every")


class Run(Protocol):
    """The trainer, as far as its state goes."""

    config: TrainConfig
    backbone: Backbone
    towers: Backbone | None
    model: VTRModel
    distiller: Distiller | None
    average: Average | None
    optimizer: torch.optim.AdamW
    scaler: Any
    out: Path
    step: int
    best: float
    stale: int
    sums: dict[str, float]


class RunState:
    """Saves and restores a trainer: weights, optimiser, counts. Belongs to one config and one start."""

    def __init__(self, trainer: Run) -> None:
        self._trainer = trainer
        self._id = self._run_id()  # before any step: fine-tuned towers change their fingerprint

    def due(self) -> bool:
        """Whether the state is to be saved after this step though nothing is evaluated."""
        every = self._trainer.config.save_every
        return bool(every) and self._trainer.step % every == 0

    def save(self) -> None:
        """Write the state in one step; rank 0 alone calls this."""
        trainer = self._trainer
        values: dict[str, Any] = {
            "run": self._id,
            "step": trainer.step,
            "best": trainer.best,
            "stale": trainer.stale,
            "sums": trainer.sums,
            "optimizer": trainer.optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(values | {name: part.state_dict() for name, part in self._parts().items()}, buffer)
        replace_file(trainer.out / STATE, buffer.getvalue())

    def resume(self) -> None:
        """Restore the saved state, if there is one; another run's is refused."""
        trainer = self._trainer
        path = trainer.out / STATE
        distributed.barrier()
        if not path.exists():
            return
        state = _read(path)
        if state["run"] != self._id:
            raise ConfigError(
                f"{trainer.out} holds another run; set out=... to a new folder, "
                f"or remove {path} to start over."
            )
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.step, trainer.best, trainer.stale = state["step"], state["best"], state["stale"]
        trainer.sums = state.get("sums", {})
        log.info("Resuming %s at step %d.", trainer.out, trainer.step)

    def _parts(self) -> dict[str, Any]:
        trainer = self._trainer
        parts: dict[str, Any] = {
            "model": trainer.model,
            "distiller": trainer.distiller,
            "backbone": trainer.towers,
            "average": trainer.average,
            "scaler": trainer.scaler if trainer.scaler.is_enabled() else None,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _run_id(self) -> str:
        values = self._trainer.config.replace(out="", cache="", device="").to_dict()
        for name, usual in _LATER.items():
            if values[name] == usual or name in _OF_THE_MACHINE:
                del values[name]
        ranks = [distributed.world()] if distributed.world() > 1 else []
        return fingerprint(values, self._trainer.backbone.fingerprint, *ranks)


def _read(path: Path) -> dict[str, Any]:
    broken = OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["run"], state["step"]
    except broken as error:
        raise CheckpointError(
            f"{path} is damaged and cannot be resumed; remove it to start over, {path.parent / 'best'} "
            "stays as it is."
        ) from error
    return dict(state)
