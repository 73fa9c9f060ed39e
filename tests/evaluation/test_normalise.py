"""Normalisations over the whole query set and the protocols of several captions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vtr_demo.errors import ConfigError, ScoreError
from vtr_demo.evaluation import metrics
from vtr_demo.evaluation.metrics import (
    NORMALISATIONS,
    PROTOCOLS,
    dual_softmax,
    query_bank,
    ranks_by,
    sinkhorn,
)

EVERY = pytest.mark.parametrize("normalise", NORMALISATIONS.values(), ids=NORMALISATIONS)


def random_scores(queries: int = 7, candidates: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.1, (queries, candidates))


def softmax(values: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(values)
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


# --------------------------------------------------------------------------- each against a plain form
def test_dual_softmax_is_the_product_of_two_softmaxes() -> None:
    scores = random_scores()
    plain = softmax(20 * scores, 1) * softmax(20 * scores, 0)
    assert np.exp(dual_softmax(scores, 20)) == pytest.approx(plain, rel=1e-9)


def test_a_query_is_inverted_only_if_its_answer_is_a_hub_of_the_bank() -> None:
    scores, bank = random_scores(), random_scores(9, 5, seed=1)
    hubs = {int(row.argmax()) for row in bank}
    found = query_bank(scores, bank, beta=20)
    assert 0 < len(hubs) < 5  # else the test would show one branch only
    for row, query in zip(found, scores, strict=True):
        if int(query.argmax()) in hubs:
            plain = np.exp(20 * query) / np.exp(20 * bank).sum(0)
            assert np.exp(row) == pytest.approx(plain, rel=1e-9)
        else:
            assert row == pytest.approx(query)


def test_sinkhorn_gives_every_query_and_every_candidate_the_same_mass() -> None:
    mass = np.exp(sinkhorn(random_scores(), scale=20, rounds=200))
    assert mass.sum(0) == pytest.approx(np.full(5, 7 / 5))
    assert mass.sum(1) == pytest.approx(np.ones(7))


# --------------------------------------------------------------------------- laws
@EVERY
def test_a_hub_loses_its_lead(normalise: Callable[[np.ndarray], np.ndarray]) -> None:
    """Each query is nearest to its own candidate, but for one candidate that is near to all."""
    scores = 0.2 * np.eye(6)
    scores[:, 3] += 0.3
    assert (scores.argmax(1) == 3).all()
    assert (normalise(scores).argmax(1) == np.arange(6)).all()


@EVERY
def test_the_order_of_the_queries_does_not_matter(normalise: Callable[[np.ndarray], np.ndarray]) -> None:
    scores, order = random_scores(), np.random.default_rng(2).permutation(7)
    assert normalise(scores[order]) == pytest.approx(normalise(scores)[order])


@EVERY
def test_a_single_query_keeps_its_order_or_loses_it_to_a_tie(
    normalise: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Nothing is known of hubs without other queries: why these results need the whole query set."""
    scores = random_scores(1, 6)
    found = normalise(scores)
    same = (np.argsort(found[0]) == np.argsort(scores[0])).all()
    assert same or np.ptp(found[0]) == pytest.approx(0.0, abs=1e-9)


@EVERY
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_large_scores_do_not_overflow(normalise: Callable[[np.ndarray], np.ndarray], scale: float) -> None:
    assert np.isfinite(normalise(scale * random_scores() - 5.0)).all()


@EVERY
@pytest.mark.parametrize("ugly", [np.zeros((0, 3)), np.zeros(3), np.full((2, 2), np.nan)])
def test_what_is_no_table_is_refused(normalise: Callable[[np.ndarray], np.ndarray], ugly: np.ndarray) -> None:
    with pytest.raises(ScoreError):
        normalise(ugly)


def test_a_bank_over_other_candidates_is_refused() -> None:
    with pytest.raises(ScoreError, match="bank"):
        query_bank(random_scores(), random_scores(4, 6))


# --------------------------------------------------------------------------- protocols
def several_captions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seven texts of three clips; text 2 is said of clip 0 and, first of all, of clip 1."""
    pairs = np.array([(0, 0), (1, 0), (2, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)])
    positives = np.zeros((7, 3), dtype=bool)
    positives[pairs[:, 0], pairs[:, 1]] = True
    return random_scores(7, 3, seed=3), positives, pairs


def test_protocols_rank_what_their_names_say() -> None:
    scores, positives, pairs = several_captions()
    best = ranks_by(scores, positives, "best_caption", pairs)
    assert best.text_to_video == pytest.approx(metrics.ranks(scores, positives))
    assert best.video_to_text == pytest.approx(metrics.ranks(scores.T, positives.T))
    each = ranks_by(scores, positives, "each_caption", pairs)
    assert len(each.video_to_text) == 8
    first = ranks_by(scores, positives, "first_caption", pairs)
    kept = scores[[0, 2, 4]]
    assert first.text_to_video == pytest.approx(metrics.ranks(kept, positives[[0, 2, 4]]))
    assert first.video_to_text == pytest.approx(metrics.ranks(kept.T, positives[[0, 2, 4]].T))
    mean = np.stack([scores[[0, 1, 2]].mean(0), scores[[2, 3]].mean(0), scores[[4, 5, 6]].mean(0)])
    averaged = ranks_by(scores, positives, "averaged_captions", pairs)
    assert averaged.text_to_video == pytest.approx(metrics.ranks(mean, np.arange(3)))
    assert averaged.video_to_text == pytest.approx(metrics.ranks(mean.T, np.arange(3)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_with_one_caption_a_clip_all_protocols_agree(protocol: str) -> None:
    scores, pairs = random_scores(5, 5), np.stack([np.arange(5)] * 2, axis=1)
    found = ranks_by(scores, np.eye(5, dtype=bool), protocol, pairs)
    assert found.text_to_video == pytest.approx(metrics.ranks(scores, np.arange(5)))
    assert found.video_to_text == pytest.approx(metrics.ranks(scores.T, np.arange(5)))
    assert (found.text_groups == np.arange(5)).all()
    assert (found.video_groups == np.arange(5)).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_groups_name_the_clip_of_each_query(protocol: str) -> None:
    scores, positives, pairs = several_captions()
    found = ranks_by(scores, positives, protocol, pairs)
    assert found.text_groups.shape == found.text_to_video.shape
    assert found.video_groups.shape == found.video_to_text.shape
    assert set(found.video_groups) == {0, 1, 2}


@EVERY
def test_each_direction_is_normalised_over_its_own_queries(
    normalise: Callable[[np.ndarray], np.ndarray],
) -> None:
    scores, positives, pairs = several_captions()
    found = ranks_by(scores, positives, "best_caption", pairs, normalise)
    assert found.text_to_video == pytest.approx(metrics.ranks(normalise(scores), positives))
    assert found.video_to_text == pytest.approx(metrics.ranks(normalise(scores.T), positives.T))


def test_an_unknown_protocol_is_refused_by_name() -> None:
    scores, positives, pairs = several_captions()
    with pytest.raises(ConfigError, match="median_caption"):
        ranks_by(scores, positives, "median_caption", pairs)
