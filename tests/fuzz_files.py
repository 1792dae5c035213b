"""Doors that read files: valid files are made first, then damaged at random or maliciously.

A door is a function of a random generator and an empty folder; see fuzz_values.py.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import evaluation_data
import tiny
from fuzz_values import ODD, SIZE
from rmnet.config import RMNetConfig
from rmnet.evaluation import (
    Benchmark,
    ClipResult,
    Record,
    compare_folders,
    open_davis,
    open_folders,
    open_youtube_vos,
    read_meta,
)
from rmnet.evaluation.statistics import average_rows
from rmnet.io.frame_source import open_frames
from rmnet.io.masks import parse_mask
from rmnet.weights.hub import download
from rmnet.weights.load import load_network, save_network

INTERESTING = (0, 1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1)
NAMES = (
    "../up", "/etc/passwd", "..", ".", "", "a/../../b", "a\0b", "x" * 300, "\\up", "con", "\ud800",
    "video\n", " ", "~root", "ok",
)  # fmt: skip


def mutated(random, content):
    """Return the bytes with a few changes: bits, numbers, cuts, repeats; sometimes truncated."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 3, 8, 30))):
        if not data:
            break
        at, kind = random.randrange(len(data)), random.randrange(8)
        if random.random() < 0.5:
            at = min(at, random.randrange(len(data)), random.randrange(len(data)))  # favour headers
        if kind < 3:
            data[at] ^= 1 << random.randrange(8)
        elif kind == 3:
            width = random.choice((1, 2, 4, 8))
            number = random.choice(INTERESTING) % 2 ** (8 * width)
            data[at : at + width] = number.to_bytes(width, random.choice(("big", "little")))
        elif kind == 4:
            del data[at : at + random.randrange(1, 64)]
        elif kind == 5:
            data[at:at] = bytes(random.getrandbits(8) for _ in range(random.randrange(1, 64)))
        elif kind == 6:
            data[at:at] = data[at : at + random.randrange(1, 200)]
        elif random.random() < 0.2:
            del data[at:]
    return bytes(data)


@functools.cache
def image_seeds():
    """Return valid images in the formats that are decoded, as (suffix, bytes)."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8))
    labels = np.zeros(SIZE, np.uint8)
    labels[8:30, 8:30], labels[32:, 40:] = 1, 7
    palette = Image.fromarray(labels)
    palette.putpalette(list(range(256)) * 3)
    seeds = []
    for image, name, options in (
        (colours, "png", {}), (colours, "jpg", {"exif": _exif()}), (colours, "bmp", {}),
        (colours, "tif", {"compression": "tiff_lzw"}), (colours, "webp", {}), (colours, "ppm", {}),
        (colours, "jpg", {"progressive": True}), (palette, "png", {}), (palette, "gif", {}),
        (Image.fromarray(labels.astype(np.uint16) * 300), "png", {}), (palette.convert("1"), "png", {}),
        (palette, "tif", {}), (palette, "png", {"transparency": 0}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(name, name.upper())
        image.save(buffer, format=kind, **options)
        seeds.append((name, buffer.getvalue()))
    return seeds


def _exif():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return exif


def huge_png(random):
    """Return a small PNG with correct checksums that claims to be 8K or far larger, or 1x1."""
    width, height = random.choice(
        ((7680, 4320), (2**31 - 1, 2**31 - 1), (100_000, 100_000), (1, 1))
    )
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, random.choice((0, 2, 3)), 0, 0, 0)
    parts = [chunk, b"IDAT" + b"\x78\x9c\x03\x00\x00\x00\x00\x01", b"IEND"]
    framed = [
        struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zipfile.crc32(p)) for p in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/written) (w) file closefile\n"


def image_file(random, folder):
    suffix, content = random.choice(image_seeds())
    kind = random.randrange(20)
    content = (
        huge_png(random) if kind == 0 else POSTSCRIPT if kind == 1 else mutated(random, content)
    )
    path = folder / f"0.{suffix}"
    path.write_bytes(content)
    return path


def door_mask_file(random, folder):
    """A mask in an image file, sometimes as a lazy PIL image."""
    path = image_file(random, folder)
    if random.random() < 0.2:
        try:
            lazy = Image.open(path)
        except Exception:
            return
        with lazy:
            parse_mask(lazy)
    else:
        parse_mask(path)


def door_frame_file(random, folder):
    """A folder with one image."""
    path = image_file(random, folder)
    content = path.read_bytes()
    for frame in open_frames(
        random.choice((path, folder, [path], str(folder / "*"), content, io.BytesIO(content)))
    ):
        assert frame.dtype == np.uint8
        assert frame.shape[2] == 3


@functools.cache
def video_seeds():
    """Return valid videos in several containers and codecs, as (suffix, bytes)."""
    import av

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, *SIZE, 3), np.uint8)
    seeds = []
    for name, codec, pixels, options in (
        ("v.mp4", "libx264", "yuv420p", {}), ("v.mp4", "libx264", "yuv420p", {"movflags": "faststart"}),
        ("v.mkv", "libx264", "yuv420p", {}), ("v.mov", "mjpeg", "yuvj420p", {}),
        ("v.avi", "mpeg4", "yuv420p", {}), ("v.webm", "libvpx-vp9", "yuv420p", {}),
        ("v.ts", "libx264", "yuv420p", {}), ("v.gif", "gif", "rgb8", {}),
    ):  # fmt: skip
        if codec not in av.codecs_available:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            with av.open(str(path), "w", options=options) as container:
                stream = container.add_stream(codec, rate=24)
                stream.height, stream.width = SIZE
                stream.pix_fmt = pixels
                for frame in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode(None))
            seeds.append((path.suffix, path.read_bytes()))
    return seeds


PLAYLISTS = (
    b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile good.mp4\n",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
)


def door_video(random, folder):
    """A video file, read to its end past bad frames, or a playlist in disguise."""
    suffix, content = random.choice(video_seeds())
    path = folder / f"v{suffix}"
    path.write_bytes(mutated(random, content))
    if random.random() < 0.05:
        (folder / "good.mp4").write_bytes(video_seeds()[0][1])
        path.write_bytes(random.choice(PLAYLISTS))
        list(open_frames(path))
        raise AssertionError("a playlist was followed")
    for frame, _ in open_frames(path).attempted():
        assert isinstance(frame, Exception) or frame.shape[2] == 3


@functools.cache
def weights_seed():
    """Return config.json and model.safetensors of a tiny network, as bytes by name."""
    with tempfile.TemporaryDirectory() as name:
        folder = save_network(tiny.network(), name)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def door_config_file(random, folder):
    """A folder of weights whose config.json was changed."""
    files = weights_seed()
    (folder / "model.safetensors").write_bytes(files["model.safetensors"])
    content = files["config.json"]
    if random.random() < 0.5:
        fields = json.loads(content)
        for _ in range(random.randrange(1, 3)):
            values = (2**62, 10**30, -1, 0, 1, 1e308, float("nan"), None, [], [2**40] * 3, [1] * 5,
                      [1000, 1000, 1000], "x" * 9999, {"a": 1}, True, 10**4000)  # fmt: skip
            fields[random.choice([*fields, "more"])] = random.choice(values)
        content = json.dumps(fields).encode()
    else:
        content = random.choice((mutated(random, content), b"[" * 100_000, b"{" + b'"a":{' * 9999))
    (folder / "config.json").write_bytes(content)
    load_network(folder)


def door_safetensors(random, folder):
    """A .safetensors file that is damaged, or whose header claims huge or overlapping tensors."""
    content = weights_seed()["model.safetensors"]
    if random.random() < 0.5:
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        for _ in range(random.randrange(1, 3)):
            entry = header[random.choice([name for name in header if name != "__metadata__"])]
            field = random.choice(("dtype", "shape", "data_offsets"))
            entry[field] = {
                "dtype": random.choice(
                    ("F64", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "C64", "X")
                ),
                "shape": random.choice(([2**40], [2**62, 4], [0], [], [-1], [2**63], [1] * 70)),
                "data_offsets": random.choice(
                    ([0, 2**62], [0, 0], [8, 4], [0], [-1, 4], [2**64, 1])
                ),
            }[field]
        text = json.dumps(header).encode()
        length = random.choice((len(text), len(text), len(text), 2**62, 2**40, 0))
        content = length.to_bytes(8, "little") + text + content[8 + size :]
    else:
        content = mutated(random, content)
    path = folder / "w.safetensors"
    path.write_bytes(content)
    load_network(path)


class Runs:
    """An object that makes pickle run a call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


MALICE = (
    (os.system, ("true",)), (eval, ("1",)), (exec, ("x=1",)), (os.mkdir, ("pwned",)),
    (__import__, ("os",)), (open, ("pwned", "w")), (getattr, ("x", "upper")), (bytearray, (10,)),
    (torch.hub.load_state_dict_from_url, ("http://127.0.0.1:9/x",)), (torch.load, ("x",)),
)  # fmt: skip


def strange_tensors():
    """Return tensors that a pickle may hold but a network cannot use."""
    return (
        torch.zeros(2, 2).to_sparse(), torch.zeros(2, device="meta"), torch.zeros(1).expand(2**40),
        torch.nn.Parameter(torch.zeros(2)),
        torch.zeros(2, dtype=torch.complex64), torch.zeros(0), torch.tensor(float("nan")),
    )  # fmt: skip


@functools.cache
def released_seed():
    """Return a checkpoint in the format of the authors' files, with only a few tensors."""
    name = "module.encoder_memory.conv1.weight"
    tensors = {name: torch.zeros(64, 3, 7, 7), "module.encoder_query.bn1.weight": torch.ones(64)}
    return {"rmnet": tensors, "tflownet": {"module.conv1.0.weight": torch.zeros(64, 6, 7, 7)}}


def door_released(random, folder):
    """A .pth in the released format: damaged, with code in it, or with unusable tensors."""
    checkpoint = {part: dict(tensors) for part, tensors in released_seed().items()}
    kind = random.randrange(5)
    if kind == 0:
        target = checkpoint if random.random() < 0.5 else checkpoint["rmnet"]
        target[random.choice((*target, "more"))] = Runs(*random.choice(MALICE))
    elif kind == 1:
        checkpoint["rmnet"]["module.encoder_memory.conv1.weight"] = random.choice(strange_tensors())
    elif kind == 2:
        checkpoint[random.choice(("rmnet", "tflownet"))] = random.choice((ODD[0], 5, [], "x", {}))
    buffer = io.BytesIO()
    zipped = random.random() < 0.6
    try:
        torch.save(checkpoint, buffer, _use_new_zipfile_serialization=zipped)
    except Exception:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
    content = buffer.getvalue()
    if kind >= 3:
        content = mutated(random, content)
    elif random.random() < 0.1:
        content = squeezed(content) if zipped else pickle.dumps(checkpoint["tflownet"])
    path = folder / random.choice(("w.pth", "w.pt"))
    path.write_bytes(content)
    load_network(path)


def squeezed(content):
    """Compress the zip, with 50 MB of zeros added that take up only a few KB."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", 8) as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(
                entry.filename, data + bytes(50_000_000 if "data.pkl" in entry.filename else 0)
            )
    return out.getvalue()


def door_hub_cache(random, folder):
    """A hub cache whose blobs do not match the hashes in their names."""
    repo = folder / "models--org--name"
    commit = "a" * 40
    for part in ("blobs", "refs", f"snapshots/{commit}"):
        (repo / part).mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    damaged = random.choice(("config.json", "model.safetensors"))
    for name, content in weights_seed().items():
        blob = repo / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(mutated(random, content) if name == damaged else content)
        (repo / "snapshots" / commit / name).symlink_to(blob)
    download(
        "org/name", ["config.json", "model.safetensors"], cache_dir=folder, local_files_only=True
    )


@functools.cache
def data_sets():
    """Write a DAVIS and a YouTube-VOS data set of one clip each; return the root folder."""
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    evaluation_data.davis_root(root / "davis", ("bee",))
    evaluation_data.youtube_vos_root(root / "ytvos")
    return root


def door_meta(random, folder):
    """meta.json of YouTube-VOS, and the evaluation opened from it."""
    root = data_sets() / "ytvos"
    meta = json.loads((root / "valid" / "meta.json").read_text())
    kind = random.randrange(5)
    objects = meta["videos"]["video"]["objects"]
    if kind == 0:
        meta["videos"] = {random.choice(NAMES): meta["videos"]["video"]}
    elif kind == 1:
        objects[random.choice(("0", "-1", "x", "1" * 30, "255", "2147483648"))] = objects["1"]
    elif kind == 2:
        objects["1"]["frames"] = random.choice((*NAMES, [*NAMES], [1, "a"], None, {"a": 1}, [None]))
    elif kind == 3:
        meta = random.choice((meta["videos"], [], None, {"videos": []}, {"videos": {"video": 3}}))
    text = json.dumps(meta).encode()
    split = folder / "valid"
    split.mkdir()
    (split / "meta.json").write_bytes(text if kind < 4 else mutated(random, text))
    for name in ("JPEGImages", "Annotations"):
        (split / name).symlink_to(root / "valid" / name)
    (folder / "train").symlink_to(root / "train")
    read_meta(split / "meta.json")
    for clip in open_youtube_vos(folder).clips:
        clip.zero_rows()
        yield clip.given


def door_davis(random, folder):
    """DAVIS with damaged lists and masks, and a comparison of folders."""
    root = data_sets() / "davis"
    (folder / "ImageSets" / "2017").mkdir(parents=True)
    text = random.choice(NAMES).encode("utf-8", "surrogatepass") + b"\nbee\n"
    (folder / "ImageSets" / "2017" / "val.txt").write_bytes(
        random.choice((text, mutated(random, text), b"", b"bee\n", b"\xff\xfe\0"))
    )
    (folder / "JPEGImages").symlink_to(root / "JPEGImages")
    masks = folder / "Annotations" / "480p" / "bee"
    masks.mkdir(parents=True)
    for path in sorted((root / "Annotations" / "480p" / "bee").iterdir()):
        if random.random() < 0.9:
            content = path.read_bytes()
            content = mutated(random, content) if random.random() < 0.2 else content
            (masks / path.name).write_bytes(content)
    benchmark = open_folders(masks, root / "Annotations" / "480p" / "bee")
    assert len(list(compare_folders(benchmark))) == 1
    for clip in open_davis(
        folder, clips=random.choice((None, ["bee"], [random.choice(NAMES)]))
    ).clips:
        clip.zero_rows()
        yield clip.given


def door_record(random, folder):
    """results.json of an interrupted evaluation."""
    benchmark = Benchmark({"benchmark": "x"}, [], average_rows)
    row = {f"{m}-{n}": 0.5 for m in "JF" for n in ("Mean", "Recall", "Decay")}
    first = Record(folder / "out", benchmark, options={}, facts={})
    first.add(ClipResult("bee", 6, 0.1, objects=[{"id": 1, "J&F-Mean": 0.5, **row}]))
    path = folder / "out" / "results.json"
    content = json.loads(path.read_text())
    content["clips"] = [
        {"clip": "bee", "frames": 6, "seconds_a_frame": 0.1, "error": None, "scored": True,
         "objects": [{"id": 1, "J&F-Mean": 0.5, **row}]}
    ]  # fmt: skip
    if random.random() < 0.6:
        odd = random.choice((None, 5, "x", [], {}, [None], [[]], {"a": None}, [{"objects": 3}]))
        where = random.randrange(4)
        if where == 0:
            content[random.choice((*content, "more"))] = odd
        elif where == 1:
            content["clips"][0][random.choice([*content["clips"][0]])] = odd
        elif where == 2:
            content["clips"][0]["objects"] = [odd]
        else:
            content["clips"][0]["objects"][0][random.choice([*row, "id"])] = odd
        path.write_text(json.dumps(content))
    else:
        path.write_bytes(mutated(random, json.dumps(content).encode()))
    again = Record(folder / "out", benchmark, options={}, facts={})
    again.get("bee")
    again.write()


def door_config_text(random, folder):
    """RMNetConfig.from_json."""
    del folder
    text = mutated(random, weights_seed()["config.json"])
    RMNetConfig.from_json(text.decode("utf-8", "replace"))


DOORS = (
    door_mask_file, door_frame_file, door_video, door_config_file, door_config_text,
    door_safetensors, door_released, door_hub_cache, door_meta, door_davis, door_record,
)  # fmt: skip


def make_seeds():
    """Make, once, the files that the doors damage."""
    for make in (image_seeds, video_seeds, weights_seed, released_seed, data_sets):
        make()
