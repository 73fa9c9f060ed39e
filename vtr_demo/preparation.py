"""From a config to everything a run needs: towers, data, tokens, and a model that is ready to learn."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.attributes import Vocabulary, build_vocabulary, imbalance_report, label_matrix
from vtr_demo.backbone import Backbone, load_backbone
from vtr_demo.config import TrainConfig
from vtr_demo.corpus import Item, held_out, load_items, playground_items
from vtr_demo.errors import BadConfig, BadManifest, UnreadableVideo
from vtr_demo.frames import FrameStore
from vtr_demo.initial import begin, fit_reduction
from vtr_demo.live import LiveSampler, LiveVideos
from vtr_demo.model import VTRModel, model_from
from vtr_demo.records import LEVELS, Sentence, TextTokens
from vtr_demo.sampler import Sampler
from vtr_demo.teacher import LiveTeacher, TeacherTokens, frozen_copy
from vtr_demo.tokens import VideoCache, encode_texts, meanings, text_tokens

log = logging.getLogger(__name__)
_SAMPLED_CLIPS = 512
_SAMPLED_TEXTS = 2048


@dataclass(frozen=True)
class Assembled:
    """What ``Trainer`` takes; the model is on ``device``, its towers too."""

    device: torch.device
    backbone: Backbone
    model: VTRModel
    vocabulary: Vocabulary
    sampler: Sampler
    validation: list[Item]
    taught: tuple[int, int] | None
    missing: tuple[str, ...]


def assemble(config: TrainConfig) -> Assembled:
    """Load towers and data, compute what can be computed before the first step, start the model."""
    device = distributed.device_of(config.device)
    if config.precision == "fp16" and device.type != "cuda":
        raise BadConfig("precision fp16 needs a GPU, and there is none; use bf16 or fp32.")
    torch.manual_seed(config.seed)
    backbone = load_backbone(config.model.backbone, str(device))
    missing: list[str] = []
    items = load_items(config.train, "train", config, missing)
    validation = load_items(config.validation, config.validation_split, config, missing)
    if config.hold_out:
        items, validation = held_out(items, config.hold_out, config.seed)
    if config.playground_clips:
        items += playground_items(config.playground_clips, config.seed, sprites=config.sprites)
    if len(items) < 2 * distributed.world():
        raise BadManifest(
            f"{', '.join(config.train) or 'the playground'}: {len(items)} clips to train on, but each "
            "process needs two, since ranking needs a negative; add clips or check the folder of videos."
        )
    spoken = [list(item.sentences) for item in items]
    vocabulary = build_vocabulary(spoken)
    labels = label_matrix(spoken, vocabulary)
    log.info("%s", imbalance_report(labels, vocabulary))
    model = model_from(config.model, backbone, [vocabulary.sizes[level] for level in LEVELS])
    frames = None
    if not config.freeze_backbone:
        folder = Path(config.frame_cache) if config.frame_cache else None
        frames = FrameStore(folder, config.video.clip_frames, backbone.frame_size, config.workers)
        readable = {item.key for item in frames.check(items, "training")}
        kept = [i for i, item in enumerate(items) if item.key in readable]
        items, labels = [items[i] for i in kept], {level: labels[level][kept] for level in LEVELS}
    _reduce(model, backbone, items, config)
    parts = _Parts(config, device, backbone, model, items, labels)
    if frames is None:
        sampler, validation, taught = parts.frozen(validation)
    else:
        validation = frames.check(validation, "validation") if validation else []
        sampler, taught = parts.live(frames)
    return Assembled(device, backbone, model, vocabulary, sampler, validation, taught, tuple(missing))


@dataclass(frozen=True)
class _Parts:
    """What both ways to train have in common."""

    config: TrainConfig
    device: torch.device
    backbone: Backbone
    model: VTRModel
    items: list[Item]
    labels: dict[str, Tensor]

    def frozen(self, validation: list[Item]) -> tuple[Sampler, list[Item], tuple[int, int] | None]:
        """Tokens are computed once; items that cannot be read are left out."""
        cache = self._cache(self.backbone, self.model)
        known = {item.key for item in cache.fill(self.items, "training")}
        kept = [i for i, item in enumerate(self.items) if item.key in known]
        items = [self.items[i] for i in kept]
        true = [s for item in items for s in item.sentences]
        false = [s for item in items for c in item.contrasts for _, s in c.false]
        texts = encode_texts(true, self.backbone, false)
        if validation:
            validation = cache.fill(validation, "validation")
        self._begin(cache, items, [text.tokens for text in texts.values()])
        teacher, taught = None, None
        if self.config.teacher:
            tower = load_backbone(self.config.teacher, str(self.device))
            taught = (tower.patch_width, tower.word_width)
            seen = self._cache(tower, None)
            seen.fill(items, "teacher")
            teacher = TeacherTokens(seen, text_tokens(_sentences(items), tower), self.backbone.grid)
        labels = tuple(self.labels[level][kept] for level in LEVELS)
        return Sampler(items, cache, texts, labels, self.config, teacher), validation, taught

    def live(self, frames: FrameStore) -> tuple[Sampler, tuple[int, int] | None]:
        """The towers learn; what sentences mean to each other is asked of them once, before that."""
        config, backbone = self.config, self.backbone
        tokens: dict[str, TextTokens] = {}
        spoken = meanings(_sentences(self.items), backbone)
        some = list(spoken.values())
        some = some[:: max(1, len(some) // _SAMPLED_TEXTS)]
        tokens = text_tokens([value.sentence for value in some], backbone)
        self._begin(
            VideoCache(None, backbone, self.model, config.video.clip_frames),
            self.items,
            list(tokens.values()),
        )
        teacher, taught = None, None
        if config.teacher:
            tower = load_backbone(config.teacher, str(self.device))
            teacher, taught = LiveTeacher(tower, backbone.grid), (tower.patch_width, tower.word_width)
        elif config.loss.distill or config.loss.distill_similarity:
            teacher = LiveTeacher(frozen_copy(backbone), backbone.grid, self.model)
        backbone.unfreeze()
        backbone.set_grad_checkpointing(config.checkpoint_activations)
        labels = tuple(self.labels[level] for level in LEVELS)
        videos = LiveVideos(backbone, self.model, frames)
        return LiveSampler(self.items, videos, spoken, labels, config, backbone, teacher), taught

    def _cache(self, backbone: Backbone, model: VTRModel | None) -> VideoCache:
        folder = Path(self.config.cache) if self.config.cache else None
        return VideoCache(folder, backbone, model, self.config.video.clip_frames)

    def _begin(self, cache: VideoCache, items: list[Item], texts: list[TextTokens]) -> None:
        some = items[:: max(1, len(items) // _SAMPLED_CLIPS)]
        texts = texts[:: max(1, len(texts) // _SAMPLED_TEXTS)]
        begin(self.model, [cache.get(item) for item in some], texts, seed=self.config.seed)
        self.model.to(self.device)


def _sentences(items: list[Item]) -> list[Sentence]:
    """All sentences of the items, true ones first, then those of their contrasts."""
    sentences = [s for item in items for s in item.sentences]
    return sentences + [s for i in items for c in i.contrasts for s in (c.true, *(f for _, f in c.false))]


def _reduce(model: VTRModel, backbone: Backbone, items: list[Item], config: TrainConfig) -> None:
    """Fit the reduction on tokens of a spread of items."""
    if not model.reduction.numel():
        return
    some = items[:: max(1, len(items) // (_SAMPLED_CLIPS // 2))]
    patches = []
    for item in some:
        with suppress(UnreadableVideo), torch.no_grad():  # reported when all items are read
            batch = item.frames(2, backbone.frame_size)
            patches.append(backbone.encode_frames(batch.pixels).patches.flatten(0, 2).cpu())
    if patches:
        fit_reduction(model, torch.cat(patches))
