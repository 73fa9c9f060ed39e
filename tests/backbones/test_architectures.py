"""Every family of models, by open_clip's own configs made small, loads from a folder and gives its embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from tests.helpers.small_clip import save_small_clip
from tests.helpers.towers import UGLY, clip, pooled, sentence
from vtr_demo.backbones.base import guarded_import
from vtr_demo.backbones.registry import load_backbone

MEAN, STD = [0.4, 0.5, 0.6], [0.3, 0.25, 0.2]
TEXT = {"width": 32, "heads": 2, "layers": 1}
SMALL_VIT = {"layers": 1, "width": 32, "head_width": 16}
TRUNK = {"embed_dim": 64, "depth": 1, "num_heads": 2}
"""Arguments of a timm transformer; it is otherwise built as its name says."""
FASTVIT = {"layers": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 32)}
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ViT-B-32": (SMALL_VIT, {}),
    "ViT-B-32-quickgelu": (SMALL_VIT, {}),
    "RN50": ({"layers": [1, 1, 1, 1], "width": 8}, {}),
    "coca_ViT-B-32": (SMALL_VIT | {"attn_pooler_heads": 2}, {}),
    "EVA02-B-16": ({}, TRUNK),
    "ViT-B-16-SigLIP": ({}, TRUNK),
    "ViT-B-16-SigLIP2": ({}, TRUNK),
    "MobileCLIP-B": ({}, {"depth": 1}),
    "MobileCLIP-S1": ({}, FASTVIT),
    "MobileCLIP2-S0": ({}, FASTVIT),
    "MobileCLIP2-S3": ({}, {"layers": (1, 1, 1, 1, 1), "embed_dims": (16, 16, 32, 32, 32)}),
    "PE-Core-B-16": ({}, TRUNK),
}
"""Names of open_clip: what is smaller in the picture tower, and in timm's function that builds its trunk."""
SENTENCES = ("A brown dog catches a frisbee!", "two people, one   bicycle", "Snow")


def shrink_trunk(name: str, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    from timm.models import _registry

    build: Callable[..., Any] = _registry._model_entrypoints[name]
    monkeypatch.setitem(_registry._model_entrypoints, name, partial(build, **changes))


def save_tokenizer(folder: Path) -> int:
    """Write a SentencePiece-like tokenizer of the words and letters of ``SENTENCES``; returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(set("".join(SENTENCES).lower()) - {" "})
    words = sorted({word for text in SENTENCES for word in text.lower().replace("!", "").replace(",", "").split()})
    pieces = ["<pad>", "</s>", "<unk>", "▁", *("▁" + word for word in words), *letters]
    scores = [(piece, -float(i > 3) - 10 * float(len(piece) == 1)) for i, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "</s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names | {"unk_token": "<unk>"}))
    return len(pieces)


@pytest.fixture(params=[*sorted(FAMILIES), "vit-avg", "convnext", "fastvit"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as it is brought from a connected machine: config, weights, and a tokenizer where there is one."""
    if request.param not in FAMILIES:
        return save_small_clip(tmp_path / request.param, request.param)
    open_clip = guarded_import("open_clip")
    config = open_clip.get_model_config(request.param)
    picture, trunk = FAMILIES[request.param]
    config["vision_cfg"] |= picture
    config["text_cfg"] |= TEXT
    config["embed_dim"] = 64
    if "multimodal_cfg" in config:
        config["multimodal_cfg"] |= TEXT | {"attn_pooler_heads": 2}
    if trunk:
        shrink_trunk(config["vision_cfg"]["timm_model_name"], monkeypatch, trunk)
    if "hf_tokenizer_name" in config["text_cfg"]:
        config["text_cfg"]["vocab_size"] = save_tokenizer(tmp_path)
    constants = {"mean": MEAN, "std": STD}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": constants}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "open_clip_model.safetensors")
    return tmp_path


def test_a_family_loads_from_a_local_folder_and_ranks_as_open_clip_does(folder: Path) -> None:
    towers = load_backbone(f"open_clip:local-dir:{folder}")
    pixels, sentences = clip(towers, 2), (*SENTENCES, *UGLY)
    inputs = ((torch.from_numpy(pixels) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    with torch.no_grad():
        image = towers.model.encode_image(inputs, normalize=True)
        text = towers.model.encode_text(towers.tokenizer(list(sentences)), normalize=True)
    video = towers.encode_frames(pixels)
    assert torch.allclose(video.summary[0], image, atol=1e-5)
    own = normalize(pooled(towers, sentences), dim=-1)
    assert torch.allclose(own, text, atol=1e-5)
    assert video.patches.shape == (1, 2, np.prod(towers.grid), towers.patch_width)
    if folder.name in ("vit-avg", "fastvit"):  # linear after an average: the patches average to the picture
        assert torch.allclose(normalize(video.patches[0].mean(dim=1), dim=-1), image, atol=1e-5)
    assert video.patches[0, 0].std(0).max() > 1e-3 * video.patches.abs().max(), "patches differ by place"
    tokens = towers.encode_text([sentence("dog bicycle dog"), sentence("snow")])
    assert tokens.word_mask.tolist() == [[True, True, True], [True, False, False]]
    first, second, third = tokens.words[0]
    assert torch.isfinite(tokens.words).all()
    assert not torch.allclose(first, second, atol=1e-4)
    assert not torch.allclose(first, third, atol=1e-6), "states of their own places"
