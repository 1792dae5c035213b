"""Soft masks are thresholded or refused at every door, and label maps are left alone."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

import tiny
from benchmarks import soft_masks
from rmnet.cli import main
from rmnet.errors import MaskError
from rmnet.evaluation import compare_folders, open_folders
from rmnet.io import parse_mask, read_label_png

FRAMES, _ = tiny.clip(4)
HEIGHT, WIDTH = FRAMES.shape[1:3]


def box(scale=2, method=Image.Resampling.BILINEAR):
    """Return a box with soft straight edges, (64, 96) uint8, and what it shows."""
    small = Image.new("L", (WIDTH // scale, HEIGHT // scale))
    ImageDraw.Draw(small).rectangle((5, 6, 20, 23), 255)
    soft = np.asarray(small.resize((WIDTH, HEIGHT), method))
    return soft, soft > 127


def softly(mask):
    """Read a mask that must be thresholded with a warning."""
    with pytest.warns(UserWarning, match=r"soft edges .*above 127"):
        return parse_mask(mask)


def test_box_resized_by_two_is_one_object_without_void():
    soft, expected = box()
    assert set(np.unique(soft)) - {0, 255} == {16, 48, 64, 143, 191}
    for mask in (soft, Image.fromarray(soft), np.stack([soft] * 3, axis=2), soft.astype(int)):
        parsed = softly(mask)
        assert parsed.object_ids == (1,)
        assert not parsed.void.any()
        np.testing.assert_array_equal(parsed.masks[0].numpy(), expected)


def test_box_with_one_soft_edge_is_soft():
    soft = np.zeros((40, 50), np.uint8)
    soft[8:30, 10:30], soft[8:30, 30] = 255, 143
    np.testing.assert_array_equal(softly(soft).masks[0].numpy(), soft > 127)


def test_grey_palette_is_a_picture_of_greys(tmp_path):
    soft, expected = box()
    Image.fromarray(soft).save(tmp_path / "m.gif")
    np.testing.assert_array_equal(softly(tmp_path / "m.gif").masks[0].numpy(), expected)


def test_soft_mask_of_16_bits_is_thresholded():
    soft, expected = box()
    with pytest.warns(UserWarning, match="above 32767"):
        parsed = parse_mask(soft.astype(np.uint16) * 257)
    np.testing.assert_array_equal(parsed.masks[0].numpy(), expected)


def test_object_ids_name_the_object_of_a_soft_mask():
    with pytest.warns(UserWarning, match="soft edges"):
        assert parse_mask(box()[0], object_ids=[7]).object_ids == (7,)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_soft_mask_of_any_shape_scale_filter_and_quality_is_never_a_label_map(seed):
    rng = np.random.default_rng(seed)
    soft = soft_masks.soften(rng, soft_masks.draw_shapes(rng) * np.uint8(255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parsed = parse_mask(soft)
        except MaskError:
            return
    assert parsed.object_ids == (1,)
    np.testing.assert_array_equal(parsed.masks[0].numpy(), soft > 127)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([soft_masks.draw_regions, soft_masks.draw_thin, soft_masks.draw_crowd, None]),
    st.booleans(),
)
def test_label_map_of_any_objects_keeps_its_ids(seed, draw, with_void):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (9, 14), np.uint8) if draw is None else np.array(draw(rng))
    if with_void and draw is soft_masks.draw_regions:
        labels = soft_masks.line_with_void(rng, labels)
    labels[labels.shape[0] // 2, :2] = 3
    ids = tuple(i for i in np.unique(labels).tolist() if i not in (0, 255))
    parsed = parse_mask(labels)
    assert parsed.object_ids == ids
    np.testing.assert_array_equal(parsed.void.numpy(), labels == 255)


@pytest.mark.parametrize("ids", [(1, 255), (128,), (127, 255), (1, 2, 254, 255), (254, 255)])
def test_solid_levels_are_ids_whatever_they_are(ids):
    labels = np.zeros((40, 60), np.uint8)
    for number, level in enumerate(ids):
        labels[5:30, 2 + 14 * number : 14 + 14 * number] = level
    assert parse_mask(labels).object_ids == tuple(i for i in ids if i != 255)


def test_void_contours_around_objects_stay_void():
    labels = np.zeros((60, 90), np.uint8)
    labels[8:40, 8:40] = 255
    labels[11:37, 11:37] = 15
    labels[20:50, 50:80] = 255
    labels[22:48, 52:78] = 1
    parsed = parse_mask(labels)
    assert parsed.object_ids == (1, 15)
    np.testing.assert_array_equal(parsed.void.numpy(), labels == 255)


@pytest.mark.parametrize("levels", [(60, 120, 180), (1, 2, 3), (85, 170, 255)])
def test_softened_map_of_several_objects_is_refused_and_the_remedy_runs(levels):
    image = Image.new("L", (160, 120))
    draw = ImageDraw.Draw(image)
    draw.ellipse((10, 10, 60, 70), levels[0])
    draw.ellipse((90, 10, 150, 60), levels[1])
    draw.ellipse((40, 60, 120, 115), levels[2])
    soft = image.resize((240, 180), Image.Resampling.BILINEAR)
    with pytest.raises(MaskError, match=r"Image\.NEAREST to resize a label map"):
        parse_mask(soft)
    expected = tuple(i for i in levels if i != 255)
    assert parse_mask(image.resize((240, 180), Image.NEAREST)).object_ids == expected
    assert parse_mask(soft, object_ids=list(levels)).object_ids == levels


def test_soft_wire_without_a_core_is_refused():
    image = Image.new("L", (200, 200))
    ImageDraw.Draw(image).line((10, 20, 180, 150), 255, 2)
    thin = np.asarray(image.resize((50, 50), Image.Resampling.BOX))
    with pytest.raises(MaskError, match="most of which only line contours") as refused:
        parse_mask(thin)
    line = str(refused.value).rpartition("Write ")[2].partition(" for one")[0]
    assert parse_mask(eval(line, {"np": np, "mask": thin})).object_ids == (1,)


def test_jpeg_of_a_label_map_is_refused(tmp_path):
    labels = np.zeros((64, 96), np.uint8)
    labels[8:40, 8:40], labels[20:60, 50:90] = 60, 200
    Image.fromarray(labels).save(tmp_path / "m.jpg", quality=95)
    for read in (parse_mask, read_label_png):
        with pytest.raises(MaskError, match=r"m.jpg' has .* saved as JPEG"):
            read(tmp_path / "m.jpg")


# --- the other doors -----------------------------------------------------------------------------


def test_session_takes_a_soft_mask_at_a_step_and_a_correction():
    soft, expected = box()
    session = tiny.segmenter().start()
    with pytest.warns(UserWarning, match="soft edges"):
        result = session.step(FRAMES[0], soft)
    np.testing.assert_array_equal(result.labels, expected)
    session.step(FRAMES[1])
    with pytest.warns(UserWarning, match="soft edges"):
        result = session.correct(soft)
    np.testing.assert_array_equal(result.labels, expected)


def test_track_takes_soft_masks_and_polygons():
    pytest.importorskip("pycocotools")
    soft, expected = box()
    with pytest.warns(UserWarning, match="soft edges"):
        results = tiny.segmenter().track(FRAMES, soft)
    np.testing.assert_array_equal(results[0].labels, expected)
    polygon = [[10, 12, 42, 12, 42, 48, 10, 48]]
    results = tiny.segmenter().track(FRAMES, masks={1: {4: polygon}})
    np.testing.assert_array_equal(results[1].labels[12:48, 10:42], 4)
    with pytest.raises(MaskError, match="polygons, which have no size"):
        tiny.segmenter().track(iter(FRAMES), polygon)


def write_video(folder, maps):
    folder.mkdir()
    for index, labels in enumerate(maps):
        Image.fromarray(labels).save(folder / f"{index:05d}.png")


@pytest.mark.filterwarnings("default:the mask .* soft edges")
def test_command_tracks_a_soft_mask_and_says_so(tmp_path, capsys):
    soft, expected = box()
    write_video(tmp_path / "frames", FRAMES)
    Image.fromarray(soft).save(tmp_path / "soft.png")
    out = tmp_path / "out"
    code = main(["track", str(tmp_path / "frames"), str(tmp_path / "soft.png"), "-o", str(out)])
    assert code == 0
    assert "soft edges" in capsys.readouterr().err
    np.testing.assert_array_equal(read_label_png(out / "00000.png"), expected)


@pytest.mark.filterwarnings("ignore:the mask .* soft edges")
def test_eval_scores_soft_predictions_as_what_they_show(tmp_path):
    soft, expected = box()
    write_video(tmp_path / "truth", [expected.astype(np.uint8) * 255] * 4)
    write_video(tmp_path / "soft", [soft] * 4)
    benchmark = open_folders(tmp_path / "soft", tmp_path / "truth")
    (result,) = compare_folders(benchmark)
    assert result.error is None
    assert result.objects[0]["J-Mean"] == 1


@pytest.mark.filterwarnings("ignore:the mask .*soft edges")
def test_evaluate_reads_soft_truth_in_files_and_arrays_alike(tmp_path):
    soft, expected = box()
    results = tiny.segmenter().track(FRAMES, expected)
    exact = results.evaluate([expected.astype(np.uint8)] * 4)
    write_video(tmp_path / "soft", [soft] * 4)
    assert results.evaluate(tmp_path / "soft") == exact
    assert results.evaluate([soft] * 4) == exact
    assert results.evaluate([expected * np.uint8(255)] * 4) == exact


def test_blurred_jpeg_in_colour_is_read(tmp_path):
    soft, _ = box()
    image = Image.fromarray(soft).filter(ImageFilter.GaussianBlur(2)).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    pixels = np.asarray(Image.open(buffer))
    parsed = softly(Image.open(buffer))
    np.testing.assert_array_equal(parsed.masks[0].numpy(), pixels[..., 1] > 127)


def test_real_davis_masks_are_never_label_maps_once_softened(data_root):
    rng = np.random.default_rng(0)
    paths = sorted((data_root / "davis480" / "Annotations" / "480p" / "bear").glob("*.png"))
    for path in paths[::10]:
        soft = soft_masks.soften(rng, (soft_masks.read(path) > 0) * np.uint8(255))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert parse_mask(soft).object_ids == (1,)
            except MaskError:
                continue


def test_real_label_maps_are_never_refused(data_root):
    annotations = data_root / "davis480" / "Annotations" / "480p" / "bmx-trees"
    for path in sorted(annotations.glob("*.png"))[::8]:
        labels = soft_masks.read(path)
        assert parse_mask(labels).object_ids == tuple(np.unique(labels[labels > 0]).tolist())
