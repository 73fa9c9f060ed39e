"""What a file that was made to do harm meets: few codecs, few rights, checked answers, a budget of time."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import av
import pytest

from tests.helpers.drawn import draw_clip
from vtr_demo.config import VideoConfig
from vtr_demo.errors import VideoError
from vtr_demo.video import sandbox
from vtr_demo.video.frames import (
    LimitConfig,
    close_workers,
    probe,
    probe_guarded,
    read_film_guarded,
    read_frames_guarded,
)

LIMITS = LimitConfig()
ROOT = Path(__file__).parents[2]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="rlimits, Landlock and seccomp are Linux's")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("confine") / "clip.mp4"
    draw_clip(path, frames=20, size=(64, 64))
    return path


@pytest.fixture(autouse=True)
def _no_workers_left():
    close_workers()
    sandbox._accounts.clear()
    yield
    close_workers()


# ---------------------------------------------------------------------- what is decoded at all
def test_ffmpeg_is_not_older_than_a_good_one():
    # 8.1.2 mends CVE-2026-8461.
    version = tuple(int(part) for part in av.ffmpeg_version_info.lstrip("n").split("-")[0].split(".")[:3])
    assert version >= (8, 1, 2)


@pytest.mark.parametrize("codec", ["magicyuv", "utvideo"])
def test_a_codec_that_is_not_wanted_is_refused_in_a_sentence(tmp_path, codec):
    draw_clip(tmp_path / "rare.avi", frames=3, size=(64, 64), codec=codec, pix_fmt="yuv420p")
    with pytest.raises(VideoError, match=rf"^rare\.avi: its pictures are stored as {codec}, which is not read; "):
        probe(tmp_path / "rare.avi")


# ---------------------------------------------------------------------- what the process may do
@on_linux
def test_every_protection_that_the_kernel_has_is_active():
    active = sandbox.protections()
    assert {name for name in active if not active[name]} <= {"files", "processes"}


@on_linux
def test_no_secret_is_inherited(clip, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret-value")
    probe_guarded(clip, limits=LIMITS)
    (worker,) = sandbox._idle
    environment = Path(f"/proc/{worker.process.pid}/environ").read_bytes()
    assert b"secret-value" not in environment
    inherited = {entry.split(b"=")[0].decode() for entry in environment.split(b"\0") if entry}
    assert inherited <= {
        *sandbox.ENVIRONMENT, "PYTHONPATH", "PYTHONSAFEPATH", "MALLOC_ARENA_MAX", "OPENBLAS_NUM_THREADS",
    }  # fmt: skip


@on_linux
@pytest.mark.parametrize(
    ("protection", "attempt"),
    [
        ("files", "open('/etc/passwd').read()"),
        ("files", "open(folder + '/new', 'w')"),
        ("processes", "os.fork()"),
        ("processes", "os.execv('/bin/true', ['true'])"),
        ("processes", "socket.socket()"),
        ("written", "open(folder + '/mine', 'r+b').write(b'x' * 2**21)"),
    ],
)
def test_a_decoder_that_was_taken_over_can_do_little(clip, tmp_path, protection, attempt):
    (tmp_path / "mine").touch()
    code = f"""
    import os, socket
    from vtr_demo.video.confine import confine
    folder = {str(tmp_path)!r}
    active = confine(memory_bytes=2**31, written_bytes=2**20, cpu_s=60, cpu_per_second=1, spent_s=0,
                     read=[{str(clip)!r}], write=[folder + '/mine'])
    assert open({str(clip)!r}, 'rb').read()
    if not active[{protection!r}]:
        print('absent')
    else:
        try:
            {attempt}
            print('done')
        except OSError:
            print('refused')
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.stdout.strip() == "absent":
        pytest.skip(f"this kernel has no protection of {protection}")
    assert done.stdout.strip() == "refused", done.stderr


# ---------------------------------------------------------------------- time
@on_linux
def test_the_limit_is_processor_time_and_grows_with_the_film():
    code = """
    import resource
    from vtr_demo.video import confine
    confine.confine(memory_bytes=2**31, written_bytes=0, cpu_s=60, cpu_per_second=1, spent_s=30, read=None)
    for film in [(0, 0, 0), (600, 15_000, 640 * 360), (600, 15_000, 3840 * 2160), (600, 8, 640 * 360)]:
        confine.allow_for(*film)
        print(resource.getrlimit(resource.RLIMIT_CPU)[0])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [int(line) for line in done.stdout.split()] == [30, 630, 2430, 32]


@on_linux
def test_the_calls_for_one_file_share_its_time(tmp_path):
    draw_clip(tmp_path / "slow.mp4", frames=40, size=(1280, 720))
    limits = LimitConfig(decode_timeout_s=1)
    key = sandbox._account_key(tmp_path / "slow.mp4")
    assert sandbox._spent(key) == 0
    probe_guarded(tmp_path / "slow.mp4", limits=limits)
    spent = sandbox._spent(key)
    assert spent > 0
    probe_guarded(tmp_path / "slow.mp4", limits=limits)
    assert sandbox._spent(key) > spent


@on_linux
def test_a_film_whose_time_is_used_up_is_stopped_and_the_next_one_is_read(clip, tmp_path):
    path = tmp_path / "endless.mp4"
    draw_clip(path, frames=40, size=(2560, 1440), gop=60)
    sandbox._accounts[sandbox._account_key(path)] = 10_000.0, time.monotonic()
    with pytest.raises(VideoError, match=r"took \d+ s of processor time.*--limits decode_timeout_s=N\.$"):
        read_frames_guarded(path, 40, size=700, config=VideoConfig(), limits=LIMITS)
    assert probe_guarded(clip, limits=LIMITS).frame_count == 20


# ---------------------------------------------------------------------- answers
RIGHT = {"box": [0, 0, 8, 8, 8, 8], "seconds": [0.0, 0.5], "duration_s": 1.0}
INFO = {
    "duration_s": 1.0, "width": 8, "height": 8, "fps": 2.0, "codec": "h264", "container": "mp4",
    "rotation": 0, "frame_count": 2, "browser_playable": True, "note": "",
}  # fmt: skip


FILM = {"duration_s": 1.0, "seconds": [i / 8 for i in range(8)], "box": [0, 0, 8, 8, 8, 8], "info": INFO}
FRAME_BYTES, POSTER_BYTES = 8 * 8 * 3, 480 * 480 * 3
GUARDED = {"size": 8, "config": VideoConfig(), "limits": LIMITS}
ASKED = {
    "frames": (RIGHT, 2 * FRAME_BYTES, lambda path: read_frames_guarded(path, 2, **GUARDED)),
    "describe": (INFO, 0, lambda path: probe_guarded(path, limits=LIMITS)),
    "film": (FILM, 8 * FRAME_BYTES + POSTER_BYTES, lambda path: read_film_guarded(path, **GUARDED)),
}  # fmt: skip
WRONG = {
    "frames": [
        {"seconds": [0.5, 0.0]}, {"seconds": [0.0, float("nan")]}, {"seconds": [0.0, float("inf")]},
        {"seconds": [-1.0, 0.0]}, {"seconds": [0.0]}, {"seconds": None}, {"seconds": ["0", "1"]},
        {"box": [0, 0, 9, 8, 8, 8]}, {"box": [0, 0, 0, 8, 8, 8]}, {"box": [0] * 5}, {"box": None},
        {"box": [0.0, 0, 8, 8, 8, 8]}, {"duration_s": float("inf")}, {"duration_s": None}, {"payload": 3},
        {"payload": 2 * FRAME_BYTES + 1},
    ],
    "describe": [
        {"duration_s": float("nan")}, {"duration_s": -1.0}, {"duration_s": 1e9}, {"duration_s": True},
        {"width": 0}, {"width": 2**40}, {"height": "8"}, {"codec": 3}, {"codec": "x" * 10_000}, {"codec": None},
        {"rotation": 45}, {"frame_count": -1}, {"frame_count": None}, {"browser_playable": 1}, {"fps": float("inf")},
    ],
    "film": [
        {"info": None}, {"info": {}}, {"info": {**INFO, "width": 16}}, {"info": {**INFO, "duration_s": 9.0}},
        {"info": {**INFO, "width": -8}}, {"duration_s": 2.0}, {"seconds": [0.0] * 7}, {"box": None},
        {"payload": 0}, {"payload": POSTER_BYTES}, {"payload": 8 * FRAME_BYTES + POSTER_BYTES - 1},
        {"payload": 8 * FRAME_BYTES + POSTER_BYTES + 1},
    ],
}  # fmt: skip


@pytest.mark.parametrize("job", ASKED)
def test_a_right_answer_is_taken(clip, monkeypatch, job):
    values, size, ask = ASKED[job]
    monkeypatch.setattr(sandbox, "call", lambda *_, **__: (values, bytes(size)))
    ask(clip)


@pytest.mark.parametrize(("job", "change"), [(job, change) for job in WRONG for change in WRONG[job]])
def test_an_answer_that_makes_no_sense_becomes_a_sentence(clip, monkeypatch, job, change):
    values, size, ask = ASKED[job]
    payload = bytes(change.get("payload", size))
    monkeypatch.setattr(sandbox, "call", lambda *_, **__: ({**values, **change}, payload))
    with pytest.raises(VideoError, match=r"^clip\.mp4: the decoder gave an answer that makes no sense; "):
        ask(clip)


@on_linux
@pytest.mark.parametrize("answer", [b"", b"x" * 7, b"\xff" * 64, b"\2" + bytes(15) + b"[]", b"\1" + bytes(15) + b"{"])
def test_bytes_that_are_no_answer_count_as_a_crash(answer):
    with pytest.raises((ValueError, EOFError)):
        sandbox._parsed(bytearray(answer))
