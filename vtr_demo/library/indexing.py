"""Index files: read, encode, and hand complete records to the store, which alone writes."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.errors import LibraryError, VideoError, VtrError, readable_name, stop_if_unwanted
from vtr_demo.files import sha256_of
from vtr_demo.library.cluster import RayCluster
from vtr_demo.library.encoding import (
    EncodedClip,
    PreparedFile,
    clip_vectors,
    encode_clip,
    encode_file,
    encode_frames,
    fit_prototypes,
    load_prototypes,
    read_clip,
    read_file,
    size_and_time,
    whole_frames,
)
from vtr_demo.library.reader import LibraryReader, index_command
from vtr_demo.library.records import ClipContents, FeatureVersion, StoredClip, id_of
from vtr_demo.library.store import LibraryWriter
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import IndexReport
from vtr_demo.structures import VideoTokens
from vtr_demo.video.frames import LimitConfig, VideoInfo
from vtr_demo.video.sandbox import IDLE_WORKERS

Progress = Callable[[float, str], None]
PROTOTYPES = "prototypes"
"""The setting that keeps the prototypes of an untrained model, by the model's fingerprint."""
_CLIPS_FOR_PROTOTYPES = 32
READERS = IDLE_WORKERS
"""Files that are read at a time while others are encoded and stored: one for each process that waits for work."""
_RECENT = 20
"""Files by whose time the rest is estimated."""


@dataclass
class _Batch:
    """What has become of the files of one ``add``; see ``IndexReport``.

    overwritten: the path of clips that may have lost it.
    """

    visitor: str = ""
    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    overwritten: dict[str, str] = field(default_factory=dict)
    partial: list[tuple[str, str]] = field(default_factory=list)


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
                indexer._rebuild(library, progress)
            elif rebuild and len(library) and not indexer.ready:
                indexer._refit(library)
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

    # ------------------------------------------------------------------ writing
    def add(
        self,
        paths: Sequence[Path],
        *,
        names: Sequence[str] | None = None,
        captions: Sequence[Sequence[str]] | None = None,
        keep_copy: bool = True,
        progress: Progress | None = None,
        visitor: str = "",
        cluster: RayCluster | None = None,
    ) -> IndexReport:
        """Index files one by one; each is stored whole or not at all, and failures are reported.

        A known file is recognised by its place, size and time, else by its content, then with its new place.
        A clip whose file now holds another film is deleted, unless the library has a copy of it. Captions
        that are given replace those of a known clip. A ``cluster`` reads and encodes instead of this process.
        """
        library, batch = self.writer(), _Batch(visitor)
        if not self.ready:
            self._keep_prototypes(library, self._first_look(paths, progress))
        ends = deque([time.perf_counter()], _RECENT + 1)
        with library.scratch() as scratch, closing(self._prepare(library, batch, paths, scratch, cluster)) as prepared:
            for i, (path, ready) in enumerate(zip(paths, prepared, strict=True)):
                stop_if_unwanted()
                name = names[i] if names else readable_name(path)
                if progress:
                    progress(i / len(paths), f"{name} ({i + 1} of {len(paths)}{_time_left(ends, len(paths) - i)})")
                texts = tuple(captions[i]) if captions else ()
                try:
                    self._take(library, batch, path, name, texts, keep_copy, ready.result())
                except (VtrError, OSError) as error:
                    batch.failed.append((name, _sentence(error, name)))
                ends.append(time.perf_counter())
        replaced = []
        for clip_id, source in batch.overwritten.items():  # last: its film may lie under another name now
            if clip_id in library and (old := library.get(clip_id)).source == source:
                library.delete(clip_id)
                replaced.append((clip_id, old.name))
        if progress:
            progress(1.0, "done")
        return IndexReport(
            tuple(batch.added),
            tuple(batch.known),
            tuple(batch.failed),
            tuple(batch.moved),
            tuple(replaced),
            tuple(batch.partial),
        )

    def repair(self, progress: Progress | None = None) -> IndexReport:
        """Make again what is damaged of each clip: from its tokens, its frames, or the file it came from.

        A clip whose file has changed since is replaced by what the file holds now.
        """
        library = self.writer()
        library.check()
        added: list[str] = []
        failed: list[tuple[str, str]] = []
        damaged = library.damaged()
        for i, clip in enumerate(damaged):
            if progress:
                progress(i / len(damaged), f"{clip.name} ({i + 1} of {len(damaged)})")
            try:
                added.append(self._repair_one(library, clip))
            except (VtrError, OSError) as error:
                failed.append((clip.name, _sentence(error, clip.name)))
        return IndexReport(tuple(added), (), tuple(failed))

    def writer(self) -> LibraryWriter:
        """Return the library opened for writing; one that is read only refuses."""
        if not isinstance(self.library, LibraryWriter):
            raise LibraryError(
                f"The library {self.library.directory} is open for reading only; close the other program."
            )
        return self.library

    # ------------------------------------------------------------------ one clip
    def _prepare(
        self, library: LibraryWriter, batch: _Batch, paths: Sequence[Path], scratch: Path, cluster: RayCluster | None
    ) -> Generator[Future[PreparedFile | None]]:
        """Yield what becomes of each file, in order, here or on a cluster."""
        if cluster is None:
            yield from self._prepare_ahead(library, batch, paths, scratch)
            return
        sizes, ready = {clip.size for clip in library.list()}, [Future[PreparedFile | None]() for _ in paths]
        for path, future in zip(paths, ready, strict=True):
            with suppress(OSError):  # the cluster says what is wrong
                if self._is_known(library, batch, path):
                    future.set_result(None)
                elif (state := path.stat()).st_size in sizes:
                    digest = sha256_of(path)
                    if library.find_by_digest(digest, batch.visitor) is not None:
                        future.set_result(PreparedFile(state, size_and_time(state)[1], digest))
        unknown = [path for path, future in zip(paths, ready, strict=True) if not future.done()]
        fitted = None if self._model.model.config.trained else self._fitted()
        with closing(cluster.prepare(unknown, self._model, self._limits, fitted, scratch)) as outcomes:
            for future in ready:
                if not future.done():
                    outcome = next(outcomes)
                    if isinstance(outcome, PreparedFile):
                        future.set_result(outcome)
                    else:
                        future.set_exception(outcome)
                yield future

    def _is_known(self, library: LibraryWriter, batch: _Batch, path: Path) -> bool:
        return any(self._is_current(library, clip, path) for clip in _at(library, batch.visitor, path))

    def _prepare_ahead(
        self, library: LibraryWriter, batch: _Batch, paths: Sequence[Path], scratch: Path
    ) -> Generator[Future[PreparedFile | None]]:
        """Yield what becomes of each file, in order, while the next ones are read and encoded."""
        readers = ThreadPoolExecutor(READERS, thread_name_prefix="read")
        encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")
        waiting: deque[Future[PreparedFile | None]] = deque()

        def has(digest: str) -> bool:
            return library.find_by_digest(digest, batch.visitor) is not None

        def read(path: Path) -> PreparedFile | None:
            if self._is_known(library, batch, path):
                return None
            return read_file(path, self._model, self._limits, scratch, has)

        def encode(reading: Future[PreparedFile | None]) -> PreparedFile | None:
            done = reading.result()
            return done and encode_file(done, self._model)

        try:
            for path in paths:
                waiting.append(encoder.submit(encode, readers.submit(read, path)))
                if len(waiting) > READERS:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)
            encoder.shutdown(cancel_futures=True)
            readers.shutdown()

    def _is_current(self, library: LibraryWriter, clip: StoredClip, path: Path) -> bool:
        return _unchanged(clip, path) and library.healthy(clip.id)

    def _take(
        self,
        library: LibraryWriter,
        batch: _Batch,
        path: Path,
        name: str,
        captions: tuple[str, ...],
        keep_copy: bool,
        ready: PreparedFile | None,
    ) -> None:
        """Add one file, or note what has become of the clip that it is."""
        source, there = os.path.realpath(path), _at(library, batch.visitor, path)
        clip = next((one for one in there if self._is_current(library, one, path)), None)
        if clip is None:
            clip, info = self._add_one(library, path, name, captions, keep_copy, batch.visitor, ready)
            if info is not None:
                batch.added.append(clip.id)
                if info.note:
                    batch.partial.append((name, info.note))
            else:
                batch.known.append(name)
                if clip.visitor == batch.visitor:
                    clip = self._keep_up(library, clip, path, name, keep_copy, batch)
        else:
            batch.known.append(name)
        if captions and captions != clip.captions and clip.visitor == batch.visitor:
            clip = library.update(replace(clip, captions=captions))
        with suppress(LibraryError):  # it only saves space
            library.pack(clip)
        batch.overwritten |= {old.id: source for old in there if old.id != clip.id and "media" not in old.files}

    def _keep_up(
        self, library: LibraryWriter, clip: StoredClip, path: Path, name: str, keep_copy: bool, batch: _Batch
    ) -> StoredClip:
        """Note the time of a known clip's film and where it lies, or copy it, if it has left its old place."""
        source, (size, modified_ns) = os.path.realpath(path), size_and_time(path.stat())
        if clip.source == source:
            current = replace(clip, size=size, modified_ns=modified_ns)
        elif "media" in clip.files or library.at_its_place(clip):
            return clip
        elif keep_copy:
            return library.update(clip, copy=path)
        else:
            current = replace(clip, name=name, source=source, size=size, modified_ns=modified_ns)
            batch.moved.append(name)
        return clip if current == clip else library.update(current)

    def _add_one(
        self,
        library: LibraryWriter,
        path: Path,
        name: str,
        captions: tuple[str, ...],
        keep_copy: bool,
        visitor: str,
        ready: PreparedFile | None = None,
    ) -> tuple[StoredClip, VideoInfo | None]:
        """Store a file as a clip; returns it and what it is, or the clip of the same content and None."""
        if ready is not None and (known := library.find_by_digest(ready.digest, visitor)) is not None:
            return known, None
        if ready is None or ready.clip is None:  # known when it was read, and deleted since
            with library.scratch() as scratch:
                ready = encode_file(read_file(path, self._model, self._limits, scratch), self._model)
                return self._add_one(library, path, name, captions, keep_copy, visitor, ready)
        digest, encoded = ready.digest, ready.clip
        assert isinstance(encoded, EncodedClip)
        assert ready.vectors is not None
        if not captions and id_of(digest, visitor) in library:  # it is damaged
            captions = library.get(id_of(digest, visitor)).captions
        clip = StoredClip(
            name=name,
            source=os.path.realpath(path),
            digest=digest,
            duration_s=encoded.info.duration_s,
            width=encoded.info.width,
            height=encoded.info.height,
            moments=encoded.moments,
            captions=captions,
            size=ready.state.st_size,
            modified_ns=ready.modified_ns,
            visitor=visitor,
        )
        contents = ClipContents(
            encoded.frames,
            encoded.tokens,
            ready.vectors,
            poster=encoded.poster,
            copy=path if keep_copy else None,
            playable=ready.playable,
        )
        after = path.stat()
        if (after.st_size, after.st_mtime_ns) != (ready.state.st_size, ready.state.st_mtime_ns):
            raise VideoError(path, "it changed while it was read", "index it again once it is complete")
        stored = library.add(clip, contents)
        if ready.playable:
            ready.playable.unlink()
        return stored, encoded.info

    def _repair_one(self, library: LibraryWriter, clip: StoredClip) -> str:
        """Make a clip whole from what is left of it; returns its id, a new one where its file has changed."""
        inside = [role for role in ("media", "browser") if role in clip.files]
        if not library.intact(clip.id, "frames") or not all(library.intact(clip.id, role) for role in inside):
            return self._index_again(library, clip)
        frames = library.frames(clip.id)
        if clip.tower == library.wanted.tower and library.intact(clip.id, "tokens"):
            tokens = library.tokens(clip.id)
        else:
            tokens = encode_frames(self._model, frames)
        poster = None
        if not library.intact(clip.id, "poster"):
            with suppress(VtrError):  # without the file, the middle of what the model saw
                poster = read_clip(library.media(clip.id, original=True), self._model, self._limits).poster
        return library.replace(clip, ClipContents(frames, tokens, self._vectors(clip, tokens), poster)).id

    def _index_again(self, library: LibraryWriter, clip: StoredClip) -> str:
        """Index the file that a damaged clip came from, in its place."""
        copied = "media" in clip.files
        path = library.original(clip) if library.intact(clip.id, "media") else Path(clip.source)
        if not path.is_file():
            raise LibraryError(
                f"{clip.name} is damaged in the library and no longer at {path}; put the file back and "
                "rebuild the library, or delete the clip."
            )
        stored, info = self._add_one(library, path, clip.name, clip.captions, copied, clip.visitor)
        if info is None:
            raise LibraryError(
                f"{clip.name} is damaged, and {path} now holds another clip of the library; delete this one."
            )
        if stored.id != clip.id:
            library.delete(clip.id)
        return stored.id

    def _vectors(self, clip: StoredClip, tokens: VideoTokens) -> np.ndarray:
        whole = whole_frames(clip.duration_s, tokens.patches.shape[1], self._model)
        return clip_vectors(self._model, tokens, whole, clip.moments)

    # ------------------------------------------------------------------ another model
    def _rebuild(self, library: LibraryWriter, progress: Progress | None) -> None:
        """Bring a stale library to our model, from stored tokens where the tower is the same, else anew.

        A clip of which that is impossible is kept without vectors, unless it is so for all.
        """
        clips = library.list()
        if not self.ready:
            self._keep_prototypes(library, self._tokens_of(library, clips, progress))
        refusal: Exception | None = None
        impossible: list[str] = []
        for i, clip in enumerate(clips):
            if progress:
                progress(i / len(clips), f"{clip.name} ({i + 1} of {len(clips)})")
            try:
                if not library.rebuilt(clip.id):
                    self._rebuild_one(library, clip)
            except VtrError as error:
                refusal = error
                impossible.append(clip.id)
        if refusal is not None and len(impossible) == len(clips):
            raise refusal
        for clip_id in impossible:
            library.carry_over(clip_id)
        library.switch()

    def _rebuild_one(self, library: LibraryWriter, clip: StoredClip) -> None:
        if clip.tower == library.wanted.tower and library.intact(clip.id, "tokens"):
            library.replace_vectors(clip.id, self._vectors(clip, library.tokens(clip.id)))
            return
        encoded = encode_clip(library.media(clip.id, original=True), self._model, self._limits)
        vectors = clip_vectors(self._model, encoded.tokens, encoded.whole, encoded.moments)
        contents = ClipContents(encoded.frames, encoded.tokens, vectors)
        library.replace(replace(clip, moments=encoded.moments), contents)

    # ------------------------------------------------------------------ prototypes of an untrained model
    def _fitted(self) -> dict[str, Any] | None:
        fitted = self.library.setting(PROTOTYPES).get(self._model.fingerprint)
        return fitted if isinstance(fitted, dict) else None

    def _require_prototypes(self) -> None:
        """Refuse vectors whose prototypes are lost: others beside them would rank silently wrong."""
        if len(self.library) and not self.ready:
            raise LibraryError(
                f"The prototypes of the library {self.library.directory} are lost; rebuild it with "
                f"`{index_command('--rebuild', self.library.directory)}`."
            )

    def _refit(self, library: LibraryWriter) -> None:
        """Fit lost prototypes again and compute all vectors anew; until then no clip has any."""
        library.forget_vectors()
        self._keep_prototypes(library, self._tokens_of(library, library.list(), None))
        self.repair()

    def _tokens_of(
        self, library: LibraryWriter, clips: Sequence[StoredClip], progress: Progress | None
    ) -> list[VideoTokens]:
        tokens, paths = [], []
        for clip in clips[:_CLIPS_FOR_PROTOTYPES]:
            with suppress(LibraryError):
                if clip.tower == library.wanted.tower:
                    tokens.append(library.tokens(clip.id))
                else:
                    paths.append(library.media(clip.id, original=True))
        return [*tokens, *self._first_look(paths, progress)]

    def _first_look(self, paths: Sequence[Path], progress: Progress | None) -> list[VideoTokens]:
        tokens = []
        for path in paths[:_CLIPS_FOR_PROTOTYPES]:
            if progress:
                progress(0.0, f"first look at {path.name}")
            with suppress(VtrError):  # reported when it is indexed
                tokens.append(encode_clip(path, self._model, self._limits).tokens)
        return tokens

    def _keep_prototypes(self, library: LibraryWriter, clips: Sequence[VideoTokens]) -> None:
        """Fit the prototypes of a model without training on the first library's own tokens."""
        if clips:
            # One entry a model: a rebuild that is interrupted leaves the old model its own.
            fitted = fit_prototypes(self._model, clips)
            kept = {**library.setting(PROTOTYPES), self._model.fingerprint: fitted}
            library.set_setting(PROTOTYPES, kept)
            load_prototypes(self._model, fitted)


def _at(library: LibraryWriter, visitor: str, path: Path) -> list[StoredClip]:
    """Return the clips whose original lies, or lay, at ``path``, and which are the visitor's or the library's own."""
    return [clip for clip in library.at(os.path.realpath(path)) if clip.visitor in ("", visitor)]


def _time_left(ends: deque[float], files: int) -> str:
    """Return how long so many files take, by the ends of the last ones; empty while nothing is known or it is short."""
    if len(ends) < 4 or (left := files * (ends[-1] - ends[0]) / (len(ends) - 1)) < 5:
        return ""
    return f", about {left:.0f} s left" if left < 100 else f", about {left / 60:.0f} min left"


def _unchanged(clip: StoredClip, path: Path) -> bool:
    """Whether size and time of a clip's file are those that were noted."""
    state = path.stat()
    return clip.modified_ns != 0 and (clip.size, clip.modified_ns) == (state.st_size, state.st_mtime_ns)


def _sentence(error: VtrError | OSError, name: str) -> str:
    if isinstance(error, VtrError):
        return str(error)
    return f"{name} cannot be read ({error.strerror}); check that the file exists and that you may open it."
