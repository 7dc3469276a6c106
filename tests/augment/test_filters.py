"""Blur and noise: weights by hand, then what holds for every draw."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax.augment.filters import blur, random_blur, random_noise


def gauss(sigma, radius):
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


def point(size=11):
    """A white point in the middle of a black image."""
    image = np.zeros((size, size, 3), np.float32)
    image[size // 2, size // 2] = 255
    return image


def test_a_point_becomes_the_weights():
    got = jax.jit(blur, static_argnames="radius")(point(), 0.8, radius=3)
    expected = np.zeros((11, 11))
    expected[2:9, 2:9] = 255 * np.outer(gauss(0.8, 3), gauss(0.8, 3))
    np.testing.assert_allclose(got, np.repeat(expected[..., None], 3, -1), atol=1e-3)
    assert got.dtype == jnp.float32


def test_edges_are_mirrored_about_their_pixels():
    row = np.array([10, 40, 100], np.float32)
    image = np.broadcast_to(row[None, :, None], (4, 3, 3))
    side, middle, _ = gauss(1.0, 1)
    expected = [middle * 10 + side * 80, middle * 40 + side * 110, middle * 100 + side * 80]
    got = blur(jnp.array(image), 1.0, radius=1)
    np.testing.assert_allclose(got, np.broadcast_to(np.array(expected)[None, :, None], (4, 3, 3)), rtol=1e-5)


def test_even_colours_stay():
    image = np.full((5, 2, 3), (3, 200, 255), np.float32)  # smaller than the radius
    got = blur(jnp.array(image), 2.0, radius=6)
    np.testing.assert_allclose(got, image, rtol=1e-5)
    assert got.max() <= 255


def test_a_tiny_deviation_changes_nothing():
    image = np.random.default_rng(0).uniform(0, 255, (6, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(blur(jnp.array(image), 0.1, radius=6), image, rtol=1e-5)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_blurs_are_as_frequent_and_as_wide_as_said(probability):
    keys = jax.random.split(jax.random.key(0), 1000)
    out = jax.jit(jax.vmap(lambda key: random_blur(key, jnp.array(point()), probability=probability, sigma=(0.5, 1.5))))
    out = np.asarray(out(keys), np.float64)[..., 0]
    blurred = (out != point()[..., 0]).any((1, 2))
    assert abs(blurred.mean() - probability) <= (0.06 if 0 < probability < 1 else 0)
    if probability:
        # The ratio of two neighbouring weights is exp(-1 / 2 sigma^2).
        sigma = np.sqrt(-0.5 / np.log(out[blurred, 5, 6] / out[blurred, 5, 5]))
        assert 0.5 - 1e-3 <= sigma.min() < 0.53
        assert 1.47 < sigma.max() <= 1.5 + 1e-3
        assert abs(sigma.mean() - 1) < 0.08  # 0.29 / sqrt(300) is one standard deviation


def test_noise_has_the_deviation_that_is_said():
    keys = jax.random.split(jax.random.key(1), 300)
    grey = jnp.full((32, 32, 3), 128.0)
    out = np.asarray(jax.jit(jax.vmap(lambda key: random_noise(key, grey, strength=20.0)))(keys), np.float64) - 128
    deviation = out.std((1, 2, 3))
    assert deviation.min() < 1
    assert 19 < deviation.max() < 20 * 1.06  # 3072 samples: +- 1.3 %
    assert abs(deviation.mean() - 10) < 1.5
    assert abs(out.mean()) < 0.1
    # A normal distribution, such as 68 % within one deviation; every value another draw.
    for reach in (0.5, 1, 2):
        within = (np.abs(out) < reach * deviation[:, None, None, None]).mean()
        assert abs(within - math.erf(reach * math.sqrt(0.5))) < 0.01
    assert abs(np.corrcoef(out[:, 0, 0, 0] / deviation, out[:, 0, 0, 1] / deviation)[0, 1]) < 0.25


def test_noise_stays_in_range():
    out = random_noise(jax.random.key(0), jnp.full((16, 16, 3), 250.0), strength=100.0)
    assert out.min() >= 0
    assert out.max() == 255
