"""Films of known clips: read as the joined file would be, and measured as a naive count would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.colours import SCENES, colour_manifest
from tests.drawn import draw_clip
from vtr_demo import cli, moment_quality
from vtr_demo.checkpoint import Pretrained, untrained
from vtr_demo.clipfolder import Moment
from vtr_demo.data import Clip, load_dataset
from vtr_demo.errors import UnsupportedText
from vtr_demo.moment_quality import Film, hits, join
from vtr_demo.moments import plan_frames
from vtr_demo.nullset import null_captions
from vtr_demo.video import read_frames


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_manifest(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    return untrained("tiny")


def clips_of(manifest: Path) -> list[Clip]:
    return list(load_dataset(str(manifest), split="test").clips)


# --------------------------------------------------------------------------- joining
@pytest.mark.parametrize(("count", "films"), [(1, 8), (2, 4), (3, 2), (8, 1), (9, 0)])
def test_each_clip_is_in_one_film_at_most_and_only_the_rest_is_left_out(
    count: int, films: int, manifest: Path
) -> None:
    clips = clips_of(manifest)
    made = join(clips, count, np.random.default_rng(3))
    used = [clip.id for film in made for clip in film.clips]
    assert len(made) == films
    assert len(used) == len(set(used)) == films * count
    for film in made:
        assert len(film.borders) == count + 1
        assert np.allclose(np.diff(film.borders), 1.5)  # six frames at four a second
    assert [film.clips for film in join(clips, count, np.random.default_rng(3))] == [f.clips for f in made]


def test_of_a_long_clip_only_the_beginning_counts_and_of_a_piece_its_own_seconds(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    draw_clip(path, frames=26, fps=2, size=(64, 64))
    clips = [Clip("whole", path, ("a",)), Clip("piece", path, ("b",), start_s=4.0, end_s=6.5)]
    (film,) = join(clips, 2, np.random.default_rng(0))
    lengths = dict(zip((clip.id for clip in film.clips), np.diff(film.borders), strict=True))
    assert lengths == {"whole": pytest.approx(10.0), "piece": pytest.approx(2.5)}


def test_a_film_shows_what_the_joined_file_would_show(
    manifest: Path, tmp_path: Path, pretrained: Pretrained
) -> None:
    (film,) = join(clips_of(manifest), 8, np.random.default_rng(1))
    colours = {text: colour for colour, text in SCENES.items()}
    shown = []
    for clip in film.clips:
        colour = colours[clip.captions[0]]
        shown += 3 * [colour, tuple(c // 2 for c in colour)]
    joined = tmp_path / "joined.mp4"
    draw_clip(joined, frames=len(shown), fps=4, size=(48, 48), colours=shown)
    plan = plan_frames(film.borders[-1], pretrained.video)
    made = moment_quality._frames(film, plan.seconds, pretrained)
    size = pretrained.backbone.frame_size
    read = read_frames(joined, plan.seconds, size=size, config=pretrained.video)
    assert len(made) == len(read) == len(plan.seconds)
    assert np.abs(made.pixels.astype(int) - read.pixels.astype(int)).mean() < 3


# --------------------------------------------------------------------------- counting
def test_a_moment_is_right_where_its_middle_lies_in_a_clip_of_the_caption(manifest: Path) -> None:
    a, b, *_ = clips_of(manifest)
    film = Film((a, b, a), (0.0, 2.0, 6.0, 7.0))
    moments = [Moment(0, 3.9, (0,)), Moment(3.9, 6.5, (1,)), Moment(6.5, 7, (2,))]
    assert hits(moments, film, a.captions[0]).tolist() == [True, False, True]
    assert hits(moments, film, b.captions[0]).tolist() == [False, True, False]
    assert hits(moments, film, "nobody said this").tolist() == [False] * 3
    assert hits([], film, b.captions[0]).tolist() == [True]  # one moment, as long as the film
    assert hits([], film, a.captions[0]).tolist() == [False]


def test_every_caption_is_counted_once_a_film_that_shows_its_clip(
    manifest: Path, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With vectors by hand: each clip is a moment, and a caption's vector is its clip's place."""
    clips = clips_of(manifest)
    texts = [clip.captions[0] for clip in clips]
    wrong = texts[2]
    width = 3 * len(texts)

    def asked(text: str) -> np.ndarray:
        """Of the shipped sentences nothing."""
        return np.array([float(text == one) for one in texts] + (width - len(texts)) * [0.0], np.float32)

    def read(_: Pretrained, film: Film) -> tuple[np.ndarray, tuple[Moment, ...]]:
        spans = list(zip(film.borders, film.borders[1:], strict=False))
        moments = tuple(Moment(low, high, (i,)) for i, (low, high) in enumerate(spans))
        rows = [asked(clip.captions[0]) * (clip.captions[0] != wrong) for clip in film.clips]
        return np.stack([np.zeros(width, np.float32), *rows]), moments

    class Flat:
        def __init__(self, sentences: list) -> None:
            self.texts = [sentence.text for sentence in sentences]

        def flat(self, _: object) -> object:
            import torch

            return torch.from_numpy(np.stack([asked(text) for text in self.texts]))

    monkeypatch.setattr(moment_quality, "_read", read)
    monkeypatch.setattr(type(pretrained), "encode_text", lambda _, sentences: Flat(sentences))
    found = moment_quality.moment_quality(pretrained, str(manifest), clips=2, seed=0)
    assert (found["films"], found["texts"], found["moments_a_film"]) == (4, 8, 2)
    assert found["whole"]["R@1"] == 0  # all films tie: rank 2.5
    assert found["whole"]["MdR"] == 2.5
    assert found["moments"]["R@1"] == pytest.approx(100 * 7 / 8)
    assert found["right_moment_by_chance"] == 50
    first_is_wrong = any(
        film.clips[0].captions[0] == wrong for film in join(clips, 2, np.random.default_rng(0))
    )
    assert found["right_moment"] == pytest.approx(100 * (7 + first_is_wrong) / 8)  # a tie takes the first
    low, high = found["right_moment_interval_95"]
    assert low <= found["right_moment"] <= high
    confidence = {name: found["confidence"][name]["auroc"] for name in ("whole", "moments")}
    assert confidence == {"whole": 50, "moments": pytest.approx(100 * (7 + 0.5) / 8)}  # the wrong one ties


# --------------------------------------------------------------------------- the command
def test_the_command_measures_a_manifest(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    line = ["moments", "--data", str(manifest), "--clips", "4", "--model", "tiny", "--json", str(file)]
    assert cli.main(line) == 0
    answer = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == answer
    assert (answer["films"], answer["texts"], answer["clips_a_film"]) == (2, 8, 4)
    assert answer["seconds_a_film"] == pytest.approx(6.0)
    assert 0 <= answer["right_moment"] <= 100


def test_queries_about_nothing_may_be_given(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nothing.txt").write_text("a whale sings\nan empty room\na whale sings\n")
    line = ["moments", "--data", str(manifest), "--clips", "2", "--model", "tiny"]
    found = {}
    for name, extra in (("shipped", []), ("given", ["--nothing", str(tmp_path / "nothing.txt")])):
        assert cli.main([*line, *extra]) == 0
        found[name] = json.loads(capsys.readouterr().out)
        assert found[name]["asked_about_nothing"] == name
    counts = {
        name: answer["confidence"]["moments"]["queries_about_nothing"] for name, answer in found.items()
    }
    assert counts == {"shipped": len(null_captions()), "given": 2}
    assert found["given"]["moments"] == found["shipped"]["moments"]


def test_a_query_that_is_no_sentence_is_refused_before_any_film_is_read(
    manifest: Path, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moment_quality, "_read", lambda *_: pytest.fail("a film was read"))
    with pytest.raises(UnsupportedText, match="no words"):
        moment_quality.moment_quality(pretrained, str(manifest), clips=2, nothing=["a whale sings", "???"])


@pytest.mark.parametrize("extra", [["--clips", "5"], ["--kind", "generated"]])
def test_too_few_clips_are_one_sentence(
    extra: list[str], manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["moments", "--data", str(manifest), "--model", "tiny", *extra]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "too few clips" in said
    assert str(manifest) in said


def test_a_caption_that_is_no_sentence_is_left_out(tmp_path: Path, pretrained: Pretrained) -> None:
    folder = colour_manifest(tmp_path, {1: ["???", "the green frog jumps"]}, count=4)
    assert moment_quality.moment_quality(pretrained, str(folder), clips=2)["texts"] == 4
