"""Names for the learned concepts: a category's name, or one or two words, that tells what a concept holds.

A candidate is the name of a category of things or scenes, which stands for the category's nouns, or a noun that
the concept holds. Each concept gets the candidate that tells best which nouns of half of the captions fall into
it; the other half gives the name its score. S2CA does not name its concepts; the rule is our decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from vtr_demo.data.captions import EncodedCaption, text_batch
from vtr_demo.data.grounding import category_words
from vtr_demo.data.sampler import Sampler
from vtr_demo.evaluation.concepts import f1
from vtr_demo.model.model import VTRModel
from vtr_demo.model.s2ca import HELD_PATCHES
from vtr_demo.structures import VideoTokens

MIN_COUNT = 5
"""Occurrences that a noun needs to be a name."""
NOUN_DISCOUNT = 0.5
"""Factor on a noun's F1 beside that of a category, which tells more words that were not counted."""
OWN_WORDS = 8
"""The most frequent nouns of a concept that may name it."""
NOUNS = frozenset({"NOUN", "PROPN"})
_CHUNK = 64
_NAMING_CLIPS = 96

NamingClip = tuple[VideoTokens, frozenset[str]]
"""The tokens of a clip, and the nouns of its captions."""


def name_concepts(
    model: VTRModel, texts: Sequence[EncodedCaption], clips: Iterable[NamingClip] = ()
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return (K,) distinct names and their scores, F1 from 0 to 1.

    The score is the mean of how well a name tells which nouns of captions that did not choose it fall into its
    concept, and in which ``clips`` the concept occurs. A concept without nouns is named by its number.
    """
    model.eval()
    halves = nouns_by_concept(model, texts[::2]), nouns_by_concept(model, texts[1::2])
    names, lexicon = choose_names(halves[0])
    words = [word_score(halves[1], k, lexicon[name]) for k, name in enumerate(names)]
    held = [(clip_concepts(model, tokens), nouns) for tokens, nouns in clips]
    if not held:
        return names, tuple(words)
    occurs = np.array([concepts for concepts, _ in held])
    named = np.array([[bool(lexicon[name] & nouns) for name in names] for _, nouns in held])
    return names, tuple((word + f1(named[:, k], occurs[:, k])) / 2 for k, word in enumerate(words))


def naming_data(sampler: Sampler) -> tuple[list[EncodedCaption], list[NamingClip]]:
    """Return what names come from in training: all sentences, and some clips."""
    places = torch.linspace(0, len(sampler.items) - 1, min(_NAMING_CLIPS, len(sampler.items))).long().tolist()
    items = [sampler.items[i] for i in places]
    nouns = [
        frozenset(word.lemma.lower() for s in item.sentences for word in s.words if word.pos in NOUNS) for item in items
    ]
    return sampler.captions(), [(sampler.cache.get(item), own) for item, own in zip(items, nouns, strict=True)]


def choose_names(counts: Sequence[Mapping[str, int]]) -> tuple[tuple[str, ...], dict[str, frozenset[str]]]:
    """Return (K,) distinct names for concepts that hold nouns so often, and the nouns that each name stands for.

    The sum of all F1, those of nouns discounted, is the highest that distinct names can have.
    """
    total = sum((Counter(own) for own in counts), Counter())
    lexicon = {name: words & total.keys() for name, words in category_words().items()}
    for own in counts:
        for noun, _ in Counter(own).most_common(OWN_WORDS):
            if total[noun] >= MIN_COUNT:
                lexicon.setdefault(noun, frozenset({noun}))
    candidates = list(lexicon)
    table = np.array([[word_score(counts, k, lexicon[name]) for name in candidates] for k in range(len(counts))])
    table *= [1 if name in category_words() else NOUN_DISCOUNT for name in candidates]
    names = [f"concept {k + 1}" for k in range(len(counts))]
    for k, column in zip(*linear_sum_assignment(-table), strict=True):
        if table[k, column] > 0:
            names[k] = candidates[column]
    taken = frozenset().union(*(lexicon[name] for name in names if name in lexicon))
    for k, name in enumerate(names):
        if lexicon.get(name) == frozenset({name}):  # a noun alone: a second one may tell more
            others = [w for w, n in Counter(counts[k]).most_common(OWN_WORDS) if w not in taken and n >= MIN_COUNT]
            both = max(others, key=lambda w: word_score(counts, k, frozenset({name, w})), default=name)
            if word_score(counts, k, frozenset({name, both})) > word_score(counts, k, lexicon[name]):
                names[k] = f"{name} and {both}"
                lexicon[names[k]] = frozenset({name, both})
    return tuple(names), lexicon | {name: frozenset() for name in names if name not in lexicon}


def word_score(counts: Sequence[Mapping[str, int]], concept: int, nouns: frozenset[str]) -> float:
    """Return the F1 of "is one of ``nouns``" for "is held by ``concept``" over all nouns in ``counts``."""
    right = sum(counts[concept].get(noun, 0) for noun in nouns)
    named = sum(own.get(noun, 0) for own in counts for noun in nouns)
    held = sum(counts[concept].values())
    return 2 * right / (named + held) if named + held else 0.0


@torch.no_grad()
def nouns_by_concept(model: VTRModel, texts: Sequence[EncodedCaption]) -> list[Counter[str]]:
    """Return, for each concept, how often each noun (lemma) is allocated to it."""
    device = next(model.parameters()).device
    counts: list[Counter[str]] = [Counter() for _ in range(model.config.concepts)]
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        allocation = model.encode_text(text_batch(chunk).to(device)).allocation
        for text, row in zip(chunk, allocation.tolist(), strict=True):
            for word, concept in zip(text.sentence.words, row[1:], strict=False):
                if concept >= 0 and word.pos in NOUNS:
                    counts[concept][word.lemma.lower()] += 1
    return counts


@torch.no_grad()
def clip_concepts(model: VTRModel, clip: VideoTokens) -> np.ndarray:
    """Return (K,) bool: the concepts that hold ``HELD_PATCHES`` patches of a clip."""
    owners = model.forward_video(clip.to(next(model.parameters()).device)).concepts.index()[0]
    counts = torch.bincount(owners[owners >= 0], minlength=model.config.concepts)
    return (counts >= HELD_PATCHES).cpu().numpy()
