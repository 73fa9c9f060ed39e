"""open_clip towers equal open_clip itself, and what names no weights is refused in a sentence."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from tests.helpers.small_clip import VISION, save_small_clip
from tests.helpers.towers import UGLY, clip, pooled, sentence
from vtr_demo.backbones import bundled, hub
from vtr_demo.backbones.base import guarded_import
from vtr_demo.backbones.registry import load_backbone
from vtr_demo.errors import BackboneError

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def test_patches_of_a_vit_are_projected_output_tokens(small_clip: Path) -> None:
    tower = load_backbone(str(small_clip))
    pixels = clip(tower, 2)
    visual = tower.model.visual
    visual.output_tokens = True
    with torch.no_grad():
        _, tokens = visual(tower._prepared(torch.from_numpy(pixels)))
        reference = tokens @ visual.proj
    visual.output_tokens = False
    assert torch.allclose(tower.encode_frames(pixels).patches[0], reference, atol=1e-5)


def test_each_word_is_the_mean_of_its_own_pieces(small_clip: Path) -> None:
    tower = load_backbone(str(small_clip))
    text = "antidisestablishmentarianism  is Naïve"
    ids = tower.tokenizer([text])
    counts = [len(tower.tokenizer.encode(word)) for word in text.split()]
    assert counts[0] > 1
    with torch.no_grad():
        out = tower.model.forward_intermediates(text=ids, text_indices=1, normalize_intermediates=True)
        states = out["text_intermediates"][-1][0] @ tower.model.text_projection
    words = tower.encode_text([sentence(text)]).words[0]
    start = 1
    for row, count in enumerate(counts):
        assert torch.allclose(words[row], states[start : start + count].mean(dim=0), atol=1e-5)
        start += count


def test_a_tower_of_hugging_face_text_follows_its_offsets(tmp_path: Path) -> None:
    source = bundled._wheel_path(bundled.TEXT_WHEEL, bundled.TEXT_FOLDER)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(source / name, tmp_path)
    bert = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert |= {"model_type": "bert", "vocab_size": 30522, "pad_token_id": 0}
    (tmp_path / "config.json").write_text(json.dumps(bert))
    names = {"hf_model_name": str(tmp_path), "hf_tokenizer_name": str(tmp_path), "context_length": 24}
    text = {**names, "hf_proj_type": "linear", "hf_pooler_type": "mean_pooler"}
    config = {"embed_dim": 20, "vision_cfg": VISION["vit"], "text_cfg": text}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    open_clip = guarded_import("open_clip")
    model = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False, pretrained_text=False)
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    tower = load_backbone(str(tmp_path))
    with torch.no_grad():
        reference = tower.model.encode_text(tower.tokenizer(["The  unbelievable dog"]))
    tokens = tower.encode_text([sentence("The  unbelievable dog")])
    assert torch.allclose(tokens.summary, reference, atol=1e-5)
    assert tokens.word_mask.tolist() == [[True, True, True]]


def test_fine_tuning_reaches_all_that_the_tokens_depend_on(small_clip: Path) -> None:
    tower = load_backbone(str(small_clip))
    pixels, mask = clip(tower, 2)[None], np.array([[True, False]])
    frozen = tower.encode_frame_batch(pixels, mask)
    tower.unfreeze()
    tower.train()
    tower.set_grad_checkpointing()
    video, text = tower.encode_frame_batch(pixels, mask), tower.encode_text([sentence("a dog runs")])
    assert torch.allclose(video.patches, frozen.patches, atol=1e-5)
    (video.patches.sum() + video.summary.sum() + text.words.sum() + text.summary.sum()).backward()
    learning = {name: p for name, p in tower.named_parameters() if p.requires_grad}
    assert [name for name, p in learning.items() if p.grad is None] == []
    assert "model.logit_scale" not in learning


def test_a_weight_file_given_after_the_name_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_clip = guarded_import("open_clip")
    folder = save_small_clip(tmp_path / "model")
    configs = tmp_path / "configs"
    configs.mkdir()
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    (configs / "small-test.json").write_text(json.dumps(config))
    open_clip.add_model_config(configs)
    monkeypatch.setattr(hub, "_answers", lambda endpoint: False)
    tower = load_backbone(f"open_clip:small-test/{folder / 'open_clip_model.safetensors'}")
    stored = load_file(folder / "open_clip_model.safetensors")
    assert tower.model.visual.proj.equal(stored["visual.proj"])


def test_a_hub_cache_laid_by_hand_is_read_offline(
    small_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    repository = tmp_path / "models--someone--small"
    shutil.copytree(small_clip, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "_answers", lambda endpoint: False)
    for spec in ("open_clip:hf-hub:someone/small", "open_clip:someone/small"):
        assert load_backbone(spec).fingerprint == load_backbone(str(small_clip)).fingerprint
    assert constants.HF_HUB_OFFLINE is False


def test_a_hub_that_does_not_answer_is_given_up_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(hub, "HUB_TIMEOUT_S", 0.2)
        assert not hub._answers(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert not hub._answers("http://no-such-host.invalid")


@pytest.mark.parametrize(
    ("repository", "release"),
    [
        ("openai/clip-vit-base-patch32", "ViT-B-32-quickgelu/openai"),
        ("openai/clip-vit-base-patch16", "ViT-B-16-quickgelu/openai"),
        ("openai/clip-vit-large-patch14", "ViT-L-14-quickgelu/openai"),
        ("openai/clip-vit-large-patch14-336", "ViT-L-14-336-quickgelu/openai"),
        ("google/siglip-base-patch16-224", "ViT-B-16-SigLIP/webli"),
        ("google/siglip-base-patch16-256-multilingual", "ViT-B-16-SigLIP-i18n-256/webli"),
        ("google/siglip-so400m-patch14-384", "ViT-SO400M-14-SigLIP-384/webli"),
        ("google/siglip2-base-patch16-224", "ViT-B-16-SigLIP2/webli"),
        ("google/siglip2-base-patch32-256", "ViT-B-32-SigLIP2-256/webli"),
        ("google/siglip2-so400m-patch16-512", "ViT-SO400M-16-SigLIP2-512/webli"),
        ("google/siglip2-giant-opt-patch16-384", "ViT-gopt-16-SigLIP2-384/webli"),
    ],
)
def test_repositories_of_transformers_stand_for_weights_that_open_clip_released(repository: str, release: str) -> None:
    name, tag = hub.parse_source(repository)
    assert f"{name}/{tag}" == release
    assert tag in guarded_import("open_clip").list_pretrained_tags_by_model(name)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("openai/clip-vit-base-patch32", "ViT-B-32-quickgelu/openai are not in the local cache"),
        ("open_clip:someone/nothing", "Hub cannot be reached"),
        ("runs/typing-error", "open_clip:ORG/REPO"),
        ("google/siglip2-base-patch16-naflex", "open_clip:ORG/REPO"),
        ("open_clip:ViT-B-32/openai", "Hub cannot be reached"),
        ("open_clip:hf-hub:someone/nothing", "Hub cannot be reached"),
        ("open_clip:ViT-B-32", "no weights are named"),
        ("open_clip:ViT-B-32/", "no weights are named"),
        ("open_clip:ViT-B-32/no_such_tag", "neither a tag nor a file"),
        ("open_clip:ViT-B-23/openai", "did you mean ViT-B-32"),
        ("open_clip:hf-hub:", "names nothing"),
        ("open_clip:local-dir:/no/such/folder", "does not exist"),
        ("open_clip:", "Unknown model"),
        ("bundle", "Unknown model"),
        ("tiny:x", "Unknown model"),
        ("", "Unknown model"),
    ],
)
def test_what_names_no_weights_is_refused_in_one_sentence(
    spec: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "_answers", lambda endpoint: False)
    with pytest.raises(BackboneError, match=said) as refusal:
        load_backbone(spec)
    assert "\n" not in str(refusal.value)


def change_file(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def pickle_instead(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"code": Path}, folder / "open_clip_pytorch_model.bin")


def not_a_number(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state["visual.proj"][0, 0] = float("nan")
    save_file(state, folder / WEIGHTS)


@pytest.mark.parametrize(
    "damage",
    [
        change_file(WEIGHTS, lambda data: data[:5000]),
        lambda folder: (folder / WEIGHTS).unlink(),
        lambda folder: (folder / CONFIG).unlink(),
        change_file(CONFIG, lambda _: b"{"),
        change_file(CONFIG, lambda data: data.replace(b'"embed_dim": 20', b'"embed_dim": 24')),
        pickle_instead,
        not_a_number,
    ],
)
def test_a_damaged_model_folder_is_refused_in_one_sentence(
    damage: Callable[[Path], object], small_clip: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_clip, tmp_path / "damaged")
    damage(folder)
    with pytest.raises(BackboneError, match=r"damaged") as refusal:
        load_backbone(f"open_clip:local-dir:{folder}")
    assert "\n" not in str(refusal.value)


# --------------------------------------------------------------------------- families of architectures
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
