"""The bundled towers equal sentence-transformers, timm, ConSE written as a loop, and TensorFlow's rules for I3D."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.functional import normalize

from tests.helpers.data_files import SHARED
from tests.helpers.towers import UGLY, bundled, clip, pooled, sentence
from vtr_demo.backbones import bundled as bundled_module
from vtr_demo.backbones.base import guarded_import
from vtr_demo.backbones.bundled import I3D, BundledBackbone
from vtr_demo.config import VideoConfig
from vtr_demo.errors import BackboneError
from vtr_demo.video.frames import read_frames

CLIPS = SHARED / "clips" / "videos"


@pytest.fixture(scope="module", name="bundled")
def _bundled() -> BundledBackbone:
    return bundled()


def test_pooled_words_are_the_vectors_of_sentence_transformers(bundled: BundledBackbone) -> None:
    from sentence_transformers import SentenceTransformer

    folder = bundled_module._wheel_path(bundled_module.TEXT_WHEEL, bundled_module.TEXT_FOLDER)
    reference = SentenceTransformer(str(folder), device="cpu").encode(list(UGLY), show_progress_bar=False)
    ours = normalize(pooled(bundled, UGLY), dim=-1)
    assert torch.allclose(ours, torch.from_numpy(reference), atol=1e-5)


def test_the_classifier_on_mean_patches_is_the_whole_image_model(bundled: BundledBackbone) -> None:
    pixels = clip(bundled, 2)
    patches = bundled.encode_frames(pixels).patches[0]
    inputs = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        reference = bundled.image(inputs).softmax(dim=-1)
        ours = bundled.class_probabilities(patches)
    assert torch.allclose(ours, reference, atol=1e-5)


def test_folding_batch_norms_changes_neither_the_patches_nor_what_is_saved(bundled: BundledBackbone) -> None:
    names = list(bundled.state_dict())
    pixels = clip(bundled, 2)
    inputs = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        plain = bundled.image.forward_features(inputs).flatten(2).transpose(1, 2)
    assert torch.allclose(bundled.encode_frames(pixels).patches[0], plain, atol=1e-3)
    assert list(bundled.state_dict()) == names
    quick = bundled_module.folded(bundled.image)
    assert not [module for module in quick.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def test_weights_that_have_changed_are_folded_anew(bundled: BundledBackbone) -> None:
    tower, pixels = copy.deepcopy(bundled), clip(bundled, 1)
    before = tower.encode_frames(pixels).patches
    weights = tower.state_dict()
    tower.load_state_dict(weights | {"image.bn2.weight": 2 * weights["image.bn2.weight"]})
    assert not torch.allclose(tower.encode_frames(pixels).patches, before, atol=1e-2)


def test_patches_lie_where_the_picture_has_them(bundled: BundledBackbone) -> None:
    plain = np.full((1, 260, 260, 3), 127, np.uint8)
    marked = plain.copy()
    marked[0, 20:60, 200:240] = (255, 0, 0)  # row 1, column 7 of 9
    change = (bundled.encode_frames(marked).patches - bundled.encode_frames(plain).patches).norm(dim=-1)
    row, column = divmod(int(change[0, 0].argmax()), 9)
    assert (abs(row - 1) <= 1, abs(column - 7) <= 1) == (True, True)


def test_summary_and_motion_are_conse_written_as_a_loop(bundled: BundledBackbone) -> None:
    pixels = clip(bundled, 2)
    video = bundled.encode_frames(pixels)
    done = bundled.motion.frames(torch.from_numpy(pixels)).softmax(dim=-1)
    for frame in range(2):
        seen = _likeliest(bundled.class_probabilities(video.patches[0, frame]), bundled.class_embeddings)
        assert torch.allclose(video.summary[0, frame], seen / seen.norm(), atol=1e-5)
        assert video.motion is not None
        mixed = 2 * _likeliest(done[frame], bundled.motion_classes)
        assert torch.allclose(video.motion[0, frame], mixed, atol=1e-5)


def _likeliest(chances: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
    mixed = torch.zeros(embeddings.shape[1])
    for index in sorted(range(len(chances)), key=lambda c: -float(chances[c]))[:10]:
        mixed += chances[index] * embeddings[index]
    return mixed


def test_a_motion_tower_in_half_precision_sees_nearly_the_same_and_the_picture_tower_the_very_same(
    bundled: BundledBackbone,
) -> None:
    tower, pixels = copy.deepcopy(bundled), clip(bundled, 2)
    whole = tower.encode_frames(pixels)
    tower.motion_half = True
    half = tower.encode_frames(pixels)
    assert torch.equal(half.patches, whole.patches)
    assert torch.equal(half.summary, whole.summary)
    assert half.motion.dtype == torch.float32
    assert not torch.equal(half.motion, whole.motion)
    assert torch.cosine_similarity(half.motion, whole.motion, dim=-1).min() > 0.95
    tower.unfreeze()  # a tower that learns follows the precision of the run
    with torch.no_grad():
        assert torch.allclose(tower.encode_frames(pixels).motion, whole.motion, atol=1e-5)


@pytest.mark.parametrize("table", ["image", "motion"])
def test_stored_class_embeddings_are_those_of_the_text_tower(bundled: BundledBackbone, table: str) -> None:
    if table == "image":
        texts, stored = bundled_module.class_texts(), bundled.class_embeddings
        assert texts[1].startswith("goldfish: small golden")
    else:
        texts, stored = [f"a video of {name}" for name in bundled.motion_names], bundled.motion_classes
    assert len(set(texts)) == len(stored)
    assert torch.allclose(stored.norm(dim=1), torch.ones(len(stored)), atol=1e-3)
    # With v = norm(e - m), whatever the common part m is, e_i - e_j lies in the plane of v_i and v_j.
    for i in (1, 300, len(stored) - 2):
        raw, plane = normalize(pooled(bundled, texts[i : i + 2]), dim=-1), stored[[i, i + 1]].T
        difference = (raw[0] - raw[1]).unsqueeze(1)
        rest = difference - plane @ torch.linalg.lstsq(plane, difference).solution
        assert rest.norm() < 4e-3 * difference.norm()


@pytest.mark.parametrize("victim", ["image", "tokenizer.json", "model.safetensors", "i3d", "class_embeddings"])
def test_a_missing_or_altered_weight_file_is_refused_by_name(
    tmp_path: Path, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = bundled_module._wheel_path(bundled_module.IMAGE_WHEEL, bundled_module.IMAGE_FILE)
    folder = bundled_module._wheel_path(bundled_module.TEXT_WHEEL, bundled_module.TEXT_FOLDER)
    for file in (image, *folder.iterdir(), *bundled_module._HERE.glob("*.safetensors")):
        (tmp_path / file.name).symlink_to(file)
    places = {bundled_module.IMAGE_WHEEL: tmp_path / image.name, bundled_module.TEXT_WHEEL: tmp_path}
    monkeypatch.setattr(bundled_module, "_wheel_path", lambda wheel, _: places[wheel])
    monkeypatch.setattr(bundled_module, "_HERE", tmp_path)
    (damaged,) = [image.name] if victim == "image" else [path.name for path in tmp_path.glob(f"{victim}*")]
    remedy = "restore" if victim in ("i3d", "class_embeddings") else "reinstall"
    (tmp_path / damaged).unlink()
    with pytest.raises(BackboneError, match=rf"{damaged} is missing; {remedy}"):
        BundledBackbone()
    (tmp_path / damaged).write_bytes(b"another file")
    with pytest.raises(BackboneError, match=rf"{damaged} is damaged .*; {remedy}"):
        BundledBackbone()


def test_weights_that_are_not_installed_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled_module, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match="pip install"):
        BundledBackbone()


def test_fine_tuning_reaches_both_bundled_towers_but_no_batch_norm_statistics(bundled: BundledBackbone) -> None:
    tower = copy.deepcopy(bundled)
    tower.unfreeze()
    tower.set_grad_checkpointing()
    tower.train()
    means = {name: value.clone() for name, value in tower.named_buffers() if "running" in name}
    video = tower.encode_frame_batch(clip(tower, 2)[None], np.array([[True, False]]))
    text = tower.encode_text([sentence("a dog runs")])
    seen = video.patches.mean() + video.summary.sum() + video.motion.sum()
    (seen + text.words.sum() + text.summary.sum()).backward()
    untouched = [name for name, parameter in tower.named_parameters() if parameter.grad is None]
    assert untouched == []
    assert all(value.equal(means[name]) for name, value in tower.named_buffers() if name in means)


def test_only_the_known_failure_of_an_import_is_worked_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_library.py").write_text("raise RuntimeError('another reason')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="another reason"):
        guarded_import("broken_library")


# --------------------------------------------------------------------------- the motion tower
@pytest.fixture(scope="module")
def motion(bundled: BundledBackbone) -> I3D:
    return bundled.motion


def noise(frames: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (frames, 3, 6, 6))).float()
    return F.interpolate(coarse, (64, 64), mode="bilinear").permute(0, 2, 3, 1).byte()


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9])
@pytest.mark.parametrize(("side", "stride"), [(7, 2), (3, 2), (3, 1), (2, 2), (1, 1)])
def test_padding_is_tensorflows(n: int, side: int, stride: int) -> None:
    line = torch.rand(n)
    volume = line.view(1, 1, n, 1, 1).expand(1, 1, n, 2, 2)
    found = bundled_module._max_pool(volume, (side, 1, 1), (stride, 1, 1))[0, 0, :, 0, 0]
    out = math.ceil(n / stride)
    before = max((out - 1) * stride + side - n, 0) // 2
    for i in range(out):
        start = i * stride - before
        seen = [float(line[j]) for j in range(start, start + side) if 0 <= j < n]
        assert float(found[i]) == max(seen)


def test_every_frame_gets_logits_and_windows_are_apart(motion: I3D) -> None:
    frames = noise(9)
    found = motion.frames(frames)
    assert found.shape == (9, 400)
    assert torch.allclose(found[:8], motion.frames(frames[:8]), atol=1e-4)
    assert torch.allclose(found[8:], motion.frames(frames[8:]), atol=1e-4)
    assert motion.frames(frames[:1]).shape == (1, 400)


def test_the_order_of_frames_counts(motion: I3D) -> None:
    frames = noise(4)
    forth, back = motion.frames(frames).mean(0), motion.frames(frames.flip(0)).mean(0)
    assert (forth - back).abs().max() > 1e-2


@pytest.mark.parametrize("count", [1, 5])
def test_frames_are_read_as_if_each_were_repeated_four_times(motion: I3D, count: int) -> None:
    frames = noise(count)
    pixels = F.interpolate(frames.permute(0, 3, 1, 2) / 127.5 - 1, (160, 160), mode="bilinear", antialias=True)
    volume = torch.stack([pixels[i // 4] for i in range(4 * count)], dim=1)
    expected = motion(volume[None])[0]
    expected = torch.stack([expected[i // 2] for i in range(count)])
    assert torch.allclose(motion.frames(frames), expected, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 5])
def test_frames_get_the_same_with_and_without_gradients(motion: I3D, frames: int) -> None:
    picture = noise(frames, seed=frames)
    with torch.no_grad():
        quick = motion.frames(picture)
    assert torch.allclose(quick, motion.frames(picture), atol=1e-4)


def test_classes_are_kinetics_400_in_its_order(bundled: BundledBackbone) -> None:
    names = bundled.motion_names
    assert len(set(names)) == 400
    assert list(names) == sorted(names)
    assert (names[0], names[-1]) == ("abseiling", "zumba")


@pytest.mark.parametrize(
    ("clip", "done"),
    [("playing_guitar", "playing bass guitar"), ("example__yoga", "yoga"), ("default_juggle", "juggling soccer ball")],
)
def test_real_clips_are_taken_for_what_is_done_in_them(bundled: BundledBackbone, clip: str, done: str) -> None:
    if not CLIPS.is_dir():
        pytest.skip(f"NOT RUN: there are no real clips at {CLIPS}")
    path = next(path for path in CLIPS.iterdir() if clip in path.name)
    pixels = read_frames(path, 8, size=260, config=VideoConfig()).pixels
    chances = bundled.motion.frames(torch.from_numpy(pixels)).softmax(dim=-1).mean(dim=0)
    assert bundled.motion_names[int(chances.argmax())] == done
