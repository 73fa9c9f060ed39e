"""What a run says of itself: one CSV row an evaluation, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path

from vtr_demo.files import replace_file

Row = Mapping[str, float]


class Logbook:
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
