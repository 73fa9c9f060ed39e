"""Laws of the pictures: what is painted is what was summed, in one scale, and nothing is clipped."""

from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from vtr_demo.errors import ScoreError
from vtr_demo.structures import TERMS, Alignment
from vtr_demo.viz import bar, chart, figures, overlays, sheet

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


# --------------------------------------------------------------------------- views
def test_views_add_up_to_the_score() -> None:
    alignment = alignment_of()
    patches, whole = overlays.patch_heat(alignment), overlays.whole_frame_heat(alignment)
    assert patches.shape == (3, *GRID)
    assert patches.sum() + whole.sum() == pytest.approx(alignment.score, abs=1e-5)
    assert overlays.word_frame_heat(alignment).sum() == pytest.approx(alignment.score, abs=1e-5)


def test_views_of_each_term_and_of_each_word_add_up_to_the_view_of_all() -> None:
    alignment = alignment_of()
    whole = overlays.patch_heat(alignment)
    by_term = sum(overlays.patch_heat(alignment, terms=[term]) for term in TERMS)
    by_word = sum(overlays.patch_heat(alignment, words=[word]) for word in range(4))
    np.testing.assert_allclose(by_term, whole, atol=1e-6)
    np.testing.assert_allclose(by_word, whole, atol=1e-6)
    with pytest.raises(ValueError, match="emotion"):
        overlays.patch_heat(alignment, terms=["emotion"])


def test_a_view_equals_a_loop() -> None:
    alignment = alignment_of()
    wanted = np.zeros((3, *GRID))
    for t in range(3):
        for row in range(GRID[0]):
            for column in range(GRID[1]):
                patch = 1 + row * GRID[1] + column
                terms = [alignment.level_terms[1, word, t, patch] for word in (0, 2)]
                wanted[t, row, column] = sum(terms)
    np.testing.assert_allclose(overlays.patch_heat(alignment, [0, 2], ["entity"]), wanted, atol=1e-6)


def test_the_shared_range_encloses_every_map_and_zero() -> None:
    assert overlays.shared_range([np.array([0.2, 0.5]), np.array([[0.1]])]) == (0.0, 0.5)
    assert overlays.shared_range([np.array([-0.2]), np.array([0.1])]) == (-0.2, 0.1)
    assert overlays.shared_range([np.zeros(3)]) == (-1.0, 1.0)
    assert overlays.shared_range([np.array([1e-9, -1e-9])]) == (-1.0, 1.0)  # rounding is no evidence


# --------------------------------------------------------------------------- overlay
@pytest.mark.parametrize("row", range(GRID[0]))
@pytest.mark.parametrize("column", range(GRID[1]))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_planted_patch_is_found_at_its_pixels(row: int, column: int, sign: float) -> None:
    heat = np.zeros(GRID)
    heat[row, column] = sign
    painted = overlays.overlay(GREY, heat, (-1, 1)).astype(int)
    change = np.abs(painted - 128).sum(axis=2)
    y, x = np.mean(np.argwhere(change == change.max()), axis=0)
    assert (int(y // 20), int(x // 20)) == (row, column)
    red, blue = painted[int(y), int(x), 0], painted[int(y), int(x), 2]
    assert (red > blue) == (sign > 0)
    far = np.ones((60, 100), bool)
    far[max(0, row * 20 - 20) : row * 20 + 40, max(0, column * 20 - 20) : column * 20 + 40] = False
    assert (change[far] == 0).all()


def test_a_map_without_contributions_leaves_the_muted_frame() -> None:
    frame = frames_of()[0]
    flat = overlays.overlay(frame, np.zeros(GRID), (-1, 1))
    np.testing.assert_array_equal(flat, overlays.overlay(frame, np.zeros((7, 2)), (0, 0.001)))
    grey = frame @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(flat.mean(axis=2), 0.7 * grey + 0.3 * frame.mean(axis=2), atol=1.0)


def test_equal_values_get_equal_colours_in_every_frame() -> None:
    weak, strong = np.full(GRID, 0.1), np.full(GRID, 0.1)
    strong[0, 0] = 1.0
    one = overlays.overlay(GREY, weak, (-1, 1))
    other = overlays.overlay(GREY, strong, (-1, 1))
    np.testing.assert_array_equal(one[45:, 45:], other[45:, 45:])
    assert not np.array_equal(one[:10, :10], other[:10, :10])


def test_a_single_patch_and_a_tall_grid_are_painted_evenly() -> None:
    for grid in ((1, 1), (60, 1), (1, 100)):
        painted = overlays.overlay(GREY, np.full(grid, 0.5), (0, 1))
        assert len(np.unique(painted.reshape(-1, 3), axis=0)) == 1


def test_what_lies_beyond_the_range_takes_the_colour_of_its_end() -> None:
    np.testing.assert_array_equal(overlays.tint(9.0, (-1, 1)), overlays.tint(1.0, (-1, 1)))
    np.testing.assert_array_equal(overlays.tint(-9.0, (-0.5, 1)), overlays.tint(-0.5, (-0.5, 1)))


def test_opacity_grows_with_size_and_equally_on_both_sides() -> None:
    values = np.linspace(0, 1, 50)
    above, below = overlays.tint(values, (-1, 1)), overlays.tint(-values, (-1, 1))
    assert (np.diff(above[:, 3]) > 0).all()
    np.testing.assert_allclose(above[:, 3], below[:, 3])
    assert above[0, 3] == 0
    lopsided = overlays.tint(np.array([-0.2, 0.2]), (-0.2, 1.0))
    assert lopsided[0, 3] == lopsided[1, 3], "equal sizes look equal although one is at its end of the range"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_contributions_are_refused_by_every_picture(bad: float) -> None:
    heat = np.zeros(GRID)
    heat[1, 1] = bad
    page = sheet.Sheet(5)
    with pytest.raises(ScoreError, match="NaN"):
        overlays.overlay(GREY, heat, (-1, 1))
    with pytest.raises(ScoreError, match="NaN"):
        overlays.shared_range([heat])
    with pytest.raises(ScoreError, match="NaN"):
        chart.draw_word_frames(page, heat, list("abc"), [0, 1, 2, 3, 4], (-1, 1))
    with pytest.raises(ScoreError, match="NaN"):
        bar.draw_terms(page, {"global": bad})
    with pytest.raises(ScoreError, match="NaN"):
        chart.draw_concept_words(page, np.zeros(5, int), heat[1], list("abcde"), 2)
    with pytest.raises(ScoreError, match="NaN"):
        bar.draw_timeline(page, heat[1], [0, 1, 2, 3, 4], 5.0, (-1, 1))


@pytest.mark.parametrize("bad", [(0.1, 1), (-1, -0.1), (0, 0), (1, -1), (np.nan, 1), (0, np.inf)])
def test_a_range_without_zero_or_width_is_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(ScoreError, match="enclose zero"):
        overlays.overlay(GREY, np.zeros(GRID), bad)
    with pytest.raises(ScoreError, match="enclose zero"):
        figures.legend(bad)


@pytest.mark.parametrize("frame", [GREY[..., 0], GREY.astype(float), np.zeros((4, 4, 4), np.uint8)])
def test_what_is_no_frame_is_refused_with_its_shape(frame: np.ndarray) -> None:
    with pytest.raises(ScoreError, match=r"\(H, W, 3\) uint8"):
        overlays.overlay(frame, np.zeros(GRID), (-1, 1))


# --------------------------------------------------------------------------- concepts
def test_each_patch_takes_the_colour_of_its_concept() -> None:
    allocation = np.arange(15).reshape(GRID) % 4 - 1
    painted = overlays.concept_overlay(GREY, allocation).astype(int)
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            concept = int(allocation[row, column])
            middle = painted[row * 20 + 10, column * 20 + 10]
            colour = 255 * overlays.rgb(overlays.concept_colour(concept))
            wanted = [128] * 3 if concept < 0 else (128 + colour) / 2
            np.testing.assert_allclose(middle, wanted, atol=1.0)


def test_only_highlighted_concepts_are_painted() -> None:
    allocation = np.arange(15).reshape(GRID)
    alone = np.where(allocation == 7, 7, -1)
    np.testing.assert_array_equal(
        overlays.concept_overlay(GREY, allocation, {7}), overlays.concept_overlay(GREY, alone)
    )


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
    with pytest.raises(ScoreError, match="rows, columns"):
        overlays.spotlight(frame, held.ravel(), "#ff0000")


def test_concept_shares_of_a_frame_add_up_to_the_allocated_part() -> None:
    patches = alignment_of(frames=5).patch_concept[:, 1:]
    share, concepts = chart.concept_shares(patches)
    np.testing.assert_allclose(share.sum(axis=0), (patches >= 0).mean(axis=1))
    assert (np.diff(share.mean(axis=1)) <= 0).all()
    for row, concept in enumerate(concepts):
        np.testing.assert_allclose(share[row], [(frame == concept).sum() / 15 for frame in patches])


def oklab(colours: list[str]) -> np.ndarray:
    """Perceptual coordinates (Ottosson 2020), from the published matrices."""
    channels = np.array([overlays.rgb(colour) for colour in colours], dtype=float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    to_lms = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    to_lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.cbrt(linear @ np.array(to_lms).T) @ np.array(to_lab).T


def test_concept_colours_are_distinct_and_terms_more_so() -> None:
    def closest(colours: list[str]) -> float:
        points = oklab(colours)
        distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
        return float(distance[~np.eye(len(points), dtype=bool)].min())

    every = [overlays.concept_colour(concept) for concept in range(32)]
    assert len(set(every)) == 32
    assert closest(every) > 0.04
    assert closest(every[:8]) > 0.10
    assert closest([*overlays.TERM_COLOURS.values()]) > 0.15
    assert set(overlays.TERM_COLOURS) == set(TERMS)
    assert overlays.concept_colour(33) == overlays.concept_colour(1)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_stands_out_from_its_ground_and_text_is_readable(theme: str) -> None:
    ground = overlays.THEMES[theme]
    colours = [
        *overlays.TERM_COLOURS.values(),
        *overlays.CONCEPT_COLOURS,
        overlays.POSITIVE,
        overlays.NEGATIVE,
    ]
    points, base = oklab(colours), oklab([ground.ground])
    assert np.linalg.norm(points - base, axis=1).min() > 0.2

    def luminance(colour: str) -> float:
        channels = overlays.rgb(colour).astype(float)
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(one: str, other: str) -> float:
        low, high = sorted([luminance(one), luminance(other)])
        return (high + 0.05) / (low + 0.05)

    assert contrast(ground.ink, ground.panel) > 7
    assert contrast(ground.soft, ground.ground) > 4.5
    assert min(contrast(sheet.ink_on(colour), colour) for colour in colours) > 3


# --------------------------------------------------------------------------- charts
@pytest.mark.parametrize("value_range", [(-0.0123, 0.0345), (0.0, 7.25), (-3.0, 0.0), (-0.5, 0.5)])
def test_the_legend_prints_the_range_it_was_given(value_range: tuple[float, float]) -> None:
    page = sheet.Sheet(5)
    bar.draw_legend(page, value_range)
    printed = [text.replace("\u2212", "-") for text in page.written()]
    numbers = sorted(float(text) for text in printed if re.fullmatch(r"[-+]?[\d.]+", text))
    assert numbers == pytest.approx(sorted({0.0, *value_range}))


def test_the_numbers_beside_a_grid_are_its_sums() -> None:
    heat = np.array([[0.1, 0.2], [-0.4, 0.1], [0.0, 0.0]])
    page = sheet.Sheet(6)
    chart.draw_word_frames(page, heat, ["whole sentence", "dog", "runs"], [0.0, 65.0], (-0.4, 0.2))
    texts = page.written()
    assert texts[texts.index("whole sentence") + 1] == "+0.300"
    assert texts[texts.index("dog") + 1] == "\u22120.300"
    assert texts[texts.index("runs") + 1] == "0.000"
    assert {"0.0 s", "1:05"} <= set(texts)


def test_the_terms_are_printed_with_their_signs() -> None:
    page = sheet.Sheet(8)
    bar.draw_terms(
        page, {"global": 0.25, "entity": -0.05, "action": 0.0, "relationship": 0.1, "concepts": 0.0}
    )
    assert page.written() == [
        *("global", "+0.250", "entity", "\u22120.050", "action", "0.000"),
        *("relationship", "+0.100", "concepts", "0.000"),
    ]


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (6,)])
def test_labels_that_do_not_fit_the_numbers_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ScoreError, match="Expected an array"):
        figures.word_frame_grid(np.zeros(shape), ["a", "b"], [0.0, 1.0], (-1, 1))


LONG = [
    "whole sentence",
    "Donaudampfschifffahrtsgesellschaftskapitän",
    "$x_1$",
    "日本",
    "\U0001f600",
    "a\tb",
    "",
]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("count", [1, 12, 60])
def test_no_ink_touches_the_edge_whatever_the_words_and_frames(theme: str, count: int) -> None:
    words = (LONG * 3)[:20]
    heat = np.random.default_rng(0).normal(size=(20, count))
    seconds = np.linspace(0, 4000, count).tolist()
    names = ["a very long name of a concept, and its second word"] * 32
    allocation = np.random.default_rng(0).integers(0, 32, (count, 15))
    pictures = [
        figures.word_frame_grid(heat, words, seconds, (-9, 9), frames=frames_of(count), theme=theme),
        figures.concept_words_grid(np.arange(20) + 10, heat[:, 0], words, 32, names=names, theme=theme),
        figures.concept_frames_grid(allocation, seconds, names=names, frames=frames_of(count), theme=theme),
        figures.timeline_strip(heat[0], seconds, 4000.0, (-9, 9), frames=frames_of(count), theme=theme),
    ]
    ground = np.round(255 * overlays.rgb(overlays.THEMES[theme].ground))
    for picture in pictures:
        edges = (picture[:6], picture[-6:], picture[:, :6], picture[:, -6:])
        for edge in edges:
            np.testing.assert_array_equal(edge.reshape(-1, 3), np.broadcast_to(ground, (edge.size // 3, 3)))


def test_a_shortened_text_fits_and_a_short_one_is_left_alone() -> None:
    short = sheet.fitted(LONG[1], 9, 1.0)
    assert short.endswith("…")
    assert sheet.text_width(short, 9) <= 1.0 < sheet.text_width(LONG[1], 9)
    assert sheet.fitted("dog", 9, 1.0) == "dog"
    lines = sheet.wrapped("one two three four five six", 9, 0.6, 2)
    assert len(lines) == 2
    assert max(sheet.text_width(line, 9) for line in lines) <= 0.6


def test_an_explanation_says_the_score_its_terms_and_every_word() -> None:
    alignment = alignment_of()
    names = ["", "dogs", "", "", "", ""]
    page = figures.explanation_sheet(
        alignment, frames_of(), sentence="a dog runs", clip="x.mp4", concept_names=names
    )
    texts = page.written()
    assert {f"{alignment.score:.3f}", "“a dog runs”", *alignment.words, *TERMS} <= set(texts)
    assert any(text.startswith("x.mp4") and "3 frames from 0.0 s to 3.0 s" in text for text in texts)
    assert "dogs" in texts


def test_an_explanation_grows_with_its_words_and_frames_and_draws_any_text(recwarn) -> None:
    small = figures.explanation_figure(alignment_of(), frames_of(), sentence="a $dog$ runs", clip="x.mp4")
    large = figures.explanation_figure(
        alignment_of(words=21, frames=12, seed=2), frames_of(12), sentence="long " * 60, theme="dark"
    )
    assert small.shape[1] == large.shape[1] == 1600
    assert large.shape[0] > small.shape[0]
    assert [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)] == []


def test_an_explanation_of_one_word_one_frame_and_nothing_is_drawn() -> None:
    empty = alignment_of(words=1, frames=1, concepts=1)
    zero = Alignment(
        0.0,
        np.zeros_like(empty.level_terms),
        np.zeros_like(empty.concept_terms),
        np.array([-1]),
        np.full((1, 16), -1),
        1,
        ("whole sentence",),
        np.zeros(1),
        GRID,
    )
    assert figures.explanation_figure(zero, frames_of(1), sentence="").shape[1] == 1600


def test_threads_draw_the_same_picture_as_one_alone() -> None:
    def draw(_: int) -> np.ndarray:
        return figures.word_frame_grid(np.eye(3), ["a", "b", "c"], [0.0, 1.0, 2.0], (-1, 1))

    alone = draw(0)
    with ThreadPoolExecutor(4) as pool:
        for picture in pool.map(draw, range(8)):
            np.testing.assert_array_equal(picture, alone)


def test_a_strip_holds_its_frames_in_order_and_png_keeps_it() -> None:
    frames = np.zeros((3, 20, 40, 3), np.uint8)
    frames[0, ..., 0] = frames[1, ..., 1] = frames[2, ..., 2] = 255
    strip = overlays.poster_strip(frames, height=40)
    assert strip.shape == (40, 3 * 80 + 2, 4)
    np.testing.assert_array_equal(strip[20, [40, 121, 202], :3], 255 * np.eye(3))
    stamped = overlays.poster_strip(frames, [0.0, 1.0, 2.0], height=40)
    assert (stamped[:20] == strip[:20]).all()
    assert (stamped[20:] != strip[20:]).any()
    with Image.open(io.BytesIO(overlays.to_png(strip))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), strip)
