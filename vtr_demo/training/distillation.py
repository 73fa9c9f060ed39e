"""S2CA's Align-Transform-Reconstruct distillation; used in training only.

The abstract names the framework and the CLIP teacher; the form is our decision, after MGD (align,
mask, generate) and CLIP-KD (squared error of normalised features):

    Align        a_k = W_a C_k                      concept features in the teacher's width
    Transform    a'  = MLP(a)
    Reconstruct  y_i = sum_k A_ki W_r a'_k          scattered to the concept's tokens
             m_i = mean of W_r a'_k over the other concepts, + h, for a masked token; h is learnt
                 loss = mean || norm(y_i) - norm(teacher_i) ||^2

for patches, words and the two global vectors. A masked token has to be told from its context, the clip's
other concepts, which thus learn from it. All tokens of a concept have one reconstruction, which is
computed once a concept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.model.layers import identity_linear
from vtr_demo.model.s2ca import ConceptOutput
from vtr_demo.training import losses


class Distiller(nn.Module):
    """Reconstruct a frozen teacher's tokens from concept features, and its global vectors from the student's.

    ``patch_width`` and ``word_width`` are the teacher's, ``width`` is the student's D.
    """

    def __init__(self, concept_width: int, width: int, patch_width: int, word_width: int, mask_share: float) -> None:
        super().__init__()
        self.mask_share = mask_share
        self.tokens = nn.ModuleDict(
            {"video": _Reconstruction(concept_width, patch_width), "text": _Reconstruction(concept_width, word_width)}
        )
        self.globals = nn.ModuleDict(
            {side: identity_linear(width) if width == word_width else nn.Linear(width, word_width, bias=False)
             for side in ("video", "text")}
        )  # fmt: skip

    def token_loss(self, concepts: ConceptOutput, mask: Tensor, teacher: Tensor, side: str) -> Tensor:
        """Return the loss against teacher tokens (B, N, teacher width); ``mask`` (B, N) marks real tokens."""
        rebuilt, blank = self.tokens[side](concepts.aggregated.float())
        own = torch.einsum("bkn,bkd->bnd", concepts.allocation.float(), rebuilt)
        if self.training and self.mask_share:
            hidden = torch.rand(own.shape[:-1], device=own.device) < self.mask_share
            others = (rebuilt.sum(1, keepdim=True) - own) / max(1, rebuilt.shape[1] - 1)
            own = torch.where(hidden.unsqueeze(-1), blank + others, own)
        return losses.reconstruction(own, teacher, mask)

    def global_loss(self, vectors: Tensor, teacher: Tensor, side: str) -> Tensor:
        """Return the loss of global vectors (B, D) against the teacher's (B, word width)."""
        return losses.reconstruction(self.globals[side](vectors.float()), teacher)


class _Reconstruction(nn.Module):
    """Align, transform (mask and MLP) and reconstruct; the MLP's residual branch is zero-initialised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.align = nn.Linear(inputs, outputs)
        # Not zero: normalising a zero vector has a slope of 1e12.
        self.hidden = nn.Parameter(0.02 * torch.randn(outputs))
        self.transform = nn.Sequential(nn.LayerNorm(outputs), nn.Linear(outputs, outputs), nn.GELU())
        self.reconstruct = nn.Linear(outputs, outputs, bias=False)
        nn.init.zeros_(self.reconstruct.weight)

    def forward(self, concepts: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, K, Dc) to the reconstruction of each concept's tokens (B, K, teacher width) and what a
        masked token adds to its context (teacher width,)."""
        return self._transform(self.align(concepts)), self._transform(self.hidden)

    def _transform(self, aligned: Tensor) -> Tensor:
        return aligned + self.reconstruct(F.normalize(self.transform(aligned), dim=-1))
