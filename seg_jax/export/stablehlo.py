"""StableHLO by jax.export: one file for CPU, CUDA and TPU that needs only JAX to run."""

from __future__ import annotations

import zipfile
from pathlib import Path

from seg_jax.export.network import Network
from seg_jax.runtime import seal


def write(network: Network, path: Path) -> None:
    """Writes a zip file of the serialized function and the documents."""
    content: dict[str, bytes | str] = {"module.bin": bytes(network.exported().serialize()), **network.documents}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.comment = seal.BLANK.encode()
    seal.seal(path)
