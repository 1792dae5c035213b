"""`rmnet eval`: protocols on files, failures, and runs that are taken up again."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import rmnet
import tiny
from evaluation_data import NUM_FRAMES, davis_root, youtube_vos_root
from rmnet.cli import main
from rmnet.errors import ConfigError
from rmnet.evaluation import (
    ClipResult,
    Record,
    describe_network,
    evaluate_sequence,
    open_davis,
    open_folders,
    open_youtube_vos,
    summarise_davis,
)
from rmnet.io import read_label_png, write_label_png
from rmnet.segmenter import RMNetSegmenter
from rmnet.weights.load import save_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_network(tiny.network(), folder)
    return folder


@pytest.fixture
def davis(tmp_path):
    return davis_root(tmp_path / "DAVIS")


@pytest.fixture
def call(weights, tmp_path, capsys):
    """Run `rmnet eval BENCHMARK ROOT ... -o tmp_path/out`: exit code, stdout, stderr."""

    def run(benchmark, root, *options, output=tmp_path / "out"):
        network = ("--weights", str(weights), "--device", "cpu")
        argv = ["eval", benchmark, str(root), "-o", str(output), *network, *map(str, options)]
        code = main(argv)
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def tracked(monkeypatch):
    """Names of the clips that the network runs on."""
    names = []
    stream = RMNetSegmenter.stream

    def counting(self, frames, *args, **options):
        names.append(Path(frames[0]).parent.name)
        return stream(self, frames, *args, **options)

    monkeypatch.setattr(RMNetSegmenter, "stream", counting)
    return names


def results_in(folder):
    return json.loads((folder / "results.json").read_text())


def without_times(results):
    for clip in results["clips"]:
        del clip["seconds_a_frame"]
    return results


def maps_in(folder):
    return [read_label_png(path) for path in sorted(folder.glob("*.png"))]


# --- DAVIS ------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", [2016, 2017])
def test_davis_scores_what_the_library_tracks(call, davis, weights, tmp_path, year):
    root, truth = davis
    code, _, error = call("davis", root, "--year", year)
    assert (code, error) == (0, "")
    segmenter = RMNetSegmenter.from_pretrained(weights, device="cpu")
    scores = {}
    for clip, expected in truth.items():
        first = (expected[0] > 0).astype(np.uint8) if year == 2016 else expected[0]
        labels = segmenter.track(root / "JPEGImages" / "480p" / clip, first).labels
        scores[clip] = evaluate_sequence(labels, expected, year=year)
        assert (np.stack(maps_in(tmp_path / "out" / clip)) == labels).all()
    results = results_in(tmp_path / "out")
    assert [clip["clip"] for clip in results["clips"]] == ["bee", "ant"]  # in the split's order
    for clip in results["clips"]:
        rows, wanted = clip["objects"], scores[clip["clip"]]
        assert [row["id"] for row in rows] == [*wanted.object_ids] == [[1], [1, 3, 7]][year - 2016]
        assert [row["J-Mean"] for row in rows] == [one.mean for one in wanted.jaccard_statistics]
        assert [row["F-Decay"] for row in rows] == [one.decay for one in wanted.contour_statistics]
    assert results["mean"] == pytest.approx(summarise_davis(scores.values()))


def test_the_table_has_a_line_a_clip_and_the_mean(call, davis, tmp_path):
    _, output, _ = call("davis", davis[0])
    lines = output.splitlines()
    assert lines[0].split() == ["clip", "frames", "objects", "J", "F", "J&F", "s/frame"]
    assert [line.split()[:3] for line in lines[1:3]] == [["bee", "6", "3"], ["ant", "6", "3"]]
    mean = results_in(tmp_path / "out")["mean"]["J&F-Mean"]
    assert lines[3].startswith(f"mean over all objects: J&F-Mean {mean:.3f}, J-Mean")
    assert "results.json" in lines[4]


def test_results_say_what_they_come_from(call, davis, weights, tmp_path):
    call("davis", davis[0], "--every", 3, "--max-frames", "none", "--flow", "none", "--size", 32)
    results = results_in(tmp_path / "out")
    segmenter = RMNetSegmenter.from_pretrained(weights, device="cpu")
    assert results["versions"]["rmnet"] == rmnet.__version__
    assert {"python", "torch", "numpy"} <= set(results["versions"])
    assert results["config"] == json.loads(segmenter.config.to_json())
    assert results["weights"] == str(weights)
    assert (results["complete"], results["failed"], results["not_scored"]) == (True, [], [])
    assert results["options"] == {
        "benchmark": "davis",
        "root": str(davis[0].resolve()),
        "year": 2017,
        "split": "val",
        "resolution": "480p",
        "clips": "all",
        "size": 32,
        "flow": "none",
        "every": 3,
        "max_frames": None,
        "regional": False,
        **describe_network(segmenter),
    }
    assert results["clips"][0]["frames"] == NUM_FRAMES
    assert results["clips"][0]["seconds_a_frame"] > 0


def test_hashes_tell_networks_apart_and_devices_do_not_matter(weights):
    one = describe_network(RMNetSegmenter.from_pretrained(weights, device="cpu"))
    again = describe_network(RMNetSegmenter.from_pretrained(weights, device="cpu"))
    other = describe_network(tiny.segmenter(seed=1))
    assert one == again
    assert one["config_sha256"] == other["config_sha256"]
    assert one["weights_sha256"] != other["weights_sha256"]
    assert len(one["weights_sha256"]) == 64


def test_the_lists_of_davis_2016_as_it_came_are_read(davis):
    root = davis[0]
    shutil.rmtree(root / "ImageSets")
    (root / "ImageSets" / "480p").mkdir(parents=True)
    line = "/JPEGImages/480p/ant/{0:05d}.jpg /Annotations/480p/ant/{0:05d}.png \n"
    text = "".join(line.format(t) for t in range(NUM_FRAMES))
    (root / "ImageSets" / "480p" / "val.txt").write_text(text)
    assert [clip.name for clip in open_davis(root, year=2016).clips] == ["ant"]
    with pytest.raises(ConfigError, match=r"2017/val\.txt.*No such file.*accepted: a file with"):
        open_davis(root)


def test_clips_may_be_chosen(call, davis, tmp_path):
    assert call("davis", davis[0], "--clips", "ant")[0] == 0
    assert [clip["clip"] for clip in results_in(tmp_path / "out")["clips"]] == ["ant"]
    with pytest.raises(ConfigError, match=r"no clip 'cow'; accepted: bee, ant"):
        open_davis(davis[0], clips=["cow"])


def test_a_list_that_leads_out_of_the_output_is_refused(davis):
    (davis[0] / "ImageSets" / "2017" / "val.txt").write_text("..\n")
    with pytest.raises(ConfigError, match=r"a clip is called '\.\.'"):
        open_davis(davis[0])


def test_a_clip_with_its_first_mask_alone_is_tracked_and_not_scored(call, davis, tmp_path):
    for path in sorted((davis[0] / "Annotations" / "480p" / "bee").iterdir())[1:]:
        path.unlink()
    code, output, _ = call("davis", davis[0])
    results = results_in(tmp_path / "out")
    assert code == 0
    assert results["not_scored"] == ["bee"]
    assert "not scored: no true masks" in output
    assert len(maps_in(tmp_path / "out" / "bee")) == NUM_FRAMES
    ant = results["clips"][1]["objects"]
    assert results["mean"]["J-Mean"] == pytest.approx(sum(row["J-Mean"] for row in ant) / 3)


def test_images_and_masks_in_one_folder_are_told_before_anything_runs(call, davis, tracked):
    folder = davis[0] / "JPEGImages" / "480p" / "bee"
    write_label_png(folder / "00000.png", np.zeros((4, 5), np.uint8))
    code, _, error = call("davis", davis[0])
    assert (code, tracked) == (1, [])
    assert "holds both 00000.jpg and 00000.png" in error


# --- Clips that fail --------------------------------------------------------------------------


def test_an_unreadable_frame_scores_0_and_the_other_clips_go_on(call, davis, tmp_path):
    image = davis[0] / "JPEGImages" / "480p" / "bee" / "00003.jpg"
    image.write_bytes(b"no image")
    code, output, _ = call("davis", davis[0])
    assert code == 1
    assert "failed: bee" in output.splitlines()
    line = next(line for line in output.splitlines() if line.startswith("bee"))
    assert "FAILED: frame 3" in line
    assert "00003.jpg" in line
    results = results_in(tmp_path / "out")
    bee, ant = results["clips"]
    assert (results["failed"], results["complete"]) == (["bee"], True)
    assert "cannot be read" in bee["error"]
    assert [(row["id"], row["J-Mean"], row["F-Mean"]) for row in bee["objects"]] == [
        (i, 0, 0) for i in (1, 3, 7)
    ]
    assert ant["error"] is None
    region = [row["J-Mean"] for row in ant["objects"]]
    assert results["mean"]["J-Mean"] == pytest.approx(sum(region) / 6)  # the zeros count
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ant", "results.json"]


def test_whatever_the_network_raises_is_recorded(call, davis, tmp_path, monkeypatch):
    def broken(self, frames, *args, **options):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(RMNetSegmenter, "stream", broken)
    code, _, _ = call("davis", davis[0])
    results = results_in(tmp_path / "out")
    assert code == 1
    assert [clip["error"] for clip in results["clips"]] == ["RuntimeError: out of memory"] * 2
    assert results["mean"]["J&F-Mean"] == 0


@pytest.mark.parametrize("damage", ["no images", "no annotations", "bad mask", "missing mask"])
def test_a_clip_that_is_not_whole_scores_0(call, davis, tmp_path, damage):
    images, masks = (davis[0] / name / "480p" / "bee" for name in ("JPEGImages", "Annotations"))
    if damage == "bad mask":
        (masks / "00000.png").write_bytes(b"no image")
    elif damage == "missing mask":
        (masks / "00002.png").unlink()
    else:
        shutil.rmtree(images if damage == "no images" else masks)
    assert call("davis", davis[0])[0] == 1
    results = results_in(tmp_path / "out")
    assert results["failed"] == ["bee"]
    assert {row["J&F-Mean"] for row in results["clips"][0]["objects"]} == {0}


def test_what_failed_is_tried_again(call, davis, tmp_path, tracked):
    image = davis[0] / "JPEGImages" / "480p" / "bee" / "00003.jpg"
    good = image.read_bytes()
    image.write_bytes(b"no image")
    call("davis", davis[0])
    image.write_bytes(good)
    tracked.clear()
    assert call("davis", davis[0])[0] == 0
    assert tracked == ["bee"]
    assert results_in(tmp_path / "out")["failed"] == []


# --- Runs that are taken up again -------------------------------------------------------------


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(
    call, davis, tmp_path, tracked, monkeypatch
):
    with monkeypatch.context() as patch:
        stream = RMNetSegmenter.stream

        def interrupted(self, frames, *args, **options):
            for index, result in enumerate(stream(self, frames, *args, **options)):
                if "ant" in str(frames[0]) and index == 3:
                    raise KeyboardInterrupt
                yield result

        patch.setattr(RMNetSegmenter, "stream", interrupted)
        assert call("davis", davis[0])[0] == 130
    halfway = results_in(tmp_path / "out")
    assert not halfway["complete"]
    assert [clip["clip"] for clip in halfway["clips"]] == ["bee"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bee", "results.json"]

    tracked.clear()
    code, output, _ = call("davis", davis[0])
    assert code == 0
    assert tracked == ["ant"]
    assert next(line for line in output.splitlines() if "bee" in line).endswith("done before")
    call("davis", davis[0], output=tmp_path / "whole")
    resumed, whole = results_in(tmp_path / "out"), results_in(tmp_path / "whole")
    assert without_times(resumed) == without_times(whole)
    for clip in ("bee", "ant"):
        for one, other in zip(
            *(maps_in(tmp_path / x / clip) for x in ("out", "whole")), strict=True
        ):
            assert (one == other).all()


def test_a_finished_run_is_not_run_again(call, davis, tracked):
    first = call("davis", davis[0])
    tracked.clear()
    code, output, _ = call("davis", davis[0])
    assert (code, tracked) == (0, [])
    assert output.splitlines()[3:] == first[1].splitlines()[3:]


def test_a_clip_whose_predictions_are_gone_is_run_again(call, davis, tmp_path, tracked):
    call("davis", davis[0])
    shutil.rmtree(tmp_path / "out" / "ant")
    tracked.clear()
    call("davis", davis[0])
    assert tracked == ["ant"]


def test_other_options_in_the_same_folder_are_refused(call, davis, tmp_path):
    call("davis", davis[0])
    before = (tmp_path / "out" / "results.json").read_bytes()
    code, _, error = call("davis", davis[0], "--every", 2, "--dtype", "bfloat16")
    assert code == 1
    assert "every was 5 and is 2; dtype was 'float32' and is 'bfloat16'" in error
    assert "Accepted: the same options" in error
    assert (tmp_path / "out" / "results.json").read_bytes() == before


def test_other_weights_in_the_same_folder_are_refused(call, davis, tmp_path):
    call("davis", davis[0])
    save_network(tiny.network(seed=1), tmp_path / "other")
    code, _, error = call("davis", davis[0], "--weights", tmp_path / "other")
    assert code == 1
    assert "weights_sha256 was" in error
    assert "config_sha256" not in error


def test_a_damaged_record_is_refused(call, davis, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text("{")
    code, _, error = call("davis", davis[0])
    assert code == 1
    assert "is not a record of an evaluation" in error


def test_a_folder_of_something_else_is_not_written_into(call, davis, tmp_path):
    (tmp_path / "out" / "bee").mkdir(parents=True)
    (tmp_path / "out" / "bee" / "precious.png").write_bytes(b"mine")
    code, _, error = call("davis", davis[0])
    assert code == 1
    assert "holds files, but no results.json" in error
    assert (tmp_path / "out" / "bee" / "precious.png").read_bytes() == b"mine"


@pytest.mark.parametrize("place", [".", "Annotations/480p", "JPEGImages"])
def test_the_data_set_is_not_written_into(call, davis, place):
    code, _, error = call("davis", davis[0], output=davis[0] / place)
    assert code == 1
    assert "holds files, but no results.json" in error


def test_a_decay_of_nan_is_null_in_the_file_and_nan_again(davis, tmp_path):
    benchmark = open_davis(davis[0], clips=["ant"])
    row = {"id": 1, "J&F-Mean": 0.5}
    row |= {f"{m}-{name}": 0.5 for m in "JF" for name in ("Mean", "Recall")}
    row |= {"J-Decay": math.nan, "F-Decay": 0.0}
    Record(tmp_path / "out", benchmark, options={}, facts={}).add(ClipResult("ant", objects=[row]))
    text = (tmp_path / "out" / "results.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["mean"]["J-Decay"] is None
    again = Record(tmp_path / "out", benchmark, options={}, facts={})
    assert math.isnan(again.average()["J-Decay"])
    assert again.average()["F-Decay"] == 0


# --- YouTube-VOS ------------------------------------------------------------------------------


def test_youtube_vos_adds_objects_where_they_appear(call, tmp_path, weights):
    root, truth = youtube_vos_root(tmp_path / "YouTubeVOS")
    code, output, error = call("youtube-vos", root)
    assert (code, error) == (0, "")
    images = sorted((root / "valid" / "JPEGImages" / "video").iterdir())
    names = [path.stem for path in images]
    first, second = truth[names[0]], truth[names[1]]
    segmenter = RMNetSegmenter.from_pretrained(weights, device="cpu")
    result = segmenter.track(images, first, masks={1: {7: second == 7}})
    written = tmp_path / "out" / "Annotations" / "video"
    assert sorted(path.stem for path in written.iterdir()) == names
    assert (np.stack(maps_in(written)) == result.labels).all()
    assert (maps_in(written)[1][second == 7] == 7).all()
    results = results_in(tmp_path / "out")
    rows = results["clips"][0]["objects"]
    assert [(row["id"], row["category"], row["frames"]) for row in rows] == [
        (1, "dog", 5),
        (3, "dog", 3),
        (7, "ape", 4),
    ]
    mean = results["mean"]
    assert results["options"]["unseen"] == ["ape"]  # train/meta.json has dogs only
    assert mean["J-Seen"] == pytest.approx((rows[0]["J-Mean"] + rows[1]["J-Mean"]) / 2)
    assert mean["F-Unseen"] == rows[2]["F-Mean"]
    four = [mean[f"{m}-{kind}"] for m in "JF" for kind in ("Seen", "Unseen")]
    assert mean["Overall"] == pytest.approx(sum(four) / 4)
    assert "Overall" in output


def test_only_the_frames_of_meta_json_are_written(call, tmp_path):
    root, _ = youtube_vos_root(tmp_path / "YouTubeVOS")
    meta = json.loads((root / "valid" / "meta.json").read_text())
    asked = ["00000", "00005", "00015"]
    for one in meta["videos"]["video"]["objects"].values():
        one["frames"] = asked
    (root / "valid" / "meta.json").write_text(json.dumps(meta))
    assert call("youtube-vos", root)[0] == 0
    written = tmp_path / "out" / "Annotations" / "video"
    assert sorted(path.stem for path in written.iterdir()) == asked


def test_the_public_validation_set_makes_a_submission_and_no_scores(call, tmp_path):
    root, _ = youtube_vos_root(tmp_path / "YouTubeVOS", public=True)
    shutil.rmtree(root / "train")  # not needed then
    code, output, _ = call("youtube-vos", root)
    assert code == 0
    assert "nothing was scored" in output
    assert len(maps_in(tmp_path / "out" / "Annotations" / "video")) == NUM_FRAMES
    results = results_in(tmp_path / "out")
    assert (results["mean"], results["not_scored"]) == ({}, ["video"])


def test_unseen_categories_may_be_given(call, tmp_path):
    root, _ = youtube_vos_root(tmp_path / "YouTubeVOS")
    (tmp_path / "unseen.json").write_text('["dog", "zebra"]')
    shutil.rmtree(root / "train")
    with pytest.raises(ConfigError, match=r"cannot be determined without .*--unseen FILE"):
        open_youtube_vos(root)
    assert call("youtube-vos", root, "--unseen", tmp_path / "unseen.json")[0] == 0
    results = results_in(tmp_path / "out")
    assert results["options"]["unseen"] == ["dog"]
    assert results["mean"]["J-Seen"] == results["clips"][0]["objects"][2]["J-Mean"]


def test_a_video_that_fails_scores_0_in_each_of_its_categories(call, tmp_path):
    root, _ = youtube_vos_root(tmp_path / "YouTubeVOS")
    (root / "valid" / "JPEGImages" / "video" / "00010.jpg").write_bytes(b"no image")
    code, output, _ = call("youtube-vos", root)
    assert code == 1
    assert "failed: video" in output
    assert set(results_in(tmp_path / "out")["mean"].values()) == {0}


def test_a_frame_that_is_asked_for_and_has_no_image_is_a_failure(call, tmp_path):
    root, _ = youtube_vos_root(tmp_path / "YouTubeVOS", public=True)
    (root / "valid" / "JPEGImages" / "video" / "00010.jpg").unlink()
    code, output, _ = call("youtube-vos", root)
    assert code == 1
    assert "FAILED: meta.json or the annotations have the frames ['00010']" in output


# --- Folders ----------------------------------------------------------------------------------


def compare(capsys, *argv):
    code = main(["eval", "folder", *map(str, argv)])
    return (code, *capsys.readouterr())


def test_folders_of_clips_are_compared_as_davis_does(davis, tmp_path, capsys, call):
    root, _ = davis
    call("davis", root)
    truth = root / "Annotations" / "480p"
    code, _, error = compare(capsys, tmp_path / "out", truth, "-o", tmp_path / "scores")
    assert (code, error) == (0, "")
    tracked, compared = (results_in(tmp_path / name) for name in ("out", "scores"))
    assert compared["mean"] == pytest.approx(tracked["mean"])
    assert {one["clip"]: one["objects"] for one in compared["clips"]} == {
        one["clip"]: one["objects"] for one in tracked["clips"]
    }
    again = compare(capsys, tmp_path / "out", truth, "-o", tmp_path / "scores", "--year", 2016)
    assert again[0] == 0  # compared anew, whatever is recorded


def test_two_folders_of_pngs_are_one_clip_whose_ends_may_be_missing(davis, tmp_path, capsys):
    truth = davis[0] / "Annotations" / "480p" / "bee"
    shutil.copytree(truth, tmp_path / "mine")
    for name in ("00000.png", "00005.png"):
        (tmp_path / "mine" / name).unlink()
    code, output, _ = compare(capsys, tmp_path / "mine", truth)
    assert code == 0
    assert output.splitlines()[1].split()[:6] == ["bee", "6", "3", "1.000", "1.000", "1.000"]


@pytest.mark.filterwarnings("always:predictions without truth")
def test_a_clip_without_predictions_scores_0(davis, tmp_path, capsys):
    truth = davis[0] / "Annotations" / "480p"
    shutil.copytree(truth / "bee", tmp_path / "mine" / "bee")
    (tmp_path / "mine" / "cow").mkdir()
    with pytest.warns(UserWarning, match=r"without truth, not scored: \['cow'\]"):
        benchmark = open_folders(tmp_path / "mine", truth)
    assert [clip.name for clip in benchmark.clips] == ["ant", "bee"]
    code, output, error = compare(capsys, tmp_path / "mine", truth)
    assert code == 1
    assert "failed: ant" in output.splitlines()
    assert "J&F-Mean 0.500" in output
    assert "not scored: ['cow']" in error


def test_a_prediction_of_another_size_scores_0(davis, tmp_path, capsys):
    truth = davis[0] / "Annotations" / "480p" / "bee"
    shutil.copytree(truth, tmp_path / "mine")
    write_label_png(tmp_path / "mine" / "00002.png", np.ones((4, 5), np.uint8))
    code, output, _ = compare(capsys, tmp_path / "mine", truth)
    assert code == 1
    assert "FAILED: the prediction of frame 2 is" in output


def test_missing_folders_are_named(tmp_path, capsys):
    code, _, error = compare(capsys, tmp_path / "nothing", tmp_path)
    assert code == 1
    assert "there is no folder" in error


# --- Real data --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_clip_gets_the_numbers_of_the_benchmark_script(data_root, tmp_path):
    root = data_root / "davis480"
    argv = ["eval", "davis", str(root), "--clips", "rollerblade", "-o", str(tmp_path / "out")]
    assert main([*argv, "--year", "2016", "--device", "cpu"]) == 0
    mean = results_in(tmp_path / "out")["mean"]
    recorded = Path(__file__).parents[2] / "benchmarks" / "results" / "davis480.json"
    clips = {row["clip"]: row for row in json.loads(recorded.read_text())["clips"]}
    assert mean["J-Mean"] == pytest.approx(clips["rollerblade"]["J"], abs=0.002)
    assert mean["F-Mean"] == pytest.approx(clips["rollerblade"]["F"], abs=0.002)


@pytest.mark.parametrize("benchmark", ["davis", "youtube-vos", "folder"])
def test_help_of_each_benchmark_has_examples(benchmark, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["eval", benchmark, "--help"])
    output = capsys.readouterr().out
    assert stop.value.code == 0
    assert f"examples:\n  rmnet eval {benchmark}" in output
    assert max(map(len, output.splitlines())) <= 100
