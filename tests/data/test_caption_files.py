"""Files of captions in the forms that people have: the same rows whatever the form, and bad lines named."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.data_files import write
from vtr_demo.data.caption_files import describe_left_out, match_captions, read_captions
from vtr_demo.errors import ManifestError

names = st.sampled_from(["a/one.mp4", "b b.mov", "video7010", "c;d.mp4", "e,f.avi"])
sentences = st.text(st.sampled_from("abc xyz,;|\t\"'é–\n"), min_size=1, max_size=20).map(lambda text: f"w{text}w")


def plain(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [(row.clip, row.captions) for row in read_captions(path).rows]


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(st.tuples(names, sentences), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    header=st.sampled_from(
        [("clip", "caption"), ("Video ID", "Sentence"), ("PATH", " Text "), ("file", "descriptions")]
    ),
    swapped=st.booleans(),
    ending=st.sampled_from([".csv", ".tsv", ".txt"]),
    marked=st.booleans(),
)
def test_a_table_is_the_same_in_every_dialect(
    tmp_path_factory, rows, delimiter, line_end, encoding, header, swapped, ending, marked
):
    stream = io.StringIO(newline="")
    stream.write(f"sep={delimiter}{line_end}" if marked else "")  # as Excel writes it
    quoting = csv.QUOTE_ALL if line_end == "\r" else csv.QUOTE_MINIMAL  # which quotes no other line end
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    for one, other in [header, *rows]:
        writer.writerow((other, one) if swapped else (one, other))
    path = tmp_path_factory.getbasetemp() / f"drawn{ending}"
    path.write_bytes(stream.getvalue().encode(encoding))
    assert plain(path) == [(clip, (" ".join(text.split()),)) for clip, text in rows]


def test_json_in_its_forms_and_a_table_hold_the_same(tmp_path):
    rows = [("a.mp4", ["a dog", "it runs"]), ("b.mp4", ["a cat"])]
    objects = [{"path": clip, "captions": texts} for clip, texts in rows]
    forms = {
        "lines.jsonl": "\n\n".join(map(json.dumps, objects)),
        "list.json": json.dumps(objects, indent=1),
        "capitals.json": json.dumps([{"Video": clip, "Caption": texts} for clip, texts in rows]),
        "by_clip.json": json.dumps(dict(rows)),
        "objects_by_clip.json": json.dumps({clip: {"captions": texts} for clip, texts in rows}, indent=1),
        "over_lines.jsonl": "\n".join(json.dumps(one, indent=1) for one in objects),
        "joined.json": "".join(map(json.dumps, objects)),
        "as_numpy_prints.csv": "clip,captions\na.mp4,\"['a dog'\n 'it runs']\"\nb.mp4,['a cat']\n",
        "list_in_cell.csv": "clip,captions\n" + "".join(
            f'{clip},"{json.dumps(texts).replace(chr(34), chr(34) * 2)}"\n' for clip, texts in rows
        ),
        "columns.csv": "clip,caption 1,caption 2\na.mp4,a dog,it runs\nb.mp4,a cat\n",
    }  # fmt: skip
    for name, text in forms.items():
        assert plain(write(tmp_path / name, text)) == [(clip, tuple(texts)) for clip, texts in rows], name
    published = {"videos": [], "sentences": [{"video_id": "video1", "caption": "a dog", "sen_id": 1}]}
    assert plain(write(tmp_path / "msrvtt.json", published)) == [("video1", ("a dog",))]


def test_sentences_alone_are_one_a_line_or_a_list(tmp_path):
    for name, text in (
        ("a.txt", "[music] plays, loud\n\n  a cat sleeps  \r\na dog runs"),
        ("a", "\ufeff[music] plays, loud\ra cat sleeps\ra dog runs\r"),
        ("a.json", '["[music] plays, loud", "a cat sleeps", "a dog runs", ""]'),
    ):
        table = read_captions(write(tmp_path / name, text.encode()))
        assert table.sentences == ["[music] plays, loud", "a cat sleeps", "a dog runs"]
        assert table.left_out == ()


@pytest.mark.parametrize(
    "text",
    [
        "1\n00:00:01,000 --> 00:00:02,500\na dog runs\n\n2\n00:00:03,000 --> 00:00:04,000\n3 cats\n",
        "WEBVTT\n\n00:01.000 --> 00:02.500 align:start\na dog runs\n\n00:03.000 --> 00:04.000\n3 cats\n",
    ],
    ids=["srt", "vtt"],
)
def test_subtitles_are_their_sentences(tmp_path, text):
    (tmp_path / "film.srt").write_text(text, encoding="utf-8")
    assert read_captions(tmp_path / "film.srt").sentences == ["a dog runs", "3 cats"]


BAD_LINES = {
    "x.mp4,a dog, running, fast": "4 cells under 2 columns",
    'x.mp4,"a dog': "quotes",
    'x.mp4,"a "bad" quote"': "quotes",
    "x.mp4": "no sentence",
    "x.mp4,---": "no words",
    "x.mp4,собака бежит": "Cyrillic",
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items(), ids=list(BAD_LINES.values()))
def test_one_bad_line_is_left_out_and_named_and_the_others_stay(tmp_path, line, reason):
    text = f'clip,caption\na.mp4,a cat\n{line}\n"b.mp4","a "" bird"\n'
    table = read_captions(write(tmp_path / "a.csv", text))
    assert [row.clip for row in table.rows] == ["a.mp4", "b.mp4"]
    (sentence,) = table.left_out
    assert sentence.startswith("line 3: ")
    assert reason in sentence


def test_no_character_of_a_sentence_commands_a_terminal(tmp_path):
    table = read_captions(write(tmp_path / "a.csv", "clip,caption\na.mp4,a \x1b[31mdog\x07 runs\0\x9b2J\n".encode()))
    assert table.sentences == ["a [31mdog runs 2J"]


def test_a_line_in_another_encoding_is_left_out_of_a_utf8_file(tmp_path):
    data = "clip,caption\na.mp4,café\nb.mp4,".encode() + b"caf\xe9\nc.mp4,a dog\n"
    table = read_captions(write(tmp_path / "a.csv", data))
    assert [row.clip for row in table.rows] == ["a.mp4", "c.mp4"]
    assert table.left_out[0].startswith("line 3: ")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.csv", b"", "no sentence"),
        ("a.csv", b"film,words\nx.mp4,a dog\n", "no columns"),
        ("a.csv", b"clip,caption\n", "no sentence"),
        ("a.csv", b"clip,caption\na.mp4,---\n", "line 2"),
        ("a.csv", b"PK\x03\x04" + bytes(50), "workbook"),
        ("a.csv", bytes(5000), "not UTF-8"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.txt", "a dog runs".encode("utf-16-le"), "not UTF-8"),  # without its mark
        ("a.csv", "clip,caption\na.mp4,a dog".encode("utf-32"), "not UTF-8"),
        ("a.txt", gzip.compress(random.Random(0).randbytes(300)), "not UTF-8"),
        ("a.txt", b"%PDF-1.4\n" + random.Random(0).randbytes(900).replace(b"\0", b""), "not UTF-8"),
        ("a.txt", b'["open', "JSON list"),
        ("a.jsonl", b"{\n{", "2 left out"),
        ("a.jsonl", b"9" * 5000, "too long"),
        ("a.json", b'{"captions":\n' + b"[" * 100_000, "too deep"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_says_why(tmp_path, name, data, reason):
    with pytest.raises(ManifestError, match=reason):
        read_captions(write(tmp_path / name, data))


def test_quotes_that_never_close_spoil_their_own_lines_and_cost_no_more_than_others(tmp_path):
    text = "clip,caption\n" + 'a.mp4,"a dog\n' * 20_000
    with pytest.raises(ManifestError, match=r"20000 left out: line 2: .*; and 19980 more"):
        read_captions(write(tmp_path / "a.csv", text))


def test_limits_hold_before_the_rest_is_read(tmp_path):
    path = write(tmp_path / "a.csv", "clip,caption\n" + "a.mp4,a dog\n" * 10)
    assert len(read_captions(path, max_bytes=path.stat().st_size, max_rows=10).rows) == 10
    with pytest.raises(ManifestError, match="larger"):
        read_captions(path, max_bytes=path.stat().st_size - 1)
    with pytest.raises(ManifestError, match="more than 9 rows"):
        read_captions(path, max_rows=9)


CLIPS = [
    ("1", "clip.mp4", "/v/a/clip.mp4"),
    ("2", "clip.mp4", "/v/b/clip.mp4"),
    ("3", unicodedata.normalize("NFD", "Café.mp4"), "/v/x"),
    ("4", "other.mp4", "/v/b/other.mp4"),
    ("5", "é.mp4", "/v/é.mp4"),
    ("6", unicodedata.normalize("NFD", "é.mp4"), "/v/e.mp4"),
]


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("a/clip.mp4", "1"), ("C:\\v\\b\\clip.mp4", "2"), ("café.MP4", "3"), ("else/other.mp4", "4"), ("OTHER", "4"),
        ("é.mp4", "5"), (unicodedata.normalize("NFD", "é.mp4"), "6"),
        ("clip.mp4", None), ("c/clip.mp4", None), ("lost.mp4", None), ("", None),
    ],
)  # fmt: skip
def test_rows_find_their_clip_by_name_and_where_that_is_not_enough_by_folders(tmp_path, written, key):
    row = {"path": written, "captions": ["a dog"]}
    captions, left_out = match_captions(read_captions(write(tmp_path / "a.jsonl", row)), CLIPS)
    assert captions == ({} if key is None else {key: ["a dog"]})
    assert bool(left_out) == (key is None)
    assert describe_left_out(left_out).startswith("1 left out: line 1: ") or key is not None
