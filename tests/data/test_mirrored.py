"""Files seen a second time: mirrored, whole, and silent about left and right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.helpers.small_runs import eight_pairs, small_config
from vtr_demo.config import VideoConfig
from vtr_demo.data.dataset import MIRRORED, file_samples, mirrored
from vtr_demo.data.manifest import load_manifest
from vtr_demo.training.setup import build_trainer
from vtr_demo.video.frames import still_frames

SQUASHED = VideoConfig(fit="squash")


def photo(folder: Path, *captions: str) -> Path:
    """A wide photo that is red at the left edge and blue at the right one, and its manifest."""
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, :20, 0] = 255
    pixels[:, -20:, 2] = 255
    Image.fromarray(pixels).save(folder / "wide.png")
    manifest = folder / "photo.jsonl"
    manifest.write_text(json.dumps({"path": "wide.png", "captions": captions}) + "\n")
    return manifest


def test_the_second_look_is_the_whole_picture_mirrored(tmp_path: Path) -> None:
    items = file_samples(load_manifest(photo(tmp_path, "a red bar and a blue bar")), VideoConfig())
    again = mirrored(items, VideoConfig())[0]
    whole = still_frames(tmp_path / "wide.png", size=32, config=SQUASHED).pixels
    assert np.array_equal(again.frames(1, 32).pixels, whole[:, :, ::-1])
    edge = again.frames(1, 32).pixels[0, 16, 0].astype(int)
    assert edge[2] > edge[0] + 100, "blue, which the centred square does not hold, comes first"
    assert again.key == items[0].key + MIRRORED
    assert again.sentences == items[0].sentences


def test_captions_that_tell_left_from_right_are_not_said_of_it(tmp_path: Path) -> None:
    said = ("a red bar to the left of a blue one", "a Right turn", "two bars that are left")
    manifest = photo(tmp_path, *said, "a red bar beside a blue one")
    again = mirrored(file_samples(load_manifest(manifest), VideoConfig()), VideoConfig())
    assert [s.text for s in again[0].sentences] == ["a red bar beside a blue one"]
    alone = mirrored(file_samples(load_manifest(photo(tmp_path, *said)), VideoConfig()), VideoConfig())
    assert alone == []


def test_what_is_seen_twice_counts_once_among_the_attributes(tmp_path: Path) -> None:
    manifest = eight_pairs(tmp_path)
    config = small_config(tmp_path, manifest)
    config = config.replace(model=config.model.replace(reduce=8))
    once, twice = build_trainer(config), build_trainer(config.replace(mirror=True))
    assert len(twice.sampler.items) == 2 * len(once.sampler.items)
    assert twice.retrieval.vocabulary == once.retrieval.vocabulary
    assert torch.equal(twice.model.reduction, once.model.reduction)
