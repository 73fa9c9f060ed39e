"""What a player shows is what is read: decoder state, orientation, streams, colours and clocks."""

from __future__ import annotations

import struct
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.helpers.drawn import copied, draw_clip, number_picture, read_number, write_video
from vtr_demo.config import VideoConfig
from vtr_demo.errors import VideoError
from vtr_demo.video.frames import LimitConfig, convert_for_browser, probe, read_frames
from vtr_demo.video.timeline import NO_TIME, PacketRow, build_timeline

LIMITS = LimitConfig()
SCENE = np.array([200, 50, 40])


def read(path, seconds, size=64):
    return read_frames(path, seconds, size=size, config=VideoConfig())


def numbers(batch):
    return [read_number(picture) for picture in batch.pixels]


def both(path, seconds):
    """The numbers in the frames, read together and one by one, and in the copy for browsers at the same seconds."""
    frames = numbers(read(path, seconds))
    assert [numbers(read(path, [second]))[0] for second in seconds] == frames
    copy = convert_for_browser(path, path.with_name(f"{path.name}.copy.mp4"), limits=LIMITS)
    assert numbers(read(copy, seconds)) == frames
    assert probe(copy).duration_s == pytest.approx(probe(path).duration_s, abs=0.06)
    return frames


def colour(path):
    return read(path, [0.1]).pixels[0].mean((0, 1))


# ---------------------------------------------------------------------- decoder state
def test_a_palette_that_comes_with_the_first_packet_holds_for_all(tmp_path):
    path = tmp_path / "palette.avi"
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, axis=1)
    grey[:, 0] = 255  # alpha comes first
    grey[:, 1:] = grey[::-1, 1:]  # reversed, so that a lost palette shows
    with av.open(str(path), "w") as file:
        stream = file.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "pal8"
        for number in range(30):
            indices = 255 - number_picture(number, (64, 64))[..., 0]
            frame = av.VideoFrame.from_ndarray((indices, grey), "pal8")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert numbers(read(path, [0.15, 1.15, 2.15])) == [1, 11, 21]


@pytest.mark.parametrize("start_s", [0.0, 3.0])
def test_codec_headers_that_change_in_mid_stream_are_used(tmp_path, start_s):
    draw_clip(tmp_path / "a.flv", frames=30, size=(128, 128))
    other = {"profile": "baseline", "bf": "0", "refs": "4", "crf": "25"}
    # The second clip's numbers differ from the first's: it is drawn twice as long, and its end is looked at.
    draw_clip(tmp_path / "b.flv", frames=60, size=(128, 128), options=other, start_s=start_s)
    joined = tmp_path / "joined.flv"
    joined.write_bytes((tmp_path / "a.flv").read_bytes() + (tmp_path / "b.flv").read_bytes()[13:])
    assert probe(joined).duration_s == pytest.approx(9.0, abs=0.25)
    frames = both(joined, [1.05, 2.05, 4.15, 6.15, 8.15])
    assert frames[:2] == [10, 20]
    assert np.abs(np.array(frames[2:]) - [11, 31, 51]).max() <= 2


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_intra_refresh_shows_every_second_its_own_frame(tmp_path, container):
    path = tmp_path / f"refresh.{container}"
    draw_clip(path, frames=60, options={"bf": "0", "x264-params": "intra-refresh=1:keyint=20"})
    wanted = [5, 15, 25, 35, 45, 55]
    batch = read(path, [number / 10 + 0.05 for number in wanted])
    assert numbers(batch) == wanted
    np.testing.assert_allclose(batch.seconds, np.array(wanted) / 10, atol=2e-3)


@pytest.mark.parametrize("codec", ["msmpeg4v2", "h263p"])
def test_key_flags_that_are_wrong_are_noticed(tmp_path, codec):
    path = tmp_path / "flags.avi"
    draw_clip(path, frames=40, size=(176, 144), codec=codec, gop=20, options={"qscale": "2"})
    data = bytearray(path.read_bytes())
    for entry in range(data.rindex(b"idx1") + 8, len(data) - 15, 16):
        data[entry + 4] |= 0x10  # AVIIF_KEYFRAME
    path.write_bytes(data)
    assert both(path, [0.05, 0.55, 1.45, 2.15, 3.75]) == [0, 5, 14, 21, 37]


def test_a_picture_size_that_changes_shows_each_picture_whole(tmp_path):
    for name, size in (("wide", (160, 96)), ("tall", (96, 160))):
        draw_clip(tmp_path / f"{name}.ts", frames=30, size=size, options={"bf": "0"})
    path = tmp_path / "joined.ts"
    path.write_bytes((tmp_path / "wide.ts").read_bytes() + (tmp_path / "tall.ts").read_bytes())
    assert numbers(read(path, [0.55, 2.05, 3.55, 5.05])) == [5, 20, 5, 20]
    copy = convert_for_browser(path, tmp_path / "copy.mp4", limits=LIMITS)
    tall = read_frames(copy, [5.05], size=160, config=VideoConfig(fit="squash")).pixels[0]
    # 96 x 160 between bars in 160 x 96: 58 columns of 160 x 96, drawn 160 high.
    assert tall[:, :48].max() < 30 > tall[:, -48:].max()
    assert tall[:, 56:-56].mean() > 60


# ---------------------------------------------------------------------- orientation
MATRICES = {
    "flip_x": (-1, 0, 0, 1), "flip_y": (1, 0, 0, -1), "transpose": (0, 1, 1, 0),
    "antitranspose": (0, -1, -1, 0), "right": (0, 1, -1, 0), "half": (-1, 0, 0, -1), "left": (0, -1, 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", MATRICES)
def test_each_of_the_eight_orientations_is_brought_upright(tmp_path, name):
    a, b, c, d = MATRICES[name]
    upright = number_picture(37, (128, 96))
    # The matrix takes a stored point (x, y) to (a x + c y, b x + d y): the picture is stored by its inverse.
    height, width = upright.shape[:2]
    stored_size = (height, width) if a else (width, height)
    y, x = np.mgrid[: stored_size[0], : stored_size[1]]
    shown_x, shown_y = a * x + c * y, b * x + d * y
    stored = upright[shown_y - shown_y.min(), shown_x - shown_x.min()]
    path = tmp_path / f"{name}.mp4"
    write_video(path, [stored] * 4, [0, 9000, 18000, 27000], fps=10, codec="libx264")
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", *(v * 65536 for v in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    path.write_bytes(data)
    info = probe(path)
    assert (info.width, info.height) == (128, 96)
    assert info.browser_playable == (a * d - b * c > 0)  # a mirror is not what every browser shows
    assert both(path, [0.15]) == [37]


# ---------------------------------------------------------------------- which stream
@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("codec", "size", "pictures", "flags"),
    [
        ("libx264", (64, 64), 1, "01"),  # a still
        ("libx264", (64, 64), 20, "01"),  # a preview
        ("libx264", (64, 64), 20, "11"),
        ("mjpeg", (128, 96), 2, "11"),  # thumbnails
        ("mjpeg", (256, 192), 1, "10"),
        ("mpeg4", (256, 192), 20, "01"),
        ("jpeg2000", (256, 192), 20, "10"),  # not read
    ],
)
def test_the_film_is_read_whatever_comes_before_it(tmp_path, container, codec, size, pictures, flags):
    from av.stream import Disposition

    path = tmp_path / f"film.{container}"
    with av.open(str(path), "w") as file:
        sizes = [size, (128, 96)]
        streams = []
        for (width, height), name, flag in zip(sizes, (codec, "libx264"), flags, strict=True):
            stream = file.add_stream(name, rate=10, options={"crf": "12", "bf": "0"} if "264" in name else {})
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if name == "mjpeg" else "yuv420p"
            stream.disposition = Disposition.default if flag == "1" else Disposition(0)
            streams.append(stream)
        for number in range(20):
            for stream, shape, offset in zip(streams, sizes, (500, 0), strict=True):
                if offset and number >= pictures:
                    continue
                frame = av.VideoFrame.from_ndarray(number_picture(number + offset, shape), "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                file.mux(stream.encode(frame))
        for stream in streams:
            file.mux(stream.encode(None))
    info = probe(path)
    assert (info.width, info.height, info.frame_count, info.browser_playable) == (128, 96, 20, False)
    assert both(path, [0.05, 1.05]) == [0, 10]


# ---------------------------------------------------------------------- colour
def hdr_picture(transfer: str) -> tuple[int, int, int]:
    """10-bit Y, Cb, Cr of SCENE in BT.2020 by BT.2100's curves, white at 203 cd/m2."""
    rgb = SCENE / 255
    linear = np.where(rgb < 0.081, rgb / 4.5, ((rgb + 0.099) / 1.099) ** (1 / 0.45))
    linear = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]) @ linear
    if transfer == "smpte2084":
        y = (linear * 203 / 10_000) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375
    else:
        s = linear * 0.265
        curve = 0.17883277 * np.log(np.maximum(12 * s - 0.28466892, 1e-9)) + 0.55991073
        signal = np.where(s <= 1 / 12, np.sqrt(3 * s), curve)
    luma = signal @ [0.2627, 0.678, 0.0593]
    blue, red = (signal[2] - luma) / 1.8814, (signal[0] - luma) / 1.4746
    return round(64 + 876 * luma), round(512 + 896 * blue), round(512 + 896 * red)


def flat_yuv(path, yuv, *, pix_fmt, codec, size=(128, 128), tags=(2, 2, 2), full=False, options=None):
    """A clip of one colour, given as Y, Cb, Cr; tags are FFmpeg's matrix, primaries and transfer."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tags
        context.color_range = 2 if full else 1
        for number in range(5):
            frame = av.VideoFrame(*size, pix_fmt)
            for plane, value in zip(frame.planes, yuv, strict=True):
                deep = "10" in pix_fmt
                pixels = np.full(plane.buffer_size // (2 if deep else 1), value, np.uint16 if deep else np.uint8)
                plane.update(pixels.tobytes())
            frame.colorspace, frame.color_range = tags[0], 2 if full else 1
            frame.pts, frame.time_base = number, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def yuv_of(rgb, *, kr, kb, bits=8, full=False):
    """Y, Cb, Cr by the equations of BT.601 and BT.709."""
    r, g, b = np.array(rgb) / 255
    luma = kr * r + (1 - kr - kb) * g + kb * b
    blue, red = (b - luma) / (2 - 2 * kb), (r - luma) / (2 - 2 * kr)
    unit = 2 ** (bits - 8)
    if full:
        top = 2**bits - 1
        return [round(luma * top), *(round(128 * unit + c * top) for c in (blue, red))]
    return [round((16 + 219 * luma) * unit), *(round((128 + 224 * c) * unit) for c in (blue, red))]


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_is_tone_mapped_in_frames_and_copies(tmp_path, transfer):
    path = tmp_path / "hdr.mov"
    number = 16 if transfer == "smpte2084" else 18
    params = f"log-level=none:pools=1:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"
    flat_yuv(path, hdr_picture(transfer), pix_fmt="yuv420p10le", codec="libx265", tags=(9, 9, number),
             options={"x265-params": params})  # fmt: skip
    copy = convert_for_browser(path, tmp_path / "copy.mp4", limits=LIMITS)
    assert not probe(path).browser_playable
    started = time.process_time()
    one, other = colour(path), colour(copy)
    single_s = time.process_time() - started
    assert np.abs(read(path, 5).pixels.mean((1, 2)) - one).max() < 1
    assert time.process_time() - started < 3 * single_s  # the tables of the tone mapping are made once
    assert max(np.abs(one - SCENE).max(), np.abs(other - SCENE).max()) < 40
    assert np.abs(one - other).max() < 10


BT601, BT709 = {"kr": 0.299, "kb": 0.114}, {"kr": 0.2126, "kb": 0.0722}


@pytest.mark.parametrize(
    ("size", "tag", "weights", "bits", "full"),
    [
        ((1280, 720), 2, BT709, 8, False),  # untagged HD
        ((1280, 536), 2, BT709, 8, False),
        ((320, 240), 2, BT601, 8, False),  # untagged SD
        ((320, 240), 1, BT709, 8, False),
        ((1280, 720), 5, BT601, 8, False),  # what is tagged counts, whatever the size
        ((320, 240), 1, BT709, 10, False),
        ((320, 240), 1, BT709, 8, True),
        ((320, 240), 1, BT709, 10, True),
    ],
)
def test_colours_are_those_that_were_drawn(tmp_path, size, tag, weights, bits, full):
    path = tmp_path / "colour.mp4"
    yuv = yuv_of(SCENE, **weights, bits=bits, full=full)
    pix_fmt = "yuv420p10le" if bits == 10 else "yuv420p"
    flat_yuv(path, yuv, pix_fmt=pix_fmt, codec="libx264", size=size, tags=(tag, tag, tag), full=full,
             options={"crf": "5", "preset": "ultrafast"})  # fmt: skip
    copy = convert_for_browser(path, tmp_path / "copy.mp4", limits=LIMITS)
    for file in (path, copy):
        assert np.abs(colour(file) - SCENE).max() < 8, (colour(file), file.name)


@pytest.mark.parametrize("tags", [(3, 3, 3), (0, 15, 21), (40, 0, 0), (2, 200, 16)])
def test_colour_tags_that_no_standard_defines_do_no_harm(tmp_path, tags):
    is_hdr = tags[2] == 16  # and else untagged: players take it for BT.2020
    yuv = [value // 4 for value in hdr_picture("smpte2084")] if is_hdr else yuv_of(SCENE, **BT601)
    flat_yuv(tmp_path / "plain.mp4", yuv, pix_fmt="yuv420p", codec="libx264", options={"crf": "5"})
    path = tmp_path / "tagged.mp4"
    names = ("matrix_coefficients", "colour_primaries", "transfer_characteristics")
    pairs = [f"{name}={tag}" for name, tag in zip(names, tags, strict=True)]
    copied(tmp_path / "plain.mp4", path, bitstream="h264_metadata=" + ":".join(pairs))
    copy = convert_for_browser(path, tmp_path / "copy.mp4", limits=LIMITS)
    for file in (path, copy):
        assert np.abs(colour(file) - SCENE).max() < (40 if is_hdr else 8), file.name


def test_colours_that_cannot_be_converted_get_a_sentence(tmp_path):
    flat_yuv(tmp_path / "plain.mp4", (90, 120, 130), pix_fmt="yuv420p", codec="libx264")
    path = tmp_path / "ycgco.mp4"
    copied(tmp_path / "plain.mp4", path, bitstream="h264_metadata=matrix_coefficients=8")
    for attempt in (lambda: read(path, [0.1]), lambda: convert_for_browser(path, tmp_path / "c.mp4", limits=LIMITS)):
        with pytest.raises(VideoError, match=r"^ycgco\.mp4: .*(cannot|could not) be converted"):
            attempt()


# ---------------------------------------------------------------------- clocks
@pytest.mark.parametrize(("container", "codec"), [("ts", "libx264"), ("mpg", "mpeg2video"), ("ts", "mpeg2video")])
def test_a_clock_that_restarts_loses_nothing(tmp_path, container, codec):
    parts = []
    for frames in (30, 50):
        part = tmp_path / f"{frames}.{container}"
        draw_clip(part, frames=frames, size=(128, 128), codec=codec, fps=25, sound=container == "ts")
        parts.append(part.read_bytes())
    path = tmp_path / f"joined.{container}"
    path.write_bytes(b"".join(parts))
    info = probe(path)
    assert info.duration_s == pytest.approx(80 / 25, abs=0.1)
    assert abs(info.frame_count - 80) <= 2
    frames = both(path, [0.42, 1.02, 2.22, 2.82])
    assert frames[:2] == [10, 25]
    assert np.abs(np.array(frames[2:]) - [25, 40]).max() <= 2


@pytest.mark.parametrize("bf", ["0", "2"])
def test_packets_without_a_time_are_shown_before_those_with_one(tmp_path, bf):
    draw_clip(tmp_path / "plain.mp4", frames=40, options={"bf": bf}, gop=10)
    path = tmp_path / "below_zero.mkv"
    copied(tmp_path / "plain.mp4", path, shift_s=-1.05, options={"avoid_negative_ts": "disabled"})
    assert probe(path).frame_count == 40
    assert both(path, [0.02, 0.32, 0.72, 1.52, 3.02]) == [0, 3, 7, 15, 30]


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(
    ("codec", "params", "dropped", "first"),
    [
        ("libx264", "bframes=0:keyint=12:scenecut=0", 3, 12),
        ("libx264", "open-gop=1:bframes=3:b-adapt=0:keyint=12:scenecut=0", 20, 24),
        ("libx265", "log-level=none:pools=1:open-gop=1:bframes=3:b-adapt=0:keyint=12:scenecut=0", 20, 24),
    ],
)
def test_a_film_cut_between_key_frames_begins_with_the_first_picture_shown(
    tmp_path, container, codec, params, dropped, first
):
    whole, path = (tmp_path / f"{name}.{container}" for name in ("whole", "cut"))
    draw_clip(whole, frames=48, codec=codec, options={f"{codec[3:]}-params": params})
    copied(whole, path, dropped=dropped)
    assert probe(path).duration_s == pytest.approx((48 - first) / 10, abs=0.01)
    assert not probe(path).browser_playable
    assert both(path, [0.05, 0.75, 1.25, 2.25]) == [first, first + 7, first + 12, first + 22]


@pytest.mark.parametrize("name", ["late.mp4", "late.webm"])
def test_a_film_that_starts_after_its_sound_is_not_played_as_it_is(tmp_path, name):
    codec = "libvpx" if name.endswith("webm") else "libx264"
    for start_s in (0.0, 1.0):
        draw_clip(tmp_path / name, codec=codec, start_s=start_s)
        assert probe(tmp_path / name).browser_playable == (start_s == 0.0)
        assert both(tmp_path / name, [0.05, 0.75, 2.25]) == [0, 7, 22]


def rows(stamps, keys, dts=None):
    dts = stamps if dts is None else dts
    return [PacketRow(pts, d, i in keys, True, 1, False) for i, (pts, d) in enumerate(zip(stamps, dts, strict=True))]


def built(packets, *, restarts=False):
    return build_timeline(packets, tick_s=0.1, fps=10.0, ordinal=False, restarts=restarts)


def test_a_stretch_after_a_jump_back_goes_on_where_the_one_before_ended():
    timeline = built(rows([*range(100, 130), *range(100, 150)], {0, 30}))
    assert timeline.ticks.tolist() == list(range(100, 180))
    assert timeline.shifts == (0, 30)
    assert timeline.in_order


def test_one_late_packet_is_disorder_and_no_restart():
    stamps = [0, 1, 2, 3, 7, 5, 6, 4, *range(8, 40)]
    timeline = built(rows(stamps, {0, 7}))
    assert timeline.shifts == (0,)
    assert not timeline.in_order


def test_a_gap_of_hours_is_closed_only_where_clocks_may_change():
    stamps = [*range(20), *range(100_000, 100_020)]
    assert built(rows(stamps, {0, 20}), restarts=True).duration_s == pytest.approx(4.0)
    assert built(rows(stamps, {0, 20})).duration_s == pytest.approx(10_002.0)


def test_no_packet_has_a_time():
    timeline = built(rows([NO_TIME] * 10, {0}))
    assert timeline.duration_s == pytest.approx(1.0)


# ---------------------------------------------------------------------- damage
@pytest.mark.parametrize(
    ("group", "shown"),
    [
        (0, [12, 17, 22, 35, 39, 39]),  # the film begins with the first picture that can be shown
        (1, [2, 7, 9, 25, 32, 37]),
        (3, [2, 7, 12, 25, 29, 29]),
    ],
)
def test_a_group_that_cannot_be_decoded_is_skipped_or_held_over_in_frames_and_copy(tmp_path, group, shown):
    path = tmp_path / "damaged.mp4"
    draw_clip(path, frames=40, gop=10, options={"bf": "0"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        for packet in list(file.demux(video=0))[10 * group : 10 * group + 10]:
            data[packet.pos + 4 : packet.pos + packet.size] = bytes(packet.size - 4)
    path.write_bytes(data)
    assert both(path, [0.25, 0.75, 1.25, 2.55, 3.25, 3.75]) == shown


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mkv", "mpeg2.ts", "mpeg4.avi", "vp9.webm", "h264.flv"])
def test_mutated_files_give_ascending_seconds_or_a_sentence(tmp_path, name):
    codec = {"hevc": "libx265", "mpeg2": "mpeg2video", "mpeg4": "mpeg4", "vp9": "libvpx-vp9"}
    draw_clip(tmp_path / name, size=(64, 64), codec=codec.get(name.split(".")[0], "libx264"))
    whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(12):
        data = whole.copy()
        places = rng.integers(0, len(data), rng.integers(1, 60))
        data[places] = rng.integers(0, 256, len(places))
        (tmp_path / name).write_bytes(data[: rng.integers(len(data) // 2, len(data) + 1)].tobytes())
        try:
            probe(tmp_path / name)
            batch = read(tmp_path / name, 8, size=16)
            assert (np.diff(batch.seconds) >= 0).all()
        except VideoError:
            continue
