"""The conversion of JAX's primitives to ONNX: the table of converters, and arithmetic.

A converter takes the graph, the step and its inputs, and returns the result. From the first convolution on, [b h w c]
is stored as [b c h w]; later operations keep that layout where they can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from seg_jax.config import ConfigError
from seg_jax.export import layers, shapes
from seg_jax.export.graph import ONNX_TYPES, Graph, Tensor
from seg_jax.export.trace import Step, Trace, Variable

Value = Tensor | np.ndarray
Converter = Callable[..., Tensor]


def _elementwise(graph: Graph, step: Step, *values: Value, op: str) -> Tensor:
    nchw = shapes.any_nchw(values)
    name = graph.node(op, *(graph.stored(value, nchw=nchw) for value in values))
    return Tensor(name, step.shape, nchw)


def _affine(graph: Graph, step: Step, a: Value, b: Value, *, op: str, single: bool) -> Tensor:
    """A constant for each channel is folded into the convolution before it, so batch norm costs nothing."""
    if op in ("Add", "Mul") and isinstance(a, np.ndarray):
        a, b = b, a
    by_channel = isinstance(b, np.ndarray) and (b.size == 1 or b.shape == (1, 1, 1, b.size))
    if single and by_channel and isinstance(a, Tensor) and a.name in graph.convs:
        graph.convs[a.name].absorb(op, np.asarray(b))
        return a
    return _elementwise(graph, step, a, b, op=op)


def _bounded(graph: Graph, step: Step, a: Value, b: Value, *, op: str) -> Tensor:
    """Maximum and minimum; with a constant they become Relu or Clip, which runtimes fuse with a convolution."""
    if isinstance(a, np.ndarray):
        a, b = b, a
    if not isinstance(b, np.ndarray) or b.size > 1 or b.dtype != np.float32 or isinstance(a, np.ndarray):
        return _elementwise(graph, step, a, b, op=op)
    if op == "Max" and not b.any():
        return Tensor(graph.node("Relu", a.name), step.shape, a.nchw)
    bound = graph.constant(b.reshape(()))
    limits = (bound,) if op == "Max" else ("", bound)
    return Tensor(graph.node("Clip", a.name, *limits), step.shape, a.nchw)


def _rsqrt(graph: Graph, step: Step, x: Tensor) -> Tensor:
    return Tensor(graph.node("Reciprocal", graph.node("Sqrt", x.name)), x.shape, x.nchw)


def _erfc(graph: Graph, step: Step, x: Tensor) -> Tensor:
    one = graph.constant(1, np.float32)
    return Tensor(graph.node("Sub", one, graph.node("Erf", x.name)), x.shape, x.nchw)


def _power(graph: Graph, step: Step, x: Tensor) -> Tensor:
    exponent = graph.constant(step.params.get("y", 2), np.float32)
    return Tensor(graph.node("Pow", x.name, exponent), x.shape, x.nchw)


def _unequal(graph: Graph, step: Step, a: Value, b: Value) -> Tensor:
    equal = _elementwise(graph, step, a, b, op="Equal")
    return Tensor(graph.node("Not", equal.name), equal.shape, equal.nchw)


def _remainder(graph: Graph, step: Step, a: Value, b: Value) -> Tensor:
    name = graph.node("Mod", graph.stored(a, nchw=False), graph.stored(b, nchw=False), fmod=1)
    return Tensor(name, step.shape)


def _select(graph: Graph, step: Step, which: Value, otherwise: Value, then: Value) -> Tensor:
    return _elementwise(graph, step, which, then, otherwise, op="Where")


def _cast(graph: Graph, step: Step, x: Tensor) -> Tensor:
    return Tensor(graph.node("Cast", x.name, to=ONNX_TYPES[step.params["new_dtype"].name]), x.shape, x.nchw)


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
    **{name: partial(shapes.reduce, op=op) for name, op in (("reduce_sum", "ReduceSum"), ("reduce_max", "ReduceMax"))},
    **dict.fromkeys(("copy", "stop_gradient"), shapes.same),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), shapes.reshape),
    **dict.fromkeys(("integer_pow", "square"), _power),
    "argmax": shapes.argmax,
    "broadcast_in_dim": shapes.broadcast,
    "concatenate": shapes.concatenate,
    "conv_general_dilated": layers.convolution,
    "convert_element_type": _cast,
    "dim_as_value": shapes.dim,
    "dot_general": layers.dot,
    "erfc": _erfc,
    "interpolate": layers.interpolate,
    "iota": shapes.iota,
    "ne": _unequal,
    "pad": shapes.pad,
    "probabilities": layers.probabilities,
    "reduce_window_max": layers.max_pool,
    "rem": _remainder,
    "repeat": layers.repeat,
    "resize_antialiased": layers.resize_antialiased,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": shapes.slice_,
    "softmax": layers.softmax,
    "stack": shapes.stack,
    "transpose": shapes.transpose,
    "up_conv_2x2": layers.up_conv,
}


def run(graph: Graph, trace: Trace, values: dict[Variable, Tensor]) -> Tensor:
    """Adds all steps of a trace to the graph; returns its result.

    Args:
      graph: the graph to extend.
      trace: a trace whose result depends on an input.
      values: the inputs of the trace.

    Raises:
      ConfigError: a primitive has no converter; names it.
    """
    for step in trace.steps:
        name = step.primitive.name
        if name not in PRIMITIVES:
            raise ConfigError(
                f"the network uses {name!r}, which has no ONNX converter. Use --format=stablehlo, or add one to "
                "seg_jax/export/primitives.py."
            )
        inputs = [values[value] if isinstance(value, Variable) else value for value in step.inputs]
        options = {}
        if name in AFFINE:
            variables = [value for value in step.inputs if isinstance(value, Variable)]
            options["single"] = len(variables) == 1 and trace.uses[variables[0]] == 1
        values[step.outputs[0]] = PRIMITIVES[name](graph, step, *inputs, **options)
    assert isinstance(trace.result, Variable)
    return values[trace.result]
