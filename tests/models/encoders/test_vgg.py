"""VGG-16 against the paper's numbers, torchvision, timm and Keras."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import models
from seg_jax.models.encoders.vgg import VGG16
from seg_jax.models.layers import Style
from tests.models import parity, references

NORMED = {"vgg16": False, "vgg16_bn": True}


@pytest.fixture
def config(tiny_config):
    def make(encoder, **overrides):
        return tiny_config({"model.encoder.name": encoder, "model.encoder.depth": 5, **overrides})

    return make


def shapes(config, classes=2):
    model = models.build(config, classes=classes)
    return jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))


# Convolutions: 9dc + c for c channels from d, in the 13 steps of configuration D; a norm has 2c.
STEPS = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


@pytest.mark.parametrize(("encoder", "expected"), [("vgg16", 14_714_688), ("vgg16_bn", 14_723_136)])
def test_parameters_by_hand(config, encoder, expected):
    by_hand = sum(9 * d * c + c + 2 * c * NORMED[encoder] for d, c in pairwise(STEPS))
    params, model_state = shapes(config(encoder))
    assert models.count(params["encoder"]) == by_hand == expected == references.load(encoder)["parameters"]
    assert ("encoder" in model_state["batch_stats"]) == NORMED[encoder]


def features_of(net, image, seed=0):
    """Maps of a network with random kernels."""
    like = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False))
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda a: rng.standard_normal(a.shape, np.float32) * (2 / np.prod(a.shape[:-1])) ** 0.5, like)
    return jax.jit(lambda params: net.apply(params, image, False))(params)


@pytest.mark.parametrize("depth", [1, 3, 4, 5])
def test_one_map_for_each_resolution(depth):
    net = VGG16(depth=depth)
    maps = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, False)[0], jnp.zeros((1, 64, 96, 3)))
    channels = [64, 128, 256, 512, 512, 512]
    assert [f.shape for f in maps] == [(1, 64 >> i, 96 >> i, channels[i]) for i in range(depth + 1)]
    assert net.reduction == 2**depth


def test_the_last_map_is_the_last_but_one_pooled():
    *_, before, after = features_of(VGG16(), references.image(40, 64))
    # 40 / 16 is 2.5, so the last map in front of a pooling is 2 x 4 pixels.
    assert before.shape[1:3] == (2, 4) and after.shape[1:3] == (1, 2)
    np.testing.assert_array_equal(after[0, 0, 1], before[0, :, 2:].max(axis=(0, 1)))


@pytest.mark.parametrize(("stride", "steps"), [(16, [1, 1, 1, 1, 1, 2]), (8, [1, 1, 1, 1, 2, 4])])
def test_a_dilated_network_sees_what_the_strided_one_sees(stride, steps):
    image = references.image(64, 96)
    style = Style(norm="none")
    coarse, fine = (features_of(VGG16(output_stride=s, style=style), image) for s in (32, stride))
    for few, many, step in zip(coarse, fine, steps, strict=True):
        assert many.shape[1] == few.shape[1] * step
        np.testing.assert_allclose(many[:, ::step, ::step], few, rtol=1e-3, atol=1e-4 * float(few.max()))


@pytest.mark.parametrize(
    "name", ["vgg16_bn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vgg16", "timm_vgg16_bn"))]
)
def test_features_are_those_of_pytorch(config, tmp_path, name):
    resolved, features = parity.encoder_with(config(name.removeprefix("timm_")), parity.torch_file(tmp_path, name))
    assert resolved.model.encoder.style == "torch" and resolved.data.mean == (0.485, 0.456, 0.406)
    parity.assert_as_in_fixture(features, name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_features_are_those_of_keras(config, tmp_path):
    network = parity.keras_network("VGG16")
    layers = ["block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3", "block5_pool"]
    for path in parity.keras_files(network, tmp_path).values():
        resolved, features = parity.encoder_with(config("vgg16"), path)
        assert resolved.model.encoder.style == "keras"
        np.testing.assert_allclose(np.multiply(resolved.data.mean, 255), (123.68, 116.779, 103.939), rtol=1e-6)
        np.testing.assert_allclose(np.multiply(resolved.data.std, 255), 1)
        for size in [(64, 96), (65, 97)]:
            image = references.image(*size)  # blue first in Keras
            parity.assert_near(features(image[..., ::-1]), parity.keras_maps(network, layers, image))
