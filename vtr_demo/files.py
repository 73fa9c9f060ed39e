"""Files that a crash cannot leave half-written, and the lock that keeps two writers apart."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vtr_demo.errors import LibraryError
from vtr_demo.structures import CropBox, FrameBatch, VideoTokens

_CHUNK = 2**20


def sha256_of(path: Path) -> str:
    """The digest of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_synced(path: Path, data: bytes) -> None:
    """Write ``data`` and wait until the disk has it."""
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_file(path: Path) -> None:
    """Wait until the disk has what was written to ``path``."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in ``folder`` (Windows has no such call and needs none)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step: a reader, or a crash, sees the old file or the new one."""
    draft = path.with_name(f".tmp-{os.getpid()}-{path.name}")  # others may be writing the same
    write_synced(draft, data)
    draft.replace(path)
    sync_folder(path.parent)


def to_json(value: Any) -> bytes:
    """Readable JSON with a stable order of keys."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()


@contextmanager
def explained(failed: str) -> Iterator[None]:
    """A full disk or a missing right becomes a ``LibraryError`` that begins with ``failed``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise LibraryError(
            f"{failed} ({reason}); check the free space and the rights of the folder."
        ) from error


class FolderLock:
    """One writer a folder. The system drops the lock when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock of ``folder`` or raise ``LibraryError``."""
        self._stream = (folder / ".lock").open("a+")
        try:
            _lock(self._stream.fileno())
        except (BlockingIOError, PermissionError) as error:
            self._stream.seek(0)
            owner = self._stream.read().strip() or "unknown"
            self._stream.close()
            raise LibraryError(
                f"The library {folder} is being written by another process ({owner}); "
                "stop that one, or add and delete clips there."
            ) from error
        self._stream.truncate(0)
        self._stream.write(f"process {os.getpid()}")
        self._stream.flush()

    def release(self) -> None:
        """Give the lock back; harmless when repeated."""
        self._stream.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        # A byte far past the owner's name, so that a refused process can still read the name.
        os.lseek(descriptor, _CHUNK, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def fingerprint(*parts: Any) -> str:
    """A short digest of configs and strings: equal settings, equal fingerprint."""
    plain = [asdict(part) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --------------------------------------------------------------------------- arrays to bytes and back, f
_STRIP_HEIGHT, _STRIP_FRAMES = 120, 8


def frames_to_bytes(frames: FrameBatch) -> bytes:
    """An npz of losslessly coded frames that can be decoded one by one."""
    # WebP at its quickest is a third smaller than PNG and no slower (measured).
    coded = []
    for pixels in frames.pixels:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "WEBP", lossless=True, quality=0, method=0)
        coded.append(stream.getvalue())
    box = frames.crop
    crop = [box.left, box.top, box.width, box.height, box.source_width, box.source_height]
    stream = io.BytesIO()
    np.savez(
        stream,
        data=np.frombuffer(b"".join(coded), dtype=np.uint8),
        offsets=np.cumsum([0, *map(len, coded)]),
        seconds=frames.seconds,
        crop=np.array(crop),
        duration_s=np.array(frames.duration_s),
    )
    return stream.getvalue()


def frames_from_bytes(data: bytes, indices: Sequence[int] | None = None) -> FrameBatch:
    """The very pixels that ``frames_to_bytes`` was given; ``indices`` decodes only those frames."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        coded, offsets, seconds = stored["data"], stored["offsets"], stored["seconds"]
        crop, duration_s = CropBox(*stored["crop"].tolist()), float(stored["duration_s"])
    chosen = list(range(len(seconds))) if indices is None else list(indices)
    pixels = [_picture(coded[offsets[i] : offsets[i + 1]].tobytes()) for i in chosen]
    return FrameBatch(np.stack(pixels), seconds[chosen], crop, duration_s)


def tokens_to_bytes(tokens: VideoTokens) -> bytes:
    """Safetensors in float16; refuses what float16 cannot hold."""
    from safetensors.torch import save

    small = tokens.half()
    halves = {"patches": small.patches, "summary": small.summary}
    if small.motion is not None:
        halves["motion"] = small.motion
    if not all(bool(torch.isfinite(half).all()) for half in halves.values()):
        raise LibraryError("The video's tokens do not fit float16; check the model's weights.")
    rest = {"frame_mask": tokens.frame_mask, "grid": torch.tensor(tokens.grid)}
    return save({name: value.contiguous().cpu() for name, value in (halves | rest).items()})


def tokens_from_bytes(data: bytes) -> VideoTokens:
    """The tokens that ``tokens_to_bytes`` was given, to float16 precision, in float32 on the CPU."""
    from safetensors.torch import load

    stored = load(data)
    rows, columns = stored["grid"].tolist()
    patches, summary, mask = (stored[name] for name in ("patches", "summary", "frame_mask"))
    return VideoTokens(patches, summary, mask, (rows, columns), stored.get("motion")).to("cpu")


def array_to_bytes(values: np.ndarray) -> bytes:
    """A float32 npy file; refuses NaN and infinite numbers."""
    if not np.isfinite(values).all():
        raise LibraryError("The video's vectors are not finite; check the model's weights.")
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(values, dtype=np.float32), allow_pickle=False)
    return stream.getvalue()


def array_from_bytes(data: bytes) -> np.ndarray:
    """The array that ``array_to_bytes`` was given."""
    return np.load(io.BytesIO(data), allow_pickle=False)


def jpeg(pixels: np.ndarray, max_width: int = 640) -> bytes:
    """A picture (H, W, 3) uint8 as JPEG, made narrower where it is wider than ``max_width`` pixels."""
    picture = Image.fromarray(pixels)
    if picture.width > max_width:
        height = max(1, round(picture.height * max_width / picture.width))
        picture = picture.resize((max_width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def strip(pixels: np.ndarray) -> bytes:
    """Up to eight of the frames (T, H, W, 3), evenly spread and side by side, as JPEG 120 pixels high."""
    count = min(_STRIP_FRAMES, len(pixels))
    chosen = np.linspace(0, len(pixels) - 1, count).round().astype(int)
    width = max(1, round(pixels.shape[2] * _STRIP_HEIGHT / pixels.shape[1]))
    small = [Image.fromarray(pixels[i]).resize((width, _STRIP_HEIGHT)) for i in chosen]
    joined = np.concatenate([np.asarray(picture) for picture in small], axis=1)
    return jpeg(joined, max_width=joined.shape[1])


def _picture(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
        return np.asarray(picture.convert("RGB"))
