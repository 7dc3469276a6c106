"""An ONNX graph under construction: nodes, constants, and sizes that are only known at run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_jax.config import ConfigError

OPSET = 18  # the first with antialiased Resize
ONNX_TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9}  # values of onnx.TensorProto

TO_NCHW = (0, 3, 1, 2)  # [b h w c] -> [b c h w], ONNX's layout for convolutions and resizing
TO_NHWC = (0, 2, 3, 1)


@dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Attributes:
      name: the value's name.
      shape: its shape in JAX, which may have symbols.
      nchw: whether it is stored as [b c h w] though its shape in JAX is [b h w c].
    """

    name: str
    shape: tuple[Any, ...]
    nchw: bool = False


@dataclass
class Conv:
    """A convolution that can absorb the multiplications and additions that follow it.

    Attributes:
      weight: the kernel.
      bias: [features].
      axis: the axis of `weight` with the output features.
      names: names of weight and bias in the graph.
    """

    weight: np.ndarray
    bias: np.ndarray
    axis: int
    names: tuple[str, str]

    def absorb(self, op: str, array: np.ndarray) -> None:
        """Folds 'Mul', 'Div', 'Add' or 'Sub' by an array [features] or one number into weight and bias."""
        array = np.broadcast_to(array.reshape(-1), self.bias.shape)
        if op in ("Add", "Sub"):
            self.bias = self.bias + (array if op == "Add" else -array)
        else:
            factor = array if op == "Mul" else 1 / array
            shape = [-1 if axis == self.axis else 1 for axis in range(self.weight.ndim)]
            self.weight, self.bias = self.weight * factor.reshape(shape), self.bias * factor


class Graph:
    """A graph with one input `image` of the given shape and type, one of `ONNX_TYPES`."""

    def __init__(self, shape: Sequence[Any], dtype: str = "uint8"):
        self._dtype = dtype
        self.image = Tensor("image", tuple(shape))
        self.nodes: list[Any] = []
        self.convs: dict[str, Conv] = {}  # name of the result -> convolution
        self._initializers: dict[str, np.ndarray] = {}
        self._constants: dict[Any, str] = {}
        self._known: dict[Any, str] = {}
        self._sides = {str(side): axis for axis, side in enumerate(shape) if not isinstance(side, int)}
        self._count = 0

    def name(self) -> str:
        """A new unique name."""
        self._count += 1
        return f"v{self._count}"

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds an ONNX operator unless an equal one exists; returns the name of its result."""
        from onnx import helper

        key = (op, inputs, repr(sorted(attributes.items())))
        if key not in self._known:
            name = self._known[key] = self.name()
            self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"{op}_{name}", **attributes))
        return self._known[key]

    def constant(self, array: Any, dtype: Any = None) -> str:
        """The name of an array in the graph."""
        array = np.ascontiguousarray(array, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.name()
            self._initializers[self._constants[key]] = array
        return self._constants[key]

    def convolution(self, op: str, x: str, weight: np.ndarray, *, axis: int = 0, **attributes: Any) -> str:
        """Adds 'Conv' or 'ConvTranspose' of [b c h w]; `axis` of `weight` has the output features."""
        conv = Conv(weight, np.zeros(weight.shape[axis], np.float32), axis, (self.name(), self.name()))
        result = self.node(op, x, *conv.names, **attributes)
        self.convs[result] = conv
        return result

    def dim(self, size: Any) -> str:
        """int64 [1]: a size, computed from the image where it is an expression of symbols."""
        if isinstance(size, int | np.integer):
            return self.constant([size], np.int64)
        sides = {side: Size(self, self._side(axis)) for side, axis in self._sides.items()}
        # Div rounds towards zero, which equals floor division: sizes are not negative.
        operators = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min"}
        functions = {name: lambda a, b, op=op: _size(self, a).by(op, b) for name, op in operators.items()}
        # The text of an expression is the syntax of jax.export.symbolic_shape; but for powers it is Python's.
        return eval(str(size).replace("^", "**"), {"__builtins__": {}}, {**sides, **functions}).name

    def _side(self, axis: int) -> str:
        return self.node("Shape", "image", start=axis, end=axis + 1)

    def dims(self, sizes: Sequence[Any]) -> str:
        """int64 [n]: several sizes, see `dim`."""
        if all(isinstance(size, int | np.integer) for size in sizes):
            return self.constant(list(sizes), np.int64)
        return self.node("Concat", *(self.dim(size) for size in sizes), axis=0)

    def stored(self, value: Tensor | np.ndarray, *, nchw: bool) -> str:
        """The name of a value in one of the two layouts, transposed if need be; only rank 4 has two layouts."""
        if isinstance(value, np.ndarray):
            return self.constant(value.transpose(TO_NCHW) if nchw and value.ndim == 4 else value)
        if len(value.shape) != 4 or value.nchw == nchw:
            return value.name
        return self.node("Transpose", value.name, perm=TO_NCHW if nchw else TO_NHWC)

    def model(self, result: Tensor, documents: dict[str, str]) -> Any:
        """The finished onnx.ModelProto, with `documents` as its metadata.

        Raises:
          ConfigError: ONNX's checker rejects it.
        """
        from onnx import TensorProto, checker, helper, numpy_helper

        types = {4: TensorProto.FLOAT, 3: TensorProto.UINT8}
        output = self.stored(result, nchw=False)
        arrays = dict(self._initializers)
        for conv in self.convs.values():
            arrays.update(zip(conv.names, (conv.weight, conv.bias), strict=True))

        def shape(sizes: Sequence[Any]) -> list[Any]:
            return [size if isinstance(size, int) else str(size) for size in sizes]

        graph = helper.make_graph(
            [*self.nodes, helper.make_node("Identity", [output], [output_name(result)])],
            "seg_jax",
            [helper.make_tensor_value_info("image", ONNX_TYPES[self._dtype], shape(self.image.shape))],
            [helper.make_tensor_value_info(output_name(result), types[len(result.shape)], shape(result.shape))],
            [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="seg_jax")
        model.ir_version = 10
        helper.set_model_props(model, documents)
        try:
            checker.check_model(model)
        except checker.ValidationError as error:
            raise ConfigError(f"the network has no form in ONNX: {error}. Use --format=stablehlo.") from error
        return model


def output_name(result: Tensor) -> str:
    """The name of the model's output."""
    return "label" if len(result.shape) == 3 else "probabilities"


@dataclass(frozen=True)
class Size:
    """A size, int64 [1] in the graph, with arithmetic."""

    graph: Graph
    name: str

    def by(self, op: str, other: Any) -> Size:
        """Applies an ONNX operator to two sizes."""
        return Size(self.graph, self.graph.node(op, self.name, _size(self.graph, other).name))

    def __add__(self, other: Any) -> Size:
        return self.by("Add", other)

    def __sub__(self, other: Any) -> Size:
        return self.by("Sub", other)

    def __rsub__(self, other: Any) -> Size:
        return _size(self.graph, other) - self

    def __mul__(self, other: Any) -> Size:
        return self.by("Mul", other)

    def __neg__(self) -> Size:
        return self * -1

    def __pow__(self, other: int) -> Size:
        return self if other == 1 else self * self ** (other - 1)

    __radd__ = __add__
    __rmul__ = __mul__


def _size(graph: Graph, value: Any) -> Size:
    return value if isinstance(value, Size) else Size(graph, graph.dim(value))
