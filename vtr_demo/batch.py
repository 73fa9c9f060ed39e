"""What a training step works on: tokens of clips and their sentences, and what they ought to be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vtr_demo.records import TextTokens, VideoTokens


@dataclass(frozen=True)
class Contrasts:
    """Minimal pairs of a batch: ``tokens`` of N false sentences, the row of the batch that each
    belongs to, and the level (index) that it gets wrong.

    ``rivals`` are M clips of which false sentences are true, ``shown`` (M,) says of which, in the order of
    their concatenation.
    """

    tokens: TextTokens
    rows: Tensor
    levels: Tensor
    rivals: tuple[VideoTokens, ...] = ()
    shown: Tensor | None = None

    def to(self, device: torch.device) -> Contrasts:
        """The same on ``device``."""
        return Contrasts(
            self.tokens.to(device),
            self.rows.to(device),
            self.levels.to(device),
            tuple(video.to(device) for video in self.rivals),
            None if self.shown is None else self.shown.to(device),
        )


@dataclass(frozen=True)
class Teaching:
    """The frozen teacher's tokens of the same frames and words, in the layout of the student's."""

    videos: tuple[VideoTokens, ...]
    texts: TextTokens

    def to(self, device: torch.device) -> Teaching:
        """The same on ``device``."""
        return Teaching(tuple(video.to(device) for video in self.videos), self.texts.to(device))


@dataclass(frozen=True)
class Batch:
    """One step's data: text i belongs to video i over the concatenation of ``videos``.

    Videos of equal length travel together (photos apart from clips), so that nothing is padded in
    vain. meaning (B, 1+L, Dt) as in ``tokens.Text``; labels[l] (B, A_l). Without ``teaching`` the
    batch's own tokens are the teacher's: the frozen towers teach their heads.
    """

    videos: tuple[VideoTokens, ...]
    texts: TextTokens
    meaning: Tensor
    labels: tuple[Tensor, ...] = ()
    contrasts: Contrasts | None = None
    teaching: Teaching | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``; tokens in float32."""
        return replace(
            self,
            videos=tuple(video.to(device) for video in self.videos),
            texts=self.texts.to(device),
            meaning=self.meaning.to(device),
            labels=tuple(labels.to(device) for labels in self.labels),
            contrasts=self.contrasts.to(device) if self.contrasts else None,
            teaching=self.teaching.to(device) if self.teaching else None,
        )
