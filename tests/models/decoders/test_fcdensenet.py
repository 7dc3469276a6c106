"""FC-DenseNet against the paper's numbers of parameters, counted by hand, and its transposed convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import models
from seg_jax.models.decoders.fcdensenet import TransitionUp
from seg_jax.models.encoders.fcdensenet import LAYOUTS, DenseBlock
from seg_jax.models.layers import Style

CLASSES = 11


def block(channels, layers, growth):
    """Parameters of a dense block: for each layer a norm's scale and bias, and a 3x3 convolution."""
    seen = [channels + i * growth for i in range(layers)]
    return sum(2 * c + 9 * c * growth for c in seen)


def by_hand(layout):
    growth, down, bottom, up = LAYOUTS[layout]
    total, channels, skips = 9 * 3 * 48, 48, []
    for layers in down:
        total += block(channels, layers, growth)
        channels += layers * growth
        skips.append(channels)
        total += 2 * channels + channels * channels  # norm and 1x1 convolution before the pooling
    total += block(channels, bottom, growth)
    added = bottom * growth
    for layers in up:
        total += 9 * added * added + added  # transposed convolution
        channels = added + skips.pop()
        total += block(channels, layers, growth)
        added = layers * growth
    return total + (channels + added) * CLASSES + CLASSES


def test_a_block_by_hand():
    assert block(48, 4, 12) == 2 * (48 + 60 + 72 + 84) + 108 * (48 + 60 + 72 + 84)


# Millions in table 2 of the paper: 1.5, 3.5, 9.4. For FC-DenseNet56 its own layout gives 1.4.
@pytest.mark.parametrize(("layout", "millions"), [("fcdensenet56", 1.4), ("fcdensenet67", 3.5), ("fcdensenet103", 9.3)])
def test_parameters_are_those_of_the_paper(tiny_config, layout, millions):
    config = tiny_config({"model.name": layout, "model.encoder.name": layout, "model.encoder.depth": 0})
    model = models.build(config, classes=CLASSES)
    params, _ = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
    assert models.count(params) == by_hand(layout)
    assert round(models.count(params) / 1e6, 1) == millions
    layers = sum(len([name for name in tree if name.startswith("layer")]) for tree in blocks(params))
    # Convolutions along the longest path: one at the start, those of blocks and transitions, and the one to logits.
    assert layers + 2 + 2 * 5 == int(layout.removeprefix("fcdensenet"))


def blocks(params):
    for part in params.values():
        yield from (tree for name, tree in part.items() if name.startswith(("block", "bottom")))


def test_the_logits_have_the_size_of_the_image_and_skips_keep_their_channels(tiny_config):
    layout = "fcdensenet56"
    config = tiny_config({"model.name": layout, "model.encoder.name": layout, "model.encoder.depth": 0})
    model = models.build(config, classes=CLASSES)
    image = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    features = jax.eval_shape(lambda x: model.encoder.init_with_output(jax.random.key(0), x, False)[0], image)
    # 48 and 4 x 12 more at each resolution; the last block hands on what it added alone.
    expected = [(2, 64 >> i, 96 >> i, 48 * (i + 2)) for i in range(5)] + [(2, 2, 3, 48)]
    assert [x.shape for x in features] == expected
    logits = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, False)[0]["logits"], image)
    assert logits.shape == (2, 64, 96, CLASSES)


def test_every_layer_sees_all_before_it():
    net = DenseBlock(layers=3, growth=2, dropout=0.0, style=Style())
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 5), np.float32)
    added, variables = net.init_with_output(jax.random.key(0), x, False)
    assert added.shape == (1, 4, 4, 6)
    kernels = [variables["params"][f"layer{i}"]["conv"]["kernel"].shape for i in (1, 2, 3)]
    assert kernels == [(3, 3, 5, 2), (3, 3, 7, 2), (3, 3, 9, 2)]


def test_the_transposed_convolution_spreads_a_pixel_by_its_kernel():
    net = TransitionUp()
    x = np.zeros((1, 3, 3, 1), np.float32)
    x[0, 1, 1] = 1
    kernel = np.arange(1.0, 10.0).reshape(3, 3, 1, 1).astype(np.float32)
    y = net.apply({"params": {"kernel": kernel, "bias": np.zeros(1, np.float32)}}, x)[0, ..., 0]
    expected = np.zeros((6, 6))
    expected[1:4, 1:4] = kernel[..., 0, 0]  # the centre of the kernel is at twice the position of the pixel
    np.testing.assert_array_equal(y, expected)


def test_the_transposed_convolution_is_that_of_jax():
    net, rng = TransitionUp(), np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 5, 4), np.float32)
    kernel, bias = rng.standard_normal((3, 3, 4, 4), np.float32), rng.standard_normal(4, np.float32)
    expected = jax.lax.conv_transpose(
        x, kernel, (2, 2), [(1, 2), (1, 2)], dimension_numbers=("NHWC", "HWIO", "NHWC"), transpose_kernel=False
    )
    y = net.apply({"params": {"kernel": kernel[::-1, ::-1], "bias": bias}}, x)
    np.testing.assert_allclose(y, expected + bias, rtol=1e-4, atol=1e-5)
