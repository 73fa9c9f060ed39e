"""What the commands share: options that take several values, files of sentences, printing."""

from __future__ import annotations

import fnmatch
import io
import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from vtr_demo.errors import without_controls
from vtr_demo.video.confine import read_limit

PROGRAM = "vtr_demo"
REFUSED = 2


class Command(TyperCommand):
    """A command whose repeatable options take several values at once (`--set a=1 b=2`), and whose
    `--json FILE` may come without FILE."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write out what typer's parser does not know: `--set a=1 --set b=2`, `--json -`."""
        repeatable = {name for option in self.params if _is(option, "multiple") for name in option.opts}
        takes_file = any("--json" in option.opts and not _is(option, "is_flag") for option in self.params)
        written: list[str] = []
        option, values = "", 0
        for i, argument in enumerate(args):
            if argument == "--":
                written += args[i:]
                break
            if argument.startswith("-") and argument != "-":
                option, values = argument, 0
                written.append(argument)
                following = args[i + 1] if i + 1 < len(args) else "--"
                if takes_file and argument == "--json" and following.startswith("-") and following != "-":
                    written.append("-")
            else:
                written += [option, argument] if option in repeatable and values else [argument]
                values += 1
        return super().parse_args(ctx, written)


def _is(parameter: Any, kind: str) -> bool:
    return bool(getattr(parameter, kind, False))  # arguments have no such fields


# --------------------------------------------------------------------------- options
def option(metavar: str | None, about: str = "", *names: str, **rules: Any) -> Any:
    """Declare an option by what its value is called and what it does."""
    return typer.Option(*names, metavar=metavar, help=about or None, **rules)


def read_weight(text: str) -> tuple[str, float]:
    """Read TERM=X."""
    name, equals, value = text.partition("=")
    try:
        return name, float(value if equals else "")
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no factor such as action=2.") from None


def read_size(text: str) -> tuple[int, int]:
    """Read WxH, in pixels."""
    width, _, height = text.partition("x")
    if not all(side.isdecimal() and int(side) for side in (width, height)):
        raise typer.BadParameter(f"{text!r} is no size such as 640x360.")
    return int(width), int(height)


def read_folder(text: str) -> Path:
    """Read the name of a folder; raises ``ValueError`` with a sentence where it is empty, which would be the folder
    that one is in: `--library "$UNSET"` gives it."""
    if not text:
        raise ValueError("name a folder.")
    return Path(text)


def _parser(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make typer print the sentence of a ``ValueError``."""

    @wraps(read)
    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse


Folder = Annotated[Path | None, option("DIR", parser=_parser(read_folder))]
Library = Annotated[Path, option("DIR", "Folder of the library.", parser=_parser(read_folder))]
Model = Annotated[str, option("SPEC", "bundled, open_clip:NAME/TAG, open_clip:ORG/REPO or a folder.")]
Json = Annotated[bool, option(None, "Print JSON and nothing else.", "--json")]
JsonFile = Annotated[Path | None, option("[FILE]", "Write the result there as well.", "--json")]
Count = Annotated[int, option("N", "How many to list.", "-k", min=1)]
Number = Annotated[int, option("N", min=1)]
Limit = Annotated[int | None, option("N", "How many to draw.", min=1)]
Weights = Annotated[list[Any] | None, option("TERM=X …", "Factors such as action=2 entity=0.", parser=read_weight)]
Limits = Annotated[
    list[Any] | None, option("NAME=X …", "What a file may cost; see limits.", parser=_parser(read_limit))
]
Mute = Annotated[list[str] | None, option("NAME …", "Concepts that add nothing.")]
Text = Annotated[str, typer.Argument(help="May be left out with --like or --exclude.")]
Like = Annotated[str, option("ID|FILE", "Find the like of a clip of the library, or of a video or picture file.")]
LikeMoment = Annotated[int, option("N", "A moment of that clip instead of all of it.", min=-1)]
Share = Annotated[float, option("X", "Part of the example beside the words.", min=0, max=1)]
Exclude = Annotated[list[str] | None, option("PHRASE …", "What counts against a clip.")]
Seed = Annotated[int, option("S", min=0)]
Sprites = Annotated[Path | None, option("DIR", "Folder of the emoji pictures.")]
Cache = Annotated[Path | None, option("DIR", "Keep tokens there for the next run.")]
Kind = Annotated[str, option("KIND", "Only rows of this kind, such as real.")]


# --------------------------------------------------------------------------- files that commands take
_SYSTEM_FOLDERS = frozenset((
    "@eadir", "#recycle", "@recycle", "#snapshot", "@recently-snapshot", "@tmp", "@synoresource", "$recycle.bin",
    "recycler", "system volume information", "lost+found", "__macosx", "network trash folder", "temporary items",
    "~snapshot",
))  # fmt: skip
"""Previews, bins and snapshots of NAS boxes and systems, beside what begins with a dot."""


def find_videos(
    paths: Sequence[Path], endings: tuple[str, ...], exclude: Sequence[str] = ()
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return the files among ``paths`` and the videos below the folders among them, each once, in order.

    Links to folders are followed, each folder once; what a library keeps is left out. ``exclude`` are patterns of
    names, of paths below the folder, or of whole paths. Returns also what was skipped, each with the reason. A named
    file is kept whatever it is: indexing reports it.
    """
    from vtr_demo.library.database import DATABASE
    from vtr_demo.library.records import FOLDERS

    patterns = {one: unicodedata.normalize("NFC", one.removeprefix("./").rstrip("/")) for one in exclude}
    files: dict[Path, None] = {}
    skipped: list[tuple[Path, str]] = []
    visited: set[tuple[int, int]] = set()

    def refused(path: Path, root: Path, is_folder: bool) -> str:
        if path.name.startswith("."):
            return "hidden"
        below = path.relative_to(root).as_posix()
        spellings = [unicodedata.normalize("NFC", one) for one in (path.name, below, f"/{below}", str(path))]
        for given, pattern in patterns.items():
            if any(fnmatch.fnmatchcase(one, pattern) for one in spellings):
                return f"excluded by {given}"
        if not is_folder:
            return "" if path.name.lower().endswith(endings) else "no video by its ending"
        if path.name.lower() in _SYSTEM_FOLDERS:
            return "a system's own folder"
        if path.name in FOLDERS and path.with_name(DATABASE).is_file():
            return "kept by a library"
        return "" if _first_visit(path, visited) else "another way to a folder that was taken already"

    def unreadable(error: OSError) -> None:
        skipped.append((Path(error.filename), f"cannot be opened ({error.strerror})"))

    for root in paths:
        if not os.path.isdir(root):  # unlike is_dir: a name may be too long
            files[root] = None
            continue
        if not _first_visit(root, visited):
            continue
        for folder, below, names in os.walk(root, onerror=unreadable, followlinks=True):
            kept = []
            for is_folder, some in ((True, below), (False, names)):
                for path in (Path(folder, name) for name in sorted(some)):
                    if reason := refused(path, root, is_folder):
                        skipped.append((path, reason))
                    elif is_folder:
                        kept.append(path.name)
                    else:
                        files[path] = None
            below[:] = kept
    return list(files), skipped


def _first_visit(folder: Path, visited: set[tuple[int, int]]) -> bool:
    try:
        state = folder.stat()
    except OSError:
        return True  # walking it says why it cannot be opened
    place = (state.st_dev, state.st_ino)
    first = place not in visited
    visited.add(place)
    return first


# --------------------------------------------------------------------------- printing
def to_json(value: Any, ascii_only: bool = False) -> str:
    """Encode readable JSON without a control character; NaN and infinite numbers raise ``ValueError``."""
    text = json.dumps(value, indent=1, ensure_ascii=ascii_only, allow_nan=False)
    return re.sub("[\x7f-\x9f]", lambda control: f"\\u{ord(control[0]):04x}", text)


def answer(value: Any, lines: Iterable[str], as_json: bool) -> None:
    """Print ``value`` as JSON, or ``lines`` for people."""
    unicode = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    text = to_json(value, ascii_only=not unicode) if as_json else "\n".join(map(without_controls, lines))
    if text:
        print(text, flush=True)


def report(value: dict[str, Any], file: Path | None) -> None:
    """Print ``value`` as JSON, then write it to ``file``, where that is one: what was measured is not lost with it."""
    answer(value, (), as_json=True)
    if file and str(file) != "-":
        from vtr_demo.files import replace_file

        file.parent.mkdir(parents=True, exist_ok=True)
        data = f"{to_json(value)}\n".encode(errors="backslashreplace")
        if file.is_symlink() or (file.exists() and not file.is_file()):  # a pipe, which a file must not replace
            file.write_bytes(data)
        else:
            replace_file(file, data)


def tolerate_any_text() -> None:
    """Let both streams escape what their encoding lacks (a name in bytes, an emoji in cp1252), not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def progress(fraction: float, what: str) -> None:
    """Print on stderr how far a command is."""
    percent = f"{fraction:4.0%} " if 0 < fraction < 1 else ""
    print(f"{percent}{without_controls(what)}", file=sys.stderr)


def refuse(sentence: str) -> int:
    """Print an error on stderr, as one line, and return the exit status."""
    print(f"{PROGRAM}: {' '.join(without_controls(sentence).split())}", file=sys.stderr)
    return REFUSED


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Show the package's log messages."""
    log = logging.getLogger(PROGRAM)
    handler, level = logging.StreamHandler(), log.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    propagate = log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # open_clip gives the root logger a handler, which would print each line again
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
