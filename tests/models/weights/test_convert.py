"""From names and arrays of other libraries to ours, worked out by hand on networks of a few layers."""

import logging
import re
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from seg_jax import models
from seg_jax.models import ENCODERS, MODELS
from seg_jax.models.weights import convert
from seg_jax.models.weights.files import WeightFile, WeightsError
from seg_jax.models.weights.naming import KERAS_CLASSIFIER, Naming, adapt_channels, arrange, candidates
from seg_jax.run import pretrained
from tests.models import references

# A network is a stem that sees the image, a linear layer, and a head.
LAYERS = {"stem/conv": "conv1", "stem/norm": "bn1", "block/linear": "fc", "block/gamma": "fc_scale", "head": "top"}
TORCH = Naming(lambda network: LAYERS, unused=(r"classifier\..*",))
KERAS = Naming(lambda network: LAYERS, layout="keras", style="keras", bgr=True, unused=KERAS_CLASSIFIER)


def variables(channels=3, classes=4):
    """Shapes as the network has them; the values are 7."""
    bn = {"scale": (5,), "bias": (5,)}
    shapes = {
        "params": {
            "stem": {"conv": {"kernel": (3, 3, channels, 5)}, "norm": {"bn": bn}},
            "block": {"linear": {"kernel": (5, 5), "bias": (5,)}, "gamma": (5,)},
            "head": {"kernel": (1, 1, 5, classes), "bias": (classes,)},
        },
        "batch_stats": {"stem": {"norm": {"bn": {"mean": (5,), "var": (5,)}}}},
    }

    def fill(tree):
        return {k: fill(v) if isinstance(v, dict) else np.full(v, 7, np.float32) for k, v in tree.items()}

    return fill(shapes)


def random(*shape):
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


def torch_tensors(classes=4):
    return {
        "conv1.weight": random(5, 3, 3, 3),
        **{f"bn1.{name}": random(5) + i for i, name in enumerate(("weight", "bias", "running_mean", "running_var"))},
        "fc.weight": random(5, 5),
        "fc.bias": random(5) + 9,
        "fc_scale": random(5, 1, 1),
        "top.weight": random(classes, 5, 1, 1),
        "top.bias": random(classes),
    }


def keras_tensors():
    return {
        "conv1/kernel": random(3, 3, 3, 5),
        **{f"bn1/{name}": random(5) + i for i, name in enumerate(("gamma", "beta", "moving_mean", "moving_variance"))},
        "fc/kernel": random(5, 5),
        "fc/bias": random(5) + 9,
        "fc_scale": random(5),
        "top/kernel": random(5, 4),  # a dense layer where we have a 1x1 convolution
        "top/bias": random(4),
    }


def file_of(tensors, layout="torch", *, ordered=False):
    return WeightFile(Path("some.file"), layout, tensors, ordered)


def convert_torch(tensors, like=None, naming=TORCH):
    return convert.convert(like or variables(), file_of(tensors), naming, None, what="the network")


def message_of(tensors, like=None):
    with pytest.raises(WeightsError) as error:
        convert_torch(tensors, like)
    return str(error.value)


def assert_trees(ours, expected):
    ours, expected = convert.flat(ours), convert.flat(expected)
    assert ours.keys() == expected.keys()
    for path, array in expected.items():
        assert ours[path].dtype == np.float32, path
        np.testing.assert_array_equal(ours[path], array, err_msg=path)


def test_tensors_of_pytorch():
    t = torch_tensors()
    expected = {
        "params": {
            "stem": {
                "conv": {"kernel": t["conv1.weight"].transpose(2, 3, 1, 0)},
                "norm": {"bn": {"scale": t["bn1.weight"], "bias": t["bn1.bias"]}},
            },
            # Square, so that only its values tell whether it was turned.
            "block": {"linear": {"kernel": t["fc.weight"].T, "bias": t["fc.bias"]}, "gamma": t["fc_scale"][:, 0, 0]},
            "head": {"kernel": t["top.weight"].transpose(2, 3, 1, 0), "bias": t["top.bias"]},
        },
        "batch_stats": {"stem": {"norm": {"bn": {"mean": t["bn1.running_mean"], "var": t["bn1.running_var"]}}}},
    }
    assert_trees(convert_torch({**t, "classifier.1.weight": random(9, 5)}), expected)


def test_tensors_of_keras():
    t = keras_tensors()
    expected = {
        "params": {
            "stem": {
                "conv": {"kernel": t["conv1/kernel"][:, :, ::-1]},  # blue first
                "norm": {"bn": {"scale": t["bn1/gamma"], "bias": t["bn1/beta"]}},
            },
            "block": {"linear": {"kernel": t["fc/kernel"], "bias": t["fc/bias"]}, "gamma": t["fc_scale"]},
            "head": {"kernel": t["top/kernel"][None, None], "bias": t["top/bias"]},
        },
        "batch_stats": {"stem": {"norm": {"bn": {"mean": t["bn1/moving_mean"], "var": t["bn1/moving_variance"]}}}},
    }
    classifier = {"predictions/kernel": random(5, 9), "fc1/bias": random(3), "my_Dense_2/bias": random(3)}
    file = file_of({**t, **classifier}, "keras")
    assert_trees(convert.convert(variables(), file, KERAS, None, what="the network"), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_become_float32(dtype):
    tensors = {name: array.astype(dtype) for name, array in torch_tensors().items()}
    loaded = convert_torch(tensors)["params"]["block"]["linear"]["kernel"]
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, tensors["fc.weight"].T.astype(np.float32))


@pytest.mark.parametrize(
    ("theirs", "ours", "layout", "expected"),
    [
        ((6, 1, 3, 3), (3, 3, 1, 6), "torch", lambda a: a.transpose(2, 3, 1, 0)),  # depthwise
        ((3, 3, 6, 1), (3, 3, 1, 6), "keras", lambda a: a.transpose(0, 1, 3, 2)),
        ((3, 3, 3, 3), (3, 3, 3, 3), "torch", lambda a: a.transpose(2, 3, 1, 0)),  # no shape tells that it is turned
        ((4, 4), (4, 4), "torch", lambda a: a.T),
        ((4, 4), (4, 4), "keras", lambda a: a),
        ((3, 3, 4, 4), (3, 3, 4, 4), "keras", lambda a: a),
        ((8, 4), (1, 1, 4, 8), "torch", lambda a: a.T[None, None]),  # a linear layer where we have a convolution
        ((8, 4, 1, 1), (4, 8), "torch", lambda a: a[:, :, 0, 0].T),  # and the other way round
        ((6, 1, 1), (6,), "torch", lambda a: a[:, 0, 0]),
        ((6,), (6,), "torch", lambda a: a),
        # What cannot be brought to the shape keeps its own.
        ((4, 8), (4, 8), "torch", lambda a: a.T),
        ((2, 6), (3, 4), "keras", lambda a: a),
    ],
)
def test_arrange_by_hand(theirs, ours, layout, expected):
    array = random(*theirs)
    np.testing.assert_array_equal(arrange(array, ours, layout), expected(array))


# ----- accounts


def test_missing_left_over_and_misshapen_tensors_are_listed():
    tensors = torch_tensors()
    del tensors["bn1.bias"], tensors["fc.bias"]
    tensors |= {"extra.weight": random(2), "fc.weight": random(6, 5)}
    assert message_of(tensors) == (
        "some.file does not fit the network:\n"
        "  missing from the file (2): fc.bias (our block/linear/bias [5]), bn1.bias (our stem/norm/bn/bias [5])\n"
        "  of another shape (1): fc.weight [6, 5] (our block/linear/kernel [5, 5])\n"
        "  left over in the file (1): extra.weight\n"
        "Use the weights of this network, or its options."
    )


@pytest.mark.parametrize(
    ("extra", "end"), [(12, "x9.weight\n"), (13, "x8.weight and 1 more\n"), (99, " and 87 more\n")]
)
def test_long_lists_are_cut(extra, end):
    message = message_of({**torch_tensors(), **{f"x{i}.weight": random(1) for i in range(extra)}})
    assert f"left over in the file ({extra}): x0.weight, x1.weight, x10.weight" in message and end in message


def test_a_classifier_may_be_left_over_and_nothing_that_looks_like_one():
    convert_torch({**torch_tensors(), "classifier.0.weight": random(3), "classifier.3.bias": random(3)})
    assert "left over in the file (1): my.classifier.0.weight" in message_of(
        {**torch_tensors(), "my.classifier.0.weight": random(3)}
    )


@pytest.mark.parametrize("name", ["conv1.weight", "bn1.running_var", "fc_scale", "top.bias"])
def test_every_single_tensor_is_needed(name):
    tensors = torch_tensors()
    del tensors[name]
    assert f"missing from the file (1): {name} (our " in message_of(tensors)


@pytest.mark.parametrize("name", ["conv1.weight", "bn1.running_var", "fc.weight"])
def test_every_single_shape_is_compared(name):
    tensors = torch_tensors()
    tensors[name] = np.concatenate([tensors[name]] * 2)
    assert f"of another shape (1): {name} [10" in message_of(tensors)


def test_group_norm_has_no_weights_in_files():
    like = variables()
    like["params"]["stem"]["norm"] = {"gn": like["params"]["stem"]["norm"]["bn"]}
    assert message_of(torch_tensors(), like) == (
        "the network has group norm, but the network of some.file batch norm. Pass --config.model.encoder.norm=batch, "
        "or frozen."
    )


def test_heads_of_other_classes_keep_their_values(caplog):
    with caplog.at_level(logging.INFO):
        loaded = convert_torch(torch_tensors(classes=9))
    np.testing.assert_array_equal(loaded["params"]["head"]["kernel"], np.full((1, 1, 5, 4), 7))
    np.testing.assert_array_equal(loaded["params"]["head"]["bias"], np.full(4, 7))
    assert "head/kernel" in caplog.text and "head/bias" in caplog.text and "random values" in caplog.text
    # But not one of other features.
    assert "of another shape (1): top.weight [4, 6, 1, 1]" in message_of(
        {**torch_tensors(), "top.weight": random(4, 6, 1, 1)}
    )


def test_auxiliary_heads_that_the_library_has_not_keep_their_values(caplog):
    like = variables()
    like["params"]["aux_head"] = {"bias": np.full(4, 3, np.float32)}
    with caplog.at_level(logging.INFO):
        loaded = convert_torch(torch_tensors(), like)
    np.testing.assert_array_equal(loaded["params"]["aux_head"]["bias"], np.full(4, 3))
    np.testing.assert_array_equal(loaded["params"]["head"]["bias"], torch_tensors()["top.bias"])
    assert "aux_head/bias" in caplog.text


def test_layers_that_hold_several_of_ours():
    fused = Naming(lambda network: {"a/k": "a.k", "a/v": "a.v"}, fused={"kv": ("k", "v")})
    like = {"params": {"a": {part: {"kernel": np.zeros((3, 2)), "bias": np.zeros(2)} for part in "kv"}}}
    tensors = {"a.kv.weight": random(4, 3), "a.kv.bias": random(4)}
    loaded = convert_torch(tensors, like, fused)["params"]["a"]
    for part, rows in (("k", slice(0, 2)), ("v", slice(2, 4))):
        np.testing.assert_array_equal(loaded[part]["kernel"], tensors["a.kv.weight"][rows].T)
        np.testing.assert_array_equal(loaded[part]["bias"], tensors["a.kv.bias"][rows])


# ----- the image


def test_adapted_channels_by_hand():
    kernel = random(3, 3, 3, 5)
    r, g, b = (kernel[:, :, i] for i in range(3))
    assert adapt_channels(kernel, 3) is kernel
    np.testing.assert_allclose(adapt_channels(kernel, 1)[:, :, 0], r + g + b, rtol=1e-6)
    for channels, order in ((2, [r, g]), (4, [r, g, b, r]), (6, [r, g, b, r, g, b])):
        adapted = adapt_channels(kernel, channels)
        assert adapted.shape == (3, 3, channels, 5) and adapted.dtype == np.float32
        np.testing.assert_allclose(adapted, np.stack(order, axis=2) * 3 / channels, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 6, 9])
def test_a_grey_picture_is_seen_as_before(channels):
    kernel = random(3, 3, 3, 5)
    np.testing.assert_allclose(adapt_channels(kernel, channels).sum(2), kernel.sum(2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["torch", "keras"])
@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_the_image_may_have_other_channels(layout, channels, caplog):
    like = variables(channels=channels)
    with caplog.at_level(logging.INFO):
        if layout == "torch":
            loaded, three = convert_torch(torch_tensors(), like), torch_tensors()["conv1.weight"].transpose(2, 3, 1, 0)
        else:
            file, three = file_of(keras_tensors(), "keras"), keras_tensors()["conv1/kernel"][:, :, ::-1]
            loaded = convert.convert(like, file, KERAS, None, what="the network")
    kernel = loaded["params"]["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, adapt_channels(three, channels))
    line = f"was trained on 3 channels; it is repeated and rescaled by 3/{channels} for the {channels} of the images"
    assert (line in caplog.text) == (channels != 3)


def test_the_image_of_an_encoder_may_have_other_channels(tiny_config, caplog):
    config = tiny_config({"model.encoder.name": "resnet18", "model.encoder.depth": 5})
    model = models.build(config, classes=2)
    tensors = references.fill(references.load("resnet18")["tensors"])
    fresh = like(model, channels=4)
    with caplog.at_level(logging.INFO):
        params, model_state = models.load(config, model, *fresh, file_of(tensors), whole=False)
    kernel = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["encoder"]["stem"]["conv"]["kernel"], adapt_channels(kernel, 4))
    assert "rescaled by 3/4 for the 4 of the images" in caplog.text
    assert re.search(
        r"the encoder resnet18: \d+ arrays from some\.file, named as in torchvision, arithmetic of torch", caplog.text
    )
    # What is not of the encoder stays.
    for part, tree in (("params", params), ("batch_stats", model_state["batch_stats"])):
        before = fresh[0] if part == "params" else fresh[1]["batch_stats"]
        assert_trees({part: tree["decoder"]}, {part: before["decoder"]})


def like(model, channels=3):
    """Zeros of the shapes of (params, model_state)."""
    shapes = jax.eval_shape(lambda key: models.init(model, key, (1, 32, 32, channels)), jax.random.key(0))
    return jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)


# ----- which library


def test_the_naming_that_knows_most_is_chosen():
    one = Naming(lambda network: {"a": "conv1", "b": "bn1", "c": "fc"})
    two = Naming(lambda network: {"a": "conv1", "b": "norm1", "c": "fc_scale"}, style="smp")
    namings = {"one": one, "two": two, "keras": KERAS}
    choose = lambda tensors: convert.choose(file_of(tensors), namings, None, what="the network")[0]  # noqa: E731
    assert choose(torch_tensors()) == "one"
    assert choose({"conv1.weight": 0, "norm1.bias": 0, "fc_scale": 0}) == "two"  # one of its own name, without a leaf
    assert convert.choose(file_of(keras_tensors(), "keras"), namings, None, what="the network")[0] == "keras"


@pytest.mark.parametrize(
    "prefix", ["module.", "module.module.", "model.", "model._orig_mod.", "encoder.", "net.backbone.", "conv1."]
)
def test_any_prefix_of_all_names_is_taken_off(prefix):
    tensors = torch_tensors()
    file = file_of({prefix + name: array for name, array in tensors.items()})
    _, naming, taken = convert.choose(file, {"one": TORCH}, None, what="the network")
    assert taken.prefix == prefix and taken.tensors == tensors
    assert_trees(convert.convert(variables(), taken, naming, None, what="the network"), convert_torch(tensors))


def test_tensors_beside_the_network_are_left_out():
    # A module of Lightning with the weights of its loss, and a whole network of which the encoder is asked for.
    tensors = torch_tensors()
    beside = {"std": random(3), "loss.weight": random(4), "decoder.conv1.weight": random(5, 3, 3, 3)}
    file = file_of({**beside, **{f"model.{name}": array for name, array in tensors.items()}})
    assert convert.choose(file, {"one": TORCH}, None, what="the network")[2].tensors == tensors
    # Without a prefix every tensor has to be accounted for.
    file = file_of(beside | tensors)
    assert convert.choose(file, {"one": TORCH}, None, what="the network")[2].tensors.keys() == beside.keys() | tensors


def test_a_submodule_is_no_prefix():
    # One of four layers has a name that other networks have, too.
    file = file_of({"module.a.conv1.weight": 0, "module.b.bias": 0})
    with pytest.raises(WeightsError, match="holds no tensor of the network"):
        convert.choose(file, {"one": TORCH}, None, what="the network")


def test_of_two_networks_in_a_file_the_average_is_taken():
    def twice(one, two):
        tensors = torch_tensors()
        file = file_of({f"{prefix}{name}": a for prefix in (one, two) for name, a in tensors.items()})
        return convert.choose(file, {"one": TORCH}, None, what="the network")[2].prefix

    assert twice("model.", "ema_model.") == "ema_model."
    with pytest.raises(WeightsError, match=r"holds the network 2 times, under student\., teacher\.\. Save one of them"):
        twice("teacher.", "student.")


def test_the_file_of_another_network_is_refused():
    with pytest.raises(WeightsError) as error:
        convert.choose(file_of({"b.weight": 0, "a.weight": 0}), {"one": TORCH}, None, what="the encoder x")
    assert str(error.value) == (
        "some.file holds no tensor of the encoder x. It has 2 tensors, such as a.weight, b.weight. "
        "Check model.name and model.encoder.name, or the path."
    )


@pytest.mark.parametrize(("namings", "known"), [({"keras": KERAS}, r"keras \(keras layout\)"), ({}, "none")])
def test_the_format_of_another_library_is_refused(namings, known):
    with pytest.raises(
        WeightsError, match=rf"some\.file is in torch layout, which nobody stores .*; known: {known}\.$"
    ):
        convert.choose(file_of(torch_tensors()), namings, None, what="the encoder x")


@pytest.mark.parametrize(
    ("encoder", "fixture", "text"),
    [
        ("resnet50", "resnet18", "does not fit the encoder resnet50"),
        ("resnet18", "mobilenet_v2", "holds no tensor of the encoder resnet18"),
        ("vgg16", "vgg16_bn", "does not fit the encoder vgg16"),
        ("plain", "vgg16", "known: none"),
    ],
)
def test_weights_of_another_encoder_are_refused(tiny_config, encoder, fixture, text):
    config = tiny_config({"model.encoder.name": encoder, "model.encoder.depth": 5 if encoder != "plain" else 2})
    file = file_of(references.fill(references.load(fixture)["tensors"]))
    model = models.build(config, classes=2)
    with pytest.raises(WeightsError, match=text):
        models.load(config, model, *like(model), file, whole=False)


# ----- Keras counts its layers


def test_counted_layers_get_their_names():
    # Counted by kind, in the order of the layers; depthwise convolutions and dense layers are kinds of their own.
    layers = {
        "stem/conv": "Conv1",
        "stem/norm": "bn1",
        "a/depthwise/conv": "dw",
        "a/depthwise/norm": "bn2",
        "a/project/conv": "pw",
        "a/linear": "fc",
        "a/layer_norm": "ln",
        "b/depthwise/conv": "dw2",
    }

    def norm(n):
        return {"bn": {"scale": np.zeros(n), "bias": np.zeros(n)}}

    def kernel(*shape):
        return {"kernel": np.zeros(shape)}

    like = {
        "params": {
            "stem": {"conv": kernel(3, 3, 1, 4), "norm": norm(4)},  # an image of one channel is not depthwise
            "a": {
                "depthwise": {"conv": kernel(3, 3, 1, 4), "norm": norm(4)},
                "project": {"conv": {**kernel(1, 1, 4, 4), "bias": np.zeros(4)}},
                "linear": {**kernel(4, 4), "bias": np.zeros(4)},
                "layer_norm": {"scale": np.zeros(4), "bias": np.zeros(4)},
            },
            "b": {"depthwise": {"conv": kernel(5, 5, 1, 4)}},
        },
        "batch_stats": {
            "stem": {"norm": {"bn": {"mean": np.zeros(4), "var": np.zeros(4)}}},
            "a": {"depthwise": {"norm": {"bn": {"mean": np.zeros(4), "var": np.zeros(4)}}}},
        },
    }
    counted = {
        "conv2d/0": random(3, 3, 3, 4),
        "conv2d_1/0": random(1, 1, 4, 4),
        "conv2d_1/1": random(4),
        "depthwise_conv2d/0": random(3, 3, 4, 1),
        "depthwise_conv2d_1/0": random(5, 5, 4, 1),
        "dense/0": random(4, 4),
        "dense/1": random(4) + 1,
        "dense_1/0": random(4, 9),  # the classifier
        "layer_normalization/0": random(4) + 2,
        "layer_normalization/1": random(4) + 3,
        **{f"batch_normalization{n}/{i}": random(4) + 4 * i for n in ("", "_1") for i in range(4)},
    }
    keras = Naming(lambda network: layers, layout="keras", unused=KERAS_CLASSIFIER)
    loaded = convert.convert(like, file_of(counted, "keras", ordered=True), keras, None, what="the network")
    c = counted

    def normed(group):
        return {"bn": {"scale": c[f"{group}/0"], "bias": c[f"{group}/1"]}}

    def statistics(group):
        return {"bn": {"mean": c[f"{group}/2"], "var": c[f"{group}/3"]}}

    expected = {
        "params": {
            "stem": {"conv": {"kernel": c["conv2d/0"].sum(2, keepdims=True)}, "norm": normed("batch_normalization")},
            "a": {
                "depthwise": {
                    "conv": {"kernel": c["depthwise_conv2d/0"].transpose(0, 1, 3, 2)},
                    "norm": normed("batch_normalization_1"),
                },
                "project": {"conv": {"kernel": c["conv2d_1/0"], "bias": c["conv2d_1/1"]}},
                "linear": {"kernel": c["dense/0"], "bias": c["dense/1"]},
                "layer_norm": {"scale": c["layer_normalization/0"], "bias": c["layer_normalization/1"]},
            },
            "b": {"depthwise": {"conv": {"kernel": c["depthwise_conv2d_1/0"].transpose(0, 1, 3, 2)}}},
        },
        "batch_stats": {
            "stem": {"norm": statistics("batch_normalization")},
            "a": {"depthwise": {"norm": statistics("batch_normalization_1")}},
        },
    }
    assert_trees(loaded, expected)
    del counted["conv2d_1/1"]
    with pytest.raises(WeightsError, match=r"missing from the file \(1\): pw/bias \(our a/project/conv/bias \[4\]\)"):
        convert.convert(like, file_of(counted, "keras", ordered=True), keras, None, what="the network")


# ----- every table of names


SLOW = {"resnet101", "resnet152", *(f"efficientnet_b{n}" for n in range(1, 8)), "convnext_small"}
SLOW |= {f"mit_b{n}" for n in range(1, 6)}
TABLES = [
    pytest.param(encoder, library, id=f"{encoder}-{library}", marks=[pytest.mark.slow] if encoder in SLOW else [])
    for encoder, entry in ENCODERS.items()
    for library in entry.namings
]


@pytest.mark.parametrize(("encoder", "library"), TABLES)
def test_names_are_of_all_our_arrays_and_of_nothing_else(tiny_config, encoder, library):
    entry = ENCODERS[encoder].namings[library]
    assert entry.style in ENCODERS[encoder].epsilon
    assert (entry.layout == "keras") == (library == "keras")
    for depth in (5,) if encoder in SLOW else (5, 3):
        options = {"model.encoder.depth": depth, "model.encoder.style": entry.style}
        network = models.build(tiny_config({"model.encoder.name": encoder, **options}), classes=2).encoder
        layers, paths = entry.layers(network), paths_of(network)
        assert_names_fit(layers, paths, entry.layout)
        assert f"{entry.image}/kernel" in paths
        modules = {path if path in layers else path.rpartition("/")[0].removesuffix("/bn") for path in paths}
        assert layers.keys() == modules


@cache
def paths_of(encoder):
    """Of all arrays of an encoder."""
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    return list(convert.flat(jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x, False), image)))


def assert_names_fit(layers, paths, layout):
    """Every array has names of its own."""
    names = {path: candidates(path, layers, layout) for path in paths}
    assert [path for path, found in names.items() if not found and "head" not in path] == []
    found = [name for several in names.values() for name in several[:1]]
    assert len(set(found)) == len(found)
    assert len(set(layers.values())) == len(layers)


@pytest.mark.parametrize(
    ("name", "library"), [(name, library) for name, entry in MODELS.items() for library in entry.names]
)
def test_names_of_decoders_are_of_all_their_arrays_and_of_nothing_else(tiny_config, name, library):
    options = {
        "model.name": name,
        "model.encoder.name": "mit_b0" if library == "transformers" else "resnet18",
        "model.encoder.style": "smp" if library == "smp" else "torch",
        "model.encoder.depth": 5,
        "model.upsampling": "nearest",
    }
    model = models.build(tiny_config(options), classes=2)
    params, model_state = like(model)
    arrays = {part: tree["decoder"] for part, tree in {"params": params, **model_state}.items() if "decoder" in tree}
    assert_names_fit(MODELS[name].names[library](model.decoder), list(convert.flat(arrays)), "torch")


def test_whole_networks_of_an_encoder_without_weights_are_refused(tiny_config):
    config = tiny_config()
    model = models.build(config, classes=2)
    with pytest.raises(
        WeightsError, match=r"nobody stores the network unet on plain in that we know of; known: none\."
    ):
        models.load(config, model, *like(model), file_of(torch_tensors()), whole=True)
    assert pretrained.weights_of(config) == ("", False)
