"""Random but seeded towers, small enough for tests of everything that stands on a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import torch
from torch import Tensor, nn

from vtr_demo.backbones.base import Backbone
from vtr_demo.structures import Sentence

VOCABULARY = 512


class TinyBackbone(Backbone):
    """Two layers a tower, untrained: patches are averages of colour, words are hashed.

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
            self.embedding = nn.Embedding(VOCABULARY, self.joint_width)
            self.mix_words = nn.Linear(self.joint_width, self.joint_width)
        self.freeze()

    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        cells = nn.functional.adaptive_avg_pool2d(pixels, self.grid).flatten(2).transpose(1, 2)
        patches = self.cells(cells)
        patches = patches + self.mix_frame(patches.mean(dim=1, keepdim=True))
        return patches, nn.functional.normalize(self.frame(patches.mean(dim=1)), dim=-1)

    def _text(self, sentences: Sequence[Sentence]) -> tuple[Tensor, Tensor, Tensor]:
        width = max(len(sentence.words) for sentence in sentences)
        ids = torch.zeros(len(sentences), width, dtype=torch.long)
        has = torch.zeros(len(sentences), width, dtype=torch.bool)
        for row, sentence in enumerate(sentences):
            codes = [crc32(word.text.lower().encode()) % VOCABULARY for word in sentence.words]
            ids[row, : len(codes)] = torch.tensor(codes, dtype=torch.long)
            has[row, : len(codes)] = True
        has = has.to(self.device)
        counts = has.sum(dim=1, keepdim=True)
        words = self.embedding(ids.to(self.device)) * has.unsqueeze(-1)
        context = self.mix_words(words.sum(dim=1, keepdim=True) / counts.clamp(min=1).unsqueeze(-1))
        words = (words + context) * has.unsqueeze(-1)
        # Half of the sentence vector is the summary's and half the words', as nothing simpler tests both.
        pool = torch.cat([1 - 0.5 * (counts > 0).float(), 0.5 * has / counts.clamp(min=1)], dim=1)
        return torch.cat([context, words], dim=1), pool, has
