"""Manifests and held-out splits."""

from __future__ import annotations

import json
import logging
import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.data_files import SHARED, needs_shared, touch, write
from vtr_demo.data.manifest import Clip, load_dataset, load_manifest, split_by_group
from vtr_demo.errors import ConfigError, ManifestError


# --------------------------------------------------------------------------- manifests
def manifest(folder: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return write(folder / "m.jsonl", "\n".join(lines) + "\n")


def test_rows_become_clips_and_other_keys_are_carried_along(tmp_path):
    touch(tmp_path / "a.mp4", tmp_path / "sub" / "b.JPG")
    dataset = load_manifest(
        manifest(
            tmp_path,
            {"path": "a.mp4", "captions": ["a  dog\truns ", "it runs"], "group": "g", "truth": {"n": 1}},
            {"path": "sub/b.JPG", "captions": ["a cat"], "id": "cat"},
        )
    )
    dog, cat = dataset.clips
    assert (dog.id, dog.path, dog.captions) == ("a.mp4", tmp_path / "a.mp4", ("a dog runs", "it runs"))
    assert dog.extra == {"group": "g", "truth": {"n": 1}}
    assert (dog.kind, cat.kind, cat.id) == ("video", "image", "cat")
    assert (dataset.sentences, dataset.missing, dataset.protocol) == (3, (), "best-of-captions")


def test_byte_order_mark_crlf_blank_lines_and_line_separators_change_nothing(tmp_path):
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    rows = [
        {"path": "a.mp4", "captions": ["smörgås \u2028 naïve"]},
        {"path": "b.mp4", "captions": ["犬"], "kind": "real"},
    ]
    plain = [json.dumps(row, ensure_ascii=False) for row in rows]
    expected = load_manifest(write(tmp_path / "m.jsonl", "\n".join(plain)))
    windows = "\ufeff" + "\r\n\r\n".join(plain) + "\r\n  \r\n"
    assert load_manifest(write(tmp_path / "m.jsonl", windows.encode())) == expected
    assert expected.clips[0].captions == ("smörgås naïve",)


def test_pieces_of_one_file_are_clips_of_their_own(tmp_path):
    touch(tmp_path / "a.mp4")
    row = {"path": "a.mp4", "captions": ["x"]}
    dataset = load_manifest(manifest(tmp_path, row, row | {"end_s": 2}, row | {"start_s": 2, "end_s": 4.5}))
    assert [(clip.start_s, clip.end_s) for clip in dataset.clips] == [(None, None), (None, 2.0), (2.0, 4.5)]
    assert len({clip.id for clip in dataset.clips}) == 3


def test_absent_files_are_listed_and_announced_never_dropped_in_silence(tmp_path, caplog):
    touch(tmp_path / "a.mp4")
    rows = [{"path": name, "captions": ["x"]} for name in ("a.mp4", "gone.mp4", "n" * 300 + ".mp4", ".")]
    with caplog.at_level(logging.WARNING):
        dataset = load_manifest(manifest(tmp_path, *rows))
    assert [clip.id for clip in dataset.clips] == ["a.mp4"]
    assert dataset.missing == ("gone.mp4", "n" * 300 + ".mp4", ".")
    assert "3 of 4 files missing" in caplog.text
    assert "3 video files missing" in dataset.summary()


def test_no_file_at_all_names_the_first_path_looked_for(tmp_path):
    path = manifest(tmp_path, {"path": "a.mp4", "captions": ["x"]}, {"path": "b.mp4", "captions": ["x"]})
    with pytest.raises(ManifestError, match=r"none of its 2 files exists .*a\.mp4"):
        load_manifest(path)


MALFORMED = {
    '{"path": "a.mp4", "captions": ["x"]': "not JSON",
    "path,captions": "not JSON",
    "[" * 100_000: "too deep",
    '["a.mp4"]': "not a JSON object",
    '{"captions": ["x"]}': "`path` must be",
    '{"path": 7, "captions": ["x"]}': "`path` must be",
    '{"path": "a\\u0000.mp4", "captions": ["x"]}': "`path` must be",
    '{"path": "a.mp4"}': "`captions` must be a list",
    '{"path": "a.mp4", "captions": []}': "`captions` must be a list",
    '{"path": "a.mp4", "captions": [null]}': "must be a list",
    '{"path": "a.mp4", "captions": ["x\\ud83d"]}': "surrogate",
    '{"path": "a.mp4", "captions": ["собака"]}': "Cyrillic",
    '{"path": "a.mp4", "captions": ["x"], "end_s": NaN}': "`end_s` must be a number",
    '{"path": "a.mp4", "captions": ["x"], "start_s": true}': "`start_s` must be a number",
    '{"path": "a.mp4", "captions": ["x"], "kind": 3}': "must be text",
    '{"path": "a.mp4", "captions": ["x"], "id": [1]}': "must be text",
    '{"path": "a.mp4", "captions": ["x"], "id": "good.mp4"}': "`id` is that of line 1",
}


@pytest.mark.parametrize(("line", "reason"), MALFORMED.items(), ids=list(MALFORMED.values()))
def test_a_malformed_line_is_left_out_and_named_by_its_number_and_reason(tmp_path, caplog, line, reason):
    touch(tmp_path / "good.mp4", tmp_path / "a.mp4")
    with caplog.at_level(logging.WARNING):
        dataset = load_manifest(manifest(tmp_path, {"path": "good.mp4", "captions": ["x"]}, "", line))
    assert [clip.id for clip in dataset.clips] == ["good.mp4"]
    (sentence,) = dataset.left_out
    assert sentence.startswith("line 3: ")
    assert reason in sentence
    assert sentence in caplog.text


def test_every_malformed_line_is_counted_in_one_message(tmp_path):
    with pytest.raises(ManifestError) as caught:
        load_manifest(manifest(tmp_path, *["{"] * 30))
    assert [f"line {n}:" in str(caught.value) for n in (1, 20, 21)] == [True, True, False]
    assert "30 left out" in str(caught.value)
    assert "and 10 more" in str(caught.value)


@pytest.mark.parametrize("again", ["a.mp4", "./a.mp4", "sub/../a.mp4"])
def test_rows_of_one_file_are_one_clip(tmp_path, again):
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    rows = [{"path": name, "captions": [text]} for name, text in (("a.mp4", "x"), ("b.mp4", "z"), (again, "y"))]
    dataset = load_manifest(manifest(tmp_path, *rows))
    assert [clip.captions for clip in dataset.clips] == [("x", "y"), ("z",)]
    assert dataset.left_out == ()


def test_a_table_is_a_manifest_whose_names_may_lack_their_ending_or_be_written_otherwise(tmp_path):
    touch(tmp_path / "video7.mkv", tmp_path / "sub" / unicodedata.normalize("NFD", "é.mp4"), tmp_path / "Ärea.MP4")
    touch(tmp_path / "x.mp4", tmp_path / "X.mp4")
    text = "key;video_id;sentence;start_s\nr1;video7;a dog, running;1.5\nr2;sub\\é.mp4;a cat;\n"
    text += "r3;äREA;a red wall;\nr4;x.MP4;which of the two;\n"
    dataset = load_manifest(write(tmp_path / "m.csv", text))
    first, second, third = dataset.clips
    assert (third.path.name, dataset.missing) == ("Ärea.MP4", ("x.MP4",))
    assert (first.path, first.captions, first.start_s) == (tmp_path / "video7.mkv", ("a dog, running",), 1.5)
    assert (second.path.is_file(), second.captions, second.start_s) == (True, ("a cat",), None)
    assert first.extra == {"key": "r1"}


@pytest.mark.parametrize("text", ["", "\n\r\n", "\ufeff"])
def test_an_empty_manifest_is_refused(tmp_path, text):
    with pytest.raises(ManifestError, match="holds no sentence"):
        load_manifest(write(tmp_path / "m.jsonl", text))


def test_a_manifest_that_is_not_there_or_a_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ManifestError, match=r"gone.jsonl cannot be read"):
        load_dataset(str(tmp_path / "gone.jsonl"), split="all")
    with pytest.raises(ManifestError, match="cannot be read"):
        load_manifest(tmp_path)


def test_a_split_takes_its_own_rows_and_their_missing_files_only(tmp_path):
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    rows = [("a.mp4", "train"), ("gone.mp4", "train"), ("b.mp4", "val")]
    path = manifest(tmp_path, *({"path": p, "captions": ["x"], "split": s} for p, s in rows))
    val = load_dataset(str(path), split="val")
    assert ([clip.id for clip in val.clips], val.missing, val.split) == (["b.mp4"], (), "val")
    assert len(load_dataset(str(path), split="all").clips) == 2
    with pytest.raises(ManifestError, match=r"0 rows are of split 'test' \(there are train, val\)"):
        load_dataset(str(path), split="test")


def test_rows_of_which_only_some_name_a_split_are_refused(tmp_path):
    rows = [{"path": "a", "captions": ["x"]}, {"path": "b", "captions": ["x"], "split": "test"}]
    with pytest.raises(ManifestError, match="either every row or none"):
        load_dataset(str(manifest(tmp_path, *rows)), split="test")


def test_a_manifest_with_benchmark_settings_is_a_contradiction(tmp_path):
    path = manifest(tmp_path, {"path": "a.mp4", "captions": ["x"]})
    with pytest.raises(ConfigError, match="has its own sentences"):
        load_dataset(str(path), split="all", annotations=tmp_path)


def test_the_files_of_a_manifest_without_splits_may_lie_in_another_folder_or_anywhere(tmp_path):
    touch(tmp_path / "videos" / "a.mp4")
    path = manifest(tmp_path / "lists", {"path": "a", "captions": ["x"]})
    named = manifest(tmp_path, {"path": str(tmp_path / "videos" / "a.mp4"), "captions": ["x"]})
    for dataset in (load_dataset(str(path), split="test", videos=tmp_path / "videos"), load_manifest(named)):
        assert [clip.path for clip in dataset.clips] == [tmp_path / "videos" / "a.mp4"]
        assert dataset.protocol == "one-caption"
    with pytest.raises(ManifestError, match="none of its 1 files exists"):
        load_dataset(str(path), split="test")


@needs_shared
@pytest.mark.parametrize(("name", "rows"), [("train", 2264), ("val", 177)])
def test_the_given_manifests_are_read_whole(name, rows):
    dataset = load_manifest(SHARED / name / "manifest.jsonl")
    assert (len(dataset.clips), dataset.missing) == (rows, ())  # rows as data/README.md states them


# --------------------------------------------------------------------------- held-out clips
def clips_of(*groups: str | None) -> list[Clip]:
    return [
        Clip(f"c{i:03}", Path(f"{i}.mp4"), ("x",), extra={} if group is None else {"group": group})
        for i, group in enumerate(groups)
    ]


@settings(deadline=None)
@given(st.lists(st.sampled_from([None, *"abcdef"]), min_size=8, max_size=30), st.integers(0, 5))
def test_a_group_stays_on_one_side_whatever_the_order_of_the_clips(groups, seed):
    clips = clips_of(*groups)
    try:
        training, held = split_by_group(clips, 0.4, seed=seed)
    except ConfigError:
        return  # every group is too large; the message has a test of its own
    assert sorted(clip.id for clip in (*training, *held)) == [clip.id for clip in clips]
    sides = [{clip.extra["group"] for clip in side if clip.extra} for side in (training, held)]
    assert not sides[0] & sides[1]
    shuffled = random.Random(seed).sample(clips, len(clips))
    assert set(split_by_group(shuffled, 0.4, seed=seed)[1]) == set(held)


def test_the_held_out_share_is_met_and_never_passed():
    clips = clips_of(*(f"film {i // 3}" for i in range(90)))
    training, held = split_by_group(clips, 0.1)
    assert (len(training), len(held)) == (81, 9)
    assert split_by_group(clips, 0.1, seed=1) != (training, held)


@pytest.mark.parametrize(("share", "reason"), [(0.0, "between 0 and 1"), (1.0, "between"), (0.2, "No group")])
def test_a_share_that_cannot_be_held_out_is_refused(share, reason):
    with pytest.raises(ConfigError, match=reason):
        split_by_group(clips_of(*["same"] * 10), share)
