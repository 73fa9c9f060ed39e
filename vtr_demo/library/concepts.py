"""Describe each concept by what it holds in a library: its words, its frames, and how far they agree.

Read off the allocation that searches use (arg-max); nothing is learnt here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vtr_demo.errors import LibraryError
from vtr_demo.library.encoding import encode_parts, whole_frames
from vtr_demo.library.reader import LibraryReader
from vtr_demo.library.records import StoredClip
from vtr_demo.library.store import LibraryWriter
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import LONGEST_NAME, ClipFilter, ConceptShot, ConceptView
from vtr_demo.structures import Sentence
from vtr_demo.text.parser import parse_many

MAX_CLIPS = 200
"""Clips that are read, spread evenly over the library."""
SHOWN, TOP_WORDS = 6, 8
"""Clips and words shown of a concept."""
STRAY = 1 / 3
"""Of the largest part of a frame: what is less is not shown."""
ENOUGH = 5
"""Pairs of a caption and a clip below which nothing is said of how far they agree."""
_CHUNK = 64


@dataclass(frozen=True)
class _ClipConcepts:
    """A clip after the heads: the stored ``frames`` of the whole clip, the concept of each of their patches
    (T, rows, columns), and the clip's vector in each concept (K, Dc)."""

    clip: StoredClip
    frames: tuple[int, ...]
    allocation: np.ndarray
    vectors: Tensor


def concept_views(
    model: RetrievalModel, library: LibraryReader, general: Sequence[str] = ()
) -> tuple[ConceptView, ...]:
    """Describe all K concepts by what they hold in a library; clips that cannot be read are left out.

    Words come from the clips' captions and from ``general`` sentences; agreement from captions alone.
    """
    count = model.model.config.concepts
    clips = _collect_clips(model, library)
    pairs = [(text, i) for i, one in enumerate(clips) for text in one.clip.captions]
    words, captions = collect_words(model, parse_many([*(text for text, _ in pairs), *general]))
    owners = [i for _, i in pairs]
    agreement = _agreement(captions[: len(pairs)], owners, [one.vectors for one in clips], count)
    allocations = [one.allocation.ravel() for one in clips]
    patches = np.bincount(np.concatenate([*allocations, np.zeros(0, int)]), minlength=count)
    spoken = np.array([sum(counts.values()) for counts in words])
    return tuple(
        ConceptView(
            number=k,
            name=model.names[k],
            default_name=model.names[k],
            score=model.concept_scores[k] if k < len(model.concept_scores) else None,
            patches=float(patches[k] / max(patches.sum(), 1)),
            words=float(spoken[k] / max(spoken.sum(), 1)),
            top_words=top_words,
            shots=_shots(k, clips, library),
            agreement=agreement[k],
        )
        for k, top_words in enumerate(_top_words(words))
    )


def _collect_clips(model: RetrievalModel, library: LibraryReader) -> list[_ClipConcepts]:
    collected = []
    everyones = ClipFilter(visitors=("",))  # a visitor's clips are no one else's to see
    for clip in library.catalogue.spread(MAX_CLIPS, everyones):
        try:
            tokens = library.tokens(clip.id)
        except LibraryError:  # the library names it among its problems
            continue
        whole = whole_frames(clip.duration_s, tokens.patches.shape[1], model)
        features = encode_parts(model, tokens, [whole])[0]
        allocation = features.allocation[0, :, 1:].cpu().numpy().reshape(len(whole), *tokens.grid)
        collected.append(_ClipConcepts(clip, whole, allocation, features.concepts[0].cpu()))
    return collected


@torch.no_grad()
def collect_words(model: RetrievalModel, sentences: Sequence[Sentence]) -> tuple[list[Counter[str]], Tensor]:
    """Count the words of each concept, and return the sentences' vectors in each concept (N, K, Dc).

    Function words follow what they belong to, so they say nothing of a concept and are not counted.
    """
    network = model.model
    device = next(network.parameters()).device
    words: list[Counter[str]] = [Counter() for _ in range(network.config.concepts)]
    vectors = [torch.zeros(0, network.config.concepts, network.config.concept_width)]
    for start in range(0, len(sentences), _CHUNK):
        chunk = sentences[start : start + _CHUNK]
        features = network.encode_text(model.backbone.encode_text(chunk).to(device))
        vectors.append(features.concepts.cpu())
        for sentence, row in zip(chunk, features.allocation[:, 1:].tolist(), strict=True):
            for word, concept in zip(sentence.words, row, strict=False):
                if concept >= 0 and not word.is_function_word:
                    words[concept][word.text.lower()] += 1
    return words, torch.cat(vectors)


def _top_words(words: Sequence[Counter[str]]) -> list[tuple[tuple[str, int], ...]]:
    """Return of each concept the most frequent of the words that no other concept holds more often."""
    highest: Counter[str] = Counter()
    for counts in words:
        highest |= counts
    return [
        tuple(
            sorted(
                ((word, n) for word, n in counts.items() if n == highest[word]), key=lambda pair: (-pair[1], pair[0])
            )[:TOP_WORDS]
        )
        for counts in words
    ]


def _agreement(
    captions: Tensor, owners: Sequence[int], clips: Sequence[Tensor], count: int
) -> list[tuple[float, float] | None]:
    """Return by concept the mean cosine of captions (N, K, Dc) with their own clip and with the other clips.

    Only pairs count of which both hold the concept; None where there are too few.
    """
    if not owners:
        return [None] * count
    videos = torch.stack(list(clips))
    cosines = torch.einsum("nkd,mkd->knm", captions, videos)
    both = (captions.norm(dim=-1) > 0).T.unsqueeze(2) & (videos.norm(dim=-1) > 0).T.unsqueeze(1)
    own = torch.tensor(owners).unsqueeze(1) == torch.arange(len(videos))
    means: list[tuple[float, float] | None] = []
    for table, present in zip(cosines, both, strict=True):
        same, other = table[present & own], table[present & ~own]
        enough = min(len(same), len(other)) >= ENOUGH
        means.append((float(same.mean()), float(other.mean())) if enough else None)
    return means


def _shots(concept: int, clips: Sequence[_ClipConcepts], library: LibraryReader) -> tuple[ConceptShot, ...]:
    """Return the clips in which the concept holds the largest part of a frame, the largest first.

    A frame with less than ``STRAY`` of the largest part has stray patches, which show nothing of the concept.
    """
    candidates = []
    for one in clips:
        shares = (one.allocation == concept).mean(axis=(1, 2))
        best = int(shares.argmax())
        if shares[best] > 0:
            candidates.append((float(shares[best]), one, best))
    shots: list[ConceptShot] = []
    for share, one, place in sorted(candidates, key=lambda candidate: -candidate[0]):
        if len(shots) == SHOWN or (shots and share < STRAY * shots[0].share):
            break
        try:
            batch = library.frames(one.clip.id, [one.frames[place]])
        except LibraryError:
            continue
        held = one.allocation[place] == concept
        second = float(batch.seconds[0])
        shots.append(ConceptShot(one.clip.id, one.clip.name, second, share, batch.pixels[0], held))
    return tuple(shots)


# --------------------------------------------------------------------------- names that people give
_SETTING = "concept_names"


def concept_names(library: LibraryReader, model: RetrievalModel) -> tuple[str, ...]:
    """Return (K,) what the concepts are called in this library: by a person, else by training.

    A name that an earlier concept has gets a number, so that names tell concepts apart.
    """
    given = _given(library, model)
    names: list[str] = []
    for k, default in enumerate(model.names):
        name = given.get(str(k), default)
        while name in names:
            name = f"{name} ({k + 1})"
        names.append(name)
    return tuple(names)


def rename(library: LibraryWriter, model: RetrievalModel, concept: int, name: str) -> None:
    """Give ``concept`` another name; an empty one restores that of training."""
    count = model.model.config.concepts
    if not 0 <= concept < count:
        raise LibraryError(f"There is no concept {concept + 1}; this model has {count}.")
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if len(name) > LONGEST_NAME:
        raise LibraryError(f"A name of {len(name)} letters is too long; give at most {LONGEST_NAME}.")
    with library.exclusive():
        given = {**_given(library, model), str(concept): name}
        if name in ("", model.names[concept]):
            del given[str(concept)]
        library.set_setting(_SETTING, {**library.setting(_SETTING), model.fingerprint: given})


def _given(library: LibraryReader, model: RetrievalModel) -> Mapping[str, str]:
    given = library.setting(_SETTING).get(model.fingerprint)
    pairs = given.items() if isinstance(given, dict) else ()
    return {concept: name for concept, name in pairs if isinstance(name, str)}
