"""Converters of layers: convolutions, matrix products, pooling, resizing, softmax.

A converter takes the graph, the step and its inputs, and returns the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_jax.config import ConfigError
from seg_jax.export.graph import TO_NCHW, Graph, Tensor
from seg_jax.export.trace import Step

Value = Tensor | np.ndarray


def convolution(graph: Graph, step: Step, x: Tensor, kernel: np.ndarray) -> Tensor:
    """A convolution with any stride, dilation and groups."""
    params = step.params
    layout = params["dimension_numbers"]
    if (layout.lhs_spec, layout.rhs_spec) != ((0, 3, 1, 2), (3, 2, 0, 1)) or set(params["lhs_dilation"]) != {1}:
        raise ConfigError("only convolutions of NHWC by HWIO that are not transposed can be written as ONNX.")
    name = graph.convolution(
        "Conv",
        graph.stored(x, nchw=True),
        kernel.transpose(3, 2, 0, 1),
        strides=params["window_strides"],
        pads=[low for low, _ in params["padding"]] + [high for _, high in params["padding"]],
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
    )
    return Tensor(name, step.shape, nchw=True)


def up_conv(graph: Graph, step: Step, x: Tensor, kernel: np.ndarray) -> Tensor:
    """`models.layers.up_conv_2x2`: a transposed convolution whose windows do not overlap."""
    weight = kernel.transpose(2, 3, 0, 1)
    name = graph.convolution("ConvTranspose", graph.stored(x, nchw=True), weight, axis=1, strides=[2, 2])
    return Tensor(name, step.shape, nchw=True)


def max_pool(graph: Graph, step: Step, x: Tensor) -> Tensor:
    """Max pooling."""
    _, *kernel, _ = step.params["window_dimensions"]
    _, *strides, _ = step.params["window_strides"]
    _, *padding, _ = step.params["padding"]
    pads = [low for low, _ in padding] + [high for _, high in padding]
    name = graph.node("MaxPool", graph.stored(x, nchw=True), kernel_shape=kernel, strides=strides, pads=pads)
    return Tensor(name, step.shape, nchw=True)


def dot(graph: Graph, step: Step, a: Value, b: Value) -> Tensor:
    """A product with a constant matrix, or any other product of tensors."""
    (left, right), (batch, _) = step.params["dimension_numbers"]
    by_matrix = len(b.shape) == 2 and not batch and tuple(left) == (len(a.shape) - 1,)
    if by_matrix and isinstance(a, Tensor) and isinstance(b, np.ndarray):
        weight = b if tuple(right) == (0,) else b.T
        if a.nchw:  # a matrix product over the channels is a 1x1 convolution
            name = graph.convolution("Conv", a.name, weight.T[:, :, None, None])
        else:
            name = graph.node("MatMul", a.name, graph.constant(weight))
        return Tensor(name, step.shape, a.nchw)
    names = [graph.stored(value, nchw=False) for value in (a, b)]
    return Tensor(graph.node("Einsum", *names, equation=_equation(step, a, b)), step.shape)


def _equation(step: Step, a: Value, b: Value) -> str:
    """The dot product in Einstein notation; the result has the batch axes, then the remaining axes of either side."""
    (left, right), (one, two) = step.params["dimension_numbers"]
    letters = iter("abcdefghijklmnop")
    first = [next(letters) for _ in a.shape]
    second = [next(letters) for _ in b.shape]
    for i, j in [*zip(left, right, strict=True), *zip(one, two, strict=True)]:
        second[j] = first[i]
    result = [first[i] for i in one]
    result += [first[i] for i in range(len(first)) if i not in left and i not in one]
    result += [second[j] for j in range(len(second)) if j not in right and j not in two]
    return f"{''.join(first)},{''.join(second)}->{''.join(result)}"


def interpolate(graph: Graph, step: Step, x: Tensor) -> Tensor:
    """`models.layers.interpolate`: bilinear, without antialiasing."""
    corners = "align_corners" if step.params["align_corners"] else "half_pixel"
    return _resize(graph, step, x, nchw=True, mode="linear", coordinate_transformation_mode=corners)


def repeat(graph: Graph, step: Step, x: Tensor) -> Tensor:
    """`models.layers.repeat`: nearest-neighbour upsampling by whole factors."""
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return _resize(graph, step, x, nchw=True, **attributes)


def resize_antialiased(graph: Graph, step: Step, x: Tensor) -> Tensor:
    """`resample.resize_antialiased`; uint8 results may differ by one level."""
    return _resize(graph, step, x, nchw=False, mode="linear", antialias=1, exclude_outside=1)


def _resize(graph: Graph, step: Step, x: Tensor, *, nchw: bool, **attributes: Any) -> Tensor:
    old, new = ([shape[axis] for axis in TO_NCHW] if nchw else list(shape) for shape in (x.shape, step.shape))
    factors = [n // o if n % o == 0 else 0 for o, n in zip(old, new, strict=True)]
    stored = graph.stored(x, nchw=nchw)
    # Sizes for all four axes: an optimizer of ONNX Runtime does not understand the attribute that selects two axes.
    if all(isinstance(factor, int) and factor for factor in factors):
        name = graph.node("Resize", stored, "", graph.constant(factors, np.float32), **attributes)
    else:
        name = graph.node("Resize", stored, "", "", graph.dims(new), **attributes)
    return Tensor(name, step.shape, nchw)


def softmax(graph: Graph, step: Step, x: Tensor) -> Tensor:
    """Softmax over the last axis."""
    return Tensor(graph.node("Softmax", graph.stored(x, nchw=False), axis=-1), x.shape)


def probabilities(graph: Graph, step: Step, x: Tensor) -> Tensor:
    """`network.probabilities`."""
    if step.params["head"] == "sigmoid":
        return Tensor(graph.node("Sigmoid", x.name), x.shape, x.nchw)
    return softmax(graph, step, x)
