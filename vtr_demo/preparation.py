"""From a config to everything a run needs: a model that is ready to learn, and batches to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vtr_demo.attributes import Vocabulary
from vtr_demo.backbone import Backbone, load_backbone
from vtr_demo.config import TrainConfig
from vtr_demo.continuing import carry
from vtr_demo.corpus import Item
from vtr_demo.frames import FrameStore
from vtr_demo.initial import begin
from vtr_demo.live import LiveSampler, LiveVideos
from vtr_demo.material import Material, gather, token_cache
from vtr_demo.model import VTRModel, model_from
from vtr_demo.records import LEVELS, Sentence, TextTokens
from vtr_demo.sampler import Sampler
from vtr_demo.teacher import LiveTeacher, TeacherTokens, frozen_copy
from vtr_demo.tokens import Text, VideoCache, meanings, text_tokens

_START_CLIPS = 512
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
    tuned: bool
    """Whether the towers are others than their name stands for, from a checkpoint that tuned them."""


def assemble(config: TrainConfig, material: Material | None = None) -> Assembled:
    """Start the model and its batches; ``material`` is what ``gather`` found, where runs share it."""
    found = material or gather(config)
    torch.manual_seed(config.seed)
    model = model_from(config.model, found.backbone, [found.vocabulary.sizes[level] for level in LEVELS])
    model.reduction.copy_(found.reducer.reduction)
    model.reduction_mean.copy_(found.reducer.reduction_mean)
    parts = _Parts(config, found, model)
    if found.frames is None:
        assert found.cache is not None
        assert found.texts is not None
        sampler, taught = parts.frozen(found.cache, found.texts)
    else:
        sampler, taught = parts.live(found.frames)
    return Assembled(
        found.device,
        found.backbone,
        model,
        found.vocabulary,
        sampler,
        found.validation,
        taught,
        found.missing,
        found.start is not None and found.start.tuned,
    )


@dataclass(frozen=True)
class _Parts:
    """What both ways to train have in common."""

    config: TrainConfig
    material: Material
    model: VTRModel

    def frozen(self, cache: VideoCache, texts: dict[str, Text]) -> tuple[Sampler, tuple[int, int] | None]:
        """The heads learn from tokens that are kept."""
        config, items, backbone = self.config, self.material.items, self.material.backbone
        self._begin(cache, items, [text.tokens for text in texts.values()])
        teacher, taught = None, None
        if config.teacher:
            tower = load_backbone(config.teacher, str(self.material.device))
            taught = (tower.patch_width, tower.word_width)
            seen = token_cache(config, tower, None)
            seen.fill(items, "teacher")
            teacher = TeacherTokens(seen, text_tokens(_sentences(items), tower, divided=True), backbone.grid)
        return Sampler(items, cache, texts, self.material.labels, config, teacher), taught

    def live(self, frames: FrameStore) -> tuple[Sampler, tuple[int, int] | None]:
        """The towers learn; what sentences mean to each other is asked of them once, before that."""
        config, backbone = self.config, self.material.backbone
        spoken = meanings(_sentences(self.material.items), backbone, divided=True)
        some = list(spoken.values())
        some = some[:: max(1, len(some) // _SAMPLED_TEXTS)]
        tokens = text_tokens([value.sentence for value in some], backbone, divided=True)
        self._begin(
            VideoCache(None, backbone, self.model, config.video.clip_frames),
            self.material.items,
            list(tokens.values()),
        )
        teacher, taught = None, None
        if config.teacher:
            tower = load_backbone(config.teacher, str(self.material.device))
            teacher, taught = LiveTeacher(tower, backbone.grid), (tower.patch_width, tower.word_width)
        elif config.loss.distill or config.loss.distill_similarity:
            teacher = LiveTeacher(frozen_copy(backbone), backbone.grid, self.model)
        backbone.unfreeze()
        backbone.set_grad_checkpointing(config.checkpoint_activations)
        videos = LiveVideos(backbone, self.model, frames)
        return LiveSampler(
            self.material.items, videos, spoken, self.material.labels, config, backbone, teacher
        ), taught

    def _begin(self, cache: VideoCache, items: list[Item], texts: list[TextTokens]) -> None:
        some = items[:: max(1, len(items) // _START_CLIPS)]
        some_texts = texts[:: max(1, len(texts) // _SAMPLED_TEXTS)]
        texts = [text.half().to("cpu") for text in some_texts]  # alike for towers that learn and that do not
        if self.material.start:
            carry(self.model, self.material.start, self.material.vocabulary)
        else:  # the same prototypes for every seed, so that runs find comparable concepts
            begin(self.model, [cache.get(item) for item in some], texts, seed=0)
        self.model.to(self.material.device)


def _sentences(items: list[Item]) -> list[Sentence]:
    """All sentences of the items, true ones first, then those of their contrasts."""
    sentences = [s for item in items for s in item.sentences]
    return sentences + [s for i in items for c in i.contrasts for s in (c.true, *(f for _, f in c.false))]
