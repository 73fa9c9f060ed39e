"""The things that act in the playground, read from ``things.csv``.

Each is a sprite of Microsoft's Fluent 3D emoji. Code points and names follow the Unicode emoji list; nouns,
sizes and splits are our decision. The order of the rows fixes what a seed draws: add new ones at the end.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from vtr_demo.errors import ConfigError

TABLE = Path(__file__).with_name("things.csv")
_COLUMNS = ["name", "code", "kind", "facing", "size", "rim", "split", "nouns"]
_FACING = {"left": -1, "": 0, "right": 1}
_SPLITS = ("", "train", "unseen_sprites")


@dataclass(frozen=True)
class Thing:
    """One sprite, its size and its words."""

    code: str
    """Its code points, which are its file's name without the ending."""
    kind: str
    facing: int
    """Which way its picture looks: -1 left, 1 right, 0 neither."""
    size: float
    """Relative to the size of its place in the layout."""
    rim: float | None
    """Of a container: where its rim is, as a share of its height from the top."""
    split: str
    """The only split that shows it, ``train`` or ``unseen_sprites``; empty: ``train`` and ``probe``."""
    nouns: tuple[str, ...]
    """The first is the plainest."""


def load_things(path: Path = TABLE) -> dict[str, Thing]:
    """Read the table at ``path``; raises ``ConfigError`` with the line that is wrong."""
    things: dict[str, Thing] = {}
    codes: set[str] = set()
    nouns: set[str] = set()
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        if rows.fieldnames != _COLUMNS:
            raise ConfigError(f"{path.name} must have the columns {', '.join(_COLUMNS)}.")
        for row in rows:
            where = f"Line {rows.line_num} of {path.name}"
            try:
                name, thing = row["name"], _thing(row)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"{where} describes no thing ({error}); compare it with its neighbours."
                ) from error
            taken = {name} & things.keys() | {thing.code} & codes | set(thing.nouns) & nouns
            if taken:
                raise ConfigError(f"{where} repeats {', '.join(sorted(taken))}; each may be there once.")
            things[name] = thing
            codes.add(thing.code)
            nouns |= set(thing.nouns)
    return things


def _thing(row: dict[str, str]) -> Thing:
    nouns = tuple(noun.strip() for noun in row["nouns"].split(";"))
    size, rim = float(row["size"]), float(row["rim"]) if row["rim"] else None
    if not (row["name"] and row["code"] and row["kind"] and all(nouns)):
        raise ValueError("a cell is empty")
    if not 0 < size < 10 or not (rim is None or 0 < rim < 1):
        raise ValueError(f"size {size:g}, rim {rim}")
    if row["split"] not in _SPLITS:
        raise ValueError(f"split {row['split']!r}")
    return Thing(row["code"], row["kind"], _FACING[row["facing"]], size, rim, row["split"], nouns)


THINGS = load_things()
TRAIN_ONLY = frozenset(name for name, thing in THINGS.items() if thing.split == "train")
"""Drawn in training alone: the variety carries over to things that were never shown."""
RESERVED = frozenset(name for name, thing in THINGS.items() if thing.split == "unseen_sprites")
"""Drawn in the split ``unseen_sprites`` alone."""
CONTAINERS = {name: thing.rim for name, thing in THINGS.items() if thing.rim is not None}
"""What a thing can be inside of, and where its rim is."""
