"""The gradient for CPUs against JAX's own, in every order and number of pieces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax.models import convolution
from seg_jax.models.convolution import convolve, convolve_cpu, kernel_gradient

SAME = ((1, 1), (1, 1))
# channels, features, images, size, kernel, zeros around; pixels of a piece -> how many convolutions
CASES = {
    "one piece": ((16, 32, 2, (6, 5), (3, 3), SAME), 60, 1),
    "images": ((16, 32, 3, (6, 5), (3, 3), SAME), 60, 2),
    "bands": ((16, 32, 2, (7, 5), (3, 3), SAME), 12, 6),
    "never more than rows": ((16, 32, 1, (2, 8), (3, 3), SAME), 1, 2),
    "never more than the most": ((8, 32, 1, (40, 2), (3, 3), SAME), 1, 32),
    "wide first": ((32, 20, 2, (7, 5), (3, 3), SAME), 12, 6),
    "few channels": ((16, 19, 2, (7, 5), (3, 3), SAME), 12, 1),
    "few features": ((8, 16, 2, (7, 5), (3, 3), SAME), 12, 1),
    "uneven zeros": ((32, 17, 2, (6, 5), (4, 2), ((0, 3), (2, 1))), 30, 2),
    "uneven zeros, wide last": ((17, 32, 2, (6, 5), (4, 2), ((0, 3), (2, 1))), 30, 4),
    "no zeros": ((17, 32, 2, (6, 5), (3, 3), ((0, 0), (0, 0))), 12, 2),
}


def convolutions(function, *arguments):
    return str(jax.make_jaxpr(function)(*arguments)).count("conv_general_dilated[")


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_jax(monkeypatch, name):
    (channels, features, images, size, taps, around), piece, count = CASES[name]
    monkeypatch.setattr(convolution, "PIECE", piece)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, *size, channels), np.float32)
    kernel = rng.standard_normal((*taps, channels, features), np.float32)
    y, pull = jax.vjp(lambda x, kernel: convolve(x, kernel, around), x, kernel)
    dy = rng.standard_normal(y.shape, np.float32)
    assert convolutions(lambda x, dy: kernel_gradient(x, dy, around), x, dy) == count
    ours, our_pull = jax.vjp(lambda x, kernel: convolve_cpu(x, kernel, around), x, kernel)
    np.testing.assert_array_equal(ours, y)
    for mine, theirs in zip(our_pull(dy), pull(dy), strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-4)


def test_dtypes_stay():
    x, kernel = jnp.ones((1, 4, 4, 3), jnp.bfloat16), jnp.ones((3, 3, 3, 2), jnp.bfloat16)
    gradients = jax.grad(lambda x, k: convolve_cpu(x, k, SAME).sum().astype(jnp.float32), argnums=(0, 1))(x, kernel)
    assert [g.dtype for g in gradients] == [jnp.bfloat16] * 2
