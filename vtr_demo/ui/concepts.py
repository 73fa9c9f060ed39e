"""The Concepts tab as HTML."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vtr_demo.results import LONGEST_NAME, ConceptView, Status
from vtr_demo.ui.html import render


def gallery(
    views: Sequence[ConceptView], muted: Collection[int] = (), nameable: bool = False, status: Status | None = None
) -> str:
    """Every concept, the one that holds most of the picture first; ``nameable``: names can be changed."""
    return render(
        "concepts",
        "gallery",
        views=sorted(views, key=lambda view: -view.patches),
        longest=max((share for view in views for share in (view.patches, view.words)), default=0.0),
        muted=muted,
        nameable=nameable,
        max_name=LONGEST_NAME,
        status=status,
    )
