"""The command line, `python -m vtr_demo COMMAND …`: results on stdout, progress and messages on stderr.

Heavy modules are imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import TyperException

from vtr_demo.commands import library, model
from vtr_demo.commands.console import PROGRAM, Command, log_to_stderr, refuse, tolerate_any_text
from vtr_demo.errors import ConfigError, VtrError

INTERRUPTED = 130
APP = Path(__file__).resolve().parents[1] / "app.py"
COMMANDS: dict[str, Callable[..., Any]] = {
    "index": library.index,
    "limits": library.show_limits,
    "list": library.list_clips,
    "delete": library.delete,
    "prune": library.prune,
    "search": library.search,
    "describe": library.describe,
    "explain": library.explain,
    "evaluate": model.evaluate,
    "probe": model.probe,
    "concepts": model.concepts,
    "faithfulness": model.faithfulness,
    "bench": model.bench,
    "train": model.train,
    "playground": model.playground,
}

app = typer.Typer(help="Text-video retrieval with its reasons.", add_completion=False, rich_markup_mode=None)
for name, command in COMMANDS.items():
    app.command(name, cls=Command)(command)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def serve(context: typer.Context) -> None:
    """Open the page; takes the arguments of app.py."""
    spec = importlib.util.spec_from_file_location("app", APP) if APP.is_file() else None
    if spec is None or spec.loader is None:
        raise ConfigError(f"The page's app.py is not in {APP.parent}; run this inside the repository.")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    page.main(context.args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    tolerate_any_text()
    root, status = typer.main.get_command(app), 0
    try:
        # Not root.main(), which would turn an interrupt into a message of its own.
        with log_to_stderr(), root.make_context(f"python -m {PROGRAM}", args) as context:
            status = root.invoke(context) or 0
    except typer.Exit as end:  # --help
        status = end.exit_code
    except TyperException as error:
        status = refuse(error.format_message())
    except VtrError as error:
        status = refuse(str(error))
    except BrokenPipeError:  # the reader has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        file = error.filename2 or error.filename or "A file"
        status = refuse(f"{file} cannot be used ({error.strerror or error}); check its name and rights.")
    except KeyboardInterrupt:
        status = INTERRUPTED
    return status
