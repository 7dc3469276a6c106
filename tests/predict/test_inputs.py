"""The inputs of a folder: what links lead to is found, what is hidden or was predicted is not."""

import sys

import pytest
from PIL import Image

from seg_jax.data.images import DataError
from seg_jax.data.prepared import PREDICTIONS
from seg_jax.predict.inputs import find

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights")


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


def link(path, to):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to, target_is_directory=True)


def places(text, out=None):
    """The places of the inputs, in their order."""
    return [str(found.place) for found in find([str(text)], out)]


@pytest.fixture
def photos(tmp_path):
    """A folder with a part on another disk, where results of an earlier prediction are."""
    for name in ("photos/b/2.png", "photos/0.png", "disk/1.png", "disk/deep/1.png", "disk/out/1_mask.png"):
        photo(tmp_path / name)
    (tmp_path / "disk" / "out" / PREDICTIONS).touch()
    link(tmp_path / "photos" / "a", tmp_path / "disk")
    return tmp_path / "photos"


def test_linked_folders_are_searched_and_keep_their_names(photos):
    assert places(photos) == ["0.png", "a/1.png", "a/deep/1.png", "b/2.png"]
    assert places(photos / "**" / "*.png") == ["0.png", "a/1.png", "a/deep/1.png", "b/2.png"]
    assert places(photos / "a") == ["1.png", "deep/1.png"]  # the link itself


def test_each_folder_is_searched_once(photos):
    link(photos / "again", photos / "b")
    link(photos / "b" / "up", photos)
    link(photos / "gone", photos / "nowhere")
    assert places(photos) == ["0.png", "a/1.png", "a/deep/1.png", "b/2.png"]


def test_a_relative_folder(photos, monkeypatch):
    expected = places(photos)
    monkeypatch.chdir(photos)
    assert places(".") == places("**/*.png") == places("../photos") == expected
    assert places("b/../b/*.png") == ["2.png"] and places("*/../0.png") == ["0.png"]


def test_hidden_files_are_no_inputs(photos):
    for name in (".x.png", ".thumbnails/x.png", "b/._2.png"):
        photo(photos / name)
    assert places(photos) == ["0.png", "a/1.png", "a/deep/1.png", "b/2.png"]
    assert places(photos / ".x.png") == [".x.png"] and places(photos / ".thumbnails") == ["x.png"]


def test_a_link_to_a_hidden_folder_is_searched(tmp_path):
    photo(tmp_path / "photos" / ".store" / "deep" / "x.png")
    link(tmp_path / "photos" / "seen", tmp_path / "photos" / ".store" / "deep")
    assert places(tmp_path / "photos") == ["seen/x.png"]


def test_a_linked_folder_of_results_is_not_searched(photos, tmp_path):
    link(photos / "c", tmp_path / "disk" / "out")
    assert "c/1_mask.png" not in places(photos)
    assert places(photos / "c") == ["1_mask.png"]  # it is named itself


def test_results_do_not_go_among_photographs_behind_a_link(photos, tmp_path):
    for out in (photos, photos / "a", tmp_path / "disk"):
        with pytest.raises(DataError, match="the next call would take results for photographs"):
            find([str(photos)], out)
    assert find([str(photos)], tmp_path) and find([str(photos)], photos / "a" / "new")
