"""Tower tokens of a corpus: computed once for frozen towers, and kept in memory and on disk."""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.backbones.registry import Backbone
from vtr_demo.data.dataset import Sample
from vtr_demo.distributed import parallel_map
from vtr_demo.errors import VideoError
from vtr_demo.files import fingerprint, replace_file, tokens_from_bytes, tokens_to_bytes
from vtr_demo.model.model import VTRModel
from vtr_demo.structures import LEVELS, FrameBatch, Sentence, TextTokens, VideoTokens, pad_text_tokens

log = logging.getLogger(__name__)
_CHUNK = 64
_AHEAD = 2  # clips that each thread may be ahead of the towers


class Videos(Protocol):
    """Where the tokens of clips come from."""

    def get(self, item: Sample) -> VideoTokens:
        """The tokens of one item, a batch of one."""


class VideoCache:
    """Tokens of items at the width the heads take, float16; a damaged file is made anew.

    They lie in ``folder`` and are read whenever they are asked for: the system keeps in memory what is
    read often, once for all processes. None keeps them in this process's memory. ``model`` reduces them;
    None keeps the tower's width. ``workers`` threads decode what ``fill`` will want next while the towers
    are at work.
    """

    def __init__(
        self, folder: Path | None, backbone: Backbone, model: VTRModel | None, frames: int, workers: int = 1
    ) -> None:
        self._backbone, self._model, self._frames, self._workers = backbone, model, frames, workers
        reduction = model.reduction.flatten()[:64].tolist() if model else []
        precision = "bf16" if backbone.motion_half else "fp32"
        width = model.config.reduce if model else 0
        name = fingerprint(backbone.fingerprint, precision, frames, width, reduction)
        self._folder = folder / name if folder else None
        self._known: dict[str, VideoTokens] = {}

    def get(self, item: Sample) -> VideoTokens:
        """The tokens of one item, a batch of one, in float32 on the CPU."""
        if self._folder is not None:
            return self.read(item)
        if item.key not in self._known:
            self._known[item.key] = self.read(item).half()  # what the stored numbers hold anyway
        return self._known[item.key].to("cpu")

    def read(self, item: Sample) -> VideoTokens:
        """As ``get``, for an item that is asked for once: never kept in memory."""
        return self._finished(item, self._begun(item))

    def fill(self, items: Sequence[Sample], label: str) -> list[Sample]:
        """Compute what is missing, with a progress bar; items whose file cannot be read are left out.

        With several processes and a folder each makes its part.
        """
        own = items if self._folder is None else items[distributed.rank() :: distributed.world()]
        bad: dict[str, str] = {}
        for said in distributed.all_gather_object(self._failures(own, label)):
            bad |= said
        for sentence in bad.values():
            log.warning("%s", sentence)
        good = [item for item in items if item.key not in bad]
        if not good:
            raise VideoError(label, "none of its clips can be read", "check the folder of videos")
        return good

    def _failures(self, items: Sequence[Sample], label: str) -> dict[str, str]:
        from tqdm import tqdm

        bad: dict[str, str] = {}
        new = [item for item in items if item.key not in self._known]
        for item, begun in tqdm(self._ahead(new), f"tokens: {label}", len(new), unit="clip", disable=None):
            try:
                tokens = self._finished(item, begun.result())
            except VideoError as error:
                bad[item.key] = str(error)
                continue
            if self._folder is None:
                self._known[item.key] = tokens.half()
        return bad

    def _ahead(self, items: Sequence[Sample]) -> Iterator[tuple[Sample, Future[VideoTokens | FrameBatch]]]:
        """The items in their order, each with what is to be had without a tower."""
        waiting: deque[tuple[Sample, Future[VideoTokens | FrameBatch]]] = deque()
        with ThreadPoolExecutor(max(1, self._workers), thread_name_prefix="frames") as pool:
            for item in items:
                waiting.append((item, pool.submit(self._begun, item)))
                if len(waiting) > _AHEAD * self._workers:
                    yield waiting.popleft()
            yield from waiting

    def _begun(self, item: Sample) -> VideoTokens | FrameBatch:
        return self._read(item) or item.frames(self._frames, self._backbone.frame_size)

    def _finished(self, item: Sample, begun: VideoTokens | FrameBatch) -> VideoTokens:
        return begun if isinstance(begun, VideoTokens) else self._make(item, begun)

    def _read(self, item: Sample) -> VideoTokens | None:
        from safetensors import SafetensorError

        if self._folder is None:
            return None
        try:
            return tokens_from_bytes((self._folder / item.key).read_bytes())
        except (OSError, KeyError, ValueError, SafetensorError):
            return None

    def _make(self, item: Sample, batch: FrameBatch) -> VideoTokens:
        with torch.no_grad():
            tokens = self._backbone.encode_frames(batch.pixels)
            if self._model is not None:
                tokens = self._model.reduced(tokens.to(self._model.reduction.device))
        data = tokens_to_bytes(tokens)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._folder / item.key, data)
        return tokens_from_bytes(data)


@dataclass(frozen=True)
class CaptionText:
    """A sentence and what it is similar to, for towers that change.

    meaning (1+L, Dt): unit vectors of the whole sentence and of each level's own words read alone,
    zero where the level is absent. They are the targets of soft ranking: a level's targets come
    from that level's content (DESIGN 3.3).
    """

    sentence: Sentence
    meaning: Tensor


@dataclass(frozen=True)
class EncodedCaption:
    """A sentence with its tokens (a batch of one, float16) for frozen towers; meaning as in CaptionText."""

    sentence: Sentence
    tokens: TextTokens
    meaning: Tensor


def encode_texts(
    sentences: Sequence[Sentence], backbone: Backbone, false: Sequence[Sentence] = ()
) -> dict[str, EncodedCaption]:
    """By text: the tokens and level_embeddings of the distinct sentences.

    ``false`` sentences are never the target of a ranking: they get tokens and blank level_embeddings. Several
    processes divide the work, so all of them must ask for the same sentences.
    """
    tokens: dict[str, TextTokens] = {}
    spoken = level_embeddings(sentences, backbone, tokens, divided=True)
    texts = {
        text: EncodedCaption(value.sentence, tokens[text], value.meaning) for text, value in spoken.items()
    }
    others = {sentence.text: sentence for sentence in false if sentence.text not in texts}
    blank = torch.zeros(1 + len(LEVELS), backbone.joint_width)
    found = {text: value.half() for text, value in _encoded(others, backbone, divided=True)}
    return texts | {text: EncodedCaption(others[text], found[text], blank) for text in others}


def text_tokens(
    sentences: Iterable[Sentence], backbone: Backbone, *, divided: bool = False
) -> dict[str, TextTokens]:
    """By text: the tokens of the distinct sentences, each a batch of one; no gradients.

    ``divided``: every process asks for the same sentences at once, and each encodes its part.
    """
    distinct = {sentence.text: sentence for sentence in sentences}
    found = dict(_encoded(distinct, backbone, divided))
    return {text: found[text] for text in distinct}


def level_embeddings(
    sentences: Sequence[Sentence],
    backbone: Backbone,
    keep: dict[str, TextTokens] | None = None,
    *,
    divided: bool = False,
) -> dict[str, CaptionText]:
    """By text: the level_embeddings of the distinct sentences by the towers as they are now.

    The tokens are put into ``keep`` where it is given, in float16. ``divided`` as in ``text_tokens``.
    """
    from vtr_demo.text.parser import parse_many

    distinct = {sentence.text: sentence for sentence in sentences}
    phrases = {
        text: [level_phrase(sentence, level) for level in LEVELS] for text, sentence in distinct.items()
    }
    spoken = sorted({phrase for group in phrases.values() for phrase in group if phrase})
    read = (
        distributed.scatter_map(spoken, partial(parallel_map, function=parse_many))
        if divided
        else parse_many(spoken)
    )
    readable = dict(zip(spoken, read, strict=True))
    vectors: dict[str, Tensor] = {}
    for text, value in _encoded({**distinct, **readable}, backbone, divided):
        vectors[text] = sentence_vector(value)[0]
        if keep is not None and text in distinct:
            keep[text] = value.half()
    nothing = torch.zeros(backbone.joint_width)
    return {
        text: CaptionText(
            sentence, torch.stack([vectors[text], *(vectors[p] if p else nothing for p in phrases[text])])
        )
        for text, sentence in distinct.items()
    }


def _encoded(
    sentences: Mapping[str, Sentence], backbone: Backbone, divided: bool
) -> Iterable[tuple[str, TextTokens]]:
    """Each text with its tokens on the CPU, short sentences first: little is padded."""
    from tqdm import tqdm

    ordered = sorted(sentences.items(), key=lambda pair: len(pair[1].words))
    chunks = [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]
    encode = partial(_chunk_tokens, backbone)
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
def _chunk_tokens(backbone: Backbone, chunks: Sequence[Sequence[tuple[str, Sentence]]]) -> list[TextTokens]:
    return [backbone.encode_text([sentence for _, sentence in chunk]).to("cpu") for chunk in chunks]


def level_phrase(sentence: Sentence, level: str) -> str:
    """The level's content as a text of its own: its lemmas, or the words of its triples."""
    if level == "global":
        return sentence.text
    if level == "relationship":
        groups = [" ".join(sentence.words[i].text for i in group) for group in sentence.relationships]
        return ", ".join(groups)
    return " ".join(sentence.labels.get(level, ()))


def sentence_vector(tokens: TextTokens) -> Tensor:
    """(B, Dt): the tower's own sentence vectors, unit length."""
    every = torch.cat([tokens.summary.unsqueeze(1), tokens.words], dim=1).float()
    return torch.nn.functional.normalize((tokens.pool.float().unsqueeze(-1) * every).sum(1), dim=-1)


def text_batch(texts: Sequence[EncodedCaption]) -> TextTokens:
    """One padded batch, in float32."""
    return pad_text_tokens([text.tokens for text in texts]).to("cpu")


def _single(batch: TextTokens, row: int, words: int) -> TextTokens:
    return TextTokens(
        batch.words[row : row + 1, :words].cpu(),
        batch.summary[row : row + 1].cpu(),
        batch.word_mask[row : row + 1, :words].cpu(),
        batch.level_mask[row : row + 1, :, :words].cpu(),
        batch.pool[row : row + 1, : 1 + words].cpu(),
    )


# --------------------------------------------------------------------------- decoded frames of a corpus
_KEPT_BYTES = 2**30
"""Frames held in memory, so that a small corpus is decoded once."""


class FrameStore:
    """Pixels (T, S, S, 3) uint8 of items: T is ``count``, or 1 for a photo; S is ``size``.

    ``folder`` None decodes anew whenever memory does not hold a clip.
    """

    def __init__(self, folder: Path | None, count: int, size: int, workers: int) -> None:
        self._count, self._size = count, size
        self._folder = folder / f"frames-{fingerprint(count, size)}" if folder else None
        self._pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="frames")
        self._pending: dict[str, Future[np.ndarray]] = {}
        self._kept: dict[str, np.ndarray] = {}
        self._bytes = 0

    def get(self, item: Sample) -> np.ndarray:
        """The pixels of one item, waiting for them where they are on their way."""
        if item.key in self._kept:
            return self._kept[item.key]
        pending = self._pending.pop(item.key, None)
        pixels = pending.result() if pending else self._read(item)
        if self._bytes + pixels.nbytes <= _KEPT_BYTES:
            self._kept[item.key] = pixels
            self._bytes += pixels.nbytes
        return pixels

    def expect(self, items: Sequence[Sample]) -> None:
        """Begin to read what ``get`` will be asked for."""
        for item in items:
            if item.key not in self._kept and item.key not in self._pending:
                self._pending[item.key] = self._pool.submit(self._read, item)

    def check(self, items: Sequence[Sample], label: str) -> list[Sample]:
        """Read every item once, each rank its part: a broken file is named now and not hours later.

        Items whose file cannot be read are left out and listed in the log.
        """
        from tqdm import tqdm

        own = items[distributed.rank() :: distributed.world()]
        futures = [(item, self._pool.submit(self._tried, item)) for item in own]
        bad: dict[str, str] = {}
        for item, future in tqdm(futures, desc=f"frames: {label}", unit="clip", disable=None):
            if failed := future.result():
                bad[item.key] = failed
        for said in distributed.all_gather_object(bad):
            bad |= said
        for sentence in bad.values():
            log.warning("%s", sentence)
        good = [item for item in items if item.key not in bad]
        if not good:
            raise VideoError(label, "none of its clips can be read", "check the folder of videos")
        return good

    def _tried(self, item: Sample) -> str:
        try:
            self._read(item)
        except VideoError as error:
            return str(error)
        return ""

    def _read(self, item: Sample) -> np.ndarray:
        path = self._folder / f"{item.key}.npy" if self._folder else None
        if path is not None:
            try:
                return np.asarray(np.load(path, allow_pickle=False))
            except (OSError, ValueError, EOFError):
                pass  # not there yet, or damaged: it is made anew
        pixels = item.frames(self._count, self._size).pixels
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = io.BytesIO()
            np.save(stream, pixels, allow_pickle=False)
            replace_file(path, stream.getvalue())
        return pixels


def padded(clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Clips (T_i, S, S, 3) as pixels (B, T, S, S, 3), padded with black, and frame_mask (B, T) bool."""
    longest = max(len(clip) for clip in clips)
    pixels = np.zeros((len(clips), longest, *clips[0].shape[1:]), dtype=np.uint8)
    mask = np.zeros((len(clips), longest), dtype=bool)
    for row, clip in enumerate(clips):
        pixels[row, : len(clip)] = clip
        mask[row, : len(clip)] = True
    return pixels, mask
