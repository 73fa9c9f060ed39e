"""The command line: a table of commands, one parser, results on stdout and progress on stderr."""

from __future__ import annotations

import logging
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from vtr_demo import commands, workshop
from vtr_demo.answer import Answer, Tell, to_json
from vtr_demo.arguments import ARGUMENTS
from vtr_demo.errors import VtrError

PROGRAM = "vtr_demo"
REFUSED, INTERRUPTED = 2, 130


@dataclass(frozen=True)
class Command:
    """One word of the command line."""

    run: Callable[[Namespace, Tell], Answer]
    about: str


COMMANDS: dict[str, Command] = {
    "index": Command(commands.index, "add video files to a library"),
    "search": Command(commands.search, "find clips of a library by sentence"),
    "describe": Command(commands.describe, "rank sentences for a clip"),
    "explain": Command(commands.explain, "show why a sentence and a clip match"),
    "evaluate": Command(workshop.evaluate, "measure both directions of retrieval"),
    "probe": Command(workshop.probe, "tell minimal pairs of clips apart, level by level"),
    "faithfulness": Command(workshop.faithfulness, "do the summands point at what a score rests on"),
    "bench": Command(workshop.bench, "speed and memory as ratios to named baselines"),
    "train": Command(workshop.train, "train a checkpoint"),
    "playground": Command(workshop.playground, "draw clips with known truth"),
    "serve": Command(workshop.serve, "open the page; takes the arguments of app.py"),
}


def build_parser() -> ArgumentParser:
    """The parser of all commands."""
    parser = ArgumentParser(prog=f"python -m {PROGRAM}", description="Text-video retrieval with its reasons.")
    words = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        ARGUMENTS[name](words.add_parser(name, help=command.about, description=command.about))
    return parser


def parse(argv: Sequence[str]) -> Namespace:
    """The chosen command and its arguments; a wrong one ends the program with status 2 and its usage."""
    if argv[:1] == ["serve"]:  # argparse's REMAINDER refuses a first argument that begins with a dash
        return Namespace(command="serve", rest=list(argv[1:]))
    return build_parser().parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    chosen = parse(sys.argv[1:] if argv is None else list(argv))
    try:
        with _messages():
            answer = COMMANDS[chosen.command].run(chosen, _tell)
        asked = getattr(chosen, "json", False) is True
        out = to_json(answer.value) if asked else answer.text
        if out:
            print(out, flush=True)
        return answer.status
    except VtrError as error:
        return _refused(str(error))
    except BrokenPipeError:  # the reader has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _refused(f"{error.filename or 'A file'} cannot be used ({error.strerror or error}).")
    except KeyboardInterrupt:
        return INTERRUPTED


def _refused(sentence: str) -> int:
    print(f"{PROGRAM}: {' '.join(sentence.split())}", file=sys.stderr)
    return REFUSED


def _tell(fraction: float, what: str) -> None:
    share = f"{fraction:4.0%} " if 0 < fraction < 1 else ""
    print(f"{share}{what}", file=sys.stderr)


@contextmanager
def _messages() -> Iterator[None]:
    """The package's own log messages on stderr, for as long as the command runs."""
    log = logging.getLogger(PROGRAM)
    handler, level = logging.StreamHandler(), log.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
