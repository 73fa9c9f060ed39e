"""Frames and seconds, for both readers; limits and the guarded worker have `test_sandbox`."""

from __future__ import annotations

import bisect
import functools
import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.drawn import copied, draw_clip, draw_sound, number_picture, read_number, write_video
from vtr_demo.config import VideoConfig
from vtr_demo.errors import ConfigError, VideoError
from vtr_demo.library.encoding import shot_cuts
from vtr_demo.structures import CropBox, FrameBatch
from vtr_demo.video.decode import Source
from vtr_demo.video.frames import LimitConfig, probe, probe_guarded, read_frames, spread_seconds, still_frames

HAS_DECORD = importlib.util.find_spec("decord") is not None
needs_decord = pytest.mark.skipif(not HAS_DECORD, reason="decord is not installed on this platform")
READERS = ["pyav", pytest.param("decord", marks=needs_decord)]

# Every pair of codec and container that PyAV writes and people bring; with what decord says to it.
PAIRS = {
    **{f"h264.{ext}": "libx264" for ext in ("mp4", "mov", "mkv", "avi", "ts", "flv", "3gp")},
    **{f"hevc.{ext}": "libx265" for ext in ("mp4", "mov", "mkv", "ts")},
    **{f"vp8.{ext}": "libvpx" for ext in ("webm", "mkv")},
    **{f"vp9.{ext}": "libvpx-vp9" for ext in ("webm", "mp4", "mkv")},
    **{f"av1.{ext}": "libsvtav1" for ext in ("mp4", "webm", "mkv")},
    **{f"mpeg4.{ext}": "mpeg4" for ext in ("mp4", "mov", "mkv", "avi", "ts")},
    **{f"mjpeg.{ext}": "mjpeg" for ext in ("mov", "mkv", "avi")},
    **{f"mpeg2.{ext}": "mpeg2video" for ext in ("mpg", "ts", "mkv")},
    **{"prores.mov": "prores", "ffv1.mkv": "ffv1", "wmv2.wmv": "wmv2", "picture.gif": "gif"},
}
DECORD_REFUSES = {name for name in PAIRS if name.endswith((".ts", ".mpg", ".gif")) or name.startswith("av1")}
DECORD_REFUSES.add("h264.avi")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def plain(clips):
    draw_clip(clips / "plain.mp4", frames=48)
    return clips / "plain.mp4"


@functools.cache
def drawn(path, **options):
    """The seconds of a clip that is drawn once for both readers."""
    return draw_clip(path, **options)


def read(path, seconds, reader="pyav", fit="crop", size=64):
    return read_frames(path, seconds, size=size, config=VideoConfig(reader=reader, fit=fit))


def numbers(batch):
    return [read_number(picture) for picture in batch.pixels]


# ---------------------------------------------------------------------- right frames at the right seconds
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", PAIRS)
def test_every_frame_is_found_at_its_second(clips, name, reader):
    path = clips / name
    seconds = drawn(path, frames=30, codec=PAIRS[name])
    if reader == "decord" and name in DECORD_REFUSES:
        with pytest.raises(VideoError, match=r'use reader="pyav"\.$'):
            read(path, seconds, reader)
        return
    middles = [second + 0.05 for second in seconds]
    batch = read(path, middles, reader)
    assert numbers(batch) == list(range(30))
    np.testing.assert_allclose(batch.seconds, seconds, atol=2e-3)
    assert batch.duration_s == pytest.approx(3.0, abs=2e-3)
    sparse = read(path, middles[3::9], reader)
    assert numbers(sparse) == [3, 12, 21]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vfr.mp4", {"vfr": True}),
        ("vfr.mkv", {"vfr": True}),
        ("vfr.webm", {"vfr": True, "codec": "libvpx-vp9"}),
        ("late.mp4", {"start_s": 3.7}),
        ("late.mkv", {"start_s": 3.7}),
        ("open.mp4", {"options": {"x264-params": "open-gop=1"}}),
        ("open.mov", {"codec": "libx265"}),
        ("ten_bit.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
        ("full_chroma.mkv", {"pix_fmt": "yuv444p"}),
        ("grey.mkv", {"pix_fmt": "gray"}),
        ("alpha.webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}),
        ("odd.webm", {"codec": "libvpx-vp9", "size": (133, 77)}),
        ("odd.mp4", {"pix_fmt": "yuv444p", "size": (77, 133)}),
        ("tiny.mkv", {"codec": "ffv1", "size": (18, 16)}),
        ("tall.mp4", {"size": (64, 1200)}),
        ("phone90.mp4", {"rotate": 90}),
        ("phone180.mp4", {"rotate": 180}),
        ("phone270.mov", {"rotate": 270, "codec": "libx265", "size": (180, 320)}),
        ("long_group.mp4", {"gop": 1000, "frames": 90}),
        ("all_key.mp4", {"gop": 1}),
    ],
)
def test_odd_files_show_the_right_frames_upright(clips, name, options, reader):
    frames = options.get("frames", 30)
    seconds = draw_clip(clips / name, **{"frames": frames, **options})
    wanted = [0, 1, 7, 8, 13, 20, 22, frames - 2, frames - 1]
    batch = read(clips / name, [seconds[i] for i in wanted], reader)
    assert numbers(batch) == wanted
    np.testing.assert_allclose(batch.seconds, [seconds[i] for i in wanted], atol=2e-3)
    assert (batch.crop.source_width, batch.crop.source_height) == options.get("size", (320, 180))


@pytest.mark.parametrize("name", ["many.ts", "many_b.avi", "many.mkv", "many.webm"])
def test_seeking_in_a_longer_file_lands_right_whatever_the_container(clips, name):
    seconds = draw_clip(clips / name, frames=1500, fps=25, size=(64, 64), gop=50,
                        codec="libvpx" if name.endswith("webm") else "libx264")  # fmt: skip
    wanted = [3, 700, 701, 1301, 1499]
    assert numbers(read(clips / name, [seconds[i] + 0.01 for i in wanted])) == wanted


def test_ten_minutes_cost_groups_of_pictures_not_the_whole_file(clips):
    path = clips / "ten_minutes.mp4"
    draw_clip(path, frames=6000, fps=10, size=(48, 48), gop=100)
    with Source(path) as source:
        ticks = [source.timeline.tick_at(second) for second in spread_seconds(600, 8)]
        decoded = sum(last - first + 1 for first, last in map(source.timeline.run_to, ticks))
        shown = [round(source.timeline.second(own) * 10) for _, own, _ in source.frames(ticks)]
    assert shown == [375, 1125, 1875, 2625, 3375, 4125, 4875, 5625]
    assert decoded <= 8 * 103  # eight groups and the frames that B frames lean on, of 6,000


def test_4k_is_read_and_cropped_to_the_centre(clips):
    draw_clip(clips / "4k.mp4", frames=3, size=(3840, 2160))
    batch = read(clips / "4k.mp4", [0.1], size=96)
    assert numbers(batch) == [1]
    assert batch.crop == CropBox(840, 0, 2160, 2160, 3840, 2160)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_frame_is_shown_from_its_second_until_the_next_ones(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "shown_until.mp4"
    appears = draw_clip(path, frames=40, vfr=True, size=(64, 64)) if not path.exists() else None
    appears = appears or probe_seconds(path)
    asked = sorted(data.draw(st.lists(st.floats(0, 9), min_size=1, max_size=6)))
    expected = [bisect.bisect_right(appears, second + 1e-6) - 1 for second in asked]
    batch = read(path, asked)
    assert numbers(batch) == expected
    np.testing.assert_allclose(batch.seconds, [appears[i] for i in expected], atol=1e-4)


def probe_seconds(path):
    """The reference: decode everything in order, as the library does it."""
    with av.open(str(path)) as file:
        tick_s = float(file.streams.video[0].time_base)
        stamps = [frame.pts * tick_s for frame in file.decode(video=0)]
    return [stamp - stamps[0] for stamp in stamps]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_repeat_their_frames_in_order(clips, frames, reader):
    path = clips / f"short{frames}.mp4"
    drawn(path, frames=frames)
    batch = read(path, 6, reader)
    assert numbers(batch) == [i * frames // 6 for i in range(6)]
    assert batch.duration_s == pytest.approx(frames / 10, abs=1e-3)


@pytest.mark.parametrize("reader", READERS)
def test_seconds_past_the_end_give_the_last_frame(plain, reader):
    assert numbers(read(plain, [4.79, 4.8, 1e6], reader)) == [47, 47, 47]


@needs_decord
def test_both_readers_give_the_same_pictures(clips):
    for name, options in {"same.mp4": {}, "same_turned.mp4": {"rotate": 90}, "same.webm": {"codec": "libvpx"}}.items():
        draw_clip(clips / name, colours=[(200, 30, 60), (20, 180, 90), (240, 240, 10)], size=(200, 120), **options)
        for fit in ("crop", "squash"):
            one, other = (read(clips / name, 5, reader, fit) for reader in ("pyav", "decord"))
            assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 6
            np.testing.assert_allclose(one.seconds, other.seconds, atol=1e-9)
            assert one.crop == other.crop


# ---------------------------------------------------------------------- the square view
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_crop_and_squash_show_what_the_crop_box_says(clips, rotate):
    picture = np.zeros((90, 160, 3), dtype=np.uint8)
    picture[:, :35], picture[:, 35:125], picture[:, 125:] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    path = clips / f"thirds{rotate}.mkv"
    write_video(path.with_suffix(".mp4"), [picture] * 2, [0, 9000], fps=10, codec="libx264", rotate=rotate)
    path = path.with_suffix(".mp4")
    crop, squash = read(path, 1), read(path, 1, fit="squash", size=80)
    assert crop.crop == CropBox(35, 0, 90, 90, 160, 90)
    assert squash.crop == CropBox(0, 0, 160, 90, 160, 90)
    assert (crop.pixels[0, :, 4:-4].argmax(axis=-1) == 1).all()
    assert squash.pixels[0, 40, [5, 40, 75]].argmax(axis=-1).tolist() == [0, 1, 2]


def test_pixels_that_are_not_square_are_stretched_to_what_a_player_shows(clips):
    narrow = np.ascontiguousarray(number_picture(5, (240, 120))[:, ::2])
    path = clips / "anamorphic.mp4"
    write_video(path, [narrow] * 3, [0, 9000, 18000], fps=10, codec="libx264", pixel_aspect=Fraction(2))
    batch = read(path, 1)
    assert batch.crop == CropBox(60, 0, 120, 120, 240, 120)
    assert numbers(batch) == [5]


def test_size_one_and_odd_sizes_are_possible(plain):
    for size in (1, 7, 33):
        assert read(plain, 2, size=size).pixels.shape == (2, size, size, 3)


# ---------------------------------------------------------------------- choosing seconds
@given(st.floats(0, 1e5), st.integers(1, 400))
def test_spread_seconds_are_the_centres_of_equal_parts(duration_s, count):
    seconds = spread_seconds(duration_s, count)
    edges = np.linspace(0, duration_s, count + 1)
    np.testing.assert_allclose(seconds, (edges[:-1] + edges[1:]) / 2, atol=1e-9 * (1 + duration_s))


@pytest.mark.parametrize(("duration_s", "count"), [(-1.0, 3), (float("nan"), 3), (float("inf"), 3), (4.0, 0)])
def test_nonsense_is_not_spread(duration_s, count):
    with pytest.raises(ValueError, match="cannot spread"):
        spread_seconds(duration_s, count)


@pytest.mark.parametrize("seconds", [[], [-0.1], [1.0, 0.5], [float("nan")], [float("inf")], 0, -3])
@pytest.mark.parametrize("reader", READERS)
def test_nonsense_seconds_are_a_mistake_of_the_caller(plain, seconds, reader):
    with pytest.raises(ValueError, match=r"seconds must be|cannot spread"):
        read(plain, seconds, reader)


# ---------------------------------------------------------------------- what a file holds
@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("p.mp4", {}, ("h264", "mp4", True)),
        ("p.mov", {}, ("h264", "mov", False)),
        ("p.mkv", {}, ("h264", "mkv", False)),
        ("p.webm", {"codec": "libvpx"}, ("vp8", "webm", True)),
        ("p9.webm", {"codec": "libvpx-vp9"}, ("vp9", "webm", True)),
        ("p1.webm", {"codec": "libsvtav1"}, ("av1", "webm", True)),
        ("p1.mp4", {"codec": "libsvtav1"}, ("av1", "mp4", True)),
        ("p10.mp4", {"pix_fmt": "yuv420p10le"}, ("h264", "mp4", False)),
        ("p444.mp4", {"pix_fmt": "yuv444p"}, ("h264", "mp4", False)),
        ("phevc.mp4", {"codec": "libx265"}, ("hevc", "mp4", False)),
        ("p4.avi", {"codec": "mpeg4"}, ("mpeg4", "avi", False)),
        ("p.ts", {}, ("h264", "ts", False)),
        ("pturned.mp4", {"rotate": 90}, ("h264", "mp4", True)),
        ("pvfr.mp4", {"vfr": True}, ("h264", "mp4", True)),
    ],
)
def test_probe_tells_what_was_drawn(clips, name, options, expected):
    seconds = draw_clip(clips / name, frames=20, size=(96, 64), **options)
    info = probe(clips / name)
    assert (info.codec, info.container, info.browser_playable) == expected
    assert (info.width, info.height, info.rotation) == (96, 64, options.get("rotate", 0))
    assert info.frame_count == 20
    assert info.duration_s == pytest.approx(seconds[-1] + (0.2 if options.get("vfr") else 0.1), abs=0.11)
    assert info.fps == pytest.approx(20 / info.duration_s)


# ---------------------------------------------------------------------- broken files
def halved(path: Path) -> Path:
    half = path.with_name(f"half_{path.name}")
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return half


def index_first(path: Path) -> Path:
    moved = path.with_name(f"first_{path.name}")
    copied(path, moved, options={"movflags": "+faststart"})
    return moved


@pytest.mark.parametrize("name", ["cut.mkv", "cut.ts", "cut.webm", "cut.mp4"])
def test_a_truncated_file_is_spread_over_the_frames_that_are_there(clips, name):
    path = clips / name
    draw_clip(path, frames=120, codec="libvpx" if name.endswith("webm") else "libx264")
    path = index_first(path) if name.endswith("mp4") else path
    assert probe(path).note == ""
    path = halved(path)
    there = probe(path).duration_s
    assert ("12.0 s" in probe(path).note) == (not name.endswith("ts"))  # a transport stream does not say its length
    assert 3 < there < 9
    batch = read(path, 8)
    assert numbers(batch) == [int(second * 10 + 1e-6) for second in batch.seconds]
    np.testing.assert_allclose(batch.seconds, spread_seconds(there, 8), atol=0.25)
    assert batch.duration_s == there


def test_damage_in_the_middle_costs_only_frames_nearby(clips):
    draw_clip(clips / "damaged.mp4", frames=120)
    path = index_first(clips / "damaged.mp4")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = np.random.default_rng(0).integers(0, 256, 400, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    batch = read(path, [1.0, 2.0, 3.0, 9.0, 10.0, 11.0])
    assert numbers(batch) == [10, 20, 30, 90, 100, 110]


def broken_files(folder: Path) -> dict[str, str]:
    """File name -> what its sentence has to say."""
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("This is not a video.\n" * 50)
    (folder / "random.mkv").write_bytes(np.random.default_rng(1).bytes(20_000))
    (folder / "zeros.webm").write_bytes(bytes(20_000))
    (folder / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:3,\n{folder / 'secret.ts'}\n#EXT-X-ENDLIST\n")
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile secret.ts\n")
    draw_clip(folder / "secret.ts")
    draw_sound(folder / "song.mp4")
    Image.new("RGB", (64, 48)).save(folder / "photo.png")
    (folder / "photo.png").rename(folder / "photo.mp4")
    draw_clip(folder / "no_index.mp4", frames=60)
    halved(folder / "no_index.mp4")
    (folder / "folder.mp4").mkdir()
    return {
        "empty.mp4": "the file is empty",
        "text.mp4": "not a video",
        "random.mkv": "not a video",
        "zeros.webm": "not a video",
        "list.mp4": "not a video",
        "concat.mp4": "not a video",
        "song.mp4": "holds no moving picture",
        "photo.mp4": "it is a picture, not a film",
        "half_no_index.mp4": "index is missing",
        "folder.mp4": "not a file",
        "absent.mp4": "does not exist",
    }


@pytest.mark.parametrize("reader", READERS)
def test_what_cannot_be_read_gets_one_clear_sentence(tmp_path, reader):
    for name, reason in broken_files(tmp_path).items():
        for attempt in (lambda path: read(path, 4, reader), probe):
            with pytest.raises(VideoError) as caught:
                attempt(tmp_path / name)
            sentence = str(caught.value)
            assert sentence.startswith(f"{name}: ")
            assert reason in sentence
            assert sentence.count("\n") == 0
            assert sentence.endswith(".")
            assert str(tmp_path) not in sentence


@pytest.mark.parametrize("reader", READERS)
def test_a_wrong_suffix_does_not_matter(clips, reader):
    draw_clip(clips / "right.mkv")
    (clips / "right.mkv").rename(clips / "wrong.mp4")
    assert numbers(read(clips / "wrong.mp4", [0.5], reader)) == [5]
    assert probe(clips / "wrong.mp4").container == "mkv"


def test_without_decord_the_sentence_names_the_other_reader(plain, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'decord.*"pyav"'):
        read(plain, 2, "decord")


# ---------------------------------------------------------------------- photos
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_a_clip_of_one_upright_frame(tmp_path, orientation):
    upright = Image.fromarray(number_picture(77, (160, 90)))
    undo = {2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (2,), 7: (6,), 8: (4,)}.get(orientation, ())
    stored = upright.transpose(Image.Transpose(undo[0])) if undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.jpg", quality=95, exif=exif)
    batch = still_frames(tmp_path / "photo.jpg", size=60, config=VideoConfig())
    assert numbers(batch) == [77]
    assert batch.crop == CropBox(35, 0, 90, 90, 160, 90)
    assert (batch.seconds.tolist(), batch.duration_s) == ([0.0], 0.0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "CMYK", "I;16"])
def test_photos_of_every_mode_are_read(tmp_path, mode):
    suffix = "tif" if mode in ("CMYK", "I;16") else "png"
    Image.new("L", (30, 20), 0).convert(mode if mode != "I;16" else "I").convert(mode).save(tmp_path / f"p.{suffix}")
    assert still_frames(tmp_path / f"p.{suffix}", size=8, config=VideoConfig()).pixels.shape == (1, 8, 8, 3)


def test_what_is_transparent_is_white(tmp_path):
    Image.new("RGBA", (20, 20), (200, 0, 0, 0)).save(tmp_path / "p.png")
    assert (still_frames(tmp_path / "p.png", size=4, config=VideoConfig()).pixels == 255).all()


def test_a_broken_photo_gets_a_sentence(tmp_path):
    Image.fromarray(number_picture(3, (400, 300))).save(tmp_path / "p.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "p.png").read_bytes()[:500])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "none.jpg").write_bytes(b"")
    for name in ("cut.png", "text.jpg", "none.jpg", "absent.jpg"):
        with pytest.raises(VideoError, match=f"^{name}: .*; .*\\.$"):
            still_frames(tmp_path / name, size=8, config=VideoConfig())


# ---------------------------------------------------------------------- shots
def batch_of(pictures):
    return FrameBatch(np.stack(pictures), np.arange(len(pictures)) * 0.5, CropBox(0, 0, 8, 8, 8, 8), 9.0)


def test_cuts_are_where_the_colours_change_at_once(clips):
    red, blue, green = (200, 20, 20), (20, 20, 200), (20, 190, 60)
    colours = [red] * 5 + [blue] * 2 + [green] * 6
    draw_clip(clips / "shots.mp4", frames=13, colours=colours)
    assert shot_cuts(read(clips / "shots.mp4", 13)) == [5, 7]


def test_one_shot_has_no_cut(clips):
    background = np.random.default_rng(2).integers(60, 120, (48, 48, 3)).astype(np.uint8)
    still = [background] * 6
    passing = []
    for i in range(8):
        picture = background.copy()
        picture[10:34, 5 * i : 5 * i + 16] = 250
        passing.append(picture)
    photo = np.random.default_rng(4).integers(0, 256, (48, 48, 3))
    fading = [(photo * (60 + i) // 80).astype(np.uint8) for i in range(13)]
    noise = list(np.random.default_rng(3).integers(0, 256, (6, 48, 48, 3)).astype(np.uint8))
    for pictures in (still, passing, fading, noise, still[:1], still[:2]):
        assert shot_cuts(batch_of(pictures)) == []


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "bmp", "webp", "avif", "moving.png", "moving.webp"])
def test_a_picture_file_is_a_clip_or_a_sentence_that_says_so(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (64, 48), (80 * i, 100, 200)) for i in range(3)]
    path = tmp_path / f"a.{kind}"
    more = {"save_all": True, "append_images": frames[1:], "duration": 200} if kind.startswith("moving") else {}
    try:
        frames[0].save(path, **more)
    except (KeyError, OSError, ValueError):
        pytest.skip(f"this Pillow writes no {kind}")
    if kind == "avif":  # a film of one picture
        info = probe_guarded(path, limits=LimitConfig())
        assert (info.width, info.height, info.frame_count) == (64, 48, 1)
        return
    with pytest.raises(VideoError, match="it is a picture, not a film"):
        probe_guarded(path, limits=LimitConfig())
