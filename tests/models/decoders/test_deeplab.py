"""DeepLabV3 and V3+: parameters by hand and against torchvision, separable convolutions, what the pyramid sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import models
from seg_jax.models.decoders.deeplab import ASPP, DeepLabV3Decoder, DeepLabV3PlusDecoder, SeparableConvNormAct
from seg_jax.models.layers import ConvNormAct, Style
from tests.models import references

RATES = [(6, 12, 18), (6, 12, 18, 24)]
PLAIN = Style(norm="none")


def parameters(decoder, *features):
    features = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in features]
    return models.count(jax.eval_shape(lambda x: decoder.init(jax.random.key(0), x, False), features)["params"])


def convolution(inputs, outputs, kernel=3, *, separable=False):
    """Weights of a convolution and its norm; separable: 3x3 for every input channel, then 1x1."""
    weights = 9 * inputs + inputs * outputs if separable else kernel**2 * inputs * outputs
    return weights + 2 * outputs


def pyramid(inputs, rates, *, separable=False):
    c = 256
    branches = convolution(inputs, c, 1) + len(rates) * convolution(inputs, c, separable=separable)
    return branches + convolution(inputs, c, 1) + convolution((len(rates) + 2) * c, c, 1)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("rates", RATES)
def test_parameters_by_hand(rates, separable):
    c, head = 256, 256 * 19 + 19
    v3 = DeepLabV3Decoder(19, rates, separable=separable)
    expected = pyramid(2048, rates, separable=separable) + convolution(c, c) + head
    assert parameters(v3, (8, 8, 1024), (8, 8, 2048)) == expected
    plus = DeepLabV3PlusDecoder(19, rates, separable=separable)
    refine = convolution(c + 48, c, separable=separable) + convolution(c, c, separable=separable)
    expected = pyramid(2048, rates, separable=separable) + convolution(64, 48, 1) + refine + head
    features = [(32, 32, 16), (16, 16, 64), (8, 8, 128), (4, 4, 512), (4, 4, 2048)]
    assert parameters(plus, *features) == expected
    # As in segmentation_models.pytorch one of the two stands before the upsampling.
    refine = convolution(c, c, separable=separable) + convolution(c + 48, c, separable=separable)
    before = plus.clone(refinements=(1, 1))
    assert parameters(before, *features) == expected
    assert parameters(plus.clone(channels=128, refinements=(0, 1)), *features) < expected


# https://docs.pytorch.org/vision/stable/models.html: 21 classes, with the auxiliary head
@pytest.mark.parametrize(
    ("encoder", "published"), [("resnet50", 42_004_074), pytest.param("resnet101", 60_996_202, marks=pytest.mark.slow)]
)
def test_deeplabv3_has_the_parameters_of_torchvision(tiny_config, encoder, published):
    overrides = {
        "model.name": "deeplabv3",
        "model.aspp_rates": (12, 24, 36),
        "model.encoder.name": encoder,
        "model.encoder.depth": 5,
        "model.encoder.style": "torch",  # Keras's convolutions have biases
    }

    def count(classes, weight):
        config = tiny_config({**overrides, "loss.aux_weight": weight})
        model = models.build(config, classes=classes)
        assert model.encoder.output_stride == 8
        return models.count(jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))[0])

    assert count(21, 0.5) == published
    counts = references.load("counts")
    assert count(19, 0.5) == counts[f"torchvision/deeplabv3_{encoder}/aux"]
    assert count(19, 0.0) == counts[f"torchvision/deeplabv3_{encoder}"]


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_separable_convolution_is_one_with_a_kernel_of_rank_one(dilation):
    x = np.random.default_rng(0).standard_normal((2, 9, 11, 5), np.float32)
    separable = SeparableConvNormAct(7, dilation=dilation, style=PLAIN)
    params = separable.init(jax.random.key(0), x, False)["params"]
    kernel = params["depthwise"]["kernel"].transpose(0, 1, 3, 2) * params["point"]["conv"]["kernel"]
    assert kernel.shape == (3, 3, 5, 7)
    whole = {"conv": {"kernel": kernel, "bias": params["point"]["conv"]["bias"]}}
    expected = ConvNormAct(7, dilation=dilation, style=PLAIN).apply({"params": whole}, x, False)
    np.testing.assert_allclose(separable.apply({"params": params}, x, False), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("rates", RATES)
def test_the_pyramid_sees_what_lies_at_its_rates(rates, separable):
    aspp = ASPP(rates, channels=4, separable=separable, style=PLAIN)
    x = np.random.default_rng(0).random((1, 61, 61, 3), np.float32)
    params = jax.jit(
        lambda: jax.tree.map(jnp.abs, aspp.init(jax.random.key(0), x, False))
    )()  # so that no ReLU hides anything
    seen = jax.jit(jax.grad(lambda x: aspp.apply(params, x, False)[0, 30, 30].sum()))(x)[0]
    # Image pooling gives every pixel the same weight, which the corner shows.
    places = np.argwhere(np.abs(seen - seen[0, 0]).max(axis=-1) > 1e-6) - 30
    grid = {(i * rate, j * rate) for rate in (0, *rates) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert {tuple(place) for place in places.tolist()} == grid


@pytest.mark.parametrize("first", [1, 2, 4])
def test_low_level_features_are_those_of_stride_4_whatever_the_first_stride(first):
    # Of an image of 64 pixels; an encoder with output stride 16 has two last maps of the same size.
    strides = [s for s in (1, 2, 4, 8, 16, 16) if s >= first]
    features = [np.ones((1, 64 // s, 128 // s, s), np.float32) for s in strides]
    decoder = DeepLabV3PlusDecoder(3, (1, 2), channels=4, style=PLAIN)
    outputs, variables = jax.eval_shape(lambda x: decoder.init_with_output(jax.random.key(0), x, False), features)
    assert outputs["logits"].shape == (1, 16, 32, 3)
    assert variables["params"]["low_level"]["conv"]["kernel"].shape == (1, 1, 4, 48)
