"""What a pair of a sentence and its clip scores once parts of the input are gone.

What is taken away is input, never a token: without a word the sentence is read anew by the parser and
the text tower, and a cell of the picture is painted over before the image tower sees it. So these
scores know nothing of how the model takes a score apart, and can judge it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vtr_demo.checkpoint import Pretrained
from vtr_demo.errors import UnsupportedText
from vtr_demo.features import TextFeatures, VideoFeatures
from vtr_demo.records import FrameBatch, Sentence, TextTokens, VideoTokens, pad_video_tokens
from vtr_demo.text import parse, without_words

UNITS = ("words", "frames", "patches")
"""What can be taken away. A patch is one cell of one frame, numbered frame by frame and row by row."""
_CHUNK = 16


@dataclass(frozen=True)
class Pair:
    """A sentence and the frames of its clip, with both sides' tokens and features, batches of one.

    The patch tokens have the width that the heads take.
    """

    sentence: Sentence
    frames: FrameBatch
    text: TextTokens
    video: VideoTokens
    text_features: TextFeatures
    video_features: VideoFeatures


@torch.no_grad()
def open_pair(pretrained: Pretrained, sentence: Sentence, frames: FrameBatch) -> Pair:
    """Encode a sentence and a clip."""
    model = pretrained.model
    text = pretrained.backbone.encode_text([sentence])
    video = model.reduced(pretrained.backbone.encode_frames(frames.pixels))
    return Pair(sentence, frames, text, video, model.encode_text(text), model.encode_video(video))


def score_kept(pretrained: Pretrained, pair: Pair, unit: str, kept: np.ndarray) -> np.ndarray:
    """Scores (M,) of a pair of which only some words, frames or patches are left; default weights.

    ``kept`` (M, N) bool, N as many as the pair has of ``unit``; at least one word or frame a row. Equal
    rows are scored once. NaN where the words left are no sentence that the parser takes.
    """
    rows, back = np.unique(kept, axis=0, return_inverse=True)
    return _SCORES[unit](pretrained, pair, rows)[back.reshape(-1)]


@torch.no_grad()
def _by_words(pretrained: Pretrained, pair: Pair, kept: np.ndarray) -> np.ndarray:
    """The sentence without the other words, parsed anew: its levels may change with it."""
    read = {row: found for row, mask in enumerate(kept) if (found := _reread(pair.sentence, mask))}
    scores = np.full(len(kept), np.nan)
    if read:
        features = pretrained.model.encode_text(pretrained.backbone.encode_text([*read.values()]))
        values = pretrained.model.scores(features, pair.video_features)[:, 0]
        scores[[*read]] = values.cpu().numpy()
    return scores


def _reread(sentence: Sentence, kept: np.ndarray) -> Sentence | None:
    try:
        return parse(without_words(sentence, np.flatnonzero(~kept).tolist()))
    except UnsupportedText:
        return None


@torch.no_grad()
def _by_frames(pretrained: Pretrained, pair: Pair, kept: np.ndarray) -> np.ndarray:
    """The clip with the other frames cut out. Image towers read each frame alone, so that its tokens
    stay; what the heads make of changes between neighbours does not."""
    model = pretrained.model
    shorter = [pair.video.take(np.flatnonzero(mask).tolist()) for mask in kept]
    parts = [
        model.scores(pair.text_features, model.encode_video(pad_video_tokens(shorter[a : a + _CHUNK])))[0]
        for a in range(0, len(shorter), _CHUNK)
    ]
    return torch.cat(parts).cpu().numpy()


@torch.no_grad()
def _by_patches(pretrained: Pretrained, pair: Pair, kept: np.ndarray) -> np.ndarray:
    """The clip with the other cells painted over, through the image tower again."""
    model, scores = pretrained.model, np.empty(len(kept))
    for row, mask in enumerate(kept):
        pixels = paint_over(pair.frames.pixels, mask, pair.video.grid)
        video = model.encode_video(pretrained.backbone.encode_frames(pixels))
        scores[row] = float(model.scores(pair.text_features, video)[0, 0])
    return scores


_SCORES = {"words": _by_words, "frames": _by_frames, "patches": _by_patches}


def paint_over(pixels: np.ndarray, kept: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Pixels (T, H, W, 3) uint8 whose cells not ``kept`` (T*P,) bool have the clip's mean colour.

    Our decision: one flat colour, as black would add darkness and a blur would leave what is large.
    It is no picture that a tower has seen, which is the known weakness of all such curves; the
    random order suffers from it alike, so read the differences.
    """
    frames, height, width = pixels.shape[:3]
    rows, columns = (
        np.arange(side) * cells // side for side, cells in zip((height, width), grid, strict=True)
    )
    shown = kept.reshape(frames, *grid)[:, rows][:, :, columns]
    colour = pixels.mean(axis=(0, 1, 2)).round().astype(np.uint8)
    return np.where(shown[..., None], pixels, colour)
