"""Attribute vocabularies and their label matrices."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vtr_demo.errors import ConfigError
from vtr_demo.model import attributes
from vtr_demo.model.attributes import Vocabulary, label_matrix
from vtr_demo.structures import LEVELS, Sentence


def build_vocabulary(clips, sizes=(512, 512, 256, 256), min_count=1):
    return attributes.build_vocabulary(clips, sizes, min_count)


def said(**labels: tuple[str, ...]) -> Sentence:
    """A parsed sentence of which only the labels matter here; ``global_`` stands for global."""
    return Sentence("text", (), labels={level.rstrip("_"): values for level, values in labels.items()})


DOG_RUNS = said(global_=("dog", "run"), entity=("dog",), action=("run",))
DOG_SLEEPS = said(global_=("dog", "sleep"), entity=("dog",), action=("sleep",))
CAT_RUNS = said(global_=("cat", "run"), entity=("cat",), action=("run",), relationship=("on sofa",))
CLIPS = [[DOG_RUNS, DOG_SLEEPS], [CAT_RUNS], [DOG_RUNS, DOG_RUNS, DOG_RUNS]]

sentences = st.builds(
    lambda entity, action: said(entity=tuple(entity), action=tuple(action)),
    st.lists(st.sampled_from("abcdefg"), unique=True, max_size=4),
    st.lists(st.sampled_from("uvwxyz"), unique=True, max_size=4),
)
clip_lists = st.lists(st.lists(sentences, max_size=3), min_size=1, max_size=8)


def test_names_run_from_frequent_to_rare_and_ties_by_name():
    # run is in three clips, dog in two, cat and sleep in one each
    assert build_vocabulary(CLIPS).names["global"] == ("run", "dog", "cat", "sleep")


def test_rare_labels_and_those_beyond_the_size_are_left_out():
    assert build_vocabulary(CLIPS, min_count=2).names["action"] == ("run",)
    assert [*build_vocabulary(CLIPS, (1, 5, 1, 0)).sizes.values()] == [1, 2, 1, 0]
    assert build_vocabulary(CLIPS, min_count=4).sizes == dict.fromkeys(LEVELS, 0)  # there are three clips


@given(clip_lists)
def test_matrix_equals_asking_every_sentence_for_every_attribute(clips):
    vocabulary = build_vocabulary(clips)
    for level, matrix in label_matrix(clips, vocabulary).items():
        asked = [
            [float(any(name in s.labels.get(level, ()) for s in clip)) for name in vocabulary.names[level]]
            for clip in clips
        ]
        assert matrix.dtype == torch.float32
        assert torch.equal(matrix, torch.tensor(asked).reshape(len(clips), len(vocabulary.names[level])))


@given(clip_lists)
def test_column_sums_over_the_training_clips_are_the_vocabulary_counts(clips):
    vocabulary = build_vocabulary(clips)
    for level, matrix in label_matrix(clips, vocabulary).items():
        assert matrix.sum(dim=0).int().tolist() == [count for _, count in vocabulary.attributes[level]]


@given(clip_lists, st.randoms(use_true_random=False))
def test_order_of_clips_and_sentences_does_not_change_the_vocabulary(clips, chance):
    shuffled = [chance.sample(clip, len(clip)) for clip in chance.sample(clips, len(clips))]
    assert build_vocabulary(shuffled) == build_vocabulary(clips)


def test_labels_unknown_to_training_change_nothing_in_a_row():
    vocabulary = build_vocabulary(CLIPS)
    stranger = said(entity=("zeppelin",), global_=("zeppelin",))
    with_stranger = label_matrix([[DOG_RUNS, stranger], [stranger]], vocabulary)
    alone = label_matrix([[DOG_RUNS], []], vocabulary)
    assert all(torch.equal(with_stranger[level], alone[level]) for level in LEVELS)
    assert not any(alone[level][1].any() for level in LEVELS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: {**v, "videos": "many"},
        lambda v: {**v, "videos": 1},  # fewer than an attribute's count
        lambda v: {"videos": 3, "attributes": {"global": []}},
        lambda v: {**v, "attributes": {**v["attributes"], "action": [["run"]]}},
        lambda v: {**v, "attributes": {**v["attributes"], "action": [["run", 2], ["run", 1]]}},
        lambda v: {**v, "attributes": {**v["attributes"], "action": [["sleep", 1], ["run", 2]]}},
    ],
)
def test_a_damaged_vocabulary_is_refused_in_a_sentence(damage):
    whole = json.loads(json.dumps(build_vocabulary(CLIPS).to_dict()))
    assert Vocabulary(**whole) == build_vocabulary(CLIPS)
    with pytest.raises(ConfigError, match=r"ttribute|counts"):
        Vocabulary(**damage(whole))


def test_sentences_without_labels_are_welcome():
    bare = replace(DOG_RUNS, labels={})
    assert build_vocabulary([[bare], []]).sizes == dict.fromkeys(LEVELS, 0)
    assert build_vocabulary([]).videos == 0
