"""Saves and restores the state of a training run, so that a stopped run resumes exactly."""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vtr_demo import distributed
from vtr_demo.errors import CheckpointError, ConfigError
from vtr_demo.files import replace_file

log = logging.getLogger(__name__)
STATE = "state.pt"


class RunState:
    """The saved state of one run in ``folder``: counters, and ``state_dict`` of each of ``parts``.

    ``run_id`` names the run's settings and ``data`` its clips, each with a digest of its content; the state of
    another run, or of the same settings on other data, is refused.
    """

    def __init__(self, folder: Path, run_id: str, parts: Mapping[str, Any], data: Mapping[str, str]) -> None:
        self._path, self._run_id, self._parts, self._data = folder / STATE, run_id, parts, dict(data)

    def save(self, counters: Mapping[str, Any]) -> None:
        """Write the state atomically; rank 0 alone calls this."""
        buffer = io.BytesIO()
        states = {name: part.state_dict() for name, part in self._parts.items()}
        torch.save({"run": self._run_id, "data": self._data, "counters": dict(counters), "parts": states}, buffer)
        replace_file(self._path, buffer.getvalue())

    def load(self) -> dict[str, Any]:
        """Restore the parts and return the counters; empty where nothing was saved.

        Raises ConfigError for the state of another run or of other data, CheckpointError for a damaged file.
        """
        distributed.barrier()
        if not self._path.exists():
            return {}
        damage = OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            run, counters, states = state["run"], dict(state.get("counters", {})), state.get("parts", {})
            data = dict(state.get("data", self._data))  # earlier versions did not record it
        except damage as error:
            raise CheckpointError(
                f"{self._path} is damaged and cannot be resumed; remove it to start over, "
                f"{self._path.parent / 'best'} stays as it is."
            ) from error
        if run != self._run_id:
            raise ConfigError(
                f"{self._path.parent} holds another run; set out=... to a new folder, or remove "
                f"{self._path} to start over."
            )
        differing = sorted(dict(data.items() ^ self._data.items()))
        if differing:
            folder = self._path.parent
            best = folder / "best"
            start = f", there with start={best} to go on from these weights," if best.exists() else ""
            raise ConfigError(
                f"{folder} was trained on other data (clips that are new, changed or gone: {len(differing)}, the "
                f"first {differing[0]!r}); set out=... to a new folder{start} or remove {self._path} to start over."
            )
        for name, part in self._parts.items():
            part.load_state_dict(states[name])
        log.info("Resuming %s at step %d.", self._path.parent, counters["step"])
        return counters
