"""UPerNet and FPN: parameters by hand, which maps they take, how the levels of the pyramid meet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from seg_jax import models
from seg_jax.models.decoders.fpn import FPNDecoder
from seg_jax.models.decoders.upernet import UPerNetDecoder
from seg_jax.models.layers import Style
from seg_jax.run import pretrained
from tests.models import parity, references

RESNET = [(64, 64, 64), (32, 32, 256), (16, 16, 512), (8, 8, 1024), (4, 4, 2048)]
CHANNELS = (256, 512, 1024, 2048)


def shapes(decoder, features):
    features = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in features]
    return jax.eval_shape(lambda x: decoder.init_with_output(jax.random.key(0), x, False), features)


def parameters(decoder, features):
    return models.count(shapes(decoder, features)[1]["params"])


def test_upernet_parameters_by_hand():
    w = 512
    pyramid = 4 * (2048 * w + 2 * w) + 9 * (2048 + 4 * w) * w + 2 * w
    levels = sum(c * w + 2 * w + 9 * w * w + 2 * w for c in CHANNELS[:3])
    fuse = 9 * 4 * w * w + 2 * w
    expected = pyramid + levels + fuse + w * 19 + 19
    assert parameters(UPerNetDecoder(19), RESNET) == expected
    assert parameters(UPerNetDecoder(19, norm_features=True), RESNET) == expected + 2 * sum(CHANNELS)
    aux = 9 * 1024 * 256 + 2 * 256 + 256 * 19 + 19
    assert parameters(UPerNetDecoder(19, aux=True), RESNET) == expected + aux


def test_fpn_parameters_by_hand():
    lateral = sum(c * 256 + 256 for c in CHANNELS)
    # A convolution from 256 to 128 for every level, one and two more from 128 for the coarser two; a norm each.
    stacks = 4 * (9 * 256 * 128 + 2 * 128) + 3 * (9 * 128 * 128 + 2 * 128)
    assert parameters(FPNDecoder(19), RESNET) == lateral + stacks + 128 * 19 + 19


DECODERS = [UPerNetDecoder(3, channels=4), FPNDecoder(3, channels=4)]


@pytest.mark.parametrize("decoder", DECODERS, ids=["upernet", "fpn"])
@pytest.mark.parametrize("strides", [(2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32), (4, 8, 16, 32), (2, 4, 8, 8, 8)])
def test_the_four_coarsest_maps_meet_at_stride_4(decoder, strides):
    maps = [(64 // s, 128 // s, 8 + i) for i, s in enumerate(strides)]
    outputs, variables = shapes(decoder, maps)
    assert outputs["logits"].shape == (1, 16, 32, 3)
    assert shapes(decoder, maps[-4:])[1] == variables
    # An encoder that ends early.
    assert shapes(decoder, maps[-4:-1])[0]["logits"].shape == (1, 16, 32, 3)


@pytest.mark.parametrize("decoder", DECODERS, ids=["upernet", "fpn"])
def test_every_level_changes_the_logits(decoder):
    decoder = decoder.clone(style=Style(norm="none"))
    maps = [np.random.default_rng(i).standard_normal((1, 16 >> i, 16 >> i, 6), np.float32) for i in range(4)]
    params = jax.jit(lambda: decoder.init(jax.random.key(0), maps, False))()
    grads = jax.jit(jax.grad(lambda maps: (decoder.apply(params, maps, False)["logits"] ** 2).sum()))(maps)
    assert all(np.any(g) for g in grads)


@pytest.mark.parametrize(("height", "convolutions"), [(16, 1), (8, 1), (4, 2), (2, 3)])
def test_the_stack_of_a_level_doubles_the_resolution_after_each_convolution(height, convolutions):
    features = [(16, 16, 4), (height, height, 4)]
    _, variables = shapes(FPNDecoder(3, channels=4), features)
    names = {name for name in variables["params"] if name.startswith("level2")}
    assert names == {f"level2_conv{i}" for i in range(1, convolutions + 1)}
    assert "gn" in variables["params"]["level2_conv1"]["norm"] and "batch_stats" not in variables


@pytest.mark.slow
def test_logits_are_those_of_transformers(tmp_path):
    name = "upernet_convnext_tiny"
    document = {"architectures": ["UperNetForSemanticSegmentation"], **references.load(name)["config"]}
    config = default.get_config()
    config.loss.aux_weight = 0.0
    config.model.weights = str(parity.pretrained_folder(tmp_path / "folder", name, document))
    config = pretrained.resolve(config)
    chosen = (config.model.name, config.model.encoder.name, config.model.channels, config.model.encoder.style)
    assert chosen == ("upernet", "convnext_tiny", 64, "transformers")
    model = models.build(config, classes=5)
    fresh = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
    params, model_state = pretrained.start(config, model, *jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), fresh))
    logits = jax.jit(lambda p, s, x: models.forward(model, p, s, x, train=False)[0]["logits"])
    parity.assert_as_in_fixture(lambda image: [logits(params, model_state, image)], name)
    assert models.count(params) == references.load(name)["parameters"]
