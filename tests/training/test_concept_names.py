"""Names of concepts: content words that stand out, function words named as such, attributes of patches."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tests.helpers.models import row as single
from tests.helpers.models import sentence_of, small_model, text_tokens, video_tokens
from vtr_demo.data.captions import EncodedCaption
from vtr_demo.model.attributes import Vocabulary
from vtr_demo.structures import LEVELS
from vtr_demo.training.concept_names import (
    MIN_COUNT,
    attributes_by_concept,
    concept_attributes,
    exclusive,
    join_names,
    log_odds,
    name_concepts,
    word_names,
    words_by_concept,
)


def vocabulary(count: int) -> Vocabulary:
    names = {level: tuple(f"thing{i}" for i in range(count)) if level == "entity" else () for level in LEVELS}
    counts = {level: tuple([9] * len(names[level])) for level in LEVELS}
    return Vocabulary(names, counts, 9)


def spoken(*lengths: int, seed: int = 0) -> list[EncodedCaption]:
    tokens = text_tokens(*lengths, seed=seed)
    return [
        EncodedCaption(sentence_of(n), single(tokens, i), torch.zeros(1 + len(LEVELS), 12))
        for i, n in enumerate(lengths)
    ]


# --------------------------------------------------------------------------- words
def test_a_frequent_word_that_is_everywhere_names_nothing():
    scores = log_odds([Counter(man=500, dog=60), Counter(man=500, sea=60), Counter(man=500)])
    assert scores[0]["dog"] > scores[0]["man"]
    assert scores[1]["sea"] > 2
    assert all("sea" not in own for own in (scores[0], scores[2]))


def test_equal_shares_have_no_odds_and_claiming_more_has_more():
    even = log_odds([Counter(dog=40, sea=40), Counter(dog=40, sea=40)])
    assert all(score == pytest.approx(0.0, abs=1e-9) for own in even for score in own.values())
    few, many = (log_odds([Counter(dog=n, sea=50), Counter(dog=20, sea=50)])[0]["dog"] for n in (25, 60))
    assert 0 < few < many


def test_a_rare_word_is_less_sure_than_a_frequent_one_of_the_same_odds():
    own, others = Counter(dog=100, yak=5), Counter(dog=10, yak=0, sea=95)
    scores = log_odds([own, others])[0]
    assert scores["dog"] > scores["yak"]


def test_each_word_names_one_concept():
    kept = exclusive([{"dog": 3.0, "sea": 1.0}, {"dog": 4.0}, {"dog": 4.0, "sea": 0.5}])
    assert kept == [{"sea": 1.0}, {"dog": 4.0}, {}]


def test_content_names_a_concept_and_function_words_are_named_as_such():
    content = {("dog", "NOUN"): 80, ("run", "VERB"): 40, ("be", "VERB"): 90, ("the", "DET"): 60}
    prepositions = {
        ("in", "ADP"): 200,
        ("to", "PART"): 2,
        ("into", "ADP"): 40,
        ("is", "AUX"): 190,
        ("the", "DET"): 3,
        ("room", "NOUN"): 9,
    }
    articles = {("a", "DET"): 300, ("an", "DET"): 30, ("that", "PRON"): 10}
    names = word_names([content, prepositions, articles, {}])
    assert names[0] == "dog · run"
    assert names[1] == "prepositions in · into"
    assert names[2] == "articles a · an"
    assert names[3] == ""


def test_a_word_needs_occurrences():
    rare = {("dog", "NOUN"): MIN_COUNT - 1, ("cat", "NOUN"): 50}
    assert word_names([rare, {("sea", "NOUN"): 50}]) == ["cat", "sea"]


# --------------------------------------------------------------------------- patches
def test_attributes_of_one_concept_alone_are_those_of_the_level_where_it_holds_everything():
    """With every patch in one concept, its part of the entity level is the whole entity level."""
    model = small_model(concepts=1, attributes=(3, 7, 2, 2))
    with torch.no_grad():
        model.video.prior[1, 0] = -1e4  # the summary belongs to no concept
    clip = video_tokens(3)
    held, logits = concept_attributes(model, clip)
    assert held.tolist() == [0]
    with torch.no_grad():
        whole = model.attributes(model.encode_video(clip).levels)[LEVELS.index("entity")]
    torch.testing.assert_close(logits, whole, atol=1e-4, rtol=1e-4)


def test_only_occupied_concepts_have_attributes():
    model = small_model(attributes=(3, 7, 2, 2))
    clip = video_tokens(2, seed=4)
    held, logits = concept_attributes(model, clip)
    allocated = model.encode_video(clip).allocation[:, :, 1:]
    assert set(held.tolist()) == set(allocated.unique().tolist())
    assert logits.shape == (len(held), 7)


def test_each_attribute_is_seen_in_one_concept_and_in_enough_clips():
    model = small_model(attributes=(3, 7, 2, 2))
    clips = [video_tokens(2, seed=seed) for seed in range(40)]
    found = attributes_by_concept(model, clips, vocabulary(7))
    said = [name for names in found.values() for name in names]
    assert said
    assert len(said) == len(set(said))
    assert attributes_by_concept(model, clips[: MIN_COUNT - 1], vocabulary(7)) == {}
    assert attributes_by_concept(model, [], vocabulary(7)) == {}
    assert attributes_by_concept(model, clips, vocabulary(0)) == {}


def test_a_concept_without_an_attribute_of_its_own_shares_that_of_another(monkeypatch):
    """Attribute 0 is strongest in concept 0, also strong in concept 1, and nothing is in concept 2."""
    logits = torch.tensor([[5.0, 0.0, 0.0], [4.0, 0.0, 0.0], [-4.0, 0.0, 0.0]])

    def attributes(model, clip):
        return torch.arange(3), logits + 0.1 * torch.randn(3, 3, generator=clip)

    monkeypatch.setattr("vtr_demo.training.concept_names.concept_attributes", attributes)
    clips = [torch.Generator().manual_seed(seed) for seed in range(40)]
    found = attributes_by_concept(small_model(attributes=(3, 3, 2, 2)), clips, vocabulary(3))
    first = vocabulary(3).names["entity"][0]
    assert first in found[0]
    assert first in found[1]
    assert first not in found.get(2, ())


# --------------------------------------------------------------------------- together
def test_no_two_concepts_share_a_name():
    names = join_names(["", "", "dog", "dog", ""], [(), ("sea",), (), (), ("sea",)])
    assert names == ("concept 1", "seen: sea", "dog", "dog (4)", "seen: sea (5)")
    assert join_names(["dog"], [("fur", "grass")]) == ("dog; seen: fur · grass",)


def test_every_word_is_claimed_once_whatever_the_padding():
    model = small_model()
    texts = spoken(3, 7, 5)
    claimed = words_by_concept(model, texts)
    assert sum(sum(own.values()) for own in claimed) == 15
    apart = [words_by_concept(model, [text]) for text in texts]
    assert claimed == [sum((found[k] for found in apart), Counter()) for k in range(4)]


def test_names_need_neither_clips_nor_words_nor_attributes():
    model = small_model()
    assert name_concepts(model, []) == tuple(f"concept {k + 1}" for k in range(4))
    assert len(set(name_concepts(model, spoken(4, 6)))) == 4
    assert name_concepts(model, [], [video_tokens(2)], vocabulary(7)) == name_concepts(model, [])
    with_attributes = small_model(attributes=(3, 7, 2, 2))
    clips = [video_tokens(2, seed=seed) for seed in range(40)]
    names = name_concepts(with_attributes, spoken(4, 6), clips, vocabulary(7))
    assert len(set(names)) == 4
    assert any("seen: thing" in name for name in names)
