"""Files that are named by the digest of their content: written whole, checked when they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vtr_demo.errors import LibraryError
from vtr_demo.files import copy_synced, draft_of, replace_file, sha256_of, sync_folder
from vtr_demo.library.records import FOLDERS, StoredFile, digest_of

LOST = "lost"
"""Where files go that the library does not know; nothing there is ever read or removed."""
_DRAFT = re.compile(r"\.tmp-[0-9-]+-[0-9a-f]{64}\.[a-z0-9]{1,8}")


class ContentFiles:
    """The big files of one library folder."""

    def __init__(self, directory: Path, places: dict[str, Path] | None = None) -> None:
        """``places`` maps names to other paths, for a library that is read in an older format."""
        self.directory = directory
        self._places = places or {}
        self._checked: dict[Path, tuple[int, int, str]] = {}

    def path(self, name: str) -> Path:
        """Return where a file lies."""
        return self._places.get(name, self.directory / name)

    def read(self, file: StoredFile) -> bytes:
        """Return a file's bytes; raises ``OSError`` for a missing and ``ValueError`` for a changed one."""
        data = self.path(file.name).read_bytes()
        if digest_of(data) != _digest_in(file.name):
            raise ValueError(f"{file.name} has changed")
        return data

    def has_digest(self, path: Path, digest: str) -> bool:
        """Whether ``path`` holds this content; hashed again only when its size or time has changed."""
        try:
            state = path.stat()
            seen = self._checked.get(path)
            if seen is None or seen[:2] != (state.st_size, state.st_mtime_ns):
                seen = (state.st_size, state.st_mtime_ns, sha256_of(path))
                self._checked[path] = seen
        except OSError:
            return False
        return seen[2] == digest

    def intact(self, file: StoredFile) -> bool:
        """Whether a file is there with its content."""
        return self.has_digest(self.path(file.name), _digest_in(file.name))

    def forget_checks(self) -> None:
        """Hash everything again when it is asked for next."""
        self._checked.clear()

    def write(self, name: str, data: bytes | Path) -> None:
        """Write a file whole, from bytes or as a copy of another file; one that is there is kept."""
        target = self.directory / name
        digest = _digest_in(name)
        if target.is_file() and sha256_of(target) == digest:
            return
        if not target.parent.is_dir():
            target.parent.mkdir(exist_ok=True)
            sync_folder(self.directory)
        if isinstance(data, bytes):
            replace_file(target, data)
            return
        with draft_of(target) as draft:
            copy_synced(data, draft)
            if sha256_of(draft) != digest:
                raise LibraryError(f"{data.name} changed while it was copied; add it again.")

    def link(self, name: str, original: Path) -> None:
        """Give ``original`` its name in the library: a second name for the same bytes, or a copy."""
        target = self.directory / name
        if target.exists():
            return
        target.parent.mkdir(exist_ok=True)
        try:
            os.link(original, target)
        except OSError:
            with draft_of(target) as draft:
                copy_synced(original, draft)

    def remove(self, name: str) -> None:
        """Remove a file; one that another program holds open is left for the next opening."""
        with suppress(OSError):
            (self.directory / name).unlink(missing_ok=True)

    def listed(self, *, clean: bool = True) -> Iterator[str]:
        """Names of everything in the library's folders, drafts left out; with ``clean``, when nobody writes, these
        are those of a killed write and are removed."""
        for folder in FOLDERS:
            with suppress(FileNotFoundError), os.scandir(self.directory / folder) as entries:
                for entry in entries:
                    if not _DRAFT.fullmatch(entry.name):
                        yield f"{folder}/{entry.name}"
                    elif clean:
                        self.remove(f"{folder}/{entry.name}")

    def move_to_lost(self, name: str) -> None:
        """Put aside what the library does not know; an equal name there gets a number."""
        source, target = self.directory / name, self.directory / LOST / name
        target.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while target.exists():
            number += 1
            target = self.directory / LOST / f"{name}-{number}"
        source.replace(target)


def _digest_in(name: str) -> str:
    return name.partition("/")[2][:64]
