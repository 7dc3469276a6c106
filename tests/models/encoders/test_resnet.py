"""ResNets against torchvision, timm and Keras: parameters, and features on odd and even sizes."""

import pytest

from seg_jax.models.encoders import resnet
from seg_jax.run.pretrained import WeightsError
from tests.models import parity, references

QUICK = {"resnet18", "resnet50"}  # one of each kind of block
KERAS = {50: "ResNet50", 101: "ResNet101", 152: "ResNet152"}
STAGES = ("conv1_relu", "conv2_block3_out", "conv3_block{}_out", "conv4_block{}_out", "conv5_block3_out")


@pytest.fixture
def config(tiny_config):
    def make(encoder, **overrides):
        fields = {"model.encoder.name": encoder, "model.encoder.depth": 5, "model.encoder.output_stride": 32}
        return tiny_config({**fields, **overrides})

    return make


@pytest.mark.parametrize(
    ("fixture", "encoder"),
    [
        *(pytest.param(name, name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in resnet.LAYOUTS),
        pytest.param("timm_resnet50", "resnet50", marks=pytest.mark.slow),
    ],
)
def test_features_are_those_of_pytorch(config, tmp_path, fixture, encoder):
    resolved, features = parity.encoder_with(config(encoder), parity.torch_file(tmp_path, fixture))
    assert resolved.model.encoder.style == "torch" and resolved.data.mean == (0.485, 0.456, 0.406)
    parity.assert_as_in_fixture(features, fixture)


@pytest.mark.parametrize(
    ("fixture", "encoder", "stride", "style"),
    [
        ("resnet50_os8", "resnet50", 8, "torch"),
        pytest.param("resnet50_os16", "resnet50", 16, "torch", marks=pytest.mark.slow),
        pytest.param("smp_resnet18_os8", "resnet18", 8, "smp", marks=pytest.mark.slow),
        ("smp_resnet18_os16", "resnet18", 16, "smp"),
    ],
)
def test_dilated_features_are_those_of_pytorch(config, tmp_path, fixture, encoder, stride, style):
    fields = {"model.encoder.output_stride": stride, "model.encoder.style": style}
    path = parity.torch_file(tmp_path, fixture)
    parity.assert_as_in_fixture(parity.encoder_with(config(encoder, **fields), path)[1], fixture)


@pytest.mark.slow  # the formats of Keras are read in test_mobilenetv2.py
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@pytest.mark.parametrize("depth", KERAS)
def test_features_are_those_of_keras(config, tmp_path, depth):
    network = parity.keras_network(KERAS[depth])
    blocks = resnet.LAYOUTS[f"resnet{depth}"][0]
    layers = [name.format(blocks[i - 1]) for i, name in enumerate(STAGES)]
    images = [references.image(64, 96), references.image(65, 97)]
    expected = [parity.keras_maps(network, layers, image[..., ::-1]) for image in images]
    for path in parity.keras_files(network, tmp_path).values():
        resolved, features = parity.encoder_with(config(f"resnet{depth}"), path)
        # Keras's network wants blue first; ours was turned when its weights were loaded.
        for image, maps in zip(images, expected, strict=True):
            parity.assert_near(features(image), maps)
        assert resolved.model.encoder.style == "keras"
        assert resolved.data.std == (1 / 255,) * 3 and resolved.data.mean[0] == pytest.approx(123.68 / 255)


def test_the_weights_of_another_depth_are_refused(config, tmp_path):
    path = parity.torch_file(tmp_path, "resnet18")
    with pytest.raises(WeightsError, match=r"(?s)does not fit the encoder resnet34:.*missing from the file \(\d+\): "):
        parity.encoder_with(config("resnet34"), path)
    path = parity.torch_file(tmp_path, "resnet34")
    with pytest.raises(WeightsError, match=r"(?s)does not fit the encoder resnet18:.*left over in the file \(\d+\): "):
        parity.encoder_with(config("resnet18"), path)
