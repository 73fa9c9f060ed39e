"""Names for the learned concepts, from the words and the patches that are allocated to them.

A name reads `dog · puppy · fox; seen: dog · grass`: the content words that are most characteristic of the
concept, then the entity attributes that are most characteristic of its patches. A concept of function words
is named by their class: `prepositions in · into; seen: room`. S2CA does not name its concepts; the form is
our decision.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo.data.captions import EncodedCaption, text_batch
from vtr_demo.data.sampler import Sampler
from vtr_demo.model.attributes import Vocabulary
from vtr_demo.model.model import VTRModel
from vtr_demo.structures import LEVELS, VideoTokens

MIN_COUNT = 5
"""Occurrences that a lemma, and clips that a concept's attributes, need to enter a name."""
MAX_WORDS, MAX_ATTRIBUTES = 3, 2
CONTENT_POS = frozenset({"NOUN", "PROPN", "VERB", "ADJ", "NUM", "ADV"})
STOP_LEMMAS = frozenset({"be", "have", "do", "get", "go", "not", "there", "very", "so", "just", "other", "that"})
"""Lemmas of content classes that are treated as function words."""
MIN_CONTENT_SHARE = 0.25
"""Share of content words below which a concept is named by its function words."""
PRIOR_COUNT = 100.0
"""Pseudo-count of the Dirichlet prior, distributed as the lemmas of the corpus."""
MIN_Z = 2.0
"""z-score against the other concepts that an attribute needs."""
FUNCTION_CLASSES = {
    "DET": "articles",
    "ADP": "prepositions",
    "AUX": "auxiliaries",
    "CCONJ": "conjunctions",
    "SCONJ": "conjunctions",
    "PRON": "pronouns",
    "PART": "particles",
}
MAX_VOCABULARY = 128
"""The most frequent attributes that enter names; the heads of rarer ones have too few examples."""
_ENTITY = LEVELS.index("entity")
_CHUNK = 64
_NAMING_CLIPS = 96


def name_concepts(
    model: VTRModel,
    texts: Sequence[EncodedCaption],
    clips: Iterable[VideoTokens] = (),
    vocabulary: Vocabulary | None = None,
) -> tuple[str, ...]:
    """Return (K,) distinct names from the arg-max allocation of ``texts`` (words) and ``clips`` (patches).

    Without clips, or where the model has no attributes, words alone name the concepts; a concept without
    either is named by its number.
    """
    model.eval()
    counts = words_by_concept(model, texts)
    attributes: dict[int, tuple[str, ...]] = {}
    if vocabulary and model.attributes is not None:
        attributes = attributes_by_concept(model, clips, vocabulary)
    return join_names(word_names(counts), [attributes.get(k, ()) for k in range(len(counts))])


def naming_data(sampler: Sampler, count: int = _NAMING_CLIPS) -> tuple[list[EncodedCaption], list[VideoTokens]]:
    """Return what names come from in training: all sentences, and the tokens of ``count`` clips."""
    places = torch.linspace(0, len(sampler.items) - 1, min(count, len(sampler.items))).long().tolist()
    return sampler.captions(), [sampler.cache.get(sampler.items[i]) for i in places]


def join_names(words: Sequence[str], attributes: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Join words and attributes to (K,) names; numbers tell equal names apart and replace empty ones."""
    names: list[str] = []
    for k, (word_part, row) in enumerate(zip(words, attributes, strict=True)):
        attribute_part = "seen: " + " · ".join(row) if row else ""
        name = "; ".join(part for part in (word_part, attribute_part) if part) or f"concept {k + 1}"
        names.append(name if name not in names else f"{name} ({k + 1})")
    return tuple(names)


# --------------------------------------------------------------------------- words
@torch.no_grad()
def words_by_concept(model: VTRModel, texts: Sequence[EncodedCaption]) -> list[Counter[tuple[str, str]]]:
    """Return, for each concept, how often each (lemma, part of speech) is allocated to it."""
    device = next(model.parameters()).device
    counts: list[Counter[tuple[str, str]]] = [Counter() for _ in range(model.config.concepts)]
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        allocation = model.encode_text(text_batch(chunk).to(device)).allocation
        for text, row in zip(chunk, allocation.tolist(), strict=True):
            for word, concept in zip(text.sentence.words, row[1:], strict=False):
                if concept >= 0:
                    counts[concept][word.lemma.lower(), word.pos] += 1
    return counts


def word_names(counts: Sequence[Mapping[tuple[str, str], int]]) -> list[str]:
    """Return, for each concept, the part of its name that comes from words; empty where it holds too few.

    Up to three content lemmas, each assigned to the concept where its score is highest; where content words
    are too few, the class of the function words and the two of highest score.
    """
    content = [_lemmas(row, content=True) for row in counts]
    content_scores = exclusive(log_odds(content))
    function_scores = log_odds([_lemmas(row, content=False) for row in counts])
    names = []
    for row, lemmas, scores, others in zip(counts, content, content_scores, function_scores, strict=True):
        if sum(lemmas.values()) >= MIN_CONTENT_SHARE * sum(row.values()):
            names.append(" · ".join(_top(scores, lemmas, MAX_WORDS)))
        else:
            names.append(_function_name(row, others))
    return names


def log_odds(counts: Sequence[Mapping[str, int]]) -> list[dict[str, float]]:
    """Return, for each concept and lemma, the z-score of the log-odds against the other concepts.

    The Dirichlet prior is a_w = PRIOR_COUNT times w's share of all counts (Monroe et al., "Fightin' Words",
    2008, eq. 16, 20 and 22): scores of rare lemmas and of lemmas that are frequent everywhere are near 0.
    """
    total = sum((Counter(own) for own in counts), Counter())
    everything = sum(total.values())
    scores = []
    for own in counts:
        size = sum(own.values())
        z_scores = {}
        for word, n in own.items():
            prior = PRIOR_COUNT * total[word] / everything
            here, there = n + prior, total[word] - n + prior
            odds = math.log(here / (size + PRIOR_COUNT - here))
            others = math.log(there / (everything - size + PRIOR_COUNT - there))
            z_scores[word] = (odds - others) / math.sqrt(1 / here + 1 / there)
        scores.append(z_scores)
    return scores


def exclusive(scores: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Keep each word's score only in the concept where it is highest (the first of equal ones)."""
    best: dict[str, int] = {}
    for k, own in enumerate(scores):
        for word, score in own.items():
            if word not in best or score > scores[best[word]][word]:
                best[word] = k
    return [{word: score for word, score in own.items() if best[word] == k} for k, own in enumerate(scores)]


def _lemmas(own: Mapping[tuple[str, str], int], *, content: bool) -> Counter[str]:
    lemmas: Counter[str] = Counter()
    for (lemma, pos), count in own.items():
        if (pos in CONTENT_POS and lemma not in STOP_LEMMAS) == content:
            lemmas[lemma] += count
    return lemmas


def _top(scores: Mapping[str, float], counts: Counter[str], most: int) -> list[str]:
    kept = [word for word, score in scores.items() if counts[word] >= MIN_COUNT and score > 0]
    return sorted(kept, key=lambda word: (-scores[word], word))[:most]


def _function_name(own: Mapping[tuple[str, str], int], scores: Mapping[str, float]) -> str:
    classes: dict[str, Counter[str]] = {}
    for (lemma, pos), count in own.items():
        if pos in FUNCTION_CLASSES:
            classes.setdefault(FUNCTION_CLASSES[pos], Counter())[lemma] += count
    if not classes:
        return ""
    largest = max(sorted(classes), key=lambda name: sum(classes[name].values()))
    words = _top(scores, classes[largest], 2)
    return f"{largest} {' · '.join(words)}" if words else ""


# --------------------------------------------------------------------------- patches
@torch.no_grad()
def attributes_by_concept(
    model: VTRModel, clips: Iterable[VideoTokens], vocabulary: Vocabulary
) -> dict[int, tuple[str, ...]]:
    """Return, by concept, the entity attributes that are most characteristic of its patches.

    Each of the first ``MAX_VOCABULARY`` attributes is assigned to the concept where its standardised logit is
    highest; a concept without one shares those of others. A concept needs ``MIN_COUNT`` clips.
    """
    pairs = [concept_attributes(model, clip) for clip in clips]
    if not pairs or not vocabulary.names["entity"]:
        return {}
    owners = torch.cat([concepts for concepts, _ in pairs])
    logits = torch.cat([rows for _, rows in pairs])
    centred = (logits - logits.mean(0)) / logits.std(0).clamp_min(1e-6)
    scores: list[dict[str, float]] = []
    for k in range(model.config.concepts):
        own = centred[owners == k]
        z_scores = own.mean(0) * len(own) ** 0.5 if len(own) >= MIN_COUNT else torch.zeros(0)
        names = vocabulary.names["entity"][:MAX_VOCABULARY]
        lifts = zip(names, own.mean(0).tolist(), z_scores.tolist(), strict=False)
        scores.append({name: lift for name, lift, z in lifts if z >= MIN_Z})
    best = [own or shared for own, shared in zip(exclusive(scores), scores, strict=True)]
    return {
        k: tuple(sorted(own, key=lambda name: (-own[name], name))[:MAX_ATTRIBUTES]) for k, own in enumerate(best) if own
    }


@torch.no_grad()
def concept_attributes(model: VTRModel, clip: VideoTokens) -> tuple[Tensor, Tensor]:
    """Return the concepts that a clip's patches occupy (N,), and the entity attribute logits of each (N, A).

    The entity vector is an exact sum over patches; the summands of one concept's patches, normalised, are the
    level's vector of those patches alone.
    """
    assert model.attributes is not None
    out = model.forward_video(clip.to(next(model.parameters()).device))
    owners = out.concepts.index()[0]
    parts = model.video.parts(out.levels)[0, _ENTITY]
    sums = parts.new_zeros(model.config.concepts, parts.shape[1])
    sums.index_add_(0, owners[owners >= 0], parts[owners >= 0])
    occupied = owners[owners >= 0].unique()
    vectors = F.normalize(sums[occupied], dim=-1).unsqueeze(1).expand(-1, len(LEVELS), -1)
    return occupied.cpu(), model.attributes(vectors)[_ENTITY].float().cpu()
