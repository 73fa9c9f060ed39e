"""Tokens of a corpus: decoded ahead by threads, the same whatever their number; a broken file is left out."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vtr_demo.backbones.registry import load_backbone
from vtr_demo.data.cache import VideoCache
from vtr_demo.data.captions import encode_texts, text_batch
from vtr_demo.data.dataset import Sample
from vtr_demo.errors import VideoError
from vtr_demo.files import tokens_to_bytes
from vtr_demo.structures import CropBox, FrameBatch, VideoTokens
from vtr_demo.text.parser import parse_many

COUNT, BROKEN = 20, 7


class Clips:
    """Items of random pixels whose decoding takes a moment, and how many were held at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._lock = threading.Lock()
        self.items = [Sample(f"clip-{k}", "video", (), self._reader(k)) for k in range(COUNT)]

    def _reader(self, k: int):
        def frames(count: int, size: int) -> FrameBatch:
            with self._lock:
                self.asked.append(f"clip-{k}")
            if k == BROKEN:
                raise VideoError("seven.mp4", "it is empty", "choose another")
            time.sleep(0.002 * (k % 3))
            pixels = np.random.default_rng(k).integers(0, 255, (count, size, size, 3), dtype=np.uint8)
            return FrameBatch(pixels, np.arange(float(count)), CropBox(0, 0, size, size, size, size), 1.0)

        return frames


def cache(folder: Path | None, workers: int) -> VideoCache:
    return VideoCache(folder, load_backbone("tiny", "cpu"), 3, workers=workers)


def test_sentences_of_a_corpus_take_half_the_memory_and_come_back_as_float32() -> None:
    tower = load_backbone("tiny", "cpu")
    true, false = parse_many(["a dog runs", "two cats sleep on a red sofa"]), parse_many(["a dog sleeps"])
    known = encode_texts(true, tower, [*false, true[0]])
    assert [*known] == ["a dog runs", "two cats sleep on a red sofa", "a dog sleeps"]
    assert all(text.tokens.words.dtype == torch.float16 for text in known.values())
    assert known["a dog runs"].meaning.any()
    assert not known["a dog sleeps"].meaning.any()
    batch, plain = text_batch([*known.values()]), tower.encode_text([*true, *false])
    assert batch.words.dtype == torch.float32
    for name in ("words", "summary", "pool"):
        torch.testing.assert_close(getattr(batch, name), getattr(plain, name), rtol=1e-3, atol=1e-3)
    assert torch.equal(batch.word_mask, plain.word_mask)
    assert torch.equal(batch.level_mask, plain.level_mask)


def test_tokens_of_another_precision_are_kept_apart(tmp_path: Path) -> None:
    clips = Clips().items[:1]
    for half in (False, True):
        tower = load_backbone("tiny", "cpu")
        tower.motion_half = half
        VideoCache(tmp_path, tower, 3).fill(clips, "training")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("workers", [1, 5])
def test_tokens_do_not_depend_on_how_many_threads_decode(
    workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = Clips()
    store = cache(tmp_path, workers)
    with caplog.at_level(logging.WARNING, "vtr_demo"):
        kept = store.fill(clips.items, "training")
    assert [item.key for item in kept] == [f"clip-{k}" for k in range(COUNT) if k != BROKEN]
    assert [record.message for record in caplog.records if "seven.mp4" in record.message], "it is named"
    again = Clips()
    cache(tmp_path, workers).fill(again.items, "training")
    assert again.asked == [f"clip-{BROKEN}"], "what is stored is not decoded again"
    plain = cache(None, 1)
    for item in kept:
        assert torch.equal(store.get(item).patches, plain.read(item).half().to("cpu").patches)


def test_tokens_on_disk_are_not_held_in_memory_too_and_come_back_when_their_file_is_lost(tmp_path: Path) -> None:
    clips = Clips()
    store = cache(tmp_path, 3)
    item = store.fill(clips.items, "training")[0]
    before = store.get(item)
    (file,) = tmp_path.glob(f"*/{item.key}")
    cut = tokens_to_bytes(replace(before, patches=0 * before.patches))
    file.write_bytes(cut)
    assert not store.get(item).patches.any(), "what lies on disk is what is read"
    for damage in (lambda: file.write_bytes(cut[:50]), file.unlink):
        damage()
        asked = len(clips.asked)
        assert torch.equal(store.get(item).patches, before.patches)
        assert clips.asked[asked:] == [item.key]
        assert torch.equal(cache(tmp_path, 1).get(item).patches, before.patches)


def test_few_clips_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus does not fit into memory as pixels: threads stay a few clips ahead of slow towers."""
    clips = Clips()
    store = cache(None, 3)
    ahead = []
    encode = type(store._backbone).encode_frames

    def slow(self, pixels, **options) -> VideoTokens:
        time.sleep(0.005)
        done = len(store._in_memory)
        ahead.append(len(clips.asked) - done)
        return encode(self, pixels, **options)

    monkeypatch.setattr(type(store._backbone), "encode_frames", slow)
    store.fill(clips.items, "training")
    assert 1 < max(ahead) <= 9, "two a thread, the one in hand, and the broken one that nobody waits for"
