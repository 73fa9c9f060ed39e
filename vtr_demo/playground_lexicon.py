"""The motions, relations and scenes of the playground, with the words for them. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["travel", "place", "vertical", "depth", "loop"]


@dataclass(frozen=True)
class Motion:
    """How a thing moves by itself. A verb is (present, participle, the words after it)."""

    family: Family
    verbs: tuple[tuple[str, str, str], ...]


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

KIND_VERBS: dict[tuple[str, str], tuple[tuple[str, str, str], ...]] = {
    ("slide", "vehicle"): (("drives", "driving", ""), ("rides", "riding", "")),
    ("waddle", "animal"): (("walks", "walking", ""), ("waddles", "waddling", "")),
    ("waddle", "bird"): (("waddles", "waddling", ""), ("walks", "walking", "")),
    ("waddle", "person"): (("walks", "walking", ""), ("toddles", "toddling", "")),
}
"""Verbs that suit (motion, kind of thing) better; not used where only one word may differ."""

Group = Literal["side", "height", "depth", "contact", "inside", "pursuit", "path", "mutual"]


@dataclass(frozen=True)
class Relation:
    """How the first thing stands to the second.

    preps can follow any verb or "is"; verbs (present, participle, passive participle or "")
    replace the verb. swaps are the relations that make the sentence false in the same layout.
    """

    group: Group
    preps: tuple[str, ...]
    verbs: tuple[tuple[str, str, str], ...] = ()
    swaps: tuple[str, ...] = ()
    roles: bool = True
    """Whether exchanging the two things makes another scene (not so for "next to")."""
    first: tuple[str, ...] = ()
    """Motions that the first thing may have; empty: as the group allows."""


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
"""Relations, in pairs, of two things on one ground that may both be busy where they stand."""

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
"""Motions of the first and of the second thing that the layout of a relation leaves room for."""


@dataclass(frozen=True)
class Scene:
    """The words of a scene: where something is, and what it moves across; far and near ground lines
    in picture heights from the top."""

    places: tuple[str, ...]
    surfaces: tuple[str, ...]
    ground: tuple[float, float] = (0.76, 0.93)


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
