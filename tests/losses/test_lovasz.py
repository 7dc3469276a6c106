"""Lovász-softmax against sets of wrong pixels counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.losses import region
from seg_jax.losses.lovasz import _slopes, lovasz

IGNORE = 255


def test_by_hand():
    # Errors 0.8 (missed), 0.5 (false), 0.1 (missed). The Jaccard loss of the first is 1 - 1/2, of the first two
    # 1 - 1/3, of all 1, so the errors count 1/2, 1/6 and 1/3.
    p = np.array([0.5, 0.2, 0.9, 0.3])
    z = np.log(p / (1 - p)).astype(np.float32)[None, :, None]
    label = np.array([0, 1, 1, IGNORE], np.uint8)[None, :, None]
    expected = 0.8 / 2 + 0.5 / 6 + 0.1 / 3
    values, weights = lovasz(np.stack([0 * z, z], -1), label, head="binary")
    np.testing.assert_allclose(values, [expected], rtol=1e-5)
    np.testing.assert_array_equal(weights, [1])
    # The same region as class 1 of three, and class 0: errors 0.8 (false), 0.5 (missed), 0.1 (false).
    logits = np.stack([0 * z, z, -1e4 + 0 * z], -1)
    values, weights = lovasz(logits, label, class_weights=(2.0, 3.0, 4.0))
    np.testing.assert_allclose(values, [0.8 / 2 + 0.5 / 2, expected, 0], rtol=1e-5)
    np.testing.assert_array_equal(weights, [2, 3, 0])


def test_of_hard_predictions_is_the_jaccard_loss():
    rng = np.random.default_rng(0)
    label = rng.choice([0, 1, 2, IGNORE], size=(2, 5, 6)).astype(np.uint8)
    logits = 1e4 * (rng.integers(3, size=(2, 5, 6, 1)) == np.arange(3)).astype(np.float32)
    for one, two in zip(lovasz(logits, label), region.jaccard(logits, label), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_slopes_of_many_pixels_are_exact():
    # Neighbouring Jaccard losses differ by less than float32 resolves.
    rng = np.random.default_rng(0)
    errors, truth = rng.random(300_000, np.float32), rng.random(300_000) < 0.3
    slopes = jax.jit(_slopes)(errors, truth, jnp.ones(300_000, bool))
    order = np.argsort(-errors, kind="stable")
    intersection = truth.sum() - np.cumsum(truth[order])
    loss = 1 - intersection / (truth.sum() + np.cumsum(~truth[order]))
    np.testing.assert_allclose(np.asarray(slopes)[order], np.diff(loss, prepend=0), rtol=1e-4, atol=1e-12)
