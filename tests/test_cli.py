"""The command line over the tiny model and drawn clips: its words, its answers, its refusals."""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command_line import commands, parse
from tests.helpers.data_files import touch
from tests.helpers.drawn import draw_clip, moving_square_clip
from vtr_demo import cli
from vtr_demo.commands import console
from vtr_demo.commands import library as library_commands
from vtr_demo.model import checkpoint
from vtr_demo.structures import LEVELS, TERMS

ROOT = Path(__file__).parents[1]
SENTENCE = "a red square moves"
pytestmark = pytest.mark.usefixtures("few_null_captions")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Three clips and a broken file between them, one of them in a folder below, and what is no video."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "below").mkdir()
    (folder / ".hidden").mkdir()
    moving_square_clip(folder / "a square.mp4", frames=12)
    (folder / "broken.mp4").write_bytes(b"no video" * 400)
    draw_clip(folder / "numbers.mov", frames=12)
    draw_clip(folder / "below" / "LONG.MP4", frames=140)
    draw_clip(folder / ".hidden" / "unseen.mp4", frames=2)
    (folder / "notes.txt").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def library(clips, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "lib"
    assert cli.main(["index", str(clips), "--library", str(folder), "--model", "tiny"]) == 0
    return folder


@pytest.fixture
def call(capfd):
    """Run a command with the tiny model; gives its status, and what came out of the process's stdout and stderr."""

    def run(*arguments: object, model: str = "tiny") -> tuple[int, str, str]:
        capfd.readouterr()
        status = cli.main([*map(str, arguments), *(["--model", model] if model else [])])
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They have a test of their own, and take seconds."""
    monkeypatch.setattr("vtr_demo.viz.figures.draw", lambda *_, **__: b"")


def refusal(err: str) -> str:
    """The last line of stderr, which must be the program's name and one sentence."""
    line = err.splitlines()[-1]
    assert line.startswith("vtr_demo: ")
    assert "Traceback" not in err
    return line


# --------------------------------------------------------------------------- index
def test_a_broken_file_is_named_and_the_others_are_indexed(call, clips, tmp_path):
    missing = tmp_path / "missing.mp4"
    status, out, _ = call("index", clips, missing, "--library", tmp_path / "lib", "--json")
    report = json.loads(out)
    assert status == 0
    assert [clip["name"] for clip in report["added"]] == ["a square.mp4", "numbers.mov", "LONG.MP4"]
    assert [failed["name"] for failed in report["failed"]] == ["broken.mp4", "missing.mp4"]
    assert all(failed["name"] in failed["reason"] for failed in report["failed"])


def test_what_is_known_counts_as_indexed(call, clips, library):
    status, out, _ = call("index", clips / "numbers.mov", "--library", library, "--json")
    assert status == 0
    report = json.loads(out)
    assert {name: values for name, values in report.items() if values} == {"known": ["numbers.mov"]}


def test_folders_are_walked_once_through_links_and_never_into_a_systems_own(tmp_path):
    names = ["trip.mp4", "@eaDir/trip.mp4/SYNOPHOTO_FILM_M.mp4", "#recycle/gone.mp4", "._trip.mp4", ".Trash-1000/x.mp4",
             "$RECYCLE.BIN/y.mp4", "deep/raw_1.mp4", "deep/z.MKV", "raw/w.mp4", "lost+found/v.mp4"]  # fmt: skip
    root = tmp_path / "root"
    for name in names:
        touch(root / name)
    touch(tmp_path / "outside" / "o.mp4")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "deep" / "again").symlink_to(tmp_path / "outside")
    (root / "deep" / "loop").symlink_to(root)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    endings = (".mp4", ".mkv")
    touch(root / "notes.txt")
    found, skipped = console.find_videos([root, root / "deep", root / "trip.mp4", root / "notes.txt"], endings)
    relative = [path.relative_to(root).as_posix() for path in found]
    assert relative == ["trip.mp4", "deep/raw_1.mp4", "deep/z.MKV", "link/o.mp4", "raw/w.mp4", "notes.txt"]
    assert len(skipped) == 10
    assert dict(skipped)[root / "notes.txt"] == "no video by its ending"
    found, skipped = console.find_videos([root], endings, ["raw*", "deep/z.*"])
    assert [path.name for path in found] == ["trip.mp4", "o.mp4"]
    reasons = {path.name: reason for path, reason in skipped if "excluded" in reason}
    assert reasons == dict.fromkeys(["raw", "raw_1.mp4"], "excluded by raw*") | {"z.MKV": "excluded by deep/z.*"}


@pytest.mark.parametrize(
    "pattern",
    ["raw", "raw/", "./raw", "/raw", "**/raw", "{root}/raw", "raw/*", unicodedata.normalize("NFD", "raw/é.mp4")],
)
def test_a_pattern_leaves_out_what_a_person_would_expect(tmp_path, pattern):
    touch(tmp_path / "raw" / "é.mp4", tmp_path / "RAW" / "é.mp4", tmp_path / "draw" / "é.mp4")
    found, skipped = console.find_videos([tmp_path], (".mp4",), [pattern.format(root=tmp_path)])
    assert [path.parent.name for path in found] == ["RAW", "draw"]
    assert len(skipped) == 1


def test_a_library_among_its_films_is_not_indexed_into_itself(call, clips, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for name in ("a square.mp4", "numbers.mov"):
        shutil.copy(clips / name, films)
    for library in (films, films / "library"):
        for counts in ("2 indexed, 0 known", "0 indexed, 2 known"):
            assert counts in call("index", films, "--library", library, "--copy")[1]


def test_one_path_that_cannot_be_used_ends_nothing(call, clips, tmp_path, monkeypatch):
    folder = tmp_path / "films"
    folder.mkdir()
    shutil.copy(clips / "a square.mp4", folder / "a.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "endless.mp4").symlink_to("/dev/zero")
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    long = tmp_path / f"{'n' * 300}.mp4"
    status, out, _ = call("index", long, folder, "--library", tmp_path / "lib", "--json")
    report = json.loads(out)
    assert (status, [clip["name"] for clip in report["added"]]) == (0, ["a.mp4"])
    failed = {row["name"] for row in report["failed"]}
    assert failed == {long.name, "loop.mp4", "endless.mp4", "gone.mp4", "pipe.mp4"}
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)  # as for a file that belongs to another
        assert parse(["index", str(folder / "a.mp4"), "--library", "x"])[1]["paths"] == [folder / "a.mp4"]
    for path in (long, folder / "loop.mp4", folder / "pipe.mp4", "nowhere.mp4"):
        assert Path(path).name in refusal(call("search", "--like", path, "--library", tmp_path / "lib")[2])


def test_index_counts_what_it_skipped_and_lists_it_on_demand(call, clips, tmp_path):
    words = ("index", clips, "--library", tmp_path / "lib", "--exclude", "LONG*", "below", "broken*")
    status, out, _ = call(*words)
    assert status == 0
    assert out.startswith("skipped 4 in folders (")
    assert json.loads(call(*words, "--json")[1])["skipped"] == 4
    assert f"skipped {clips / 'notes.txt'}: no video by its ending" in call(*words, "--skipped")[1].splitlines()


def test_index_takes_captions_from_a_file_and_names_lines_that_fit_nothing(call, clips, tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text("clip;caption\nA SQUARE.mp4;a square, red\nnumbers;some numbers\nlost.mp4;nothing\n")
    status, _, err = call("index", clips, "--library", tmp_path / "lib", "--captions", table)
    assert status == 0
    assert "line 4: it names 'lost.mp4'" in err
    listed = json.loads(call("list", "--library", tmp_path / "lib", "--json")[1])
    captions = {clip["name"]: clip["captions"] for clip in listed}
    assert captions == {"a square.mp4": ["a square, red"], "numbers.mov": ["some numbers"], "LONG.MP4": []}


def test_what_is_gone_from_a_folder_is_said_when_it_is_indexed_again(call, clips, tmp_path):
    folder, library = tmp_path / "films", tmp_path / "lib"
    folder.mkdir()
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(clips / ("a square.mp4" if name == "one.mp4" else "below/LONG.MP4"), folder / name)
    assert call("index", folder, "--library", library)[0] == 0
    (folder / "one.mp4").unlink()
    status, out, _ = call("index", folder, "--library", library)
    assert status == 0
    assert "gone    one.mp4" in out
    assert "(gone)" in call("list", "--library", library)[1].splitlines()[0]
    assert "1 of 2 clips deleted" in call("prune", "--library", library)[1]
    (folder / "two.mp4").unlink()
    call("prune", "--library", library)
    for command in (("list",), ("search", SENTENCE)):
        assert "is empty; add clips with" in call(*command, "--library", library)[1]


def test_limits_are_listed_and_may_be_raised_and_lowered(call, clips, tmp_path):
    status, out, _ = call("limits", model="")
    assert status == 0
    assert "max_duration_s=900.0" in out
    assert json.loads(call("limits", "--json", model="")[1])["max_bytes"] == 200 * 2**20
    words = ("index", clips / "a square.mp4", clips / "numbers.mov", "--library", tmp_path / "lib")
    status, out, _ = call(*words, "--limits", "max_duration_s=0.1", "max_bytes=1e9")
    assert (status, out.count("raise the limit with --limits max_duration_s=N")) == (1, 2)
    assert call(*words)[0] == 0
    for wrong in ("max_duration_s=-1", "colour=3", "max_bytes"):
        assert "is no limit such as" in refusal(call(*words, "--limits", wrong)[2])


def test_nothing_indexed_is_a_failure_with_its_reason(call, clips, tmp_path):
    library = tmp_path / "lib"
    (tmp_path / "empty").mkdir()
    assert call("index", tmp_path / "empty", "--library", library)[0] == 1
    assert not library.exists()
    status, out, _ = call("index", clips / "broken.mp4", "--library", library)
    assert (status, "broken.mp4" in out, "0 indexed" in out) == (1, True, True)


# --------------------------------------------------------------------------- names and terminals
NAMES = [b"caf\xe9.mp4", "cafe\u0301.mp4".encode(), "cat \U0001f600.mp4".encode(), b"a'\"<b>.mp4", b"-n.mp4"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])  # the other tests stand on UTF-8
def test_any_name_is_indexed_listed_and_found_on_any_terminal(tmp_path, encoding):
    folder, library = os.fsencode(tmp_path / "films"), ["--library", str(tmp_path / "lib"), "--model", "tiny"]
    os.mkdir(folder)
    for i, name in enumerate(NAMES):
        draw_clip(Path(os.fsdecode(os.path.join(folder, name))), frames=4 + i)
    calls = [["index", os.fsdecode(folder)], ["search", SENTENCE, "--json"], ["list"]]
    code = "import sys, vtr_demo.cli\nfor call in eval(sys.argv[1]): print(vtr_demo.cli.main(call), end='\\0')"
    done = subprocess.run(
        [sys.executable, "-c", code, ascii([[*call, *library] for call in calls])],
        cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False,
    )  # fmt: skip
    indexed, found, listed, _ = done.stdout.decode(encoding).split("\0")
    assert f"{len(NAMES)} indexed, 0 known already, 0 failed" in indexed
    hits, status = json.JSONDecoder().raw_decode(found)
    assert found[status:].strip() == "0"
    assert {hit["name"] for hit in hits} == {"café.mp4", *(name.decode() for name in NAMES[1:])}
    assert {os.fsencode(hit["path"]) for hit in hits} == {os.path.join(folder, name) for name in NAMES}
    assert len(listed.splitlines()) == len(NAMES) + 1


@pytest.mark.skipif(os.name == "nt", reason="names there hold no control characters")
def test_no_character_of_a_name_commands_a_terminal(call, clips, tmp_path):
    folder = tmp_path / "esc\x1b[2J"
    folder.mkdir()
    shutil.copy(clips / "a square.mp4", folder / "two\nlines\x9b31m.mp4")
    (folder / "no\x07.txt").touch()
    library = ("--library", tmp_path / "lib\x1b")
    calls = [("index", folder, "--skipped"), ("list",), ("search", SENTENCE), ("list", "--json"), ("index", folder)]
    printed = "".join(f"{out}{err}" for _, out, err in (call(*one, *library) for one in calls))
    printed += call("search", "x", "--library", folder)[2]
    assert not [one for one in printed if unicodedata.category(one) == "Cc" and one != "\n"]
    listed = json.loads(call("list", "--json", *library)[1])
    assert [Path(row["path"]).is_file() for row in listed] == [True]


def test_originals_are_copied_only_on_request(call, clips, tmp_path):
    for name, options in (("plain", ()), ("copied", ("--copy",))):
        assert call("index", clips / "a square.mp4", "--library", tmp_path / name, *options)[0] == 0
    content = (clips / "a square.mp4").read_bytes()

    def copies(name: str) -> int:
        files = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        return sum(path.read_bytes() == content for path in files)

    assert (copies("plain"), copies("copied")) == (0, 1)


# --------------------------------------------------------------------------- search
def test_hits_have_the_promised_keys_and_terms_that_add_up(call, library):
    status, out, _ = call("search", SENTENCE, "--library", library, "-k", 2, "--json")
    hits = json.loads(out)
    assert status == 0
    assert len(hits) == 2
    for hit in hits:
        assert {"id", "path", "score", "start_s", "end_s", "confidence", "terms"} <= hit.keys()
        assert set(hit["terms"]) == set(TERMS)
        assert sum(hit["terms"].values()) == pytest.approx(hit["score"], abs=1e-5)
        assert 0 <= hit["confidence"] <= 1
        assert hit["match"] in ("strong", "weak", "no match")
        assert 0 <= hit["start_s"] < hit["end_s"]
        assert Path(hit["path"]).is_file()
    assert hits[0]["score"] >= hits[1]["score"]
    _, out, err = call("search", SENTENCE, "--library", library)  # as people read it
    assert out.index(hits[0]["path"]) < out.index(hits[1]["path"])
    assert (err, "opening the model" in out) == ("opening the model tiny\n", False)


def test_weights_and_muted_concepts_change_the_score_as_they_say(call, clips, spec, tmp_path):
    library = tmp_path / "lib"
    assert call("index", clips, "--library", library, model=spec)[0] == 0

    def top(*options: object) -> dict[str, dict[str, float]]:
        said = call("search", SENTENCE, "--library", library, "--json", *options, model=spec)[1]
        return {hit["name"]: hit["terms"] for hit in json.loads(said)}

    alone = top("--weights", "global=0", "entity=2", "action=0", "relationship=0", "concepts=0")
    assert all(terms["entity"] and terms["entity"] == sum(terms.values()) for terms in alone.values())
    both = ("--weights", "concepts=0.5", "global=1")
    heard = top(*both)
    assert all(terms["concepts"] for terms in heard.values())
    silent = top(*both, "--mute", *(f"concept {k + 1}" for k in range(5)))
    for name, terms in silent.items():
        assert terms == heard[name] | {"concepts": 0.0}


def test_an_explanation_is_that_of_the_weights_given(call, clips, spec, tmp_path):
    square, out = clips / "a square.mp4", tmp_path / "out"
    options = ("--json", "--weights", "global=0", "entity=1", "action=0", "relationship=0", "concepts=0")
    said = call("explain", SENTENCE, square, "--out", out, *options, model=spec)[1]
    answer = json.loads(said)
    assert answer["score"] == pytest.approx(answer["terms"]["entity"], abs=1e-6)
    assert abs(answer["score"]) > 0.01
    assert answer["gates"]["entity"] == 1
    (tmp_path / "s.txt").write_text(SENTENCE)
    told = call("describe", square, "--captions", tmp_path / "s.txt", *options, model=spec)[1]
    assert json.loads(told)[0]["terms"]["entity"] == pytest.approx(answer["score"], abs=1e-5)


def test_a_search_leaves_the_library_to_its_writer(call, library):
    from vtr_demo.library.engine import Engine

    writer = Engine.open(library, "tiny")
    try:
        assert call("search", SENTENCE, "--library", library)[0] == 0
    finally:
        writer.close()


# --------------------------------------------------------------------------- list, delete, prune
def test_clips_are_listed_deleted_and_pruned_where_their_file_is_gone(call, clips, tmp_path):
    library, videos = ("--library", tmp_path / "lib"), tmp_path / "videos"
    shutil.copytree(clips, videos)
    assert call("index", videos / "a square.mp4", *library, "--copy")[0] == 0
    assert call("index", videos / "numbers.mov", videos / "below" / "LONG.MP4", *library)[0] == 0

    listed = json.loads(call("list", *library, "--json")[1])
    assert [row["name"] for row in listed] == ["a square.mp4", "numbers.mov", "LONG.MP4"]
    assert all(set(row) == {"id", "name", "duration_s", "captions", "path"} for row in listed)
    assert all(row["duration_s"] > 0 and Path(row["path"]).is_file() for row in listed)
    assert all(row["id"] in call("list", *library)[1] for row in listed)

    assert json.loads(call("prune", *library, "--json")[1]) == {"deleted": []}
    shutil.rmtree(videos)  # of the first there is a copy, of the second a version for browsers
    pruned = json.loads(call("prune", *library, "--json")[1])["deleted"]
    assert [row["id"] for row in pruned] == [listed[2]["id"]]

    status, out, err = call("delete", "0123456789ab", listed[0]["id"], *library, "--json")
    assert status == 2
    assert json.loads(out)["deleted"] == [listed[0]["id"]]
    assert "0123456789ab" in refusal(err)
    assert [row["id"] for row in json.loads(call("list", *library, "--json")[1])] == [listed[1]["id"]]


# --------------------------------------------------------------------------- advice
def advised(sentence: str, path: Path) -> list[str]:
    """The arguments of the command in a sentence, ``path`` in the place of its PATH."""
    _, _, program, *arguments = shlex.split(re.search(r"`(python .*?)`", sentence)[1])
    assert program == "vtr_demo"
    return [str(path) if argument == "PATH..." else argument for argument in arguments]


def test_the_command_that_a_sentence_advises_does_what_it_says(call, clips, tmp_path):
    library, square = tmp_path / "my 'own' library", clips / "a square.mp4"
    (missing,) = refusal(call("search", SENTENCE, "--library", library)[2]).splitlines()
    assert call(*advised(missing, square))[0] == 0
    foreign = refusal(call("search", SENTENCE, "--library", library, model="tiny:1")[2])
    assert call("index", square, "--library", library, model="tiny:1")[0] == 2
    status, out, _ = call(*advised(foreign, square), model="")
    assert (status, "1 clips" in out) == (0, True)
    assert len(json.loads(call("search", SENTENCE, "--library", library, "--json", model="tiny:1")[1])) == 1
    call("delete", hashlib.sha256(square.read_bytes()).hexdigest()[:12], "--library", library, model="tiny:1")
    empty = call("list", "--library", library, model="tiny:1")[1]
    assert call(*advised(empty, square), model="")[0] == 0


@pytest.mark.parametrize("kind", ["frames", "vectors"])
def test_damage_is_said_and_a_rebuild_repairs_it(call, clips, tmp_path, kind):
    library = tmp_path / "lib"
    call("index", clips / "a square.mp4", clips / "numbers.mov", "--library", library)
    before = call("search", SENTENCE, "--library", library)[1]
    for file in (library / kind).iterdir():
        file.write_bytes(b"spoiled")
    if kind == "vectors":
        assert (
            "a square.mp4: its vectors in the library are missing or damaged" in call("list", "--library", library)[2]
        )
    status, out, _ = call("index", "--rebuild", "--library", library, "--json")
    assert (status, [row["name"] for row in json.loads(out)["repaired"]]) == (0, ["a square.mp4", "numbers.mov"])
    assert call("search", SENTENCE, "--library", library)[1:] == (before, "opening the model tiny\n")


def test_every_command_and_option_in_a_sentence_exists():
    known = commands()
    options = {name for command in known.values() for one in command.params for name in one.opts}
    options |= set(re.findall(r'"(--[a-z-]+)"', (ROOT / "app.py").read_text()))
    options |= {"--force-reinstall", "--no-deps", "--head", "--strip-components", "--help"}  # of pip, Ray, tar
    for file in (*(ROOT / "vtr_demo").rglob("*.py"), ROOT / "app.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            assert {*re.findall(r"(?<=[\s`(])--[a-z][\w-]*", text)} <= options, (file.name, text)
            assert {*re.findall(r"-m vtr_demo ([a-z]+)", text)} <= known.keys(), (file.name, text)


# --------------------------------------------------------------------------- one clip
def test_sentences_are_ranked_as_the_engine_ranks_them(call, clips, library, tmp_path):
    from vtr_demo.library.engine import Engine

    sentences = ["a cat sleeps", SENTENCE, "two dogs run on the beach"]
    file = tmp_path / "captions.txt"
    file.write_text("\n".join(sentences))
    status, out, _ = call("describe", clips / "a square.mp4", "--captions", file, "-k", 2, "--json")
    ranked = json.loads(out)
    engine = Engine.open(library, "tiny", readonly=True)
    expected = engine.describe_file(clips / "a square.mp4", sentences, 2)
    assert status == 0
    assert [row["text"] for row in ranked] == [hit.text for hit in expected]
    assert [row["score"] for row in ranked] == pytest.approx([hit.score for hit in expected])


def test_an_explanation_is_of_the_score_that_a_search_gives_and_adds_up_to_it(call, library, tmp_path):
    out = tmp_path / "new" / "why"
    hits = json.loads(call("search", SENTENCE, "--library", library, "--json")[1])
    hit = next(hit for hit in hits if hit["name"] == "LONG.MP4")
    why = json.loads(call("explain", SENTENCE, hit["id"], "--library", library, "--out", out, "--json")[1])
    assert json.loads((out / "explanation.json").read_text()) == why
    assert why["score"] == pytest.approx(hit["score"], abs=1e-5)
    assert (why["start_s"], why["end_s"]) == (hit["start_s"], hit["end_s"])
    assert hit["end_s"] - hit["start_s"] < 14  # a moment, not the whole clip
    assert set(why["parts"]) == set(why["terms"]) == set(TERMS)
    for term, parts in why["parts"].items():
        assert np.shape(parts) == (len(why["words"]), len(why["frames"]))
        assert np.sum(parts) == pytest.approx(why["terms"][term], abs=1e-5)
    assert sum(why["terms"].values()) == pytest.approx(why["score"], abs=1e-5)
    assert sum(why["gates"][level] for level in LEVELS) == pytest.approx(1)
    assert [word["word"] for word in why["words"][1:]] == SENTENCE.split()


# --------------------------------------------------------------------------- evaluate, train, playground
@pytest.fixture
def manifest(clips) -> Path:
    rows = [
        {"path": "a square.mp4", "captions": [SENTENCE, "a square goes down"], "kind": "real"},
        {"path": "numbers.mov", "captions": ["white blocks on grey"], "kind": "real"},
        {"path": "below/LONG.MP4", "captions": ["blocks blink for a long time"], "kind": "drawn"},
    ]
    file = clips / "manifest.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_both_directions_are_measured_in_percent_with_intervals(call, manifest, tmp_path):
    file = tmp_path / "deep" / "result.json"
    status, out, _ = call("evaluate", "--data", manifest, "--json", file, "--ablations")
    result = json.loads(out)
    assert status == 0
    assert json.loads(file.read_text()) == result
    assert (result["texts"], result["videos"], result["model"]) == (4, 3, "tiny")
    for direction in ("text_to_video", "video_to_text"):
        side = result[direction]
        assert {"R@1", "R@5", "R@10", "MdR", "MnR"} <= side.keys()
        assert side["R@5"] == 100  # three clips, four texts: none can rank below five
        for name, (low, high) in side["interval_95"].items():
            assert low <= side[name] <= high
    assert "only global" in result["ablations"]
    status, out, err = call("evaluate", "--data", manifest, "--json", tmp_path)
    assert (status, json.loads(out)["texts"]) == (2, 4)  # not lost with the file
    assert f"{tmp_path} cannot be used" in refusal(err)
    both = json.loads(call("evaluate", "--data", manifest, "--kind", "real", "--against", "untrained:tiny")[1])
    assert both["models"] == ["tiny", "untrained:tiny"]
    assert all(row == {"difference": 0, "interval_95": [0, 0]} for row in both["text_to_video"].values())


def test_a_trained_checkpoint_is_a_model_for_every_command(call, manifest, library, tmp_path):
    config = tmp_path / "config.json"
    settings = {
        "model": {"backbone": "tiny", "hidden": 8, "heads": 2, "concepts": 4, "concept_width": 5},
        "train": [str(manifest)], "validation": [str(manifest)], "cache": "", "batch": 3, "steps": 50,
    }  # fmt: skip
    config.write_text(json.dumps(settings))
    options = ("--set", f"out={tmp_path / 'run'}", "steps=2", "--set", "evaluate_every=2")
    status, out, _ = call("train", "--config", config, *options, model="")
    assert status == 0
    trained = out.strip()
    assert Path(trained, checkpoint.SETTINGS).is_file()
    result = json.loads(call("evaluate", "--data", manifest, model=trained)[1])
    assert result["model"] == trained


def test_the_playground_films_what_the_manifest_says(call, sprites, tmp_path):
    options = ("--sprites", sprites, "--size", "160x90")
    status, out, _ = call("playground", "--out", tmp_path / "a", "--count", 1, "--seed", 3, *options, model="")
    first = Path(out.strip())
    assert status == 0
    row = json.loads(first.read_text())
    assert {"path", "captions", "truth", "spec"} <= row.keys()
    assert (first.parent / row["path"]).stat().st_size > 1000

    again = call("playground", "--out", tmp_path / "b", "--samples", first, *options, model="")
    assert json.loads(Path(again[1].strip()).read_text()) == row


def test_probes_are_in_percent_and_those_that_kept_their_tokens_draw_nothing_again(call, sprites, tmp_path):
    probe = ("probe", "--pairs", 1, "--cache", tmp_path / "kept", "--sprites")
    first, again = (json.loads(call(*probe, folder)[1]) for folder in (sprites, tmp_path / "no sprites here"))
    assert first == again
    assert {"entity", "action", "relationship", "model"} <= first.keys()
    assert all(0 <= first["action"][term]["both"] <= 100 for term in (*TERMS, "score"))
    assert len(list((tmp_path / "kept").glob("*/playground-probe-*"))) == 6


# --------------------------------------------------------------------------- serve
def test_serve_hands_its_arguments_to_the_page_if_it_is_there(monkeypatch, tmp_path, capsys):
    page = tmp_path / "app.py"
    monkeypatch.setattr(cli, "APP", page)
    assert cli.main(["serve"]) == 2
    assert "app.py" in refusal(capsys.readouterr().err)
    page.write_text("def main(argv):\n    print(argv)\n")
    assert cli.main(["serve", "--port", "7861", "--library", "x"]) == 0
    assert capsys.readouterr().out.strip() == "['--port', '7861', '--library', 'x']"


# --------------------------------------------------------------------------- the program itself
def test_the_commands_are_those_that_other_tools_rely_on(capsys):
    assert cli.main(["--help"]) == 0
    words = (
        "index search describe explain evaluate probe concepts faithfulness bench train playground serve list delete"
    )
    assert set(f"{words} prune limits".split()) <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("search x --library y --weights action=2 entity=0 -k 3",
         {"weights": [("action", 2.0), ("entity", 0.0)], "k": 3, "text": "x", "as_json": False}),
        ("search --library y --mute a b --mute c --json x", {"mute": ["a", "b", "c"], "as_json": True}),
        ("search --library y -- --json", {"text": "--json", "as_json": False}),
        ("train --config c --set a=1 b=2 --set c=-3", {"overrides": ["a=1", "b=2", "c=-3"]}),
        ("evaluate --data d --json", {"json_file": Path("-")}),
        ("evaluate --json --data d", {"json_file": Path("-"), "data": "d"}),
        ("evaluate --data d", {"json_file": None, "protocol": "merged", "split": "test"}),
        ("bench codes muting --json - --rounds 2", {"names": ["codes", "muting"], "json_file": Path("-")}),
        ("playground --out o --count 3 --size 160x90", {"size": (160, 90), "count": 3, "seed": 0}),
        ("playground --out o", {"size": (640, 360), "count": None, "split": "train"}),
        ("delete a b --library y", {"ids": ["a", "b"]}),
        ("serve --port 7861 --library x --help", {"rest": ["--port", "7861", "--library", "x", "--help"]}),
    ],
)  # fmt: skip
def test_options_are_read_as_they_are_written(given, expected):
    values = parse(given.split())[1]
    assert {name: values[name] for name in expected} == expected


REFUSED = {
    "": "Missing command",
    "nonsense": "'nonsense'",
    "search x": "--library",
    "search x --library ''": "name a folder",
    "search x --library {lib} -k 0": "-k",
    "search x --library {lib} -k many": "-k",
    "search x --library {lib} --bogus": "--bogus",
    "search x --library {lib} --json file": "file",
    "search x --library {lib} --weights action": "action=2",
    "search x --library {lib} --weights action=much": "action=2",
    "search x --library {lib} --weights action=nan": "must be finite",
    "search x --library {lib} --weights colour=1": "no term 'colour' to weigh; there are global, entity",
    "search x --library {lib} --mute 'concept 99'": "no concept 'concept 99' to mute; there are: concept 1; concept 2",
    "search '   ' --library {lib}": "no words",
    "search x --library {tmp}/none": "There is no library at",
    "list --library {tmp}/none": "There is no library at",
    "delete x --library {tmp}/none": "There is no library at",
    "prune --library {tmp}/none": "There is no library at",
    "index --rebuild --library {tmp}/none": "There is no library at",
    "index --library {tmp}/none": "PATH",
    "search x --library {lib} --model no-such-model": "Unknown model 'no-such-model'",
    "search x --library {lib} --model {tmp}": "checkpoint.json",
    "describe {clips}/numbers.mov --captions {tmp}/none.txt": "none.txt cannot be read",
    "describe {clips}/none.mp4 --captions {clips}/notes.txt": "none.mp4: there is no such file",
    "explain x {clips}/broken.mp4 --out {tmp}/out": "broken.mp4",
    "explain x {clips}/none.mp4 --out {tmp}/out": "none.mp4",
    "explain x 0123456789ab --library {lib} --out {tmp}/out": "0123456789ab",
    "explain x ../../etc/passwd --library {lib} --out {tmp}/out": "passwd",
    "explain x {clips}/numbers.mov --out {clips}/notes.txt/out": "notes.txt",
    "evaluate --data none.jsonl": "none.jsonl cannot be read",
    "evaluate --data msrvtt-9k": "two folders",
    "evaluate --data d --protocol all": "merged",
    "train --config {tmp}/none.json --set steps=1": "cannot be read",
    "train --config tiny --set nothing=1": "'nothing'",
    "playground --out {tmp}/out": "--count",
    "playground --out {tmp}/out --count 1 --sprites {tmp}/none": "npm pack",
    "playground --out {tmp}/out --size big": "640x360",
    "playground --out {tmp}/out --size 0x90": "640x360",
}


@pytest.mark.parametrize(("given", "said"), REFUSED.items(), ids=list(REFUSED))
def test_what_cannot_be_done_is_one_sentence_and_makes_nothing(library, clips, tmp_path, capfd, given, said):
    words = shlex.split(given.format(lib=library, clips=clips, tmp=tmp_path))
    command = commands().get(next(iter(words), ""))
    if command is not None and "--model" not in words and any("--model" in one.opts for one in command.params):
        words += ["--model", "tiny"]
    assert cli.main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in refusal(err)
    assert not (tmp_path / "none").exists()


def test_an_interrupt_is_quiet(monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(library_commands, "_engine", interrupted)
    assert cli.main(["search", "x", "--library", "y"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_command_leaves_no_log_handler_behind(call, library):
    before = list(logging.getLogger("vtr_demo").handlers)
    call("search", SENTENCE, "--library", library)
    assert logging.getLogger("vtr_demo").handlers == before


def test_a_reader_that_goes_away_is_no_error(library):
    reads_nothing, writes = os.pipe()
    os.close(reads_nothing)
    done = subprocess.run(
        [sys.executable, "-m", "vtr_demo", "search", SENTENCE, "--library", library, "--model", "tiny"],
        cwd=ROOT, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
    )  # fmt: skip
    os.close(writes)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
