"""The command line's parser alone: no command runs and no model is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from vtr_demo import cli


def commands() -> dict[str, Any]:
    return typer.main.get_command(cli.app).commands


def parse(argv: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The command and the values of its options; what the parser refuses is raised as it raises it."""
    context = commands()[argv[0]].make_context(argv[0], list(argv[1:]))
    return argv[0], context.params | {"rest": context.args}
