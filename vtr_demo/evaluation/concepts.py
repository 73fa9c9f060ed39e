"""Measure whether a noun's concept covers the thing it names, on playground clips of known truth.

A noun's concept is the arg-max allocation of its word. Of each noun that names a visible thing:

commonest    whether its concept is the commonest one among the thing's patches (ties share)
own          share of the thing's patches in that concept
other        share of the patches of the clip's things of other kinds in it, where there are any
background   share of the background's patches in it

Chance is the expectation when the nouns' concepts are permuted among all clips. S2CA reports no such
numbers; the measures are our decision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtr_demo.config import Split
from vtr_demo.data.cache import VideoCache
from vtr_demo.data.dataset import file_samples
from vtr_demo.data.grounding import categories, name_words
from vtr_demo.evaluation.evaluate import open_test
from vtr_demo.evaluation.metrics import bootstrap, usage_entropy
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.s2ca import HELD_PATCHES
from vtr_demo.playground.captions import captions, noun_labels
from vtr_demo.playground.layout import sample_spec
from vtr_demo.playground.render import frame_batch, patch_labels
from vtr_demo.playground.spec import ClipSpec
from vtr_demo.structures import Word
from vtr_demo.text.parser import parse_many

SPLITS: Mapping[str, Split] = {"unseen_combinations": "probe", "unseen_things": "unseen_sprites"}


@dataclass(frozen=True)
class Allocation:
    """One clip's allocation probabilities and truth.

    patches (T, P, K) and words (N, K) sum to 1 over the concepts; patch_labels (T, P) and word_labels
    (N,) as in ``playground.render.patch_labels``, and kinds (L,) is the category of each label, since things of
    one kind may share a concept. Words are those of all captions that the text tower reads; nouns (N,) are their
    lemmas, empty for words that are no nouns.
    """

    patches: np.ndarray
    words: np.ndarray
    patch_labels: np.ndarray
    word_labels: np.ndarray
    nouns: np.ndarray
    kinds: np.ndarray


def grounding(
    model: RetrievalModel,
    *,
    clips: int = 60,
    seed: int = 0,
    data: str = "",
    kind: str = "",
    sprites: str | Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, Any]:
    """Return shares from 0 to 1 on ``clips`` drawn clips of each split, with chance and 95 % intervals.

    ``grounding`` is of nouns and things, ``scenes`` of nouns that name the scene (`other`: the things'
    patches); ``allocation`` tells how certain and how steady the concepts are, ``names`` how well their names
    tell what they hold, ``captions`` whether the concepts of a manifest's captions occur in their clips
    (``data``, of ``kind``).
    """
    answer: dict[str, Any] = {"model": model.spec, "clips": clips, "seed": seed}
    answer |= {"grounding": {}, "scenes": {}, "allocation": {}, "names": {}}
    for number, (name, split) in enumerate(SPLITS.items()):
        rng = np.random.default_rng([seed, 0])
        specs = [sample_spec(rng, split=split) for _ in range(clips)]
        observed = []
        for i, spec in enumerate(specs):
            if progress and i % 10 == 0:
                done = (number + i / clips) / len(SPLITS)
                progress(done, f"{name.replace('_', ' ')}: clip {i + 1} of {clips}")
            observed.append(observe(model, spec, captions(spec, rng), sprites))
        answer["grounding"][name] = noun_shares(observed, seed=seed)
        answer["scenes"][name] = noun_shares(observed, scenes=True, seed=seed)
        answer["allocation"][name] = allocation_quality(observed)
        answer["names"][name] = name_scores(observed, model.names)
    if data:
        answer["captions"] = caption_concepts(model, data, kind=kind, seed=seed)
    return answer


@torch.no_grad()
def observe(
    trained: RetrievalModel, spec: ClipSpec, texts: Sequence[str], sprites: str | Path | None = None
) -> Allocation:
    """Draw one clip and allocate its patches and the words of its captions."""
    backbone, model = trained.backbone.eval(), trained.model.eval()
    device = next(model.parameters()).device
    frames = frame_batch(spec, trained.video.clip_frames, size=backbone.frame_size, sprites=sprites)
    video = backbone.encode_frames(frames.pixels).to(device)
    sentences = parse_many(list(texts))
    text = backbone.encode_text(sentences).to(device)
    grid_shape = (len(frames), 1 + video.grid[0] * video.grid[1], -1)
    patches = model.forward_video(video).concepts.soft[0].T.reshape(grid_shape)[:, 1:]  # 0: whole frame
    words = model.forward_text(text).concepts.soft.transpose(1, 2)[:, 1:]  # 0: whole sentence
    labels, nouns = np.full(words.shape[:2], -1), np.full(words.shape[:2], "", dtype=object)
    for row, lemmas, sentence in zip(labels, nouns, sentences, strict=True):
        known = noun_labels(spec, sentence)[: len(row)]
        row[: len(known)] = known
        lemmas[: len(known)] = [_noun(word) for word in sentence.words[: len(row)]]
    read = text.word_mask.cpu().numpy()
    truth = patch_labels(spec, frames.seconds.tolist(), grid=video.grid, sprites=sprites)
    return Allocation(
        patches.cpu().numpy(), words.cpu().numpy()[read], truth, labels[read], nouns[read], categories(spec)
    )


def _noun(word: Word) -> str:
    return word.lemma.lower() if word.pos in ("NOUN", "PROPN") else ""


# --------------------------------------------------------------------------- shares
def noun_shares(
    clips: Sequence[Allocation], *, scenes: bool = False, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Return the measures of all nouns that name things, or with ``scenes`` scenes, beside chance.

    None stands for a measure without any noun.
    """
    names = ("commonest", "own", "other") if scenes else ("commonest", "own", "other", "background")
    tables: list[np.ndarray] = []
    concepts: list[int] = []
    owners: list[int] = []
    for i, clip in enumerate(clips):
        for label in np.unique(clip.word_labels[clip.word_labels >= 0]):
            if (label == 0) != scenes or not (clip.patch_labels == label).any():
                continue
            nouns = clip.words[clip.word_labels == label].argmax(axis=-1)
            tables += [_if_concept(clip, label)[: len(names)]] * len(nouns)
            concepts += nouns.tolist()
            owners += [i] * len(nouns)
    answer: dict[str, Any] = {"nouns": len(concepts), "clips": len(set(owners))}
    if not concepts:
        empty = dict.fromkeys(names)
        return answer | empty | {"chance": empty, "interval_95": empty}
    table = np.stack(tables)  # (nouns, measures, K)
    values = table[np.arange(len(table)), :, concepts]
    used = np.bincount(concepts, minlength=table.shape[2]) / len(concepts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a measure without any noun is None
        means, chance = np.nanmean(values, axis=0), np.nanmean(table @ used, axis=0)
        ends = bootstrap(
            lambda drawn: np.nanmean(values[drawn], axis=0),
            len(values),
            groups=np.array(owners),
            seed=seed,
            resamples=resamples,
        )
    shares, by_chance, intervals = (
        {name: None if np.isnan(value).any() else value.tolist() for name, value in zip(names, row, strict=True)}
        for row in (means, chance, ends)
    )
    return answer | shares | {"chance": by_chance, "interval_95": intervals}


def _if_concept(clip: Allocation, label: int) -> np.ndarray:
    """(4, K): the measures of a noun for ``label``, were its concept k; NaN where there are no patches."""
    concept, truth = clip.patches.argmax(axis=-1), clip.patch_labels
    count = clip.patches.shape[-1]
    own = np.bincount(concept[truth == label], minlength=count)
    other = np.bincount(concept[(truth > 0) & (clip.kinds[truth] != clip.kinds[label])], minlength=count)
    background = np.bincount(concept[truth == 0], minlength=count)
    commonest = (own == own.max()) / (own == own.max()).sum()
    return np.stack(
        [commonest, *(part / part.sum() if part.sum() else part * np.nan for part in (own, other, background))]
    )


# --------------------------------------------------------------------------- names
def name_scores(clips: Sequence[Allocation], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return, by concept, how well its name tells which nouns fall into it and in which clips it occurs (F1).

    ``chance`` is the mean over the other concepts' names.
    """
    nouns = np.concatenate([clip.nouns for clip in clips])
    owners = np.concatenate([clip.words.argmax(axis=1) for clip in clips])[nouns != ""]
    occurs = np.array([_occurring(clip.patches.argmax(axis=-1), len(names)) for clip in clips])
    lexicon = [name_words(name) for name in names]
    named_nouns = np.array([np.isin(nouns[nouns != ""].astype(str), sorted(words)) for words in lexicon])
    named_clips = np.array([[bool(words & set(clip.nouns)) for clip in clips] for words in lexicon])
    answer = []
    for k, name in enumerate(names):
        scores = np.array(
            [
                [f1(nouns_named, owners == k), f1(clips_named, occurs[:, k])]
                for nouns_named, clips_named in zip(named_nouns, named_clips, strict=True)
            ]
        )
        chance = np.delete(scores, k, axis=0).mean(axis=0) if len(names) > 1 else np.zeros(2)
        own, others = (dict(zip(("words", "clips"), row.tolist(), strict=True)) for row in (scores[k], chance))
        answer.append({"name": name, **own, "chance": others})
    return answer


def _occurring(concepts: np.ndarray, count: int) -> np.ndarray:
    """(K,) bool: the concepts that hold ``HELD_PATCHES`` of the patches."""
    return np.bincount(concepts[concepts >= 0].ravel(), minlength=count) >= HELD_PATCHES


def f1(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the F1 of bool arrays (N,); 0 where nothing is predicted or true."""
    both = int(predicted.sum() + true.sum())
    return 2 * int((predicted & true).sum()) / both if both else 0.0


# --------------------------------------------------------------------------- captioned clips
@torch.no_grad()
def caption_concepts(trained: RetrievalModel, data: str, *, kind: str = "", seed: int = 0) -> dict[str, Any]:
    """Return the share of the captions' nouns whose concept occurs in their own clip, and in other clips.

    ``other`` is chance. Intervals are of the difference, over the clips.
    """
    dataset = open_test(data, kind=kind)
    model, backbone = trained.model.eval(), trained.backbone.eval()
    device = next(model.parameters()).device
    cache = VideoCache(None, backbone, trained.video.clip_frames, reduce=model.reduced, motion=False)
    items = cache.fill(file_samples(dataset, trained.video), dataset.name)
    count = model.config.concepts
    allocated = [model.forward_video(cache.get(item).to(device)).concepts.index().cpu().numpy() for item in items]
    occurs = np.array([_occurring(concepts, count) for concepts in allocated])
    own, other, owners = [], [], []
    for i, item in enumerate(items):
        rest = np.delete(occurs, i, axis=0).mean(axis=0) if len(items) > 1 else np.full(count, np.nan)
        text = backbone.encode_text(list(item.sentences)).to(device)
        concepts = model.forward_text(text).concepts.index().cpu().numpy()[:, 1:]
        for sentence, row in zip(item.sentences, concepts, strict=True):
            held = [k for word, k in zip(sentence.words, row, strict=False) if _noun(word) and k >= 0]
            own += occurs[i, held].tolist()
            other += rest[held].tolist()
            owners += [i] * len(held)
    if not own:
        return {"nouns": 0, "clips": len(items), "own": None, "other": None, "interval_95": None}
    gap = np.array(own, dtype=float) - np.array(other)
    ends = bootstrap(lambda drawn: gap[drawn].mean(), len(gap), groups=np.array(owners), seed=seed)
    return {
        "nouns": len(own),
        "clips": len(items),
        "own": float(np.mean(own)),
        "other": float(np.mean(other)) if len(items) > 1 else None,
        "interval_95": np.ravel(ends).tolist(),
    }


# --------------------------------------------------------------------------- certainty and steadiness
def allocation_quality(clips: Sequence[Allocation]) -> dict[str, Any]:
    """Return how certain, steady and even the allocation is, by modality.

    certainty: mean largest probability. gumbel_agreement: the probability that two Gumbel draws choose
    the same concept, the sum of squared probabilities. use_entropy: see ``metrics.usage_entropy``, of the
    arg-max. coherence: share of a thing's neighbouring frames with the same commonest concept, beside
    what frames of any two things would give.
    """
    tokens = {
        "patches": np.concatenate([clip.patches.reshape(-1, clip.patches.shape[-1]) for clip in clips]),
        "words": np.concatenate([clip.words for clip in clips]),
    }
    count = clips[0].words.shape[-1]
    return {
        "chance": {"certainty": 1 / count, "gumbel_agreement": 1 / count},
        "certainty": {name: float(soft.max(axis=1).mean()) for name, soft in tokens.items()},
        "gumbel_agreement": {name: float((soft**2).sum(axis=1).mean()) for name, soft in tokens.items()},
        "use_entropy": {
            name: usage_entropy(np.bincount(soft.argmax(axis=1), minlength=count)) for name, soft in tokens.items()
        },
        "coherence": _coherence(clips),
    }


def _coherence(clips: Sequence[Allocation]) -> dict[str, float | None]:
    same: list[bool] = []
    commonest: list[int] = []
    for clip in clips:
        concept = clip.patches.argmax(axis=-1)
        for label in range(1, clip.patch_labels.max(initial=0) + 1):
            held = [row[shown == label] for row, shown in zip(concept, clip.patch_labels, strict=True)]
            frames = [int(np.bincount(one).argmax()) if len(one) else -1 for one in held]
            commonest += [k for k in frames if k >= 0]
            same += [a == b for a, b in pairwise(frames) if a >= 0 and b >= 0]
    if not same:
        return {"share": None, "chance": None}
    used = np.bincount(commonest) / len(commonest)
    return {"share": float(np.mean(same)), "chance": float((used**2).sum())}
