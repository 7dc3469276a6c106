"""Hugging Face's `datasets`: saved folders and folders of files, splits, columns, and what is wrong with them."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError
from seg_jax.runtime.extras import install_command

datasets = pytest.importorskip("datasets", reason="datasets is not installed")

N = 10
NAMES = ["sky", "road", "car"]


def pair(i):
    """A picture that tells which example it is of; the corner is ignored."""
    mask = np.full((4, 6), i % 3, np.uint8)
    mask[0, 0] = IGNORE
    return np.full((4, 6, 3), i, np.uint8), mask


def table(indices, image="image", mask="mask", **more):
    """Rows of images and masks, and of further columns."""
    pairs = [pair(i) for i in indices]
    content = {name: [Image.fromarray(p[k]) for p in pairs] for k, name in enumerate((image, mask))}
    rows = datasets.Dataset.from_dict({**content, **more})
    for name in (image, mask):
        rows = rows.cast_column(name, datasets.Image())
    return rows


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path_factory):
    """No progress bars, no network, and no files outside of the test's own."""
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def save(tmp_path):
    """save(train=indices, ...) -> a folder as `save_to_disk` writes it, with the names of the classes."""

    def write(**splits):
        content = datasets.DatasetDict(
            {name: rows if isinstance(rows, datasets.Dataset) else table(rows) for name, rows in splits.items()}
        )
        content.save_to_disk(str(tmp_path / "saved"))
        (tmp_path / "saved" / "class_names.json").write_text(json.dumps(NAMES))
        return tmp_path / "saved"

    return write


def load(root, split="train", *, seed=0, **fields):
    config = default.get_config()
    config.seed = seed
    config.data.update({"source": "huggingface", "dir": str(root)})
    config.update_from_flattened_dict({f"data.{key.replace('__', '.')}": value for key, value in fields.items()})
    return data.load(config, split)


def pictures(examples):
    """The indices of the pictures; checks that each has its own mask."""
    seen = []
    for k in range(len(examples)):
        image, label = examples.read(k)
        i = int(image[0, 0, 0])
        np.testing.assert_equal((image, label), pair(i))
        assert (image.dtype, label.dtype) == (np.uint8, np.uint8)
        seen.append(i)
    return seen


# ----- where rows come from


def test_a_saved_folder_of_splits(save):
    root = save(train=range(6), validation=range(6, 10))
    examples = load(root)
    assert pictures(examples) == [*range(6)]
    assert (examples.names[2], examples.size, examples.table.names) == ("train[2]", (4, 6), tuple(NAMES))


def test_a_saved_folder_of_one_split(tmp_path):
    table(range(N)).save_to_disk(str(tmp_path / "one"))
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    fields = {"labels": str(tmp_path / "names.json"), "huggingface__val_share": 0.2}
    train, val = (load(tmp_path / "one", split, **fields) for split in ("train", "val"))
    assert sorted(pictures(train) + pictures(val)) == [*range(N)]
    assert len(val) == 2


def test_a_folder_of_files(tmp_path):
    for split, indices in (("train", range(6)), ("test", range(6, 10))):
        (tmp_path / "files").mkdir(exist_ok=True)
        table(indices).to_parquet(str(tmp_path / "files" / f"{split}-00000-of-00001.parquet"))
    (tmp_path / "files" / "class_names.json").write_text(json.dumps(NAMES))
    assert pictures(load(tmp_path / "files", "train", val_split="test")) == [*range(6)]
    assert pictures(load(tmp_path / "files", "test", val_split="test")) == [*range(6, 10)]


def test_a_repository(monkeypatch, tmp_path):
    asked = []

    def load_dataset(name, subset):
        asked.append((name, subset))
        return datasets.DatasetDict({"train": table(range(3))})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    fields = {"labels": str(tmp_path / "names.json"), "huggingface__val_share": 0.0}
    assert pictures(load("", huggingface__name="owner/name", **fields)) == [0, 1, 2]
    load("", huggingface__name="owner/name", huggingface__subset="small", **fields)
    assert asked == [("owner/name", None), ("owner/name", "small")]
    with pytest.raises(LabelError, match=r"config.data.labels = '': there is no class_names.json"):
        load("", huggingface__name="owner/name")


def test_files_beside_the_table(monkeypatch, tmp_path):
    for k, name in enumerate(("image", "mask")):
        Image.fromarray(pair(4)[k]).save(tmp_path / f"{name}.png")
    rows = datasets.Dataset.from_dict({name: [str(tmp_path / f"{name}.png")] for name in ("image", "mask")})
    for name in ("image", "mask"):
        rows = rows.cast_column(name, datasets.Image())
    monkeypatch.setattr(datasets, "load_dataset", lambda name, subset: datasets.DatasetDict({"train": rows}))
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    fields = {"labels": str(tmp_path / "names.json"), "huggingface__val_share": 0.0}
    examples = load("", huggingface__name="owner/name", **fields)
    assert pictures(examples) == [4]
    (tmp_path / "mask.png").unlink()
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'mask.png'} does not exist")):
        examples.read(0)


# ----- splits


@pytest.mark.parametrize("name", ["val", "validation", "valid", "dev"])
def test_the_names_of_validation_splits(save, name):
    root = save(**{"train": range(6), name: range(6, 10)})
    assert pictures(load(root, "val")) == [*range(6, 10)]
    assert pictures(load(root, "train")) == [*range(6)]
    assert load(root, "val").names[0] == f"{name}[0]"


def test_a_share_of_the_training_split_validates(save):
    root = save(train=range(N), test=range(N, N + 3))
    fields = {"huggingface__val_share": 0.3}
    train, val = (pictures(load(root, split, **fields)) for split in ("train", "val"))
    assert (len(val), sorted(train + val), train, val) == (3, [*range(N)], sorted(train), sorted(val))
    assert pictures(load(root, "val", **fields)) == val
    assert any(pictures(load(root, "val", seed=seed, **fields)) != val for seed in (1, 2, 3))
    assert load(root, "val", **fields).names == tuple(f"train[{i}]" for i in val)


def test_nothing_is_held_out_where_another_split_validates(save):
    root = save(train=range(N), test=range(N, N + 3))
    assert pictures(load(root, "train", val_split="test")) == [*range(N)]
    assert pictures(load(root, "test", val_split="test")) == [*range(N, N + 3)]


def test_unknown_splits(save):
    root = save(train=range(3), test=range(2))
    with pytest.raises(ConfigError, match=r"config.data.val_split = 'tets' is not one of: test, train.*'test'\?"):
        load(root, "tets", val_split="tets")
    with pytest.raises(ConfigError, match=r"config.data.train_split = 'training' is not one of: test, train"):
        load(root, "training", train_split="training")
    with pytest.raises(
        ConfigError, match=r"config.data.huggingface.val_share = 0.0: .*no validation split but only tr"
    ):
        load(root, "val", huggingface__val_share=0.0)


# ----- columns


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("image", "label"),
        ("pixel_values", "labels"),
        ("photo", "segmentation_mask"),
        ("image", "annotation"),
        ("Image", "GT"),
        ("scene", "target"),
    ],
)
def test_columns_are_found_by_name(save, image, mask):
    root = save(train=table(range(3), image, mask, mask_id=[1, 2, 3], caption=["a", "b", "c"]))
    assert pictures(load(root, huggingface__val_share=0.0)) == [0, 1, 2]


def test_columns_that_must_be_named(save):
    rows = table(range(3), "a", "b").add_column("c", ["x", "y", "z"])
    root = save(train=rows)
    message = (
        r"config.data.huggingface.mask = '': the columns a, b, c contain images in a, b, so it is unclear which one"
    )
    with pytest.raises(ConfigError, match=message):
        load(root)
    fields = {"huggingface__val_share": 0.0}
    assert pictures(load(root, huggingface__mask="b", **fields)) == [0, 1, 2]
    assert pictures(load(root, huggingface__mask="b", huggingface__image="a", **fields)) == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"config.data.huggingface.mask = 'c' is not one of: a, b"):
        load(root, huggingface__mask="c")


def test_several_images_and_masks(save):
    rows = table(range(3)).add_column("number", [1, 2, 3])
    more = table(range(3), "image_right", "instance_mask")
    root = save(train=datasets.concatenate_datasets([rows, more], axis=1))
    with pytest.raises(
        ConfigError, match=r"contain images in image, mask, image_right, instance_mask, so it is unclear"
    ):
        load(root)
    fields = {"huggingface__val_share": 0.0, "huggingface__image": "image"}
    assert pictures(load(root, huggingface__mask="mask", **fields)) == [0, 1, 2]


# ----- rows


def test_several_threads_read_at_once(save):
    examples = load(save(train=range(N), val=range(2)))
    order = [*range(N)] * 20
    with ThreadPoolExecutor(8) as pool:
        assert [int(image[0, 0, 0]) for image, _ in pool.map(examples.read, order)] == order


def test_masks_of_colours(save):
    colors = np.array([[70, 130, 180], [128, 64, 128], [0, 0, 142]], np.uint8)
    ids = np.arange(24).reshape(4, 6) % 3
    content = {"image": [Image.fromarray(pair(0)[0])], "mask": [Image.fromarray(colors[ids])]}
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    rows = datasets.Dataset.from_dict(content, features=features)
    root = save(train=rows, val=range(2))
    (root / "class_names.json").write_text(json.dumps(dict(zip(NAMES, colors.tolist(), strict=True))))
    np.testing.assert_array_equal(load(root).read(0)[1], ids)
    with pytest.raises(DataError, match=r"train\[0\], column 'mask' is an image of mode RGB"):
        load(root, mask_format="index").read(0)


def test_what_is_wrong_with_rows_is_named(save):
    images = [pair(0)[0], pair(1)[0], np.zeros((6, 4, 3), np.uint8), pair(3)[0]]
    masks = [pair(0)[1], np.full((4, 6), 9, np.uint8), pair(2)[1], None]
    content = {
        name: [Image.fromarray(array) if array is not None else None for array in arrays]
        for name, arrays in (("image", images), ("mask", masks))
    }
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    examples = load(save(train=datasets.Dataset.from_dict(content, features=features), val=range(1)))
    examples.read(0)
    with pytest.raises(LabelError, match=r"train\[1\], column 'mask': mask value 9 \(24 pixels\)"):
        examples.read(1)
    with pytest.raises(
        DataError, match=r"train\[2\], column 'image' has 6x4 pixels .* but its mask train\[2\], column"
    ):
        examples.read(2)
    with pytest.raises(DataError, match=r"train\[3\], column 'mask' is empty"):
        examples.read(3)


def test_damaged_images_are_named(save):
    cells = {"image": [{"bytes": b"no image", "path": None}], "mask": [{"bytes": b"", "path": None}]}
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    examples = load(save(train=datasets.Dataset.from_dict(cells, features=features), val=range(1)))
    with pytest.raises(DataError, match=r"train\[0\], column 'image' is not an image that can be decoded"):
        examples.read(0)


# ----- what is wrong with the whole


@pytest.mark.parametrize("there", [False, True])
def test_folders_that_hold_nothing(tmp_path, there):
    if there:
        (tmp_path / "empty").mkdir()
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    message = f"config.data.dir = {str(tmp_path / 'empty')!r}: datasets cannot load it ("
    with pytest.raises(DataError, match=re.escape(message)) as error:
        load(tmp_path / "empty", labels=str(tmp_path / "names.json"))
    assert "\n" not in str(error.value)


def test_a_repository_or_a_folder_is_needed():
    with pytest.raises(ConfigError, match=r"config.data.huggingface.name = '': the source 'huggingface' reads a repos"):
        load("", labels="camvid")


def test_the_library_may_be_missing(save, monkeypatch):
    root = save(train=range(2))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ConfigError, match=rf"'huggingface' needs datasets .* {re.escape(install_command('huggingface'))}"
    ):
        load(root)
