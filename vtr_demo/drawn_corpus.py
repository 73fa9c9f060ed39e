"""The playground as a corpus: clips and single pictures, what is true of them and what is false.

The same count, seed and split give the same items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from vtr_demo.corpus import Contrast, Item, parsed_texts
from vtr_demo.playground import PAIR_LEVELS, ClipSpec, Split, contrast, frame_batch, in_split, sample_spec
from vtr_demo.playground_lexicon import MOVING_GROUPS, NEIGHBOURS, RELATIONS, SPATIAL_RELATIONS
from vtr_demo.playground_pairs import Falsehood
from vtr_demo.records import LEVELS, FrameBatch


def playground_items(
    count: int, seed: int, *, split: Split = "train", sprites: str = "", rivals: bool = False
) -> list[Item]:
    """Clips of the playground with minimal pairs of sentences; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    specs = (sample_spec(rng, split=split) for _ in range(count))
    return _drawn("playground", specs, rng, 3, split, sprites, rivals)


def playground_stills(
    count: int, seed: int, *, split: Split = "train", sprites: str = "", rivals: bool = False
) -> list[Item]:
    """Single pictures of two resting things of which one is left of, behind, on ... the other.

    A picture costs an eighth of a clip, and who stands where takes thousands to learn: a model that
    sees few learns by heart which two things go with which relation.
    """
    rng = np.random.default_rng([seed, 1])
    specs: list[ClipSpec] = []
    while len(specs) < count:
        relation = SPATIAL_RELATIONS[len(specs) % len(SPATIAL_RELATIONS)]
        spec = sample_spec(rng, split=split, relation=relation)
        still = replace(spec, actors=tuple(replace(actor, motion="stay") for actor in spec.actors))
        if in_split(still, split):
            specs.append(still)
    return _drawn("still", specs, rng, 1, split, sprites, rivals)


def playground_encounters(
    count: int, seed: int, *, split: Split = "train", sprites: str = "", rivals: bool = False
) -> list[Item]:
    """Clips of two things of which one follows, passes, meets ... the other.

    Of clips drawn at random one in four shows such a thing, and one in twenty a pursuit: too few to
    learn who is ahead from.
    """
    groups = [[name for name, rule in RELATIONS.items() if rule.group == group] for group in MOVING_GROUPS]
    return _related(groups, count, np.random.default_rng([seed, 2]), split, sprites, rivals)


def playground_neighbours(
    count: int, seed: int, *, split: Split = "train", sprites: str = "", rivals: bool = False
) -> list[Item]:
    """Clips of two things that move where they are, one left of or behind the other.

    Single pictures show things at rest, and of clips drawn at random one in ten stands so: too few to
    learn that a thing that swings to and fro is not on its way to the other.
    """
    return _related(NEIGHBOURS, count, np.random.default_rng([seed, 3]), split, sprites, rivals)


def _related(
    groups: Sequence[Sequence[str]],
    count: int,
    rng: np.random.Generator,
    split: Split,
    sprites: str,
    rivals: bool,
) -> list[Item]:
    """Clips whose relations come from each group in turn."""
    specs: list[ClipSpec] = []
    for index in range(count):
        relations = groups[index % len(groups)]
        relation = relations[int(rng.integers(len(relations)))]
        specs.append(sample_spec(rng, split=split, relation=relation))
    return _drawn("playground", specs, rng, 3, split, sprites, rivals)


def drawn_item(spec: ClipSpec, split: Split, sprites: str = "", kind: str = "playground") -> Item:
    """The item of one playground spec, nothing said of it yet; the training split is drawn with noise."""

    def frames(count: int, size: int) -> FrameBatch:
        count = 1 if kind == "still" else count
        return frame_batch(spec, count, size=size, augment=split == "train", sprites=sprites or None)

    key = f"{kind}-{split}-{hashlib.sha256(repr(spec).encode()).hexdigest()[:24]}"
    return Item(key, kind, (), frames)


def _drawn(
    kind: str,
    specs: Iterable[ClipSpec],
    rng: np.random.Generator,
    voices: int,
    split: Split,
    sprites: str,
    rivals: bool,
) -> list[Item]:
    """The items of playground specs, each told in so many voices; ``rivals``: each with one, where there is
    any. The generator chooses these last, so that with and without them the rest is the same."""
    drawn = [
        (spec, [contrast(spec, rng, explicit=kind == "playground") for _ in range(voices)]) for spec in specs
    ]
    spoken = {text for _, told in drawn for true, false in told for text in (true, *(f.text for f in false))}
    parsed, _ = parsed_texts(sorted(spoken))
    items = []
    for spec, told in drawn:
        contrasts = [
            Contrast(parsed[true], tuple((LEVELS.index(f.level), parsed[f.text]) for f in false))
            for true, false in told
        ]
        if rivals and (found := rival_of([false for _, false in told], rng, split)):
            voice, place, other = found
            rival = drawn_item(other, split, sprites, kind)
            contrasts[voice] = replace(contrasts[voice], rivals={place: rival})
        item = drawn_item(spec, split, sprites, kind)
        true = tuple(one.true for one in contrasts)
        items.append(replace(item, sentences=true, contrasts=tuple(contrasts)))
    return items


def rival_of(
    told: Sequence[Sequence[Falsehood]], rng: np.random.Generator, split: Split
) -> tuple[int, int, ClipSpec] | None:
    """(voice, place, spec) of one of the false sentences, at random, whose clip ``split`` may show."""
    options = [
        (voice, place, false.spec)
        for voice, falsely in enumerate(told)
        for place, false in enumerate(falsely)
        if false.level in PAIR_LEVELS and in_split(false.spec, split)
    ]
    return options[int(rng.integers(len(options)))] if options else None


def rivals_of(items: Iterable[Item]) -> list[Item]:
    """The clips that ``items`` are held against, each once."""
    found = (rival for item in items for contrast in item.contrasts for rival in contrast.rivals.values())
    return list({rival.key: rival for rival in found}.values())
