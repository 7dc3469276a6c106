"""PSPNet: its pooling by hand, its parameters, its auxiliary head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import models
from seg_jax.config import ConfigError
from seg_jax.models.decoders.pspnet import AuxiliaryHead, PSPNetDecoder, PyramidPooling, adaptive_average_pool
from seg_jax.models.layers import Style
from seg_jax.run import program


def shapes(module, *features):
    features = [jax.ShapeDtypeStruct((2, *shape), jnp.float32) for shape in features]
    inputs = features if isinstance(module, PSPNetDecoder) else features[0]
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, False), inputs)


def parameters(module, *features):
    return models.count(shapes(module, *features)["params"])


# Bin i of n pixels: floor(i n / bins) to ceil((i + 1) n / bins).
POOLED = [
    ([1, 2, 3, 4, 5], 1, [3]),
    ([1, 2, 3, 4, 5], 2, [2, 4]),  # 0..3, 2..5: the middle pixel is in both
    ([1, 2, 3, 4, 5], 3, [1.5, 3, 4.5]),  # 0..2, 1..4, 3..5
    ([1, 2, 3, 4, 5], 5, [1, 2, 3, 4, 5]),
    ([1, 2, 3, 4, 5, 6, 7], 3, [2, 4, 6]),  # 0..3, 2..5, 4..7
    ([1, 2, 3, 4, 5, 6, 7], 6, [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]),
    ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 6, [1.5, 3, 4.5, 6.5, 8, 9.5]),  # 0..2, 1..4, 3..5, 5..7, 6..9, 8..10
    ([0, 10], 3, [0, 5, 10]),  # fewer pixels than bins
    ([7], 6, [7] * 6),
]


@pytest.mark.parametrize(("row", "bins", "expected"), POOLED)
def test_bins_by_hand_along_each_axis(row, bins, expected):
    image = np.broadcast_to(np.float32(row)[None, :, None], (4, len(row), 2))[None]
    pooled = np.asarray(adaptive_average_pool(image, bins))
    np.testing.assert_allclose(pooled, np.broadcast_to(np.float32(expected)[:, None], (1, bins, bins, 2)), rtol=1e-6)
    turned = adaptive_average_pool(image.transpose(0, 2, 1, 3), bins)
    np.testing.assert_allclose(turned, pooled.transpose(0, 2, 1, 3), rtol=1e-6)


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_a_bin_is_the_mean_of_its_rectangle(bins):
    h, w = 17, 31
    image = np.random.default_rng(0).standard_normal((2, h, w, 3), np.float32)
    pooled = adaptive_average_pool(image, bins)
    for i in range(bins):
        for j in range(bins):
            top, bottom = i * h // bins, -(-(i + 1) * h // bins)
            left, right = j * w // bins, -(-(j + 1) * w // bins)
            expected = image[:, top:bottom, left:right].mean(axis=(1, 2))
            np.testing.assert_allclose(pooled[:, i, j], expected, rtol=1e-4, atol=1e-6)


def test_pyramid_parameters_by_hand():
    # 1x1 from 16 channels to a quarter, and a norm of two numbers a channel.
    assert parameters(PyramidPooling(), (12, 9, 16)) == 4 * (16 * 4 + 2 * 4)
    # A bias of one number a channel instead of the norm of the single bin.
    assert parameters(PyramidPooling(norm_of_one=False), (12, 9, 16)) == 4 * (16 * 4 + 2 * 4) - 4
    assert parameters(PyramidPooling(bins=(2, 5), channels=7), (12, 9, 16)) == 2 * (16 * 7 + 2 * 7)


def test_branches_have_the_size_of_the_map():
    x = np.random.default_rng(0).standard_normal((2, 7, 10, 8), np.float32)
    module = PyramidPooling(style=Style(norm="none"))
    branches, variables = module.init_with_output(jax.random.key(0), x, False)
    assert [b.shape for b in branches] == [(2, 7, 10, 2)] * 4
    # One bin: the same everywhere, the mean of all pixels through the convolution.
    kernel = variables["params"]["bins1"]["conv"]["kernel"][0, 0]
    mean = np.maximum(x.mean(axis=(1, 2)) @ kernel, 0)
    np.testing.assert_allclose(branches[0], np.broadcast_to(mean[:, None, None], (2, 7, 10, 2)), rtol=1e-4, atol=1e-6)


def test_decoder_parameters_by_hand():
    # On 2048 channels, as in the paper: pyramid to 4 * 512, 3x3 from 4096 to 512, 1x1 to 19 classes.
    pyramid = 4 * (2048 * 512 + 2 * 512)
    fused = 9 * 4096 * 512 + 2 * 512
    expected = pyramid + fused + 512 * 19 + 19
    features = [(16, 16, 1024), (16, 16, 2048)]
    assert parameters(PSPNetDecoder(19), *features) == expected
    # The auxiliary head: 3x3 from 1024 to a quarter, 1x1 to 19 classes.
    aux = 9 * 1024 * 256 + 2 * 256 + 256 * 19 + 19
    assert parameters(PSPNetDecoder(19, aux=True), *features) == expected + aux
    assert parameters(AuxiliaryHead(19), features[0]) == aux == 2_364_691
    # As in segmentation_models.pytorch the head is 3x3 and not the convolution before it.
    swapped = pyramid + 4096 * 512 + 2 * 512 + 9 * 512 * 19 + 19
    assert parameters(PSPNetDecoder(19, head_kernel=3), *features) == swapped


@pytest.mark.parametrize("name", ["pspnet", "deeplabv3", "upernet"])
def test_the_auxiliary_head_is_there_only_in_training_and_only_if_its_loss_counts(tiny_config, name):
    overrides = {"model.name": name, "model.channels": 4, "model.encoder.depth": 3}

    def run(weight, train):
        model = models.build(tiny_config({**overrides, "loss.aux_weight": weight}), classes=3)
        params, model_state = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
        image = jax.ShapeDtypeStruct((2, 33, 47, 3), jnp.float32)
        outputs, _ = jax.eval_shape(
            lambda p, s, x: models.forward(model, p, s, x, train=train, key=jax.random.key(0)),
            *(params, model_state, image),
        )
        return params["decoder"], {key: value.shape for key, value in outputs.items()}

    params, outputs = run(0.4, True)
    # The plain encoder has 4, 8, 16, 32 channels; the head is on the last but one.
    assert params["aux_head"]["conv"]["conv"]["kernel"].shape == (3, 3, 16, 4)
    assert outputs == {"logits": (2, 33, 47, 3), "aux": (2, 33, 47, 3)}
    assert run(0.4, False)[1] == {"logits": (2, 33, 47, 3)}
    params, outputs = run(0.0, True)
    assert "aux_head" not in params and outputs == {"logits": (2, 33, 47, 3)}


@pytest.mark.parametrize("bins", [(), (0, 2), (1.5,)])
def test_wrong_bins_are_refused(tiny_config, bins):
    with pytest.raises(ConfigError, match=r"config\.model\.pool_bins.*Use \(1, 2, 3, 6\)"):
        program.check(tiny_config({"model.pool_bins": bins}), devices=1)
