"""Index, search, describe and explain: the engine behind page and command line, with NumPy at its border."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from vtr_demo.errors import ConfigError, LibraryError
from vtr_demo.evaluation.confidence import null_captions
from vtr_demo.library.concepts import concept_names, concept_views, rename
from vtr_demo.library.edits import edited, imported
from vtr_demo.library.encoding import encode_frames, encode_whole, fit_prototypes, load_prototypes, read_clip
from vtr_demo.library.explain import explain_match
from vtr_demo.library.indexing import Indexer, Progress
from vtr_demo.library.measure import measure_library
from vtr_demo.library.queries import Examples, Queries, Query
from vtr_demo.library.ranking import Ranking
from vtr_demo.library.records import StoredClip
from vtr_demo.model import checkpoint
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import (
    CaptionHit,
    CaptionReport,
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
from vtr_demo.structures import NO_MIX, Mix, TermWeights, VideoTokens
from vtr_demo.video.frames import LimitConfig

VISITOR_KEY, SAMPLES = "visitor_key", "samples"
SAMPLES_AT_ONCE = 4
MOST_LISTED, MOST_READ = 1_000, 500
"""Clips in one part of a list, and captions of other clips that are ranked for one where none are given."""


class Engine:
    """A library and the model behind it. Many threads may search while one adds."""

    def __init__(self, model: RetrievalModel, indexer: Indexer, limits: LimitConfig, vectors: str = "") -> None:
        """Use ``Engine.open``."""
        self.model, self.limits = model, limits
        self._indexer, self._library = indexer, indexer.library
        self._forget_encodings()
        self._indexing = threading.Lock()
        self._spare_key = secrets.token_hex(32)
        self._ranking = Ranking(indexer.library, model.model, vectors)
        self._concepts: tuple[ConceptView, ...] = ()

    @classmethod
    def open(
        cls,
        library: Path | str,
        model: str = "bundled",
        *,
        limits: LimitConfig | None = None,
        progress: Progress | None = None,
        rebuild: bool = False,
        readonly: bool = False,
        device: str = "cpu",
        vectors: str = "",
    ) -> Engine:
        """Open or create the library in ``library`` for the model that SPEC ``model`` names.

        A library of another model is refused with advice unless ``rebuild``. ``device`` is where the model
        computes ("cpu", "cuda"); ``vectors`` a store outside the library, as ``milvus://HOST:PORT/COLLECTION``.
        """
        loaded, limits = checkpoint.load(model, device), limits or LimitConfig()
        indexer = Indexer.open(Path(library), loaded, limits, rebuild=rebuild, readonly=readonly, progress=progress)
        engine = cls(loaded, indexer, limits, vectors)
        engine._ranking.null(engine._queries, engine.default_weights)  # so that the first search need not wait
        return engine

    def close(self) -> None:
        """Let another process open the library for writing."""
        self._indexer.close()

    @property
    def default_weights(self) -> TermWeights:
        """The sliders' starting positions."""
        return self.model.model.default_weights

    def weigh(self, values: Mapping[str, float], muted: Collection[str | int] = ()) -> TermWeights:
        """Return the starting positions with other factors for the terms named, without concepts (names or indices)."""
        names = concept_names(self._library, self.model)
        for name in muted:
            if name not in (range(len(names)) if isinstance(name, int) else names):
                raise ConfigError(f"There is no concept {name!r} to mute; there are: {'; '.join(names)}.")
        indices = tuple(sorted({name if isinstance(name, int) else names.index(name) for name in muted}))
        return replace(self.default_weights.changed(values), muted=indices)

    # ------------------------------------------------------------------ search
    def search(
        self,
        text: str,
        k: int = 8,
        weights: TermWeights | None = None,
        struck: Collection[int] = (),
        mix: Mix = NO_MIX,
        where: ClipFilter | None = None,
    ) -> SearchResult:
        """Rank the clips for a query and return the ``k`` best, each with its best moment.

        ``struck`` are indices of words to leave out; ``mix`` says what else is asked for; ``where`` limits
        what is searched. A clip that is the example is left out. Ties go to the clip that came first.
        """
        started = time.perf_counter()
        if k < 1:
            raise LibraryError(f"The number of results must be at least 1, got {k}.")
        weights = weights or self.default_weights
        query = self._query(text, struck, mix)
        result = self._ranking.rank(self._queries, query, weights, k, where, leave_out=mix.like or "")
        return replace(result, took_ms=1000 * (time.perf_counter() - started))

    def describe(
        self,
        clip_id: str,
        captions: Sequence[str] | None = None,
        k: int = 10,
        weights: TermWeights | None = None,
        where: ClipFilter | None = None,
    ) -> tuple[CaptionHit, ...]:
        """Rank sentences for a clip as a whole; by default general ones, its captions, and up to 500 of those of
        the clips ``where``, spread over them."""
        clip, tokens = self._library.get(clip_id), self._library.tokens(clip_id)
        if captions is None:
            others = self._library.catalogue.spread(MOST_READ, replace(where or ClipFilter(), captioned=True))
            texts = dict.fromkeys(text for one in (clip, *others) for text in one.captions)
            captions = [*list(texts)[:MOST_READ], *null_captions()]
        return self._describe(tokens, clip.duration_s, captions, k, weights)

    def describe_file(
        self, path: Path | str, captions: Sequence[str], k: int = 10, weights: TermWeights | None = None
    ) -> tuple[CaptionHit, ...]:
        """Rank sentences for a file that stays outside the library.

        A model without training and without a library takes its prototypes from the file, as ``add`` would.
        """
        clip = read_clip(Path(path), self.model, self.limits)
        tokens = encode_frames(self.model, clip.frames)
        with nullcontext() if self._indexer.ready else self._indexing:
            if not self._indexer.ready:
                load_prototypes(self.model, fit_prototypes(self.model, [tokens]))
                self._forget_encodings()
            return self._describe(tokens, clip.info.duration_s, captions, k, weights)

    def _describe(
        self, tokens: VideoTokens, duration_s: float, captions: Sequence[str], k: int, weights: TermWeights | None
    ) -> tuple[CaptionHit, ...]:
        vector = encode_whole(self.model, tokens, duration_s).flat().cpu().numpy()[0]
        return self._queries.ranked(captions, vector, k, weights or self.default_weights)

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
        moments = self._ranking.moment_scores(self._library.get(clip_id), query.flat(weights))
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
        library, views = self._library, self._concepts
        if not views:
            views = self._concepts = concept_views(self.model, library, null_captions())
        return tuple(
            replace(one, name=name) for one, name in zip(views, concept_names(library, self.model), strict=True)
        )

    def rename(self, concept: int, name: str) -> None:
        """Give a concept, by index, a name in this library; an empty one restores that of training."""
        rename(self._indexer.writer(), self.model, concept, name)

    def measure(
        self, captions: Path | None = None, weights: TermWeights | None = None, where: ClipFilter | None = None
    ) -> Measurement:
        """Measure how well the clips ``where`` and captions find each other: their own captions, or a file's."""
        return measure_library(
            self._queries, self._ranking, self._library, captions, weights or self.default_weights, where
        )

    # ------------------------------------------------------------------ library
    def clips(self) -> tuple[ClipView, ...]:
        """Return all clips in order of arrival; asks the disk for nothing."""
        return tuple(self._clip_view(clip) for clip in self._library.clips())

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
        catalogue, where = self._library.catalogue, where or ClipFilter()
        clips = catalogue.page(where, order, offset, limit)
        return ClipPage(tuple(map(self._clip_view, clips)), catalogue.sums(where).clips)

    def clip(self, clip_id: str) -> ClipView:
        """Return one clip; an unknown id is refused. Asks the disk for nothing."""
        return self._clip_view(self._library.get(clip_id))

    def poster(self, clip_id: str) -> Path:
        """Return a clip's JPEG, if it is still what was written."""
        return self._library.checked(clip_id, "poster")

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
        visitor: str = "",
        cluster: str = "",
    ) -> IndexReport:
        """Index files, for one ``visitor`` alone or for all. One that fails is reported and changes nothing.

        ``cluster`` is the address of a Ray cluster that reads and encodes; see ``prepare_on_ray``.
        """
        with self._indexing:
            ready = self._indexer.ready
            try:
                return self._indexer.add(
                    [Path(path) for path in paths],
                    names=names,
                    captions=captions,
                    keep_copy=keep_copy,
                    progress=progress,
                    visitor=visitor,
                    cluster=cluster,
                )
            finally:
                if self._indexer.ready != ready:  # new prototypes: cached sentences are out of date
                    self._forget_encodings()
                self._refresh()

    @property
    def wants_samples(self) -> bool:
        """Whether the library is empty, or was left before all sample clips were in it."""
        return not len(self._library) or bool(self._library.setting(SAMPLES).get("pending"))

    def add_samples(self, folder: Path | str, *, progress: Progress | None = None) -> None:
        """Index the clips of a manifest with their captions, leaving the files where they are.

        A few at a time, so that those which are in can be searched; an untrained model, whose prototypes come from
        the first clips, takes all at once. What a kill leaves undone is done at the next start.
        """
        from vtr_demo.data.manifest import load_manifest

        clips = load_manifest(Path(folder) / "manifest.jsonl").clips
        few = SAMPLES_AT_ONCE if self._indexer.ready else len(clips)
        self._indexer.writer().set_setting(SAMPLES, {"pending": True})
        for start in range(0, len(clips), few):
            part = clips[start : start + few]

            def part_of(share: float, what: str, start: int = start, count: int = len(part)) -> None:
                if progress and (share < 1 or start + count == len(clips)):
                    progress((start + share * count) / len(clips), what)

            texts = [clip.captions for clip in part]
            self.add([clip.path for clip in part], captions=texts, keep_copy=False, progress=part_of)
        self._indexer.writer().set_setting(SAMPLES, {"pending": False})

    def edit(self, clip_id: str, *, name: str | None = None, captions: Sequence[str] | None = None) -> ClipView:
        """Give a clip another name or other captions; what cannot be read is refused and changes nothing."""
        library = self._indexer.writer()
        clip = library.update(edited(library.get(clip_id), name, captions))
        self._refresh()
        return self._clip_view(clip)

    def import_captions(self, path: Path | str, only: Collection[str] | None = None) -> CaptionReport:
        """Add the sentences of a file to the clips that its lines name, of those in ``only`` where that is given."""
        library = self._indexer.writer()
        clips = [clip for clip in library.clips() if only is None or clip.id in only]
        changed, report = imported(Path(path), clips)
        library.update_all(changed)
        self._refresh()
        return report

    def set_aside(self, clip_ids: Sequence[str]) -> tuple[ClipView, ...]:
        """Delete up to 1,000 clips in one step so that ``restore`` can bring them back within an hour."""
        if len(clip_ids) > MOST_LISTED:
            raise LibraryError(f"{len(clip_ids)} clips are too many to delete in one step; choose up to {MOST_LISTED}.")
        clips = self._indexer.writer().set_aside(clip_ids)
        self._refresh()
        return tuple(map(self._clip_view, clips))

    def restore(self, clip_ids: Sequence[str]) -> tuple[ClipView, ...]:
        """Bring back clips that were set aside; returns those that still could be."""
        clips = self._indexer.writer().restore(clip_ids)
        self._refresh()
        return tuple(map(self._clip_view, clips))

    def deleted(self) -> tuple[ClipView, ...]:
        """Return the clips that can be restored, the last deleted first."""
        return tuple(map(self._clip_view, self._library.deleted()))

    def empty_deleted(self) -> None:
        """Delete for good what was set aside, and free its space."""
        self._indexer.writer().empty_deleted()

    def delete(self, clip_id: str) -> None:
        """Forget a clip, also while others are indexed; the original file stays where it is."""
        self._indexer.writer().delete(clip_id)
        self._refresh()

    def forget_visitors(self, before: str) -> int:
        """Delete what visitors added before an ISO time; returns how many clips that were."""
        old = self._library.catalogue.page(ClipFilter(added_before=before, uploaded=True))
        for clip in old:
            with suppress(LibraryError):  # its visitor deleted it meanwhile
                self._indexer.writer().delete(clip.id)
        if old:
            self._refresh()
        return len(old)

    def visitor_key(self) -> bytes:
        """Return the secret that signs visitors' tokens, kept with the library where it may be written."""
        kept = self._library.setting(VISITOR_KEY).get("hex")
        if not isinstance(kept, str):
            kept = self._spare_key
            with suppress(LibraryError):
                self._indexer.writer().set_setting(VISITOR_KEY, {"hex": kept})
        return bytes.fromhex(kept)

    def prune(self) -> tuple[ClipView, ...]:
        """Forget the clips whose original is gone from disk and of which nothing playable is kept.

        Returns what was forgotten. A disk that is not mounted looks like one whose files are gone.
        """
        library = self._indexer.writer()
        missing = [clip for clip in library.clips() if not clip.copied and not Path(clip.source).is_file()]
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

    def status(self, where: ClipFilter | None = None) -> Status:
        """Return the model, problems, and the sizes of all clips or those ``where``."""
        library = self._library
        sums = library.catalogue.sums(where or ClipFilter())
        return Status(
            model=self.model.spec,
            trained=self.model.model.config.trained,
            clips=sums.clips,
            moments=sums.moments,
            stored_bytes=sums.bytes,
            device=str(next(self.model.model.parameters()).device),
            directory=str(library.directory),
            default_weights=self.default_weights,
            concept_names=concept_names(library, self.model),
            problems=library.problems(),
            train_command=self.model.train_command,
        )

    # ------------------------------------------------------------------ inside
    def _clip_view(self, clip: StoredClip) -> ClipView:
        return ClipView(
            clip_id=clip.id,
            name=clip.name,
            path=self._library.original(clip),
            poster=self._library.place(clip, "poster"),
            duration_s=clip.duration_s,
            width=clip.width,
            height=clip.height,
            moments=tuple((moment.start_s, moment.end_s) for moment in clip.moments),
            captions=clip.captions,
            added=clip.added,
            stored_bytes=clip.stored_bytes,
            visitor=clip.visitor,
        )

    def _forget_encodings(self) -> None:
        self._queries, self._examples = Queries(self.model), Examples(self.model, self.limits)

    def _query(self, text: str, struck: Collection[int], mix: Mix) -> Query:
        return self._queries.query(text, struck, mix, self._examples.find(self._library, mix))

    def _refresh(self) -> None:
        self._ranking.refresh()
        self._concepts = ()
