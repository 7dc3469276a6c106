"""Where arrays lie: a mesh over all devices, the batch split over it, the state copied to each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: int | None = None) -> Mesh:
    """A mesh with the axis 'data' over the first `devices` devices (default: all of every process)."""
    count = len(jax.devices()) if devices is None else devices
    # The default axis type is Explicit since jax 0.9, under which a batched gather or sort is an error.
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def split(mesh: Mesh) -> NamedSharding:
    """The leading axis split over 'data'."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def place(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, Any]:
    """This process's part of a batch -> global arrays, split over 'data'."""
    return {name: jax.make_array_from_process_local_data(split(mesh), array) for name, array in batch.items()}
