"""Published annotations of each kind, drawn clips for their videos, from train to evaluate."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.data_files import SHARED, json_read_once
from tests.helpers.drawn import draw_clip
from tests.helpers.small_runs import PAIRS, small_config
from vtr_demo.data.benchmarks import Annotations, read_annotations
from vtr_demo.data.dataset import UNCAPTIONED
from vtr_demo.errors import ManifestError
from vtr_demo.evaluation.evaluate import evaluate, open_test
from vtr_demo.evaluation.metrics import PROTOCOLS
from vtr_demo.model.checkpoint import load
from vtr_demo.training.setup import build_trainer

ANNOTATIONS = SHARED / "annotations"
TRAINED, TESTED = 6, 4

pytestmark = pytest.mark.skipif(
    not ANNOTATIONS.is_dir(), reason="the published annotation files are not here (shared/data/annotations)"
)


@pytest.fixture(scope="module", autouse=True)
def _each_file_is_read_once() -> Iterator[None]:
    with json_read_once():
        yield


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drawn")
    for i, colour in enumerate(PAIRS.values()):
        shades = [tuple(round(value * (1 - 0.1 * k)) for value in colour) for k in range(4)]
        draw_clip(folder / f"{i}.mp4", frames=4, size=(64, 48), colours=shades)
    return sorted(folder.iterdir())


def annotations_of(name: str, folder: Path) -> Path:
    """The published folder; DiDeMo's training file is not in it, so that its validation file stands in for it."""
    if name != "didemo":
        return ANNOTATIONS
    shutil.copytree(ANNOTATIONS / "didemo", folder / "didemo")
    shutil.copy(ANNOTATIONS / "didemo" / "val_data.json", folder / "didemo" / "train_data.json")
    return folder


def stand_in(name: str, annotations: Path, videos: Path, clips: list[Path]) -> dict[str, Annotations]:
    """Copies of the drawn clips under the names of a handful of videos; what was published by split."""
    videos.mkdir()
    published = {}
    for split, count in (("train", TRAINED), ("test", TESTED)):
        published[split] = read_annotations(name, split=split, annotations=annotations)
        for i, video in enumerate(published[split].videos[:count]):
            shutil.copy(clips[(i + len(split)) % len(clips)], videos / f"{video.file_names[0]}.mp4")
    return published


@pytest.mark.parametrize("name", ["msrvtt-9k", "msvd", "didemo"])  # one sentence, many, a paragraph of a part
def test_a_benchmark_goes_through_train_and_evaluate(name: str, clips: list[Path], tmp_path: Path) -> None:
    annotations = annotations_of(name, tmp_path / "annotations")
    videos = tmp_path / "videos"
    published = stand_in(name, annotations, videos, clips)
    places: dict[str, Any] = {"annotations": str(annotations), "videos": str(videos)}
    config = small_config(
        tmp_path, Path(name), train=(name,), validation=(name,), batch=TRAINED, steps=2, evaluate_every=2,
        **places,
    )  # fmt: skip
    best = build_trainer(config).run()
    listed = (tmp_path / "run" / "missing.txt").read_text().splitlines()
    wanted = []
    for split, count in (("train", TRAINED), ("test", TESTED)):
        wanted += [f"{name} {split} {video.id}" for video in published[split].videos[count:]]
        wanted += [f"{name} {split} {id_} {UNCAPTIONED}" for id_ in published[split].uncaptioned]
    assert listed == wanted
    loaded = load(str(best))
    test = open_test(name, annotations=annotations, videos=videos)
    answer = evaluate(loaded, test)
    assert answer["videos"] == TESTED
    assert answer["missing"] == [video.id for video in published["test"].videos[TESTED:]]
    assert answer["missing_videos"] == len(answer["missing"])
    assert answer["uncaptioned"] == list(published["test"].uncaptioned)
    assert answer["uncaptioned_videos"] == len(answer["uncaptioned"]) == (36 if name == "msvd" else 0)
    assert (answer["data"], answer["split"]) == (name, "test")
    assert answer["texts"] >= TESTED
    assert 1 <= answer["text_to_video"]["MnR"] <= TESTED
    for protocol in {*PROTOCOLS} - {answer["protocol"]}:
        again = evaluate(loaded, test, protocol=protocol)
        assert again["protocol"] == protocol


@pytest.mark.parametrize("name", ["msrvtt-9k", "msvd"])
def test_a_folder_without_its_videos_is_refused_in_a_sentence_and_nothing_is_written(
    name: str, clips: list[Path], tmp_path: Path
) -> None:
    places = {"annotations": str(ANNOTATIONS), "videos": str(clips[0].parent)}
    with pytest.raises(ManifestError, match=f"{name} train: none of the .* lies below"):
        build_trainer(small_config(tmp_path, Path(name), train=(name,), **places)).run()
    assert not (tmp_path / "run").exists()
