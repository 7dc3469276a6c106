"""NumPy files: both forms, what is wrong with them, and a whole run without TensorFlow."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import default
from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError

ROOT = Path(__file__).resolve().parents[2]
N, SIZE = 5, (4, 6)
NAMES = ["sky", "road", "car"]


def pair(n=N, size=SIZE):
    """Images and labels that tell which example they are of; the corner is ignored."""
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.full((*size, 3), 20, np.uint8)
    labels = (np.arange(n, dtype=np.uint8)[:, None, None] % 3) * np.ones(size, np.uint8)
    labels[:, 0, 0] = IGNORE
    return images, labels


def write(root, form, split="train", images=None, labels=None):
    one, two = pair()
    images, labels = one if images is None else images, two if labels is None else labels
    if form == "npz":
        np.savez(root / f"{split}.npz", images=images, labels=labels)
    elif form == "compressed":
        np.savez_compressed(root / f"{split}.npz", images=images, labels=labels, more=np.zeros(3))
    else:
        np.save(root / f"{split}_images.npy", images)
        np.save(root / f"{split}_labels.npy", labels)
    (root / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    return root


def load(root, split="train", **fields):
    config = default.get_config()
    config.data.update({"source": "arrays", "dir": str(root), **fields})
    return data.load(config, split)


# ----- both forms


@pytest.mark.parametrize("form", ["npz", "compressed", "npy"])
@pytest.mark.parametrize("values", [np.uint8, np.uint16])
def test_forms(tmp_path, form, values):
    images, labels = pair()
    examples = load(write(tmp_path, form, labels=labels.astype(values)))
    assert (len(examples), examples.size, examples.table.names) == (N, SIZE, tuple(NAMES))
    assert examples.names[3] == "train[3]"
    assert {file.name for file in examples.files[3]} <= {"train.npz", "train_images.npy", "train_labels.npy"}
    for i in range(N):
        image, label = examples.read(i)
        assert (type(image), image.dtype, label.dtype) == (np.ndarray, np.uint8, np.uint8)
        np.testing.assert_array_equal(image, images[i])
        np.testing.assert_array_equal(label, labels[i])


def test_npy_files_are_mapped_not_read(tmp_path):
    shape = (2**14, 512, 512, 3)  # 12 GiB of zeros that take no space on the disk
    np.lib.format.open_memmap(tmp_path / "train_images.npy", mode="w+", dtype=np.uint8, shape=shape)
    np.lib.format.open_memmap(tmp_path / "train_labels.npy", mode="w+", dtype=np.uint8, shape=shape[:3])
    (tmp_path / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    examples = load(tmp_path)
    image, label = examples.read(2**14 - 1)
    assert (image.shape, label.max()) == ((512, 512, 3), 0)


def test_splits_and_tables(tmp_path):
    write(tmp_path, "npz")
    write(tmp_path, "npy", "val")
    assert [len(load(tmp_path, split)) for split in ("train", "val")] == [N, N]
    assert load(tmp_path, labels="camvid").table.names[0] == "sky"
    (tmp_path / "class_names.json").unlink()
    with pytest.raises(LabelError, match=r"config.data.labels = '': there is no .*class_names.json"):
        load(tmp_path)


def test_resized(tmp_path):
    image, label = load(write(tmp_path, "npz"), size=(8, 3)).read(0)
    assert (image.shape, label.shape) == ((8, 3, 3), (8, 3))


# ----- what is wrong


def test_a_directory_is_needed(tmp_path):
    with pytest.raises(DataError, match=r"config.data.dir = '.*nowhere' is not a directory"):
        load(tmp_path / "nowhere")


def test_no_such_split(tmp_path):
    with pytest.raises(DataError) as error:
        load(write(tmp_path, "npz"), "val")
    assert str(error.value).startswith(
        f"{tmp_path} contains neither val.npz nor val_images.npy with val_labels.npy; there: train.npz."
    )


def test_two_forms_of_one_split(tmp_path):
    write(tmp_path, "npz")
    with pytest.raises(DataError, match=r"contains train.npz and train_images.npy, two forms .*; remove one"):
        load(write(tmp_path, "npy"))


IMAGES, LABELS = pair()


@pytest.mark.parametrize("form", ["npz", "npy"])
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.astype(np.float32) / 255, None, "images are float32 [5, 4, 6, 3], not uint8 [n h w 3]"),
        (IMAGES[..., 0], None, "images are uint8 [5, 4, 6], not uint8 [n h w 3]"),
        (IMAGES.transpose(0, 3, 1, 2), None, "images are uint8 [5, 3, 4, 6], not uint8 [n h w 3]"),
        (None, LABELS[:4], "labels are uint8 [4, 4, 6], not uint8 or uint16 [5, 4, 6]"),
        (None, LABELS[..., None], "labels are uint8 [5, 4, 6, 1], not uint8 or uint16 [5, 4, 6]"),
        (None, LABELS.astype(np.int64), "labels are int64 [5, 4, 6], not uint8 or uint16 [5, 4, 6]"),
    ],
)
def test_other_arrays_are_refused(tmp_path, form, images, labels, message):
    with pytest.raises(DataError, match=re.escape(message)) as error:
        load(write(tmp_path, form, images=images, labels=labels))
    assert str(error.value).startswith(str(tmp_path))
    assert re.search(r"\. (Use|Give) .+\.$", str(error.value))


HOT = np.eye(len(NAMES), dtype=np.float32)[np.where(LABELS == IGNORE, 0, LABELS)]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES / 255, None),  # as an instruction to cast alone, this became black pictures
        (IMAGES.astype(np.float32) / 255, None),
        (IMAGES.astype(np.float64), None),
        (IMAGES.astype(np.int32), None),
        (IMAGES.astype(np.float32).transpose(0, 3, 1, 2) / 255, None),
        (IMAGES[..., 0], None),
        (IMAGES[..., :1] / 255, None),
        (np.concatenate([IMAGES, IMAGES[..., :1]], -1), None),
        (None, LABELS.astype(np.int64)),
        (None, LABELS.astype(np.float32)),
        (None, LABELS[..., None]),
        (None, LABELS[:, None].astype(np.int32)),
        (None, np.where(LABELS == IGNORE, -1, LABELS.astype(np.int64))),
        (None, HOT),
        (None, HOT.transpose(0, 3, 1, 2)),
    ],
)
def test_the_cure_of_an_error_mends_it(tmp_path, images, labels):
    with pytest.raises(DataError) as error:
        load(write(tmp_path, "npz", images=images, labels=labels))
    cure = re.search(r"Use (.+?)(, where .*)?\.$", str(error.value))[1]
    mended = eval(cure, {"np": np, "images": images, "labels": labels})
    given = {"images": mended} if labels is None else {"labels": mended}
    examples = load(write(tmp_path, "npz", **given))
    for i in range(N):
        image, label = examples.read(i)
        np.testing.assert_array_equal(image, IMAGES[i])
        expected = (
            np.where(LABELS[i] == IGNORE, 0, LABELS[i]) if labels is not None and HOT.size == labels.size else LABELS[i]
        )
        np.testing.assert_array_equal(label, expected)


def test_the_cure_of_sixteen_bits_keeps_the_range(tmp_path):
    images = IMAGES.astype(np.uint16) * 51  # 0..4080, twelve bits
    with pytest.raises(DataError) as error:
        load(write(tmp_path, "npz", images=images))
    mended = eval(re.search(r"Use (.+)\.$", str(error.value))[1], {"np": np, "images": images})
    (first, *_, last) = (load(write(tmp_path, "npz", images=mended)).read(i)[0] for i in range(N))
    assert (first.min(), last.max()) == (0, 255)


@pytest.mark.parametrize(
    ("images", "labels", "cure"),
    [
        (
            IMAGES / np.float32(np.nan),
            None,
            "They are NaN or infinite in places; correct them, such as by np.nan_to_num",
        ),
        (IMAGES[..., [0, 1, 2, 0, 1]], None, r"Choose three of the 5 channels, such as images\[..., :3\]"),
        (IMAGES[None], None, "Give 4 dimensions"),
        (None, LABELS[:4], "Give one label for each image, of its size"),
        (None, LABELS + 0.5, "no whole numbers"),
        (None, LABELS.astype(np.int64) + 70000, "at most 65535; number the classes from 0"),
        (None, np.repeat(LABELS[..., None], 3, -1), "neither one nor a class each"),
        (None, LABELS.astype(str), "Give whole numbers"),
    ],
)
def test_where_no_expression_is_a_cure(tmp_path, images, labels, cure):
    with pytest.raises(DataError, match=cure):
        load(write(tmp_path, "npz", images=images, labels=labels))


def test_other_names_are_refused(tmp_path):
    write(tmp_path, "npz")
    np.savez(tmp_path / "train.npz", images=IMAGES, masks=LABELS)
    with pytest.raises(DataError, match=r"train.npz contains images, masks, but not labels. Write it with np.savez\("):
        load(tmp_path)


def test_unknown_values_are_named(tmp_path):
    labels = LABELS.copy()
    labels[2, 1, :3] = 7
    examples = load(write(tmp_path, "npy", labels=labels))
    message = f"{tmp_path / 'train_labels.npy'}, example 2: mask value 7 (3 pixels) is not in the label table"
    with pytest.raises(LabelError, match=re.escape(message)):
        examples.read(2)


@pytest.mark.parametrize("form", ["npz", "npy"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "pickle", "other form"])
def test_damaged_files_are_named(tmp_path, form, damage):
    path = write(tmp_path, form) / ("train.npz" if form == "npz" else "train_images.npy")
    if damage == "pickle":
        write(tmp_path, form, images=np.array([{"a": 1}], dtype=object))
    elif damage == "other form":
        with path.open("wb") as file:
            np.save(file, IMAGES) if form == "npz" else np.savez(file, images=IMAGES)
    else:
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "text": b"images"}[damage])
    with pytest.raises(DataError, match=re.escape(f"{path} cannot be read (")):
        load(tmp_path)


def test_the_configuration_names_a_directory():
    from seg_jax.run import program

    config = default.get_config()
    config.data.source = "arrays"
    with pytest.raises(ConfigError, match=r"config.data.dir = '': the source 'arrays' reads images and masks"):
        program.check(config, devices=1)


# ----- without TensorFlow

# The program, and an evaluation of what it trained, where these libraries are not installed.
WITHOUT = """
import pathlib, runpy, sys
from importlib.machinery import PathFinder

hidden, find = ("tensorflow", "clu", "tensorboard", "tensorflow_datasets", "datasets", "keras"), PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in hidden else find(name, *rest)
workdir = pathlib.Path(sys.argv.pop(1))
sys.argv.append(f"--workdir={workdir}")
try:
    runpy.run_module("seg_jax.main", run_name="__main__", alter_sys=True)
except SystemExit as end:
    if end.code:
        raise
from seg_jax import config
from seg_jax.evaluate import stored
stored.evaluate_checkpoint(config.load(workdir / "config.json"), workdir, "best")
"""


def test_a_run_without_tensorflow(tmp_path):
    rng = np.random.default_rng(0)
    for split, n in (("train", 4), ("val", 2)):
        labels = rng.integers(0, 3, (n, 32, 32), np.uint8)
        write(tmp_path, "npy", split, images=np.repeat(labels[..., None] * 80, 3, -1), labels=labels)
    script = tmp_path / "without.py"
    script.write_text(WITHOUT)
    fields = {
        **{"data.source": "arrays", "data.dir": tmp_path, "log.tensorboard": False, "train.steps": 2},
        **{"model.encoder.width": 2, "model.encoder.depth": 1, "train.batch_size": 2, "eval.batch_size": 2},
    }
    arguments = ["--config=configs/default.py", *(f"--config.{key}={value}" for key, value in fields.items())]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run"), *arguments],
        cwd=ROOT,
        # Programs that are not optimized compile in half of the time; starting anew for huge pages takes as long.
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^class .* IoU$", done.stdout, re.MULTILINE)) == 2  # a table of training, one of evaluation
    assert "checkpoint of step 2 on 2 examples of 'val'" in done.stdout
