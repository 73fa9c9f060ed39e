"""The page over drawn clips, served once for each file of tests."""

from __future__ import annotations

import pytest

from tests.helpers.fake_engine import FakeEngine


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(engine, address) of the running page."""
    import app

    engine = FakeEngine(tmp_path_factory.mktemp("drawn"))
    demo = app.build_ui(engine)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **app.launch_options(engine))
    yield engine, url
    demo.close()
