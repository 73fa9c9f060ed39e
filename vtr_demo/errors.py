"""The exceptions of the package: one sentence each, for a person to act on."""

from __future__ import annotations

from pathlib import Path


class VtrError(Exception):
    """Anything the package refuses. The message is one sentence that a person can act on.

    VtrError
    +-- UnreadableVideo      a file that cannot be decoded
    +-- UnsupportedText      a text that the towers cannot represent
    +-- BackboneUnavailable  weights that are missing, damaged or out of reach
    +-- BadConfig            an unknown, missing or contradictory setting
    +-- BadManifest          a captions file or dataset that cannot be read
    +-- BadCheckpoint        a checkpoint that does not fit
    +-- BadScores            non-finite or misshapen scores
    +-- LibraryError         a library that is missing, stale, damaged or full
    +-- TrainingStopped      training that cannot go on (NaN loss)
    """


class UnreadableVideo(VtrError):
    """A video file that cannot be decoded; names the file, the reason and the remedy."""

    def __init__(self, path: str | Path, reason: str, advice: str) -> None:
        super().__init__(f"{Path(path).name}: {reason}; {advice}.")
        self.path, self.reason, self.advice = Path(path), reason, advice

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (str(self.path), self.reason, self.advice)


class UnsupportedText(VtrError):
    """A text that the towers cannot represent."""


class BackboneUnavailable(VtrError):
    """Weights that are missing, damaged or out of reach."""


class BadConfig(VtrError):
    """An unknown, missing or contradictory setting."""


class BadManifest(VtrError):
    """A captions file or a dataset that cannot be read."""


class BadCheckpoint(VtrError):
    """A checkpoint that is damaged or belongs to another architecture."""


class BadScores(VtrError):
    """Scores that are non-finite or have the wrong shape."""


class LibraryError(VtrError):
    """A library that is missing, stale, damaged or full."""


class TrainingStopped(VtrError):
    """Training that cannot go on; names the term that failed."""
