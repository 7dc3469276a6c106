"""SegFormer against transformers, and its decoder against the formula with a concatenation."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from configs import default
from seg_jax import models
from seg_jax.models.decoders.segformer import Fusion, SegFormerDecoder
from seg_jax.models.layers import Style
from seg_jax.models.resampling import resize_bilinear
from seg_jax.run import pretrained
from tests.models import parity, references

# Millions of parameters with the 150 classes of ADE20K, table 1 of the paper.
PUBLISHED = {"b0": 3.8, "b1": 13.7, "b2": 27.5, "b3": 47.3, "b4": 64.1, "b5": 84.7}

# Beside the weights in a folder of `save_pretrained`; settings without influence are left out.
DOCUMENT = {
    "architectures": ["SegformerForSemanticSegmentation"],
    "decoder_hidden_size": 256,
    "depths": [2, 2, 2, 2],
    "hidden_act": "gelu",
    "hidden_sizes": [32, 64, 160, 256],
    "id2label": {str(i): f"LABEL_{i}" for i in range(5)},
    "layer_norm_eps": 1e-06,
    "mlp_ratios": [4, 4, 4, 4],
    "model_type": "segformer",
    "num_attention_heads": [1, 2, 5, 8],
    "patch_sizes": [7, 3, 3, 3],
    "reshape_last_stage": True,
    "sr_ratios": [8, 4, 2, 1],
    "strides": [4, 2, 2, 2],
    "transformers_version": "5.23.0",
}
PREPROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.2, 0.2],
    "rescale_factor": 0.00392156862745098,
}


@pytest.fixture
def config(tiny_config):
    def make(encoder="mit_b0", **overrides):
        names = {"model.name": "segformer", "model.encoder.name": encoder, "model.encoder.depth": 0}
        return tiny_config({**names, **overrides})

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


@partial(jax.jit, static_argnums=0)
def at_stride_4(model, params, model_state, image):
    features = model.encoder.apply({"params": params["encoder"]}, image, False)
    variables = {"params": params["decoder"], **{name: tree["decoder"] for name, tree in model_state.items()}}
    return model.decoder.apply(variables, features, False)["logits"]


def test_logits_are_those_of_transformers(config, tmp_path):
    folder = parity.pretrained_folder(tmp_path / "folder", "segformer_b0", DOCUMENT)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    resolved, model, params, model_state = with_weights(default.get_config(), folder)
    assert (resolved.model.name, resolved.model.encoder.name, resolved.model.channels) == ("segformer", "mit_b0", 256)
    assert resolved.model.encoder.style == "torch" and not resolved.model.align_corners
    assert (resolved.data.mean, resolved.data.std) == ((0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    parity.assert_as_in_fixture(lambda image: [at_stride_4(model, params, model_state, image)], "segformer_b0")
    assert models.count(params) == references.load("segformer_b0")["parameters"]
    image = references.image(61, 90)
    whole = jax.jit(lambda x: models.forward(model, params, model_state, x, train=False)[0]["logits"])(image)
    padded = np.pad(image, ((0, 0), (0, 3), (0, 6), (0, 0)), mode="edge")
    expected = resize_bilinear(at_stride_4(model, params, model_state, padded), (64, 96))[:, :61, :90]
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-4)


def test_rows_of_the_head_are_those_of_the_names_in_the_folder(tmp_path):
    theirs = ("road", "sky", "tree", "car", "bus")
    document = DOCUMENT | {"id2label": {str(i): name for i, name in enumerate(theirs)}}
    folder = parity.pretrained_folder(tmp_path / "folder", "segformer_b0", document)
    config, model, params, _ = with_weights(default.get_config(), folder)
    random = jax.tree.map(lambda like: np.full(like.shape, 7, like.dtype), shapes(model))
    straight, turned = (
        pretrained.start(config, model, *random, names=names)[0]["decoder"]["head"]
        for names in (theirs, ("bus", "tram", "road", "tree", "sky"))
    )
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(straight[name], params["decoder"]["head"][name])
        np.testing.assert_array_equal(turned[name][..., [0, 2, 3, 4]], straight[name][..., [4, 0, 2, 1]])
        assert (turned[name][..., 1] == 7).all()


def test_files_of_segmentation_models_pytorch_give_the_same_network(config, tmp_path):
    # The decoder of the fixture under their names; their encoder's names are tested in test_mit.py.
    theirs = load_file(parity.torch_file(tmp_path, "segformer_b0"))
    encoder = {f"encoder.{name}": a for name, a in load_file(parity.torch_file(tmp_path, "smp_mit_b0")).items()}
    names = {f"decode_head.linear_c.{level}.proj": f"decoder.mlp_stage.{3 - level}.linear" for level in range(4)}
    names |= {"decode_head.linear_fuse": "decoder.fuse_stage.0", "decode_head.batch_norm": "decoder.fuse_stage.1"}
    names |= {"decode_head.classifier": "segmentation_head.0"}
    decoder = {
        f"{ours}.{name.removeprefix(layer + '.')}": theirs[name]
        for layer, ours in names.items()
        for name in theirs
        if name.startswith(f"{layer}.")
    }
    save_file(encoder | decoder, tmp_path / "smp.safetensors")
    resolved, _, params, _ = with_weights(config(), tmp_path / "smp.safetensors")
    assert resolved.model.encoder.style == "smp"
    _, _, other, _ = with_weights(config(), tmp_path / "segformer_b0.safetensors")
    jax.tree.map(np.testing.assert_array_equal, params["decoder"], other["decoder"])


def test_another_number_of_classes_takes_all_but_the_head(config, tmp_path):
    path = parity.torch_file(tmp_path, "segformer_b0")
    _, _, params, _ = with_weights(config(), path)
    _, _, others, _ = with_weights(config(), path, classes=7)
    assert {leaf.shape for leaf in jax.tree.leaves(others["decoder"].pop("head"))} == {(1, 1, 256, 7), (7,)}
    del params["decoder"]["head"]
    jax.tree.map(np.testing.assert_array_equal, params, others)


@pytest.mark.parametrize("size", ["b0", "b1", *(pytest.param(f"b{n}", marks=pytest.mark.slow) for n in range(2, 6))])
def test_parameters_are_the_published_ones(config, size):
    def count(classes):
        return models.count(shapes(models.build(config(f"mit_{size}"), classes=classes))[0])

    assert count(19) == references.load("counts")[f"transformers/SegFormer/{size}"]
    assert round(count(150) / 1e6, 1) == PUBLISHED[size]


def test_decoder_parameters_by_hand(config):
    def decoder(encoder, **overrides):
        return models.count(shapes(models.build(config(encoder, **overrides), classes=3))[0]["decoder"])

    widths, c = (64, 128, 256, 512), 256
    expected = sum(width * c + c for width in widths) + 4 * c * c + 2 * c + c * 3 + 3
    assert decoder("resnet18") == expected
    c = 8
    expected = sum(width * c + c for width in widths) + 4 * c * c + 2 * c + c * 3 + 3
    assert decoder("resnet18", **{"model.channels": 8}) == expected


@pytest.mark.parametrize("strides", [(1, 2, 4, 8), (1, 2, 2, 2)], ids=["pyramid", "dilated"])
def test_fusion_is_a_convolution_of_the_concatenation(strides):
    maps = [references.image(24 // stride, 16 // stride, channels=5) for stride in strides]
    fusion = Fusion(7)
    params = jax.jit(fusion.init)(jax.random.key(0), maps)["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (1, 1, 20, 7)}
    coarsest_first = [resize_bilinear(jnp.asarray(x), (24, 16)) for x in reversed(maps)]
    expected = jnp.concatenate(coarsest_first, axis=-1) @ params["kernel"][0, 0]
    np.testing.assert_allclose(jax.jit(fusion.apply)({"params": params}, maps), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [2, 4, 5])
def test_the_four_coarsest_maps_are_used(count):
    features = [references.image(32 >> i, 32 >> i, channels=2 + i) for i in range(count)]
    decoder = SegFormerDecoder(3, channels=4, style=Style())
    outputs, variables = jax.eval_shape(lambda x: decoder.init_with_output(jax.random.key(0), x, False), features)
    used = features[-4:]
    assert outputs["logits"].shape == (1, *used[0].shape[1:3], 3)
    kernels = [variables["params"][f"linear{level}"]["kernel"].shape[0] for level in range(1, len(used) + 1)]
    assert kernels == [feature.shape[-1] for feature in used]
