"""What the command says about weight files; the flags that it prints load them."""

import json
import shlex

import numpy as np
import pytest
from safetensors.numpy import save_file

from seg_jax import models, shipped
from seg_jax.config import default, flatten, to_json, with_fields
from seg_jax.models import __main__, identify
from seg_jax.run import pretrained
from tests.models import parity, references


def tensors_of(name):
    shapes = references.load(name)["tensors"]
    return {n: np.zeros(shape, np.float16) for n, shape in shapes.items() if not references.is_counter(n)}


@pytest.fixture
def says(tmp_path, capsys):
    """says(tensors) -> lines about a file with them; says(path) about what is there."""

    def run(source):
        path = source
        if isinstance(source, dict):
            path = tmp_path / "weights.safetensors"
            save_file(source, path)
        assert __main__.main([str(path)]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def flags_in(lines):
    """{field: text} of the flags that were printed."""
    words = [shlex.split(line)[0] for line in lines if line.strip().lstrip("'").startswith("--config.")]
    return dict(word.removeprefix("--config.").split("=", 1) for word in words)


def config_with(flags):
    config = default.get_config()
    usual = {field: flatten(config)[field] for field in flags}
    values = {
        f: text if isinstance(usual[f], str) else type(usual[f])(json.loads(_json(text))) for f, text in flags.items()
    }
    return with_fields(config, values)


def _json(text):
    return text.replace("(", "[").replace(")", "]").replace("True", "true").replace("False", "false")


def value(lines, title):
    return next(line for line in lines if line.strip().startswith(title)).split(title)[1].strip()


@pytest.mark.parametrize(
    ("name", "network", "fields"),
    [
        (
            "smp_unet_mobilenet_v2",
            "Unet of segmentation_models.pytorch: unet on mobilenetv2",
            {"model.head_kernel": "3"},
        ),
        ("smp_pspnet_resnet18", "PSPNet of segmentation_models.pytorch: pspnet on resnet18", {"model.channels": "512"}),
        ("smp_deeplabv3_resnet18", "DeepLabV3 of segmentation_models.pytorch: deeplabv3 on resnet18", {}),
        (
            "smp_deeplabv3plus_mobilenet_v2",
            "DeepLabV3Plus of segmentation_models.pytorch: deeplabv3plus on mobilenetv2",
            {"model.separable": "True", "model.aspp_rates": "(12, 24, 36)"},
        ),
        ("smp_fpn_resnet18", "FPN of segmentation_models.pytorch: fpn on resnet18", {"model.align_corners": "True"}),
        ("smp_upernet_resnet18", "UPerNet of segmentation_models.pytorch: upernet on resnet18", {}),
        (
            "segformer_b0",
            "SegformerForSemanticSegmentation of transformers: segformer on mit_b0",
            {"model.channels": "256", "model.encoder.name": "mit_b0"},
        ),
    ],
)
def test_whole_networks_and_the_flags_that_load_them(says, name, network, fields):
    prefix = "model._orig_mod." if "mobilenet_v2" in name else ""
    lines = says({prefix + tensor: array for tensor, array in tensors_of(name).items()})
    assert value(lines, "network") == network and value(lines, "classes") == "5"
    assert value(lines, "holds").startswith(f"{len(tensors_of(name))} tensors, ")
    assert any(line.strip() == f"prefix          {prefix} is taken off the names" for line in lines) == bool(prefix)
    flags = flags_in(lines)
    assert fields.items() <= flags.items()
    config = pretrained.resolve(config_with(flags))  # accounts for the names
    assert config.model.name == flags["model.name"] and config.model.encoder.name == flags["model.encoder.name"]


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("resnet18", "resnet18"),
        ("resnet50", "resnet50"),
        ("vgg16_bn", "vgg16_bn"),
        ("efficientnet_b0", "efficientnet_b0"),
        ("mit_b1", "mit_b1"),  # the names of mit_b0, other shapes
        ("smp_mit_b0", "mit_b0"),
        ("timm_mobilenetv2_100", "mobilenetv2"),
        ("timm_convnext_tiny", "convnext_tiny"),
    ],
)
def test_encoders(says, name, encoder):
    lines = says({f"backbone.{tensor}": array for tensor, array in tensors_of(name).items()})
    assert value(lines, "network") == f"an encoder alone: {encoder}"
    flags = flags_in(lines)
    assert set(flags) == {"model.encoder.name", "model.encoder.weights"}
    assert pretrained.resolve(config_with(flags)).model.encoder.name == encoder


def test_a_whole_network_that_we_do_not_have_still_has_an_encoder(says):
    tensors = tensors_of("smp_unet_mobilenet_v2") | {"decoder.blocks.0.attention1.weight": np.zeros(3, np.float16)}
    lines = says(tensors)
    assert value(lines, "network") == "an encoder alone: mobilenetv2"
    assert value(lines, "not used").startswith("53 tensors: decoder.blocks.0.attention1.weight, ")
    assert value(lines, "nearest match") == "Unet of segmentation_models.pytorch: unet on mobilenetv2"
    assert "left over in the file (1): decoder.blocks.0.attention1.weight" in "\n".join(lines)


def test_a_file_that_nearly_fits(says):
    tensors = tensors_of("resnet18")
    del tensors["layer4.1.bn2.bias"]
    lines = says(tensors)
    assert value(lines, "nearest match") == "an encoder alone: resnet18"
    assert "missing from the file (1): layer4.1.bn2.bias" in "\n".join(lines)
    assert flags_in(lines) == {}


def test_a_file_of_something_else(says):
    lines = says({"transformer.h.0.attn.weight": np.zeros((2, 2), np.float32)})
    assert value(lines, "network").startswith("none of ours")
    assert lines[-1].strip() == "transformer.h.0.attn.weight"


def test_one_channel_is_the_binary_head(says):
    tensors = tensors_of("smp_fpn_resnet18")
    tensors |= {f"segmentation_head.0.{end}": tensors[f"segmentation_head.0.{end}"][:1] for end in ("weight", "bias")}
    lines = says(tensors)
    assert value(lines, "classes") == "1" and flags_in(lines)["loss.head"] == "binary"


def test_folders(says, tmp_path):
    document = {**parity.smp_document("smp_fpn_resnet18"), "encoder_weights": None}
    folder = parity.pretrained_folder(tmp_path / "my fpn", "smp_fpn_resnet18", document, hollow=True)
    lines = says(folder)
    assert value(lines, "network") == "FPN of segmentation_models.pytorch: fpn on resnet18"
    # The rest is decided by config.json.
    assert flags_in(lines) == {
        "model.name": "fpn",
        "model.encoder.name": "resnet18",
        "model.weights": str(folder),
    }
    (folder / "config.json").write_text(json.dumps({**document, "decoder_segmentation_channels": 64}))
    lines = says(folder)
    assert "of another shape" in "\n".join(lines) and flags_in(lines) == {}


def test_run_directories(says, tmp_path):
    (tmp_path / "config.json").write_text(to_json(pretrained.resolve(default.get_config())))
    lines = says(tmp_path)
    assert value(lines, "run directory") == "unet on plain"
    assert value(lines, "its encoder") == f"--config.model.encoder.weights={tmp_path}"


def test_exports_are_for_prediction(says):
    assert "python -m seg_jax.predict" in says({"params/encoder/stem/conv/kernel": np.zeros(3, np.float32)})[1]


def test_what_cannot_be_read_is_one_line(tmp_path, capsys):
    (tmp_path / "a.safetensors").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "gone.pth", tmp_path / "a.safetensors"):
        assert __main__.main([str(path)]) == 1
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.startswith("error: ") and str(path) in printed.err


def test_the_list_of_networks(monkeypatch, capsys):
    monkeypatch.setattr(shipped, "names", lambda: ())  # tests/shipped looks for theirs
    assert __main__.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(models.MODELS)]] == list(models.MODELS)
    listed = {name: millions for name, millions, *_ in (line.split() for line in lines[-len(models.ENCODERS) :])}
    assert list(listed) == list(models.ENCODERS)
    counts = references.load("counts")
    for name in ("resnet18", "vgg16", "mobilenetv2"):
        theirs = counts[f"torchvision/encoder/{name.replace('netv2', 'net_v2')}"]
        assert listed[name] == f"{theirs / 1e6:.2f}"


def test_an_encoder_that_was_added_is_listed_without_a_number(monkeypatch, capsys):
    monkeypatch.setattr(identify, "ENCODERS", {"mine": models.ENCODERS["plain"]})
    monkeypatch.setattr(shipped, "names", lambda: ())
    assert __main__.main([]) == 0 and capsys.readouterr().out.splitlines()[-1] == "  mine"
