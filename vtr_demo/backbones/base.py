"""The base class of backbones, and helpers: words from sub-words, digests of weights, guarded imports."""

from __future__ import annotations

import hashlib
import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from vtr_demo.errors import BackboneError, TextError
from vtr_demo.files import fingerprint, sha256_of
from vtr_demo.structures import Sentence, TextTokens, VideoTokens, Word, pad_text_tokens


class Backbone(nn.Module, ABC):
    """An image tower and a text tower whose frame and sentence vectors share one space.

    The cosine of a frame's ``summary`` and a sentence vector is meaningful without training. Towers start
    frozen: no gradients, no dropout. Pixels come as the decoder leaves them, (T, H, W, 3) uint8 RGB; scaling and
    normalising are done here, because the constants belong to the weights.
    """

    spec: str
    frame_size: int
    """Side of the square picture the image tower takes, in pixels."""
    patch_width: int
    """Dv"""
    grid: tuple[int, int]
    """(rows, columns) of patches; P is their product."""
    contrastive = False
    """Whether both towers learnt together from pairs of picture and text: training then starts from their score."""
    joint_width: int
    """Ds = Dt: the width of frame summaries, word tokens and sentence vectors."""

    def __init__(self, *, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
        """``pixel_mean`` and ``pixel_std``: three numbers each (R, G, B), in units of 0 to 255."""
        super().__init__()
        self.frame_chunk = 2
        """Frames that go through the image tower at once when no gradient is asked for; four times as many on a
        GPU. On a CPU the activations of more leave its caches, which takes a quarter more time (measured)."""
        self.text_chunk = 64
        """Sentences that go through the text tower at once when no gradient is asked for."""
        self.grad_chunk = 0
        """Frames, and sentences, that go through learning towers at a time, their activations being computed again
        in the backward pass; 0: all at once, activations are kept."""
        self.motion_half = False
        """Whether the motion tower, where there is one, computes in bfloat16 while it is frozen."""
        self.trainable = False
        self._fingerprint: str | None = None
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, 3, 1, 1), persistent=False)
        self.register_load_state_dict_post_hook(_forget_fingerprint)

    @abstractmethod
    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pixels (N, 3, S, S) to patches (N, P, Dv) and summary (N, Ds)."""

    def _motion(self, clips: Sequence[Tensor]) -> Tensor | None:
        """Frames (T, H, W, 3) uint8 of clips to motion tokens (N, Ds) over all clips; None for backbones
        without a motion tower."""
        return None

    @abstractmethod
    def _text(self, sentences: Sequence[Sentence]) -> tuple[Tensor, Tensor, Tensor]:
        """Sentences to tokens (B, 1+W, Dt), the summary first, pool (B, 1+W), has (B, W) bool."""

    def _identity(self) -> tuple[Any, ...]:
        """Whatever else, beside the weights, the tokens depend on; part of the fingerprint."""
        return ()

    # ----------------------------------------------------------------- properties
    @property
    def device(self) -> torch.device:
        """Device of the towers."""
        return self.pixel_mean.device

    @property
    def fingerprint(self) -> str:
        """Short digest of the weights themselves, whatever files they came from. Computed lazily, and again
        after fine-tuning or loading."""
        if self._fingerprint is None or self.trainable:
            self._fingerprint = fingerprint(
                type(self).__name__, self.frame_size, self.grid, self._identity(), state_digest(self)
            )
        return self._fingerprint

    # ----------------------------------------------------------------- training
    def freeze(self) -> None:
        """Disable gradients and stay in evaluation mode, also after ``train()`` on an outer model."""
        self.trainable = False
        self._fingerprint = None
        self.requires_grad_(False)
        self.eval()

    def unfreeze(self) -> None:
        """Enable gradients in both towers, for end-to-end fine-tuning."""
        self.trainable = True
        self.requires_grad_(True)

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode of trainable towers; frozen ones stay in evaluation mode, and batch norms always use
        their stored statistics, since the frames of a few clips are no fair sample (our decision)."""
        super().train(mode and self.trainable)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in fine-tuning; ignored by towers that have no checkpointing."""

    @property
    def _learning(self) -> bool:
        return self.trainable and torch.is_grad_enabled()

    def _grad(self) -> torch.set_grad_enabled:
        return torch.set_grad_enabled(self._learning)

    def _chunk(self, size: int, total: int) -> int:
        return self.grad_chunk or total if self._learning else size

    def _run(self, tower: Callable[[Any], Any], inputs: Any) -> Any:
        """``tower(inputs)``, whose activations are not kept where ``grad_chunk`` says so."""
        if self.grad_chunk and self._learning:
            return checkpoint(tower, inputs, use_reentrant=False)
        return tower(inputs)

    # ----------------------------------------------------------------- frames
    def encode_frames(self, pixels: np.ndarray | Tensor, *, motion: bool = True) -> VideoTokens:
        """Encode one clip, (T, H, W, 3) uint8, to tokens with B = 1; ``motion``: run a motion tower, if any."""
        frames = _checked(pixels, axes=4)
        mask = torch.ones(1, len(frames), dtype=torch.bool)
        return self.encode_frame_batch(frames.unsqueeze(0), mask, motion=motion)

    def encode_frame_batch(
        self, pixels: np.ndarray | Tensor, frame_mask: np.ndarray | Tensor, *, motion: bool = True
    ) -> VideoTokens:
        """Encode clips padded over T, (B, T, H, W, 3) uint8 with frame_mask (B, T); with gradients when
        trainable. Padding frames are skipped and become zeros."""
        frames = _checked(pixels, axes=5)
        mask = torch.as_tensor(frame_mask, device=self.device)
        clips = [clip[shown] for clip, shown in zip(frames, mask.to(frames.device), strict=True)]

        def padded(values: Any) -> Any:
            if values is None:
                return None
            out = values.new_zeros(*mask.shape, *values.shape[1:])
            out[mask] = values
            return out

        with self._grad():
            patches, summary = self._image_tokens(torch.cat(clips))
            moved = self._motion_tokens(clips) if motion else None
            return VideoTokens(padded(patches), padded(summary), mask, self.grid, padded(moved))

    def _image_tokens(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8 to float32 patches (N, P, Dv) and summary (N, Ds)."""
        at_once = self.frame_chunk * (1 if self.device.type == "cpu" else 4)
        chunks = frames.split(self._chunk(at_once, len(frames)))
        parts = [self._run(lambda chunk: self._frames(self._prepared(chunk)), chunk) for chunk in chunks]
        patches, summary = (torch.cat(values).float() for values in zip(*parts, strict=True))
        return patches, summary

    def _motion_tokens(self, clips: Sequence[Tensor]) -> Tensor | None:
        """Frames (T, H, W, 3) uint8 of clips to float32 motion tokens (N, Ds), if there is a motion tower."""
        each = [[clip] for clip in clips] if self.grad_chunk and self._learning else [clips]
        parts = [self._run(self._motion, some) for some in each]
        return None if parts[0] is None else torch.cat(parts).float()

    def _prepared(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 to normalised (N, 3, S, S); another size is resized, bicubic."""
        values = frames.to(self.device).permute(0, 3, 1, 2).float()
        side = self.frame_size
        if values.shape[-2:] != (side, side):
            values = nn.functional.interpolate(values, (side, side), mode="bicubic", antialias=True)
            values = values.round().clamp(0, 255)
        return (values - self.pixel_mean) / self.pixel_std

    # ----------------------------------------------------------------- text
    def encode_text(self, sentences: Sequence[Sentence]) -> TextTokens:
        """Encode sentences to word tokens padded over W; with gradients when trainable."""
        if not sentences:
            raise TextError("No sentence was given; pass at least one.")
        step = self._chunk(self.text_chunk, len(sentences))
        with self._grad():
            return pad_text_tokens([self._text_tokens(sentences[i : i + step]) for i in range(0, len(sentences), step)])

    def _text_tokens(self, sentences: Sequence[Sentence]) -> TextTokens:
        tokens, pool, has = self._run(self._text, sentences)
        by_word = [torch.from_numpy(sentence.level_mask().T) for sentence in sentences]
        levels = pad_sequence(by_word, batch_first=True).transpose(1, 2)
        return TextTokens(tokens[:, 1:].float(), tokens[:, 0].float(), has, levels.to(self.device), pool.float())


# --------------------------------------------------------------------------- words from sub-words
def word_shares(words: Sequence[Word], spans: np.ndarray) -> np.ndarray:
    """Return (1+W, N): the share of each sub-word token that belongs to each word, by common characters.

    spans (N, 2) are character offsets in the sentence's text. Each column sums to 1: a token that
    straddles two words is divided, one that touches no word goes to row 0, the summary.
    """
    starts = np.array([word.start for word in words], dtype=np.int64).reshape(-1, 1)
    ends = np.array([word.end for word in words], dtype=np.int64).reshape(-1, 1)
    common = np.minimum(ends, spans[:, 1]) - np.maximum(starts, spans[:, 0])
    common = common.clip(min=0).astype(np.float32)
    total = common.sum(axis=0)
    shares = np.zeros((1 + len(words), len(spans)), dtype=np.float32)
    shares[1:] = common / np.maximum(total, 1)
    shares[0] = total == 0
    return shares


def mean_by_share(states: Tensor, shares: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Average sub-word states (B, N, D) by shares (1+W, N) of each sentence to means (B, 1+W, D) and weights (B, 1+W).

    The weights times the means add up to the states' sum over the tokens, exactly.
    """
    stacked = pad_sequence([torch.from_numpy(rows) for rows in shares], batch_first=True).to(states.device)
    weights = stacked.sum(dim=-1)
    return stacked.to(states.dtype) @ states / weights.clamp(min=1e-6).unsqueeze(-1), weights


# --------------------------------------------------------------------------- digests
def check_digest(path: Path, expected: str, remedy: str) -> None:
    """Raise ``BackboneError`` for a weight file that is missing or has another sha256 than ``expected``."""
    if not path.is_file():
        raise BackboneError(f"The weight file {path.name} is missing; {remedy}.")
    if sha256_of(path) != expected:
        raise BackboneError(
            f"The weight file {path.name} is damaged or replaced (its sha256 is not the expected one); {remedy}."
        )


def state_digest(module: nn.Module) -> str:
    """Return the sha256 over the names, types, shapes and values of a module's state."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)};".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _forget_fingerprint(module: Any, _: Any) -> None:
    module._fingerprint = None


# --------------------------------------------------------------------------- small tensors
def _checked(pixels: np.ndarray | Tensor, axes: int) -> Tensor:
    if isinstance(pixels, np.ndarray):  # torch takes neither read-only memory nor flipped views
        pixels = np.require(pixels, requirements=["C", "W"])
    frames = torch.as_tensor(pixels)
    if frames.ndim != axes or frames.shape[-1] != 3 or frames.dtype != torch.uint8 or frames.numel() == 0:
        raise ValueError(f"pixels must be {axes}-D uint8 (..., H, W, 3), got {tuple(frames.shape)}")
    return frames


# --------------------------------------------------------------------------- imports
_declared: list[Any] = []


def guarded_import(name: str) -> ModuleType:
    """Import ``name`` (timm, open_clip), declaring torchvision's operators if they are missing.

    A CPU build of torch beside a CUDA build of torchvision fails with "operator torchvision::nms
    does not exist" (pytorch/vision issues 9077 and 9085). Nothing here calls nms, so its schema
    is declared and the import is tried again; with a matching pair of builds nothing is changed.
    """
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
    package = name.partition(".")[0]
    for loaded in [key for key in sys.modules if key.split(".")[0] in ("torchvision", package)]:
        del sys.modules[loaded]
    _declare_operators()
    return importlib.import_module(name)


def _declare_operators() -> None:
    from torch.library import Library

    library = Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
