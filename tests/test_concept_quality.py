"""What concepts are worth: laws of the measures, the playground's truth, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_runs import draw_sprites, eight_pairs
from vtr_demo import checkpoint, cli
from vtr_demo.allocations import Observed, drawn_items, observe
from vtr_demo.concept_quality import concept_quality, measures, stability, tabulate, use
from vtr_demo.config import VideoConfig
from vtr_demo.errors import BadConfig, BadManifest
from vtr_demo.partitions import (
    adjusted,
    best_purity,
    by_chance,
    contingency,
    entropy_share,
    interval,
    matched_share,
    matching,
    nmi,
    purity,
    shuffled,
)
from vtr_demo.playground import Actor, ClipSpec, captions, render, sample_spec
from vtr_demo.playground_grammar import Voice, sentence
from vtr_demo.playground_truth import actor_kinds, patch_actors, word_classes
from vtr_demo.text import parse

LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=60)


def table_of(pairs: list[tuple[int, int]]) -> np.ndarray:
    rows, columns = np.array(pairs).T
    return contingency(rows, columns, (5, 4))


def observed(patches: np.ndarray, words: np.ndarray, grid: tuple[int, int] = (2, 3)) -> Observed:
    return Observed(patches.reshape(-1, grid[0] * grid[1]), grid, (words,))


def random_clips(seed: int, concepts: int = 6, clips: int = 12) -> list[Observed]:
    rng = np.random.default_rng(seed)
    return [observed(rng.integers(0, concepts, 24), rng.integers(0, concepts, 9)) for _ in range(clips)]


# --------------------------------------------------------------------------- partitions
@settings(max_examples=40, deadline=None)
@given(LABELS, st.permutations(range(5)))
def test_measures_do_not_depend_on_the_names_of_concepts(pairs, order):
    table = table_of(pairs)
    renamed = table_of([(order[row], column) for row, column in pairs])
    for measure in (purity, nmi, best_purity):
        assert measure(renamed) == pytest.approx(measure(table), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(LABELS)
def test_purity_and_information_agree_with_loops_over_the_tokens(pairs):
    table, count = table_of(pairs), len(pairs)
    right = 0
    for concept in {row for row, _ in pairs}:
        classes = [column for row, column in pairs if row == concept]
        right += max(classes.count(c) for c in classes)
    assert purity(table) == pytest.approx(right / count)

    def entropy(values: list) -> float:
        shares = [values.count(v) / count for v in set(values)]
        return -sum(s * np.log(s) for s in shares)

    both = [entropy([p[side] for p in pairs]) for side in (0, 1)]
    shared = sum(both) - entropy(pairs)
    expected = 0.0 if min(both) < 1e-12 else 2 * shared / sum(both)
    assert nmi(table) == pytest.approx(expected, abs=1e-9)


def test_a_perfect_allocation_is_pure_and_one_that_says_nothing_is_chance():
    perfect = np.diag([30, 5, 12])
    rng = np.random.default_rng(0)
    assert (purity(perfect), nmi(perfect)) == pytest.approx((1.0, 1.0))
    one = np.array([[30, 5, 12], [0, 0, 0], [0, 0, 0]])
    assert nmi(one) == 0.0
    assert adjusted(purity(one), by_chance(one, [purity], rng)[0]) == pytest.approx(0.0, abs=1e-9)
    assert nmi(np.zeros((3, 2), int)) == purity(np.zeros((3, 2), int)) == 0.0


def test_shuffling_keeps_the_sums_and_random_concepts_are_at_chance():
    rng = np.random.default_rng(1)
    tables = rng.multinomial(60, np.full(20, 0.05), size=40).reshape(40, 5, 4)
    table = tables.sum(axis=0)
    drawn = shuffled(table.sum(axis=1), table.sum(axis=0), rng)
    assert (drawn.sum(axis=1) == table.sum(axis=1)).all()
    assert (drawn.sum(axis=0) == table.sum(axis=0)).all()
    found = measures(tables, rng)
    for name in ("purity", "nmi"):
        assert abs(found[name]["adjusted"]) < 0.02
        low, high = found[name]["interval_95"]
        assert low <= found[name]["found"] <= high


def test_few_concepts_cannot_be_pure_and_the_best_is_said():
    table = np.array([[10, 0, 4], [0, 6, 0]])
    assert best_purity(table) == pytest.approx(16 / 20)
    assert purity(table) <= best_purity(table)


def test_the_interval_is_over_clips_not_tokens():
    """Each clip is all right or all wrong: the interval is wide, however many tokens a clip has."""
    right, wrong = np.array([[900, 0], [0, 900]]), np.array([[0, 900], [900, 0]])
    tables = np.stack([right] * 8 + [wrong] * 4)
    low, high = interval(tables, purity, np.random.default_rng(0))
    assert high - low > 0.2


def test_the_matching_is_the_best_of_all_orders():
    import itertools

    rng = np.random.default_rng(3)
    table = rng.integers(0, 20, (4, 5))
    best = max(sum(table[i, p[i]] for i in range(4)) for p in itertools.permutations(range(5), 4))
    assert sum(table[pair] for pair in matching(table)) == best
    assert matched_share(table) == pytest.approx(best / table.sum())


@pytest.mark.parametrize(("counts", "share"), [([5, 5, 5, 5], 1.0), ([9, 0, 0, 0], 0.0), ([0, 0], 0.0)])
def test_entropy_is_one_for_even_use_and_zero_for_collapse(counts, share):
    assert entropy_share(np.array(counts)) == pytest.approx(share)


# --------------------------------------------------------------------------- use and stability
def test_a_concept_without_tokens_is_reported_empty_and_padding_counts_for_nothing():
    clip = observed(np.array([0, 0, 2, 2, 2, 2]), np.array([0, 3, -1]))
    found = use([clip], 4)
    assert found["patches"]["empty"] == [2, 4]
    assert found["words"]["empty"] == [2, 3]
    assert found["words"]["tokens"] == 2
    assert sum(found["patches"]["share"]) == pytest.approx(1.0)
    assert found["patches"]["share"][2] == pytest.approx(4 / 6)


def test_a_model_and_its_renamed_copy_agree_entirely():
    clips = random_clips(0)
    order = np.random.default_rng(5).permutation(6)
    names, renamed = [f"n{k}" for k in range(6)], [""] * 6
    for k, new in enumerate(order):
        renamed[new] = f"n{k}"
    copies = [observed(order[one.patches.ravel()], order[one.words[0]]) for one in clips]
    for others, called in ((clips, names), (copies, renamed)):
        found = stability(list(zip(clips, others, strict=True)), names, called, np.random.default_rng(0))
        assert found["agreement"] == found["adjusted"] == pytest.approx(1.0)
        assert (found["patches"], found["words"]) == pytest.approx((1.0, 1.0))
        assert all(row["name"] == row["other_name"] for row in found["concepts"])
        assert all(row["agreement"] == pytest.approx(1.0) for row in found["concepts"])


def test_unrelated_allocations_agree_by_chance_only():
    pairs = list(zip(random_clips(0, clips=60), random_clips(1, clips=60), strict=True))
    found = stability(pairs, list("abcdef"), list("ghijkl"), np.random.default_rng(0))
    assert found["by_chance"] > 1 / 6, "the best of all matchings is better than one"
    assert abs(found["adjusted"]) < 0.03


def test_a_collapse_is_no_stability():
    flat = [observed(np.zeros(6, int), np.zeros(4, int))]
    found = stability(list(zip(flat, flat, strict=True)), list("abc"), list("abc"), np.random.default_rng(0))
    assert (found["agreement"], found["adjusted"]) == (1.0, 0.0)


def test_other_patches_cannot_be_compared():
    one, two = observed(np.zeros(6, int), np.zeros(4, int)), observed(np.zeros(12, int), np.zeros(4, int))
    with pytest.raises(BadConfig, match="same"):
        stability([(one, two)], ["a"], ["a"], np.random.default_rng(0))


def test_tables_are_by_clip_and_name_only_classes_that_occur():
    owners = [np.array([0, 1, -1]), np.array([1, 1])]
    tables, classes = tabulate(owners, [np.array(["b", "a", "a"]), np.array(["a", "c"])], 2)
    assert classes == ["a", "b", "c"]
    assert tables.tolist() == [[[0, 1, 0], [1, 0, 0]], [[0, 0, 0], [1, 0, 1]]]


# --------------------------------------------------------------------------- the playground's truth
@pytest.fixture(scope="module")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_sprites(tmp_path_factory.mktemp("sprites"))


def test_patches_belong_to_what_differs_from_the_same_clip_without_it(sprites):
    """A thing's patches are those whose pixels change most when the thing is not drawn."""
    spec = ClipSpec("meadow", (Actor("apple", "stay", x=-0.2), Actor("car", "stay", x=0.25)))
    actors = patch_actors(spec, [1.0], size=180, grid=(9, 9), sprites=sprites)[0]
    assert set(actors) == {0, 1, 2}
    assert actor_kinds(spec) == ("meadow", "food", "vehicle")
    shown = render(spec, [1.0], size=180, sprites=sprites)[0].astype(float)
    for number, other in ((1, spec.actors[1]), (2, spec.actors[0])):
        without = render(replace(spec, actors=(other,)), [1.0], size=180, sprites=sprites)[0]
        change = np.abs(shown - without).max(axis=2).reshape(9, 20, 9, 20).mean(axis=(1, 3)).ravel()
        assert change[actors == number].min() > change[actors != number].mean()
        assert change[actors == 3 - number].max() < 5


def test_a_thing_in_front_hides_one_behind_and_a_faded_one_is_gone(sprites):
    near, far = Actor("car", "stay", depth=0.9, size=0.4), Actor("apple", "stay", depth=0.1, size=0.1)
    hidden = patch_actors(ClipSpec("beach", (far, near)), [1.0], size=90, grid=(9, 9), sprites=sprites)
    assert 2 in hidden
    fading = ClipSpec("beach", (Actor("car", "fade"),), duration_s=4.0)
    first, last = patch_actors(fading, [0.0, 3.99], size=90, grid=(9, 9), sprites=sprites)
    assert (first == 1).any()
    assert not (last == 1).any()


def test_every_split_gives_patches_for_any_grid(sprites):
    rng = np.random.default_rng(0)
    for _ in range(10):
        spec = sample_spec(rng, split="probe")
        found = patch_actors(spec, [0.5, 2.0], size=70, grid=(4, 3), sprites=sprites)
        assert found.shape == (2, 12)
        assert found.max() <= len(spec.actors)


def test_words_are_for_what_the_grammar_says():
    spec = ClipSpec("snow", (Actor("penguin", "waddle"),))
    said = parse(sentence(spec, Voice(pattern=0, heading=True, camera=False)))
    assert said.text == "A penguin waddles to the left in the snow".replace("left", "right")
    assert word_classes(spec, said) == (
        "other", "bird", "motion", "motion", "other", "motion", "other", "other", "scene",
    )  # fmt: skip


def test_relations_are_told_from_places_and_cameras_from_things():
    spec = ClipSpec("beach", (Actor("dog", "stay"), Actor("box", "stay")), relation="on", camera="zoom in")
    said = parse("A dog is on a box on the beach as the camera zooms in")
    found = word_classes(spec, said)
    assert [w.text for w, c in zip(said.words, found, strict=True) if c == "relation"] == ["on"]
    assert found[3] == "relation"
    assert [w.text for w, c in zip(said.words, found, strict=True) if c == "camera"] == ["camera", "zooms"]
    assert {"animal", "object", "scene"} <= set(found)


def test_every_drawn_sentence_names_its_things_and_its_scene():
    rng = np.random.default_rng(2)
    for _ in range(40):
        spec = sample_spec(rng, split="probe")
        kinds = set(actor_kinds(spec)[1:])
        for text in captions(spec, rng, 2):
            found = word_classes(spec, parse(text))
            assert kinds <= set(found), text
            assert "scene" in found, text


# --------------------------------------------------------------------------- models and the command
@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eight_pairs(tmp_path_factory.mktemp("samples")).parent


def test_several_models_see_the_same_clips(sprites):
    one = checkpoint.load("tiny")
    (spec, item), (again, _) = drawn_items(1, 3, sprites)[0], drawn_items(1, 3, sprites)[0]
    assert spec == again
    first, second = observe([one, checkpoint.load("tiny")], item)
    assert (first.patches == second.patches).all()
    assert first.patches.shape == (one.video.clip_frames, first.grid[0] * first.grid[1])
    assert [len(words) for words in first.words] == [len(s.words) for s in item.sentences]


def test_the_report_holds_use_purity_and_stability(samples, sprites):
    model = checkpoint.load("tiny")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        other = checkpoint.untrained("tiny", seed=4)
    told: list[str] = []
    found = concept_quality(
        model,
        samples=samples,
        clips=3,
        sprites=sprites,
        against=[model, other],
        progress=lambda _, line: told.append(line),
    )
    count = model.model.config.concepts
    assert json.loads(json.dumps(found)) == found
    assert told
    assert found["use"]["clips"] == 8
    assert found["names"] == [f"concept {k + 1}" for k in range(count)] == list(model.names)
    assert len(found["purity"]["concepts"]) == count
    same, different = found["stability"]
    assert same["adjusted"] == pytest.approx(1.0)
    assert different["adjusted"] < 1


def test_other_frame_counts_are_refused(samples, sprites):
    model = checkpoint.load("tiny")
    longer = replace(model, video=VideoConfig(clip_frames=model.video.clip_frames + 1))
    with pytest.raises(BadConfig, match="number of frames"):
        concept_quality(model, samples=samples, clips=1, sprites=sprites, against=[longer])


def test_a_folder_without_samples_is_named(tmp_path):
    with pytest.raises(BadManifest, match=r"manifest\.jsonl"):
        concept_quality(checkpoint.load("tiny"), samples=tmp_path, clips=1)


def test_the_command_prints_and_writes_the_report(samples, sprites, tmp_path, capsys):
    file = tmp_path / "deep" / "concepts.json"
    options = ["--samples", samples, "--sprites", sprites, "--clips", 2, "--against", "tiny", "--json", file]
    assert cli.main(["concepts", "--model", "tiny", *map(str, options)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(file.read_text())
    assert {"model", "names", "use", "purity", "stability"} <= printed.keys()
