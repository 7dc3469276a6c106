"""Converters of shape operations: reshaping, broadcasting, slicing, padding, reductions, sizes.

A converter takes the graph, the step and its inputs, and returns the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_jax.config import ConfigError
from seg_jax.export.graph import ONNX_TYPES, TO_NCHW, Graph, Tensor
from seg_jax.export.trace import Step

Value = Tensor | np.ndarray


def any_nchw(values: Sequence[Value]) -> bool:
    """Whether any of the values is stored as [b c h w]."""
    return any(isinstance(value, Tensor) and value.nchw for value in values)


def _permuted(order: Sequence[Any], *, nchw: bool) -> list[Any]:
    """One parameter for each axis, in the order in which the value is stored."""
    return [order[axis] for axis in TO_NCHW] if nchw else list(order)


def same(graph: Graph, step: Step, x: Tensor) -> Tensor:
    """The same value under a new name: later constants must not be folded into the convolution behind the old one."""
    return Tensor(graph.node("Identity", x.name), x.shape, x.nchw)


def _reshaped(graph: Graph, x: Value, shape: Sequence[Any]) -> Tensor:
    symbols = [size for size in shape if not isinstance(size, int)]
    # One symbolic size follows from the others: runtimes handle -1 best.
    dims = [-1 if not isinstance(size, int) else size for size in shape] if len(symbols) == 1 else shape
    return Tensor(graph.node("Reshape", graph.stored(x, nchw=False), graph.dims(dims)), tuple(shape))


def reshape(graph: Graph, step: Step, x: Value) -> Tensor:
    """Reshape, squeeze and expand_dims."""
    return _reshaped(graph, x, step.shape)


def broadcast(graph: Graph, step: Step, x: Value) -> Tensor:
    """broadcast_in_dim."""
    shape, axes = step.shape, step.params["broadcast_dimensions"]
    thin = [1] * len(shape)
    for axis, size in zip(axes, x.shape, strict=True):
        thin[axis] = size
    y = x if tuple(thin) == tuple(x.shape) else _reshaped(graph, x, thin)
    if tuple(thin) == tuple(shape):
        return Tensor(graph.stored(y, nchw=False), shape)
    return Tensor(graph.node("Expand", graph.stored(y, nchw=False), graph.dims(shape)), shape)


def transpose(graph: Graph, step: Step, x: Value) -> Tensor:
    """Transpose."""
    name = graph.node("Transpose", graph.stored(x, nchw=False), perm=step.params["permutation"])
    return Tensor(name, step.shape)


def concatenate(graph: Graph, step: Step, *values: Value) -> Tensor:
    """Concatenate."""
    nchw = any_nchw(values)
    axis = TO_NCHW.index(step.params["dimension"]) if nchw else step.params["dimension"]
    name = graph.node("Concat", *(graph.stored(value, nchw=nchw) for value in values), axis=axis)
    return Tensor(name, step.shape, nchw)


def stack(graph: Graph, step: Step, *values: Value) -> Tensor:
    """Stack along a new axis."""
    axis = step.params["axis"]
    at = graph.constant([axis], np.int64)
    parts = [graph.node("Unsqueeze", graph.stored(value, nchw=False), at) for value in values]
    return Tensor(graph.node("Concat", *parts, axis=axis), step.shape)


def slice_(graph: Graph, step: Step, x: Tensor) -> Tensor:
    """Strided slice."""
    strides = step.params["strides"] or [1] * len(x.shape)
    limits = [_permuted(each, nchw=x.nchw) for each in (step.params["start_indices"], step.params["limit_indices"])]
    cut = [
        (axis, start, stop, stride)
        for axis, (start, stop, stride, size) in enumerate(
            zip(*limits, _permuted(strides, nchw=x.nchw), _permuted(x.shape, nchw=x.nchw), strict=True)
        )
        if (start, stop, stride) != (0, size, 1)
    ]
    if not cut:
        return same(graph, step, x)
    axes, starts, stops, steps = zip(*cut, strict=True)
    name = graph.node("Slice", x.name, *(graph.dims(each) for each in (starts, stops, axes, steps)))
    return Tensor(name, step.shape, x.nchw)


def pad(graph: Graph, step: Step, x: Tensor, value: Value) -> Tensor:
    """Padding with a constant."""
    padding = _permuted(step.params["padding_config"], nchw=x.nchw)
    if any(inner for _, _, inner in padding) or any(side < 0 for low, high, _ in padding for side in (low, high)):
        raise ConfigError("padding between pixels, or less than none, has no form in ONNX.")
    amounts = graph.dims([low for low, _, _ in padding] + [high for _, high, _ in padding])
    return Tensor(graph.node("Pad", x.name, amounts, graph.stored(value, nchw=False)), step.shape, x.nchw)


def reduce(graph: Graph, step: Step, x: Tensor, *, op: str) -> Tensor:
    """Sum or maximum over axes."""
    axes = step.params["axes"]
    left = [axis for axis in range(len(x.shape)) if axis not in axes]
    nchw = x.nchw and [axis for axis in TO_NCHW if axis not in axes] == left  # else the rest would be in another order
    stored = graph.stored(x, nchw=nchw)
    at = graph.constant([TO_NCHW.index(axis) if nchw else axis for axis in axes], np.int64)
    return Tensor(graph.node(op, stored, at, keepdims=0), step.shape)


def argmax(graph: Graph, step: Step, x: Tensor) -> Tensor:
    """Index of the maximum along one axis."""
    (axis,) = step.params["axes"]
    nchw = x.nchw and axis == 3
    name = graph.node("ArgMax", graph.stored(x, nchw=nchw), axis=1 if nchw else axis, keepdims=0)
    return Tensor(graph.node("Cast", name, to=ONNX_TYPES[step.params["index_dtype"].name]), step.shape)


def iota(graph: Graph, step: Step) -> Tensor:
    """0, 1, 2... along one axis."""
    shape, axis = step.shape, step.params["dimension"]
    kind = step.params["dtype"].name
    stop = graph.node("Squeeze", graph.node("Cast", graph.dim(shape[axis]), to=ONNX_TYPES[kind]))
    numbers = graph.node("Range", graph.constant(0, kind), stop, graph.constant(1, kind))
    if len(shape) > 1:
        thin = [size if a == axis else 1 for a, size in enumerate(shape)]
        numbers = graph.node("Expand", graph.node("Reshape", numbers, graph.dims(thin)), graph.dims(shape))
    return Tensor(numbers, shape)


def dim(graph: Graph, step: Step) -> Tensor:
    """A symbolic size as a number."""
    kind = ONNX_TYPES[step.outputs[0].aval.dtype.name]
    return Tensor(graph.node("Squeeze", graph.node("Cast", graph.dim(step.params["dim"]), to=kind)), ())
