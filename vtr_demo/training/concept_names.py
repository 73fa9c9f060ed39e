"""Names for discovered concepts, from the words that they claim and the attributes of their patches.

A name reads `dog · puppy · fox; seen: dog · grass`: first the content words that the concept holds more
than the others do, then what the entity level's attributes say of its patches alone. A concept of
function words says so: `prepositions in · into; seen: room`. S2CA leaves its concepts unnamed; the
form is our decision.
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

LEAST = 5
"""Occurrences below which a lemma, and clips below which an attribute names nothing."""
WORDS, SEEN = 3, 2
CONTENT = frozenset({"NOUN", "PROPN", "VERB", "ADJ", "NUM", "ADV"})
LIGHT = frozenset({"be", "have", "do", "get", "go", "not", "there", "very", "so", "just", "other", "that"})
"""Lemmas of content classes that say as little as function words."""
ENOUGH = 0.25
"""Share of a concept's words that must be content words for those to name it."""
PRIOR = 100.0
"""Pseudo-occurrences of the prior, spread over the lemmas as the whole corpus is."""
SURE = 2.0
"""Standard errors above the other concepts that an attribute needs."""
FUNCTION = {
    "DET": "articles",
    "ADP": "prepositions",
    "AUX": "auxiliaries",
    "CCONJ": "conjunctions",
    "SCONJ": "conjunctions",
    "PRON": "pronouns",
    "PART": "particles",
}
COMMON = 128
"""The most frequent attributes, whose heads have seen enough to be believed."""
_ENTITY = LEVELS.index("entity")
_CHUNK = 64
_SHOWN = 96


def name_concepts(
    model: VTRModel,
    texts: Sequence[EncodedCaption],
    clips: Iterable[VideoTokens] = (),
    vocabulary: Vocabulary | None = None,
) -> tuple[str, ...]:
    """(K,) different names from the arg-max allocation of ``texts`` (words) and ``clips`` (patches).

    Without clips, or where the model has no attributes, from the words alone; a concept without
    either is called by its number.
    """
    model.eval()
    claimed = claimed_words(model, texts)
    seen = seen_attributes(model, clips, vocabulary) if vocabulary and model.attributes is not None else {}
    return joined(word_names(claimed), [seen.get(k, ()) for k in range(len(claimed))])


def evidence(sampler: Sampler, count: int = _SHOWN) -> tuple[list[EncodedCaption], list[VideoTokens]]:
    """What names are drawn from in training: all sentences, and the tokens of ``count`` clips."""
    places = torch.linspace(0, len(sampler.items) - 1, min(count, len(sampler.items))).long().tolist()
    return sampler.captions(), [sampler.cache.get(sampler.items[i]) for i in places]


def joined(words: Sequence[str], seen: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The names: words, then what is seen, then numbers where these leave two alike or nothing at all."""
    names: list[str] = []
    for k, (said, attributes) in enumerate(zip(words, seen, strict=True)):
        looks = "seen: " + " · ".join(attributes) if attributes else ""
        name = "; ".join(part for part in (said, looks) if part) or f"concept {k + 1}"
        names.append(name if name not in names else f"{name} ({k + 1})")
    return tuple(names)


# --------------------------------------------------------------------------- words
@torch.no_grad()
def claimed_words(model: VTRModel, texts: Sequence[EncodedCaption]) -> list[Counter[tuple[str, str]]]:
    """For each concept, how often it holds each (lemma, part of speech)."""
    device = next(model.parameters()).device
    claimed: list[Counter[tuple[str, str]]] = [Counter() for _ in range(model.config.concepts)]
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        allocation = model.encode_text(text_batch(chunk).to(device)).allocation
        for text, row in zip(chunk, allocation.tolist(), strict=True):
            for word, concept in zip(text.sentence.words, row[1:], strict=False):
                if concept >= 0:
                    claimed[concept][word.lemma.lower(), word.pos] += 1
    return claimed


def word_names(claimed: Sequence[Mapping[tuple[str, str], int]]) -> list[str]:
    """For each concept the part of its name that comes from words; empty where it holds too few.

    Up to three content lemmas, each given to the one concept that is most sure of it; where content
    words are too few, the class of its function words and the two that it is most sure of.
    """
    content = [_lemmas(own, meaningful=True) for own in claimed]
    sure = exclusive(log_odds(content))
    function = log_odds([_lemmas(own, meaningful=False) for own in claimed])
    names = []
    for own, mine, best, rest in zip(claimed, content, sure, function, strict=True):
        enough = sum(mine.values()) >= ENOUGH * sum(own.values())
        names.append(" · ".join(_top(best, mine, WORDS)) if enough else _function_name(own, rest))
    return names


def log_odds(counts: Sequence[Mapping[str, int]]) -> list[dict[str, float]]:
    """For each concept and each of its lemmas, the z-score of its log-odds against the other concepts.

    With an informative Dirichlet prior, a_w = PRIOR times w's share of all counts (Monroe et al. 2008,
    eq. 16, 20 and 22): rare lemmas are drawn to 0, and a lemma that is frequent everywhere stays there.
    """
    total = sum((Counter(own) for own in counts), Counter())
    everything = sum(total.values())
    scores = []
    for own in counts:
        size = sum(own.values())
        found = {}
        for word, n in own.items():
            prior = PRIOR * total[word] / everything
            here, there = n + prior, total[word] - n + prior
            odds = math.log(here / (size + PRIOR - here))
            others = math.log(there / (everything - size + PRIOR - there))
            found[word] = (odds - others) / math.sqrt(1 / here + 1 / there)
        scores.append(found)
    return scores


def exclusive(scores: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Each word's score only in the concept where it is highest (the first of equal ones)."""
    best: dict[str, int] = {}
    for k, own in enumerate(scores):
        for word, score in own.items():
            if word not in best or score > scores[best[word]][word]:
                best[word] = k
    return [{word: score for word, score in own.items() if best[word] == k} for k, own in enumerate(scores)]


def _lemmas(own: Mapping[tuple[str, str], int], *, meaningful: bool) -> Counter[str]:
    found: Counter[str] = Counter()
    for (lemma, pos), count in own.items():
        if (pos in CONTENT and lemma not in LIGHT) == meaningful:
            found[lemma] += count
    return found


def _top(scores: Mapping[str, float], counts: Counter[str], most: int) -> list[str]:
    kept = [word for word, score in scores.items() if counts[word] >= LEAST and score > 0]
    return sorted(kept, key=lambda word: (-scores[word], word))[:most]


def _function_name(own: Mapping[tuple[str, str], int], scores: Mapping[str, float]) -> str:
    classes: dict[str, Counter[str]] = {}
    for (lemma, pos), count in own.items():
        if pos in FUNCTION:
            classes.setdefault(FUNCTION[pos], Counter())[lemma] += count
    if not classes:
        return ""
    largest = max(sorted(classes), key=lambda name: sum(classes[name].values()))
    words = _top(scores, classes[largest], 2)
    return f"{largest} {' · '.join(words)}" if words else ""


# --------------------------------------------------------------------------- patches
@torch.no_grad()
def seen_attributes(
    model: VTRModel, clips: Iterable[VideoTokens], vocabulary: Vocabulary
) -> dict[int, tuple[str, ...]]:
    """By concept: the attributes that the entity level sees in its patches more than in the others'.

    Of the ``COMMON`` attributes each goes to the one concept where it stands out most; a concept that is
    left with none shares those of others. A concept needs ``LEAST`` clips.
    """
    found = [concept_attributes(model, clip) for clip in clips]
    if not found or not vocabulary.names["entity"]:
        return {}
    owners = torch.cat([concepts for concepts, _ in found])
    logits = torch.cat([rows for _, rows in found])
    centred = (logits - logits.mean(0)) / logits.std(0).clamp_min(1e-6)
    scores: list[dict[str, float]] = []
    for k in range(model.config.concepts):
        own = centred[owners == k]
        sure = own.mean(0) * len(own) ** 0.5 if len(own) >= LEAST else torch.zeros(0)
        lifts = zip(vocabulary.names["entity"][:COMMON], own.mean(0).tolist(), sure.tolist(), strict=False)
        scores.append({name: lift for name, lift, z in lifts if z >= SURE})
    best = [own or every for own, every in zip(exclusive(scores), scores, strict=True)]
    return {
        k: tuple(sorted(own, key=lambda name: (-own[name], name))[:SEEN]) for k, own in enumerate(best) if own
    }


@torch.no_grad()
def concept_attributes(model: VTRModel, clip: VideoTokens) -> tuple[Tensor, Tensor]:
    """The concepts that a clip's patches occupy (N,), and entity attribute logits (N, A) of each alone.

    The entity vector is an exact sum over patches; the summands of one concept's patches, brought to
    unit length, are what the level would have been had it seen those patches only.
    """
    assert model.attributes is not None
    out = model.forward_video(clip.to(next(model.parameters()).device))
    owners = out.concepts.index()[0]
    parts = model.video.parts(out.levels)[0, _ENTITY]
    sums = parts.new_zeros(model.config.concepts, parts.shape[1])
    sums.index_add_(0, owners[owners >= 0], parts[owners >= 0])
    held = owners[owners >= 0].unique()
    vectors = F.normalize(sums[held], dim=-1).unsqueeze(1).expand(-1, len(LEVELS), -1)
    return held.cpu(), model.attributes(vectors)[_ENTITY].float().cpu()
