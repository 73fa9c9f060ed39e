"""The Library tab as HTML: numbers, the shelf of clips, and what became of an upload."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vtr_demo.config import LimitConfig
from vtr_demo.errors import LibraryError
from vtr_demo.page import clock, esc, poster, size
from vtr_demo.results import ClipView, IndexReport, Status

SHOWN_CAPTIONS = 3


def invitation(limits: LimitConfig) -> str:
    """The label of the drop area, with what it takes."""
    return f"Add videos, up to {size(limits.max_bytes)} and {limits.max_duration_s / 60:.0f} minutes each"


def uploaded(files: Sequence[str] | None, folder: str) -> list[Path]:
    """The paths of an upload, refused unless they lie in the upload ``folder``."""
    paths = [Path(file).resolve() for file in files or []]
    for path in paths:
        if not path.is_relative_to(Path(folder).resolve()) or not path.is_file():
            raise LibraryError(f"{path.name} was not uploaded through this page; upload it again.")
    return paths


def library_state(status: Status) -> str:
    """One line of numbers and the list of problems."""
    trained = "trained" if status.trained else "untrained heads (ranks as the backbone does)"
    facts = [
        (f"{status.clips}", "clip" if status.clips == 1 else "clips"),
        (f"{status.moments}", "moment" if status.moments == 1 else "moments in longer clips"),
        (size(status.stored_bytes), "stored"),
        (esc(status.model), f"model, {trained}, on {esc(status.device)}"),
    ]
    cells = "".join(f"<div><dd>{value}</dd><dt>{label}</dt></div>" for value, label in facts)
    problems = "".join(f"<li>{esc(problem)}</li>" for problem in status.problems)
    warned = f'<div class="banner"><strong>Problems</strong><ul>{problems}</ul></div>' if problems else ""
    return f'<dl class="numbers">{cells}</dl>{warned}'


def library(clips: Sequence[ClipView], deletable: Collection[str]) -> str:
    """Every clip with its facts; those in ``deletable`` can be removed after a second question."""
    if not clips:
        return '<p class="empty">Nothing here yet. Drop video files above to index them.</p>'
    return (
        f'<div class="shelf">{"".join(_shelf_card(clip, clip.clip_id in deletable) for clip in clips)}</div>'
    )


def _shelf_card(clip: ClipView, can_delete: bool) -> str:
    cuts = "".join(
        f'<i style="left:{start / max(clip.duration_s, 1e-6) * 100:.2f}%;'
        f'width:{(end - start) / max(clip.duration_s, 1e-6) * 100:.2f}%"></i>'
        for start, end in clip.moments
    )
    known = "".join(f"<li>{esc(text)}</li>" for text in clip.captions[:SHOWN_CAPTIONS])
    more = len(clip.captions) - SHOWN_CAPTIONS
    known += f'<li class="soft">and {more} more</li>' if more > 0 else ""
    delete = (
        '<details class="delete"><summary>Delete</summary>'
        f'<button data-do="delete" data-clip="{esc(clip.clip_id)}">'
        f"Yes, delete {esc(clip.name)}</button></details>"
        if can_delete
        else ""
    )
    count = f"{len(clip.moments)} moment{'' if len(clip.moments) == 1 else 's'}"
    strip = f'<span class="cuts" role="img" aria-label="{count}">{cuts}</span>' if cuts else ""
    return (
        f'<article class="item"><span class="frame">{poster(clip.clip_id, clip.name)}{strip}</span>'
        f"<h4>{esc(clip.name)}</h4>"
        f'<p class="soft">{clock(clip.duration_s)} · {clip.width}×{clip.height} · {size(clip.stored_bytes)}'
        f"{f' · {count}' if cuts else ''}</p><ul>{known}</ul>{delete}</article>"
    )


def report(found: IndexReport, names: Mapping[str, str]) -> str:
    """What became of an upload, a sentence for each outcome."""
    lines = []
    if found.added:
        listed = ", ".join(esc(names.get(clip_id, clip_id)) for clip_id in found.added)
        lines.append(f'<p class="good">Added {listed}.</p>')
    if found.known:
        listed = ", ".join(esc(name) for name in found.known)
        lines.append(f"<p>Already in the library, so left as it is: {listed}.</p>")
    lines += [f'<p class="bad">Not added: {esc(reason)}</p>' for _, reason in found.failed]
    return f'<div class="report" role="status">{"".join(lines)}</div>' if lines else ""


def good_news(text: str) -> str:
    """One sentence about something that worked."""
    return f'<div class="report" role="status"><p class="good">{esc(text)}</p></div>'
