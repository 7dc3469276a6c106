"""ONNX: our own conversion of the traced network, for ONNX Runtime and other readers of the format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from seg_jax.export import primitives, trace
from seg_jax.export.graph import Graph
from seg_jax.export.network import Network
from seg_jax.runtime import seal


def build(network: Network) -> Any:
    """The onnx.ModelProto: `image` [b h w c] in 0..255, any b, h and w -> `probabilities` or `label`.

    Raises:
      ConfigError: the network uses an operation that cannot be converted.
    """
    spec = network.image
    traced = jax.jit(network.function("onnx")).trace(network.weights, spec).jaxpr
    leaves = [np.asarray(array) for array in jax.tree.leaves(network.weights)]
    graph = Graph(spec.shape, str(spec.dtype))
    image = trace.Variable(traced.in_avals[-1])
    steps = trace.trace(traced, [*leaves, image])
    return graph.model(primitives.run(graph, steps, {image: graph.image}), network.documents)


def write(network: Network, path: Path) -> None:
    """Writes the model with the documents as its metadata properties."""
    import onnx

    model = build(network)
    model.metadata_props.add(key=seal.NAME, value=seal.BLANK)
    onnx.save(model, path)
    seal.seal(path)
