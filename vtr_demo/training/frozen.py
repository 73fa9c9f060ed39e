"""Outputs of levels that do not learn, kept from step to step: a run that trains S2CA alone computes each once."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo.model.mcsan import LevelOutput
from vtr_demo.model.model import VTRModel
from vtr_demo.structures import LEVELS, TextTokens, VideoTokens


class _Row(NamedTuple):
    """One clip or sentence in float16: level vectors (L, D), base (N, D), the tokens of the first level (N, H),
    and a sentence's level logits (L,)."""

    vectors: Tensor
    base: Tensor
    hidden: Tensor
    logits: Tensor


class FrozenLevels:
    """The levels of ``model`` in evaluation mode, in memory by the tokens they are of.

    Outputs hold what concepts and the score take: vectors, base tokens and the tokens of the first level.
    """

    def __init__(self, model: VTRModel) -> None:
        self._model = model
        self._rows: dict[bytes, _Row] = {}

    @torch.no_grad()
    def video(self, tokens: VideoTokens) -> LevelOutput:
        """Return the levels of a padded batch of clips."""
        tokens = self._model.reduced(tokens)
        keys = [
            _key(summary, patches[:, 0], mask)
            for summary, patches, mask in zip(tokens.summary, tokens.patches, tokens.frame_mask, strict=True)
        ]
        new = [i for i, key in enumerate(keys) if key not in self._rows]
        if new:
            fresh = VideoTokens(
                tokens.patches[new],
                tokens.summary[new],
                tokens.frame_mask[new],
                tokens.grid,
                None if tokens.motion is None else tokens.motion[new],
            )
            out = self._model.video(fresh)
            blank = out.vectors.new_zeros(len(new), 0)
            self._keep([keys[i] for i in new], out, blank, [out.base.shape[1]] * len(new))
        return self._output(keys, tokens.patches.shape[1] * (1 + tokens.patches.shape[2]), tokens.summary.device)[0]

    @torch.no_grad()
    def text(self, tokens: TextTokens) -> tuple[LevelOutput, Tensor]:
        """Return the levels of a padded batch of sentences, and their logits."""
        keys = [
            _key(words[mask], summary, mask.nonzero())
            for words, summary, mask in zip(tokens.words, tokens.summary, tokens.word_mask, strict=True)
        ]
        new = [i for i, key in enumerate(keys) if key not in self._rows]
        if new:
            out, logits = self._model.text(tokens)
            held = 1 + torch.arange(1, 1 + tokens.word_mask.shape[1], device=logits.device) * tokens.word_mask
            lengths = F.pad(held, (1, 0), value=1).amax(1).tolist()
            self._keep(keys, out, logits, lengths)
        out, logits = self._output(keys, 1 + tokens.words.shape[1], tokens.summary.device)
        return out, logits

    def _keep(self, keys: list[bytes], out: LevelOutput, logits: Tensor, lengths: list[int]) -> None:
        for i, (key, n) in enumerate(zip(keys, lengths, strict=True)):
            parts = out.vectors[i], out.base[i, :n], out.hidden[0][i, :n], logits[i]
            self._rows[key] = _Row(*(part.half().cpu().clone() for part in parts))

    def _output(self, keys: list[bytes], tokens: int, device: torch.device) -> tuple[LevelOutput, Tensor]:
        rows = [self._rows[key] for key in keys]

        def padded(name: str) -> Tensor:
            parts = [F.pad(part, (0, 0, 0, tokens - len(part))) for part in (getattr(row, name) for row in rows)]
            return torch.stack(parts).to(device, torch.float32)

        vectors, logits = (torch.stack([getattr(row, name) for row in rows]) for name in ("vectors", "logits"))
        absent = torch.empty(len(rows), 0, device=device)
        hidden = (padded("hidden"),) * len(LEVELS)
        out = LevelOutput(vectors.to(device, torch.float32), absent, padded("base"), hidden, absent)
        return out, logits.to(device, torch.float32)


def _key(*parts: Tensor) -> bytes:
    return b"".join(part.detach().cpu().numpy().tobytes() for part in parts)
