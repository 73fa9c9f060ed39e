"""What the discovered concepts are worth: their use, their purity, and how stable they are.

use         shares of patches and of words on the sample videos, and the concepts that nothing uses
purity      against the playground's truth, on held-out clips, beside what chance would give
stability   another checkpoint allocates the same patches and words; concepts are matched one to one

All shares are from 0 to 1 and all allocations are the arg-max. S2CA reports no such numbers; the
measures are our decision (see ``partitions``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.allocations import SPLIT, Observed, drawn_items, observe
from vtr_demo.checkpoint import Pretrained
from vtr_demo.corpus import Item, file_items
from vtr_demo.data import load_manifest
from vtr_demo.errors import BadConfig
from vtr_demo.partitions import (
    adjusted,
    best_purity,
    by_chance,
    contingency,
    entropy_share,
    interval,
    matched_share,
    matching,
    nmi,
    purity,
    shuffled,
)
from vtr_demo.playground_spec import ClipSpec

ENTROPY_GOAL = 0.7
MANIFEST = "manifest.jsonl"
_ROUNDS = 50


def concept_quality(
    pretrained: Pretrained,
    *,
    samples: Path,
    clips: int,
    seed: int = 0,
    sprites: str | Path | None = None,
    against: Sequence[Pretrained] = (),
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, Any]:
    """Use on the manifest in ``samples``, purity on ``clips`` drawn clips, stability ``against`` others.

    Stability is measured on both sets of clips together. ``progress`` hears shares and sentences.
    """
    everyone = (pretrained, *against)
    filmed = file_items(load_manifest(samples / MANIFEST), pretrained.video)
    drawn = drawn_items(clips, seed, sprites)
    items = [*filmed, *(item for _, item in drawn)]
    seen: list[tuple[Observed, ...]] = []
    for i, item in enumerate(items):
        if progress and i % 10 == 0:
            progress(i / len(items), f"concepts: clip {i + 1} of {len(items)}")
        seen.append(observe(everyone, item))
    own = [row[0] for row in seen]
    names = pretrained.names
    rng = np.random.default_rng([seed, 1])
    answer: dict[str, Any] = {"model": pretrained.spec, "names": list(names), "seed": seed}
    answer["use"] = {"clips": len(filmed)} | use(own[: len(filmed)], len(names))
    answer["purity"] = {"clips": clips, "split": SPLIT} | purities(
        own[len(filmed) :], drawn, names, rng, sprites
    )
    answer["stability"] = [
        {"against": other.spec} | stability([(row[0], row[1 + i]) for row in seen], names, other.names, rng)
        for i, other in enumerate(against)
    ]
    return answer


# --------------------------------------------------------------------------- use
def use(observed: Sequence[Observed], count: int) -> dict[str, Any]:
    """By modality: each concept's share of the tokens, their entropy as a share of log K, and the numbers
    (from 1) of the concepts without a token."""
    answer: dict[str, Any] = {}
    for name in ("patches", "words"):
        owners = np.concatenate([one.tokens[name] for one in observed])
        counts = np.bincount(owners[owners >= 0], minlength=count)
        entropy = entropy_share(counts)
        answer[name] = {
            "tokens": int(counts.sum()),
            "share": [float(share) for share in counts / max(counts.sum(), 1)],
            "entropy_share": entropy,
            "reaches_goal": entropy >= ENTROPY_GOAL,
            "empty": [int(k) + 1 for k in np.flatnonzero(counts == 0)],
        }
    return answer


# --------------------------------------------------------------------------- purity
def purities(
    observed: Sequence[Observed],
    drawn: Sequence[tuple[ClipSpec, Item]],
    names: Sequence[str],
    rng: np.random.Generator,
    sprites: str | Path | None = None,
) -> dict[str, Any]:
    """Agreement of the concepts with the truth of the clips: patches coarse and fine, and words.

    ``concepts``: what most of each concept's patches and words are, and how many of them.
    """
    from vtr_demo.playground import moments
    from vtr_demo.playground_truth import BACKGROUND, THING, actor_kinds, patch_actors, word_classes

    coarse, fine, spoken = [], [], []
    for one, (spec, item) in zip(observed, drawn, strict=True):
        seconds = moments(spec, len(one.patches))
        size = 20 * max(one.grid)  # the view is square at any size
        actors = patch_actors(spec, seconds, size=size, grid=one.grid, sprites=sprites).ravel()
        kinds = np.array(actor_kinds(spec))
        coarse.append(np.where(actors > 0, THING, BACKGROUND))
        fine.append(kinds[actors])
        spoken.append(np.concatenate([word_classes(spec, sentence) for sentence in item.sentences]))
    tokens = [one.tokens for one in observed]
    patches, words = ([one[name] for one in tokens] for name in ("patches", "words"))
    tables = {
        "patches": tabulate(patches, fine, len(names)),
        "words": tabulate(words, spoken, len(names)),
    }
    return {
        "patches": {
            "thing or background": measures(tabulate(patches, coarse, len(names))[0], rng),
            "kind or scene": measures(tables["patches"][0], rng),
        },
        "words": measures(tables["words"][0], rng),
        "concepts": [
            {"concept": k + 1, "name": name}
            | {side: _majority(table[:, k].sum(axis=0), classes) for side, (table, classes) in tables.items()}
            for k, name in enumerate(names)
        ],
    }


def tabulate(
    owners: Sequence[np.ndarray], truths: Sequence[np.ndarray], count: int
) -> tuple[np.ndarray, list[str]]:
    """(clips, K, C) counts of each clip's tokens by concept and true class, and the C classes by name."""
    classes = sorted({str(name) for truth in truths for name in np.unique(truth)})
    place = {name: i for i, name in enumerate(classes)}
    columns = [np.array([place[str(name)] for name in truth], dtype=np.int64) for truth in truths]
    shape = (count, len(classes))
    tables = [contingency(rows, cells, shape) for rows, cells in zip(owners, columns, strict=True)]
    return np.stack(tables), classes


def measures(tables: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Purity and normalised mutual information of (clips, K, C) counts, what shuffling gives, both adjusted
    for that, and 95 % intervals over clips."""
    table = tables.sum(axis=0)
    chance = dict(zip(("purity", "nmi"), by_chance(table, (purity, nmi), rng, rounds=_ROUNDS), strict=True))
    answer: dict[str, Any] = {
        "tokens": int(table.sum()),
        "classes": int((table.sum(axis=0) > 0).sum()),
        "best_purity": best_purity(table),
    }
    for name, measure in (("purity", purity), ("nmi", nmi)):
        found = measure(table)
        answer[name] = {
            "found": found,
            "by_chance": chance[name],
            "adjusted": adjusted(found, chance[name]),
            "interval_95": interval(tables, measure, rng),
        }
    return answer


def _majority(counts: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    total = int(counts.sum())
    if total == 0:
        return {"tokens": 0, "mostly": "", "share": 0.0}
    top = int(counts.argmax())
    return {"tokens": total, "mostly": classes[top], "share": float(counts[top] / total)}


# --------------------------------------------------------------------------- stability
def stability(
    pairs: Sequence[tuple[Observed, Observed]],
    names: Sequence[str],
    others: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """How far two models put the same tokens together: one matching for patches and words, each half.

    ``by_chance`` shuffles the tokens of each modality and matches anew. ``concepts``: for each matched
    pair, twice its common tokens over the tokens of both (Dice), patches and words counting half each.
    """
    shape = (len(names), len(others))
    tables = {}
    for side in ("patches", "words"):
        if any(one.tokens[side].shape != two.tokens[side].shape for one, two in pairs):
            raise BadConfig(
                f"The two checkpoints cut clips into different {side}; compare those with the same "
                "backbone and the same number of frames."
            )
        rows, columns = (np.concatenate([pair[i].tokens[side] for pair in pairs]) for i in (0, 1))
        tables[side] = contingency(rows, columns, shape)
    joint = _mixed(list(tables.values()))
    matched = matching(joint)
    random = [
        _mixed([shuffled(t.sum(axis=1), t.sum(axis=0), rng) for t in tables.values()]) for _ in range(_ROUNDS)
    ]
    chance = float(np.mean([matched_share(table) for table in random]))
    found = float(sum(joint[pair] for pair in matched))
    return {
        "agreement": found,
        "by_chance": chance,
        "adjusted": adjusted(found, chance),
        **{side: float(sum(t[pair] for pair in matched) / max(t.sum(), 1)) for side, t in tables.items()},
        "concepts": [
            {
                "concept": a + 1,
                "name": names[a],
                "other": b + 1,
                "other_name": others[b],
                "agreement": float(2 * joint[a, b] / max(joint[a].sum() + joint[:, b].sum(), 1e-12)),
            }
            for a, b in matched
        ],
    }


def _mixed(tables: Sequence[np.ndarray]) -> np.ndarray:
    """One table (K, K') of shares from those of the modalities, which count alike."""
    return np.mean([table / max(table.sum(), 1) for table in tables], axis=0)
