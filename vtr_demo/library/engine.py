"""The one door to a library: index, search, describe, explain. Tensors stay inside, NumPy comes out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vtr_demo.config import LimitConfig
from vtr_demo.errors import ConfigError, LibraryError
from vtr_demo.evaluation.confidence import CONFIDENT_P, NullDistribution, null_captions
from vtr_demo.library.clip_files import ClipRecord
from vtr_demo.library.concepts import concept_names, concept_views, rename
from vtr_demo.library.explain import explained, hit
from vtr_demo.library.index import VectorIndex
from vtr_demo.library.indexing import Librarian, analyse, encode_parts, whole_frames
from vtr_demo.library.measure import measured
from vtr_demo.library.queries import Queries, Query
from vtr_demo.model import checkpoint
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import (
    CaptionHit,
    ClipView,
    ConceptView,
    Explanation,
    Hit,
    IndexReport,
    Measurement,
    SearchResult,
    Status,
)
from vtr_demo.structures import TermWeights, VideoFeatures, term_sums

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class _View:
    """What searches see; replaced as a whole when the library changes."""

    index: VectorIndex | None
    owners: tuple[tuple[str, int], ...]
    vectors: np.ndarray
    records: dict[str, ClipRecord]
    nulls: dict[TermWeights, NullDistribution] = field(default_factory=dict)
    concepts: list[ConceptView] = field(default_factory=list)


class Engine:
    """A library and the model behind it. Many threads may search while one adds."""

    def __init__(self, pretrained: RetrievalModel, librarian: Librarian, limits: LimitConfig) -> None:
        """Use ``Engine.open``."""
        self.pretrained, self.limits = pretrained, limits
        self._model, self._library, self._queries = pretrained.model, librarian, Queries(pretrained)
        self._lock = threading.Lock()
        self._refresh()

    @classmethod
    def open(
        cls,
        library: Path | str,
        model: str = "bundled",
        *,
        samples: Path | None = None,
        limits: LimitConfig | None = None,
        progress: Progress | None = None,
        rebuild: bool = False,
        readonly: bool = False,
        device: str = "cpu",
    ) -> Engine:
        """Open or create the library in ``library`` for the model that SPEC ``model`` names.

        A library of another model is refused with advice unless ``rebuild``. ``samples`` is a
        folder with a manifest; its clips are indexed into a library that is still empty.
        """
        pretrained, limits = checkpoint.load(model, device), limits or LimitConfig()
        librarian = Librarian.open(
            Path(library), pretrained, limits, rebuild=rebuild, readonly=readonly, progress=progress
        )
        engine = cls(pretrained, librarian, limits)
        engine._null(engine._view, engine.default_weights)  # so that the first search need not wait for it
        if samples is not None and not librarian.records():
            engine.add_samples(samples, progress=progress)
        return engine

    def close(self) -> None:
        """Let another process open the library for writing."""
        self._library.close()

    @property
    def default_weights(self) -> TermWeights:
        """The sliders' starting positions."""
        return self._model.default_weights

    def weigh(self, values: Mapping[str, float], muted: Collection[str] = ()) -> TermWeights:
        """The starting positions with other factors for the terms named, and without the named concepts."""
        names = concept_names(self._library.shelf, self.pretrained)
        for name in muted:
            if name not in names:
                raise ConfigError(f"There is no concept {name!r} to mute; there are: {'; '.join(names)}.")
        indices = tuple(sorted({names.index(name) for name in muted}))
        return replace(self.default_weights.changed(values), muted=indices)

    # ------------------------------------------------------------------ search
    def search(
        self, text: str, k: int = 8, weights: TermWeights | None = None, struck: Collection[int] = ()
    ) -> SearchResult:
        """The ``k`` best clips for a sentence, each with its best moment.

        ``struck`` are indices of words to leave out. Ties go to the clip that came first.
        """
        started = time.perf_counter()
        if k < 1:
            raise LibraryError(f"The number of results must be at least 1, got {k}.")
        weights = weights or self.default_weights
        query, view = self._queries.one(text, struck), self._view
        hits: dict[str, Hit] = {}
        shares = np.ones(1)
        if view.index is not None:
            flat = query.features.flat(weights).cpu().numpy()
            scores, rows = view.index.search(flat, len(view.owners))
            shares = self._null(view, weights).p_values(scores[0], rows[0])
            for score, row, share in zip(scores[0], rows[0], shares, strict=True):
                clip_id, moment = view.owners[row]
                if len(hits) == k:
                    break
                if clip_id not in hits:
                    terms = term_sums(flat[0], view.vectors[row], self._model.width)
                    record = view.records[clip_id]
                    hits[clip_id] = hit(record, moment, float(score), terms, float(1 - share))
        found = tuple(hits.values())
        return SearchResult(
            sentence=query.sentence,
            hits=found,
            weights=weights,
            searched=len({clip_id for clip_id, _ in view.owners}),
            confident=bool(shares.min() <= CONFIDENT_P),  # of all clips: one further down may stand out
            took_ms=1000 * (time.perf_counter() - started),
            note=query.note,
        )

    def describe(
        self,
        clip_id: str,
        captions: Sequence[str] | None = None,
        k: int = 10,
        weights: TermWeights | None = None,
    ) -> tuple[CaptionHit, ...]:
        """Sentences ranked for a clip as a whole; by default those the library knows and general ones."""
        record, tokens = self._library.record(clip_id), self._library.shelf.tokens(clip_id)
        whole = whole_frames(record.duration_s, tokens.patches.shape[1], self.pretrained)
        return self._ranked(encode_parts(self.pretrained, tokens, [whole])[0], captions, k, weights)

    def describe_file(
        self, path: Path | str, captions: Sequence[str], k: int = 10, weights: TermWeights | None = None
    ) -> tuple[CaptionHit, ...]:
        """Sentences ranked for a file that stays outside the library."""
        found = analyse(Path(path), self.pretrained, self.limits)
        return self._ranked(
            encode_parts(self.pretrained, found.tokens, [found.whole])[0], captions, k, weights
        )

    # ------------------------------------------------------------------ explanation
    def explain(
        self,
        text: str,
        clip: str | Hit,
        moment: int | None = None,
        weights: TermWeights | None = None,
        struck: Collection[int] = (),
    ) -> Explanation:
        """Explain the score of a sentence and a clip down to each (word, frame, patch); decodes nothing.

        Pass the ``Hit`` of a search, or a clip's id, with the weights that the search had. Without
        ``moment`` it is what the search ranks: the hit's own moment, or of an id the moment that scores
        best with these weights, so that both give the same score. A number explains that moment, fused
        with the whole clip as it is ranked; -1 the whole clip alone, as ``describe`` ranks it.
        """
        query, weights = self._queries.one(text, struck), weights or self.default_weights
        clip_id = clip if isinstance(clip, str) else clip.clip_id
        if moment is None:
            moment = clip.moment if isinstance(clip, Hit) else self._ranked_moment(query, clip_id, weights)
        return explained(self._queries, self._library.shelf, clip_id, query, moment, weights)

    def concepts(self) -> tuple[ConceptView, ...]:
        """What each concept holds in this library; computed once for each state of it."""
        view, shelf = self._view, self._library.shelf
        if not view.concepts:
            view.concepts[:] = concept_views(self.pretrained, shelf, null_captions())
        names = concept_names(shelf, self.pretrained)
        return tuple(replace(found, name=name) for found, name in zip(view.concepts, names, strict=True))

    def rename(self, concept: int, name: str) -> None:
        """Give a concept, by index, a name in this library; an empty one brings back that of training."""
        with self._lock:
            rename(self._library.store(), self.pretrained, concept, name)

    def measure(self, captions: Path | None = None, weights: TermWeights | None = None) -> Measurement:
        """How well clips and captions find each other: the library's own captions, or those of a file."""
        weights, stored = weights or self.default_weights, self._library.shelf.stored_bytes()
        return measured(self._queries, self._view, stored, captions, weights)

    # ------------------------------------------------------------------ library
    def clips(self) -> tuple[ClipView, ...]:
        """All clips, in the order in which they came."""
        return tuple(self.clip(record.id) for record in self._library.records())

    def clip(self, clip_id: str) -> ClipView:
        """One clip; an unknown id raises ``LibraryError``."""
        return self._library.view(clip_id)

    def still(self, clip_id: str, moment: int) -> bytes:
        """A JPEG of the middle of a moment; an unknown one raises ``LibraryError``."""
        return self._library.shelf.still(clip_id, moment)

    def add(
        self,
        paths: Sequence[Path | str],
        *,
        names: Sequence[str] | None = None,
        captions: Sequence[Sequence[str]] | None = None,
        keep_copy: bool = True,
        progress: Progress | None = None,
    ) -> IndexReport:
        """Index files. One that fails is reported and leaves the library as it was."""
        files = [Path(path) for path in paths]
        with self._lock:
            ready = self._library.ready
            try:
                return self._library.add(
                    files, names=names, captions=captions, keep_copy=keep_copy, progress=progress
                )
            finally:
                if self._library.ready != ready:  # new prototypes: what was read before is out of date
                    self._queries = Queries(self.pretrained)
                self._refresh()

    def add_samples(self, folder: Path, *, progress: Progress | None = None) -> IndexReport:
        """Index the clips of a manifest with their captions, leaving the files where they are."""
        from vtr_demo.data.manifest import load_manifest

        clips = load_manifest(folder / "manifest.jsonl").clips
        paths, captions = [clip.path for clip in clips], [clip.captions for clip in clips]
        return self.add(paths, captions=captions, keep_copy=False, progress=progress)

    def delete(self, clip_id: str) -> None:
        """Forget a clip; the original file stays where it is."""
        with self._lock:
            self._library.delete(clip_id)
            self._refresh()

    def rebuild(self, progress: Progress | None = None) -> IndexReport:
        """Index again the clips that could not be read; all others are current by construction."""
        with self._lock:
            try:
                return self._library.repair(progress)
            finally:
                self._refresh()

    def status(self) -> Status:
        """Model, sizes and problems."""
        records, shelf = self._library.records(), self._library.shelf
        return Status(
            model=self.pretrained.spec,
            trained=self._model.config.trained,
            clips=len(records),
            moments=sum(len(record.moments) for record in records),
            stored_bytes=shelf.stored_bytes(),
            device=str(next(self._model.parameters()).device),
            directory=str(self._library.directory),
            default_weights=self.default_weights,
            concept_names=concept_names(shelf, self.pretrained),
            problems=shelf.problems(),
        )

    # ------------------------------------------------------------------ inside
    def _ranked_moment(self, query: Query, clip_id: str, weights: TermWeights) -> int:
        """The moment of a clip that searches rank, -1 for the whole clip."""
        view = self._view
        rows = [i for i, (owner, _) in enumerate(view.owners) if owner == clip_id]
        if not rows:
            return -1
        scores = view.vectors[rows] @ query.features.flat(weights).cpu().numpy()[0]
        return view.owners[rows[int(scores.argmax())]][1]

    def _refresh(self) -> None:
        vectors, owners = self._library.searchable()
        index = None
        if len(vectors):
            index = VectorIndex(vectors.shape[1])
            index.add(np.arange(len(vectors)), vectors)
        records = {clip_id: self._library.record(clip_id) for clip_id, _ in owners}
        self._view = _View(index, tuple(owners), vectors, records)

    def _null(self, view: _View, weights: TermWeights) -> NullDistribution:
        if weights not in view.nulls:
            if len(view.nulls) > 64:
                view.nulls.clear()
            view.nulls[weights] = self._queries.null(view.vectors, weights)
        return view.nulls[weights]

    def _ranked(
        self, video: VideoFeatures, captions: Sequence[str] | None, k: int, weights: TermWeights | None
    ) -> tuple[CaptionHit, ...]:
        if captions is None:
            known = (text for record in self._library.records() for text in record.captions)
            captions = [*known, *null_captions()]
        vector = video.flat().cpu().numpy()[0]
        return self._queries.ranked(captions, vector, k, weights or self.default_weights)
