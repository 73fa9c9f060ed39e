"""Grounding: planted allocations give what they must, random ones chance; names of concepts do not matter."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tests.helpers.small_runs import eight_pairs
from vtr_demo import cli
from vtr_demo.evaluation.concepts import (
    Allocation,
    allocation_quality,
    caption_concepts,
    f1,
    grounding,
    name_scores,
    noun_shares,
    observe,
)
from vtr_demo.model import checkpoint
from vtr_demo.playground.captions import captions
from vtr_demo.playground.layout import sample_spec

MEASURES = ("commonest", "own", "other", "background")
K = 6


def drawn(seed: int, clips: int = 30, frames: int = 3, patches: int = 40) -> list[Allocation]:
    """Random probabilities over random labels of the scene and three things."""
    rng = np.random.default_rng(seed)
    return [
        Allocation(
            rng.dirichlet(np.ones(K), (frames, patches)),
            rng.dirichlet(np.ones(K), 12),
            rng.integers(0, 4, (frames, patches)),
            rng.integers(-1, 4, 12),
            rng.choice(["dog", "car", "tree", ""], 12),
            np.arange(4),
        )
        for _ in range(clips)
    ]


def planted(clips: list[Allocation]) -> list[Allocation]:
    """Allocations that follow the labels exactly; words that name nothing go to the last concept."""
    return [replace(clip, patches=np.eye(K)[clip.patch_labels], words=np.eye(K)[clip.word_labels]) for clip in clips]


def test_an_allocation_that_follows_the_truth_is_perfect():
    found = noun_shares(planted(drawn(0)))
    assert [found[name] for name in MEASURES] == [1, 1, 0, 0]
    assert found["interval_95"]["own"] == [1, 1]
    assert found["chance"]["own"] < 0.5
    scenes = noun_shares(planted(drawn(0)), scenes=True)
    assert [scenes[name] for name in MEASURES[:3]] == [1, 1, 0]
    assert "background" not in scenes


def test_shares_equal_a_loop_over_nouns():
    clips, sums = drawn(2, clips=4), {name: [] for name in MEASURES}
    for clip in clips:
        concept = clip.patches.argmax(-1)
        for word, label in zip(clip.words, clip.word_labels, strict=True):
            if label < 1:
                continue
            k, truth = int(word.argmax()), clip.patch_labels
            sums["own"].append((concept[truth == label] == k).mean())
            sums["other"].append((concept[(truth > 0) & (truth != label)] == k).mean())
            sums["background"].append((concept[truth == 0] == k).mean())
            counts = [int((concept[truth == label] == c).sum()) for c in range(K)]
            sums["commonest"].append((counts[k] == max(counts)) / counts.count(max(counts)))
    found = noun_shares(clips)
    assert found["nouns"] == len(sums["own"])
    for name, values in sums.items():
        assert found[name] == pytest.approx(np.mean(values))


def test_chance_is_what_permuted_nouns_give_on_average():
    clips, rng = planted(drawn(3, clips=8)), np.random.default_rng(0)
    expected = noun_shares(clips)["chance"]
    nouns = [clip.word_labels >= 1 for clip in clips]
    pool = np.concatenate([clip.words[mask] for clip, mask in zip(clips, nouns, strict=True)])
    rounds = []
    for _ in range(30):
        parts = np.split(rng.permutation(pool), np.cumsum([mask.sum() for mask in nouns])[:-1])
        moved = []
        for clip, mask, part in zip(clips, nouns, parts, strict=True):
            words = clip.words.copy()
            words[mask] = part
            moved.append(replace(clip, words=words))
        found = noun_shares(moved, resamples=1)
        rounds.append([found[name] for name in MEASURES])
    assert np.mean(rounds, axis=0) == pytest.approx([expected[name] for name in MEASURES], abs=0.03)


def test_the_numbers_of_the_concepts_do_not_matter():
    clips, order = drawn(4), np.random.default_rng(0).permutation(K)
    renamed = [replace(clip, patches=clip.patches[..., order], words=clip.words[..., order]) for clip in clips]
    one, other = noun_shares(clips), noun_shares(renamed)
    for name in MEASURES:
        assert (other[name], other["chance"][name]) == pytest.approx((one[name], one["chance"][name]))
    a, b = allocation_quality(clips), allocation_quality(renamed)
    assert all(b[name] == pytest.approx(a[name]) for name in ("certainty", "gumbel_agreement", "use_entropy"))


def test_what_is_not_there_is_none_and_hidden_things_do_not_count():
    alone = Allocation(
        np.eye(K)[[[1, 1, 0]]],
        np.eye(K)[[1, 2]],
        np.array([[1, 1, 0]]),
        np.array([1, 2]),
        np.array(["", ""]),
        np.arange(3),
    )
    found = noun_shares([alone, alone])
    assert found["nouns"] == 2, "thing 2 is hidden"
    assert found["other"] is found["chance"]["other"] is found["interval_95"]["other"] is None
    assert found["own"] == 1
    assert noun_shares([alone], scenes=True)["own"] is None
    json.dumps(found, allow_nan=False)


def test_things_of_one_kind_are_no_others_to_each_other():
    kinds = np.array([0, 1, 1, 2, -1])  # the last is of words that name nothing
    shared = [
        replace(
            clip, kinds=kinds, patches=np.eye(K)[kinds[clip.patch_labels]], words=np.eye(K)[kinds[clip.word_labels]]
        )
        for clip in drawn(6)
    ]
    assert noun_shares(shared)["other"] == 0
    assert noun_shares([replace(clip, kinds=np.arange(4)) for clip in shared])["other"] > 0


def test_certainty_and_coherence_at_their_ends():
    sure = allocation_quality(planted(drawn(5)))
    assert set(sure["certainty"].values()) == set(sure["gumbel_agreement"].values()) == {1.0}
    assert sure["coherence"]["share"] == 1
    assert sure["coherence"]["chance"] == pytest.approx(1 / 3, abs=0.05)
    flat = [
        replace(clip, patches=np.full_like(clip.patches, 1 / K), words=np.full_like(clip.words, 1 / K))
        for clip in drawn(5)
    ]
    found = allocation_quality(flat)
    for name in ("certainty", "gumbel_agreement"):
        assert found[name] == pytest.approx({"patches": 1 / K, "words": 1 / K})
    assert found["use_entropy"] == {"patches": 0, "words": 0}, "the arg-max takes the first"


def test_agreement_is_that_of_two_gumbel_draws():
    clip, rng = drawn(6, clips=1)[0], np.random.default_rng(0)
    logits = np.log(clip.words)
    one, two = ((logits + rng.gumbel(size=(4000, *logits.shape))).argmax(-1) for _ in range(2))
    assert allocation_quality([clip])["gumbel_agreement"]["words"] == pytest.approx((one == two).mean(), abs=0.01)


def test_a_name_that_tells_everything_scores_one_and_beats_the_other_names():
    clips = []
    for clip in drawn(7):
        held = np.array([{"dog": 0, "car": 1, "tree": 2, "": 3}[noun] for noun in clip.nouns])
        shown = [k for k in range(3) if k in held] or [3]
        patches = np.array(shown)[np.arange(clip.patch_labels.size) % len(shown)].reshape(clip.patch_labels.shape)
        clips.append(replace(clip, words=np.eye(K)[held], patches=np.eye(K)[patches]))
    found = name_scores(clips, ("dog", "car", "tree", "stone", "iron", "silk"))
    assert [row["words"] for row in found] == [1, 1, 1, 0, 0, 0]
    assert [row["clips"] for row in found[:3]] == [1, 1, 1]
    assert all(row["chance"]["words"] == 0 for row in found[:3])
    swapped = name_scores(clips, ("car", "dog", "tree", "stone", "iron", "silk"))
    assert [row["words"] for row in swapped[:3]] == [0, 0, 1]


def test_f1_equals_scikit_learns():
    rng = np.random.default_rng(0)
    one, two = rng.random((2, 50)) < 0.4
    assert f1(one, two) == pytest.approx(f1_score(two, one))
    assert f1(one & False, two & False) == 0


def test_nouns_of_captions_are_counted_against_the_other_clips(spec, tmp_path):
    trained = checkpoint.load(spec)
    found = caption_concepts(trained, str(eight_pairs(tmp_path)))
    assert found["clips"] == 8
    assert found["nouns"] > 8
    assert 0 <= found["own"] <= 1
    assert found["interval_95"][0] <= found["own"] - found["other"] <= found["interval_95"][1]


# --------------------------------------------------------------------------- drawn clips
def test_an_observed_clip_is_what_the_features_allocate(spec, sprites):
    trained, rng = checkpoint.load(spec), np.random.default_rng(0)
    clip = sample_spec(rng, split="probe")
    found = observe(trained, clip, captions(clip, rng), sprites)
    assert found.patches.shape[:2] == found.patch_labels.shape
    assert found.words.shape[:1] == found.word_labels.shape
    for soft in (found.patches, found.words):
        assert soft.sum(axis=-1) == pytest.approx(np.ones(soft.shape[:-1]), abs=1e-5)
    assert (found.word_labels > 0).any()
    assert (found.patch_labels > 0).any()


def test_the_report_follows_its_seed_and_the_command_prints_it(spec, sprites, tmp_path, capsys):
    found = grounding(checkpoint.load(spec), clips=3, seed=2, sprites=sprites)
    assert set(found["grounding"]) == set(found["scenes"]) == {"unseen_combinations", "unseen_things"}
    for part in found["grounding"].values():
        assert {*MEASURES, "chance", "interval_95", "nouns", "clips"} == set(part)
        assert 0 <= part["own"] <= 1
    for part in found["allocation"].values():
        assert all(1 / 5 <= value <= 1 for value in part["certainty"].values())
    file = tmp_path / "deep" / "result.json"
    options = ["--clips", "3", "--seed", "2", "--sprites", str(sprites), "--model", spec, "--json", str(file)]
    assert cli.main(["concepts", *options]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(file.read_text()) == json.loads(json.dumps(found))
