"""EfficientNets against the published numbers of parameters, torchvision, timm and Keras."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import models
from seg_jax.models.encoders.efficientnet import LAYOUTS, EfficientNet, epsilon
from seg_jax.models.encoders.mbconv import MBConv
from seg_jax.models.layers import Style
from tests.models import parity, references

# num_params of torchvision's EfficientNet_B*_Weights, trainable, with the classifier
TORCHVISION = [5_288_548, 7_794_184, 9_109_994, 12_233_232, 19_341_616, 30_389_784, 43_040_704, 66_347_960]
# count_params() of keras.applications.EfficientNetB*(include_top=False)
KERAS = [4_049_571, 6_575_239, 7_768_569, 10_783_535, 17_673_823, 28_513_527, 40_960_143, 64_097_687]
# The larger ones repeat what the smaller ones are made of.
NUMBERS = [*range(3), *(pytest.param(number, marks=pytest.mark.slow) for number in range(3, 8))]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture
def config(tiny_config):
    def make(encoder, **overrides):
        return tiny_config({"model.encoder.name": encoder, "model.encoder.depth": 0, **overrides})

    return make


@pytest.fixture
def small(monkeypatch):
    """A layout with one block in each stage and few channels, for images of 48 x 48."""
    monkeypatch.setitem(LAYOUTS, "small", (0.25, 0.1, 48))


def shapes(config):
    model = models.build(config, classes=19)
    return jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 64, 64, 3)))


@pytest.mark.parametrize("number", NUMBERS)
def test_parameters_are_the_published_ones(config, number):
    params, model_state = shapes(config(f"efficientnet_b{number}", **{"model.encoder.output_stride": 16}))
    ours, statistics = models.count(params["encoder"]), models.count(model_state["batch_stats"]["encoder"])
    # The 1x1 convolution on top has four times the channels, its norm 2 parameters for each, the classifier a bias.
    last = params["encoder"]["stage7_block1"]["project"]["conv"]["kernel"].shape[-1]
    top = last * 4 * last + 2 * 4 * last
    assert ours + top + 4 * last * 1000 + 1000 == TORCHVISION[number]
    # Keras counts statistics, also those of the images: mean and variance of three channels, and how many there were.
    assert ours + statistics + top + 2 * 4 * last + 7 == KERAS[number]
    assert ours == references.load(f"efficientnet_b{number}")["parameters"]


@pytest.mark.parametrize("number", NUMBERS)
def test_unet_has_the_parameters_of_segmentation_models_pytorch(config, number):
    # Their finest map is the stem's; their decoder needs no other channels otherwise.
    overrides = {
        "model.encoder.style": "smp",
        "model.upsampling": "nearest",
        "model.head_kernel": 3,
        "model.decoder_channels": (256, 128, 64, 32, 16),
    }
    params, _ = shapes(config(f"efficientnet_b{number}", **overrides))
    assert models.count(params) == references.load("counts")[f"smp/Unet/efficientnet-b{number}/used"]


def test_epsilon_is_that_of_the_weights():
    assert {layout: epsilon(layout)["torch"] for layout in LAYOUTS} == {
        f"efficientnet_b{number}": 1e-5 if number < 5 else 1e-3 for number in range(8)
    }
    assert {value for layout in LAYOUTS for name, value in epsilon(layout).items() if name != "torch"} == {1e-3}


def maps_of(net, size):
    """Abstract (variables, maps)."""
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    maps, variables = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, False), image)
    return variables, maps


@pytest.mark.parametrize("smp", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 5])
def test_one_map_for_each_halving(depth, smp):
    net = EfficientNet(depth=depth, smp=smp)
    variables, maps = maps_of(net, (64, 96))
    channels = (32 if smp else 16, 24, 40, 112, 320)
    assert [f.shape for f in maps] == [(1, 32 >> i, 48 >> i, channels[i]) for i in range(depth)]
    assert net.reduction == 2**depth
    stages = {name.partition("_")[0] for name in variables["params"]}
    deepest = [0 if smp else 1, 2, 3, 5, 7][depth - 1]
    assert stages == {"stem", *(f"stage{stage}" for stage in range(1, deepest + 1))}


def values(net, size, seed=0):
    """Random kernels; squeeze and excitation, which looks at the whole map, does nothing."""
    rng = np.random.default_rng(seed)

    def draw(path, like):
        if "excite" in path[-2].key:
            return np.zeros(like.shape, np.float32)
        return rng.standard_normal(like.shape, np.float32) * (2 / np.prod(like.shape[:-1])) ** 0.5

    return jax.tree_util.tree_map_with_path(draw, maps_of(net, size)[0])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_a_dilated_network_sees_what_the_strided_one_sees(padding):
    image = references.image(64, 96)
    coarse, middle, fine = (
        EfficientNet("small", output_stride=stride, style=Style(norm="none", padding=padding)) for stride in (32, 16, 8)
    )
    variables = values(coarse, (64, 96))
    few, some, many = jax.jit(lambda x: [net.apply(variables, x, False) for net in (coarse, middle, fine)])(image)
    assert [f.shape[1] for f in few] == [32, 16, 8, 4, 2]
    assert [f.shape[1] for f in some] == [32, 16, 8, 4, 4] and [f.shape[1] for f in many] == [32, 16, 8, 8, 8]
    for dilated, steps in ((some, (1, 1, 1, 1, 2)), (many, (1, 1, 1, 2, 4))):
        for a, b, step in zip(few, dilated, steps, strict=True):
            np.testing.assert_allclose(b[:, ::step, ::step], a, rtol=1e-3, atol=1e-4 * float(np.abs(a).max()))


@pytest.mark.usefixtures("small")
def test_smp_pads_as_for_the_size_that_the_layout_was_trained_on():
    # 48, 24, 12, 6 are even, but the last strided convolution sees 3. Of 64 it would see 4.
    static = EfficientNet("small", smp=True, style=Style(norm="none"))
    same = EfficientNet("small", style=Style(norm="none", padding="same"))
    variables = values(static, (64, 64))
    run = jax.jit(lambda x: [net.apply(variables, x, False)[1:] for net in (static, same)])
    for size, alike in (((48, 48), [True, True, True, True]), ((64, 48), [True, True, True, False])):
        pairs = zip(*run(references.image(*size)), strict=True)
        assert [bool(np.allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())) for a, b in pairs] == alike


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_dropped_block_leaves_its_input(rate):
    block = MBConv(8, 2, 3, 1, 1, None, drop_path=rate, style=Style(norm="none"))
    x = np.random.default_rng(0).standard_normal((256, 4, 4, 8), np.float32)
    variables = block.init(jax.random.key(0), x, False)
    branch = block.apply(variables, x, False) - x
    out = block.apply(variables, x, True, rngs={"dropout": jax.random.key(1)}) - x
    kept = np.abs(out).max((1, 2, 3)) > 0
    # An image keeps all of its block, divided by the probability of keeping it, or nothing.
    np.testing.assert_allclose(out[kept], branch[kept] / (1 - rate), rtol=1e-4, atol=1e-5)
    assert abs(kept.mean() - (1 - rate)) < 0.1


def test_drop_path_grows_with_the_blocks():
    rates = {}

    def note(call, arguments, options, context):
        if isinstance(context.module, nn.Dropout):
            rates[context.module.path[0]] = context.module.rate
        return call(*arguments, **options)

    with nn.intercept_methods(note):
        maps_of(EfficientNet(drop_path=0.2), (32, 32))
    # Blocks of B0 from 0; the first of a stage has no shortcut.
    numbered = [(2, 2, 2), (3, 2, 4), (4, 2, 6), (4, 3, 7), (5, 2, 9), (5, 3, 10), (6, 2, 12), (6, 3, 13), (6, 4, 14)]
    assert rates == pytest.approx({f"stage{s}_block{i}": 0.2 * number / 16 for s, i, number in numbered})


def test_drop_path_comes_from_the_configuration(config):
    assert (
        models.build(config("efficientnet_b2", **{"model.encoder.drop_path": 0.3}), classes=2).encoder.drop_path == 0.3
    )


LARGER = ("timm_efficientnet_b3", *(f"efficientnet_b{number}" for number in range(1, 8)))


@pytest.mark.parametrize("name", ["efficientnet_b0", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGER)])
def test_features_are_those_of_pytorch(config, tmp_path, name):
    resolved, features = parity.encoder_with(config(name.removeprefix("timm_")), parity.torch_file(tmp_path, name))
    assert resolved.model.encoder.style == "torch"
    assert (resolved.data.mean, resolved.data.std) == (IMAGENET["mean"], IMAGENET["std"])
    parity.assert_as_in_fixture(features, name)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "stride"), [(0, 16), (1, 32)])
def test_features_are_those_of_segmentation_models_pytorch(config, tmp_path, number, stride):
    # B0 dilates two blocks more than the stride asks for; B1 pads as for images of 240 x 240.
    name = f"smp_efficientnet_b{number}_os{stride}"
    overrides = {"model.encoder.output_stride": stride}
    file = parity.torch_file(tmp_path, name)
    resolved, features = parity.encoder_with(config(f"efficientnet_b{number}", **overrides), file)
    assert resolved.model.encoder.style == "smp"
    parity.assert_as_in_fixture(features, name)


def keras_network(function, size):
    """A network of Keras with random weights and statistics and ImageNet's normalisation."""
    import keras

    network = getattr(keras.applications, function)(weights=None, include_top=False, input_shape=(*size, 3))
    for number, weight in enumerate(network.weights):
        layer, role = weight.path.split("/")
        rng = np.random.default_rng(number)
        if role == "kernel":
            fan_in = np.prod(weight.shape[: 2 if "dwconv" in layer else 3])
            weight.assign(rng.standard_normal(weight.shape) * (2 / fan_in) ** 0.5)
        elif role in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) * (0.25 if layer.endswith("project_bn") else 1))
        elif role == "mean":
            weight.assign(IMAGENET["mean"])
        elif role == "variance":
            weight.assign(np.square(IMAGENET["std"]))
        elif role != "count":
            weight.assign(rng.standard_normal(weight.shape) * 0.1)
    next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization)).finalize_state()
    return network


def keras_image(image):
    """In 0..255, as Keras's networks take it."""
    return 255 * (image * np.float32(IMAGENET["std"]) + np.float32(IMAGENET["mean"]))


# The last layers in front of each halving, and the last one.
KERAS_MAPS = {
    "EfficientNetB0": ["block1a_project_bn", "block2b_add", "block3b_add", "block5c_add", "block7a_project_bn"],
    "EfficientNetB3": ["block1b_add", "block2c_add", "block3c_add", "block5e_add", "block7b_add"],
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@pytest.mark.parametrize("function", KERAS_MAPS)
def test_features_are_those_of_keras(config, tmp_path, function):
    # Keras pads by the size for which the network was made.
    images = [references.image(64, 96), references.image(65, 97)]
    networks = [keras_network(function, image.shape[1:3]) for image in images]
    expected = [
        parity.keras_maps(network, KERAS_MAPS[function], keras_image(image))
        for network, image in zip(networks, images, strict=True)
    ]
    for path in parity.keras_files(networks[0], tmp_path).values():
        resolved, features = parity.encoder_with(config(f"efficientnet_b{function[-1]}"), path)
        assert resolved.model.encoder.style == "keras"
        assert (resolved.data.mean, resolved.data.std) == (IMAGENET["mean"], IMAGENET["std"])
        for image, theirs in zip(images, expected, strict=True):
            parity.assert_near(features(image), theirs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_normalisation_is_that_of_the_weights_by_name(config, tmp_path, monkeypatch):
    # In Keras's file the deviation stands for the variance, and its network divides once more by the root.
    import keras

    network = keras_network("EfficientNetB0", (64, 96))
    next(w for w in network.weights if w.path.endswith("/variance")).assign(IMAGENET["std"])
    network.save(tmp_path / "network.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(tmp_path / "network.h5"))
    network = keras.applications.EfficientNetB0(weights="imagenet", include_top=False, input_shape=(64, 96, 3))
    resolved, features = parity.encoder_with(config("efficientnet_b0"), "imagenet")
    assert resolved.model.encoder.style == "keras"
    assert (resolved.data.mean, resolved.data.std) == (IMAGENET["mean"], IMAGENET["std"])
    image = references.image(64, 96)
    expected = parity.keras_maps(network, KERAS_MAPS["EfficientNetB0"], keras_image(image))
    parity.assert_near(features(image), expected)
