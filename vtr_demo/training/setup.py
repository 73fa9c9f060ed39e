"""From a config to everything a run needs: a model that is ready to learn, and batches to learn from."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone, load_backbone
from vtr_demo.config import ModelConfig, TrainConfig, VideoConfig
from vtr_demo.data.cache import FrameStore, VideoCache
from vtr_demo.data.captions import EncodedCaption, encode_texts, level_embeddings, text_tokens
from vtr_demo.data.dataset import (
    MIRRORED,
    Sample,
    held_out,
    load_samples,
    mirrored,
    playground_encounters,
    playground_neighbours,
    playground_samples,
    playground_stills,
)
from vtr_demo.data.sampler import (
    EndToEndSampler,
    EndToEndVideos,
    LiveTeacher,
    Sampler,
    TeacherTokens,
    frozen_copy,
)
from vtr_demo.errors import ConfigError, ManifestError, VideoError
from vtr_demo.model.attributes import Vocabulary, build_vocabulary, imbalance_report, label_matrix
from vtr_demo.model.checkpoint import RetrievalModel, described, load
from vtr_demo.model.model import VTRModel, model_from, principal_directions
from vtr_demo.model.s2ca import kmeans
from vtr_demo.structures import LEVELS, Sentence, TextTokens, VideoTokens

# --------------------------------------------------------------------------- training that goes on from
_FREE = {"trained", "dropout", "level_weights", "concept_weight"}
"""Settings of a model that do not say what its weights are for; a run may choose its own."""
_ATTRIBUTES = "attributes."


def settled(config: TrainConfig) -> TrainConfig:
    """``config`` with the model and video settings of the checkpoint in ``start``, where it names one.

    Settings of its own stay; one of the model that contradicts the checkpoint's is refused.
    """
    if not config.start:
        return config
    model, video = described(config.start)
    if config.model != ModelConfig():
        shaping = [name for name in ModelConfig.model_fields if name not in _FREE]
        other = [name for name in shaping if getattr(config.model, name) != getattr(model, name)]
        if other:
            raise ConfigError(
                f"model.{other[0]} is {getattr(config.model, other[0])!r}, but the checkpoint {config.start} "
                f"has {getattr(model, other[0])!r}; leave it out to train that one, or leave out start."
            )
        model = config.model.replace(trained=True)
    return config.replace(model=model, video=video if config.video == VideoConfig() else config.video)


@torch.no_grad()
def carry(model: VTRModel, start: RetrievalModel, vocabulary: Vocabulary) -> None:
    """Give ``model`` the weights of ``start``, whose attributes are ``vocabulary``'s only in part."""
    state = start.model.state_dict()
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith(_ATTRIBUTES)}, strict=False)
    if model.attributes is None or start.model.attributes is None or start.vocabulary is None:
        return
    for level, name in enumerate(LEVELS):
        known = {label: row for row, label in enumerate(start.vocabulary.names[name])}
        rows = {row: known[label] for row, label in enumerate(vocabulary.names[name]) if label in known}
        _keep(_layer(model, level), _layer(start.model, level), rows)


def _layer(model: VTRModel, level: int) -> Mapping[str, Tensor]:
    assert model.attributes is not None
    return model.attributes.layers[level].state_dict()


def _keep(own: Mapping[str, Tensor], known: Mapping[str, Tensor], rows: Mapping[int, int]) -> None:
    for name, values in own.items():
        values[list(rows)] = known[name][list(rows.values())].to(values)


# --------------------------------------------------------------------------- where training starts: an u
POINTS = 20_000
RIDGE = 0.05
SUMMARY_PRIOR = -3.0
"""Log weight of a frame's summary beside its patches on the levels that start without it."""


@torch.no_grad()
def fit_reduction(model: VTRModel, patches: Tensor) -> None:
    """Principal directions of (N, Dv) patch tokens; nothing to do where the model keeps the width."""
    if model.reduction.numel():
        mean, directions = principal_directions(patches, model.reduction.shape[1])
        model.reduction_mean.copy_(mean)
        model.reduction.copy_(directions)


@torch.no_grad()
def begin(model: VTRModel, videos: Sequence[VideoTokens], texts: Sequence[TextTokens], *, seed: int) -> None:
    """Make ``model`` ready to learn; ``videos`` are reduced tokens, both are samples of the training data.

    Patches are mapped into the joint space by ridge regression of the frames' summaries on their
    mean patches, unless tower and joint space agree already; every level may look at all tokens, and the
    action level looks at the motion of whole frames as much as at patches where there is some;
    prototypes start from k-means on patches and on words of things and actions, each around its own
    centre; roles are drawn, since a product of two that are all one has no gradient.
    """
    pooled = torch.cat([v.patches.float().mean(2).flatten(0, 1) for v in videos])
    summaries = torch.cat([F.normalize(v.summary.float(), dim=-1).flatten(0, 1) for v in videos])
    stem = model.video.stem.weight
    if stem.shape[0] != stem.shape[1]:
        gram = pooled.T @ pooled
        ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
        stem.copy_(torch.linalg.solve(gram + ridge, pooled.T @ summaries).T)
    patches = videos[0].patches.shape[2]
    halves, hardly = [0.0, -math.log(patches)], [SUMMARY_PRIOR, 0.0]
    action = hardly if videos[0].motion is None else halves
    model.video.prior.copy_(torch.tensor([halves, hardly, action, hardly]))
    _fit_prototypes(model, videos, texts, seed)
    model.video.roles.draw()
    model.text.roles.draw()
    model.config = model.config.replace(trained=True)


def _fit_prototypes(
    model: VTRModel, videos: Sequence[VideoTokens], texts: Sequence[TextTokens], seed: int
) -> None:
    patches = torch.cat([v.patches.float().flatten(0, 2) for v in videos])
    said = [t.words[t.content_mask()].float() for t in texts]
    words = torch.cat(said if any(map(len, said)) else [t.words[t.word_mask].float() for t in texts])
    centred = []
    for side, points in enumerate((model.video.stem(_sample(patches)), _sample(words))):
        model.concepts.centre[side] = points.mean(0)
        centred.append(F.normalize(points - points.mean(0), dim=-1))
    found = kmeans(torch.cat(centred), len(model.concepts.prototypes), seed=seed)
    model.concepts.prototypes.copy_(found)


def _sample(points: Tensor) -> Tensor:
    return points[torch.linspace(0, len(points) - 1, min(len(points), POINTS)).long()]


# --------------------------------------------------------------------------- what training runs on one c
log = logging.getLogger(__name__)
_SAMPLED_CLIPS = 256
_SAMPLED_DRAWN = 64


@dataclass(frozen=True)
class TrainingData:
    """labels[l] (items, A_l). reducer: a model whose reduction alone matters. cache and texts are there
    where the towers are frozen, frames where they learn; start where training goes on from a checkpoint."""

    device: torch.device
    backbone: Backbone
    items: list[Sample]
    validation: list[Sample]
    vocabulary: Vocabulary
    labels: tuple[Tensor, ...]
    missing: tuple[str, ...]
    reducer: VTRModel
    cache: VideoCache | None
    texts: dict[str, EncodedCaption] | None
    frames: FrameStore | None
    start: RetrievalModel | None = None


def gather(config: TrainConfig) -> TrainingData:
    """Load towers and data, and compute what does not depend on the model's own weights.

    Items that cannot be read are left out and named in the log.
    """
    device = distributed.resolve_device(config.device)
    if config.precision == "fp16" and device.type != "cuda":
        raise ConfigError("precision fp16 needs a GPU, and there is none; use bf16 or fp32.")
    torch.manual_seed(config.seed)
    start = load(config.start, str(device)) if config.start else None
    backbone = start.backbone if start else load_backbone(config.model.backbone, str(device))
    missing: list[str] = []
    items, validation = _items(config, missing)
    spoken = [list(item.sentences) for item in items]
    once = [said for item, said in zip(items, spoken, strict=True) if not _again(item)]
    sizes = dict(zip(LEVELS, config.attribute_sizes, strict=True))
    vocabulary = build_vocabulary(once, sizes, config.attribute_min_count)
    labels = label_matrix(spoken, vocabulary)
    log.info("%s", imbalance_report(labels, vocabulary))
    reducer = start.model if start else model_from(config.model, backbone).to(device)
    frames, cache, texts = None, None, None
    if config.freeze_backbone:
        backbone.motion_half = config.motion_precision == "bf16"
        if not start:
            _reduce(reducer, backbone, items)
        cache = token_cache(config, backbone, reducer)
        kept = cache.fill(items, "training")
        validation = cache.fill(validation, "validation") if validation else []
        true = [s for item in kept for s in item.sentences]
        texts = encode_texts(true, backbone, [s for i in kept for c in i.contrasts for _, s in c.false])
    else:
        folder = Path(config.frame_cache) if config.frame_cache else None
        frames = FrameStore(folder, config.video.clip_frames, backbone.frame_size, config.workers)
        kept = frames.check(items, "training")
        validation = frames.check(validation, "validation") if validation else []
        if not start:
            _reduce(reducer, backbone, kept)
    known = {item.key for item in kept}
    rows = [i for i, item in enumerate(items) if item.key in known]
    return TrainingData(
        device,
        backbone,
        [items[i] for i in rows],
        validation,
        vocabulary,
        tuple(labels[level][rows] for level in LEVELS),
        tuple(missing),
        reducer,
        cache,
        texts,
        frames,
        start,
    )


def token_cache(config: TrainConfig, backbone: Backbone, reducer: VTRModel | None) -> VideoCache:
    """Where the tokens of ``backbone`` are kept, at the width that ``reducer`` takes."""
    folder = Path(config.cache) if config.cache else None
    frames, workers = config.video.clip_frames, config.workers
    if reducer is None:
        return VideoCache(folder, backbone, frames, workers=workers)
    return VideoCache(
        folder,
        backbone,
        frames,
        reduce=reducer.reduced,
        reduce_key=reducer.reduction_key,
        workers=workers,
    )


def _items(config: TrainConfig, missing: list[str]) -> tuple[list[Sample], list[Sample]]:
    """(training, validation)."""
    items = load_samples(config.train, "train", config, missing)
    validation = load_samples(config.validation, config.validation_split, config, missing)
    if config.hold_out:
        items, validation = held_out(items, config.hold_out, config.seed)
    if config.mirror:
        items += mirrored(items, config.video)
    for count, draw in (
        (config.playground_clips, playground_samples),
        (config.playground_encounters, playground_encounters),
        (config.playground_neighbours, playground_neighbours),
        (config.playground_stills, playground_stills),
    ):
        if count:
            items += draw(count, config.seed, sprites=config.sprites)
    if len(items) < 2 * distributed.world():
        raise ManifestError(
            f"{', '.join(config.train) or 'the playground'}: {len(items)} clips to train on, but each "
            "process needs two, since ranking needs a negative; add clips or check the folder of videos."
        )
    return items, validation


def _again(item: Sample) -> bool:
    return item.key.endswith(MIRRORED)


def _reduce(model: VTRModel, backbone: Backbone, items: list[Sample]) -> None:
    """Fit the reduction on tokens of a spread of the files and of the first that are drawn.

    So one more drawn clip changes no direction, and the tokens that are cached stay right.
    """
    if not model.reduction.numel():
        return
    files = [item for item in items if item.clip is not None and not _again(item)]
    drawn = [item for item in items if item.clip is None]
    some = files[:: max(1, len(files) // _SAMPLED_CLIPS)] + drawn[:_SAMPLED_DRAWN]
    patches = []
    for item in some:
        with suppress(VideoError), torch.no_grad():  # reported when all items are read
            batch = item.frames(2, backbone.frame_size)
            patches.append(backbone.encode_frames(batch.pixels).patches.flatten(0, 2).cpu())
    if patches:
        fit_reduction(model, torch.cat(patches))


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
    validation: list[Sample]
    taught: tuple[int, int] | None
    missing: tuple[str, ...]
    tuned: bool
    """Whether the towers are others than their name stands for, from a checkpoint that tuned them."""


def assemble(config: TrainConfig, material: TrainingData | None = None) -> Assembled:
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
    material: TrainingData
    model: VTRModel

    def frozen(
        self, cache: VideoCache, texts: dict[str, EncodedCaption]
    ) -> tuple[Sampler, tuple[int, int] | None]:
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
        spoken = level_embeddings(_sentences(self.material.items), backbone, divided=True)
        some = list(spoken.values())
        some = some[:: max(1, len(some) // _SAMPLED_TEXTS)]
        tokens = text_tokens([value.sentence for value in some], backbone, divided=True)
        self._begin(
            VideoCache(None, backbone, config.video.clip_frames, reduce=self.material.reducer.reduced),
            self.material.items,
            list(tokens.values()),
        )
        teacher, taught = None, None
        if config.teacher:
            tower = load_backbone(config.teacher, str(self.material.device))
            teacher, taught = LiveTeacher(tower, backbone.grid), (tower.patch_width, tower.word_width)
        elif config.loss.distill:
            teacher = LiveTeacher(frozen_copy(backbone), backbone.grid, self.model.reduced)
        backbone.unfreeze()
        backbone.set_grad_checkpointing(config.checkpoint_activations)
        videos = EndToEndVideos(backbone, self.model.reduced, frames)
        return EndToEndSampler(
            self.material.items, videos, spoken, self.material.labels, config, backbone, teacher
        ), taught

    def _begin(self, cache: VideoCache, items: list[Sample], texts: list[TextTokens]) -> None:
        some = items[:: max(1, len(items) // _START_CLIPS)]
        some_texts = texts[:: max(1, len(texts) // _SAMPLED_TEXTS)]
        texts = [text.half().to("cpu") for text in some_texts]  # alike for towers that learn and that do not
        if self.material.start:
            carry(self.model, self.material.start, self.material.vocabulary)
        else:  # the same prototypes for every seed, so that runs find comparable concepts
            begin(self.model, [cache.get(item) for item in some], texts, seed=0)
        self.model.to(self.material.device)


def _sentences(items: list[Sample]) -> list[Sentence]:
    """All sentences of the items, true ones first, then those of their contrasts."""
    sentences = [s for item in items for s in item.sentences]
    return sentences + [s for i in items for c in i.contrasts for s in (c.true, *(f for _, f in c.false))]
