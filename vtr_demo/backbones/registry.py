"""The towers: pixels to patch tokens, sentences to word tokens. ``load_backbone`` opens one."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vtr_demo.backbones.base import Backbone
from vtr_demo.backbones.hub import is_open_clip_folder, release_of
from vtr_demo.errors import BackboneError
from vtr_demo.structures import Sentence

__all__ = ["Backbone", "load_backbone"]

_VOCABULARY = 512


def load_backbone(spec: str, device: str = "cpu") -> Backbone:
    """Open the frozen towers that ``spec`` names.

    `bundled`; `open_clip:NAME/TAG` and its other forms (see ``vtr_demo.backbones.hub``); a folder with
    an open_clip_config.json; `openai/clip-vit-base-patch32` and its like; `tiny` or `tiny:SEED`, random, for tests.
    """
    kind, _, rest = spec.partition(":")
    backbone: Backbone
    if spec == "bundled":
        from vtr_demo.backbones.bundled import BundledBackbone

        backbone = BundledBackbone()
    elif kind == "tiny" and (spec == "tiny" or rest.isdecimal()):
        backbone = TinyBackbone(int(rest or 0))
    elif source := _open_clip_source(spec):
        from vtr_demo.backbones.open_clip import OpenClipBackbone

        backbone = OpenClipBackbone(f"open_clip:{source}")
    else:
        raise BackboneError(
            f"Unknown model {spec!r}; use bundled, open_clip:NAME/TAG, open_clip:ORG/REPO for a repository of the Hub, "
            "or a folder with an open_clip_config.json."
        )
    return backbone.to(device)


def _open_clip_source(spec: str) -> str:
    """Return what follows "open_clip:" in the full form of ``spec``, or "" where it is no open_clip model."""
    if spec.startswith("open_clip:"):
        return spec.removeprefix("open_clip:")
    return f"local-dir:{spec}" if is_open_clip_folder(spec) else release_of(spec)


class TinyBackbone(Backbone):
    """Random but seeded towers of two layers, for tests: patches are averages of colour, words are hashed.

    The grid is not square and Dv is not Ds, so that a transposed or mixed-up axis shows.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(pixel_mean=[127.5] * 3, pixel_std=[127.5] * 3)
        self.spec = f"tiny:{seed}" if seed else "tiny"
        self.frame_size, self.grid, self.patch_width, self.joint_width = 32, (3, 4), 24, 32
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.cells = nn.Sequential(nn.Linear(3, self.patch_width), nn.GELU())
            self.mix_frame = nn.Linear(self.patch_width, self.patch_width)
            self.frame = nn.Linear(self.patch_width, self.joint_width)
            self.embedding = nn.Embedding(_VOCABULARY, self.joint_width)
            self.mix_words = nn.Linear(self.joint_width, self.joint_width)
        self.freeze()

    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        cells = nn.functional.adaptive_avg_pool2d(pixels, self.grid).flatten(2).transpose(1, 2)
        patches = self.cells(cells)
        patches = patches + self.mix_frame(patches.mean(dim=1, keepdim=True))
        return patches, nn.functional.normalize(self.frame(patches.mean(dim=1)), dim=-1)

    def _text(self, sentences: Sequence[Sentence]) -> tuple[Tensor, Tensor, Tensor]:
        codes = [
            torch.tensor([crc32(word.text.lower().encode()) % _VOCABULARY for word in sentence.words], dtype=torch.long)
            for sentence in sentences
        ]
        ids = pad_sequence(codes, batch_first=True).to(self.device)
        has = pad_sequence([torch.ones_like(code) for code in codes], batch_first=True).to(self.device) > 0
        counts = has.sum(dim=1, keepdim=True)
        words = self.embedding(ids) * has.unsqueeze(-1)
        context = self.mix_words(words.sum(dim=1, keepdim=True) / counts.clamp(min=1).unsqueeze(-1))
        words = (words + context) * has.unsqueeze(-1)
        # Half of the sentence vector is the summary's and half the words', as nothing simpler tests both.
        pool = torch.cat([1 - 0.5 * (counts > 0).float(), 0.5 * has / counts.clamp(min=1)], dim=1)
        return torch.cat([context, words], dim=1), pool, has
