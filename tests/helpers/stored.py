"""Small libraries on disk with clips of random numbers, and what they must hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from vtr_demo.library.records import FOLDERS, ClipContents, FeatureVersion, StoredClip
from vtr_demo.library.segments import Moment
from vtr_demo.library.store import LibraryReader, LibraryWriter
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
    return {
        path.relative_to(directory).as_posix() for name in FOLDERS for path in (directory / name).glob("*")
    }


def assert_holds(reader: LibraryReader, numbers: list[int]) -> None:
    """The library holds these clips, in order and whole, and nothing is wrong with it."""
    assert [clip.name for clip in reader.list()] == [f"clip {n}.mp4" for n in numbers]
    assert reader.problems() == ()
    matrix, owners = reader.vectors()
    assert owners == [(clip_of(n).id, moment) for n in numbers for moment in (-1, 0, 1)]
    for row, n in enumerate(numbers):
        expected, clip_id = contents_of(n), clip_of(n).id
        np.testing.assert_array_equal(reader.frames(clip_id).pixels, expected.frames.pixels)
        patches = reader.tokens(clip_id).patches
        torch.testing.assert_close(patches, expected.tokens.patches, atol=0, rtol=1e-3)
        if reader.version == OURS:
            np.testing.assert_array_equal(matrix[3 * row : 3 * row + 3], expected.vectors)
