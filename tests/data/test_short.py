"""Short queries: what a caption names, and the clips that are right for it."""

from __future__ import annotations

import numpy as np
import pytest

from vtr_demo.data.short import QUERY_KINDS, contents, right_clips, short_queries
from vtr_demo.playground.captions import captions, phrases
from vtr_demo.playground.layout import sample_spec
from vtr_demo.text.parser import parse, parse_many


def texts(sentence: str, kind: str) -> set[str]:
    return {query.text for query in short_queries(parse(sentence)) if query.kind == kind}


@pytest.mark.parametrize(
    ("sentence", "kind", "expected"),
    [
        ("A brown dog jumps in the forest", "noun", {"a brown dog", "brown dog", "a dog", "dog"}),
        ("A brown dog jumps in the forest", "verb", {"jumps", "something jumps", "jump"}),
        ("A brown dog jumps in the forest", "scene", {"in the forest", "forest"}),
        ("An owl and two cats", "noun", {"an owl", "owl", "two cats", "cats"}),
        ("A flying saucer", "noun", {"a flying saucer", "flying saucer", "a saucer", "saucer"}),
        ("A fish is gliding underwater", "scene", {"underwater"}),
        ("A fish is gliding underwater", "verb", {"gliding", "something is gliding", "glide"}),
        ("A dog and a cat", "pair", {"a dog and a cat", "dog and cat"}),
    ],
)
def test_forms(sentence: str, kind: str, expected: set[str]) -> None:
    assert texts(sentence, kind) == expected


def test_a_sentence_has_all_that_its_own_queries_name_and_naming_is_by_words_alone() -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        spec = sample_spec(rng)
        sentences = parse_many([*captions(spec, rng), *phrases(spec)])
        queries = [query for sentence in sentences for query in short_queries(sentence)]
        assert {query.kind for query in queries} <= set(QUERY_KINDS)
        assert right_clips(queries, [sentences]).all()
        upper = parse_many([sentence.text.upper() for sentence in sentences[:2]])
        assert contents(upper) == contents(sentences[:2])


def test_right_clips_are_those_that_name_everything() -> None:
    clips = [parse_many([text]) for text in ("A dog and a red car", "A dog in the snow", "A car in the snow", "")[:3]]
    queries = [query for clip in clips for query in short_queries(clip[0])]
    right = right_clips(queries, clips)
    for query, row in zip(queries, right, strict=True):
        assert list(row) == [all(key in contents(clip) for key in query.keys) for clip in clips]
    by_text = {query.text: row.tolist() for query, row in zip(queries, right, strict=True)}
    assert by_text["a dog"] == [True, True, False]
    assert by_text["snow"] == [False, True, True]
    assert by_text["a dog in the snow"] == [False, True, False]
    assert by_text["a red car"] == [True, False, False]
