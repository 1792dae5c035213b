import io
import pickle
import struct

import numpy as np
import pytest
from PIL import Image, ImageSequence

import tiny
from rmnet.errors import VideoError
from rmnet.io import as_frame, open_frames

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (6, 12, 16, 3), dtype=np.uint8)
DURATIONS = [100, 200, 50, 30, 40, 500]  # ms
STARTS = np.array([0, 100, 300, 350, 380, 420]) / 1000
ANIMATED = {"webp": {"lossless": True}, "png": {}, "apng": {}, "gif": {}}


def save(path, frames=FRAMES, **options):
    first, *others = [Image.fromarray(frame) for frame in frames]
    kind = {"tif": "TIFF", "apng": "PNG", "mpo": "MPO", "jpg": "MPO"}
    first.save(
        path,
        format=kind.get(path.suffix[1:]),
        save_all=True,
        append_images=others,
        **options,
    )
    return path


def by_pillow(path):
    """Every picture as Pillow itself composes it."""
    with Image.open(path) as image:
        return np.stack([np.asarray(one.convert("RGB")) for one in ImageSequence.Iterator(image)])


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        (suffix, form)
        for suffix in ANIMATED
        for form in ("path", "list", "glob", "folder", "bytes", "file")
        if form != "folder" or suffix not in ("gif", "apng")  # no frames of a folder
    ],
)
def test_every_picture_of_an_animation_is_a_frame_with_its_time(tmp_path, suffix, form):
    path = save(tmp_path / f"a.{suffix}", duration=DURATIONS, **ANIMATED[suffix])
    source = {
        "path": path,
        "list": [str(path)],
        "glob": str(tmp_path / "*"),
        "folder": tmp_path,
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
    }[form]
    opened = open_frames(source)
    assert (opened.num_frames, opened.names, opened.reiterable) == (6, None, True)
    assert opened.frames_per_second == pytest.approx(10)  # by the first picture
    for _ in range(2):
        frames, times = zip(*opened.attempted(), strict=True)
        np.testing.assert_array_equal(np.stack(frames), by_pillow(path))
        np.testing.assert_allclose(times, STARTS)
    if suffix != "gif":
        np.testing.assert_array_equal(np.stack(frames), FRAMES)
    again = pickle.loads(pickle.dumps(opened))
    np.testing.assert_array_equal(np.stack(list(again)), np.stack(frames))


def test_every_page_of_a_tiff_is_a_frame_without_a_time(tmp_path):
    path = save(tmp_path / "a.tif", compression="tiff_lzw")
    opened = open_frames(path)
    assert (opened.num_frames, opened.frames_per_second) == (6, None)
    frames, times = zip(*opened.attempted(), strict=True)
    np.testing.assert_array_equal(np.stack(frames), FRAMES)
    assert set(times) == {None}


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_gif_is_composed_as_its_disposal_says(tmp_path, disposal):
    frames = [Image.new("P", (16, 12), 0) for _ in range(5)]
    for number, frame in enumerate(frames):
        frame.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0, 0, 0, 250] + [9] * 756)
        frame.paste(1 + number % 3, (2 * number, number, 2 * number + 5, number + 5))
        frame.info["transparency"] = 0
    path = tmp_path / "a.gif"
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        disposal=disposal,
        duration=80,
        transparency=0,
        optimize=False,
    )
    found = np.stack(list(open_frames(path)))
    np.testing.assert_array_equal(found, by_pillow(path))
    # FFmpeg composes them by itself; where a picture is drawn it must agree.
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        theirs = np.stack([f.to_ndarray(format="rgba") for f in container.decode(video=0)])
    drawn = theirs[..., 3] > 0
    np.testing.assert_array_equal(found[drawn], theirs[..., :3][drawn])


@pytest.mark.parametrize("duration", [0, 10])
def test_no_duration_is_shown_for_a_tenth_of_a_second_as_in_players(tmp_path, duration):
    path = save(tmp_path / "a.gif", duration=duration)
    times = [seconds for _, seconds in open_frames(path).attempted()]
    np.testing.assert_allclose(times, np.arange(6) / 10)


def test_still_picture_of_an_animated_png_is_no_frame(tmp_path):
    path = save(tmp_path / "a.png", default_image=True, duration=100)
    np.testing.assert_array_equal(np.stack(list(open_frames(path))), FRAMES[1:])


def test_second_picture_of_a_phone_is_no_frame(tmp_path):
    whole = RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    for suffix in ("jpg", "mpo"):
        path = save(tmp_path / f"a.{suffix}", [whole, whole[::2, ::2]], quality=95)
        with Image.open(path) as image:
            assert image.n_frames == 2
    opened = open_frames(tmp_path / "a.jpg")
    assert opened.num_frames == 1
    (frame,) = opened
    assert frame.shape == whole.shape
    assert as_frame((tmp_path / "a.mpo").read_bytes()).shape == whole.shape


def test_thumbnails_and_masks_in_a_tiff_are_no_frames(tmp_path):
    path = save(tmp_path / "a.tif")
    content = bytearray(path.read_bytes())
    # In each directory the entry on planes, which may be left out, gives way to the kind of page.
    kinds = iter((0, 1, 4, 2, 5, 0))
    starts, at = [], struct.unpack_from("<I", content, 4)[0]
    while at:
        starts.append(at)
        (count,) = struct.unpack_from("<H", content, at)
        (at,) = struct.unpack_from("<I", content, at + 2 + 12 * count)
    for start in starts:
        (count,) = struct.unpack_from("<H", content, start)
        entries = [content[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
        kept = [e for e in entries if e[:2] != struct.pack("<H", 284)]  # which may be left out
        kind = struct.pack("<HHII", 254, 4, 1, next(kinds))
        content[start + 2 : start + 2 + 12 * count] = b"".join([kind, *kept])
        assert len(kept) == count - 1
    path.write_bytes(content)
    np.testing.assert_array_equal(np.stack(list(open_frames(path))), FRAMES[[0, 3, 5]])


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_several_pictures_among_several_files_are_refused(tmp_path, suffix):
    first = save(tmp_path / f"0.{suffix}")
    second = save(tmp_path / f"1.{suffix}", FRAMES[:1])
    for source in ([first, second], tmp_path, str(tmp_path / "*"), iter([first])):
        with pytest.raises(VideoError, match=r"frame 0, '.*', holds 6 pictures; accepted: one pic"):
            list(open_frames(source))
    with pytest.raises(VideoError, match=r"the frame, .* holds 6 pictures"):
        as_frame(first)


def test_animations_are_turned_by_their_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("webp", "png"):
        path = save(tmp_path / f"a.{suffix}", exif=exif, **ANIMATED[suffix])
        expected = np.stack([np.rot90(frame, -1) for frame in FRAMES])
        np.testing.assert_array_equal(np.stack(list(open_frames(path))), expected)


def test_gif_cut_short_is_warned_about(tmp_path):
    path = save(tmp_path / "a.gif")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.warns(RuntimeWarning, match=r"a.gif' ended after \d pictures; it is probably cut"):
        assert 1 <= len(list(open_frames(path))) < 6


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_file_cut_short_names_the_frame_or_is_no_image(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", **ANIMATED.get(suffix, {}))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(VideoError, match=r"a\.\w+', cannot be read|frame \d of .* cannot be read"):
        list(open_frames(path))


def test_pictures_are_read_one_by_one_within_the_limit_of_pixels(tmp_path, monkeypatch):
    path = save(tmp_path / "a.tif", [FRAMES[0], np.zeros((40, 50, 3), np.uint8)])
    opened = open_frames(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    frames = iter(opened)
    np.testing.assert_array_equal(next(frames), FRAMES[0])
    with pytest.raises(VideoError, match=r"frame 1 of .* has too many pixels"):
        next(frames)


def test_animation_with_the_suffix_of_a_video_and_the_reverse(tmp_path):
    path = save(tmp_path / "a.webp", **ANIMATED["webp"])
    path.rename(tmp_path / "a.mp4")
    assert len(list(open_frames(tmp_path / "a.mp4"))) == 6


def test_animation_is_tracked_to_its_end(tmp_path):
    frames, labels = tiny.clip(3)
    path = save(tmp_path / "a.webp", frames, duration=40, lossless=True)
    result = tiny.segmenter().track(path, labels)
    assert [frame.seconds for frame in result] == pytest.approx([0, 0.04, 0.08])
    expected = tiny.segmenter().track(frames, labels)
    np.testing.assert_array_equal(result.labels, expected.labels)
    masks = result.save_masks(tmp_path / "masks")
    assert [mask.name for mask in masks] == ["00000.png", "00001.png", "00002.png"]
