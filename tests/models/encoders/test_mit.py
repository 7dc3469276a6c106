"""Mix Transformers against transformers and segmentation_models.pytorch, and their parts against formulas."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from seg_jax import models
from seg_jax.models.encoders import mit, mit_block
from seg_jax.models.layers import Conv, Style
from tests.models import parity, references

DEEP = [pytest.param(f"mit_b{n}", marks=pytest.mark.slow) for n in range(1, 6)]
# A network of one block in each stage, for what does not depend on the layout.
SMALL = ((1, 1, 1, 1), (8, 16, 20, 16))


@pytest.fixture
def config(tiny_config):
    def make(encoder="mit_b0", **overrides):
        return tiny_config({"model.encoder.name": encoder, "model.encoder.depth": 0, **overrides})

    return make


@pytest.fixture
def small(monkeypatch):
    """small(output_stride=8, ...) -> a tiny network."""
    monkeypatch.setitem(mit.LAYOUTS, "small", SMALL)
    return lambda **options: mit.MixTransformer("small", **options)


def exact_gelu(x):
    return x * 0.5 * (1 + jax.scipy.special.erf(x / np.sqrt(2)))


@pytest.mark.parametrize("encoder", ["mit_b0", *DEEP])
def test_features_are_those_of_transformers(config, tmp_path, encoder):
    resolved, features = parity.encoder_with(config(encoder), parity.torch_file(tmp_path, encoder))
    assert resolved.model.encoder.style == "torch" and resolved.data.mean == (0.485, 0.456, 0.406)
    parity.assert_as_in_fixture(features, encoder)


def test_features_are_those_of_segmentation_models_pytorch(config, tmp_path):
    resolved, features = parity.encoder_with(config(), parity.torch_file(tmp_path, "smp_mit_b0"))
    assert resolved.model.encoder.style == "smp"
    parity.assert_as_in_fixture(features, "smp_mit_b0")


def assert_first_stages(features, name, count):
    ours = [references.sample(feature)[0] for feature in features(references.image(64, 96))]
    theirs = references.load(name)["cases"][0]["outputs"][:count]
    parity.assert_near(ours, [np.float32(output["values"]) for output in theirs])


@pytest.mark.parametrize(
    ("name", "prefix", "besides"),
    [
        ("mit_b0", "segformer.", "classifier.weight"),  # nvidia/mit-b0, a classifier
        ("mit_b0", "segformer.", "decode_head.linear_c.0.proj.weight"),  # the encoder of a whole SegFormer
        ("smp_mit_b0", "", "head.weight"),  # the authors' files
    ],
)
def test_files_may_hold_a_head_and_deeper_stages_besides_and_nothing_else(config, tmp_path, name, prefix, besides):
    tensors = {prefix + key: array for key, array in load_file(parity.torch_file(tmp_path, name)).items()}
    path = tmp_path / "whole.safetensors"
    save_file(tensors | {besides: np.zeros((10, 256), np.float32)}, path)
    _, features = parity.encoder_with(config(**{"model.encoder.depth": 2}), path)
    assert_first_stages(features, name, 1)
    save_file(tensors | {f"{prefix}other.weight": np.zeros((10, 256), np.float32)}, path)
    with pytest.raises(models.WeightsError, match=r"left over in the file \(1\): other\.weight"):
        parity.encoder_with(config(), path)


def test_keys_and_values_of_another_width_are_refused(config, tmp_path):
    tensors = load_file(parity.torch_file(tmp_path, "smp_mit_b0"))
    tensors["block1.0.attn.kv.bias"] = np.zeros(63, np.float32)
    path = tmp_path / "wrong.safetensors"
    save_file(tensors, path)
    with pytest.raises(models.WeightsError, match=r"of another shape \(1\): block1\.0\.attn\.v\.bias \[31\]"):
        parity.encoder_with(config(), path)


def traced(network, watch):
    """Calls watch(module) for every module of the network that is called."""

    def intercept(next_function, arguments, options, context):
        if context.method_name == "__call__":
            watch(context.module)
        return next_function(*arguments, **options)

    with nn.intercept_methods(intercept):
        jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False))


@pytest.mark.parametrize(("library", "outer"), [("torch", 1e-5), ("smp", 1e-6)])
def test_epsilons_are_those_of_transformers_and_of_the_authors(small, library, outer):
    found = {}

    def watch(module):
        if isinstance(module, nn.LayerNorm):
            found["/".join(module.path)] = module.epsilon

    traced(small(style=Style(epsilon=mit.EPSILON[library])), watch)
    inner = {path for path in found if path.endswith(("embed/norm", "reduce_norm"))}
    assert len(inner) == 4 + 3 and len(found) == 7 + 4 * 2 + 4
    assert found == {path: 1e-5 if path in inner else outer for path in found}


@pytest.mark.parametrize(("ratio", "size"), [(1, (4, 5)), (2, (5, 7)), (4, (9, 8)), (4, (3, 2))])
def test_attention_is_the_formula(ratio, size):
    heads, c = 2, 6
    module = mit_block.Attention(heads, ratio, Style())
    x = references.image(*size, channels=c)[0].astype(np.float64)
    like = jax.eval_shape(module.init, jax.random.key(1), x[None])["params"]
    params = jax.tree.map(lambda a: references.tensor(str(a.shape), a.shape).astype(np.float64), like)
    tokens = seen = x.reshape(-1, c)
    if ratio > 1:
        wide = np.pad(x, ((0, max(ratio - size[0], 0)), (0, max(ratio - size[1], 0)), (0, 0)), mode="edge")
        h, w = (n // ratio for n in wide.shape[:2])
        windows = wide[: h * ratio, : w * ratio].reshape(h, ratio, w, ratio, c)
        seen = np.einsum("hiwjc,ijcd->hwd", windows, params["reduce"]["kernel"]) + params["reduce"]["bias"]
        seen = (seen - seen.mean(-1, keepdims=True)) / np.sqrt(seen.var(-1, keepdims=True) + 1e-5)
        seen = (seen * params["reduce_norm"]["scale"] + params["reduce_norm"]["bias"]).reshape(-1, c)
    query, key, value = (
        (source @ params[name]["kernel"] + params[name]["bias"]).reshape(len(source), heads, c // heads)
        for name, source in (("query", tokens), ("key", seen), ("value", seen))
    )
    mixed = np.zeros((len(tokens), heads, c // heads))
    for head in range(heads):
        weights = np.exp(query[:, head] @ key[:, head].T / np.sqrt(c // heads))
        mixed[:, head] = weights / weights.sum(axis=1, keepdims=True) @ value[:, head]
    expected = mixed.reshape(x.shape) @ params["project"]["kernel"] + params["project"]["bias"]
    ours = jax.jit(module.apply)({"params": jax.tree.map(np.float32, params)}, np.float32(x[None]))
    np.testing.assert_allclose(ours[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dilation", [1, 2])
def test_mix_ffn_is_the_formula(dilation):
    module = mit_block.MixFFN(dilation, Style())
    x = references.image(6, 7, channels=3)
    params = module.init(jax.random.key(2), x)["params"]
    hidden = x[0] @ params["expand"]["kernel"] + params["expand"]["bias"]
    padded = np.pad(hidden, ((dilation, dilation), (dilation, dilation), (0, 0)))
    taps = [
        padded[i * dilation : i * dilation + 6, j * dilation : j * dilation + 7]
        * params["depthwise"]["kernel"][i, j, 0]
        for i in range(3)
        for j in range(3)
    ]
    expected = exact_gelu(sum(taps)) @ params["project"]["kernel"]
    np.testing.assert_allclose(module.apply({"params": params}, x)[0], expected, rtol=1e-4, atol=1e-6)


def test_depthwise_kernels_begin_as_large_as_their_nine_pixels_ask():
    ffn = mit_block.MixFFN(1, Style())
    kernel = ffn.init(jax.random.key(0), np.zeros((1, 2, 2, 256), np.float32))["params"]["depthwise"]["kernel"]
    assert kernel.shape == (3, 3, 1, 1024)
    np.testing.assert_allclose(kernel.std(), (2 / 9) ** 0.5, rtol=0.05)


def test_rows_that_fill_no_window_are_not_seen_by_keys_and_values():
    # 9 rows in windows of 4: the last row is a query only.
    module = mit_block.Attention(1, 4, Style())
    x = references.image(9, 8, channels=4)
    variables = module.init(jax.random.key(0), x)
    other = x.copy()
    other[:, 8] += 1
    before, after = module.apply(variables, x), module.apply(variables, other)
    np.testing.assert_array_equal(before[:, :8], after[:, :8])
    assert np.abs(before[:, 8] - after[:, 8]).max() > 0


def test_drop_path_grows_from_0_to_the_last_block():
    found = []
    traced(
        mit.MixTransformer("mit_b0", drop_path=0.35),
        lambda module: found.append(module.drop_path) if isinstance(module, mit_block.Block) else None,
    )
    np.testing.assert_allclose(found, 0.35 * np.arange(8) / 7)


def test_drop_path_leaves_out_a_branch_for_each_image_by_itself():
    rate = 0.4
    block = mit_block.Block(2, 1, 1, rate, Style())
    x = np.repeat(references.image(4, 4, channels=8), 512, axis=0)
    variables = jax.tree.map(lambda a: a + 0.05, block.init(jax.random.key(0), x[:1], False))
    train = jax.jit(lambda key: block.apply(variables, x, True, rngs={"dropout": key}))
    change = np.abs(train(jax.random.key(1)) - x).max(axis=(1, 2, 3))
    # Both branches left out: the image as it was.
    assert abs((change == 0).mean() - rate**2) < 0.05
    rounded = np.round(np.asarray(train(jax.random.key(1))), 4).reshape(512, -1)
    assert len(np.unique(rounded, axis=0)) == 4  # neither, either, both
    np.testing.assert_array_equal(train(jax.random.key(1)), train(jax.random.key(1)))


@pytest.mark.parametrize(("first", "embeddings"), [(False, (1, 2)), (True, (2, 4))])
def test_output_stride_dilates_the_depthwise_convolutions_and_later_embeddings(small, first, embeddings):
    found = {}

    def watch(module):
        if isinstance(module, Conv):
            found["/".join(module.path)] = (module.stride, module.dilation)

    traced(small(output_stride=8, style=Style(dilate_first=first)), watch)
    assert [found[f"stage{stage}_embed/conv"] for stage in (1, 2)] == [(4, 1), (2, 1)]
    assert [found[f"stage{stage}_embed/conv"] for stage in (3, 4)] == [(1, dilation) for dilation in embeddings]
    assert [found[f"stage{stage}_block1/ffn/depthwise"][1] for stage in (1, 2, 3, 4)] == [1, 1, 2, 4]
    assert [found[f"stage{stage}_block1/attention/reduce"] for stage in (1, 2, 3)] == [(8, 1), (4, 1), (2, 1)]


def test_maps_smaller_than_a_window_work(small):
    network = small()
    image = references.image(8, 8)
    features, _ = jax.jit(lambda: network.init_with_output(jax.random.key(0), image, False))()
    assert all(np.isfinite(feature).all() for feature in features)
    assert [feature.shape[1] for feature in features] == [2, 1, 1, 1]


@pytest.mark.parametrize(("decoder", "name"), [("unet", "Unet"), ("fpn", "FPN"), ("upernet", "UPerNet")])
@pytest.mark.parametrize("encoder", ["mit_b0", DEEP[-1]])
def test_whole_networks_have_the_parameters_of_segmentation_models_pytorch(config, encoder, decoder, name):
    overrides = {
        "model.name": decoder,
        "model.decoder_channels": (256, 128, 64, 32, 16),
        "model.upsampling": "nearest",
        "model.head_kernel": 3,
        "model.channels": 256 if decoder == "upernet" else 0,
        "model.encoder.style": "smp",
        "loss.aux_weight": 0.0,
    }
    model = models.build(config(encoder, **overrides), classes=19)
    params, _ = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 64, 64, 3)))
    assert models.count(params) == references.load("counts")[f"smp/{name}/{encoder}"]
