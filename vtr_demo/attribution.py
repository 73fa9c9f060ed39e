"""What words, frames and patches are said to contribute to a score, and how far two such accounts agree.

``summands`` is the model's own account, ``gradient_x_input`` the common one from outside. ``redrawn``
makes the model of the random-weights check (Adebayo et al. 2018, Sanity Checks for Saliency Maps).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch

from vtr_demo.model import VTRModel
from vtr_demo.perturb import Pair
from vtr_demo.records import Alignment

Attribution = dict[str, np.ndarray]
"""By unit: words (W,), frames (T,), patches (T*P,)."""


def summands(alignment: Alignment) -> Attribution:
    """What each word, frame and patch adds to the score, all terms together."""
    parts = alignment.all_terms().sum(axis=0, dtype=np.float64)  # (1+W, T, 1+P)
    return {
        "words": parts[1:].sum(axis=(1, 2)),
        "frames": parts.sum(axis=(0, 2)),
        "patches": parts[:, :, 1:].sum(axis=0).reshape(-1),
    }


def gradient_x_input(model: VTRModel, pair: Pair) -> Attribution:
    """Gradient times value of the tokens that the heads take, summed over channels.

    A frame's is that of its patches and of its whole-frame token, as with ``summands``.
    """
    seen = {name: getattr(pair.video, name) for name in ("patches", "summary", "motion")}
    inputs = {
        name: tokens.detach().clone().requires_grad_()
        for name, tokens in ({"words": pair.text.words} | seen).items()
        if tokens is not None
    }
    with torch.enable_grad():
        text = model.encode_text(replace(pair.text, words=inputs["words"]))
        video = model.encode_video(replace(pair.video, **{n: x for n, x in inputs.items() if n != "words"}))
        slopes = torch.autograd.grad(model.scores(text, video)[0, 0], list(inputs.values()))
    adds = {
        name: (tokens.detach() * slope).sum(-1)[0].cpu().double().numpy()
        for (name, tokens), slope in zip(inputs.items(), slopes, strict=True)
    }
    frames = adds["patches"].sum(axis=1) + adds["summary"] + adds.get("motion", 0.0)
    return {"words": adds["words"], "frames": frames, "patches": adds["patches"].reshape(-1)}


def on_whole_tokens(alignment: Alignment) -> dict[str, float]:
    """The share of all contributions (by size) on the whole sentence, and on whole frames; 0 to 1."""
    parts = alignment.all_terms().sum(axis=0, dtype=np.float64)
    by_word, by_place = np.abs(parts.sum(axis=(1, 2))), np.abs(parts.sum(axis=0))
    return {
        "words": float(by_word[0] / max(by_word.sum(), 1e-12)),
        "patches": float(by_place[:, 0].sum() / max(by_place.sum(), 1e-12)),
    }


# --------------------------------------------------------------------------- random weights
def redrawn(model: VTRModel, seed: int) -> VTRModel:
    """The same architecture with every parameter drawn anew, normal with its trained mean and spread.

    A matrix without a spread (zero at birth, never trained) gets 1 / sqrt(fan in), a lone number its
    own size. Buffers (the principal directions and the mean tokens) stay: they are statistics of tokens.
    """
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            values = parameter.detach().float().cpu()
            mean, spread = values.mean(), values.std(correction=0)
            if values.numel() == 1:
                mean, spread = torch.zeros(()), values.abs().max()
            elif spread == 0 and values.ndim > 1:
                spread = torch.tensor(values[0].numel() ** -0.5)
            parameter.copy_(mean + spread * torch.randn(values.shape, generator=generator))
    return other


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, in [-1, 1], of two attributions (N,); NaN where one of them is constant."""
    from scipy import stats

    ranks = [stats.rankdata(values) for values in (first, second)]
    if min(values.std() for values in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def agreement(first: Attribution, second: Attribution) -> dict[str, dict[str, float]]:
    """Rank correlation of the word and patch attributions: as they are, and by size (both in Adebayo et
    al.: a map that only changed its sign would look unrelated in the first)."""
    return {
        unit: {
            "signed": rank_correlation(first[unit], second[unit]),
            "absolute": rank_correlation(np.abs(first[unit]), np.abs(second[unit])),
        }
        for unit in ("words", "patches")
    }
