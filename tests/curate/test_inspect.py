"""What a configuration reads, as a table and as pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from seg_jax.curate import inspect
from seg_jax.data.examples import Bad, Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelTable

TABLE = LabelTable(
    names=("sky", "road", "car"), colors=((255, 0, 0), (0, 255, 0), (0, 0, 255)), values=((1,), (2, 3), (7,))
)
LABELS = {
    "train": np.array([[[0, 0, 1, 1]], [[1, 1, 1, IGNORE]]], np.uint8),
    "val": np.array([[[0, 0, 0, 0]]], np.uint8),
}


def examples(split, *, broken=(), bad=()):
    labels = LABELS[split]

    def read(i):
        if i in broken:
            raise DataError(f"{split} {i} is broken.")
        return np.full((*labels[i].shape, 3), 100, np.uint8), labels[i]

    return Examples(
        split=split, names=tuple(f"{split} {i}" for i in range(len(labels))), read=read, table=TABLE, bad=bad
    )


def test_table_by_hand():
    splits = [examples("train"), examples("val")]
    lines = inspect.text(inspect.measure(splits, threads=2), splits).splitlines()
    assert [line.split() for line in lines] == [
        ["id", "values", "color", "name", "train", "files", "val", "files"],
        ["0", "1", "#ff0000", "sky", "25.000%", "1", "100.000%", "1"],
        ["1", "2,", "3", "#00ff00", "road", "62.500%", "2", "0.000%", "0"],
        ["2", "7", "#0000ff", "car", "0.000%", "0", "0.000%", "0"],
        ["ignored", "12.500%", "0.000%"],
        ["ignored", "values:", "255"],
        ["train:", "2", "examples"],
        ["classes", "that", "do", "not", "occur:", "car"],
        ["val:", "1", "examples"],
        ["classes", "that", "do", "not", "occur:", "road,", "car"],
    ]


def test_what_cannot_be_used_is_told():
    splits = [examples("train", broken=(1,), bad=(Bad("a.png", "has no mask b.png"),))]
    lines = inspect.text(inspect.measure(splits, threads=1), splits).splitlines()
    assert "train: 1 examples" in lines
    assert "2 cannot be used; see python -m seg_jax.data lint:" in lines
    assert lines[-3:-1] == ["  a.png: has no mask b.png", "  train 1: train 1 is broken."]


@pytest.mark.parametrize("broken", [(), (0,)])
def test_pictures(broken):
    splits = [examples("train", broken=broken), examples("val")]
    pictures = inspect.pictures(inspect.measure(splits, threads=1), splits)
    assert set(pictures) == {"sheet", "classes"}
    for content in pictures.values():
        image = Image.open(io.BytesIO(content))
        assert image.format == "PNG"
        assert min(image.size) > 100
    colors = {tuple(c) for c in np.asarray(Image.open(io.BytesIO(pictures["sheet"]))).reshape(-1, 3).tolist()}
    assert {(100, 100, 100), (0, 255, 0), (255, 0, 0)} <= colors  # photographs, and masks in their colours
