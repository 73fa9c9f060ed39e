"""Outputs of levels that do not learn, kept from step to step: a run that trains the rest computes each once."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vtr_demo.model.mcsan import ENTITY, LevelOutput
from vtr_demo.model.model import VTRModel
from vtr_demo.structures import LEVELS, TextTokens, VideoTokens, map_tensors
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


_BY_TOKEN = ("base", "hidden", "attention", "things")


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
        parts = zip(tokens.summary, tokens.patches[:, :, 0], tokens.frame_mask, strict=True)
        keys = [_key(*part) for part in parts]
        length = tokens.patches.shape[1] * (1 + tokens.patches.shape[2])
        new = [i for i, key in enumerate(keys) if key not in self._rows]
        if new:
            learning = self._model.training
            self._model.video.eval()  # stored without dropout, also beside a focus that learns
            out = self._model.video.levels(map_tensors(tokens, lambda value: value[new]))
            if learning:
                training_mode(self._model)
            self._keep([keys[i] for i in new], out, out.vectors.new_zeros(len(new), 0), [length] * len(new))
        return self._output(keys, length, tokens.summary.device)[0]

    @torch.no_grad()
    def text(self, tokens: TextTokens) -> tuple[LevelOutput, Tensor] | None:
        """Return the levels of a padded batch of sentences, and their logits; None where they learn."""
        if not self.keeps_text:
            return None
        parts = zip(tokens.words, tokens.summary, tokens.word_mask, strict=True)
        keys = [_key(words[mask], summary, mask.nonzero()) for words, summary, mask in parts]
        if any(key not in self._rows for key in keys):
            held = 1 + torch.arange(1, 1 + tokens.word_mask.shape[1], device=tokens.words.device) * tokens.word_mask
            out, logits = self._model.text(tokens)
            self._keep(keys, out, logits, F.pad(held, (1, 0), value=1).amax(1).tolist())
        return self._output(keys, 1 + tokens.words.shape[1], tokens.summary.device)

    def _keep(self, keys: list[bytes], out: LevelOutput, logits: Tensor, lengths: list[int]) -> None:
        none = logits.new_zeros(0)
        for i, (key, n) in enumerate(zip(keys, lengths, strict=True)):
            level, entity = (none, none[:, None]), none
            if out.entity is not None:
                entity = out.entity[i]
                if self._model.video.focus is not None:
                    level = out.weights[i, ENTITY, :n], out.hidden[ENTITY][i, :n]
            parts = out.vectors[i], out.base[i, :n], out.hidden[0][i, :n], *level, entity, logits[i]
            self._rows[key] = _Row(*(part.half().cpu().clone() for part in parts))

    def _output(self, keys: list[bytes], length: int, device: torch.device) -> tuple[LevelOutput, Tensor]:
        """Stack rows, with zeros behind those of fewer tokens than ``length``."""
        columns = []
        for name, parts in zip(_Row._fields, zip(*(self._rows[key] for key in keys), strict=True), strict=True):
            column = pad_sequence(list(parts), batch_first=True)
            if name in _BY_TOKEN and column.shape[1]:
                column = F.pad(column, (0, 0) * (column.dim() - 2) + (0, length - column.shape[1]))
            columns.append(column.to(device, torch.float32))
        rows = _Row(*columns)
        hidden = (rows.hidden,) * len(LEVELS)
        weights = absent = torch.empty(len(keys), 0, device=device)
        if rows.attention.shape[1]:
            hidden = (rows.hidden, rows.things, *hidden[2:])
            weights = F.pad(rows.attention.unsqueeze(1), (0, 0, ENTITY, len(LEVELS) - ENTITY - 1))
        return LevelOutput(rows.vectors, weights, rows.base, hidden, absent, entity=rows.entity), rows.logits


def _learns(side: nn.Module) -> bool:
    """Whether anything of a side learns, but for the focus."""
    return any(one.requires_grad for name, one in side.named_parameters() if not name.startswith("focus."))


def _key(*parts: Tensor) -> bytes:
    return b"".join(part.detach().cpu().numpy().tobytes() for part in parts)
