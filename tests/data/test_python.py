"""Examples from Python: the forms they may have, what is refused, and what their digest notices."""

import re

import numpy as np
import pytest
from PIL import Image

from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.config.default import get_config
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError, LabelTable
from seg_jax.data.sources import python

TABLE = LabelTable(names=("a", "b", "c"))
IMAGES = np.arange(5 * 4 * 6 * 3, dtype=np.uint8).reshape(5, 4, 6, 3)
LABELS = np.arange(5 * 4 * 6).reshape(5, 4, 6) % 3
LABELS[:, 0, 0] = 255


class Lazy:
    """Pairs by index, without anything else of a sequence."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


FORMS = {
    "arrays": (IMAGES, LABELS),
    "bytes": (IMAGES, LABELS.astype(np.uint8)),
    "pairs": list(zip(IMAGES, LABELS, strict=True)),
    "tuple of pairs": tuple(zip(IMAGES, LABELS, strict=True)),
    "lists in pairs": [list(pair) for pair in zip(IMAGES, LABELS, strict=True)],
    "by index": Lazy(IMAGES, LABELS),
    "pillow": [(Image.fromarray(i), Image.fromarray(j.astype(np.uint8))) for i, j in zip(IMAGES, LABELS, strict=True)],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    examples = python.examples(FORMS[form], "train", TABLE)
    assert (len(examples), examples.size, examples.names[2]) == (5, (4, 6), "train[2]")
    for i in range(5):
        image, label = examples.read(i)
        assert (image.dtype, label.dtype) == (np.uint8, np.uint8)
        np.testing.assert_array_equal(image, IMAGES[i])
        np.testing.assert_array_equal(label, LABELS[i])


def test_two_pairs_are_not_two_arrays():
    examples = python.examples(tuple(zip(IMAGES[:2], LABELS[:2], strict=True)), "val", TABLE)
    assert len(examples) == 2 and (examples.read(1)[0] == IMAGES[1]).all()


def test_values_are_those_of_the_table():
    table = LabelTable(names=("off", "on"), values=((0,), (300,)), ignore=(7,))
    (image, label), _ = FORMS["pairs"][:2]
    stored = np.where(label == 255, 7, np.where(label == 1, 300, 0))
    read = python.examples([(image, stored)], "val", table).read(0)[1]
    assert (read == np.where(label == 255, IGNORE, label == 1)).all()
    assert (python.examples([(image, label == 1)], "val", TABLE).read(0)[1] == (label == 1)).all()  # bool


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "the split 'train' has no example"),
        ((IMAGES, LABELS[:4]), "the split 'train' has 5 images and 4 labels"),
        (3, "the split 'train' is a int, which has no length or no items. Give .images, labels., arrays uint8"),
        (iter(FORMS["pairs"]), "which has no length or no items"),
    ],
)
def test_other_splits_are_refused(content, message):
    with pytest.raises(DataError, match=message):
        python.examples(content, "train", TABLE)


@pytest.mark.parametrize(
    ("pair", "error", "message"),
    [
        (3, DataError, r"val\[0\] is not a pair \(image, label\) of arrays: 'int' object is not iterable"),
        ((IMAGES[0],), DataError, r"val\[0\] is not a pair"),
        ((IMAGES[0] / 255, LABELS[0]), DataError, r"val\[0\]: the image is float64 \[4, 6, 3\], not uint8 \[h w 3\]"),
        ((IMAGES[0].transpose(2, 0, 1), LABELS[0]), DataError, r"the image is uint8 \[3, 4, 6\]"),
        ((IMAGES[0], LABELS[0] / 1), DataError, r"the label is float64 \[4, 6\], not integer"),
        ((IMAGES[0], LABELS[0][..., None]), DataError, r"the label is int64 \[4, 6, 1\]"),
        ((IMAGES[0], LABELS[0][:3]), DataError, r"the image of val\[0\] has 4x6 pixels .* mask label has 3x6"),
        ((IMAGES[0], LABELS[0] - 1), LabelError, r"val\[0\]: the label has values -1 to 254"),
        ((IMAGES[0], LABELS[0] + 70000), LabelError, r"values 70000 to 70255; they are between 0 and 65535"),
        ((IMAGES[0], LABELS[0] + 1), LabelError, r"val\[0\]: mask value 3 .* is not in the label table"),
    ],
)
def test_other_pairs_are_refused(pair, error, message):
    with pytest.raises(error, match=message):
        python.examples([pair], "val", TABLE).read(0)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        (IMAGES[0] / 255, None),
        (IMAGES[0].transpose(2, 0, 1) / 255, None),
        (None, LABELS[0] / 1),
        (None, LABELS[0][..., None]),
        (None, np.where(LABELS[0] == IGNORE, -1, LABELS[0])),
    ],
)
def test_the_cure_of_an_error_mends_it(image, label):
    expected = python.examples([(IMAGES[0], LABELS[0])], "val", TABLE).read(0)
    image, label = IMAGES[0] if image is None else image, LABELS[0] if label is None else label
    with pytest.raises((DataError, LabelError)) as error:
        python.examples([(image, label)], "val", TABLE).read(0)
    cure = re.search(r"Use (.+?)(, where .*)?\.$", str(error.value))[1]
    mended = eval(cure, {"np": np, "image": image, "label": label})
    pair = (image, mended) if cure.count("label") else (mended, label)
    for one, other in zip(python.examples([pair], "val", TABLE).read(0), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_digest_notices_what_changes():
    def digest(images, labels, names=TABLE):
        return python.examples((images, labels), "train", names).digest

    same = digest(IMAGES, LABELS)
    assert digest(IMAGES.copy(), LABELS.copy()) == same
    assert python.examples(FORMS["pairs"], "train", TABLE).digest == same
    assert python.examples(FORMS["by index"], "train", TABLE).digest == same
    brighter, relabelled = IMAGES.copy(), LABELS.copy()
    brighter[3, 2, 1] += 1
    relabelled[4, 3, 3] = (relabelled[4, 3, 3] + 1) % 3
    others = [(IMAGES[::-1], LABELS[::-1]), (IMAGES[:4], LABELS[:4]), (brighter, LABELS), (IMAGES, relabelled)]
    assert len({same, *(digest(*other) for other in others)}) == 5


def test_the_digest_reads_a_part_of_many(monkeypatch):
    monkeypatch.setattr(python, "SAMPLED", 3)
    asked = []

    class Counting(Lazy):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    python.examples(Counting(IMAGES, LABELS), "train", TABLE)
    assert asked == [0, 2, 4]


def test_through_the_door(tmp_path):
    """Sizes and united classes are the configuration's; without the program there is nothing to read."""
    config = get_config()
    config.data.source, config.data.size, config.data.ignore_classes = "python", (8, 12), ("c",)
    source = data.Source(python.source({"train": FORMS["arrays"]}, TABLE), directory=False)
    examples = data.load(config, "train", source=source)
    image, label = examples.read(0)
    assert (image.shape, label.shape, examples.table.names) == ((8, 12, 3), (8, 12), ("a", "b"))
    assert set(np.unique(label)) == {0, 1, IGNORE} and examples.original(0)[0].shape == (4, 6, 3)
    with pytest.raises(ConfigError, match=r"config.data.source = 'python': the split 'train' .* handed to seg_jax.tr"):
        data.load(config, "train")
