"""Any open_clip model as a pair of towers: projected patches, words and sentence vectors.

    open_clip:NAME/TAG            a released model, from the Hub or its local cache
    open_clip:NAME/FILE           the architecture NAME with a local .safetensors, .pt or .bin file
    open_clip:hf-hub:ORG/REPO     a Hub repository with an open_clip_config.json
    open_clip:local-dir:FOLDER    a folder with open_clip_config.json and the weights (or FOLDER alone)

NAME ends at the first slash, so an absolute FILE gives two slashes in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vtr_demo.backbone_base import Backbone, mean_by_share, stack_shares, word_shares
from vtr_demo.errors import BackboneUnavailable
from vtr_demo.open_clip_files import open_model
from vtr_demo.records import Sentence
from vtr_demo.word_spans import token_spans


class OpenClipBackbone(Backbone):
    """An open_clip model. Summary and sentence vector are its own image and text embeddings, so
    an untrained model ranks as CLIP does: the mean over a clip's normalised frame embeddings
    (CLIP4Clip's meanP, Luo et al. 2021) against the text embedding.

    A patch is taken through the tower's own pooling head alone, as if it were the whole picture,
    which puts it in the joint space (MaskCLIP, Zhou et al. 2022); for a plain ViT that is
    ``ln_post(token) @ proj``. Heads that cannot take a single patch hand over the raw patch.
    """

    def __init__(self, spec: str) -> None:
        model, tokenizer, preprocess = open_model(spec.removeprefix("open_clip:"))
        super().__init__(
            pixel_mean=[255 * value for value in preprocess["mean"]],
            pixel_std=[255 * value for value in preprocess["std"]],
        )
        self.spec, self.model, self.tokenizer = spec, model, tokenizer
        self.frame_size = _side(model.visual.image_size, spec)
        self.freeze()
        self._measure()

    def _identity(self) -> tuple[Any, ...]:
        return self.pixel_mean.flatten().tolist(), self.pixel_std.flatten().tolist()

    def _measure(self) -> None:
        """Find the widths and the grid by one grey picture, and refuse weights that are not sound."""
        with torch.no_grad():
            patches, summary = self._frames(torch.zeros(1, 3, self.frame_size, self.frame_size))
        rows = round(patches.shape[1] ** 0.5)
        if rows * rows != patches.shape[1]:
            raise BackboneUnavailable(
                f"The image tower of {self.spec} gives {patches.shape[1]} patches, which form no square "
                "grid; choose another model."
            )
        if not (torch.isfinite(patches).all() and torch.isfinite(summary).all()):
            raise BackboneUnavailable(
                f"The weights of {self.spec} give values that are not numbers; download them again."
            )
        self.grid, self.patch_width, self.joint_width = (rows, rows), patches.shape[2], summary.shape[1]

    def unfreeze(self) -> None:
        """Everything that the tokens depend on; CLIP's logit scale and a captioner do not count."""
        super().unfreeze()
        for name, parameter in self.model.named_parameters():
            if name.startswith(("logit_scale", "logit_bias", "text_decoder")):
                parameter.requires_grad_(False)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass, by open_clip's own switch."""
        self.model.set_grad_checkpointing(enable)

    # ----------------------------------------------------------------- frames
    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        visual = self.model.visual
        if hasattr(visual, "trunk"):
            patches, summary = _timm_tokens(visual, pixels)
        elif hasattr(visual, "attnpool"):
            patches, summary = _resnet_tokens(visual, pixels)
        else:
            patches, summary = _vit_tokens(visual, pixels)
        return patches, nn.functional.normalize(summary, dim=-1)

    # ----------------------------------------------------------------- text
    def _text(self, sentences: Sequence[Sentence]) -> tuple[Tensor, Tensor, Tensor]:
        ids = self.tokenizer([sentence.text for sentence in sentences])
        states, summary = self._text_states(ids.to(self.device))
        shares = [
            word_shares(sentence.words, token_spans(self.tokenizer, sentence.text, row))
            for sentence, row in zip(sentences, ids.numpy(), strict=True)
        ]
        means, weights = mean_by_share(states, stack_shares(shares, states.shape[1], self.device))
        tokens = torch.cat([summary.unsqueeze(1), means[:, 1:]], dim=1)
        pool = torch.zeros_like(weights)
        pool[:, 0] = 1
        return tokens, pool, weights[:, 1:] > 0

    def _text_states(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token states (B, N, D) in the joint space, and the text embedding (B, D) as it comes."""
        text = getattr(self.model, "text", None)
        if text is not None and not hasattr(text, "forward_intermediates"):
            return _hugging_face_states(text, ids)
        options = {"text_indices": 1} if text is None else {"indices": 1, "output_fmt": "NLC"}
        if text is None:
            out = self.model.forward_intermediates(
                text=ids, normalize=False, normalize_intermediates=True, **options
            )
        else:
            out = text.forward_intermediates(ids, normalize_intermediates=True, **options)
        project = (self.model if text is None else text).text_projection
        return _projected(out["text_intermediates"][-1], project), out["text_features"]


def _side(image_size: Any, spec: str) -> int:
    height, width = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    if height != width:
        raise BackboneUnavailable(
            f"{spec} wants pictures of {width}x{height} pixels, not squares; choose another model."
        )
    return int(height)


def _projected(values: Tensor, projection: Any) -> Tensor:
    if projection is None:
        return values
    return projection(values) if isinstance(projection, nn.Module) else values @ projection


def _hugging_face_states(text: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """As ``HFTextEncoder.forward``, keeping the token states."""
    mask = (ids != text.config.pad_token_id).long()
    out = text.transformer(input_ids=ids, attention_mask=mask)
    return text.proj(out.last_hidden_state), text.proj(text.pooler(out, mask))


# --------------------------------------------------------------------------- image towers
def _vit_tokens(visual: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    out = visual.forward_intermediates(pixels, indices=1, output_fmt="NLC")
    patches = out["image_intermediates"][-1]
    if visual.attn_pool is None:
        patches = _projected(visual.ln_post(patches), visual.proj)
    return patches, out["image_features"]


def _resnet_tokens(visual: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    out = visual.forward_intermediates(pixels, indices=1)
    rows = out["image_intermediates"][-1].flatten(2).transpose(1, 2)
    return visual.attnpool.c_proj(visual.attnpool.v_proj(rows)), out["image_features"]


def _timm_tokens(visual: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    trunk = visual.trunk
    features = trunk.forward_features(pixels)
    summary = visual.head(trunk.forward_head(features))
    if features.ndim == 3:
        rows = features[:, getattr(trunk, "num_prefix_tokens", 0) :]
        return _timm_transformer_patches(visual, rows), summary
    last = str(getattr(trunk, "output_fmt", "NCHW")).endswith("NHWC")
    rows = (features if last else features.permute(0, 2, 3, 1)).flatten(1, 2)
    if hasattr(visual.head, "pool"):  # a pooling with positions, made for the whole map only
        return rows, summary
    alone = rows.flatten(0, 1)[:, None, None, :] if last else rows.flatten(0, 1)[:, :, None, None]
    return visual.head(trunk.forward_head(alone)).unflatten(0, rows.shape[:2]), summary


def _timm_transformer_patches(visual: Any, rows: Tensor) -> Tensor:
    trunk = visual.trunk
    pool = getattr(trunk, "attn_pool", None)
    if not (hasattr(trunk, "fc_norm") and hasattr(trunk, "head")):
        return rows
    if getattr(pool, "pos_embed", None) is not None:
        return rows
    pooled = rows if pool is None else pool(rows.flatten(0, 1).unsqueeze(1)).unflatten(0, rows.shape[:2])
    return visual.head(trunk.head(trunk.fc_norm(pooled)))
