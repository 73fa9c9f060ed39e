"""A playground clip as a record: what is in it, how it moves, where it stands.

A spec fixes the pixels. Where things stand is chosen in ``playground_layout``, motion over
time in ``playground_motion``, drawing in ``playground_art``, words in ``playground_grammar``.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from vtr_demo.errors import BadConfig
from vtr_demo.playground_lexicon import CAMERAS, GROUP_MOTIONS, MOTIONS, RELATIONS, SCENES
from vtr_demo.playground_things import CONTAINERS, RESERVED, THINGS, WIDE

Split = Literal["train", "probe", "unseen_sprites"]
SPLITS: tuple[Split, ...] = ("train", "probe", "unseen_sprites")
BACKDROPS = 12
"""Seeded variants of each scene."""
HELD_OUT = 0.2
"""Share of the combinations (thing, motion, relation, scene) that training never shows."""


@dataclass(frozen=True)
class Actor:
    """One thing that acts. Lengths are in picture heights; x = 0 is the centre of the picture."""

    sprite: str
    motion: str
    heading: int = 1
    """-1 moves (or looks, or turns) to the left, 1 to the right."""
    x: float = 0.0
    depth: float = 0.55
    """0 stands at the far line of the ground, 1 at the near one."""
    size: float = 0.36
    """Longer side of the sprite before perspective."""
    lift: float = 0.0
    """Height of its resting place above the ground."""
    phase: float = 0.0
    """Where in its cycle it starts, 0..1."""
    tempo: float = 1.0
    """Speed of its cycle."""

    def __post_init__(self) -> None:
        _known("thing", self.sprite, THINGS)
        _known("motion", self.motion, MOTIONS)
        if self.heading not in (-1, 1):
            raise BadConfig(f"heading must be -1 (left) or 1 (right), got {self.heading!r}.")
        for name in ("x", "depth", "size", "lift", "phase", "tempo"):
            if not np.isfinite(getattr(self, name)):
                raise BadConfig(f"{name} of the {self.sprite} must be a finite number.")
        if self.size <= 0 or self.tempo <= 0:
            raise BadConfig(f"size and tempo of the {self.sprite} must be positive.")


@dataclass(frozen=True)
class ClipSpec:
    """One clip. ``relation`` says how actors[0] stands to actors[1]; a third actor is a bystander."""

    scene: str
    actors: tuple[Actor, ...]
    relation: str | None = None
    camera: str = "still"
    backdrop: int = 0
    seed: int = 0
    duration_s: float = 4.0

    def __post_init__(self) -> None:
        _known("scene", self.scene, SCENES)
        _known("camera", self.camera, CAMERAS)
        if not 1 <= len(self.actors) <= 3:
            raise BadConfig(f"A clip needs one to three actors, got {len(self.actors)}.")
        names = [actor.sprite for actor in self.actors]
        if len(set(names)) < len(names):
            raise BadConfig(f"The actors of a clip must be different things, got {', '.join(names)}.")
        if not (np.isfinite(self.duration_s) and self.duration_s > 0):
            raise BadConfig(f"duration_s must be positive, got {self.duration_s}.")
        for name in ("backdrop", "seed"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise BadConfig(f"{name} must be a whole number from 0, got {getattr(self, name)!r}.")
        if self.relation is not None:
            _known("relation", self.relation, RELATIONS)
            self._check_relation(self.relation)

    def _check_relation(self, relation: str) -> None:
        if len(self.actors) < 2:
            raise BadConfig(f"The relation {relation!r} needs two actors.")
        for actor, allowed in zip(self.actors, motions_for(relation), strict=False):
            if actor.motion not in allowed:
                raise BadConfig(
                    f"In the relation {relation!r} the {actor.sprite} cannot {actor.motion}; "
                    f"choose from {', '.join(allowed)}."
                )
        if relation == "in" and self.actors[1].sprite not in CONTAINERS:
            raise BadConfig(f"Nothing fits in the {self.actors[1].sprite}; use {', '.join(CONTAINERS)}.")

    def to_json(self) -> str:
        """The spec as one line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | dict[str, Any]) -> ClipSpec:
        """Read a spec back; refuses what is not one."""
        try:
            values = dict(json.loads(text) if isinstance(text, str) else text)
            actors = tuple(Actor(**actor) for actor in values.pop("actors"))
            return ClipSpec(actors=actors, **values)
        except (TypeError, KeyError, ValueError) as error:
            raise BadConfig(f"This is not a playground spec ({error}); write one with to_json().") from error


def _known(what: str, name: str, table: dict[str, Any]) -> None:
    if name not in table:
        raise BadConfig(f"Unknown {what} {name!r}; known: {', '.join(table)}.")


def motions_for(relation: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The motions that the first and the second thing may have under ``relation``."""
    rule = RELATIONS[relation]
    first, second = GROUP_MOTIONS[rule.group]
    return rule.first or first, second


# --------------------------------------------------------------------------- splits
def held_out(sprite: str, motion: str, relation: str | None, scene: str) -> bool:
    """Whether this combination is kept from training; decided by a digest, so the same everywhere."""
    digest = hashlib.sha256(f"{sprite}|{motion}|{relation}|{scene}".encode()).digest()
    return digest[0] < HELD_OUT * 256


def in_split(spec: ClipSpec, split: Split) -> bool:
    """train: no actor's combination is held out; probe: every one is, of things that samples show too;
    unseen_sprites: only reserved things."""
    names = {actor.sprite for actor in spec.actors}
    if not names - set(CONTAINERS) <= _shown(split):
        return False
    held = [held_out(a.sprite, a.motion, spec.relation, spec.scene) for a in spec.actors]
    return split == "unseen_sprites" or (all(held) if split == "probe" else not any(held))


@functools.cache
def _shown(split: Split) -> frozenset[str]:
    return frozenset(sprites_of(split))


def sprites_of(split: Split) -> list[str]:
    """The things that a split may show."""
    if split not in SPLITS:
        raise BadConfig(f"Unknown split {split!r}; use {', '.join(SPLITS)}.")
    if split == "unseen_sprites":
        return [name for name in THINGS if name in RESERVED]
    return [name for name in THINGS if name not in RESERVED and (split == "train" or name not in WIDE)]
