"""The figure of an explanation: all of it is there, nothing is clipped, and the files say what was summed."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.viz.test_overlays import GRID, alignment_of, frames_of
from vtr_demo.errors import ScoreError
from vtr_demo.results import Explanation, Hit
from vtr_demo.structures import Alignment, CropBox, Sentence
from vtr_demo.viz import figures, overlays

UGLY = ("Donaudampfschifffahrtsgesellschaftskapitän", "$x_1$", "日本", "\U0001f600", "a\tb", "", "\\$")


def explanation_of(alignment: Alignment, text: str = "a dog runs", name: str = "concept {}") -> Explanation:
    names = tuple(name.format(k + 1) for k in range(alignment.concept_count))
    words = np.zeros(len(alignment.words) - 1, np.float32)
    frames = frames_of(len(alignment.seconds))
    return Explanation(
        "id", -1, Sentence(text, ()), alignment, frames, {}, words, names, {}, CropBox(0, 0, 50, 40, 50, 40)
    )


def svg_texts(why: Explanation, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Everything that is written on the drawing."""
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")
    root = ElementTree.fromstring(figures.draw(why, "x.mp4", kind="svg"))
    return {" ".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}


def test_a_drawing_says_the_score_its_terms_every_word_and_what_each_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    alignment = alignment_of()
    texts = svg_texts(explanation_of(alignment), monkeypatch)
    number = lambda value: f"{value:+.3f}".replace("-", "−")  # noqa: E731
    assert {f"score {number(alignment.score)}", "“a dog runs”", *alignment.words} <= texts
    assert {f"{name}  {number(value)}" for name, value in alignment.terms().items()} <= texts
    assert {number(value) for value in overlays.word_parts(alignment)} <= texts
    assert {"0.0 s", "1.5 s", "3.0 s"} <= texts


@pytest.mark.parametrize(("theme", "count"), [("light", 1), ("dark", 60)])
def test_no_ink_touches_the_edge_whatever_the_words_and_frames(theme: figures.ThemeName, count: int) -> None:
    alignment = alignment_of(words=8, frames=count, concepts=32)
    alignment = replace(alignment, words=("whole sentence", *UGLY), seconds=np.linspace(0, 4000, count))
    why = explanation_of(alignment, "long " * 60 + " ".join(UGLY), "a very long name of concept {}, and on")
    drawn = figures.draw(why, "y" * 300, theme=theme)
    picture = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"))
    ground = np.round(255 * overlays.rgb(overlays.THEMES[theme].ground))
    for edge in (picture[:6], picture[-6:], picture[:, :6], picture[:, -6:]):
        np.testing.assert_array_equal(edge.reshape(-1, 3), np.broadcast_to(ground, (edge.size // 3, 3)))


def test_ugly_text_is_drawn_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    figures.explanation_figure(explanation_of(replace(alignment_of(8), words=("", *UGLY)), " ".join(UGLY)))
    # Only what is warned about glyphs: a collector that runs meanwhile reports other tests' sockets here too.
    assert [str(warning.message) for warning in recwarn if issubclass(warning.category, UserWarning)] == []


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
    assert figures.explanation_figure(explanation_of(zero, "")).width > 800


def test_a_score_that_is_not_finite_is_refused() -> None:
    for bad in (np.nan, np.inf):
        alignment = alignment_of()
        alignment.level_terms[0, 0, 0, 0] = bad
        with pytest.raises(ScoreError, match="NaN"):
            figures.explanation_figure(explanation_of(alignment))


def test_threads_draw_the_same_picture_as_one_alone() -> None:
    alignment = alignment_of(words=2, frames=1)

    def draw(_: int) -> np.ndarray:
        return np.asarray(figures.explanation_figure(explanation_of(alignment)))

    alone = draw(0)
    with ThreadPoolExecutor(2) as pool:
        for picture in pool.map(draw, range(2)):
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
        if picture.endswith("svg"):
            ElementTree.parse(folder / picture)
        else:
            with Image.open(folder / picture) as opened:
                assert opened.format == "PNG"
