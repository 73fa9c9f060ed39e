"""Files that a crash cannot leave half-written, and the lock that keeps two writers apart."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from vtr_demo.errors import LibraryError

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
