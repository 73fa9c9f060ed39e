"""What each command of the command line takes: one function a command, which tells its parser."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

PROTOCOLS = ("best_caption", "each_caption", "first_caption", "averaged_captions")
PLAYGROUND_SPLITS = ("train", "probe", "unseen_sprites")


def _index(parser: ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="video files, or folders of them")
    parser.add_argument("--library", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rebuild", action="store_true", help="bring a library of another model to this one")
    parser.add_argument("--copy", action="store_true", help="keep a copy of each file in the library")
    _model(parser)
    _as_json(parser)


def _search(parser: ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT")
    parser.add_argument("--library", type=Path, required=True, metavar="DIR")
    _most(parser, 8, "clips")
    _weighing(parser)
    _model(parser)
    _as_json(parser)


def _describe(parser: ArgumentParser) -> None:
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument(
        "--captions", type=Path, required=True, metavar="FILE", help="one sentence a line, or a JSON list"
    )
    _most(parser, 10, "sentences")
    _weighing(parser)
    _model(parser)
    _as_json(parser)


def _explain(parser: ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT")
    parser.add_argument("video", type=Path, metavar="VIDEO", help="a file; with --library the id of a clip")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--library", type=Path, metavar="DIR")
    _weighing(parser)
    _model(parser)
    _as_json(parser)


def _evaluate(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data", required=True, metavar="MANIFEST|DATASET", help="a .jsonl file or a benchmark's name"
    )
    _json_file(parser)
    parser.add_argument("--split", default="test", help="default: %(default)s")
    parser.add_argument("--annotations", type=Path, metavar="DIR", help="a benchmark's official files")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="a benchmark's videos")
    parser.add_argument("--kind", default="", help="only rows of this kind, such as real")
    parser.add_argument("--protocol", choices=PROTOCOLS, default=PROTOCOLS[0], help="default: %(default)s")
    parser.add_argument(
        "--normalise", nargs="+", default=(), metavar="NAME", help="also with dsl, qb_norm or sinkhorn"
    )
    parser.add_argument("--ablations", action="store_true", help="also each term alone and left out")
    parser.add_argument("--against", metavar="SPEC", help="give the differences to this model instead")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep tokens there for the next run")
    parser.add_argument("--device", default="cpu", help="default: %(default)s")
    _model(parser)


def _probe(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--pairs", type=_count, default=200, metavar="N", help="a level; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--split", choices=PLAYGROUND_SPLITS[1:], default="probe")
    parser.add_argument("--sprites", type=Path, metavar="DIR", help="folder of the emoji pictures")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the clips' tokens there")
    _json_file(parser)
    _model(parser)


def _faithfulness(parser: ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="MANIFEST", help="clips with captions, as .jsonl")
    parser.add_argument("--kind", default="", help="only rows of this kind, such as real")
    parser.add_argument("--limit", type=_count, metavar="N", help="pairs to draw; default: all")
    parser.add_argument(
        "--steps", type=_count, default=6, metavar="N", help="points of a curve after the first; default: 6"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    _json_file(parser)
    _model(parser)


def _bench(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="a case; default: all")
    parser.add_argument("--clip", type=Path, metavar="FILE", help="default: the first of sample_videos")
    parser.add_argument("--rounds", type=_count, default=7, metavar="N", help="default: %(default)s")
    _json_file(parser)
    _model(parser)


def _train(parser: ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--set", nargs="+", action="append", default=[], metavar="key=value")


def _playground(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--count", type=_count, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--split", choices=PLAYGROUND_SPLITS, default="train")
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="film the specs of this manifest instead"
    )
    parser.add_argument("--sprites", type=Path, metavar="DIR", help="folder of the emoji pictures")
    parser.add_argument("--size", type=_size, default=(640, 360), metavar="WxH", help="default: 640x360")


def _serve(parser: ArgumentParser) -> None:
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="…", help="arguments of app.py")


def _model(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="bundled", metavar="SPEC", help="bundled, open_clip:NAME/PRETRAINED or a folder"
    )


def _most(parser: ArgumentParser, count: int, what: str) -> None:
    about = f"{what} to list (default: %(default)s)"
    parser.add_argument("-k", type=_count, default=count, metavar="N", help=about)


def _weighing(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--weights", nargs="+", type=_factor, default=(), metavar="TERM=X", help="such as action=2 entity=0"
    )
    parser.add_argument("--mute", nargs="+", default=(), metavar="NAME", help="concepts that add nothing")


def _json_file(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--json", type=Path, nargs="?", const=Path("-"), metavar="FILE", help="write the result there as well"
    )


def _as_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _factor(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        return name, float(value if equals else "")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no factor such as action=2") from None


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not cross:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 640x360")
    return _count(width), _count(height)


ARGUMENTS: dict[str, Callable[[ArgumentParser], None]] = {
    "index": _index,
    "search": _search,
    "describe": _describe,
    "explain": _explain,
    "evaluate": _evaluate,
    "probe": _probe,
    "faithfulness": _faithfulness,
    "bench": _bench,
    "train": _train,
    "playground": _playground,
    "serve": _serve,
}
"""By command."""
