"""The playground's vocabulary (motions, relations, scenes, cameras), its clip specs and its splits.

A ``ClipSpec`` fixes every pixel of a clip. ``layout`` places its things, ``motion`` moves them, ``render``
draws them, ``captions`` describes them.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from vtr_demo.errors import ConfigError
from vtr_demo.playground.things import CONTAINERS, THINGS, Thing

# --------------------------------------------------------------------------- vocabulary
Family = Literal["travel", "place", "vertical", "depth", "loop"]
Verb = tuple[str, str, str]
"""Present, participle, and the words after it."""


@dataclass(frozen=True)
class Motion:
    """How a thing moves by itself."""

    family: Family
    verbs: tuple[Verb, ...]


MOTIONS: dict[str, Motion] = {
    "slide": Motion("travel", (("slides", "sliding", ""), ("glides", "gliding", ""))),
    "roll": Motion("travel", (("rolls", "rolling", ""), ("tumbles", "tumbling", ""))),
    "hop": Motion("travel", (("hops", "hopping", ""), ("skips", "skipping", ""))),
    "fly": Motion("travel", (("flies", "flying", ""), ("soars", "soaring", ""))),
    "waddle": Motion("travel", (("waddles", "waddling", ""), ("toddles", "toddling", ""))),
    "stay": Motion(
        "place",
        (("stays still", "staying still", ""), ("rests", "resting", ""), ("does not move", "not moving", "")),
    ),
    "spin": Motion(
        "place",
        (("spins", "spinning", ""), ("rotates", "rotating", ""), ("whirls", "whirling", "")),
    ),
    "bounce": Motion("place", (("bounces", "bouncing", ""), ("bounces", "bouncing", "up and down"))),
    "shake": Motion("place", (("shakes", "shaking", ""), ("trembles", "trembling", ""))),
    "swing": Motion("place", (("swings", "swinging", ""), ("swings", "swinging", "back and forth"))),
    "jump": Motion("place", (("jumps", "jumping", ""), ("leaps", "leaping", "into the air"))),
    "somersault": Motion(
        "place",
        (
            ("somersaults", "somersaulting", ""),
            ("does", "doing", "a somersault"),
            ("flips", "flipping", "over"),
        ),
    ),
    "float": Motion("place", (("floats", "floating", ""), ("hovers", "hovering", ""))),
    "twirl": Motion("place", (("twirls", "twirling", ""), ("pirouettes", "pirouetting", ""))),
    "grow": Motion("place", (("grows", "growing", ""), ("gets", "getting", "bigger and bigger"))),
    "shrink": Motion("place", (("shrinks", "shrinking", ""), ("gets", "getting", "smaller and smaller"))),
    "fade": Motion("place", (("fades", "fading", "away"), ("disappears", "disappearing", ""))),
    "fall": Motion("vertical", (("falls", "falling", "from above"), ("drops", "dropping", "to the ground"))),
    "rise": Motion("vertical", (("rises", "rising", "into the air"), ("lifts off", "lifting off", ""))),
    "approach": Motion(
        "depth", (("approaches", "approaching", "the camera"), ("comes", "coming", "closer and closer"))
    ),
    "leave": Motion("depth", (("leaves", "leaving", "into the distance"), ("moves", "moving", "far away"))),
    "circle": Motion("loop", (("goes", "going", "around in circles"), ("circles", "circling", "around"))),
}

KIND_VERBS: dict[tuple[str, str], tuple[Verb, ...]] = {
    ("slide", "vehicle"): (("drives", "driving", ""), ("rides", "riding", "")),
    ("waddle", "animal"): (("walks", "walking", ""), ("waddles", "waddling", "")),
    ("waddle", "bird"): (("waddles", "waddling", ""), ("walks", "walking", "")),
    ("waddle", "person"): (("walks", "walking", ""), ("toddles", "toddling", "")),
}
"""Verbs that suit a motion of one kind of thing better; left out where only one word may differ."""

Group = Literal["side", "height", "depth", "contact", "inside", "pursuit", "path", "mutual"]


@dataclass(frozen=True)
class Relation:
    """How the first thing relates to the second."""

    group: Group
    preps: tuple[str, ...]
    """Prepositions, which follow any verb or "is"."""
    verbs: tuple[tuple[str, str, str], ...] = ()
    """Present, participle, and passive participle or ""; they replace the verb."""
    swaps: tuple[str, ...] = ()
    """Relations that make a sentence false."""
    roles: bool = True
    """Whether exchanging the two things makes another scene (not so for "next to")."""
    first: tuple[str, ...] = ()
    """Motions that the first thing may have; empty: as ``GROUP_MOTIONS`` allows."""


RELATIONS: dict[str, Relation] = {
    "left of": Relation("side", ("to the left of", "on the left of"), swaps=("right of",)),
    "right of": Relation("side", ("to the right of", "on the right of"), swaps=("left of",)),
    "next to": Relation("side", ("next to", "beside"), swaps=("above", "below"), roles=False),
    "above": Relation("height", ("above",), swaps=("below",)),
    "below": Relation("height", ("below", "underneath"), swaps=("above",)),
    "in front of": Relation("depth", ("in front of",), swaps=("behind",)),
    "behind": Relation("depth", ("behind",), swaps=("in front of",)),
    "on": Relation("contact", ("on top of", "on"), swaps=("under",)),
    "under": Relation("contact", ("under", "beneath"), swaps=("on",)),
    "in": Relation("inside", ("in", "inside"), swaps=("in front of", "behind"), roles=False),
    "follow": Relation(
        "pursuit",
        ("after",),
        (("follows", "following", "followed"), ("chases", "chasing", "chased")),
        ("lead",),
    ),
    "lead": Relation(
        "pursuit",
        ("ahead of",),
        (("leads", "leading", "led"), ("flees from", "fleeing from", "")),
        ("follow",),
    ),
    "around": Relation(
        "path", ("around",), (("circles", "circling", "circled"),), ("toward", "away from", "past")
    ),
    "toward": Relation(
        "path", ("towards", "up to"), (("moves towards", "moving towards", ""),), ("away from", "around")
    ),
    "away from": Relation(
        "path", ("away from",), (("moves away from", "moving away from", ""),), ("toward", "around")
    ),
    "past": Relation(
        "path", ("past",), (("passes", "passing", "passed"),), ("around", "toward", "away from")
    ),
    "over": Relation("path", ("over",), (), ("past", "around"), first=("hop", "fly")),
    "meet": Relation("mutual", ("to meet",), (("meets", "meeting", "met"),), ("part from",), roles=False),
    "part from": Relation(
        "mutual", ("apart from",), (("parts from", "parting from", ""),), ("meet",), roles=False
    ),
    "swap with": Relation(
        "mutual",
        ("to swap places with",),
        (
            ("swaps places with", "swapping places with", ""),
            ("trades places with", "trading places with", ""),
        ),
        ("meet", "part from"),
        roles=False,
    ),
}

SPATIAL_GROUPS = ("side", "height", "depth", "contact", "inside")
SPATIAL_RELATIONS = tuple(name for name, rule in RELATIONS.items() if rule.group in SPATIAL_GROUPS)
"""Relations that a single picture shows."""
MOVING_GROUPS = ("pursuit", "path", "mutual")
"""Groups of relations that take time to see."""
NEIGHBOURS = (("left of", "right of"), ("in front of", "behind"))
"""Pairs of opposite relations of two things that may both move on the spot."""

TRAVEL = tuple(name for name, motion in MOTIONS.items() if motion.family == "travel")
PLACE = tuple(name for name, motion in MOTIONS.items() if motion.family == "place")
GROUP_MOTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "side": (PLACE, PLACE),
    "height": (("stay", "spin", "shake", "float", "twirl", "bounce"),) * 2,
    "depth": (("stay", "spin", "bounce", "shake", "jump", "somersault", "twirl", "grow"),) * 2,
    "contact": (("stay", "spin", "shake", "twirl"),) * 2,
    "inside": (("stay", "shake", "twirl", "bounce"), ("stay", "shake")),
    "pursuit": (TRAVEL, TRAVEL),
    "path": (TRAVEL, ("stay", "spin", "shake", "bounce", "twirl")),
    "mutual": (TRAVEL, TRAVEL),
}
"""Motions of the first and of the second thing for which the layout of a group of relations has room."""


@dataclass(frozen=True)
class Scene:
    """The words and the ground of a scene."""

    places: tuple[str, ...]
    surfaces: tuple[str, ...]
    """What a thing moves across."""
    ground: tuple[float, float] = (0.76, 0.93)
    """Far and near line of the ground, in picture heights from the top."""


SCENES: dict[str, Scene] = {
    "beach": Scene(("on the beach", "on a sandy beach", "by the sea"), ("the sand", "the beach")),
    "snow": Scene(("in the snow", "in a snowy field", "on a snowy day"), ("the snow", "a snowy field")),
    "forest": Scene(
        ("in the forest", "in a green forest", "among the trees"), ("the forest floor", "a clearing")
    ),
    "street": Scene(("on a city street", "in the city", "on the road"), ("the street", "the road")),
    "night city": Scene(
        ("in the city at night", "on a street at night", "among the city lights"), ("a dark street",)
    ),
    "underwater": Scene(("underwater", "at the bottom of the sea", "in the deep sea"), ("the sea floor",)),
    "desert": Scene(("in the desert", "among the cacti", "in a hot desert"), ("the desert", "the dry sand")),
    "living room": Scene(("in a living room", "at home", "in a cosy room"), ("the floor", "the living room")),
    "meadow": Scene(("in a meadow", "on the grass", "in a field of flowers"), ("the meadow", "the grass")),
    "mountains": Scene(
        ("in the mountains", "high in the mountains", "below snowy peaks"), ("a green hillside",)
    ),
    "moon": Scene(
        ("on the moon", "in outer space", "on the surface of the moon"), ("the moon", "the moon dust")
    ),
    "clouds": Scene(("in the clouds", "in the sky", "on a sea of clouds"), ("the clouds", "the sky")),
    "stage": Scene(("on a stage", "on a theatre stage", "in a theatre"), ("the stage", "the boards")),
    "savanna": Scene(
        ("in the savanna at sunset", "at sunset", "on a golden plain"), ("the plain", "the dry grass")
    ),
}

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
            raise ConfigError(
                f"This is not a playground spec ({error}); write one with to_json()."
            ) from error


def _require_known(what: str, name: str, table: dict[str, Any]) -> None:
    if name not in table:
        raise ConfigError(f"Unknown {what} {name!r}; known: {', '.join(table)}.")


def motions_for(relation: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the motions that the first and the second thing may have in ``relation``."""
    rule = RELATIONS[relation]
    first, second = GROUP_MOTIONS[rule.group]
    return rule.first or first, second


# --------------------------------------------------------------------------- splits
Split = Literal["train", "probe", "unseen_sprites"]
SPLITS: tuple[Split, ...] = ("train", "probe", "unseen_sprites")
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
