"""The functions of tools.py as an MCP server."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from vtr_demo.errors import ConfigError, while_wanted
from vtr_demo.ui.tools import group

VIEW = "ui://vtr-demo/match.html"
VIEW_TYPE = "text/html;profile=mcp-app"


def structured(value: Any) -> dict[str, Any]:
    """A list under ``result``, since structured content is an object."""
    return value if isinstance(value, dict) else {"result": value}


def schemas(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON schemas of a checked function's arguments, with their descriptions, and of its structured answer."""
    given = function.arguments.model_json_schema()  # type: ignore[attr-defined]
    _, _, listed = (inspect.getdoc(function) or "").partition("Args:\n")
    name = ""
    for line in listed.splitlines():
        key, colon, text = line.strip().partition(": ")
        name, text = (key, text) if colon and key in given["properties"] else (name, " " + line.strip())
        field = given["properties"][name]
        field["description"] = field.get("description", "") + text
    answer = function.result.json_schema(mode="serialization")  # type: ignore[attr-defined]
    if answer.get("type") != "object":
        definitions = answer.pop("$defs", {})
        answer = {"type": "object", "properties": {"result": answer}, "required": ["result"], "$defs": definitions}
    return given, answer


class McpServer:
    """The functions as MCP tools, without sessions: answers are JSON, as text and as structured content.

    Hosts that can (MCP Apps) show ``explain_match`` as a small page; the others read the text. A call takes its
    ``turn`` in the group of its function. Raises ``ImportError`` where no MCP library is installed.
    """

    def __init__(
        self, functions: tuple[Callable[..., Any], ...], turn: Callable[[str], AbstractAsyncContextManager[None]]
    ) -> None:
        import anyio
        from mcp import types
        from mcp.server.lowlevel import Server
        from mcp.server.lowlevel.helper_types import ReadResourceContents
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        by_name = {function.__name__: function for function in functions}
        server: Server[Any] = Server("Find the clip. See why.")

        def described(name: str, function: Callable[..., Any]) -> types.Tool:
            given, answer = schemas(function)
            about = (inspect.getdoc(function) or "").partition("\n\nArgs:")[0]
            meta = {"ui": {"resourceUri": VIEW}, "ui/resourceUri": VIEW} if name == "explain_match" else None
            hints = types.ToolAnnotations(readOnlyHint=True, openWorldHint=False)
            return types.Tool(
                name=name, description=about, inputSchema=given, outputSchema=answer, annotations=hints, _meta=meta
            )

        tools = [described(name, function) for name, function in by_name.items()]
        self.listing = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in tools]

        async def list_tools() -> list[types.Tool]:
            return tools

        async def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
            if name not in by_name:
                raise ConfigError(f"There is no tool {name[:40]!r}; there are {', '.join(by_name)}.")
            closed = threading.Event()

            def run() -> dict[str, Any]:
                with while_wanted(lambda: not closed.is_set()):
                    return structured(by_name[name](**arguments))

            try:
                async with turn(group(by_name[name])):
                    return await anyio.to_thread.run_sync(run, abandon_on_cancel=True)
            finally:
                closed.set()

        view = types.Resource(uri=VIEW, name="Why a sentence and a clip match", mimeType=VIEW_TYPE)  # type: ignore[arg-type]

        async def list_resources() -> list[types.Resource]:
            return [view]

        async def read_resource(uri: Any) -> list[ReadResourceContents]:
            if str(uri) != VIEW:
                raise ConfigError(f"There is no resource {str(uri)[:80]!r}; there is {VIEW}.")
            page = Path(__file__).with_name("static") / "match.html"
            return [ReadResourceContents(page.read_text(encoding="utf-8"), VIEW_TYPE)]

        server.list_tools()(list_tools)
        server.call_tool(validate_input=False)(call_tool)
        server.list_resources()(list_resources)
        server.read_resource()(read_resource)
        self._manager = lambda: StreamableHTTPSessionManager(server, json_response=True, stateless=True)
        self._running: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer while the block runs; may be entered again afterwards."""
        self._running = self._manager()
        async with self._running.run():
            yield

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request (ASGI)."""
        if self._running is None:
            raise RuntimeError("the MCP server is not running")
        await self._running.handle_request(scope, receive, send)
