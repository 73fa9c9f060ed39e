"""Encode queries with towers and heads: sentences, examples and exclusions, cached for the next slider move."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch

from vtr_demo.errors import LibraryError, TextError
from vtr_demo.evaluation.confidence import NullDistribution, null_captions
from vtr_demo.files import sha256_of
from vtr_demo.library.encoding import encode_frames, encode_parts, encode_whole, read_clip, whole_frames
from vtr_demo.library.reader import LibraryReader
from vtr_demo.library.records import StoredClip
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.model import WHOLE_SENTENCE
from vtr_demo.results import CaptionHit, ExampleView
from vtr_demo.structures import (
    AGAINST,
    NO_MIX,
    Mix,
    QueryPart,
    Sentence,
    TermWeights,
    TextFeatures,
    TextTokens,
    term_sums,
)
from vtr_demo.text.parser import affirmed, clean, language_note, length_note, parse, parse_many, without_words
from vtr_demo.video.frames import LimitConfig, still_frames_guarded
from vtr_demo.video.reader import IMAGE_EXTENSIONS

_CACHED = 256
_MOST_COUNTERFACTUALS = 40
_KEPT_EXAMPLES = 64


@dataclass(frozen=True)
class EncodedText:
    """A sentence after the text tower and the heads, a batch of one."""

    sentence: Sentence
    tokens: TextTokens
    features: TextFeatures


@dataclass(frozen=True)
class Example:
    """A clip or a picture in the place of a sentence; ``features`` have parts."""

    name: str
    features: TextFeatures


@dataclass(frozen=True)
class _Piece:
    """A summand of a query before its parts are computed."""

    factor: float
    source: EncodedText | Example
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Query:
    """What is searched for. ``rows`` name the rows of its alignments: the whole sentence, its words, then what
    is not in it (excluded phrases, the example)."""

    sentence: Sentence
    """As it was typed, without the words struck out; empty where there is an example alone."""
    rows: tuple[str, ...]
    pieces: tuple[_Piece, ...]
    words: EncodedText | None
    """What the words ask for: the sentence without what it denies."""
    words_share: float
    """The factor of the sentence beside an example."""
    note: str
    """What a person should know of how the sentence was read; often empty."""

    def flat(self, weights: TermWeights) -> np.ndarray:
        """(F,): the query's side of the one inner product."""
        sides = [piece.factor * piece.source.features.flat(weights) for piece in self.pieces]
        return torch.stack(sides).sum(0)[0].cpu().numpy()

    def words_flat(self, weights: TermWeights) -> np.ndarray | None:
        """(F,): the words alone, which confidence speaks of; None without words, and beside an example."""
        if self.words is None or any(isinstance(piece.source, Example) for piece in self.pieces):
            return None
        return self.words.features.flat(weights)[0].cpu().numpy()

    def gates(self, weights: TermWeights) -> np.ndarray:
        """(L,): the weights g_l of the first part: the words, else the example."""
        return self.pieces[0].source.features.gates(weights)[0].cpu().numpy()


class Queries:
    """Encode texts with one model; the last 256 sentences are cached. Safe to use from several threads."""

    def __init__(self, model: RetrievalModel) -> None:
        self.model = model
        self.one = lru_cache(_CACHED)(self._encode)
        """Encodes a sentence as it stands; raises ``TextError``."""

    def query(
        self, text: str, struck: Collection[int] = (), mix: Mix = NO_MIX, example: Example | None = None
    ) -> Query:
        """Encode words without those at ``struck``, the phrases of ``mix`` to exclude, and ``example``.

        What the sentence denies ("without people") counts against a clip as an excluded phrase does. Raises
        ``TextError`` for a text without words unless there is an example or something to exclude.
        """
        sentence, pieces, rows, words, notes = Sentence("", ()), [], [WHOLE_SENTENCE], None, []
        share = 0.0  # of the example
        if text.strip() or (example is None and not mix.exclude):
            sentence = parse(without_words(parse(text), struck) if struck else text)
            rows += [word.text for word in sentence.words]
            asked, denied = self._split(sentence)
            notes = [length_note(text), language_note(sentence)]
            if asked:
                share = 0.0 if example is None else mix.share
                words = self.one(_phrase(sentence, asked))
                pieces.append(_Piece(1 - share, words, (0, *(1 + i for i in asked))))
                notes.append(_unread_note(words))
            for group in denied:
                phrase = self.one(_phrase(sentence, group))
                pieces.append(_Piece(-AGAINST * (1 - share), phrase, (len(rows), *(1 + i for i in group))))
                rows.append(f"not {phrase.sentence.text}")
            if denied:
                quoted = " and ".join(f"“{_phrase(sentence, group)}”" for group in denied)
                notes.append(f"The sentence says not {quoted}: that counts against a clip.")
        for phrase in map(self.one, mix.exclude):
            names = [f"not {phrase.sentence.text}", *(f"not {word.text}" for word in phrase.sentence.words)]
            pieces.append(_Piece(-AGAINST, phrase, tuple(range(len(rows), len(rows) + len(names)))))
            rows += names
        if example is not None:
            held = example.features.allocation[0].tolist()
            names = [f"like {example.name}", *(f"like {example.name}, concept {k + 1}" for k in held[1:])]
            pieces.append(_Piece(share if words else 1.0, example, tuple(range(len(rows), len(rows) + len(names)))))
            rows += names
        return Query(sentence, tuple(rows), tuple(pieces), words, 1 - share, " ".join(filter(None, notes)))

    def parts(self, query: Query) -> list[QueryPart]:
        """Compute the summands of a query down to its tokens."""
        parts = []
        for piece in query.pieces:
            features = piece.source.features
            if isinstance(piece.source, EncodedText):
                features = self.model.model.encode_text(piece.source.tokens, parts=True)
            parts.append(QueryPart(piece.factor, features, piece.rows))
        return parts

    @torch.no_grad()
    def _encode(self, text: str) -> EncodedText:
        sentence = parse(text)
        device = next(self.model.model.parameters()).device
        tokens = self.model.backbone.encode_text([sentence]).to(device)
        return EncodedText(sentence, tokens, self.model.model.encode_text(tokens))

    def flat(self, sentences: Sequence[Sentence], weights: TermWeights) -> np.ndarray:
        """Return the text side of the score (N, F) for many sentences, less what each denies."""
        pieces: list[tuple[int, float, Sentence]] = []
        for i, sentence in enumerate(sentences):
            asked, denied = self._split(sentence)
            if not denied:
                pieces.append((i, 1.0, sentence))
                continue
            if asked:
                pieces.append((i, 1.0, parse(_phrase(sentence, asked))))
            pieces += [(i, -AGAINST, parse(_phrase(sentence, group))) for group in denied]
        sides = self.model.encode_text([piece for _, _, piece in pieces]).flat(weights).cpu().numpy()
        flats = np.zeros((len(sentences), sides.shape[1]), np.float32)
        np.add.at(flats, [i for i, _, _ in pieces], np.array([[f] for _, f, _ in pieces], np.float32) * sides)
        return flats

    @cached_property
    def nulls(self) -> TextFeatures:
        """The encoded sentences that are unrelated to any library."""
        return self.model.encode_text(parse_many(null_captions()))

    def ranked(
        self, captions: Sequence[str], vector: np.ndarray, k: int, weights: TermWeights
    ) -> tuple[CaptionHit, ...]:
        """Rank captions for a clip's vector (F,) and return the ``k`` best; equal ones count once."""
        texts = list(dict.fromkeys(text.strip() for text in captions if text.strip()))
        if not texts:
            raise TextError("There is no sentence to rank; write at least one.")
        flats = self.flat(parse_many(texts), weights)
        scores = flats @ vector
        shares = NullDistribution.of(self.nulls, vector[None], weights).p_values_among(scores, len(texts))
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

        A counterfactual, not a summand: without the word the whole sentence is read anew. Zero for a sentence
        of one word, which has no shorter version, for a word that no English sentence would be left without,
        and past the first 40 words.
        """
        words = query.sentence.words
        effects = np.zeros(len(words), np.float32)
        if len(words) < 2:
            return effects
        count = min(len(words), _MOST_COUNTERFACTUALS)
        shorter = {i: without_words(query.sentence, {i}) for i in range(count)}
        shorter = {i: text for i, text in shorter.items() if _readable(text)}
        if shorter:
            flats = self.flat([query.sentence, *parse_many([*shorter.values()])], weights)
            scores = flats @ vector
            effects[[*shorter]] = query.words_share * (scores[0] - scores[1:])
        return effects

    @staticmethod
    def _split(sentence: Sentence) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """``affirmed``, unless a piece on its own would fall into other words than in the sentence."""
        asked, denied = affirmed(sentence)
        for group in (asked, *denied) if denied else ():
            if group and len(parse(_phrase(sentence, group)).words) != len(group):
                return tuple(range(len(sentence.words))), ()
        return asked, denied


class Examples:
    """Clips, moments and files in the place of sentences. The last files are kept in memory, nowhere else."""

    def __init__(self, model: RetrievalModel, limits: LimitConfig) -> None:
        self._model, self._limits = model, limits
        self._files: OrderedDict[str, tuple[ExampleView, Example]] = OrderedDict()
        self._lock = threading.Lock()
        self._of_clip = lru_cache(_KEPT_EXAMPLES)(self._encode)

    def read(self, path: Path, name: str) -> ExampleView:
        """Read a video or a picture, by its ending, in the guarded worker; raises ``VideoError``."""
        model = self._model
        if path.suffix.lower() in IMAGE_EXTENSIONS:
            size = model.backbone.frame_size
            frames = still_frames_guarded(path, size=size, config=model.video, limits=self._limits)
            tokens, whole = encode_frames(model, frames), tuple(range(len(frames)))
        else:
            clip = read_clip(path, model, self._limits)
            frames, tokens = clip.frames, encode_frames(model, clip.frames)
            whole = whole_frames(clip.info.duration_s, len(frames), model)
        view = ExampleView(sha256_of(path)[:12], name, frames.pixels[whole[len(whole) // 2]])
        example = Example(name, encode_parts(model, tokens, [whole])[0].as_query())
        with self._lock:
            self._files[view.example_id] = (view, example)
            while len(self._files) > _KEPT_EXAMPLES:
                self._files.popitem(last=False)
        return view

    def find(self, library: LibraryReader, mix: Mix) -> Example | None:
        """Return the example of ``mix``, None where it has none; an unknown one raises ``LibraryError``."""
        if not mix.like:
            return None
        if (file := self._files.get(mix.like)) is not None:
            return file[1]
        clip = self._clip(library, mix.like)
        clip.check_moment(mix.moment)
        return Example(clip.name, self._of_clip(library, clip.id, mix.moment))

    def _encode(self, library: LibraryReader, clip_id: str, moment: int) -> TextFeatures:
        clip, tokens = library.get(clip_id), library.tokens(clip_id)
        if moment < 0:
            return encode_whole(self._model, tokens, clip.duration_s).as_query()
        return encode_parts(self._model, tokens, [clip.moments[moment].frames])[0].as_query()

    def view(self, library: LibraryReader, example_id: str) -> ExampleView:
        """Return what an id stands for; an unknown one raises ``LibraryError``."""
        file = self._files.get(example_id)
        return file[0] if file else ExampleView(example_id, self._clip(library, example_id).name)

    @staticmethod
    def _clip(library: LibraryReader, example_id: str) -> StoredClip:
        try:
            return library.get(example_id)
        except LibraryError as error:
            raise LibraryError(
                "The example is not here: it was a file that is kept for a while only, or a clip that has been "
                "deleted. Choose it again."
            ) from error


def _phrase(sentence: Sentence, group: Collection[int]) -> str:
    """The words at the indices ``group`` as a text."""
    return without_words(sentence, {*range(len(sentence.words))} - {*group})


def _unread_note(text: EncodedText) -> str:
    unread = [w.text for w, has in zip(text.sentence.words, text.tokens.word_mask[0], strict=True) if not has]
    if not unread:
        return ""
    return (
        f"The model reads only the beginning of long texts: the last {len(unread)} words from "
        f"“{' '.join(unread[:3])} …” on were left out."
    )


def _readable(text: str) -> bool:
    try:
        clean(text)
    except TextError:
        return False
    return True
