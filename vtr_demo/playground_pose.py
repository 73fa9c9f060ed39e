"""What a playground thing looks like at one time: the pose at rest, and the motions on the spot.

Lengths are in picture heights, x = 0 is the centre, y = 0 the top of the picture; angles are in
degrees, positive turns clockwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from vtr_demo.playground_lexicon import SCENES
from vtr_demo.playground_spec import Actor, ClipSpec
from vtr_demo.playground_things import THINGS

Shape = Callable[[str], tuple[float, float]]
"""Width and height of a thing's picture, the longer one 1."""
_TAU = 2 * math.pi


@dataclass(frozen=True)
class Pose:
    """One thing at one time: its centre, its unrotated width and height, and how it is drawn."""

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
    """A container is drawn once more, below this share of its height, over what it holds."""
    shadow: bool = True

    @property
    def clearance(self) -> float:
        """Height of the lower edge above the ground, 0 or more."""
        return max(0.0, self.ground - self.y - self.height / 2)


def smooth(u: float) -> float:
    u = min(max(u, 0.0), 1.0)
    return u * u * (3 - 2 * u)


def _ground(spec: ClipSpec, depth: float) -> float:
    far, near = SCENES[spec.scene].ground
    return far + (near - far) * depth


def standing(spec: ClipSpec, actor: Actor, shape: Shape, scale: float = 1.0) -> Pose:
    """The thing at rest at its place."""
    wide, high = shape(actor.sprite)
    size = actor.size * scale * (0.75 + 0.45 * actor.depth)
    ground = _ground(spec, actor.depth)
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


def raised(pose: Pose, lift: float) -> Pose:
    return replace(pose, y=pose.y - lift)


def squashed(pose: Pose, amount: float) -> Pose:
    """Flattened by ``amount`` (negative: stretched) with its lower edge kept where it is."""
    height = pose.height * (1 - amount)
    lower = pose.y + pose.height / 2
    return replace(pose, height=height, width=pose.width * (1 + 0.6 * amount), y=lower - height / 2)


def tilted(pose: Pose, angle: float) -> Pose:
    """Leaning about the middle of its lower edge."""
    turn = math.radians(angle)
    half = pose.height / 2
    return replace(
        pose, angle=angle, x=pose.x + half * math.sin(turn), y=pose.y + half * (1 - math.cos(turn))
    )


def on_the_spot(spec: ClipSpec, actor: Actor, u: float, second: float, shape: Shape) -> Pose:
    """A motion that stays at its place, rises, falls, comes or goes."""
    pose = standing(spec, actor, shape)
    cycle = second * actor.tempo
    act = _ACTS.get(actor.motion)
    if act is not None:
        return act(pose, actor, u, cycle)
    if actor.motion in ("grow", "shrink"):
        grown = smooth((u - 0.05) / 0.9) if actor.motion == "grow" else 1 - smooth((u - 0.05) / 0.9)
        return standing(spec, actor, shape, 0.38 + 0.84 * grown)
    if actor.motion in ("approach", "leave"):
        near = smooth(u) if actor.motion == "approach" else 1 - smooth(u)
        coming = replace(actor, depth=-0.1 + 1.1 * near)
        pose = standing(spec, coming, shape, 0.36 + 0.72 * near)
        step = math.sin(math.pi * (7 * u + actor.phase))
        return tilted(raised(pose, 0.008 * abs(step)), 5 * step)
    return pose


Act = Callable[[Pose, Actor, float, float], Pose]


def _spin(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    lower = pose.y + pose.height / 2
    reach = 0.48 * max(pose.width, pose.height)
    return replace(pose, angle=actor.heading * 360 * (cycle / 1.9 + actor.phase), y=lower - reach)


def _bounce(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    part = (cycle / 1.15 + actor.phase) % 1.0
    leap = 4 * part * (1 - part)
    return raised(squashed(pose, 0.22 * max(0.0, 1 - 4 * leap)), 0.15 * leap)


def _shake(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    wobble = math.sin(_TAU * (5.3 * cycle + actor.phase))
    return replace(tilted(pose, 6 * math.sin(_TAU * 4.1 * cycle)), x=pose.x + 0.02 * wobble)


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
        return squashed(pose, 0.24 * math.sin(math.pi * part / 0.2))
    rise = (part - 0.2) / 0.8
    leap = max(0.0, 4 * rise * (1 - rise))
    return raised(squashed(pose, -0.08 * leap), 0.27 * leap)


def _somersault(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    part = (cycle / 2.0 + actor.phase) % 1.0
    if part < 0.2:
        return squashed(pose, 0.24 * math.sin(math.pi * part / 0.2))
    rise = (part - 0.2) / 0.8
    return replace(raised(pose, 0.24 * 4 * rise * (1 - rise)), angle=actor.heading * 360 * smooth(rise))


def _float(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    wave = math.sin(_TAU * (cycle / 2.4 + actor.phase))
    base = 0.18 if actor.lift == 0 else 0.0
    return replace(raised(pose, base + 0.045 * wave), angle=3.5 * math.sin(_TAU * cycle / 3.1))


def _twirl(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    turn = math.cos(_TAU * (cycle / 1.9 + actor.phase))
    flipped = pose.mirrored != (turn < 0)
    return replace(pose, width=pose.width * max(abs(turn), 0.08), mirrored=flipped)


def _fade(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    return replace(pose, alpha=1 - smooth((u - 0.2) / 0.65))


def _fall(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    room = max(pose.ground - pose.height - 0.03, 0.1)
    fallen = min(u / 0.72, 1.0)
    rebound = max(0.0, math.sin(math.pi * (u - 0.72) / 0.16)) * 0.05 if 0.72 < u < 0.88 else 0.0
    lean = 14 * math.sin(_TAU * (1.3 * fallen + actor.phase)) * (1 - fallen)
    return replace(raised(pose, room * (1 - fallen**1.7) + rebound), angle=lean)


def _rise(pose: Pose, actor: Actor, u: float, cycle: float) -> Pose:
    room = max(pose.ground - pose.height - 0.03, 0.1)
    return raised(pose, room * smooth((u - 0.1) / 0.85) ** 1.2)


_ACTS: dict[str, Act] = {
    "spin": _spin,
    "bounce": _bounce,
    "shake": _shake,
    "swing": _swing,
    "jump": _jump,
    "somersault": _somersault,
    "float": _float,
    "twirl": _twirl,
    "fade": _fade,
    "fall": _fall,
    "rise": _rise,
}
