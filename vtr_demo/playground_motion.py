"""Where everything in a playground clip is at a given time: pure functions of the spec and the second.

Lengths are in picture heights, x = 0 is the centre, y = 0 the top of the picture; angles are in
degrees, positive turns clockwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vtr_demo.playground_lexicon import MOTIONS, RELATIONS
from vtr_demo.playground_pose import Pose, Shape, on_the_spot, raised, smooth, squashed, standing, tilted
from vtr_demo.playground_spec import Actor, ClipSpec
from vtr_demo.playground_things import CONTAINERS

_TAU = 2 * math.pi


def poses(spec: ClipSpec, second: float, shape: Shape) -> list[Pose]:
    """The things of ``spec`` at ``second`` in the order in which they are to be drawn."""
    u = min(max(second / spec.duration_s, 0.0), 1.0)
    group = RELATIONS[spec.relation].group if spec.relation else None
    out = []
    for index, actor in enumerate(spec.actors):
        route = _route(spec, index, u, second)
        if route is not None:
            out.append(_travelling(spec, actor, u, route, shape))
        else:
            out.append(on_the_spot(spec, actor, u, second, shape))
    if group == "contact":
        top, base = (0, 1) if spec.relation == "on" else (1, 0)
        out[top] = _set_on(out[top], out[base])
    elif group == "inside":
        out[:2] = _put_in(out[0], out[1])  # three: the container twice
    return sorted(out, key=lambda pose: pose.depth)


# --------------------------------------------------------------------------- routes
@dataclass(frozen=True)
class Route:
    """A point on a way over the ground: place, way walked so far (signed) and heading there."""

    x: float
    depth: float
    walked: float
    heading: int
    lift: float = 0.0
    flies: bool = True
    """Whether the gait "fly" adds its own height."""


def _glide(u: float) -> float:
    """Gentle start and stop, never at rest."""
    return 0.5 * u + 0.5 * smooth(u)


def _route(spec: ClipSpec, index: int, u: float, second: float) -> Route | None:
    """Where a travelling actor is; None for one that keeps its place."""
    actor = spec.actors[index]
    if spec.relation and index < 2:
        return _related(spec.relation, spec.actors, index, (u, second))
    if MOTIONS[actor.motion].family == "travel":
        moved = 0.62 * (_glide(u) - 0.5) * actor.heading
        return Route(actor.x * 0.3 + moved, actor.depth, moved, actor.heading, actor.lift, actor.lift == 0)
    if actor.motion == "circle":
        return _orbit(actor, second, actor.x, 0.5, radius=(0.21, 0.42))
    return None


def _related(relation: str, actors: tuple[Actor, ...], index: int, time: tuple[float, float]) -> Route | None:
    actor, group = actors[index], RELATIONS[relation].group
    if group == "pursuit":
        moved = 0.44 * (_glide(time[0]) - 0.5) * actor.heading
        return Route(actor.x + moved, actor.depth, moved, actor.heading)
    if group == "mutual":
        return _mutual(relation, actor, time[0], index)
    if group == "path" and index == 0:
        return _path(relation, actor, actors[1], *time)
    return None


def _orbit(actor: Actor, second: float, x: float, depth: float, *, radius: tuple[float, float]) -> Route:
    """A ring on the ground around (x, depth), ``radius`` wide and deep."""
    turn = actor.heading * _TAU * (second * actor.tempo / 3.2 + actor.phase)
    near = math.sin(turn)
    heading = -actor.heading if near > 0 else actor.heading
    return Route(x + radius[0] * math.cos(turn), depth + radius[1] * near, radius[0] * turn, heading)


def _mutual(relation: str, actor: Actor, u: float, index: int) -> Route:
    if relation == "swap with":
        x = actor.x * math.cos(math.pi * _glide(u))
        bow = 0.28 * math.sin(math.pi * _glide(u)) * (1 if index == 0 else -1)
        return Route(x, actor.depth + bow, x - actor.x, actor.heading)
    near = 0.14 * math.copysign(1, actor.x)
    start, end = (actor.x, near) if relation == "meet" else (near, actor.x)
    x = start + (end - start) * smooth(u / 0.9)
    return Route(x, actor.depth, x - start, actor.heading)


def _path(relation: str, actor: Actor, goal: Actor, u: float, second: float) -> Route:
    if relation == "around":
        return _orbit(actor, second, goal.x, goal.depth, radius=(0.3, 0.48))
    if relation in ("toward", "away from"):
        side = math.copysign(1, goal.x)
        far, near = -0.35 * side, goal.x - 0.28 * side
        start, end = (far, near) if relation == "toward" else (near, far)
        x = start + (end - start) * smooth(u / 0.9)
        return Route(x, actor.depth, x - start, actor.heading)
    x = actor.heading * 0.7 * (_glide(u) - 0.5)
    if relation == "past":
        return Route(x, actor.depth, x, actor.heading)
    if actor.motion == "fly":
        return Route(x, actor.depth, x, actor.heading, 0.4, False)
    across = min(max((u - 0.22) / 0.56, 0.0), 1.0)
    return Route(x, actor.depth, x, actor.heading, 0.46 * 4 * across * (1 - across), False)


def _travelling(spec: ClipSpec, actor: Actor, u: float, route: Route, shape: Shape) -> Pose:
    """The gait (slide, roll, hop, fly, waddle) at a point of a route; "circle" slides."""
    moved = replace(actor, x=route.x, depth=route.depth, heading=route.heading, lift=route.lift)
    pose = standing(spec, moved, shape)
    if actor.motion == "roll":
        angle = math.degrees(route.walked / (0.5 * max(pose.width, pose.height)))
        turn = math.radians(angle)
        reach = math.hypot(pose.width / 2 * math.sin(turn), pose.height / 2 * math.cos(turn))
        return replace(pose, angle=angle, y=pose.ground - route.lift - reach)
    if actor.motion == "hop" and (route.flies or route.lift == 0):
        leap = abs(math.sin(math.pi * (3.5 * u + actor.phase)))
        pose = squashed(pose, 0.2 * max(0.0, 1 - 3.5 * leap))
        return raised(pose, 0.12 * leap)
    if actor.motion == "fly":
        wave = math.sin(_TAU * (1.6 * u + actor.phase))
        lean = 9 * math.cos(_TAU * (1.6 * u + actor.phase)) * -route.heading
        return replace(raised(pose, (0.26 if route.flies else 0.0) + 0.055 * wave), angle=lean)
    if actor.motion == "waddle":
        step = math.sin(math.pi * (7 * u + actor.phase))
        return tilted(raised(pose, 0.012 * abs(step)), 11 * step)
    return pose


# --------------------------------------------------------------------------- contact
def _set_on(top: Pose, base: Pose) -> Pose:
    """``top`` stands on ``base``; its own motion is kept."""
    seat = (
        base.ground - base.height * 0.93 if base.angle == 0 else base.y - 0.46 * max(base.width, base.height)
    )
    return replace(top, y=top.y + seat - top.ground, ground=seat, depth=base.depth + 1e-3)


def _put_in(thing: Pose, container: Pose) -> list[Pose]:
    """``thing`` looks out of ``container``, whose front hides its lower part."""
    rim = CONTAINERS[container.sprite]
    edge = container.ground - container.height * (1 - rim)
    sunk = replace(thing, y=thing.y + edge + 0.4 * thing.height - thing.ground, depth=container.depth + 1e-3)
    front = replace(container, rim=rim, depth=container.depth + 2e-3)
    return [container, replace(sunk, shadow=False), replace(front, shadow=False)]
