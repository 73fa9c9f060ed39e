"""Caches of a corpus: tower tokens for frozen towers, decoded frames for towers that are fine-tuned."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone
from vtr_demo.data.dataset import Sample
from vtr_demo.errors import VideoError
from vtr_demo.files import draft_of, fingerprint, replace_file, tokens_from_bytes, tokens_to_bytes
from vtr_demo.structures import FrameBatch, VideoTokens

log = logging.getLogger(__name__)
_PREFETCHED = 2  # decoded clips that wait for the towers, per thread
_KEPT_BYTES = 2**30
"""Frames that a ``FrameStore`` holds in memory, so that a small corpus is decoded once."""

Reduce = Callable[[VideoTokens], VideoTokens]
"""Projects patch tokens to the width that the heads take."""


class Videos(Protocol):
    """Source of the tokens of clips."""

    def get(self, item: Sample) -> VideoTokens:
        """Return the tokens of one item, a batch of one."""


class VideoCache:
    """Tower tokens of items in float16, kept in ``folder``, or in memory where that is None.

    Files in ``folder`` are read at every request (the operating system's page cache serves all processes);
    a damaged one is computed again. ``reduce`` projects the patches before they are stored and
    ``reduce_key`` names that projection. ``frames`` is T; ``workers`` threads decode ahead of the towers.
    ``motion``: whether tokens hold those of the motion tower, where there is one.
    """

    def __init__(
        self,
        folder: Path | None,
        backbone: Backbone,
        frames: int,
        *,
        reduce: Reduce | None = None,
        reduce_key: tuple[Any, ...] = (0, []),
        workers: int = 1,
        motion: bool = True,
    ) -> None:
        self._motion = motion
        self._backbone, self._reduce, self._frames, self._workers = backbone, reduce, frames, workers
        precision = ("bf16" if backbone.motion_half else "fp32") if motion else "off"
        name = fingerprint(backbone.fingerprint, precision, frames, *reduce_key)
        self._folder = folder / name if folder else None
        self._in_memory: dict[str, VideoTokens] = {}

    def get(self, item: Sample) -> VideoTokens:
        """Return the tokens of one item, a batch of one, in float32 on the CPU."""
        if self._folder is not None:
            return self.read(item)
        if item.key not in self._in_memory:
            self._in_memory[item.key] = self.read(item).half()  # exact: tokens are rounded to float16 anyway
        return self._in_memory[item.key].to("cpu")

    def read(self, item: Sample) -> VideoTokens:
        """Return as ``get``, without keeping the tokens in memory."""
        return self._encode(item, self._stored_or_frames(item))

    def fill(self, items: Sequence[Sample], label: str) -> list[Sample]:
        """Compute the missing tokens, with a progress bar named ``label``; returns the readable items.

        Items whose file cannot be read are logged and left out. With several processes and a folder each
        rank computes its part. Raises VideoError where no item can be read.
        """
        part = items if self._folder is None else items[distributed.rank() :: distributed.world()]
        new = [item for item in part if item.key not in self._in_memory]
        failures: dict[str, str] = {}
        bar = distributed.progress_bar(self._prefetch(new), desc=f"tokens: {label}", total=len(new), unit="clip")
        for item, future in bar:
            try:
                tokens = self._encode(item, future.result())
            except VideoError as error:
                failures[item.key] = str(error)
                continue
            if self._folder is None:
                self._in_memory[item.key] = tokens.half()
        return _readable(items, failures, label)

    def _prefetch(self, items: Sequence[Sample]) -> Iterator[tuple[Sample, Future[VideoTokens | FrameBatch]]]:
        """Yield the items in order, each with a future of its stored tokens or decoded frames."""
        waiting: deque[tuple[Sample, Future[VideoTokens | FrameBatch]]] = deque()
        with ThreadPoolExecutor(max(1, self._workers), thread_name_prefix="frames") as pool:
            for item in items:
                waiting.append((item, pool.submit(self._stored_or_frames, item)))
                if len(waiting) > _PREFETCHED * self._workers:
                    yield waiting.popleft()
            yield from waiting

    def _stored_or_frames(self, item: Sample) -> VideoTokens | FrameBatch:
        from safetensors import SafetensorError

        if self._folder is not None:
            try:
                return tokens_from_bytes((self._folder / item.key).read_bytes())
            except (OSError, KeyError, ValueError, SafetensorError):
                pass  # absent or damaged: computed again
        return item.frames(self._frames, self._backbone.frame_size)

    @torch.no_grad()
    def _encode(self, item: Sample, source: VideoTokens | FrameBatch) -> VideoTokens:
        if isinstance(source, VideoTokens):
            return source
        tokens = self._backbone.encode_frames(source.pixels, motion=self._motion)
        data = tokens_to_bytes(self._reduce(tokens) if self._reduce else tokens)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._folder / item.key, data)
        return tokens_from_bytes(data)


def _readable(items: Sequence[Sample], failures: dict[str, str], label: str) -> list[Sample]:
    """The items that failed on no rank; ``failures`` are sentences by key."""
    for others in distributed.all_gather_object(failures):
        failures = failures | others
    for sentence in failures.values():
        log.warning("%s", sentence)
    readable = [item for item in items if item.key not in failures]
    if not readable:
        raise VideoError(label, "none of its clips can be read", "check the folder of videos")
    return readable


class FrameStore:
    """Pixels (T, S, S, 3) uint8 of items: T is ``count``, or 1 for a photo; S is ``size``.

    ``folder`` keeps decoded clips; None decodes again whatever memory does not hold.
    """

    def __init__(self, folder: Path | None, count: int, size: int, workers: int) -> None:
        self._count, self._size = count, size
        self._folder = folder / f"frames-{fingerprint(count, size)}" if folder else None
        self._pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="frames")
        self._pending: dict[str, Future[np.ndarray]] = {}
        self._in_memory: dict[str, np.ndarray] = {}
        self._bytes = 0

    def get(self, item: Sample) -> np.ndarray:
        """Return the pixels of one item; waits for them where they are being decoded."""
        if item.key in self._in_memory:
            return self._in_memory[item.key]
        pending = self._pending.pop(item.key, None)
        pixels = pending.result() if pending else self._read(item)
        if self._bytes + pixels.nbytes <= _KEPT_BYTES:
            self._in_memory[item.key] = pixels
            self._bytes += pixels.nbytes
        return pixels

    def prefetch(self, items: Sequence[Sample]) -> None:
        """Start to decode items that ``get`` will be asked for."""
        for item in items:
            if item.key not in self._in_memory and item.key not in self._pending:
                self._pending[item.key] = self._pool.submit(self._read, item)

    def check(self, items: Sequence[Sample], label: str) -> list[Sample]:
        """Decode every item once, each rank its part, so that a broken file shows before training starts.

        Returns the readable items; the others are logged. Raises VideoError where there is none.
        """
        part = items[distributed.rank() :: distributed.world()]
        sentences = self._pool.map(self._failure, part)
        bar = distributed.progress_bar(sentences, desc=f"frames: {label}", total=len(part), unit="clip")
        failures = {item.key: sentence for item, sentence in zip(part, bar, strict=True) if sentence}
        return _readable(items, failures, label)

    def _failure(self, item: Sample) -> str:
        try:
            self._read(item)
        except VideoError as error:
            return str(error)
        return ""

    def _read(self, item: Sample) -> np.ndarray:
        path = self._folder / f"{item.key}.npy" if self._folder else None
        if path is not None:
            try:
                return np.asarray(np.load(path, allow_pickle=False))
            except (OSError, ValueError, EOFError):
                pass  # absent or damaged: decoded again
        pixels = item.frames(self._count, self._size).pixels
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft_of(path) as draft, draft.open("wb") as stream:
                np.save(stream, pixels, allow_pickle=False)
        return pixels


def pad_clips(clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Pad clips (T_i, S, S, 3) with black to pixels (B, T, S, S, 3); returns them and frame_mask (B, T)."""
    longest = max(len(clip) for clip in clips)
    pixels = np.zeros((len(clips), longest, *clips[0].shape[1:]), dtype=np.uint8)
    mask = np.zeros((len(clips), longest), dtype=bool)
    for row, clip in enumerate(clips):
        pixels[row, : len(clip)] = clip
        mask[row, : len(clip)] = True
    return pixels, mask
