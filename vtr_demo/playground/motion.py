"""Poses of the things of a playground clip: pure functions of the spec and the second.

Lengths are in picture heights, x = 0 is the centre, y = 0 the top of the picture; angles are in
degrees, positive turns clockwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from vtr_demo.playground.spec import CONTAINERS, MOTIONS, RELATIONS, THINGS, Actor, ClipSpec

Shape = Callable[[str], tuple[float, float]]
"""A thing's name -> width and height of its picture, the longer one 1."""
_TAU = 2 * math.pi
_FAR, _NEAR = 0.76, 0.93
"""Far and near line of the ground."""


@dataclass(frozen=True)
class Pose:
    """One thing at one time: its centre, its width and height before rotation, and how it is drawn."""

    sprite: str
    x: float
    y: float
    width: float
    height: float
    ground: float
    """y of the ground below it, where its shadow falls."""
    depth: float
    angle: float = 0.0
    mirrored: bool = False
    alpha: float = 1.0
    pivot: tuple[float, float] | None = None
    """The upper end of the rope that it hangs from."""
    rim: float | None = None
    """If set, only what is below this share of the height is drawn: the front of a container."""
    shadow: bool = True


def poses(spec: ClipSpec, second: float, shape: Shape) -> list[Pose]:
    """Return the things of ``spec`` at ``second`` in drawing order; a container that holds one, twice."""
    u = min(max(second / spec.duration_s, 0.0), 1.0)
    group = RELATIONS[spec.relation].group if spec.relation else None
    out = []
    for index, actor in enumerate(spec.actors):
        route = _route(spec, index, u, second)
        out.append(_travelling(*route, u, shape) if route else _in_place(actor, u, second, shape))
    if group == "contact":
        top, base = (0, 1) if spec.relation == "on" else (1, 0)
        out[top] = _set_on(out[top], out[base])
    elif group == "inside":
        out[:2] = _put_in(out[0], out[1])
    return sorted(out, key=lambda pose: pose.depth)


def smooth(u: float) -> float:
    """Ease from 0 to 1, also before and after."""
    u = min(max(u, 0.0), 1.0)
    return u * u * (3 - 2 * u)


def _standing(actor: Actor, shape: Shape, scale: float = 1.0) -> Pose:
    """The pose of a thing at rest."""
    wide, high = shape(actor.sprite)
    size = actor.size * scale * (0.75 + 0.45 * actor.depth)
    ground = _FAR + (_NEAR - _FAR) * actor.depth
    return Pose(
        sprite=actor.sprite,
        x=actor.x,
        y=ground - actor.lift - high * size / 2,
        width=wide * size,
        height=high * size,
        ground=ground,
        depth=actor.depth,
        mirrored=THINGS[actor.sprite].facing * actor.heading < 0,
    )


def _raised(pose: Pose, lift: float) -> Pose:
    return replace(pose, y=pose.y - lift)


def _squashed(pose: Pose, amount: float) -> Pose:
    """Flatten by ``amount`` (negative: stretch); the lower edge stays."""
    height = pose.height * (1 - amount)
    lower = pose.y + pose.height / 2
    return replace(pose, height=height, width=pose.width * (1 + 0.6 * amount), y=lower - height / 2)


def _tilted(pose: Pose, angle: float) -> Pose:
    """Rotate about the middle of the lower edge."""
    turn = math.radians(angle)
    half = pose.height / 2
    return replace(pose, angle=angle, x=pose.x + half * math.sin(turn), y=pose.y + half * (1 - math.cos(turn)))


# --------------------------------------------------------------------------- motions in place
def _in_place(actor: Actor, u: float, second: float, shape: Shape) -> Pose:
    """The pose of a thing that stays at its place, rises, falls, comes or goes."""
    pose = _standing(actor, shape)
    cycle = second * actor.tempo
    if actor.motion in _MOVES:
        return _MOVES[actor.motion](pose, actor, u, cycle)
    if actor.motion in ("grow", "shrink"):
        done = smooth((u - 0.05) / 0.9)
        return _standing(actor, shape, 0.38 + 0.84 * (done if actor.motion == "grow" else 1 - done))
    if actor.motion in ("approach", "leave"):
        near = smooth(u) if actor.motion == "approach" else 1 - smooth(u)
        pose = _standing(replace(actor, depth=-0.1 + 1.1 * near), shape, 0.36 + 0.72 * near)
        return _waddled(pose, actor, u, 0.008, 5)
    return pose


Move = Callable[[Pose, Actor, float, float], Pose]
"""Pose at rest, actor, share of the clip (0..1), seconds times tempo -> pose."""


def _spin(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    lower = pose.y + pose.height / 2
    reach = 0.48 * max(pose.width, pose.height)
    return replace(pose, angle=actor.heading * 360 * (cycle / 1.9 + actor.phase), y=lower - reach)


def _bounce(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    part = (cycle / 1.15 + actor.phase) % 1.0
    leap = 4 * part * (1 - part)
    return _raised(_squashed(pose, 0.22 * max(0.0, 1 - 4 * leap)), 0.15 * leap)


def _shake(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    wobble = math.sin(_TAU * (5.3 * cycle + actor.phase))
    return replace(_tilted(pose, 6 * math.sin(_TAU * 4.1 * cycle)), x=pose.x + 0.02 * wobble)


def _swing(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    rope = 0.17
    angle = 27 * math.sin(_TAU * (cycle / 2.1 + actor.phase))
    turn = math.radians(angle)
    arm = rope + pose.height / 2
    hinge = pose.ground - actor.lift - 0.07 - pose.height - rope
    x, y = pose.x - arm * math.sin(turn), hinge + arm * math.cos(turn)
    return replace(pose, x=x, y=y, angle=angle, pivot=(pose.x, hinge))


def _jump(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    part = (cycle / 2.0 + actor.phase) % 1.0
    if part < 0.2:
        return _squashed(pose, 0.24 * math.sin(math.pi * part / 0.2))
    rise = (part - 0.2) / 0.8
    if actor.motion == "somersault":
        return replace(_raised(pose, 0.24 * 4 * rise * (1 - rise)), angle=actor.heading * 360 * smooth(rise))
    leap = max(0.0, 4 * rise * (1 - rise))
    return _raised(_squashed(pose, -0.08 * leap), 0.27 * leap)


def _float(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    wave = math.sin(_TAU * (cycle / 2.4 + actor.phase))
    base = 0.18 if actor.lift == 0 else 0.0
    return replace(_raised(pose, base + 0.045 * wave), angle=3.5 * math.sin(_TAU * cycle / 3.1))


def _twirl(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    turn = math.cos(_TAU * (cycle / 1.9 + actor.phase))
    flipped = pose.mirrored != (turn < 0)
    return replace(pose, width=pose.width * max(abs(turn), 0.08), mirrored=flipped)


def _fall_or_rise(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    room = max(pose.ground - pose.height - 0.03, 0.1)
    if actor.motion == "rise":
        return _raised(pose, room * smooth((u - 0.1) / 0.85) ** 1.2)
    fallen = min(u / 0.72, 1.0)
    rebound = max(0.0, math.sin(math.pi * (u - 0.72) / 0.16)) * 0.05 if 0.72 < u < 0.88 else 0.0
    lean = 14 * math.sin(_TAU * (1.3 * fallen + actor.phase)) * (1 - fallen)
    return replace(_raised(pose, room * (1 - fallen**1.7) + rebound), angle=lean)


_MOVES: dict[str, Move] = {
    "spin": _spin,
    "bounce": _bounce,
    "shake": _shake,
    "swing": _swing,
    "jump": _jump,
    "somersault": _jump,
    "float": _float,
    "twirl": _twirl,
    "fade": lambda pose, actor, u, cycle: replace(pose, alpha=1 - smooth((u - 0.2) / 0.65)),
    "fall": _fall_or_rise,
    "rise": _fall_or_rise,
}


# --------------------------------------------------------------------------- routes
Route = tuple[Actor, float]
"""An actor where it is on its way over the ground, and the signed distance along x so far, by which it has rolled."""


def _glide(u: float) -> float:
    """Ease in and out without coming to rest."""
    return 0.5 * u + 0.5 * smooth(u)


def _route(spec: ClipSpec, index: int, u: float, second: float) -> Route | None:
    """Where a travelling actor is; None for one that stays at its place."""
    actor = spec.actors[index]
    if spec.relation and index < 2:
        group = RELATIONS[spec.relation].group
        if group == "pursuit":
            moved = 0.44 * (_glide(u) - 0.5) * actor.heading
            return replace(actor, x=actor.x + moved), moved
        if group == "mutual":
            return _mutual(spec.relation, actor, u, index)
        on_path = group == "path" and index == 0
        return _path(spec.relation, actor, spec.actors[1], u, second) if on_path else None
    if MOTIONS[actor.motion].family == "travel":
        moved = 0.62 * (_glide(u) - 0.5) * actor.heading
        return replace(actor, x=actor.x * 0.3 + moved), moved
    if actor.motion == "circle":
        return _orbit(actor, second, actor.x, 0.5, radius=(0.21, 0.42))
    return None


def _orbit(actor: Actor, second: float, x: float, depth: float, *, radius: tuple[float, float]) -> Route:
    """A ring on the ground around (x, depth), ``radius`` wide and deep."""
    turn = actor.heading * _TAU * (second * actor.tempo / 3.2 + actor.phase)
    near = math.sin(turn)
    heading = -actor.heading if near > 0 else actor.heading
    x, depth = x + radius[0] * math.cos(turn), depth + radius[1] * near
    return replace(actor, x=x, depth=depth, heading=heading, lift=0.0), radius[0] * turn


def _mutual(relation: str, actor: Actor, u: float, index: int) -> Route:
    if relation == "swap with":
        x = actor.x * math.cos(math.pi * _glide(u))
        bow = 0.28 * math.sin(math.pi * _glide(u)) * (1 if index == 0 else -1)
        return replace(actor, x=x, depth=actor.depth + bow), x - actor.x
    near = 0.14 * math.copysign(1, actor.x)
    return _straight(actor, *((actor.x, near) if relation == "meet" else (near, actor.x)), u)


def _straight(actor: Actor, start: float, end: float, u: float) -> Route:
    x = start + (end - start) * smooth(u / 0.9)
    return replace(actor, x=x), x - start


def _path(relation: str, actor: Actor, goal: Actor, u: float, second: float) -> Route:
    if relation == "around":
        return _orbit(actor, second, goal.x, goal.depth, radius=(0.3, 0.48))
    if relation in ("toward", "away from"):
        side = math.copysign(1, goal.x)
        far, near = -0.35 * side, goal.x - 0.28 * side
        return _straight(actor, *((far, near) if relation == "toward" else (near, far)), u)
    x = actor.heading * 0.7 * (_glide(u) - 0.5)
    if relation == "past":
        return replace(actor, x=x), x
    across = min(max((u - 0.22) / 0.56, 0.0), 1.0)
    return replace(actor, x=x, lift=0.4 if actor.motion == "fly" else 0.46 * 4 * across * (1 - across)), x


def _travelling(actor: Actor, travelled: float, u: float, shape: Shape) -> Pose:
    """The pose at a point of a route: slide, roll, hop, fly or waddle; "circle" slides."""
    pose = _standing(actor, shape)
    if actor.motion == "roll":
        angle = math.degrees(travelled / (0.5 * max(pose.width, pose.height)))
        turn = math.radians(angle)
        reach = math.hypot(pose.width / 2 * math.sin(turn), pose.height / 2 * math.cos(turn))
        return replace(pose, angle=angle, y=pose.ground - actor.lift - reach)
    if actor.motion == "hop" and actor.lift == 0:
        leap = abs(math.sin(math.pi * (3.5 * u + actor.phase)))
        return _raised(_squashed(pose, 0.2 * max(0.0, 1 - 3.5 * leap)), 0.12 * leap)
    if actor.motion == "fly":
        wave = math.sin(_TAU * (1.6 * u + actor.phase))
        lean = 9 * math.cos(_TAU * (1.6 * u + actor.phase)) * -actor.heading
        return replace(_raised(pose, (0.26 if actor.lift == 0 else 0.0) + 0.055 * wave), angle=lean)
    return _waddled(pose, actor, u, 0.012, 11) if actor.motion == "waddle" else pose


def _waddled(pose: Pose, actor: Actor, u: float, height: float, angle: float) -> Pose:
    step = math.sin(math.pi * (7 * u + actor.phase))
    return _tilted(_raised(pose, height * abs(step)), angle * step)


# --------------------------------------------------------------------------- contact
def _set_on(top: Pose, base: Pose) -> Pose:
    """Put ``top`` on ``base``; it keeps its own motion."""
    seat = base.ground - base.height * 0.93 if base.angle == 0 else base.y - 0.46 * max(base.width, base.height)
    return replace(top, y=top.y + seat - top.ground, ground=seat, depth=base.depth + 1e-3)


def _put_in(thing: Pose, container: Pose) -> list[Pose]:
    """Put ``thing`` into ``container``, whose front, drawn last, hides its lower part."""
    rim = CONTAINERS[container.sprite]
    edge = container.ground - container.height * (1 - rim)
    sunk = replace(thing, y=thing.y + edge + 0.4 * thing.height - thing.ground, depth=container.depth + 1e-3)
    front = replace(container, rim=rim, depth=container.depth + 2e-3)
    return [container, replace(sunk, shadow=False), replace(front, shadow=False)]
