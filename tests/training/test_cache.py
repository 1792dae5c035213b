"""The picture cache: images are read once, then loaded from one file."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from training import picture_cache
from training.picture_cache import StoredPicture, read_folders
from training.recipes import Recipe
from training.render import make_batch
from training.sources import Sources
from training_tools import write_clip, write_folder


@pytest.fixture
def data(tmp_path):
    return write_folder(tmp_path / "data")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "runs" / "pictures.safetensors"


@pytest.fixture
def images(monkeypatch):
    """The folders that were read, one entry per read."""
    calls = []

    def read(folder, **options):
        calls.append(folder)
        return original(folder, **options)

    original = picture_cache.read_folder
    monkeypatch.setattr(picture_cache, "read_folder", read)
    return calls


def test_cached_pictures_equal_the_images(data, cache, images):
    (plain,) = read_folders([data], side=96, max_stills=None, cache=None)
    for _ in range(2):
        (kept,) = read_folders([data], side=96, max_stills=None, cache=cache)
        assert kept.packs.keys() == plain.packs.keys()
        assert kept.videos.keys() == plain.videos.keys()
        pairs = [(kept.packs[name], plain.packs[name]) for name in plain.packs]
        pairs += [(kept.videos[n].pictures, plain.videos[n].pictures) for n in plain.videos]
        for stored, pictures in pairs:
            for one, other in zip(stored, pictures, strict=True):
                assert torch.equal(one.image, other.image)
                assert torch.equal(one.labels, other.labels)
                assert (one.boxes, one.areas) == (other.boxes, other.areas)
        assert [kept.videos[n].step for n in kept.videos] == [1, 1]
    assert len(images) == 2  # once without a cache, once to fill it


def test_clips_are_the_same_with_and_without_a_cache(data, cache):
    recipe = Recipe(64, 64, frames=3, batch=3, real=0.5)
    made = [
        make_batch(Sources.read([data], cache=file), recipe, np.random.default_rng(0))
        for file in (None, cache)
    ]
    assert torch.equal(made[0].frames, made[1].frames)


def test_changed_data_is_read_again(data, cache, images):
    read_folders([data], side=96, max_stills=None, cache=cache)
    read_folders([data], side=64, max_stills=None, cache=cache)
    read_folders([data], side=64, max_stills=2, cache=cache)
    assert len(images) == 3
    write_clip(data / "train" / "davis" / "cat", np.random.default_rng(0))
    (found,) = read_folders([data], side=64, max_stills=2, cache=cache)
    assert "cat" in found.videos
    still = next((data / "train" / "stills-a").rglob("*.jpg"))
    os.utime(still, (0, 0))
    read_folders([data], side=64, max_stills=2, cache=cache)
    assert len(images) == 5


def test_damaged_cache_is_rewritten(data, cache, images, capsys):
    cache.parent.mkdir()
    cache.write_bytes(b"no such thing")
    for _ in range(2):
        read_folders([data], side=96, max_stills=None, cache=cache)
    assert len(images) == 1
    assert "cannot be used" in capsys.readouterr().out
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]  # no partial file


def test_data_is_read_even_if_no_cache_can_be_written(data, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    cache = tmp_path / "file" / "pictures.safetensors"
    (found,) = read_folders([data], side=96, max_stills=None, cache=cache)
    assert found.packs
    assert "not kept" in capsys.readouterr().out


def test_pickle_holds_a_pictures_location_only(data, cache):
    sources = Sources.read([data], side=96, cache=cache)
    picture = sources.pictures[3]
    assert isinstance(picture, StoredPicture)
    sent = pickle.dumps(sources)
    assert len(sent) < 200 * len(sources.pictures)
    again = pickle.loads(sent).pictures[3]
    assert torch.equal(again.image, picture.image)
    assert again.boxes == picture.boxes
