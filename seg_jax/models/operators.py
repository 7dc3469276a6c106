"""The target of a trace: the backend of this process, or an artefact for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive

# 'cpu' and 'accelerator': the formulations that are fast there. 'tflite': without products that its converter rejects.
# 'onnx': with ONNX's own operators, see `operator`.
TARGETS = ("cpu", "accelerator", "tflite", "onnx")
_target: ContextVar[str] = ContextVar("target", default="")


@contextmanager
def traced_for(target: str) -> Iterator[None]:
    """A context in which traces are for an artefact for one of `TARGETS`, and sizes may be symbols of jax.export."""
    assert target in TARGETS, target
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)


def on_cpu() -> bool:
    """Whether the program being traced will run on XLA's CPU backend."""
    return (_target.get() or jax.default_backend()) == "cpu"


def on_one_cpu() -> bool:
    """Whether the program will run in this process on its only device, so that no array is split over devices."""
    return not exporting() and on_cpu() and jax.device_count() == 1


def exporting() -> bool:
    """Whether the program being traced is part of an artefact."""
    return bool(_target.get())


def converting() -> bool:
    """Whether the program being traced will be converted, so that convolutions should stay convolutions."""
    return _target.get() in ("tflite", "onnx")


def operator(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Marks a function that is one operator in ONNX.

    In a trace for 'onnx' the function is one primitive with its name, whose parameters are the keyword arguments.
    Otherwise it is unchanged.

    Args:
      function: (arrays..., *, options...) -> array.
    """
    primitive = Primitive(function.__name__)

    @primitive.def_abstract_eval
    def _(*arrays: Any, **options: Any) -> Any:
        result = jax.eval_shape(partial(function, **options), *arrays)
        return jax.core.ShapedArray(result.shape, result.dtype)

    @wraps(function)
    def call(*arrays: Any, **options: Any) -> jax.Array:
        return primitive.bind(*arrays, **options) if _target.get() == "onnx" else function(*arrays, **options)

    return call


def window(x: jax.Array, rows: slice, columns: slice) -> jax.Array:
    """x[:, rows, columns] for [b h w c] and limits that are not negative.

    With symbolic sizes indexing would be a gather, which is slow.
    """
    for axis, part in ((1, rows), (2, columns)):
        size = x.shape[axis]
        limits = part.start or 0, size if part.stop is None else part.stop, part.step or 1
        if limits != (0, size, 1):
            x = jax.lax.slice_in_dim(x, *limits, axis)
    return x


def pad_edge(x: jax.Array, rows: tuple[int, int], columns: tuple[int, int]) -> jax.Array:
    """Pads [b h w c] by (above, below) and (left, right) pixels, repeating the border.

    jnp.pad(mode="edge") would add operations for every axis to artefacts.
    """
    for axis, amounts in ((1, rows), (2, columns)):
        ends = []
        for amount, at in zip(amounts, (0, x.shape[axis] - 1), strict=True):
            shape = tuple(amount if a == axis else n for a, n in enumerate(x.shape))
            pixel = jax.lax.slice_in_dim(x, at, at + 1, axis=axis)
            ends.append([jnp.broadcast_to(pixel, shape)] if amount != 0 else [])
        x = jnp.concatenate([*ends[0], x, *ends[1]], axis) if any(ends) else x
    return x
