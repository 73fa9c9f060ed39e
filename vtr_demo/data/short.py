"""Short queries: the things, actions and places that a caption names, each as a query of its own.

People type "a dog" or "jumping", captions are whole sentences. A clip is right for a short query if it has
everything that the query names, whatever else it shows (our decision).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vtr_demo.data.dataset import Sample
from vtr_demo.playground.captions import article, phrases
from vtr_demo.structures import LEVELS, Sentence, Word
from vtr_demo.text.parser import parse_many

QUERY_KINDS = ("noun", "verb", "scene", "pair")
_LEVEL_OF = {"noun": LEVELS.index("entity"), "verb": LEVELS.index("action"), "scene": 0, "pair": 0}
_PAIRS = 2
_PLACING = frozenset({"in", "on", "at", "by", "among", "across", "through", "inside", "near"})
_ADVERBS = frozenset({"underwater", "indoors", "outdoors", "outside"})
_THINGS = frozenset({"NOUN", "PROPN"})
_VAGUE = frozenset({"do", "get", "go", "come", "make", "take", "have", "move"})
"""Verbs that name an action only together with other words."""


@dataclass(frozen=True)
class ShortQuery:
    """A query of one or two parts of a sentence.

    keys: what it names, e.g. ("noun:brown dog",); a clip whose ``contents`` has all of them is right.
    """

    kind: str
    text: str
    keys: tuple[str, ...]


def short_queries(sentence: Sentence) -> list[ShortQuery]:
    """Return the short queries that ``sentence`` answers, in all their forms, each once.

    noun: "a brown dog", "a dog", "dog"; verb: "something jumps", "jumping", "jump"; scene: "in the forest",
    "forest"; pair: "a dog and a cat", "dog and cat", "a dog in the forest".
    """
    places = _places(sentence)
    scenery = {i for _, group in places for i in group}
    things = [group for group in sentence.entities if not scenery & set(group)]
    queries = [query for group in things for query in _nouns(sentence, group)]
    queries += [query for group in sentence.actions for query in _verbs(sentence, group)]
    queries += [query for preposition, group in places for query in _scene(sentence, preposition, group)]
    queries += _pairs(sentence, things, places)
    return list(dict.fromkeys(queries))


def contents(sentences: Iterable[Sentence]) -> frozenset[str]:
    """Return the keys of everything that ``sentences`` name."""
    return frozenset(key for sentence in sentences for key in _keys(sentence))


def sample_sentences(items: Sequence[Sample]) -> list[tuple[Sentence, ...]]:
    """Return, for each sample, the sentences that say what it shows: its own, and for the playground the
    phrases for all its things, motions and places."""
    texts = [() if item.spec is None else phrases(item.spec) for item in items]
    distinct = sorted({text for group in texts for text in group})
    parsed = dict(zip(distinct, parse_many(distinct), strict=True))
    return [(*item.sentences, *(parsed[text] for text in group)) for item, group in zip(items, texts, strict=True)]


class ShortQueries:
    """The short queries of training samples, to draw from.

    sentences: every query's text, parsed. Of the many pairs that a sample names, two are kept.
    """

    def __init__(self, items: Sequence[Sample]) -> None:
        described = sample_sentences(items)
        self._contents = [contents(group) for group in described]
        self._own = [_by_kind(query for sentence in group for query in short_queries(sentence)) for group in described]
        texts = sorted({query.text for kinds in self._own for group in kinds for query in group})
        self._parsed = dict(zip(texts, parse_many(texts), strict=True))
        self.sentences = list(self._parsed.values())

    def draw(self, items: np.ndarray, rng: np.random.Generator) -> tuple[list[str], Tensor, Tensor]:
        """Draw a query for each of the ``items``: a kind first, then one of its queries.

        Returns texts of S queries, the level that each asks first (S,), and the clips that are right (S, B) bool.
        """
        drawn = []
        for i in items:
            if kinds := self._own[i]:
                group = kinds[int(rng.integers(len(kinds)))]
                drawn.append(group[int(rng.integers(len(group)))])
        right = [[self._contents[i].issuperset(query.keys) for i in items] for query in drawn]
        levels = torch.tensor([_LEVEL_OF[query.kind] for query in drawn], dtype=torch.long)
        return [self._parsed[query.text].text for query in drawn], levels, torch.tensor(right, dtype=torch.bool)


def _by_kind(queries: Iterable[ShortQuery]) -> list[list[ShortQuery]]:
    """The distinct queries of each kind that there is."""
    groups: dict[str, list[ShortQuery]] = {}
    for query in dict.fromkeys(queries):
        groups.setdefault(query.kind, []).append(query)
    return [group[:_PAIRS] if kind == "pair" else group for kind, group in groups.items()]


def right_clips(queries: Sequence[ShortQuery], sentences: Sequence[Sequence[Sentence]]) -> np.ndarray:
    """Return (Q, N) bool: whether the clip that ``sentences[n]`` describe has all that a query names."""
    clips: dict[str, set[int]] = {}
    for n, group in enumerate(sentences):
        for key in contents(group):
            clips.setdefault(key, set()).add(n)
    right = np.zeros((len(queries), len(sentences)), dtype=bool)
    for row, query in enumerate(queries):
        right[row, list(set.intersection(*(clips.get(key, set()) for key in query.keys)))] = True
    return right


@lru_cache(maxsize=65_536)
def _keys(sentence: Sentence) -> frozenset[str]:
    return frozenset(key for query in short_queries(sentence) for key in query.keys)


def _lemmas(sentence: Sentence, group: Iterable[int]) -> str:
    return " ".join(sentence.words[i].lemma.lower() for i in group)


def _text(sentence: Sentence, group: Iterable[int]) -> str:
    return " ".join(sentence.words[i].text.lower() for i in group)


def _nouns(sentence: Sentence, group: tuple[int, ...]) -> Iterator[ShortQuery]:
    """A noun phrase with fewer and fewer of its modifiers, with and without an article."""
    if _modified(sentence, group[0]):
        group = (group[0] - 1, *group)
    for start in range(len(group)):
        part = group[start:]
        if sentence.words[part[-1]].pos not in _THINGS or _broken(part):
            continue
        keys = (f"noun:{_lemmas(sentence, part)}",)
        for text in _with_article(sentence, part):
            yield ShortQuery("noun", text, keys)


def _modified(sentence: Sentence, noun: int) -> bool:
    """Whether a participle stands between an article and the noun phrase, as in "a flying saucer"."""
    before = sentence.words[max(0, noun - 2) : noun]
    if not before or before[-1].pos != "VERB" or not before[-1].text.lower().endswith("ing"):
        return False
    return len(before) == 1 or before[0].pos == "DET"


def _broken(group: Sequence[int]) -> bool:
    """Whether words between those of the group are missing."""
    return any(b - a > 1 for a, b in pairwise(group))


def _with_article(sentence: Sentence, group: Sequence[int]) -> tuple[str, ...]:
    text, head, first = _text(sentence, group), sentence.words[group[-1]], sentence.words[group[0]]
    if head.text.lower() != head.lemma.lower() or first.pos == "NUM":  # plurals and numbers take none
        return (text,)
    return f"{article(text)} {text}", text


def _verbs(sentence: Sentence, group: tuple[int, ...]) -> Iterator[ShortQuery]:
    """An action with its directions and without, as it is said, as its lemma, and done by something."""
    head = next((i for i in group if sentence.words[i].pos == "VERB"), None)
    if head is None:
        return
    wholes = [group] if _broken(group) or group[0] != head else [group, (head,)]
    for part in dict.fromkeys(wholes):
        if part == (head,) and sentence.words[head].lemma.lower() in _VAGUE:
            continue
        text = _text(sentence, part)
        keys = (f"verb:{_lemmas(sentence, part)}",)
        for form in (text, f"something {_finite(sentence.words[head])}{text}", _lemmas(sentence, part)):
            yield ShortQuery("verb", form, keys)


def _finite(verb: Word) -> str:
    return "is " if verb.text.lower().endswith("ing") else ""


def _places(sentence: Sentence) -> list[tuple[int, tuple[int, ...]]]:
    """Prepositions of place, each with the noun phrase after it; and words such as "underwater"."""
    places: list[tuple[int, tuple[int, ...]]] = []
    for group in sentence.relationships:
        for i in group:
            if sentence.words[i].text.lower() not in _PLACING:
                continue
            for entity in sentence.entities:
                if i < entity[0] and set(entity) & set(group) and not _between(sentence, i, entity[0]):
                    places.append((i, entity))
    places += [(i, (i,)) for i, word in enumerate(sentence.words) if word.text.lower() in _ADVERBS]
    return list(dict.fromkeys(places))


def _between(sentence: Sentence, start: int, end: int) -> bool:
    """Whether more than a determiner stands between two words."""
    return any(sentence.words[i].pos not in ("DET", "PRON") for i in range(start + 1, end))


def _scene(sentence: Sentence, preposition: int, group: tuple[int, ...]) -> Iterator[ShortQuery]:
    keys = (f"scene:{_lemmas(sentence, group)}",)
    yield ShortQuery("scene", _text(sentence, range(preposition, group[-1] + 1)), keys)
    yield ShortQuery("scene", _text(sentence, group), keys)
    if len(group) > 1:
        keys = (f"scene:{_lemmas(sentence, group[-1:])}",)
        yield ShortQuery("scene", _text(sentence, group[-1:]), keys)


def _pairs(
    sentence: Sentence, things: Sequence[tuple[int, ...]], places: Sequence[tuple[int, tuple[int, ...]]]
) -> Iterator[ShortQuery]:
    """Two neighbouring things, and a thing in its place."""
    forms = [queries for group in things if (queries := list(_nouns(sentence, group)))]
    nouns, bare = [queries[0] for queries in forms], [queries[-1] for queries in forms]
    for first, second in (*pairwise(nouns), *pairwise(bare)):
        if first.keys != second.keys:
            yield ShortQuery("pair", f"{first.text} and {second.text}", first.keys + second.keys)
    for noun in nouns:
        for preposition, group in places:
            scene = next(_scene(sentence, preposition, group))
            yield ShortQuery("pair", f"{noun.text} {scene.text}", noun.keys + scene.keys)
