"""Faithfulness: what is taken away is gone, curves equal a naive loop's, a model agrees with itself."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.drawn import draw_clip
from tests.helpers.towers import clip
from vtr_demo import cli
from vtr_demo.errors import ManifestError, VideoError
from vtr_demo.evaluation.faithfulness import (
    OURS,
    RANDOM,
    UNITS,
    Pair,
    agreement,
    area,
    curves,
    deletion_masks,
    encode_pair,
    faithfulness,
    mean_and_interval,
    on_whole_tokens,
    paint_over,
    pair_curves,
    randomised,
    score_kept,
    summands,
)
from vtr_demo.model import checkpoint
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.model import VTRModel
from vtr_demo.structures import Alignment, CropBox, FrameBatch
from vtr_demo.text.parser import parse

torch.set_num_threads(1)
SENTENCE = "a red square slides over the green grass"


@pytest.fixture(scope="module")
def living(spec: str) -> RetrievalModel:
    return checkpoint.load(spec)


@pytest.fixture(scope="module")
def pair(living: RetrievalModel) -> Pair:
    return pair_of(living, SENTENCE)


def pair_of(living: RetrievalModel, text: str, frames: int = 5) -> Pair:
    pixels = clip(living.backbone, frames, seed=3)
    batch = FrameBatch(pixels, np.arange(frames) / 2.0, CropBox(0, 0, 32, 32, 32, 32), frames / 2.0)
    return encode_pair(living, parse(text), batch)


def align(model: VTRModel, pair: Pair) -> Alignment:
    return model.align(pair.sentence, pair.text, pair.video, pair.frames.seconds)


# --------------------------------------------------------------------------- taking away
def test_what_is_kept_scores_as_the_shorter_sentence_or_the_shorter_or_painted_clip(living, pair):
    rng, full = np.random.default_rng(0), align(living.model, pair).score
    for unit, count in (("words", len(pair.sentence.words)), ("frames", 5), ("patches", 5 * 12)):
        kept = np.concatenate([np.ones((1, count), bool), rng.random((2, count)) < 0.5])
        kept[:, 0] = True
        scores = score_kept(living, pair, unit, kept)
        assert scores[0] == pytest.approx(full, abs=1e-5)
        assert scores[1] != pytest.approx(full, abs=1e-4)
        for mask, score in zip(kept, scores, strict=True):
            sentence, frames = pair.sentence, pair.frames
            if unit == "words":
                sentence = parse(" ".join(word.text for word, stays in zip(sentence.words, mask, strict=True) if stays))
            elif unit == "frames":
                frames = frames.take(np.flatnonzero(mask))
            else:
                frames = replace(frames, pixels=paint_over(frames.pixels, mask, living.backbone.grid))
            assert score == pytest.approx(align(living.model, encode_pair(living, sentence, frames)).score, abs=1e-5)


def test_paint_covers_exactly_the_cells_that_go():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    kept = np.ones((2, 3, 4), dtype=bool)
    kept[1, 2, 0] = False  # the lower left cell, 4 rows by 3 columns
    painted = paint_over(pixels, kept.reshape(-1), (3, 4))
    assert (painted[1, 8:, :3] == pixels.mean((0, 1, 2)).round()).all()
    painted[1, 8:, :3] = pixels[1, 8:, :3]
    assert (painted == pixels).all()


def test_words_that_no_sentence_is_left_of_are_unknown_and_interpolated(living):
    pair = pair_of(living, "this cat дома")
    kept = np.array([[True, True, True], [False, False, True], [True, True, False]])
    scores = score_kept(living, pair, "words", kept)
    assert np.isnan(scores).tolist() == [False, True, False]
    found = pair_curves(living, pair, summands(align(living.model, pair)), 4, (0,))["words"]
    assert all(np.isfinite(row).all() for side in found.values() for row in side.values())

    def two_are_unknown(kept: np.ndarray) -> np.ndarray:
        return np.where(kept.sum(axis=1) == 2, np.nan, kept.sum(axis=1))

    values, rng = np.array([3.0, 2.0, 1.0]), np.random.default_rng(0)
    broken = curves(values, two_are_unknown, 3, 0, rng)
    assert broken["deletion"][OURS] == pytest.approx([3, 2, 1, 0])


# --------------------------------------------------------------------------- curves
@pytest.mark.parametrize("count", [1, 2, 17])
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("least", [0, 1])
def test_masks_shrink_from_all_to_the_last_in_order(count, steps, least):
    order = np.random.default_rng(count).permutation(count)
    sets = deletion_masks(order, steps, least)
    assert (len(sets), sets[0].all()) == (steps + 1, True)
    assert set(np.flatnonzero(sets[-1])) == set(order[count - least :])
    for left in sets:
        assert set(np.flatnonzero(~left)) == set(order[: count - int(left.sum())])


@pytest.mark.parametrize("unit", UNITS)
def test_curves_meet_the_full_score_and_each_other(living, pair, unit):
    found = pair_curves(living, pair, summands(align(living.model, pair)), 4, (0,))[unit]
    full = align(living.model, pair).score
    for name in (OURS, RANDOM):
        assert found["deletion"][name][0] == pytest.approx(full, abs=1e-6)
        assert found["insertion"][name][-1] == pytest.approx(full, abs=1e-6)
        if unit == "patches":  # nothing is left, nothing is there yet
            assert found["deletion"][name][-1] == pytest.approx(found["insertion"][name][0])


def test_insertion_is_what_a_naive_loop_gives(living, pair):
    given = summands(align(living.model, pair))
    found = pair_curves(living, pair, given, 4, (0,))["frames"]["insertion"][OURS]
    first = np.argsort(-given["frames"], kind="stable")
    naive = []
    for count in (1, 2, 3, 4, 5):  # 5 frames, one stays: 4 steps of one frame
        chosen = sorted(first[:count])
        shorter = encode_pair(living, pair.sentence, pair.frames.take(chosen))
        naive.append(align(living.model, shorter).score)
    assert found == pytest.approx(naive, abs=1e-5)


def test_of_an_additive_score_no_order_deletes_faster_or_inserts_sooner():
    values = np.array([0.5, -1.0, 3.0, 0.0, 2.0])

    def score(kept: np.ndarray) -> np.ndarray:
        return kept @ values

    found = curves(values, score, 5, 0, np.random.default_rng(0))
    others = [-np.array(order, dtype=float) for order in permutations(range(5))]
    every = [curves(other, score, 5, 0, np.random.default_rng(0)) for other in others]
    areas = {way: [area(row[way][OURS]) for row in every] for way in found}
    assert area(found["deletion"][OURS]) == pytest.approx(min(areas["deletion"]))
    assert area(found["insertion"][OURS]) == pytest.approx(max(areas["insertion"]))
    chance = area(found["deletion"][RANDOM])
    assert area(found["deletion"][OURS]) < chance < area(found["insertion"][OURS])
    taken = np.cumsum([0, 3.0, 2.0, 0.5, 0.0, -1.0])
    assert found["deletion"][OURS] == pytest.approx(values.sum() - taken)
    assert found["insertion"][OURS] == pytest.approx(taken)


# --------------------------------------------------------------------------- attributions
def test_summands_and_the_whole_tokens_add_up_to_the_score(living, pair):
    alignment = align(living.model, pair)
    parts, terms = summands(alignment), alignment.all_terms().sum(0)
    assert parts["frames"].sum() == pytest.approx(alignment.score, abs=1e-5)
    assert parts["words"].sum() + terms[0].sum() == pytest.approx(alignment.score, abs=1e-5)
    assert parts["patches"].sum() + terms[:, :, 0].sum() == pytest.approx(alignment.score, abs=1e-5)
    shares = on_whole_tokens(alignment)
    assert all(0 < share < 1 for share in shares.values())


# --------------------------------------------------------------------------- random weights
def test_a_model_agrees_with_itself_and_less_with_random_weights(living, pair):
    own = summands(align(living.model, pair))
    assert all(value == pytest.approx(1) for value in agreement(own, own).values())
    flipped = agreement(own, {name: -values for name, values in own.items()})
    assert (flipped["patches", "signed"], flipped["patches", "absolute"]) == pytest.approx((-1, 1))
    constant = agreement(own, {name: np.ones_like(values) for name, values in own.items()})
    assert np.isnan(constant["words", "signed"])
    other = agreement(own, summands(align(randomised(living.model, 0), pair)))
    assert all(abs(value) < 0.999 for value in other.values())


def test_randomised_weights_keep_mean_and_spread_and_leave_the_model_alone(living):
    before = {name: p.detach().clone() for name, p in living.model.named_parameters()}
    drawn = dict(randomised(living.model, 5).named_parameters())
    again = dict(randomised(living.model, 5).named_parameters())
    for name, parameter in living.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert torch.equal(drawn[name], again[name])
        assert not torch.equal(drawn[name], parameter), name
        if parameter.numel() > 500:
            spread = parameter.std().item()
            assert drawn[name].std().item() == pytest.approx(spread, rel=0.2)
            error = 5 * spread / parameter.numel() ** 0.5
            assert drawn[name].mean().item() == pytest.approx(parameter.mean().item(), abs=error)
    untrained = randomised(checkpoint.untrained("tiny").model, 0).named_parameters()
    assert all(p.std() > 0 for _, p in untrained if p.ndim > 1), "zero-initialised heads are drawn as well"


# --------------------------------------------------------------------------- the report
def test_intervals_cover_the_mean_and_say_what_is_unknown():
    values = np.array([0.2, -0.1, 0.4, 0.3, np.nan])
    found = mean_and_interval(values, 0)
    assert found["mean"] == pytest.approx(0.2)
    assert found["pairs"] == 4
    low, high = found["interval_95"]
    assert -0.1 <= low < 0.2 < high <= 0.4
    assert mean_and_interval(values, 0) == found
    assert mean_and_interval(np.full(5, 0.25), 0)["interval_95"] == pytest.approx([0.25, 0.25])
    assert mean_and_interval(np.array([0.5]), 0)["interval_95"] is None
    assert mean_and_interval(np.array([np.nan]), 0) == {"mean": None, "interval_95": None, "pairs": 0}


def manifest(folder: Path, *rows: dict[str, object]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "manifest.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two clips, one of a single frame, a photo, a broken file, and a clip of which too little is said."""
    folder = tmp_path_factory.mktemp("faithfulness")
    draw_clip(folder / "long.mp4", frames=9, size=(64, 48))
    draw_clip(folder / "one.mp4", frames=1, size=(64, 48))
    draw_clip(folder / "short.mp4", frames=5, size=(64, 48))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / "photo.png")
    (folder / "broken.mp4").write_bytes(b"no video" * 400)
    return manifest(
        folder,
        {"path": "long.mp4", "captions": ["blocks", "black and white blocks change places"], "kind": "real"},
        {"path": "one.mp4", "captions": ["a single picture of blocks"], "kind": "real"},
        {"path": "photo.png", "captions": ["coloured noise on a small picture"]},
        {"path": "broken.mp4", "captions": ["nobody can see this"]},
        {"path": "short.mp4", "captions": ["blocks"]},
    )


def test_the_report_counts_what_it_measured_and_repeats_itself(living, data, caplog):
    found = faithfulness(living, data, steps=2)
    assert (found["pairs"], found["unreadable_clips"], found["clips_without_a_long_sentence"]) == (3, 1, 1)
    assert "broken.mp4" in caplog.text
    assert [found["curves"][unit]["pairs"] for unit in UNITS] == [3, 2, 3], "a photo has no order of frames"
    assert found["unrelated_score"] != found["full_score"]
    for unit in UNITS:
        for direction in ("deletion", "insertion"):
            row = found["curves"][unit][direction]
            apart = row["ours"]["area"] - row["random"]["area"]
            assert row["ours_minus_random"]["mean"] == pytest.approx(apart, abs=1e-7)
            low, high = row["ours_minus_random"]["interval_95"]
            assert low <= apart + 1e-9
            assert apart <= high + 1e-9
            assert len(row["ours"]["curve"]) == 3
    alone = faithfulness(living, data, kind="real", limit=1, steps=1, seed=1)
    assert (alone["pairs"], alone["unrelated_score"]) == (1, None)
    for unit in ("words", "patches"):
        assert abs(found["random_weights"][unit]["signed"]["mean"]) < 1
    json.dumps(found, allow_nan=False)
    assert faithfulness(living, data, kind="real", limit=1, steps=1, seed=1) == alone


def test_what_cannot_be_measured_is_said_in_a_sentence(living, data, tmp_path):
    folder = Path(data).parent
    long, broken = ({"path": str(folder / name)} for name in ("long.mp4", "broken.mp4"))
    rows = (
        (long, ManifestError, "captions"),
        ({**long, "captions": ["blocks"]}, ManifestError, "at least 3 words"),
        ({**broken, "captions": ["one two three"]}, VideoError, "none of its clips"),
    )
    for row, error, message in rows:
        with pytest.raises(error, match=message):
            faithfulness(living, manifest(tmp_path, row))
    with pytest.raises(ManifestError, match="caption"):
        faithfulness(living, data, kind="nonsense")


def test_the_command_prints_and_writes_the_report(data, tmp_path, capsys):
    file = tmp_path / "deep" / "result.json"
    options = ["--data", data, "--limit", "2", "--steps", "1", "--json", str(file), "--model", "tiny"]
    assert cli.main(["faithfulness", *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(file.read_text())
    assert printed["model"] == "tiny"
    assert printed["steps"] == 1
    assert cli.main(["faithfulness", "--data", str(tmp_path / "none.jsonl"), "--model", "tiny"]) == 2
    assert "none.jsonl" in capsys.readouterr().err
