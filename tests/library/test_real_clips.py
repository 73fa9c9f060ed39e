"""Real clips: one command indexes a folder of them, and sentences of a person who looked find theirs.

The sentences were written from the pictures, before any score was seen, and are not to be tuned. Their clips
lie among six others that look alike: animals, sports, a kitchen, a dancer.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.helpers.data_files import SHARED
from vtr_demo.library.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPEC = os.environ.get("VTR_TEST_MODEL", "bundled")
CLIPS = SHARED / "clips" / "videos"
NEEDED, TOP = 7, 1

LOOKED_AT = {
    "A butterfly sits on a red flower.": "canny_videos_mp4__butterfly",
    "A white sailboat sails on a lake in front of a hill.": "pix2pix_video_2fps__boat",
    "A camel walks along a wooden fence.": "pix2pix_video__camel",
    "A black and white rabbit eats a slice of watermelon.": "rabbit-watermelon",
    "Two children jump up and down on a bed.": "bedroom",
    "Someone pours coffee from a kettle into a blue cup.": "04_coffee",
    "A worker with a yellow helmet and an orange vest walks through a factory hall.": "worker-zone",
    "A musician plays the bass guitar.": "playing_guitar",
    "A woman does yoga on a terrace above a valley.": "example__yoga",
    "A man juggles a white football in a park.": "default_juggle",
}
"""Each of these clips is the only one of its kind in the folder, by name."""
BESIDE_THEM = ("fox", "lion-roaring", "snowboard", "man-basketball", "making_cake", "jesse_dance")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of clips, indexed by the command that the README gives."""
    from vtr_demo.__main__ import main

    if not CLIPS.is_dir():
        pytest.skip(f"NOT RUN: there are no real clips at {CLIPS}")
    folder = tmp_path_factory.mktemp("real") / "library"
    clips = tmp_path_factory.mktemp("clips")
    for part in (*LOOKED_AT.values(), *BESIDE_THEM):
        (path,) = CLIPS.glob(f"*{part}*")
        shutil.copy(path, clips)
    assert main(["index", str(clips), "--library", str(folder), "--model", SPEC]) == 0
    return folder


@pytest.fixture(scope="module")
def engine(library: Path) -> Engine:
    return Engine.open(library, SPEC, readonly=True)


def test_one_command_indexes_every_clip(engine: Engine) -> None:
    names = [Path(clip.name).name for clip in engine.clips()]
    assert len(names) == len(LOOKED_AT) + len(BESIDE_THEM)
    assert all(any(part in name for name in names) for part in (*LOOKED_AT.values(), *BESIDE_THEM))
    assert engine.status().problems == ()


def test_sentences_of_someone_who_looked_find_their_clips(engine: Engine) -> None:
    missed = {}
    for sentence, part in LOOKED_AT.items():
        names = [hit.name for hit in engine.search(sentence, k=engine.status().clips).hits]
        matching = [rank for rank, name in enumerate(names, start=1) if part in name]
        assert len(matching) == 1, f"{part} names {len(matching)} clips"
        if matching[0] > TOP:
            missed[sentence] = (matching[0], names[:TOP])
    found = len(LOOKED_AT) - len(missed)
    assert found >= NEEDED, f"{found} of {len(LOOKED_AT)} in the top {TOP}; missed: {missed}"
