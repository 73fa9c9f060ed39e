"""Reads a benchmark's published annotation files and refuses malformed ones by file, line and field."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from vtr_demo.errors import ManifestError


class AnnotationFolder:
    """Index the files below a folder by name.

    Where two benchmarks use one name (``train_list.txt``), the folder that names ``benchmark`` decides.
    """

    def __init__(self, root: Path, benchmark: str) -> None:
        if not root.is_dir():
            raise ManifestError(f"The folder of annotations {root} does not exist; check the path.")
        self.root, self.hint = root, benchmark.split("-", maxsplit=1)[0]
        self.paths: dict[str, list[Path]] = {}
        for folder, _, names in sorted(os.walk(root)):
            for name in sorted(names):
                self.paths.setdefault(name, []).append(Path(folder, name))

    def has(self, name: str) -> bool:
        """Whether a file of that name lies at any depth below the folder."""
        return name in self.paths

    def present(self, *names: str) -> list[str]:
        """Return those of ``names`` that exist, in the given order; at least one must."""
        existing = [name for name in names if self.has(name)]
        if not existing:
            raise ManifestError(f"{self.hint} needs {' or '.join(names)}, and none is below {self.root}; put it there.")
        return existing

    def find(self, name: str) -> Path:
        """Return the one file of that name; copies are allowed, files that differ are refused."""
        paths = self.paths.get(name, [])
        hinted = [path for path in paths if self.hint in str(path.parent.relative_to(self.root)).lower()]
        paths = hinted or paths
        if not paths:
            raise ManifestError(f"{self.hint} needs the file {name}, which is not below {self.root}; put it there.")
        if len(paths) > 1 and len({path.read_bytes() for path in paths}) > 1:
            places = " and ".join(str(path.parent) for path in paths)
            raise ManifestError(f"Different files named {name} lie in {places}; name the folder of one of them.")
        return paths[0]

    def text(self, name: str) -> tuple[Path, str]:
        """Return the file's path and its text, without a byte order mark."""
        path = self.find(name)
        try:
            return path, path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ManifestError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error

    def json(self, name: str, kind: type) -> tuple[Path, Any]:
        """Return the file's path and its JSON value, which must be a ``kind``."""
        path, text = self.text(name)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{path} is not readable as JSON ({error}); fetch the published file again.") from error
        return path, checked(value, kind, f"{path}")

    def table(self, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
        """Return the rows of a CSV file with the header ``columns``; values of the first must be unique."""
        path, text = self.text(name)
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            lacking = [column for column in columns if column not in (reader.fieldnames or ())]
            if lacking:
                raise ManifestError(
                    f"{path}: the header has {reader.fieldnames}, not the column {lacking[0]!r}; "
                    "fetch the published file again."
                )
            rows = []
            for row in reader:
                if not all((row[column] or "").strip() for column in columns):
                    raise ManifestError(f"{path}, line {reader.line_num}: a value of {columns} is missing; fill it in.")
                rows.append(row)
        except csv.Error as error:
            raise ManifestError(
                f"{path}, near line {reader.line_num}: {error}; fetch the published file again."
            ) from error
        unique([row[columns[0]] for row in rows], f"{path}")
        return rows

    def lines(self, name: str) -> list[str]:
        """Return the non-empty, stripped lines of a list of unique ids."""
        return unique([line.strip() for line in self.text(name)[1].split("\n") if line.strip()], name)


def checked(value: Any, kind: type, where: str) -> Any:
    """Return ``value``, which must be a ``kind``; ``where`` names it in the error."""
    if not isinstance(value, kind):
        raise ManifestError(f"{where}: expected a {kind.__name__}, found {str(value)[:60]!r}; use the published form.")
    return value


def required(record: Any, key: str, kind: type, where: str) -> Any:
    """Return ``record[key]``, which must exist and be a ``kind``."""
    if not isinstance(record, dict) or key not in record:
        raise ManifestError(f"{where}: {key!r} is missing; use the published form of the file.")
    return checked(record[key], kind, f"{where}, {key!r}")


def clean_sentences(values: list[Any], where: str) -> tuple[str, ...]:
    """Collapse white space in sentences and drop empty ones."""
    sentences = (" ".join(checked(value, str, where).split()) for value in values)
    return tuple(sentence for sentence in sentences if sentence)


def unique(ids: list[str], where: str) -> list[str]:
    """Return ``ids``, which must all differ."""
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            raise ManifestError(f"{where} lists {id_} twice; keep one of the two.")
        seen.add(id_)
    return ids


def read_spans(values: list[Any], where: str) -> list[tuple[float, float]]:
    """Return [[start, end], ...] as tuples, at least one; the unit is the file's (seconds or segments)."""
    spans = []
    for value in values:
        pair: Any = value if isinstance(value, list) and len(value) == 2 else [None]
        if not all(isinstance(number, (int, float)) for number in pair):
            raise ManifestError(f"{where}: a time must be [start, end], found {value!r}; use the published form.")
        spans.append((float(pair[0]), float(pair[1])))
    if not spans:
        raise ManifestError(f"{where}: there are no times; use the published form.")
    return spans
