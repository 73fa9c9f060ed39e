"""Laws of the towers: what they hand over equals what the named libraries compute."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from tests.small_clip import VISION, save_small_clip
from vtr_demo import backbone_bundled, open_clip_files
from vtr_demo.backbone import Backbone, load_backbone
from vtr_demo.backbone_base import word_shares
from vtr_demo.backbone_bundled import BundledBackbone
from vtr_demo.errors import BackboneUnavailable, UnsupportedText
from vtr_demo.guarded_import import guarded_import
from vtr_demo.records import Sentence, Word

UGLY = (
    "a Brown dog  runs, fast",
    "I can't; don't",
    "héllo wörld 中文字 antidisestablishmentarianism",
    "caf&amp;é 👍🏽 İstanbul ﬁne…",
    "word " * 400,
    "",
)


def sentence(text: str) -> Sentence:
    words = [
        Word(m.group(), m.start(), m.end(), m.group().lower(), "X") for m in re.finditer(r"\w+|[^\w\s]", text)
    ]
    return Sentence(text, tuple(words), entities=((0,),) if words else ())


def clip(backbone: Backbone, frames: int, seed: int = 0, side: int | None = None) -> np.ndarray:
    side = side or backbone.frame_size
    coarse = np.random.default_rng(seed).integers(0, 256, (frames, 3, 3, 3), dtype=np.uint8)
    places = np.arange(side) * 3 // side
    return coarse[:, places][:, :, places]


def pooled(backbone: Backbone, text: str) -> torch.Tensor:
    tokens = backbone.encode_text([sentence(text)])
    return (tokens.pool.unsqueeze(-1) * torch.cat([tokens.summary.unsqueeze(1), tokens.words], dim=1)).sum(1)[
        0
    ]


@pytest.fixture(scope="module")
def bundled() -> BundledBackbone:
    torch.set_num_threads(2)
    return BundledBackbone()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_clip(tmp_path_factory.mktemp("clip") / "vit")


@pytest.fixture(scope="module", params=["tiny", "small_clip", "bundled"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    if request.param == "tiny":
        return load_backbone("tiny")
    if request.param == "bundled":
        return request.getfixturevalue("bundled")
    return load_backbone(f"open_clip:local-dir:{request.getfixturevalue('clip_folder')}")


# --------------------------------------------------------------------------- every backbone
def test_shapes_are_those_the_backbone_announces(backbone: Backbone) -> None:
    video = backbone.encode_frames(clip(backbone, 3))
    rows, columns = backbone.grid
    assert video.patches.shape == (1, 3, rows * columns, backbone.patch_width)
    assert video.summary.shape == (1, 3, backbone.joint_width)
    text = backbone.encode_text([sentence("a dog runs"), sentence("cat")])
    assert text.words.shape == (2, 3, backbone.word_width)
    assert backbone.summary_width == backbone.word_width == backbone.joint_width
    assert text.word_mask.tolist() == [[True, True, True], [True, False, False]]
    assert text.level_mask[1, :2].tolist() == [[True, False, False], [True, False, False]]
    assert torch.allclose(video.summary.norm(dim=-1), torch.ones(1, 3), atol=1e-5)


def test_the_chunk_of_frames_changes_nothing(backbone: Backbone) -> None:
    pixels = clip(backbone, 5)
    whole = backbone.encode_frames(pixels)
    kept, backbone.frame_chunk = backbone.frame_chunk, 2
    parts = backbone.encode_frames(pixels)
    backbone.frame_chunk = kept
    assert torch.allclose(whole.patches, parts.patches, atol=1e-5)
    assert torch.allclose(whole.summary, parts.summary, atol=1e-5)


def test_a_clip_is_the_same_alone_and_beside_a_longer_one(backbone: Backbone) -> None:
    pixels = np.stack([clip(backbone, 3, seed=1), clip(backbone, 3, seed=2)])
    mask = np.array([[True, True, True], [True, False, False]])
    batch = backbone.encode_frame_batch(pixels, mask)
    alone = backbone.encode_frames(pixels[1, :1])
    assert torch.allclose(batch.patches[1, :1], alone.patches[0], atol=1e-5)
    assert torch.allclose(batch.summary[1, :1], alone.summary[0], atol=1e-5)
    assert batch.patches[1, 1:].abs().max() == 0
    assert batch.summary[1, 1:].abs().max() == 0
    assert batch.frame_mask.equal(torch.from_numpy(mask))


def test_a_sentence_is_the_same_alone_and_beside_longer_ones(backbone: Backbone) -> None:
    kept, backbone.text_chunk = backbone.text_chunk, 4
    together = backbone.encode_text([sentence(text) for text in UGLY])
    backbone.text_chunk = kept
    for row, text in enumerate(UGLY):
        alone = backbone.encode_text([sentence(text)])
        width = alone.words.shape[1]
        assert torch.allclose(together.words[row, :width], alone.words[0], atol=1e-5)
        assert torch.allclose(together.summary[row], alone.summary[0], atol=1e-5)
        assert torch.allclose(together.pool[row, : 1 + width], alone.pool[0], atol=1e-6)
        assert not together.word_mask[row, width:].any()
        assert together.pool[row, 1 + width :].abs().sum() == 0


def test_words_without_tokens_are_masked_and_weigh_nothing(backbone: Backbone) -> None:
    text = backbone.encode_text([sentence(UGLY[4]), sentence("")])
    lacking = ~text.word_mask
    assert text.words[lacking].abs().sum() == 0
    assert text.pool[:, 1:][lacking].abs().sum() == 0
    assert torch.allclose(text.pool.sum(dim=1), torch.ones(2), atol=1e-5)
    assert torch.isfinite(text.words).all()
    assert torch.isfinite(text.summary).all()


def test_a_larger_picture_is_resized_as_pillow_does(backbone: Backbone) -> None:
    from PIL import Image

    large = clip(backbone, 1, side=2 * backbone.frame_size + 6)
    side = (backbone.frame_size, backbone.frame_size)
    small = np.array(Image.fromarray(large[0]).resize(side, Image.Resampling.BICUBIC))[None]
    gap = (backbone._prepared(torch.from_numpy(large)) - backbone._prepared(torch.from_numpy(small))).abs()
    assert (gap * backbone.pixel_std).max() <= 2.001  # Pillow rounds after each of its two passes


def test_frozen_towers_give_no_gradient_and_stay_in_evaluation(backbone: Backbone) -> None:
    outer = torch.nn.Sequential(backbone)
    outer.train()
    assert not any(module.training for module in backbone.modules())
    assert not backbone.encode_frames(clip(backbone, 1)).summary.requires_grad
    assert not backbone.encode_text([sentence("a dog")]).words.requires_grad
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_equal_weights_have_equal_fingerprints_and_loading_renews_them() -> None:
    first, second, other = load_backbone("tiny"), load_backbone("tiny:0"), load_backbone("tiny:1")
    assert first.fingerprint == second.fingerprint != other.fingerprint
    torch.nn.ModuleList([second]).load_state_dict(torch.nn.ModuleList([other]).state_dict())
    assert second.fingerprint == other.fingerprint


def test_a_trainable_tower_changes_its_fingerprint_with_its_weights() -> None:
    tower = load_backbone("tiny")
    before = tower.fingerprint
    tower.unfreeze()
    with torch.no_grad():
        tower.get_parameter("frame.weight").mul_(2)
    assert tower.fingerprint != before


def test_no_sentence_and_misshapen_pixels_are_refused() -> None:
    tower = load_backbone("tiny")
    with pytest.raises(UnsupportedText, match="at least one"):
        tower.encode_text([])
    for wrong in (np.zeros((2, 32, 32, 3), np.float32), np.zeros((32, 32, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            tower.encode_frames(wrong)
    with pytest.raises(ValueError, match="frame_mask"):
        tower.encode_frame_batch(np.zeros((1, 2, 32, 32, 3), np.uint8), np.zeros((1, 2), bool))


def test_read_only_and_flipped_pixels_are_read_as_they_look() -> None:
    tower = load_backbone("tiny")
    pixels = clip(tower, 2)
    flipped = pixels[:, :, ::-1]
    pixels.flags.writeable = False
    assert tower.encode_frames(pixels).patches.equal(tower.encode_frames(pixels.copy()).patches)
    assert tower.encode_frames(flipped).patches.equal(tower.encode_frames(flipped.copy()).patches)


def test_token_shares_are_complete_and_divided_by_common_characters() -> None:
    words = (
        Word("can", 0, 3, "can", "AUX"),
        Word("not", 3, 6, "not", "PART"),
        Word("go", 7, 9, "go", "VERB"),
    )
    shares = word_shares(words, np.array([[0, 0], [0, 4], [4, 6], [6, 9], [9, 9]]))
    expected = [[1, 0, 0, 0, 1], [0, 0.75, 0, 0, 0], [0, 0.25, 1, 0, 0], [0, 0, 0, 1, 0]]
    assert np.allclose(shares, expected)


# --------------------------------------------------------------------------- bundled
def test_pooled_words_are_the_vectors_of_sentence_transformers(bundled: BundledBackbone) -> None:
    from sentence_transformers import SentenceTransformer

    folder = backbone_bundled._wheel_path(backbone_bundled.TEXT_WHEEL, backbone_bundled.TEXT_FOLDER)
    reference = SentenceTransformer(str(folder), device="cpu").encode(list(UGLY), show_progress_bar=False)
    ours = torch.stack([normalize(pooled(bundled, text), dim=0) for text in UGLY])
    assert torch.allclose(ours, torch.from_numpy(reference), atol=1e-5)


def test_the_classifier_on_mean_patches_is_the_whole_image_model(bundled: BundledBackbone) -> None:
    pixels = clip(bundled, 2)
    patches = bundled.encode_frames(pixels).patches[0]
    inputs = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        reference = bundled.image(inputs).softmax(dim=-1)
        ours = bundled.class_probabilities(patches)
    assert torch.allclose(ours, reference, atol=1e-5)


def test_patches_lie_where_the_picture_has_them(bundled: BundledBackbone) -> None:
    plain = np.full((1, 260, 260, 3), 127, np.uint8)
    marked = plain.copy()
    marked[0, 20:60, 200:240] = (255, 0, 0)  # row 1, column 7 of 9
    change = (bundled.encode_frames(marked).patches - bundled.encode_frames(plain).patches).norm(dim=-1)
    row, column = divmod(int(change[0, 0].argmax()), 9)
    assert (abs(row - 1) <= 1, abs(column - 7) <= 1) == (True, True)


def test_summary_is_conse_written_as_a_loop(bundled: BundledBackbone) -> None:
    pixels = clip(bundled, 2)
    video = bundled.encode_frames(pixels)
    for frame in range(2):
        chances = bundled.class_probabilities(video.patches[0, frame])
        mixed = torch.zeros(384)
        for index in sorted(range(1000), key=lambda c: -float(chances[c]))[:10]:
            mixed += chances[index] * bundled.class_embeddings[index]
        assert torch.allclose(video.summary[0, frame], mixed / mixed.norm(), atol=1e-5)


def test_stored_class_embeddings_are_those_of_the_text_tower(bundled: BundledBackbone) -> None:
    texts = backbone_bundled.class_texts()
    assert len(set(texts)) == 1000
    assert texts[1].startswith("goldfish: small golden")
    stored = bundled.class_embeddings
    assert torch.allclose(stored.norm(dim=1), torch.ones(1000), atol=1e-3)
    # With v = norm(e - m), whatever the common part m is, e_i - e_j lies in the plane of v_i and v_j.
    for i in range(0, 1000, 111):
        raw, plane = bundled._embed([texts[i], texts[i + 1]]), stored[[i, i + 1]].T
        difference = (raw[0] - raw[1]).unsqueeze(1)
        rest = difference - plane @ torch.linalg.lstsq(plane, difference).solution
        assert rest.norm() < 2e-3 * difference.norm()


def test_classes_come_likeliest_first_by_name(bundled: BundledBackbone) -> None:
    pixels = clip(bundled, 2)
    chances = bundled.class_probabilities(bundled.encode_frames(pixels).patches[0])
    for row, tags in zip(chances, bundled.classify(pixels, top=3), strict=True):
        order = sorted(range(1000), key=lambda index: -float(row[index]))[:3]
        assert [name for name, _ in tags] == [backbone_bundled.class_names()[index] for index in order]
        assert np.allclose([value for _, value in tags], row[order], atol=1e-6)


@pytest.mark.parametrize("victim", ["image", "model.safetensors", "tokenizer.json"])
def test_a_flipped_byte_in_a_weight_file_is_refused_by_name(tmp_path: Path, victim: str) -> None:
    image = backbone_bundled._wheel_path(backbone_bundled.IMAGE_WHEEL, backbone_bundled.IMAGE_FILE)
    folder = backbone_bundled._wheel_path(backbone_bundled.TEXT_WHEEL, backbone_bundled.TEXT_FOLDER)
    copies = tmp_path / "model"
    copies.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        shutil.copy(folder / name, copies)
    shutil.copy(image, tmp_path / image.name)
    damaged = tmp_path / image.name if victim == "image" else copies / victim
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(BackboneUnavailable, match=re.escape(damaged.name)) as refusal:
        BundledBackbone(tmp_path / image.name, copies)
    assert "reinstall" in str(refusal.value)


def test_missing_weights_are_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackboneUnavailable, match=r"missing; reinstall"):
        BundledBackbone(tmp_path / "none.pth", tmp_path)
    monkeypatch.setattr(backbone_bundled, "find_spec", lambda name: None)
    with pytest.raises(BackboneUnavailable, match="pip install"):
        BundledBackbone()


def test_fine_tuning_reaches_both_bundled_towers_but_no_batch_norm_statistics(
    bundled: BundledBackbone,
) -> None:
    tower = BundledBackbone()
    tower.unfreeze()
    tower.set_grad_checkpointing()
    tower.train()
    means = {name: value.clone() for name, value in tower.named_buffers() if "running" in name}
    video = tower.encode_frame_batch(clip(tower, 2)[None], np.array([[True, False]]))
    text = tower.encode_text([sentence("a dog runs")])
    (video.patches.mean() + video.summary.sum() + text.words.sum() + text.summary.sum()).backward()
    untouched = [name for name, parameter in tower.named_parameters() if parameter.grad is None]
    assert untouched == []
    assert all(value.equal(means[name]) for name, value in tower.named_buffers() if name in means)


def test_only_the_known_failure_of_an_import_is_worked_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_library.py").write_text("raise RuntimeError('another reason')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="another reason"):
        guarded_import("broken_library")


# --------------------------------------------------------------------------- open_clip
@pytest.mark.parametrize("kind", VISION)
def test_embeddings_are_those_of_open_clip_itself(kind: str, tmp_path: Path) -> None:
    tower = load_backbone(f"open_clip:local-dir:{save_small_clip(tmp_path, kind)}")
    pixels = clip(tower, 2)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.3, 0.25, 0.2])
    inputs = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)
    ids = tower.tokenizer(list(UGLY))
    with torch.no_grad():
        image, text = tower.model.encode_image(inputs, normalize=True), tower.model.encode_text(ids)
    video = tower.encode_frames(pixels)
    assert torch.allclose(video.summary[0], image, atol=1e-5)
    assert torch.allclose(torch.stack([pooled(tower, words) for words in UGLY]), text, atol=1e-5)
    assert tower.patch_width == tower.joint_width  # every patch lies in the joint space
    if kind in ("vit-avg", "fastvit"):  # linear after an average: the patches average to the picture
        assert torch.allclose(normalize(video.patches[0].mean(dim=1), dim=-1), image, atol=1e-5)


def test_patches_of_a_vit_are_projected_output_tokens(clip_folder: Path) -> None:
    tower = load_backbone(str(clip_folder))
    pixels = clip(tower, 2)
    visual = tower.model.visual
    visual.output_tokens = True
    with torch.no_grad():
        _, tokens = visual(tower._prepared(torch.from_numpy(pixels)))
        reference = tokens @ visual.proj
    visual.output_tokens = False
    assert torch.allclose(tower.encode_frames(pixels).patches[0], reference, atol=1e-5)


def test_each_word_is_the_mean_of_its_own_pieces(clip_folder: Path) -> None:
    tower = load_backbone(str(clip_folder))
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
    source = backbone_bundled._wheel_path(backbone_bundled.TEXT_WHEEL, backbone_bundled.TEXT_FOLDER)
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


def test_fine_tuning_reaches_all_that_the_tokens_depend_on(clip_folder: Path) -> None:
    tower = load_backbone(str(clip_folder))
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


def test_a_copied_model_has_the_same_fingerprint_and_another_seed_has_not(
    clip_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(clip_folder, tmp_path / "copy")
    other = save_small_clip(tmp_path / "other", seed=1)
    prints = [load_backbone(str(folder)).fingerprint for folder in (clip_folder, tmp_path / "copy", other)]
    assert prints[0] == prints[1] != prints[2]


def test_a_weight_file_given_after_the_name_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_clip = guarded_import("open_clip")
    folder = save_small_clip(tmp_path / "model")
    configs = tmp_path / "configs"
    configs.mkdir()
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    (configs / "small-test.json").write_text(json.dumps(config))
    open_clip.add_model_config(configs)
    monkeypatch.setattr(open_clip_files, "_answers", lambda endpoint: False)
    tower = load_backbone(f"open_clip:small-test/{folder / 'open_clip_model.safetensors'}")
    stored = load_file(folder / "open_clip_model.safetensors")
    assert tower.model.visual.proj.equal(stored["visual.proj"])


def test_a_hub_cache_laid_by_hand_is_read_offline(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    repository = tmp_path / "models--someone--small"
    shutil.copytree(clip_folder, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(open_clip_files, "_answers", lambda endpoint: False)
    tower = load_backbone("open_clip:hf-hub:someone/small")
    assert tower.fingerprint == load_backbone(str(clip_folder)).fingerprint
    assert constants.HF_HUB_OFFLINE is False


def test_a_hub_that_does_not_answer_is_given_up_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(open_clip_files, "HUB_TIMEOUT_S", 0.2)
        assert not open_clip_files._answers(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert not open_clip_files._answers("http://no-such-host.invalid")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
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
    monkeypatch.setattr(open_clip_files, "_answers", lambda endpoint: False)
    with pytest.raises(BackboneUnavailable, match=said) as refusal:
        load_backbone(spec)
    assert "\n" not in str(refusal.value)


def _truncate(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def _remove_weights(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()


def _remove_config(folder: Path) -> None:
    (folder / "open_clip_config.json").unlink()


def _break_config(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text("{")


def _change_architecture(folder: Path) -> None:
    path = folder / "open_clip_config.json"
    path.write_text(path.read_text().replace('"embed_dim": 20', '"embed_dim": 24'))


def _pickle_instead(folder: Path) -> None:
    _remove_weights(folder)
    torch.save({"code": Path}, folder / "open_clip_pytorch_model.bin")


def _not_a_number(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    state = load_file(path)
    state["visual.proj"][0, 0] = float("nan")
    save_file(state, path)


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _remove_weights,
        _remove_config,
        _break_config,
        _change_architecture,
        _pickle_instead,
        _not_a_number,
    ],
)
def test_a_damaged_model_folder_is_refused_in_one_sentence(damage, clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "damaged")
    damage(folder)
    with pytest.raises(BackboneUnavailable, match=r"damaged") as refusal:
        load_backbone(f"open_clip:local-dir:{folder}")
    assert "\n" not in str(refusal.value)
