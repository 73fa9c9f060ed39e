"""What each concept has come to hold in a library: its words, its frames, and how far they agree.

Read off the allocation that searches use (arg-max): nothing is learnt or chosen here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vtr_demo.errors import LibraryError
from vtr_demo.library.clip_files import ClipRecord
from vtr_demo.library.indexing import encode_parts, whole_frames
from vtr_demo.library.store import Shelf, Store
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import LONGEST_NAME, ConceptShot, ConceptView
from vtr_demo.structures import Sentence
from vtr_demo.text.parser import parse_many

MAX_CLIPS = 200
"""Clips that are looked at, spread over the library: a larger one need not be read as a whole."""
SHOWN, TOP_WORDS = 6, 8
"""Clips and words shown of a concept."""
ENOUGH = 5
"""Pairs of a caption and a clip below which nothing is said of how far they agree."""
_CHUNK = 64


@dataclass(frozen=True)
class _Looked:
    """A clip after the heads: the stored ``frames`` of the whole clip, the concept of each of their patches
    (T, rows, columns), and the clip's vector in each concept (K, Dc)."""

    record: ClipRecord
    frames: tuple[int, ...]
    allocation: np.ndarray
    vectors: Tensor


def concept_views(
    pretrained: RetrievalModel, shelf: Shelf, general: Sequence[str] = ()
) -> tuple[ConceptView, ...]:
    """All K concepts by what they hold in a library; clips that cannot be read are left out.

    Words come from the clips' captions and from ``general`` sentences; agreement from captions alone.
    """
    count = pretrained.model.config.concepts
    looked = _look(pretrained, shelf)
    pairs = [(text, i) for i, clip in enumerate(looked) for text in clip.record.captions]
    words, said = collect_words(pretrained, parse_many([*(text for text, _ in pairs), *general]))
    agreement = _agreement(
        said[: len(pairs)], [i for _, i in pairs], [clip.vectors for clip in looked], count
    )
    owners = [clip.allocation.ravel() for clip in looked]
    patches = np.bincount(np.concatenate([*owners, np.zeros(0, int)]), minlength=count)
    spoken = np.array([sum(own.values()) for own in words])
    return tuple(
        ConceptView(
            number=k,
            name=pretrained.names[k],
            default_name=pretrained.names[k],
            patches=float(patches[k] / max(patches.sum(), 1)),
            words=float(spoken[k] / max(spoken.sum(), 1)),
            top_words=listed,
            shots=_shots(k, looked, shelf),
            agreement=agreement[k],
        )
        for k, listed in enumerate(_listed(words))
    )


def _look(pretrained: RetrievalModel, shelf: Shelf) -> list[_Looked]:
    records = shelf.list()
    found = []
    for place in sorted({round(i) for i in np.linspace(0, len(records) - 1, min(MAX_CLIPS, len(records)))}):
        record = records[place]
        try:
            tokens = shelf.tokens(record.id)
        except LibraryError:  # the shelf names it among the library's problems
            continue
        whole = whole_frames(record.duration_s, tokens.patches.shape[1], pretrained)
        features = encode_parts(pretrained, tokens, [whole])[0]
        allocation = features.allocation[0, :, 1:].cpu().numpy().reshape(len(whole), *tokens.grid)
        found.append(_Looked(record, whole, allocation, features.concepts[0].cpu()))
    return found


@torch.no_grad()
def collect_words(
    pretrained: RetrievalModel, sentences: Sequence[Sentence]
) -> tuple[list[Counter[str]], Tensor]:
    """How often each concept holds each word, and the sentences' vectors in each concept (N, K, Dc)."""
    model = pretrained.model
    device = next(model.parameters()).device
    words: list[Counter[str]] = [Counter() for _ in range(model.config.concepts)]
    vectors = [torch.zeros(0, model.config.concepts, model.config.concept_width)]
    for start in range(0, len(sentences), _CHUNK):
        chunk = sentences[start : start + _CHUNK]
        features = model.encode_text(pretrained.backbone.encode_text(chunk).to(device))
        vectors.append(features.concepts.cpu())
        for sentence, row in zip(chunk, features.allocation[:, 1:].tolist(), strict=True):
            for word, concept in zip(sentence.words, row, strict=False):
                if concept >= 0:
                    words[concept][word.text.lower()] += 1
    return words, torch.cat(vectors)


def _listed(words: Sequence[Counter[str]]) -> list[tuple[tuple[str, int], ...]]:
    """Of each concept the most frequent of the words that no other concept holds more often."""
    most: dict[str, int] = {}
    for own in words:
        for word, times in own.items():
            most[word] = max(times, most.get(word, 0))
    return [
        tuple(sorted(((w, n) for w, n in own.items() if n == most[w]), key=lambda pair: (-pair[1], pair[0])))[
            :TOP_WORDS
        ]
        for own in words
    ]


def _agreement(
    said: Tensor, owners: Sequence[int], seen: Sequence[Tensor], count: int
) -> list[tuple[float, float] | None]:
    """By concept the mean cosine of captions (N, K, Dc) with their own clip and with the other clips, where
    both hold the concept; None where too few do."""
    if not owners:
        return [None] * count
    clips = torch.stack(list(seen))
    cosines = torch.einsum("nkd,mkd->knm", said, clips)
    held = (said.norm(dim=-1) > 0).T.unsqueeze(2) & (clips.norm(dim=-1) > 0).T.unsqueeze(1)
    own = torch.tensor(owners).unsqueeze(1) == torch.arange(len(seen))
    found: list[tuple[float, float] | None] = []
    for table, both in zip(cosines, held, strict=True):
        here, there = table[both & own], table[both & ~own]
        enough = min(len(here), len(there)) >= ENOUGH
        found.append((float(here.mean()), float(there.mean())) if enough else None)
    return found


def _shots(concept: int, looked: Sequence[_Looked], shelf: Shelf) -> tuple[ConceptShot, ...]:
    """The clips in which the concept holds the largest part of a frame, the largest first."""
    found = []
    for clip in looked:
        shares = (clip.allocation == concept).mean(axis=(1, 2))
        best = int(shares.argmax())
        if shares[best] > 0:
            found.append((float(shares[best]), clip, best))
    shots: list[ConceptShot] = []
    for share, clip, place in sorted(found, key=lambda one: -one[0]):
        if len(shots) == SHOWN:
            break
        try:
            batch = shelf.frames(clip.record.id, [clip.frames[place]])
        except LibraryError:
            continue
        held = clip.allocation[place] == concept
        second = float(batch.seconds[0])
        shots.append(ConceptShot(clip.record.id, clip.record.name, second, share, batch.pixels[0], held))
    return tuple(shots)


# --------------------------------------------------------------------------- names that people give to c
_NOTE = "concept_names"


def concept_names(shelf: Shelf, pretrained: RetrievalModel) -> tuple[str, ...]:
    """(K,) what the concepts are called in this library: as a person called them, else as training did.

    A name that one before has already gets a number, so that names tell concepts apart.
    """
    given = _given(shelf, pretrained)
    names: list[str] = []
    for k, found in enumerate(pretrained.names):
        name = given.get(str(k), found)
        while name in names:
            name = f"{name} ({k + 1})"
        names.append(name)
    return tuple(names)


def rename(store: Store, pretrained: RetrievalModel, concept: int, name: str) -> None:
    """Call ``concept`` by another name from now on; an empty one gives back the name that training found."""
    count = pretrained.model.config.concepts
    if not 0 <= concept < count:
        raise LibraryError(f"There is no concept {concept + 1}; this model has {count}.")
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if len(name) > LONGEST_NAME:
        raise LibraryError(f"A name of {len(name)} letters is too long; give at most {LONGEST_NAME}.")
    given = {**_given(store, pretrained), str(concept): name}
    if name in ("", pretrained.names[concept]):
        del given[str(concept)]
    store.set_note(_NOTE, {**store.note(_NOTE), pretrained.fingerprint: given})


def _given(shelf: Shelf, pretrained: RetrievalModel) -> Mapping[str, str]:
    given = shelf.note(_NOTE).get(pretrained.fingerprint)
    named = given.items() if isinstance(given, dict) else ()
    return {concept: name for concept, name in named if isinstance(name, str)}
