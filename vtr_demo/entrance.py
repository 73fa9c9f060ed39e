"""What stands between the command line and the page: arguments, the log, and the opened library."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vtr_demo.errors import VtrError
from vtr_demo.library.engine import Engine


@dataclass(frozen=True)
class Entrance:
    """An open library, where to serve it, and whether strangers share the page."""

    engine: Engine
    host: str
    port: int | None
    shared: bool


def enter(argv: Sequence[str] | None, home: Path) -> Entrance:
    """Read app.py's arguments and open the library, with the samples of ``home`` in a new one.

    Ends the program with one sentence where that fails.
    """
    shared = bool(os.environ.get("SPACE_ID"))
    parser = argparse.ArgumentParser(description="Text-video search that shows its reasons.")
    parser.add_argument("--library", type=Path, default=home / "library", help="folder of the library")
    parser.add_argument("--model", default="bundled", help="bundled, open_clip:NAME/PRETRAINED or a folder")
    parser.add_argument("--host", default="0.0.0.0" if shared else "127.0.0.1")
    parser.add_argument("--port", type=int, default=None, help="default: the first free port from 7860")
    chosen = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("vtr_demo").setLevel(logging.INFO)
    log = logging.getLogger("vtr_demo.app")
    try:
        engine = Engine.open(
            chosen.library,
            chosen.model,
            samples=home / "sample_videos",
            progress=lambda share, what: log.info("%3.0f %% %s", 100 * share, what),
        )
    except VtrError as error:
        sys.exit(str(error))
    return Entrance(engine, chosen.host, chosen.port, shared)
