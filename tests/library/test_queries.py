"""Queries of words, examples and exclusions: one inner product, whose parts add up to the score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.drawn import moving_square_clip
from tests.helpers.engines import GREEN, by_name
from vtr_demo.errors import ConfigError, LibraryError, TextError, VideoError
from vtr_demo.library.engine import Engine
from vtr_demo.structures import AGAINST, LEVELS, NO_MIX, Mix, TermWeights

pytestmark = pytest.mark.usefixtures("few_null_captions")
TEXT, DENYING = "a red ball in the snow", "a red ball in the snow without a dog"
MUTED = TermWeights(0.8, 1.2, 0.6, 1.0, 0.7, muted=(1,))


def mixes(original: Engine) -> list[Mix]:
    first, cuts = by_name(original, "square.mp4"), by_name(original, "cuts.mp4")
    return [
        Mix(exclude=("a blue car", "fog")),
        Mix(like=first, share=0.3),
        Mix(like=cuts, moment=1, share=0.8, exclude=("a dog",)),
        Mix(like=first, share=1.0),
    ]


@pytest.mark.parametrize(
    ("text", "weights"), [("", MUTED), (TEXT, None), (DENYING, MUTED), ("not a dog", TermWeights(0, 0, 0, 0, 1))]
)
def test_the_parts_of_every_mix_add_up_to_its_score(original: Engine, text: str, weights: TermWeights | None) -> None:
    """A hit, and a clip by its id, are explained by the moment that was ranked, the best of all."""
    for mix in (NO_MIX, *mixes(original)) if text else mixes(original):
        result = original.search(text, weights=weights, mix=mix)
        assert mix.like not in [hit.clip_id for hit in result.hits]
        for hit in result.hits:
            assert sum(hit.terms.values()) == pytest.approx(hit.score, abs=1e-5)
            why = original.explain(text, hit, weights=weights, mix=mix)
            assert why.alignment.score == pytest.approx(hit.score, abs=1e-5)
            assert float(why.alignment.all_terms().sum()) == pytest.approx(hit.score, abs=1e-5)
            assert why.alignment.terms() == pytest.approx(hit.terms, abs=1e-5)
            assert why.alignment.by_concept().sum() == pytest.approx(hit.terms["concepts"], abs=1e-5)
            assert len(why.frames) == len(why.alignment.seconds)
            assert (np.diff(why.alignment.seconds) >= 0).all()
            assert tuple(why.gates) == LEVELS
            assert sum(why.gates.values()) == pytest.approx(float(any(result.weights.levels())), abs=1e-5)
            assert hit.score == pytest.approx(max(why.moment_scores, default=hit.score), abs=1e-5)
        hit, moments = result.hits[0], range(len(original.clip(result.hits[0].clip_id).moments))
        why = original.explain(text, hit.clip_id, weights=weights, mix=mix)
        each = [original.explain(text, hit.clip_id, m, weights, mix=mix).alignment.score for m in moments]
        assert why.moment == hit.moment
        assert why.moment_scores == pytest.approx(each, abs=1e-5)


def scores(original: Engine, text: str, mix: Mix = Mix()) -> dict[str, float]:  # noqa: B008
    """Of the whole of each clip."""
    return {
        clip.clip_id: original.explain(text, clip.clip_id, -1, mix=mix).alignment.score for clip in original.clips()
    }


def test_a_mix_is_the_weighted_sum_of_what_it_is_made_of(original: Engine) -> None:
    like = original.clips()[0].clip_id
    words, example, dog, fog = (
        scores(original, TEXT), scores(original, "", Mix(like=like)), scores(original, "a dog"), scores(original, "fog")
    )  # fmt: skip
    mixed = scores(original, DENYING, Mix(like=like, share=0.3, exclude=("fog",)))
    for clip_id, score in mixed.items():
        said = 0.7 * (words[clip_id] - AGAINST * dog[clip_id])
        assert score == pytest.approx(said + 0.3 * example[clip_id] - AGAINST * fog[clip_id], abs=1e-5)


def test_what_a_sentence_denies_counts_as_an_exclusion_does_everywhere(original: Engine) -> None:
    clip = original.clips()[0].clip_id
    denied, excluded = scores(original, DENYING), scores(original, TEXT, Mix(exclude=("a dog",)))
    assert denied == pytest.approx(excluded, abs=1e-6)
    assert original.describe(clip, [DENYING])[0].score == pytest.approx(denied[clip], abs=1e-5)
    assert "“a dog”" in original.search(DENYING).note
    why = original.explain(DENYING, clip, -1)
    words = [word.text for word in why.sentence.words]
    adds = why.alignment.all_terms().sum(axis=(0, 2, 3))
    assert list(why.alignment.words[1 : 1 + len(words)]) == words
    assert adds[1 + words.index("without")] == 0
    plain = original.explain("a dog", clip, -1).alignment.all_terms().sum(axis=(0, 2, 3))
    assert adds[1 + words.index("dog")] == pytest.approx(-AGAINST * plain[2], abs=1e-6)


def test_words_keep_their_confidence_beside_exclusions_and_examples_have_none(original: Engine) -> None:
    like = original.clips()[0].clip_id
    alone = {hit.clip_id: hit for hit in original.search(TEXT).hits}
    mixed = original.search(TEXT, mix=Mix(exclude=("fog",)))
    for hit in mixed.hits:
        if hit.moment == alone[hit.clip_id].moment:
            assert hit.confidence == pytest.approx(alone[hit.clip_id].confidence)
    for text in ("", TEXT):
        assert {hit.confidence for hit in original.search(text, mix=Mix(like=like)).hits} == {None}


def test_a_clip_is_most_like_itself(original: Engine) -> None:
    for clip in original.clips():
        like = scores(original, "", Mix(like=clip.clip_id))
        assert max(like, key=lambda one: like[one]) == clip.clip_id
        assert like[clip.clip_id] == pytest.approx(
            1 + original.default_weights.concepts * bool(original.default_weights.concepts), abs=0.05
        )


def test_a_file_is_read_for_a_query_and_stays_outside(original: Engine, tmp_path: Path) -> None:
    moving_square_clip(tmp_path / "again.mp4", frames=20)
    Image.new("RGB", (64, 48), GREEN).save(tmp_path / "leaf.PNG")
    before = original.clips()
    film, photo = original.read_example(tmp_path / "again.mp4", "mine"), original.read_example(tmp_path / "leaf.PNG")
    assert original.clips() == before
    assert (film.name, photo.name) == ("mine", "leaf.PNG")
    assert photo.picture is not None
    assert np.abs(photo.picture.reshape(-1, 3).mean(axis=0) - GREEN).max() < 12
    assert original.example(photo.example_id) == photo
    square = by_name(original, "square.mp4")
    same, stored = scores(original, "", Mix(like=film.example_id)), scores(original, "", Mix(like=square))
    assert same == pytest.approx(stored, abs=1e-5)
    assert original.search("", mix=Mix(like=photo.example_id)).hits[0].name == "still.mp4"


def test_examples_that_are_not_there_or_no_pictures_are_refused(original: Engine, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="it again"):
        original.search("", mix=Mix(like="nobody"))
    cuts = by_name(original, "cuts.mp4")
    with pytest.raises(LibraryError, match="no moment 99"):
        original.search("", mix=Mix(like=cuts, moment=99))
    (tmp_path / "note.png").write_text("no picture")
    with pytest.raises(VideoError, match=r"note\.png: .* not a picture"):
        original.read_example(tmp_path / "note.png")
    with pytest.raises(TextError, match="no words"):
        original.search(" ")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Mix(share=1.5)
