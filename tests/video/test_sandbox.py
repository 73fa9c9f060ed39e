"""The guarded worker: limits, hangs, crashes, clean ends; and the copies for browsers that it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.drawn import draw_clip, draw_sound, read_number
from vtr_demo.config import VideoConfig
from vtr_demo.errors import VideoError
from vtr_demo.video import sandbox
from vtr_demo.video.frames import (
    LimitConfig,
    close_workers,
    convert_for_browser,
    plan_frames,
    probe,
    probe_guarded,
    read_film_guarded,
    read_frames,
    read_frames_guarded,
)
from vtr_demo.video.reader import poster_size, resized

LIMITS = LimitConfig(decode_timeout_s=30)
CONFIG = VideoConfig()
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc and RLIMIT_AS")
needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe to hang on")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("guard") / "clip.mp4"
    draw_clip(path, frames=60, sound=True)
    return path


@pytest.fixture(autouse=True)
def _no_workers_left():
    close_workers()  # one that another file's test left idle would be used again
    yield
    close_workers()


def children() -> dict[int, str]:
    """Process id -> state of this process's children ("Z" is a zombie)."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found[int(stat.parent.name)] = fields[0]
    return found


def gone(pid: int, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


# ---------------------------------------------------------------------- the same answers
def test_guarded_and_unguarded_reading_agree(clip):
    for wanted in (5, [0.0, 0.35, 2.2]):
        free = read_frames(clip, wanted, size=48, config=CONFIG)
        guarded = read_frames_guarded(clip, wanted, size=48, config=CONFIG, limits=LIMITS)
        np.testing.assert_array_equal(free.pixels, guarded.pixels)
        np.testing.assert_array_equal(free.seconds, guarded.seconds)
        assert (free.crop, free.duration_s) == (guarded.crop, guarded.duration_s)
        assert guarded.pixels.flags.writeable
    assert probe(clip) == probe_guarded(clip, limits=LIMITS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("short.mp4", {"frames": 1}),
        ("plain.mp4", {"frames": 40}),
        ("long.webm", {"frames": 120, "codec": "libvpx-vp9", "vfr": True, "size": (133, 77)}),
        ("phone.mov", {"rotate": 90, "size": (180, 320), "gop": 1000}),
        ("stream.ts", {"size": (1280, 720), "start_s": 3.7}),
        ("cut.mkv", {"frames": 90}),
        ("damaged.mp4", {"frames": 60, "gop": 60}),
    ],
)
def test_one_call_gives_what_many_give(tmp_path, name, options):
    path = tmp_path / name
    draw_clip(path, **options)
    data = bytearray(path.read_bytes())
    if name == "cut.mkv":
        del data[len(data) // 2 :]
    if name == "damaged.mp4":
        data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(data)
    info, frames, poster = read_film_guarded(path, size=48, config=CONFIG, limits=LIMITS)
    assert info == probe(path)
    again = read_frames(path, plan_frames(info.duration_s, CONFIG).seconds, size=48, config=CONFIG)
    np.testing.assert_array_equal(frames.pixels, again.pixels)
    np.testing.assert_array_equal(frames.seconds, again.seconds)
    assert (frames.crop, frames.duration_s) == (again.crop, again.duration_s)
    middle = [frames.seconds[len(frames) // 2]]
    whole = read_frames(path, middle, size=480, config=VideoConfig(fit="squash")).pixels[0]
    width, height = poster_size(info.width, info.height)
    assert poster.shape == (height, width, 3)
    assert max(width, height) == 480
    assert width / height == pytest.approx(info.width / info.height, rel=0.01)
    assert np.abs(poster.astype(int) - resized(whole, (width, height))).mean() < 2


def test_threads_read_side_by_side(clip):
    seen: list[list[int]] = []

    def work(first: int) -> None:
        batch = read_frames_guarded(clip, [first / 10, 5.0], size=48, config=CONFIG, limits=LIMITS)
        seen.append([read_number(picture) for picture in batch.pixels])

    threads = [threading.Thread(target=work, args=(first,)) for first in (3, 17, 29)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(seen) == [[3, 50], [17, 50], [29, 50]]


@on_linux
def test_a_worker_serves_many_files_and_ends_when_closed(clip):
    before = set(children())
    for _ in range(4):
        probe_guarded(clip, limits=LIMITS)
    assert len(set(children()) - before) == 1
    close_workers()
    assert set(children()) == before


# ---------------------------------------------------------------------- limits
@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (LimitConfig(max_bytes=1000), "--limits max_bytes=N"),
        (LimitConfig(max_duration_s=5), "--limits max_duration_s=N"),
        (LimitConfig(max_pixels=320 * 180 - 1), "--limits max_pixels=N"),
    ],
)
def test_a_file_beyond_a_limit_is_refused_by_name(clip, tmp_path, limits, says):
    for attempt in (
        lambda: probe_guarded(clip, limits=limits),
        lambda: read_frames_guarded(clip, 2, size=8, config=CONFIG, limits=limits),
        lambda: read_film_guarded(clip, size=8, config=CONFIG, limits=limits),
        lambda: convert_for_browser(clip, tmp_path / "copy.mp4", limits=limits),
    ):
        with pytest.raises(VideoError, match=rf"^clip\.mp4: .*{says}\.$"):
            attempt()
    assert list(tmp_path.iterdir()) == []


def test_a_file_at_the_limits_is_read(clip):
    limits = LimitConfig(max_bytes=clip.stat().st_size, max_duration_s=6, max_pixels=320 * 180)
    assert probe_guarded(clip, limits=limits).frame_count == 60


@on_linux
def test_too_much_memory_gets_a_sentence_and_a_new_worker(clip, tmp_path):
    draw_clip(tmp_path / "large.mp4", frames=8, size=(3840, 2160))
    limits = LimitConfig(decode_memory_bytes=380 * 2**20)
    with pytest.raises(VideoError, match=r"large\.mp4: .*--limits decode_memory_bytes=N\.$"):
        read_frames_guarded(tmp_path / "large.mp4", 8, size=1000, config=CONFIG, limits=limits)
    assert probe_guarded(clip, limits=limits).frame_count == 60


@on_linux
def test_the_memory_for_a_film_does_not_grow_with_the_frames_that_are_read(tmp_path):
    draw_clip(tmp_path / "many.mp4", frames=100, size=(1280, 720), colours=[(200, 30, 60), (20, 180, 90)], rotate=90)
    limits = LimitConfig(decode_memory_bytes=700 * 2**20)
    assert len(read_frames_guarded(tmp_path / "many.mp4", 100, size=260, config=CONFIG, limits=limits)) == 100
    convert_for_browser(tmp_path / "many.mp4", tmp_path / "copy.mp4", limits=limits)


@needs_fifo
@on_linux
def test_a_reader_that_hangs_is_killed_and_leaves_nothing_behind(clip, tmp_path):
    before = set(children())
    os.mkfifo(tmp_path / "silent.mp4")  # opening it waits for ever, in C
    start = time.monotonic()
    with pytest.raises(VideoError, match=r"silent\.mp4: .*stood still for 0\.8 s.*--limits decode_timeout_s=N\.$"):
        sandbox.call("describe", tmp_path / "silent.mp4", {}, LimitConfig(decode_timeout_s=0.8))
    assert time.monotonic() - start < 5
    assert set(children()) == before
    assert probe_guarded(clip, limits=LIMITS).frame_count == 60


@needs_fifo
def test_a_pipe_is_refused_before_anything_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="it is not a file"):
        probe_guarded(tmp_path / "pipe.mp4", limits=LIMITS)


@on_linux
def test_a_crash_gets_a_sentence_and_a_new_worker(clip, tmp_path):
    os.mkfifo(tmp_path / "crash.mp4")
    before = set(children())
    timer = threading.Timer(1.0, lambda: [os.kill(pid, signal.SIGSEGV) for pid in set(children()) - before])
    timer.start()
    with pytest.raises(VideoError, match=r"crash\.mp4: the decoder crashed on it \(-11\)"):
        sandbox.call("describe", tmp_path / "crash.mp4", {}, LIMITS)
    timer.join()
    assert set(children()) == before
    assert probe_guarded(clip, limits=LIMITS).frame_count == 60


@on_linux
def test_an_idle_worker_that_died_is_replaced(clip):
    before = set(children())
    probe_guarded(clip, limits=LIMITS)
    (worker,) = set(children()) - before
    os.kill(worker, signal.SIGKILL)
    assert gone(worker, 5)
    assert probe_guarded(clip, limits=LIMITS).frame_count == 60
    close_workers()
    assert set(children()) == before


@on_linux
@pytest.mark.parametrize("ending", ["exit", "kill"])
def test_workers_end_with_the_program_that_started_them(clip, tmp_path, ending):
    code = f"""
import json, os, signal, sys
from vtr_demo.video import sandbox
from vtr_demo.video.frames import LimitConfig
sandbox.call("describe", {str(clip)!r}, {{}}, LimitConfig())
print(json.dumps([worker.process.pid for worker in sandbox._idle]), flush=True)
if {ending!r} == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    (worker,) = json.loads(done.stdout)
    assert gone(worker, 5)


# ---------------------------------------------------------------------- copies for browsers
@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("hevc.mkv", {"codec": "libx265", "sound": True, "start_s": 1.0}, (320, 180)),
        ("turned.mov", {"codec": "libx265", "rotate": 90}, (320, 180)),
        ("over.mp4", {"rotate": 180, "pix_fmt": "yuv444p"}, (320, 180)),
        ("ten_bit.mp4", {"pix_fmt": "yuv420p10le"}, (320, 180)),
        ("vfr.mkv", {"vfr": True}, (320, 180)),
        ("b_frames.avi", {}, (320, 180)),
        ("old.avi", {"codec": "mpeg4"}, (320, 180)),
        ("film.ts", {"sound": True}, (320, 180)),
        ("odd.mp4", {"size": (133, 77), "pix_fmt": "yuv444p"}, (132, 76)),
        ("wide.mov", {"size": (2000, 400)}, (960, 192)),
        ("picture.gif", {"codec": "gif"}, (320, 180)),
        ("one.avi", {"codec": "mjpeg", "frames": 1}, (320, 180)),
    ],
)
def test_a_copy_plays_in_browsers_and_shows_the_same_frames_at_the_same_seconds(tmp_path, name, options, size):
    draw_clip(tmp_path / name, **{"frames": 30, **options})
    copy = convert_for_browser(tmp_path / name, tmp_path / "copy.mp4", limits=LIMITS)
    old, new = probe(tmp_path / name), probe(copy)
    assert new.browser_playable
    assert (new.width, new.height, new.rotation, new.container) == (*size, 0, "mp4")
    assert (new.frame_count, new.duration_s) == (old.frame_count, pytest.approx(old.duration_s, abs=2e-3))
    one, other = (read_frames(path, 9, size=64, config=CONFIG) for path in (tmp_path / name, copy))
    assert [read_number(p) for p in one.pixels] == [read_number(p) for p in other.pixels]
    np.testing.assert_allclose(one.seconds, other.seconds, atol=2e-3)
    with av.open(str(copy)) as file:
        assert [stream.codec_context.name for stream in file.streams.audio] == ["aac"] * bool(options.get("sound"))
    data = copy.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["copy.mp4", name])


def test_a_copy_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    draw_sound(tmp_path / "song.mp4")
    (tmp_path / "copy.mp4").write_bytes(b"the old copy")
    with pytest.raises(VideoError, match="no moving picture"):
        convert_for_browser(tmp_path / "song.mp4", tmp_path / "copy.mp4", limits=LIMITS)
    assert (tmp_path / "copy.mp4").read_bytes() == b"the old copy"
    assert len(list(tmp_path.iterdir())) == 2
