"""Every architecture in the formats that are made here, and families of encoders, against the run itself."""

import numpy as np
import pytest

from seg_jax.export import onnx, savedmodel, stablehlo, tflite
from seg_jax.export.network import Network
from seg_jax.models import MODELS
from seg_jax.predict import artefacts

# Neither side is a multiple of what the network needs, and there are two images: nothing of a size may be fixed.
SHAPE = (2, 22, 37, 3)
# What the plain encoder of the other tests has not: a depthwise convolution, gates, layer norms, attention.
ENCODERS = {
    "mobilenetv2": {"model.encoder.alpha": 0.35, "model.encoder.depth": 3, "model.remat": True},
    "efficientnet_b0": {"model.encoder.depth": 2},
    "convnext_tiny": {"model.encoder.depth": 2},
    "mit_b0": {"model.encoder.depth": 2},
}
# What an architecture has besides its defaults.
OPTIONS = {
    "unet": {"model.upsampling": "nearest", "model.align_corners": True, "loss.head": "sigmoid"},
    "deeplabv3plus": {"model.separable": True, "model.align_corners": True},
}
# Two upsamplings, attention, dilation, unpooling, a transposed convolution; gates and depthwise convolutions.
QUICK = {"unet", "danet", "deeplabv3", "segnet", "fcn32s", "segformer", "efficientnet_b0"}


def case(name, fields, id):
    return pytest.param(fields, id=id, marks=[] if name in QUICK else [pytest.mark.slow])


CASES = [
    *(case(name, {"model.name": name, "model.channels": 8, **OPTIONS.get(name, {})}, name) for name in MODELS),
    *(
        case(name, {"model.encoder.name": name, "model.decoder_channels": (4, 4), **fields}, f"unet-{name}")
        for name, fields in ENCODERS.items()
    ),
]


@pytest.mark.parametrize("fields", CASES)
def test_the_artefact_computes_what_the_run_computes(fields, make_run, tmp_path):
    network = Network.load(make_run(fields))
    image = np.random.default_rng(1).integers(0, 256, SHAPE, np.uint8)
    wanted = artefacts.rebuilt(network.functions, network.weights, network.metadata)(image)
    assert wanted.std() > 0.01  # there is something to be wrong about
    for form in (onnx, stablehlo):
        form.write(network, tmp_path / "file")
        found = artefacts.load(tmp_path / "file")(image)
        assert found.shape == wanted.shape and found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=1e-4, err_msg=form.__name__)


# Attention and the error function; the U-Net of test_formats.py is the one with convolutions.
def test_attention_in_tensorflow(make_run, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: ./launch.sh add tflite")
    run = make_run({"model.encoder.name": "mit_b0", "model.decoder_channels": (4, 4), **ENCODERS["mit_b0"]})
    for form, options, shape in ((savedmodel, {}, SHAPE), (tflite, {"size": (64, 64)}, (1, 64, 64, 3))):
        network = Network.load(run, **options)
        image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        wanted = artefacts.rebuilt(network.functions, network.weights, network.metadata)(image)
        assert wanted.std() > 0.01
        form.write(network, tmp_path / form.__name__)
        found = artefacts.load(tmp_path / form.__name__)(image)
        np.testing.assert_allclose(found, wanted, atol=1e-4, err_msg=form.__name__)
