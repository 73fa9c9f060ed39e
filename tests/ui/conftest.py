"""The page over drawn clips, served once for each file of tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.helpers.fake_engine import FakeEngine

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextmanager
def serving(engine, sharing=None, hosts=()):
    """The address of an engine's page while the block runs, on a machine too busy to answer Gradio's own check."""
    from vtr_demo.ui.page import build_page, launch_options

    def late(*_, **__):
        raise httpx.ReadTimeout("no answer within 3 s")

    page = build_page(engine, sharing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "head", late)
        _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(page, hosts))
    try:
        yield url
    finally:
        page.close()


@contextmanager
def program(*arguments):
    """``app.py`` in a process of its own while the block runs: (its address once it answers, the process)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "app.py", "--port", str(port), *map(str, arguments)]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[2])
    try:
        for _ in range(600):
            time.sleep(0.1)
            assert process.poll() is None
            with suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
                break
        yield f"http://127.0.0.1:{port}/", process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(engine, address) of the running page."""
    engine = FakeEngine(tmp_path_factory.mktemp("drawn"))
    with serving(engine) as url:
        yield engine, url


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    if not CHROMIUM:
        pytest.skip("NO BROWSER: install chromium or set CHROMIUM to test the page")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture(params=[{"width": 1440, "height": 900}])
def page(request, browser, served):
    """A loaded page that fails the test if it spoke to anyone but the server or raised in a script."""
    context = browser.new_context(viewport=request.param)
    page, strangers, errors = context.new_page(), [], []
    local = (served[1], "data:", "blob:")
    page.on("request", lambda sent: None if sent.url.startswith(local) else strangers.append(sent.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(served[1])
    page.wait_for_selector(".examples .chip")
    yield page
    context.close()
    assert strangers == []
    assert errors == []
