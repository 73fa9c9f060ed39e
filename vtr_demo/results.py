"""What the engine answers with: plain frozen records of NumPy arrays, numbers and strings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from vtr_demo.errors import VtrError
from vtr_demo.structures import Alignment, CropBox, Sentence, TermWeights

STRONG, WEAK = 0.95, 0.8
"""Confidence from which a match is strong, and below which it is none (our decision; ``CONFIDENT_P``)."""


def confidence_word(confidence: float) -> str:
    """Name a calibrated confidence: "strong", "weak" or "no match"."""
    return "strong" if confidence >= STRONG else "weak" if confidence >= WEAK else "no match"


@dataclass(frozen=True)
class Hit:
    """One clip found for a sentence. ``terms`` add up to ``score``; ``moment`` -1 is the whole clip."""

    clip_id: str
    name: str
    path: str
    score: float
    start_s: float
    end_s: float
    moment: int
    confidence: float | None
    """1 - p of the words against the library's null distribution: about the share of unrelated texts that score
    less with every clip of the library; it never rises as the score of the words falls.
    None for a query without words, or with an example."""
    terms: dict[str, float]


@dataclass(frozen=True)
class SearchResult:
    """The ranked clips for a sentence, and what was understood of it."""

    sentence: Sentence
    hits: tuple[Hit, ...]
    weights: TermWeights
    searched: int
    """Clips in the library."""
    confident: bool
    """False where no clip of the library stands out more than for too many unrelated texts."""
    took_ms: float = 0.0
    note: str = ""
    """A sentence for the person, e.g. that words past the limit were not read; often empty."""
    certain: bool = True
    """Whether it is proven that no other clip ranks higher; in a large library clips are chosen by codes."""


@dataclass(frozen=True)
class CaptionHit:
    """One sentence ranked for a clip. ``terms`` add up to ``score``."""

    text: str
    score: float
    terms: dict[str, float]
    confidence: float
    """1 - p: about the share of draws of as many unrelated texts as were ranked that all score lower with this clip."""


@dataclass(frozen=True)
class ExampleView:
    """An example that a query may name: a clip of the library, or a file that was read for it."""

    example_id: str
    name: str
    picture: np.ndarray | None = None
    """(S, S, 3) uint8 of a file; a clip has its poster."""


@dataclass(frozen=True)
class ClipView:
    """A clip of the library as a page shows it."""

    clip_id: str
    name: str
    path: Path
    """The video file: the copy in the library where one is kept, else the file that was indexed. It may have
    gone from disk since."""
    poster: Path
    """A still picture, JPEG."""
    duration_s: float
    width: int
    height: int
    moments: tuple[tuple[float, float], ...]
    captions: tuple[str, ...]
    added: str
    """ISO date and time."""
    stored_bytes: int
    visitor: str = ""
    """Whose upload it is on a public page; empty for a clip of the library itself."""


Order = Literal["oldest", "newest", "name", "shortest", "longest", "largest"]
"""How a list of clips is sorted; ties by arrival."""


@dataclass(frozen=True)
class ClipFilter:
    """Which clips a list or a search is about; all that is given must hold, and the default is every clip.

    name, folder: a part of the file name, and of the original's folder, in either case; seconds from
    shortest_s to longest_s; added_from <= added < added_before, as ISO dates or times in UTC; visitors:
    whose clips, where "" is those of the library itself, and None everyone's; uploaded: those of visitors alone;
    captioned: with or without captions; own: those whose film was copied in, as of an upload; on a page that strangers
    share, those of the visitor who asks.
    """

    name: str = ""
    folder: str = ""
    shortest_s: float = 0.0
    longest_s: float = float("inf")
    added_from: str = ""
    added_before: str = ""
    visitors: tuple[str, ...] | None = None
    uploaded: bool = False
    captioned: bool | None = None
    own: bool = False

    @property
    def hides_visitors_alone(self) -> bool:
        """Return whether clips of other visitors are all that it leaves out."""
        return "" in (self.visitors or ()) and self == ClipFilter(visitors=self.visitors)


@dataclass(frozen=True)
class ClipPage:
    """A part of a list of clips; ``total`` is the length of the whole list."""

    clips: tuple[ClipView, ...]
    total: int


@dataclass(frozen=True)
class Explanation:
    """Why a sentence and a clip (or one of its moments) score as they do. Nothing is decoded for it."""

    clip_id: str
    moment: int
    sentence: Sentence
    alignment: Alignment
    frames: np.ndarray
    """(T, S, S, 3) uint8: the very pixels the model saw, at ``alignment.seconds``."""
    gates: dict[str, float]
    """The weight g_l of each level for this sentence."""
    word_effects: np.ndarray
    """(W,): score minus the score with that word struck out; positive words helped."""
    concept_names: tuple[str, ...]
    """(K,) names of the concepts."""
    video_tags: dict[str, tuple[tuple[str, float], ...]]
    """The clip's likeliest attributes by level with their probabilities; empty when untrained."""
    crop: CropBox
    """Where ``frames`` lie in the upright picture of the clip."""
    moment_scores: tuple[float, ...] = ()
    """The scores of all moments of the clip for the same query, in their order; empty where it has none."""
    draw: Callable[[Explanation], Image.Image] | None = field(default=None, repr=False, compare=False)
    """Renders the picture that ``figure`` returns; the library sets it, since records draw nothing."""

    def figure(self) -> Image.Image:
        """Draw the explanation as one picture: the terms, words by frames, and the heat over the frames."""
        if self.draw is None:
            raise VtrError("This explanation has no renderer; take it from Engine.explain.")
        return self.draw(self)


@dataclass(frozen=True)
class ConceptShot:
    """A frame of which a concept holds the ``share`` of patches that ``held`` (rows, columns) marks."""

    clip_id: str
    name: str
    second: float
    share: float
    frame: np.ndarray
    """(S, S, 3) uint8: the very pixels the model saw."""
    held: np.ndarray


LONGEST_NAME = 80
"""Characters of a concept's name."""


@dataclass(frozen=True)
class ConceptView:
    """What a concept holds in a library."""

    number: int
    """From 0."""
    name: str
    default_name: str
    """What training called it, whatever its name is now."""
    score: float | None
    """How well that name tells what the concept holds, F1 from 0 to 1; None where it was not measured."""
    patches: float
    """Its share of all patches."""
    words: float
    """Its share of all words but function words."""
    top_words: tuple[tuple[str, int], ...]
    """Words that no other concept holds more often, with how often it holds them."""
    shots: tuple[ConceptShot, ...]
    """The clips of which it holds the largest part of a frame, the largest first."""
    agreement: tuple[float, float] | None
    """Mean cosine of captions with their own clip and with others; None where too few hold the concept."""


@dataclass(frozen=True)
class Recall:
    """One direction of retrieval: R@1, R@5, R@10 in percent, median and mean rank, by name, with their 95 %
    bootstrap intervals over the clips."""

    queries: int
    values: dict[str, float]
    interval_95: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Measurement:
    """How well the clips of a library and their captions find each other, and what a search costs."""

    texts: int
    clips: int
    """That were searched, with or without captions."""
    captioned: int
    text_to_video: Recall
    video_to_text: Recall
    ablations: dict[str, tuple[float, float]]
    """R@1 of both directions with a term alone (`only entity`) and left out (`without entity`)."""
    query_ms: float
    """Reading, encoding and searching for one sentence, the median of a few."""
    vector_bytes: float
    """What a search holds of a clip in memory, on average."""
    stored_bytes: float
    """What a clip takes on disk, on average, its pixels and tokens included."""
    left_out: tuple[str, ...] = ()
    """A sentence for each line of a file of captions that could not be used."""
    library: int = 0
    """Clips that there are; more than ``clips`` where it was measured among some."""


@dataclass(frozen=True)
class IndexReport:
    """What happened to each file that was offered to the library."""

    added: tuple[str, ...] = ()
    """Ids of the new clips."""
    known: tuple[str, ...] = ()
    """Names of files that were already there, by content."""
    failed: tuple[tuple[str, str], ...] = ()
    """(file name, one sentence) for each file that could not be indexed."""
    moved: tuple[str, ...] = ()
    """Names of known files that lie elsewhere than before; the library has noted where."""
    replaced: tuple[tuple[str, str], ...] = ()
    """(id, name) of clips that were deleted because their file now holds another film."""
    partial: tuple[tuple[str, str], ...] = ()
    """(file name, what could not be read) for each new clip whose film could not be read to its end."""


@dataclass(frozen=True)
class CaptionReport:
    """What a file of captions has added: sentences that were new, to how many clips, and what was left out."""

    clips: int
    captions: int
    left_out: tuple[str, ...]
    """A sentence for each line that could not be used."""


@dataclass(frozen=True)
class Status:
    """The state of the library and of the model behind it."""

    model: str
    trained: bool
    clips: int
    moments: int
    stored_bytes: int
    device: str
    directory: str
    default_weights: TermWeights
    concept_names: tuple[str, ...]
    problems: tuple[str, ...]
    """One sentence for each stored clip that could not be read."""
    train_command: str = ""
    """What trains the heads of an untrained model, for its owner to type."""
