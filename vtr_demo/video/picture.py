"""From a decoded frame to the picture that a player shows: upright, square pixels, colours of a monitor."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# FFmpeg's numbers for the tags of a stream (ISO/IEC 23091-2).
BT709 = 1
_UNSPECIFIED = 2
_BT2020_PRIMARIES = 9
_PQ, _HLG = 16, 18


class Orientation(NamedTuple):
    """How a stored picture is brought upright: first transposed, then mirrored left-right and top-bottom."""

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    @property
    def is_mirror(self) -> bool:
        """True where the picture is seen as in a mirror, which no turn undoes."""
        return self.transposed ^ self.mirrored_x ^ self.mirrored_y

    @property
    def degrees(self) -> int:
        """Clockwise quarter turn to upright: 0, 90, 180 or 270; of a mirrored picture after flipping x."""
        right_side_up = self._replace(mirrored_x=self.mirrored_x ^ self.is_mirror)
        turns = {"000": 0, "110": 90, "011": 180, "101": 270}
        return turns["".join(str(int(flag)) for flag in right_side_up)]

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The upright picture (H, W, C) of a stored one."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        picture = picture[:, ::-1] if self.mirrored_x else picture
        return np.ascontiguousarray(picture[::-1] if self.mirrored_y else picture)

    @property
    def filters(self) -> list[tuple[str, str]]:
        """The same as FFmpeg's filters."""
        steps = [("transpose", "cclock_flip"), ("hflip", ""), ("vflip", "")]
        return [step for step, wanted in zip(steps, self, strict=True) if wanted]


def orientation_of(frame: Any) -> Orientation:
    """Read the display matrix of a frame, to the nearest quarter turn, mirrored or not."""
    from av.sidedata.sidedata import Type

    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return Orientation()
    # A stored point (x, y) is shown at (a x + c y, b x + d y) (ISO/IEC 14496-12, 6.2.2).
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(int)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, bool(a < 0), bool(d < 0))
    return Orientation(True, bool(c < 0), bool(b < 0))


def is_wide_gamut(frame: Any) -> bool:
    """True for HDR (PQ, HLG) and BT.2020 pictures, whose numbers mean other colours than a monitor's."""
    return frame.color_trc in (_PQ, _HLG) or frame.color_primaries == _BT2020_PRIMARIES


def tag_matrix(frame: Any) -> None:
    """Take an untagged picture of high definition for BT.709, as players do; smaller ones are BT.601."""
    hd = frame.width >= 1280 or frame.height > 576
    if frame.colorspace == _UNSPECIFIED and hd and not frame.format.is_rgb:
        frame.colorspace = BT709


def to_rgb(frame: Any, orientation: Orientation, size: int) -> np.ndarray:
    """The upright picture (H, W, 3) uint8 in BT.709 colours, at a scale that leaves ``size`` enough detail.

    Large pictures are first shrunk to twice the size in one C call: a 4K frame in RGB costs 25 MB. HDR is
    tone-mapped by swscale.
    """
    scale = min(1.0, 2 * size / min(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    tag_matrix(frame)
    tone = {"dst_color_trc": BT709, "dst_color_primaries": BT709} if is_wide_gamut(frame) else {}
    rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", **tone)
    return orientation.apply(rgb.to_ndarray())


def monitor_filters(frame: Any, orientation: Orientation, width: int, height: int) -> list[tuple[str, str]]:
    """FFmpeg filters from a stored frame to an upright 8-bit 4:2:0 one in BT.709 of limited range."""
    tag_matrix(frame)
    scale = f"{width}:{height}:flags=bicubic:out_range=tv:out_color_matrix=bt709"
    if is_wide_gamut(frame):
        scale += ":out_primaries=bt709:out_transfer=bt709"
    return [*orientation.filters, ("scale", scale), ("format", "yuv420p"), ("setsar", "1")]
