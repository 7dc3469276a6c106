"""SegNet against the paper's numbers, and unpooling by hand."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from seg_jax import models
from seg_jax.models.decoders.segnet import SegNetDecoder, unpool
from seg_jax.models.layers import Style
from seg_jax.models.resampling import max_pool_2x2


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_unpooling_by_hand():
    full = np.array([[1, 2, 0, 0], [4, 3, 0, 0], [-1, -2, 5, 6], [-3, -4, 6, 5]], np.float32)
    # The maximum of the first window is below left; of equal pixels the first counts.
    expected = [[0, 0, 20, 0], [10, 0, 0, 0], [30, 0, 0, 40], [0, 0, 0, 0]]
    x = np.array([[10, 20], [30, 40]], np.float32)
    np.testing.assert_array_equal(unpool(x[None, ..., None], full[None, ..., None])[0, ..., 0], expected)


def test_every_channel_has_places_of_its_own():
    x, full = normal(2, 3, 4, 5, seed=1), normal(2, 6, 8, 5)
    whole = unpool(x, full)
    for c in range(5):
        np.testing.assert_array_equal(whole[..., c : c + 1], unpool(x[..., c : c + 1], full[..., c : c + 1]))


@hypothesis.given(
    st.lists(st.integers(-2, 2), min_size=16, max_size=16), st.lists(st.integers(1, 9), min_size=4, max_size=4)
)
def test_unpooled_values_lie_at_the_maxima_and_nowhere_else(full, x):
    full = np.array(full, np.float32).reshape(1, 4, 4, 1)
    x = np.array(x, np.float32).reshape(1, 2, 2, 1)
    y = np.asarray(unpool(x, full))
    assert np.count_nonzero(y) == 4
    np.testing.assert_array_equal(y.reshape(2, 2, 2, 2).sum((1, 3)), x[0, ..., 0])
    highest = np.asarray(max_pool_2x2(full)).repeat(2, 1).repeat(2, 2)
    assert (full[y != 0] == highest[y != 0]).all()
    # What is pooled and put back is the map at the maxima.
    again = np.asarray(unpool(max_pool_2x2(full), full))
    np.testing.assert_array_equal(again[y != 0], full[y != 0])
    assert (again[y == 0] == 0).all()


def test_a_value_that_is_no_number_is_not_lost():
    full = np.ones((1, 2, 2, 1), np.float32)
    full[0, 0, 1] = np.nan
    assert np.isnan(unpool(np.full((1, 1, 1, 1), np.nan, np.float32), full)).any()


def test_the_gradient_goes_to_the_values_alone():
    x, full, seen = normal(1, 2, 3, 4), normal(1, 4, 6, 4, seed=1), normal(1, 4, 6, 4, seed=2)
    by_x, by_full = jax.grad(lambda x, full: (unpool(x, full) * seen).sum(), argnums=(0, 1))(x, full)
    np.testing.assert_array_equal(by_full, 0)
    there = unpool(jnp.ones_like(x), full) * seen
    np.testing.assert_allclose(by_x, there.reshape(1, 2, 2, 3, 2, 4).sum((2, 4)), rtol=1e-6)


@pytest.fixture
def parameters(tiny_config):
    def make(encoder, classes, norm, **overrides):
        config = tiny_config({"model.name": "segnet", "model.encoder.name": encoder, "model.norm": norm, **overrides})
        model = models.build(config, classes=classes)
        return jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))[0]

    return make


def convolutions(tree):
    """Shapes of all kernels, in the order of the names."""
    kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if path[-1].key == "kernel"]
    assert all(kernel.shape[:2] == (3, 3) for kernel in kernels)
    return [kernel.shape[2:] for kernel in kernels]


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_on_vgg16_it_is_the_network_of_the_paper(parameters, norm):
    params = parameters("vgg16_bn", 11, norm, **{"model.encoder.depth": 5})
    # Figure 2 of the paper: the decoder mirrors the 13 convolutions of the encoder.
    down = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 512)]
    down += [(512, 512)] * 5
    up = [(out, into) for into, out in down[:0:-1]] + [(64, 11)]
    assert sorted(convolutions(params["encoder"])) == sorted(down)
    assert sorted(convolutions(params["decoder"])) == sorted(up)
    # A norm has scale and bias, without it the convolution has a bias; the head has a bias.
    extra = sum(out for _, out in up[:-1]) * {"none": 1, "batch": 2}[norm] + 11
    by_hand = sum(9 * into * out for into, out in up) + extra
    assert models.count(params["decoder"]) == by_hand == {"none": 14_718_795, "batch": 14_722_507}[norm]


def test_on_another_encoder_by_hand(parameters):
    # Features of 4, 8, 16 channels at strides 1, 2, 4: one convolution to the 8 of stride 2, two at each resolution.
    steps = [(16, 8), (8, 8), (8, 4), (4, 4), (4, 3)]
    params = parameters("plain", 3, "none")
    assert sorted(convolutions(params["decoder"])) == sorted(steps)
    assert models.count(params["decoder"]) == sum(9 * into * out + out for into, out in steps)


@pytest.mark.parametrize(
    ("strides", "rows"),
    [((1, 2, 4, 8, 16, 32), 64), ((2, 4, 8, 16, 32), 32), ((4, 8, 16, 32), 16), ((2, 4, 8, 8, 8), 32)],
)
def test_logits_have_the_finest_resolution(strides, rows):
    features = [jnp.zeros((1, 64 // s, 96 // s, 4)) for s in strides]
    decoder = SegNetDecoder(classes=3, style=Style())
    logits = jax.eval_shape(lambda f: decoder.init_with_output(jax.random.key(0), f, False)[0], features)["logits"]
    assert logits.shape == (1, rows, rows * 3 // 2, 3)


def test_the_decoder_sees_finer_maps_by_the_places_of_their_maxima_alone():
    features = [normal(1, 16 >> i, 16 >> i, 4, seed=i) for i in range(3)]
    decoder = SegNetDecoder(classes=3, style=Style(norm="none"))
    variables = decoder.init(jax.random.key(0), features, False)

    def logits(finest, middle):
        return decoder.apply(variables, [finest, middle, features[2]], False)["logits"]

    expected = logits(*features[:2])
    np.testing.assert_array_equal(logits(2 * features[0] + 1, np.exp(features[1])), expected)
    assert np.abs(logits(-features[0], features[1]) - expected).max() > 0.01
    assert np.abs(logits(features[0], -features[1]) - expected).max() > 0.01


def test_dropout_as_in_bayesian_segnet():
    features = [normal(1, 32 >> i, 32 >> i, 4) for i in range(6)]
    decoder = SegNetDecoder(classes=3, dropout=0.5)
    variables = decoder.init(jax.random.key(0), features, False)
    names = jax.eval_shape(
        lambda: decoder.apply(
            variables, features, True, rngs={"dropout": jax.random.key(0)}, mutable=True, capture_intermediates=True
        )[1]["intermediates"]
    )
    # After the deepest features and the three deepest stages.
    assert sum(name.startswith("Dropout") for name in names) == 4
    assert [names[f"Dropout_{i}"]["__call__"][0].shape[1] for i in range(4)] == [1, 2, 4, 8]
