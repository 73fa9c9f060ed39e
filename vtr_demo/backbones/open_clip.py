"""Any open_clip model as a pair of towers: projected patches, words and sentence vectors."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vtr_demo.backbones.base import Backbone, mean_by_share, word_shares
from vtr_demo.backbones.hub import open_model
from vtr_demo.errors import BackboneError
from vtr_demo.structures import Sentence


class OpenClipBackbone(Backbone):
    """An open_clip model. Summary and sentence vector are its own image and text embeddings, so
    an untrained model ranks as CLIP does: the mean over a clip's normalised frame embeddings
    (CLIP4Clip's meanP, Luo et al. 2021) against the text embedding.

    A patch is taken through the tower's own pooling head alone, as if it were the whole picture,
    which puts it in the joint space (MaskCLIP, Zhou et al. 2022); for a plain ViT that is
    ``ln_post(token) @ proj``. Heads that cannot take a single patch hand over the raw patch.
    """

    contrastive = True

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
        """Set the widths and the grid by encoding one grey picture; refuse weights that give NaN."""
        with torch.no_grad():
            patches, summary = self._frames(torch.zeros(1, 3, self.frame_size, self.frame_size))
        rows = round(patches.shape[1] ** 0.5)
        if rows * rows != patches.shape[1]:
            raise BackboneError(
                f"The image tower of {self.spec} gives {patches.shape[1]} patches, which form no square "
                "grid; choose another model."
            )
        if not (torch.isfinite(patches).all() and torch.isfinite(summary).all()):
            raise BackboneError(f"The weights of {self.spec} give values that are not numbers; download them again.")
        self.grid, self.patch_width, self.joint_width = (rows, rows), patches.shape[2], summary.shape[1]

    def unfreeze(self) -> None:
        """Enable gradients for all that the tokens depend on: not CLIP's logit scale, not a captioner."""
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
            word_shares(sentence.words, token_spans(self.tokenizer, sentence.text, row)[: states.shape[1]])
            for sentence, row in zip(sentences, ids.numpy(), strict=True)
        ]
        means, weights = mean_by_share(states, shares)
        tokens = torch.cat([summary.unsqueeze(1), means[:, 1:]], dim=1)
        pool = torch.zeros_like(weights)
        pool[:, 0] = 1
        return tokens, pool, weights[:, 1:] > 0

    def _text_states(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token states (B, N, D) in the joint space, and the text embedding (B, D) as it comes.

        N is shorter than the ids where nothing looks at those that follow the last end of a text.
        """
        text = getattr(self.model, "text", None)
        if _looks_back(text or self.model):
            return _causal_states(text or self.model, ids)
        if text is not None and not hasattr(text, "forward_intermediates"):
            return _hugging_face_states(text, ids)
        if text is None:
            options = {"normalize": False, "normalize_intermediates": True, "text_indices": 1}
            out = self.model.forward_intermediates(text=ids, **options)
        else:
            out = text.forward_intermediates(ids, normalize_intermediates=True, indices=1, output_fmt="NLC")
        project = (self.model if text is None else text).text_projection
        return _projected(out["text_intermediates"][-1], project), out["text_features"]


def _side(image_size: Any, spec: str) -> int:
    height, width = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    if height != width:
        raise BackboneError(f"{spec} wants pictures of {width}x{height} pixels, not squares; choose another model.")
    return int(height)


def _projected(values: Tensor, projection: Any) -> Tensor:
    if projection is None:
        return values
    return projection(values) if isinstance(projection, nn.Module) else values @ projection


def _looks_back(tower: Any) -> bool:
    """Whether a text tower's tokens see those before them alone, and its embedding is the state of the end of text."""
    pool = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None)
    return (
        getattr(tower, "attn_mask", None) is not None and pool == "argmax" and getattr(tower, "cls_emb", None) is None
    )


def _causal_states(tower: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """As the tower's own forward, without what follows the longest text: a fifth of the time for short ones."""
    ends = ids.argmax(dim=-1)
    length = int(ends.max()) + 1
    x = tower.token_embedding(ids[:, :length]) + tower.positional_embedding[:length]
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
    states = _projected(x, tower.text_projection)
    return states, states[torch.arange(len(ids), device=ids.device), ends]


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


# --------------------------------------------------------------------------- character spans of tokens
def token_spans(tokenizer: Any, text: str, ids: np.ndarray) -> np.ndarray:
    """(N, 2) character offsets in ``text`` of the tokens ``ids`` (N,); (0, 0) for special tokens.

    Of a tokenizer that cannot be followed, every token belongs to all words.
    """
    cleaned = _cleaned(tokenizer, text)
    follow = _byte_spans if hasattr(tokenizer, "byte_decoder") else _fast_spans
    spans = follow(tokenizer, cleaned, ids)
    return np.tile((0, len(text)), (len(ids), 1)) if spans is None else map_spans(text, cleaned, spans)


def _cleaned(tokenizer: Any, text: str) -> str:
    """The text as the tokenizer sees it; open_clip's SigLIP tokenizer has a fixed rule instead of
    a ``clean_fn``."""
    if hasattr(tokenizer, "clean_fn"):
        return str(tokenizer.clean_fn(text))
    from open_clip.tokenizer import get_clean_fn

    return str(get_clean_fn("canonicalize")(text))


def _byte_spans(tokenizer: Any, cleaned: str, ids: np.ndarray) -> np.ndarray | None:
    """Spans in ``cleaned`` for CLIP's byte-pair tokens: the bytes of the pieces, one after the
    other, are the bytes of the text without its white space. None where they are not."""
    visible = [(place, char) for place, char in enumerate(cleaned) if not char.isspace()]
    stream = "".join(char for _, char in visible).encode()
    owner = [place for place, char in visible for _ in char.encode()]
    spans = np.zeros((len(ids), 2), dtype=np.int64)
    done = 0
    for position, token in enumerate(ids.tolist()):
        if token == tokenizer.eot_token_id:
            break
        if token == tokenizer.sot_token_id:
            continue
        symbols = tokenizer.decoder[token].removesuffix("</w>")
        piece = bytes(tokenizer.byte_decoder[symbol] for symbol in symbols)
        if stream[done : done + len(piece)] != piece:
            return None
        spans[position] = owner[done], owner[done + len(piece) - 1] + 1
        done += len(piece)
    return spans


def _fast_spans(tokenizer: Any, cleaned: str, ids: np.ndarray) -> np.ndarray | None:
    """Spans in ``cleaned`` as a Hugging Face tokenizer reports them; None where it cannot, or
    where open_clip changed its ids afterwards."""
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if not getattr(inner, "is_fast", False):
        return None
    options = {"max_length": len(ids), "padding": "max_length", "truncation": True}
    encoding = inner(cleaned, return_offsets_mapping=True, **options)
    spans = np.array(encoding["offset_mapping"], dtype=np.int64)
    own = np.array(encoding["input_ids"])
    if own.shape != ids.shape or (own != ids)[spans[:, 1] > spans[:, 0]].any():
        return None
    return spans


def map_spans(text: str, cleaned: str, spans: np.ndarray) -> np.ndarray:
    """Spans (N, 2) in ``cleaned`` as spans in ``text``, by the characters that both have; what
    the cleaning changed lies between its neighbours."""
    cleaned = cleaned[: int(spans.max(initial=0))]
    source = _lowered(text[: 2 * len(cleaned) + 256])
    target = _lowered(cleaned)
    if not target or source.startswith(target):
        return spans
    blocks = SequenceMatcher(None, source, target, autojunk=False).get_matching_blocks()
    there = np.concatenate([np.arange(block.b, block.b + block.size) for block in blocks])
    back = np.concatenate([np.arange(block.a, block.a + block.size) for block in blocks])
    if not len(there):
        there, back = np.array([0, len(target)]), np.array([0, len(source)])
    place = np.interp(np.arange(len(target)), there, back).round().astype(np.int64)
    out = np.zeros_like(spans)
    real = spans[:, 1] > spans[:, 0]
    out[real, 0] = place[spans[real, 0]]
    out[real, 1] = place[spans[real, 1] - 1] + 1
    return out


def _lowered(text: str) -> str:
    """Lower case, character by character, so that places do not move (İ has two lower letters)."""
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)
