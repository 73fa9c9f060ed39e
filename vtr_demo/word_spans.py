"""Where the tokens of an open_clip tokenizer lie in the sentence as the user wrote it.

The ids always come from the tokenizer itself; this file only finds out which characters each of
them stands for. Tokenizers clean the text first (Unicode repair, HTML entities, lower case, white
space), so places are found in the cleaned text and then carried back.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

import numpy as np


def token_spans(tokenizer: Any, text: str, ids: np.ndarray) -> np.ndarray:
    """(N, 2) character offsets in ``text`` of the tokens ``ids`` (N,); (0, 0) for special tokens.

    A tokenizer that cannot be followed gets its tokens spread evenly over the text.
    """
    cleaned = _cleaned(tokenizer, text)
    follow = _byte_spans if hasattr(tokenizer, "byte_decoder") else _fast_spans
    spans = follow(tokenizer, cleaned, ids)
    return _even_spans(len(text), ids) if spans is None else carried_back(text, cleaned, spans)


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


def _even_spans(length: int, ids: np.ndarray) -> np.ndarray:
    """Equal shares of ``length`` characters for the tokens between the first and the last one
    before the padding (a run of equal ids at the end)."""
    real = len(ids)
    while real > 1 and ids[real - 1] == ids[real - 2]:
        real -= 1
    count = real - 2 if real == len(ids) else real - 3
    spans = np.zeros((len(ids), 2), dtype=np.int64)
    if count > 0:
        edges = np.linspace(0, length, count + 1).round().astype(np.int64)
        spans[1 : 1 + count, 0], spans[1 : 1 + count, 1] = edges[:-1], edges[1:]
    return spans


def carried_back(text: str, cleaned: str, spans: np.ndarray) -> np.ndarray:
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
