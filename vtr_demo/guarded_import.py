"""Import libraries that stand on torchvision, also where its compiled operators cannot load."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_declared: list[Any] = []


def guarded_import(name: str) -> ModuleType:
    """Import ``name`` (timm, open_clip), declaring torchvision's operators if they are missing.

    A CPU build of torch beside a CUDA build of torchvision fails with "operator torchvision::nms
    does not exist" (pytorch/vision issues 9077 and 9085). Nothing here calls nms, so its schema
    is declared and the import is tried again; with a matching pair of builds nothing is changed.
    """
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
    package = name.partition(".")[0]
    for loaded in [key for key in sys.modules if key.split(".")[0] in ("torchvision", package)]:
        del sys.modules[loaded]
    _declare_operators()
    return importlib.import_module(name)


def _declare_operators() -> None:
    from torch.library import Library

    library = Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
