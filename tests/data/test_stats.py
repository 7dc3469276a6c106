"""Counts of a split and the weights that follow from them: known answers by hand, and when they are counted anew."""

import json
import os
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data import class_weights as formulas
from seg_jax.data import stats
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelTable

TABLE = LabelTable(names=("sky", "road", "car"))
LABELS = np.array([[[0, 0, 1], [0, 0, IGNORE]], [[1, 1, 1], [1, 1, 1]]], np.uint8)  # no car anywhere
IMAGES = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)


def examples(images=IMAGES, labels=LABELS, **fields):
    names = tuple(f"n{i}" for i in range(len(labels)))
    return Examples(split="train", names=names, read=lambda i: (images[i], labels[i]), table=TABLE, **fields)


# ----- counts


def test_counts_by_hand():
    counted, bad = stats.measure(examples(), threads=2)
    assert bad == ()
    assert asdict(counted) | {"mean": 0, "std": 0} == {
        "names": ("sky", "road", "car"),
        "images": 2,
        "pixels": (4, 7, 0),
        "files": (1, 2, 0),
        "present": (5, 11, 0),
        "ignored": 1,
        "mean": 0,
        "std": 0,
    }
    assert counted.missing == ("car",)
    pixels = IMAGES.reshape(-1, 3) / 255
    np.testing.assert_allclose(counted.mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(counted.std, pixels.std(0), rtol=1e-5)


def test_photographs_that_were_decoded_smaller_are_measured_too():
    """As of JPEG where no crop shows more: the label is as large as the file."""
    label = np.array([[0, 0, IGNORE, IGNORE]] * 2, np.uint8)
    image = np.array([[[4], [0]]], np.uint8)
    counted, _ = stats.measure(examples([image], [label]), threads=1)
    assert counted.mean == pytest.approx((4 / 255,), rel=1e-5) and counted.pixels == (4, 0, 0)


def test_the_number_of_threads_changes_nothing():
    rng = np.random.default_rng(0)
    many = examples(rng.integers(0, 256, (40, 6, 5, 3), np.uint8), rng.integers(0, 3, (40, 6, 5)).astype(np.uint8))
    assert stats.measure(many, threads=1) == stats.measure(many, threads=7)


def test_examples_that_cannot_be_read_are_told():
    def read(i):
        if i == 1:
            raise DataError("n1 is broken.")
        return IMAGES[i], LABELS[i]

    counted, bad = stats.measure(replace(examples(), read=read), threads=2)
    assert (counted.images, counted.pixels) == (1, (4, 1, 0))
    assert [(b.name, b.why) for b in bad] == [("n1", "n1 is broken.")]


def test_nothing_to_count():
    def broken(i):
        raise DataError(f"{i} is broken.")

    with pytest.raises(DataError, match="'train' has no usable example:\n  n0: 0 is broken"):
        stats.measure(replace(examples(), read=broken), threads=1)
    with pytest.raises(DataError, match="'train' has no labelled pixel"):
        stats.measure(examples(labels=np.full_like(LABELS, IGNORE)), threads=1)


# ----- weights


def test_median_frequency_by_hand():
    # Frequencies 4/5, 7/11 and none: the median of the two is (4/5 + 7/11) / 2 = 79/110.
    got = formulas.median_frequency(np.array([4, 7, 0]), np.array([5, 11, 0]))
    np.testing.assert_allclose(got, [79 / 88, 79 / 70, 0])


def test_inverse_log_by_hand():
    got = formulas.inverse_log(np.array([98, 2, 0]))
    np.testing.assert_allclose(got, [1 / np.log(2.0), 1 / np.log(1.04), 0])


def test_effective_number_by_hand():
    # (1 - b^n) / (1 - b) = 1 + b + ... + b^(n-1): 1 and 1.75 for n = 1 and 3 at b = 0.5.
    weights = np.array([1, 1 / 1.75])
    got = formulas.effective_number(np.array([1, 3, 0]), beta=0.5)
    np.testing.assert_allclose(got, [*(weights / weights.mean()), 0])


def test_effective_number_lies_between_equal_and_inverse_frequency():
    pixels = np.array([10**9, 10**6, 10**3])
    np.testing.assert_allclose(formulas.effective_number(pixels, beta=0.5), [1, 1, 1])
    inverse = 1 / pixels
    np.testing.assert_allclose(formulas.effective_number(pixels, beta=1 - 1e-15), inverse / inverse.mean(), rtol=1e-3)
    # N is the number of all pixels where beta is not given.
    n = pixels.sum()
    own = 1 / (1 - np.exp(pixels * np.log1p(-1 / n)))
    np.testing.assert_allclose(formulas.effective_number(pixels), own / own.mean(), rtol=1e-6)


def test_inverse_square_root_by_hand():
    np.testing.assert_allclose(formulas.inverse_square_root(np.array([4, 16, 0])), [4 / 3, 2 / 3, 0])


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=20).filter(any), st.data())
def test_weights_of_any_counts(pixels, data):
    present = tuple(n + data.draw(st.integers(0, 10**9)) if n else 0 for n in pixels)
    names = tuple(f"c{i}" for i in range(len(pixels)))
    counted = stats.Stats(names, 9, tuple(pixels), (1,) * len(pixels), present, 0, (0.5,) * 3, (0.2,) * 3)
    order = data.draw(st.permutations(range(len(pixels))))
    other = replace(
        counted, pixels=tuple(pixels[i] for i in order), present=tuple(present[i] for i in order), names=names
    )
    for scheme in stats.SCHEMES:
        weights = stats.class_weights(counted, scheme)
        assert all((w > 0) == (n > 0) for w, n in zip(weights, pixels, strict=True))
        assert np.isfinite(weights).all()
        np.testing.assert_allclose(stats.class_weights(other, scheme), [weights[i] for i in order], rtol=1e-4)
        if scheme != "median_frequency":  # which counts in other pixels for each class
            rare_first = np.argsort([n for n in pixels if n], kind="stable")
            assert (np.diff(np.array([w for w in weights if w])[rare_first]) <= 1e-9).all()


def test_unknown_schemes():
    counted, _ = stats.measure(examples(), threads=1)
    with pytest.raises(
        ConfigError, match=r"config.loss.class_weights = 'median' is not one of: .*'median_frequency'\?"
    ):
        stats.class_weights(counted, "median")


# ----- the record of what was counted


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A folder with two training pairs; the user's cache is elsewhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "data"
    for split in ("train", "val"):
        for i in range(2):
            for place, array in ((split, IMAGES[i]), (f"{split}annot", LABELS[i])):
                (root / place).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / place / f"n{i}.png")
    (root / "class_names.json").write_text(json.dumps(TABLE.names))
    config = default.get_config()
    config.data.update({"source": "folder", "dir": str(root)})
    return config


def unread(examples):
    """The same examples, which must not be read."""

    def read(i):
        raise AssertionError(f"example {i} is read")

    return replace(examples, read=read)


def records(config, tmp_path):
    return sorted((tmp_path / "data" / ".seg_jax").glob("*")), sorted((tmp_path / "cache").rglob("*.json"))


def test_files_are_counted_once(config, tmp_path):
    train = data.load(config, "train")
    first = stats.load(train, config.data)
    assert first.pixels == (4, 7, 0)
    assert stats.load(unread(data.load(config, "train")), config.data) == first
    beside, users = records(config, tmp_path)
    assert (len(beside), len(users)) == (1, 0)
    # What only says how files are read does not count.
    config.data.update({"threads": 1, "cache": "none", "mean": (0.5, 0.5, 0.5)})
    assert stats.load(unread(data.load(config, "train")), config.data) == first


def test_a_directory_may_be_moved(config, tmp_path):
    first = stats.load(data.load(config, "train"), config.data)
    (tmp_path / "data").rename(tmp_path / "moved")
    config.data.dir = str(tmp_path / "moved")
    assert stats.load(unread(data.load(config, "train")), config.data) == first


def test_changes_are_counted_anew(config, tmp_path):
    stats.load(data.load(config, "train"), config.data)
    path = tmp_path / "data" / "trainannot" / "n1.png"
    Image.fromarray(np.full((2, 3), 2, np.uint8)).save(path)
    os.utime(path, ns=(1, 1))
    assert stats.load(data.load(config, "train"), config.data).pixels == (4, 1, 6)
    config.data.ignore_classes = ("sky",)
    assert stats.load(data.load(config, "train"), config.data).pixels == (1, 6)
    config.data.update({"ignore_classes": (), "size": (4, 6)})
    assert stats.load(data.load(config, "train"), config.data).pixels == (16, 4, 24)
    (path.parent.parent / "train" / "n1.png").unlink()
    path.unlink()
    assert stats.load(data.load(config, "train"), config.data).images == 1
    assert len(records(config, tmp_path)[0]) == 5


def test_a_directory_that_cannot_be_written_to(config, tmp_path):
    (tmp_path / "data" / ".seg_jax").write_text("")  # a file where the directory would be
    first = stats.load(data.load(config, "train"), config.data)
    assert len(records(config, tmp_path)[1]) == 1
    assert stats.load(unread(data.load(config, "train")), config.data) == first
    # Nowhere at all: they are counted every time.
    for path in (tmp_path / "cache").rglob("*.json"):
        path.unlink()
    (tmp_path / "cache" / "seg_jax" / "stats").rmdir()
    (tmp_path / "cache" / "seg_jax" / "stats").write_text("")
    assert stats.load(data.load(config, "train"), config.data) == first


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1}', "cut"])
def test_damaged_records_are_counted_anew(config, tmp_path, content):
    first = stats.load(data.load(config, "train"), config.data)
    (path,) = records(config, tmp_path)[0]
    path.write_text(path.read_text()[:-9] if content == "cut" else content)
    assert stats.load(data.load(config, "train"), config.data) == first


def test_data_without_files_leaves_no_record(config, tmp_path):
    assert stats.load(examples(), config.data).pixels == (4, 7, 0)
    assert records(config, tmp_path) == ([], [])


def test_bad_files_stop_or_are_left_out(config, tmp_path):
    (tmp_path / "data" / "train" / "n0.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"1 of 2 examples of the split 'train' cannot be used:\n.*n0.png is not an image"
    ):
        stats.load(data.load(config, "train"), config.data)
    config.data.skip_bad = True
    assert stats.load(data.load(config, "train"), config.data).pixels == (0, 6, 0)


# ----- text and JSON


def test_text_and_json():
    counted, _ = stats.measure(examples(), threads=1)
    lines = stats.table(counted, split="train").splitlines()
    assert lines[0] == "train: 2 images, 11 labelled pixels, 1 ignored (8.33%)"
    assert lines[1].split()[:4] == ["class", "pixels", "share", "images"]
    assert lines[2].split() == ["sky", "4", "36.364%", "1", "0.8977", "3.08", "1.211", "1.139"]
    assert lines[4].split() == ["car", "0", "0.000%", "0", "0", "0", "0", "0"]
    assert lines[5] == "do not occur, so their weight is 0: car"
    content = json.loads(stats.to_json(counted, beta=0.5))
    assert content["pixels"] == [4, 7, 0]
    assert content["class_weights"]["median_frequency"] == [0.897727, 1.12857, 0]
    assert content["class_weights"]["effective_number"] == [1.02834, 0.97166, 0]
    assert set(content["class_weights"]) == set(stats.SCHEMES)


def test_camvid(real_data):
    config = default.get_config()
    config.data.update({"source": "folder", "dir": str(real_data / "camvid"), "labels": "camvid"})
    counted, _ = stats.measure(data.load(config, "val"), threads=2)
    assert counted.images == 101
    assert sum(counted.pixels) + counted.ignored == 101 * 360 * 480
    assert counted.missing == ()
    assert stats.class_weights(counted, "median_frequency")[3] < 0.2  # the road is in every picture
