"""Files that tests write, and the shared data that some of them read where it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from vtr_demo.data import benchmarks

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"NOT TESTED ON THE PUBLISHED FILES: {SHARED} is not there"
)


def write(path: Path, value: object) -> Path:
    """``value`` as JSON, or as it is where it is text or bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


@contextmanager
def json_read_once() -> Iterator[None]:
    """Splits of a benchmark share files of many megabytes: each is parsed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks, "json", SimpleNamespace(loads=_parsed))
        yield


_parsed = lru_cache(maxsize=2)(json.loads)


def touch(*paths: Path) -> None:
    """Files that only have to be there."""
    for path in paths:
        write(path, b"video")
