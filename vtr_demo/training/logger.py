"""The log of a run: a CSV file, and beside it TensorBoard or Trackio where one is wanted."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from vtr_demo.errors import ConfigError
from vtr_demo.files import replace_file

BOARD = "tensorboard"
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
        known, rows = self._read()
        columns = [*known, *(name for name in row if name not in known)]
        if known == columns:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, columns).writerow(row)
        else:
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows([*rows, row])
            replace_file(self._path, text.getvalue().encode())
        if self._track is not None:
            self._track(row)

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        if not self._path.exists():
            return [], []
        with self._path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or ()), list(reader)
