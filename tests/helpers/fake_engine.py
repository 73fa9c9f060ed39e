"""A stand-in for the engine: drawn clips, and invented numbers that add up.

It keeps the engine's contract (ids, records, one-sentence errors), so that the page can be tested
without weights, a decoder process or an index.
"""

from __future__ import annotations

import io
import shutil
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from tests.helpers.drawn import write_video
from vtr_demo.data.caption_files import match_captions, read_captions
from vtr_demo.errors import ConfigError, LibraryError, VideoError
from vtr_demo.results import (
    CaptionHit,
    CaptionReport,
    ClipFilter,
    ClipPage,
    ClipView,
    ConceptShot,
    ConceptView,
    Explanation,
    Hit,
    IndexReport,
    Measurement,
    Order,
    Recall,
    SearchResult,
    Status,
)
from vtr_demo.structures import LEVELS, NO_MIX, Alignment, CropBox, Mix, Sentence, TermWeights
from vtr_demo.text.parser import parse, without_words
from vtr_demo.video.frames import LimitConfig

GRID, SIZE, FRAMES, CONCEPTS = (4, 5), 120, 6, 8


@dataclass(frozen=True)
class Scene:
    """One drawn clip: who moves, how, before which colours."""

    name: str
    captions: tuple[str, ...]
    sky: tuple[int, int, int]
    ground: tuple[int, int, int]
    thing: tuple[int, int, int]
    heading: tuple[float, float]


SCENES = (
    Scene("red-ball-beach", ("a red ball rolls across the beach", "a ball rolls past the sea"),
          (150, 205, 235), (236, 214, 164), (214, 60, 50), (0.7, 0.0)),
    Scene("kite-over-hills", ("a yellow kite flies over green hills",),
          (178, 220, 246), (96, 150, 84), (246, 196, 40), (0.5, -0.3)),
    Scene("moon-rises", ("the moon rises above a dark sea",),
          (22, 30, 66), (16, 46, 84), (244, 238, 210), (0.1, -0.55)),
    Scene("leaf-falls", ("an orange leaf falls in the forest", "a leaf drifts down"),
          (196, 214, 178), (88, 104, 62), (232, 122, 38), (0.2, 0.5)),
    Scene("snow-hare", ("a white hare jumps through the snow",),
          (206, 222, 238), (240, 244, 248), (250, 250, 252), (0.6, -0.1)),
    Scene("night-taxi", ("a yellow taxi rolls through the city at night",),
          (40, 36, 62), (58, 56, 66), (248, 200, 44), (0.8, 0.05)),
    Scene("balloon", ("a purple balloon drifts above the desert",),
          (250, 216, 180), (222, 172, 110), (140, 86, 190), (0.3, -0.5)),
    Scene("spinning-top", ("a blue top spins on a wooden table",),
          (236, 226, 210), (168, 118, 76), (52, 110, 200), (0.15, 0.1)),
    Scene("gull", ("a gull flies past the harbour", "a white bird flies over water"),
          (190, 214, 222), (84, 132, 152), (252, 252, 250), (0.7, -0.2)),
)  # fmt: skip


def draw(scene: Scene, time: float, width: int, height: int) -> Image.Image:
    """The scene at ``time`` in [0, 1]."""
    picture = Image.new("RGB", (width, height), scene.sky)
    x, y, radius = *place(scene, time), height * 0.13
    pen = ImageDraw.Draw(picture)
    pen.rectangle([0, height * 0.62, width, height], fill=scene.ground)
    pen.ellipse([x * width - radius, y * height - radius, x * width + radius, y * height + radius], fill=scene.thing)
    return picture


def place(scene: Scene, time: float) -> tuple[float, float]:
    """Where the moving thing is, as fractions of the picture."""
    dx, dy = scene.heading
    return 0.5 + dx * (time - 0.5), 0.5 + dy * (time - 0.5)


def write_clip(scene: Scene, folder: Path, duration_s: float = 3.0) -> tuple[Path, Path]:
    """Encode the scene as MP4 and its middle as JPEG; (media, poster)."""
    media, poster = folder / f"{scene.name}.mp4", folder / f"{scene.name}.jpg"
    count = int(duration_s * 10)
    pictures = [np.asarray(draw(scene, number / (count - 1), 320, 180)) for number in range(count)]
    write_video(media, pictures, range(count), fps=10, codec="libx264")
    draw(scene, 0.5, 480, 270).save(poster, quality=85)
    return media, poster


def without(text: str, struck: Collection[int]) -> Sentence:
    """The sentence with the words at ``struck`` left out, parsed again as the engine does."""
    return parse(without_words(parse(text), struck) if struck else text)


def soft(held: np.ndarray) -> np.ndarray:
    """Probabilities (..., K) whose arg-max is ``held``."""
    return (0.9 * (held[..., None] == np.arange(CONCEPTS)) + 0.1 / CONCEPTS).astype(np.float32)


def _hash(*parts: str) -> float:
    return zlib.crc32("|".join(parts).encode()) / 2**32


class FakeEngine:
    """The engine's contract over drawn clips."""

    def __init__(self, folder: Path, scenes: Sequence[Scene] = SCENES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.default_weights = TermWeights()
        self.limits = LimitConfig(max_bytes=5 * 2**20)
        self.concept_names = tuple(f"concept {k + 1}" for k in range(CONCEPTS))
        self._clips: dict[str, tuple[Scene, ClipView]] = {}
        self._bin: dict[str, tuple[Scene, ClipView]] = {}
        for scene in scenes:
            self._put(scene, *write_clip(scene, folder))

    def _put(self, scene: Scene, media: Path, poster: Path) -> str:
        clip_id = f"{zlib.crc32(scene.name.encode()):08x}"
        view = ClipView(
            clip_id, scene.name, media, poster, 3.0, 320, 180, ((0.0, 1.5), (1.5, 3.0)),
            scene.captions, "2026-01-01T12:00:00", media.stat().st_size,
        )  # fmt: skip
        self._clips[clip_id] = (scene, view)
        return clip_id

    def _scene(self, clip_id: str) -> tuple[Scene, ClipView]:
        if clip_id not in self._clips:
            raise LibraryError(f"No clip {clip_id!r} in this library; choose one from its list.")
        return self._clips[clip_id]

    def poster(self, clip_id: str) -> Path:
        """The still picture."""
        return self._scene(clip_id)[1].poster

    def media(self, clip_id: str) -> Path:
        """The film itself."""
        return self._scene(clip_id)[1].path

    def still(self, clip_id: str, moment: int) -> bytes:
        """The scene in the middle of a moment."""
        scene, view = self._scene(clip_id)
        if moment >= len(view.moments):
            raise LibraryError(f"{view.name} has no moment {moment}.")
        picture, file = draw(scene, sum(view.moments[moment]) / 2 / view.duration_s, 260, 260), io.BytesIO()
        picture.save(file, "JPEG")
        return file.getvalue()

    def _gates(self, sentence: Sentence, weights: TermWeights) -> np.ndarray:
        present = sentence.level_mask().any(axis=1)
        gates = np.array(weights.levels()) * present
        return gates / gates.sum() if gates.sum() else gates

    def _align(
        self, sentence: Sentence, clip_id: str, moment: int, weights: TermWeights, struck: Collection[int] = ()
    ) -> Alignment:
        scene, view = self._scene(clip_id)
        start, end = view.moments[moment] if moment >= 0 else (0.0, view.duration_s)
        seconds = np.linspace(start, end, FRAMES + 2)[1:-1]
        rows, columns = np.mgrid[0.5 : GRID[0], 0.5 : GRID[1]]
        heat = np.zeros((FRAMES, 1 + GRID[0] * GRID[1]), np.float32)
        for t, second in enumerate(seconds):
            x, y = place(scene, second / view.duration_s)
            near = np.exp(-((columns - x * GRID[1]) ** 2 + (rows - y * GRID[0]) ** 2) / 0.8)
            heat[t, 1:] = (near - 0.04).ravel()
            heat[t, 0] = 0.3
        heat /= heat.sum()
        vocabulary = " ".join(scene.captions).split()
        word = np.array([_hash(w.lemma, scene.name) * 0.16 - 0.08 for w in sentence.words], np.float32)
        for i, w in enumerate(sentence.words):
            if w.pos == "DET":
                word[i] *= 0.2
            elif w.text in vocabulary:
                word[i] = 0.75 + 0.2 * _hash(w.lemma)
        word[list(struck)] = 0
        parts = np.zeros((len(LEVELS), 1 + len(word), FRAMES, heat.shape[1]), np.float32)
        gates = self._gates(sentence, weights)
        for level, mask in enumerate(sentence.level_mask()):
            share = word * mask / max(mask.sum(), 1)
            parts[level, 1:] = gates[level] * share[:, None, None] * heat
        parts[0, 0] = gates[0] * 0.05 * heat
        word_concept = np.array([-1, *(int(_hash(w.lemma) * CONCEPTS) for w in sentence.words)])
        patch_concept = np.where(heat > heat.max() * 0.2, int(_hash(scene.name) * CONCEPTS), 7)
        patch_concept[:, : heat.shape[1] // 3] = 2
        concepts = np.zeros(parts.shape[1:], np.float32)
        for i, value in enumerate(word):
            shared = patch_concept == word_concept[1 + i]
            weight = weights.concepts * (word_concept[1 + i] not in weights.muted)
            concepts[1 + i] = weight * 0.5 * value / len(word) * heat * shared
        return Alignment(
            float(parts.sum() + concepts.sum()), parts, concepts, word_concept, patch_concept, CONCEPTS,
            ("whole sentence", *(w.text for w in sentence.words)), seconds, GRID,
            soft(word_concept), soft(patch_concept),
        )  # fmt: skip

    def search(
        self,
        text: str,
        k: int = 8,
        weights: TermWeights | None = None,
        struck: Collection[int] = (),
        mix: Mix = NO_MIX,
        where: ClipFilter | None = None,
    ) -> SearchResult:
        """The best moment of each clip, best clip first."""
        sentence, weights = without(text, struck), weights or self.default_weights
        hits = []
        where = where or ClipFilter()
        for clip_id, (_, view) in self._clips.items():
            if where.name not in view.name or where.own:
                continue
            spans = [(0.0, view.duration_s), *view.moments]
            options = [self._align(sentence, clip_id, m - 1, weights) for m in range(len(spans))]
            best = max(range(len(options)), key=lambda m: options[m].score)
            alignment = options[best]
            confidence = float(np.clip(0.4 + alignment.score, 0, 0.995))
            hits.append(
                Hit(clip_id, view.name, str(view.path), alignment.score, *spans[best], best - 1, confidence,
                    alignment.terms())
            )  # fmt: skip
        hits.sort(key=lambda hit: -hit.score)
        confident = bool(hits) and hits[0].confidence > 0.8
        return SearchResult(sentence, tuple(hits[:k]), weights, len(self._clips), confident, 12.3)

    def describe(
        self, clip_id: str, captions: Sequence[str] | None = None, k: int = 10, weights: TermWeights | None = None
    ) -> tuple[CaptionHit, ...]:
        """The sentences that fit the clip best."""
        known = [caption for scene, _ in self._clips.values() for caption in scene.captions]
        hits = []
        for text in known if captions is None else captions:
            alignment = self._align(parse(text), clip_id, -1, weights or self.default_weights)
            confidence = float(np.clip(0.4 + alignment.score, 0, 0.995))
            hits.append(CaptionHit(text, alignment.score, alignment.terms(), confidence))
        return tuple(sorted(hits, key=lambda hit: -hit.score)[:k])

    def explain(
        self,
        text: str,
        clip: str | Hit,
        moment: int | None = None,
        weights: TermWeights | None = None,
        struck: Collection[int] = (),
        mix: Mix = NO_MIX,
    ) -> Explanation:
        """Frames, terms and word effects for one pair; by default of the moment that a search ranks."""
        sentence, weights = without(text, struck), weights or self.default_weights
        clip_id = clip if isinstance(clip, str) else clip.clip_id
        if moment is None:
            hits = [clip] if isinstance(clip, Hit) else self.search(text, 10**6, weights, struck).hits
            moment = next((hit.moment for hit in hits if hit.clip_id == clip_id), -1)
        alignment = self._align(sentence, clip_id, moment, weights)
        scene, view = self._scene(clip_id)
        frames = [np.asarray(draw(scene, s / view.duration_s, SIZE, SIZE)) for s in alignment.seconds]
        effects = [
            alignment.score - self._align(sentence, clip_id, moment, weights, {i}).score
            for i in range(len(sentence.words))
        ]
        tags = {"entity": (("ball", 0.81), ("beach", 0.64)), "action": (("roll", 0.72),)}
        gates = dict(zip(LEVELS, map(float, self._gates(sentence, weights)), strict=True))
        return Explanation(
            clip_id, moment, sentence, alignment, np.stack(frames), gates, np.array(effects, np.float32),
            self.concept_names, tags, CropBox(70, 0, 180, 180, 320, 180),
        )  # fmt: skip

    def weigh(self, values: Mapping[str, float], muted: Collection[str | int] = ()) -> TermWeights:
        """As the engine does."""
        for name in muted:
            if name not in (range(CONCEPTS) if isinstance(name, int) else self.concept_names):
                raise ConfigError(f"There is no concept {name!r} to mute.")
        indices = tuple(sorted(n if isinstance(n, int) else self.concept_names.index(n) for n in muted))
        return replace(self.default_weights.changed(values), muted=indices)

    def rename(self, concept: int, name: str) -> None:
        """As the engine does, without its checks."""
        names = [*self.concept_names]
        names[concept] = name or f"concept {concept + 1}"
        self.concept_names = tuple(names)

    def concepts(self) -> tuple[ConceptView, ...]:
        """Every concept with the clips that hold it."""
        seen = [(view, draw(scene, 0.2, SIZE, SIZE), self._align(parse(scene.name), view.clip_id, -1, TermWeights()))
                for scene, view in self._clips.values()]  # fmt: skip
        views = []
        for k in range(CONCEPTS):
            held = [alignment.patch_concept[0, 1:].reshape(GRID) == k for _, _, alignment in seen]
            shots = [
                ConceptShot(view.clip_id, view.name, 0.6, float(mask.mean()), np.asarray(frame), mask)
                for (view, frame, _), mask in zip(seen, held, strict=True)
                if mask.any()
            ]
            share = float(np.mean([(alignment.patch_concept[:, 1:] == k).mean() for _, _, alignment in seen] or [0.0]))
            views.append(
                ConceptView(k, self.concept_names[k], f"concept {k + 1}", 0.5, share, 1 / CONCEPTS,
                            ((f"word{k}", 3),), tuple(shots[:3]), (0.4, -0.1) if k % 2 else None)
            )  # fmt: skip
        return tuple(views)

    def measure(self, captions: Path | None = None) -> Measurement:
        """Invented numbers; without a caption there are none."""
        texts = [text for scene, _ in self._clips.values() for text in scene.captions]
        if not texts:
            raise LibraryError("No clip of this library has a caption to measure with.")
        values = {"R@1": 50.0, "R@5": 87.5, "R@10": 100.0, "MdR": 1.5, "MnR": 2.25}
        recall = Recall(len(texts), values, {name: (value * 0.8, value) for name, value in values.items()})
        count = len(self._clips)
        alone = {"only global": (40.0, 30.0), "without global": (20.0, 10.0), "only action": (5.0, 2.5)}
        return Measurement(len(texts), count, count, recall, recall, alone, 21.4, 8192, 2_500_000)

    def clips(self) -> tuple[ClipView, ...]:
        """All clips in the order they were added."""
        return tuple(view for _, view in self._clips.values())

    def clip(self, clip_id: str) -> ClipView:
        """One clip by its id."""
        return self._scene(clip_id)[1]

    def add(
        self,
        paths: Sequence[Path],
        *,
        names: Sequence[str] | None = None,
        keep_copy: bool = True,
        progress: Callable[[float, str], None] | None = None,
    ) -> IndexReport:
        """Index what can be opened; report the rest."""
        added, failed = [], []
        for number, path in enumerate(paths):
            name = names[number] if names else path.name
            if progress:
                progress(number / len(paths), f"decoding {name}")
            try:
                av.open(str(path)).close()
            except (av.FFmpegError, OSError):
                reason = VideoError(name, "no video stream was found", "re-save the clip as H.264 MP4")
                failed.append((name, str(reason)))
                continue
            poster = self.folder / f"{path.stem}.jpg"
            draw(SCENES[0], 0.5, 480, 270).save(poster)
            kept = Path(shutil.copy(path, self.folder / f"copy-{path.name}"))
            added.append(self._put(replace(SCENES[0], name=Path(name).stem, captions=()), kept, poster))
        return IndexReport(tuple(added), (), tuple(failed))

    def list(
        self, offset: int = 0, limit: int = 48, order: Order = "newest", where: ClipFilter | None = None
    ) -> ClipPage:
        """A part of the clips; knows two orders and the filters by name and captions."""
        where = where or ClipFilter()
        clips = [
            clip
            for clip in self.clips()
            if where.name.lower() in clip.name.lower() and where.captioned in (None, bool(clip.captions))
        ]
        clips = sorted(clips, key=lambda clip: clip.name) if order == "name" else clips[::-1]
        return ClipPage(tuple(clips[offset : offset + limit]), len(clips))

    def edit(self, clip_id: str, *, name: str | None = None, captions: Sequence[str] | None = None) -> ClipView:
        """Another name or other captions, without the engine's checks."""
        scene, view = self._scene(clip_id)
        view = replace(view, name=name or view.name, captions=tuple(filter(None, captions or ())))
        self._clips[clip_id] = (replace(scene, name=view.name, captions=view.captions), view)
        return view

    def import_captions(self, path: Path) -> CaptionReport:
        """The file's captions for the clips that it names."""
        known = [(clip.clip_id, clip.name, clip.name) for clip in self.clips()]
        matched, left_out = match_captions(read_captions(path), known)
        for clip_id, texts in matched.items():
            self.edit(clip_id, captions=[*self.clip(clip_id).captions, *texts])
        return CaptionReport(len(matched), sum(map(len, matched.values())), left_out)

    def set_aside(self, clip_ids: Sequence[str]) -> tuple[ClipView, ...]:
        """Clips that can be restored."""
        gone = {one: self._clips.pop(one) for one in clip_ids if one in self._clips}
        self._bin |= gone
        return tuple(view for _, view in gone.values())

    def restore(self, clip_ids: Sequence[str]) -> tuple[ClipView, ...]:
        """Clips that were set aside."""
        back = {one: self._bin.pop(one) for one in clip_ids if one in self._bin}
        self._clips |= back
        return tuple(view for _, view in back.values())

    def deleted(self) -> tuple[ClipView, ...]:
        """What can be restored."""
        return tuple(view for _, view in self._bin.values())

    def empty_deleted(self) -> None:
        """Nothing can be restored any longer."""
        self._bin.clear()

    def delete(self, clip_id: str) -> None:
        """Forget one clip."""
        self._scene(clip_id)
        del self._clips[clip_id]

    def rebuild(self, progress: Callable[[float, str], None] | None = None) -> None:
        """Nothing to rebuild here."""
        if progress:
            progress(1.0, "index rebuilt")

    def status(self) -> Status:
        """The state of the drawn library."""
        stored = [view.stored_bytes for _, view in self._clips.values()]
        return Status(
            "fake", True, len(stored), 2 * len(stored), sum(stored), "cpu", str(self.folder),
            self.default_weights, self.concept_names, (),
        )  # fmt: skip
