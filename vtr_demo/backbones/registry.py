"""The towers: pixels to patch tokens, sentences to word tokens. ``load_backbone`` opens one."""

from __future__ import annotations

from vtr_demo.backbones.base import Backbone
from vtr_demo.backbones.open_clip import is_open_clip_folder
from vtr_demo.errors import BackboneError

__all__ = ["Backbone", "load_backbone"]


def load_backbone(spec: str, device: str = "cpu") -> Backbone:
    """Open the frozen towers that ``spec`` names.

    `bundled`; `open_clip:NAME/TAG` and its other forms (see ``vtr_demo.backbones.open_clip``); a folder with
    an open_clip_config.json; `tiny` or `tiny:SEED`, random, for tests.
    """
    kind, _, rest = spec.partition(":")
    backbone: Backbone
    if spec == "bundled":
        from vtr_demo.backbones.bundled import BundledBackbone

        backbone = BundledBackbone()
    elif kind == "open_clip" and rest:
        from vtr_demo.backbones.open_clip import OpenClipBackbone

        backbone = OpenClipBackbone(spec)
    elif kind == "tiny" and (spec == "tiny" or rest.isdecimal()):
        from vtr_demo.backbones.tiny import TinyBackbone

        backbone = TinyBackbone(int(rest or 0))
    elif is_open_clip_folder(spec):
        from vtr_demo.backbones.open_clip import OpenClipBackbone

        backbone = OpenClipBackbone(f"open_clip:local-dir:{spec}")
    else:
        raise BackboneError(
            f"Unknown model {spec!r}; use bundled, open_clip:NAME/TAG "
            "or a folder with an open_clip_config.json."
        )
    return backbone.to(device)
