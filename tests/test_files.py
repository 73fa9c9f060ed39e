"""Atomic writes under injected failures; fingerprints of settings."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

from tests.helpers.stored import contents_of
from vtr_demo import files
from vtr_demo.errors import LibraryError
from vtr_demo.files import FolderLock, fingerprint, replace_file
from vtr_demo.library.content import ContentFiles
from vtr_demo.structures import VideoTokens


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "interrupt"])
@pytest.mark.parametrize("before", [None, b"old"], ids=["new file", "old file"])
def test_a_failed_write_leaves_neither_a_draft_nor_a_changed_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bytes | None
) -> None:
    path = tmp_path / "settings.json"
    if before is not None:
        path.write_bytes(before)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt if step == "interrupt" else OSError(28, "No space left on device")

    class FullDisk:
        """A stream that writes half of what it gets and fails."""

        def __init__(self, stream) -> None:
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def write(self, data: bytes) -> None:
            self.stream.write(data[: len(data) // 2])
            fail()

    with monkeypatch.context() as patch:
        if step == "write":
            plain = Path.open
            patch.setattr(Path, "open", lambda self, mode: FullDisk(plain(self, mode)))
        elif step == "replace":
            patch.setattr(Path, "replace", fail)
        else:
            patch.setattr(os, "fsync", fail)
        with pytest.raises(KeyboardInterrupt if step == "interrupt" else OSError):
            replace_file(path, b"new content")
    assert [file.name for file in tmp_path.iterdir()] == ([] if before is None else [path.name])
    assert before is None or path.read_bytes() == before
    replace_file(path, b"new content")
    assert path.read_bytes() == b"new content"


def test_threads_that_write_one_file_leave_the_whole_content_of_one(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", [bytes([i]) * 100_000 for i in range(4)]
    threads = [threading.Thread(target=replace_file, args=(path, data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_is_released_by_another_thread_than_its_owner(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(LibraryError, match=f"process {os.getpid()}"):
        FolderLock(tmp_path)
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    lock.release()
    FolderLock(tmp_path).release()


@dataclass(frozen=True)
class Plain:
    width: int
    sizes: tuple[int, ...]


class Model(BaseModel):
    width: int
    sizes: tuple[int, ...]


def test_equal_settings_have_equal_fingerprints_whatever_class_holds_them() -> None:
    values = {"width": 3, "sizes": (1, 2)}
    assert fingerprint(Plain(**values)) == fingerprint(Model(**values)) == fingerprint(values)
    assert fingerprint(Plain(**values)) != fingerprint(Plain(3, (2, 1)))
    assert fingerprint("a", "b") != fingerprint("b", "a")


def test_a_copy_that_fails_half_way_leaves_neither_a_draft_nor_a_file(tmp_path, monkeypatch):
    original, directory = tmp_path / "old.npz", tmp_path / "library"
    original.write_bytes(b"frames")
    name = f"frames/{hashlib.sha256(b'frames').hexdigest()}.npz"

    def fail(source, target):
        target.write_bytes(b"fra")
        raise OSError(errno.ENOSPC, "No space left on device")

    def other_disk(*names):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    monkeypatch.setattr("vtr_demo.files.shutil.copyfile", fail)
    directory.mkdir()
    for write in (ContentFiles(directory).write, ContentFiles(directory).link):
        with pytest.raises(OSError, match="No space"):
            write(name, original)
        assert list((directory / "frames").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_that_cannot_lock_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LibraryError, match=r"cannot lock files .* keep it on a local disk"):
        FolderLock(tmp_path)


def test_a_folder_that_is_locked_says_so_whatever_lies_where_its_owner_stands(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    (tmp_path / ".lock-owner").write_bytes(b"proc\xff\xe9")
    with pytest.raises(LibraryError, match="is being written by another process"):
        FolderLock(tmp_path)
    lock.release()


def test_a_disk_that_cannot_wait_for_a_folder_still_takes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    number = errno.EINVAL
    replace_file(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"
    number = errno.EIO
    with pytest.raises(OSError, match=os.strerror(number)):
        replace_file(tmp_path / "a", b"2")


# --------------------------------------------------------------------------- arrays as bytes
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("packed", [False, True])
def test_tokens_come_back_as_float16_holds_them_and_give_the_same_bytes_again(share: float, packed: bool) -> None:
    torch.manual_seed(int(10 * share))
    patches = torch.randn(1, 3, 6, 50) * torch.tensor([1e-7, 1e-4, 1.0, 6e4 / 6]).repeat(225).view(1, 3, 6, 50)
    patches = patches * (torch.rand(1, 3, 6, 50) < share)
    tokens = VideoTokens(patches, torch.randn(1, 3, 4), torch.tensor([[True, True, False]]), (2, 3), None)
    data = files.tokens_to_bytes(tokens, packed=packed)
    back = files.tokens_from_bytes(data)
    assert torch.equal(back.patches, tokens.patches.half().float())
    assert torch.equal(back.summary, tokens.summary.half().float())
    assert torch.equal(back.frame_mask, tokens.frame_mask)
    assert (back.grid, back.motion) == ((2, 3), None)
    assert files.tokens_to_bytes(back, packed=packed) == data


def test_packed_tokens_that_are_mostly_zero_take_a_quarter_and_infinite_ones_are_refused() -> None:
    patches = torch.randn(1, 3, 6, 1280).clamp(min=1).sub(1)  # as after a rectifier
    tokens = VideoTokens(patches, torch.zeros(1, 3, 4), torch.ones(1, 3) > 0, (2, 3))
    assert 4 * len(files.tokens_to_bytes(tokens, packed=True)) < len(files.tokens_to_bytes(tokens)) + 10_000
    with pytest.raises(LibraryError, match="do not fit float16"):
        files.tokens_to_bytes(replace(tokens, patches=patches + 1e6), packed=True)


def test_frames_that_were_decoded_from_a_file_are_written_as_that_file() -> None:
    frames = contents_of(0).frames
    kept = files.compressed(frames)
    assert kept.pixels.shape == frames.pixels.shape
    assert len(files.frames_to_bytes(kept)) < len(files.frames_to_bytes(frames))
    again = files.frames_from_bytes(files.frames_to_bytes(kept))
    assert (again.pixels == kept.pixels).all()
    assert (files.compressed(again).pixels == kept.pixels).all(), "no loss by the second time"
    part = kept.take([1, 3])
    assert (files.frames_from_bytes(files.frames_to_bytes(part)).pixels == kept.pixels[[1, 3]]).all()
    assert (files.frames_from_bytes(files.frames_to_bytes(kept), [2]).pixels == kept.pixels[2:3]).all()
