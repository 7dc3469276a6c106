"""Pillow's resizing inside of artefacts."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from seg_jax.export.resample import resize_antialiased


def pillow(array, size):
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def test_two_pixels_become_one_and_four():
    # Shrunk: a triangle over both pixels, which weighs them alike. Grown: 1/4 and 3/4 between their centres.
    row = jnp.asarray([[[[0.0], [8.0]]]])
    assert resize_antialiased(row, size=(1, 1)).ravel().tolist() == [4.0]
    assert resize_antialiased(row, size=(1, 4)).ravel().tolist() == [0.0, 2.0, 6.0, 8.0]


def test_bytes_are_rounded_half_up():
    assert resize_antialiased(jnp.asarray([[[[0], [5]]]], jnp.uint8), size=(1, 1)).ravel().tolist() == [3]


# Pillow's own order of rows and columns depends on the sizes, and its weights have 22 bits.
@pytest.mark.parametrize(("size", "others"), [((40, 13), 0.02), ((27, 16), 0.02), ((31, 24), 0.0), ((9, 50), 0.3)])
def test_as_pillow(size, others):
    rng = np.random.default_rng(0)
    image, plane = rng.integers(0, 256, (31, 24, 3), np.uint8), rng.random((31, 24), np.float32)
    levels = abs(np.asarray(resize_antialiased(jnp.asarray(image)[None], size=size)[0], int) - pillow(image, size))
    assert levels.max() <= 1 and levels.mean() <= others
    found = resize_antialiased(jnp.asarray(plane)[None, :, :, None], size=size)[0, :, :, 0]
    np.testing.assert_allclose(found, pillow(plane, size), atol=1e-6)


def test_sizes_may_be_symbols():
    shape = jax.export.symbolic_shape("b, h, w, 3")
    resize = jax.jit(lambda image: resize_antialiased(image, size=(5, 7)))
    exported = jax.export.export(resize)(jax.ShapeDtypeStruct(shape, jnp.uint8))
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), np.uint8)
    np.testing.assert_array_equal(exported.call(image), resize(image))
