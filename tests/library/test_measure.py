"""Recall of a library against its own searches, and files of captions, the odd ones too."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.engines import CAPTIONS
from vtr_demo.errors import LibraryError, ManifestError
from vtr_demo.library import measure as measure_module
from vtr_demo.library.engine import Engine
from vtr_demo.library.measure import right_answers
from vtr_demo.structures import TermWeights

MIXED = TermWeights(0.8, 1.2, 0.6, 0.0, 0.7)
pytestmark = pytest.mark.usefixtures("few_null_captions")


def test_clips_that_are_added_meanwhile_do_not_hinder_a_measurement(
    clips: list[Path], spec: str, tmp_path: Path
) -> None:
    counts: list[int] = []
    with closing(Engine.open(tmp_path / "library", spec)) as growing:
        growing.add(clips[:1], captions=CAPTIONS[:1])
        growing.add(clips[1:3], captions=CAPTIONS[2:], progress=lambda *_: counts.append(growing.measure().clips))
        counts.append(growing.measure().clips)
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 3)


@pytest.mark.parametrize("weights", [None, MIXED])
def test_recall_is_that_of_searching_for_every_caption(original: Engine, weights: TermWeights | None) -> None:
    holders: dict[str, set[str]] = {}
    for clip in original.clips():
        for text in clip.captions:
            holders.setdefault(text, set()).add(clip.clip_id)
    scores = {
        text: {hit.clip_id: hit.score for hit in original.search(text, k=10, weights=weights).hits} for text in holders
    }
    ranks = []
    for text, own in holders.items():
        best = max(scores[text][clip] for clip in own)
        ranks.append(1 + sum(scores[text][clip] > best for clip in scores[text] if clip not in own))
    found = original.measure(weights=weights)
    assert (found.texts, found.clips, found.captioned) == (4, 4, 3)
    assert found.text_to_video.queries == 4
    assert found.text_to_video.values["R@1"] == pytest.approx(100 * np.mean(np.array(ranks) == 1))
    assert found.text_to_video.values["MnR"] == pytest.approx(np.mean(ranks))
    back = []
    for clip in original.clips():
        own = [text for text in holders if clip.clip_id in holders[text]]
        if own:
            best = max(scores[text][clip.clip_id] for text in own)
            back.append(1 + sum(scores[text][clip.clip_id] > best for text in holders if text not in own))
    assert found.video_to_text.queries == 3
    assert found.video_to_text.values["MnR"] == pytest.approx(np.mean(back))
    for recall in (found.text_to_video, found.video_to_text):
        for name, (low, high) in recall.interval_95.items():
            assert low <= recall.values[name] <= high
    used = weights or original.default_weights
    assert set(found.ablations) == set(used.ablated())
    alone = original.measure(weights=used.ablated()["only entity"])
    assert found.ablations["only entity"][0] == alone.text_to_video.values["R@1"]
    assert found.query_ms > 0
    assert found.stored_bytes > found.vector_bytes > 0


def test_a_caption_of_two_clips_is_right_for_both_and_blank_ones_do_not_count() -> None:
    texts, positives = right_answers({"a": ["x", " "], "c": ["x ", "y"], "gone": ["z"]}, ["a", "b", "c"])
    assert texts == ["x", "y"]
    assert positives.tolist() == [[True, False, True], [False, False, True]]


def test_nothing_to_measure_with_is_said(original: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LibraryError, match="give a file of captions"):
        right_answers({"a": [" "]}, ["a"])
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(ManifestError, match="holds no sentence"):
        original.measure(tmp_path / "empty.jsonl")
    monkeypatch.setattr(measure_module, "MOST_CAPTIONS", 3)
    with pytest.raises(LibraryError, match="4 captions are too many"):
        original.measure()


LINES = """{"path": "clips/square.mp4", "captions": ["a square", "red"]}

{"path": "cuts.mp4", "captions": ["blue"]}"""
COLUMNS = "\ufeffcaption,clip,mood\na square,C:\\clips\\square.mp4,calm\nred,square.mp4,\nblue,cuts.mp4,loud\n"


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", LINES), ("a.csv", COLUMNS)])
def test_captions_are_read_by_the_names_of_the_clips(original: Engine, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    result = original.measure(tmp_path / name)
    assert (result.texts, result.captioned, result.left_out) == (3, 2, ())


def test_lines_that_fit_no_clip_are_named_and_the_others_measured(original: Engine, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("clip,caption\nsquare.mp4,a square\nlost.mp4,snow\ncuts.mp4,собака бежит\n", encoding="utf-8")
    result = original.measure(file)
    assert result.texts == 1
    assert [line.partition(":")[0] for line in result.left_out] == ["line 4", "line 3"]
    file.write_text("clip,caption\nlost.mp4,snow\n")
    with pytest.raises(LibraryError, match=r"No line of a.csv fits .* line 2: it names 'lost.mp4'"):
        original.measure(file)


def test_a_file_beyond_the_limits_is_refused(original: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.csv"
    file.write_text("clip,caption\nsquare.mp4,a square\nsquare.mp4,red\n")
    monkeypatch.setattr(measure_module, "MOST_CAPTIONS", 1)
    with pytest.raises(ManifestError, match="more than 1 rows"):
        original.measure(file)
    monkeypatch.setattr(measure_module, "MOST_BYTES", 20)
    with pytest.raises(ManifestError, match="larger than"):
        original.measure(file)
