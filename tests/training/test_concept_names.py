"""Names of concepts: categories or nouns that tell what falls into a concept, each with a score."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from tests.helpers.models import row as single
from tests.helpers.models import sentence_of, small_model, text_tokens, video_tokens
from vtr_demo.data.captions import EncodedCaption
from vtr_demo.data.grounding import category_words
from vtr_demo.structures import LEVELS, Sentence
from vtr_demo.training.concept_names import (
    MIN_COUNT,
    NOUN_DISCOUNT,
    choose_names,
    clip_concepts,
    name_concepts,
    nouns_by_concept,
    word_score,
)


def encoded(*lengths: int, seed: int = 0) -> list[EncodedCaption]:
    tokens = text_tokens(*lengths, seed=seed)

    def nouns(count: int) -> Sentence:
        sentence = sentence_of(count)
        return replace(sentence, words=tuple(replace(word, pos="NOUN") for word in sentence.words))

    return [
        EncodedCaption(nouns(n), torch.zeros(1 + len(LEVELS), 12), single(tokens, i)) for i, n in enumerate(lengths)
    ]


def test_a_concept_that_holds_a_category_has_its_name_and_others_a_noun_or_two():
    counts = [
        Counter(dog=40, cat=40, horse=30, lamp=2),
        Counter(zeppelin=50, quark=30, dog=2),
        Counter(car=30, bus=30, boat=20),
        Counter(),
    ]
    names, lexicon = choose_names(counts)
    assert names[0] == "animals"
    assert names[1] in ("zeppelin and quark", "quark and zeppelin")
    assert names[2] == "vehicles"
    assert names[3] == "concept 4"
    assert lexicon[names[1]] == {"zeppelin", "quark"}
    assert lexicon["concept 4"] == frozenset()


def test_names_are_distinct_and_together_fit_best():
    rng = np.random.default_rng(0)
    nouns = ["dog", "car", "apple", "violin"]
    counts = [Counter(dict(zip(nouns, rng.integers(MIN_COUNT, 60, 4).tolist(), strict=True))) for _ in range(3)]
    names, lexicon = choose_names(counts)
    assert len(set(names)) == 3
    candidates = [name for name, words in lexicon.items() if words and " and " not in name]

    def fit(some: tuple[str, ...]) -> float:
        factors = [1 if name in category_words() else NOUN_DISCOUNT for name in some]
        scores = [word_score(counts, k, lexicon[name]) for k, name in enumerate(some)]
        return sum(factor * score for factor, score in zip(factors, scores, strict=True))

    assert fit(names) >= max(fit(some) for some in permutations(candidates, 3)) - 1e-9


def test_word_score_is_f1_of_its_definition():
    counts = [Counter(dog=3, cat=1), Counter(dog=1, car=5)]
    in_concept, words = zip(*((k == 0, word) for k, own in enumerate(counts) for word in own.elements()), strict=True)
    named = [word in {"dog", "cat"} for word in words]
    assert word_score(counts, 0, frozenset({"dog", "cat"})) == pytest.approx(f1_score(in_concept, named))
    assert word_score(counts, 0, frozenset()) == 0.0
    assert word_score([Counter()], 0, frozenset({"dog"})) == 0.0


def test_nouns_are_counted_once_each_where_they_are_allocated():
    model, texts = small_model(), encoded(3, 5, 2, 4)
    counts = nouns_by_concept(model, texts)
    assert sum(sum(own.values()) for own in counts) == sum(len(text.sentence.words) for text in texts) > 0


def test_names_and_scores_of_a_model_cover_its_concepts():
    model, texts = small_model(), encoded(*[4] * 40)
    clip = video_tokens(3)
    names, scores = name_concepts(model, texts, [(clip, frozenset({"dog"}))])
    assert len(names) == len(scores) == model.config.concepts
    assert len(set(names)) == len(names)
    assert all(0 <= score <= 1 for score in scores)
    assert clip_concepts(model, clip).shape == (model.config.concepts,)
    assert name_concepts(model, texts)[0] == names
