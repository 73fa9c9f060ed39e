"""Training that goes on from a checkpoint, with other data: fine-tuning.

The run takes over the checkpoint's heads, its towers, its way of reading clips and the directions that
patches are reduced to, so that tokens which were cached for it stay right. The attributes are those of
the new data; what was learnt of the ones that both know is kept (our decision).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from vtr_demo.attributes import Vocabulary
from vtr_demo.checkpoint import Pretrained, described
from vtr_demo.config import ModelConfig, TrainConfig, VideoConfig
from vtr_demo.errors import BadConfig
from vtr_demo.model import VTRModel
from vtr_demo.records import LEVELS

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
        shaping = [field.name for field in fields(ModelConfig) if field.name not in _FREE]
        other = [name for name in shaping if getattr(config.model, name) != getattr(model, name)]
        if other:
            raise BadConfig(
                f"model.{other[0]} is {getattr(config.model, other[0])!r}, but the checkpoint {config.start} "
                f"has {getattr(model, other[0])!r}; leave it out to train that one, or leave out start."
            )
        model = replace(config.model, trained=True)
    return replace(config, model=model, video=video if config.video == VideoConfig() else config.video)


@torch.no_grad()
def carry(model: VTRModel, start: Pretrained, vocabulary: Vocabulary) -> None:
    """Give ``model`` the weights of ``start``, whose attributes are ``vocabulary``'s only in part."""
    state = start.model.state_dict()
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith(_ATTRIBUTES)}, strict=False)
    if model.attributes is None or start.model.attributes is None or start.vocabulary is None:
        return
    for level, name in enumerate(LEVELS):
        known = {label: row for row, label in enumerate(start.vocabulary.names[name])}
        rows = {row: known[label] for row, label in enumerate(vocabulary.names[name]) if label in known}
        for side in ("video", "text"):
            _keep(_layer(model, side, level), _layer(start.model, side, level), rows)


def _layer(model: VTRModel, side: str, level: int) -> Mapping[str, Tensor]:
    sides = getattr(model.attributes, side)
    assert isinstance(sides, nn.ModuleList)
    return sides[level].state_dict()


def _keep(own: Mapping[str, Tensor], known: Mapping[str, Tensor], rows: Mapping[int, int]) -> None:
    for name, values in own.items():
        values[list(rows)] = known[name][list(rows.values())].to(values)
