"""What is traced for an artefact: operators that stay visible, symbols for sizes. Networks: export/test_table.py."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax.models import operators, resampling
from seg_jax.models.decoders import pspnet


def traced(function, *arguments):
    """The program as text; a function that was traced before would not be traced again."""
    return str(jax.make_jaxpr(lambda *arguments: function(*arguments))(*arguments))


def test_an_operator_is_one_primitive_for_the_formats_that_have_it():
    x = jnp.zeros((1, 2, 2, 1))
    assert "repeat" not in traced(lambda x: resampling.upsample_nearest(x, 2), x)
    with operators.traced_for("onnx"):
        assert "f32[1,4,4,1] = repeat[factor=2]" in traced(lambda x: resampling.upsample_nearest(x, 2), x)
    assert "repeat" not in traced(lambda x: resampling.upsample_nearest(x, 2), x)


def test_the_target_decides_what_is_traced():
    x = jnp.zeros((1, 4, 4, 1))
    with operators.traced_for("cpu"):
        assert operators.exporting() and operators.on_cpu()
        assert "reduce_window_max" not in traced(resampling.max_pool_2x2, x)
    with operators.traced_for("accelerator"):
        assert operators.exporting() and not operators.on_cpu()
        assert "reduce_window_max" in traced(resampling.max_pool_2x2, x)
    assert not operators.exporting()


def test_a_window_is_what_indexing_gives():
    x = jnp.arange(2 * 5 * 6 * 1).reshape(2, 5, 6, 1)
    np.testing.assert_array_equal(
        operators.window(x, slice(1, None, 2), slice(2, 5)),
        x[:, 1::2, 2:5],
    )
    assert operators.window(x, slice(None), slice(0, 6)) is x


def test_edges_are_repeated():
    x = jnp.asarray([[1, 2], [3, 4]])[None, :, :, None]
    found = operators.pad_edge(x, (1, 0), (0, 2))[0, :, :, 0]
    assert found.tolist() == [[1, 2, 2, 2], [1, 2, 2, 2], [3, 4, 4, 4]]


@pytest.mark.parametrize("align_corners", [False, True])
def test_weights_of_symbols_are_those_of_numbers(align_corners):
    (h,) = jax.export.symbolic_shape("h")
    resize = jax.jit(lambda x: resampling.resize_bilinear(x, (7, 1), align_corners=align_corners))
    exported = jax.export.export(resize)(jax.ShapeDtypeStruct((1, h, 1, h), jnp.float32))
    for old in (1, 3, 20):
        rows = np.eye(old, dtype=np.float32)[None, :, None]  # so that channel c is the weight of row c
        weights = resize(rows)
        np.testing.assert_allclose(exported.call(rows), weights, atol=1e-6)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)


def test_bins_of_symbols_are_those_of_numbers():
    (h,) = jax.export.symbolic_shape("h")
    pool = jax.jit(lambda x: pspnet.adaptive_average_pool(x, 3)[0, :, 0])
    exported = jax.export.export(pool)(jax.ShapeDtypeStruct((1, h, 1, h), jnp.float32))
    for old in (2, 4, 9):
        rows = np.eye(old, dtype=np.float32)[None, :, None]  # so that channel c is the share of row c
        np.testing.assert_allclose(exported.call(rows), pool(rows), rtol=1e-6)
        if old == 4:  # bins of four pixels: the first reaches from 0 to 4/3, so over two pixels
            assert pool(rows).tolist() == [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5]]
