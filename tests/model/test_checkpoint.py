"""What is saved is what is loaded, and what does not fit is refused in one sentence."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.models import WEIGHTS, alive
from tests.helpers.towers import clip
from vtr_demo.backbones.registry import load_backbone
from vtr_demo.config import ModelConfig, VideoConfig
from vtr_demo.errors import BackboneError, CheckpointError, VtrError
from vtr_demo.files import sha256_of
from vtr_demo.model import checkpoint
from vtr_demo.model.attributes import build_vocabulary
from vtr_demo.model.checkpoint import REMOVED_OPTIONS, SETTINGS, RetrievalModel, load, save, untrained
from vtr_demo.model.checkpoint import WEIGHTS as WEIGHT_FILE
from vtr_demo.model.model import build_model
from vtr_demo.structures import LEVELS
from vtr_demo.text.parser import parse

CONFIG = ModelConfig(backbone="tiny", trained=True, hidden=8, heads=2, concepts=3, concept_width=4, reduce=5)


def pretrained(seed: int = 0, **changes: Any) -> RetrievalModel:
    """Heads that are alive over the tiny towers, with everything that a checkpoint can hold."""
    towers = load_backbone("tiny")
    vocabulary = build_vocabulary([[parse("a dog runs"), parse("a dog sits on a mat")]] * 20, (9, 9, 9, 9), 5)
    config = CONFIG.replace(**changes)
    torch.manual_seed(0)
    model = alive(build_model(config, towers, [vocabulary.sizes[level] for level in LEVELS]), seed)
    return RetrievalModel(
        "x", model, towers, VideoConfig(clip_frames=5), vocabulary, ("a", "b", "c"), (0.5, 0.0, 1.0), {"steps": 7}
    )


@torch.no_grad()
def score(opened: RetrievalModel) -> float:
    text = opened.model.encode_text(opened.backbone.encode_text([parse("a dog runs over the mat")]))
    video = opened.model.encode_video(opened.backbone.encode_frames(clip(opened.backbone, 4)))
    return float(opened.model.scores(text, video, WEIGHTS)[0, 0])


@pytest.mark.parametrize("reduce", [0, 5])
def test_a_round_trip_keeps_the_score_to_the_last_bit_and_all_that_was_said(tmp_path: Path, reduce: int) -> None:
    first = pretrained(reduce=reduce)
    save(tmp_path / "c", first)
    second = load(str(tmp_path / "c"))
    assert score(second) == score(first)
    assert not second.model.training
    for name in ("video", "vocabulary", "concept_names", "concept_scores", "training"):
        assert getattr(second, name) == getattr(first, name)
    assert second.model.config == first.model.config
    tags = [m.tags(m.encode_video(first.backbone.encode_frames(clip(first.backbone, 2)))) for m in
            (first.model, second.model)]  # fmt: skip
    assert all(a.equal(b) for a, b in zip(*tags, strict=True))


def test_fine_tuned_towers_travel_with_the_heads(tmp_path: Path) -> None:
    first = pretrained()
    first.backbone.unfreeze()
    alive(first.backbone, 3)
    first.backbone.freeze()
    save(tmp_path / "c", first, with_backbone=True)
    assert score(load(str(tmp_path / "c"))) == score(first)
    save(tmp_path / "d", first)
    with pytest.raises(CheckpointError, match="other weights"):
        load(str(tmp_path / "d"))


def test_fingerprints_tell_weights_settings_and_towers_apart(tmp_path: Path) -> None:
    save(tmp_path / "a", pretrained())
    save(tmp_path / "b", pretrained())
    save(tmp_path / "c", pretrained(seed=1))
    a, b, c = (load(str(tmp_path / name)) for name in "abc")
    assert (a.fingerprint, a.tower_fingerprint) == (b.fingerprint, b.tower_fingerprint)
    assert c.fingerprint != a.fingerprint
    assert c.tower_fingerprint == a.tower_fingerprint
    assert replace(a, video=VideoConfig()).tower_fingerprint != a.tower_fingerprint
    assert untrained("tiny:1").tower_fingerprint != untrained("tiny").tower_fingerprint


def as_saved_with(folder: Path, **options: Any) -> None:
    """Rewrite a checkpoint to the form it had while prototypes and attributes could be unshared."""
    settings = json.loads((folder / SETTINGS).read_text())
    state = {
        name.replace("attributes.layers.", "attributes.video."): value
        for name, value in load_file(folder / WEIGHT_FILE).items()
    }
    state["heads.concepts.prototypes"] = state["heads.concepts.prototypes"].unsqueeze(0)
    save_file(state, folder / WEIGHT_FILE)
    settings["model"] |= options
    settings["sha256"] = sha256_of(folder / WEIGHT_FILE)
    (folder / SETTINGS).write_text(json.dumps(settings))


def test_a_checkpoint_with_options_that_are_gone_opens_and_scores_as_before(tmp_path: Path) -> None:
    first = pretrained()
    save(tmp_path, first)
    as_saved_with(tmp_path, **REMOVED_OPTIONS)
    second = load(str(tmp_path))
    assert score(second) == score(first)
    assert second.model.config == first.model.config


@pytest.mark.parametrize(
    "option", [{"allocation": "soft"}, {"binding": False}, {"shared_prototypes": False}, {"unheard_of": 1}]
)
def test_a_checkpoint_whose_scores_need_an_option_that_is_gone_is_refused(
    tmp_path: Path, option: dict[str, Any]
) -> None:
    save(tmp_path, pretrained())
    as_saved_with(tmp_path, **option)
    with pytest.raises(CheckpointError, match=f"model.{next(iter(option))}"):
        load(str(tmp_path))


def test_untrained_heads_are_the_same_every_time() -> None:
    torch.manual_seed(5)
    first = untrained("tiny")
    torch.manual_seed(6)
    expected = torch.rand(2)
    torch.manual_seed(6)
    second = untrained("tiny")
    assert torch.rand(2).equal(expected)  # and opening one leaves the random state alone
    assert score(first) == score(second)
    assert first.fingerprint == load("untrained:tiny").fingerprint


# ---------------------------------------------------------------------- damage
def damaged(folder: Path, change: Any) -> None:
    save(folder, pretrained())
    settings = json.loads((folder / SETTINGS).read_text())
    change(settings)
    (folder / SETTINGS).write_text(json.dumps(settings))


@pytest.mark.parametrize("place", [0.01, 0.5, 0.99])
def test_a_flipped_byte_of_the_weights_is_refused(tmp_path: Path, place: float) -> None:
    save(tmp_path, pretrained())
    data = bytearray((tmp_path / WEIGHT_FILE).read_bytes())
    data[int(place * len(data))] ^= 1
    (tmp_path / WEIGHT_FILE).write_bytes(data)
    with pytest.raises(CheckpointError, match=WEIGHT_FILE):
        load(str(tmp_path))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=SETTINGS):
        load(str(tmp_path))
    save(tmp_path, pretrained())
    (tmp_path / WEIGHT_FILE).unlink()
    with pytest.raises(CheckpointError, match=f"{WEIGHT_FILE} is missing"):
        load(str(tmp_path))
    with pytest.raises(BackboneError, match="nowhere"):
        load(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["model"].update(konzepte=3),
        lambda s: s["model"].update(concepts="three"),
        lambda s: s["video"].update(clip_frames=0),
        lambda s: s["model"].update(concept_width=6),
        lambda s: s["model"].update(hidden=16),
        lambda s: s.update(format=99),
        lambda s: s.update(attributes=None),
        lambda s: s["backbone"].update(fingerprint="other"),
        lambda s: s.pop("model"),
        lambda s: s.update(concept_names=3),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_sentence(tmp_path: Path, change: Any) -> None:
    damaged(tmp_path, change)
    with pytest.raises(CheckpointError) as refusal:
        load(str(tmp_path))
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


# ---------------------------------------------------------------------- interrupted saving
ODD: list[Any] = [None, True, -1, 0, 2**40, 10**30, 2.5, 1e300, "", "x", [], [1], [["a"]], {}, {"a": 1}]


def test_whatever_a_strangers_checkpoint_holds_it_opens_or_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Every setting with a value of another kind, and weights that are cut, flipped or of other types, all with the
    digest that fits: nothing else than the package's own errors, and no memory for sizes that do not fit."""
    save(tmp_path, pretrained())
    settings, data = json.loads((tmp_path / SETTINGS).read_text()), (tmp_path / WEIGHT_FILE).read_bytes()
    tried = [copy.deepcopy(settings) for _ in ODD for _ in settings]
    for one, (key, odd) in zip(tried, itertools.product(settings, ODD), strict=True):
        one[key] = odd
    tables = [(table, key) for table in ("backbone", "model", "video", "attributes") for key in settings[table]]
    for i, (table, key) in enumerate(tables):
        for odd in (ODD[i % len(ODD)], ODD[(i + 4) % len(ODD)]):
            tried.append(copy.deepcopy(settings))
            tried[-1][table][key] = odd
    refused = 0
    for one in tried:
        (tmp_path / SETTINGS).write_text(json.dumps(one))
        refused += opens_or_is_refused(tmp_path)
    assert refused > 100
    generator = random.Random(0)
    header = 8 + int.from_bytes(data[:8], "little")
    for i in range(30):
        place = generator.randrange(header if i % 3 else len(data))
        flipped = data[:place] + bytes([generator.randrange(256)]) + data[place + 1 :]
        changed = data[:place] if i % 4 == 0 else flipped
        (tmp_path / WEIGHT_FILE).write_bytes(changed)
        damaged_digest = settings | {"sha256": hashlib.sha256(changed).hexdigest()}
        (tmp_path / SETTINGS).write_text(json.dumps(damaged_digest))
        opens_or_is_refused(tmp_path)
    for text in ("", "{", "[]", "3", "null", "\x00", "[" * 100_000):
        (tmp_path / SETTINGS).write_text(text)
        assert opens_or_is_refused(tmp_path)


def opens_or_is_refused(folder: Path) -> bool:
    """Whether a checkpoint is refused; anything but a sentence is raised."""
    try:
        load(str(folder))
    except VtrError:
        return True
    return False


@pytest.mark.parametrize("calls", [0, 1])
def test_a_save_that_is_interrupted_anywhere_leaves_the_old_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    first = pretrained()
    save(tmp_path, first)
    done: list[Path] = []
    write = checkpoint.replace_file

    def failing(path: Path, data: bytes) -> None:
        if len(done) == calls:
            raise OSError(28, "No space left on device")
        done.append(path)
        write(path, data)

    monkeypatch.setattr(checkpoint, "replace_file", failing)
    for attempt in (1, 2):  # twice: a second failure must not use up what saved the first
        done.clear()
        with pytest.raises(OSError, match="space"):
            save(tmp_path, pretrained(seed=attempt))
        assert score(load(str(tmp_path))) == score(first)
    monkeypatch.undo()
    last = pretrained(seed=3)
    save(tmp_path, last)
    assert score(load(str(tmp_path))) == score(last)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([SETTINGS, WEIGHT_FILE])


def test_options_that_left_do_not_make_older_libraries_stale() -> None:
    one = pretrained()
    stored = {k: v for k, v in one.model.config.to_dict().items() if k != "focus"}  # not yet there, and 0 here
    stored |= {"binding": True, "relationship": True, "allocation": "hard"}
    stored |= {"shared_attributes": True, "shared_prototypes": True, "assign_eps": 1.0}
    parts = json.dumps([one.tower_fingerprint, stored, one.weights_digest], sort_keys=True, default=str)
    assert one.fingerprint == hashlib.sha256(parts.encode()).hexdigest()[:16]
