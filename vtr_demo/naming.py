"""Names for discovered concepts: the lemmas that a concept claims more than its share of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from vtr_demo.model import VTRModel
from vtr_demo.tokens import Text, text_batch

LEAST = 5
"""Occurrences below which a lemma names nothing."""
WORDS = 3
CONTENT = {"NOUN", "PROPN", "VERB", "ADJ", "ADP", "ADV", "NUM"}
_CHUNK = 64


@torch.no_grad()
def name_concepts(model: VTRModel, texts: Sequence[Text]) -> tuple[str, ...]:
    """(K,) names: the three lemmas with the most occurrences above what chance would give, joined by dots.

    From the arg-max allocation of the words of ``texts``; a concept without words is called by its
    number. Our decision; S2CA leaves its concepts unnamed.
    """
    device = next(model.parameters()).device
    model.eval()
    claimed: list[Counter[str]] = [Counter() for _ in range(model.config.concepts)]
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        allocation = model.encode_text(text_batch(chunk).to(device)).allocation
        for text, row in zip(chunk, allocation.tolist(), strict=True):
            for word, concept in zip(text.sentence.words, row[1:], strict=False):
                if concept >= 0 and word.pos in CONTENT:
                    claimed[concept][word.lemma.lower()] += 1
    total = sum(claimed, Counter())
    everything = max(1, sum(total.values()))
    names = []
    for k, own in enumerate(claimed):
        share = sum(own.values()) / everything
        surplus = {w: n - share * total[w] for w, n in own.items() if n >= LEAST}
        best = sorted(surplus, key=lambda w: (-surplus[w], w))[:WORDS]
        names.append(" · ".join(best) if best else f"concept {k + 1}")
    return tuple(names)
