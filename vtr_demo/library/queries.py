"""Encode sentences with towers and heads, cached for the next slider move."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vtr_demo.errors import TextError
from vtr_demo.evaluation.confidence import NullDistribution, null_captions
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import CaptionHit
from vtr_demo.structures import Sentence, TermWeights, TextFeatures, TextTokens, term_sums
from vtr_demo.text.parser import clean, parse, parse_many, without_words

_CACHED = 256
_MOST_COUNTERFACTUALS = 40


@dataclass(frozen=True)
class Query:
    """An encoded sentence, a batch of one."""

    sentence: Sentence
    tokens: TextTokens
    features: TextFeatures

    @property
    def note(self) -> str:
        """What a person should know of how the sentence was read, e.g. that it was cut; often empty."""
        unread = [w.text for w, has in zip(self.sentence.words, self.tokens.word_mask[0], strict=True) if not has]
        if not unread:
            return ""
        return f"The text tower reads only the beginning of long texts; not read: “{' '.join(unread[:3])} …”."


class Queries:
    """Encode texts with one model; the last 256 sentences are cached. Safe to use from several threads."""

    def __init__(self, model: RetrievalModel) -> None:
        self.model = model
        self._known: OrderedDict[str, Query] = OrderedDict()
        self._lock = threading.Lock()
        self._nulls: TextFeatures | None = None

    def one(self, text: str, struck: Collection[int] = ()) -> Query:
        """Encode a sentence without the words at ``struck``; raises ``TextError``."""
        text = without_words(parse(text), struck) if struck else text
        with self._lock:
            known = self._known.get(text)
        if known is None:
            sentence = parse(text)
            tokens = self._tokens([sentence])
            with torch.no_grad():
                known = Query(sentence, tokens, self.model.model.encode_text(tokens))
            with self._lock:
                self._known[text] = known
                while len(self._known) > _CACHED:
                    self._known.popitem(last=False)
        return known

    def flat(self, sentences: Sequence[Sentence], weights: TermWeights) -> np.ndarray:
        """Return the text side of the score (N, F) for many sentences."""
        return self.model.encode_text(sentences).flat(weights).cpu().numpy()

    def null(self, vectors: np.ndarray, weights: TermWeights) -> NullDistribution:
        """Return how far unrelated sentences stand out among ``vectors`` (N, F)."""
        nulls = self._nulls
        if nulls is None:
            nulls = self._nulls = self.model.encode_text(parse_many(null_captions()))
        return NullDistribution.of(nulls, vectors, weights)

    def ranked(
        self, captions: Sequence[str], vector: np.ndarray, k: int, weights: TermWeights
    ) -> tuple[CaptionHit, ...]:
        """Rank captions for a clip's vector (F,) and return the ``k`` best; equal ones count once."""
        texts = list(dict.fromkeys(text.strip() for text in captions if text.strip()))
        if not texts:
            raise TextError("There is no sentence to rank; write at least one.")
        flats = self.flat(parse_many(texts), weights)
        scores = flats @ vector
        shares = self.null(vector[None], weights).p_values(scores, np.zeros(len(scores), np.int64))
        width = self.model.model.width
        return tuple(
            CaptionHit(
                text=texts[i],
                score=float(scores[i]),
                terms=term_sums(flats[i], vector, width),
                confidence=float(1 - shares[i]),
            )
            for i in np.argsort(-scores, kind="stable")[:k]
        )

    def word_effects(self, query: Query, vector: np.ndarray, weights: TermWeights) -> np.ndarray:
        """Return (W,): the score against ``vector`` (F,) minus the score without each word.

        A counterfactual, not a summand: without the word the whole sentence is read anew. Zero for
        a sentence of one word, which has no shorter version, for a word that no English sentence
        would be left without, and past the first 40 words.
        """
        words = query.sentence.words
        effects = np.zeros(len(words), np.float32)
        if len(words) < 2:
            return effects
        count = min(len(words), _MOST_COUNTERFACTUALS)
        shorter = {i: without_words(query.sentence, {i}) for i in range(count)}
        shorter = {i: text for i, text in shorter.items() if _readable(text)}
        if shorter:
            score = query.features.flat(weights).cpu().numpy()[0] @ vector
            flats = self.flat(parse_many([*shorter.values()]), weights)
            effects[[*shorter]] = score - flats @ vector
        return effects

    def _tokens(self, sentences: Sequence[Sentence]) -> TextTokens:
        device = next(self.model.model.parameters()).device
        return self.model.backbone.encode_text(sentences).to(device)


def _readable(text: str) -> bool:
    try:
        clean(text)
    except TextError:
        return False
    return True
