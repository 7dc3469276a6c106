"""Attention in blocks: the formula, its gradient, and how much memory it takes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax.models.attention import attention


def draw(b, n, m, heads, c, d):
    rng = np.random.default_rng(3)
    shapes = [(b, n, heads, c), (b, m, heads, c), (b, m, heads, d)]
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def at_once(query, key, value, scale):
    """All weights [b heads n m], shifted by their maximum as every softmax is."""
    energy = scale * jnp.einsum("bnhc,bmhc->bhnm", query, key)
    weights = jnp.exp(energy - energy.max(axis=-1, keepdims=True))
    return jnp.einsum("bhnm,bmhd->bnhd", weights / weights.sum(axis=-1, keepdims=True), value)


def test_known_answer():
    # Energies 0 and log 3 (scaled by one half): weights 1/4 and 3/4.
    query = np.full((1, 1, 1, 1), 2, np.float32)
    key = np.float32([0, np.log(3)]).reshape(1, 2, 1, 1)
    value = np.float32([[4, 0], [8, 1]]).reshape(1, 2, 1, 2)
    np.testing.assert_allclose(attention(query, key, value, 0.5), [[[[7, 0.75]]]], rtol=1e-6)


@pytest.mark.parametrize(
    "size",
    [
        (2, 5, 7, 3, 4, 6),  # all queries at once
        (1, 1100, 1000, 1, 3, 2),  # two blocks, the second a rest
        (2, 1024, 512, 2, 3, 2),  # two equal blocks
    ],
)
def test_blocks_give_the_formula_and_its_gradient(size):
    arguments, scale = draw(*size), 0.3
    cotangent = np.random.default_rng(4).standard_normal((size[0], size[1], size[3], size[5]), np.float32)

    @partial(jax.jit, static_argnums=0)
    def run(function, *arguments):
        result, pullback = jax.vjp(lambda *a: function(*a, scale), *arguments)
        return [result, *pullback(cotangent)]

    for ours, formula in zip(*(run(function, *arguments) for function in (attention, at_once)), strict=True):
        np.testing.assert_allclose(ours, formula, rtol=1e-4, atol=1e-5 * np.abs(formula).max())


def test_one_query_may_have_more_keys_than_a_block_holds():
    query, key, value = draw(1, 2, 2**20 + 1, 1, 1, 1)
    weights = np.exp(query[0, :, 0].astype(np.float64) @ key[0, :, 0].T)
    expected = weights @ (value[0, :, 0] + 1) / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(jax.jit(attention)(query, key, value + 1)[0, :, 0], expected, rtol=1e-5)


def test_energies_of_any_size_stay_finite():
    query, key, value = draw(1, 4, 6, 1, 2, 3)
    result = attention(1e4 * query, 1e4 * key, value)
    nearest = np.einsum("bnhc,bmhc->bnm", query, key).argmax(axis=-1)[0]
    np.testing.assert_allclose(result[0, :, 0], value[0, nearest, 0], rtol=1e-6)


def test_bfloat16_is_rounded_once_the_softmax_is_done():
    query, key, value = (jnp.bfloat16(a) for a in draw(1, 64, 4096, 1, 16, 8))
    result = attention(query, key, value, 0.25)
    assert result.dtype == jnp.bfloat16
    exact = at_once(*(a.astype(jnp.float32) for a in (query, key, value)), 0.25)
    # A softmax in bfloat16 would lose most of a sum of 4096 numbers.
    np.testing.assert_allclose(result.astype(jnp.float32), exact, atol=0.02 * float(np.abs(exact).max()))


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_memory_stays_far_below_the_square_of_the_map(backward):
    n = 128 * 128
    arguments = [jax.ShapeDtypeStruct((1, n, 1, c), jnp.float32) for c in (8, 8, 64)]

    def forward(*arguments):
        # Of two layers, so that what is kept for the backward pass counts too.
        query, key, _ = arguments
        return attention(query, key, attention(*arguments)).sum()

    program = jax.grad(forward, argnums=(0, 1, 2)) if backward else forward
    memory = jax.jit(program).lower(*arguments).compile().memory_analysis().temp_size_in_bytes
    assert memory < n * n * 4 / 16  # 64 MiB instead of 1 GiB
