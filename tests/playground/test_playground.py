"""The playground: one spec, one clip; captions and labels tell the truth; pairs differ in one level only."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from vtr_demo.config import Split
from vtr_demo.errors import ConfigError
from vtr_demo.playground.captions import (
    PAIR_LEVELS,
    Phrasing,
    captions,
    hard_negatives,
    minimal_pair,
    noun_labels,
    sentence,
    truth,
)
from vtr_demo.playground.generate import MAX_BYTES, generate, render_samples
from vtr_demo.playground.layout import layout, sample_spec
from vtr_demo.playground.motion import Pose, poses
from vtr_demo.playground.render import frame_batch, patch_labels, render
from vtr_demo.playground.spec import MOTIONS, RELATIONS, SCENES, THINGS, Actor, ClipSpec, held_out
from vtr_demo.text.parser import parse

SPLITS = get_args(Split)
SAMPLES = Path(__file__).parents[2] / "sample_videos"
TRAIN_ONLY = {name for name, thing in THINGS.items() if thing.split == "train"}
RESERVED = {name for name, thing in THINGS.items() if thing.split == "unseen_sprites"}


@pytest.fixture(autouse=True)
def _use_stand_ins(sprites: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTR_SPRITES", sprites)


def some_specs(count: int = 60, seed: int = 0, **options: object) -> list[ClipSpec]:
    rng = np.random.default_rng(seed)
    return [sample_spec(rng, **options) for _ in range(count)]  # type: ignore[arg-type]


def one(motion: str = "roll", scene: str = "beach", **changes: object) -> ClipSpec:
    return replace(ClipSpec(scene, layout(["dog"], [motion], None, 5), seed=5), **changes)  # type: ignore[arg-type]


def digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


# --------------------------------------------------------------------------- vocabulary
def test_the_table_of_things_is_complete_and_names_each_once() -> None:
    assert (len(THINGS), len(TRAIN_ONLY), len(RESERVED)) == (656, 513, 18)
    assert {thing.split for thing in THINGS.values()} == {"", "train", "unseen_sprites"}
    assert [name for name, thing in THINGS.items() if thing.rim] == ["basket", "bucket", "bathtub"]
    assert all(0 < thing.size < 3 and thing.kind for thing in THINGS.values())
    nouns = [noun for thing in THINGS.values() for noun in thing.nouns]
    assert all(nouns)
    assert len(nouns) == len(set(nouns))
    assert len({thing.code for thing in THINGS.values()}) == len(THINGS)


def test_swaps_name_relations_and_lead_back() -> None:
    for name, relation in RELATIONS.items():
        assert set(relation.swaps) <= set(RELATIONS) - {name}
    for a, b in (("left of", "right of"), ("above", "below"), ("follow", "lead"), ("on", "under")):
        assert b in RELATIONS[a].swaps
        assert a in RELATIONS[b].swaps


# --------------------------------------------------------------------------- specs
def test_a_seed_gives_the_same_clips_and_sentences_as_before() -> None:
    """Training, probes and published results depend on them: a change of these digests changes those."""
    digests = {}
    for split in SPLITS:
        rng = np.random.default_rng(7)
        specs = [sample_spec(rng, split=split) for _ in range(40)]
        texts = [(captions(spec, rng), hard_negatives(spec, rng)[0]) for spec in specs]
        pairs = [minimal_pair(rng, level, split)[1::2] for level in PAIR_LEVELS]
        digests[split] = digest([json.dumps(asdict(spec)) for spec in specs]), digest((texts, pairs))
        assert [ClipSpec.from_dict(json.loads(json.dumps(asdict(spec)))) for spec in specs] == specs
    assert digests == {
        "train": ("97779fb7518aa35e", "f4b269c39717f42d"),
        "probe": ("bf30463ae9d25e1c", "ce5bf02c4ddca239"),
        "unseen_sprites": ("13dc37ac19c4cd63", "ced42e4472a98ec9"),
    }
    assert some_specs(5, seed=7) != some_specs(5, seed=8)


def test_no_split_shows_what_another_one_keeps_for_itself() -> None:
    shown = {}
    for split in SPLITS:
        specs = some_specs(150, split=split)
        shown[split] = {(a.sprite, a.motion, s.relation, s.scene) for s in specs for a in s.actors}
    assert not shown["train"] & shown["probe"]
    assert all(held_out(*each) for each in shown["probe"])
    assert not any(held_out(*each) for each in shown["train"])
    train, probe, unseen = ({sprite for sprite, *_ in shown[split]} for split in SPLITS)
    assert not (train | probe) & RESERVED
    assert not (probe | unseen) & TRAIN_ONLY
    assert len(train & TRAIN_ONLY) > len(TRAIN_ONLY) / 4
    assert {sprite for sprite, _, relation, _ in shown["unseen_sprites"] if relation != "in"} == RESERVED


def test_the_things_alone_do_not_give_the_roles_away() -> None:
    first = [THINGS[s.actors[0].sprite].size > THINGS[s.actors[1].sprite].size for s in some_specs(150, relation="on")]
    assert 0.25 < np.mean(first) < 0.75


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"scene": "kitchen"}, "kitchen"),
        ({"camera": "upside down"}, "upside down"),
        ({"relation": "left of"}, "left of"),
        ({"relation": "hates"}, "hates"),
        ({"actors": ()}, "one to three"),
        ({"actors": [{"sprite": "dog", "motion": "roll"}] * 2}, "dog"),
        ({"duration_s": 0.0}, "duration_s"),
        ({"duration_s": float("nan")}, "duration_s"),
        ({"seed": -1}, "seed"),
        ({"backdrop": 1.5}, "backdrop"),
        ({"actors": [{"sprite": "gnu", "motion": "roll"}]}, "gnu"),
        ({"actors": [{"sprite": "dog", "motion": "flows"}]}, "flows"),
        ({"actors": [{"sprite": "dog", "motion": "roll", "heading": 0}]}, "heading"),
        ({"actors": [{"sprite": "dog"}]}, "not a playground spec"),
        ({"size": 1}, "not a playground spec"),
    ],
)
def test_an_impossible_clip_is_refused_by_name(values: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        ClipSpec.from_dict(asdict(one()) | values)


def test_what_is_no_spec_is_refused() -> None:
    for row in ([], {}, None, "beach"):
        with pytest.raises(ConfigError, match="not a playground spec"):
            ClipSpec.from_dict(row)


# --------------------------------------------------------------------------- pixels
def test_the_same_spec_gives_the_same_pixels_one_by_one_or_together() -> None:
    spec = next(spec for spec in some_specs(40, seed=3) if len(spec.actors) == 3)
    together = render(spec, 3, size=64)
    assert together.shape == (3, 64, 64, 3)
    assert together.dtype == np.uint8
    alone = [render(spec, [spec.duration_s * (k + 0.5) / 3], size=64)[0] for k in range(3)]
    np.testing.assert_array_equal(together, alone)


def test_a_square_picture_is_the_centre_of_a_wide_one() -> None:
    spec = one("spin", "desert")
    wide, square = render(spec, 2, size=192, height=108), render(spec, 2, size=108)
    inside = wide[:, 20:80, 42 + 30 : 42 + 78].astype(int) - square[:, 20:80, 30:78]
    assert np.abs(inside).mean() < 12, "the actor stands elsewhere"
    assert np.abs(wide[:, 20:80, 42:150][:, :, ::-1].astype(int) - square[:, 20:80]).mean() > 12


@pytest.mark.parametrize("motion", [m for m in MOTIONS if m != "stay"])
def test_every_motion_is_seen_in_eight_frames(motion: str) -> None:
    moving = render(one(motion, "living room"), 8, size=72).astype(int)
    still = render(one("stay", "living room"), 8, size=72).astype(int)
    assert np.abs(np.diff(moving, axis=0)).mean() > 2 * np.abs(np.diff(still, axis=0)).mean() + 0.5


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_is_painted_and_varies(scene: str) -> None:
    first, other = (render(one("stay", scene, backdrop=b), [1.0], size=48)[0].astype(int) for b in (0, 1))
    assert first.std() > 10
    assert np.abs(first - other).mean() > 1


def test_actors_stay_inside_the_central_square() -> None:
    """At most a small part of a thing leaves the model's crop, at any time."""
    outside = []
    for spec in some_specs(150, seed=2):
        for second in np.linspace(0, spec.duration_s, 7):
            for pose in poses(spec, float(second), lambda _: (1.0, 1.0)):
                half = max(pose.width, 1e-6) / 2
                beyond = max(abs(pose.x) + half - 0.5, half - pose.y, 0.0)
                outside.append(beyond / (2 * half))
    assert np.mean(np.array(outside) > 0.35) < 0.01
    assert np.mean(outside) < 0.03


def place_of(spec: ClipSpec, second: float) -> list[Pose]:
    """The poses of the first two things."""
    pose = {pose.sprite: pose for pose in poses(spec, second, lambda _: (1.0, 1.0))}
    return [pose[actor.sprite] for actor in spec.actors[:2]]


@pytest.mark.parametrize(
    ("relation", "axis", "sign"), [("left of", "x", -1), ("right of", "x", 1), ("above", "y", -1), ("below", "y", 1)]
)
def test_left_is_left_and_above_is_above(relation: str, axis: str, sign: int) -> None:
    for spec in some_specs(20, relation=relation):
        first, second = (getattr(pose, axis) for pose in place_of(spec, 1.3))
        assert (first - second) * sign > 0.1, spec


@pytest.mark.parametrize(("relation", "sign"), [("follow", -1), ("lead", 1)])
def test_the_follower_stays_behind_in_the_way_they_go(relation: str, sign: int) -> None:
    for spec in some_specs(20, relation=relation):
        early, late = place_of(spec, 0.5), place_of(spec, 2.5)
        way = np.sign(late[0].x - early[0].x)
        assert all((first.x - second.x) * way * sign > 0.1 for first, second in (early, late))


@pytest.mark.parametrize(("motion", "sign"), [("approach", 1), ("leave", -1)])
def test_approaching_grows_nearer_and_leaving_does_the_reverse(motion: str, sign: int) -> None:
    early, late = (place_of(one(motion), second)[0] for second in (0.5, 3.5))
    assert (late.height - early.height) * sign > 0.1
    assert (late.ground - early.ground) * sign > 0.05


def test_missing_sprites_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ConfigError, match="npm pack @lobehub/fluent-emoji-3d"):
            render(one(), 1, sprites=folder)


def test_frame_batch_and_its_degraded_twin() -> None:
    spec = sample_spec(np.random.default_rng(1))
    plain, degraded = frame_batch(spec, 4, size=64), frame_batch(spec, 4, size=64, augment=True)
    assert plain.pixels.shape == degraded.pixels.shape == (4, 64, 64, 3)
    np.testing.assert_allclose(plain.seconds, (np.arange(4) + 0.5) * spec.duration_s / 4)
    difference = np.abs(plain.pixels.astype(int) - degraded.pixels).mean()
    assert 0.5 < difference < 45
    np.testing.assert_array_equal(degraded.pixels, frame_batch(spec, 4, size=64, augment=True).pixels)


# --------------------------------------------------------------------------- words
def names_actor(text: str, sprite: str) -> bool:
    return any(noun.lower() in text.lower() for noun in THINGS[sprite].nouns)


@pytest.mark.parametrize("split", SPLITS)
def test_captions_are_different_grammatical_and_name_every_actor(split: str) -> None:
    rng = np.random.default_rng(0)
    for spec in some_specs(50, seed=4, split=split):
        texts = captions(spec, rng, 4)
        assert len(texts) == len(set(texts)) == 4
        for text in texts:
            assert all(names_actor(text, actor.sprite) for actor in spec.actors), text
            assert text[0].isupper()
            assert not re.search(r"  | ,|[ .]$", text), text
            for word, following in re.findall(r"\b([Aa]n?) (\w+)", text):
                vowel = following[0].lower() in "aeiou" and not following.startswith(("UFO", "uni"))
                assert (word.lower() == "an") == vowel, text


def test_known_sentences() -> None:
    single = ClipSpec("beach", (Actor("dog", "roll", heading=-1),))
    assert sentence(single, Phrasing(0, place=1)) == "A dog rolls across the sand"
    assert sentence(single, Phrasing(3, heading=True)) == "On the beach, a dog is rolling to the left"
    pair = ClipSpec("snow", (Actor("cat", "hop"), Actor("bus", "slide")), "follow")
    assert sentence(pair, Phrasing(3)) == "A sliding bus is followed by a hopping cat in the snow"
    side = ClipSpec("snow", (Actor("cat", "spin"), Actor("owl", "swing")), "left of")
    assert sentence(side, Phrasing(0, verbs=(0, 1, 0))) == (
        "A cat spins to the left of an owl that is swinging back and forth in the snow"
    )


def test_truth_lists_what_the_spec_says() -> None:
    spec = ClipSpec("moon", (Actor("fox", "hop", heading=-1), Actor("car", "slide", heading=-1)), "follow")
    assert truth(spec) == {
        "scene": "moon",
        "entity": ["fox", "car"],
        "action": [["fox", "hop"], ["car", "slide"]],
        "relationship": [["fox", "follow", "car"]],
        "heading": [["fox", "left"], ["car", "left"]],
        "camera": "still",
    }


# --------------------------------------------------------------------------- labels of patches and nouns
def test_patches_belong_to_what_differs_from_the_same_clip_without_it():
    spec = ClipSpec("meadow", (Actor("apple", "stay", x=-0.2), Actor("car", "stay", x=0.25)))
    labels = patch_labels(spec, [1.0], grid=(9, 9))[0]
    assert set(labels) == {0, 1, 2}
    shown = render(spec, [1.0], size=180)[0].astype(float)
    for number, other in ((1, spec.actors[1]), (2, spec.actors[0])):
        without = render(replace(spec, actors=(other,)), [1.0], size=180)[0]
        change = np.abs(shown - without).max(axis=2).reshape(9, 20, 9, 20).mean(axis=(1, 3)).ravel()
        assert change[labels == number].min() > change[labels != number].mean()
        assert change[labels == 3 - number].max() < 5


def test_a_thing_in_front_hides_one_behind_and_a_faded_one_is_gone():
    near, far = Actor("car", "stay", depth=0.9, size=0.4), Actor("apple", "stay", depth=0.1, size=0.1)
    hidden = patch_labels(ClipSpec("beach", (far, near)), [1.0], grid=(9, 9))
    assert 2 in hidden
    fading = ClipSpec("beach", (Actor("car", "fade"),), duration_s=4.0)
    first, last = patch_labels(fading, [0.0, 3.99], grid=(9, 9))
    assert (first == 1).any()
    assert not (last == 1).any()


def test_nouns_are_those_of_things_and_of_the_scene():
    spec = ClipSpec("beach", (Actor("polar bear", "stay"), Actor("car", "stay", x=0.3)))
    parsed = parse("A polar bear stands near a car on the beach.")
    named = dict(zip((word.text for word in parsed.words), noun_labels(spec, parsed), strict=True))
    assert (named["bear"], named["car"], named["beach"]) == (1, 2, 0)
    assert {named[word] for word in ("A", "stands", "near", "on", "the")} == {-1}


# --------------------------------------------------------------------------- pairs
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("level", PAIR_LEVELS)
def test_a_minimal_pair_differs_in_its_level_alone(level: str, split: str) -> None:
    rng = np.random.default_rng(11)
    for _ in range(8):
        first, says_first, second, says_second = minimal_pair(rng, level, split)  # type: ignore[arg-type]
        a, b = ({actor.sprite: actor.motion for actor in spec.actors} for spec in (first, second))
        assert (a.keys() == b.keys()) == (level != "entity")
        if level == "entity":
            assert [x.motion for x in first.actors] == [x.motion for x in second.actors]
        else:
            assert (a == b) == (level != "action")
            assert all(names_actor(text, sprite) for text in (says_first, says_second) for sprite in a)
        if level == "relationship":
            assert truth(first)["relationship"] != truth(second)["relationship"]
            for noun in (noun for sprite in a for noun in THINGS[sprite].nouns):
                assert (noun in says_first.lower()) == (noun in says_second.lower())
        else:
            assert first.relation == second.relation
        assert replace(first, actors=second.actors, relation=second.relation) == second
        assert says_first != says_second
        pixels = [render(spec, 4, size=48).astype(int) for spec in (first, second)]
        assert np.abs(pixels[0] - pixels[1]).max() > 25


def test_hard_negatives_name_their_level_and_are_no_true_sentence() -> None:
    rng = np.random.default_rng(14)
    levels = set()
    for spec in some_specs(80, seed=6):
        positive, wrong = hard_negatives(spec, rng)
        assert all(names_actor(positive, actor.sprite) for actor in spec.actors)
        for level, text in wrong:
            levels.add(level)
            assert text != positive
            named = all(names_actor(text, actor.sprite) for actor in spec.actors)
            assert named or level == "entity", (level, text)
    assert levels == {"entity", "action", "relationship", "global"}


# --------------------------------------------------------------------------- files
def test_generate_writes_h264_and_a_manifest_that_gives_the_same_files_again(tmp_path: Path) -> None:
    import av

    manifest = generate(tmp_path / "a", 1, 5, size=(160, 90))
    (row,) = (json.loads(line) for line in manifest.read_text().splitlines())
    assert row["kind"] == "playground"
    assert truth(ClipSpec.from_dict(row["spec"])) == row["truth"]
    file = manifest.parent / row["path"]
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert len(container.streams) == 1
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in container.decode(stream)) == round(row["duration_s"] * 24)
    head = file.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat"), "not faststart"
    again = render_samples(tmp_path / "b", manifest, size=(160, 90))
    assert (again.parent / row["path"]).read_bytes() == head
    assert again.read_bytes() == manifest.read_bytes()
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("row", "message"),
    [({"path": "../x.mp4", "captions": [], "spec": {}}, "file name"), ({"captions": []}, "needs path")],
)
def test_bad_orders_for_files_are_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match="even"):
        generate(tmp_path, 1, 1, size=(97, 54))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(row))
    with pytest.raises(ConfigError, match=message):
        render_samples(tmp_path / "out", rows)


# --------------------------------------------------------------------------- the committed samples
def test_the_samples_are_small_varied_and_agree_with_their_specs() -> None:
    import av

    rows = [json.loads(line) for line in (SAMPLES / "manifest.jsonl").open(encoding="utf-8")]
    assert {row["path"] for row in rows} == {file.name for file in SAMPLES.glob("*.mp4")}
    assert len(rows) >= 36
    assert "MIT" in (SAMPLES / "NOTICE").read_text(encoding="utf-8")
    for row in rows:
        spec = ClipSpec.from_dict(row["spec"])
        assert (row["truth"], row["kind"], len(row["captions"])) == (truth(spec), "playground", 3)
        assert all(names_actor(text, actor.sprite) for text in row["captions"] for actor in spec.actors)
        assert (SAMPLES / row["path"]).stat().st_size <= MAX_BYTES
        with av.open(str(SAMPLES / row["path"])) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (640, 360)
            assert stream.frames == round(row["duration_s"] * 24)
    texts = [text for row in rows for text in row["captions"]]
    assert len(set(texts)) == len(texts)
    assert {row["truth"]["scene"] for row in rows} == set(SCENES)
    assert len({motion for row in rows for _, motion in row["truth"]["action"]}) >= 14
    assert len({relation for row in rows for _, relation, _ in row["truth"]["relationship"]}) >= 10
