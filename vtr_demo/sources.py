"""A benchmark's files: annotations, found by name and checked part by part, and videos, found by id."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtr_demo.errors import BadManifest

VIDEO_EXTENSIONS = (
    ".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv",
    ".3gp", ".3g2", ".ts", ".mts", ".m2ts", ".ogv", ".gif",
)  # fmt: skip
"""What a benchmark's video file may end with; of several files for one video the earliest here is taken."""


# --------------------------------------------------------------------------- annotations
class AnnotationFolder:
    """The files below the folder of annotations, by name."""

    def __init__(self, root: Path, benchmark: str) -> None:
        if not root.is_dir():
            raise BadManifest(f"The folder of annotations {root} does not exist; check the path.")
        self.root, self.hint = root, benchmark.split("-", maxsplit=1)[0]
        self.paths: dict[str, list[Path]] = {}
        for folder, _, names in sorted(os.walk(root)):
            for name in sorted(names):
                self.paths.setdefault(name, []).append(Path(folder, name))

    def has(self, name: str) -> bool:
        """Whether a file of that name lies anywhere below the folder."""
        return name in self.paths

    def present(self, *names: str) -> list[str]:
        """Those of ``names`` that are there, in the order asked; refuses none."""
        found = [name for name in names if self.has(name)]
        if not found:
            raise BadManifest(
                f"{self.hint} needs {' or '.join(names)}, and none is below {self.root}; put it there."
            )
        return found

    def find(self, name: str) -> Path:
        """The one file of that name; refuses none, and several that differ."""
        found = self.paths.get(name, [])
        hinted = [path for path in found if self.hint in str(path.parent.relative_to(self.root)).lower()]
        found = hinted or found
        if not found:
            raise BadManifest(
                f"{self.hint} needs the file {name}, which is not below {self.root}; put it there."
            )
        if len(found) > 1 and len({path.read_bytes() for path in found}) > 1:
            places = " and ".join(str(path.parent) for path in found)
            raise BadManifest(
                f"Different files named {name} lie in {places}; name the folder of one of them."
            )
        return found[0]

    def text(self, name: str) -> tuple[Path, str]:
        """The file's path and its text, without a byte order mark."""
        path = self.find(name)
        try:
            return path, path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadManifest(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error

    def json(self, name: str, kind: type) -> tuple[Path, Any]:
        """The file's JSON value, which must be a ``kind``."""
        path, text = self.text(name)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadManifest(
                f"{path} is not readable as JSON ({error}); fetch the published file again."
            ) from error
        return path, checked(value, kind, f"{path}")

    def table(self, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
        """The rows of a CSV file whose header must hold ``columns``, the first of them a key."""
        path, text = self.text(name)
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            lacking = [column for column in columns if column not in (reader.fieldnames or ())]
            if lacking:
                raise BadManifest(
                    f"{path}: the header has {reader.fieldnames}, not the column {lacking[0]!r}; "
                    "fetch the published file again."
                )
            rows = []
            for row in reader:
                if not all((row[column] or "").strip() for column in columns):
                    raise BadManifest(
                        f"{path}, line {reader.line_num}: a value of {columns} is missing; fill it in."
                    )
                rows.append(row)
        except csv.Error as error:
            raise BadManifest(
                f"{path}, near line {reader.line_num}: {error}; fetch the published file again."
            ) from error
        unique([row[columns[0]] for row in rows], f"{path}")
        return rows

    def lines(self, name: str) -> list[str]:
        """The non-empty lines of a list of ids, without surrounding blanks."""
        return unique([line.strip() for line in self.text(name)[1].split("\n") if line.strip()], name)


def checked(value: Any, kind: type, where: str) -> Any:
    """``value`` itself, which must be a ``kind``; ``where`` names it in the error."""
    if not isinstance(value, kind):
        raise BadManifest(
            f"{where}: expected a {kind.__name__}, found {str(value)[:60]!r}; use the published form."
        )
    return value


def required(record: Any, key: str, kind: type, where: str) -> Any:
    """``record[key]``, which must exist and be a ``kind``."""
    if not isinstance(record, dict) or key not in record:
        raise BadManifest(f"{where}: {key!r} is missing; use the published form of the file.")
    return checked(record[key], kind, f"{where}, {key!r}")


def tidied(values: list[Any], where: str) -> tuple[str, ...]:
    """Sentences with single blanks, as the files write them otherwise; empty ones dropped."""
    tidy = (" ".join(checked(value, str, where).split()) for value in values)
    return tuple(sentence for sentence in tidy if sentence)


def unique(ids: list[str], where: str) -> list[str]:
    """``ids`` themselves, none of which may come twice."""
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            raise BadManifest(f"{where} lists {id_} twice; keep one of the two.")
        seen.add(id_)
    return ids


def spans_of(values: list[Any], where: str) -> list[tuple[float, float]]:
    """[[start, end], ...] as tuples, at least one; the unit is the file's (seconds or segments)."""
    spans = []
    for value in values:
        pair: Any = value if isinstance(value, list) and len(value) == 2 else [None]
        if not all(isinstance(number, (int, float)) for number in pair):
            raise BadManifest(
                f"{where}: a time must be [start, end], found {value!r}; use the published form."
            )
        spans.append((float(pair[0]), float(pair[1])))
    if not spans:
        raise BadManifest(f"{where}: there are no times; use the published form.")
    return spans


# --------------------------------------------------------------------------- videos
def find_videos(folder: Path, names_by_id: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """Files below ``folder`` by video id, at any depth (links are followed) and with any extension.

    ``names_by_id``: what each video's file may be called, without extension, the likeliest first.

    Names must agree in case; where none does, a name that agrees but for case serves if it is the only
    one. Of several files for one video, the first by extension, then by path, is taken.
    """
    if not folder.is_dir():
        raise BadManifest(f"The folder of videos {folder} does not exist; check the path.")
    exact: dict[str, list[Path]] = {}
    for path in _walk(folder):
        exact.setdefault(_stem(path.name), []).append(path)
    loose: dict[str, list[str]] = {}
    for stem in exact:
        loose.setdefault(stem.lower(), []).append(stem)
    found = {}
    for id_, names in names_by_id.items():
        stems = [name for name in names if name in exact]
        stems = stems or [loose[name.lower()][0] for name in names if len(loose.get(name.lower(), ())) == 1]
        if stems:
            found[id_] = min(exact[stems[0]], key=_preference)
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Files that may be videos: a known extension, or none at all (as some of DiDeMo's)."""
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()  # a link back to a folder above
            continue
        seen.add(real)
        for name in names:
            suffix = Path(name).suffix.lower()
            if not name.startswith(".") and (suffix in VIDEO_EXTENSIONS or suffix in ("", ".")):
                path = Path(root, name)
                if path.is_file():
                    yield path


def _stem(name: str) -> str:
    """The name without its video extensions: ``a.mov.mp4`` (a converted file) is ``a``."""
    while True:
        stem, dot, ending = name.rpartition(".")
        if not stem or (dot + ending).lower() not in (*VIDEO_EXTENSIONS, "."):
            return name
        name = stem


def _preference(path: Path) -> tuple[int, str]:
    suffix = path.suffix.lower()
    return VIDEO_EXTENSIONS.index(suffix) if suffix in VIDEO_EXTENSIONS else len(VIDEO_EXTENSIONS), str(path)
