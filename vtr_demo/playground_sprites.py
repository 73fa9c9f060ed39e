"""The playground's sprites: pictures in a folder, cut to their outline and kept at halving sizes."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from PIL import Image

from vtr_demo.errors import BadConfig

SPRITES_ENV = "VTR_SPRITES"
SPRITES_FOLDER = Path(__file__).resolve().parents[1] / "sprites"
SPRITES_COMMAND = (
    "npm pack @lobehub/fluent-emoji-3d && mkdir -p sprites && "
    "tar xzf lobehub-fluent-emoji-3d-*.tgz -C sprites --strip-components=2 package/assets"
)


class Sprites:
    """The sprite pictures of one folder, cut to their outline and kept at halving sizes."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise BadConfig(
                f"The playground's sprite folder {folder} is missing; run `{SPRITES_COMMAND}` "
                f"in the folder of app.py, or point {SPRITES_ENV} to the unpacked pictures."
            )
        self.folder = folder
        self._levels: dict[str, list[Image.Image]] = {}

    def levels(self, code: str) -> list[Image.Image]:
        """RGBA pictures of one sprite, each half the size of the one before."""
        if code not in self._levels:
            file = self.folder / f"{code}.webp"
            try:
                with Image.open(file) as picture:
                    whole = picture.convert("RGBA")
            except OSError as error:
                raise BadConfig(
                    f"The sprite {file.name} cannot be read in {self.folder}; {SPRITES_COMMAND}."
                ) from error
            box = whole.getchannel("A").point(lambda a: 255 if a > 24 else 0).getbbox()
            levels = [whole.crop(box) if box else whole]
            while max(levels[-1].size) > 24:
                levels.append(levels[-1].reduce(2))
            self._levels[code] = levels
        return self._levels[code]

    def shape(self, code: str) -> tuple[float, float]:
        """Width and height of the outline, the longer one 1."""
        wide, high = self.levels(code)[0].size
        longer = max(wide, high)
        return wide / longer, high / longer


def find_sprites(folder: str | Path | None = None) -> Sprites:
    """The sprites in ``folder``, else in $VTR_SPRITES, else in ``sprites/`` beside ``app.py``."""
    return _sprites_in(str(folder or os.environ.get(SPRITES_ENV) or SPRITES_FOLDER))


@functools.lru_cache(maxsize=4)
def _sprites_in(folder: str) -> Sprites:
    return Sprites(Path(folder))
