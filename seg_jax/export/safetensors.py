"""The archive format: the weights under their names, with all that is needed to rebuild the network.

Compiled formats age with their runtimes; this one needs only seg_jax.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from seg_jax.export.network import Network
from seg_jax.run.stored import flatten
from seg_jax.runtime import seal


def write(network: Network, path: Path) -> None:
    """Writes {'params/encoder/stem/conv/kernel': array, ...} with the documents as its metadata."""
    from safetensors.numpy import save

    path.write_bytes(save(flatten(network.weights), metadata={**network.documents, seal.NAME: seal.BLANK}))
    seal.seal(path)


def halved(network: Network) -> Network:
    """`network` with its kernels in float16. What has one axis stays float32: a variance can be below 6e-5, where
    float16 loses digits, and these arrays are a fiftieth of the bytes.
    """

    def half(array: np.ndarray) -> np.ndarray:
        return np.asarray(array, np.float16) if np.ndim(array) > 1 else np.asarray(array)

    return replace(network, weights=jax.tree.map(half, network.weights))
