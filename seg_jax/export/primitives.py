"""What every primitive of JAX is in ONNX.

A converter takes the graph, the step and its inputs, and gives the result. [b h w c] is stored as [b c h w] from the
first convolution on, and whatever follows keeps that layout while it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from seg_jax.config import ConfigError
from seg_jax.export import layers
from seg_jax.export.graph import FIRST, Graph, Tensor
from seg_jax.export.steps import Place, Program, Step

Value = Tensor | np.ndarray
Converter = Callable[..., Tensor]
TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9}  # of onnx.TensorProto


def _is_first(values: Sequence[Value]) -> bool:
    return any(isinstance(value, Tensor) and value.first for value in values)


def _permuted(order: Sequence[Any], *, first: bool) -> list[Any]:
    """Parameters of the axes of a value in the order in which it is stored."""
    return [order[axis] for axis in FIRST] if first else list(order)


def _elementwise(graph: Graph, step: Step, *values: Value, op: str) -> Tensor:
    first = _is_first(values)
    name = graph.node(op, *(graph.stored(value, first=first) for value in values))
    return Tensor(name, step.shape, first)


def _affine(graph: Graph, step: Step, a: Value, b: Value, *, op: str, single: bool) -> Tensor:
    """Of a convolution and constants for each channel the convolution takes care: batch norm costs nothing."""
    if op in ("Add", "Mul") and isinstance(a, np.ndarray):
        a, b = b, a
    by_channel = isinstance(b, np.ndarray) and (b.size == 1 or b.shape == (1, 1, 1, b.size))
    if single and by_channel and isinstance(a, Tensor) and a.name in graph.convs:
        graph.convs[a.name].absorb(op, np.asarray(b))
        return a
    return _elementwise(graph, step, a, b, op=op)


def _bounded(graph: Graph, step: Step, a: Value, b: Value, *, op: str) -> Tensor:
    """Maximum and minimum; with a number they are what runtimes fuse with a convolution."""
    if isinstance(a, np.ndarray):
        a, b = b, a
    if not isinstance(b, np.ndarray) or b.size > 1 or b.dtype != np.float32 or isinstance(a, np.ndarray):
        return _elementwise(graph, step, a, b, op=op)
    if op == "Max" and not b.any():
        return Tensor(graph.node("Relu", a.name), step.shape, a.first)
    bound = graph.constant(b.reshape(()))
    limits = (bound,) if op == "Max" else ("", bound)
    return Tensor(graph.node("Clip", a.name, *limits), step.shape, a.first)


def _rsqrt(graph: Graph, step: Step, x: Tensor) -> Tensor:
    return Tensor(graph.node("Reciprocal", graph.node("Sqrt", x.name)), x.shape, x.first)


def _erfc(graph: Graph, step: Step, x: Tensor) -> Tensor:
    one = graph.constant(1, np.float32)
    return Tensor(graph.node("Sub", one, graph.node("Erf", x.name)), x.shape, x.first)


def _power(graph: Graph, step: Step, x: Tensor) -> Tensor:
    exponent = graph.constant(step.params.get("y", 2), np.float32)
    return Tensor(graph.node("Pow", x.name, exponent), x.shape, x.first)


def _unequal(graph: Graph, step: Step, a: Value, b: Value) -> Tensor:
    equal = _elementwise(graph, step, a, b, op="Equal")
    return Tensor(graph.node("Not", equal.name), equal.shape, equal.first)


def _remainder(graph: Graph, step: Step, a: Value, b: Value) -> Tensor:
    name = graph.node("Mod", graph.stored(a, first=False), graph.stored(b, first=False), fmod=1)
    return Tensor(name, step.shape)


def _select(graph: Graph, step: Step, which: Value, otherwise: Value, then: Value) -> Tensor:
    return _elementwise(graph, step, which, then, otherwise, op="Where")


def _same(graph: Graph, step: Step, x: Tensor) -> Tensor:
    # A value of its own: what follows it must not change the convolution that it may be.
    return Tensor(graph.node("Identity", x.name), x.shape, x.first)


def _cast(graph: Graph, step: Step, x: Tensor) -> Tensor:
    return Tensor(graph.node("Cast", x.name, to=TYPES[step.params["new_dtype"].name]), x.shape, x.first)


def _reshaped(graph: Graph, x: Value, shape: Sequence[Any]) -> Tensor:
    symbols = [size for size in shape if not isinstance(size, int)]
    # With one unknown side the others say it; runtimes understand that best.
    dims = [-1 if not isinstance(size, int) else size for size in shape] if len(symbols) == 1 else shape
    return Tensor(graph.node("Reshape", graph.stored(x, first=False), graph.dims(dims)), tuple(shape))


def _reshape(graph: Graph, step: Step, x: Value) -> Tensor:
    return _reshaped(graph, x, step.shape)


def _broadcast(graph: Graph, step: Step, x: Value) -> Tensor:
    shape, axes = step.shape, step.params["broadcast_dimensions"]
    thin = [1] * len(shape)
    for axis, size in zip(axes, x.shape, strict=True):
        thin[axis] = size
    y = x if tuple(thin) == tuple(x.shape) else _reshaped(graph, x, thin)
    if tuple(thin) == tuple(shape):
        return Tensor(graph.stored(y, first=False), shape)
    return Tensor(graph.node("Expand", graph.stored(y, first=False), graph.dims(shape)), shape)


def _transpose(graph: Graph, step: Step, x: Value) -> Tensor:
    name = graph.node("Transpose", graph.stored(x, first=False), perm=step.params["permutation"])
    return Tensor(name, step.shape)


def _concatenate(graph: Graph, step: Step, *values: Value) -> Tensor:
    first = _is_first(values)
    axis = FIRST.index(step.params["dimension"]) if first else step.params["dimension"]
    name = graph.node("Concat", *(graph.stored(value, first=first) for value in values), axis=axis)
    return Tensor(name, step.shape, first)


def _stack(graph: Graph, step: Step, *values: Value) -> Tensor:
    axis = step.params["axis"]
    at = graph.constant([axis], np.int64)
    parts = [graph.node("Unsqueeze", graph.stored(value, first=False), at) for value in values]
    return Tensor(graph.node("Concat", *parts, axis=axis), step.shape)


def _slice(graph: Graph, step: Step, x: Tensor) -> Tensor:
    strides = step.params["strides"] or [1] * len(x.shape)
    limits = [_permuted(each, first=x.first) for each in (step.params["start_indices"], step.params["limit_indices"])]
    cut = [
        (axis, start, stop, stride)
        for axis, (start, stop, stride, size) in enumerate(
            zip(*limits, _permuted(strides, first=x.first), _permuted(x.shape, first=x.first), strict=True)
        )
        if (start, stop, stride) != (0, size, 1)
    ]
    if not cut:
        return _same(graph, step, x)
    axes, starts, stops, steps = zip(*cut, strict=True)
    name = graph.node("Slice", x.name, *(graph.dims(each) for each in (starts, stops, axes, steps)))
    return Tensor(name, step.shape, x.first)


def _pad(graph: Graph, step: Step, x: Tensor, value: Value) -> Tensor:
    padding = _permuted(step.params["padding_config"], first=x.first)
    if any(inner for _, _, inner in padding) or any(side < 0 for low, high, _ in padding for side in (low, high)):
        raise ConfigError("padding between pixels, or less than none, has no form in ONNX.")
    amounts = graph.dims([low for low, _, _ in padding] + [high for _, high, _ in padding])
    return Tensor(graph.node("Pad", x.name, amounts, graph.stored(value, first=False)), step.shape, x.first)


def _reduce(graph: Graph, step: Step, x: Tensor, *, op: str) -> Tensor:
    axes = step.params["axes"]
    left = [axis for axis in range(len(x.shape)) if axis not in axes]
    first = x.first and [axis for axis in FIRST if axis not in axes] == left  # else the rest would be in another order
    stored = graph.stored(x, first=first)
    at = graph.constant([FIRST.index(axis) if first else axis for axis in axes], np.int64)
    return Tensor(graph.node(op, stored, at, keepdims=0), step.shape)


def _argmax(graph: Graph, step: Step, x: Tensor) -> Tensor:
    (axis,) = step.params["axes"]
    first = x.first and axis == 3
    name = graph.node("ArgMax", graph.stored(x, first=first), axis=1 if first else axis, keepdims=0)
    return Tensor(graph.node("Cast", name, to=TYPES[step.params["index_dtype"].name]), step.shape)


def _iota(graph: Graph, step: Step) -> Tensor:
    shape, axis = step.shape, step.params["dimension"]
    kind = step.params["dtype"].name
    stop = graph.node("Squeeze", graph.node("Cast", graph.dim(shape[axis]), to=TYPES[kind]))
    numbers = graph.node("Range", graph.constant(0, kind), stop, graph.constant(1, kind))
    if len(shape) > 1:
        thin = [size if a == axis else 1 for a, size in enumerate(shape)]
        numbers = graph.node("Expand", graph.node("Reshape", numbers, graph.dims(thin)), graph.dims(shape))
    return Tensor(numbers, shape)


def _dim(graph: Graph, step: Step) -> Tensor:
    kind = TYPES[step.outputs[0].aval.dtype.name]
    return Tensor(graph.node("Squeeze", graph.node("Cast", graph.dim(step.params["dim"]), to=kind)), ())


_ELEMENTWISE = {
    **{"and": "And", "eq": "Equal", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "lt": "Less"},
    **{"not": "Not", "or": "Or", "abs": "Abs", "exp": "Exp", "floor": "Floor", "log": "Log", "logistic": "Sigmoid"},
    **{"neg": "Neg", "sign": "Sign", "sqrt": "Sqrt", "tanh": "Tanh", "erf": "Erf"},
}
AFFINE = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}

PRIMITIVES: Mapping[str, Converter] = {
    **{name: partial(_elementwise, op=op) for name, op in _ELEMENTWISE.items()},
    **{name: partial(_affine, op=op) for name, op in AFFINE.items()},
    **{name: partial(_bounded, op=op) for name, op in (("max", "Max"), ("min", "Min"))},
    **{name: partial(_reduce, op=op) for name, op in (("reduce_sum", "ReduceSum"), ("reduce_max", "ReduceMax"))},
    **dict.fromkeys(("copy", "stop_gradient"), _same),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    **dict.fromkeys(("integer_pow", "square"), _power),
    "argmax": _argmax,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": layers.convolution,
    "convert_element_type": _cast,
    "dim_as_value": _dim,
    "dot_general": layers.dot,
    "erfc": _erfc,
    "interpolate": layers.interpolate,
    "iota": _iota,
    "ne": _unequal,
    "pad": _pad,
    "probabilities": layers.probabilities,
    "reduce_window_max": layers.max_pool,
    "rem": _remainder,
    "repeat": layers.repeat,
    "resize_antialiased": layers.resize_antialiased,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": _slice,
    "softmax": layers.softmax,
    "stack": _stack,
    "transpose": _transpose,
    "up_conv_2x2": layers.up_conv,
}


def run(graph: Graph, program: Program, values: dict[Place, Tensor]) -> Tensor:
    """Adds all steps of a program to the graph; returns its result.

    Args:
      graph: to add to.
      program: of one result, which depends on an input.
      values: its inputs.

    Raises:
      ConfigError: a primitive without a converter, by its name.
    """
    for step in program.steps:
        name = step.primitive.name
        if name not in PRIMITIVES:
            raise ConfigError(
                f"the network computes {name!r}, which has no form in ONNX here. Use --format=stablehlo, or add it to "
                "seg_jax/export/primitives.py."
            )
        inputs = [values[value] if isinstance(value, Place) else value for value in step.inputs]
        options = {}
        if name in AFFINE:
            places = [value for value in step.inputs if isinstance(value, Place)]
            options["single"] = len(places) == 1 and program.uses[places[0]] == 1
        values[step.outputs[0]] = PRIMITIVES[name](graph, step, *inputs, **options)
    assert isinstance(program.result, Place)
    return values[program.result]
