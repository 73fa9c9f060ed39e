"""The demo's page and its API: ``python app.py``; ``--help`` lists the options. Importing it does nothing."""

from __future__ import annotations

import argparse
import ctypes
import ipaddress
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vtr_demo.commands.console import read_folder
from vtr_demo.config import SharedConfig
from vtr_demo.errors import LibraryError, VtrError
from vtr_demo.ui.html import render
from vtr_demo.ui.page import build_page, launch_options
from vtr_demo.video.confine import LimitConfig, read_limit

log = logging.getLogger("vtr_demo.app")
HERE = Path(__file__).parent
SHARED = SharedConfig.model_fields


def log_progress(share: float, what: str) -> None:
    """Say on the terminal how far something is."""
    log.info("%3.0f %% %s", 100 * share, what)


class Filling:
    """Indexes the sample clips into an empty library, from its creation on, while the page is served."""

    def __init__(self, engine: Any, folder: Path) -> None:
        self._share = 0.0
        threading.Thread(target=self._fill, args=(engine, folder), daemon=True).start()

    def _fill(self, engine: Any, folder: Path) -> None:
        def report(share: float, what: str) -> None:
            self._share = min(share, 0.99)
            log_progress(share, what)

        try:
            engine.add_samples(folder, progress=report)
        except VtrError as error:
            log.warning("The sample clips were not added: %s", error)
        finally:
            self._share = 1.0

    def note(self) -> str:
        """What the page says of it; empty once it is done."""
        text = f"the sample clips are being read, {self._share:.0%} done. Those that are here can be searched."
        return render("macros", "notice", text=f"First start: {text}") if self._share < 1 else ""


def is_local(host: str) -> bool:
    """Whether a page that is served on ``host`` can be reached from this machine alone."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


def read_any_limit(text: str) -> tuple[str, float]:
    """Read NAME=X, a limit of a file or of a shared page."""
    name, _, value = text.partition("=")
    if name not in SHARED:
        return read_limit(text)
    try:
        changed: Any = {name: float(value) if name == "kept_hours" else int(value)}
        return name, getattr(SharedConfig(**changed), name)
    except (ValueError, VtrError) as error:
        raise ValueError(f"{text!r} is no limit such as {name}=10 ({error}).") from error


def with_reason(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make argparse print the sentence of a ``ValueError``."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; a Space is shared and open to all, a page of one's own only to this machine."""
    space = bool(os.environ.get("SPACE_ID"))
    parser = argparse.ArgumentParser("app.py", description="Text-video search that shows its reasons.")
    parser.add_argument(
        "--library", type=with_reason(read_folder), default=HERE / "library", help="folder of the library"
    )
    parser.add_argument("--model", default="bundled", help="bundled, open_clip:NAME/TAG or ORG/REPO, or a folder")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default: %(default)s")
    vectors_help = "keep the vectors in Milvus; default: in the library"
    parser.add_argument("--vectors", default="", metavar="milvus://HOST:PORT/COLLECTION", help=vectors_help)
    parser.add_argument(
        "--limits", nargs="*", action="extend", type=with_reason(read_any_limit), default=[], metavar="NAME=X",
        help="what a file may cost and a shared page allows, as `python -m vtr_demo limits` lists it",
    )  # fmt: skip
    parser.add_argument("--host", default="0.0.0.0" if space else "127.0.0.1")
    parser.add_argument(
        "--port", type=with_reason(port_number), default=None, help="default: the first free port from 7860"
    )
    parser.add_argument(
        "--shared", action=argparse.BooleanOptionalAction,
        help="strangers use the page: each sees, and deletes, only their own uploads, within quotas, for a day; "
        "default: on a Space, and where others than this machine can reach the page",
    )  # fmt: skip
    parser.add_argument(
        "--allow-host", nargs="*", action="extend", default=[], metavar="NAME",
        help="further names under which the page is served, such as that of a proxy; addresses in numbers always are",
    )  # fmt: skip
    args = parser.parse_args(argv)
    args.shared = space or not is_local(args.host) if args.shared is None else args.shared
    own_names = (args.host, socket.gethostname(), socket.getfqdn(), *os.environ.get("SPACE_HOST", "").split(","))
    args.allow_host += [name for name in own_names if name]
    return args


def port_number(text: str) -> int:
    """Read a port of the command line."""
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"{text!r} is no port; choose one from 1 to 65535")
    return int(text)


def require_port(host: str, port: int) -> None:
    """End the program with a sentence where the page could not be served there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        sys.exit(f"{host} cannot serve the page on port {port} ({error.strerror}); choose another --port or --host.")


def settle_in() -> None:
    """Fit the process to where it runs."""
    # Gradio sums up the last 10,000 events in a table twice an event, for a monitoring page that is off here.
    os.environ |= {"GRADIO_ANALYTICS_MAX_EVENTS": "1", "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**9)}
    with suppress(AttributeError, OSError):  # glibc alone has it
        ctypes.CDLL(None).mallopt(-8, 2)  # M_ARENA_MAX: a heap for each thread keeps a gigabyte more than is used
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces  # there, and nowhere else

        # Such a Space must name what uses its GPU. This computes on the CPU: a search takes less than the wait.
        spaces.GPU(lambda: None)


def main(argv: Sequence[str] | None = None) -> None:
    """Open the library and serve the page until interrupted; a failure is one sentence."""
    from vtr_demo.library.engine import Engine

    args = parse_args(argv)
    settle_in()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("vtr_demo").setLevel(logging.INFO)
    if args.port:
        require_port(args.host, args.port)  # before a model is opened, which takes a while
    options: dict[str, Any] = {
        "device": args.device, "vectors": args.vectors,
        "limits": LimitConfig(**{k: v for k, v in args.limits if k not in SHARED}),
        "progress": log_progress,
    }  # fmt: skip
    try:
        engine = Engine.open(args.library, args.model, **options)
    except LibraryError as error:
        try:
            engine = Engine.open(args.library, args.model, **(options := options | {"readonly": True}))
        except VtrError:
            sys.exit(str(error))
        log.warning("%s Until then the page shows the library as it is and changes nothing.", error)
    except VtrError as error:
        sys.exit(str(error))
    sharing = SharedConfig(**{k: v for k, v in args.limits if k in SHARED}) if args.shared else None
    filling = Filling(engine, HERE / "sample_videos") if engine.wants_samples and not options.get("readonly") else None
    page = build_page(engine, sharing, filling.note if filling else lambda: "")
    try:
        page.launch(server_name=args.host, server_port=args.port, **launch_options(page, args.allow_host))
    except OSError:
        port = f"port {args.port} is" if args.port else "all ports from 7860 on are"
        sys.exit(
            f"{args.host} cannot serve the page: {port} taken, or the address is not this machine's; "
            f"choose another --port or --host."
        )


if __name__ == "__main__":
    main()
