"""A page that strangers share: whose request it is, what that visitor may see and change, which hosts are served.

A visitor is a random number in a signed cookie that expires. Their clips are theirs alone: ``VisitorEngine``
stands between the page and the engine and answers as if nobody else's were there.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketClose

from vtr_demo.config import SharedConfig
from vtr_demo.errors import LibraryError, VtrError, unknown_clip
from vtr_demo.results import (
    CaptionHit,
    CaptionReport,
    ClipFilter,
    ClipPage,
    ClipView,
    ExampleView,
    Explanation,
    IndexReport,
    Measurement,
    SearchResult,
    Status,
)
from vtr_demo.structures import NO_MIX, Mix
from vtr_demo.ui.state import EngineLike

COOKIE = "vtr_visitor"
NOT_OURS = "This page is not served under that name; start it with --allow-host NAME to allow one."
PURGE_S = 600
OF_CLIP = ("still", "poster", "media")
"""What a visitor may use of an engine for the clips that they may see."""
OPEN = ("default_weights", "limits", "weigh", "concepts")
"""What a visitor may use of an engine as it is; all else is refused unless ``VisitorEngine`` has it."""
_served: ContextVar[HTTPConnection | None] = ContextVar("served", default=None)


# --------------------------------------------------------------------------- who asks
@dataclass(frozen=True)
class Tokens:
    """Signed names of visitors: ``VISITOR.EXPIRES.MAC``."""

    key: bytes
    lifetime_s: float

    def issue(self, visitor: str = "") -> str:
        """Return a token for a visitor, a new one by default."""
        signed = f"{visitor or secrets.token_hex(8)}.{int(time.time() + self.lifetime_s)}"
        return f"{signed}.{self._mac(signed)}"

    def read(self, token: str) -> tuple[str, float]:
        """Return the visitor and the seconds left; ("", 0) for a token that is forged or has expired."""
        if not re.fullmatch(r"[0-9a-f]{16}\.[0-9]{1,12}\.[0-9a-f]{64}", token):
            return "", 0.0
        signed, _, mac = token.rpartition(".")
        visitor, _, expires = signed.partition(".")
        left = int(expires) - time.time()
        return (visitor, left) if left > 0 and hmac.compare_digest(mac, self._mac(signed)) else ("", 0.0)

    def of(self, connection: HTTPConnection | None) -> tuple[str, float]:
        """``read`` for the cookie of a request."""
        return self.read(connection.cookies.get(COOKIE, "") if connection else "")

    def _mac(self, signed: str) -> str:
        return hmac.new(self.key, signed.encode(), hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware: refuses a ``Host`` that is not ours, and on a shared page tells visitors apart.

    A page elsewhere can point its own name at this machine (DNS rebinding); its ``Host`` gives it away. An
    IP address needs no such name, and is always served.
    """

    def __init__(self, app: Any, hosts: Collection[str] = (), tokens: Tokens | None = None) -> None:
        self._app, self._tokens = app, tokens
        self._hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve a request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if not self._serves(connection.headers.get("host", "")):
            refusal = WebSocketClose(1008) if scope["type"] == "websocket" else PlainTextResponse(NOT_OURS, 421)
            await refusal(scope, receive, send)
            return
        if self._tokens and scope["type"] == "http" and scope["method"] == "GET":
            visitor, left = self._tokens.of(connection)
            if "text/html" in connection.headers.get("accept", "") and left < self._tokens.lifetime_s / 2:
                send = _with_cookie(send, self._tokens, visitor, _scheme(connection))
        reset = _served.set(connection)
        try:
            await self._app(scope, receive, send)
        finally:
            _served.reset(reset)

    def _serves(self, host: str) -> bool:
        name = re.sub(r":[0-9]*$", "", host.strip().lower()).rstrip(".")
        with suppress(ValueError):
            return bool(ipaddress.ip_address(name.strip("[]")))
        return name in self._hosts or name.endswith(".localhost")


def _with_cookie(send: Any, tokens: Tokens, visitor: str, scheme: str) -> Any:
    """Add a fresh token to an answer. Inside another site's frame, as on a Space, a cookie must be partitioned."""
    where = "Secure; SameSite=None; Partitioned" if scheme == "https" else "SameSite=Lax"
    cookie = f"{COOKIE}={tokens.issue(visitor)}; Path=/; Max-Age={int(tokens.lifetime_s)}; HttpOnly; {where}"

    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", cookie)
        await send(message)

    return sending


def tokens_of(engine: EngineLike, shared: SharedConfig) -> Tokens:
    """The tokens of a library's visitors; they live as long as what a visitor adds."""
    return Tokens(engine.visitor_key(), 3600 * shared.kept_hours)


def _connection(request: Any) -> HTTPConnection | None:
    """That of the ``request`` that Gradio works on, or where there is none, the one that is being served."""
    return _served.get() if request is None else getattr(request, "request", request)


def current_visitor(tokens: Tokens, request: Any) -> str:
    """Return whose request it is; request: as Gradio has it, or None."""
    return tokens.of(_connection(request))[0]


def asker(tokens: Tokens | None, request: Any) -> str:
    """Return who takes turns with others: the visitor, or the machine that a request without a cookie comes from."""
    connection = _connection(request)
    client = connection.client if connection else None
    return (current_visitor(tokens, request) if tokens else "") or (client.host if client else "")


def page_address(request: Any) -> str:
    """Return the address of the page as the client of a request knows it, with a slash at its end."""
    connection = _connection(request)
    return f"{_scheme(connection)}://{connection.headers.get('host', 'localhost')}/" if connection else "/"


def _scheme(connection: HTTPConnection) -> str:
    return connection.headers.get("x-forwarded-proto", connection.url.scheme).partition(",")[0]


@asynccontextmanager
async def purging(engine: EngineLike, shared: SharedConfig) -> AsyncIterator[None]:
    """While the page is served: delete what visitors added once it is old."""

    async def purge() -> None:
        while True:
            before = datetime.now(UTC) - timedelta(hours=shared.kept_hours)
            with suppress(VtrError):  # a read-only library; the next time it may be ours
                await asyncio.to_thread(engine.forget_visitors, before.isoformat(timespec="seconds"))
            await asyncio.sleep(PURGE_S)

    task = asyncio.create_task(purge())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# --------------------------------------------------------------------------- what they may do
class VisitorEngine:
    """An engine as the visitor of the current request may use it: their own clips and the library's."""

    def __init__(self, engine: EngineLike, shared: SharedConfig, visitor: Callable[[], str]) -> None:
        self._engine, self._shared, self._visitor = engine, shared, visitor
        self._adding = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name in OF_CLIP:
            return lambda clip_id, *args: getattr(self._engine, name)(self.clip(clip_id).clip_id, *args)
        if name not in OPEN:
            raise LibraryError("That is not possible on a shared page; run it on your own machine.")
        return getattr(self._engine, name)

    # ------------------------------------------------------------------ reading
    def search(
        self, text: str, *args: Any, mix: Mix = NO_MIX, where: ClipFilter | None = None, **options: Any
    ) -> SearchResult:
        """As the engine, among the clips that the visitor may see."""
        return self._engine.search(text, *args, mix=self._mix(mix), where=self._seen(where), **options)

    def describe(self, clip_id: str, captions: Sequence[str] | None = None, **options: Any) -> tuple[CaptionHit, ...]:
        """As the engine, for a clip that the visitor may see and not too many sentences."""
        if captions is not None and len(captions) > self._shared.sentences:
            raise LibraryError(
                f"{len(captions)} sentences are too many for this shared page; give at most {self._shared.sentences}."
            )
        return self._engine.describe(self.clip(clip_id).clip_id, captions, where=self._seen(None), **options)

    def explain(self, text: str, clip_id: str, *args: Any, mix: Mix = NO_MIX, **options: Any) -> Explanation:
        """As the engine, for a clip that the visitor may see."""
        return self._engine.explain(text, self.clip(clip_id).clip_id, *args, mix=self._mix(mix), **options)

    def measure(self, captions: Any = None) -> Measurement:
        """As the engine, among the clips that the visitor may see."""
        return self._engine.measure(captions, where=self._seen(None))

    def list(
        self, offset: int = 0, limit: int = 48, order: Any = "newest", where: ClipFilter | None = None
    ) -> ClipPage:
        """A part of the clips that the visitor may see."""
        return self._engine.list(offset, limit, order, self._seen(where))

    def clip(self, clip_id: str) -> ClipView:
        """A clip that the visitor may see; any other is unknown."""
        clip = self._engine.clip(clip_id)
        if clip.visitor not in ("", self._visitor()):
            raise unknown_clip(clip_id)
        return clip

    def status(self) -> Status:
        """As the engine, of the clips that the visitor may see; no paths, and no names of others' clips."""
        status = self._engine.status(self._seen(None))
        problems = (f"{len(status.problems)} clips cannot be read.",) if status.problems else ()
        return replace(status, directory="", problems=problems, train_command="")

    def example(self, example_id: str) -> ExampleView:
        """As the engine, for a file or a clip that the visitor may see."""
        return self._engine.example(self._mix(Mix(example_id)).like)

    def deleted(self) -> tuple[ClipView, ...]:
        """Nothing that was deleted is kept."""
        return ()

    # ------------------------------------------------------------------ changing
    def read_example(self, path: Path, name: str = "") -> ExampleView:
        """As the engine; the raw file is removed at once."""
        try:
            return self._engine.read_example(path, name)
        finally:
            path.unlink(missing_ok=True)

    def add(self, paths: Sequence[Path], **options: Any) -> IndexReport:
        """Add uploads as the visitor's own, within the quotas; the raw files are removed at once."""
        visitor = self._visitor()
        try:
            with self._adding:
                if not visitor:
                    raise LibraryError(
                        "Your browser sent no cookie, so that a clip could not be yours alone; allow cookies for "
                        "this page, reload it and upload again."
                    )
                self._check_quotas(visitor, paths)
                return self._engine.add(paths, **options, visitor=visitor)
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def set_aside(self, clip_ids: Sequence[str]) -> tuple[ClipView, ...]:
        """Delete clips that the visitor added, at once and for good: a shared page keeps nothing that was deleted."""
        clips = tuple(self._own(clip_id) for clip_id in dict.fromkeys(clip_ids))
        for clip in clips:
            self._engine.delete(clip.clip_id)
        return clips

    def edit(self, clip_id: str, *, name: str | None = None, captions: Sequence[str] | None = None) -> ClipView:
        """As the engine, for a clip that the visitor added."""
        return self._engine.edit(self._own(clip_id).clip_id, name=name, captions=captions)

    def import_captions(self, path: Path) -> CaptionReport:
        """As the engine, for the clips that the visitor added."""
        own = self.list(0, self._shared.visitor_clips, where=ClipFilter(own=True)).clips
        return self._engine.import_captions(path, [clip.clip_id for clip in own])

    def _own(self, clip_id: str) -> ClipView:
        clip = self.clip(clip_id)
        if not clip.visitor:
            raise LibraryError("On a shared page you can change only the clips that you added.")
        return clip

    def _check_quotas(self, visitor: str, paths: Sequence[Path]) -> None:
        own = self._engine.status(ClipFilter(visitors=(visitor,)))
        theirs = self._engine.status(ClipFilter(uploaded=True))
        shared, new = self._shared, sum(path.stat().st_size for path in paths)
        for status, most, most_bytes, whose in (
            (own, shared.visitor_clips, shared.visitor_bytes, "your clips"),
            (theirs, shared.all_clips, shared.all_bytes, "all visitors' clips"),
        ):
            if status.clips + len(paths) > most or status.stored_bytes + new > most_bytes:
                there = f"{status.clips} with {status.stored_bytes / 1e6:.0f} MB"
                raise LibraryError(
                    f"This shared page keeps at most {most} clips and {most_bytes / 1e6:.0f} MB of {whose}, and "
                    f"there are {there}; delete one of yours, wait until old ones are "
                    f"gone (after {shared.kept_hours:g} hours), or run the page on your own machine."
                )

    # ------------------------------------------------------------------ inside
    def _seen(self, where: ClipFilter | None) -> ClipFilter:
        where, visitor = where or ClipFilter(), self._visitor()
        mine = (visitor,) * bool(visitor) if where.own else ("", visitor)
        asked = tuple(one for one in mine if where.visitors is None or one in where.visitors)
        return replace(where, visitors=asked, own=False)

    def _mix(self, mix: Mix) -> Mix:
        """Refuse another visitor's clip as an example; an id of a file that was read is none of a clip."""
        if mix.like:
            try:
                clip = self._engine.clip(mix.like)
            except LibraryError:
                return mix
            self.clip(clip.clip_id)
        return mix
