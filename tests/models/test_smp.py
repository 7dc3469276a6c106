"""Whole networks of segmentation_models.pytorch: its weight files give its logits, by the way that a training takes."""

import jax
import numpy as np
import pytest

from configs import default
from seg_jax import models
from seg_jax.config import flatten
from seg_jax.run import pretrained
from tests.models import parity, references

# What a configuration says besides the architecture, the encoder and the file. The style 'smp' comes with the file.
ALWAYS = {"model.align_corners": True, "loss.aux_weight": 0.0}
SETTINGS = {
    "Unet": {
        "model.name": "unet",
        "model.decoder_channels": (256, 128, 64, 32, 16),
        "model.upsampling": "nearest",
        "model.head_kernel": 3,
    },
    "PSPNet": {"model.name": "pspnet", "model.encoder.depth": 3, "model.head_kernel": 3},
    "DeepLabV3": {"model.name": "deeplabv3", "model.aspp_rates": (12, 24, 36)},
    "DeepLabV3Plus": {"model.name": "deeplabv3plus", "model.aspp_rates": (12, 24, 36), "model.separable": True},
    "FPN": {"model.name": "fpn"},
    "UPerNet": {"model.name": "upernet", "model.channels": 256},
}
NETWORKS = [
    *(("Unet", "resnet34"), ("PSPNet", "resnet18"), ("DeepLabV3", "resnet18"), ("DeepLabV3Plus", "mobilenet_v2")),
    *(("FPN", "resnet18"), ("UPerNet", "resnet18")),
    *(
        pytest.param(decoder, encoder, marks=pytest.mark.slow)
        for decoder, encoder in [
            *((decoder, "mobilenet_v2") for decoder in ("Unet", "PSPNet", "DeepLabV3")),
            ("DeepLabV3Plus", "resnet18"),
        ]
    ),
]


@pytest.fixture
def config(tiny_config):
    """config('Unet', 'mobilenet_v2', ...) -> the configuration of that network of theirs."""

    def make(decoder, encoder, **overrides):
        names = {"model.encoder.name": encoder.replace("_v2", "v2"), "model.encoder.depth": 0}
        return tiny_config({**names, **ALWAYS, **SETTINGS[decoder], **overrides})

    return make


def shapes(model):
    return jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))


def with_weights(config, path, classes=5):
    """(resolved configuration, network, params, model_state) with the weights at `path`."""
    config.model.weights = str(path)
    config = pretrained.resolve(config)
    model = models.build(config, classes=classes)
    fresh = jax.tree.map(lambda like: np.zeros(like.shape, like.dtype), shapes(model))
    return config, model, *pretrained.start(config, model, *fresh)


@pytest.mark.parametrize(("decoder", "encoder"), NETWORKS)
def test_logits_are_theirs(config, tmp_path, decoder, encoder):
    # Of a folder that `save_pretrained` wrote, which says what the configuration leaves open.
    name = f"smp_{decoder.lower()}_{encoder}"
    folder = parity.pretrained_folder(tmp_path / "folder", name, parity.smp_document(name))
    settings = default.get_config()
    settings.loss.aux_weight = 0.0  # no heads that the library has not
    resolved, model, params, model_state = with_weights(settings, folder)
    said = {**SETTINGS[decoder], "model.align_corners": True, "model.encoder.name": encoder.replace("_v2", "v2")}
    assert said.items() <= flatten(resolved).items()
    assert resolved.model.encoder.style == "smp" and resolved.data.mean == (0.485, 0.456, 0.406)
    logits = jax.jit(lambda p, s, x: models.forward(model, p, s, x, train=False)[0]["logits"])
    parity.assert_as_in_fixture(lambda image: [logits(params, model_state, image)], name)
    assert models.count(params) == references.load(name)["parameters"]


@pytest.mark.parametrize("encoder", ["resnet34", "mobilenet_v2", pytest.param("resnet101", marks=pytest.mark.slow)])
@pytest.mark.parametrize("decoder", SETTINGS)
def test_parameters_are_as_many_as_theirs(config, decoder, encoder):
    counts = references.load("counts")
    theirs = counts.get(f"smp/{decoder}/{encoder}/used", counts[f"smp/{decoder}/{encoder}"])
    model = models.build(config(decoder, encoder, **{"model.encoder.style": "smp"}), classes=19)
    assert models.count(shapes(model)[0]) == theirs


@pytest.mark.parametrize(
    ("decoder", "encoder", "setting"),
    [
        ("PSPNet", "resnet18", {"model.align_corners": False}),
        ("DeepLabV3Plus", "resnet18", {"model.align_corners": False}),
        ("DeepLabV3", "resnet18", {"model.encoder.output_stride": 16}),
    ],
)
def test_the_fixtures_tell_settings_apart(config, tmp_path, decoder, encoder, setting):
    name = f"smp_{decoder.lower()}_{encoder}"
    _, model, params, model_state = with_weights(config(decoder, encoder, **setting), parity.torch_file(tmp_path, name))
    run = jax.jit(lambda p, s, x: models.forward(model, p, s, x, train=False)[0]["logits"])
    with pytest.raises(AssertionError):
        parity.assert_as_in_fixture(lambda image: [run(params, model_state, image)], name)


def test_an_encoder_that_ends_early_leaves_the_later_stages_of_a_file_but_nothing_else(config, tmp_path):
    path = parity.torch_file(tmp_path, "resnet18")  # torchvision's
    settings = config("PSPNet", "resnet18")
    features = parity.encoder_with(settings, path)[1](references.image(64, 96))
    theirs = references.load("resnet18")["cases"][0]["outputs"][:3]
    samples = [references.sample(a)[0] for a in features]
    parity.assert_near(samples, [np.float32(output["values"]) for output in theirs])


def test_other_settings_are_refused_with_the_tensors_that_do_not_fit(config, tmp_path):
    path = parity.torch_file(tmp_path, "smp_pspnet_resnet18")
    with pytest.raises(models.WeightsError, match=r"of another shape \(2\): decoder\.conv\.0\.weight"):
        with_weights(config("PSPNet", "resnet18", **{"model.head_kernel": 1}), path)
    path = parity.torch_file(tmp_path, "smp_deeplabv3plus_resnet18")
    with pytest.raises(models.WeightsError, match=r"left over in the file \(\d+\): decoder\.aspp\.0\.convs\.1\.0\.0\."):
        with_weights(config("DeepLabV3Plus", "resnet18", **{"model.separable": False}), path)


def test_heads_for_other_classes_start_anew_and_the_log_says_so(config, tmp_path, caplog):
    caplog.set_level("INFO")
    path = parity.torch_file(tmp_path, "smp_pspnet_resnet18")
    settings = config("PSPNet", "resnet18", **{"loss.aux_weight": 0.4})
    params = with_weights(settings, path, classes=7)[2]
    assert params["decoder"]["head"]["kernel"].shape == (3, 3, 512, 7)
    assert ".safetensors has not, start from random values: decoder/aux_head/" in caplog.text
    assert "decoder/head/kernel" in caplog.text and "decoder/fuse" not in caplog.text
