"""The playground's vocabulary (things, motions, relations, scenes, cameras), its clip specs and its splits.

A ``ClipSpec`` fixes every pixel of a clip. ``layout`` places its things, ``motion`` moves them, ``render``
draws them, ``captions`` describes them.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from vtr_demo.config import Split
from vtr_demo.errors import ConfigError
from vtr_demo.files import read_table


# --------------------------------------------------------------------------- vocabulary
def _cells(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";")]


Cells = Annotated[tuple[str, ...], BeforeValidator(_cells)]
Verb = tuple[str, str, str]
"""Of a motion: present, participle, and the words after it. Of a relation: present, participle, passive."""
Verbs = Annotated[tuple[Verb, ...], BeforeValidator(lambda cell: [verb.split("/") for verb in _cells(cell)])]
"""Written "swings/swinging/back and forth; ..."; the third part may be empty."""
Palettes = Annotated[tuple[tuple[str, ...], ...], BeforeValidator(lambda cell: [sky.split() for sky in _cells(cell)])]


class Row(BaseModel):
    """A named row of a table of this folder; an empty cell has the field's default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, name: str) -> dict[str, Self]:
        """Return the rows of the table ``name`` by their names."""
        rows = read_table(Path(__file__).with_name(name))
        return {row.pop("name"): cls(**{key: cell for key, cell in row.items() if cell}) for row in rows}


class Thing(Row):
    """One sprite of Microsoft's Fluent 3D emoji, its size and its words.

    Code points and names follow the Unicode emoji list; nouns, sizes and splits are our decision. The order of
    the rows of ``things.csv`` fixes what a seed draws: add new ones at the end.
    """

    code: str
    """Its code points, which are its file's name without the ending."""
    kind: str
    facing: Annotated[int, BeforeValidator({"left": -1, "right": 1}.get)] = 0
    """Which way its picture looks: -1 left, 1 right, 0 neither."""
    size: float
    """Relative to the size of its place in the layout."""
    rim: float | None = None
    """Of a container: where its rim is, as a share of its height from the top."""
    split: str = ""
    """The only split that shows it, ``train`` or ``unseen_sprites``; empty: ``train`` and ``probe``."""
    nouns: Cells
    """The first is the plainest."""


THINGS = Thing.read("things.csv")
CONTAINERS = {name: thing.rim for name, thing in THINGS.items() if thing.rim is not None}
"""What a thing can be inside of, and where its rim is."""


class Motion(Row):
    """How a thing moves by itself."""

    family: str
    """``travel``, ``place``, ``vertical``, ``depth`` or ``loop``."""
    verbs: Verbs
    animal: Verbs = ()
    """Verbs that suit this kind of thing better; left out where only one word may differ."""
    bird: Verbs = ()
    person: Verbs = ()
    vehicle: Verbs = ()

    def verbs_of(self, kind: str) -> tuple[Verb, ...]:
        """Return the verbs for a kind of thing."""
        return getattr(self, kind, ()) or self.verbs


MOTIONS = Motion.read("motions.csv")


class Relation(Row):
    """How the first thing relates to the second."""

    group: str
    """Relations of a group have one layout."""
    preps: Cells
    """Prepositions, which follow any verb or "is"."""
    verbs: Verbs = ()
    """They replace the verb; the passive participle may be ""."""
    swaps: Cells = ()
    """Relations that make a sentence false."""
    roles: bool = False
    """Whether exchanging the two things makes another scene (not so for "next to")."""
    first: Cells
    """Motions of the first thing for which the layout has room."""
    second: Cells


RELATIONS = Relation.read("relations.csv")
SPATIAL_GROUPS = ("side", "height", "depth", "contact", "inside")
SPATIAL_RELATIONS = tuple(name for name, rule in RELATIONS.items() if rule.group in SPATIAL_GROUPS)
"""Relations that a single picture shows."""
MOVING_GROUPS = ("pursuit", "path", "mutual")
"""Groups of relations that take time to see."""
NEIGHBOURS = (("left of", "right of"), ("in front of", "behind"))
"""Pairs of opposite relations of two things that may both move on the spot."""


class Scene(Row):
    """The words of a scene, its sky, and what drifts through it. Lengths are in picture heights."""

    places: Cells
    surfaces: Cells
    """What a thing moves across."""
    skies: Palettes
    """Colours from the top to ``horizon``, one palette a variant."""
    horizon: float
    clouds: int = 0
    """Clouds behind the actors."""
    cloud_alpha: float = 0.0
    flakes: int = 0
    """Flakes, bubbles or dust before the actors."""
    flake_colour: str = ""
    flake_size: float = 0.0
    flake_speed: float = 0.0
    """Downwards, per second."""
    twinkle: bool = False
    shadow: float
    """Strength of the shadows of things; weak on snow and clouds."""


SCENES = Scene.read("scenes.csv")

CAMERAS: dict[str, str] = {
    "still": "",
    "pan left": "the camera pans to the left",
    "pan right": "the camera pans to the right",
    "zoom in": "the camera zooms in",
    "zoom out": "the camera zooms out",
}


# --------------------------------------------------------------------------- specs
def _one_of(*options: str | int) -> AfterValidator:
    def check(value: str | int) -> str | int:
        if value not in options:
            raise ValueError(f"{value!r} is unknown; known: {', '.join(map(str, options))}")
        return value

    return AfterValidator(check)


BACKDROPS = 12
"""Variants of each scene."""


Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=0)]
Natural = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Actor:
    """One thing that acts. Lengths are in picture heights; x = 0 is the centre of the picture."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    sprite: Annotated[str, _one_of(*THINGS)]
    """The name of a thing."""
    motion: Annotated[str, _one_of(*MOTIONS)]
    heading: Annotated[int, _one_of(-1, 1)] = 1
    """-1 moves, looks or turns to the left, 1 to the right."""
    x: Number = 0.0
    depth: Number = 0.55
    """0 is the far line of the ground, 1 the near one."""
    size: Positive = 0.36
    """Longer side of the sprite before perspective."""
    lift: Number = 0.0
    """Height of its place above the ground."""
    phase: Number = 0.0
    """Where its cycle starts, 0..1."""
    tempo: Positive = 1.0
    """Speed of its cycle."""


@dataclass(frozen=True)
class ClipSpec:
    """One clip. ``relation`` holds between the first and the second actor; a third one is a bystander."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    scene: Annotated[str, _one_of(*SCENES)]
    actors: tuple[Actor, ...]
    relation: Annotated[str, _one_of(*RELATIONS)] | None = None
    camera: Annotated[str, _one_of(*CAMERAS)] = "still"
    backdrop: Natural = 0
    seed: Natural = 0
    duration_s: Positive = 4.0

    def __post_init__(self) -> None:
        things = [actor.sprite for actor in self.actors]
        if not (2 if self.relation else 1) <= len(set(things)) == len(things) <= 3:
            raise ValueError(f"a clip has one to three different things, {self.relation!r} two, not {things}")
        for actor, allowed in zip(self.actors, motions_for(self.relation) if self.relation else (), strict=False):
            if actor.motion not in allowed:
                raise ValueError(f"in the relation {self.relation!r} the {actor.sprite} cannot {actor.motion}")
        if self.relation == "in" and self.actors[1].sprite not in CONTAINERS:
            raise ValueError(f"nothing fits in the {self.actors[1].sprite}")

    @staticmethod
    def from_dict(row: Any) -> ClipSpec:
        """Read a spec back from its ``asdict``; raises ``ConfigError``."""
        try:
            return TypeAdapter(ClipSpec).validate_python(row)
        except ValidationError as error:
            first = error.errors()[0]
            field, reason = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
            raise ConfigError(
                f"This is not a playground spec ({field}: {reason}); `playground --out` writes some."
            ) from error


def choose(rng: np.random.Generator, *options: Any) -> Any:
    """Draw one of the options."""
    return options[int(rng.integers(len(options)))]


def motions_for(relation: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the motions that the first and the second thing may have in ``relation``."""
    return RELATIONS[relation].first, RELATIONS[relation].second


# --------------------------------------------------------------------------- splits
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
    shown = {"train": ("", "train"), "probe": ("",), "unseen_sprites": ("unseen_sprites",)}[split]
    return {name: thing for name, thing in THINGS.items() if thing.split in shown}
