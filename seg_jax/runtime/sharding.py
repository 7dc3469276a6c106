"""Sharding: a mesh of devices, batches split over it, parameters copied or split.

The mesh has three axes. `data` and `model` split the batch. `space` splits the images by rows; XLA exchanges the rows
at the borders that convolutions need. `model` also splits large parameters and the optimizer's state (fully sharded
data parallelism: a parameter is gathered where it is used, and its gradient reduced to the device that updates it).
No communication is written by hand: XLA derives it from the sharding of the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "model", "space")  # the last one varies fastest: the rows of an image are on neighbouring devices
MIN_SPLIT = 2**16  # numbers; smaller parameters are copied to every device: a message costs more than their memory


def make_mesh(devices: int | None = None, *, model: int = 1, space: int = 1) -> Mesh:
    """A mesh over the first `devices` devices (default: all devices of all processes).

    `model` and `space` are the lengths of these axes; `data` is the number of devices divided by both.
    """
    count = len(jax.devices()) if devices is None else devices
    shape = (count // (model * space), model, space)
    # The default axis type is Explicit since jax 0.9, under which a batched gather or sort is an error.
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=jax.devices()[: math.prod(shape)])


def batch_parts(mesh: Mesh) -> int:
    """The number of parts that the examples of a batch are split into."""
    return mesh.shape["data"] * mesh.shape["model"]


def split(mesh: Mesh) -> NamedSharding:
    """The leading axis (examples) split over 'data' and 'model'."""
    return NamedSharding(mesh, PartitionSpec(("data", "model")))


def split_rows(mesh: Mesh) -> NamedSharding:
    """[b h ...], examples split over 'data' and 'model', rows over 'space'."""
    return NamedSharding(mesh, PartitionSpec(("data", "model"), "space"))


def of_batch(array: Any, mesh: Mesh) -> NamedSharding:
    """The sharding of an array of a batch: rows of images [b h w c] and of labels, which are unsigned, are split."""
    return split_rows(mesh) if array.ndim == 4 or np.issubdtype(array.dtype, np.unsignedinteger) else split(mesh)


def abstract_batch(batch_size: int, arrays: Mapping[str, tuple[tuple[int, ...], Any]], mesh: Mesh) -> dict[str, Any]:
    """Shapes, dtypes and sharding of a batch, as `place` makes it; `arrays` has shape and dtype for one example."""
    shapes = {name: jax.ShapeDtypeStruct((batch_size, *shape), dtype) for name, (shape, dtype) in arrays.items()}
    return {name: shape.update(sharding=of_batch(shape, mesh)) for name, shape in shapes.items()}


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def spread(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every array of a state: large ones split over 'model' along their longest divisible axis."""
    n = mesh.shape["model"]

    def shard(array: Any) -> NamedSharding:
        axes = [axis for axis, length in enumerate(array.shape) if length % n == 0]
        if n == 1 or not axes or math.prod(array.shape) < MIN_SPLIT:
            return replicated(mesh)
        longest = max(axes, key=lambda axis: array.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*("model" if axis == longest else None for axis in range(array.ndim))))

    return jax.tree.map(shard, tree)


def one_by_one(function: Callable[[Any], Any], arrays: Any, *, groups: int) -> Any:
    """`function` of every example of a batch, the examples of a group one after the other.

    Args:
      function: of the arrays of an example, without the leading axis of the batch; so are its results.
      arrays: a tree of arrays [b ...].
      groups: into which the batch is cut, worked on at once. With the number of devices that share a batch as groups,
        each of them has one example in memory at a time.
    """
    grouped = jax.tree.map(lambda a: a.reshape(groups, a.shape[0] // groups, *a.shape[1:]), arrays)
    result = jax.vmap(lambda group: jax.lax.map(function, group))(grouped)
    return jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), result)


def abstract(shapes: Any, mesh: Mesh) -> Any:
    """Shapes and dtypes with the sharding that `spread` gives them; nothing is computed."""
    return jax.tree.map(
        lambda array, where: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where),
        shapes,
        spread(shapes, mesh),
    )


def place(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, Any]:
    """This process's part of a batch -> global arrays, split over the mesh.

    Args:
      batch: images [b h w c] and labels [b h w], whose rows may be split too, or other numbers [b ...], of
        this process's examples.
      mesh: the devices.
    """
    parts = jax.process_count()

    def put(array: np.ndarray) -> jax.Array:
        shape = (array.shape[0] * parts, *array.shape[1:])
        # Passing the global shape makes processes that disagree on it fail instead of creating different arrays.
        return jax.make_array_from_process_local_data(of_batch(array, mesh), array, shape)

    return {name: put(array) for name, array in batch.items()}


def local_rows(array: jax.Array) -> np.ndarray:
    """This process's part of a global batch (see `place`) on the host: its examples, in order."""
    shards = array.addressable_shards
    ranges = [shard.index[0].indices(array.shape[0]) for shard in shards]
    first, last = min(start for start, *_ in ranges), max(stop for _, stop, _ in ranges)
    rows = np.empty((last - first, *array.shape[1:]), array.dtype)
    for shard, (start, stop, _) in zip(shards, ranges, strict=True):
        rows[start - first : stop - first, *shard.index[1:]] = shard.data
    return rows


def sum_over_processes(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sums host arrays by name over all processes; exact for int64, which devices do not have."""
    if jax.process_count() == 1:
        return dict(arrays)
    from jax.experimental import multihost_utils

    def add(array: np.ndarray) -> np.ndarray:
        everyone = multihost_utils.process_allgather(np.frombuffer(array.tobytes(), np.uint8))
        return np.array(everyone).view(array.dtype).reshape(-1, *array.shape).sum(0)

    return {name: add(array) for name, array in arrays.items()}


def exchange(text: str) -> list[str]:
    """Gathers one text from each process, in the order of the processes; all must call it equally often."""
    if jax.process_count() == 1:
        return [text]
    from jax.experimental import multihost_utils

    mine = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array([mine.size], np.int32))[:, 0]
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: mine.size] = mine
    everyone = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:length].tobytes().decode() for row, length in zip(everyone, lengths, strict=True)]


def to_devices(tree: Any, mesh: Mesh) -> Any:
    """Host arrays, equal in every process -> global arrays with the sharding of `spread`."""

    def put(array: np.ndarray, target: NamedSharding) -> jax.Array:
        return jax.make_array_from_callback(array.shape, target, lambda index: array[index])

    tree = jax.tree.map(np.asarray, tree)
    return jax.tree.map(put, tree, spread(tree, mesh))


def to_host(tree: Any, mesh: Mesh) -> Any:
    """Whole host arrays, in every process."""
    if not all(array.is_fully_addressable for array in jax.tree.leaves(tree)):
        whole = jax.jit(lambda t: t, out_shardings=replicated(mesh))(tree)
        tree = jax.tree.map(lambda array: array.addressable_data(0), whole)
    return jax.device_get(tree)
