"""TensorFlow Datasets: builders that the tests define and prepare, in both formats that can be read by example."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from configs import default
from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError
from seg_jax.runtime.extras import install_command
from tests.builders import builder, pets

tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("tfrecord", "array_record")
NAMES = ["sky", "road", "car"]
COUNTS = {"train": 10, "test": 4}


def pair(split, i):
    """A picture that tells which example it is of."""
    value = i if split == "train" else 100 + i
    return np.full((4, 6, 3), value, np.uint8), np.full((4, 6, 1), i % 3, np.uint8)


def photograph():
    return tfds.features.Image(shape=(None, None, 3))


def labelled():
    return {
        "photo": photograph(),
        "truth": tfds.features.LabeledImage(labels=NAMES, shape=(None, None, 1)),
        "text": tfds.features.Text(),
        "numbers": tfds.features.Tensor(shape=(2,), dtype=np.int64),
    }


def labelled_example(split, i):
    image, mask = pair(split, i)
    return {"photo": image, "truth": mask, "text": f"{split} {i}", "numbers": [i, 2]}


def many():
    gray = {name: tfds.features.Image(shape=(None, None, 1)) for name in ("ids", "depth")}
    return {"left": photograph(), "right": photograph(), **gray}


def many_example(split, i):
    image, mask = pair(split, i)
    return {"left": image, "right": 255 - image, "ids": mask, "depth": 7 + mask}


def pets_example(split, i):
    image, mask = pair(split, i)
    box = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
    more = {"label": 0, "species": 0, "file_name": f"{i}", "head_bbox": box}
    return {"image": image, "segmentation_mask": mask + 1, **more}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """prepared[format]: a directory of prepared sets."""
    place = tmp_path_factory.mktemp("tfds")
    with tfds.core.registered.skip_registration():
        builders = [
            builder("tiny", labelled, labelled_example, COUNTS),
            builder("many", many, many_example, COUNTS),
            builder("oxford_iiit_pet", pets, pets_example, COUNTS),
        ]
    tfds.display_progress_bar(False)
    for form in FORMATS:
        for one in builders:
            one(data_dir=place / form, file_format=form).download_and_prepare()
    return {form: place / form for form in FORMATS}


def load(directory, split, *, seed=0, **fields):
    config = default.get_config()
    config.seed = seed
    config.data.update({"source": "tfds"})
    config.update_from_flattened_dict({"data.tfds.name": "tiny", "data.tfds.data_dir": str(directory)})
    config.update_from_flattened_dict({f"data.{key.replace('__', '.')}": value for key, value in fields.items()})
    return data.load(config, split)


def pictures(examples):
    """What `pair` put in, by the images; checks that each has its own mask."""
    seen = []
    for i in range(len(examples)):
        image, label = examples.read(i)
        assert (image.shape, image.dtype, label.shape, label.dtype) == ((4, 6, 3), np.uint8, (4, 6), np.uint8)
        value = int(image[0, 0, 0])
        assert (image == value).all() and (label == value % 100 % 3).all()
        seen.append(value)
    return seen


# ----- examples


@pytest.mark.parametrize("form", FORMATS)
def test_examples(prepared, form):
    examples = load(prepared[form], "train")
    assert sorted(pictures(examples)) == [*range(10)]
    assert examples.table.names == tuple(NAMES)  # of the LabeledImage
    assert examples.size == (4, 6)
    assert examples.names[3] == f"tiny-train.{form}-00000-of-00001, example 3"
    assert [file.name for file in examples.files[3]] == [f"tiny-train.{form}-00000-of-00001"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_order_is_that_of_the_files(prepared, form):
    builder = tfds.builder("tiny", data_dir=prepared[form])
    stored = builder.as_dataset(split="train") if form == "tfrecord" else builder.as_data_source(split="train")
    assert pictures(load(prepared[form], "train")) == [int(example["photo"][0, 0, 0]) for example in stored]


@pytest.mark.parametrize("form", FORMATS)
def test_splits_in_the_syntax_of_the_library(prepared, form):
    whole = {split: pictures(load(prepared[form], split)) for split in COUNTS}
    for split, expected in (
        ("train[:30%]", whole["train"][:3]),
        ("train[-2:]", whole["train"][-2:]),
        ("train[80%:]+test[:1]", whole["train"][8:] + whole["test"][:1]),
        ("test+train", whole["test"] + whole["train"]),
    ):
        assert pictures(load(prepared[form], split)) == expected


@pytest.mark.parametrize("form", FORMATS)
def test_several_threads_read_at_once(prepared, form):
    examples = load(prepared[form], "train+test")
    expected = pictures(examples)
    with ThreadPoolExecutor(8) as pool:
        order = [*range(14)] * 20
        seen = [int(image[0, 0, 0]) for image, _ in pool.map(examples.read, order)]
    assert seen == expected * 20


def test_resized(prepared):
    image, label = load(prepared["tfrecord"], "train", size=(8, 3)).read(0)
    assert (image.shape, label.shape) == ((8, 3, 3), (8, 3))


def test_reading_needs_no_tensorflow(prepared):
    program = (
        "import sys; from configs import default; from seg_jax import data; c = default.get_config(); "
        "c.data.source = 'tfds'; c.data.tfds.name = 'tiny'; c.data.tfds.data_dir = sys.argv[1]; "
        "print(len(data.load(c, 'train')), data.load(c, 'test').read(0)[0].shape, 'tensorflow' in sys.modules)"
    )
    arguments = [sys.executable, "-c", program, str(prepared["tfrecord"])]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "10 (4, 6, 3) False", done.stderr


# ----- features and tables


def test_features_are_named_where_there_are_several(prepared, tmp_path):
    names = tmp_path / "names.json"
    names.write_text('["a", "b", "c"]')
    fields = {"tfds__name": "many", "labels": str(names)}
    root = prepared["tfrecord"]
    examples = load(root, "train", tfds__image="left", tfds__mask="ids", **fields)
    assert sorted(pictures(examples)) == [*range(10)]
    assert examples.table.names == ("a", "b", "c")
    other = load(root, "train", tfds__image="right", tfds__mask="ids", **fields)
    assert other.read(0)[0][0, 0, 0] == 255 - examples.read(0)[0][0, 0, 0]
    wrong = load(root, "train", tfds__image="left", tfds__mask="depth", **fields)
    with pytest.raises(
        LabelError, match=r"example 0, feature 'depth': mask value \d \(24 pixels\) is not in the label"
    ):
        wrong.read(0)
    message = r"config.data.tfds.image = '': 2 features are images of 3 channel\(s\) \(left, right\), so it is unclear"
    with pytest.raises(ConfigError, match=message):
        load(root, "train", **fields)
    message = r"config.data.tfds.mask = '': 2 features are images of 1 .*Name one of: depth, ids, left, right"
    with pytest.raises(ConfigError, match=message):
        load(root, "train", tfds__image="left", **fields)


def test_features_that_are_no_images(prepared):
    for name in ("truht", "numbers"):
        with pytest.raises(ConfigError, match=f"config.data.tfds.mask = '{name}' is not one of: photo, truth"):
            load(prepared["tfrecord"], "train", tfds__mask=name)


def test_a_mask_without_names(prepared):
    with pytest.raises(LabelError, match=r"config.data.labels = '': there is no class_names.json.*write a class_names"):
        load(prepared["tfrecord"], "train", tfds__name="many", tfds__image="left", tfds__mask="ids")


# ----- Oxford-IIIT Pets


@pytest.mark.parametrize("form", FORMATS)
def test_pets(prepared, form):
    fields = {"tfds__name": "oxford_iiit_pet", "size": (4, 6), "pets__val_share": 0.2}
    parts = {split: load(prepared[form], split, **fields) for split in ("train", "val", "trainval", "test")}
    assert {split: len(examples) for split, examples in parts.items()} == {
        "train": 8,
        "val": 2,
        "trainval": 10,
        "test": 4,
    }
    assert sorted(parts["train"].names + parts["val"].names) == sorted(parts["trainval"].names)
    assert parts["test"].table.names == ("pet", "background", "border")
    for examples in parts.values():  # JPEG keeps grey
        pictures(examples)
    assert parts["val"].names == load(prepared[form], "val", **fields).names
    assert any(parts["val"].names != load(prepared[form], "val", seed=s, **fields).names for s in (1, 2, 3))


@pytest.mark.parametrize(
    ("border", "expected"), [("pet", [1, 0, 1]), ("background", [1, 0, 0]), ("ignore", [1, 0, IGNORE])]
)
def test_the_border_of_pets(prepared, border, expected):
    fields = {"tfds__name": "oxford_iiit_pet", "size": (4, 6), "pets__border": border}
    examples = load(prepared["tfrecord"], "train[:100%]", **fields)
    assert len(examples) == 10
    for i in range(10):
        image, label = examples.read(i)
        assert (label == expected[int(image[0, 0, 0]) % 3]).all()


def test_pets_keep_their_size_where_none_is_named(prepared):
    examples = load(prepared["tfrecord"], "train", tfds__name="oxford_iiit_pet")
    assert examples.resized == (0, 0) and examples.stored is None


# ----- what is wrong


def test_a_name_is_needed(prepared):
    with pytest.raises(ConfigError, match=r"config.data.tfds.name = '': the source 'tfds' reads a builder"):
        load(prepared["tfrecord"], "train", tfds__name="")


def test_unknown_builders(prepared):
    with pytest.raises(DataError) as error:
        load(prepared["tfrecord"], "train", tfds__name="tinyy")
    message = str(error.value)
    assert message.startswith("config.data.tfds.name = 'tinyy': TensorFlow Datasets cannot provide it in ")
    assert "(Dataset tinyy not found.). Correct the name" in message and "\n" not in message


@pytest.mark.parametrize("split", ["vall", "train[5%%:"])
def test_unknown_splits(prepared, split):
    with pytest.raises(ConfigError) as error:
        load(prepared["tfrecord"], split, val_split=split)
    assert str(error.value).startswith(f"config.data.val_split = {split!r}: ") and "\n" not in str(error.value)


@pytest.fixture
def damaged(prepared, tmp_path):
    """damaged(form): a copy of the prepared sets, and the training file of 'tiny' in it."""

    def copy(form):
        root = shutil.copytree(prepared[form], tmp_path / form)
        return root, root / "tiny" / "4.0.0" / f"tiny-train.{form}-00000-of-00001"

    return copy


@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "gone", "noise"])
def test_damaged_files_are_named(damaged, damage):
    root, path = damaged("tfrecord")
    content = path.read_bytes()
    changed = {"cut": content[:-20], "empty": b"", "longer": content + b"12345", "noise": b"\x01" * len(content)}
    path.write_bytes(changed[damage]) if damage in changed else path.unlink()
    with pytest.raises(DataError, match=re.escape(str(path))) as error:
        load(root, "train")
    assert "prepare the data set again" in str(error.value)


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_examples_are_named(damaged, form):
    root, path = damaged(form)
    examples = load(root, "train")
    content = bytearray(path.read_bytes())
    content[200:800] = bytes(600)
    path.write_bytes(bytes(content))
    failed = 0
    for i in range(10):
        try:
            examples.read(i)
        except DataError as error:
            assert examples.names[i] in str(error)
            failed += 1
    assert failed


def test_other_formats_are_refused(damaged):
    root, path = damaged("tfrecord")
    info = path.parent / "dataset_info.json"
    info.write_text(info.read_text().replace("tfrecord", "riegeli"))
    with pytest.raises(DataError, match=r"tiny/4.0.0 is prepared as riegeli, .* file_format='tfrecord' or 'array_reco"):
        load(root, "train")


def test_the_library_may_be_missing(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ConfigError, match=rf"'tfds' needs tensorflow-datasets .* {re.escape(install_command('tfds'))}"):
        load(prepared["tfrecord"], "train")
