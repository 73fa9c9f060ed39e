"""Index files: read, encode, and hand complete records to the store, which alone writes."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from vtr_demo.errors import LibraryError, VideoError, VtrError, readable_name, stop_if_unwanted
from vtr_demo.files import sha256_of
from vtr_demo.library.cluster import prepare_on_ray
from vtr_demo.library.encoding import (
    PreparedFile,
    clip_vectors,
    encode_clip,
    encode_file,
    encode_frames,
    fit_prototypes,
    load_prototypes,
    read_clip,
    read_file,
    settled_time,
)
from vtr_demo.library.reader import LibraryReader, index_command
from vtr_demo.library.records import ClipContents, FeatureVersion, StoredClip, id_of
from vtr_demo.library.store import LibraryWriter
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import IndexReport
from vtr_demo.video.frames import LimitConfig
from vtr_demo.video.sandbox import IDLE_WORKERS

Progress = Callable[[float, str], None]
PROTOTYPES = "prototypes"
"""The setting that keeps the prototypes of an untrained model, by the model's fingerprint."""
_CLIPS_FOR_PROTOTYPES = 32
READERS = IDLE_WORKERS
"""Files that are read at a time while others are encoded and stored: one for each process that waits for work."""
_RECENT = 20
"""Files by whose time the rest is estimated."""


_Report = dict[str, list[Any]]
"""The fields of an ``IndexReport`` while files are added."""


@dataclass(frozen=True)
class _File:
    """A file that is offered to a library."""

    path: Path
    name: str
    captions: tuple[str, ...]
    keep_copy: bool
    visitor: str

    @property
    def source(self) -> str:
        return os.path.realpath(self.path)


class Indexer:
    """Keep a library in step with a model."""

    def __init__(self, library: LibraryReader, model: RetrievalModel, limits: LimitConfig) -> None:
        """Use ``Indexer.open``."""
        self.library, self._model, self._limits = library, model, limits
        if not model.model.config.trained and (fitted := self._fitted()) is not None:
            load_prototypes(model, fitted)

    @classmethod
    def open(
        cls,
        directory: Path,
        model: RetrievalModel,
        limits: LimitConfig,
        *,
        rebuild: bool = False,
        readonly: bool = False,
        progress: Progress | None = None,
    ) -> Indexer:
        """Open the library for ``model``; one of another model is refused unless ``rebuild``."""
        version = FeatureVersion(model.fingerprint, model.tower_fingerprint, model.spec)
        if readonly:
            indexer = cls(LibraryReader.open(directory, version), model, limits)
            indexer._require_prototypes()
            return indexer
        library = LibraryWriter.open(directory, version, allow_stale=rebuild)
        try:
            indexer = cls(library, model, limits)
            if library.stale:
                indexer._rebuild(progress)
            elif rebuild and len(library) and not indexer.ready:  # until its vectors are made anew, no clip has any
                library.forget_vectors()
                indexer._fit_prototypes(library.clips(), (), progress)
                indexer.repair()
            indexer._require_prototypes()
        except BaseException:
            library.close()
            raise
        return indexer

    def close(self) -> None:
        """Let another process write."""
        if isinstance(self.library, LibraryWriter):
            self.library.close()

    @property
    def ready(self) -> bool:
        """False for a model without training until the library's first clips gave it prototypes."""
        return self._model.model.config.trained or self._fitted() is not None

    def writer(self) -> LibraryWriter:
        """Return the library opened for writing; one that is read only refuses."""
        if not isinstance(self.library, LibraryWriter):
            raise LibraryError(
                f"The library {self.library.directory} is open for reading only; close the other program."
            )
        return self.library

    # ------------------------------------------------------------------ adding
    def add(
        self,
        paths: Sequence[Path],
        *,
        names: Sequence[str] | None = None,
        captions: Sequence[Sequence[str]] | None = None,
        keep_copy: bool = True,
        progress: Progress | None = None,
        visitor: str = "",
        cluster: str = "",
    ) -> IndexReport:
        """Index files one by one; each is stored whole or not at all, and failures are reported.

        A known file is recognised by its place, size and time, else by its content, then with its new place.
        A clip whose file now holds another film is deleted, unless the library has a copy of it. Captions
        that are given replace those of a known clip. A Ray ``cluster`` reads and encodes instead of this process.
        """
        library, overwritten = self.writer(), dict[str, str]()
        report: _Report = {one.name: [] for one in fields(IndexReport)}
        texts = captions or [()] * len(paths)
        files = [
            _File(path, name, tuple(own), keep_copy, visitor)
            for path, name, own in zip(paths, names or map(readable_name, paths), texts, strict=True)
        ]
        if not self.ready:
            self._fit_prototypes((), paths, progress)
        ends = deque([time.perf_counter()], _RECENT + 1)
        with library.scratch() as scratch, closing(self._prepare(files, scratch, cluster)) as prepared:
            for i, (file, ready) in enumerate(zip(files, prepared, strict=True)):
                stop_if_unwanted()
                if progress:
                    left = _time_left(ends, len(files) - i)
                    progress(i / len(files), f"{file.name} ({i + 1} of {len(files)}{left})")
                try:
                    overwritten |= self._take(report, file, ready.result())
                except (VtrError, OSError) as error:
                    report["failed"].append((file.name, _sentence(error, file.name)))
                ends.append(time.perf_counter())
        for clip_id, source in overwritten.items():  # last: its film may lie under another name now
            if clip_id in library and (old := library.get(clip_id)).source == source:
                library.delete(clip_id)
                report["replaced"].append((clip_id, old.name))
        if progress:
            progress(1.0, "done")
        return IndexReport(**{name: tuple(rows) for name, rows in report.items()})

    def _prepare(self, files: Sequence[_File], scratch: Path, cluster: str) -> Generator[Future[PreparedFile | None]]:
        """Yield what becomes of each file, in order, while the next ones are read and encoded.

        None stands for a file that is known by its place, size and time.
        """
        if cluster:
            yield from self._prepare_there(files, scratch, cluster)
            return
        readers = ThreadPoolExecutor(READERS, thread_name_prefix="read")
        encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")
        waiting: deque[Future[PreparedFile | None]] = deque()
        find = self.library.find_by_digest

        def read(file: _File) -> PreparedFile | None:
            if self._at(file)[1] is not None:
                return None
            return read_file(file.path, self._model, self._limits, scratch, lambda it: find(it, file.visitor))

        def encode(reading: Future[PreparedFile | None]) -> PreparedFile | None:
            done = reading.result()
            return done and encode_file(done, self._model)

        try:
            for file in files:
                waiting.append(encoder.submit(encode, readers.submit(read, file)))
                if len(waiting) > READERS:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)
            encoder.shutdown(cancel_futures=True)
            readers.shutdown()

    def _prepare_there(
        self, files: Sequence[_File], scratch: Path, cluster: str
    ) -> Generator[Future[PreparedFile | None]]:
        """Yield what becomes of each file on a cluster, which is not sent those that are known."""
        sizes, find = {clip.size for clip in self.library.clips()}, self.library.find_by_digest
        ready = [Future[PreparedFile | None]() for _ in files]
        for file, future in zip(files, ready, strict=True):
            with suppress(OSError):  # the cluster says what is wrong
                if self._at(file)[1] is not None:
                    future.set_result(None)
                    continue
                state = file.path.stat()
                if state.st_size in sizes and find(digest := sha256_of(file.path), file.visitor):
                    future.set_result(PreparedFile(state, settled_time(state), digest))
        unknown = [file.path for file, future in zip(files, ready, strict=True) if not future.done()]
        fitted = None if self._model.model.config.trained else self._fitted()
        with closing(prepare_on_ray(cluster, unknown, self._model, self._limits, fitted, scratch)) as outcomes:
            for future in ready:
                if not future.done():
                    outcome = next(outcomes)
                    if isinstance(outcome, PreparedFile):
                        future.set_result(outcome)
                    else:
                        future.set_exception(outcome)
                yield future

    def _at(self, file: _File) -> tuple[list[StoredClip], StoredClip | None]:
        """Return the clips, the visitor's or the library's own, whose original lies or lay where the file does, and of
        these the one that it still is, by size and time."""
        there = [clip for clip in self.library.catalogue.at(file.source) if clip.visitor in ("", file.visitor)]
        for clip in there:
            state = file.path.stat()
            unchanged = clip.modified_ns and (clip.size, clip.modified_ns) == (state.st_size, state.st_mtime_ns)
            if unchanged and self.library.healthy(clip.id):
                return there, clip
        return there, None

    def _take(self, report: _Report, file: _File, ready: PreparedFile | None) -> dict[str, str]:
        """Add one file, or note what has become of the clip that it is; returns the ids of clips that may have lost
        their file by it, and its path."""
        library, (there, clip) = self.writer(), self._at(file)
        if clip is not None:
            report["known"].append(file.name)
        else:
            clip, note = self._store(file, ready)
            if note is None:
                report["known"].append(file.name)
                if clip.visitor == file.visitor:
                    clip = self._keep_up(report, clip, file)
            else:
                report["added"].append(clip.id)
                if note:
                    report["partial"].append((file.name, note))
        if file.captions and file.captions != clip.captions and clip.visitor == file.visitor:
            clip = library.update(replace(clip, captions=file.captions))
        with suppress(LibraryError):  # it only saves space
            library.pack(clip)
        return {old.id: file.source for old in there if old.id != clip.id and "media" not in old.files}

    def _keep_up(self, report: _Report, clip: StoredClip, file: _File) -> StoredClip:
        """Note the time of a known clip's film and where it lies, or copy it, if it has left its old place."""
        library, state = self.writer(), file.path.stat()
        current = replace(clip, size=state.st_size, modified_ns=settled_time(state))
        if clip.source != file.source:
            if "media" in clip.files or library.at_its_place(clip):
                return clip
            if file.keep_copy:
                return library.update(clip, copy=file.path)
            current = replace(current, name=file.name, source=file.source)
            report["moved"].append(file.name)
        return clip if current == clip else library.update(current)

    def _store(self, file: _File, ready: PreparedFile | None = None) -> tuple[StoredClip, str | None]:
        """Store a file as a clip; returns it and what could not be read, or the clip of the same content and None."""
        library, path, captions = self.writer(), file.path, file.captions
        if ready is not None and (known := library.find_by_digest(ready.digest, file.visitor)) is not None:
            return known, None
        if ready is None or ready.clip is None or ready.contents is None:  # known when it was read, and deleted since
            with library.scratch() as scratch:
                read = read_file(path, self._model, self._limits, scratch)
                return self._store(file, encode_file(read, self._model))
        info = ready.clip.info
        if not captions and (damaged := id_of(ready.digest, file.visitor)) in library:
            captions = library.get(damaged).captions
        clip = StoredClip(
            name=file.name,
            source=file.source,
            digest=ready.digest,
            duration_s=info.duration_s,
            width=info.width,
            height=info.height,
            moments=ready.clip.moments,
            captions=captions,
            size=ready.state.st_size,
            modified_ns=ready.modified_ns,
            visitor=file.visitor,
        )
        after = path.stat()
        if (after.st_size, after.st_mtime_ns) != (ready.state.st_size, ready.state.st_mtime_ns):
            raise VideoError(path, "it changed while it was read", "index it again once it is complete")
        stored = library.add(clip, replace(ready.contents, copy=path if file.keep_copy else None))
        if ready.contents.playable:
            ready.contents.playable.unlink()
        return stored, info.note

    # ------------------------------------------------------------------ making whole again
    def repair(self, progress: Progress | None = None) -> IndexReport:
        """Make again what is damaged of each clip: from its tokens, its frames, or the file it came from.

        A clip whose file has changed since is replaced by what the file holds now.
        """
        library = self.writer()
        library.check()
        added, failed = list[str](), list[tuple[str, str]]()
        for clip in _reported(library.damaged(), progress):
            try:
                added.append(self._repair_one(clip))
            except (VtrError, OSError) as error:
                failed.append((clip.name, _sentence(error, clip.name)))
        return IndexReport(tuple(added), failed=tuple(failed))

    def _repair_one(self, clip: StoredClip) -> str:
        """Make a clip whole from what is left of it; returns its id, a new one where its file has changed."""
        library = self.writer()
        needed = ("frames", *(role for role in ("media", "browser") if role in clip.files))
        if not all(library.intact(clip.id, role) for role in needed):
            return self._index_again(clip)
        frames = library.frames(clip.id)
        tokens = library.tokens(clip.id) if self._has_tokens(clip) else encode_frames(self._model, frames)
        poster = None
        if not library.intact(clip.id, "poster"):
            with suppress(VtrError):  # without the file, the middle of what the model saw
                poster = read_clip(library.media(clip.id, original=True), self._model, self._limits).poster
        vectors = clip_vectors(self._model, tokens, clip.duration_s, clip.moments)
        return library.replace(clip, ClipContents(frames, tokens, vectors, poster)).id

    def _index_again(self, clip: StoredClip) -> str:
        """Index the file that a damaged clip came from, in its place."""
        library, copied = self.writer(), "media" in clip.files
        path = library.original(clip) if library.intact(clip.id, "media") else Path(clip.source)
        if not path.is_file():
            raise LibraryError(
                f"{clip.name} is damaged in the library and no longer at {path}; put the file back and "
                "rebuild the library, or delete the clip."
            )
        stored, note = self._store(_File(path, clip.name, clip.captions, copied, clip.visitor))
        if note is None:
            raise LibraryError(
                f"{clip.name} is damaged, and {path} now holds another clip of the library; delete this one."
            )
        if stored.id != clip.id:
            library.delete(clip.id)
        return stored.id

    def _has_tokens(self, clip: StoredClip) -> bool:
        return clip.tower == self.library.wanted.tower and self.library.intact(clip.id, "tokens")

    # ------------------------------------------------------------------ another model
    def _rebuild(self, progress: Progress | None) -> None:
        """Bring a stale library to our model, from stored tokens where the tower is the same, else anew.

        A clip of which that is impossible is kept without vectors, unless it is so for all.
        """
        library = self.writer()
        clips = library.clips()
        if not self.ready:
            self._fit_prototypes(clips, (), progress)
        refusal: Exception | None = None
        impossible: list[str] = []
        for clip in _reported(clips, progress):
            try:
                if not library.rebuilt(clip.id):
                    self._rebuild_one(clip)
            except VtrError as error:
                refusal = error
                impossible.append(clip.id)
        if refusal is not None and len(impossible) == len(clips):
            raise refusal
        for clip_id in impossible:
            library.carry_over(clip_id)
        library.switch()

    def _rebuild_one(self, clip: StoredClip) -> None:
        library = self.writer()
        if self._has_tokens(clip):
            vectors = clip_vectors(self._model, library.tokens(clip.id), clip.duration_s, clip.moments)
            library.replace_vectors(clip.id, vectors)
            return
        read = read_clip(library.media(clip.id, original=True), self._model, self._limits)
        library.replace(replace(clip, moments=read.moments), encode_clip(read, self._model))

    # ------------------------------------------------------------------ prototypes of an untrained model
    def _fitted(self) -> dict[str, Any] | None:
        fitted = self.library.setting(PROTOTYPES).get(self._model.fingerprint)
        return fitted if isinstance(fitted, dict) else None

    def _require_prototypes(self) -> None:
        """Refuse vectors whose prototypes are lost: others beside them would rank silently wrong."""
        if len(self.library) and not self.ready:
            raise LibraryError(
                f"The prototypes of the library {self.library.directory} are lost; rebuild it with "
                f"`{index_command('--rebuild', self.library.directory, self._model.spec)}`."
            )

    def _fit_prototypes(self, clips: Sequence[StoredClip], paths: Sequence[Path], progress: Progress | None) -> None:
        """Fit prototypes to the first of these clips, stored or in files, and keep them with the library."""
        library, tokens, files = self.writer(), [], [*paths]
        for clip in clips[:_CLIPS_FOR_PROTOTYPES]:
            with suppress(LibraryError):
                if clip.tower == library.wanted.tower:
                    tokens.append(library.tokens(clip.id))
                else:
                    files.append(library.media(clip.id, original=True))
        for path in files[:_CLIPS_FOR_PROTOTYPES]:
            if progress:
                progress(0.0, f"first look at {path.name}")
            with suppress(VtrError):  # reported when it is indexed
                tokens.append(encode_frames(self._model, read_clip(path, self._model, self._limits).frames))
        if tokens:
            fitted = fit_prototypes(self._model, tokens)
            # One entry a model: a rebuild that is interrupted leaves the old model its own.
            library.set_setting(PROTOTYPES, {**library.setting(PROTOTYPES), self._model.fingerprint: fitted})
            load_prototypes(self._model, fitted)


def _reported(clips: Sequence[StoredClip], progress: Progress | None) -> Iterator[StoredClip]:
    for i, clip in enumerate(clips):
        if progress:
            progress(i / len(clips), f"{clip.name} ({i + 1} of {len(clips)})")
        yield clip


def _time_left(ends: deque[float], files: int) -> str:
    """Return how long so many files take, by the ends of the last ones; empty while nothing is known or it is short."""
    if len(ends) < 4 or (left := files * (ends[-1] - ends[0]) / (len(ends) - 1)) < 5:
        return ""
    return f", about {left:.0f} s left" if left < 100 else f", about {left / 60:.0f} min left"


def _sentence(error: VtrError | OSError, name: str) -> str:
    if isinstance(error, VtrError):
        return str(error)
    return f"{name} cannot be read ({error.strerror}); check that the file exists and that you may open it."
