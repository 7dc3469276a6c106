"""Folders of `save_pretrained`: what their documents say in our fields, and which ones are refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from seg_jax.models import ENCODERS, WeightsError, folders
from seg_jax.models.encoders import convnext, mit
from seg_jax.models.weights.naming import UNIT

SMP = {
    "_model_class": "Unet",
    "activation": None,
    "aux_params": None,
    "classes": 4,
    "decoder_attention_type": None,
    "decoder_channels": [256, 128, 64, 32, 16],
    "decoder_interpolation": "nearest",
    "decoder_use_norm": "batchnorm",
    "encoder_depth": 5,
    "encoder_name": "resnet34",
    "encoder_weights": "imagenet",
    "in_channels": 3,
}
SEGFORMER = {
    "architectures": ["SegformerForSemanticSegmentation"],
    "model_type": "segformer",
    "decoder_hidden_size": 768,
    "depths": [3, 4, 6, 3],
    "hidden_sizes": [64, 128, 320, 512],
    "id2label": {"0": "road", "10": "tree", "2": "car"},
}
UPERNET = {
    "architectures": ["UperNetForSemanticSegmentation"],
    "model_type": "upernet",
    "hidden_size": 384,
    "pool_scales": [1, 2, 4],
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "backbone_config": {
        "model_type": "convnext",
        "depths": [3, 3, 27, 3],
        "hidden_sizes": [96, 192, 384, 768],
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
}
TIMM = {"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}


@pytest.fixture
def folder(tmp_path):
    """folder(document, preprocessor=None) -> what such a folder says; it needs no weights for that."""

    def make(document, preprocessor=None):
        text = document if isinstance(document, str) else json.dumps(document)
        (tmp_path / "config.json").write_text(text)
        if preprocessor is not None:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        return folders.read(tmp_path)

    return make


def smp(name, **settings):
    """A document of theirs with only these settings; the others are their defaults."""
    return {"_model_class": name, "encoder_name": "resnet18", "classes": 7, **settings}


ENCODER = {"model.encoder.name": "resnet18", "model.encoder.depth": 5, "model.align_corners": True}


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        (
            {**SMP, "encoder_name": "mobilenet_v2", "encoder_depth": 3, "decoder_channels": [64, 32, 8]},
            {
                **ENCODER,
                "model.encoder.name": "mobilenetv2",
                "model.encoder.depth": 3,
                "model.name": "unet",
                "model.decoder_channels": (64, 32, 8),
                "model.upsampling": "nearest",
                "model.head_kernel": 3,
            },
        ),
        (
            smp("PSPNet"),
            {
                **ENCODER,
                "model.encoder.depth": 3,
                "model.encoder.output_stride": 8,
                "model.name": "pspnet",
                "model.channels": 512,
                "model.head_kernel": 3,
                "model.pool_bins": (1, 2, 3, 6),
            },
        ),
        (
            smp("DeepLabV3", decoder_aspp_separable=True, encoder_output_stride=16),
            {
                **ENCODER,
                "model.encoder.output_stride": 16,
                "model.name": "deeplabv3",
                "model.channels": 256,
                "model.aspp_rates": (12, 24, 36),
                "model.separable": True,
            },
        ),
        (
            smp("DeepLabV3Plus", decoder_atrous_rates=[6, 12, 18], decoder_channels=128),
            {
                **ENCODER,
                "model.encoder.output_stride": 16,
                "model.name": "deeplabv3plus",
                "model.channels": 128,
                "model.aspp_rates": (6, 12, 18),
                "model.separable": True,
            },
        ),
        (smp("FPN"), {**ENCODER, "model.name": "fpn", "model.channels": 128}),
        (
            smp("UPerNet", encoder_name="efficientnet-b3"),
            {
                **ENCODER,
                "model.encoder.name": "efficientnet_b3",
                "model.name": "upernet",
                "model.channels": 256,
                "model.pool_bins": (1, 2, 3, 6),
            },
        ),
        (
            smp("Segformer", encoder_name="mit_b1", decoder_segmentation_channels=64),
            {**ENCODER, "model.encoder.name": "mit_b1", "model.name": "segformer", "model.channels": 64},
        ),
    ],
    ids=lambda value: value.get("_model_class", ""),
)
def test_segmentation_models_pytorch(folder, document, fields):
    said = folder(document)
    assert said.fields == {"model.encoder.output_stride": 32, **fields}
    assert (said.library, said.network) == ("segmentation_models.pytorch", document["_model_class"])
    assert said.whole and said.classes == document["classes"] and said.normalisation is None


def test_images_of_adversarial_training_have_another_range(folder):
    said = folder({**SMP, "encoder_name": "efficientnet-b0", "encoder_weights": "advprop"})
    assert said.normalisation == UNIT


WHOLE = {"model.align_corners": False, "model.encoder.depth": 5, "model.encoder.output_stride": 32}


def test_transformers(folder):
    said = folder(SEGFORMER)
    assert said.fields == {
        "model.name": "segformer",
        "model.channels": 768,
        "model.encoder.name": "mit_b2",
        **WHOLE,
    }
    assert (said.library, said.network, said.whole) == ("transformers", "SegformerForSemanticSegmentation", True)
    assert (said.classes, said.names) == (3, ("road", "car", "tree"))  # in the order of their numbers
    said = folder(UPERNET)
    assert said.fields == {
        "model.name": "upernet",
        "model.channels": 384,
        "model.pool_bins": (1, 2, 4),
        "model.encoder.name": "convnext_small",
        **WHOLE,
    }
    assert (said.classes, said.names) == (2, ())  # these are no names
    assert folder({key: value for key, value in SEGFORMER.items() if key != "id2label"}).classes == 2  # left out there


@pytest.mark.parametrize("name", [*mit.LAYOUTS, *convnext.LAYOUTS])
def test_every_encoder_of_transformers_is_known_by_its_stages(folder, name):
    if name in mit.LAYOUTS:
        depths, widths = mit.LAYOUTS[name]
        network = "SegformerForImageClassification"
    else:
        depths, widths, network = convnext.LAYOUTS[name], convnext.CHANNELS, "ConvNextForImageClassification"
    said = folder({"architectures": [network], "depths": depths, "hidden_sizes": widths})
    assert said.fields == {"model.encoder.name": name}
    assert not said.whole and said.classes == 0


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("resnet50", {"model.encoder.name": "resnet50"}),
        ("mobilenetv2_050.lamb_in1k", {"model.encoder.name": "mobilenetv2", "model.encoder.alpha": 0.5}),
        ("mobilenetv1_100", {"model.encoder.name": "mobilenet", "model.encoder.alpha": 1.0}),
        ("tf_efficientnet_b0", {"model.encoder.name": "efficientnet_b0", "model.encoder.style": "keras"}),
        ("convnext_tiny", {"model.encoder.name": "convnext_tiny"}),
    ],
)
def test_timm(folder, name, fields):
    said = folder({**TIMM, "architecture": name})
    assert said.fields == fields and not said.whole
    assert said.normalisation == ((0.5,) * 3, (0.25,) * 3)
    assert folder({"architecture": name}).normalisation is None


# ----- normalisation


@pytest.mark.parametrize(
    ("preprocessor", "expected"),
    [
        ({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]}, ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))),
        ({"do_resize": True}, None),
        ({"do_normalize": False, "image_mean": [0.4] * 3, "image_std": [0.1] * 3}, ((0,) * 3, (1,) * 3)),
        # Numbers for images in 0..255 that are not brought to 0..1 before.
        ({"do_rescale": False, "image_mean": [51] * 3, "image_std": [102] * 3}, ((0.2,) * 3, (0.4,) * 3)),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1] * 3, "image_std": [1] * 3}, ((0.5,) * 3, (0.5,) * 3)),
    ],
)
def test_the_normalisation_of_a_preprocessor(folder, preprocessor, expected):
    found = folder(SEGFORMER, preprocessor).normalisation
    assert found == (expected if expected is None else tuple(map(pytest.approx, expected)))


@pytest.mark.parametrize(
    "preprocessor",
    [
        {"image_mean": [0.5], "image_std": [0.5]},
        {"image_mean": [0.5] * 3, "image_std": [0.5, 0, 0.5]},
        {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 0},
    ],
)
def test_a_normalisation_that_cannot_be(folder, preprocessor):
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json: image_mean = .*three numbers each"):
        folder(SEGFORMER, preprocessor)


# ----- refused


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ({**SMP, "_model_class": "Linknet"}, ["the architecture 'Linknet' is none that we have: Unet, PSPNet"]),
        ({**SMP, "_model_class": "UnetPlusPlus"}, ["'UnetPlusPlus' is none", "Did you mean 'Unet'?"]),
        ({**SMP, "encoder_name": "tu-resnet34"}, ["the encoder 'tu_resnet34' is none", "Did you mean 'resnet34'?"]),
        ({**SMP, "encoder_name": "mobilenet"}, ["the encoder 'mobilenet' is none"]),  # not in their arithmetic
        ({**SMP, "decoder_attention_type": "scse"}, ["decoder_attention_type = 'scse'", "it has None"]),
        ({**SMP, "decoder_use_norm": "layernorm"}, ["decoder_use_norm = 'layernorm'", "it has 'batchnorm'"]),
        ({**SMP, "decoder_interpolation": "bicubic"}, ["decoder_interpolation = 'bicubic'", "it has 'nearest'"]),
        ({**SMP, "encoder_depth": 2}, ["encoder_depth = 2", "it has 5"]),
        ({**SMP, "decoder_skips": 3}, ["decoder_skips = 3, which our network does not have"]),
        (smp("FPN", decoder_merge_policy="cat"), ["decoder_merge_policy = 'cat'", "it has 'add'"]),
        (smp("FPN", decoder_pyramid_channels=128), ["decoder_pyramid_channels = 128", "it has 256"]),
        (smp("FPN", encoder_depth=4), ["encoder_depth = 4", "it has 5"]),
        (smp("DeepLabV3Plus", decoder_aspp_separable=False), ["decoder_aspp_separable = False", "it has True"]),
        ({**SMP, "decoder_channels": "wide"}, ["is not as segmentation_models.pytorch writes it", "fetch it again"]),
        ({**SMP, "decoder_channels": [256, 128.5]}, ["model.decoder_channels would be (256, 128.5)"]),
        ({**SMP, "classes": "many"}, ["is not as segmentation_models.pytorch writes it"]),
        ({**SMP, "encoder_name": ["resnet18"]}, ["is not as segmentation_models.pytorch writes it"]),
        ({**SEGFORMER, "architectures": ["DPTForSemanticSegmentation"]}, ["'DPTForSemanticSegmentation' is none"]),
        ({"model_type": "segformer"}, ["'a segformer without architectures' is none that we have"]),
        ({**SEGFORMER, "depths": [2, 2, 2, 9]}, ["the Mix Transformer", "(2, 2, 2, 9)"]),
        ({**SEGFORMER, "num_attention_heads": [1, 1, 1, 1]}, ["num_attention_heads = [1, 1, 1, 1]", "(1, 2, 5, 8)"]),
        ({**SEGFORMER, "hidden_act": "relu"}, ["hidden_act = 'relu'", "it has 'gelu'"]),
        ({**SEGFORMER, "depths": 3}, ["is not as transformers writes it"]),
        ({**SEGFORMER, "id2label": ["a"]}, ["is not as transformers writes it"]),
        (
            {**UPERNET, "backbone_config": {"model_type": "swin"}},
            ["the backbone 'swin' is none that we have: convnext"],
        ),
        ({**UPERNET, "backbone_config": None}, ["the backbone 'None' is none"]),
        ({**TIMM, "architecture": "vit_base_patch16_224"}, ["the encoder 'vit_base_patch16_224' is none"]),
        ({**TIMM, "architecture": 3}, ["is not as timm writes it"]),
        ({"model": {}}, ["names no network", "python -m seg_jax.models FILE"]),
        ("{", ["is not whole JSON", "fetch it again"]),
        ("[" * 100_000, ["is not whole JSON"]),
        ("[1]", ["holds a list, not a JSON object"]),
    ],
)
def test_documents_that_are_refused(folder, tmp_path, document, parts):
    with pytest.raises(WeightsError) as error:
        folder(document)
    assert str(error.value).startswith(str(tmp_path / "config.json"))
    for part in parts:
        assert part in str(error.value).replace("[1, 2, 5, 8]", "(1, 2, 5, 8)")


def test_a_folder_without_a_document(tmp_path):
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    assert folders.is_folder(tmp_path)
    with pytest.raises(WeightsError, match=r"holds no config\.json\. Fetch it, too"):
        folders.read(tmp_path)


def test_a_run_directory_is_no_folder(tmp_path):
    assert not folders.is_folder(tmp_path)
    for text in ('{"model": {"name": "unet"}, "train": {}}', "{"):
        (tmp_path / "config.json").write_text(text)
        assert not folders.is_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(SMP))
    assert folders.is_folder(tmp_path)


def test_every_encoder_in_the_arithmetic_of_the_library_is_found_by_its_name(folder):
    theirs = {"mobilenetv2": "mobilenet_v2", **{f"efficientnet_b{n}": f"efficientnet-b{n}" for n in range(8)}}
    for name, entry in ENCODERS.items():
        if "smp" in entry.epsilon:
            document = {**SMP, "encoder_name": theirs.get(name, name)}
            assert folder(document).fields["model.encoder.name"] == name
