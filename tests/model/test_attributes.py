"""Attribute vocabularies and their label matrices."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vtr_demo.errors import CheckpointError, ConfigError
from vtr_demo.model.attributes import Vocabulary, build_vocabulary, imbalance_report, label_matrix
from vtr_demo.structures import LEVELS, Sentence


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


def test_a_label_counts_once_a_clip_however_often_it_is_said():
    vocabulary = build_vocabulary(CLIPS, min_count=1)
    by_name = dict(zip(vocabulary.names["entity"], vocabulary.counts["entity"], strict=True))
    assert by_name == {"dog": 2, "cat": 1}  # clips, by hand; "dog" is said five times
    assert vocabulary.videos == 3


def test_names_run_from_frequent_to_rare_and_ties_by_name():
    # run is in three clips, dog in two, cat and sleep in one each
    assert build_vocabulary(CLIPS, min_count=1).names["global"] == ("run", "dog", "cat", "sleep")


def test_rare_labels_and_those_beyond_the_size_are_left_out():
    assert build_vocabulary(CLIPS, min_count=2).names["action"] == ("run",)
    assert build_vocabulary(CLIPS, {"global": 1}, min_count=1).sizes == {
        "global": 1, "entity": 2, "action": 2, "relationship": 1,
    }  # fmt: skip
    assert build_vocabulary(CLIPS).sizes == dict.fromkeys(LEVELS, 0)  # three clips cannot reach five


def test_a_least_count_above_every_count_leaves_an_empty_vocabulary():
    assert build_vocabulary(CLIPS, min_count=4).sizes == dict.fromkeys(LEVELS, 0)  # there are three clips


def test_default_sizes_are_those_of_the_design():
    many = [[said(global_=tuple(f"w{i}" for i in range(600)), action=tuple(f"v{i}" for i in range(600)))]] * 5
    assert build_vocabulary(many).sizes == {"global": 512, "entity": 0, "action": 256, "relationship": 0}


@given(clip_lists)
def test_matrix_equals_asking_every_sentence_for_every_attribute(clips):
    vocabulary = build_vocabulary(clips, min_count=1)
    for level, matrix in label_matrix(clips, vocabulary).items():
        asked = [
            [float(any(name in s.labels.get(level, ()) for s in clip)) for name in vocabulary.names[level]]
            for clip in clips
        ]
        assert matrix.dtype == torch.float32
        assert torch.equal(matrix, torch.tensor(asked).reshape(len(clips), len(vocabulary.names[level])))


@given(clip_lists)
def test_column_sums_over_the_training_clips_are_the_vocabulary_counts(clips):
    vocabulary = build_vocabulary(clips, min_count=1)
    for level, matrix in label_matrix(clips, vocabulary).items():
        assert tuple(matrix.sum(dim=0).int().tolist()) == vocabulary.counts[level]


@given(clip_lists, st.randoms(use_true_random=False))
def test_order_of_clips_and_sentences_does_not_change_the_vocabulary(clips, chance):
    shuffled = [chance.sample(clip, len(clip)) for clip in chance.sample(clips, len(clips))]
    assert build_vocabulary(shuffled, min_count=1) == build_vocabulary(clips, min_count=1)


def test_labels_unknown_to_training_change_nothing_in_a_row():
    vocabulary = build_vocabulary(CLIPS, min_count=1)
    stranger = said(entity=("zeppelin",), global_=("zeppelin",))
    with_stranger = label_matrix([[DOG_RUNS, stranger], [stranger]], vocabulary)
    alone = label_matrix([[DOG_RUNS], []], vocabulary)
    assert all(torch.equal(with_stranger[level], alone[level]) for level in LEVELS)
    assert not any(alone[level][1].any() for level in LEVELS)


def test_vocabulary_survives_json():
    vocabulary = build_vocabulary(CLIPS, min_count=1)
    assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: None,
        lambda v: [v],
        lambda v: {**v, "videos": "many"},
        lambda v: {**v, "videos": 1},  # fewer than an attribute's count
        lambda v: {"videos": 3, "attributes": {"global": []}},
        lambda v: {**v, "attributes": {**v["attributes"], "action": [["run"]]}},
        lambda v: {**v, "attributes": {**v["attributes"], "action": [["run", 2], ["run", 1]]}},
        lambda v: {**v, "attributes": {**v["attributes"], "action": [["sleep", 1], ["run", 2]]}},
    ],
)
def test_a_damaged_vocabulary_is_refused_with_advice(damage):
    with pytest.raises(CheckpointError, match=r"vocabulary is damaged .*; save it again"):
        Vocabulary.from_dict(damage(build_vocabulary(CLIPS, min_count=1).to_dict()))


@pytest.mark.parametrize(("sizes", "least"), [({"verbs": 3}, 1), ({"action": -1}, 1), (None, 0)])
def test_settings_that_make_no_sense_are_refused(sizes, least):
    with pytest.raises(ConfigError, match="least count"):
        build_vocabulary(CLIPS, sizes, least)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (torch.eye(3), "head/tail 1.0, 33.33% positive, 0 without a clip, 0 of 3"),
        (torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]),
         "head/tail 3.0, 33.33% positive, 1 without a clip, 1 of 4"),
        (torch.zeros(4, 0), "head/tail 0.0, 0.00% positive, 0 without a clip, 4 of 4"),
    ],
)  # fmt: skip
def test_report_counts_by_hand(matrix, expected):
    assert expected in imbalance_report({"entity": matrix}, build_vocabulary(CLIPS, min_count=1))


def test_report_names_every_level_its_head_and_its_tail():
    vocabulary = build_vocabulary(CLIPS, min_count=1)
    lines = imbalance_report(label_matrix(CLIPS, vocabulary), vocabulary).split("\n")
    assert [line.split()[1].rstrip(":") for line in lines] == list(LEVELS)
    assert "(run … sleep)" in lines[2]
    assert "head/tail 3.0" in lines[2]  # "run" in three clips, "sleep" in one
    assert "2 of 3 clips without one" in lines[3]


def test_sentences_without_labels_are_welcome():
    bare = replace(DOG_RUNS, labels={})
    assert build_vocabulary([[bare], []], min_count=1).sizes == dict.fromkeys(LEVELS, 0)
    assert build_vocabulary([], min_count=1).videos == 0


def test_real_parses_give_the_words_that_a_reader_would_pick():
    from vtr_demo.text import parser

    captions = [["A dog runs on the beach.", "The dogs are running"], ["A man throws a ball to a dog."]]
    vocabulary = build_vocabulary([parser.parse_many(group) for group in captions], min_count=1)
    assert vocabulary.names["entity"][0] == "dog"
    assert set(vocabulary.names["entity"]) == {"dog", "beach", "man", "ball"}
    assert {"run"} <= set(vocabulary.names["action"])
    assert vocabulary.counts["entity"][0] == 2
