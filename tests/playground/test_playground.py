"""The playground: one spec, one clip; captions tell the truth; pairs differ in one level only."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.sprites import draw_sprites
from vtr_demo.errors import ConfigError
from vtr_demo.playground.captions import (
    PAIR_LEVELS,
    Phrasing,
    article,
    captions,
    hard_negatives,
    minimal_pair,
    sentence,
    truth,
)
from vtr_demo.playground.generate import MAX_BYTES, generate, render_samples
from vtr_demo.playground.layout import layout, sample_spec
from vtr_demo.playground.motion import poses
from vtr_demo.playground.render import frame_batch, render
from vtr_demo.playground.spec import MOTIONS, RELATIONS, SCENES, SPLITS, Actor, ClipSpec, held_out
from vtr_demo.playground.things import RESERVED, THINGS, TRAIN_ONLY, load_things

SAMPLES = Path(__file__).parents[2] / "sample_videos"


@pytest.fixture(scope="module")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_sprites(tmp_path_factory.mktemp("sprites"))


@pytest.fixture(autouse=True)
def _use_stand_ins(sprites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTR_SPRITES", str(sprites))


def some_specs(count: int = 60, seed: int = 0, **options: object) -> list[ClipSpec]:
    rng = np.random.default_rng(seed)
    return [sample_spec(rng, **options) for _ in range(count)]  # type: ignore[arg-type]


def one(motion: str = "roll", scene: str = "beach", **changes: object) -> ClipSpec:
    return replace(ClipSpec(scene, layout(["dog"], [motion], None, 5), seed=5), **changes)  # type: ignore[arg-type]


def digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


# --------------------------------------------------------------------------- vocabulary
def test_the_table_of_things_is_complete() -> None:
    assert (len(THINGS), len(TRAIN_ONLY), len(RESERVED)) == (656, 513, 18)
    assert THINGS["dog"] == next(iter(THINGS.values()))
    assert THINGS["dog"].nouns == ("dog", "brown dog")
    assert {thing.facing for thing in THINGS.values()} == {-1, 0, 1}
    assert [name for name, thing in THINGS.items() if thing.rim] == ["basket", "bucket", "bathtub"]


HEADER = "name,code,kind,facing,size,rim,split,nouns\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("name,code\n", "must have the columns"),
        (HEADER + "dog,1f415,animal,up,1.0,,,dog\n", "Line 2"),
        (HEADER + "dog,1f415,animal,left,large,,,dog\n", "Line 2"),
        (HEADER + "dog,1f415,animal,left,nan,,,dog\n", "size nan"),
        (HEADER + "dog,1f415,animal,left,1.0,1.5,,dog\n", "rim 1.5"),
        (HEADER + "dog,1f415,animal,left,1.0,,test,dog\n", "split 'test'"),
        (HEADER + "dog,1f415,animal,left,1.0,,,\n", "empty"),
        (HEADER + "dog,1f415,animal\n", "Line 2"),
        (
            HEADER + "dog,1f415,animal,left,1.0,,,dog\ncat,1f408,animal,left,1.0,,,dog\n",
            "3.*repeats dog",
        ),
    ],
)
def test_a_damaged_table_of_things_is_refused_by_line(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "things.csv"
    path.write_text(rows)
    with pytest.raises(ConfigError, match=message):
        load_things(path)


def test_swaps_name_relations_and_lead_back() -> None:
    for name, relation in RELATIONS.items():
        assert set(relation.swaps) <= set(RELATIONS) - {name}
    for a, b in (("left of", "right of"), ("above", "below"), ("follow", "lead"), ("on", "under")):
        assert b in RELATIONS[a].swaps
        assert a in RELATIONS[b].swaps


# --------------------------------------------------------------------------- specs
def test_a_spec_survives_json() -> None:
    for spec in some_specs():
        assert ClipSpec.from_json(spec.to_json()) == spec
        assert ClipSpec.from_json(json.loads(spec.to_json())) == spec


def test_a_seed_gives_the_same_clips_and_sentences_as_before() -> None:
    """Training, probes and published results depend on them: a change of these digests changes those."""
    digests = {}
    for split in SPLITS:
        rng = np.random.default_rng(7)
        specs = [sample_spec(rng, split=split) for _ in range(40)]
        texts = [(captions(spec, rng), hard_negatives(spec, rng)[0]) for spec in specs]
        pairs = [minimal_pair(rng, level, split)[1::2] for level in PAIR_LEVELS]
        digests[split] = digest([spec.to_json() for spec in specs]), digest((texts, pairs))
    assert digests == {
        "train": ("97779fb7518aa35e", "f4b269c39717f42d"),
        "probe": ("bf30463ae9d25e1c", "ce5bf02c4ddca239"),
        "unseen_sprites": ("13dc37ac19c4cd63", "ced42e4472a98ec9"),
    }
    assert some_specs(5, seed=7) != some_specs(5, seed=8)


def test_training_never_shows_a_combination_of_the_probes() -> None:
    def combinations(split: str) -> set[tuple[str, str, str | None, str]]:
        specs = some_specs(400, split=split)
        return {(a.sprite, a.motion, s.relation, s.scene) for s in specs for a in s.actors}

    train, probe = combinations("train"), combinations("probe")
    assert not train & probe
    assert all(held_out(*each) for each in probe)
    assert not any(held_out(*each) for each in train)
    assert not {sprite for sprite, *_ in train | probe} & RESERVED


def test_things_for_training_alone_are_in_no_probe() -> None:
    def shown(split: str) -> set[str]:
        return {a.sprite for s in some_specs(400, split=split) for a in s.actors}

    assert not (shown("probe") | shown("unseen_sprites")) & set(TRAIN_ONLY)
    assert len(shown("train") & set(TRAIN_ONLY)) > len(TRAIN_ONLY) / 2
    rng = np.random.default_rng(0)
    for _ in range(60):
        first, _, second, _ = minimal_pair(rng, "entity", "probe")
        assert not {a.sprite for a in (*first.actors, *second.actors)} & set(TRAIN_ONLY)


def test_unseen_sprites_are_the_reserved_ones() -> None:
    shown = {
        a.sprite for s in some_specs(200, split="unseen_sprites") if s.relation != "in" for a in s.actors
    }
    assert shown <= RESERVED
    assert len(shown) > len(RESERVED) / 2


def test_the_things_alone_do_not_give_the_roles_away() -> None:
    first = [
        THINGS[s.actors[0].sprite].size > THINGS[s.actors[1].sprite].size
        for s in some_specs(400, relation="on")
    ]
    assert 0.3 < np.mean(first) < 0.7


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"scene": "kitchen"}, "kitchen"),
        ({"camera": "upside down"}, "upside down"),
        ({"relation": "left of"}, "left of"),
        ({"relation": "hates"}, "hates"),
        ({"actors": ()}, "one to three"),
        ({"actors": (Actor("dog", "roll"), Actor("dog", "spin"))}, "dog"),
        ({"duration_s": 0.0}, "duration_s"),
        ({"duration_s": float("nan")}, "duration_s"),
        ({"seed": -1}, "seed"),
        ({"backdrop": 1.5}, "backdrop"),
    ],
)
def test_an_impossible_clip_is_refused_by_name(values: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        one(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"scene": "beach"}', '{"actors": [{"sprite": "dog"}]}', "null"]
)
def test_text_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a playground spec"):
        ClipSpec.from_json(text)


def test_an_unknown_thing_motion_or_split_is_refused() -> None:
    for bad in (
        lambda: Actor("gnu", "roll"),
        lambda: Actor("dog", "flows"),
        lambda: Actor("dog", "roll", heading=0),
    ):
        with pytest.raises(ConfigError):
            bad()
    with pytest.raises(ConfigError, match="split"):
        sample_spec(np.random.default_rng(0), split="test")  # type: ignore[arg-type]


# --------------------------------------------------------------------------- pixels
def test_the_same_spec_gives_the_same_pixels_one_by_one_or_together() -> None:
    spec = sample_spec(np.random.default_rng(3), actors=3)
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


def test_left_is_left_and_above_is_above() -> None:
    for relation, axis, sign in (
        ("left of", "x", -1),
        ("right of", "x", 1),
        ("above", "y", -1),
        ("below", "y", 1),
    ):
        for spec in some_specs(20, relation=relation, actors=2):
            at = {p.sprite: p for p in poses(spec, 1.3, lambda _: (1.0, 1.0))}
            first, second = (getattr(at[actor.sprite], axis) for actor in spec.actors)
            assert (first - second) * sign > 0.1, spec


def test_the_follower_stays_behind_in_the_way_they_go() -> None:
    for relation, sign in (("follow", -1), ("lead", 1)):
        for spec in some_specs(20, relation=relation, actors=2):
            places = [{p.sprite: p.x for p in poses(spec, t, lambda _: (1.0, 1.0))} for t in (0.5, 2.5)]
            names = [actor.sprite for actor in spec.actors]
            way = np.sign(places[1][names[0]] - places[0][names[0]])
            assert all((at[names[0]] - at[names[1]]) * way * sign > 0.1 for at in places)


def test_approaching_grows_nearer_and_leaving_does_the_reverse() -> None:
    for motion, sign in (("approach", 1), ("leave", -1)):
        early, late = (poses(one(motion), t, lambda _: (1.0, 1.0))[0] for t in (0.5, 3.5))
        assert (late.height - early.height) * sign > 0.1
        assert (late.ground - early.ground) * sign > 0.05


def test_frame_batch_and_its_degraded_twin() -> None:
    spec = sample_spec(np.random.default_rng(1))
    plain, degraded = frame_batch(spec, 4, size=64), frame_batch(spec, 4, size=64, augment=True)
    assert plain.pixels.shape == degraded.pixels.shape == (4, 64, 64, 3)
    np.testing.assert_allclose(plain.seconds, (np.arange(4) + 0.5) * spec.duration_s / 4)
    difference = np.abs(plain.pixels.astype(int) - degraded.pixels).mean()
    assert 0.5 < difference < 45
    np.testing.assert_array_equal(degraded.pixels, frame_batch(spec, 4, size=64, augment=True).pixels)


@pytest.mark.parametrize("bad", [0, -1, [], [float("nan")]])
def test_no_frames_are_refused(bad: object) -> None:
    with pytest.raises(ConfigError):
        render(one(), bad)  # type: ignore[arg-type]


def test_a_missing_sprite_folder_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"npm pack @lobehub/fluent-emoji-3d.*VTR_SPRITES"):
        render(one(), 1, sprites=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="npm pack"):
        render(one(), 1, sprites=tmp_path)


# --------------------------------------------------------------------------- words
def names_actor(text: str, sprite: str) -> bool:
    return any(noun.lower() in text.lower() for noun in THINGS[sprite].nouns)


def test_captions_are_different_and_name_every_actor() -> None:
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for spec in some_specs(120, seed=4, split=split):
            texts = captions(spec, rng, 4)
            assert len(texts) == len(set(texts)) == 4
            for text in texts:
                assert all(names_actor(text, actor.sprite) for actor in spec.actors), text


def test_captions_have_clean_grammar() -> None:
    rng = np.random.default_rng(1)
    for spec in some_specs(250, seed=5):
        for text in captions(spec, rng, 3):
            assert text[0].isupper()
            assert "  " not in text
            assert " ," not in text
            assert not text.endswith((" ", "."))
            for word, following in re.findall(r"\b([Aa]n?) (\w+)", text):
                vowel = following[0].lower() in "aeiou" and not following.startswith(("UFO", "uni"))
                assert (word.lower() == "an") == vowel, text


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("owl", "an"), ("dog", "a"), ("UFO", "a"), ("unicorn", "a"), ("umbrella", "an"), ("egg", "an")],
)
def test_articles(noun: str, expected: str) -> None:
    assert article(noun) == expected


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


# --------------------------------------------------------------------------- pairs
def differing_levels(a: ClipSpec, b: ClipSpec) -> set[str]:
    """Levels in which two clips differ, with the things' names taken out of the other levels."""
    found = set()
    if sorted(x.sprite for x in a.actors) != sorted(x.sprite for x in b.actors):
        found.add("entity")
    names = {x.sprite: y.sprite for x, y in zip(a.actors, b.actors, strict=True)} if "entity" in found else {}
    motions = sorted((names.get(x.sprite, x.sprite), x.motion) for x in a.actors)
    if motions != sorted((y.sprite, y.motion) for y in b.actors):
        found.add("action")
    relation = [(names.get(x, x), r, names.get(y, y)) for x, r, y in truth(a)["relationship"]]
    if relation != [tuple(each) for each in truth(b)["relationship"]]:
        found.add("relationship")
    if (a.scene, a.camera, a.backdrop, a.seed, a.duration_s) != (
        b.scene,
        b.camera,
        b.backdrop,
        b.seed,
        b.duration_s,
    ):
        found.add("setting")
    return found


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("level", PAIR_LEVELS)
def test_a_minimal_pair_differs_in_its_level_alone(level: str, split: str) -> None:
    rng = np.random.default_rng(11)
    for _ in range(15):
        first, says_first, second, says_second = minimal_pair(rng, level, split)  # type: ignore[arg-type]
        assert differing_levels(first, second) == {level}, (first, second)
        assert says_first != says_second
        a, b = render(first, 4, size=48).astype(int), render(second, 4, size=48).astype(int)
        assert np.abs(a - b).max() > 25


def test_both_sentences_of_an_action_pair_share_all_but_the_verb() -> None:
    rng = np.random.default_rng(12)
    for _ in range(30):
        first, says_first, _, says_second = minimal_pair(rng, "action", "train")
        for actor in first.actors:
            assert names_actor(says_first, actor.sprite)
            assert names_actor(says_second, actor.sprite)


def test_a_relation_pair_uses_the_same_things_and_words_for_them() -> None:
    rng = np.random.default_rng(13)
    for _ in range(30):
        first, says_first, _, says_second = minimal_pair(rng, "relationship", "train")
        for actor in first.actors:
            used = [noun for noun in THINGS[actor.sprite].nouns if noun in says_first.lower()]
            assert used == [noun for noun in THINGS[actor.sprite].nouns if noun in says_second.lower()]


def test_hard_negatives_name_their_level_and_are_no_true_sentence() -> None:
    rng = np.random.default_rng(14)
    seen = set()
    for spec in some_specs(80, seed=6):
        positive, wrong = hard_negatives(spec, rng)
        assert all(names_actor(positive, actor.sprite) for actor in spec.actors)
        for level, text, other in wrong:
            seen.add(level)
            assert other != spec
            assert text != positive
            named = all(names_actor(text, actor.sprite) for actor in spec.actors)
            assert named or level == "entity", (level, text)
    assert seen == {"entity", "action", "relationship", "global"}


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="colour"):
        minimal_pair(np.random.default_rng(0), "colour")  # type: ignore[arg-type]


# --------------------------------------------------------------------------- files
def test_generate_is_fixed_by_the_seed_and_writes_a_manifest(tmp_path: Path) -> None:
    import av

    first = generate(tmp_path / "a", 2, 5, size=(160, 90))
    again = generate(tmp_path / "b", 2, 5, size=(160, 90))
    assert first.read_bytes() == again.read_bytes()
    rows = [json.loads(line) for line in first.read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert row["kind"] == "playground"
        assert truth(ClipSpec.from_json(row["spec"])) == row["truth"]
        file = first.parent / row["path"]
        assert file.read_bytes() == (again.parent / row["path"]).read_bytes()
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            assert (len(container.streams), stream.codec_context.name, stream.codec_context.pix_fmt) == (
                1,
                "h264",
                "yuv420p",
            )
            frames = sum(1 for _ in container.decode(stream))
        assert frames == round(row["duration_s"] * 24)
        head = file.read_bytes()
        assert head.index(b"moov") < head.index(b"mdat"), "not faststart"
    rewritten = render_samples(tmp_path / "c", first, size=(160, 90))
    assert (rewritten.parent / rows[0]["path"]).read_bytes() == (first.parent / rows[0]["path"]).read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_bad_orders_for_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        generate(tmp_path, 0, 1)
    with pytest.raises(ConfigError, match="even"):
        generate(tmp_path, 1, 1, size=(97, 54))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"path": "../x.mp4", "captions": [], "spec": {}}\n')
    with pytest.raises(ConfigError, match="file name"):
        render_samples(tmp_path / "out", rows)
    rows.write_text('{"captions": []}\n')
    with pytest.raises(ConfigError, match="needs path"):
        render_samples(tmp_path / "out", rows)


# --------------------------------------------------------------------------- the committed samples
def sample_rows() -> list[dict]:
    return [
        json.loads(line) for line in (SAMPLES / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_every_sample_is_there_small_and_listed() -> None:
    rows = sample_rows()
    assert {row["path"] for row in rows} == {file.name for file in SAMPLES.glob("*.mp4")}
    assert len(rows) >= 36
    assert all((SAMPLES / row["path"]).stat().st_size <= MAX_BYTES for row in rows)
    assert "MIT" in (SAMPLES / "NOTICE").read_text(encoding="utf-8")


def test_sample_rows_agree_with_their_specs() -> None:
    for row in sample_rows():
        spec = ClipSpec.from_json(row["spec"])
        assert row["truth"] == truth(spec)
        assert row["kind"] == "playground"
        assert 3 <= row["duration_s"] <= 5
        assert len(set(row["captions"])) == 3
        for text in row["captions"]:
            assert all(names_actor(text, actor.sprite) for actor in spec.actors), text


def test_no_two_samples_are_alike() -> None:
    rows = sample_rows()
    texts = [text for row in rows for text in row["captions"]]
    assert len(set(texts)) == len(texts)
    facts = [
        json.dumps([row["truth"]["entity"], row["truth"]["action"], row["truth"]["scene"]]) for row in rows
    ]
    assert len(set(facts)) == len(facts)
    assert {row["truth"]["scene"] for row in rows} == set(SCENES)
    assert len({motion for row in rows for _, motion in row["truth"]["action"]}) >= 14
    assert len({relation for row in rows for _, relation, _ in row["truth"]["relationship"]}) >= 10


def test_a_sample_shows_what_its_spec_says() -> None:
    """The committed files decode to pictures with the size and length of their specs."""
    import av

    row = sample_rows()[0]
    with av.open(str(SAMPLES / row["path"])) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (640, 360)
        assert stream.frames == round(row["duration_s"] * 24)
