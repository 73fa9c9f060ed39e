"""The things that act in the playground, read from ``things.csv``.

Each is a sprite of Microsoft's Fluent 3D emoji. Code points and names follow the Unicode emoji list; nouns,
sizes and splits are our decision. The order of the rows fixes what a seed draws: add new ones at the end.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

_FACING = {"left": -1, "": 0, "right": 1}


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


def read_table(name: str) -> dict[str, dict[str, str]]:
    """Return the rows of a table of this folder by their first column, ``name``."""
    with Path(__file__).with_name(name).open(encoding="utf-8", newline="") as file:
        return {row.pop("name"): row for row in csv.DictReader(file, strict=True)}


def cell_list(cell: str, separator: str = ";") -> tuple[str, ...]:
    """Split a cell at its separators; an empty cell has no parts."""
    return tuple(part.strip() for part in cell.split(separator)) if cell else ()


def _thing(code: str, kind: str, facing: str, size: str, rim: str, split: str, nouns: str) -> Thing:
    return Thing(code, kind, _FACING[facing], float(size), float(rim) if rim else None, split, cell_list(nouns))


THINGS = {name: _thing(**row) for name, row in read_table("things.csv").items()}
CONTAINERS = {name: thing.rim for name, thing in THINGS.items() if thing.rim is not None}
"""What a thing can be inside of, and where its rim is."""
