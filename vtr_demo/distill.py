"""S2CA's Align-Transform-Reconstruct distillation; used in training only.

The abstract names the framework and the CLIP teacher; the form is our decision, after MGD (align,
mask, generate) and CLIP-KD (squared error of normalised features):

    Align        a_i = W_a sum_k A_ki C_k           concept features put back on their tokens
    Transform    a'  = MLP(mask(a))
    Reconstruct  y_i = W_r a'_i ,  loss = mean || norm(y_i) - norm(teacher_i) ||^2

for frames (patches), words and the two global vectors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo import losses
from vtr_demo.blocks import identity_linear
from vtr_demo.s2ca import ConceptOutput


class Distiller(nn.Module):
    """Reconstructs a frozen teacher's tokens from concept features, and its global vectors from ours.

    ``patch_width`` and ``word_width`` are the teacher's, ``width`` is the student's D.
    """

    def __init__(
        self, concept_width: int, width: int, patch_width: int, word_width: int, mask_share: float
    ) -> None:
        super().__init__()
        self.mask_share = mask_share
        self.tokens = nn.ModuleDict(
            {
                "video": _Reconstruction(concept_width, patch_width),
                "text": _Reconstruction(concept_width, word_width),
            }
        )
        self.globals = nn.ModuleDict(
            {side: identity_linear(width) if width == word_width else nn.Linear(width, word_width, bias=False)
             for side in ("video", "text")}
        )  # fmt: skip

    def token_loss(self, concepts: ConceptOutput, mask: Tensor, teacher: Tensor, side: str) -> Tensor:
        """Tokens (B, N, teacher width) from the concepts; ``mask`` (B, N) marks real tokens."""
        own = torch.einsum("bkn,bkd->bnd", concepts.allocation.float(), concepts.aggregated.float())
        return losses.reconstruction(self.tokens[side](own, self.mask_share), teacher, mask)

    def global_loss(self, vectors: Tensor, teacher: Tensor, side: str) -> Tensor:
        """Global vectors (B, D) against the teacher's (B, word width)."""
        return losses.reconstruction(self.globals[side](vectors.float()), teacher)


class _Reconstruction(nn.Module):
    """Align, transform (mask and MLP) and reconstruct; the MLP starts as nothing but its residual."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.align = nn.Linear(inputs, outputs)
        # Not zero: where a vector has no direction the loss has a gradient of 1e10, which fp16 cannot hold.
        self.hidden = nn.Parameter(0.02 * torch.randn(outputs))
        self.transform = nn.Sequential(nn.LayerNorm(outputs), nn.Linear(outputs, outputs), nn.GELU())
        self.reconstruct = nn.Linear(outputs, outputs, bias=False)
        nn.init.zeros_(self.reconstruct.weight)

    def forward(self, tokens: Tensor, mask_share: float) -> Tensor:
        aligned = self.align(tokens)
        if self.training and mask_share:
            masked = torch.rand(aligned.shape[:-1], device=aligned.device) < mask_share
            aligned = torch.where(masked.unsqueeze(-1), self.hidden.to(aligned.dtype), aligned)
        return aligned + self.reconstruct(F.normalize(self.transform(aligned), dim=-1))
