"""Keeps a library in step with a model: analyses files, stores them, rebuilds what is stale."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from vtr_demo.checkpoint import Pretrained
from vtr_demo.clipfolder import ClipContents, ClipRecord, Origin
from vtr_demo.config import LimitConfig
from vtr_demo.errors import LibraryError, VtrError
from vtr_demo.files import sha256_of
from vtr_demo.ingest import Analysed, analyse, flat_vectors, found_prototypes, parts_of, poster, whole_frames
from vtr_demo.moments import fused
from vtr_demo.records import VideoTokens
from vtr_demo.results import ClipView, IndexReport
from vtr_demo.shelf import Shelf
from vtr_demo.store import Store
from vtr_demo.video import convert_for_browser, probe_guarded

Progress = Callable[[float, str], None]
PROTOTYPES = "prototypes"
_CLIPS_FOR_PROTOTYPES = 32


class Librarian:
    """One library folder and the model that its features come from."""

    def __init__(self, shelf: Shelf, pretrained: Pretrained, limits: LimitConfig) -> None:
        """Use ``Librarian.open``."""
        self._shelf, self._pretrained, self._limits = shelf, pretrained, limits
        self._load_prototypes()

    @classmethod
    def open(
        cls,
        directory: Path,
        pretrained: Pretrained,
        limits: LimitConfig,
        *,
        rebuild: bool = False,
        readonly: bool = False,
        progress: Progress | None = None,
    ) -> Librarian:
        """Open the library for ``pretrained``; one of another model is refused unless ``rebuild``."""
        origin = Origin(pretrained.fingerprint, pretrained.tower_fingerprint, pretrained.spec)
        if readonly:
            return cls(Shelf.open(directory, origin), pretrained, limits)
        librarian = cls(Store.open(directory, origin, allow_stale=rebuild), pretrained, limits)
        if librarian._shelf.stale:
            librarian._rebuild(progress)
        return librarian

    def close(self) -> None:
        """Let another process write."""
        if isinstance(self._shelf, Store):
            self._shelf.close()

    # ------------------------------------------------------------------ reading
    @property
    def directory(self) -> Path:
        """The folder of the library."""
        return self._shelf.directory

    def records(self) -> tuple[ClipRecord, ...]:
        """The clips that can be read, in the order in which they came."""
        return self._shelf.list()

    def record(self, clip_id: str) -> ClipRecord:
        """One clip's record; an unknown id raises ``LibraryError``."""
        return self._shelf.get(clip_id)

    @property
    def shelf(self) -> Shelf:
        """Frames, tokens and files of the clips."""
        return self._shelf

    def searchable(self) -> tuple[np.ndarray, list[tuple[str, int]]]:
        """The vectors (N, F) that are searched and whose they are: (clip id, moment or -1)."""
        vectors, owners = self._shelf.vectors()
        rows: list[np.ndarray] = []
        found: list[tuple[str, int]] = []
        starts = [i for i, (_, moment) in enumerate(owners) if moment == -1]
        for start, end in pairwise([*starts, len(owners)]):
            entries = fused(vectors[start:end])
            rows.append(entries)
            found += owners[start : start + 1] if end - start == 1 else owners[start + 1 : end]
        return (np.concatenate(rows) if rows else vectors), found

    def view(self, clip_id: str) -> ClipView:
        """A clip as a page shows it."""
        record = self._shelf.get(clip_id)
        return ClipView(
            clip_id=clip_id,
            name=record.name,
            media=self._media(clip_id),
            poster=self._shelf.poster(clip_id),
            duration_s=record.duration_s,
            width=record.width,
            height=record.height,
            moments=tuple((moment.start_s, moment.end_s) for moment in record.moments),
            captions=record.captions,
            added=record.added,
            stored_bytes=self._shelf.stored_bytes(clip_id),
        )

    def _media(self, clip_id: str) -> Path | None:
        try:
            return self._shelf.media(clip_id)
        except LibraryError:
            return None

    # ------------------------------------------------------------------ writing
    def add(
        self,
        paths: Sequence[Path],
        *,
        names: Sequence[str] | None = None,
        captions: Sequence[Sequence[str]] | None = None,
        keep_copy: bool = True,
        progress: Progress | None = None,
    ) -> IndexReport:
        """Index files one by one; each is stored whole or not at all, and failures are reported."""
        store = self.store()
        names = names or [path.name for path in paths]
        captions = captions or [()] * len(paths)
        added: list[str] = []
        known: list[str] = []
        failed: list[tuple[str, str]] = []
        if not self.ready:
            self._fit_prototypes(self._first_look(paths, progress))
        for i, (path, name, texts) in enumerate(zip(paths, names, captions, strict=True)):
            if progress:
                progress(i / len(paths), f"{name} ({i + 1} of {len(paths)})")
            try:
                record = self._add_one(store, path, name, tuple(texts), keep_copy)
            except (VtrError, OSError) as error:
                failed.append((name, _sentence(error, name)))
                continue
            if record is None:
                known.append(name)
            else:
                added.append(record.id)
        if progress:
            progress(1.0, "done")
        return IndexReport(tuple(added), tuple(known), tuple(failed))

    def delete(self, clip_id: str) -> None:
        """Forget a clip."""
        self.store().delete(clip_id)

    def repair(self, progress: Progress | None = None) -> IndexReport:
        """Index again, from copy or original, each clip whose stored features cannot be read."""
        store = self.store()
        for record in store.list():
            with suppress(LibraryError):  # what is damaged is kept by the store, and repaired below
                store.tokens(record.id)
                store.frames(record.id)
        reports = []
        for record in store.damaged():
            try:
                path = store.media(record.id, original=True)
            except LibraryError as error:
                reports.append(IndexReport((), (), ((record.name, str(error)),)))
                continue
            reports.append(
                self.add(
                    [path],
                    names=[record.name],
                    captions=[record.captions],
                    keep_copy=bool(record.copy),
                    progress=progress,
                )
            )
        added = tuple(key for report in reports for key in report.added)
        return IndexReport(added, (), tuple(pair for report in reports for pair in report.failed))

    def store(self) -> Store:
        """The library opened for writing; one that is read only refuses."""
        if not isinstance(self._shelf, Store):
            raise LibraryError(
                f"The library {self.directory} is open for reading only; close the other program."
            )
        return self._shelf

    # ------------------------------------------------------------------ inside
    def _add_one(
        self, store: Store, path: Path, name: str, captions: tuple[str, ...], keep_copy: bool
    ) -> ClipRecord | None:
        info = probe_guarded(path, limits=self._limits)  # refuses what must not even be read whole
        digest = sha256_of(path)
        if store.find_by_digest(digest) is not None:
            return None
        found = analyse(path, self._pretrained, self._limits, info)
        record = ClipRecord(
            name=name,
            source=str(path.resolve()),
            digest=digest,
            duration_s=found.info.duration_s,
            width=found.info.width,
            height=found.info.height,
            moments=found.moments,
            captions=captions,
        )
        vectors = self._vectors(found)
        with tempfile.TemporaryDirectory(prefix="vtr-") as folder:
            playable = None
            if not found.info.browser_playable:
                playable = convert_for_browser(path, Path(folder) / "browser.mp4", limits=self._limits)
            middle = float(found.frames.seconds[len(found.frames) // 2])
            contents = ClipContents(
                found.frames,
                found.tokens,
                vectors,
                poster=poster(path, found.info, middle, self._limits),
                copy=path if keep_copy else None,
                playable=playable,
            )
            return store.add(record, contents)

    def _vectors(self, found: Analysed) -> np.ndarray:
        return flat_vectors(self._pretrained, found.tokens, parts_of(found.whole, found.moments))

    def _rebuild(self, progress: Progress | None) -> None:
        """Bring a stale library to our model: from stored tokens where the tower is the same, else anew."""
        store = self.store()
        records = store.list()
        same_tower = store.made_by.tower == store.origin.tower
        if not self.ready:
            some = records[:_CLIPS_FOR_PROTOTYPES]
            if same_tower:
                self._fit_prototypes([store.tokens(record.id) for record in some])
            else:
                paths = [store.media(record.id, original=True) for record in some]
                self._fit_prototypes(self._first_look(paths, progress))
        for i, record in enumerate(records):
            if progress:
                progress(i / len(records), f"{record.name} ({i + 1} of {len(records)})")
            if store.rebuilt(record.id):
                continue
            if same_tower:
                tokens = store.tokens(record.id)
                whole = whole_frames(record.duration_s, tokens.patches.shape[1], self._pretrained)
                parts = parts_of(whole, record.moments)
                store.replace_vectors(record.id, flat_vectors(self._pretrained, tokens, parts))
            else:
                found = analyse(store.media(record.id, original=True), self._pretrained, self._limits)
                contents = ClipContents(found.frames, found.tokens, self._vectors(found))
                store.replace(replace(record, moments=found.moments), contents)
        store.switch()

    # ------------------------------------------------------------------ prototypes of an untrained model
    @property
    def ready(self) -> bool:
        """False for a model without training until the library's first clips gave it prototypes."""
        config = self._pretrained.model.config
        return config.trained or self._pretrained.fingerprint in self._shelf.note(PROTOTYPES)

    def _load_prototypes(self) -> None:
        note = self._shelf.note(PROTOTYPES).get(self._pretrained.fingerprint)
        if self._pretrained.model.config.trained or note is None:
            return
        concepts = self._pretrained.model.concepts
        with torch.no_grad():
            concepts.centre.copy_(torch.tensor(note["centre"]))
            concepts.prototypes.copy_(torch.tensor(note["prototypes"]))

    def _first_look(self, paths: Sequence[Path], progress: Progress | None) -> list[VideoTokens]:
        tokens = []
        for path in paths[:_CLIPS_FOR_PROTOTYPES]:
            if progress:
                progress(0.0, f"first look at {path.name}")
            with suppress(VtrError):  # reported when it is indexed
                tokens.append(analyse(path, self._pretrained, self._limits).tokens)
        return tokens

    def _fit_prototypes(self, clips: Sequence[VideoTokens]) -> None:
        """S2CA's prototypes of a model without training: k-means on the first library's own tokens."""
        if not clips:
            return
        # one entry a model: a rebuild that is interrupted leaves the old model its own
        notes = {
            **self._shelf.note(PROTOTYPES),
            self._pretrained.fingerprint: found_prototypes(self._pretrained, clips),
        }
        self.store().set_note(PROTOTYPES, notes)
        self._load_prototypes()


def _sentence(error: VtrError | OSError, name: str) -> str:
    if isinstance(error, VtrError):
        return str(error)
    return f"{name} cannot be read ({error.strerror}); check that the file exists and that you may open it."
