"""A traced function as a plain list of primitives: calls inlined, constants folded, dead code removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# Primitives that only call a function -> the parameter with that function.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}


@dataclass(frozen=True, eq=False)
class Variable:
    """A value computed by a trace, or one of its inputs; compared by identity.

    Attributes:
      aval: shape, which may be symbolic, and dtype.
    """

    aval: Any


Value = Variable | np.ndarray


@dataclass(frozen=True, eq=False)
class Step:
    """One primitive applied to values."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Variable, ...]

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape of the first result, which may be symbolic."""
        return self.outputs[0].aval.shape


@dataclass(frozen=True)
class Trace:
    """A list of primitives without constant subexpressions.

    Attributes:
      steps: the steps in order of execution.
      result: the result.
      uses: variable -> number of times that steps read it.
    """

    steps: Sequence[Step]
    result: Value
    uses: Counter[Value]


def trace(closed: ClosedJaxpr, arguments: Sequence[Value]) -> Trace:
    """Flattens a traced function with one result.

    Args:
      closed: the traced function.
      arguments: its arguments: arrays where they are known, variables for the inputs.
    """
    steps: list[Step] = []
    (result,) = _inline(closed.jaxpr, [np.asarray(const) for const in closed.consts], arguments, steps)
    steps = _live(_folded(_live(steps, result)), result)
    return Trace(
        steps, result, Counter(value for step in steps for value in step.inputs if isinstance(value, Variable))
    )


def _inline(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Value], steps: list[Step]) -> list[Value]:
    env: dict[Any, Value] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))

    def read(atom: Any) -> Value:
        if isinstance(atom, Literal):
            aval: Any = atom.aval
            return np.asarray(atom.val, aval.dtype)
        return env[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        outputs: Sequence[Value]
        if eqn.primitive.name in CALLS:
            inner = eqn.params[CALLS[eqn.primitive.name]]
            closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
            outputs = _inline(closed.jaxpr, [np.asarray(const) for const in closed.consts], inputs, steps)
        else:
            outputs = variables = [Variable(variable.aval) for variable in eqn.outvars]
            steps.append(Step(eqn.primitive, eqn.params, tuple(inputs), tuple(variables)))
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _live(steps: Sequence[Step], result: Value) -> list[Step]:
    needed, live = {result} if isinstance(result, Variable) else set(), []
    for step in reversed(steps):
        if needed & set(step.outputs):
            live.append(step)
            needed |= {value for value in step.inputs if isinstance(value, Variable)}
    return live[::-1]


def _folded(steps: Sequence[Step]) -> list[Step]:
    """The steps that depend on an input, with the results of all other steps as arrays."""
    known: set[Variable] = set()
    before, after = [], []
    for step in steps:
        fixed = all(isinstance(n, int) for variable in step.outputs for n in variable.aval.shape)
        constant = all(not isinstance(value, Variable) or value in known for value in step.inputs)
        # dim_as_value turns a symbolic size into a number; it has no input.
        if fixed and constant and step.primitive.name != "dim_as_value":
            known |= set(step.outputs)
            before.append(step)
        else:
            after.append(step)
    read = [value for step in after for value in step.inputs if isinstance(value, Variable)]
    needed = list(dict.fromkeys(variable for variable in read if variable in known))
    arrays = dict(zip(needed, _computed(before, needed), strict=True))

    def fill(step: Step) -> Step:
        inputs = tuple(arrays.get(value, value) if isinstance(value, Variable) else value for value in step.inputs)
        return Step(step.primitive, step.params, inputs, step.outputs)

    return [fill(step) for step in after]


def _computed(steps: Sequence[Step], needed: Sequence[Variable]) -> list[np.ndarray]:
    """The values of variables, by one compiled function: compiling the steps one by one takes seconds."""
    constants = list(
        {id(value): value for step in steps for value in step.inputs if isinstance(value, np.ndarray)}.values()
    )

    def run(arrays: Sequence[Any]) -> list[Any]:
        env: dict[int, Any] = {id(value): array for value, array in zip(constants, arrays, strict=True)}
        for step in steps:
            outputs = step.primitive.bind(*(env[id(value)] for value in step.inputs), **step.params)
            results = outputs if step.primitive.multiple_results else [outputs]
            env.update((id(variable), result) for variable, result in zip(step.outputs, results, strict=True))
        return [env[id(variable)] for variable in needed]

    return [np.asarray(array) for array in jax.jit(run)(constants)]
