"""Queries of words, examples and exclusions: one inner product, whose parts add up to the score."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.drawn import draw_clip, moving_square_clip
from vtr_demo.errors import ConfigError, LibraryError, TextError, VideoError
from vtr_demo.library.engine import Engine
from vtr_demo.structures import AGAINST, Mix, TermWeights

pytestmark = pytest.mark.usefixtures("few_null_captions")
RED, GREEN, BLUE = (210, 30, 30), (30, 190, 60), (30, 60, 200)
TEXT, DENYING = "a red ball in the snow", "a red ball in the snow without a dog"
WEIGHTS = [None, TermWeights(0.8, 1.2, 0.6, 1.0, 0.7, muted=(1,)), TermWeights(0, 0, 0, 0, 1)]


@pytest.fixture(scope="module")
def engine(spec: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Clips of one moment and of several, and two files outside the library."""
    folder = tmp_path_factory.mktemp("clips")
    moving_square_clip(folder / "square.mp4", frames=20)
    draw_clip(folder / "cuts.mp4", frames=40, fps=5, colours=[RED] * 15 + [GREEN] * 10 + [BLUE] * 15)
    draw_clip(folder / "green.mp4", frames=20, fps=5, colours=[GREEN])
    engine = Engine.open(tmp_path_factory.mktemp("library"), spec)
    engine.add([folder / f"{name}.mp4" for name in ("square", "cuts", "green")])
    yield engine
    engine.close()


def mixes(engine: Engine) -> list[Mix]:
    first, cuts = (clip.clip_id for clip in engine.clips()[:2])
    return [
        Mix(exclude=("a blue car", "fog")),
        Mix(like=first, share=0.3),
        Mix(like=cuts, moment=1, share=0.8, exclude=("a dog",)),
        Mix(like=first, share=1.0),
    ]


@pytest.mark.parametrize("text", ["", TEXT, DENYING, "not a dog"])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_parts_of_every_mix_add_up_to_its_score(engine: Engine, text: str, weights: TermWeights | None) -> None:
    for mix in mixes(engine):
        result = engine.search(text, weights=weights, mix=mix)
        assert mix.like not in [hit.clip_id for hit in result.hits]
        for hit in result.hits:
            assert sum(hit.terms.values()) == pytest.approx(hit.score, abs=1e-5)
            alignment = engine.explain(text, hit, weights=weights, mix=mix).alignment
            assert alignment.score == pytest.approx(hit.score, abs=1e-5)
            assert float(alignment.all_terms().sum()) == pytest.approx(hit.score, abs=1e-5)
            assert alignment.terms() == pytest.approx(hit.terms, abs=1e-5)
            assert alignment.by_concept().sum() == pytest.approx(hit.terms["concepts"], abs=1e-5)


def scores(engine: Engine, text: str, mix: Mix = Mix()) -> dict[str, float]:  # noqa: B008
    """Of the whole of each clip."""
    return {clip.clip_id: engine.explain(text, clip.clip_id, -1, mix=mix).alignment.score for clip in engine.clips()}


def test_a_mix_is_the_weighted_sum_of_what_it_is_made_of(engine: Engine) -> None:
    like = engine.clips()[0].clip_id
    words, example, dog, fog = (
        scores(engine, TEXT), scores(engine, "", Mix(like=like)), scores(engine, "a dog"), scores(engine, "fog")
    )  # fmt: skip
    mixed = scores(engine, DENYING, Mix(like=like, share=0.3, exclude=("fog",)))
    for clip_id, score in mixed.items():
        said = 0.7 * (words[clip_id] - AGAINST * dog[clip_id])
        assert score == pytest.approx(said + 0.3 * example[clip_id] - AGAINST * fog[clip_id], abs=1e-5)


def test_what_a_sentence_denies_counts_as_an_exclusion_does_everywhere(engine: Engine) -> None:
    clip = engine.clips()[0].clip_id
    denied, excluded = scores(engine, DENYING), scores(engine, TEXT, Mix(exclude=("a dog",)))
    assert denied == pytest.approx(excluded, abs=1e-6)
    assert engine.describe(clip, [DENYING])[0].score == pytest.approx(denied[clip], abs=1e-5)
    assert "“a dog”" in engine.search(DENYING).note
    why = engine.explain(DENYING, clip, -1)
    words = [word.text for word in why.sentence.words]
    adds = why.alignment.all_terms().sum(axis=(0, 2, 3))
    assert list(why.alignment.words[1 : 1 + len(words)]) == words
    assert adds[1 + words.index("without")] == 0
    plain = engine.explain("a dog", clip, -1).alignment.all_terms().sum(axis=(0, 2, 3))
    assert adds[1 + words.index("dog")] == pytest.approx(-AGAINST * plain[2], abs=1e-6)


def test_words_keep_their_confidence_beside_exclusions_and_examples_have_none(engine: Engine) -> None:
    like = engine.clips()[0].clip_id
    alone = {hit.clip_id: hit for hit in engine.search(TEXT).hits}
    mixed = engine.search(TEXT, mix=Mix(exclude=("fog",)))
    for hit in mixed.hits:
        if hit.moment == alone[hit.clip_id].moment:
            assert hit.confidence == pytest.approx(alone[hit.clip_id].confidence)
    for text in ("", TEXT):
        assert {hit.confidence for hit in engine.search(text, mix=Mix(like=like)).hits} == {None}


def test_a_clip_is_most_like_itself(engine: Engine) -> None:
    for clip in engine.clips():
        like = scores(engine, "", Mix(like=clip.clip_id))
        assert max(like, key=lambda one: like[one]) == clip.clip_id
        assert like[clip.clip_id] == pytest.approx(
            1 + engine.default_weights.concepts * bool(engine.default_weights.concepts), abs=0.05
        )


def test_a_file_is_read_for_a_query_and_stays_outside(engine: Engine, tmp_path: Path) -> None:
    moving_square_clip(tmp_path / "again.mp4", frames=20)
    Image.new("RGB", (64, 48), GREEN).save(tmp_path / "leaf.PNG")
    before = engine.clips()
    film, photo = engine.read_example(tmp_path / "again.mp4", "mine"), engine.read_example(tmp_path / "leaf.PNG")
    assert engine.clips() == before
    assert (film.name, photo.name) == ("mine", "leaf.PNG")
    assert photo.picture is not None
    assert np.abs(photo.picture.reshape(-1, 3).mean(axis=0) - GREEN).max() < 12
    assert engine.example(photo.example_id) == photo
    square = next(clip.clip_id for clip in before if clip.name == "square.mp4")
    same, stored = scores(engine, "", Mix(like=film.example_id)), scores(engine, "", Mix(like=square))
    assert same == pytest.approx(stored, abs=1e-5)
    assert engine.search("", mix=Mix(like=photo.example_id)).hits[0].name == "green.mp4"


def test_examples_that_are_not_there_or_no_pictures_are_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="it again"):
        engine.search("", mix=Mix(like="nobody"))
    cuts = engine.clips()[1].clip_id
    with pytest.raises(LibraryError, match="no moment 99"):
        engine.search("", mix=Mix(like=cuts, moment=99))
    (tmp_path / "note.png").write_text("no picture")
    with pytest.raises(VideoError, match=r"note\.png: .* not a picture"):
        engine.read_example(tmp_path / "note.png")
    with pytest.raises(TextError, match="no words"):
        engine.search(" ")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Mix(share=1.5)


def test_an_explanation_knows_the_scores_of_all_moments(engine: Engine) -> None:
    cuts = engine.clips()[1]
    why = engine.explain(TEXT, cuts.clip_id)
    each = [engine.explain(TEXT, cuts.clip_id, m).alignment.score for m in range(len(cuts.moments))]
    assert why.moment_scores == pytest.approx(each, abs=1e-5)
    assert why.moment == int(np.argmax(each))
    assert engine.explain(TEXT, engine.clips()[0].clip_id).moment_scores == ()
