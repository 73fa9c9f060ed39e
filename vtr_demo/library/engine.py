"""Index, search, describe and explain: the engine behind page and command line, with NumPy at its border."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np

from vtr_demo.errors import ConfigError, LibraryError
from vtr_demo.evaluation.confidence import CONFIDENT_P, NullDistribution, null_captions
from vtr_demo.library.concepts import concept_names, concept_views, rename
from vtr_demo.library.explain import explain_match, make_hit
from vtr_demo.library.index import VectorIndex
from vtr_demo.library.indexing import (
    Indexer,
    Progress,
    encode_clip,
    encode_parts,
    fit_prototypes,
    load_prototypes,
    whole_frames,
)
from vtr_demo.library.measure import measure_library
from vtr_demo.library.queries import Examples, Queries, Query
from vtr_demo.library.reader import LibraryReader
from vtr_demo.library.records import StoredClip
from vtr_demo.library.segments import fused
from vtr_demo.model import checkpoint
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import (
    CaptionHit,
    ClipFilter,
    ClipPage,
    ClipView,
    ConceptView,
    ExampleView,
    Explanation,
    Hit,
    IndexReport,
    Measurement,
    Order,
    SearchResult,
    Status,
)
from vtr_demo.structures import NO_MIX, Mix, TermWeights, VideoFeatures, term_sums
from vtr_demo.video.frames import LimitConfig

_NULLS = 64
"""Slider settings of which the null distribution is kept."""
MOST_LISTED = 1_000
"""Clips in one part of a list."""


@dataclass(frozen=True)
class _View:
    """What searches see; replaced as a whole when the library changes.

    owners: (clip id, moment) of each row of vectors (N, F), clip by clip; rows: each clip's first and
    last row plus one.
    """

    index: VectorIndex | None
    owners: tuple[tuple[str, int], ...]
    vectors: np.ndarray
    clips: dict[str, StoredClip]
    rows: dict[str, tuple[int, int]]
    nulls: OrderedDict[TermWeights, NullDistribution] = field(default_factory=OrderedDict)
    concepts: list[ConceptView] = field(default_factory=list)


class Engine:
    """A library and the model behind it. Many threads may search while one adds."""

    def __init__(self, model: RetrievalModel, indexer: Indexer, limits: LimitConfig) -> None:
        """Use ``Engine.open``."""
        self.model, self.limits = model, limits
        self._indexer = indexer
        self._forget_encodings()
        self._indexing, self._refreshing, self._nulls = threading.Lock(), threading.Lock(), threading.Lock()
        self._view = _read_view(indexer.library, None)

    @classmethod
    def open(
        cls,
        library: Path | str,
        model: str = "bundled",
        *,
        samples: Path | str | None = None,
        limits: LimitConfig | None = None,
        progress: Progress | None = None,
        rebuild: bool = False,
        readonly: bool = False,
        device: str = "cpu",
    ) -> Engine:
        """Open or create the library in ``library`` for the model that SPEC ``model`` names.

        A library of another model is refused with advice unless ``rebuild``. ``samples`` is a
        folder with a manifest; its clips are indexed into a library that is still empty. ``device``
        is where the model computes ("cpu", "cuda").
        """
        loaded, limits = checkpoint.load(model, device), limits or LimitConfig()
        indexer = Indexer.open(Path(library), loaded, limits, rebuild=rebuild, readonly=readonly, progress=progress)
        engine = cls(loaded, indexer, limits)
        engine._null(engine._view, engine.default_weights)  # so that the first search need not wait for it
        if samples is not None and not engine._view.clips:
            engine.add_samples(samples, progress=progress)
        return engine

    def close(self) -> None:
        """Let another process open the library for writing."""
        self._indexer.close()

    @property
    def default_weights(self) -> TermWeights:
        """The sliders' starting positions."""
        return self.model.model.default_weights

    def weigh(self, values: Mapping[str, float], muted: Collection[str] = ()) -> TermWeights:
        """Return the starting positions with other factors for the named terms and without muted concepts."""
        names = concept_names(self._library, self.model)
        for name in muted:
            if name not in names:
                raise ConfigError(f"There is no concept {name!r} to mute; there are: {'; '.join(names)}.")
        indices = tuple(sorted({names.index(name) for name in muted}))
        return replace(self.default_weights.changed(values), muted=indices)

    # ------------------------------------------------------------------ search
    def search(
        self, text: str, k: int = 8, weights: TermWeights | None = None, struck: Collection[int] = (), mix: Mix = NO_MIX
    ) -> SearchResult:
        """Rank the clips for a query and return the ``k`` best, each with its best moment.

        ``struck`` are indices of words to leave out; ``mix`` says what else is asked for. A clip that is the
        example is left out. Ties go to the clip that came first.
        """
        started = time.perf_counter()
        if k < 1:
            raise LibraryError(f"The number of results must be at least 1, got {k}.")
        weights = weights or self.default_weights
        query, view = self._query(text, struck, mix), self._view
        hits: dict[str, Hit] = {}
        p_values: np.ndarray | None = None
        if view.index is not None:
            flat, words = query.flat(weights), query.words_flat(weights)
            scores, rows = view.index.search(flat[None], len(view.owners))
            if words is not None:
                plain = scores[0] if len(query.pieces) == 1 else view.vectors[rows[0]] @ words
                p_values = self._null(view, weights).p_values(plain, rows[0])
            for place, (score, row) in enumerate(zip(scores[0], rows[0], strict=True)):
                clip_id, moment = view.owners[row]
                if len(hits) == k:
                    break
                if clip_id not in hits and clip_id != mix.like:
                    terms = term_sums(flat, view.vectors[row], self.model.model.width)
                    confidence = None if p_values is None else float(1 - p_values[place])
                    hits[clip_id] = make_hit(view.clips[clip_id], moment, float(score), terms, confidence)
        return SearchResult(
            sentence=query.sentence,
            hits=tuple(hits.values()),
            weights=weights,
            searched=len(view.rows),
            # of all clips: one further down may stand out
            confident=bool(hits) and (p_values is None or bool(p_values.min() <= CONFIDENT_P)),
            took_ms=1000 * (time.perf_counter() - started),
            note=query.note,
        )

    def describe(
        self, clip_id: str, captions: Sequence[str] | None = None, k: int = 10, weights: TermWeights | None = None
    ) -> tuple[CaptionHit, ...]:
        """Rank sentences for a clip as a whole; by default those the library knows and general ones."""
        clip, tokens = self._library.get(clip_id), self._library.tokens(clip_id)
        whole = whole_frames(clip.duration_s, tokens.patches.shape[1], self.model)
        return self._ranked(encode_parts(self.model, tokens, [whole])[0], captions, k, weights)

    def describe_file(
        self, path: Path | str, captions: Sequence[str], k: int = 10, weights: TermWeights | None = None
    ) -> tuple[CaptionHit, ...]:
        """Rank sentences for a file that stays outside the library.

        A model without training and without a library takes its prototypes from the file, as ``add`` would.
        """
        encoded = encode_clip(Path(path), self.model, self.limits)
        if self._indexer.ready:
            features = encode_parts(self.model, encoded.tokens, [encoded.whole])[0]
            return self._ranked(features, captions, k, weights)
        with self._indexing:
            if not self._indexer.ready:
                load_prototypes(self.model, fit_prototypes(self.model, [encoded.tokens]))
                self._forget_encodings()
            features = encode_parts(self.model, encoded.tokens, [encoded.whole])[0]
            return self._ranked(features, captions, k, weights)

    # ------------------------------------------------------------------ explanation
    def explain(
        self,
        text: str,
        clip: str | Hit,
        moment: int | None = None,
        weights: TermWeights | None = None,
        struck: Collection[int] = (),
        mix: Mix = NO_MIX,
    ) -> Explanation:
        """Explain the score of a query and a clip down to each (word, frame, patch); decodes nothing.

        Pass the ``Hit`` of a search, or a clip's id, with the weights that the search had. Without
        ``moment`` it is what the search ranks: the hit's own moment, or of an id the moment that scores
        best with these weights, so that both give the same score. A number explains that moment, fused
        with the whole clip as it is ranked; -1 the whole clip alone, as ``describe`` ranks it.
        """
        query, weights = self._query(text, struck, mix), weights or self.default_weights
        clip_id = clip if isinstance(clip, str) else clip.clip_id
        moments = self._moment_scores(query, clip_id, weights)
        if moment is None and isinstance(clip, Hit):
            moment = clip.moment
        elif moment is None:
            moment = int(np.argmax(moments)) if len(moments) else -1
        return explain_match(self._queries, self._library, clip_id, query, moment, weights, moments)

    def read_example(self, path: Path | str, name: str = "") -> ExampleView:
        """Read a video or a picture to search with, as ``Mix.like``; the library stays as it is."""
        return self._examples.read(Path(path), name or Path(path).name)

    def example(self, example_id: str) -> ExampleView:
        """Return what an id of an example stands for; an unknown one is refused."""
        return self._examples.view(self._library, example_id)

    def concepts(self) -> tuple[ConceptView, ...]:
        """Describe what each concept holds in this library; computed once for each state of it."""
        view, library = self._view, self._library
        if not view.concepts:
            view.concepts[:] = concept_views(self.model, library, null_captions())
        names = concept_names(library, self.model)
        return tuple(replace(one, name=name) for one, name in zip(view.concepts, names, strict=True))

    def rename(self, concept: int, name: str) -> None:
        """Give a concept, by index, a name in this library; an empty one restores that of training."""
        rename(self._indexer.writer(), self.model, concept, name)

    def measure(self, captions: Path | None = None, weights: TermWeights | None = None) -> Measurement:
        """Measure how well clips and captions find each other: the library's own captions, or a file's."""
        weights, stored = weights or self.default_weights, self._library.stored_bytes()
        return measure_library(self._queries, self._view, stored, captions, weights)

    # ------------------------------------------------------------------ library
    def clips(self) -> tuple[ClipView, ...]:
        """Return all clips in order of arrival; asks the disk for nothing."""
        return tuple(self._clip_view(clip) for clip in self._library.list())

    def list(
        self, offset: int = 0, limit: int = 48, order: Order = "newest", where: ClipFilter | None = None
    ) -> ClipPage:
        """Return a part of the library for a page: up to ``limit`` (at most 1,000) clips from ``offset`` on.

        ``where`` leaves out what does not match it; the page's ``total`` counts what does. Costs the same
        however large the library is, and asks the disk for none of the clips' files.
        """
        if offset < 0 or not 0 <= limit <= MOST_LISTED or order not in get_args(Order):
            orders = ", ".join(get_args(Order))
            raise LibraryError(
                f"A list takes an offset from 0 on, a limit of at most {MOST_LISTED} and one of the orders {orders}; "
                f"got {offset}, {limit} and {order!r}."
            )
        clips = self._library.list(offset, limit, order, where)
        return ClipPage(tuple(map(self._clip_view, clips)), self._library.count(where))

    def clip(self, clip_id: str) -> ClipView:
        """Return one clip; an unknown id is refused. Asks the disk for nothing."""
        return self._clip_view(self._library.get(clip_id))

    def media(self, clip_id: str) -> Path:
        """Return the file of a clip that browsers play, if it still has the content that was indexed."""
        return self._library.media(clip_id)

    def still(self, clip_id: str, moment: int) -> bytes:
        """Return a JPEG of the middle of a moment; an unknown one is refused."""
        return self._library.still(clip_id, moment)

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
        with self._indexing:
            ready = self._indexer.ready
            try:
                return self._indexer.add(
                    [Path(path) for path in paths],
                    names=names,
                    captions=captions,
                    keep_copy=keep_copy,
                    progress=progress,
                )
            finally:
                if self._indexer.ready != ready:  # new prototypes: cached sentences are out of date
                    self._forget_encodings()
                self._refresh()

    def add_samples(self, folder: Path | str, *, progress: Progress | None = None) -> IndexReport:
        """Index the clips of a manifest with their captions, leaving the files where they are."""
        from vtr_demo.data.manifest import load_manifest

        clips = load_manifest(Path(folder) / "manifest.jsonl").clips
        paths, captions = [clip.path for clip in clips], [clip.captions for clip in clips]
        return self.add(paths, captions=captions, keep_copy=False, progress=progress)

    def delete(self, clip_id: str) -> None:
        """Forget a clip, also while others are indexed; the original file stays where it is."""
        self._indexer.writer().delete(clip_id)
        self._refresh()

    def prune(self) -> tuple[ClipView, ...]:
        """Forget the clips whose original is gone from disk and of which nothing playable is kept.

        Returns what was forgotten. A disk that is not mounted looks like one whose files are gone.
        """
        library = self._indexer.writer()
        missing = [clip for clip in library.list() if not clip.copied and not Path(clip.source).is_file()]
        gone = tuple(self._clip_view(clip) for clip in missing)
        for clip in missing:
            library.delete(clip.id)
        self._refresh()
        return gone

    def rebuild(self, progress: Progress | None = None) -> IndexReport:
        """Make whole again every clip of which something stored is damaged; the others are current."""
        with self._indexing:
            try:
                return self._indexer.repair(progress)
            finally:
                self._refresh()

    def status(self) -> Status:
        """Return the model, sizes and problems."""
        library = self._library
        clips = library.list()
        return Status(
            model=self.model.spec,
            trained=self.model.model.config.trained,
            clips=len(clips),
            moments=sum(len(clip.moments) for clip in clips),
            stored_bytes=library.stored_bytes(),
            device=str(next(self.model.model.parameters()).device),
            directory=str(library.directory),
            default_weights=self.default_weights,
            concept_names=concept_names(library, self.model),
            problems=library.problems(),
        )

    # ------------------------------------------------------------------ inside
    @property
    def _library(self) -> LibraryReader:
        return self._indexer.library

    def _clip_view(self, clip: StoredClip) -> ClipView:
        return ClipView(
            clip_id=clip.id,
            name=clip.name,
            path=self._library.original(clip.id),
            poster=self._library.poster(clip.id),
            duration_s=clip.duration_s,
            width=clip.width,
            height=clip.height,
            moments=tuple((moment.start_s, moment.end_s) for moment in clip.moments),
            captions=clip.captions,
            added=clip.added,
            stored_bytes=clip.stored_bytes,
        )

    def _forget_encodings(self) -> None:
        self._queries, self._examples = Queries(self.model), Examples(self.model, self.limits)

    def _query(self, text: str, struck: Collection[int], mix: Mix) -> Query:
        return self._queries.query(text, struck, mix, self._examples.find(self._library, mix))

    def _moment_scores(self, query: Query, clip_id: str, weights: TermWeights) -> tuple[float, ...]:
        """Return the scores of a clip's moments, as searches rank them; empty where it has none."""
        view = self._view
        if clip_id not in view.rows or not view.clips[clip_id].moments:
            return ()
        first, last = view.rows[clip_id]
        return tuple(map(float, view.vectors[first:last] @ query.flat(weights)))

    def _refresh(self) -> None:
        with self._refreshing:
            self._view = _read_view(self._library, self._view)

    def _null(self, view: _View, weights: TermWeights) -> NullDistribution:
        with self._nulls:
            if weights in view.nulls:
                view.nulls.move_to_end(weights)
                return view.nulls[weights]
        null = self._queries.null(view.vectors, weights)
        with self._nulls:
            view.nulls[weights] = null
            while len(view.nulls) > _NULLS:
                view.nulls.popitem(last=False)
        return null

    def _ranked(
        self, video: VideoFeatures, captions: Sequence[str] | None, k: int, weights: TermWeights | None
    ) -> tuple[CaptionHit, ...]:
        if captions is None:
            known = (text for clip in self._library.list() for text in clip.captions)
            captions = [*known, *null_captions()]
        vector = video.flat().cpu().numpy()[0]
        return self._queries.ranked(captions, vector, k, weights or self.default_weights)


def _read_view(library: LibraryReader, before: _View | None) -> _View:
    """Read what searches need; clips that were there before, as they were, are not read again."""
    pieces: list[np.ndarray] = []
    owners: list[tuple[str, int]] = []
    clips: dict[str, StoredClip] = {}
    rows: dict[str, tuple[int, int]] = {}
    for clip in library.list():
        if before is not None and before.clips.get(clip.id) == clip:
            first, last = before.rows[clip.id]
            piece = before.vectors[first:last]
        else:
            try:
                piece = fused(library.clip_vectors(clip.id))
            except LibraryError:  # the library names it among its problems
                continue
        rows[clip.id] = (len(owners), len(owners) + len(piece))
        owners += [(clip.id, moment) for moment in (range(len(piece)) if clip.moments else (-1,))]
        pieces.append(piece)
        clips[clip.id] = clip
    vectors = np.concatenate(pieces) if pieces else np.zeros((0, 0), np.float32)
    index = VectorIndex(vectors) if len(vectors) else None
    return _View(index, tuple(owners), vectors, clips, rows)
