"""From a config to the objects of a training run; no module below this one sees the whole config."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone, load_backbone
from vtr_demo.config import ModelConfig, TrainConfig, VideoConfig
from vtr_demo.data.cache import FrameStore, VideoCache, Videos
from vtr_demo.data.captions import EncodedCaption, encode_texts, level_embeddings, text_tokens
from vtr_demo.data.dataset import (
    DRAWN,
    MIRRORED,
    Sample,
    content_digests,
    held_out,
    load_samples,
    mirrored,
    parsed_texts,
    playground_samples,
)
from vtr_demo.data.grounding import CaptionPool, PlaygroundTruth, drawn_captions, word_categories
from vtr_demo.data.sampler import EndToEndSampler, EndToEndVideos, LiveTeacher, Sampler, TeacherTokens, frozen_copy
from vtr_demo.data.short import ShortQueries
from vtr_demo.errors import ConfigError, ManifestError, VideoError
from vtr_demo.files import fingerprint
from vtr_demo.model.attributes import Vocabulary, build_vocabulary, label_matrix
from vtr_demo.model.checkpoint import RetrievalModel, described, load
from vtr_demo.model.model import VTRModel, build_model
from vtr_demo.playground.render import find_sprites
from vtr_demo.structures import LEVELS, Sentence, TextTokens
from vtr_demo.training.distillation import Distiller
from vtr_demo.training.initialise import data_dependent_init, new_prototypes, warm_start
from vtr_demo.training.optim import build_optimizer, exponential_average, freeze_all_but, hold_global, parameter_groups
from vtr_demo.training.run_files import RunState, open_tracker
from vtr_demo.training.trainer import RunOptions, Trainer, TrainingStep, averaged_modules

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_FREE = {"trained", "dropout", "level_weights", "concept_weight"}
"""Model settings that do not shape weights: a run that starts from a checkpoint may change them."""
_OF_CONCEPTS = {"concepts", "concept_width", "centred_shift"}
"""Model settings of S2CA, which ``new_concepts`` builds anew."""
_OF_THE_MACHINE = {"out": "", "cache": "", "device": "", "frame_cache": "", "workers": 1, "save_every": 0,
                   "tracker": ""}  # fmt: skip
"""Settings that do not change a run's result; their values here stand in its identity."""
_REDUCTION_CLIPS, _REDUCTION_DRAWN = 256, 64
_INIT_CLIPS, _INIT_TEXTS = 512, 2048


def train(config: TrainConfig) -> Path:
    """Train by ``config``; returns the folder of the best checkpoint."""
    with distributed.process_group(distributed.resolve_device(config.device)):
        return build_trainer(config).run()


@dataclass(frozen=True)
class TrainingData:
    """Towers, items and attributes of a run. start: the checkpoint that it starts from; teacher: towers to distil
    from, None for the run's own; missing: lines that name absent videos."""

    device: torch.device
    backbone: Backbone
    start: RetrievalModel | None
    teacher: Backbone | None
    items: list[Sample]
    validation: list[Sample]
    missing: tuple[str, ...]
    vocabulary: Vocabulary


def resolve_start(config: TrainConfig) -> TrainConfig:
    """Return ``config`` with the model and video settings of the checkpoint in ``start``, if there is one.

    Raises ConfigError where a given model setting contradicts the checkpoint's weights.
    """
    if not config.start:
        return config
    model, video = described(config.start)
    free = _FREE | _OF_CONCEPTS if config.new_concepts else _FREE
    fresh = {"centred_shift": True} if config.new_concepts else {}
    named = {name: getattr(config.model, name) for name in config.model.model_fields_set}
    if named or fresh:
        wanted = model.replace(**fresh | named)  # the checkpoint decides what a config does not set
        for name in ModelConfig.model_fields:
            given, stored = getattr(wanted, name), getattr(model, name)
            grown = name == "focus" and not stored  # a new part starts at zero
            if name not in free and given != stored and not grown:
                raise ConfigError(
                    f"model.{name} is {given!r}, but the checkpoint {config.start} has {stored!r}; leave it "
                    "out to train that one, or leave out start."
                )
        model = wanted.replace(trained=True)
    return config.replace(model=model, video=video if config.video == VideoConfig() else config.video)


def load_training_data(config: TrainConfig) -> TrainingData:
    """Load towers and data."""
    device = distributed.resolve_device(config.device)
    if config.drawn or config.playground_validation:
        find_sprites(config.sprites)  # a missing folder shows before any work
    torch.manual_seed(config.seed)
    start = load(config.start, str(device)) if config.start else None
    backbone = start.backbone if start else load_backbone(config.model.backbone, str(device))
    if config.freeze_backbone:
        backbone.motion_half = config.motion_precision == "bf16"
    items, validation, missing = _load_items(config)
    teacher = load_backbone(config.teacher, str(device)) if config.teacher else None
    vocabulary = _vocabulary(config, items, start)
    return TrainingData(device, backbone, start, teacher, items, validation, missing, vocabulary)


def _vocabulary(config: TrainConfig, items: list[Sample], start: RetrievalModel | None) -> Vocabulary:
    """Collect the attributes of ``items``; those of ``start`` stay where their projection does not learn."""
    if start and start.vocabulary and config.train_only and "attributes" not in config.train_only:
        return start.vocabulary
    sentences = [list(item.sentences) for item in items if not item.key.endswith(MIRRORED)]
    vocabulary = build_vocabulary(sentences, config.attribute_sizes, config.attribute_min_count)
    log.info("Attributes: %s.", ", ".join(f"{level} {size}" for level, size in vocabulary.sizes.items()))
    return vocabulary


def build_trainer(config: TrainConfig) -> Trainer:
    """Load the data; build model, batches, objective and optimiser."""
    config = resolve_start(config)
    record = config.to_dict()
    track = open_tracker(config.tracker, Path(config.out), record)
    data = load_training_data(config)
    torch.manual_seed(config.seed)
    backbone, vocabulary = data.backbone, data.vocabulary
    model = build_model(config.model, backbone, [vocabulary.sizes[level] for level in LEVELS])
    _fit_reduction(model, data)
    batches = _frozen_batches if config.freeze_backbone else _end_to_end_batches
    sampler, validation, validation_tokens = batches(config, data, model)
    model.to(data.device)
    freeze_all_but(model, config.train_only)
    if config.hold_global:
        hold_global(model)

    distiller = _distiller(config, model, data)
    towers = None if config.freeze_backbone else backbone
    heads = [model] if distiller is None else [model, distiller]
    groups = parameter_groups(
        heads, towers, lr=config.lr, backbone_lr=config.backbone_lr, weight_decay=config.weight_decay
    )
    optimizer, scheduler = build_optimizer(groups, data.device, steps=config.steps, warmup=config.warmup)
    average = exponential_average(averaged_modules(model, towers), config.ema) if config.ema else None

    ranks = [distributed.world()] if distributed.world() > 1 else []
    parts = {
        "model": model,
        "distiller": distiller,
        "backbone": towers,
        "average": average,
        "optimizer": optimizer,
        "scheduler": scheduler,
    }
    options = RunOptions(
        out=Path(config.out),
        seed=config.seed,
        steps=config.steps,
        clips=config.batch * distributed.world(),
        evaluate_every=config.evaluate_every,
        save_every=config.save_every,
        patience=config.patience,
        clip_norm=config.clip_norm,
        learned_share=config.learned_share,
        keep_towers=towers is not None or (data.start is not None and data.start.tuned),
        record=record,
        missing=data.missing,
        start=data.start.training if data.start and config.train_only else None,
    )
    half = torch.bfloat16 if config.precision == "bf16" else None
    return Trainer(
        options,
        RetrievalModel(config.out, model, backbone, config.video, vocabulary),
        TrainingStep(model, distiller, towers, config.loss, half),
        sampler,
        validation,
        validation_tokens,
        optimizer,
        scheduler,
        average,
        RunState(
            options.out,
            fingerprint(record | _OF_THE_MACHINE, backbone.fingerprint, *ranks),
            {name: part for name, part in parts.items() if part is not None},
            content_digests([*sampler.items, *validation]),
        ),
        track,
    )


def _distiller(config: TrainConfig, model: VTRModel, data: TrainingData) -> Distiller | None:
    """Build the distiller, if any; the run's own towers teach the reduced patches that the heads take."""
    if not config.loss.distill:
        return None
    teacher = data.teacher or data.backbone
    patch_width = teacher.patch_width if data.teacher else model.video.stem.in_features
    widths = model.config.concept_width, model.width, patch_width, teacher.joint_width
    return Distiller(*widths, config.loss.distill_mask).to(data.device)


# --------------------------------------------------------------------------- items and their tokens
def _load_items(config: TrainConfig) -> tuple[list[Sample], list[Sample], tuple[str, ...]]:
    """Training items, validation items, and lines that name missing videos."""
    places = (config.video, config.annotations, config.videos)
    items, missing = load_samples(config.train, "train", *places)
    validation, also_missing = load_samples(config.validation, config.validation_split, *places)
    if config.hold_out:
        items, validation = held_out(items, config.hold_out, config.seed)
    if not validation and config.playground_validation:
        count, seed = config.playground_validation, config.seed + 1
        validation = playground_samples("clips", count, seed, split="probe", sprites=config.sprites, negatives=False)
    if config.mirror:
        items += mirrored(items, config.video)
    for kind in DRAWN:
        if count := getattr(config, f"playground_{kind}"):
            items += playground_samples(
                kind, count, config.seed, sprites=config.sprites, negatives=config.loss.pairs > 0
            )
    if len(items) < 2 * distributed.world():
        raise ManifestError(
            f"{', '.join(config.train) or 'the playground'}: {len(items)} clips to train on, but each "
            "process needs two, since ranking needs a negative; add clips or check the folder of videos."
        )
    return items, validation, (*missing, *also_missing)


def _fit_reduction(model: VTRModel, data: TrainingData) -> None:
    """Take the patch reduction of the checkpoint that the run starts from, or fit it to evenly spaced files and the
    first drawn clips: one more drawn clip then changes no direction, so that cached tokens stay valid."""
    if data.start:
        model.reduction.copy_(data.start.model.reduction)
        model.reduction_mean.copy_(data.start.model.reduction_mean)
    elif model.reduction.numel():
        files = [item for item in data.items if item.clip is not None and not item.key.endswith(MIRRORED)]
        drawn = [item for item in data.items if item.clip is None]
        patches = []
        for item in _every(files, _REDUCTION_CLIPS) + drawn[:_REDUCTION_DRAWN]:
            with suppress(VideoError), torch.no_grad():  # reported when all items are read
                batch = item.frames(2, data.backbone.frame_size)
                patches.append(data.backbone.encode_frames(batch.pixels).patches.flatten(0, 2).cpu())
        if patches:
            model.fit_reduction(torch.cat(patches))


# --------------------------------------------------------------------------- batches
Batches = tuple[Sampler, list[Sample], Videos]
"""Training batches, the validation items, and the tokens of these."""


def _frozen_batches(config: TrainConfig, data: TrainingData, model: VTRModel) -> Batches:
    """Compute the tokens of frozen towers, and initialise ``model`` by them."""
    backbone = data.backbone

    def token_cache(towers: Backbone, *, motion: bool = True) -> VideoCache:
        folder = Path(config.cache) if config.cache else None
        reduce, key = (model.reduced, model.reduction_key) if towers is backbone else (None, (0, []))
        return VideoCache(
            folder,
            towers,
            config.video.clip_frames,
            reduce=reduce,
            reduce_key=key,
            workers=config.workers,
            motion=motion,
        )

    cache, validation_cache = token_cache(backbone, motion=config.motion_precision != "off"), token_cache(backbone)
    items = cache.fill(data.items, "training")
    validation = validation_cache.fill(data.validation, "validation") if data.validation else []
    short = ShortQueries(items) if config.loss.short else None
    true = [s for item in items for s in item.sentences]
    false = [s for item in items for pair in item.hard_negatives for _, s in pair.false]
    texts = encode_texts(true, backbone, false + (short.sentences if short else []))
    truth = _playground_truth(config, backbone)
    _initialise(config, data, model, items, cache, [t.tokens for t in texts.values() if t.tokens is not None], truth)
    teacher = None
    if data.teacher is not None:
        taught = token_cache(data.teacher)
        taught.fill(items, "teacher")
        teacher = TeacherTokens(taught, text_tokens(_sentences(items), data.teacher, divided=True), backbone.grid)
    labels, pool = _labels(items, data.vocabulary), _caption_pool(config, backbone)
    sampler = Sampler(items, cache, texts, labels, config.batch, config.mixture, teacher, truth, short, pool)
    return sampler, validation, validation_cache


def _end_to_end_batches(config: TrainConfig, data: TrainingData, model: VTRModel) -> Batches:
    """Check the frames that go through towers that learn, and initialise ``model``.

    Soft targets come from the towers as they are before training.
    """
    backbone = data.backbone
    folder = Path(config.frame_cache) if config.frame_cache else None
    frames = FrameStore(folder, config.video.clip_frames, backbone.frame_size, config.workers)
    items = frames.check(data.items, "training")
    validation = frames.check(data.validation, "validation") if data.validation else []
    short = ShortQueries(items) if config.loss.short else None
    captions = level_embeddings(_sentences(items), backbone)
    blank = torch.zeros(1 + len(LEVELS), backbone.joint_width)
    for sentence in short.sentences if short else ():
        captions.setdefault(sentence.text, EncodedCaption(sentence, blank))
    some = [caption.sentence for caption in _every(list(captions.values()), _INIT_TEXTS)]
    tokens = text_tokens(some, backbone, divided=True)
    cache = VideoCache(None, backbone, config.video.clip_frames, reduce=model.reduced)
    truth = _playground_truth(config, backbone)
    _initialise(config, data, model, items, cache, list(tokens.values()), truth)
    teacher = None
    if data.teacher is not None:
        teacher = LiveTeacher(data.teacher, backbone.grid)
    elif config.loss.distill:
        teacher = LiveTeacher(frozen_copy(backbone), backbone.grid, model.reduced)
    backbone.unfreeze()
    backbone.set_grad_checkpointing(config.checkpoint_activations)
    backbone.grad_chunk = config.tower_chunk
    videos, labels = EndToEndVideos(backbone, model.reduced, frames), _labels(items, data.vocabulary)
    sampler = EndToEndSampler(
        items, videos, captions, labels, config.batch, config.mixture, live_teacher=teacher, truth=truth, short=short
    )
    return sampler, validation, videos


def _labels(items: list[Sample], vocabulary: Vocabulary) -> tuple[Tensor, ...]:
    return tuple(label_matrix([list(item.sentences) for item in items], vocabulary).values())


def _playground_truth(config: TrainConfig, backbone: Backbone) -> PlaygroundTruth | None:
    if not (config.loss.grounding or config.loss.focus or config.loss.anchor):
        return None
    return PlaygroundTruth(config.video.clip_frames, backbone.grid, config.sprites)


def _caption_pool(config: TrainConfig, backbone: Backbone) -> CaptionPool | None:
    if not config.grounding_captions:
        return None
    drawn = drawn_captions(config.grounding_captions, config.seed)
    parsed, _ = parsed_texts(sorted({text for _, text in drawn}))
    tokens = text_tokens(parsed.values(), backbone, divided=True)
    return CaptionPool(
        [(tokens[text].half(), word_categories(spec, parsed[text])) for spec, text in drawn if text in parsed]
    )


def _initialise(
    config: TrainConfig,
    data: TrainingData,
    model: VTRModel,
    items: list[Sample],
    cache: VideoCache,
    texts: list[TextTokens],
    truth: PlaygroundTruth | None,
) -> None:
    if data.start:
        warm_start(model, data.start, data.vocabulary, concepts=not config.new_concepts)
        if not config.new_concepts:
            return
    # float16 on the CPU, so that runs start alike whether their towers learn or not
    tokens = [text.half().to("cpu") for text in _every(texts, _INIT_TEXTS)]
    some = _every(items, _INIT_CLIPS)
    clips = [cache.get(item) for item in some]
    categories = None
    if truth is not None and config.loss.grounding:
        categories = [truth.padded(item, clip.patches.shape[1:3]) for item, clip in zip(some, clips, strict=True)]
    if data.start:
        new_prototypes(model, clips, tokens, categories=categories)
    else:
        zero_shot = data.backbone.contrastive or config.hold_global
        data_dependent_init(model, clips, tokens, categories=categories, zero_shot=zero_shot)


def _every(values: Sequence[_T], count: int) -> list[_T]:
    """About ``count`` of the values, evenly spaced."""
    return list(values[:: max(1, len(values) // count)])


def _sentences(items: list[Sample]) -> list[Sentence]:
    """All sentences of the items, true ones first, then those of their hard negatives."""
    sentences = [s for item in items for s in item.sentences]
    return sentences + [s for i in items for c in i.hard_negatives for s in (c.true, *(f for _, f in c.false))]
