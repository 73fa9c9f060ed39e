"""Small libraries on disk with clips of random numbers, and what they must hold."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtr_demo import files
from vtr_demo.errors import LibraryError
from vtr_demo.library.reader import LibraryReader
from vtr_demo.library.records import FOLDERS, ClipContents, FeatureVersion, Moment, StoredClip
from vtr_demo.library.store import LibraryWriter
from vtr_demo.structures import CropBox, FrameBatch, VideoTokens

OURS = FeatureVersion("1111aaaa", tower="tower-1", model="bundled")
RETRAINED = FeatureVersion("2222bbbb", tower="tower-1", model="checkpoints/mine")
FOREIGN = FeatureVersion("3333cccc", tower="tower-2", model="open_clip:ViT-B-32/x")
FRAMES, GRID = 5, (2, 3)


def clip_of(n: int) -> StoredClip:
    """The ``n``-th clip; its original would hold the one byte ``n``."""
    return StoredClip(
        name=f"clip {n}.mp4",
        source=f"/nowhere/clip {n}.mp4",
        digest=hashlib.sha256(bytes([n])).hexdigest(),
        duration_s=4.0,
        width=64,
        height=48,
        moments=(Moment(0.0, 2.0, (0, 1, 2)), Moment(2.0, 4.0, (3, 4))),
        captions=("a café", "日本"),
    )


def contents_of(n: int, width: int = 6) -> ClipContents:
    """Random pixels, tokens and vectors, the same at every call."""
    rng = np.random.default_rng(n)
    pixels = rng.integers(0, 256, (FRAMES, 18, 24, 3), dtype=np.uint8)
    frames = FrameBatch(pixels, np.linspace(0.1, 3.9, FRAMES), CropBox(8, 0, 48, 48, 64, 48), 4.0)
    tokens = VideoTokens(
        torch.from_numpy(rng.normal(size=(1, FRAMES, 6, 4))).float(),
        torch.from_numpy(rng.normal(size=(1, FRAMES, 3))).float(),
        torch.ones(1, FRAMES, dtype=torch.bool),
        GRID,
        torch.from_numpy(rng.normal(size=(1, FRAMES, 3))).float() if n % 2 else None,
    )
    return ClipContents(frames, tokens, rng.normal(size=(3, width)).astype(np.float32))


def library(directory: Path, count: int = 2) -> list[str]:
    """Make a library of ``count`` clips; returns their ids."""
    with LibraryWriter.open(directory, OURS) as store:
        return [store.add(clip_of(n), contents_of(n)).id for n in range(count)]


def on_disk(directory: Path) -> set[str]:
    """Names of all files in the library's folders."""
    return {path.relative_to(directory).as_posix() for name in FOLDERS for path in (directory / name).glob("*")}


def all_vectors(reader: LibraryReader) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """All readable vectors (N, F), and the owner of each: (clip id, moment), -1 for the whole clip."""
    rows: list[np.ndarray] = []
    owners: list[tuple[str, int]] = []
    for clip in reader.clips():
        with suppress(LibraryError):
            rows.append(reader.clip_vectors(clip.id))
            owners += [(clip.id, moment) for moment in range(-1, len(rows[-1]) - 1)]
    return (np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)), owners


def assert_holds(reader: LibraryReader, numbers: list[int]) -> None:
    """The library holds these clips, in order and whole, and nothing is wrong with it."""
    assert [clip.name for clip in reader.clips()] == [f"clip {n}.mp4" for n in numbers]
    assert reader.problems() == ()
    matrix, owners = all_vectors(reader)
    assert owners == [(clip_of(n).id, moment) for n in numbers for moment in (-1, 0, 1)]
    for row, n in enumerate(numbers):
        expected, clip_id = contents_of(n), clip_of(n).id
        np.testing.assert_array_equal(reader.frames(clip_id).pixels, expected.frames.pixels)
        patches = reader.tokens(clip_id).patches
        torch.testing.assert_close(patches, expected.tokens.patches, atol=0, rtol=1e-3)
        if reader.version == OURS:
            np.testing.assert_array_equal(matrix[3 * row : 3 * row + 3], expected.vectors)


# --------------------------------------------------------------------------- the first format
def old_library(directory: Path, count: int = 2, version: FeatureVersion = OURS) -> None:
    """Write a library of the first format, as the program of that time did, with copies of the uploads."""
    clips = []
    for n in range(count):
        clip, contents = clip_of(n), contents_of(n)
        tag = hashlib.sha256(version.fingerprint.encode()).hexdigest()[:8]
        folder = directory / "clips" / f"{clip.id}-{tag}"
        folder.mkdir(parents=True)
        encoded = {
            "frames.npz": files.frames_to_bytes(contents.frames),
            "tokens.safetensors": files.tokens_to_bytes(contents.tokens),
            "vectors.npy": files.array_to_bytes(contents.vectors),
            "poster.jpg": files.jpeg(contents.frames.pixels[0]),
            "strip.jpg": b"eight frames side by side",
            "media.mp4": bytes([n]),
        }
        for name, data in encoded.items():
            (folder / name).write_bytes(data)
        record = {
            "name": clip.name,
            "source": clip.source,
            "digest": clip.digest,
            "duration_s": clip.duration_s,
            "width": clip.width,
            "height": clip.height,
            "moments": [dataclasses.asdict(moment) for moment in clip.moments],
            "captions": clip.captions,
            "added": f"2026-01-0{n + 1}T00:00:00+00:00",
            "copy": "media.mp4",
            "playable": "",
        }
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in encoded.items()}
        values = {"version": 1, "record": record, "origin": dataclasses.asdict(version), "digests": digests}
        (folder / "record.json").write_text(json.dumps(values))
        clips.append({"id": clip.id, "name": clip.name})
    values = {"version": 1, "created": "2026", "origin": dataclasses.asdict(version), "clips": clips}
    (directory / "library.json").write_text(json.dumps(values))
    (directory / "notes").mkdir()
    names = {version.fingerprint: {"0": "mine"}}
    (directory / "notes" / "concept_names.json").write_text(json.dumps(names))


# --------------------------------------------------------------------------- faults
class Faults:
    """Count every write, rename, removal, synchronisation and SQL statement, and spoil one of them."""

    def __init__(self) -> None:
        self.step, self.at, self.kill = 0, 0, False
        self.directory = ""

    @contextmanager
    def at_step(self, directory: Path, at: int, *, kill: bool = False) -> Iterator[None]:
        """Inside the block the ``at``-th step fails once, or ends the process."""
        self.directory, self.step, self.at, self.kill = str(directory), 0, at, kill
        connect, fsync = sqlite3.connect, os.fsync

        def counted_fsync(descriptor: int) -> None:
            self.count(OSError(errno.ENOSPC, "No space left on device"))
            fsync(descriptor)

        os.fsync = counted_fsync
        sqlite3.connect = partial(connect, factory=CountedConnection)
        ACTIVE.append(self)
        try:
            yield
        finally:
            ACTIVE.remove(self)
            sqlite3.connect, os.fsync = connect, fsync

    def count(self, error: Exception) -> None:
        """One more step."""
        self.step += 1
        if self.step == self.at:
            if self.kill:
                os._exit(77)
            raise error


ACTIVE: list[Faults] = []
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}


class CountedConnection(sqlite3.Connection):
    """A connection each of whose statements is a step."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        _count_sql(arguments[0])
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        _count_sql(arguments[0])
        return super().executemany(*arguments)


def _count_sql(statement: str) -> None:
    if not statement.startswith(("SELECT", "ROLLBACK")):
        for faults in ACTIVE:
            faults.count(sqlite3.OperationalError("database or disk is full"))


def _audit(event: str, arguments: tuple) -> None:
    writing = event in _CHANGES or (event == "open" and len(arguments) > 1 and set("wax+") & set(arguments[1] or ""))
    if ACTIVE and writing:
        for faults in ACTIVE:
            if str(arguments[0]).startswith(faults.directory):
                faults.count(OSError(errno.ENOSPC, "No space left on device"))


sys.addaudithook(_audit)
