"""Reads files of captions as people have them: tables, JSON, or one sentence a line.

One reader serves every command and the page. A line that cannot be used is left out and named by its number.
"""

from __future__ import annotations

import ast
import codecs
import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from vtr_demo.errors import ManifestError, TextError, without_controls
from vtr_demo.text.parser import clean
from vtr_demo.video.reader import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

_CLIP_COLUMNS = (
    "clip", "path", "file", "filename", "file_name", "video", "video_path", "video_file", "video_name",
    "video_id", "videoid", "vid", "image", "image_path", "image_name", "name", "id", "key",
)  # fmt: skip
"""What the column of clips may be called, the likeliest first."""
_CAPTION_COLUMN = re.compile(r"(caption|sentence|text|description|desc|query)s?[ _-]?\d*")
_DELIMITERS = (",", ";", "\t", "|")
_TABLES = (".csv", ".tsv", ".tab")
_QUOTED_LINES = 100
"""Lines over which a quoted cell may go on."""
_CONTROLS = 64
"""Of so many bytes of a text at most one is a control character; in a compressed file seven are."""
_ESCAPED = re.compile("[\udc80-\udcff]")
"""What is not UTF-8, decoded with the bytes escaped."""
_CUE = re.compile(r"\s*(\d+:)?\d+:\d\d[.,]\d{3}\s+-->")
_CUE_PART = re.compile(rf"{_CUE.pattern}|\s*\d+\s*$|\s*WEBVTT\b")
"""The time of a subtitle, and what of subtitles is no sentence."""
_OTHER_ENCODING = "it is not in the encoding of the other lines"
_LISTED, _LONGEST_NAMED = 20, 200
_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    partial(unicodedata.normalize, "NFC"),
    lambda name: unicodedata.normalize("NFC", name).casefold(),
    lambda name: PurePosixPath(unicodedata.normalize("NFC", name).casefold()).stem,
)
"""What is compared of two names, the strictest first."""


@dataclass(frozen=True)
class CaptionRow:
    """Sentences of one clip. clip is its name as written, "" where the file names none; extra holds other columns."""

    where: str
    """`line 3`, or `item 3` of a JSON list."""
    clip: str
    captions: tuple[str, ...]
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaptionTable:
    """The rows of a file, and a sentence for each line that was left out."""

    name: str
    rows: tuple[CaptionRow, ...]
    left_out: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """All sentences in order."""
        return [caption for row in self.rows for caption in row.captions]


def read_captions(path: Path, *, max_bytes: int | None = None, max_rows: int | None = None) -> CaptionTable:
    """Read a file of captions, whatever its form; the limits are for files of strangers.

    A table has a header with a column of clips (`clip`, `path`, `video_id` ...) and one or more of sentences
    (`caption`, `sentence` ...), with commas, semicolons, tabs or bars between them; without a header its
    first column must be file names. JSON is a list of sentences or objects, one object a line, or an object
    of sentences by clip. Any other text is one sentence a line, subtitles (SRT,
    WebVTT) without the numbers and times of their cues. UTF-8, UTF-16 with its mark, or Windows-1252.
    Raises ManifestError where nothing can be used.
    """
    lines = _lines(_bytes(path, max_bytes), path.name)
    rows: list[CaptionRow] = []
    left_out: list[str] = []
    for where, row in _rows(lines, path):
        if max_rows is not None and len(rows) + len(left_out) >= max_rows:
            raise ManifestError(f"{path.name} has more than {max_rows:,} rows; give fewer, or use the command line.")
        if isinstance(row, str):
            left_out.append(f"{where}: {row}")
            continue
        captions = readable(row.captions, where, left_out)
        if captions:
            rows.append(CaptionRow(where, row.clip, captions, row.extra))
    if not rows:
        reason = f"no line that can be used ({describe_left_out(left_out)})" if left_out else "no sentence"
        raise ManifestError(f"{path.name} holds {reason}; write one sentence a line, or columns `clip` and `caption`.")
    return CaptionTable(path.name, tuple(rows), tuple(left_out))


def describe_left_out(left_out: Sequence[str]) -> str:
    """Count and name the lines that were left out, in one line; empty where there is none."""
    if not left_out:
        return ""
    more = f"; and {len(left_out) - _LISTED} more" if len(left_out) > _LISTED else ""
    return f"{len(left_out)} left out: {'; '.join(left_out[:_LISTED])}{more}"


def match_captions(
    table: CaptionTable, clips: Iterable[tuple[str, str, str]]
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return the sentences of each clip, by key, and the lines that name none; ``clips`` are (key, name, path).

    A name is looked for as it is, then however its accents are composed, then without regard to capitals, then
    without its ending. It counts without its folders unless several clips are called so; then the path with the
    most folders in common.
    """
    known: list[dict[str, list[tuple[str, tuple[str, ...]]]]] = [{} for _ in _SPELLINGS]
    for key, name, path in clips:
        for spelling, index in zip(_SPELLINGS, known, strict=True):
            index.setdefault(spelling(_base_name(name)), []).append((key, _folders(path)))
    captions: dict[str, list[str]] = {}
    left_out = list(table.left_out)
    for row in table.rows:
        keys = _clips_of(row.clip, known)
        if len(keys) == 1:
            captions.setdefault(keys[0], []).extend(row.captions)
        elif not row.clip:
            left_out.append(f"{row.where}: it names no clip; write it into a column `clip`")
        else:
            reason = "which is no clip here" if not keys else f"as {len(keys)} clips are called; write its folders too"
            left_out.append(f"{row.where}: it names {row.clip[-_LONGEST_NAMED:]!r}, {reason}")
    return captions, tuple(left_out)


def _base_name(name: str) -> str:
    return name.replace("\\", "/").strip().rstrip("/").rpartition("/")[2]


def _folders(path: str) -> tuple[str, ...]:
    parts = unicodedata.normalize("NFC", path.replace("\\", "/")).split("/")[:-1]
    return tuple(part.casefold() for part in parts if part not in ("", "."))


def _clips_of(written: str, known: list[dict[str, list[tuple[str, tuple[str, ...]]]]]) -> list[str]:
    """Return the keys of the clips that ``written`` may name."""
    name, folders = _base_name(written), _folders(written)
    for spelling, index in zip(_SPELLINGS, known, strict=True):
        if candidates := index.get(spelling(name)) if name else None:
            pairs = [zip(folders[::-1], theirs[::-1], strict=False) for _, theirs in candidates]
            common = [len([*takewhile(lambda pair: pair[0] == pair[1], ends)]) for ends in pairs]
            return [key for (key, _), count in zip(candidates, common, strict=True) if count == max(common)]
    return []


# --------------------------------------------------------------------------- bytes and lines
def _bytes(path: Path, max_bytes: int | None) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(-1 if max_bytes is None else max_bytes + 1)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    if max_bytes is not None and len(data) > max_bytes:
        raise ManifestError(f"{path.name} is larger than {max_bytes / 1e6:g} MB; give a smaller file.")
    if data.startswith(b"PK\x03\x04"):
        raise ManifestError(f"{path.name} is a workbook or an archive; save its table as CSV.")
    return data


def _lines(data: bytes, name: str) -> list[str | None]:
    """Return the lines, None for one that is not in the encoding of the others."""
    refusal = ManifestError(f"{name} is not UTF-8 text; save it as CSV or JSON lines in UTF-8.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            text = data.decode("utf-16")
        except UnicodeError as error:
            raise refusal from error
        if "\0" in text:  # it was UTF-32
            raise refusal
        return _split(text)
    data = data.removeprefix(codecs.BOM_UTF8)
    controls = len(re.findall(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", data[:4096]))
    if controls > max(4, len(data[:4096]) // _CONTROLS):
        raise refusal
    lines = [None if _ESCAPED.search(line or "") else line for line in _split(data.decode("utf-8", "surrogateescape"))]
    if None in lines and all(line is None or line.isascii() for line in lines):  # else UTF-8 with a few other lines
        return _split(data.decode("cp1252", "replace"))
    return lines


def _split(text: str) -> list[str | None]:
    return [*re.split(r"\r\n|\r|\n", text)]  # unlike splitlines: a caption may hold a line separator


def readable(captions: Iterable[str], where: str, left_out: list[str]) -> tuple[str, ...]:
    """Return the sentences that the parser takes, in one line each; ``left_out`` receives what is wrong with others."""
    readable = []
    for caption in (" ".join(without_controls(written).split()) for written in captions):
        try:
            clean(caption)
            caption.encode()
            readable.append(caption)
        except TextError as error:
            left_out.append(f"{where}: {error}")
        except UnicodeEncodeError:
            left_out.append(f"{where}: a sentence holds half a surrogate pair")
    return tuple(readable)


# --------------------------------------------------------------------------- rows
_Row = tuple[str, CaptionRow | str]
"""Where it stands, and the row or what is wrong with it."""


def _rows(lines: list[str | None], path: Path) -> Iterator[_Row]:
    first = next((line.strip() for line in lines if line and line.strip()), "")
    if re.match(r'\{|\[\s*(["\[{\]]|$)', first) or path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return _json_rows(lines, path.name)
    layout = _layout(lines, path.suffix.lower() in _TABLES)
    if layout is not None:
        return _table_rows(lines, layout)
    if first and path.suffix.lower() in _TABLES:
        raise ManifestError(
            f"{path.name} has no columns `clip` and `caption` in its first line ({first[:80]!r}); write them there."
        )
    return _plain_rows(lines)


def _plain_rows(lines: list[str | None]) -> Iterator[_Row]:
    timed = any(_CUE.match(line or "") for line in lines)
    for where, line in _filled(lines):
        if line is None:
            yield where, _OTHER_ENCODING
        elif not (timed and _CUE_PART.match(line)):
            yield where, CaptionRow(where, "", (line,))


def _filled(lines: list[str | None]) -> Iterator[tuple[str, str | None]]:
    return ((f"line {number}", line) for number, line in enumerate(lines, start=1) if line is None or line.strip())


# --------------------------------------------------------------------------- JSON
def _json_rows(lines: list[str | None], name: str) -> Iterator[_Row]:
    whole: Any = None
    filled = [line for _, line in _filled(lines)]
    one_a_line = len(filled) > 1 and _is_json(filled[0] or "")
    if None not in filled and not one_a_line:
        try:
            values = _json_values("\n".join(map(str, filled)))
            whole = values[0] if len(values) == 1 else values
        except (ValueError, RecursionError) as error:
            if (filled[0] or "").lstrip().startswith("["):
                raise ManifestError(f"{name} begins as a JSON list but is none ({error}); correct it there.") from error
    if isinstance(whole, dict) and isinstance(whole.get("sentences"), list):  # as MSR-VTT is published
        whole = whole["sentences"]
    elif isinstance(whole, dict) and _keys(whole) == (None, []):  # sentences, or objects, by clip
        whole = [
            {"clip": clip, **(value if isinstance(value, dict) else {"captions": value})}
            for clip, value in whole.items()
        ]
    if isinstance(whole, list):
        for number, value in enumerate(whole, start=1):
            if value != "":
                yield f"item {number}", _json_row(value, f"item {number}")
        return
    for where, line in _filled(lines):
        yield where, _json_line(line, where)


def _json_values(text: str) -> list[Any]:
    """Return the values that follow one another in a text; raises as ``json.loads``."""
    decoder, values, position = json.JSONDecoder(), [], 0
    text = text.strip()
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        values.append(value)
        while text[position : position + 1].isspace():
            position += 1
    return values


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _json_line(line: str | None, where: str) -> CaptionRow | str:
    if line is None:
        return _OTHER_ENCODING
    try:
        return _json_row(json.loads(line), where)
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg}, column {error.colno})"
    except RecursionError:
        return "not JSON (too deep)"
    except ValueError:  # a number of thousands of digits
        return "not JSON (a number is too long)"


def _json_row(value: Any, where: str) -> CaptionRow | str:
    if isinstance(value, str):
        return CaptionRow(where, "", (value,))
    if not isinstance(value, dict):
        return "not a JSON object"
    clip_key, caption_keys = _keys(value)
    clip = value.get(clip_key, "") if clip_key else ""
    if not isinstance(clip, str) or "\0" in clip:
        return f"`{clip_key}` must be the name of a file"
    captions: list[str] = []
    for key in caption_keys:
        texts = [value[key]] if isinstance(value[key], str) else value[key]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return f"`{key}` must be a list of sentences"
        captions += [text for text in texts if text.strip()]
    if not captions:
        return "`captions` must be a list of at least one sentence"
    extra = {key: value[key] for key in value if key not in (clip_key, *caption_keys)}
    return CaptionRow(where, clip.strip(), tuple(captions), extra)


def _keys(value: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Return the key of the clip, None without one, and those of the sentences."""
    keys = list(value)
    clip, captions, _ = _columns(keys)
    return (None if clip is None else keys[clip]), [keys[i] for i in captions]


def _columns(cells: Sequence[str]) -> tuple[int | None, list[int], list[str]]:
    """Return the column of clips, those of sentences, and all names in small letters."""
    names = [re.sub(r"[ -]", "_", cell.strip("\ufeff \t\"'").lower()) for cell in cells]
    captions = [i for i, name in enumerate(names) if _CAPTION_COLUMN.fullmatch(name)]
    return next((names.index(name) for name in _CLIP_COLUMNS if name in names), None), captions, names


# --------------------------------------------------------------------------- tables
@dataclass(frozen=True)
class _Layout:
    """How a table is written. start: index of its first line; columns as ``_columns`` returns them."""

    delimiter: str
    start: int
    clip: int | None
    captions: list[int]
    names: list[str]


def _layout(lines: list[str | None], is_table: bool) -> _Layout | None:
    """Recognise a table by its first line; ``is_table`` where sentences alone are one too."""
    start = next((i for i, line in enumerate(lines) if line and line.strip()), len(lines))
    delimiters: Sequence[str] = _DELIMITERS
    if start < len(lines) and (marked := re.fullmatch(r'"?sep=(.)"?\s*', lines[start] or "")):  # as Excel writes it
        delimiters, start = (marked[1],), start + 1
    first = {delimiter: _record(lines, start, delimiter) for delimiter in delimiters}
    rows = {delimiter: (cells, end) for delimiter, (cells, end) in first.items() if not isinstance(cells, str)}
    named: list[_Layout] = []
    for delimiter, (cells, end) in rows.items():
        clip, captions, names = _columns(cells)
        if captions and (clip is not None or is_table):
            named.append(_Layout(delimiter, end, clip, captions, names))
    if named:
        return max(named, key=lambda layout: (layout.clip is not None, len(layout.names)))
    for delimiter, (cells, _) in rows.items():
        if len(cells) > 1 and cells[0].strip().lower().endswith((*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS)):
            return _Layout(delimiter, start, 0, [1], ["clip", "caption"])
    return None


def _table_rows(lines: list[str | None], layout: _Layout) -> Iterator[_Row]:
    position = layout.start
    while position < len(lines):
        cells, end = _record(lines, position, layout.delimiter)
        where, position = f"line {position + 1}", end
        if isinstance(cells, str):
            yield where, cells
        elif any(cell.strip() for cell in cells):
            yield where, _table_row(cells, layout, where)


def _record(lines: list[str | None], position: int, delimiter: str) -> tuple[list[str] | str, int]:
    """Return the cells of the record that begins at a line, or what is wrong with it, and the line after it.

    A quoted cell may go on over further lines; where it never ends, its first line alone is refused.
    """
    readable = takewhile(lambda line: line is not None, lines[position : position + _QUOTED_LINES])
    reader = csv.reader((f"{line}\n" for line in readable), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            return cells, position + reader.line_num
    except csv.Error as error:
        return f"it cannot be read as cells ({error}); correct its quotes", position + 1
    return _OTHER_ENCODING, position + 1


def _table_row(cells: list[str], layout: _Layout, where: str) -> CaptionRow | str:
    width = len(layout.names)
    if any(cell.strip() for cell in cells[width:]):
        return f"it has {len(cells)} cells under {width} columns; put a sentence with {layout.delimiter!r} in quotes"
    cells = cells[:width] + [""] * (width - len(cells))
    captions = [text for i in layout.captions for text in _listed(cells[i]) if text.strip()]
    if not captions:
        return "it has no sentence"
    taken = {layout.clip, *layout.captions}
    extra = {name: cells[i].strip() for i, name in enumerate(layout.names) if i not in taken and cells[i].strip()}
    return CaptionRow(where, "" if layout.clip is None else cells[layout.clip].strip(), tuple(captions), extra)


_BETWEEN = re.compile(r"(?<=['\"])\s+(?=['\"])")
"""Two sentences of a list as NumPy prints it, which Python would join into one."""


def _listed(cell: str) -> list[str]:
    """Return the sentences of a cell, which may hold a list of them as JSON or Python writes it."""
    if re.match(r"\s*\[\s*[\"']", cell):
        for read in (json.loads, lambda text: ast.literal_eval(_BETWEEN.sub(",", text))):
            try:
                values = read(cell.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(values, list) and all(isinstance(value, str) for value in values):
                return values
    return [cell]
