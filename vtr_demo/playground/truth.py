"""Label the patches and the nouns of a playground clip with what they show or name, from its spec.

Numbers are shared: 1 + i for ``spec.actors[i]``, 0 for the scene, -1 for neither. Discovered concepts are
measured against these labels (our decision).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vtr_demo.playground.render import find_sprites, label_clip
from vtr_demo.playground.spec import SCENES, ClipSpec
from vtr_demo.playground.things import THINGS
from vtr_demo.structures import Sentence

_NOUNS = frozenset({"NOUN", "PROPN"})
_PATCH_PIXELS = 20
"""Side of a patch in the drawing on which labels are counted."""


def patch_labels(
    spec: ClipSpec,
    seconds: Sequence[float],
    *,
    grid: tuple[int, int],
    size: int | None = None,
    sprites: str | Path | None = None,
) -> np.ndarray:
    """Return what covers most of each patch of the square view, (T, P), patches row-major over ``grid``.

    ``size`` is the side of the drawing in pixels, by default a few for each patch. Where two cover as much,
    the scene goes first, then the earlier actor.
    """
    size = size or _PATCH_PIXELS * max(grid)
    labels = label_clip(spec, seconds, size, size, find_sprites(sprites))
    rows, columns = (np.arange(size) * count // size for count in grid)
    patch = rows[:, None] * grid[1] + columns[None, :]
    areas = np.zeros((len(labels), grid[0] * grid[1], 1 + len(spec.actors)), np.int64)
    for frame, picture in zip(areas, labels, strict=True):
        np.add.at(frame, (patch.ravel(), picture.ravel()), 1)
    return np.asarray(areas.argmax(axis=2))


def noun_labels(spec: ClipSpec, sentence: Sentence) -> np.ndarray:
    """Return what each word of a true sentence names, (W,): only nouns within the phrase of a thing or scene.

    Longer phrases go first, so that a word of "polar bear" does not count for another bear.
    """
    phrases = [(noun, 1 + i) for i, actor in enumerate(spec.actors) for noun in THINGS[actor.sprite].nouns]
    phrases += [(phrase, 0) for phrase in (*SCENES[spec.scene].places, *SCENES[spec.scene].surfaces)]
    labels = np.full(len(sentence.words), -1)
    text = sentence.text.lower()
    for phrase, label in sorted(phrases, key=lambda pair: -len(pair[0])):
        for hit in re.finditer(rf"(?<!\w){re.escape(phrase.lower())}(?!\w)", text):
            for i, word in enumerate(sentence.words):
                within = hit.start() <= word.start and word.end <= hit.end()
                if within and word.pos in _NOUNS and labels[i] < 0:
                    labels[i] = label
    return labels
