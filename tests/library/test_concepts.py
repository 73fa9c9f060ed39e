"""What the concepts hold in a library, against explanations and naive loops, and the names that people give them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.drawn import draw_clip
from tests.helpers.engines import CAPTIONS
from tests.helpers.models import NULLS, checkpoint_of
from vtr_demo.errors import LibraryError
from vtr_demo.library import concepts
from vtr_demo.library.database import read_catalogue
from vtr_demo.library.engine import Engine
from vtr_demo.results import LONGEST_NAME, Explanation
from vtr_demo.text.parser import parse
from vtr_demo.viz.figures import match_json

CONCEPTS = 5
pytestmark = pytest.mark.usefixtures("few_null_captions")


def wholes(original: Engine) -> dict[str, Explanation]:
    """Each clip as a whole: an explanation shows the same frames whatever the sentence."""
    return {clip.clip_id: original.explain("snow", clip.clip_id, -1) for clip in original.clips()}


def test_shares_of_patches_are_those_of_the_explanations(original: Engine) -> None:
    views = original.concepts()
    assert [view.number for view in views] == list(range(CONCEPTS))
    owners = np.concatenate([why.alignment.patch_concept[:, 1:].ravel() for why in wholes(original).values()])
    for view in views:
        assert view.patches == pytest.approx(float((owners == view.number).mean()))
    assert sum(view.words for view in views) == pytest.approx(1)


def test_words_are_counted_where_explanations_put_them(original: Engine) -> None:
    clip = original.clips()[0].clip_id
    held = [Counter[str]() for _ in range(CONCEPTS)]
    for text in (*(text for texts in CAPTIONS for text in texts), *NULLS):
        owners = original.explain(text, clip, -1).alignment.word_concept[1:]
        for word, owner in zip(parse(text).words, owners, strict=True):
            if not word.is_function_word:
                held[owner][word.text.lower()] += 1
    total = sum(sum(own.values()) for own in held)
    for view, own in zip(original.concepts(), held, strict=True):
        assert view.words == pytest.approx(sum(own.values()) / total)
        most = {word: n for word, n in own.items() if n == max(other[word] for other in held)}
        assert (
            dict(view.top_words) == most
            if len(most) <= concepts.TOP_WORDS
            else set(view.top_words) <= set(most.items())
        )
        assert [n for _, n in view.top_words] == sorted((n for _, n in view.top_words), reverse=True)


def test_a_shot_is_the_fullest_frame_of_its_clip_and_the_fullest_clips_come_first(original: Engine) -> None:
    seen = wholes(original)
    for view in original.concepts():
        best = {}
        for clip_id, why in seen.items():
            shares = (why.alignment.patch_concept[:, 1:] == view.number).mean(axis=1)
            if shares.max() > 0:
                best[clip_id] = float(shares.max())
        best = {clip_id: share for clip_id, share in best.items() if share >= concepts.STRAY * max(best.values())}
        assert {shot.clip_id: pytest.approx(shot.share) for shot in view.shots} == best
        assert [shot.share for shot in view.shots] == sorted(best.values(), reverse=True)
        for shot in view.shots:
            made = seen[shot.clip_id].alignment
            frame = int(np.abs(made.seconds - shot.second).argmin())
            assert (shot.held.ravel() == (made.patch_concept[frame, 1:] == view.number)).all()
            assert (shot.frame == seen[shot.clip_id].frames[frame]).all()


def test_only_the_fullest_clips_are_shown(original: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    full = original.concepts()
    monkeypatch.setattr(concepts, "SHOWN", 1)
    short = concepts.concept_views(original.model, original._library, NULLS)
    for all_shots, one in zip((view.shots for view in full), (view.shots for view in short), strict=True):
        assert [shot.clip_id for shot in one] == [shot.clip_id for shot in all_shots[:1]]


def test_agreement_is_the_mean_cosine_where_both_hold_the_concept(
    original: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concepts, "ENOUGH", 9)
    assert all(view.agreement is None for view in concepts.concept_views(original.model, original._library))
    monkeypatch.setattr(concepts, "ENOUGH", 1)
    views = concepts.concept_views(original.model, original._library)
    shelf, model = original._library, original.model
    seen = []
    for record in shelf.clips():
        tokens = shelf.tokens(record.id)
        whole = concepts.whole_frames(record.duration_s, tokens.patches.shape[1], model)
        seen.append(model.model.encode_video(tokens.take(list(whole))).concepts[0])
    own: list[list[float]] = [[] for _ in views]
    others: list[list[float]] = [[] for _ in views]
    for i, texts in enumerate(CAPTIONS):
        for text in texts:
            said = model.encode_text([parse(text)]).concepts[0]
            for j, clip in enumerate(seen):
                for k in range(CONCEPTS):
                    if said[k].norm() > 0 and clip[k].norm() > 0:
                        (own if i == j else others)[k].append((said[k] @ clip[k]).item())
    assert any(view.agreement for view in views)
    for view, here, there in zip(views, own, others, strict=True):
        if here and there:
            assert view.agreement == pytest.approx((np.mean(here), np.mean(there)), abs=1e-5)
        else:
            assert view.agreement is None


def test_a_damaged_clip_is_left_out_and_an_empty_library_holds_words_alone(copied: Callable[..., Engine]) -> None:
    engine = copied()
    library, lost = engine._library, engine.clips()[0].clip_id
    (library.directory / library.get(lost).files["tokens"].name).write_bytes(b"no tokens")
    views = engine.concepts()
    assert lost not in {shot.clip_id for view in views for shot in view.shots}
    assert len(engine.status().problems) == 1
    for clip in engine.clips():
        engine.delete(clip.clip_id)
    empty = engine.concepts()
    assert all(not view.shots and view.patches == 0 and view.agreement is None for view in empty)
    assert sum(view.words for view in empty) == pytest.approx(1)


def test_a_large_library_is_looked_at_in_part(original: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concepts, "MAX_CLIPS", 2)
    views = concepts.concept_views(original.model, original._library)
    ends = {original.clips()[0].clip_id, original.clips()[-1].clip_id}
    assert {shot.clip_id for view in views for shot in view.shots} == ends


# ---------------------------------------------------------------------- names that people give
@pytest.fixture
def engine(copied: Callable[..., Engine]) -> Engine:
    return copied()


def names(engine: Engine) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As the Concepts tab has them, and as an explanation has them."""
    clip = engine.clips()[0]
    shown = tuple(view.name for view in engine.concepts())
    return shown, engine.explain("a square", clip.clip_id).concept_names


def test_a_name_is_shown_everywhere_and_outlives_the_program(engine: Engine, spec: str) -> None:
    found = engine.model.names
    engine.rename(1, "  all that\tmoves ")
    expected = (found[0], "all that moves", *found[2:])
    assert names(engine) == (expected, expected)
    directory = engine.status().directory
    engine.close()
    again = Engine.open(Path(directory), spec)
    assert names(again) == (expected, expected)
    again.close()


def test_an_empty_name_brings_the_first_back(engine: Engine) -> None:
    engine.rename(2, "water")
    engine.rename(3, "sky")
    engine.rename(2, " \n ")
    assert names(engine)[0] == (*engine.model.names[:3], "sky", *engine.model.names[4:])
    engine.rename(3, engine.model.names[3])
    assert names(engine) == (engine.model.names, engine.model.names)


def test_equal_names_are_told_apart(engine: Engine) -> None:
    """What an explanation says of concepts by name must not lose one of them."""
    for concept in (1, 3, 4):
        engine.rename(concept, "moving")
    engine.rename(2, "moving (4)")
    first = engine.model.names[0]
    expected = (first, "moving", "moving (4)", "moving (4) (4)", "moving (5)")
    assert names(engine) == (expected, expected)
    clip = engine.clips()[0]
    why = engine.explain("a square moves", clip.clip_id)
    told = match_json(why, clip.name)["concepts"]
    assert sum(told.values()) == pytest.approx(why.alignment.terms()["concepts"], abs=1e-6)


def test_names_belong_to_one_model(engine: Engine, tmp_path: Path) -> None:
    engine.rename(0, "mine")
    directory = Path(engine.status().directory)
    engine.close()
    other = Engine.open(directory, checkpoint_of(tmp_path / "b", "tiny", 1), rebuild=True)
    assert names(other) == (other.model.names, other.model.names)
    other.rename(0, "theirs")
    other.close()
    kept = read_catalogue(directory).settings["concept_names"]
    assert sorted(list(given.values()) for given in kept.values()) == [["mine"], ["theirs"]]


def test_a_long_name_an_unknown_concept_and_a_library_that_is_only_read_are_refused(engine: Engine, spec: str) -> None:
    engine.rename(0, "x" * LONGEST_NAME)
    with pytest.raises(LibraryError, match=f"A name of {LONGEST_NAME + 1} letters is too long"):
        engine.rename(0, "y" * (LONGEST_NAME + 1))
    for concept in (-1, 5, 10**9):
        with pytest.raises(LibraryError, match=f"There is no concept {concept + 1}; this model has 5"):
            engine.rename(concept, "name")
    reader = Engine.open(Path(engine.status().directory), spec, readonly=True)
    with pytest.raises(LibraryError, match="open for reading only"):
        reader.rename(0, "name")
    assert names(reader)[0][0] == "x" * LONGEST_NAME
    reader.close()


def test_names_outlive_a_damaged_database_and_their_loss_is_told(engine: Engine, spec: str) -> None:
    engine.rename(0, "mine")
    directory = Path(engine.status().directory)
    engine.close()
    for lost in (("library.db",), ("settings.json",), ("library.db", "settings.json")):
        for name in lost:
            (directory / name).write_bytes(b"no such thing" * 100)
        again = Engine.open(directory, spec)
        assert any(name in problem for name in lost for problem in again.status().problems)
        first = again.model.names[0] if len(lost) == 2 else "mine"
        assert names(again)[0][0] == first
        again.close()


def test_renaming_does_not_wait_for_indexing(engine: Engine, tmp_path: Path) -> None:
    def rename_meanwhile(share: float, what: str) -> None:
        done = threading.Thread(target=engine.rename, args=(0, f"at {share}"), daemon=True)
        done.start()
        done.join(20)
        assert not done.is_alive(), "the name waits for the end of indexing"

    draw_clip(tmp_path / "new.mp4", frames=8, fps=4, colours=[(30, 60, 200)])
    assert engine.add([str(tmp_path / "new.mp4")], progress=rename_meanwhile).failed == ()
    assert names(engine)[0][0] == "at 1.0"
