"""What is painted on frames is what was summed, in one scale; colours can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from vtr_demo.structures import TERMS, Alignment
from vtr_demo.viz import overlays

GRID = (3, 5)
GREY = np.full((60, 100, 3), 128, np.uint8)


def alignment_of(words: int = 4, frames: int = 3, concepts: int = 6, seed: int = 0) -> Alignment:
    rng = np.random.default_rng(seed)
    shape = (words, frames, 1 + GRID[0] * GRID[1])
    levels = rng.normal(0.01, 0.02, (4, *shape)).astype(np.float32)
    concept = rng.normal(0.01, 0.02, shape).astype(np.float32)
    return Alignment(
        float(levels.sum() + concept.sum()),
        levels,
        concept,
        rng.integers(-1, concepts, words),
        rng.integers(-1, concepts, shape[1:]),
        concepts,
        ("whole sentence", *(f"word{i}" for i in range(1, words))),
        np.arange(frames) * 1.5,
        GRID,
    )


def frames_of(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 40, 50, 3), dtype=np.uint8)


# --------------------------------------------------------------------------- sums
def test_words_and_frames_add_up_to_the_score_as_a_loop_does() -> None:
    alignment = alignment_of()
    by_word, by_frame = overlays.word_parts(alignment), overlays.frame_parts(alignment)
    assert by_word.sum() == pytest.approx(alignment.score, abs=1e-5)
    for word in range(4):
        assert by_word[word] == pytest.approx(sum(part[word].sum() for part in alignment.all_terms()), abs=1e-6)
    for t, patch in np.ndindex(3, 16):
        wanted = sum(part[:, t, patch].sum() for part in alignment.all_terms())
        assert by_frame[t, patch] == pytest.approx(wanted, abs=1e-6)


def test_the_limit_is_the_largest_size_and_rounding_is_no_evidence() -> None:
    assert overlays.colour_limit(np.array([[-0.2, 0.1]])) == 0.2
    assert overlays.colour_limit(np.array([1e-9, -1e-9])) == overlays.colour_limit(np.zeros(0)) == 1.0


# --------------------------------------------------------------------------- overlay
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (2, 4), (2, 0)])
def test_a_planted_patch_is_found_at_its_pixels(row: int, column: int, sign: float) -> None:
    heat = np.zeros(GRID)
    heat[row, column] = sign
    painted = overlays.overlay(GREY, heat, 1.0).astype(int)
    change = np.abs(painted - 128).sum(axis=2)
    y, x = np.mean(np.argwhere(change == change.max()), axis=0)
    assert (int(y // 20), int(x // 20)) == (row, column)
    red, blue = painted[int(y), int(x), 0], painted[int(y), int(x), 2]
    assert (red > blue) == (sign > 0)
    far = np.ones((60, 100), bool)
    far[max(0, row * 20 - 20) : row * 20 + 40, max(0, column * 20 - 20) : column * 20 + 40] = False
    assert (change[far] == 0).all()


def test_a_map_without_contributions_leaves_the_brightness_of_the_frame() -> None:
    frame, luma = frames_of()[0], [0.299, 0.587, 0.114]
    painted = overlays.overlay(frame, np.zeros(GRID), 1.0)
    np.testing.assert_allclose(painted @ luma, frame @ luma, atol=1.0)
    assert np.ptp(painted.astype(int), axis=2).mean() < 0.3 * np.ptp(frame.astype(int), axis=2).mean()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_heat_keeps_the_order_of_brightness_of_the_frame(sign: float) -> None:
    ramp = np.linspace(0, 255, 100).astype(np.uint8)
    frame = np.broadcast_to(ramp[None, :, None], (60, 100, 3)).copy()
    painted = overlays.overlay(frame, np.full(GRID, sign), 1.0).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(painted, axis=1) >= -0.5).all()
    assert painted[0, -1] - painted[0, 0] > 80


def test_colours_are_told_apart_best_where_something_speaks_for_the_clip() -> None:
    halves = np.full((60, 100, 3), (220, 30, 40), np.uint8)
    halves[:, 50:] = (30, 150, 60)
    apart = []
    for heat in (0.0, 0.39, 1.0):
        painted = overlays.overlay(halves, np.full(GRID, heat), 1.0).astype(int)
        apart.append(np.abs(painted[0, 0] - painted[0, -1]).sum())
    assert apart == sorted(apart)
    assert apart[-1] > 1.3 * apart[0]


def test_equal_values_get_equal_colours_in_every_frame() -> None:
    weak, strong = np.full(GRID, 0.1), np.full(GRID, 0.1)
    strong[0, 0] = 1.0
    one = overlays.overlay(GREY, weak, 1.0)
    other = overlays.overlay(GREY, strong, 1.0)
    np.testing.assert_array_equal(one[45:, 45:], other[45:, 45:])
    assert not np.array_equal(one[:10, :10], other[:10, :10])


def test_a_single_patch_and_a_tall_grid_are_painted_evenly() -> None:
    for grid in ((1, 1), (60, 1), (1, 100)):
        painted = overlays.overlay(GREY, np.full(grid, 0.5), 1.0)
        assert len(np.unique(painted.reshape(-1, 3), axis=0)) == 1


def test_opacity_grows_with_size_and_equally_on_both_sides() -> None:
    values = np.linspace(0, 1, 50)
    above, below = overlays.tint(values, 1.0), overlays.tint(-values, 1.0)
    assert (np.diff(above[:, 3]) > 0).all()
    np.testing.assert_allclose(above[:, 3], below[:, 3])
    assert above[0, 3] == 0
    for sign in (1.0, -1.0):  # what lies beyond the limit takes the colour of its end
        np.testing.assert_array_equal(overlays.tint(9 * sign, 1.0), overlays.tint(sign, 1.0))


# --------------------------------------------------------------------------- concepts
def test_each_patch_takes_the_colour_of_its_concept() -> None:
    allocation = np.arange(15).reshape(GRID) % 4 - 1
    painted = overlays.concept_overlay(GREY, allocation).astype(int)
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            concept = int(allocation[row, column])
            middle = painted[row * 20 + 10, column * 20 + 10]
            colour = overlays.rgb(overlays.concept_colour(concept))
            assert np.argmax(middle) == np.argmax(colour) if concept >= 0 else (middle == 128).all()
            same = painted[10::20, 10::20][allocation == concept]
            assert (same == middle).all()


def test_a_spotlight_leaves_what_is_held_as_it_was_and_darkens_the_rest() -> None:
    frame = np.random.default_rng(2).integers(60, 256, (60, 100, 3), dtype=np.uint8)
    held = np.zeros(GRID, bool)
    held[1, 2:4] = True
    lit = np.kron(held, np.ones((20, 20), bool))
    painted = overlays.spotlight(frame, held, "#ff0000")
    border = (painted == (255, 0, 0)).all(axis=2)
    assert (painted[lit & ~border] == frame[lit & ~border]).all()
    assert (painted[~lit & ~border].max(axis=1) < frame[~lit & ~border].max(axis=1)).all()
    assert 2 * (20 + 40) - 4 <= border.sum() <= 2 * (20 + 40), "once around what is held"
    for nothing in (np.zeros(GRID, bool), ~np.zeros(GRID, bool)):
        assert not (overlays.spotlight(frame, nothing, "#ff0000") == (255, 0, 0)).all(axis=2).any()


def oklab(colours: list[str]) -> np.ndarray:
    """Perceptual coordinates (Ottosson 2020), from the published matrices."""
    channels = np.array([overlays.rgb(colour) for colour in colours], dtype=float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    to_lms = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    to_lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.cbrt(linear @ np.array(to_lms).T) @ np.array(to_lab).T


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2)."""
    channels = np.array([overlays.rgb(colour) for colour in (one, other)], dtype=float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)


def test_concept_colours_are_distinct_and_terms_more_so() -> None:
    def closest(colours: list[str]) -> float:
        points = oklab(colours)
        distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
        return float(distance[~np.eye(len(points), dtype=bool)].min())

    every = [overlays.concept_colour(concept) for concept in range(32)]
    assert len(set(every)) == 32
    assert closest(every) > 0.07
    assert closest(every[:16]) > 0.13
    assert closest([*overlays.TERM_COLOURS.values()]) > 0.15
    assert set(overlays.TERM_COLOURS) == set(TERMS)
    assert overlays.concept_colour(33) == overlays.concept_colour(1)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_stands_out_from_its_ground_and_text_is_readable(theme: str) -> None:
    ground = overlays.THEMES[theme]
    colours = [*overlays.TERM_COLOURS.values(), *overlays.CONCEPT_COLOURS, overlays.POSITIVE, overlays.NEGATIVE]
    points, base = oklab(colours), oklab([ground.ground])
    assert np.linalg.norm(points - base, axis=1).min() > 0.2

    assert contrast(ground.ink, ground.panel) > 7
    assert contrast(ground.soft, ground.ground) > 4.5
