"""An ONNX graph under construction: nodes, constants, sizes that are only known when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_jax.config import ConfigError

OPSET = 18  # the first with antialiased Resize

FIRST = (0, 3, 1, 2)  # [b h w c] -> [b c h w], the layout that convolutions and resizing have in ONNX
LAST = (0, 2, 3, 1)


@dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Attributes:
      name: of the value.
      shape: as in JAX, may have symbols.
      first: whether it is stored as [b c h w], though it is [b h w c] in JAX.
    """

    name: str
    shape: tuple[Any, ...]
    first: bool = False


@dataclass
class Conv:
    """A convolution that still takes up the multiplications and additions that follow it.

    Attributes:
      weight: one of its axes is that of the features.
      bias: [features].
      axis: which axis it is.
      names: of weight and bias in the graph.
    """

    weight: np.ndarray
    bias: np.ndarray
    axis: int
    names: tuple[str, str]

    def absorb(self, op: str, array: np.ndarray) -> None:
        """Takes up what follows: 'Mul', 'Div', 'Add' or 'Sub' of [features] or one number."""
        array = np.broadcast_to(array.reshape(-1), self.bias.shape)
        if op in ("Add", "Sub"):
            self.bias = self.bias + (array if op == "Add" else -array)
        else:
            factor = array if op == "Mul" else 1 / array
            shape = [-1 if axis == self.axis else 1 for axis in range(self.weight.ndim)]
            self.weight, self.bias = self.weight * factor.reshape(shape), self.bias * factor


class Graph:
    """A graph with one input `image`, uint8 with the given shape."""

    def __init__(self, shape: Sequence[Any]):
        self.image = Tensor("image", tuple(shape))
        self.nodes: list[Any] = []
        self.convs: dict[str, Conv] = {}  # by the name of the result
        self._initializers: dict[str, np.ndarray] = {}
        self._constants: dict[Any, str] = {}
        self._known: dict[Any, str] = {}
        self._sides = {str(side): axis for axis, side in enumerate(shape) if not isinstance(side, int)}
        self._count = 0

    def name(self) -> str:
        """A new one."""
        self._count += 1
        return f"v{self._count}"

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operator of ONNX; returns the name of its result, the earlier one if it is there already."""
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
        """'Conv' or 'ConvTranspose' of [b c h w]; the features of `weight` lie along `axis`."""
        conv = Conv(weight, np.zeros(weight.shape[axis], np.float32), axis, (self.name(), self.name()))
        result = self.node(op, x, *conv.names, **attributes)
        self.convs[result] = conv
        return result

    def dim(self, size: Any) -> str:
        """int64 [1]: a size, computed from the image where it is an expression of symbols."""
        if isinstance(size, int | np.integer):
            return self.constant([size], np.int64)
        sides = {side: Size(self, self._side(axis)) for side, axis in self._sides.items()}
        # Div rounds towards zero, which is down for numbers that are not negative.
        operators = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min"}
        functions = {name: lambda a, b, op=op: _size(self, a).by(op, b) for name, op in operators.items()}
        # The text of an expression is what jax.export.symbolic_shape reads, and Python's too but for powers.
        return eval(str(size).replace("^", "**"), {"__builtins__": {}}, {**sides, **functions}).name

    def _side(self, axis: int) -> str:
        return self.node("Shape", "image", start=axis, end=axis + 1)

    def dims(self, sizes: Sequence[Any]) -> str:
        """int64 [n]: sizes."""
        if all(isinstance(size, int | np.integer) for size in sizes):
            return self.constant(list(sizes), np.int64)
        return self.node("Concat", *(self.dim(size) for size in sizes), axis=0)

    def stored(self, value: Tensor | np.ndarray, *, first: bool) -> str:
        """The name of a value in one of the two layouts; of other ranks than four there is only one."""
        if isinstance(value, np.ndarray):
            return self.constant(value.transpose(FIRST) if first and value.ndim == 4 else value)
        if len(value.shape) != 4 or value.first == first:
            return value.name
        return self.node("Transpose", value.name, perm=FIRST if first else LAST)

    def model(self, result: Tensor, documents: dict[str, str]) -> Any:
        """The finished model, with `documents` as its metadata.

        Raises:
          ConfigError: ONNX's own check refuses it.
        """
        from onnx import TensorProto, checker, helper, numpy_helper

        types = {4: TensorProto.FLOAT, 3: TensorProto.UINT8}
        output = self.stored(result, first=False)
        arrays = dict(self._initializers)
        for conv in self.convs.values():
            arrays.update(zip(conv.names, (conv.weight, conv.bias), strict=True))

        def shape(sizes: Sequence[Any]) -> list[Any]:
            return [size if isinstance(size, int) else str(size) for size in sizes]

        graph = helper.make_graph(
            [*self.nodes, helper.make_node("Identity", [output], [output_name(result)])],
            "seg_jax",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, shape(self.image.shape))],
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
    """What the output is called."""
    return "label" if len(result.shape) == 3 else "probabilities"


@dataclass(frozen=True)
class Size:
    """int64 [1] in the graph, with the arithmetic of sizes."""

    graph: Graph
    name: str

    def by(self, op: str, other: Any) -> Size:
        """An operator of ONNX on two sizes."""
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
