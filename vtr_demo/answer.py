"""What a command of the command line gives back: a value for programs, a text for people, a status."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tell = Callable[[float, str], None]
"""Told how far a command is, as a share, and what it does."""


@dataclass(frozen=True)
class Answer:
    """``value`` is printed as JSON where JSON is asked for, ``text`` otherwise; ``status`` is the exit's."""

    value: Any
    text: str
    status: int = 0


def to_json(value: Any) -> str:
    """Readable JSON; a number that JSON does not know is an error."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
