"""The figure of an explanation: all of it is there, nothing is clipped, and the files say what was summed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.viz.test_overlays import GRID, alignment_of, frames_of
from vtr_demo.errors import ScoreError
from vtr_demo.results import Explanation, Hit
from vtr_demo.structures import TERMS, Alignment, CropBox, Sentence
from vtr_demo.viz import figures, overlays

UGLY = ("Donaudampfschifffahrtsgesellschaftskapitän", "$x_1$", "日本", "\U0001f600", "a\tb", "", "\\$")


def explanation_of(alignment: Alignment, text: str = "a dog runs", name: str = "concept {}") -> Explanation:
    names = tuple(name.format(k + 1) for k in range(alignment.concept_count))
    words = np.zeros(len(alignment.words) - 1, np.float32)
    frames = frames_of(len(alignment.seconds))
    return Explanation(
        "id", -1, Sentence(text, ()), alignment, frames, {}, words, names, {}, CropBox(0, 0, 50, 40, 50, 40)
    )


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is written on a page."""
    written: list[str] = []
    write = figures.Page.text

    def record(page: figures.Page, x: float, y: float, text: str, *style: object, **more: object) -> None:
        written.append(text)
        write(page, x, y, text, *style, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(figures.Page, "text", record)
    return written


def test_a_figure_says_the_score_its_terms_and_every_word(texts: list[str]) -> None:
    alignment = alignment_of()
    figures.explanation_figure(explanation_of(alignment), "x.mp4")
    assert {f"{alignment.score:.3f}", "“a dog runs”", *alignment.words, *TERMS} <= set(texts)
    assert any(text.startswith("x.mp4") and "3 frames from 0.0 s to 3.0 s" in text for text in texts)


def test_the_numbers_beside_and_below_the_pictures_are_their_sums(texts: list[str]) -> None:
    alignment = alignment_of()
    figures.explanation_figure(explanation_of(alignment))
    words, total = overlays.word_parts(alignment), overlays.picked(alignment, "total")
    for value in words:
        assert figures.amount(value, np.abs(words).max()) in texts
    frames = total[:, 1:].sum(axis=1)
    largest = np.abs([*frames, *total[:, 0]]).max()
    for value, whole in zip(frames, total[:, 0], strict=True):
        assert f"patches {figures.amount(value, largest)}" in texts
        assert f"whole frame {figures.amount(whole, largest)}" in texts


@pytest.mark.parametrize(("theme", "count"), [("light", 1), ("dark", 12), ("light", 60)])
def test_no_ink_touches_the_edge_whatever_the_words_and_frames(theme: figures.ThemeName, count: int) -> None:
    alignment = alignment_of(words=8, frames=count, concepts=32)
    alignment = replace(alignment, words=("whole sentence", *UGLY), seconds=np.linspace(0, 4000, count))
    why = explanation_of(alignment, "long " * 60 + " ".join(UGLY), "a very long name of concept {}, and on")
    picture = np.asarray(figures.explanation_figure(why, "y" * 300, theme=theme))
    assert picture.shape[1] == 1600
    ground = np.round(255 * overlays.rgb(overlays.THEMES[theme].ground))
    for edge in (picture[:6], picture[-6:], picture[:, :6], picture[:, -6:]):
        np.testing.assert_array_equal(edge.reshape(-1, 3), np.broadcast_to(ground, (edge.size // 3, 3)))


def test_ugly_text_is_drawn_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    figures.explanation_figure(explanation_of(replace(alignment_of(8), words=("", *UGLY)), " ".join(UGLY)))
    assert [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)] == []


def test_an_explanation_of_nothing_is_drawn() -> None:
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
    assert figures.explanation_figure(explanation_of(zero, "")).width == 1600


def test_a_score_that_is_not_finite_is_refused() -> None:
    alignment = alignment_of()
    alignment.level_terms[0, 0, 0, 0] = np.nan
    with pytest.raises(ScoreError, match="NaN"):
        figures.explanation_figure(explanation_of(alignment))


def test_threads_draw_the_same_picture_as_one_alone() -> None:
    alignment = alignment_of()

    def draw(_: int) -> np.ndarray:
        return np.asarray(figures.word_frame_figure(alignment, frames_of()))

    alone = draw(0)
    with ThreadPoolExecutor(4) as pool:
        for picture in pool.map(draw, range(8)):
            np.testing.assert_array_equal(picture, alone)


def test_the_files_of_an_export_say_what_was_summed(tmp_path: Path) -> None:
    alignment = alignment_of(concepts=3)
    alignment = replace(alignment, word_concept=np.array([-1, 0, 2, 2]))
    hit = Hit("id", "x.mp4", "/clips/x.mp4", alignment.score, 1.0, 4.0, -1, 0.9, alignment.terms())
    answer = figures.export(tmp_path / "new" / "out", explanation_of(alignment), hit)
    folder = tmp_path / "new" / "out"
    assert {path.name for path in folder.iterdir()} == {*answer["pictures"], figures.DOCUMENT}
    assert json.loads((folder / figures.DOCUMENT).read_text(encoding="utf-8")) == answer
    for name, rows in answer["parts"].items():
        assert np.shape(rows) == (4, 3)
        assert np.sum(rows) == pytest.approx(answer["terms"][name], abs=1e-5)
    for key in ("words", "frames"):
        assert sum(part["adds"] for part in answer[key]) == pytest.approx(answer["score"], abs=1e-5)
    assert [word["concept"] for word in answer["words"]] == [None, "concept 1", "concept 3", "concept 3"]
    for picture in answer["pictures"]:
        with Image.open(folder / picture) as opened:
            assert opened.format == "PNG"


def test_a_shortened_text_fits_and_a_short_one_is_left_alone() -> None:
    short = figures.fitted(UGLY[0], 9, 1.0)
    assert short.endswith("…")
    assert figures.text_width(short, 9) <= 1.0 < figures.text_width(UGLY[0], 9)
    assert figures.fitted("dog", 9, 1.0) == "dog"
    lines = figures.wrapped("one two three four five six", 9, 0.6, 2)
    assert len(lines) == 2
    assert max(figures.text_width(line, 9) for line in lines) <= 0.6


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [(0.3, 0.4, "+0.300"), (-0.3, 0.4, "−0.300"), (0.0, 0.4, "0"), (-1e-9, 0.4, "0"), (12.0, 30.0, "+12.0")],
)
def test_amounts_have_three_digits_and_a_sign(value: float, scale: float, text: str) -> None:
    assert figures.amount(value, scale) == text
