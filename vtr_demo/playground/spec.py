"""The playground's vocabulary (things, motions, relations, scenes, cameras), its clip specs and its splits.

A ``ClipSpec`` fixes every pixel of a clip. ``layout`` places its things, ``motion`` moves them, ``render``
draws them, ``captions`` describes them.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from vtr_demo.config import Split
from vtr_demo.errors import ConfigError

# --------------------------------------------------------------------------- vocabulary
_FACING = {"left": -1, "": 0, "right": 1}


@dataclass(frozen=True)
class Thing:
    """One sprite of Microsoft's Fluent 3D emoji, its size and its words.

    Code points and names follow the Unicode emoji list; nouns, sizes and splits are our decision. The order of
    the rows of ``things.csv`` fixes what a seed draws: add new ones at the end.
    """

    code: str
    """Its code points, which are its file's name without the ending."""
    kind: str
    facing: int
    """Which way its picture looks: -1 left, 1 right, 0 neither."""
    size: float
    """Relative to the size of its place in the layout."""
    rim: float | None
    """Of a container: where its rim is, as a share of its height from the top."""
    split: str
    """The only split that shows it, ``train`` or ``unseen_sprites``; empty: ``train`` and ``probe``."""
    nouns: tuple[str, ...]
    """The first is the plainest."""


def read_table(name: str) -> dict[str, dict[str, str]]:
    """Return the rows of a table of this folder by their first column, ``name``."""
    with Path(__file__).with_name(name).open(encoding="utf-8", newline="") as file:
        return {row.pop("name"): row for row in csv.DictReader(file, strict=True)}


def cell_list(cell: str, separator: str = ";") -> tuple[str, ...]:
    """Split a cell at its separators; an empty cell has no parts."""
    return tuple(part.strip() for part in cell.split(separator)) if cell else ()


def _thing(code: str, kind: str, facing: str, size: str, rim: str, split: str, nouns: str) -> Thing:
    return Thing(code, kind, _FACING[facing], float(size), float(rim) if rim else None, split, cell_list(nouns))


THINGS = {name: _thing(**row) for name, row in read_table("things.csv").items()}
CONTAINERS = {name: thing.rim for name, thing in THINGS.items() if thing.rim is not None}
"""What a thing can be inside of, and where its rim is."""


Verb = tuple[str, str, str]
"""Of a motion: present, participle, and the words after it. Of a relation: present, participle, passive."""


def _verbs(cell: str) -> tuple[Verb, ...]:
    """Read verbs that are written "swings/swinging/back and forth; ..."; the third part may be empty."""
    split = (verb.split("/") for verb in cell_list(cell))
    return tuple((present, participle, rest) for present, participle, rest in split)


@dataclass(frozen=True)
class Motion:
    """How a thing moves by itself."""

    family: str
    """``travel``, ``place``, ``vertical``, ``depth`` or ``loop``."""
    verbs: tuple[Verb, ...]
    kind_verbs: dict[str, tuple[Verb, ...]]
    """Those that suit one kind of thing better; left out where only one word may differ."""


def _motion(family: str, verbs: str, **kinds: str) -> Motion:
    return Motion(family, _verbs(verbs), {kind: _verbs(cell) for kind, cell in kinds.items() if cell})


MOTIONS = {name: _motion(**row) for name, row in read_table("motions.csv").items()}


@dataclass(frozen=True)
class Relation:
    """How the first thing relates to the second."""

    group: str
    """Relations of a group have one layout."""
    preps: tuple[str, ...]
    """Prepositions, which follow any verb or "is"."""
    verbs: tuple[Verb, ...]
    """They replace the verb; the passive participle may be ""."""
    swaps: tuple[str, ...]
    """Relations that make a sentence false."""
    roles: bool
    """Whether exchanging the two things makes another scene (not so for "next to")."""
    first: tuple[str, ...]
    """Motions of the first thing for which the layout has room."""
    second: tuple[str, ...]


def _relation(group: str, verbs: str, roles: str, **lists: str) -> Relation:
    words = {name: cell_list(cell) for name, cell in lists.items()}
    return Relation(group, verbs=_verbs(verbs), roles=roles == "yes", **words)


RELATIONS = {name: _relation(**row) for name, row in read_table("relations.csv").items()}
SPATIAL_GROUPS = ("side", "height", "depth", "contact", "inside")
SPATIAL_RELATIONS = tuple(name for name, rule in RELATIONS.items() if rule.group in SPATIAL_GROUPS)
"""Relations that a single picture shows."""
MOVING_GROUPS = ("pursuit", "path", "mutual")
"""Groups of relations that take time to see."""
NEIGHBOURS = (("left of", "right of"), ("in front of", "behind"))
"""Pairs of opposite relations of two things that may both move on the spot."""


@dataclass(frozen=True)
class Scene:
    """The words of a scene, its sky, and what drifts through it. Lengths are in picture heights."""

    places: tuple[str, ...]
    surfaces: tuple[str, ...]
    """What a thing moves across."""
    skies: tuple[tuple[str, ...], ...]
    """Colours from the top to ``horizon``, one palette a variant."""
    horizon: float
    clouds: int
    """Clouds behind the actors."""
    cloud_alpha: float
    flakes: int
    """Flakes, bubbles or dust before the actors."""
    flake_colour: str
    flake_size: float
    flake_speed: float
    """Downwards, per second."""
    twinkle: bool
    shadow: float
    """Strength of the shadows of things; weak on snow and clouds."""


def _scene(places: str, surfaces: str, skies: str, flake_colour: str, twinkle: str, **numbers: str) -> Scene:
    values: dict[str, Any] = {name: float(number or 0) for name, number in numbers.items()}
    values |= {name: int(values[name]) for name in ("clouds", "flakes")}
    values |= {"flake_colour": flake_colour, "twinkle": twinkle == "yes"}
    palettes = tuple(cell_list(sky, " ") for sky in cell_list(skies))
    return Scene(cell_list(places), cell_list(surfaces), palettes, **values)


SCENES = {name: _scene(**row) for name, row in read_table("scenes.csv").items()}

CAMERAS: dict[str, str] = {
    "still": "",
    "pan left": "the camera pans to the left",
    "pan right": "the camera pans to the right",
    "zoom in": "the camera zooms in",
    "zoom out": "the camera zooms out",
}

# --------------------------------------------------------------------------- specs
BACKDROPS = 12
"""Variants of each scene."""


@dataclass(frozen=True)
class Actor:
    """One thing that acts. Lengths are in picture heights; x = 0 is the centre of the picture."""

    sprite: str
    """The name of a thing."""
    motion: str
    heading: int = 1
    """-1 moves, looks or turns to the left, 1 to the right."""
    x: float = 0.0
    depth: float = 0.55
    """0 is the far line of the ground, 1 the near one."""
    size: float = 0.36
    """Longer side of the sprite before perspective."""
    lift: float = 0.0
    """Height of its place above the ground."""
    phase: float = 0.0
    """Where its cycle starts, 0..1."""
    tempo: float = 1.0
    """Speed of its cycle."""

    def __post_init__(self) -> None:
        _require_known("thing", self.sprite, THINGS)
        _require_known("motion", self.motion, MOTIONS)
        if self.heading not in (-1, 1):
            raise ConfigError(f"heading must be -1 (left) or 1 (right), got {self.heading!r}.")
        for name in ("x", "depth", "size", "lift", "phase", "tempo"):
            if not np.isfinite(getattr(self, name)):
                raise ConfigError(f"{name} of the {self.sprite} must be a finite number.")
        if self.size <= 0 or self.tempo <= 0:
            raise ConfigError(f"size and tempo of the {self.sprite} must be positive.")


@dataclass(frozen=True)
class ClipSpec:
    """One clip. ``relation`` holds between the first and the second actor; a third one is a bystander."""

    scene: str
    actors: tuple[Actor, ...]
    relation: str | None = None
    camera: str = "still"
    backdrop: int = 0
    seed: int = 0
    duration_s: float = 4.0

    def __post_init__(self) -> None:
        _require_known("scene", self.scene, SCENES)
        _require_known("camera", self.camera, CAMERAS)
        if not 1 <= len(self.actors) <= 3:
            raise ConfigError(f"A clip needs one to three actors, got {len(self.actors)}.")
        names = [actor.sprite for actor in self.actors]
        if len(set(names)) < len(names):
            raise ConfigError(f"The actors of a clip must be different things, got {', '.join(names)}.")
        if not (np.isfinite(self.duration_s) and self.duration_s > 0):
            raise ConfigError(f"duration_s must be positive, got {self.duration_s}.")
        for name in ("backdrop", "seed"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise ConfigError(f"{name} must be a whole number from 0, got {getattr(self, name)!r}.")
        if self.relation is not None:
            _require_known("relation", self.relation, RELATIONS)
            self._check_relation(self.relation)

    def _check_relation(self, relation: str) -> None:
        if len(self.actors) < 2:
            raise ConfigError(f"The relation {relation!r} needs two actors.")
        for actor, allowed in zip(self.actors, motions_for(relation), strict=False):
            if actor.motion not in allowed:
                raise ConfigError(
                    f"In the relation {relation!r} the {actor.sprite} cannot {actor.motion}; "
                    f"choose from {', '.join(allowed)}."
                )
        if relation == "in" and self.actors[1].sprite not in CONTAINERS:
            raise ConfigError(f"Nothing fits in the {self.actors[1].sprite}; use {', '.join(CONTAINERS)}.")

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | dict[str, Any]) -> ClipSpec:
        """Read a spec back; raises ``ConfigError``."""
        try:
            values = dict(json.loads(text) if isinstance(text, str) else text)
            actors = tuple(Actor(**actor) for actor in values.pop("actors"))
            return ClipSpec(actors=actors, **values)
        except (TypeError, KeyError, ValueError) as error:
            raise ConfigError(f"This is not a playground spec ({error}); write one with to_json().") from error


def choose(rng: np.random.Generator, *options: Any) -> Any:
    """Draw one of the options."""
    return options[int(rng.integers(len(options)))]


def _require_known(what: str, name: str, table: dict[str, Any]) -> None:
    if name not in table:
        raise ConfigError(f"Unknown {what} {name!r}; known: {', '.join(table)}.")


def motions_for(relation: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the motions that the first and the second thing may have in ``relation``."""
    return RELATIONS[relation].first, RELATIONS[relation].second


# --------------------------------------------------------------------------- splits
SPLITS: tuple[Split, ...] = get_args(Split)
HELD_OUT = 0.2
"""Share of the combinations (thing, motion, relation, scene) that training never shows (our decision)."""


def held_out(sprite: str, motion: str, relation: str | None, scene: str) -> bool:
    """Tell whether training never shows this combination; a digest decides, so it is the same everywhere."""
    digest = hashlib.sha256(f"{sprite}|{motion}|{relation}|{scene}".encode()).digest()
    return digest[0] < HELD_OUT * 256


def in_split(spec: ClipSpec, split: Split) -> bool:
    """Tell whether ``split`` may show ``spec``.

    ``train``: no actor's combination is held out. ``probe``: every one is, of things that training shows
    and that are drawn by both. ``unseen_sprites``: reserved things alone, whatever they do.
    """
    shown = things_of(split)
    if not all(actor.sprite in shown or actor.sprite in CONTAINERS for actor in spec.actors):
        return False
    held = [held_out(a.sprite, a.motion, spec.relation, spec.scene) for a in spec.actors]
    return split == "unseen_sprites" or (all(held) if split == "probe" else not any(held))


@functools.cache
def things_of(split: Split) -> dict[str, Thing]:
    """Return the things that ``split`` may show, by name."""
    if split not in SPLITS:
        raise ConfigError(f"Unknown split {split!r}; use {', '.join(SPLITS)}.")
    shown = {"train": ("", "train"), "probe": ("",), "unseen_sprites": ("unseen_sprites",)}[split]
    return {name: thing for name, thing in THINGS.items() if thing.split in shown}
