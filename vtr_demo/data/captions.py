"""Encodes captions: tokens for frozen towers, and the sentence embeddings that soft targets come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone
from vtr_demo.distributed import parallel_map
from vtr_demo.structures import LEVELS, Sentence, TextTokens, pad_text_tokens

_CHUNK = 64


@dataclass(frozen=True)
class EncodedCaption:
    """A sentence with its level embeddings and, for frozen towers, its tokens (a batch of one, float16).

    meaning (1+L, Dt): unit vectors of the whole sentence and of each level's words encoded alone, zero
    where the level is absent. Soft ranking targets of a level come from that level's content (our decision).
    """

    sentence: Sentence
    meaning: Tensor
    tokens: TextTokens | None = None


def encode_texts(
    sentences: Sequence[Sentence], backbone: Backbone, false: Sequence[Sentence] = ()
) -> dict[str, EncodedCaption]:
    """Encode the distinct sentences; returns tokens and level embeddings by text.

    ``false`` sentences are never a ranking target: they get tokens and zero embeddings. Processes share
    the work, so every rank must pass the same sentences.
    """
    texts = level_embeddings(sentences, backbone, with_tokens=True)
    others = {sentence.text: sentence for sentence in false if sentence.text not in texts}
    blank = torch.zeros(1 + len(LEVELS), backbone.joint_width)
    encoded = {text: value.half() for text, value in _encode(others, backbone, divided=True)}
    return texts | {text: EncodedCaption(others[text], blank, encoded[text]) for text in others}


def text_tokens(sentences: Iterable[Sentence], backbone: Backbone, *, divided: bool = False) -> dict[str, TextTokens]:
    """Encode the distinct sentences without gradients; returns tokens (batches of one) by text.

    ``divided``: every rank passes the same sentences at once and encodes its part.
    """
    distinct = {sentence.text: sentence for sentence in sentences}
    encoded = dict(_encode(distinct, backbone, divided))
    return {text: encoded[text] for text in distinct}


def level_embeddings(
    sentences: Sequence[Sentence], backbone: Backbone, *, with_tokens: bool = False
) -> dict[str, EncodedCaption]:
    """Compute the level embeddings of the distinct sentences with the towers as they are now, by text.

    Every rank passes the same sentences at once and encodes its part.
    """
    from vtr_demo.text.parser import parse_many

    distinct = {sentence.text: sentence for sentence in sentences}
    phrases = {text: [level_phrase(sentence, level) for level in LEVELS] for text, sentence in distinct.items()}
    unique_phrases = sorted({phrase for group in phrases.values() for phrase in group if phrase})
    parsed = distributed.scatter_map(unique_phrases, partial(parallel_map, function=parse_many))
    parsed_phrases = dict(zip(unique_phrases, parsed, strict=True))
    vectors: dict[str, Tensor] = {}
    tokens: dict[str, TextTokens] = {}
    for text, value in _encode({**distinct, **parsed_phrases}, backbone, divided=True):
        vectors[text] = sentence_vector(value)[0]
        if with_tokens and text in distinct:
            tokens[text] = value.half()
    absent = torch.zeros(backbone.joint_width)
    return {
        text: EncodedCaption(
            sentence,
            torch.stack([vectors[text], *(vectors[p] if p else absent for p in phrases[text])]),
            tokens.get(text),
        )
        for text, sentence in distinct.items()
    }


def _encode(sentences: Mapping[str, Sentence], backbone: Backbone, divided: bool) -> Iterable[tuple[str, TextTokens]]:
    """Yield each text with its tokens on the CPU, short sentences first, so that little is padded."""
    ordered = sorted(sentences.items(), key=lambda pair: len(pair[1].words))
    chunks = [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]
    encode = partial(_encode_chunks, backbone)
    world = distributed.world() if divided else 1
    with distributed.progress_bar(total=len(ordered), desc="sentences") as bar:
        for start in range(0, len(chunks), world):
            some = chunks[start : start + world]
            batches = distributed.scatter_map(some, encode) if divided else encode(some)
            for chunk, batch in zip(some, batches, strict=True):
                bar.update(len(chunk))
                for row, (text, sentence) in enumerate(chunk):
                    yield text, _single(batch, row, len(sentence.words))


@torch.no_grad()
def _encode_chunks(backbone: Backbone, chunks: Sequence[Sequence[tuple[str, Sentence]]]) -> list[TextTokens]:
    return [backbone.encode_text([sentence for _, sentence in chunk]).to("cpu") for chunk in chunks]


def level_phrase(sentence: Sentence, level: str) -> str:
    """Return the level's content as a text of its own: its lemmas, or the words of its triples."""
    if level == "global":
        return sentence.text
    if level == "relationship":
        groups = [" ".join(sentence.words[i].text for i in group) for group in sentence.relationships]
        return ", ".join(groups)
    return " ".join(sentence.labels.get(level, ()))


def sentence_vector(tokens: TextTokens) -> Tensor:
    """Return the tower's sentence vectors (B, Dt), unit length."""
    tokens_with_summary = torch.cat([tokens.summary.unsqueeze(1), tokens.words], dim=1).float()
    return torch.nn.functional.normalize((tokens.pool.float().unsqueeze(-1) * tokens_with_summary).sum(1), dim=-1)


def text_batch(texts: Sequence[EncodedCaption]) -> TextTokens:
    """Join captions that have tokens into one padded batch, float32 on the CPU."""
    tokens = [text.tokens for text in texts if text.tokens is not None]
    assert len(tokens) == len(texts)
    return pad_text_tokens(tokens).to("cpu")


def _single(batch: TextTokens, row: int, words: int) -> TextTokens:
    return TextTokens(
        batch.words[row : row + 1, :words].cpu(),
        batch.summary[row : row + 1].cpu(),
        batch.word_mask[row : row + 1, :words].cpu(),
        batch.level_mask[row : row + 1, :, :words].cpu(),
        batch.pool[row : row + 1, : 1 + words].cpu(),
    )
