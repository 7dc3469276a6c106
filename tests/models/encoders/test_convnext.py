"""ConvNeXts against the published numbers of parameters, torchvision, timm and Keras."""

import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import models
from seg_jax.config import ConfigError
from seg_jax.models.encoders.convnext import LAYOUTS, Block, ConvNeXt
from seg_jax.models.layers import Style
from tests.models import parity, references

# num_params of torchvision's ConvNeXt_*_Weights, with the classifier
TORCHVISION = {"convnext_tiny": 28_589_128, "convnext_small": 50_223_688}
# count_params() of keras.applications.ConvNeXt*(include_top=False)
KERAS = {"convnext_tiny": 27_820_128, "convnext_small": 49_454_688}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def config(tiny_config):
    def make(encoder="convnext_tiny", **overrides):
        return tiny_config({"model.encoder.name": encoder, "model.encoder.depth": 0, **overrides})

    return make


@pytest.mark.parametrize("encoder", TORCHVISION)
def test_parameters_are_the_published_ones(config, encoder):
    model = models.build(config(encoder), classes=2)
    params, model_state = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
    ours = models.count(params["encoder"])
    # Both libraries have a norm of the 768 channels on top, torchvision a classifier of 1000 classes.
    assert ours + 2 * 768 + 768 * 1000 + 1000 == TORCHVISION[encoder]
    assert ours + 2 * 768 == KERAS[encoder]
    assert ours == references.load(encoder)["parameters"]
    assert "encoder" not in model_state["batch_stats"]


def maps_of(net, size):
    """Abstract (variables, maps)."""
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    maps, variables = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, False), image)
    return variables, maps


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_one_map_for_each_halving_from_the_second(depth):
    net = ConvNeXt(depth=depth)
    variables, maps = maps_of(net, (64, 96))
    assert [f.shape for f in maps] == [(1, 16 >> i, 24 >> i, 96 << i) for i in range(depth - 1)]
    assert net.reduction == 2**depth
    stages = {name.partition("_")[0] for name in variables["params"]}
    assert stages == {"stem", *(f"stage{stage}" for stage in range(1, depth))}


def test_too_shallow_is_refused(config):
    with pytest.raises(ConfigError, match=r"config\.model\.encoder\.depth = 1.*Use 2 to 5"):
        models.build(config(**{"model.encoder.depth": 1}), classes=2)


def values(net, size):
    def draw(path, like):
        name = "/".join(key.key for key in path[1:])
        kind = {"kernel": "weight"}.get(path[-1].key, path[-1].key)
        if kind == "scale":
            return np.random.default_rng(zlib.crc32(name.encode())).uniform(0.5, 1, like.shape).astype(np.float32)
        flat = references.tensor(f"{name.rpartition('/')[0]}.{kind}", like.shape[::-1])
        return flat.T

    return jax.tree_util.tree_map_with_path(draw, maps_of(net, size)[0])


def test_a_dilated_network_sees_what_the_strided_one_sees(monkeypatch):
    image = references.image(64, 96)
    monkeypatch.setitem(LAYOUTS, "small", (1, 1, 1, 1))
    coarse, middle, fine = (ConvNeXt("small", output_stride=stride) for stride in (32, 16, 8))
    variables = values(coarse, (64, 96))
    few, some, many = jax.jit(lambda x: [net.apply(variables, x, False) for net in (coarse, middle, fine)])(image)
    assert [f.shape[1] for f in few] == [16, 8, 4, 2]
    assert [f.shape[1] for f in some] == [16, 8, 4, 4] and [f.shape[1] for f in many] == [16, 8, 8, 8]
    for dilated, steps in ((some, (1, 1, 1, 2)), (many, (1, 1, 2, 4))):
        for a, b, step in zip(few, dilated, steps, strict=True):
            np.testing.assert_allclose(b[:, ::step, ::step], a, rtol=1e-3, atol=1e-4 * float(np.abs(a).max()))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_dropped_block_leaves_its_input(rate):
    block = Block(1, drop_path=rate, style=Style(epsilon=1e-6))
    x = np.random.default_rng(0).standard_normal((256, 4, 4, 8), np.float32)
    variables = block.init(jax.random.key(0), x, False)
    # A new block is almost nothing but its shortcut.
    assert np.abs(block.apply(variables, x, False) - x).max() < 1e-5
    variables = {"params": {**variables["params"], "scale": np.ones(8, np.float32)}}
    branch = block.apply(variables, x, False) - x
    out = block.apply(variables, x, True, rngs={"dropout": jax.random.key(1)}) - x
    kept = np.abs(out).max((1, 2, 3)) > 0
    # An image keeps all of its block, divided by the probability of keeping it, or nothing.
    np.testing.assert_allclose(out[kept], branch[kept] / (1 - rate), rtol=1e-4, atol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 0.1


def test_drop_path_grows_with_the_blocks(config):
    rates = []

    def note(call, arguments, options, context):
        if isinstance(context.module, nn.Dropout):
            rates.append(context.module.rate)
        return call(*arguments, **options)

    net = models.build(config(**{"model.encoder.drop_path": 0.1}), classes=2).encoder
    with nn.intercept_methods(note):
        maps_of(net, (32, 32))
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 18))


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("timm_convnext_tiny", "convnext_small")]


@pytest.mark.parametrize("name", ["convnext_tiny", *SLOW])
def test_features_are_those_of_pytorch(config, tmp_path, name):
    resolved, features = parity.encoder_with(config(name.removeprefix("timm_")), parity.torch_file(tmp_path, name))
    assert (resolved.model.encoder.style, resolved.data.mean, resolved.data.std) == ("torch", MEAN, STD)
    parity.assert_as_in_fixture(features, name)


def keras_network(size):
    """ConvNeXt-T of Keras with random weights."""
    import keras

    network = keras.applications.ConvNeXtTiny(weights=None, include_top=False, input_shape=(*size, 3))
    for number, weight in enumerate(network.weights):
        rng = np.random.default_rng(number)
        if weight.path.endswith("kernel"):
            weight.assign(rng.standard_normal(weight.shape) * (2 / np.prod(weight.shape[:-1])) ** 0.5)
        elif "layer_scale" in weight.path or weight.path.endswith("gamma"):
            weight.assign(rng.uniform(0.5, 1, weight.shape))
        else:
            weight.assign(rng.standard_normal(weight.shape) * 0.1)
    return network


def keras_maps(network, image):
    """What the sums give that the downsampling and, at the end, the norm see; sums are operations, not layers."""
    import keras

    names = [operation.name for operation in network.operations]
    after = [*(names.index(f"convnext_tiny_downsampling_block_{i}") for i in range(3)), len(names) - 1]
    outputs = keras.Model(network.input, [network.operations[index - 1].output for index in after])
    return [np.asarray(output) for output in outputs(255 * (image * np.float32(STD) + np.float32(MEAN)))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_features_are_those_of_keras(config, tmp_path, monkeypatch):
    images = [references.image(64, 96), references.image(65, 97)]
    networks = [keras_network(image.shape[1:3]) for image in images]
    expected = [keras_maps(network, image) for network, image in zip(networks, images, strict=True)]
    monkeypatch.setattr("keras.applications.ConvNeXtTiny", lambda **_: networks[0])
    for source in (*parity.keras_files(networks[0], tmp_path).values(), "imagenet"):
        resolved, features = parity.encoder_with(config(), source)
        assert (resolved.model.encoder.style, resolved.data.mean, resolved.data.std) == ("torch", MEAN, STD)
        for image, theirs in zip(images, expected, strict=True):
            parity.assert_near(features(image), theirs)
        _, features = parity.encoder_with(config(**{"model.encoder.depth": 3}), source)
        parity.assert_near(features(images[0]), expected[0][:2])
