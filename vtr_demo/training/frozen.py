"""Outputs of levels that do not learn, kept from step to step: a run that trains the rest computes each once."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.model.mcsan import ENTITY, LevelOutput
from vtr_demo.model.model import VTRModel
from vtr_demo.structures import LEVELS, TextTokens, VideoTokens
from vtr_demo.training.optim import training_mode


class _Row(NamedTuple):
    """One clip or sentence in float16: level vectors (L, D), base (N, D), the tokens of the first level (N, H),
    what the focus takes of the entity level (weights (N,), tokens (N, H), sum (D,)), and a sentence's level
    logits (L,)."""

    vectors: Tensor
    base: Tensor
    hidden: Tensor
    attention: Tensor
    things: Tensor
    entity: Tensor
    logits: Tensor


class FrozenLevels:
    """The levels of ``model`` in evaluation mode, in memory by the tokens they are of.

    Outputs hold what concepts, focus and the score take: vectors, base tokens, the tokens of the first and the entity
    level, and the entity level's weights and sum. The focus may learn: it is computed anew. A side of which another
    part learns is not kept.
    """

    def __init__(self, model: VTRModel) -> None:
        self._model = model
        self._rows: dict[bytes, _Row] = {}
        self.keeps_video, self.keeps_text = not _learns(model.video), not _learns(model.text)

    def video(self, tokens: VideoTokens) -> LevelOutput | None:
        """Return the levels of a padded batch of clips, None where they learn."""
        if not self.keeps_video:
            return None
        with torch.no_grad():
            tokens = self._model.reduced(tokens)
            out = self._video(tokens)
        return self._model.video.focused(replace(out, frame_mask=tokens.frame_mask))

    def _video(self, tokens: VideoTokens) -> LevelOutput:
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
            learning = self._model.training
            self._model.video.eval()  # stored without dropout, also beside a focus that learns
            out = self._model.video.levels(fresh)
            if learning:
                training_mode(self._model)
            blank = out.vectors.new_zeros(len(new), 0)
            self._keep([keys[i] for i in new], out, blank, [out.base.shape[1]] * len(new))
        return self._output(keys, tokens.patches.shape[1] * (1 + tokens.patches.shape[2]), tokens.summary.device)[0]

    @torch.no_grad()
    def text(self, tokens: TextTokens) -> tuple[LevelOutput, Tensor] | None:
        """Return the levels of a padded batch of sentences, and their logits; None where they learn."""
        if not self.keeps_text:
            return None
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
        return self._output(keys, 1 + tokens.words.shape[1], tokens.summary.device)

    def _keep(self, keys: list[bytes], out: LevelOutput, logits: Tensor, lengths: list[int]) -> None:
        focus = self._model.video.focus is not None and out.entity is not None
        for i, (key, n) in enumerate(zip(keys, lengths, strict=True)):
            none = logits.new_zeros(0)
            level = (out.weights[i, ENTITY, :n], out.hidden[ENTITY][i, :n]) if focus else (none, none[:, None])
            entity = none if out.entity is None else out.entity[i]
            parts = out.vectors[i], out.base[i, :n], out.hidden[0][i, :n], *level, entity, logits[i]
            self._rows[key] = _Row(*(part.half().cpu().clone() for part in parts))

    def _output(self, keys: list[bytes], tokens: int, device: torch.device) -> tuple[LevelOutput, Tensor]:
        rows = [self._rows[key] for key in keys]

        def padded(name: str) -> Tensor:
            """Tokens (B, N, H), or weights (B, N), with zeros behind the shorter ones."""
            parts = [getattr(row, name) for row in rows]
            parts = [F.pad(part, (0,) * (2 * part.dim() - 1) + (tokens - len(part),)) for part in parts]
            return torch.stack(parts).to(device, torch.float32)

        vectors, entity, logits = (
            torch.stack([getattr(row, name) for row in rows]).to(device, torch.float32)
            for name in ("vectors", "entity", "logits")
        )
        absent = torch.empty(len(rows), 0, device=device)
        hidden = (padded("hidden"),) * len(LEVELS)
        weights = absent
        if len(rows[0].attention):
            hidden = (hidden[0], padded("things"), *hidden[2:])
            weights = F.pad(padded("attention").unsqueeze(1), (0, 0, ENTITY, len(LEVELS) - ENTITY - 1))
        return LevelOutput(vectors, weights, padded("base"), hidden, absent, entity=entity), logits


def _learns(side: nn.Module) -> bool:
    """Whether anything of a side learns, but for the focus."""
    return any(one.requires_grad for name, one in side.named_parameters() if not name.startswith("focus."))


def _key(*parts: Tensor) -> bytes:
    return b"".join(part.detach().cpu().numpy().tobytes() for part in parts)
