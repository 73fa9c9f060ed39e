"""Where training starts: an untrained model moved to a good place by closed forms, no gradient yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo.model import VTRModel, principal_directions
from vtr_demo.records import TextTokens, VideoTokens
from vtr_demo.s2ca import kmeans

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
    for side in (model.video, model.text):
        if side.roles is not None:
            side.roles.draw()
    model.config = replace(model.config, trained=True)


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
    found = kmeans(torch.cat(centred), model.concepts.prototypes.shape[1], seed=seed)
    model.concepts.prototypes.copy_(found.expand_as(model.concepts.prototypes))


def _sample(points: Tensor) -> Tensor:
    return points[torch.linspace(0, len(points) - 1, min(len(points), POINTS)).long()]
