"""One inner product: its terms rebuild it, padding changes nothing, and untrained heads add nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tests.helpers.models import WEIGHTS, alive, row, sentence_of, small_model, text_tokens, video_tokens
from tests.helpers.small_clip import save_small_clip
from tests.helpers.towers import bundled, clip
from vtr_demo.backbones.base import guarded_import
from vtr_demo.backbones.registry import Backbone, load_backbone
from vtr_demo.config import ModelConfig
from vtr_demo.model import checkpoint
from vtr_demo.model.model import VTRModel, build_model
from vtr_demo.structures import TERMS, Sentence, TermWeights, TextFeatures, VideoFeatures, VideoTokens, pad_video_tokens
from vtr_demo.text.parser import parse

SENTENCES = (
    "A brown dog catches a red frisbee on the beach.",
    "snow",
    "Two children, laughing loudly, jump on the bed behind their sleeping father!",
    "He runs",
)
LENGTHS = (3, 1, 5, 2)


@dataclass(frozen=True)
class Towers:
    """A backbone with heads over it that are alive, and what the towers make of some inputs."""

    backbone: Backbone
    model: VTRModel
    sentences: tuple[Sentence, ...]
    pixels: tuple[np.ndarray, ...]

    def videos(self) -> VideoTokens:
        return pad_video_tokens([self.backbone.encode_frames(pixels) for pixels in self.pixels])


@pytest.fixture(scope="module", params=["open_clip", "bundled"])
def towers(request: pytest.FixtureRequest, small_clip: Path) -> Towers:
    if request.param == "bundled":
        backbone, lengths = bundled(), (2, 1, 3)
    else:
        backbone, lengths = load_backbone(f"open_clip:local-dir:{small_clip}"), LENGTHS
    config = ModelConfig(hidden=16, heads=2, concepts=6, concept_width=8, reduce=20)
    torch.manual_seed(0)
    model = alive(build_model(config, backbone))
    assert isinstance(model, VTRModel)
    pixels = tuple(clip(backbone, n, seed=n) for n in lengths)
    return Towers(backbone, model, tuple(parse(text) for text in SENTENCES), pixels)


# ---------------------------------------------------------------------- the score and its terms
def test_the_flat_product_is_the_structured_score(towers: Towers) -> None:
    with torch.no_grad():
        text = towers.model.encode_text(towers.backbone.encode_text(towers.sentences))
        video = towers.model.encode_video(towers.videos())
        flat = towers.model.scores(text, video, WEIGHTS)
    for i in range(len(SENTENCES)):
        for j in range(len(towers.pixels)):
            assert float(flat[i, j]) == pytest.approx(structured(text, video, i, j, WEIGHTS), abs=1e-5)


def structured(text: TextFeatures, video: VideoFeatures, i: int, j: int, weights: TermWeights) -> float:
    """The score as two loops, over levels and over concepts."""
    raw = [w * np.exp(float(z)) for w, z in zip(weights.levels(), text.level_logits[i], strict=True)]
    score = 0.0
    for level, weight in enumerate(raw):
        score += weight / sum(raw) * float(text.levels[i, level] @ video.levels[j, level])
    for k in range(text.concepts.shape[1]):
        occupied = bool((video.allocation[j] == k).any())
        share = float(text.concept_weights[i, k]) * occupied
        score += weights.concepts * share * float(text.concepts[i, k] @ video.concepts[j, k])
    return score


def test_the_terms_rebuild_every_score_down_to_words_frames_and_patches(towers: Towers) -> None:
    tokens = towers.backbone.encode_text(towers.sentences)
    videos = towers.videos()
    with torch.no_grad():
        batch = towers.model.scores(towers.model.encode_text(tokens), towers.model.encode_video(videos), WEIGHTS)
    for i, sentence in enumerate(towers.sentences):
        j = i % len(towers.pixels)
        seconds = np.arange(float(len(towers.pixels[j])))
        own = towers.backbone.encode_text([sentence])
        alignment = towers.model.align(sentence, own, row(videos, j), seconds, WEIGHTS)
        assert alignment.score == pytest.approx(float(batch[i, j]), abs=1e-5)
        assert float(alignment.all_terms().sum()) == pytest.approx(alignment.score, abs=1e-5)
        assert sum(alignment.terms().values()) == pytest.approx(alignment.score, abs=1e-5)
        assert alignment.by_concept().sum() == pytest.approx(alignment.terms()["concepts"], abs=1e-5)
        assert alignment.words[1:] == tuple(word.text for word in sentence.words)


def test_each_term_is_the_score_with_the_other_terms_silenced() -> None:
    model, text, video = small_model(), text_tokens(7), video_tokens(3)
    whole = model.align(sentence_of(7), text, video, np.arange(3.0), WEIGHTS)
    gates = model.encode_text(text).gates(WEIGHTS)[0].tolist()
    for i, name in enumerate(TERMS[:4]):
        alone = TermWeights(*[float(k == i) for k in range(4)], 0.0)
        cosine = model.align(sentence_of(7), text, video, np.arange(3.0), alone).score
        assert whole.terms()[name] == pytest.approx(gates[i] * cosine, abs=1e-5)


def test_muting_a_concept_takes_away_its_summand_and_nothing_else() -> None:
    model, text, video = small_model(), text_tokens(7), video_tokens(3)
    whole = model.align(sentence_of(7), text, video, np.arange(3.0), WEIGHTS)
    added = whole.by_concept()
    heard = np.flatnonzero(np.abs(added) > 1e-4).tolist()
    assert heard
    for muted in [(heard[0],), tuple(heard), (heard[-1], 10**6)]:
        weights = replace(WEIGHTS, muted=muted)
        rest = model.align(sentence_of(7), text, video, np.arange(3.0), weights)
        gone = sum(added[k] for k in muted if k < len(added))
        assert rest.score == pytest.approx(whole.score - gone, abs=1e-5)
        assert float(rest.all_terms().sum()) == pytest.approx(rest.score, abs=1e-5)
        np.testing.assert_allclose(rest.level_terms, whole.level_terms)
        assert not rest.by_concept()[[k for k in muted if k < len(added)]].any()
    assert WEIGHTS.ablated()["only concepts"].muted == ()
    assert all(found.muted == (1,) for found in replace(WEIGHTS, muted=(1,)).ablated().values())


def test_the_terms_lie_where_their_words_and_concepts_are_and_summaries_are_of_none() -> None:
    model, text, video = small_model(), text_tokens(7), video_tokens(3)
    alignment = model.align(sentence_of(7), text, video, np.arange(3.0), WEIGHTS)
    for level in range(1, 4):
        outside = ~text.level_mask[0, level].numpy()
        assert (alignment.level_terms[level, 1:][outside] == 0).all()
        assert (alignment.level_terms[level, 0] == 0).all()
    for w in range(8):  # a word's concept share meets patches of the same concept only
        others = alignment.patch_concept != alignment.word_concept[w]
        assert (alignment.concept_terms[w][others] == 0).all()
    for concepts in (alignment.word_concept, alignment.patch_concept.T):
        assert (concepts[0] == -1).all()
        assert (concepts[1:] >= 0).all()


def test_a_still_clip_rebuilds_too_before_any_training() -> None:
    still = video_tokens(1).take([0] * 6)
    model = small_model(living=False)
    alignment = model.align(sentence_of(7), text_tokens(7), still, np.arange(6.0), TermWeights())
    assert float(alignment.all_terms().sum()) == pytest.approx(alignment.score, abs=1e-5)


# ---------------------------------------------------------------------- neighbours and padding
def test_a_clip_and_a_sentence_score_alike_alone_and_beside_longer_ones(towers: Towers) -> None:
    with torch.no_grad():
        texts = towers.model.encode_text(towers.backbone.encode_text(towers.sentences))
        videos = towers.model.encode_video(towers.videos())
        for i, sentence in enumerate(towers.sentences):
            alone = towers.model.encode_text(towers.backbone.encode_text([sentence]))
            assert torch.allclose(alone.flat(WEIGHTS)[0], texts.flat(WEIGHTS)[i], atol=1e-5)
        for j, pixels in enumerate(towers.pixels):
            only = towers.model.encode_video(towers.backbone.encode_frames(pixels))
            assert torch.allclose(only.flat()[0], videos.flat()[j], atol=1e-5)
            assert videos.allocation[j, len(pixels) :].eq(-1).all()


# ---------------------------------------------------------------------- untrained
@torch.no_grad()
def untrained_scores(
    model: VTRModel, backbone: Backbone, texts: Sequence[str], pixels: Sequence[np.ndarray]
) -> np.ndarray:
    text = model.encode_text(backbone.encode_text([parse(t) for t in texts]))
    video = model.encode_video(pad_video_tokens([backbone.encode_frames(p) for p in pixels]))
    return model.scores(text, video).numpy()


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_an_untrained_open_clip_model_ranks_exactly_as_clip_with_mean_pooling(kind: str, tmp_path: Path) -> None:
    open_clip = guarded_import("open_clip")
    folder = save_small_clip(tmp_path / "clip", kind)
    spec = f"open_clip:local-dir:{folder}"
    backbone = load_backbone(spec)
    pixels = [clip(backbone, n, seed=n) for n in LENGTHS]
    opened = checkpoint.load(spec)
    ours = untrained_scores(opened.model, opened.backbone, SENTENCES, pixels)

    reference, tokenizer = (
        open_clip.create_model(f"local-dir:{folder}").eval(),
        open_clip.get_tokenizer(f"local-dir:{folder}"),
    )
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.3, 0.25, 0.2])
    with torch.no_grad():
        # The package cleans a sentence, and these are clean: lower case is the tokenizer's own work.
        texts = reference.encode_text(tokenizer(list(SENTENCES)), normalize=True)
        videos = []
        for frames in pixels:
            inputs = ((torch.from_numpy(frames) / 255 - mean) / std).permute(0, 3, 1, 2)
            videos.append(normalize(reference.encode_image(inputs, normalize=True).mean(0), dim=-1))
        expected = (texts @ torch.stack(videos).T).numpy()
    assert np.allclose(ours, expected, atol=1e-5)
    assert (ours.argsort(1) == expected.argsort(1)).all()


def test_the_other_levels_and_the_concepts_are_computed_before_training_too() -> None:
    model = small_model(living=False)
    alignment = model.align(sentence_of(7), text_tokens(7), video_tokens(4), np.arange(4.0), TermWeights(1, 1, 1, 1, 1))
    assert all(abs(value) > 1e-4 for value in alignment.terms().values())


# ---------------------------------------------------------------------- reduction and helpers
def test_reducing_tokens_beforehand_or_within_gives_the_same() -> None:
    model = small_model(reduce=6)
    tokens = video_tokens(3)
    model.fit_reduction(tokens.patches.flatten(0, 2))
    once = model.reduced(tokens)
    assert once.patches.shape[-1] == 6
    assert torch.allclose(model.encode_video(tokens).flat(), model.encode_video(once).flat(), atol=1e-6)


def test_reduced_tokens_lie_along_the_directions_of_the_singular_value_decomposition() -> None:
    points = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 11.0) + 3
    model = small_model(reduce=3)
    model.fit_reduction(points)
    _, _, expected = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    assert torch.allclose(model.reduction_mean, points.mean(0))
    assert torch.allclose((expected[:3] @ model.reduction).abs(), torch.eye(3), atol=1e-4)


def test_a_reduction_wider_than_the_tokens_keeps_them() -> None:
    assert small_model(reduce=99).video.stem.in_features == 10


def test_tags_are_probabilities_of_each_level_and_nothing_without_a_vocabulary() -> None:
    model = small_model(attributes=(3, 0, 2, 4))
    features = model.encode_video(video_tokens(2, 3))
    tags = model.tags(features)
    assert [tuple(t.shape) for t in tags] == [(2, 3), (2, 0), (2, 2), (2, 4)]
    assert all(((t > 0) & (t < 1)).all() for t in tags)
    assert small_model().tags(features) == ()


def test_dropout_and_noise_are_off_in_use() -> None:
    model = small_model(dropout=0.5)
    tokens = video_tokens(3)
    assert model.encode_video(tokens).flat().equal(model.encode_video(tokens).flat())
    model.train()
    assert not torch.allclose(model.encode_video(tokens).flat(), model.encode_video(tokens).flat())
