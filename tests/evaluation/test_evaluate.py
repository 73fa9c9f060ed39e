"""Measuring: the numbers are those of ten naive lines, also where captions are many, or shared."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.small_runs import eight_pairs
from tests.training.test_objective import batch as objective_batch
from tests.training.test_objective import model as objective_model
from vtr_demo.data.dataset import file_samples
from vtr_demo.data.manifest import load_dataset
from vtr_demo.data.short import contents, short_queries
from vtr_demo.errors import VtrError
from vtr_demo.evaluation import evaluate as evaluation
from vtr_demo.evaluation.evaluate import compare, concept_usage, encode_table, evaluate, token_cache
from vtr_demo.evaluation.metrics import usage_entropy
from vtr_demo.model.checkpoint import RetrievalModel, load
from vtr_demo.structures import LEVELS, TermWeights
from vtr_demo.text.parser import parse, parse_many
from vtr_demo.video.frames import read_frames

MIXED = TermWeights(0.8, 1.2, 0.6, 1.0, 0.7)
SHARED = "something moves"
CAPTIONS = {
    0: ["a red ball rolls", SHARED, "the ball is red", "a ball"],
    1: [SHARED, "the green frog jumps"],
    2: ["blue waves"],
    3: ["white snow falls", "white snow falls"],
    4: ["a black cat sleeps", SHARED],
}
TEXTS = [*dict.fromkeys(caption for row in CAPTIONS.values() for caption in row)]


@pytest.fixture(scope="module")
def pretrained(spec: str) -> RetrievalModel:
    return load(spec)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eight_pairs(tmp_path_factory.mktemp("data"), captions=CAPTIONS, count=5)


@pytest.fixture(scope="module")
def answer(pretrained: RetrievalModel, manifest: Path) -> dict[str, Any]:
    return evaluate(pretrained, str(manifest), weights=MIXED, with_ablations=True)


@torch.no_grad()
def naive(pretrained: RetrievalModel, manifest: Path) -> np.ndarray:
    """Scores (texts, clips), one pair at a time and unpadded."""
    columns = []
    for clip in CAPTIONS:
        frames = read_frames(manifest.with_name(f"{clip}.mp4"), 4, size=32, config=pretrained.video)
        tokens = pretrained.backbone.encode_frames(frames.pixels)
        read = [(parse(text), pretrained.backbone.encode_text([parse(text)])) for text in TEXTS]
        pairs = [pretrained.model.align(sentence, text, tokens, frames.seconds, MIXED) for sentence, text in read]
        columns.append([pair.all_terms().sum() for pair in pairs])
    return np.array(columns).T


def test_both_directions_equal_a_naive_count(
    pretrained: RetrievalModel, manifest: Path, answer: dict[str, Any]
) -> None:
    table = naive(pretrained, manifest)
    right = np.array([[text in captions for captions in CAPTIONS.values()] for text in TEXTS])
    rank = {"text_to_video": [], "video_to_text": []}
    for side, scores, positives in (("text_to_video", table, right), ("video_to_text", table.T, right.T)):
        for row, good in zip(scores, positives, strict=True):
            rank[side].append(1 + int((row[~good] > row[good].max()).sum()))
    for side, values in rank.items():
        for k in (1, 5, 10):
            assert answer[side][f"R@{k}"] == pytest.approx(100 * np.mean(np.array(values) <= k))
        assert answer[side]["MdR"] == pytest.approx(np.median(values))
        assert answer[side]["MnR"] == pytest.approx(np.mean(values))
        low, high = answer[side]["interval_95"]["R@1"]
        assert 0 <= low <= answer[side]["R@1"] <= high <= 100
    assert (answer["texts"], answer["videos"]) == right.shape
    assert (answer["model"], answer["weights"]["entity"]) == (pretrained.spec, 1.2)
    assert answer["cost"]["bytes_per_clip"] == 4 * (4 * 32 + 5 * 6)
    json.dumps(answer)


def test_recall_by_kind_equals_a_naive_count(
    pretrained: RetrievalModel, manifest: Path, answer: dict[str, Any]
) -> None:
    clips = [parse_many(sorted(set(texts))) for texts in CAPTIONS.values()]
    queries = dict.fromkeys(query for clip in clips for sentence in clip for query in short_queries(sentence))
    assert set(answer["by_kind"]) == {query.kind for query in queries}
    items = file_samples(load_dataset(str(manifest), split="test"), pretrained.video)
    videos = encode_table(pretrained, items, token_cache(pretrained, None)).videos.flat()
    for kind, measured in answer["by_kind"].items():
        hits = []
        for query in (query for query in queries if query.kind == kind):
            scores = (pretrained.encode_text([parse(query.text)]).flat(MIXED) @ videos.T)[0]
            right = [set(query.keys) <= contents(clip) for clip in clips]
            best = max(score for score, ok in zip(scores.tolist(), right, strict=True) if ok)
            hits.append(all(ok or score < best for score, ok in zip(scores.tolist(), right, strict=True)))
        assert measured["queries"] == len(hits)
        assert measured["R@1"] == pytest.approx(100 * np.mean(hits))


def test_ablations_name_each_term_alone_and_left_out(
    pretrained: RetrievalModel, manifest: Path, answer: dict[str, Any]
) -> None:
    rows = answer["ablations"]
    terms = ("global", "entity", "action", "relationship", "concepts")
    assert set(rows) == {f"{kind} {term}" for kind in ("only", "without") for term in terms}
    alone = evaluate(pretrained, str(manifest), weights=TermWeights(0, 1, 0, 0, 0))
    assert rows["only entity"]["text_to_video R@1"] == alone["text_to_video"]["R@1"]
    left_out = evaluate(pretrained, str(manifest), weights=TermWeights(0.8, 1.2, 0.6, 1.0, 0.0))
    assert rows["without concepts"]["video_to_text R@1"] == left_out["video_to_text"]["R@1"]


def test_the_order_of_the_manifest_changes_no_number(
    pretrained: RetrievalModel, manifest: Path, answer: dict[str, Any]
) -> None:
    turned = manifest.with_name("turned.jsonl")
    turned.write_text("\n".join(reversed(manifest.read_text().splitlines())))
    pretrained.model.train()
    other = evaluate(pretrained, str(turned), weights=MIXED)
    assert pretrained.model.training, "measuring leaves its mode alone"
    pretrained.model.eval()
    for side in ("text_to_video", "video_to_text"):
        assert {k: v for k, v in other[side].items() if k != "interval_95"} == {
            k: v for k, v in answer[side].items() if k != "interval_95"
        }


def test_clips_that_cannot_be_read_are_counted_and_left_out(
    pretrained: RetrievalModel, manifest: Path, tmp_path: Path
) -> None:
    copy = eight_pairs(tmp_path, captions={i: CAPTIONS[i] for i in range(3)}, count=3)
    (tmp_path / "1.mp4").write_bytes(b"noise" * 400)
    found = evaluate(pretrained, str(copy))
    assert (found["videos"], found["missing_videos"], found["unreadable_clips"]) == (2, 1, 1)
    assert found["missing"] == found["unreadable"] == ["1.mp4"]
    (tmp_path / "0.mp4").unlink()
    (tmp_path / "1.mp4").write_bytes((tmp_path / "2.mp4").read_bytes())
    found = evaluate(pretrained, str(copy))
    assert (found["missing"], found["unreadable"], found["uncaptioned"]) == (["0.mp4"], [], [])
    copy.write_text("")
    for nothing in (copy, tmp_path / "none.jsonl"):
        with pytest.raises(VtrError):
            evaluate(pretrained, str(nothing))


def test_two_models_differ_by_their_metrics_and_the_other_way_round_with_the_other_sign(
    pretrained: RetrievalModel, manifest: Path
) -> None:
    other = load("tiny")
    apart, back = compare(pretrained, other, str(manifest)), compare(other, pretrained, str(manifest))
    sides = ("text_to_video", "video_to_text")
    assert any(apart[side]["MnR"]["difference"] for side in sides)
    for side in sides:
        for name, found in apart[side].items():
            assert found["interval_95"][0] <= found["difference"] <= found["interval_95"][1]
            assert back[side][name]["difference"] == -found["difference"]


# --------------------------------------------------------------------------- attributes
def naive_precision(scores: list[float], truth: list[bool]) -> float:
    """Sum over distinct thresholds of precision x gained recall, written as a loop."""
    total, before = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        taken = [t for s, t in zip(scores, truth, strict=True) if s >= threshold]
        total += sum(taken) / len(taken) * (sum(taken) - before) / sum(truth)
        before = sum(taken)
    return total


def test_precision_of_attributes_is_a_loops_over_the_frequent_fifth_and_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 4, (9, 7)).astype(float), rng.random((9, 7)) < 0.4
    truth[:, 5] = False  # no clip of the test set carries it
    training = np.arange(20)[:, None] < np.array([3, 9, 0, 5, 7, 2, 4])
    logits = torch.from_numpy(scores)
    model = SimpleNamespace(attributes=lambda levels: [logits, logits[:, :0], logits[:, [5]], logits[:, :1]])
    monkeypatch.setattr(
        evaluation, "label_matrix", lambda *_: dict(zip(LEVELS, map(torch.from_numpy, columns(truth)), strict=True))
    )
    table = SimpleNamespace(videos=SimpleNamespace(levels=None))
    found = evaluation.attribute_precision(model, table, [], None, [torch.from_numpy(t) for t in columns(training)])  # type: ignore[arg-type]
    each = [
        100 * naive_precision(scores[:, k].tolist(), truth[:, k].tolist()) if truth[:, k].any() else 0 for k in range(7)
    ]
    expected = {"global AP head": np.mean([each[1], each[4]]), "global AP tail": np.mean([each[k] for k in (0, 3, 6)])}
    assert found == pytest.approx(expected | {"relationship AP head": each[0]})


def columns(table: np.ndarray) -> list[np.ndarray]:
    return [table, table[:, :0], table[:, [5]], table[:, :1]]


# --------------------------------------------------------------------------- use of the concepts
def test_the_use_of_concepts_is_the_entropy_of_what_takes_the_tokens() -> None:
    model, data = objective_model().eval(), objective_batch()
    with torch.no_grad():
        found = concept_usage(model, data)
        videos = [model.forward_video(tokens).concepts for tokens in data.videos]
        sides = {"video": videos, "text": [model.forward_text(data.texts).concepts]}
    count = model.config.concepts
    names = ("usage {}", "usage {} hard", "certainty {}")
    assert set(found) == {name.format(side) for side in sides for name in names}
    for side, parts in sides.items():
        taken = [int(k) for part in parts for k in part.index().flatten() if k >= 0]
        assert found[f"usage {side} hard"] == pytest.approx(
            usage_entropy(np.bincount(taken, minlength=count)), abs=1e-5
        )
        largest = np.array([p for part in parts for p in part.soft.amax(1).flatten().tolist() if p > 0])
        assert found[f"certainty {side}"] == pytest.approx(largest.mean(), abs=1e-5)
        shares = sum(part.soft.sum((0, 2)) for part in parts)
        assert found[f"usage {side}"] == pytest.approx(usage_entropy(shares.numpy()), abs=1e-5)


def test_pieces_that_a_film_does_not_have_are_listed_and_the_others_measured(
    pretrained: RetrievalModel, manifest: Path
) -> None:
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    times = {"good": (0.0, 0.2), "to the end": (0.1, 99.0), "beyond": (50.0, 60.0), "reversed": (0.2, 0.1),
             "negative": (-1.0, 0.2), "empty": (0.1, 0.1)}  # fmt: skip
    pieces = [
        {"path": rows[0]["path"], "captions": [f"piece {name}"], "id": name, "start_s": start, "end_s": end}
        for name, (start, end) in times.items()
    ]
    with_pieces = manifest.with_name("pieces.jsonl")
    with_pieces.write_text("\n".join(map(json.dumps, [*pieces, *rows[1:]])) + "\n{broken")
    found = evaluate(pretrained, str(with_pieces))
    assert found["unreadable"] == ["beyond", "reversed", "negative", "empty"]
    assert (found["unreadable_clips"], found["videos"]) == (4, len(rows) - 1 + 2)
    (sentence,) = found["left_out"]
    assert sentence.startswith(f"line {len(pieces) + len(rows)}: not JSON")


def test_every_kind_of_picture_is_a_photo_or_unreadable(pretrained: RetrievalModel, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), (80 * i, 100, 200)) for i in range(3)]
    still = ("a.tiff", "b.jpg", "c.png", "d.webp", "e.bmp", "f.jfif")
    for name in still:
        frames[0].save(tmp_path / name, **({"format": "JPEG"} if name == "f.jfif" else {}))
    frames[0].save(tmp_path / "odd.pic", format="PNG")
    frames[0].save(tmp_path / "pages.tiff", save_all=True, append_images=frames[1:])
    for name in ("moving.webp", "moving.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=200)
    names = [*still, "pages.tiff", "moving.webp", "moving.png"]
    rows = [{"path": name, "captions": [f"a wall {name}"]} for name in names]
    rows.append({"path": "odd.pic", "captions": ["an odd wall"], "kind": "image"})
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = evaluate(pretrained, str(tmp_path / "m.jsonl"))
    assert found["unreadable"] == ["moving.webp", "moving.png"]
    assert found["videos"] == len(rows) - 2
