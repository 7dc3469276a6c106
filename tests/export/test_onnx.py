"""The conversion to ONNX: folding by hand, sizes from symbols, primitives without a form, what a U-Net becomes."""

from collections import Counter

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from seg_jax.config import ConfigError
from seg_jax.export import onnx as exporter
from seg_jax.export import primitives, trace
from seg_jax.export.graph import Conv, Graph
from seg_jax.export.network import Network


def converted(function, *, shape="b,h,w"):
    """A function of an image uint8 [b h w 3] -> (model, a session of it)."""
    spec = jax.ShapeDtypeStruct((*jax.export.symbolic_shape(shape), 3), jnp.uint8)
    traced = jax.jit(function).trace(spec).jaxpr
    graph = Graph(spec.shape)
    image = trace.Variable(traced.in_avals[0])
    steps = trace.trace(traced, [image])
    model = graph.model(primitives.run(graph, steps, {image: graph.image}), {"note": "x"})
    return model, onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


def test_a_convolution_takes_up_what_follows():
    # (2 x + 1 - 3) / 4 * 8 + 5 = 4 x + 1, for two features whose factors differ by 10.
    conv = Conv(np.full((2, 1, 1, 1), 2.0), np.ones(2), 0, ("w", "b"))
    conv.absorb("Sub", np.array(3.0))
    conv.absorb("Div", np.full((1, 1, 1, 2), 4.0))
    conv.absorb("Mul", np.array([8.0, 80.0]).reshape(1, 1, 1, 2))
    conv.absorb("Add", np.array(5.0))
    assert conv.weight.ravel().tolist() == [4.0, 40.0] and conv.bias.tolist() == [1.0, -35.0]


def test_what_is_read_twice_is_not_folded():
    kernel = np.ones((1, 1, 3, 4), np.float32)

    def function(image):
        y = jax.lax.conv_general_dilated(
            image.astype(jnp.float32), kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y * 2 + y

    image = np.random.default_rng(0).integers(0, 256, (1, 2, 3, 3), np.uint8)
    _, session = converted(function)
    np.testing.assert_array_equal(session.run(None, {"image": image})[0], np.asarray(function(image)))


def test_sizes_are_computed_from_the_image():
    def function(image):
        b, h, w, _ = image.shape
        rows = (h + 3) // 4 * 4 - h
        more = jnp.broadcast_to(
            jax.lax.slice(image, (0, 0, 0, 0), (1, 1, 1, 1)).astype(jnp.float32), (b, rows, 2 * w, 1)
        )
        return jnp.concatenate([more, jnp.full((b, (h * h - w) % 3, 2 * w, 1), 0.0)], axis=1)

    _, session = converted(function)
    for h, w in ((5, 2), (8, 4), (7, 5)):
        image = np.full((2, h, w, 3), 7, np.uint8)
        np.testing.assert_array_equal(session.run(None, {"image": image})[0], np.asarray(function(image)))


def test_an_unknown_primitive_is_named():
    with pytest.raises(ConfigError, match=r"'cumsum', which has no ONNX converter"):
        converted(lambda image: jnp.cumsum(image.astype(jnp.float32), axis=1))


def test_a_unet_is_its_convolutions_and_nothing_between(network):
    model = exporter.build(network)
    count = operators(model)
    # Two convolutions at each of 3 + 2 levels and the head; a ReLU for each of the ten; one change of layout and back.
    assert (count["Conv"], count["Relu"], count["ConvTranspose"], count["MaxPool"]) == (11, 10, 2, 2)
    assert count["Transpose"] == 2
    # The normalisation of the image; the other additions and products are of sizes.
    floats = {node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    for node in model.graph.node:
        if node.op_type in ("Add", "Sub", "Mul", "Div") and floats & set(node.input):
            floats |= set(node.output)
    assert len(floats) == 4
    sides = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
    assert sides == [["b", "h", "w", 3]]
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("output", ["probabilities", "label"])
def test_the_metadata_is_in_the_file(run, output):
    network = Network.load(run, output=output)
    model = exporter.build(network)
    assert {entry.key: entry.value for entry in model.metadata_props} == network.documents
    assert [value.name for value in model.graph.output] == [output]
