"""What training runs on one corpus share: towers, clips, sentences, and the tokens of frozen towers."""

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
from vtr_demo.checkpoint import Pretrained, load
from vtr_demo.config import TrainConfig
from vtr_demo.corpus import (
    MIRRORED,
    Item,
    held_out,
    load_items,
    mirrored,
)
from vtr_demo.drawn_corpus import (
    playground_encounters,
    playground_items,
    playground_neighbours,
    playground_stills,
    rivals_of,
)
from vtr_demo.errors import BadConfig, BadManifest, UnreadableVideo
from vtr_demo.frames import FrameStore
from vtr_demo.initial import fit_reduction
from vtr_demo.model import VTRModel, model_from
from vtr_demo.records import LEVELS
from vtr_demo.tokens import Text, VideoCache, encode_texts

log = logging.getLogger(__name__)
_SAMPLED_CLIPS = 256
_SAMPLED_DRAWN = 64


@dataclass(frozen=True)
class Material:
    """labels[l] (items, A_l). reducer: a model whose reduction alone matters. cache and texts are there
    where the towers are frozen, frames where they learn; start where training goes on from a checkpoint."""

    device: torch.device
    backbone: Backbone
    items: list[Item]
    validation: list[Item]
    vocabulary: Vocabulary
    labels: tuple[Tensor, ...]
    missing: tuple[str, ...]
    reducer: VTRModel
    cache: VideoCache | None
    texts: dict[str, Text] | None
    frames: FrameStore | None
    start: Pretrained | None = None


def gather(config: TrainConfig) -> Material:
    """Load towers and data, and compute what does not depend on the model's own weights.

    Items that cannot be read are left out and named in the log.
    """
    device = distributed.device_of(config.device)
    if config.precision == "fp16" and device.type != "cuda":
        raise BadConfig("precision fp16 needs a GPU, and there is none; use bf16 or fp32.")
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
    reducer = start.model if start else model_from(config.model, backbone)
    frames, cache, texts = None, None, None
    if config.freeze_backbone:
        backbone.motion_half = config.motion_precision == "bf16"
        if not start:
            _reduce(reducer, backbone, items)
        cache = token_cache(config, backbone, reducer)
        kept = cache.fill([*items, *rivals_of(items)], "training")
        validation = cache.fill(validation, "validation") if validation else []
        true = [s for item in kept for s in item.sentences]
        texts = encode_texts(true, backbone, [s for i in kept for c in i.contrasts for _, s in c.false])
    else:
        folder = Path(config.frame_cache) if config.frame_cache else None
        frames = FrameStore(folder, config.video.clip_frames, backbone.frame_size, config.workers)
        kept = frames.check([*items, *rivals_of(items)], "training")
        validation = frames.check(validation, "validation") if validation else []
        if not start:
            _reduce(reducer, backbone, kept)
    known = {item.key for item in kept}
    rows = [i for i, item in enumerate(items) if item.key in known]
    return Material(
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
    return VideoCache(folder, backbone, reducer, config.video.clip_frames, config.workers)


def _items(config: TrainConfig, missing: list[str]) -> tuple[list[Item], list[Item]]:
    """(training, validation)."""
    items = load_items(config.train, "train", config, missing)
    validation = load_items(config.validation, config.validation_split, config, missing)
    if config.hold_out:
        items, validation = held_out(items, config.hold_out, config.seed)
    if config.mirror:
        items += mirrored(items, config.video)
    for count, draw in (
        (config.playground_clips, playground_items),
        (config.playground_encounters, playground_encounters),
        (config.playground_neighbours, playground_neighbours),
        (config.playground_stills, playground_stills),
    ):
        if count:
            items += draw(count, config.seed, sprites=config.sprites, rivals=config.playground_rivals)
    if len(items) < 2 * distributed.world():
        raise BadManifest(
            f"{', '.join(config.train) or 'the playground'}: {len(items)} clips to train on, but each "
            "process needs two, since ranking needs a negative; add clips or check the folder of videos."
        )
    return items, validation


def _again(item: Item) -> bool:
    return item.key.endswith(MIRRORED)


def _reduce(model: VTRModel, backbone: Backbone, items: list[Item]) -> None:
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
        with suppress(UnreadableVideo), torch.no_grad():  # reported when all items are read
            batch = item.frames(2, backbone.frame_size)
            patches.append(backbone.encode_frames(batch.pixels).patches.flatten(0, 2).cpu())
    if patches:
        fit_reduction(model, torch.cat(patches))
