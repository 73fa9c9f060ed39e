"""The five benchmarks: published annotation files, and the videos beside them."""

from __future__ import annotations

import functools
import json
import logging
import os
from pathlib import Path

import pytest

from tests.helpers.data_files import SHARED, json_read_once, needs_shared, touch, write
from tests.helpers.drawn import draw_clip
from tests.helpers.small_runs import small_config
from vtr_demo.data.benchmarks import SPLITS, Annotations, find_videos, read_annotations
from vtr_demo.data.dataset import UNCAPTIONED
from vtr_demo.data.manifest import load_dataset
from vtr_demo.errors import ConfigError, ManifestError
from vtr_demo.evaluation.evaluate import evaluate, open_test
from vtr_demo.evaluation.metrics import PROTOCOLS
from vtr_demo.model.checkpoint import load
from vtr_demo.training.setup import build_trainer


# --------------------------------------------------------------------------- drawn annotation files
def draw_msrvtt(folder: Path) -> None:
    def info(ids: list[int], split: str) -> list[dict]:
        return [{"video_id": f"video{i}", "split": split, "url": f"film{i // 2}"} for i in ids]

    def said(ids: list[int]) -> list[dict]:
        return [{"video_id": f"video{i}", "caption": f"c{i}{x}", "sen_id": 0} for x in "ab" for i in ids]

    videos = info([0, 1, 2], "train") + info([3], "validate")
    write(folder / "train_val_videodatainfo.json", {"videos": videos, "sentences": said([0, 1, 2, 3])})
    write(folder / "test_videodatainfo.json", {"videos": info([4, 5], "test"), "sentences": said([4, 5])})
    write(folder / "MSRVTT_train.9k.csv", "video_id\nvideo0\nvideo1\nvideo2\nvideo3\nvideo5\n")
    write(folder / "MSRVTT_train.7k.csv", "\ufeffvideo_id\r\nvideo0\r\nvideo1\r\nvideo2\r\nvideo3\r\n")
    table = 'key,vid_key,video_id,sentence\nret0,msr4,video4,"a man, singing"\n'
    write(folder / "MSRVTT_JSFUSION_test.csv", table)


@pytest.mark.parametrize(
    ("name", "split", "ids"),
    [
        ("msrvtt-9k", "train", "01235"),
        ("msrvtt-7k", "train", "0123"),
        ("msrvtt-full", "train", "012"),
        ("msrvtt-full", "val", "3"),
        ("msrvtt-full", "test", "45"),
    ],
)
def test_msrvtt_lists_decide_the_videos_and_the_json_the_sentences(tmp_path, name, split, ids):
    draw_msrvtt(tmp_path / "deep" / "down")
    read = read_annotations(name, split=split, annotations=tmp_path)
    assert {v.id: v.captions for v in read.videos} == {f"video{i}": (f"c{i}a", f"c{i}b") for i in ids}
    assert read.protocol == "best-of-captions"
    assert [video.extra["group"] for video in read.videos] == [f"film{int(i) // 2}" for i in ids]


def test_msrvtt_1k_a_has_the_one_sentence_of_its_csv(tmp_path):
    draw_msrvtt(tmp_path)
    for name in ("msrvtt-9k", "msrvtt-7k"):
        read = read_annotations(name, split="test", annotations=tmp_path)
        assert [(v.id, v.captions) for v in read.videos] == [("video4", ("a man, singing",))]
        assert read.protocol == "one-caption"


def test_msrvtt_joined_file_serves_where_the_official_pair_is_absent(tmp_path):
    draw_msrvtt(tmp_path)
    pair = [tmp_path / "train_val_videodatainfo.json", tmp_path / "test_videodatainfo.json"]
    expected = read_annotations("msrvtt-9k", split="train", annotations=tmp_path)
    parts = [json.loads(path.read_text()) for path in pair]
    joined = {key: parts[0][key] + parts[1][key] for key in ("videos", "sentences")}
    write(tmp_path / "MSRVTT_data.json", joined)
    for path in pair:
        path.unlink()
    assert read_annotations("msrvtt-9k", split="train", annotations=tmp_path) == expected


def test_msrvtt_9k_without_the_test_sentences_says_which_file_to_add(tmp_path):
    draw_msrvtt(tmp_path)
    (tmp_path / "test_videodatainfo.json").unlink()
    with pytest.raises(ManifestError, match=r"1 of 5 videos have no sentence .*video5.*test_videodatainfo.json"):
        read_annotations("msrvtt-9k", split="train", annotations=tmp_path)


def draw_msvd(folder: Path) -> None:
    write(folder / "train_list.txt", "aaaaaaaaaaa_1_2\r\naaaaaaaaaaa_3_4\r\nnobodysaid__1_2")
    write(folder / "val_list.txt", "ccccccccccc_1_2\n")
    write(folder / "test_list.txt", "ddddddddddd_1_2\neeeeeeeeeee_1_2\n")
    ids = ("aaaaaaaaaaa_1_2", "aaaaaaaaaaa_3_4", "ccccccccccc_1_2", "ddddddddddd_1_2", "eeeeeeeeeee_1_2")
    dump = [{"id": f"{id_}.avi", "caption": [f"Dump says {id_}.", "Two."]} for id_ in ids]
    write(folder / "train1450_mlds_training_label.json", dump)
    truth = {"0": {"video_id": "ddddddddddd_1_2", "caption": ["truth one", "truth two", "truth three"]}}
    write(folder / "test500_ground_truth.json", truth)


def test_msvd_dumps_mix_splits_and_the_lists_undo_it(tmp_path, caplog):
    draw_msvd(tmp_path)
    with caplog.at_level(logging.WARNING):
        train = read_annotations("msvd", split="train", annotations=tmp_path)
    assert [video.id for video in train.videos] == ["aaaaaaaaaaa_1_2", "aaaaaaaaaaa_3_4"]
    assert train.uncaptioned == ("nobodysaid__1_2",)
    assert "1 listed videos lack sentences" in caplog.text
    assert {video.extra["group"] for video in train.videos} == {"aaaaaaaaaaa"}  # one film


def test_msvd_takes_the_fullest_source_of_each_video(tmp_path):
    draw_msvd(tmp_path)
    first, second = read_annotations("msvd", split="test", annotations=tmp_path).videos
    assert first.captions == ("truth one", "truth two", "truth three")
    assert second.captions == ("Dump says eeeeeeeeeee_1_2.", "Two.")
    lines = "# a comment\n\nddddddddddd_1_2 a man cooks\nddddddddddd_1_2 someone  cooks\n"
    write(tmp_path / "AllVideoDescriptions.txt", lines)
    first, _ = read_annotations("msvd", split="test", annotations=tmp_path).videos
    assert first.captions == ("a man cooks", "someone cooks")


def draw_didemo(folder: Path, split: str = "test") -> None:
    def row(video: str, description: str, *times: tuple[int, int]) -> dict:
        return {"video": video, "description": description, "times": times, "num_segments": 6}

    rows = [
        row("1@N0_a.mov", "he leaves", (5, 5), (4, 4), (4, 5), (4, 5)),
        row("2@N0_b.", "a cat", (0, 0), (0, 1), (0, 0), (1, 1)),
        row("1@N0_a.mp4", "he waits", (1, 3), (1, 1), (1, 1), (0, 0)),
        row("1@N0_a.mov", "a man comes", (0, 0), (0, 0), (0, 0), (5, 5)),  # one annotator strays
    ]
    write(folder / f"{split}_data.json", rows)


def test_didemo_descriptions_of_one_video_form_a_paragraph_in_time_order(tmp_path):
    for split in SPLITS["didemo"]:
        draw_didemo(tmp_path, split)
        read = read_annotations("didemo", split=split, annotations=tmp_path)
        paragraphs = {video.id: video.captions for video in read.videos}
        assert paragraphs == {"1@N0_a": ("a man comes he waits he leaves",), "2@N0_b": ("a cat",)}
        assert read.protocol == "paragraph-by-time"
    assert {video.end_s for video in read.videos} == {30.0}


def draw_activitynet(folder: Path) -> None:
    late_first = {"duration": 9, "timestamps": [[5, 9], [0, 4.5]], "sentences": [" He falls. ", "He runs."]}
    one = {"duration": 3, "timestamps": [[0, 3]], "sentences": ["A dog."]}
    write(folder / "val_1.json", {"v_late": late_first, "v_one": one})
    write(folder / "val_2.json", {"v_one": one})
    write(folder / "train_modified.json", {"v_train": one})


def test_activitynet_paragraphs_join_the_sentences_and_val_1_is_the_test(tmp_path):
    draw_activitynet(tmp_path)
    test = read_annotations("activitynet", split="test", annotations=tmp_path)
    assert {v.id: v.captions for v in test.videos} == {"v_late": ("He falls. He runs.",), "v_one": ("A dog.",)}
    assert read_annotations("activitynet", split="val_1", annotations=tmp_path).videos == test.videos
    assert [v.id for v in read_annotations("activitynet", split="train", annotations=tmp_path).videos] == ["v_train"]


def draw_vatex(folder: Path) -> None:
    def row(id_: str) -> dict:
        return {"videoID": id_, "enCap": [f"{id_} {i}" for i in range(10)], "chCap": ["一个人"] * 10}

    write(folder / "vatex_training_v1.0.json", [row("Ptf_2VRj-V0_000122_000132"), row("unlisted_000001_000011")])
    write(folder / "vatex_validation_v1.0.json", [row("G9zN5TTuGO4_000179_000189"), row("sf2PPeXQrUA_000000_000010")])
    write(folder / "train_list.txt", "Ptf_2VRj-V0_000122_000132\nabsent_____00000_000010\n")
    write(folder / "val_list.txt", "sf2PPeXQrUA_000000_000010\n")
    write(folder / "test_list.txt", "G9zN5TTuGO4_000179_000189\n")
    write(folder / "test1k5_sec_list.txt", "sf2PPeXQrUA_000000_000010\n")


def test_vatex_lists_halve_the_validation_file_and_english_is_read(tmp_path):
    draw_vatex(tmp_path)
    expected = {
        "train": ["Ptf_2VRj-V0_000122_000132"],
        "val": ["sf2PPeXQrUA_000000_000010"],
        "test": ["G9zN5TTuGO4_000179_000189"],
        "test1k5_sec": ["sf2PPeXQrUA_000000_000010"],
    }
    for split in SPLITS["vatex"]:
        read = read_annotations("vatex", split=split, annotations=tmp_path)
        assert [video.id for video in read.videos] == expected[split]
        assert read.videos[0].captions == tuple(f"{expected[split][0]} {i}" for i in range(10))
    assert read_annotations("vatex", split="train", annotations=tmp_path).uncaptioned == ("absent_____00000_000010",)


# --------------------------------------------------------------------------- the folder of annotations
def test_one_file_name_in_two_benchmarks_is_told_apart_by_the_folder(tmp_path):
    draw_msvd(tmp_path / "msvd")
    draw_vatex(tmp_path / "VATEX_lists")
    assert len(read_annotations("msvd", split="train", annotations=tmp_path).videos) == 2
    assert len(read_annotations("vatex", split="train", annotations=tmp_path).videos) == 1


def test_two_different_files_of_one_name_are_refused_but_copies_are_not(tmp_path):
    draw_activitynet(tmp_path / "one")
    draw_activitynet(tmp_path / "two")
    assert len(read_annotations("activitynet", split="test", annotations=tmp_path).videos) == 2
    write(tmp_path / "two" / "val_1.json", {})
    with pytest.raises(ManifestError, match=r"Different files named val_1.json lie in .*one and .*two"):
        read_annotations("activitynet", split="test", annotations=tmp_path)


def test_lists_of_one_benchmark_with_captions_of_another_are_refused(tmp_path):
    draw_msvd(tmp_path)
    draw_vatex(tmp_path)  # overwrites the lists
    with pytest.raises(ManifestError, match="none of the 2 listed videos has a sentence"):
        read_annotations("msvd", split="train", annotations=tmp_path)


@pytest.mark.parametrize(
    ("name", "split", "file"),
    [
        ("msrvtt-9k", "train", "train_val_videodatainfo.json"),
        ("msrvtt-9k", "test", "MSRVTT_JSFUSION_test.csv"),
        ("msvd", "val", "AllVideoDescriptions.txt or test500_ground_truth.json"),
        ("didemo", "train", "train_data.json"),
        ("activitynet", "test", "val_1.json"),
        ("vatex", "test", "test_list.txt"),
    ],
)
def test_an_absent_annotation_file_is_named(tmp_path, name, split, file):
    with pytest.raises(ManifestError, match=f"needs .*{file}.*below {tmp_path}.*put it there"):
        read_annotations(name, split=split, annotations=tmp_path)


TRAIN_9K = ("msrvtt-9k", "train", "MSRVTT_train.9k.csv")
TEST_1K = ("msrvtt-9k", "test", "MSRVTT_JSFUSION_test.csv")
FULL = ("msrvtt-full", "val", "test_videodatainfo.json")
MSVD_LIST = ("msvd", "train", "train_list.txt")
MSVD_TRUTH = ("msvd", "test", "test500_ground_truth.json")
DIDEMO = ("didemo", "test", "test_data.json")
VAL_1 = ("activitynet", "test", "val_1.json")
VATEX = ("vatex", "test", "vatex_training_v1.0.json")
SENTENCE = {"video": "a.mp4", "description": "x"}
BROKEN = [
    (TRAIN_9K, "id\nvideo0\n", r"header has \['id'\], not the column 'video_id'"),
    (TRAIN_9K, "", "header has .*not the column 'video_id'"),
    (TRAIN_9K, "video_id\nvideo0\nvideo0\n", "lists video0 twice"),
    (TEST_1K, "video_id,sentence\nvideo4\n", "line 2: a value of .* missing"),
    (TEST_1K, 'video_id,sentence\nvideo4,"a', "near line 1: unexpected end of data"),
    (TEST_1K, b"video_id,sentence\nv,caf\xe9\n", "not UTF-8"),
    (FULL, "{", "not readable as JSON"),
    (FULL, "[" * 100_000, "not readable as JSON"),
    (FULL, [], r"expected a dict, found '\[\]'"),
    (FULL, {"videos": []}, "'sentences' is missing"),
    (FULL, {"videos": [], "sentences": [7]}, "'caption' is missing"),
    (MSVD_LIST, "aaaaaaaaaaa_1_2\naaaaaaaaaaa_1_2", "lists aaaaaaaaaaa_1_2 twice"),
    (MSVD_LIST, "\n", "none of the 0 listed videos"),
    (MSVD_TRUTH, {"0": {"video_id": "x", "caption": "one"}}, "'caption': expected a list"),
    (MSVD_TRUTH, {"0": {"video_id": "x", "caption": [3]}}, "record 0: expected a str"),
    (DIDEMO, [SENTENCE | {"times": []}], "record 0: there are no times"),
    (DIDEMO, [SENTENCE | {"times": [[1]]}], r"must be \[start, end\]"),
    (DIDEMO, [SENTENCE | {"times": [[1, "2"]]}], r"must be \[start, end\]"),
    (DIDEMO, [], "none of the 0 listed videos"),
    (VAL_1, {"v_a": {"timestamps": [[0, 1]]}}, "'sentences' is missing"),
    (VATEX, [{"videoID": "a"}], "record 0: 'enCap' is missing"),
]


@pytest.mark.parametrize(("where", "content", "reason"), BROKEN)
def test_a_broken_annotation_file_is_named_with_its_fault(tmp_path, where, content, reason):
    name, split, file = where
    DRAW[name](tmp_path)
    write(tmp_path / file, content)
    with pytest.raises(ManifestError, match=reason) as caught:
        read_annotations(name, split=split, annotations=tmp_path)
    assert file in str(caught.value) or "listed videos" in str(caught.value)


DRAW = {
    **dict.fromkeys(("msrvtt-9k", "msrvtt-7k", "msrvtt-full"), draw_msrvtt),
    "msvd": draw_msvd,
    "didemo": draw_didemo,
    "activitynet": draw_activitynet,
    "vatex": draw_vatex,
}


def test_unknown_names_and_splits_are_refused_with_those_that_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown dataset 'msrvt'.*msrvtt-9k"):
        load_dataset("msrvt", split="test", annotations=tmp_path, videos=tmp_path)
    with pytest.raises(ConfigError, match="msrvtt-9k has no split 'val'; it has train, test"):
        read_annotations("msrvtt-9k", split="val", annotations=tmp_path)
    with pytest.raises(ConfigError, match="needs two folders"):
        load_dataset("msvd", split="val", annotations=tmp_path)
    with pytest.raises(ManifestError, match=r"folder of annotations .*gone does not exist"):
        read_annotations("msvd", split="val", annotations=tmp_path / "gone")


# --------------------------------------------------------------------------- the published files
COUNTS = {
    # name, split: videos, sentences, listed videos for which the dumps at hand hold no sentence
    ("msrvtt-9k", "train"): (9000, 180_000, 0),
    ("msrvtt-7k", "train"): (7010, 140_200, 0),
    ("msrvtt-9k", "test"): (1000, 1000, 0),
    ("msrvtt-full", "train"): (6513, 6513 * 20, 0),
    ("msrvtt-full", "val"): (497, 497 * 20, 0),
    ("msrvtt-full", "test"): (2990, 2990 * 20, 0),
    ("msvd", "train"): (882, 14_651, 1200 - 882),
    ("msvd", "val"): (70, 1185, 100 - 70),
    ("msvd", "test"): (634, 22_983, 670 - 634),
    ("didemo", "val"): (1065, 1065, 0),
    ("didemo", "test"): (1004, 1004, 0),
    ("activitynet", "train"): (10_009, 10_009, 0),
    ("activitynet", "test"): (4917, 4917, 0),
    ("activitynet", "val_2"): (4885, 4885, 0),
}
"""From the benchmarks' papers, but for MSVD: its dumps are partial and were counted apart from this code."""


@functools.cache
def published(name: str, split: str) -> Annotations:
    with json_read_once():
        return read_annotations(name, split=split, annotations=SHARED / "annotations")


@needs_shared
@pytest.mark.parametrize(("key", "counts"), COUNTS.items(), ids=["-".join(key) for key in COUNTS])
def test_published_files_give_the_published_counts(key, counts):
    read = published(*key)
    sentences = sum(len(video.captions) for video in read.videos)
    assert (len(read.videos), sentences, len(read.uncaptioned)) == counts
    assert len({video.id for video in read.videos}) == len(read.videos)


@needs_shared
def test_no_published_video_is_on_two_sides():
    def ids(name: str, split: str) -> set[str]:
        read = published(name, split)
        return {video.id for video in read.videos} | set(read.uncaptioned)

    assert not ids("msrvtt-9k", "train") & ids("msrvtt-9k", "test")
    assert not ids("activitynet", "train") & ids("activitynet", "test")
    assert ids("activitynet", "val_2") <= ids("activitynet", "test")  # no validation set of its own
    train, val, test = (ids("msvd", split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test), len(train | val | test)) == (1200, 100, 670, 1970)


@needs_shared
def test_published_vatex_lists_are_read_with_drawn_sentences(tmp_path):
    for file in (SHARED / "annotations" / "vatex_lists").iterdir():
        write(tmp_path / file.name, file.read_bytes())
    for split, count in {"train": 25_991, "val": 1500, "test": 1500, "test1k5_sec": 1500}.items():
        ids = (tmp_path / f"{split}_list.txt").read_text().split()
        write(tmp_path / "vatex_training_v1.0.json", [{"videoID": i, "enCap": ["x"]} for i in ids])
        read = read_annotations("vatex", split=split, annotations=tmp_path)
        assert (len(read.videos), read.uncaptioned) == (count, ())
        assert {len(video.file_names) for video in read.videos} == {2}


# --------------------------------------------------------------------------- videos of a benchmark
FOUND_AS = {
    "msrvtt-full": "TestVideo/video4.mp4",
    "msvd": "YouTubeClips/ddddddddddd_1_2.avi",
    "didemo": "a/1@N0_a.mov.mp4",
    "activitynet": "late.webm",
    "vatex": "G9zN5TTuGO4_179_189.MKV",
}


@pytest.mark.parametrize("name", FOUND_AS)
def test_each_benchmark_finds_one_file_and_lists_the_rest_as_missing(tmp_path, name):
    DRAW[name](tmp_path / "annotations")
    touch(tmp_path / "videos" / FOUND_AS[name], tmp_path / "videos" / "other.mp4")
    dataset = load_dataset(name, split="test", annotations=tmp_path / "annotations", videos=tmp_path / "videos")
    read = read_annotations(name, split="test", annotations=tmp_path / "annotations")
    (clip,) = dataset.clips
    assert clip.path == tmp_path / "videos" / FOUND_AS[name]
    assert (clip.id, clip.captions) == (read.videos[0].id, read.videos[0].captions)
    assert dataset.missing == tuple(video.id for video in read.videos[1:])
    assert dataset.protocol == read.protocol
    assert clip.end_s == (30.0 if name == "didemo" else None)


def test_a_benchmark_goes_through_train_and_evaluate_and_what_is_missing_is_listed(tmp_path):
    draw_msvd(tmp_path / "annotations")
    places = {"annotations": str(tmp_path / "annotations"), "videos": str(tmp_path / "videos")}
    config = small_config(
        tmp_path, Path("msvd"), train=("msvd",), validation=("msvd",), batch=2, steps=2, evaluate_every=2, **places
    )
    (tmp_path / "videos").mkdir()
    with pytest.raises(ManifestError, match="msvd train: none of the 2 expected videos lies below"):
        build_trainer(config).run()
    assert not (tmp_path / "run").exists()
    for i, id_ in enumerate(("aaaaaaaaaaa_1_2", "aaaaaaaaaaa_3_4", "ddddddddddd_1_2")):
        draw_clip(tmp_path / "videos" / f"{id_}.mp4", frames=4, size=(64, 48), colours=[(80 * i, 90, 200)])
    best = load(str(build_trainer(config).run()))
    listed = (tmp_path / "run" / "missing.txt").read_text().splitlines()
    assert listed == [f"msvd train nobodysaid__1_2 {UNCAPTIONED}", "msvd test eeeeeeeeeee_1_2"]
    test = open_test("msvd", annotations=tmp_path / "annotations", videos=tmp_path / "videos")
    for protocol in PROTOCOLS:
        answer = evaluate(best, test, protocol=protocol)
        assert (answer["data"], answer["split"], answer["protocol"]) == ("msvd", "test", protocol)
        assert (answer["texts"], answer["videos"], answer["text_to_video"]["MnR"]) == (3, 1, 1)
        assert (answer["missing"], answer["missing_videos"]) == (["eeeeeeeeeee_1_2"], 1)
    train = open_test("msvd", split="train", annotations=tmp_path / "annotations", videos=tmp_path / "videos")
    assert evaluate(best, train)["uncaptioned"] == ["nobodysaid__1_2"]


def test_no_video_found_names_the_folder_and_the_number_expected(tmp_path):
    draw_msvd(tmp_path)
    (tmp_path / "videos").mkdir()
    with pytest.raises(ManifestError, match=r"none of the 2 expected videos lies below .*videos .*ddd_1_2.mp4"):
        load_dataset("msvd", split="test", annotations=tmp_path, videos=tmp_path / "videos")
    with pytest.raises(ManifestError, match=r"folder of videos .*gone does not exist"):
        load_dataset("msvd", split="test", annotations=tmp_path, videos=tmp_path / "gone")


PLACED = {  # files, and which of them are those of x, y and Y
    "x.mp4": {"x": "x.mp4"}, "X.MP4": {"x": "X.MP4"}, "x.AVI": {"x": "x.AVI"}, "x.": {"x": "x."}, "x": {"x": "x"},
    "x.m4v.mp4": {"x": "x.m4v.mp4"}, "sub/x.webm": {"x": "sub/x.webm"}, "sub/deep/x.mov": {"x": "sub/deep/x.mov"},
    "x.txt x.jpg x.mp4.part xx.mp4 .x.mp4 y.mp4/z.mp4": {},
    "y.mp4 Y.mp4": {"y": "y.mp4", "Y": "Y.mp4"}, "xY.mp4 Xy.mp4": {},
    "a/a.avi a/x.avi c/x.mp4 b/x.mp4 x.webm": {"x": "b/x.mp4"},
}  # fmt: skip


@pytest.mark.parametrize(("files", "found"), PLACED.items(), ids=PLACED)
def test_a_file_is_found_whatever_its_ending_case_or_depth_and_always_the_same(tmp_path, files, found):
    touch(*(tmp_path / name for name in files.split()))
    paths = find_videos(tmp_path, {"x": ("x",), "y": ("y",), "Y": ("Y",), "xy": ("xy",)})
    assert paths == {id_: tmp_path / name for id_, name in found.items()}


def test_links_are_followed_once_and_broken_ones_are_no_files(tmp_path):
    touch(tmp_path / "store" / "x.mp4")
    (tmp_path / "videos").mkdir()
    os.symlink(tmp_path / "store", tmp_path / "videos" / "link")
    os.symlink(tmp_path / "videos", tmp_path / "videos" / "loop")
    os.symlink(tmp_path / "gone.mp4", tmp_path / "videos" / "y.mp4")
    found = find_videos(tmp_path / "videos", {"x": ("x",), "y": ("y",)})
    assert found == {"x": tmp_path / "videos" / "link" / "x.mp4"}
