"""MobileNetV2 against torchvision, timm, segmentation_models.pytorch, Keras, and the outputs of real weights."""

import numpy as np
import pytest

from seg_jax.models.encoders.mobilenetv2 import divisible
from seg_jax.run.pretrained import WeightsError
from tests.models import parity, references

ENDS = ("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add", "out_relu")


@pytest.fixture
def config(tiny_config):
    def make(**overrides):
        fields = {
            "model.encoder.name": "mobilenetv2",
            "model.encoder.depth": 5,
            "model.encoder.output_stride": 32,
            "model.encoder.norm": "frozen",
        }
        return tiny_config({**fields, **overrides})

    return make


@pytest.mark.parametrize(
    ("fixture", "stride", "style"),
    [
        ("mobilenet_v2", 32, "auto"),
        pytest.param("timm_mobilenetv2_100", 32, "auto", marks=pytest.mark.slow),
        ("smp_mobilenet_v2_os8", 8, "smp"),
        pytest.param("smp_mobilenet_v2_os16", 16, "smp", marks=pytest.mark.slow),
    ],
)
def test_features_are_those_of_pytorch(config, tmp_path, fixture, stride, style):
    fields = {"model.encoder.output_stride": stride, "model.encoder.style": style}
    features = parity.encoder_with(config(**fields), parity.torch_file(tmp_path, fixture))[1]
    parity.assert_as_in_fixture(features, fixture)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@pytest.mark.parametrize("alpha", [pytest.param(1.0, marks=pytest.mark.slow), 0.35])
def test_features_are_those_of_keras(config, tmp_path, alpha):
    images = [references.image(64, 96), references.image(65, 97)]
    networks = [parity.keras_network("MobileNetV2", image.shape[1:3], alpha=alpha) for image in images]
    expected = [parity.keras_maps(net, ENDS, image) for net, image in zip(networks, images, strict=True)]
    for path in parity.keras_files(networks[0], tmp_path).values():
        resolved, features = parity.encoder_with(config(**{"model.encoder.alpha": alpha}), path)
        for image, maps in zip(images, expected, strict=True):
            parity.assert_near(features(image), maps)
        assert resolved.model.encoder.style == "keras" and resolved.data.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("channels", "expected"), [(32 * 0.35, 16), (16 * 0.35, 8), (24 * 1.4, 32), (320, 320)])
def test_channels_are_rounded_to_eights(channels, expected):
    assert divisible(channels) == expected


def test_real_weights_of_keras(config, real_data):
    place = real_data / "weights"
    path = place / "keras_mobilenet_v2_0.35_sequential.h5"
    reference = np.load(place / "keras_mobilenet_v2_0.35_reference.npz")
    features = parity.encoder_with(config(**{"model.encoder.alpha": 0.35}), path)[1](reference["input"])
    parity.assert_near(features[1:], [reference[name] for name in ENDS[1:]])


def test_real_weights_of_torchvision(config, real_data):
    place = real_data / "weights"
    resolved, features = parity.encoder_with(config(), place / "torchvision_mobilenet_v2_1.0.safetensors")
    reference = np.load(place / "torchvision_mobilenet_v2_1.0_reference.npz")
    image = (reference["input_rgb_0_255"] / 255 - resolved.data.mean) / resolved.data.std
    parity.assert_near([np.mean(features(image.astype(np.float32))[-1], axis=(1, 2))], [reference["gap"]])
    assert (resolved.model.encoder.style, resolved.data.mean) == ("torch", (0.485, 0.456, 0.406))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_real_weights_in_the_format_of_keras_3(config, real_data):
    import keras

    path = real_data / "weights" / "keras_mobilenet_v2_1.0_no_top.weights.h5"
    features = parity.encoder_with(config(), path)[1]
    for image in (references.image(64, 96), references.image(65, 97)):
        network = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=image.shape[1:])
        network.load_weights(path)
        parity.assert_near(features(image), parity.keras_maps(network, ENDS, image))


def test_folded_batch_norm_is_not_trained_with_batch_statistics(config, real_data):
    path = real_data / "weights" / "torchvision_mobilenet_v2_1.0.safetensors"
    with pytest.raises(WeightsError, match=r"folded into the convolutions of .*model\.encoder\.norm=frozen"):
        parity.encoder_with(config(**{"model.encoder.norm": "batch"}), path)
