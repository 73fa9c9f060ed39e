"""Files made to do harm: mutants of thirteen formats, files that name other files and addresses; and what was opened.

``traced`` runs a command under strace, where there is one, and lists the files and sockets that it asked for.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from tests.helpers.drawn import draw_clip

FORMATS = {
    "h264.mp4": {"sound": True}, "hevc.mov": {"codec": "libx265"}, "ffv1.mkv": {"codec": "ffv1"},
    "vp9.webm": {"codec": "libvpx-vp9"}, "mpeg4.avi": {"codec": "mpeg4"}, "h264.ts": {"sound": True},
    "flv1.flv": {"codec": "flv"}, "gif.gif": {"codec": "gif"}, "mpeg2.mpg": {"codec": "mpeg2video", "fps": 25},
    "mpeg2.mxf": {"codec": "mpeg2video", "fps": 25}, "wmv2.wmv": {"codec": "wmv2"},
    "vp8.ogv": {"codec": "libvpx", "container": "ogg"}, "av1.mp4": {"codec": "libsvtav1"},
}  # fmt: skip
"""Thirteen pairs of container and codec."""


# --------------------------------------------------------------------------- mutants
def _overwrite(data: np.ndarray, rng: np.random.Generator, reach: int) -> np.ndarray:
    places = rng.integers(0, reach, 1 + rng.integers(60))
    data[places] = rng.integers(0, 256, len(places))
    return data


def _flip(data: np.ndarray, rng: np.random.Generator, reach: int) -> np.ndarray:
    places = rng.integers(0, reach, 1 + rng.integers(8))
    data[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
    return data


def _extreme(data: np.ndarray, rng: np.random.Generator, reach: int) -> np.ndarray:
    for _ in range(1 + rng.integers(4)):
        place, width = rng.integers(0, max(1, reach - 8)), (1, 2, 4, 8)[rng.integers(4)]
        data[place : place + width] = (0, 1, 0x7F, 0x80, 0xFF)[rng.integers(5)]
    return data


def _cut(data: np.ndarray, rng: np.random.Generator, reach: int) -> np.ndarray:
    return data[: rng.integers(1, len(data))]


def _drop(data: np.ndarray, rng: np.random.Generator, reach: int) -> np.ndarray:
    start = rng.integers(0, reach)
    return np.delete(data, slice(start, start + rng.integers(1, 400)))


def _repeat(data: np.ndarray, rng: np.random.Generator, reach: int) -> np.ndarray:
    start, size = rng.integers(0, reach), rng.integers(1, 2_000)
    return np.concatenate([data[:start], np.tile(data[start : start + size], 3), data[start:]])


def _swap(data: np.ndarray, rng: np.random.Generator, reach: int) -> np.ndarray:
    a, b, size = *rng.integers(0, max(1, len(data) - 64), 2), 64
    data[a : a + size], data[b : b + size] = data[b : b + size].copy(), data[a : a + size].copy()
    return data


MUTATIONS: tuple[Callable[[np.ndarray, np.random.Generator, int], np.ndarray], ...] = (
    _overwrite, _flip, _extreme, _cut, _drop, _repeat, _swap,
)  # fmt: skip


def write_mutants(name: str, folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write so many mutants of a format, half of them changed among their first bytes alone, where headers are."""
    whole = folder / name
    draw_clip(whole, **{"frames": 20, "size": (64, 64), **FORMATS[name]})
    original, paths = np.frombuffer(whole.read_bytes(), np.uint8), []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        mutate, reach = MUTATIONS[number % len(MUTATIONS)], len(original)
        if rng.random() < 0.5:
            reach = min(reach, 2_000)
        paths.append(folder / f"{number:03}-{mutate.__name__[1:]}-{name}")
        paths[-1].write_bytes(mutate(original.copy(), rng, reach).tobytes())
    whole.unlink()
    return paths


# --------------------------------------------------------------------------- files that name others
def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _text(url: str) -> bytes:
    return struct.pack(">I", len(url)) + url.encode()


def _in_movie(path: Path, entry: bytes, parents: Sequence[bytes], replaced: bytes = b"") -> bytes:
    """A QuickTime film with ``entry`` in the place of a box, or at the end of the innermost of ``parents``."""
    if not path.exists():
        draw_clip(path, frames=4, size=(64, 64))
    data = bytearray(path.read_bytes())
    starts = [data.rindex(parent) - 4 for parent in parents]
    inner = starts[-1]
    start = end = inner + int.from_bytes(data[inner : inner + 4])
    if replaced:
        start = data.index(replaced, inner) - 4
        end = start + int.from_bytes(data[start : start + 4])
    for one in starts:
        data[one : one + 4] = struct.pack(">I", int.from_bytes(data[one : one + 4]) + len(entry) - (end - start))
    data[start:end] = entry
    return bytes(data)


_TO_REFERENCES = (b"moov", b"trak", b"mdia", b"minf", b"dinf")


def _references(path: Path, entry: bytes) -> bytes:
    return _in_movie(path, _box(b"dref", struct.pack(">II", 0, 1) + entry), _TO_REFERENCES, b"dref")


def _alias(url: str) -> bytes:
    name = url.encode()
    record = (
        bytes(10) + b"\x01v".ljust(28, b"\0") + bytes(12) + bytes([min(63, len(name))]) + name[:63].ljust(63, b"\0")
    )
    record += bytes(16) + struct.pack(">hh", 1, 1) + bytes(16)
    record += struct.pack(">hH", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">hH", -1, 0)
    return _box(b"alis", bytes(4) + record)


def _subtitled_avi(url: str) -> bytes:
    """A subtitle track whose text is a playlist: FFmpeg looks at what such texts are."""
    header = struct.pack("<14I", 40_000, 0, 0, 16, 125, 0, 2, 0, 224, 160, 0, 0, 0, 0)
    stream = b"txts" + struct.pack("<13I", *[0] * 4, 1, 25, 0, 125, 902, 10_000, 0, 0, 224 | 160 << 16)
    format_ = struct.pack("<IIIHHIIIIII", 40, 224, 160, 1, 24, 0x44495658, 215_040, 0, 0, 0, 0)

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content

    streams = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", format_))
    text = b"GAB2\0\x02\0" + bytes(10) + _playlist(url).encode()
    packets = chunk(b"00tx", text + bytes(len(text) % 2)) + chunk(b"00dc", bytes(200)) * 50
    lists = chunk(b"LIST", b"hdrl" + chunk(b"avih", header) + streams) + chunk(b"LIST", b"movi" + packets)
    return chunk(b"RIFF", b"AVI " + lists)


def _playlist(url: str, key: str = "", map_: str = "") -> str:
    return f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n{key}{map_}#EXTINF:10.0,\n{url}\n#EXT-X-ENDLIST\n"


_TEXTS: dict[str, Callable[[str], str]] = {
    "playlist.m3u8": _playlist,
    "key.m3u8": lambda url: _playlist("a.ts", key=f'#EXT-X-KEY:METHOD=AES-128,URI="{url}",IV=0x0\n'),
    "map.m3u8": lambda url: _playlist("a.ts", map_=f'#EXT-X-MAP:URI="{url}"\n'),
    "list.ffconcat": lambda url: f"ffconcat version 1.0\nfile '{url}'\n",
    "dash.mpd": lambda url: (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
        'mimeType="video/mp4"><Representation id="0" bandwidth="1"><BaseURL>' + url + "</BaseURL></Representation>"
        "</AdaptationSet></Period></MPD>"
    ),
    "stream.sdp": lambda url: (
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\na=control:{url}\nm=video 7999 RTP/AVP 96\n"
    ),
    "list.asx": lambda url: f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
    "list.pls": lambda url: f"[playlist]\nFile1={url}\nNumberOfEntries=1\n",
    "picture.svg": lambda url: (
        f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}" width="9" height="9"/></svg>'
    ),
    "entity.xml": lambda url: f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "{url}">]><a>&b;</a>',
    "package.imf": lambda url: f'<AssetMap><Asset><Path>{url}</Path></Asset></AssetMap>',
    "text.ass": lambda url: f"[Script Info]\nScriptType: v4.00+\nVideo File: {url}\nAudio File: {url}\n",
    "script.avs": lambda url: f'DirectShowSource("{url}")\n',
}  # fmt: skip
_FILMS: dict[str, Callable[[Path, str], bytes]] = {
    "url.mov": lambda base, url: _references(base, _box(b"url ", bytes(4) + url.encode() + b"\0")),
    "alias.mov": lambda base, url: _references(base, _alias(url)),
    "reference.mov": lambda base, url: _in_movie(
        base, _box(b"rmra", _box(b"rmda", _box(b"rdrf", bytes(4) + b"url " + _text(url)))), (b"moov",)
    ),
    "subtitle.avi": lambda _, url: _subtitled_avi(url),
}  # fmt: skip
TARGETS = (
    "{path}", "file:{path}", "../outside/canary.mp4", "http://127.0.0.1:{port}/a.mp4", "concat:{path}|{path}",
    "subfile,,start,0,end,0,,:{path}", "crypto+file:{path}", "tcp://127.0.0.1:{port}",
)  # fmt: skip
NAMES = (
    "concat:{name}|{name}",
    "subfile,,start,0,end,0,,:{name}",
    "file:{name}",
    "pipe:0",
    "%03d",
    "data:video,{name}",
)
"""Names that a library of films could take for an address."""


def write_attempts(folder: Path, canary: Path, port: int) -> list[Path]:
    """Write files that ask whoever reads them to open ``canary`` or to connect to ``port``."""
    base, kinds = folder.parent / "base.mov", [*_TEXTS, *_FILMS]
    paths = []
    for number, (kind, target) in enumerate(product(kinds, TARGETS)):
        if (number + number // len(TARGETS)) % 2 and kind in _TEXTS:
            continue  # every other target of a text
        url = target.format(path=canary, port=port)
        content = _TEXTS[kind](url).encode() if kind in _TEXTS else _FILMS[kind](base, url)
        paths.append(folder / f"{number}-{kind}")
        paths[-1].write_bytes(content)
    for name in NAMES:
        paths.append(folder / f"{name.format(name='whole.mp4')}.mp4")
        paths[-1].write_text(_playlist(str(canary)))
    return paths


# --------------------------------------------------------------------------- what was opened
_CALLS = "open,openat,openat2,socket,connect,sendto,execve,landlock_restrict_self"
_OPENED = re.compile(r'^(\d+) +open(?:at2?)?\((?:AT_FDCWD|\d+)?(?:, )?"([^"]*)"')


@cache
def can_trace() -> bool:
    """Whether strace is there and allowed."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


class Trace:
    """What the processes of a command asked the system for: lines of strace."""

    def __init__(self, log: Path) -> None:
        self.lines = log.read_text(errors="replace").splitlines()
        self._confined = {line.split()[0] for line in self.lines if "landlock_restrict_self" in line}

    @property
    def decoders(self) -> int:
        """How many processes gave up the right to open files."""
        return len(self._confined)

    def opened(self) -> Iterator[str]:
        """Paths that any process tried to open."""
        return (found[2] for line in self.lines if (found := _OPENED.match(line)))

    def of_decoders(self) -> Iterator[str]:
        """Paths that decoding processes tried to open once they were shut off, and their calls of other kinds."""
        shut: set[str] = set()
        for line in self.lines:
            pid, _, call = line.partition(" ")
            if "landlock_restrict_self" in line:
                shut.add(pid)
            elif "+++" in line:
                shut.discard(pid)  # its number may be given again
            elif pid in shut and "resumed>" not in call and not call.lstrip().startswith("---"):
                found = _OPENED.match(line)
                yield found[2] if found else call

    def connections(self) -> list[str]:
        """Lines in which something was sent to an internet address."""
        return [line for line in self.lines if re.search(r"(connect|sendto)\(.*AF_INET", line)]


def run_traced(command: Sequence[str], log: Path, **options: object) -> tuple[subprocess.CompletedProcess[str], Trace]:
    """Run a command under strace."""
    words = ["strace", "-f", "--seccomp-bpf", "-s", "4096", "-o", str(log), "-e", f"trace={_CALLS}", *command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    return done, Trace(log)
