"""The towers: pixels to patch tokens, sentences to word tokens. ``load_backbone`` opens one."""

from __future__ import annotations

from vtr_demo.backbone_base import Backbone
from vtr_demo.errors import BackboneUnavailable

__all__ = ["Backbone", "load_backbone"]


def load_backbone(spec: str, device: str = "cpu") -> Backbone:
    """Open the frozen towers that ``spec`` names: `bundled`."""
    if spec == "bundled":
        from vtr_demo.backbone_bundled import BundledBackbone

        return BundledBackbone().to(device)
    raise BackboneUnavailable(f"Unknown model {spec!r}; use `bundled`.")
