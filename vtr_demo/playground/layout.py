"""Sampling of playground clips, and places for their things inside the central square of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vtr_demo.config import Split
from vtr_demo.errors import ConfigError
from vtr_demo.playground.spec import (
    BACKDROPS,
    CAMERAS,
    CONTAINERS,
    MOTIONS,
    RELATIONS,
    SCENES,
    THINGS,
    Actor,
    ClipSpec,
    choose,
    in_split,
    motions_for,
    things_of,
)

_TRIES = 20_000
APART = (*(name for name, motion in MOTIONS.items() if motion.family == "place"), "fall", "rise")
"""Motions that leave room for a neighbour."""
_OVERHEAD_MOTIONS = ("fly", "float", "spin", "twirl")


def sample_spec(rng: np.random.Generator, *, split: Split = "train", relation: str | None = None) -> ClipSpec:
    """Sample a clip of ``split``, with a given ``relation`` if it is set."""
    names = list(things_of(split))
    for _ in range(_TRIES):
        spec = _draw(rng, names, relation)
        if in_split(spec, split):
            return spec
    raise ConfigError(f"No clip of split {split!r} was found for the relation {relation!r}; leave it open.")


def _draw(rng: np.random.Generator, names: list[str], relation: str | None) -> ClipSpec:
    count = int(rng.choice([1, 2, 3], p=[0.4, 0.45, 0.15]))
    if relation is not None:
        count = max(count, 2)
    elif count > 1 and rng.random() < 0.85:
        relation = choose(rng, *RELATIONS)
    if relation == "over" or (relation and RELATIONS[relation].group == "height"):
        count = 2  # no room overhead for a bystander
    sprites = [str(name) for name in rng.choice(names, count, replace=False)]
    if relation == "in":
        free = [name for name in names if name not in CONTAINERS and name not in sprites]
        sprites = [name if name not in CONTAINERS else choose(rng, *free) for name in sprites]
        sprites[1] = choose(rng, *CONTAINERS)
        if len(set(sprites)) < count:
            return _draw(rng, names, relation)
    seed = int(rng.integers(2**31))
    return ClipSpec(
        scene=choose(rng, *SCENES),
        actors=layout(sprites, _motions(rng, relation, count), relation, seed),
        relation=relation,
        camera=str(rng.choice(list(CAMERAS), p=[0.6, 0.1, 0.1, 0.1, 0.1])),
        backdrop=int(rng.integers(BACKDROPS)),
        seed=seed,
        duration_s=round(float(rng.uniform(3.0, 5.0)), 1),
    )


def _motions(rng: np.random.Generator, relation: str | None, count: int) -> list[str]:
    if relation is None:
        return [choose(rng, *(MOTIONS if count == 1 else APART)) for _ in range(count)]
    motions = [choose(rng, *allowed) for allowed in motions_for(relation)]
    return [*motions, choose(rng, *_OVERHEAD_MOTIONS)][:count]


# --------------------------------------------------------------------------- places
def layout(sprites: Sequence[str], motions: Sequence[str], relation: str | None, seed: int) -> tuple[Actor, ...]:
    """Place the things.

    The noise depends on ``seed`` alone and belongs to the place, not to the thing: two things can change
    places with everything else unchanged.
    """
    rng = np.random.default_rng([seed, 0])
    slots = _pair(relation, rng) if relation else _row(len(sprites), motions[0], rng)
    if relation and len(sprites) == 3:
        x = rng.uniform(-0.15, 0.15)
        busy = RELATIONS[relation].group in ("contact", "inside")
        slots.append({"x": 2 * x if not busy else 0.33 * (1 if x > 0 else -1), **_OVERHEAD})
    placed = []
    for slot, sprite, motion in zip(slots, sprites, motions, strict=True):
        heading = int(slot.get("heading", rng.choice([-1, 1])))
        values = slot | {
            "size": slot["size"] * THINGS[sprite].size,
            "phase": rng.random(),
            "tempo": rng.uniform(0.85, 1.2),
        }
        numbers = {name: round(float(value), 3) for name, value in values.items() if name != "heading"}
        placed.append(Actor(sprite, motion, heading=heading, **numbers))
    return tuple(placed)


Slot = dict[str, Any]
"""x, depth and size of a place, and where it matters lift and heading."""
_OVERHEAD = {"depth": 0.0, "size": 0.2, "lift": 0.46}


def _row(count: int, motion: str, rng: np.random.Generator) -> list[Slot]:
    """Things without a relation: one in the middle, or two or three side by side."""
    noise = rng.uniform(-1, 1, (3, 2))
    if count == 1:
        family = MOTIONS[motion].family
        size = {"travel": 0.34, "place": 0.42, "vertical": 0.36, "depth": 0.4, "loop": 0.3}[family]
        wander = 0.07 if family in ("place", "vertical") else 0.0
        x, depth, grow = wander * noise[0, 0], 0.6 + 0.2 * noise[0, 1], 1 + 0.08 * noise[1, 0]
        return [{"x": x, "depth": depth, "size": size * grow}]
    places = (-0.24, 0.24) if count == 2 else (-0.31, 0.0, 0.31)
    size = 0.34 if count == 2 else 0.26
    return [
        {"x": x + 0.02 * noise[i, 0], "depth": 0.55 + 0.3 * noise[i, 1], "size": size} for i, x in enumerate(places)
    ]


def _pair(relation: str, rng: np.random.Generator) -> list[Slot]:
    """Places of two things in ``relation``, its subject first."""
    side = int(rng.choice([-1, 1]))
    dx, dz, ds = (float(value) for value in rng.uniform(-1, 1, 3))
    group = RELATIONS[relation].group
    if group == "path":
        return _passing(relation, side, dx)
    if group == "inside":
        return [{"x": 0.05 * dx, "depth": 0.7, "size": 0.35}, {"x": 0.05 * dx, "depth": 0.7, "size": 0.5}]
    if group == "pursuit":
        first = -0.18 * side if relation == "follow" else 0.18 * side
        shared = {"depth": 0.6 + 0.2 * dz, "size": 0.29, "heading": side}
        slots = [{"x": first, **shared}, {"x": -first, **shared}]
    elif group == "mutual":
        reach = 0.31 if relation == "swap with" else 0.34
        facing = -side if relation == "part from" else side
        shared = {"depth": 0.6 + 0.15 * dz, "size": 0.3}
        slots = [{"x": -side * reach, "heading": facing}, {"x": side * reach, "heading": -facing}]
        slots = [slot | shared for slot in slots]
    elif group == "height":
        up = {"x": 0.05 * dx, "depth": 0.5, "size": 0.26, "lift": 0.4}
        slots = [up, {"x": 0.05 * dz, "depth": 0.5, "size": 0.28}]
    elif group == "depth":
        front = {"x": side * (0.1 + 0.03 * dx), "depth": 1.0, "size": 0.29}
        slots = [front, {"x": -front["x"], "depth": 0.05, "size": 0.46}]
    elif group == "contact":
        slots = [{"x": 0.04 * dx, "depth": 0.65, "size": size} for size in (0.28, 0.42)]
    else:
        reach, size = (0.17, 0.32) if relation == "next to" else (0.24, 0.34)
        left = {"x": -reach + 0.02 * dx, "depth": 0.55 + 0.3 * dz, "size": size * (1 + 0.08 * ds)}
        slots = [left, {"x": reach + 0.02 * dx, "depth": 0.55 - 0.2 * dz, "size": size * (1 - 0.08 * ds)}]
    turned = relation in ("below", "behind", "under", "right of") or (relation == "next to" and side > 0)
    return slots[::-1] if turned else slots


def _passing(relation: str, side: int, dx: float) -> list[Slot]:
    """The first thing moves along a path around, past or over the second, standing one."""
    mover: Slot = {"x": 0.0, "size": 0.25, "heading": side}
    if relation in ("toward", "away from"):
        end = side if relation == "toward" else -side
        return [{**mover, "depth": 0.6, "size": 0.27}, {"x": 0.25 * end, "depth": 0.55, "size": 0.34}]
    places = {"around": (0.5, 0.5, 0.34), "past": (0.95, 0.1, 0.42), "over": (0.6, 0.6, 0.29)}
    near, far, size = places[relation]
    return [{**mover, "depth": near}, {"x": 0.03 * dx, "depth": far, "size": size}]
