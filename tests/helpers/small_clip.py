"""Small open_clip models with random weights, saved in the layout that open_clip reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vtr_demo.backbones.base import guarded_import

TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VISION: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 32, "patch_size": 8, "layers": 2, "width": 32, "head_width": 16},
    "vit-avg": {
        "image_size": 32,
        "patch_size": 8,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "pool_type": "avg",
        "no_ln_pre": True,
    },
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8},
    "convnext": {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "linear"},
    "fastvit": {"image_size": 64, "timm_model_name": "fastvit_t8", "timm_pool": "avg", "timm_proj": None},
    "siglip": {"image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
}


def save_small_clip(folder: Path, kind: str = "vit", seed: int = 0) -> Path:
    """Write a random model of ``kind`` (a key of ``VISION``) to ``folder``; open it with
    ``load_backbone(f"open_clip:local-dir:{folder}")``. Width of the joint space: 20 (siglip: 96)."""
    open_clip = guarded_import("open_clip")
    config = {
        "model_cfg": {
            "embed_dim": 96 if kind == "siglip" else 20,
            "vision_cfg": VISION[kind],
            "text_cfg": TEXT,
            "custom_text": kind in ("siglip", "fastvit"),
        },
        "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.25, 0.2]},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        for parameter in model.parameters():  # layers that start at zero would test nothing
            if parameter.ndim > 0 and parameter.abs().max() < 1e-3:
                torch.nn.init.normal_(parameter, std=0.1)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder
