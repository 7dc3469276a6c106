"""A traced function as a plain list of primitives: calls inlined, what no input reaches computed, dead ends removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# Primitives that do nothing but call a function, and the parameter that holds it.
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
class Place:
    """A value that a program computes; every one is itself alone.

    Attributes:
      aval: shape, which may have symbols, and dtype.
    """

    aval: Any


Value = Place | np.ndarray


@dataclass(frozen=True, eq=False)
class Step:
    """One primitive applied to values."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Place, ...]

    @property
    def shape(self) -> tuple[Any, ...]:
        """Of the first result, may have symbols."""
        return self.outputs[0].aval.shape


@dataclass(frozen=True)
class Program:
    """A program without constants to be computed.

    Attributes:
      steps: in order.
      result: what it gives.
      uses: how many steps read a place.
    """

    steps: Sequence[Step]
    result: Value
    uses: Counter[Value]


def program(closed: ClosedJaxpr, arguments: Sequence[Value]) -> Program:
    """The program of a trace with one result.

    Args:
      closed: the trace.
      arguments: arrays for what is known, places for the inputs.
    """
    steps: list[Step] = []
    (result,) = _inline(closed.jaxpr, [np.asarray(const) for const in closed.consts], arguments, steps)
    steps = _live(_folded(_live(steps, result)), result)
    return Program(steps, result, Counter(value for step in steps for value in step.inputs if isinstance(value, Place)))


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
            outputs = places = [Place(variable.aval) for variable in eqn.outvars]
            steps.append(Step(eqn.primitive, eqn.params, tuple(inputs), tuple(places)))
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _live(steps: Sequence[Step], result: Value) -> list[Step]:
    needed, live = {result} if isinstance(result, Place) else set(), []
    for step in reversed(steps):
        if needed & set(step.outputs):
            live.append(step)
            needed |= {value for value in step.inputs if isinstance(value, Place)}
    return live[::-1]


def _folded(steps: Sequence[Step]) -> list[Step]:
    """The steps that depend on an input; what they read of the others is there as arrays."""
    known: set[Place] = set()
    before, after = [], []
    for step in steps:
        fixed = all(isinstance(n, int) for place in step.outputs for n in place.aval.shape)
        constant = all(not isinstance(value, Place) or value in known for value in step.inputs)
        # A size that is a symbol becomes a number by this primitive, which has no input.
        if fixed and constant and step.primitive.name != "dim_as_value":
            known |= set(step.outputs)
            before.append(step)
        else:
            after.append(step)
    read = [value for step in after for value in step.inputs if isinstance(value, Place)]
    wanted = list(dict.fromkeys(place for place in read if place in known))
    arrays = dict(zip(wanted, _computed(before, wanted), strict=True))

    def fill(step: Step) -> Step:
        inputs = tuple(arrays.get(value, value) if isinstance(value, Place) else value for value in step.inputs)
        return Step(step.primitive, step.params, inputs, step.outputs)

    return [fill(step) for step in after]


def _computed(steps: Sequence[Step], wanted: Sequence[Place]) -> list[np.ndarray]:
    """The values of places, by one compiled function: to compile the steps one by one takes seconds."""
    given = list(
        {id(value): value for step in steps for value in step.inputs if isinstance(value, np.ndarray)}.values()
    )

    def run(arrays: Sequence[Any]) -> list[Any]:
        env: dict[int, Any] = {id(value): array for value, array in zip(given, arrays, strict=True)}
        for step in steps:
            outputs = step.primitive.bind(*(env[id(value)] for value in step.inputs), **step.params)
            results = outputs if step.primitive.multiple_results else [outputs]
            env.update((id(place), result) for place, result in zip(step.outputs, results, strict=True))
        return [env[id(place)] for place in wanted]

    return [np.asarray(array) for array in jax.jit(run)(given)]
