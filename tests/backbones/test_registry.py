"""Laws that hold for every pair of towers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.towers import UGLY, bundled, clip, sentence
from vtr_demo.backbones.base import word_shares
from vtr_demo.backbones.registry import Backbone, load_backbone
from vtr_demo.errors import TextError
from vtr_demo.structures import Word


@pytest.fixture(scope="module", params=["tiny", "small_clip", "bundled"])
def backbone(request: pytest.FixtureRequest, small_clip: Path) -> Backbone:
    if request.param == "bundled":
        return bundled()
    return load_backbone(f"open_clip:local-dir:{small_clip}" if request.param == "small_clip" else "tiny")


def test_shapes_are_those_the_backbone_announces(backbone: Backbone) -> None:
    video = backbone.encode_frames(clip(backbone, 3))
    rows, columns = backbone.grid
    assert video.patches.shape == (1, 3, rows * columns, backbone.patch_width)
    assert video.summary.shape == (1, 3, backbone.joint_width)
    text = backbone.encode_text([sentence("a dog runs"), sentence("cat")])
    assert text.words.shape == (2, 3, backbone.joint_width)
    assert text.word_mask.tolist() == [[True, True, True], [True, False, False]]
    assert text.level_mask[1, :2].tolist() == [[True, False, False], [True, False, False]]
    assert torch.allclose(video.summary.norm(dim=-1), torch.ones(1, 3), atol=1e-5)


def test_the_chunk_of_frames_changes_nothing(backbone: Backbone) -> None:
    pixels = clip(backbone, 3)
    whole = backbone.encode_frames(pixels)
    kept, backbone.frame_chunk = backbone.frame_chunk, 3
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
    if alone.motion is not None:
        assert torch.allclose(batch.motion[1, :1], alone.motion[0], atol=1e-5)
        assert not batch.motion[1, 1:].any()
    assert not batch.patches[1, 1:].any()
    assert not batch.summary[1, 1:].any()
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


def test_equal_weights_have_equal_fingerprints_and_a_change_renews_them() -> None:
    first, second, other = load_backbone("tiny"), load_backbone("tiny:0"), load_backbone("tiny:1")
    assert first.fingerprint == second.fingerprint != other.fingerprint
    torch.nn.ModuleList([second]).load_state_dict(torch.nn.ModuleList([other]).state_dict())
    assert second.fingerprint == other.fingerprint
    first.unfreeze()
    before = first.fingerprint
    with torch.no_grad():
        first.get_parameter("frame.weight").mul_(2)
    assert first.fingerprint != before


def test_no_sentence_and_misshapen_pixels_are_refused() -> None:
    tower = load_backbone("tiny")
    with pytest.raises(TextError, match="at least one"):
        tower.encode_text([])
    for wrong in (np.zeros((2, 32, 32, 3), np.float32), np.zeros((32, 32, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            tower.encode_frames(wrong)


def test_read_only_and_flipped_pixels_are_read_as_they_look() -> None:
    tower = load_backbone("tiny")
    pixels = clip(tower, 2)
    flipped = pixels[:, :, ::-1]
    pixels.flags.writeable = False
    assert tower.encode_frames(pixels).patches.equal(tower.encode_frames(pixels.copy()).patches)
    assert tower.encode_frames(flipped).patches.equal(tower.encode_frames(flipped.copy()).patches)


def test_token_shares_are_complete_and_divided_by_common_characters() -> None:
    words = (Word("can", 0, 3, "can", "AUX"), Word("not", 3, 6, "not", "PART"), Word("go", 7, 9, "go", "VERB"))
    shares = word_shares(words, np.array([[0, 0], [0, 4], [4, 6], [6, 9], [9, 9]]))
    expected = [[1, 0, 0, 0, 1], [0, 0.75, 0, 0, 0], [0, 0.25, 1, 0, 0], [0, 0, 0, 1, 0]]
    assert np.allclose(shares, expected)
