"""The exceptions of the package: one sentence each, for a person to act on."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path


def readable_name(path: str | Path) -> str:
    """Return the name of a file for people and for JSON: bytes that are no UTF-8 are taken for Windows-1252."""
    name = os.fsencode(Path(path).name)
    try:
        return without_controls(name.decode())
    except UnicodeDecodeError:
        return without_controls(name.decode("cp1252", "replace"))


def without_controls(text: str) -> str:
    """Return ``text`` with spaces for control characters, which would command a terminal that shows it."""
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)


class VtrError(Exception):
    """Anything the package refuses. The message is one sentence that a person can act on."""


class VideoError(VtrError):
    """A video file that cannot be decoded; names the file, the reason and the remedy."""

    def __init__(self, path: str | Path, reason: str, advice: str) -> None:
        super().__init__(f"{readable_name(path)}: {reason}; {advice}.")
        self.path, self.reason, self.advice = Path(path), reason, advice

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (str(self.path), self.reason, self.advice)


class TextError(VtrError):
    """A text that the towers cannot represent."""


class BackboneError(VtrError):
    """Weights that are missing, damaged or out of reach."""


class ConfigError(VtrError):
    """An unknown, missing or contradictory setting."""


class ManifestError(VtrError):
    """A captions file or a dataset that cannot be read."""


class CheckpointError(VtrError):
    """A checkpoint that is damaged or belongs to another architecture."""


class ScoreError(VtrError):
    """Scores that are non-finite or have the wrong shape."""


class LibraryError(VtrError):
    """A library that is missing, stale, damaged or full."""


def unknown_clip(clip_id: str) -> LibraryError:
    """Return the refusal of an id that is malformed or not in the library."""
    return LibraryError(f"No clip {clip_id[:40]!r} in the library; the command `list` shows the ids.")


class TrainingError(VtrError):
    """Training that cannot go on; names the term that failed."""


class StoppedError(VtrError):
    """Work that was given up because nobody waits for its result any longer."""


_wanted: ContextVar[Callable[[], bool]] = ContextVar("wanted")


@contextmanager
def while_wanted(wanted: Callable[[], bool]) -> Iterator[None]:
    """Let long work in the block end at its next chunk once ``wanted``, or that of a block around, answers False."""
    outer = _wanted.get(lambda: True)
    token = _wanted.set(lambda: wanted() and outer())
    try:
        yield
    finally:
        _wanted.reset(token)


def stop_if_unwanted() -> None:
    """Raise ``StoppedError`` where nobody waits for the current work; called between the chunks of long work."""
    wanted = _wanted.get(None)
    if wanted is not None and not wanted():
        raise StoppedError("The request was closed before it was done; ask again.")
