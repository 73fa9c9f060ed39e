"""The Library tab: the part of the library that is listed, what a click changes, and the HTML of both. No Gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from vtr_demo.errors import LibraryError
from vtr_demo.results import ClipFilter, ClipView, IndexReport, Order
from vtr_demo.ui.html import render
from vtr_demo.ui.state import EngineLike

PAGE = 48
MAX_CAPTIONS = 2
"""Captions shown of each clip."""
MAX_NAMED = 5
"""Clips that a message names; the others are counted."""
ORDERS: dict[str, str] = {
    "newest": "Newest first", "oldest": "Oldest first", "name": "By name", "longest": "Longest first",
    "shortest": "Shortest first", "largest": "Largest first",
}  # fmt: skip
CAPTIONED: dict[str, bool | None] = {"": None, "with": True, "without": False}


@dataclass(frozen=True)
class Listing:
    """Which clips are listed: a page of those that match, in an order."""

    page: int = 0
    order: Order = "newest"
    name: str = ""
    captioned: str = ""
    """A key of ``CAPTIONED``."""
    new: tuple[str, ...] = ()
    """Ids of what was just added, which is marked."""

    def after(self, click: Mapping[str, object]) -> Listing:
        """The listing after a click or a change of a field; an unknown or malformed one changes nothing."""
        value = str(click.get("value", ""))
        match click.get("do"):
            case "page" if value.isascii() and value.isdigit() and len(value) <= 7:
                return replace(self, page=int(value))
            case "order" if value in ORDERS:
                return replace(self, order=value, page=0)  # type: ignore[arg-type]
            case "name":
                return replace(self, name=" ".join(value.split())[:80], page=0)
            case "captioned" if value in CAPTIONED:
                return replace(self, captioned=value, page=0)
            case "unfilter":
                return Listing()
        return self


# --------------------------------------------------------------------------- what is there
def shelf(engine: EngineLike, listing: Listing, shared: bool) -> str:
    """A page of clips with how to list, choose, edit and delete them; on a shared page, those of the visitor's own."""
    where = ClipFilter(name=listing.name, captioned=CAPTIONED[listing.captioned])
    total = engine.list(0, 0, where=where).total
    pages = max(1, -(-total // PAGE))
    page = min(listing.page, pages - 1)
    clips = engine.list(page * PAGE, PAGE, listing.order, where).clips
    editable = {clip.clip_id for clip in clips if clip.visitor or not shared}
    return render(
        "library", "shelf", clips=clips, listing=listing, page=page, pages=pages, total=total, first=page * PAGE + 1,
        editable=editable, deleted=engine.deleted(), max_captions=MAX_CAPTIONS, orders=ORDERS,
    )  # fmt: skip


# --------------------------------------------------------------------------- what a click changes
def act(engine: EngineLike, click: Mapping[str, object]) -> str | None:
    """Edit, delete or restore as a click asks, and say what was done; None where it asks for none of these."""
    values = {key: str(value) for key, value in click.items()}
    ids = values.get("clips", values.get("clip", "")).split()
    match values.get("do"):
        case "edit" if ids:
            clip = engine.edit(ids[0], name=values.get("name"), captions=values.get("captions", "").splitlines())
            return success(f"Saved {clip.name}.")
        case "delete" if ids:
            gone = engine.set_aside(ids)
            undo = bool({clip.clip_id for clip in gone} & {clip.clip_id for clip in engine.deleted()})
            return render("library", "removed", **_named(gone), undo=undo)
        case "restore" if ids:
            return render("library", "restored", **_named(engine.restore(ids)))
        case "empty":
            engine.empty_deleted()
            return success("What was deleted is removed for good.")
    return None


def _named(clips: Sequence[ClipView]) -> dict[str, Any]:
    names = [clip.name for clip in clips]
    return {"ids": [clip.clip_id for clip in clips], "names": names[:MAX_NAMED], "more": len(names[MAX_NAMED:])}


def report(engine: EngineLike, outcome: IndexReport) -> str:
    """What became of an upload, a sentence for each outcome."""
    added = []
    for clip_id in outcome.added:
        with suppress(LibraryError):  # deleted since
            added.append(engine.clip(clip_id).name)
    failed = [reason for _, reason in outcome.failed]
    return render("library", "report", added=added, known=outcome.known, failed=failed, partial=outcome.partial)


def success(text: str) -> str:
    """One sentence about something that worked."""
    return render("library", "success", text=text)
