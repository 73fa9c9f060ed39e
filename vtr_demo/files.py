"""Atomic writes, digests, the lock of a folder, and how arrays are stored as bytes."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import shutil
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image
from pydantic import BaseModel

from vtr_demo.errors import LibraryError
from vtr_demo.structures import CropBox, FrameBatch, VideoTokens

_CHUNK = 2**20
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF}
"""What a disk answers that has no such call."""


# --------------------------------------------------------------------------- digests
def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(*parts: Any) -> str:
    """Return a digest of 16 hexadecimal digits of configs and plain values: equal settings, equal digest."""
    text = json.dumps([_plain(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file that this package ships."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


# --------------------------------------------------------------------------- writing
def write_synced(path: Path, data: bytes) -> None:
    """Write ``data`` and wait until it is on disk."""
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on disk (Windows has no such call and needs none)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:  # network disks lack it
            raise
    finally:
        os.close(descriptor)


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Yield a draft to write in full, which then takes the place of ``path`` in one step.

    A reader, a crash or a failed write sees the old file or the new one. A block that fails leaves neither
    a draft nor a changed target.
    """
    # Another process or thread may be writing the same file.
    draft = path.with_name(f".tmp-{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write ``path`` atomically (see ``draft_of``); a write that fails raises its ``OSError``."""
    with draft_of(path) as draft:
        write_synced(draft, data)


def copy_synced(source: Path, target: Path) -> None:
    """Copy a file and wait until the copy is on disk."""
    shutil.copyfile(source, target)
    with target.open("rb+") as stream:
        os.fsync(stream.fileno())


def json_bytes(value: Any) -> bytes:
    """Encode readable JSON with sorted keys, as UTF-8; half a surrogate pair is escaped."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode(errors="backslashreplace")


@contextmanager
def library_errors(failed: str) -> Iterator[None]:
    """Raise an ``OSError`` (full disk, missing right) as a ``LibraryError`` that begins with ``failed``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "check the free space and the rights of the folder"
        if isinstance(error, FileExistsError | NotADirectoryError):
            advice = "name a folder, not a file"
        raise LibraryError(f"{failed} ({reason}); {advice}.") from error


class FolderLock:
    """Allow one writer a folder. The system drops the lock when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock of ``folder`` or raise ``LibraryError``."""
        # Not per thread: a page opens the library in one thread and closes it in another. Nor by a file's mere
        # existence, where a disk has no locks: it would outlive a killed process.
        self._lock = FileLock(folder / ".lock", blocking=False, thread_local=False, fallback_to_soft=False)
        owner = folder / ".lock-owner"
        try:
            self._lock.acquire()
        except Timeout as error:
            name = owner.read_text(encoding="utf-8", errors="replace") if owner.is_file() else "unknown"
            raise LibraryError(
                f"The library {folder} is being written by another process ({name}); "
                "stop that one, or add and delete clips there."
            ) from error
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            raise LibraryError(
                f"The disk of {folder} cannot lock files ({error.strerror}), so two programs could spoil the library; "
                "keep it on a local disk, the videos may stay where they are."
            ) from error
        with suppress(OSError):  # the lock holds on a full disk as well
            owner.write_text(f"process {os.getpid()}", encoding="utf-8")

    def release(self) -> None:
        """Release the lock; harmless when repeated."""
        self._lock.release()


# --------------------------------------------------------------------------- arrays as bytes
QUALITY = 95
"""Of the frames that are stored, by WebP: a quarter of the bytes that they take without loss."""


def frames_to_bytes(frames: FrameBatch, quality: int | None = None) -> bytes:
    """Encode frames as an npz in which each can be decoded alone; without loss unless ``quality`` is given.

    Those that were decoded from such a file give that file.
    """
    if frames.coded is not None:
        return frames.coded
    # WebP without loss at its quickest is a third smaller than PNG and no slower (measured).
    options = {"lossless": True, "quality": 0, "method": 0} if quality is None else {"quality": quality, "method": 2}
    coded = []
    for pixels in frames.pixels:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "WEBP", **options)
        coded.append(stream.getvalue())
    stream = io.BytesIO()
    np.savez(
        stream,
        data=np.frombuffer(b"".join(coded), dtype=np.uint8),
        offsets=np.cumsum([0, *map(len, coded)]),
        seconds=frames.seconds,
        crop=np.array(astuple(frames.crop)),
        duration_s=np.array(frames.duration_s),
    )
    return stream.getvalue()


def frames_from_bytes(data: bytes, indices: Sequence[int] | None = None) -> FrameBatch:
    """Decode what ``frames_to_bytes`` wrote; ``indices`` decodes only those frames."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        coded, offsets, seconds = stored["data"], stored["offsets"], stored["seconds"]
        crop, duration_s = CropBox(*stored["crop"].tolist()), float(stored["duration_s"])
    rows = list(range(len(seconds))) if indices is None else list(indices)
    pixels = [_picture(coded[offsets[i] : offsets[i + 1]].tobytes()) for i in rows]
    return FrameBatch(np.stack(pixels), seconds[rows], crop, duration_s, data if indices is None else None)


def compressed(frames: FrameBatch) -> FrameBatch:
    """Return the frames as a file of ``QUALITY`` gives them back, which is stored: a model sees what is kept."""
    return frames_from_bytes(frames_to_bytes(frames, QUALITY))


def tokens_to_bytes(tokens: VideoTokens, *, packed: bool = False) -> bytes:
    """Encode as safetensors in float16; values that float16 cannot hold raise ``LibraryError``.

    ``packed`` loses nothing and takes a seventh where most values are zero, as after a rectifier, but more time.
    """
    from safetensors.torch import save

    small = tokens.half()
    halves = {"patches": small.patches, "summary": small.summary}
    if small.motion is not None:
        halves["motion"] = small.motion
    if not all(bool(torch.isfinite(half).all()) for half in halves.values()):
        raise LibraryError("The video's tokens do not fit float16; check the model's weights.")
    rest = {"frame_mask": tokens.frame_mask, "grid": torch.tensor(tokens.grid)}
    if packed:
        halves = {**_packed(halves.pop("patches")), **halves}
    return save({name: value.contiguous().cpu() for name, value in (halves | rest).items()})


def tokens_from_bytes(data: bytes) -> VideoTokens:
    """Decode what ``tokens_to_bytes`` wrote, as float32 on the CPU."""
    from safetensors.torch import load

    stored = load(data)
    rows, columns = stored["grid"].tolist()
    summary, mask = stored["summary"], stored["frame_mask"]
    patches = stored["patches"] if "patches" in stored else _unpacked(stored)
    return VideoTokens(patches, summary, mask, (rows, columns), stored.get("motion")).to("cpu")


def _packed(patches: torch.Tensor) -> dict[str, torch.Tensor]:
    """Where values in float16 are not zero, a bit each, and these values' upper and lower bytes apart."""
    values = patches.contiguous().cpu().numpy()
    halves = values[values != 0].view(np.uint8).reshape(-1, 2)  # lower byte first
    parts = {"where": np.packbits(values != 0), "upper": halves[:, 1], "lower": halves[:, 0]}
    coded = {
        f"patches.{name}": zlib.compress(part.tobytes(), 6 - 5 * (name == "lower")) for name, part in parts.items()
    }
    tensors = {name: torch.frombuffer(bytearray(part), dtype=torch.uint8) for name, part in coded.items()}
    return {**tensors, "patches.shape": torch.tensor(values.shape)}


def _unpacked(stored: dict[str, torch.Tensor]) -> torch.Tensor:
    shape = stored["patches.shape"].tolist()
    where, upper, lower = (
        np.frombuffer(zlib.decompress(stored[f"patches.{name}"].numpy().tobytes()), np.uint8)
        for name in ("where", "upper", "lower")
    )
    values = np.zeros(math.prod(shape), np.float16)
    values[np.unpackbits(where, count=len(values)).astype(bool)] = np.stack([lower, upper], 1).view(np.float16)[:, 0]
    return torch.from_numpy(values.reshape(shape))


def array_to_bytes(values: np.ndarray) -> bytes:
    """Encode as a float32 npy file; NaN and infinite numbers raise ``LibraryError``."""
    if not np.isfinite(values).all():
        raise LibraryError("The video's vectors are not finite; check the model's weights.")
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(values, dtype=np.float32), allow_pickle=False)
    return stream.getvalue()


def array_from_bytes(data: bytes) -> np.ndarray:
    """Decode what ``array_to_bytes`` wrote."""
    return np.load(io.BytesIO(data), allow_pickle=False)


def jpeg(pixels: np.ndarray, max_width: int = 640) -> bytes:
    """Encode pixels (H, W, 3) uint8 as JPEG, scaled down to ``max_width`` pixels where they are wider."""
    picture = Image.fromarray(pixels)
    if picture.width > max_width:
        height = max(1, round(picture.height * max_width / picture.width))
        picture = picture.resize((max_width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _picture(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
        return np.asarray(picture.convert("RGB"))
