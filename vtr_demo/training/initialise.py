"""Initial weights of a run: from the training data, or from a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo.model.attributes import Vocabulary
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.model import VTRModel
from vtr_demo.model.s2ca import kmeans
from vtr_demo.structures import LEVELS, TextTokens, VideoTokens

MAX_POINTS = 20_000
"""Patches, and words, that k-means sees."""
RIDGE = 0.05
"""Ridge penalty as a share of the mean diagonal of the Gram matrix."""
CONCEPT_PARTS = ("concepts.", "concept_video.", "concept_text.")
"""Parameters of S2CA."""
SUMMARY_PRIOR = -3.0
"""Log weight of a frame's summary beside its patches on the levels that start without it."""


@torch.no_grad()
def warm_start(model: VTRModel, start: RetrievalModel, vocabulary: Vocabulary, *, concepts: bool = True) -> None:
    """Copy the weights of ``start`` into ``model``; attributes that both vocabularies name are kept too.

    ``concepts``: S2CA's too.
    """
    state = start.model.state_dict()
    left = ("attributes.",) if concepts else ("attributes.", *CONCEPT_PARTS)
    heads = {name: value for name, value in state.items() if not name.startswith(left)}
    model.load_state_dict(heads, strict=False)
    if model.attributes is None or start.model.attributes is None or start.vocabulary is None:
        return
    layers = zip(LEVELS, model.attributes.layers, start.model.attributes.layers, strict=True)
    for level, layer, start_layer in layers:
        row_of = {name: row for row, name in enumerate(start.vocabulary.names[level])}
        rows = {row: row_of[name] for row, name in enumerate(vocabulary.names[level]) if name in row_of}
        start_state = start_layer.state_dict()
        for name, values in layer.state_dict().items():
            values[list(rows)] = start_state[name][list(rows.values())].to(values)


@torch.no_grad()
def data_dependent_init(
    model: VTRModel,
    videos: Sequence[VideoTokens],
    texts: Sequence[TextTokens],
    *,
    categories: Sequence[Tensor] | None = None,
    zero_shot: bool = False,
) -> None:
    """Initialise ``model`` from samples of the training data, ``videos`` with reduced patches.

    All of it is our decision. The patch stem is the ridge regression of the frames' unit summaries on their
    mean patches, unless patches and joint space have one width. Every level may attend to all tokens, but with
    ``zero_shot`` the global level attends to whole frames alone, so that it ranks as the towers do; the action
    level weighs whole frames as much as patches where there is motion. Prototypes are the centres of a k-means on
    patches and content words, each centred; those whose number is among ``categories``, (T, P) for each clip and
    negative where unknown, are the mean direction of the patches of that category. Roles are random, since a
    product of two constant factors has no gradient.
    """
    pooled = torch.cat([v.patches.float().mean(2).flatten(0, 1) for v in videos])
    summaries = torch.cat([F.normalize(v.summary.float(), dim=-1).flatten(0, 1) for v in videos])
    stem = model.video.stem.weight
    if stem.shape[0] != stem.shape[1]:
        gram = pooled.T @ pooled
        ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
        stem.copy_(torch.linalg.solve(gram + ridge, pooled.T @ summaries).T)
    patches = videos[0].patches.shape[2]
    halves, patches_only = [0.0, -math.log(patches)], [SUMMARY_PRIOR, 0.0]
    action = patches_only if videos[0].motion is None else halves
    whole = model.video.prior[0].tolist() if zero_shot else halves
    model.video.prior.copy_(torch.tensor([whole, patches_only, action, patches_only]))
    new_prototypes(model, videos, texts, categories=categories)
    model.video.roles.draw()
    model.text.roles.draw()
    model.config = model.config.replace(trained=True)


@torch.no_grad()
def new_prototypes(
    model: VTRModel,
    videos: Sequence[VideoTokens],
    texts: Sequence[TextTokens],
    *,
    categories: Sequence[Tensor] | None = None,
) -> None:
    """Set the prototypes and the tokens' centres as ``data_dependent_init`` does, and nothing else."""
    patches = torch.cat([v.patches.float().flatten(0, 2) for v in videos])
    content = [t.words[t.content_mask()].float() for t in texts]
    words = torch.cat(content if any(map(len, content)) else [t.words[t.word_mask].float() for t in texts])
    centred = []
    for side, points in enumerate((model.video.stem(_spread(patches)), _spread(words))):
        model.concepts.centre[side] = points.mean(0)
        centred.append(F.normalize(points - points.mean(0), dim=-1))
    model.concepts.prototypes.copy_(kmeans(torch.cat(centred), len(model.concepts.prototypes)))
    labels = torch.cat([clip.flatten() for clip in categories]) if categories else torch.empty(0)
    for k in labels[labels >= 0].unique().tolist():
        members = F.normalize(model.video.stem(patches[labels == k]) - model.concepts.centre[0], dim=-1)
        model.concepts.prototypes[k] = F.normalize(members.mean(0), dim=-1)


def _spread(points: Tensor) -> Tensor:
    """At most ``MAX_POINTS`` of the rows, evenly spaced."""
    return points[torch.linspace(0, len(points) - 1, min(len(points), MAX_POINTS)).long()]
