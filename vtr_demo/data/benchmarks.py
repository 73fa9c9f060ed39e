"""Reads the splits of five video-text benchmarks from their annotation files as published.

Each reader lists the videos of a split and their sentences; ``find_videos`` looks up the video files.

    msrvtt-9k, msrvtt-7k  1k-A: 9,000 or 7,010 videos to train on; 1,000 test videos, one sentence each
    msrvtt-full           the official 6,513 / 497 / 2,990, 20 sentences each
    msvd                  1,200 / 100 / 670, about 40 sentences each
    didemo                one paragraph a video: its descriptions joined
    activitynet           one paragraph a video: train and val_1, the customary test
    vatex                 25,991 / 1,500 / 1,500 (HGR's lists), 10 English sentences each
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from vtr_demo.errors import ConfigError, ManifestError
from vtr_demo.video.reader import VIDEO_EXTENSIONS

log = logging.getLogger(__name__)


class AnnotationFolder:
    """Index the files below a folder by name.

    Where two benchmarks use one name (``train_list.txt``), the folder that names ``benchmark`` decides.
    """

    def __init__(self, root: Path, benchmark: str) -> None:
        if not root.is_dir():
            raise ManifestError(f"The folder of annotations {root} does not exist; check the path.")
        self.root, self.hint = root, benchmark.split("-", maxsplit=1)[0]
        self.paths: dict[str, list[Path]] = {}
        for folder, _, names in sorted(os.walk(root)):
            for name in sorted(names):
                self.paths.setdefault(name, []).append(Path(folder, name))

    def present(self, *names: str) -> list[str]:
        """Return those of ``names`` that exist, in the given order; at least one must."""
        existing = [name for name in names if name in self.paths]
        if not existing:
            raise ManifestError(f"{self.hint} needs {' or '.join(names)}, and none is below {self.root}; put it there.")
        return existing

    def find(self, name: str) -> Path:
        """Return the one file of that name; copies are allowed, files that differ are refused."""
        paths = self.paths.get(name, [])
        hinted = [path for path in paths if self.hint in str(path.parent.relative_to(self.root)).lower()]
        paths = hinted or paths
        if not paths:
            raise ManifestError(f"{self.hint} needs the file {name}, which is not below {self.root}; put it there.")
        if len(paths) > 1 and len({path.read_bytes() for path in paths}) > 1:
            places = " and ".join(str(path.parent) for path in paths)
            raise ManifestError(f"Different files named {name} lie in {places}; name the folder of one of them.")
        return paths[0]

    def text(self, name: str) -> tuple[Path, str]:
        """Return the file's path and its text, without a byte order mark."""
        path = self.find(name)
        try:
            return path, path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ManifestError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error

    def json(self, name: str, kind: type) -> tuple[Path, Any]:
        """Return the file's path and its JSON value, which must be a ``kind``."""
        path, text = self.text(name)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{path} is not readable as JSON ({error}); fetch the published file again.") from error
        return path, checked(value, kind, f"{path}")

    def table(self, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
        """Return the rows of a CSV file with the header ``columns``; values of the first must be unique."""
        path, text = self.text(name)
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            lacking = [column for column in columns if column not in (reader.fieldnames or ())]
            if lacking:
                raise ManifestError(
                    f"{path}: the header has {reader.fieldnames}, not the column {lacking[0]!r}; "
                    "fetch the published file again."
                )
            rows = []
            for row in reader:
                if not all((row[column] or "").strip() for column in columns):
                    raise ManifestError(f"{path}, line {reader.line_num}: a value of {columns} is missing; fill it in.")
                rows.append(row)
        except csv.Error as error:
            raise ManifestError(
                f"{path}, near line {reader.line_num}: {error}; fetch the published file again."
            ) from error
        unique([row[columns[0]] for row in rows], f"{path}")
        return rows

    def lines(self, name: str) -> list[str]:
        """Return the non-empty, stripped lines of a list of unique ids."""
        return unique([line.strip() for line in self.text(name)[1].split("\n") if line.strip()], name)


def checked(value: Any, kind: type, where: str) -> Any:
    """Return ``value``, which must be a ``kind``; ``where`` names it in the error."""
    if not isinstance(value, kind):
        raise ManifestError(f"{where}: expected a {kind.__name__}, found {str(value)[:60]!r}; use the published form.")
    return value


def required(record: Any, key: str, kind: type, where: str) -> Any:
    """Return ``record[key]``, which must exist and be a ``kind``."""
    if not isinstance(record, dict) or key not in record:
        raise ManifestError(f"{where}: {key!r} is missing; use the published form of the file.")
    return checked(record[key], kind, f"{where}, {key!r}")


def clean_sentences(values: list[Any], where: str) -> tuple[str, ...]:
    """Collapse white space in sentences and drop empty ones."""
    sentences = (" ".join(checked(value, str, where).split()) for value in values)
    return tuple(sentence for sentence in sentences if sentence)


def unique(ids: list[str], where: str) -> list[str]:
    """Return ``ids``, which must all differ."""
    for id_, count in Counter(ids).items():
        if count > 1:
            raise ManifestError(f"{where} lists {id_} twice; keep one of the two.")
    return ids


def median_span(spans: list[Any], where: str) -> tuple[float, float]:
    """Return the median start and the median end of [[start, end], ...], at least one."""
    if not spans:
        raise ManifestError(f"{where}: there are no times; use the published form.")
    for span in spans:
        if not (isinstance(span, list) and [isinstance(x, int | float) for x in span] == [True, True]):
            raise ManifestError(f"{where}: a time must be [start, end], found {span!r}; use the published form.")
    start, end = map(median, zip(*spans, strict=True))
    return start, end


SPLITS: dict[str, tuple[str, ...]] = {
    "msrvtt-9k": ("train", "test"),
    "msrvtt-7k": ("train", "test"),
    "msrvtt-full": ("train", "val", "test"),
    "msvd": ("train", "val", "test"),
    "didemo": ("train", "val", "test"),
    "activitynet": ("train", "test", "val_1", "val_2"),
    "vatex": ("train", "val", "test", "test1k5_sec"),
}
"""The splits of each benchmark. 1k-A and ActivityNet have no validation videos of their own: hold some
of the training videos out (``TrainConfig.hold_out``) rather than selecting a checkpoint on the test."""

ONE_CAPTION = "one-caption"
"""Every video has one sentence, so both directions rank the same square table."""
BEST_OF_CAPTIONS = "best-of-captions"
"""Every sentence is a query of text->video; video->text counts the best-placed sentence of the video."""
PARAGRAPHS = {"didemo": "paragraph-by-time", "activitynet": "paragraph-by-file"}
"""Benchmarks of one paragraph a video: its sentences joined in the order of time, or as in the file, which is what
CLIP4Clip and its followers do."""


@dataclass(frozen=True)
class VideoText:
    """The sentences of one video.

    file_names: possible names of its file without extension, the likeliest first. end_s: the sentences
    describe the file up to here, None for all of it. extra: clips of one film share a ``group``.
    """

    id: str
    captions: tuple[str, ...]
    file_names: tuple[str, ...]
    end_s: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotations:
    """One split of one benchmark. ``uncaptioned``: listed videos for which no sentence was published."""

    name: str
    split: str
    videos: tuple[VideoText, ...]
    uncaptioned: tuple[str, ...]
    protocol: str


def read_annotations(name: str, *, split: str, annotations: Path) -> Annotations:
    """Read one split of benchmark ``name`` (a key of ``SPLITS``) from the folder ``annotations``.

    Raises ConfigError for an unknown name or split and ManifestError for files that do not fit.
    """
    if name not in SPLITS:
        raise ConfigError(f"Unknown dataset {name!r}; give a manifest (.jsonl) or one of {', '.join(SPLITS)}.")
    if split not in SPLITS[name]:
        raise ConfigError(f"Dataset {name} has no split {split!r}; it has {', '.join(SPLITS[name])}.")
    videos, uncaptioned = _READERS[name](AnnotationFolder(Path(annotations), name), name, split)
    if not videos:
        raise ManifestError(
            f"{name} {split}: none of the {len(uncaptioned)} listed videos has a sentence in the files "
            f"below {annotations}; check that the lists and the captions belong together."
        )
    if uncaptioned:
        log.warning("%s %s: %d listed videos lack sentences and are left out", name, split, len(uncaptioned))
    protocol = PARAGRAPHS.get(name) or protocol_of(video.captions for video in videos)
    return Annotations(name, split, tuple(videos), tuple(uncaptioned), protocol)


def protocol_of(captions: Iterable[tuple[str, ...]]) -> str:
    """Return the evaluation protocol for these captions, one tuple a video."""
    return ONE_CAPTION if all(len(sentences) == 1 for sentences in captions) else BEST_OF_CAPTIONS


# --------------------------------------------------------------------------- readers, one a benchmark
Read = tuple[list[VideoText], list[str]]


def _msrvtt(files: AnnotationFolder, name: str, split: str) -> Read:
    """Xu et al. 2016. The 1k-A test (JSFusion, Yu et al. 2018) has its CSV's one sentence a video."""
    if split == "test" and name != "msrvtt-full":
        file = "MSRVTT_JSFUSION_test.csv"
        sentences = {row["video_id"]: row["sentence"] for row in files.table(file, ("video_id", "sentence"))}
        return _captioned([VideoText(id_, clean_sentences([text], file), (id_,)) for id_, text in sentences.items()])
    infos, captions = _msrvtt_json(files)
    if name == "msrvtt-full":
        official = {"train": "train", "val": "validate", "test": "test"}[split]
        ids = [id_ for id_, info in infos.items() if info.get("split") == official]
    else:
        table = f"MSRVTT_train.{name.removeprefix('msrvtt-')}.csv"
        ids = [row["video_id"] for row in files.table(table, ("video_id",))]
    lacking = [id_ for id_ in ids if id_ not in captions]
    if lacking or not ids:
        raise ManifestError(
            f"{name} {split}: {len(lacking)} of {len(ids)} videos have no sentence (first: {lacking[:1]}); "
            "train_val_videodatainfo.json and test_videodatainfo.json are both needed."
        )
    groups = {id_: {"group": info.get("url", id_)} for id_, info in infos.items()}
    return _captioned([VideoText(id_, tuple(captions[id_]), (id_,), None, groups.get(id_, {})) for id_ in ids])


def _msrvtt_json(files: AnnotationFolder) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Videos and sentences by id, from the official pair or from the joined file of CLIP4Clip."""
    official = ("train_val_videodatainfo.json", "test_videodatainfo.json")
    present = files.present(*official, "MSRVTT_data.json")
    infos: dict[str, dict[str, Any]] = {}
    captions: dict[str, list[str]] = {}
    for file in [file for file in present if file in official] or present:
        path, value = files.json(file, dict)
        for info in required(value, "videos", list, f"{path}"):
            infos[required(info, "video_id", str, f"{path}, a video")] = info
        for row in required(value, "sentences", list, f"{path}"):
            where = f"{path}, a sentence"
            sentences = clean_sentences([required(row, "caption", str, where)], where)
            captions.setdefault(required(row, "video_id", str, where), []).extend(sentences)
    return infos, {id_: sentences for id_, sentences in captions.items() if sentences}


def _msvd(files: AnnotationFolder, name: str, split: str) -> Read:
    """Chen and Dolan 2011. The list decides the split, since the caption dumps mix train and test ids.

    One source a video, the fullest first: AllVideoDescriptions.txt (the authors'), then
    test500_ground_truth.json, then train1450_mlds_training_label.json (about half of a video's sentences).
    """
    readers = {
        "AllVideoDescriptions.txt": _msvd_lines,
        "test500_ground_truth.json": _msvd_dump,
        "train1450_mlds_training_label.json": _msvd_dump,
    }
    captions: dict[str, tuple[str, ...]] = {}
    for file in files.present(*readers):
        captions = readers[file](files, file) | captions
    ids = files.lines(f"{split}_list.txt")
    return _listed(ids, captions, lambda id_: (id_,))


def _msvd_lines(files: AnnotationFolder, file: str) -> dict[str, tuple[str, ...]]:
    captions: dict[str, list[str]] = {}
    path, text = files.text(file)
    for line in text.split("\n"):
        if not line.startswith("#") and line.strip():
            id_, _, sentence = line.strip().partition(" ")
            captions.setdefault(id_, []).extend(clean_sentences([sentence], f"{path}"))
    return {id_: tuple(sentences) for id_, sentences in captions.items()}


def _msvd_dump(files: AnnotationFolder, file: str) -> dict[str, tuple[str, ...]]:
    """Either dump: {"0": {"video_id", "caption"}} or [{"id": "….avi", "caption"}]."""
    path, value = files.json(file, (list if file.startswith("train") else dict))
    key = "id" if isinstance(value, list) else "video_id"
    captions: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(value if isinstance(value, list) else value.values()):
        where = f"{path}, record {number}"
        id_ = required(row, key, str, where).removesuffix(".avi")
        captions[id_] = captions.get(id_, ()) + clean_sentences(required(row, "caption", list, where), where)
    return captions


def _didemo(files: AnnotationFolder, name: str, split: str) -> Read:
    """Hendricks et al. 2017. A video is its file name without extension: 1,065 in val and 1,004 in test.

    Descriptions stand by the median start, then end, over the annotators (our decision; CLIP4Clip keeps the
    order of the file). Annotators saw the first 30 s, hence ``end_s``.
    """
    path, rows = files.json(f"{split}_data.json", list)
    descriptions: dict[str, list[tuple[float, float, str]]] = {}
    for number, row in enumerate(rows):
        where = f"{path}, record {number}"
        video = required(row, "video", str, where)
        id_ = video.rpartition(".")[0] or video
        span = median_span(required(row, "times", list, where), where)
        descriptions.setdefault(id_, []).append((*span, required(row, "description", str, where)))
    videos = []
    for id_, parts in descriptions.items():
        ordered = sorted(parts, key=lambda part: part[:2])
        paragraph = clean_sentences([" ".join(text for *_, text in ordered)], f"{path}")
        videos.append(VideoText(id_, paragraph, (id_,), 30.0))
    return _captioned(videos)


def _activitynet(files: AnnotationFolder, name: str, split: str) -> Read:
    """Krishna et al. 2017. The sentences of a video joined; val_1 as test (Zhang et al. 2018)."""
    names = {"train": ("train_modified.json", "train.json"), "test": ("val_1.json",)}
    path, rows = files.json(files.present(*names.get(split, (f"{split}.json",)))[0], dict)
    videos = []
    for id_, row in rows.items():
        where = f"{path}, {id_}"
        sentences = required(row, "sentences", list, where)
        paragraph = clean_sentences([" ".join(clean_sentences(sentences, where))], where)
        bare = id_.removeprefix("v_")
        videos.append(VideoText(id_, paragraph, (f"v_{bare}", bare)))
    return _captioned(videos)


def _vatex(files: AnnotationFolder, name: str, split: str) -> Read:
    """Wang et al. 2019, its English sentences. Lists as in HGR (Chen et al. 2020), which halve the official
    validation videos; ``test1k5_sec`` is another half of them and shares 776 videos with ``val``."""
    ids = files.lines("test1k5_sec_list.txt" if split == "test1k5_sec" else f"{split}_list.txt")
    captions: dict[str, tuple[str, ...]] = {}
    for file in files.present(
        "vatex_training_v1.0.json", "vatex_validation_v1.0.json", "vatex_public_test_english_v1.1.json"
    ):
        path, rows = files.json(file, list)
        for number, row in enumerate(rows):
            where = f"{path}, record {number}"
            captions[required(row, "videoID", str, where)] = clean_sentences(required(row, "enCap", list, where), where)
    return _listed(ids, captions, _vatex_names)


def _vatex_names(id_: str) -> tuple[str, ...]:
    """``ID_000122_000132``, or the same without the zeros that pad the seconds."""
    parts = id_.rsplit("_", 2)
    if len(parts) == 3 and all(part.isdigit() for part in parts[1:]):
        return id_, f"{parts[0]}_{int(parts[1])}_{int(parts[2])}"
    return (id_,)


def _listed(ids: list[str], captions: dict[str, tuple[str, ...]], names: Callable[[str], tuple[str, ...]]) -> Read:
    """The videos of a list. Clips of one YouTube film (the id's first 11 characters) share a group."""
    return _captioned([VideoText(id_, captions.get(id_, ()), names(id_), None, {"group": id_[:11]}) for id_ in ids])


def _captioned(videos: list[VideoText]) -> Read:
    """The videos that have a sentence, and the ids of those that have none."""
    with_text = [video for video in videos if video.captions]
    return with_text, [video.id for video in videos if not video.captions]


_READERS: dict[str, Callable[[AnnotationFolder, str, str], Read]] = {
    **dict.fromkeys(("msrvtt-9k", "msrvtt-7k", "msrvtt-full"), _msrvtt),
    "msvd": _msvd,
    "didemo": _didemo,
    "activitynet": _activitynet,
    "vatex": _vatex,
}


# --------------------------------------------------------------------------- video files
def find_videos(folder: Path, names_by_id: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """Find the files of videos below ``folder``, at any depth (links are followed) and with any extension.

    ``names_by_id``: possible file names of each video without extension, the likeliest first. An exact
    match comes first, then a unique match that ignores case. Of several files for one video the first by
    extension, then by path, is returned. Returns paths by id; ids without a file are left out.
    """
    if not folder.is_dir():
        raise ManifestError(f"The folder of videos {folder} does not exist; check the path.")
    exact: dict[str, list[Path]] = {}
    for path in _walk(folder):
        exact.setdefault(_stem(path.name), []).append(path)
    loose: dict[str, list[str]] = {}
    for stem in exact:
        loose.setdefault(stem.lower(), []).append(stem)
    files = {}
    for id_, names in names_by_id.items():
        stems = [name for name in names if name in exact]
        stems = stems or [loose[name.lower()][0] for name in names if len(loose.get(name.lower(), ())) == 1]
        if stems:
            files[id_] = min(exact[stems[0]], key=_preference)
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files that may be videos: a known extension, or none at all (as some of DiDeMo's)."""
    visited: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()  # a link back to a folder above
            continue
        visited.add(real)
        for name in names:
            suffix = Path(name).suffix.lower()
            if not name.startswith(".") and (suffix in VIDEO_EXTENSIONS or suffix in ("", ".")):
                path = Path(root, name)
                if path.is_file():
                    yield path


def _stem(name: str) -> str:
    """The name without its video extensions: ``a.mov.mp4`` (a converted file) is ``a``."""
    while True:
        stem, dot, ending = name.rpartition(".")
        if not stem or (dot + ending).lower() not in (*VIDEO_EXTENSIONS, "."):
            return name
        name = stem


def _preference(path: Path) -> tuple[int, str]:
    suffix = path.suffix.lower()
    return VIDEO_EXTENSIONS.index(suffix) if suffix in VIDEO_EXTENSIONS else len(VIDEO_EXTENSIONS), str(path)
