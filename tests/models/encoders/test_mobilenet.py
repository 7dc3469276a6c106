"""MobileNet against the paper's numbers, Keras (with real weights, too) and timm."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import models
from seg_jax.models.encoders.mobilenet import MobileNet
from seg_jax.models.layers import Style
from tests.models import parity, references

LAYERS = [f"conv_pw_{number}_relu" for number in (1, 3, 5, 11, 13)]


@pytest.fixture
def config(tiny_config):
    def make(**overrides):
        return tiny_config({"model.encoder.name": "mobilenet", "model.encoder.depth": 5, **overrides})

    return make


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, 3_206_976), (0.5, 818_592)])
def test_parameters_by_hand(config, alpha, expected):
    # Channels after the stem and each of the 13 blocks; a block from d to c has 9d and dc weights, a norm 2c.
    c = [int(alpha * n) for n in (32, 64, 128, 128, 256, 256, *6 * [512], 1024, 1024)]
    by_hand = 27 * c[0] + 2 * c[0] + sum(9 * d + 2 * d + d * e + 2 * e for d, e in pairwise(c))
    model = models.build(config(**{"model.encoder.alpha": alpha}), classes=2)
    params, _ = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
    assert models.count(params["encoder"]) == by_hand == expected


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_one_map_for_each_halving(depth):
    net = MobileNet(alpha=0.25, depth=depth)
    maps = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, False)[0], jnp.zeros((1, 64, 96, 3)))
    assert [f.shape for f in maps] == [(1, 32 >> i, 48 >> i, 16 << i) for i in range(depth)]
    assert net.reduction == 2**depth


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_a_dilated_network_sees_what_the_strided_one_sees(padding):
    image = references.image(64, 96)
    coarse, fine = (
        MobileNet(alpha=0.25, output_stride=stride, style=Style(norm="none", padding=padding)) for stride in (32, 8)
    )
    like = jax.eval_shape(lambda: coarse.init(jax.random.key(0), image, False))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: rng.standard_normal(a.shape, np.float32) * (2 / np.prod(a.shape[:-1])) ** 0.5, like)
    few, many = jax.jit(lambda x: [net.apply(params, x, False)[-1] for net in (coarse, fine)])(image)
    assert (few.shape[1:3], many.shape[1:3]) == ((2, 3), (8, 12)) and few.max() > 0.1
    np.testing.assert_allclose(many[:, ::4, ::4], few, rtol=1e-3, atol=1e-4 * float(few.max()))


def test_features_are_those_of_timm(config, tmp_path):
    name = "timm_mobilenetv1_100"
    resolved, features = parity.encoder_with(config(), parity.torch_file(tmp_path, name))
    assert resolved.model.encoder.style == "torch" and resolved.data.mean == (0.5, 0.5, 0.5)
    parity.assert_as_in_fixture(features, name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_features_are_those_of_keras(config, tmp_path):
    network = parity.keras_network("MobileNet", alpha=0.5)
    for path in parity.keras_files(network, tmp_path).values():
        resolved, features = parity.encoder_with(config(**{"model.encoder.alpha": 0.5}), path)
        assert resolved.model.encoder.style == "keras" and resolved.data.std == (0.5, 0.5, 0.5)
        for size in [(64, 96), (65, 97), (47, 70)]:
            image = references.image(*size)
            parity.assert_near(features(image), parity.keras_maps(network, LAYERS, image))


def test_real_weights_give_the_features_that_keras_computes(config, real_data):
    file = real_data / "weights" / "keras_mobilenet_v1_0.25_no_top.h5"
    expected = np.load(real_data / "weights" / "keras_mobilenet_v1_0.25_reference.npz")
    _, features = parity.encoder_with(config(**{"model.encoder.alpha": 0.25}), file)
    parity.assert_near(features(expected["input"])[1:], [expected[name] for name in LAYERS[1:]])
