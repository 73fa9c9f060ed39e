"""Targets of concept allocation on the playground, where what a patch shows and a word names is known.

Each category of things and each group of scenes is one concept (our decision; S2CA has no such targets).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vtr_demo.data.dataset import Sample
from vtr_demo.errors import ConfigError
from vtr_demo.playground.captions import captions, noun_labels
from vtr_demo.playground.layout import sample_spec
from vtr_demo.playground.render import frame_times, patch_labels
from vtr_demo.playground.spec import SCENES, THINGS, ClipSpec, choose
from vtr_demo.structures import Sentence, TextTokens, pad_text_tokens

KINDS: dict[str, tuple[str, ...]] = {
    "people": ("person",),
    "animals": ("animal",),
    "birds": ("bird",),
    "insects": ("insect",),
    "sea creatures": ("sea",),
    "vehicles": ("vehicle", "craft"),
    "food": ("food",),
    "plants": ("plant",),
    "music": ("music",),
    "toys": ("ball", "toy"),
    "objects": ("object",),
}
"""Kinds of things (see ``playground.spec``) by concept, under the name that a person would give it."""
SCENE_GROUPS: dict[str, tuple[str, ...]] = {
    "open land": ("forest", "meadow", "savanna", "desert", "mountains"),
    "seaside": ("beach", "underwater"),
    "snow and sky": ("snow", "clouds", "moon"),
    "city": ("street", "night city"),
    "rooms": ("living room", "stage"),
}
"""Scenes by concept, after those of the things."""
CATEGORY_NAMES = (*KINDS, *SCENE_GROUPS)
UNKNOWN = -1
_KIND_CATEGORY = {kind: k for k, kinds in enumerate(KINDS.values()) for kind in kinds}
_SCENE_CATEGORY = {scene: len(KINDS) + k for k, scenes in enumerate(SCENE_GROUPS.values()) for scene in scenes}


def category_words() -> dict[str, frozenset[str]]:
    """Return, by the name of each category, the nouns of its things and scenes: the last word of each phrase."""
    heads: dict[str, set[str]] = {name: set() for name in CATEGORY_NAMES}
    named = [(_KIND_CATEGORY[thing.kind], thing.nouns) for thing in THINGS.values()]
    named += [(k, (*SCENES[name].places, *SCENES[name].surfaces)) for name, k in _SCENE_CATEGORY.items()]
    for category, phrases in named:
        heads[CATEGORY_NAMES[category]].update(phrase.split()[-1].lower() for phrase in phrases)
    return {name: frozenset(words) for name, words in heads.items()}


def name_words(name: str) -> frozenset[str]:
    """Return the nouns that a concept's name stands for: a category's, or those of the name itself."""
    return category_words().get(name) or frozenset(name.lower().split(" and "))


@dataclass(frozen=True)
class AllocationTruth:
    """Categories in the layout of a batch: patches, (B, T, P) by group of videos, and words (B, W).

    ``UNKNOWN`` where the truth is not known, as in real clips, and in padding. Categories from ``len(KINDS)``
    are scenes.
    """

    patches: tuple[Tensor, ...]
    words: Tensor


def categories(spec: ClipSpec) -> np.ndarray:
    """Return the category of the scene and of each actor, (1 + actors,)."""
    try:
        kinds = [_KIND_CATEGORY[THINGS[actor.sprite].kind] for actor in spec.actors]
        return np.array([_SCENE_CATEGORY[spec.scene], *kinds])
    except KeyError as error:
        raise ConfigError(f"{error} has no category; add it to data/grounding.py.") from error


def word_categories(spec: ClipSpec, sentence: Sentence) -> np.ndarray:
    """Return the category of each word of a true sentence, (W,); ``UNKNOWN`` where no noun is labelled.

    The words of an action take the category of the actor before them; every other word without a label takes
    that of the next labelled word, else of the one before.
    """
    nouns = noun_labels(spec, sentence)
    labelled = np.flatnonzero(nouns >= 0)
    if not len(labelled):
        return np.full(len(nouns), UNKNOWN)
    labels = nouns.copy()
    actors = np.flatnonzero(nouns > 0)
    for group in sentence.actions:
        before = actors[actors < min(group)]
        if len(actors):
            actor = nouns[before[-1] if len(before) else actors[0]]
            labels[[i for i in group if nouns[i] < 0]] = actor
    for i in np.flatnonzero(labels < 0):
        following = labelled[labelled > i]
        labels[i] = nouns[following[0] if len(following) else labelled[-1]]
    return categories(spec)[labels]


@dataclass(frozen=True)
class GroundedCaptions:
    """Captions that come without a picture, and the category of each of their words (N, W) as in ``words``."""

    texts: TextTokens
    words: Tensor


class CaptionPool:
    """Captions of the playground with their words' categories (W,), from which batches are drawn."""

    def __init__(self, captions: list[tuple[TextTokens, np.ndarray]]) -> None:
        self._captions = captions

    def batch(self, rng: np.random.Generator, count: int) -> GroundedCaptions:
        """Return ``count`` random captions."""
        drawn = [self._captions[i] for i in rng.integers(len(self._captions), size=count)]
        texts = pad_text_tokens([tokens for tokens, _ in drawn]).to("cpu")
        words = torch.full(texts.word_mask.shape, UNKNOWN)
        for row, (_, categories) in zip(words, drawn, strict=True):
            row[: len(categories)] = torch.from_numpy(categories)[: len(row)]
        return GroundedCaptions(texts, words)


def drawn_captions(count: int, seed: int) -> list[tuple[ClipSpec, str]]:
    """Return captions of random training scenes, every other one a thing alone, with or without an article."""
    rng = np.random.default_rng([seed, 4])
    pairs: list[tuple[ClipSpec, str]] = []
    while len(pairs) < count:
        spec = sample_spec(rng, split="train")
        pairs += [(spec, text) for text in captions(spec, rng, 1)]
        for actor in spec.actors:
            noun = choose(rng, *THINGS[actor.sprite].nouns)
            article = "" if rng.random() < 0.5 else "an " if noun[0] in "aeiou" else "a "
            pairs.append((spec, article + noun))
    return pairs[:count]


class PlaygroundTruth:
    """Patch categories of the playground's samples on a grid; computed once and kept, a byte a patch.

    ``frames`` is T of a clip; ``grid`` the backbone's (rows, columns).
    """

    def __init__(self, frames: int, grid: tuple[int, int], sprites: str = "") -> None:
        self._frames, self._grid, self._sprites = frames, grid, sprites
        self._in_memory: dict[str, np.ndarray] = {}

    def patches(self, item: Sample) -> np.ndarray | None:
        """Return the category of each patch, (T, P); None where ``item`` is not of the playground."""
        if item.spec is None:
            return None
        if item.key not in self._in_memory:
            seconds = frame_times(item.spec, 1 if item.kind == "still" else self._frames)
            labels = patch_labels(item.spec, seconds, grid=self._grid, sprites=self._sprites)
            self._in_memory[item.key] = categories(item.spec)[labels].astype(np.int8)
        return self._in_memory[item.key].astype(np.int64)

    def padded(self, item: Sample, shape: tuple[int, ...]) -> Tensor:
        """Return the category of each patch in tokens of ``shape`` (T, P), ``UNKNOWN`` without one."""
        rows = torch.full(shape, UNKNOWN)
        labels = self.patches(item)
        if labels is not None:
            rows[: len(labels)] = torch.from_numpy(labels)
        return rows

    def batch(
        self, groups: list[list[Sample]], shapes: list[tuple[int, int]], sentences: list[Sentence], words: int
    ) -> AllocationTruth:
        """Return the truth of a batch: items and (T, P) by group, a sentence for each item, W."""
        patches = [
            torch.stack([self.padded(item, shape) for item in items])
            for items, shape in zip(groups, shapes, strict=True)
        ]
        rows = torch.full((len(sentences), words), UNKNOWN)
        flat = [item for items in groups for item in items]
        for row, (item, sentence) in enumerate(zip(flat, sentences, strict=True)):
            if item.spec is not None:
                known = torch.from_numpy(word_categories(item.spec, sentence))[:words]
                rows[row, : len(known)] = known
        return AllocationTruth(tuple(patches), rows)
