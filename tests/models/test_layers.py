"""Every block against flax, jax.image or numpy, in value and gradient, in both of its forms."""

from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax.models import layers, resampling
from seg_jax.models.layers import Style


@pytest.fixture(params=["one cpu", "cpus", "accelerator"])
def both_forms(request, monkeypatch):
    """Runs a test in the forms for CPUs, of one device and of several, and in the general one."""
    for module in (layers, resampling):
        monkeypatch.setattr(module, "on_cpu", lambda: request.param != "accelerator")
    monkeypatch.setattr(layers, "on_one_cpu", lambda: request.param == "one cpu")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def distinct(*shape):
    """No two equal values, so that every maximum is unique; all negative, so that zero padding would win."""
    return np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape).astype(np.float32) / 8 - 1000


def value_and_gradients(function, *args):
    """function(*args), and its vector-Jacobian product with fixed random numbers."""

    @jax.jit
    def run(*args):
        y, pull = jax.vjp(function, *args)
        return y, pull(jnp.asarray(normal(*y.shape, seed=1), y.dtype))

    return run(*args)


def assert_same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        # Sums over an image of products of normal numbers: the error goes with the largest of them.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(b).max())))


def assert_same_module(ours, theirs, *shape):
    """Same parameter names and shapes, same output, same gradients with respect to parameters and input."""
    x = normal(*shape)
    shapes = jax.eval_shape(theirs.init, jax.random.key(0), x)
    assert jax.eval_shape(ours.init, jax.random.key(0), x) == shapes
    variables = draw(shapes)
    assert_same(value_and_gradients(ours.apply, variables, x), reference(theirs, shape))


def draw(shapes):
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda s: rng.standard_normal(s.shape, np.float32), shapes)


@cache
def reference(theirs, shape):
    """What a module of Flax gives for `normal(*shape)`: the same in every form of ours."""
    x = normal(*shape)
    return value_and_gradients(theirs.apply, draw(jax.eval_shape(theirs.init, jax.random.key(0), x)), x)


@pytest.mark.usefixtures("both_forms")
@pytest.mark.parametrize("size", [(6, 8), (7, 5)], ids=["even", "odd"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "groups", "features"),
    [
        pytest.param(1, 1, 1, 1, 5, id="1x1"),
        pytest.param(1, 2, 1, 1, 5, id="1x1 stride 2"),
        pytest.param(3, 1, 1, 1, 5, id="3x3"),
        pytest.param(3, 2, 1, 1, 5, id="3x3 stride 2"),
        pytest.param(3, 1, 2, 1, 5, id="3x3 dilation 2"),
        pytest.param(7, 2, 1, 1, 5, id="7x7 stride 2"),
        pytest.param(1, 1, 1, 2, 6, id="1x1 groups"),
        pytest.param(3, 1, 1, 2, 6, id="3x3 groups"),
        pytest.param(3, 1, 1, 4, 4, id="depthwise"),
        pytest.param(3, 2, 1, 4, 4, id="depthwise stride 2"),
        pytest.param(3, 1, 3, 4, 4, id="depthwise dilation 3"),
        pytest.param(5, 2, 2, 4, 4, id="depthwise 5x5 stride 2 dilation 2"),
        pytest.param(1, 2, 1, 4, 4, id="depthwise 1x1 stride 2"),
        pytest.param(3, 1, 1, 4, 8, id="depthwise two for each channel"),
    ],
)
def test_conv_is_flax_conv(kernel, stride, dilation, groups, features, size):
    pad = dilation * (kernel - 1) // 2
    theirs = nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=pad,
        kernel_dilation=dilation,
        feature_group_count=groups,
    )
    ours = layers.Conv(features, kernel, stride, dilation, groups, bias=True)
    assert_same_module(ours, theirs, 2, *size, 4)
    y = jax.eval_shape(ours.init_with_output, jax.random.key(0), normal(2, *size, 4))[0]
    assert y.shape == (2, -(-size[0] // stride), -(-size[1] // stride), features)


@pytest.mark.usefixtures("both_forms")
@pytest.mark.parametrize("size", [(6, 8), (7, 5)], ids=["even", "odd"])
@pytest.mark.parametrize("groups", [1, 4], ids=["full", "depthwise"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding", "theirs"),
    [
        pytest.param(3, 1, 1, "same", "SAME", id="3x3 same"),
        pytest.param(3, 2, 1, "same", "SAME", id="3x3 stride 2 same"),
        pytest.param(5, 2, 1, "same", "SAME", id="5x5 stride 2 same"),
        pytest.param(3, 1, 2, "same", "SAME", id="3x3 dilation 2 same"),
        pytest.param(1, 2, 1, "same", "SAME", id="1x1 stride 2 same"),
        pytest.param(7, 2, 1, (3, 3), 3, id="7x7 stride 2 padded by 3"),
        pytest.param(3, 2, 1, (0, 2), ((0, 2), (0, 2)), id="3x3 stride 2 padded at the end"),
        pytest.param(4, 4, 1, (0, 0), 0, id="4x4 patches"),
    ],
)
def test_conv_pads_as_flax_does(kernel, stride, dilation, padding, theirs, groups, size):
    flax = nn.Conv(
        4, (kernel, kernel), strides=stride, padding=theirs, kernel_dilation=dilation, feature_group_count=groups
    )
    ours = layers.Conv(4, kernel, stride, dilation, groups, bias=True, padding=padding)
    assert_same_module(ours, flax, 2, *size, 4)


def test_padding_by_hand():
    # Stride 2 on 6 pixels: the first window's centre is pixel 0 in PyTorch, pixel 1 in TensorFlow.
    assert layers.pads("symmetric", 6, 3, 2, 1) == (1, 1)
    assert layers.pads("same", 6, 3, 2, 1) == (0, 1)
    assert layers.pads("same", 7, 3, 2, 1) == (1, 1)
    assert layers.pads("same", 224, 7, 2, 1) == (2, 3)
    assert layers.pads("same", 5, 1, 2, 1) == (0, 0)  # never negative
    assert layers.pads("same", 9, 3, 1, 4) == layers.pads("symmetric", 9, 3, 1, 4) == (4, 4)
    assert layers.pads((0, 3), 9, 3, 1, 4) == (0, 3)


@pytest.mark.usefixtures("both_forms")
def test_conv_of_an_impulse_is_the_flipped_kernel():
    # Correlation, as in every network library: y[i] = sum_j x[i + j] k[j].
    x = np.zeros((1, 3, 3, 1), np.float32)
    x[0, 1, 1, 0] = 1
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
    y = layers.Conv(1).apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_array_equal(y[0, ..., 0], [[8, 7, 6], [5, 4, 3], [2, 1, 0]])


def test_conv_without_bias_has_none():
    assert jax.eval_shape(layers.Conv(5).init, jax.random.key(0), normal(1, 4, 4, 2))["params"].keys() == {"kernel"}


def test_conv_initial_kernel_is_kaiming_fan_out():
    # He et al. 2015: variance 2 / (kernel area * output channels), here 2 / (9 * 64). 36864 draws: 4 standard
    # errors of the deviation are 1.5 %.
    kernel = layers.Conv(64).init(jax.random.key(0), jnp.zeros((1, 3, 3, 64)))["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.015)
    assert abs(float(kernel.mean())) < 4 * (2 / (9 * 64)) ** 0.5 / 36864**0.5


@pytest.mark.parametrize("size", [(4, 6), (3, 5)], ids=["even", "odd"])
def test_upconv_is_flax_transposed_conv(size):
    assert_same_module(layers.UpConv(5), nn.ConvTranspose(5, (2, 2), strides=(2, 2)), 2, *size, 3)


@pytest.mark.usefixtures("both_forms")
@pytest.mark.parametrize(
    ("ours", "theirs", "sizes"),
    [
        pytest.param(
            resampling.max_pool_2x2,
            lambda x: nn.max_pool(x, (2, 2), (2, 2)),
            [(6, 8), (2, 2), (10, 2)],
            id="2x2",
        ),
        pytest.param(
            resampling.max_pool_3x3,
            lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
            [(6, 8), (7, 5), (6, 5), (2, 1), (1, 1)],
            id="3x3",
        ),
    ],
)
def test_max_pool_is_flax_max_pool(ours, theirs, sizes):
    for size in sizes:
        x = distinct(2, *size, 3)
        (y, gradient), (their_y, their_gradient) = value_and_gradients(ours, x), value_and_gradients(theirs, x)
        np.testing.assert_array_equal(y, their_y)
        assert_same(gradient, their_gradient)


@pytest.mark.parametrize("factor", [1, 2, 3, 16])
@pytest.mark.parametrize("size", [(4, 6), (3, 5), (1, 1)], ids=["even", "odd", "one"])
def test_upsample_nearest_is_repeat(factor, size):
    x = normal(2, *size, 3)
    np.testing.assert_array_equal(resampling.upsample_nearest(x, factor), x.repeat(factor, 1).repeat(factor, 2))


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize("size", [(4, 6), (3, 5), (1, 1)], ids=["even", "odd", "one"])
def test_upsample_bilinear_is_resize(factor, size):
    b, h, w, c = 2, *size, 3

    def theirs(x):
        return jax.image.resize(x, (b, h * factor, w * factor, c), "bilinear")

    x = normal(b, h, w, c)
    ours = value_and_gradients(lambda x: resampling.upsample_bilinear(x, factor), x)
    assert_same(ours, value_and_gradients(theirs, x))


def test_upsample_bilinear_by_hand():
    # Factor 2: output centres lie a quarter to either side of the source's; the border is repeated.
    x = np.array([0.0, 4.0, 8.0], np.float32).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(resampling.upsample_bilinear(x, 2)[0, :, :, 0], [[0, 1, 3, 5, 7, 8]] * 2)


@pytest.mark.parametrize(
    ("size", "new"), [((4, 6), (8, 12)), ((3, 5), (7, 5)), ((4, 6), (9, 4)), ((6, 7), (2, 3)), ((1, 1), (3, 4))]
)
def test_resize_bilinear_is_resize_without_antialiasing(size, new):
    x = normal(2, *size, 3)

    def theirs(x):
        return jax.image.resize(x, (2, *new, 3), "bilinear", antialias=False)

    ours = value_and_gradients(lambda x: resampling.resize_bilinear(x, new), x)
    assert_same(ours, value_and_gradients(theirs, x))


@pytest.mark.parametrize(("size", "new"), [((4, 6), (8, 12)), ((3, 5), (9, 5)), ((5, 9), (3, 5)), ((2, 1), (1, 4))])
def test_resize_bilinear_with_aligned_corners_is_interpolation_between_them(size, new):
    x = normal(1, *size, 1)
    rows, columns = (np.linspace(0, old - 1, n) if n > 1 else np.zeros(1) for old, n in zip(size, new, strict=True))
    wide = np.stack([np.interp(columns, np.arange(size[1]), row) for row in x[0, ..., 0]])
    expected = np.stack([np.interp(rows, np.arange(size[0]), column) for column in wide.T], axis=1)
    ours = resampling.resize_bilinear(x, new, align_corners=True)
    np.testing.assert_allclose(ours[0, ..., 0], expected, rtol=1e-5, atol=1e-6)


def test_resize_bilinear_to_the_same_size_is_nothing():
    x = normal(1, 3, 4, 2)
    for align_corners in (False, True):
        assert resampling.resize_bilinear(x, (3, 4), align_corners=align_corners) is x


def test_batch_norm_by_hand():
    # One channel with values 0, 2, 4, 6 over the batch: mean 3, variance 5.
    x = np.array([0.0, 2.0, 4.0, 6.0], np.float32).reshape(2, 1, 2, 1)
    norm = layers.Norm()
    variables = norm.init(jax.random.key(0), x, False)
    assert jax.tree.map(np.shape, variables) == {
        "params": {"bn": {"scale": (1,), "bias": (1,)}},
        "batch_stats": {"bn": {"mean": (1,), "var": (1,)}},
    }
    y, changed = norm.apply(variables, x, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.ravel(), (x.ravel() - 3) / np.sqrt(5 + 1e-5), rtol=1e-6)
    statistics = changed["batch_stats"]["bn"]
    assert float(statistics["mean"][0]) == pytest.approx(0.1 * 3)
    assert float(statistics["var"][0]) == pytest.approx(0.9 * 1 + 0.1 * 5)
    y = norm.apply({"params": variables["params"], **changed}, x, False)
    np.testing.assert_allclose(y.ravel(), (x.ravel() - 0.3) / np.sqrt(1.4 + 1e-5), rtol=1e-6)


def test_batch_norm_has_the_epsilon_and_momentum_of_its_style():
    x = np.array([0.0, 2.0, 4.0, 6.0], np.float32).reshape(2, 1, 2, 1)
    norm = layers.Norm(Style(epsilon=1.0, momentum=0.75))
    variables = norm.init(jax.random.key(0), x, False)
    y, changed = norm.apply(variables, x, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.ravel(), (x.ravel() - 3) / np.sqrt(5 + 1), rtol=1e-6)
    statistics = changed["batch_stats"]["bn"]
    assert (float(statistics["mean"][0]), float(statistics["var"][0])) == (0.25 * 3, 0.75 * 1 + 0.25 * 5)


def test_frozen_norm_is_batch_norm_in_evaluation():
    x = normal(2, 4, 4, 3)
    frozen, batch = layers.Norm(Style(norm="frozen")), layers.Norm()
    variables = batch.init(jax.random.key(0), x, False)
    assert jax.tree.map(np.shape, frozen.init(jax.random.key(0), x, True)) == jax.tree.map(np.shape, variables)
    variables = jax.tree.map(lambda v: v + np.arange(3, dtype=np.float32) / 4, variables)
    expected = batch.apply(variables, x, False)
    y, changed = frozen.apply(variables, x, True, mutable=["batch_stats"])
    np.testing.assert_array_equal(y, expected)
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"])
    # Scale and bias are learned all the same.
    gradient = jax.grad(lambda p: (frozen.apply({**variables, "params": p}, x, True) ** 2).sum())(variables["params"])
    assert all(np.all(g != 0) for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 24), (6, 6), (34, 17), (37, 1)])
def test_group_norm_by_hand(channels, groups):
    x = 3 * normal(2, 4, 3, channels) + 1
    norm = layers.Norm(Style(norm="group"))
    variables = norm.init(jax.random.key(0), x, True)
    assert jax.tree.map(np.shape, variables) == {"params": {"gn": {"scale": (channels,), "bias": (channels,)}}}
    grouped = x.reshape(2, 12, groups, channels // groups)
    centred = grouped - grouped.mean((1, 3), keepdims=True)
    expected = centred / np.sqrt(grouped.var((1, 3), keepdims=True) + 1e-5)
    for train in (True, False):
        np.testing.assert_allclose(norm.apply(variables, x, train), expected.reshape(x.shape), atol=2e-5)


def test_norm_none_changes_nothing():
    x = normal(2, 4, 4, 3)
    norm = layers.Norm(Style(norm="none"))
    assert norm.init(jax.random.key(0), x, True) == {}
    np.testing.assert_array_equal(norm.apply({}, x, True), x)


@pytest.mark.parametrize("kind", layers.NORMS)
def test_conv_has_a_bias_exactly_where_no_norm_follows(kind):
    block = layers.ConvNormAct(4, style=Style(norm=kind))
    params = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, False), normal(1, 4, 4, 2))["params"]
    assert params["conv"].keys() == ({"kernel", "bias"} if kind == "none" else {"kernel"})
    assert ("norm" in params) == (kind != "none")


@pytest.mark.parametrize("kind", layers.NORMS)
def test_conv_norm_act_is_the_three_in_order(kind):
    block = layers.ConvNormAct(4, stride=2, dilation=2, style=Style(norm=kind))
    x = normal(2, 6, 6, 2)
    variables = jax.jit(lambda x: block.init(jax.random.key(0), x, False))(x)
    part = {name: {p: v[name] for p, v in variables.items() if name in v} for name in ("conv", "norm")}
    conv = layers.Conv(4, stride=2, dilation=2, bias=kind == "none")
    y = layers.Norm(Style(norm=kind)).apply(part["norm"], conv.apply(part["conv"], x), False)
    expected = np.maximum(y, 0)
    assert (expected == 0).any() and (expected > 0).any()
    np.testing.assert_allclose(block.apply(variables, x, False), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "bias"), [("batch", True), ("none", False)])
def test_the_bias_may_be_asked_for(kind, bias):
    block = layers.ConvNormAct(4, bias=bias, style=Style(norm=kind))
    params = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, False), normal(1, 4, 4, 2))["params"]
    assert ("bias" in params["conv"]) == bias


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("none", lambda x: x),
        ("relu", lambda x: np.maximum(x, 0)),
        ("relu6", lambda x: np.clip(x, 0, 6)),
        ("silu", lambda x: x / (1 + np.exp(-x))),
    ],
)
def test_activations_by_hand(activation, function):
    x = np.array([-8.0, -1.0, 0.0, 3.0, 8.0], np.float32).reshape(1, 1, 5, 1)
    params = {"params": {"conv": {"kernel": np.ones((1, 1, 1, 1), np.float32)}}}
    block = layers.ConvNormAct(1, 1, activation=activation, bias=False, style=Style(norm="none"))
    np.testing.assert_allclose(block.apply(params, x, False), function(x), rtol=1e-6)


def test_padding_is_the_styles_unless_given():
    x = normal(1, 6, 6, 2)
    same = Style(norm="none", padding="same")
    blocks = {
        "style": layers.ConvNormAct(3, 3, 2, activation="none", style=same),
        "given": layers.ConvNormAct(3, 3, 2, activation="none", padding=(1, 1), style=same),
    }
    variables = blocks["style"].init(jax.random.key(0), x, False)
    conv = {"params": variables["params"]["conv"]}
    for name, padding in (("style", "same"), ("given", "symmetric")):
        expected = layers.Conv(3, 3, 2, bias=True, padding=padding).apply(conv, x)
        np.testing.assert_array_equal(blocks[name].apply(variables, x, False), expected)


class Call(nn.Module):
    """A function, or a module with a mode, as a module of one argument."""

    inner: object

    @nn.compact
    def __call__(self, x):
        return self.inner(x, True) if isinstance(self.inner, layers.Norm | layers.ConvNormAct) else self.inner(x)


@pytest.mark.usefixtures("both_forms")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: layers.Conv(4, 1, dtype=jnp.bfloat16, bias=True), id="1x1"),
        pytest.param(lambda: layers.Conv(4, 3, dtype=jnp.bfloat16, bias=True), id="3x3"),
        pytest.param(lambda: layers.Conv(4, 3, groups=4, dtype=jnp.bfloat16, bias=True), id="depthwise"),
        pytest.param(lambda: layers.UpConv(4, dtype=jnp.bfloat16), id="upconv"),
        pytest.param(lambda: layers.ConvNormAct(4, style=Style(dtype=jnp.bfloat16)), id="conv, batch norm"),
        pytest.param(lambda: layers.Norm(Style(norm="batch", dtype=jnp.bfloat16)), id="batch norm"),
        pytest.param(lambda: layers.Norm(Style(norm="group", dtype=jnp.bfloat16)), id="group norm"),
        pytest.param(lambda: layers.Norm(Style(norm="none", dtype=jnp.bfloat16)), id="no norm"),
        pytest.param(lambda: resampling.max_pool_2x2, id="max pool 2x2"),
        pytest.param(lambda: resampling.max_pool_3x3, id="max pool 3x3"),
        pytest.param(lambda: lambda x: resampling.upsample_nearest(x, 2), id="nearest"),
        pytest.param(lambda: lambda x: resampling.upsample_bilinear(x, 3), id="bilinear"),
        pytest.param(lambda: lambda x: resampling.resize_bilinear(x, (5, 11)), id="resize"),
        pytest.param(lambda: layers.Norm(Style(norm="frozen", dtype=jnp.bfloat16)), id="frozen norm"),
    ],
)
def test_bfloat16_stays_and_parameters_are_float32(make):
    x = jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.bfloat16)
    y, variables = jax.eval_shape(Call(make()).init_with_output, jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} <= {jnp.dtype("float32")}


def test_batch_statistics_of_bfloat16_are_float32():
    # 1024 + (0 or 8): bfloat16 numbers whose mean 1026 is none.
    x = jnp.asarray(np.tile([1024.0, 1024.0, 1024.0, 1032.0], 16).reshape(4, 4, 4, 1), jnp.bfloat16)
    norm = layers.Norm(Style(dtype=jnp.bfloat16))
    variables = norm.init(jax.random.key(0), x, False)
    _, changed = norm.apply(variables, x, True, mutable=["batch_stats"])
    assert float(changed["batch_stats"]["bn"]["mean"][0]) == pytest.approx(102.6, abs=1e-3)


@pytest.mark.usefixtures("both_forms")
@pytest.mark.parametrize("layer", [resampling.max_pool_3x3, lambda x: resampling.upsample_bilinear(x, 4)])
def test_bfloat16_values_are_near(layer):
    x = normal(2, 6, 8, 3)
    np.testing.assert_allclose(
        np.asarray(layer(jnp.asarray(x, jnp.bfloat16)), np.float32), layer(jnp.asarray(x)), rtol=0.02, atol=0.02
    )
