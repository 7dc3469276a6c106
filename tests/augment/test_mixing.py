"""CutMix and ClassMix: parts by hand, then what holds for every draw and every number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from seg_jax.augment import Augmentation, make_augment, mixing
from seg_jax.config import ConfigError
from seg_jax.data.labels import IGNORE
from seg_jax.run import program
from seg_jax.runtime import sharding

FILL = (10, 200, 90)


# ----- what is pasted


@pytest.mark.parametrize(
    ("middle", "rows", "columns"),
    [((3, 4), (1, 5), (2, 7)), ((0, 9), (0, 2), (7, 10)), ((7, 0), (5, 8), (0, 3))],
)
def test_a_box_by_hand(monkeypatch, middle, rows, columns):
    # A quarter of the area of 8x10: 4x5 pixels about the middle, and what of them lies inside.
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape=(), **_: jnp.full(shape, 0.25))
    monkeypatch.setattr(jax.random, "randint", lambda *_: jnp.array(middle))
    expected = np.zeros((8, 10), bool)
    expected[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(mixing.box(jax.random.key(0), (8, 10)), expected)


def test_boxes_are_rectangles_of_every_size():
    keys = jax.random.split(jax.random.key(0), 1000)
    boxes = np.asarray(jax.jit(jax.vmap(lambda key: mixing.box(key, (40, 60))))(keys))
    rows, columns = boxes.any(2), boxes.any(1)
    np.testing.assert_array_equal(boxes, rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):  # in one piece
        assert (np.abs(np.diff(np.pad(side, [(0, 0), (1, 1)]).astype(int))).sum(1) <= 2).all()
    # Sides s = sqrt(uniform) about a uniform middle keep s - s^2/4 within the image: 1/2 - 1/5 + 1/48 on average.
    share = boxes.mean((1, 2))
    assert abs(share.mean() - 0.32) < 0.04
    assert share.min() < 0.01
    assert share.max() > 0.85
    # Everywhere, and most often in the middle.
    often = boxes.mean(0)
    assert 0.1 < often.min() < often[20, 30]


LABEL = np.array([[2, 2, 5, IGNORE], [9, 9, 5, IGNORE]], np.uint8)


def taken(label, n=300):
    """The sets of classes taken from `label` under n draws; what is taken is the whole class."""
    keys = jax.random.split(jax.random.key(0), n)
    masks = np.asarray(jax.jit(jax.vmap(lambda key: mixing.half_of_classes(key, jnp.array(label))))(keys))
    found = [frozenset(np.unique(label[mask]).tolist()) for mask in masks]
    for mask, classes in zip(masks, found, strict=True):
        np.testing.assert_array_equal(mask, np.isin(label, list(classes)))
    return found


def test_half_of_three_classes_is_one_of_them():
    found = taken(LABEL)
    assert set(found) == {frozenset({c}) for c in (2, 5, 9)}
    for classes in set(found):
        assert 60 < found.count(classes) < 140  # a third; 8 is one standard deviation


def test_half_of_four_classes_is_any_two():
    found = taken(np.where(LABEL == IGNORE, 0, LABEL).astype(np.uint8))
    assert len(set(found)) == 6
    assert {len(classes) for classes in found} == {2}


@pytest.mark.parametrize("values", [(3, 3), (3, IGNORE), (IGNORE, IGNORE)])
def test_half_of_one_class_is_nothing(values):
    assert set(taken(np.array([values], np.uint8), n=20)) == {frozenset()}


# ----- how often, and from where


@pytest.mark.parametrize(("cutmix", "classmix"), [(0.3, 0.4), (1.0, 0.0), (0.0, 1.0), (0.6, 0.4)])
def test_parts_are_pasted_as_often_as_said(monkeypatch, cutmix, classmix):
    # Pasted parts that tell one from the other: a box is the first row, the classes are the second.
    row = jnp.arange(2)[:, None] + jnp.zeros((2, 3), int)
    monkeypatch.setattr(mixing, "box", lambda key, size: row == 0)
    monkeypatch.setattr(mixing, "half_of_classes", lambda key, label: row == 1)
    spec = Augmentation(cutmix=cutmix, classmix=classmix)
    image, label = jnp.zeros((2, 3, 3)), jnp.zeros((2, 3), jnp.uint8)
    keys = jax.random.split(jax.random.key(0), 2000)
    mixed, labels = jax.vmap(lambda key: mixing.mix(key, image, label, (image + 9, label + 1), spec=spec))(keys)
    np.testing.assert_array_equal(mixed, 9.0 * np.repeat(labels[..., None], 3, -1))
    rows = np.asarray(labels).mean(2)
    for pattern, share in (((1, 0), cutmix), ((0, 1), classmix), ((0, 0), 1 - cutmix - classmix)):
        found = (rows == pattern).all(1).mean()
        assert abs(found - share) <= (0.05 if 0 < share < 1 else 1e-9)  # 0.011 is one standard deviation


def coded(b=4, h=12, w=17):
    """Labels of 0, 1, 7 and ignore; images whose red is the label and whose green is the example."""
    label = np.random.default_rng(0).choice(np.array([0, 1, 7, IGNORE], np.uint8), (b, h // 3, w))
    label = label.repeat(3, 1)
    image = np.stack([label, np.broadcast_to(np.arange(b, dtype=np.uint8)[:, None, None], label.shape), label], -1)
    return image, label


@pytest.mark.parametrize("spec", [Augmentation(cutmix=1.0), Augmentation(classmix=1.0)], ids=["cutmix", "classmix"])
def test_image_and_label_come_from_the_example_and_the_next(spec):
    image, label = coded()
    out, out_label = jax.jit(make_augment(spec, fill=FILL, groups=1))(jax.random.key(3), image, label)
    out, out_label = np.asarray(out), np.asarray(out_label)
    np.testing.assert_array_equal(out[..., 0], out_label)  # they move together, ignored pixels too
    own = out[..., 1] == np.arange(4)[:, None, None]
    np.testing.assert_array_equal(out[own], image[own])
    np.testing.assert_array_equal(out[~own], np.roll(image, -1, axis=0)[~own])
    assert 0 < own.mean() < 1
    if spec.classmix:
        # Two of the three classes stay behind, and what is ignored does.
        for i in range(4):
            assert len(set(np.unique(out_label[i][~own[i]])) - {IGNORE}) == 1
            assert IGNORE not in out_label[i][~own[i]]
    else:
        assert (out_label[~own] == IGNORE).any()


def test_partners_are_augmented_on_their_own():
    # The pasted part is what the partner looks like without mixing.
    image, label = coded()
    spec = {"scale": (0.5, 2.0), "rotate": 30.0, "brightness": 0.3}
    plain, mixed = (
        jax.jit(make_augment(Augmentation(**spec, cutmix=p), fill=FILL, groups=1))(jax.random.key(3), image, label)
        for p in (0.0, 1.0)
    )
    own, other = np.asarray(plain[0]), np.roll(plain[0], -1, axis=0)
    same = (np.asarray(mixed[0]) == own).all(-1)
    assert (same | (np.asarray(mixed[0]) == other).all(-1)).all()
    assert 0 < same.mean() < 1


# ----- devices


EVERYTHING = Augmentation(
    crop=(16, 16),
    flip=0.5,
    vertical_flip=0.5,
    scale=(0.5, 2.0),
    rotate=30.0,
    shear=10.0,
    brightness=0.3,
    grayscale=0.3,
    blur=0.5,
    noise=10.0,
    randaugment=(2, 9),
    cutmix=0.5,
    classmix=0.5,
)


def test_eight_devices_give_what_one_gives():
    if jax.device_count() < 8:
        pytest.skip(f"needs 8 devices, there are {jax.device_count()}")
    image, label = coded(b=8)
    one = jax.jit(make_augment(EVERYTHING, fill=FILL, groups=1))(jax.random.key(5), image, label)
    place = sharding.split(sharding.make_mesh(8))
    many = jax.jit(make_augment(EVERYTHING, fill=FILL, groups=8), in_shardings=(None, place, place))
    out, out_label = many(jax.random.key(5), image, label)
    assert len(out.sharding.device_set) == 8
    np.testing.assert_array_equal(out_label, one[1])
    np.testing.assert_allclose(out, one[0], atol=1e-3)
    again = jax.jit(make_augment(EVERYTHING, fill=FILL, groups=1))(jax.random.key(6), image, label)
    assert (np.asarray(again[0]) != np.asarray(one[0])).any((1, 2, 3)).all()


# ----- the configuration


def checked(**fields):
    config = default.get_config()
    config.update_from_flattened_dict(fields)
    program.check(config, devices=1)


def test_probabilities_add_up_to_one_at_most():
    checked(**{"augment.cutmix": 0.35, "augment.classmix": 0.65})
    with pytest.raises(ConfigError) as error:
        checked(**{"augment.cutmix": 0.6, "augment.classmix": 0.5})
    assert str(error.value) == (
        "config.augment.classmix = 0.5: an image gets one of both at most, so that this and augment.cutmix = 0.6 add "
        "up to 1 or less. Use 0.5 for each."
    )


@pytest.mark.parametrize("field", ["augment.cutmix", "augment.classmix"])
def test_a_batch_of_one_has_no_partner(field):
    checked(**{"train.batch_size": 1})
    checked(**{"train.batch_size": 2, field: 0.5})
    with pytest.raises(ConfigError, match=r"config\.train\.batch_size = 1: .* next image\. Use 2 or more, or set both"):
        checked(**{"train.batch_size": 1, field: 0.5})
