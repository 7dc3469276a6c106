"""FCN against the paper's numbers, and its learned upsampling against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import models
from seg_jax.config import ConfigError
from seg_jax.models.decoders.fcn import FCNDecoder, UpScore, bilinear
from seg_jax.models.layers import Style
from seg_jax.models.resampling import upsample_bilinear

PLAIN = Style(norm="none")


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def pyramid(*strides, channels=5):
    """Features of an image of 64x96 pixels."""
    return [jnp.asarray(normal(2, 64 // s, 96 // s, channels)) for s in strides]


def fresh(decoder, features):
    return decoder.init(jax.random.key(0), features, False)["params"]


@pytest.fixture
def parameters(tiny_config):
    """parameters('fcn8s', ...) -> shapes of {'encoder': ..., 'decoder': ...}."""

    def make(name, encoder="vgg16", classes=21, **overrides):
        config = tiny_config(
            {
                "model.name": name,
                "model.encoder.name": encoder,
                "model.encoder.depth": 5,
                "model.norm": "none",
                **overrides,
            }
        )
        model = models.build(config, classes=classes)
        return jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))[0]

    return make


def test_fcn32s_has_the_parameters_of_the_paper(parameters):
    # On VGG-16 (14.7 million): fc6 of 7x7 on 512 channels, fc7, 21 scores; table 1 of the paper says 134 million.
    fc6, fc7, scores = 49 * 512 * 4096 + 4096, 4096 * 4096 + 4096, 4096 * 21 + 21
    assert (fc6, fc7) == (102_764_544, 16_781_312)
    assert models.count(parameters("fcn32s")) == 14_714_688 + fc6 + fc7 + scores == 134_346_581


def test_each_skip_adds_its_scores_and_an_upsampling(parameters):
    # 512 channels of either skip on VGG-16; 4x4 kernels from 21 to 21.
    added = 512 * 21 + 21 + 16 * 21 * 21
    counts = [models.count(parameters(name)) for name in ("fcn32s", "fcn16s", "fcn8s")]
    assert np.diff(counts).tolist() == [added, added]


def test_a_smaller_width_by_hand(parameters):
    decoder = parameters("fcn8s", "resnet50", classes=2, **{"model.channels": 64})["decoder"]
    hidden = 49 * 2048 * 64 + 64 + 64 * 64 + 64
    heads = 64 * 2 + 2 + 1024 * 2 + 2 + 512 * 2 + 2 + 2 * 16 * 2 * 2
    assert models.count(decoder) == hidden + heads


@pytest.mark.parametrize(("encoder", "features"), [("mobilenetv2", 1280), ("resnet18", 512), ("mit_b0", 256)])
def test_hidden_layers_are_in_proportion_to_the_encoder(parameters, tiny_config, encoder, features):
    fcn = {"model.name": "fcn8s", "model.encoder.name": encoder, "model.encoder.depth": 5, "model.channels": 0}
    width = models.width(tiny_config(fcn))
    assert width == features // 4
    fc7 = width * width + width
    assert models.count(parameters("fcn8s", encoder, **{"model.channels": width})["decoder"]["fc7"]) == fc7


@pytest.mark.parametrize("encoder", ["vgg16", "vgg16_bn"])
def test_hidden_layers_on_vgg_are_the_papers(tiny_config, encoder):
    assert models.width(tiny_config({"model.name": "fcn32s", "model.encoder.name": encoder})) == 4096


@pytest.mark.parametrize(("stride", "rows"), [(32, 2), (16, 4), (8, 8)])
@pytest.mark.parametrize("strides", [(1, 2, 4, 8, 16, 32), (2, 4, 8, 16, 32), (8, 16, 32)])
def test_scores_end_at_the_stride(stride, rows, strides):
    decoder = FCNDecoder(classes=3, stride=stride, channels=4)
    logits = jax.eval_shape(lambda f: decoder.init_with_output(jax.random.key(0), f, False)[0], pyramid(*strides))
    assert logits["logits"].shape == (2, rows, rows * 96 // 64, 3)


def test_a_dilated_encoder_needs_no_upsampling():
    features = pyramid(2, 4, 8, 8, 8)
    decoder = FCNDecoder(classes=3, stride=8, channels=4, style=PLAIN)
    params = fresh(decoder, features)
    assert sorted(params) == ["fc6", "fc7", "head", "skip1_head", "skip2_head"]
    logits = decoder.apply({"params": params}, features, False)["logits"]
    assert logits.shape == (2, 8, 12, 3)


def test_training_starts_with_the_predictions_of_fcn32s():
    # Skips are zero, so they add nothing; upsampling begins as bilinear.
    features = pyramid(8, 16, 32)
    with_skips, without = (FCNDecoder(classes=3, stride=s, channels=4, style=PLAIN) for s in (8, 32))
    params = fresh(with_skips, features)
    assert np.abs(params["head"]["kernel"]).max() > 0.1
    expected = without.apply({"params": {n: params[n] for n in ("fc6", "fc7", "head")}}, features, False)["logits"]
    logits = with_skips.apply({"params": params}, features, False)["logits"]
    expected = upsample_bilinear(upsample_bilinear(expected, 2), 2)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_scores_are_added_where_they_belong():
    # Hidden layers and the coarsest scores off: what is left is the skip at stride 16, doubled, plus that at stride 8.
    features = pyramid(8, 16, 32)
    decoder = FCNDecoder(classes=5, stride=8, channels=4, style=PLAIN)
    params = fresh(decoder, features)
    params["head"] = jax.tree.map(jnp.zeros_like, params["head"])
    params["skip1_head"]["kernel"], params["skip2_head"]["kernel"] = 2 * jnp.eye(5), 3 * jnp.eye(5)
    expected = 2 * upsample_bilinear(features[1], 2) + 3 * features[0]
    np.testing.assert_allclose(
        decoder.apply({"params": params}, features, False)["logits"], expected, rtol=1e-5, atol=1e-5
    )


def test_too_few_features_are_refused():
    with pytest.raises(ConfigError, match=r"'fcn8s' needs features at 3 strides; the encoder has 2.*encoder\.depth"):
        fresh(FCNDecoder(classes=3, stride=8, channels=4), pyramid(2, 4))


def test_dropout_follows_both_hidden_layers():
    features = pyramid(32, channels=3)
    decoder = FCNDecoder(classes=2, stride=32, channels=200, dropout=0.5, style=PLAIN)
    params = {"params": fresh(decoder, features)}
    train = decoder.apply(params, features, True, rngs={"dropout": jax.random.key(1)}, capture_intermediates=True)[1]
    seen = train["intermediates"]
    for layer in ("Dropout_0", "Dropout_1"):
        kept = np.mean(seen[layer]["__call__"][0] != 0) / np.mean(seen[f"fc{6 + int(layer[-1])}"]["__call__"][0] != 0)
        assert 0.4 < kept < 0.6


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 5)])
def test_upsampling_is_a_transposed_convolution(size):
    # Its definition: every pixel of the map, borders repeated, adds its value times the kernel, two pixels further on.
    x, kernel = normal(2, *size, 3), normal(4, 4, 3, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    h, w = padded.shape[1:3]
    sums = np.zeros((2, 2 * h + 2, 2 * w + 2, 3), np.float64)
    for i in range(h):
        for j in range(w):
            sums[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("bc,ijcd->bijd", padded[:, i, j], kernel)
    expected = sums[:, 3:-3, 3:-3]
    ours = jax.jit(lambda k: UpScore().apply({"params": {"kernel": k}}, x))(kernel)
    assert ours.shape == (2, 2 * size[0], 2 * size[1], 3)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_upsampling_begins_bilinear():
    x = normal(2, 4, 5, 3)
    ours, variables = UpScore().init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(ours, upsample_bilinear(x, 2), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(variables["params"]["kernel"], bilinear(None, (4, 4, 3, 3)))
    np.testing.assert_array_equal(bilinear(None, (4, 4, 1, 1))[0, :, 0, 0], np.array([1, 3, 3, 1]) / 16)
