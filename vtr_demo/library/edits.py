"""Other names and captions for the clips of a library, as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vtr_demo.data.caption_files import describe_left_out, match_captions, read_captions, readable
from vtr_demo.errors import LibraryError
from vtr_demo.library.measure import MOST_BYTES, MOST_CAPTIONS
from vtr_demo.library.records import StoredClip
from vtr_demo.results import CaptionReport

MOST_OF_A_CLIP = 200
"""Captions of one clip."""
LONGEST_NAME, LONGEST_CAPTION = 120, 2_000


def edited(clip: StoredClip, name: str | None, captions: Sequence[str] | None) -> StoredClip:
    """Return a clip with another name or other captions; each is cleaned, and refused where it cannot be read."""
    if name is not None:
        name = " ".join(name.split())
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise LibraryError(f"A name has 1 to {LONGEST_NAME} characters that can be printed; give another one.")
        clip = replace(clip, name=name)
    if captions is not None:
        captions = [line for line in captions if line.strip()]
        if any(len(line) > LONGEST_CAPTION for line in captions):
            raise LibraryError(
                f"A caption of {clip.name} is longer than {LONGEST_CAPTION:,} characters; write one sentence."
            )
        wrong: list[str] = []
        read = [text for i, line in enumerate(captions, start=1) for text in readable([line], f"caption {i}", wrong)]
        if wrong:
            raise LibraryError(f"The captions of {clip.name} were not changed: {'; '.join(wrong[:3])}")
        clip = replace(clip, captions=tuple(dict.fromkeys(read)))
        if len(clip.captions) > MOST_OF_A_CLIP:
            raise LibraryError(f"{len(clip.captions)} captions are too many for {clip.name}; keep {MOST_OF_A_CLIP}.")
    return clip


def imported(path: Path, clips: Sequence[StoredClip]) -> tuple[list[StoredClip], CaptionReport]:
    """Return those of ``clips`` that a file of captions adds sentences to, and what it added and left out.

    ``LibraryError`` where no line names one of them, ``ManifestError`` where the file is too large or cannot be read.
    """
    table = read_captions(path, max_bytes=MOST_BYTES, max_rows=MOST_CAPTIONS)
    matched, lines = match_captions(table, [(clip.id, clip.name, clip.source) for clip in clips])
    if not matched:
        raise LibraryError(f"No line of {table.name} fits a clip of this library; {describe_left_out(lines)}.")
    left_out, changed, added = [*lines], [], 0
    for clip in clips:
        new = [text for text in dict.fromkeys(matched.get(clip.id, ())) if text not in clip.captions]
        room = MOST_OF_A_CLIP - len(clip.captions)
        if len(new) > room:
            left_out.append(f"{clip.name}: {len(new) - room} captions; a clip has at most {MOST_OF_A_CLIP}")
        if new := new[:room]:
            changed.append(replace(clip, captions=(*clip.captions, *new)))
            added += len(new)
    return changed, CaptionReport(len(changed), added, tuple(left_out))
