"""What the concepts hold in a library, against explanations and naive loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tests.helpers.engines import CAPTIONS
from tests.helpers.models import NULLS
from vtr_demo.library import concepts
from vtr_demo.library.engine import Engine
from vtr_demo.results import Explanation
from vtr_demo.text.parser import parse

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
