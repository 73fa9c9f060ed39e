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
class CaptionText:
    """A sentence with its level embeddings, for towers that are fine-tuned.

    meaning (1+L, Dt): unit vectors of the whole sentence and of each level's words encoded alone, zero
    where the level is absent. Soft ranking targets of a level come from that level's content (our decision).
    """

    sentence: Sentence
    meaning: Tensor


@dataclass(frozen=True)
class EncodedCaption:
    """A sentence with its tokens (a batch of one, float16), for frozen towers; meaning as ``CaptionText``."""

    sentence: Sentence
    tokens: TextTokens
    meaning: Tensor


def encode_texts(
    sentences: Sequence[Sentence], backbone: Backbone, false: Sequence[Sentence] = ()
) -> dict[str, EncodedCaption]:
    """Encode the distinct sentences; returns tokens and level embeddings by text.

    ``false`` sentences are never a ranking target: they get tokens and zero embeddings. Processes share
    the work, so every rank must pass the same sentences.
    """
    tokens: dict[str, TextTokens] = {}
    captions = level_embeddings(sentences, backbone, tokens, divided=True)
    texts = {text: EncodedCaption(value.sentence, tokens[text], value.meaning) for text, value in captions.items()}
    others = {sentence.text: sentence for sentence in false if sentence.text not in texts}
    blank = torch.zeros(1 + len(LEVELS), backbone.joint_width)
    encoded = {text: value.half() for text, value in _encode(others, backbone, divided=True)}
    return texts | {text: EncodedCaption(others[text], encoded[text], blank) for text in others}


def text_tokens(sentences: Iterable[Sentence], backbone: Backbone, *, divided: bool = False) -> dict[str, TextTokens]:
    """Encode the distinct sentences without gradients; returns tokens (batches of one) by text.

    ``divided``: every rank passes the same sentences at once and encodes its part.
    """
    distinct = {sentence.text: sentence for sentence in sentences}
    encoded = dict(_encode(distinct, backbone, divided))
    return {text: encoded[text] for text in distinct}


def level_embeddings(
    sentences: Sequence[Sentence],
    backbone: Backbone,
    keep: dict[str, TextTokens] | None = None,
    *,
    divided: bool = False,
) -> dict[str, CaptionText]:
    """Compute ``CaptionText`` of the distinct sentences with the towers as they are now, by text.

    ``keep`` receives the float16 tokens by text. ``divided`` as in ``text_tokens``.
    """
    from vtr_demo.text.parser import parse_many

    distinct = {sentence.text: sentence for sentence in sentences}
    phrases = {text: [level_phrase(sentence, level) for level in LEVELS] for text, sentence in distinct.items()}
    unique_phrases = sorted({phrase for group in phrases.values() for phrase in group if phrase})
    if divided:
        parsed = distributed.scatter_map(unique_phrases, partial(parallel_map, function=parse_many))
    else:
        parsed = parse_many(unique_phrases)
    parsed_phrases = dict(zip(unique_phrases, parsed, strict=True))
    vectors: dict[str, Tensor] = {}
    for text, value in _encode({**distinct, **parsed_phrases}, backbone, divided):
        vectors[text] = sentence_vector(value)[0]
        if keep is not None and text in distinct:
            keep[text] = value.half()
    absent = torch.zeros(backbone.joint_width)
    return {
        text: CaptionText(sentence, torch.stack([vectors[text], *(vectors[p] if p else absent for p in phrases[text])]))
        for text, sentence in distinct.items()
    }


def _encode(sentences: Mapping[str, Sentence], backbone: Backbone, divided: bool) -> Iterable[tuple[str, TextTokens]]:
    """Yield each text with its tokens on the CPU, short sentences first, so that little is padded."""
    from tqdm import tqdm

    ordered = sorted(sentences.items(), key=lambda pair: len(pair[1].words))
    chunks = [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]
    encode = partial(_encode_chunks, backbone)
    world = distributed.world() if divided else 1
    with tqdm(total=len(ordered), desc="sentences", disable=True if distributed.rank() else None) as bar:
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
    """Join captions into one padded batch, float32 on the CPU."""
    return pad_text_tokens([text.tokens for text in texts]).to("cpu")


def _single(batch: TextTokens, row: int, words: int) -> TextTokens:
    return TextTokens(
        batch.words[row : row + 1, :words].cpu(),
        batch.summary[row : row + 1].cpu(),
        batch.word_mask[row : row + 1, :words].cpu(),
        batch.level_mask[row : row + 1, :, :words].cpu(),
        batch.pool[row : row + 1, : 1 + words].cpu(),
    )
