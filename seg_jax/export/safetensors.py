"""The archive format: the weights under their names, with all that is needed to rebuild the network.

Compiled formats age with their runtimes; this one needs only seg_jax.
"""

from __future__ import annotations

from pathlib import Path

from seg_jax.export.network import Network
from seg_jax.predict import seal
from seg_jax.run.stored import flatten


def write(network: Network, path: Path) -> None:
    """Writes {'params/encoder/stem/conv/kernel': array, ...} with the documents as its metadata."""
    from safetensors.numpy import save

    path.write_bytes(save(flatten(network.weights), metadata={**network.documents, seal.NAME: seal.BLANK}))
    seal.seal(path)
