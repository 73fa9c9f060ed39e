"""The files of a run: its log, beside it TensorBoard or Trackio where one is wanted, and the state to resume from."""

from __future__ import annotations

import csv
import importlib.util
import io
import logging
import pickle
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from vtr_demo import distributed
from vtr_demo.errors import CheckpointError, ConfigError
from vtr_demo.files import replace_file

log = logging.getLogger(__name__)
BOARD, STATE = "tensorboard", "state.pt"
Track = Callable[[Mapping[str, float]], None]
"""Reports a row of the log; ``step`` is its place on the axis."""


def open_tracker(name: str, out: Path, record: Mapping[str, Any]) -> Track | None:
    """Return the tracker ``name`` of the run in ``out`` with the settings ``record``; None for no name.

    `tensorboard` writes events to a folder in ``out``, `trackio` to its own database. Nothing is opened before
    the first row. Raises ConfigError where the package is not installed.
    """
    if name and importlib.util.find_spec(name) is None:
        raise ConfigError(f"tracker={name} needs the package {name}; pip install {name}, or leave tracker out.")
    if name == "tensorboard":
        return _tensorboard(out / BOARD)
    return _trackio(out, record) if name == "trackio" else None


def _tensorboard(folder: Path) -> Track:
    def report(row: Mapping[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
            for name, value in row.items():
                writer.add_scalar(name.replace(" ", "/"), value, int(row["step"]))  # type: ignore[no-untyped-call]

    return report


def _trackio(out: Path, record: Mapping[str, Any]) -> Track:
    @cache
    def run() -> Any:
        import trackio

        return trackio.init(project="vtr_demo", name=out.as_posix(), config=dict(record), resume="allow")

    def report(row: Mapping[str, float]) -> None:
        run().log({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))

    return report


class CsvLogger:
    """Appends rows to the CSV file ``path``; a later column is empty in earlier rows. ``track`` gets them too."""

    def __init__(self, path: Path, track: Track | None = None) -> None:
        self._path, self._track = path, track

    def write(self, row: Mapping[str, float]) -> None:
        """Add one row."""
        known: list[str] = []
        rows: list[dict[str, Any]] = [dict(row)]
        if self._path.exists():
            with self._path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                known, rows = list(reader.fieldnames or ()), [*reader, *rows]
        columns = [*known, *(name for name in row if name not in known)]
        if known == columns:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, columns).writerow(row)
        else:
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows(rows)
            replace_file(self._path, text.getvalue().encode())
        if self._track is not None:
            self._track(row)


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
