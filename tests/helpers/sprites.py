"""Stand-ins for the playground's emoji."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image, ImageDraw

from vtr_demo.playground.brushes import PROPS
from vtr_demo.playground.spec import THINGS


def draw_sprites(folder: Path) -> Path:
    """Draw a lopsided shape in colours of its own for every sprite; its code points choose both."""
    folder.mkdir(parents=True, exist_ok=True)
    for code in {*(thing.code for thing in THINGS.values()), *PROPS.values()}:
        seed = hashlib.sha256(code.encode()).digest()
        picture = Image.new("RGBA", (64, 64))
        draw = ImageDraw.Draw(picture)
        draw.ellipse((4, 8, 60, 56), fill=(*seed[:3], 255))
        draw.rectangle((30, 2, 62, 20 + seed[3] % 20), fill=(*seed[4:7], 255))
        picture.save(folder / f"{code}.webp", lossless=True)
    return folder
