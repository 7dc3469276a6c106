"""RandAugment: photometric operations against PIL, geometric ones by hand, then how they are drawn and composed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from seg_jax.augment import Augmentation, make_augment, randaugment
from seg_jax.augment.randaugment import GEOMETRIC, PHOTOMETRIC
from seg_jax.data.labels import IGNORE

FILL = (128, 128, 128)
NAMES = [*GEOMETRIC, *PHOTOMETRIC]
LEVELS = [-1.0, -0.3, 0.0, 0.5, 1.0]


def picture(low=0, high=255, shape=(23, 29), seed=0):
    """Random levels, dark ones more often than light ones."""
    shares = np.random.default_rng(seed).uniform(0, 1, (*shape, 3)) ** 2
    return (low + shares * (high - low)).round().astype(np.uint8)


PICTURES = {
    "all levels": picture(),
    "some levels": picture(40, 97),
    "two levels": np.where(picture() > 60, 200, 31).astype(np.uint8),
    "one level": np.full((23, 29, 3), (0, 77, 255), np.uint8),
    "few pixels": picture(shape=(5, 6)),
    "mostly light": np.where(picture() > 200, picture(), 240).astype(np.uint8),
}


def applied(name, image, level):
    got = PHOTOMETRIC[name](jnp.array(image), jnp.float32(level))
    assert (got.dtype, got.shape) == (jnp.uint8, image.shape)
    return np.asarray(got)


# ----- against PIL


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("image", PICTURES.values(), ids=PICTURES)
def test_exactly_as_pil(image, level):
    pil = Image.fromarray(image)
    bits = {0.0: 8, 0.3: 7, 0.5: 6, 1.0: 4}[abs(level)]
    np.testing.assert_array_equal(applied("posterize", image, level), ImageOps.posterize(pil, bits))
    threshold = {0.0: 256, 0.3: 180, 0.5: 128, 1.0: 0}[abs(level)]
    np.testing.assert_array_equal(applied("solarize", image, level), ImageOps.solarize(pil, threshold))
    np.testing.assert_array_equal(applied("equalize", image, level), ImageOps.equalize(pil))


@pytest.mark.parametrize("image", PICTURES.values(), ids=PICTURES)
def test_autocontrast_is_that_of_pil(image):
    got, expected = (
        applied("autocontrast", image, 0.0).astype(int),
        np.asarray(ImageOps.autocontrast(Image.fromarray(image))),
    )
    low, high = image.min((0, 1)).astype(int), image.max((0, 1)).astype(int)
    # PIL rounds down in floating point, so that it may miss a whole number by one.
    whole = 255 * (image - low) % np.maximum(high - low, 1) == 0
    np.testing.assert_array_equal(got[~whole], expected[~whole])
    assert np.abs(got - expected).max() <= 1
    stretched = high > low
    assert (got.min((0, 1))[stretched] == 0).all()
    assert (got.max((0, 1))[stretched] == 255).all()


ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "sharpness": ImageEnhance.Sharpness,
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ENHANCERS)
def test_enhanced_as_by_pil(name, level):
    image = picture()
    expected = np.asarray(ENHANCERS[name](Image.fromarray(image)).enhance(1 + 0.9 * level)).astype(int)
    # PIL blends with a plainer image in whole levels, and cuts off where this rounds.
    assert np.abs(applied(name, image, level) - expected).max() <= 1
    if level:
        assert np.abs(image - expected).max() > 5


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (3, 1)])
def test_tiny_images_have_no_inside_to_sharpen(shape):
    image = picture(shape=shape)
    np.testing.assert_array_equal(applied("sharpness", image, 1.0), image)


# ----- geometry by hand


def moved(name, level, size, point):
    y, x, one = np.asarray(GEOMETRIC[name](jnp.float32(level), size), np.float64) @ [*point, 1]
    assert one == 1
    return [y, x]


@pytest.mark.parametrize(
    ("name", "level", "size", "point", "expected"),
    [
        ("identity", 1.0, (5, 9), (3, 4), [3, 4]),
        # 10 pixels below the centre: 0.3 * 10 to the side.
        ("shear_x", 1.0, (21, 41), (20, 20), [20, 23]),
        ("shear_x", -0.5, (21, 41), (20, 20), [20, 18.5]),
        ("shear_y", 1.0, (21, 41), (10, 40), [16, 40]),
        ("translate_x", 1.0, (100, 331), (7, 7), [7, 157]),
        ("translate_x", -0.4, (100, 331), (7, 7), [7, -53]),
        ("translate_y", 1.0, (331, 100), (7, 7), [157, 7]),
        ("translate_y", 0.1, (100, 50), (7, 7), [12, 7]),  # 4.53 pixels
        # 30 degrees about the centre (10, 20).
        ("rotate", 1.0, (21, 41), (10, 30), [15, 20 + 10 * 0.75**0.5]),
        ("rotate", -1.0, (21, 41), (10, 30), [5, 20 + 10 * 0.75**0.5]),
        ("rotate", 0.7, (20, 40), (9.5, 19.5), [9.5, 19.5]),
    ],
)
def test_maps_by_hand(name, level, size, point, expected):
    np.testing.assert_allclose(moved(name, level, size, point), expected, atol=1e-5)


def test_magnitude_zero_moves_nothing():
    for name in GEOMETRIC:
        np.testing.assert_array_equal(GEOMETRIC[name](jnp.float32(0), (6, 8)), np.eye(3))


def number(*names):
    return jnp.array([NAMES.index(name) for name in names])


def test_maps_compose_in_the_order_drawn():
    # Shift, then turn: a pixel of the result is looked up where it lay before the turn, then before the shift.
    level = jnp.array([1.0, 0.7, -1.0])
    got = randaugment.geometry(number("translate_x", "equalize", "rotate"), level, (20, 331))
    shift, turn = (GEOMETRIC[n](jnp.float32(x), (20, 331)) for n, x in (("translate_x", 1.0), ("rotate", -1.0)))
    np.testing.assert_allclose(got, np.asarray(shift) @ np.asarray(turn), atol=1e-4)
    assert np.abs(np.asarray(got) - np.asarray(turn) @ np.asarray(shift)).max() > 1


# ----- drawing and applying


def test_every_operation_is_drawn_equally_often_to_both_sides():
    keys = jax.random.split(jax.random.key(0), 1400)
    which, level = jax.vmap(lambda key: randaugment.sample(key, 2, 7))(keys)
    assert which.shape == level.shape == (1400, 2)
    counts = np.bincount(np.ravel(which), minlength=14)
    assert len(counts) == 14 == len(NAMES)
    assert np.abs(counts - 200).max() < 70  # 14 is one standard deviation
    np.testing.assert_allclose(np.abs(level), 0.7, rtol=1e-6)
    assert abs((np.asarray(level) > 0).mean() - 0.5) < 0.05
    assert (which[:, 0] == which[:, 1]).any()  # with replacement


def test_colours_change_in_the_order_drawn():
    image = picture()
    for names in (("solarize", "rotate", "equalize"), ("equalize", "identity", "solarize")):
        got = randaugment.recolor(jnp.array(image, jnp.float32) + 0.3, number(*names), jnp.full(3, 0.5))
        steps = {"solarize": lambda i: ImageOps.solarize(i, 128), "equalize": ImageOps.equalize}
        expected = Image.fromarray(image)
        for name in names:
            expected = steps.get(name, lambda i: i)(expected)
        assert got.dtype == jnp.float32
        np.testing.assert_array_equal(got, expected)


def only(monkeypatch, *names):
    """Lets only these operations be sampled."""

    def sample(key, count, magnitude):
        which = jax.random.choice(key, number(*names), (count,))
        return which, magnitude / 10 * jax.random.rademacher(key, (count,), jnp.float32)

    monkeypatch.setattr(randaugment, "sample", sample)


def test_image_and_label_move_together(monkeypatch):
    only(monkeypatch, *list(GEOMETRIC)[1:])
    y, x = np.mgrid[:64, :80]
    label = ((np.hypot(y - 20, x - 50) < 15) | ((y > 40) & (x < 30)) | (x > 74)).astype(np.uint8)
    image = np.repeat(255 * label[..., None], 3, -1)
    images, labels = (np.stack([a] * 12) for a in (image, label))
    spec = Augmentation(crop=(48, 64), randaugment=(2, 8))
    out, out_labels = jax.jit(make_augment(spec, fill=FILL, groups=1))(jax.random.key(2), images, labels)
    out, out_labels = np.asarray(out)[..., 0], np.asarray(out_labels)
    np.testing.assert_array_equal(out_labels[out < 1], 0)
    np.testing.assert_array_equal(out_labels[out > 254], 1)
    assert set(np.unique(out_labels)) == {0, 1, IGNORE}
    known = out_labels != IGNORE
    assert ((out < 1) | (out > 254))[known].mean() > 0.85
    assert len({o.tobytes() for o in out_labels}) == 12


def test_shifts_are_copies_that_leave_ignored_pixels(monkeypatch):
    only(monkeypatch, "translate_x")
    image, label = picture(shape=(6, 331))[None], np.ones((1, 6, 331), np.uint8)
    spec = Augmentation(randaugment=(1, 10))
    out, out_label = jax.jit(make_augment(spec, fill=FILL, groups=1))(jax.random.key(0), image, label)
    left = int(np.flatnonzero(np.asarray(out_label)[0, 0] == 1)[0])
    assert left in (0, 150)
    kept, source = (slice(150, None), slice(None, -150)) if left else (slice(None, -150), slice(150, None))
    np.testing.assert_array_equal(out[:, :, kept], image[:, :, source])
    np.testing.assert_array_equal(out_label[:, :, kept], 1)
    assert (np.asarray(out_label) == IGNORE).sum() == 6 * 150


def test_magnitude_zero_of_the_other_operations_changes_nothing(monkeypatch):
    only(monkeypatch, *(name for name in NAMES if name not in ("autocontrast", "equalize")))
    images = np.stack([picture(40, 200, seed=i) for i in range(8)])
    labels = np.ones(images.shape[:3], np.uint8)
    spec = Augmentation(randaugment=(3, 0))
    out, out_labels = jax.jit(make_augment(spec, fill=FILL, groups=1))(jax.random.key(0), images, labels)
    np.testing.assert_array_equal(out, images)
    np.testing.assert_array_equal(out_labels, labels)


def test_all_operations_in_one_program():
    # Which picture went through which operation: each photometric one alone gives its own result.
    image = picture(40, 200)
    images, labels = np.stack([image] * 64), np.ones((64, *image.shape[:2]), np.uint8)
    spec = Augmentation(randaugment=(1, 9))
    for groups in (1, 64):
        out, out_labels = jax.jit(make_augment(spec, fill=FILL, groups=groups))(jax.random.key(0), images, labels)
        possible = {(name, sign): applied(name, image, sign * 0.9) for name in PHOTOMETRIC for sign in (-1, 1)}
        found = {name for (name, _), result in possible.items() if any((np.asarray(o) == result).all() for o in out)}
        assert found == set(PHOTOMETRIC)
        moved = (np.asarray(out_labels) == IGNORE).any((1, 2))
        assert 10 < moved.sum() < 40  # 5 of 14 operations
