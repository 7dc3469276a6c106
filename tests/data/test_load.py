"""The door to the data: every source has its name, and classes are united or left out whatever the source is."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data import SOURCES
from seg_jax.data.checking import content_key
from seg_jax.data.labels import IGNORE, LabelError
from seg_jax.data.scenes.palettes import NAMES


def config(**fields):
    c = default.get_config()
    c.data.size = (32, 48)
    c.data.synthetic.train_scenes = 2
    c.update_from_flattened_dict({f"data.{key}": value for key, value in fields.items()})
    return c


def groups(tmp_path, content):
    path = tmp_path / "groups.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def test_sources_have_the_names_of_their_modules():
    assert all(source.load.__module__ == f"seg_jax.data.sources.{name}" for name, source in SOURCES.items())


def test_every_source_is_offered():
    with pytest.raises(ConfigError) as error:
        data.load(config(source="nothing"), "train")
    for name in SOURCES:
        assert name in str(error.value)


def test_the_stored_size_stays_within_reach(tmp_path):
    mask = np.indices((5, 7)).sum(0).astype(np.uint8) % 2
    for name, array in (("train", np.full((5, 7, 3), 9, np.uint8)), ("trainannot", mask)):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / "a.png")
    (tmp_path / "class_names.json").write_text('["even", "odd"]')
    fields = {"source": "folder", "dir": str(tmp_path)}
    resized, stored = (data.load(config(size=size, **fields), "train") for size in ((32, 48), (0, 0)))
    assert (resized.size, stored.size) == ((32, 48), (5, 7))
    for examples in (resized, stored):
        np.testing.assert_array_equal(examples.original(0)[1], mask)


def test_classes_are_united(tmp_path):
    united = {"thing": ["car", "pole and sign", "person"], "ground": ["road", "pavement"], "ignore": ["sky"]}
    united["other"] = [name for name in NAMES if not any(name in group for group in united.values())]
    plain, merged = data.load(config(), "train"), data.load(config(merge=groups(tmp_path, united)), "train")
    assert merged.table.names == ("thing", "ground", "other")
    order = [name for name in united if name != "ignore"]
    for i in range(2):
        (image, label), (same, new) = plain.read(i), merged.read(i)
        np.testing.assert_array_equal(image, same)
        assert new.dtype == np.uint8
        expected = [next(g for g in united if NAMES[v] in united[g]) for v in label.reshape(-1)]
        ids = [IGNORE if g == "ignore" else order.index(g) for g in expected]
        np.testing.assert_array_equal(new.reshape(-1), ids)


def test_classes_are_left_out():
    plain, fewer = data.load(config(), "train"), data.load(config(ignore_classes=("sky", "road")), "train")
    assert fewer.table.names == tuple(name for name in NAMES if name not in ("sky", "road"))
    label, new = plain.read(0)[1], fewer.read(0)[1]
    for i, name in enumerate(NAMES):
        left = IGNORE if name in ("sky", "road") else fewer.table.names.index(name)
        assert (new[label == i] == left).all()
    assert fewer.size == plain.size == (32, 48)


def test_united_classes_can_be_left_out(tmp_path):
    path = groups(tmp_path, {"a": NAMES[:3], "b": NAMES[3:5], "c": NAMES[5:]})
    examples = data.load(config(merge=path, ignore_classes=("b",)), "train")
    assert examples.table.names == ("a", "c")
    assert set(np.unique(examples.read(0)[1])) == {0, 1, IGNORE}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"ignore_classes": ("Sky",)},
            "config.data.ignore_classes = ('Sky',): there is no class 'Sky'; classes: sky, ",
        ),
        ({"ignore_classes": NAMES[1:]}, "1 classes: a label table has 2 to 65535"),
        (
            {"merge": "nowhere.json"},
            "config.data.merge = 'nowhere.json': cannot read the groups of classes nowhere.json",
        ),
    ],
)
def test_what_does_not_fit_names_its_field(fields, message):
    with pytest.raises(LabelError, match=re.escape(message)) as error:
        data.load(config(**fields), "train")
    assert str(error.value).startswith(f"config.data.{next(iter(fields))} = ")


def test_groups_that_leave_a_class_out_are_refused(tmp_path):
    path = groups(tmp_path, {"a": NAMES[:3], "b": NAMES[3:7]})
    with pytest.raises(LabelError, match=rf"config.data.merge = '{re.escape(path)}': '{NAMES[7]}' is in 0 groups"):
        data.load(config(merge=path), "train")


def test_what_decides_how_files_are_read_is_in_their_key(tmp_path):
    # What is remembered of files, such as their class frequencies, is forgotten when they are read in another way.
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / split / "a.png")
    place = {"source": "pairs", "dir": str(tmp_path), "size": (0, 0)}
    fields = [{}, {"pairs.cleanup": True}, {"ignore_classes": ("sky",)}, {"labels": "ids"}, {"size": (2, 2)}]
    keys = [content_key(data.load(config(**{**place, **changed}), "train")) for changed in fields]
    assert len(set(keys)) == len(fields)
    assert content_key(data.load(config(**place), "train")) == keys[0]
