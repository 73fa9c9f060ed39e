"""Keeps a library in step with a model: analyses files, stores them, rebuilds what is stale."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from vtr_demo.config import LimitConfig, VideoConfig
from vtr_demo.errors import LibraryError, VtrError
from vtr_demo.files import sha256_of
from vtr_demo.library.clip_files import ClipContents, ClipRecord, Origin
from vtr_demo.library.segments import Moment, Plan, find_moments, fused, plan_frames, shot_cuts
from vtr_demo.library.store import Shelf, Store
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.s2ca import kmeans
from vtr_demo.results import ClipView, IndexReport
from vtr_demo.structures import FrameBatch, VideoFeatures, VideoTokens, pad_video_tokens
from vtr_demo.video.frames import VideoInfo, convert_for_browser, probe_guarded, read_frames_guarded

# --------------------------------------------------------------------------- from a file to what a libra
POSTER_SIDE = 480
"""The longer side of a clip's poster in pixels."""

_POINTS = 20_000
"""Tokens that prototypes are looked for among."""


@dataclass(frozen=True)
class Analysed:
    """A clip after the image tower. ``whole`` indexes the frames that stand for all of it."""

    info: VideoInfo
    frames: FrameBatch
    tokens: VideoTokens
    whole: tuple[int, ...]
    moments: tuple[Moment, ...]


def analyse(
    path: Path, pretrained: RetrievalModel, limits: LimitConfig, info: VideoInfo | None = None
) -> Analysed:
    """Read a file in the guarded worker and run the image tower; raises ``VideoError``."""
    info = info or probe_guarded(path, limits=limits)
    plan = plan_frames(info.duration_s, pretrained.video)
    size = pretrained.backbone.frame_size
    frames = read_frames_guarded(path, plan.seconds, size=size, config=pretrained.video, limits=limits)
    tokens, moments = understood(frames, plan, info.duration_s, pretrained)
    return Analysed(info, frames, tokens, plan.whole, moments)


def understood(
    frames: FrameBatch, plan: Plan, duration_s: float, pretrained: RetrievalModel
) -> tuple[VideoTokens, tuple[Moment, ...]]:
    """The tokens of the frames of ``plan`` and the moments that they fall into."""
    tokens = rounded(pretrained.backbone.encode_frames(frames.pixels))
    cuts = shot_cuts(frames) if len(plan.seconds) > len(plan.whole) else []
    return tokens, tuple(find_moments(frames.seconds, cuts, duration_s, pretrained.video))


def poster(path: Path, info: VideoInfo, second: float, limits: LimitConfig) -> np.ndarray:
    """The whole picture (H, W, 3) uint8 at ``second``, in its own proportions; the model sees a square."""
    squashed = VideoConfig(fit="squash")
    square = read_frames_guarded(path, [second], size=POSTER_SIDE, config=squashed, limits=limits).pixels
    scale = POSTER_SIDE / max(info.width, info.height)
    size = (max(1, round(info.height * scale)), max(1, round(info.width * scale)))
    picture = torch.from_numpy(square).permute(0, 3, 1, 2).float()
    shaped = torch.nn.functional.interpolate(picture, size, mode="bilinear", antialias=True)
    return shaped[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def rounded(tokens: VideoTokens) -> VideoTokens:
    """Tokens as the library stores them, so that a vector never depends on when it was made."""
    return tokens.half().to(tokens.patches.device)


def whole_frames(duration_s: float, count: int, pretrained: RetrievalModel) -> tuple[int, ...]:
    """Which of ``count`` stored frames stand for the whole clip."""
    plan = plan_frames(duration_s, pretrained.video)
    return plan.whole if len(plan.seconds) == count else tuple(range(count))


def parts_of(whole: Sequence[int], moments: Sequence[Moment]) -> list[tuple[int, ...]]:
    """Frame indices of the whole clip and then of each moment."""
    return [tuple(whole), *(moment.frames for moment in moments)]


@torch.no_grad()
def encode_parts(
    pretrained: RetrievalModel, tokens: VideoTokens, parts: Sequence[Sequence[int]], chunk: int = 16
) -> list[VideoFeatures]:
    """Features of several frame selections of one clip, in batches of ``chunk``."""
    model = pretrained.model
    device = next(model.parameters()).device
    features = []
    for start in range(0, len(parts), chunk):
        batch = pad_video_tokens([tokens.take(list(part)) for part in parts[start : start + chunk]])
        features.append(model.encode_video(batch.to(device)))
    return features


def flat_vectors(
    pretrained: RetrievalModel, tokens: VideoTokens, parts: Sequence[Sequence[int]]
) -> np.ndarray:
    """(1+M, F) float32: the video side of the score for each frame selection."""
    rows = [features.flat().cpu() for features in encode_parts(pretrained, tokens, parts)]
    return np.ascontiguousarray(torch.cat(rows).numpy(), dtype=np.float32)


@torch.no_grad()
def found_prototypes(pretrained: RetrievalModel, clips: Sequence[VideoTokens]) -> dict[str, list]:
    """Prototypes by k-means on the clips' own tokens, and the centre (2, D) of both modalities: plain
    lists, to be kept. The centre of the text stays at zero, for no sentence has been read."""
    model = pretrained.model
    device = next(model.parameters()).device
    tokens = []
    for clip in clips:
        out = model.forward_video(clip.to(device))
        tokens.append(out.concept_tokens[out.concept_mask].cpu())
    points = torch.cat(tokens)
    points = points[torch.linspace(0, len(points) - 1, min(len(points), _POINTS)).long()]
    centre = torch.stack([points.mean(0), torch.zeros_like(points[0])])
    found = kmeans(points - centre[0], model.concepts.prototypes.shape[1])
    return {"centre": centre.tolist(), "prototypes": found.expand_as(model.concepts.prototypes).tolist()}


Progress = Callable[[float, str], None]
PROTOTYPES = "prototypes"
_CLIPS_FOR_PROTOTYPES = 32


class Librarian:
    """One library folder and the model that its features come from."""

    def __init__(self, shelf: Shelf, pretrained: RetrievalModel, limits: LimitConfig) -> None:
        """Use ``Librarian.open``."""
        self._shelf, self._pretrained, self._limits = shelf, pretrained, limits
        self._load_prototypes()

    @classmethod
    def open(
        cls,
        directory: Path,
        pretrained: RetrievalModel,
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
            path=self._shelf.original(clip_id),
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
