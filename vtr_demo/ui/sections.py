"""Masthead, Library, Measure and About as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vtr_demo.config import SharedConfig
from vtr_demo.errors import LibraryError
from vtr_demo.results import Measurement, Status
from vtr_demo.ui.html import TERM_LESSONS, render

CAPTIONS_LABEL = "Captions: .csv (columns clip, caption) or .jsonl"


def masthead(sharing: SharedConfig | None = None) -> str:
    """Title, one line, the switch between light and dark, and what a shared page means."""
    return render("about", "masthead", sharing=sharing)


def about(status: Status) -> str:
    """How to read the page, what it cannot tell, what runs it."""
    return render("about", "about", status=status, lessons=TERM_LESSONS)


# --------------------------------------------------------------------------- library
def uploaded(files: Sequence[str] | None, folder: str) -> list[Path]:
    """The paths of an upload; ``LibraryError`` where one does not lie in the upload ``folder``."""
    paths = [Path(file).resolve() for file in files or []]
    for path in paths:
        if not path.is_relative_to(Path(folder).resolve()) or not path.is_file():
            raise LibraryError(f"{path.name} was not uploaded through this page; upload it again.")
    return paths


def library_state(status: Status) -> str:
    """One line of numbers and the list of problems."""
    return render("library", "state", status=status)


# --------------------------------------------------------------------------- measure
def measure_intro() -> str:
    """What the Measure tab is for."""
    return render("measure", "intro")


def measurement(result: Measurement) -> str:
    """Recall of both directions, what each part of the score adds, and costs."""
    return render("measure", "result", m=result)
