"""Decoded frames of a corpus for fine-tuning: read ahead by threads, kept on disk where wanted."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from vtr_demo import distributed
from vtr_demo.corpus import Item
from vtr_demo.errors import UnreadableVideo
from vtr_demo.files import fingerprint, replace_file

log = logging.getLogger(__name__)
_KEPT_BYTES = 2**30
"""Frames held in memory, so that a small corpus is decoded once."""


class FrameStore:
    """Pixels (T, S, S, 3) uint8 of items: T is ``count``, or 1 for a photo; S is ``size``.

    ``folder`` None decodes anew whenever memory does not hold a clip.
    """

    def __init__(self, folder: Path | None, count: int, size: int, workers: int) -> None:
        self._count, self._size = count, size
        self._folder = folder / f"frames-{fingerprint(count, size)}" if folder else None
        self._pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="frames")
        self._pending: dict[str, Future[np.ndarray]] = {}
        self._kept: dict[str, np.ndarray] = {}
        self._bytes = 0

    def get(self, item: Item) -> np.ndarray:
        """The pixels of one item, waiting for them where they are on their way."""
        if item.key in self._kept:
            return self._kept[item.key]
        pending = self._pending.pop(item.key, None)
        pixels = pending.result() if pending else self._read(item)
        if self._bytes + pixels.nbytes <= _KEPT_BYTES:
            self._kept[item.key] = pixels
            self._bytes += pixels.nbytes
        return pixels

    def expect(self, items: Sequence[Item]) -> None:
        """Begin to read what ``get`` will be asked for."""
        for item in items:
            if item.key not in self._kept and item.key not in self._pending:
                self._pending[item.key] = self._pool.submit(self._read, item)

    def check(self, items: Sequence[Item], label: str) -> list[Item]:
        """Read every item once, each rank its part: a broken file is named now and not hours later.

        Items whose file cannot be read are left out and listed in the log.
        """
        from tqdm import tqdm

        own = items[distributed.rank() :: distributed.world()]
        futures = [(item, self._pool.submit(self._tried, item)) for item in own]
        bad: dict[str, str] = {}
        for item, future in tqdm(futures, desc=f"frames: {label}", unit="clip", disable=None):
            if failed := future.result():
                bad[item.key] = failed
        for said in distributed.together(bad):
            bad |= said
        for sentence in bad.values():
            log.warning("%s", sentence)
        good = [item for item in items if item.key not in bad]
        if not good:
            raise UnreadableVideo(label, "none of its clips can be read", "check the folder of videos")
        return good

    def _tried(self, item: Item) -> str:
        try:
            self._read(item)
        except UnreadableVideo as error:
            return str(error)
        return ""

    def _read(self, item: Item) -> np.ndarray:
        path = self._folder / f"{item.key}.npy" if self._folder else None
        if path is not None:
            try:
                return np.asarray(np.load(path, allow_pickle=False))
            except (OSError, ValueError, EOFError):
                pass  # not there yet, or damaged: it is made anew
        pixels = item.frames(self._count, self._size).pixels
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = io.BytesIO()
            np.save(stream, pixels, allow_pickle=False)
            replace_file(path, stream.getvalue())
        return pixels


def padded(clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Clips (T_i, S, S, 3) as pixels (B, T, S, S, 3), padded with black, and frame_mask (B, T) bool."""
    longest = max(len(clip) for clip in clips)
    pixels = np.zeros((len(clips), longest, *clips[0].shape[1:]), dtype=np.uint8)
    mask = np.zeros((len(clips), longest), dtype=bool)
    for row, clip in enumerate(clips):
        pixels[row, : len(clip)] = clip
        mask[row, : len(clip)] = True
    return pixels, mask
